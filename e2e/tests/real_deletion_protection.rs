//! A cluster that says so cannot be deleted, alone or among others, until it says otherwise: the policy of the plain manifest, which
//! is the chart's, on a real API server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use crds::RaftCluster;
use e2e::control_plane::ControlPlane;
use e2e::{FIGURE, wait};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A definition is served, and a policy in force, seconds after it was made, or later on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
const MANIFEST: &str = "../deploy/quorate.yaml";

#[tokio::test]
async fn a_protected_cluster_stays_until_its_protection_is_lifted() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    let clusters: Api<RaftCluster> = Api::namespaced(client.clone(), "default");
    define(&client, &clusters).await?;
    create(&clusters, "kept", "Enabled").await?;
    create(&clusters, "free", "Disabled").await?;
    install_policy(&client).await?;

    let dry = DeleteParams {
        dry_run: true,
        ..DeleteParams::default()
    };
    wait::until(
        "the policy to be in force",
        PATIENCE,
        async || match clusters.delete("kept", &dry).await {
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await?;
    let refused = refusal(&clusters).await?;
    let way_out = "kept is protected from deletion: set spec.deletionProtection to Disabled first";
    ensure!(refused.contains(way_out), "{refused}");

    // Of a collection, what is not protected goes, and what is stays.
    clusters
        .delete("free", &DeleteParams::default())
        .await
        .context("delete the one that is not protected")?;
    let all = clusters
        .delete_collection(&DeleteParams::default(), &ListParams::default())
        .await;
    ensure!(
        all.is_err(),
        "a collection with a protected one was deleted"
    );
    ensure!(clusters.get_opt("kept").await?.is_some(), "it is gone");

    let lift = Patch::Merge(json!({ "spec": { "deletionProtection": "Disabled" } }));
    clusters
        .patch("kept", &PatchParams::default(), &lift)
        .await?;
    clusters
        .delete("kept", &DeleteParams::default())
        .await
        .context("delete it once it is not protected any more")?;
    println!("{FIGURE}a protected cluster is refused its deletion with: {refused}");
    plane.stop().await
}

async fn define(client: &Client, clusters: &Api<RaftCluster>) -> Result<()> {
    let definitions = Api::all(client.clone());
    for definition in crds::definitions() {
        definitions
            .create(&PostParams::default(), &definition)
            .await?;
    }
    wait::until("the kind is served", PATIENCE, async || {
        clusters.list(&ListParams::default()).await
    })
    .await?;
    Ok(())
}

async fn create(clusters: &Api<RaftCluster>, name: &str, protection: &str) -> Result<()> {
    let cluster = serde_json::from_value(json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftCluster",
        "metadata": { "name": name },
        "spec": { "storage": { "size": "1Gi" }, "deletionProtection": protection },
    }))?;
    clusters.create(&PostParams::default(), &cluster).await?;
    Ok(())
}

/// The policy and its binding, as the plain manifest has them; once more by another, for who began with the manifest may go on with
/// Helm.
async fn install_policy(client: &Client) -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(MANIFEST);
    let text = std::fs::read_to_string(path)?;
    let documents: Vec<Value> = text
        .split("\n---\n")
        .map(serde_saphyr::from_str)
        .collect::<Result<_, _>>()?;
    let policy: ValidatingAdmissionPolicy = only(&documents, "ValidatingAdmissionPolicy")?;
    let binding: ValidatingAdmissionPolicyBinding =
        only(&documents, "ValidatingAdmissionPolicyBinding")?;
    for manager in ["kubectl", "helm"] {
        applied(client, manager, &policy).await?;
        applied(client, manager, &binding).await?;
    }
    Ok(())
}

fn only<K: DeserializeOwned>(documents: &[Value], kind: &str) -> Result<K> {
    let found = documents.iter().find(|it| it["kind"] == kind);
    let found = found.with_context(|| format!("the manifest has no {kind}"))?;
    Ok(serde_json::from_value(found.clone())?)
}

async fn applied<K>(client: &Client, manager: &str, object: &K) -> Result<()>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let (name, params) = (object.name_any(), PatchParams::apply(manager));
    let applied = api.patch(&name, &params, &Patch::Apply(object)).await;
    applied.with_context(|| format!("apply {name} as {manager}"))?;
    Ok(())
}

/// What a user is told who deletes the protected cluster.
async fn refusal(clusters: &Api<RaftCluster>) -> Result<String> {
    match clusters.delete("kept", &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) => Ok(status.message),
        Err(other) => Err(other.into()),
        Ok(_) => bail!("a protected cluster was deleted"),
    }
}
