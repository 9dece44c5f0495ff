//! Promise: what a `RaftOperation` asks for is done under load, one step at a time, and nothing is lost; members that have
//! used up their space take writes again without anybody's help.

use anyhow::{Context, Result, ensure};
use crds::RaftOperation;
use e2e::FIGURE;
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use kube::api::PostParams;
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

/// Asks for something, and waits with writes flowing until it is done.
async fn done(lab: &Lab, name: &str, traffic: &Traffic, what: &str, asked: Value) -> Result<()> {
    let mut spec = asked;
    spec["clusterName"] = json!(name);
    let operation = RaftOperation::new(what, serde_json::from_value(spec)?);
    let operations: Api<RaftOperation> = Api::namespaced(lab.client().clone(), NAMESPACE);
    operations
        .create(&PostParams::default(), &operation)
        .await?;
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
