//! Promise: a change that does not work reaches the canary and nobody else, and is undone without a hand while the cluster
//! serves; a roll by surge never has fewer voters than were asked for; and whoever changes his mind at any step of a roll
//! has the cluster back as it was. Nothing lost, nothing out of order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crds::RaftCluster;
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE, is_rolled_back, told};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::{FIGURE, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: careful }
spec:
  replicas: 3
  storage: { size: 1Gi }
  deletionPolicy: Delete
  updateStrategy:
    progressDeadlineSeconds: 300
    onFailure: Rollback
    rollingUpdate: { canary: { count: 1, soakSeconds: 2 } }
";

/// Steps of a roll at which it is reverted; a roll has more, and they are all like one of these.
const REVERTS: usize = 6;

e2e::on_each_engine!(
    what_does_not_work_reaches_one_member_and_is_undone,
    a_surge_never_has_fewer_voters,
    a_revert_at_any_step_of_a_roll_heals,
);

async fn what_does_not_work_reaches_one_member_and_is_undone(engine: Engine) -> Result<()> {
    let (lab, name, traffic) = stage("undone", engine).await?;
    let volumes = claims(&lab, &name).await?;
    let missing = json!({ "image": lab.engine().missing_image() });
    is_undone(&lab, &name, &traffic, "an image that nobody has", missing).await?;
    let refused = option("ETCD_MAX_TXN_OPS", "none");
    is_undone(&lab, &name, &traffic, "an option that is refused", refused).await?;
    let next = json!({
        "image": lab.engine().next_image(), "podTemplate": null,
        "updateStrategy": { "progressDeadlineSeconds": 300 },
    });
    lab.change(&name, &traffic, "a change that works, after them", next)
        .await?;
    let image = lab.engine().next_image();
    ensure!(
        lab.pods(&name).await?.iter().all(|it| runs(it, &image)),
        "a pod is of another image than {image}"
    );
    ensure!(
        claims(&lab, &name).await? == volumes,
        "a volume was touched"
    );
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// An option that the spec does not know.
fn option(variable: &str, value: &str) -> Value {
    let member = json!({ "name": "member", "env": [{ "name": variable, "value": value }] });
    json!({ "image": null, "podTemplate": { "spec": { "containers": [member] } } })
}

/// Applies a change that does not work, and waits until all members are what they were before, but one a new pod.
async fn is_undone(
    lab: &Lab,
    name: &str,
    traffic: &Traffic,
    what: &str,
    mut spec: Value,
) -> Result<()> {
    if spec["image"].is_null() {
        spec["image"] = json!(lab.engine().plain_image());
    }
    spec["updateStrategy"] = json!({ "progressDeadlineSeconds": 10 });
    let before = uids(lab, name).await?;
    let (began, at) = (traffic.recorder().elapsed(), Instant::now());
    lab.patch_spec(name, spec).await?;
    let undone = wait::until(format!("{what} to be undone"), PATIENCE, async || {
        let cluster = lab.clusters().get(name).await.map_err(|e| e.to_string())?;
        let pods = lab.pods(name).await.map_err(|e| e.to_string())?;
        let touched = pods
            .iter()
            .filter(|it| !before.contains(&it.uid().unwrap_or_default()));
        if touched.count() > 1 {
            return Ok(false);
        }
        if is_rolled_back(&cluster) {
            return Ok(true);
        }
        Err(told(&cluster))
    });
    let alone = tokio::select! {
        undone = undone => undone?,
        followed = lab.follow(name, traffic) => { followed?; false }
    };
    ensure!(alone, "{what} reached a second member");
    traffic.use_endpoints(lab.endpoints(name).await?);
    traffic.flows(50, PATIENCE).await?;
    let history = traffic.recorder().history();
    let gap = history
        .largest_write_gap_within(began, traffic.recorder().elapsed())
        .context("no writes")?;
    println!(
        "{FIGURE}{}, {what}: undone after {:.1} s, largest write gap {} ms",
        lab.engine(),
        at.elapsed().as_secs_f64(),
        gap.length().as_millis()
    );
    Ok(())
}

async fn a_surge_never_has_fewer_voters(engine: Engine) -> Result<()> {
    let (lab, name, traffic) = stage("surge", engine).await?;
    let surge = json!({ "updateStrategy": { "type": "Surge" } });
    lab.patch_spec(&name, surge).await?;
    lab.ready(&name).await?;
    let before = uids(&lab, &name).await?;
    let image = json!({ "image": lab.engine().next_image() });
    let change = lab.change(&name, &traffic, "roll by surge", image);
    let mut seen = BTreeSet::new();
    tokio::select! {
        changed = change => changed?,
        failed = count_voters(&lab, &name, &mut seen) => failed?,
    }
    ensure!(
        seen == BTreeSet::from([3, 4]),
        "there were {seen:?} voters at one time or another"
    );
    let after = uids(&lab, &name).await?;
    ensure!(
        after.len() == 3 && after.is_disjoint(&before),
        "before {before:?}, after {after:?}"
    );
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// Asks every member that answers how many voters it knows of, again and again. Ends only with an error.
async fn count_voters(lab: &Lab, name: &str, seen: &mut BTreeSet<usize>) -> Result<()> {
    let mut look = tokio::time::interval(Duration::from_millis(50));
    loop {
        look.tick().await;
        for url in lab.endpoints(name).await? {
            let Ok(mut client) = Client::connect(&url).await else {
                continue;
            };
            // One that has just started knows of nobody yet, or of those before it.
            let members = client.members().await.unwrap_or_default();
            let voters = members.iter().filter(|it| !it.is_learner).count();
            if client.status().await.is_ok_and(|it| it.leader != 0) && voters > 0 {
                seen.insert(voters);
            }
        }
    }
}

async fn a_revert_at_any_step_of_a_roll_heals(engine: Engine) -> Result<()> {
    let (lab, name, traffic) = stage("reverted", engine).await?;
    let began = traffic.recorder().elapsed();
    let mut reverted = 0;
    while reverted < REVERTS {
        let next = json!({ "image": lab.engine().next_image() });
        lab.patch_spec(&name, next).await?;
        let reached = tokio::select! {
            reached = lab.steps_seen(&name, reverted + 1, step_of) => reached?,
            followed = lab.follow(&name, &traffic) => { followed?; false }
        };
        let image = lab.engine().plain_image();
        let back = json!({ "image": image });
        let what = format!("revert at step {}", reverted + 1);
        lab.change(&name, &traffic, &what, back).await?;
        let image = lab.engine().image();
        ensure!(
            lab.pods(&name).await?.iter().all(|it| runs(it, &image)),
            "{what}: a pod is of another image than {image}"
        );
        if !reached {
            break;
        }
        reverted += 1;
    }
    ensure!(reverted >= 4, "a roll has more than {reverted} steps");
    let history = traffic.recorder().history();
    let gap = history
        .largest_write_gap_within(began, traffic.recorder().elapsed())
        .context("no writes")?;
    println!(
        "{FIGURE}{}, reverted at each of {reverted} steps of a roll: largest write gap {} ms",
        lab.engine(),
        gap.length().as_millis()
    );
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// The step in hand, in words that tell it from every other of a roll.
fn step_of(cluster: &RaftCluster) -> Option<String> {
    let operation = cluster.status.as_ref()?.operation.as_ref()?;
    let (kind, step, member) = (operation.kind, &operation.step, &operation.member);
    Some(format!("{kind:?} {step} {member:?}"))
}

/// A ready cluster under load that rolls with care.
async fn stage(what: &str, engine: Engine) -> Result<(Lab, String, Traffic)> {
    let lab = Lab::start(&format!("rollouts-{what}"), engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    Ok((lab, name, traffic))
}

fn runs(pod: &Pod, image: &str) -> bool {
    let mut containers = pod.spec.iter().flat_map(|it| &it.containers);
    containers.any(|it| it.image.as_deref() == Some(image))
}

/// The uids of a cluster's pods.
async fn uids(lab: &Lab, name: &str) -> Result<BTreeSet<String>> {
    let pods = lab.pods(name).await?;
    Ok(pods.iter().filter_map(ResourceExt::uid).collect())
}

/// The uids of the volumes that a cluster's members are remembered to have.
async fn claims(lab: &Lab, name: &str) -> Result<BTreeSet<String>> {
    let status = lab.clusters().get(name).await?.status.unwrap_or_default();
    Ok(status
        .members
        .into_iter()
        .filter_map(|it| it.claim_uid)
        .collect())
}
