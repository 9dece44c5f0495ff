//! Promise: a manifest that cannot work is refused when it is applied, or reported in status,
//! with the field and the way out; and none of them disturbs the operator.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use crds::RaftCluster;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE, told};
use e2e::wait;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

/// What is merged into a good spec, the field that must be named, and words of the way out.
type Bad = (Value, &'static str, &'static str);

/// Refused by the API server, by schema or rule.
fn refused() -> Vec<Bad> {
    let mut bad = values();
    bad.extend(rules());
    bad.extend(overlays());
    bad
}

fn values() -> Vec<Bad> {
    vec![
        (
            json!({"replicas": 0}),
            "spec.replicas",
            "greater than or equal to 1",
        ),
        (
            json!({"replicas": 10}),
            "spec.replicas",
            "less than or equal to 9",
        ),
        (json!({"replicas": "three"}), "spec.replicas", "integer"),
        (
            json!({"replica": 3}),
            "spec.replica",
            "field not declared in schema",
        ),
        (
            json!({"engine": "Zookeeper"}),
            "spec.engine",
            "\"Quorate\", \"Etcd\"",
        ),
        (
            json!({"deletionPolicy": "Recycle"}),
            "spec.deletionPolicy",
            "\"Retain\", \"Delete\"",
        ),
        (json!({"storage": null}), "spec.storage", "Required value"),
        (
            json!({"storage": {"size": null}}),
            "spec.storage.size",
            "Required value",
        ),
        (
            json!({"storage": {"size": "1Mi"}}),
            "spec.storage.size",
            "at least 256Mi, such as 4Gi",
        ),
        (
            json!({"storage": {"size": "big"}}),
            "spec.storage.size",
            "such as 4Gi",
        ),
        (
            json!({"storage": {"class": "fast"}}),
            "spec.storage.class",
            "field not declared in schema",
        ),
        (json!({"paused": "yes"}), "spec.paused", "boolean"),
        (
            json!({"options": {"heartbeatMilliseconds": 0}}),
            "spec.options.heartbeatMilliseconds",
            "greater than or equal to",
        ),
        (
            json!({"options": {"snapshotCount": 0}}),
            "spec.options.snapshotCount",
            "greater than or equal to",
        ),
        (
            json!({"options": {"quotaBackendBytes": "much"}}),
            "spec.options.quotaBackendBytes",
            "such as 2Gi",
        ),
    ]
}

fn rules() -> Vec<Bad> {
    vec![
        (
            json!({"image": "quorate-node:latest"}),
            "spec.image",
            "name a version",
        ),
        (
            json!({"image": "quorate-node"}),
            "spec.image",
            "name a fixed tag",
        ),
        (json!({"image": ""}), "spec.image", "at least 1"),
        (
            json!({"version": "v0.1.0"}),
            "spec.version",
            "without a leading v",
        ),
        (
            json!({"version": "newest"}),
            "spec.version",
            "such as 0.1.0",
        ),
        (
            json!({"engine": "Etcd"}),
            "spec.image",
            "name the etcd image to run",
        ),
        (
            json!({"options": {"quotaBackendBytes": "40Gi"}}),
            "spec.options.quotaBackendBytes",
            "lower the quota or choose a larger volume",
        ),
        (
            json!({"options": {"heartbeatMilliseconds": 500, "electionTimeoutMilliseconds": 1000}}),
            "spec.options.electionTimeoutMilliseconds",
            "raise the one or lower the other",
        ),
        (
            json!({"options": {"autoCompaction": {"mode": "Periodic"}}}),
            "spec.options.autoCompaction.retentionSeconds",
            "such as 3600",
        ),
        (
            json!({"options": {"autoCompaction": {"mode": "Revision"}}}),
            "spec.options.autoCompaction.retentionRevisions",
            "such as 10000",
        ),
        (
            json!({"options": {"autoCompaction": {"mode": "Off", "retentionSeconds": 60}}}),
            "spec.options.autoCompaction.retentionSeconds",
            "set that mode or drop the field",
        ),
    ]
}

