//! Promise: volumes grow in place where their class can, and a smaller volume or another class is had by members that take over
//! from the old ones one at a time, all while the cluster serves: nothing lost, nothing out of order. They grow by themselves
//! before they are full, and those of members that left are kept by why they did.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, ListParams, PostParams};
use kube::{Resource, ResourceExt};
use serde_json::json;

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: roomy }
spec:
  replicas: 3
  storage: { size: 1Gi, storageClassName: elastic }
  deletionPolicy: Delete
";

e2e::on_each_engine!(
    volumes_grow_in_place_and_nothing_restarts,
    what_cannot_be_had_in_place_is_had_by_replacing_members,
    a_class_that_is_not_there_harms_nothing_and_its_revert_heals,
    volumes_grow_by_themselves_before_they_are_full,
    volumes_are_kept_by_why_their_members_left_and_for_how_long,
);

async fn volumes_grow_in_place_and_nothing_restarts(engine: Engine) -> Result<()> {
    let (lab, name, traffic) = stage("grow", engine).await?;
    let before = uids::<Pod>(&lab, &name).await?;
    lab.change(
        &name,
        &traffic,
        "grow in place",
        json!({ "storage": { "size": "2Gi" } }),
    )
    .await?;
    ensure!(
        uids::<Pod>(&lab, &name).await? == before,
        "a pod was restarted"
    );
    all_are(&lab, &name, "2Gi", "elastic").await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

async fn what_cannot_be_had_in_place_is_had_by_replacing_members(engine: Engine) -> Result<()> {
    let (lab, name, traffic) = stage("replace", engine).await?;
    for (what, storage, (size, class)) in [
        (
            "another class",
            json!({ "storageClassName": "rigid" }),
            ("1Gi", "rigid"),
        ),
        (
            "a larger volume in a class that cannot grow",
            json!({ "size": "2Gi" }),
            ("2Gi", "rigid"),
        ),
        (
            "a smaller volume",
            json!({ "size": "1Gi" }),
            ("1Gi", "rigid"),
        ),
    ] {
        let before = uids::<PersistentVolumeClaim>(&lab, &name).await?;
        lab.change(&name, &traffic, what, json!({ "storage": storage }))
            .await?;
        all_are(&lab, &name, size, class).await?;
        let after = uids::<PersistentVolumeClaim>(&lab, &name).await?;
        ensure!(
            after.len() == 3 && after.is_disjoint(&before),
            "{what}: before {before:?}, after {after:?}"
        );
    }
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

async fn a_class_that_is_not_there_harms_nothing_and_its_revert_heals(
    engine: Engine,
) -> Result<()> {
    let (lab, name, traffic) = stage("typo", engine).await?;
    let before = uids::<Pod>(&lab, &name).await?;
    let typo = json!({ "storage": { "storageClassName": "elsatic" } });
    lab.patch_spec(&name, typo).await?;
    wait::until("a member waits for its volume", PATIENCE, async || {
        let cluster = lab.clusters().get(&name).await.map_err(|e| e.to_string())?;
        let operation = cluster.status.and_then(|it| it.operation);
        let waits = operation.iter().flat_map(|it| &it.blocked_by);
        let waits: Vec<&str> = waits.map(|it| it.gate.as_str()).collect();
        if waits.contains(&"MemberReady") {
            Ok(())
        } else {
            Err(format!("{operation:?}"))
        }
    })
    .await?;
    traffic.flows(50, PATIENCE).await?;
    lab.change(
        &name,
        &traffic,
        "revert of a class that is not there",
        json!({ "storage": { "storageClassName": "elastic" } }),
    )
    .await?;
    ensure!(
        uids::<Pod>(&lab, &name).await? == before,
        "another pod than the half-added member's was touched"
    );
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

async fn volumes_grow_by_themselves_before_they_are_full(engine: Engine) -> Result<()> {
    let (lab, name, traffic) = stage("auto-grow", engine).await?;
    let grows = json!({ "thresholdPercent": 10, "increment": "50%", "maxSize": "2Gi" });
    let began = json!({ "autoGrow": grows });
    lab.change(
        &name,
        &traffic,
        "auto-grow asked for",
        json!({ "storage": began }),
    )
    .await?;
    all_are(&lab, &name, "1Gi", "elastic").await?;
    let endpoints = lab.endpoints(&name).await?;
    let mut client = Client::connect(endpoints.first().context("no endpoints")?).await?;
    // A database of 60 MiB, counted twice, is 11 percent of 1 GiB.
    for number in 0..60 {
        let value = vec![b'x'; 1 << 20];
        client
            .put_all(vec![(format!("ballast/{number}"), value)])
            .await?;
    }
    all_are(&lab, &name, "1536Mi", "elastic").await?;
    lab.ready(&name).await?;
    traffic.flows(50, PATIENCE).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

async fn volumes_are_kept_by_why_their_members_left_and_for_how_long(engine: Engine) -> Result<()> {
    let (lab, name, traffic) = stage("retention", engine).await?;
    let by_reason = json!({ "whenScaled": "Delete", "whenReplaced": "Retain" });
    lab.patch_spec(
        &name,
        json!({ "deletionPolicy": "Retain", "storage": { "retentionPolicy": by_reason } }),
    )
    .await?;
    lab.ready(&name).await?;
    lab.change(
        &name,
        &traffic,
        "another class",
        json!({ "storage": { "storageClassName": "rigid" } }),
    )
    .await?;
    there_are(&lab, &name, 6).await?;
    lab.patch_spec(&name, json!({ "replicas": 1 })).await?;
    lab.ready(&name).await?;
    there_are(&lab, &name, 4).await?;
    traffic.use_endpoints(lab.endpoints(&name).await?);
    let ttl = json!({ "retentionPolicy": { "replacedTTLSeconds": 1 } });
    lab.change(
        &name,
        &traffic,
        "kept for a second",
        json!({ "storage": ttl }),
    )
    .await?;
    there_are(&lab, &name, 1).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// Waits until there are so many volumes.
async fn there_are(lab: &Lab, name: &str, count: usize) -> Result<()> {
    wait::until(format!("{count} volumes"), PATIENCE, async || {
        let found = uids::<PersistentVolumeClaim>(lab, name).await;
        let found = found.map_err(|e| format!("{e:#}"))?;
        if found.len() == count {
            Ok(())
        } else {
            Err(format!("{} volumes", found.len()))
        }
    })
    .await?;
    Ok(())
}

/// A ready cluster under load, in a house with a class whose volumes grow and one whose volumes do not.
async fn stage(what: &str, engine: Engine) -> Result<(Lab, String, Traffic)> {
    let lab = Lab::start(&format!("volumes-{what}"), engine).await?;
    let classes: Api<StorageClass> = Api::all(lab.client().clone());
    for (name, grows) in [("elastic", true), ("rigid", false)] {
        let class = json!({
            "metadata": { "name": name }, "provisioner": "smallkube.quorate.io/folder",
            "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": grows,
        });
        let class = serde_json::from_value(class)?;
        classes.create(&PostParams::default(), &class).await?;
    }
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    Ok((lab, name, traffic))
}

/// The uids of a cluster's objects that are not on their way out.
async fn uids<K>(lab: &Lab, name: &str) -> Result<BTreeSet<String>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let found = api
        .list(&ListParams::default().labels(&format!("quorate.io/cluster={name}")))
        .await?;
    let living = found
        .items
        .iter()
        .filter(|it| it.meta().deletion_timestamp.is_none());
    Ok(living.filter_map(ResourceExt::uid).collect())
}

/// Waits until there are three volumes, all of this size and class.
async fn all_are(lab: &Lab, name: &str, size: &str, class: &str) -> Result<()> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let labels = ListParams::default().labels(&format!("quorate.io/cluster={name}"));
    let seen = |claim: &PersistentVolumeClaim| {
        let held = claim.status.as_ref().and_then(|it| it.capacity.as_ref());
        let held = held.and_then(|it| Some(it.get("storage")?.0.clone()));
        let of = claim.spec.as_ref();
        (held, of.and_then(|it| it.storage_class_name.clone()))
    };
    let wanted = (Some(size.to_owned()), Some(class.to_owned()));
    wait::until(
        format!("three volumes of {size} in {class}"),
        PATIENCE,
        async || {
            let found = api.list(&labels).await.map_err(|e| e.to_string())?;
            let all: Vec<_> = found.items.iter().map(seen).collect();
            if all.len() == 3 && all.iter().all(|it| *it == wanted) {
                Ok(())
            } else {
                Err(format!("{all:?}"))
            }
        },
    )
    .await?;
    Ok(())
}
