//! Promise: a cluster whose certificates an issuer of cert-manager signs says what it waits for until it has them, then serves over
//! TLS, scales under load, goes on without a restart when they are renewed, and leaves nothing with cert-manager when the
//! mode is left.

use anyhow::{Result, ensure};
use e2e::cert_manager::CertManager;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE, told};
use e2e::secured::Shown;
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use plan::Certificate;
use serde_json::json;

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: signed }
spec:
  replicas: 3
  storage: { size: 1Gi }
  tls:
    peer: { mode: CertManager, issuerRef: { name: peers } }
    client: { mode: CertManager, issuerRef: { name: clients, kind: ClusterIssuer } }
";

/// What the operator asks for, on both surfaces.
const CERTIFICATES: [&str; 5] = [
    "signed-client-cert",
    "signed-dialer-cert",
    "signed-operator-cert",
    "signed-peer-cert",
    "signed-server-cert",
];

e2e::on_each_engine!(a_cluster_lives_by_what_an_issuer_signs);

async fn a_cluster_lives_by_what_an_issuer_signs(engine: Engine) -> Result<()> {
    let lab = Lab::start("cert-manager", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    says(
        &lab,
        &name,
        "cert-manager, which spec.tls.peer wants, is not installed",
    )
    .await?;
    let cert_manager = CertManager::install(lab.client().clone(), NAMESPACE, PATIENCE).await?;
    says(
        &lab,
        &name,
        "waits for Certificate signed-peer-cert, which Issuer peers signs: DoesNotExist: there is no such issuer",
    )
    .await?;
    cert_manager.issue_as("peers")?;
    cert_manager.issue_as("clients")?;
    lab.ready(&name).await?;
    ensure!(certificates(&lab).await? == CERTIFICATES);
    is_applied_again(&lab).await?;

    let endpoints = lab.secured_endpoints(&name).await?;
    let shown = lab.shown(&name).await?;
    let traffic = Traffic::start_secured(Mix::default(), endpoints, shown.clone());
    traffic.flows(100, PATIENCE).await?;
    let larger = json!({ "replicas": 4 });
    lab.change(
        &name,
        &traffic,
        "scale with certificates of an issuer",
        larger,
    )
    .await?;
    renewed_without_a_restart(&lab, &name, &cert_manager, &traffic, &shown).await?;
    is_left(&lab, &name, traffic).await?;
    lab.end().await
}

/// Waits until a cluster says that it waits for this.
async fn says(lab: &Lab, name: &str, what: &str) -> Result<()> {
    wait::until(format!("{name} to say: {what}"), PATIENCE, async || {
        let cluster = lab.clusters().get(name).await.map_err(|e| e.to_string())?;
        let operation = cluster.status.as_ref().and_then(|it| it.operation.as_ref());
        let mut blocked = operation.iter().flat_map(|it| &it.blocked_by);
        let gate = |it: &crds::BlockedBy| it.gate == "Certificates" && it.message.starts_with(what);
        match blocked.any(gate) {
            true => Ok(()),
            false => Err(told(&cluster)),
        }
    })
    .await?;
    Ok(())
}

fn requested(lab: &Lab) -> Api<Certificate> {
    Api::namespaced(lab.client().clone(), NAMESPACE)
}

async fn certificates(lab: &Lab) -> Result<Vec<String>> {
    let found = requested(lab).list(&ListParams::default()).await?;
    let mut names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
    names.sort();
    Ok(names)
}

/// What somebody changes in a `Certificate` is taken back.
async fn is_applied_again(lab: &Lab) -> Result<()> {
    let all = requested(lab);
    let drift = Patch::Merge(json!({ "spec": { "commonName": "somebody" } }));
    all.patch("signed-client-cert", &PatchParams::default(), &drift)
        .await?;
    wait::until(
        "the Certificate to be applied again",
        PATIENCE,
        async || {
            let found = all.get("signed-client-cert").await;
            let found = found.map_err(|it| it.to_string())?.spec.common_name;
            match found.as_deref() {
                Some("signed") => Ok(()),
                other => Err(format!("it is for {other:?}")),
            }
        },
    )
    .await?;
    Ok(())
}

/// All is renewed: members show it, no pod is another one, and no container has restarted.
async fn renewed_without_a_restart(
    lab: &Lab,
    name: &str,
    cert_manager: &CertManager,
    traffic: &Traffic,
    shown: &Shown,
) -> Result<()> {
    let before = lab.incarnations(name).await?;
    for certificate in CERTIFICATES {
        cert_manager.renew(certificate, PATIENCE).await?;
    }
    lab.shows(name, shown, "signed-server-cert").await?;
    shown.take_over(&lab.papers(name).await?)?;
    traffic.flows(200, PATIENCE).await?;
    lab.ready(name).await?;
    ensure!(
        lab.incarnations(name).await? == before,
        "a member was restarted"
    );
    Ok(())
}

/// The mode is left on both surfaces, step by step: members go on serving, no Certificate stays, and every Secret does.
async fn is_left(lab: &Lab, name: &str, traffic: Traffic) -> Result<()> {
    let both = json!({ "tls": { "peer": { "mode": "Disabled", "issuerRef": null }, "client": { "plaintext": "Allowed" } } });
    lab.change(
        name,
        &traffic,
        "plain HTTP between members, and beside TLS towards clients",
        both,
    )
    .await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    let plain = json!({ "tls": { "client": { "mode": "Disabled", "plaintext": "Refused", "issuerRef": null } } });
    lab.patch_spec(name, plain).await?;
    lab.ready(name).await?;
    wait::until("no Certificate to be left", PATIENCE, async || {
        let left = certificates(lab).await.map_err(|it| it.to_string())?;
        let remembered = lab
            .clusters()
            .get(name)
            .await
            .map_err(|it| it.to_string())?;
        let remembered = remembered.status.and_then(|it| it.certificates);
        match (left.is_empty(), &remembered) {
            (true, None) => Ok(()),
            _ => Err(format!("{left:?}, remembered: {remembered:?}")),
        }
    })
    .await?;
    let secrets: Api<Secret> = Api::namespaced(lab.client().clone(), NAMESPACE);
    for secret in CERTIFICATES {
        ensure!(secrets.get_opt(secret).await?.is_some(), "{secret} is gone");
    }
    Ok(())
}
