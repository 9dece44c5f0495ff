//! Promise: every file in `examples/` is accepted as it stands and becomes a cluster that is `Ready` and takes writes, all of
//! them at the same time: applied by `kubectl`, and as a chart of a user's own. Uninstalled, the clusters go, and the volumes
//! that are to be retained stay.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crds::{DeletionPolicy, RaftCluster};
use e2e::folder::Folder;
use e2e::kind::install;
use e2e::lab::is_ready;
use futures::FutureExt;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::Api;
use kube::api::ListParams;
use plan::names;
use serde_json::{Value, json};

use crate::engine::{BOTH, Engine};
use crate::scenario::{Scenario, nothing};
use crate::stage::Stage;

pub(crate) const BY_KUBECTL: Scenario = Scenario {
    name: "examples",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(100),
    acts: |stage| by_kubectl(stage).boxed_local(),
    after: nothing,
};

pub(crate) const BY_HELM: Scenario = Scenario {
    name: "examples-by-helm",
    engines: &[Engine::Quorate],
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(110),
    acts: |stage| by_helm(stage).boxed_local(),
    after: nothing,
};

/// What a user's chart is beside its templates.
const CHART: &str = "apiVersion: v2\nname: clusters\nversion: 0.1.0\n";

async fn by_kubectl(stage: &Stage<'_>) -> Result<()> {
    let manifests = manifests(stage)?;
    let began = Instant::now();
    for (file, manifest) in &manifests {
        stage.say(&format!("apply {file}"));
        let applied = stage.apply_manifest(&manifest.to_string()).await;
        applied.with_context(|| file.clone())?;
    }
    all_serve(stage, &manifests, began).await
}

async fn by_helm(stage: &Stage<'_>) -> Result<()> {
    let manifests = manifests(stage)?;
    let mut folder = Folder::new("chart")?;
    let templates = folder.path().join("templates");
    std::fs::create_dir(&templates)?;
    std::fs::write(folder.path().join("Chart.yaml"), CHART)?;
    for (file, manifest) in &manifests {
        std::fs::write(templates.join(file), manifest.to_string())?;
    }
    let began = Instant::now();
    stage.say("install a chart of all examples");
    let chart = folder
        .path()
        .to_str()
        .context("the folder's path is text")?;
    let helm = ["-n", stage.namespace(), "clusters"];
    let kubectl = stage.house().kubectl();
    kubectl
        .helm(&[&["install"], helm.as_slice(), &[chart]].concat())
        .await?;
    all_serve(stage, &manifests, began).await?;
    stage.say("uninstall it");
    kubectl
        .helm(&[["uninstall", "--wait"].as_slice(), &helm].concat())
        .await?;
    folder.discard();
    only_what_is_retained_stays(stage, &manifests).await
}

/// Waits until all clusters are `Ready`, and writes to each.
async fn all_serve(stage: &Stage<'_>, all: &[(String, Value)], began: Instant) -> Result<()> {
    for (_, manifest) in all {
        stage.is(name(manifest)?, "Ready", is_ready).await?;
        stage.say(&format!("{} is Ready", name(manifest)?));
    }
    let seconds = began.elapsed().as_secs_f64();
    stage.figure(&format!(
        "{} examples Ready after {seconds:.1} s",
        all.len()
    ));
    for (file, manifest) in all {
        let traffic = stage.secured_traffic_at(name(manifest)?).await?;
        stage.judge(&traffic).await.with_context(|| file.clone())?;
    }
    Ok(())
}

async fn only_what_is_retained_stays(stage: &Stage<'_>, all: &[(String, Value)]) -> Result<()> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(stage.client(), stage.namespace());
    for (file, manifest) in all {
        let cluster: RaftCluster = serde_json::from_value(manifest.clone())?;
        let wanted = match cluster.spec.deletion_policy {
            DeletionPolicy::Retain => usize::try_from(cluster.spec.replicas)?,
            DeletionPolicy::Delete => 0,
        };
        let selected = ListParams::default().labels(&names::selector(name(manifest)?));
        stage
            .sees(&format!("{wanted} volumes left of {file}"), async || {
                let left = claims.list(&selected).await?.items.len();
                ensure!(left == wanted, "{left} are");
                Ok(())
            })
            .await?;
    }
    Ok(())
}

fn name(manifest: &Value) -> Result<&str> {
    let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
    name.context("an example has a name")
}

/// The examples for an engine, by file name: those written for it as they stand, and ours made into one of etcd.
fn manifests(stage: &Stage<'_>) -> Result<Vec<(String, Value)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(install::repository().join("examples"))? {
        let entry = entry?;
        let text = std::fs::read_to_string(entry.path())?;
        let mut manifest: Value = serde_saphyr::from_str(&text)?;
        let is_etcd = manifest.pointer("/spec/engine") == Some(&json!("Etcd"));
        if is_etcd && stage.engine() == Engine::Quorate {
            continue;
        }
        let spec = manifest.pointer_mut("/spec").and_then(Value::as_object_mut);
        let spec = spec.context("an example has a spec")?;
        if let Value::Object(choice) = stage.choice()? {
            spec.extend(choice);
        }
        found.push((entry.file_name().to_string_lossy().into_owned(), manifest));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    ensure!(!found.is_empty(), "there are no examples");
    Ok(found)
}
