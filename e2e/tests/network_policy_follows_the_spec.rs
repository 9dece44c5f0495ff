//! Promise: a NetworkPolicy over the members is there before the first of them, says what the spec does whatever others do to it,
//! and goes when it is not wanted any more, or with the cluster; one that somebody else has made stays.
//!
//! Nothing here enforces it: that is Kubernetes' network's own.

use anyhow::{Context, Result, ensure};
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::{FIGURE, wait};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use plan::names;
use serde_json::{Value, json};

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: guarded }
spec:
  replicas: 1
  storage: { size: 1Gi }
  networkPolicy:
    mode: Managed
    clientSelectors: [{ namespaceSelector: { matchLabels: { team: shop } } }]
";

e2e::on_each_engine!(the_network_policy_follows_the_spec);

async fn the_network_policy_follows_the_spec(engine: Engine) -> Result<()> {
    let lab = Lab::start("network-policy", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    comes_before_the_pods(&lab)?;
    lets_in(
        &lab,
        &json!([{ "namespaceSelector": { "matchLabels": { "team": "shop" } } }]),
    )
    .await?;
    let everybody = json!([{ "namespaceSelector": {} }]);
    let open = json!({ "networkPolicy": { "clientSelectors": everybody } });
    lab.patch_spec(&name, open).await?;
    lets_in(&lab, &everybody).await?;

    let policies = policies(&lab);
    let ours = names::network_policy(&name);
    let everything = Patch::Merge(json!({ "spec": { "ingress": [{}] } }));
    policies
        .patch(&ours, &PatchParams::default(), &everything)
        .await?;
    lets_in(&lab, &everybody).await?;
    policies.delete(&ours, &DeleteParams::default()).await?;
    lets_in(&lab, &everybody).await?;

    let theirs = json!({
        "metadata": { "name": "theirs", "labels": { names::CLUSTER_LABEL: name } },
        "spec": { "podSelector": {} },
    });
    policies
        .create(&PostParams::default(), &serde_json::from_value(theirs)?)
        .await?;
    lab.patch_spec(&name, json!({ "networkPolicy": null }))
        .await?;
    is_gone(&lab, &ours).await?;
    wait::until("it to be forgotten", PATIENCE, async || {
        let cluster = lab.clusters().get(&name).await.map_err(|e| e.to_string())?;
        let remembered = cluster.status.and_then(|it| it.network_policy);
        remembered.map_or(Ok(()), |it| Err(format!("{it:?}")))
    })
    .await?;

    let managed = json!({ "networkPolicy": { "mode": "Managed", "clientSelectors": everybody } });
    lab.patch_spec(&name, managed).await?;
    lets_in(&lab, &everybody).await?;
    lab.delete(&name).await?;
    is_gone(&lab, &ours).await?;
    policies.get("theirs").await.context("it was not ours")?;
    println!(
        "{FIGURE}{}, its network policy followed the spec",
        lab.engine()
    );
    lab.end().await
}

fn policies(lab: &Lab) -> Api<NetworkPolicy> {
    Api::namespaced(lab.client().clone(), NAMESPACE)
}

fn comes_before_the_pods(lab: &Lab) -> Result<()> {
    let writes = lab.kube().faults().writes();
    let first = |resource: &str| writes.iter().position(|it| it.call.resource == resource);
    let policy = first("networkpolicies").context("there is no policy")?;
    let pod = first("pods").context("there is no pod")?;
    ensure!(policy < pod, "the policy is write {policy}, the pod {pod}");
    Ok(())
}

/// Waits until other pods than members reach the port of clients as it says here.
async fn lets_in(lab: &Lab, clients: &Value) -> Result<()> {
    let ours = names::network_policy("guarded");
    wait::until(format!("{clients} to be let in"), PATIENCE, async || {
        let found = policies(lab).get_opt(&ours).await;
        let found = found.map_err(|e| e.to_string())?;
        let found = found.ok_or_else(|| "there is no policy".to_owned())?;
        let rules = json!(found.spec)["ingress"].clone();
        let rules = rules.as_array().cloned().unwrap_or_default();
        let port = json!([{ "port": names::CLIENT_PORT, "protocol": "TCP" }]);
        let admitted: Vec<&Value> = rules
            .iter()
            .filter(|it| it["ports"] == port)
            .map(|it| &it["from"])
            .collect();
        if admitted == [clients] {
            Ok(())
        } else {
            Err(json!(rules).to_string())
        }
    })
    .await?;
    Ok(())
}

async fn is_gone(lab: &Lab, policy: &str) -> Result<()> {
    wait::until(
        format!("{policy} to be gone"),
        PATIENCE,
        async || match policies(lab).get_opt(policy).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )
    .await?;
    Ok(())
}
