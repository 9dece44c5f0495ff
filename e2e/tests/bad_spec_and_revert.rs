//! Promise: a bad spec, applied at whatever step of a cluster's creation and reverted later,
//! never takes down what serves already, and its revert heals with no other hand; nor do members that fail meanwhile stay away.

use std::pin::pin;

use anyhow::{Context, Result};
use crds::RaftCluster;
use e2e::FIGURE;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE, told};
use e2e::simulated::{Crash, World};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;

/// More steps than a creation has; the test ends when a cluster was Ready before its turn came.
const STEPS_AT_MOST: usize = 60;
/// Clusters side by side: most of their time they wait, for elections, for probes, for etcd's strict check.
const AT_ONCE: usize = 3;

/// So many rounds after a pod has failed it is back.
const ROUNDS: u32 = 30;

/// How many of the world's pods run and are ready.
async fn ready_pods(world: &World) -> usize {
    let pods: Api<Pod> = Api::namespaced(world.user.clone(), "default");
    let pods = pods.list(&ListParams::default()).await;
    let is_ready = |pod: &&Pod| {
        let Some(status) = &pod.status else {
            return false;
        };
        let mut conditions = status.conditions.iter().flatten();
        let ready = conditions.any(|it| it.type_ == "Ready" && it.status == "True");
        ready && status.phase.as_deref() == Some("Running")
    };
    let pods = pods.expect("smallkube can be read").items;
    pods.iter().filter(is_ready).count()
}

#[tokio::test(start_paused = true)]
async fn pods_come_back_as_they_were_while_the_spec_cannot_be_followed() {
    let world = World::new().await;
    let operator = Crash::never();
    world
        .create(json!({ "replicas": 3, "storage": { "size": "1Gi" } }))
        .await;
    let ready = world.converge(&operator).await;
    ready.expect("it becomes ready");
    let misspelt = json!({ "podTemplate": { "spec": { "nodeSelectr": { "disk": "fast" } } } });
    world.change(misspelt).await;
    let ctx = world.operator(&operator);
    for member in 0..3 {
        world.fail_pod(member).await;
        assert_eq!(ready_pods(&world).await, 2, "the kubelet has ended it");
        let safe = world.rounds(&ctx, &operator, ROUNDS).await;
        safe.expect("every plan is safe");
        assert_eq!(ready_pods(&world).await, 3, "member {member} is back");
    }
    world.change(json!({ "podTemplate": null })).await;
    let reverted = world.converge(&operator).await;
    reverted.expect("it becomes ready again");
    assert_eq!(world.model.violations(), Vec::<String>::new());
}

e2e::on_each_engine!(a_bad_spec_is_survived_and_its_revert_heals_at_every_step_of_creation);

async fn a_bad_spec_is_survived_and_its_revert_heals_at_every_step_of_creation(
    engine: Engine,
) -> Result<()> {
    let lab = Lab::start("bad-spec", engine).await?;
    let tried = steps_survived(&lab).await?;
    anyhow::ensure!(tried >= 4, "a creation has more than {tried} steps");
    let engine = lab.engine();
    println!("{FIGURE}{engine}, broken and healed at each of {tried} steps of creation");
    lab.end().await
}

/// Breaks a cluster at the first step of its creation, one at the second, and so on to the last.
async fn steps_survived(lab: &Lab) -> Result<usize> {
    let attempts = stream::iter(1..STEPS_AT_MOST).map(|step| attempt(lab, step));
    let mut attempts = pin!(attempts.buffered(AT_ONCE));
    let mut tried = 0;
    while attempts.try_next().await? == Some(true) {
        tried += 1;
    }
    Ok(tried)
}

/// One cluster of its own, and the end of it.
async fn attempt(lab: &Lab, step: usize) -> Result<bool> {
    let name = format!("step-{step}");
    let reached = break_at(lab, &name, step)
        .await
        .with_context(|| format!("step {step}"))?;
    lab.delete(&name).await?;
    Ok(reached)
}

/// Creates a cluster and breaks it at the n-th step; false when it was Ready before that.
async fn break_at(lab: &Lab, name: &str, step: usize) -> Result<bool> {
    lab.apply(&manifest(name)).await?;
    let traffic = Traffic::start(
        Mix {
            clients: 4,
            ..Mix::default()
        },
        Vec::new(),
    );
    let follow = lab.follow(name, &traffic);
    let reached = tokio::select! {
        reached = broken_and_healed(lab, name, step, &traffic) => reached?,
        followed = follow => { followed?; false }
    };
    traffic.use_endpoints(lab.endpoints(name).await?);
    traffic.flows(20, PATIENCE).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    Ok(reached)
}

async fn broken_and_healed(lab: &Lab, name: &str, step: usize, traffic: &Traffic) -> Result<bool> {
    if !lab.steps_seen(name, step, |it| Some(step_of(it))).await? {
        return Ok(false);
    }
    // What the operator itself calls available it may not take down any more.
    let served = is_available(&lab.clusters().get(name).await?);
    let image = lab.engine().missing_image();
    lab.patch_spec(name, json!({ "image": image })).await?;
    reported(lab, name).await?;
    if served {
        traffic
            .flows(20, PATIENCE)
            .await
            .context("while the bad spec stood")?;
    }
    let image = lab.engine().plain_image();
    lab.patch_spec(name, json!({ "image": image })).await?;
    lab.ready(name).await?;
    Ok(true)
}

/// The step in hand, in words that tell it from every other of this creation.
fn step_of(cluster: &RaftCluster) -> String {
    let status = cluster.status.clone().unwrap_or_default();
    let operation = status
        .operation
        .map(|o| (o.kind, o.step, o.member, o.blocked_by));
    format!("{operation:?}")
}

fn is_available(cluster: &RaftCluster) -> bool {
    let conditions = cluster.status.iter().flat_map(|s| &s.conditions);
    conditions
        .into_iter()
        .any(|c| c.type_ == "Available" && c.status == "True")
}

/// Waits until the operator has acted on the bad spec: a pod has the missing image.
async fn reported(lab: &Lab, name: &str) -> Result<()> {
    let missing = lab.engine().missing_image();
    wait::until("the bad spec to be acted on", PATIENCE, async || {
        let cluster = lab.clusters().get(name).await.map_err(|e| e.to_string())?;
        let observed = cluster.status.as_ref().and_then(|s| s.observed_generation);
        let pods = lab.pods(name).await.map_err(|e| e.to_string())?;
        let mut containers = pods
            .iter()
            .flat_map(|p| p.spec.iter().flat_map(|s| &s.containers));
        let acted = containers.any(|c| c.image.as_ref() == Some(&missing));
        if observed == cluster.metadata.generation && acted {
            Ok(())
        } else {
            Err(told(&cluster))
        }
    })
    .await?;
    Ok(())
}

fn manifest(name: &str) -> String {
    format!(
        "apiVersion: quorate.io/v1alpha1\nkind: RaftCluster\nmetadata: {{ name: {name} }}\n\
         spec: {{ replicas: 3, storage: {{ size: 1Gi }}, deletionPolicy: Delete }}\n"
    )
}
