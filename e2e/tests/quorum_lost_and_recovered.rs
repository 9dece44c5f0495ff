//! Promise: a cluster of which two of three volumes are destroyed under load is rebuilt of the third by a plan that a person has
//! acknowledged, and by no other: all that the survivor knew is there, in a cluster of another id, with three members again. What
//! is missing is what the plan said may be lost, and what is left is in order.

use anyhow::{Context, Result, ensure};
use crds::{OperationPhase, RaftOperation, RaftOperationStatus, RecoveryPlan};
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::{forgiven, judge};
use e2e::wait;
use e2e::{FIGURE, tools};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: lost }
spec:
  replicas: 3
  storage: { size: 1Gi }
";

e2e::on_each_engine!(a_cluster_is_rebuilt_of_its_survivor);

async fn a_cluster_is_rebuilt_of_its_survivor(engine: Engine) -> Result<()> {
    if let (true, Err(missing)) = (engine.kind() == crds::Engine::Etcd, tools::find("etcdutl")) {
        println!("{FIGURE}no cluster of etcd is rebuilt: {missing}");
        return Ok(());
    }
    let lab = Lab::start("quorum-lost", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    let before = cluster_id(&lab, &name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    refused_while_a_majority_works(&lab, &name).await?;
    let lost = destroy_two(&lab, &name).await?;
    let began = std::time::Instant::now();
    let plan = tokio::select! {
        plan = recover(&lab, &name) => plan?,
        broken = lab.follow(&name, &traffic) => { broken?; anyhow::bail!("nobody follows") }
    };
    lab.healthy(&name, 3).await?;
    println!(
        "{FIGURE}{}: three members after {:?}",
        lab.engine(),
        began.elapsed()
    );
    let after = cluster_id(&lab, &name).await?;
    ensure!(before != after, "the cluster is still {before}");
    let pods = lab.pods(&name).await?;
    let names: Vec<String> = pods.iter().map(ResourceExt::name_any).collect();
    ensure!(names.contains(&plan.survivor), "{names:?}");
    ensure!(!lost.iter().any(|it| names.contains(it)), "{names:?}");
    traffic.use_endpoints(lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    let known = plan.survivors.iter().find(|it| it.member == plan.survivor);
    let known = known.context("a survivor")?.last_revision;
    judge(&forgiven(traffic.finish(PATIENCE).await?, known))?;
    lab.end().await
}

async fn cluster_id(lab: &Lab, name: &str) -> Result<String> {
    let status = lab.ready(name).await?.status.unwrap_or_default();
    status.cluster_id.context("a cluster has an id")
}

fn operations(lab: &Lab) -> Api<RaftOperation> {
    Api::namespaced(lab.client().clone(), NAMESPACE)
}

async fn ask(lab: &Lab, name: &str, what: &str, acknowledge: &str) -> Result<()> {
    let spec = json!({ "clusterName": name, "recoverQuorum": { "acknowledge": acknowledge } });
    let operation = RaftOperation::new(what, serde_json::from_value(spec)?);
    let operations = operations(lab);
    operations
        .create(&PostParams::default(), &operation)
        .await?;
    Ok(())
}

/// Waits until what an operation says is as it should be.
async fn says(
    lab: &Lab,
    what: &str,
    right: impl Fn(&RaftOperationStatus) -> bool,
) -> Result<RaftOperationStatus> {
    let operations = operations(lab);
    let status = wait::until(format!("what {what} says"), PATIENCE, async || {
        let found = operations.get(what).await.map_err(|e| e.to_string())?;
        let status = found.status.unwrap_or_default();
        if right(&status) {
            Ok(status)
        } else {
            Err(format!("{status:?}"))
        }
    });
    Ok(status.await?)
}

fn mentions(status: &RaftOperationStatus, words: &str) -> bool {
    status.message.as_ref().is_some_and(|it| it.contains(words))
}

async fn refused_while_a_majority_works(lab: &Lab, name: &str) -> Result<()> {
    ask(lab, name, "too-soon", "anything").await?;
    says(lab, "too-soon", |it| {
        mentions(it, "refused for now: a majority answers")
    })
    .await?;
    let delete = DeleteParams::default();
    operations(lab).delete("too-soon", &delete).await?;
    Ok(())
}

/// The leader's and a follower's.
async fn destroy_two(lab: &Lab, name: &str) -> Result<Vec<String>> {
    let led = lab.leader(name).await?.member;
    let pods = lab.pods(name).await?;
    let other = pods.iter().map(ResourceExt::name_any).find(|it| *it != led);
    let lost = vec![led, other.context("a follower")?];
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let pods: Api<Pod> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let delete = DeleteParams::default();
    for member in &lost {
        claims.delete(&format!("data-{member}"), &delete).await?;
    }
    for member in &lost {
        pods.delete(member, &delete.clone().grace_period(0)).await?;
    }
    Ok(lost)
}

/// By a plan of which another was acknowledged first.
async fn recover(lab: &Lab, name: &str) -> Result<RecoveryPlan> {
    ask(lab, name, "recover", "0000").await?;
    let stale = says(lab, "recover", |it| {
        it.plan.as_ref().is_some_and(|it| it.recovery.is_some())
    });
    let stale = stale.await?;
    ensure!(
        mentions(&stale, "plan 0000 was acknowledged and is not"),
        "{stale:?}"
    );
    ensure!(stale.phase == OperationPhase::Pending, "{stale:?}");
    let plan = stale.plan.and_then(|it| it.recovery).context("a plan")?;
    println!("{FIGURE}{}", plan.may_lose);
    let word = json!({ "spec": { "recoverQuorum": { "acknowledge": plan.name } } });
    let patch = Patch::Merge(word);
    operations(lab)
        .patch("recover", &PatchParams::default(), &patch)
        .await?;
    let done = says(lab, "recover", |it| it.phase.is_final()).await?;
    ensure!(done.phase == OperationPhase::Succeeded, "{done:?}");
    Ok(plan)
}
