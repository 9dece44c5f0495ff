//! Promise: a member that the alarm CORRUPT names is taken away while the cluster is under load, a leader after it has handed over;
//! then the alarm goes, writes are taken again, and only then a new member comes. Where the alarm names half of the members or
//! nobody, none goes, and the cluster says why. Nothing is lost, nothing out of order.

use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE, is_ready, told};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::{FIGURE, wait};

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: differing }
spec:
  replicas: 3
  storage: { size: 1Gi }
";

e2e::on_each_engine!(members_whose_data_are_corrupt_are_replaced);

async fn members_whose_data_are_corrupt_are_replaced(engine: Engine) -> Result<()> {
    let lab = Lab::start("corrupt-members", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    for leads in [false, true] {
        traffic.flows(50, PATIENCE).await?;
        let began = traffic.recorder().elapsed();
        tokio::select! {
            replaced = one_is_replaced(&lab, &name, leads) => replaced.context(if leads { "a leader" } else { "a follower" })?,
            followed = lab.follow(&name, &traffic) => return followed,
        }
        traffic.use_endpoints(lab.endpoints(&name).await?);
        traffic.flows(50, PATIENCE).await?;
        let ended = traffic.recorder().elapsed();
        let history = traffic.recorder().history();
        let gap = history.largest_write_gap_within(began, ended);
        println!(
            "{FIGURE}{}, corrupt {}: largest write gap {} ms, full redundancy after {:.1} s",
            lab.engine(),
            if leads { "leader" } else { "follower" },
            gap.context("no writes")?.length().as_millis(),
            (ended - began).as_secs_f64()
        );
    }
    none_goes_where_nobody_is_named(&lab, &name).await?;
    traffic.flows(50, PATIENCE).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// The alarm is raised about the leader or a follower; waits until another member stands in its place and no alarm is up.
async fn one_is_replaced(lab: &Lab, name: &str, leads: bool) -> Result<()> {
    let leader = lab.leader(name).await?.member;
    let cluster = lab.clusters().get(name).await?;
    let members = cluster.status.unwrap_or_default().members;
    let accused = members.iter().find(|it| (it.name == leader) == leads);
    let accused = accused.context("a member")?;
    let id = u64::from_str_radix(accused.id.as_deref().context("an id")?, 16)?;
    anyone(lab, name).await?.accuse(id).await?;
    wait::until(
        format!("{} to be replaced", accused.name),
        PATIENCE,
        async || {
            let cluster = lab.clusters().get(name).await.map_err(|e| e.to_string())?;
            let status = cluster.status.clone().unwrap_or_default();
            let there = status.members.iter().any(|it| it.name == accused.name);
            if is_ready(&cluster) && !there && status.members.len() == 3 {
                Ok(())
            } else {
                Err(told(&cluster))
            }
        },
    )
    .await?;
    let errors = anyone(lab, name).await?.status().await?.errors;
    ensure!(errors.is_empty(), "{errors:?}");
    let cluster = lab.clusters().get(name).await?;
    let repair = cluster.status.and_then(|it| it.repair).unwrap_or_default();
    let written = repair
        .replacements
        .iter()
        .any(|it| it.member == accused.name);
    ensure!(written, "{repair:?} does not tell of {}", accused.name);
    Ok(())
}

/// The alarm about member 0 says that the members differ, and not which of them is right.
async fn none_goes_where_nobody_is_named(lab: &Lab, name: &str) -> Result<()> {
    let before = anyone(lab, name).await?.members().await?;
    anyone(lab, name).await?.accuse(0).await?;
    wait::until("the cluster to say why nobody goes", PATIENCE, async || {
        let cluster = lab.clusters().get(name).await.map_err(|e| e.to_string())?;
        let operation = cluster.status.iter().flat_map(|it| &it.operation);
        let mut gates = operation.flat_map(|it| &it.blocked_by);
        if gates.any(|it| it.gate == "SoundMajority") {
            Ok(())
        } else {
            Err(told(&cluster))
        }
    })
    .await?;
    let after = anyone(lab, name).await?.members().await?;
    ensure!(before == after, "{before:?} became {after:?}");
    anyone(lab, name).await?.acquit(0).await?;
    lab.ready(name).await.map(drop)
}

async fn anyone(lab: &Lab, name: &str) -> Result<Client> {
    let endpoints = lab.endpoints(name).await?;
    let first = endpoints.first().context("a member that answers")?;
    Ok(Client::connect(first).await?)
}
