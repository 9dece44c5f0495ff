//! Promise: a cluster with TLS between members and towards clients serves those who show its applications' certificate, rolls
//! like any other, takes renewed certificates without a restart while it serves, and goes on serving while the members' CA is
//! replaced, for which only those of etcd restart. (The clients' CA is replaced in `authorities_are_replaced`: the traffic of
//! this lab reads its Secret once.)

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::{OperationPhase, RaftOperation};
use futures::FutureExt;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use plan::names::{self, Surface};
use serde_json::json;

use crate::engine::{BOTH, Engine};
use crate::scenario::{Scenario, nothing};
use crate::stage::{NAME, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "certificates",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(300),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    let both = json!({ "peer": { "mode": "Operator" }, "client": { "mode": "Operator" } });
    stage.apply_with(3, json!({ "tls": both })).await?;
    stage.ready().await?;
    let traffic = stage.secured_traffic_at(NAME).await?;
    let before = stage.pod_uids().await?;
    let renewed = stage.cost(&traffic, async || renew(stage).await).await?;
    stage.figure(&format!("certificates renewed: {renewed}"));
    ensure!(
        stage.pod_uids().await? == before,
        "a pod was replaced for its certificates"
    );
    let replaced = stage
        .cost(&traffic, async || replace_authority(stage).await)
        .await?;
    stage.figure(&format!("CA of the members replaced: {replaced}"));
    let same = stage.pod_uids().await? == before;
    ensure!(
        same == (stage.engine() == Engine::Quorate),
        "pods are the same: {same}"
    );
    let image = json!({ "image": stage.next_image()? });
    let rolled = stage
        .cost(&traffic, async || stage.patch(image).await)
        .await?;
    stage.figure(&format!("rolled by an image with TLS: {rolled}"));
    stage.all_are_new(&before, 3).await?;
    stage.judge(&traffic).await
}

async fn secret(stage: &Stage<'_>, name: &str) -> Result<Secret> {
    let secrets: Api<Secret> = Api::namespaced(stage.client(), stage.namespace());
    Ok(secrets.get(name).await?)
}

/// Has the CA of the members replaced, and waits until it is.
async fn replace_authority(stage: &Stage<'_>) -> Result<()> {
    let asked = json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftOperation",
        "metadata": { "name": "replace-authority" },
        "spec": {
            "clusterName": NAME,
            "rotateCertificates": { "certificateAuthority": true, "surfaces": ["Peer"] },
        },
    });
    let operations: Api<RaftOperation> = Api::namespaced(stage.client(), stage.namespace());
    let operation = serde_json::from_value(asked)?;
    operations
        .create(&PostParams::default(), &operation)
        .await?;
    stage
        .sees("the CA replaced", async || {
            let found = operations.get("replace-authority").await?;
            let status = found.status.unwrap_or_default();
            ensure!(status.phase == OperationPhase::Succeeded, "{status:?}");
            Ok(())
        })
        .await
}

/// Takes the served certificates away, and waits until there are others.
async fn renew(stage: &Stage<'_>) -> Result<()> {
    for surface in Surface::ALL {
        let name = names::members_secret(NAME, surface);
        let served = async || -> Result<_> {
            let data = secret(stage, &name).await?.data.unwrap_or_default();
            Ok(data.get("tls.crt").context("there is none")?.0.clone())
        };
        let old = served().await?;
        let spoil = json!({ "data": { "tls.crt": null } }).to_string();
        stage
            .kubectl_here(&["patch", "secret", &name, "--type=merge", "-p", &spoil])
            .await?;
        let what = format!("another certificate in {name}");
        stage
            .sees(&what, async || {
                ensure!(served().await? != old, "it is the old one");
                Ok(())
            })
            .await?;
    }
    Ok(())
}
