//! Promise: a member whose volume is deleted, and one whose node dies with its local volume on it, are each replaced by a new
//! member while the cluster serves, without a hand and without waiting for Kubernetes to drive the pod out: nothing lost,
//! nothing out of order, and full redundancy again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE, is_ready, told};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::{FIGURE, wait};
use k8s_openapi::api::core::v1::{Node, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use smallkube::Power;

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: mended }
spec:
  replicas: 3
  storage: { size: 1Gi }
  repairPolicy: { volumeLostSeconds: 2, nodeUnreachableSeconds: 5 }
";

/// What is taken from a member for good.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Its claim and its pod are deleted.
    Volume,
    /// Its node dies and is marked by Kubernetes, and comes back for nobody.
    Node,
    /// Its node dies and the Node object is deleted.
    NodeObject,
}

e2e::on_each_engine!(members_that_are_lost_are_replaced);

async fn members_that_are_lost_are_replaced(engine: Engine) -> Result<()> {
    let lab = Lab::start_on_local_volumes("lost-members", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    for loss in [Loss::Volume, Loss::NodeObject, Loss::Node] {
        traffic.flows(50, PATIENCE).await?;
        let lose = lose_one(&lab, &name, loss);
        let follow = lab.follow(&name, &traffic);
        let took = tokio::select! {
            took = lose => took.with_context(|| format!("{loss:?}"))?,
            followed = follow => return followed,
        };
        traffic.use_endpoints(lab.endpoints(&name).await?);
        traffic.flows(50, PATIENCE).await?;
        println!(
            "{FIGURE}{}, {loss:?} lost: full redundancy after {:.1} s",
            lab.engine(),
            took.as_secs_f64()
        );
    }
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// Takes something from a follower and waits until another member stands in its place; gives how long that took.
async fn lose_one(lab: &Lab, name: &str, loss: Loss) -> Result<Duration> {
    let leader = lab.leader(name).await?.member;
    let members = lab.raft_members().list(&ListParams::default()).await?.items;
    let mut followers = members.iter().map(ResourceExt::name_any);
    let lost = followers.find(|it| *it != leader).context("a follower")?;
    let began = std::time::Instant::now();
    take(lab, &lost, loss).await?;
    wait::until(format!("{lost} to be replaced"), PATIENCE, async || {
        let cluster = lab.clusters().get(name).await.map_err(|e| e.to_string())?;
        let status = cluster.status.clone().unwrap_or_default();
        let there = status.members.iter().any(|it| it.name == lost);
        if is_ready(&cluster) && !there && status.members.len() == 3 {
            Ok(())
        } else {
            Err(told(&cluster))
        }
    })
    .await?;
    let cluster = lab.clusters().get(name).await?;
    let repair = cluster.status.and_then(|it| it.repair).unwrap_or_default();
    let written = repair.replacements.iter().any(|it| it.member == lost);
    ensure!(written, "{repair:?} does not tell of {lost}");
    Ok(began.elapsed())
}

async fn take(lab: &Lab, member: &str, loss: Loss) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let pod = pods.get(member).await?;
    let node = pod.spec.and_then(|it| it.node_name).context("a node")?;
    let delete = DeleteParams::default();
    match loss {
        Loss::Volume => {
            let claims: Api<PersistentVolumeClaim> =
                Api::namespaced(lab.client().clone(), NAMESPACE);
            claims.delete(&format!("data-{member}"), &delete).await?;
            pods.delete(member, &delete).await?;
        }
        Loss::Node => lab.kube().set_power(&node, Power::Down)?,
        Loss::NodeObject => {
            lab.kube().set_power(&node, Power::Down)?;
            let nodes: Api<Node> = Api::all(lab.client().clone());
            nodes.delete(&node, &delete).await?;
        }
    }
    Ok(())
}
