//! Promise: what a `RaftOperation` asks for is done under load, one step at a time, and nothing is lost; a member that is kept
//! stopped comes back with its volume when nobody asks for it any more; members that have
//! used up their space take writes again without anybody's help.

use anyhow::{Context, Result, ensure};
use crds::{MemberPhase, MemberStatus, RaftCluster, RaftOperation};
use e2e::FIGURE;
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE, told};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: asked }
spec:
  replicas: 3
  storage: { size: 1Gi }
";

/// The least quota that there is.
const SMALL: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: small }
spec:
  replicas: 3
  storage: { size: 1Gi }
  options: { quotaBackendBytes: 16Mi }
";

e2e::on_each_engine!(operations_are_done_and_nothing_is_lost);

async fn operations_are_done_and_nothing_is_lost(engine: Engine) -> Result<()> {
    let lab = Lab::start("operations", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    hand_over(&lab, &name, &traffic).await?;
    done(&lab, &name, &traffic, "compact", json!({ "compact": {} })).await?;
    done(
        &lab,
        &name,
        &traffic,
        "defragment",
        json!({ "defragment": {} }),
    )
    .await?;
    restart(&lab, &name, &traffic).await?;
    replace(&lab, &name, &traffic).await?;
    fence(&lab, &name, &traffic, "fence-follower").await?;
    fence(&lab, &name, &traffic, "fence-leader").await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

async fn hand_over(lab: &Lab, name: &str, traffic: &Traffic) -> Result<()> {
    let led = lab.leader(name).await?.member;
    let pods = lab.pods(name).await?;
    let to = pods.iter().map(ResourceExt::name_any).find(|it| *it != led);
    let to = to.context("a follower")?;
    let asked = json!({ "transferLeader": { "to": to } });
    done(lab, name, traffic, "hand-over", asked).await?;
    let leads = lab.leader(name).await?.member;
    ensure!(leads == to, "{leads} leads instead of {to}");
    Ok(())
}

async fn uids(lab: &Lab, name: &str) -> Result<Vec<String>> {
    let pods = lab.pods(name).await?;
    Ok(pods.iter().filter_map(ResourceExt::uid).collect())
}

async fn restart(lab: &Lab, name: &str, traffic: &Traffic) -> Result<()> {
    let before = uids(lab, name).await?;
    done(lab, name, traffic, "restart", json!({ "restart": {} })).await?;
    let after = uids(lab, name).await?;
    ensure!(after.len() == 3, "{} pods after the restart", after.len());
    ensure!(
        after.iter().all(|uid| !before.contains(uid)),
        "a member was not restarted"
    );
    Ok(())
}

/// The leader itself, which has to hand over before it goes.
async fn replace(lab: &Lab, name: &str, traffic: &Traffic) -> Result<()> {
    let led = lab.leader(name).await?.member;
    let asked = json!({ "replaceMember": { "member": led } });
    done(lab, name, traffic, "replace", asked).await?;
    lab.healthy(name, 3).await?;
    let pods = lab.pods(name).await?;
    ensure!(
        pods.iter().all(|it| it.name_any() != led),
        "{led} is still there"
    );
    Ok(())
}

/// A member is kept stopped, with its volume, and comes back when nobody asks for it any more; the leader, where the name says so.
async fn fence(lab: &Lab, name: &str, traffic: &Traffic, what: &str) -> Result<()> {
    let led = lab.leader(name).await?.member;
    let wanted = |it: &String| (*it == led) == what.ends_with("leader");
    let pods = lab.pods(name).await?;
    let member = pods.iter().map(ResourceExt::name_any).find(wanted);
    let member = member.context("a member")?;
    let volume = claim_uid(lab, &member).await?;
    let operations = ask(lab, name, what, json!({ "fence": { "member": member } })).await?;
    let began = std::time::Instant::now();
    let stands = wait::until(format!("{member} to be fenced"), PATIENCE, async || {
        let cluster = lab.clusters().get(name).await.map_err(|e| e.to_string())?;
        let pods = lab.pods(name).await.map_err(|e| e.to_string())?;
        let gone = pods.iter().all(|it| it.name_any() != member);
        if gone && is_fenced(&cluster, &member) {
            Ok(())
        } else {
            Err(told(&cluster))
        }
    });
    tokio::select! {
        stands = stands => stands?,
        broken = lab.follow(name, traffic) => broken?,
    }
    println!("{FIGURE}{what}: {:?}", began.elapsed());
    traffic.use_endpoints(lab.endpoints(name).await?);
    traffic.flows(50, PATIENCE).await?;
    let pods = lab.pods(name).await?;
    ensure!(pods.len() == 2, "{} pods beside the fence", pods.len());
    ensure!(
        claim_uid(lab, &member).await? == volume,
        "{member} has another volume"
    );
    let began = std::time::Instant::now();
    operations.delete(what, &DeleteParams::default()).await?;
    lab.healthy(name, 3).await?;
    println!("{FIGURE}{what} back: {:?}", began.elapsed());
    lab.ready(name).await?;
    traffic.use_endpoints(lab.endpoints(name).await?);
    traffic.flows(50, PATIENCE).await?;
    ensure!(
        claim_uid(lab, &member).await? == volume,
        "{member} came back on another volume"
    );
    Ok(())
}

/// Whether the operator says that a member is kept stopped, and that nothing else is missing.
fn is_fenced(cluster: &RaftCluster, member: &str) -> bool {
    let status = cluster.status.clone().unwrap_or_default();
    let shown = |it: &MemberStatus| it.name == member && it.phase == MemberPhase::Fenced;
    let mut conditions = status.conditions.iter();
    let said = conditions.any(|it| it.type_ == "Ready" && it.reason == "Fenced");
    said && status.members.iter().any(shown)
}

async fn claim_uid(lab: &Lab, member: &str) -> Result<Option<String>> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(lab.client().clone(), NAMESPACE);
    Ok(claims.get(&plan::names::claim(member)).await?.uid())
}

/// Asks for something.
async fn ask(lab: &Lab, name: &str, what: &str, asked: Value) -> Result<Api<RaftOperation>> {
    let mut spec = asked;
    spec["clusterName"] = json!(name);
    let operation = RaftOperation::new(what, serde_json::from_value(spec)?);
    let operations: Api<RaftOperation> = Api::namespaced(lab.client().clone(), NAMESPACE);
    operations
        .create(&PostParams::default(), &operation)
        .await?;
    Ok(operations)
}

/// Asks for something, and waits with writes flowing until it is done.
async fn done(lab: &Lab, name: &str, traffic: &Traffic, what: &str, asked: Value) -> Result<()> {
    ask(lab, name, what, asked).await?;
    let began = std::time::Instant::now();
    tokio::select! {
        ended = lab.succeeded(what) => ended?,
        broken = lab.follow(name, traffic) => broken?,
    }
    println!("{FIGURE}{what}: {:?}", began.elapsed());
    traffic.use_endpoints(lab.endpoints(name).await?);
    traffic.flows(50, PATIENCE).await?;
    Ok(())
}

e2e::on_each_engine!(members_without_space_take_writes_again);

async fn members_without_space_take_writes_again(engine: Engine) -> Result<()> {
    let lab = Lab::start("no-space", engine).await?;
    let name = lab.apply(SMALL).await?;
    lab.ready(&name).await?;
    let url = lab.endpoints(&name).await?.first().cloned();
    let url = url.context("a member with an address")?;
    let mut client = Client::connect(&url).await?;
    let mut written = 0;
    // The same key again and again: all but the last of its values is history.
    while written < 200 && put(&mut client).await.is_ok() {
        written += 1;
    }
    ensure!(written < 200, "a quota of 16Mi took {written} MB");
    let again = wait::until("writes to be taken again", PATIENCE, async || {
        put(&mut client).await.map_err(|e| e.to_string())
    });
    again.await?;
    let status = client.status().await?;
    ensure!(status.errors.is_empty(), "{:?}", status.errors);
    lab.ready(&name).await?;
    println!("{FIGURE}{written} MB written before the alarm");
    lab.end().await
}

async fn put(client: &mut Client) -> Result<i64, tonic::Status> {
    let value = vec![7; 1_000_000];
    client.put_all(vec![("big".to_owned(), value)]).await
}