fn overlays() -> Vec<Bad> {
    let spec = |it: Value| json!({"podTemplate": {"spec": it}});
    let member = |key: &str, it: Value| spec(json!({"containers": [{"name": "member", key: it}]}));
    vec![
        (
            json!({"podTemplate": {"metadata": {"labels": {"quorate.io/role": "voter"}}}}),
            "spec.podTemplate.metadata.labels",
            "use a prefix of your own",
        ),
        (
            json!({"podTemplate": {"metadata": {"annotations": {"quorate.io/x": "y"}}}}),
            "spec.podTemplate.metadata.annotations",
            "use a prefix of your own",
        ),
        (
            spec(json!({"hostname": "me"})),
            "spec.podTemplate.spec.hostname",
            "it is the member's name",
        ),
        (
            spec(json!({"restartPolicy": "Never"})),
            "spec.podTemplate.spec.restartPolicy",
            "a member always restarts",
        ),
        (
            spec(json!({"automountServiceAccountToken": true})),
            "automountServiceAccountToken",
            "never talks to the API server",
        ),
        (
            member("image", json!("other:1")),
            "image",
            "set spec.image or spec.version",
        ),
        (
            member("args", json!(["--force-new-cluster"])),
            "args",
            "set spec.options",
        ),
        (
            member("resources", json!({"limits": {"cpu": "1"}})),
            "resources",
            "set spec.resources",
        ),
    ]
}

/// Beyond what a schema can say: accepted, and reported by the operator.
fn reported() -> Vec<Bad> {
    let spec = |it: Value| json!({"podTemplate": {"spec": it}});
    let member = |key: &str, it: Value| spec(json!({"containers": [{"name": "member", key: it}]}));
    vec![
        (
            json!({"resources": {"requests": {"memory": "lots"}}}),
            "spec.resources.requests.memory",
            "such as 500m or 1Gi",
        ),
        (
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            "spec.resources.requests.cpu",
            "lower it or raise",
        ),
        (
            spec(json!({"nodeSelectr": {"disk": "fast"}})),
            "spec.podTemplate.spec.nodeSelectr",
            "correct its spelling or drop it",
        ),
        (
            spec(json!({"tolerations": "all"})),
            "spec.podTemplate.spec",
            "is no partial pod",
        ),
        (
            spec(json!({"volumes": [{"name": "data", "emptyDir": {}}]})),
            "spec.podTemplate.spec.volumes[data]",
            "add volumes under other names",
        ),
        (
            member(
                "volumeMounts",
                json!([{"name": "x", "mountPath": "/var/lib/quorate"}]),
            ),
            "volumeMounts[/var/lib/quorate]",
            "mount at another path",
        ),
    ]
}

