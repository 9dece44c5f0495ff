//! Promise: members move to larger volumes of another class, one at a time, while the cluster serves. The class of a kind
//! cluster lets no volume grow, so all of it is done by members that take over.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::FutureExt;
use serde_json::json;

use crate::engine::BOTH;
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "storage-changed",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(120),
    acts: |stage| acts(stage).boxed_local(),
    after: |stage| after(stage).boxed_local(),
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    stage.founded(3).await?;
    let class = class(stage);
    let other = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": class },
        "provisioner": "rancher.io/local-path", "volumeBindingMode": "WaitForFirstConsumer",
    });
    stage.apply_manifest(&other.to_string()).await?;
    let traffic = stage.traffic().await?;
    let before = stage.pod_names().await?;
    let storage = json!({ "storage": { "size": "2Gi", "storageClassName": class } });
    stage.say("another class and a larger size");
    let cost = stage
        .cost(&traffic, async || stage.patch(storage).await)
        .await?;
    stage.figure(&format!("three members on new volumes: {cost}"));
    let after = stage.pod_names().await?;
    ensure!(
        after.len() == 3 && after.is_disjoint(&before),
        "before {before:?}, after {after:?}"
    );
    let volumes = stage
        .kubectl_here(&[
            "get",
            "pods",
            "-o",
            "jsonpath={range .items[*]}{.spec.volumes[?(@.name==\"data\")].persistentVolumeClaim.claimName}{\" \"}{end}",
        ])
        .await?;
    for claim in volumes.split_whitespace() {
        let of = "jsonpath={.spec.storageClassName} {.status.capacity.storage}";
        let found = stage.kubectl_here(&["get", "pvc", claim, "-o", of]).await?;
        ensure!(found.trim() == format!("{class} 2Gi"), "{claim}: {found}");
    }
    stage.judge(&traffic).await
}

/// Classes belong to no namespace, so that each scenario has one of its own.
fn class(stage: &Stage<'_>) -> String {
    format!("other-{}", stage.namespace())
}

async fn after(stage: &Stage<'_>) -> Result<()> {
    let class = class(stage);
    let delete = ["delete", "storageclass", &class, "--ignore-not-found"];
    stage.kubectl(&delete).await.map(drop)
}
