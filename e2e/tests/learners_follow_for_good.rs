//! Promise: learners for good are added, rolled and taken away while the cluster serves; they have all data and answer serializable
//! reads, never vote, and no client is sent to them. Nothing lost, nothing out of order.

use anyhow::{Context, Result, ensure};
use crds::MemberRole;
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use kube::ResourceExt;
use serde_json::json;

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: followed }
spec:
  replicas: 1
  storage: { size: 1Gi }
";

e2e::on_each_engine!(learners_follow_for_good);

async fn learners_follow_for_good(engine: Engine) -> Result<()> {
    let lab = Lab::start("learners", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), voters(&lab, &name).await?);
    traffic.flows(50, PATIENCE).await?;
    for (what, spec, learners) in [
        (
            "three voters and a learner",
            json!({ "replicas": 3, "learners": 1 }),
            1,
        ),
        ("another learner", json!({ "learners": 2 }), 2),
        (
            "a roll",
            json!({ "options": { "snapshotCount": 20_000 } }),
            2,
        ),
        ("no learner", json!({ "learners": 0 }), 0),
    ] {
        change(&lab, &name, &traffic, spec).await.context(what)?;
        are_there(&lab, &name, learners).await.context(what)?;
    }
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// Changes the spec and waits until that is done, with clients at voters only, as the client service sends them.
async fn change(lab: &Lab, name: &str, traffic: &Traffic, spec: serde_json::Value) -> Result<()> {
    lab.patch_spec(name, spec).await?;
    let follow = async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(200));
        loop {
            look.tick().await;
            let now = voters(lab, name).await?;
            if !now.is_empty() {
                traffic.use_endpoints(now);
            }
        }
    };
    let followed: Result<()> = tokio::select! {
        ready = lab.ready(name) => ready.map(drop),
        followed = follow => followed,
    };
    followed?;
    traffic.use_endpoints(voters(lab, name).await?);
    traffic.flows(50, PATIENCE).await?;
    Ok(())
}

/// URLs of the pods with the label that the client service selects.
async fn voters(lab: &Lab, name: &str) -> Result<Vec<String>> {
    urls(lab, name, "voter").await
}

async fn urls(lab: &Lab, name: &str, role: &str) -> Result<Vec<String>> {
    let pods = lab.pods(name).await?;
    let labelled = pods.iter().filter(|it| {
        let found = it.labels().get("quorate.io/role");
        found.is_some_and(|it| it == role) && it.metadata.deletion_timestamp.is_none()
    });
    let ip = labelled.filter_map(|it| it.status.as_ref()?.pod_ip.clone());
    Ok(ip.map(|it| format!("http://{it}:2379")).collect())
}

/// As many learners as wanted, and three voters, by the word of the status and of the members.
async fn are_there(lab: &Lab, name: &str, learners: usize) -> Result<()> {
    let status = lab.clusters().get(name).await?.status.context("a status")?;
    let shown = status
        .members
        .iter()
        .filter(|it| it.role == MemberRole::Learner);
    ensure!(shown.count() == learners, "{:?}", status.members);
    ensure!(status.ready.as_deref() == Some("3/3"), "{:?}", status.ready);
    let said = (learners > 0).then(|| format!("{learners}/{learners}"));
    ensure!(status.learners == said, "{:?}", status.learners);
    ensure!(
        status.quorum.is_some_and(|it| it.required == 2),
        "{:?}",
        status.quorum
    );
    let urls = urls(lab, name, "learner").await?;
    ensure!(urls.len() == learners, "{urls:?}");
    for url in urls {
        let mut learner = Client::connect(&url).await?;
        ensure!(learner.status().await?.is_learner, "{url} has a vote");
        wait::until("the learner to have keys", PATIENCE, async || {
            let found = learner.clone().under_serializable("traffic/").await;
            match found {
                Ok(count) if count > 0 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
    }
    Ok(())
}
