//! The steps of the demo.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use e2e::history::{Action, Answer, History, Value};
use e2e::lab::{self, Lab, PATIENCE, is_ready};
use e2e::traffic::{Mix, Traffic};
use e2e::{linearizable, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::screen::Screen;
use crate::tree;

/// How often the tree is looked at: quick enough to look alive.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many keys are written and read back.
const KEYS: u64 = 100;

/// Everything, in order; on a terminal it does not return by itself.
pub(crate) async fn all(screen: &mut Screen, lab: &mut Lab) -> Result<()> {
    let name = apply(screen, lab).await?;
    write_and_read(screen, lab, &name).await?;
    kill_the_leader(screen, lab, &name).await?;
    scale(screen, lab, &name, 5).await?;
    if screen.is_terminal() {
        stay(screen, lab, &name).await?;
    }
    Ok(())
}

async fn apply(screen: &mut Screen, lab: &Lab) -> Result<String> {
    let path = crate::example();
    let manifest =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    screen.step("kubectl apply -f examples/minimal.yaml");
    for line in manifest.lines() {
        screen.say(&format!("  {line}"));
    }
    let name = lab.apply_as_it_stands(&manifest).await?;
    screen.step(&format!("{name} comes up"));
    watch_until_ready(screen, lab, &name).await?;
    Ok(name)
}

/// Draws the cluster until it is ready.
async fn watch_until_ready(screen: &mut Screen, lab: &Lab, name: &str) -> Result<()> {
    let began = std::time::Instant::now();
    loop {
        let cluster = lab.clusters().get(name).await.context("read the cluster")?;
        screen.tree(tree::lines(&cluster));
        if is_ready(&cluster) {
            screen.say(&format!(
                "Ready after {:.1} s",
                began.elapsed().as_secs_f64()
            ));
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            bail!(
                "{name} was not Ready after {} s: {}",
                PATIENCE.as_secs(),
                lab::told(&cluster)
            );
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn write_and_read(screen: &mut Screen, lab: &Lab, name: &str) -> Result<()> {
    screen.step(&format!(
        "write {KEYS} keys through one member, read them through another"
    ));
    let endpoints = lab.secured_endpoints(name).await?;
    let shown = lab.shown(name).await?;
    let (Some(first), Some(last)) = (endpoints.first(), endpoints.last()) else {
        bail!("{name} has no endpoints");
    };
    let mut writer = shown
        .client(first)
        .await
        .with_context(|| format!("dial {first}"))?;
    for n in 0..KEYS {
        writer
            .act(&key(n), Action::Put(Value(n)))
            .await
            .with_context(|| format!("put {}", key(n)))?;
    }
    let mut reader = shown
        .client(last)
        .await
        .with_context(|| format!("dial {last}"))?;
    for n in 0..KEYS {
        let read = reader
            .act(&key(n), Action::Get)
            .await
            .with_context(|| format!("get {}", key(n)))?;
        ensure!(
            read.answer == Answer::Saw(Some(Value(n))),
            "{} holds {:?}",
            key(n),
            read.answer
        );
    }
    screen.say(&format!(
        "{KEYS} written through {first}, {KEYS} read through {last}"
    ));
    Ok(())
}

fn key(n: u64) -> String {
    format!("demo/{n:03}")
}

async fn kill_the_leader(screen: &mut Screen, lab: &Lab, name: &str) -> Result<()> {
    let old = lab.leader(name).await?;
    screen.step(&format!(
        "kill -9 {}, the leader of term {}, under load",
        old.member, old.term
    ));
    let endpoints = lab.secured_endpoints(name).await?;
    let traffic = Traffic::start_secured(Mix::default(), endpoints, lab.shown(name).await?);
    traffic.flows(200, PATIENCE).await?;
    let killed_at = traffic.recorder().elapsed();
    lab.kill(&old.member)?;
    let new = new_leader(lab, name, old.term).await?;
    traffic.flows(200, PATIENCE).await?;
    let flowed_at = traffic.recorder().elapsed();
    screen.say(&format!("{} leads now, in term {}", new.member, new.term));
    let history = traffic.finish(PATIENCE).await?;
    let gap = history
        .largest_write_gap_within(killed_at, flowed_at)
        .context("no writes")?;
    screen.say(&format!(
        "no write went through for {} ms",
        gap.length().as_millis()
    ));
    verdict(screen, &history)?;
    watch_until_ready(screen, lab, name).await
}

/// Says that nothing is lost and all of it is linearizable, or fails.
pub(crate) fn verdict(screen: &mut Screen, history: &History) -> Result<()> {
    let lost = history.lost();
    ensure!(
        lost.is_empty(),
        "{} acknowledged writes are missing: {}",
        lost.len(),
        lost[0]
    );
    linearizable::check(history)?;
    screen.say(&format!(
        "{} writes were acknowledged, all keys read again: nothing is missing, and the history is linearizable",
        history.acknowledged_writes()
    ));
    Ok(())
}

async fn new_leader(lab: &Lab, name: &str, old_term: u64) -> Result<lab::Leader> {
    let found = wait::until("a leader of a later term", PATIENCE, async || {
        let leader = lab.leader(name).await.map_err(|e| format!("{e:#}"))?;
        if leader.term > old_term {
            Ok(leader)
        } else {
            Err(format!("still {leader:?}"))
        }
    });
    Ok(found.await?)
}

async fn scale(screen: &mut Screen, lab: &Lab, name: &str, replicas: u32) -> Result<()> {
    screen.step(&format!(
        "kubectl scale raftcluster {name} --replicas={replicas}"
    ));
    lab.scale(name, replicas).await?;
    watch_until_ready(screen, lab, name).await
}

/// Shows what can be tried, and then the cluster as it is, until Ctrl-C.
async fn stay(screen: &mut Screen, lab: &Lab, name: &str) -> Result<()> {
    screen.step("it is yours until Ctrl-C; three commands to try in another terminal:");
    let leader = lab.leader(name).await?.member;
    let endpoints = lab.secured_endpoints(name).await?.join(",");
    let flags = lab.papers(name).await?.write_to(lab.folder())?;
    screen.say(&format!(
        "kubectl --kubeconfig {} get raftcluster,raftmember,pod",
        lab.kubeconfig().display()
    ));
    screen.say(&format!(
        "etcdctl --endpoints {endpoints} {flags} endpoint status -w table"
    ));
    match lab
        .pods(name)
        .await?
        .iter()
        .find(|p| p.name_any() == leader)
        .and_then(process)
    {
        Some(pid) => screen.say(&format!("kill -9 {pid}    # {leader}, the leader")),
        None => screen.say(&format!(
            "kubectl --kubeconfig {} delete pod {leader}",
            lab.kubeconfig().display()
        )),
    }
    loop {
        let cluster = lab.clusters().get(name).await.context("read the cluster")?;
        screen.tree(tree::lines(&cluster));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The process of a pod: what smallkube says as its container's id.
fn process(pod: &Pod) -> Option<String> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let id = container.container_id.as_ref()?.rsplit('/').next()?;
    id.chars()
        .all(|c| c.is_ascii_digit())
        .then(|| id.to_owned())
}
