//! Promise: the CAs of a cluster with TLS are replaced while it serves: members, the operator and applications that read their
//! Secret anew believe each other all the time, and afterwards nobody believes in the old CAs. Nothing is lost. Members of
//! quorate-node go on running; those of etcd, which reads CAs only when it starts, restart one by one.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use crds::RaftOperation;
use e2e::FIGURE;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::secured::Shown;
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: vault }
spec:
  replicas: 3
  storage: { size: 1Gi }
  tls:
    peer: { mode: Operator }
    client: { mode: Operator }
";

e2e::on_each_engine!(authorities_are_replaced_and_nobody_notices);

async fn authorities_are_replaced_and_nobody_notices(engine: Engine) -> Result<()> {
    let lab = Lab::start("authorities", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let shown = lab.shown(&name).await?;
    let endpoints = lab.secured_endpoints(&name).await?;
    let traffic = Traffic::start_secured(Mix::default(), endpoints, shown.clone());
    traffic.flows(50, PATIENCE).await?;
    let (old, pods) = (lab.papers(&name).await?, uids(&lab, &name).await?);

    let renewed = json!({ "rotateCertificates": {} });
    done(&lab, &name, (&traffic, &shown), "renew", renewed).await?;
    ensure!(uids(&lab, &name).await? == pods, "a member was replaced");

    let replaced =
        json!({ "rotateCertificates": { "certificateAuthority": true, "overlapSeconds": 2 } });
    done(&lab, &name, (&traffic, &shown), "replace", replaced).await?;
    let same = uids(&lab, &name).await? == pods;
    let is_ours = lab.engine().kind() == crds::Engine::Quorate;
    ensure!(same == is_ours, "members are the same: {same}");
    let old = Shown::of(&old)?;
    for url in lab.secured_endpoints(&name).await? {
        ensure!(
            old.certificate_of(&url).await.is_err(),
            "{url} is believed under the old CA"
        );
        shown.certificate_of(&url).await?;
    }
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

async fn uids(lab: &Lab, name: &str) -> Result<Vec<Option<String>>> {
    Ok(lab.pods(name).await?.iter().map(ResourceExt::uid).collect())
}

/// Asks for something, and waits with writes flowing until it is done; meanwhile the application reads its Secret anew.
async fn done(
    lab: &Lab,
    name: &str,
    (traffic, shown): (&Traffic, &Shown),
    what: &str,
    asked: Value,
) -> Result<()> {
    let mut spec = asked;
    spec["clusterName"] = json!(name);
    let operation = RaftOperation::new(what, serde_json::from_value(spec)?);
    let operations: Api<RaftOperation> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let began = (Instant::now(), traffic.recorder().elapsed());
    operations
        .create(&PostParams::default(), &operation)
        .await?;
    tokio::select! {
        ended = lab.succeeded(what) => ended?,
        broken = lab.follow(name, traffic) => broken?,
        broken = keep_up(lab, name, shown) => broken?,
    }
    shown.take_over(&lab.papers(name).await?)?;
    lab.ready(name).await?;
    traffic.use_endpoints(lab.secured_endpoints(name).await?);
    traffic.flows(50, PATIENCE).await?;
    let history = traffic.recorder().history();
    let gap = history.largest_write_gap_within(began.1, traffic.recorder().elapsed());
    let gap = gap.map(|it| it.length().as_millis());
    println!(
        "{FIGURE}{what}: {:?}, largest write gap {gap:?} ms",
        began.0.elapsed()
    );
    Ok(())
}

/// The application: it looks at its Secret four times a second.
async fn keep_up(lab: &Lab, name: &str, shown: &Shown) -> Result<()> {
    let mut clock = tokio::time::interval(Duration::from_millis(250));
    loop {
        clock.tick().await;
        shown.take_over(&lab.papers(name).await?)?;
    }
}