/// Accepted, and nothing a member could start with.
fn never_starts() -> Vec<Bad> {
    vec![
        (
            json!({"image": "quorate-nodes:0.1.0"}),
            "quorate-nodes:0.1.0",
            "image",
        ),
        (
            json!({"podTemplate": {"spec": {"nodeSelector": {"disk": "none-has-it"}}}}),
            "node",
            "selector",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_manifest_is_refused_or_reported_with_field_and_way_out() -> Result<()> {
    let lab = Lab::start("bad-manifests", Engine::quorate()?).await?;
    let count = refused().len() + reported().len() + never_starts().len();
    ensure!(count >= 30, "only {count} bad manifests");
    // All of them are tried, so that one run names every shortcoming.
    let mut faults = Vec::new();
    let mut note = |bad: &Value, tried: Result<()>| {
        faults.extend(tried.err().map(|e| format!("\n{bad}: {e:#}")));
    };
    for (bad, field, way_out) in refused() {
        note(&bad, is_refused(&lab, &bad, field, way_out).await);
    }
    for (bad, field, way_out) in reported() {
        note(
            &bad,
            is_reported(&lab, &bad, field, way_out, "InvalidSpec").await,
        );
    }
    for (bad, field, way_out) in never_starts() {
        note(&bad, is_reported(&lab, &bad, field, way_out, "").await);
    }
    ensure!(
        faults.is_empty(),
        "{} of {count}:{}",
        faults.len(),
        faults.concat()
    );
    // After all that, a good one works as ever.
    let name = lab
        .apply(include_str!("../../examples/single.yaml"))
        .await?;
    lab.ready(&name).await?;
    lab.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_followed_is_refused_and_the_cluster_goes_on() -> Result<()> {
    let lab = Lab::start("bad-changes", Engine::quorate()?).await?;
    let name = lab
        .apply(include_str!("../../examples/single.yaml"))
        .await?;
    lab.ready(&name).await?;
    let changes = BTreeMap::from([
        (
            "spec.storage.size cannot be changed while",
            json!({"storage": {"size": "8Gi", "changePolicy": "Deny"}}),
        ),
        (
            "spec.storage.storageClassName can be changed only while",
            json!({"storage": {"storageClassName": "fast", "changePolicy": "InPlaceOnly"}}),
        ),
        (
            "spec.engine cannot be changed",
            json!({"engine": "Etcd", "image": "etcd:3.6.0"}),
        ),
    ]);
    for (sentence, change) in changes {
        let Err(error) = lab.patch_spec(&name, change.clone()).await else {
            anyhow::bail!("{change} was accepted")
        };
        ensure!(
            format!("{error:#}").contains(sentence),
            "{change}: {error:#}"
        );
    }
    lab.ready(&name).await?;
    lab.end().await
}

fn object(bad: &Value) -> Result<DynamicObject> {
    let mut whole = json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftCluster",
        "metadata": { "name": "bad" },
        "spec": { "replicas": 1, "storage": { "size": "1Gi" }, "deletionPolicy": "Delete" },
    });
    merge(&mut whole["spec"], bad);
    Ok(serde_json::from_value(whole)?)
}

fn merge(under: &mut Value, over: &Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    under.remove(key);
                } else {
                    merge(under.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// Applies it as strictly as `kubectl` does.
async fn apply(lab: &Lab, bad: &Value) -> Result<(), kube::Error> {
    let kind = ApiResource::erase::<RaftCluster>(&());
    let clusters: Api<DynamicObject> = Api::namespaced_with(lab.client().clone(), NAMESPACE, &kind);
    let strict = PatchParams::apply("lab").validation_strict();
    let object = object(bad).expect("an object");
    clusters
        .patch("bad", &strict, &Patch::Apply(&object))
        .await
        .map(drop)
}

async fn is_refused(lab: &Lab, bad: &Value, field: &str, way_out: &str) -> Result<()> {
    let Err(error) = apply(lab, bad).await else {
        anyhow::bail!("it was accepted")
    };
    let said = error.to_string();
    ensure!(said.contains(field), "{field} is not named in: {said}");
    ensure!(said.contains(way_out), "no {way_out:?} in: {said}");
    Ok(())
}

async fn is_reported(
    lab: &Lab,
    bad: &Value,
    field: &str,
    way_out: &str,
    reason: &str,
) -> Result<()> {
    apply(lab, bad).await.context("it should be accepted")?;
    wait::until("a report that names it", PATIENCE, async || {
        let cluster = lab.clusters().get("bad").await.map_err(|e| e.to_string())?;
        let said = told(&cluster);
        let named = [field, way_out, reason]
            .iter()
            .all(|words| said.contains(words));
        if named { Ok(()) } else { Err(said) }
    })
    .await?;
    lab.clusters()
        .delete("bad", &DeleteParams::background())
        .await?;
    wait::until("it to be gone", PATIENCE, async || {
        match lab.clusters().get_opt("bad").await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    Ok(())
}
