//! Promise: a cluster with TLS on both surfaces comes up with certificates that the operator has made, serves those who
//! show one and nobody else, scales and rolls under load, and goes on without a restart when its certificates are renewed.

use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::secured::Shown;
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: vault }
spec:
  replicas: 3
  storage: { size: 1Gi }
  tls:
    peer: { mode: Operator }
    client: { mode: Operator }
";

e2e::on_each_engine!(a_cluster_with_tls_serves_and_renews);

async fn a_cluster_with_tls_serves_and_renews(engine: Engine) -> Result<()> {
    let lab = Lab::start("certificates", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let endpoints = lab.secured_endpoints(&name).await?;
    nobody_without_a_certificate(&endpoints).await?;
    let shown = lab.shown(&name).await?;
    let traffic = Traffic::start_secured(Mix::default(), endpoints, shown.clone());
    traffic.flows(100, PATIENCE).await?;
    let spec = json!({ "replicas": 4, "image": lab.engine().next_image() });
    lab.change(&name, &traffic, "scale and roll with TLS", spec)
        .await?;
    renew(&lab, &name, &traffic, &shown).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

/// Certificates that are taken away are made anew, reach the members, and are what they show; no pod is another one, and no
/// container has restarted.
async fn renew(lab: &Lab, name: &str, traffic: &Traffic, shown: &Shown) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let before = lab.incarnations(name).await?;
    for secret in [format!("{name}-peer-tls"), format!("{name}-server-tls")] {
        let old = entry(&secrets.get(&secret).await?, "tls.crt")?;
        let spoil = Patch::Merge(json!({ "data": { "tls.crt": null } }));
        secrets
            .patch(&secret, &PatchParams::default(), &spoil)
            .await?;
        wait::until(format!("{secret} to be renewed"), PATIENCE, async || {
            let found = secrets.get(&secret).await.map_err(|it| it.to_string())?;
            match entry(&found, "tls.crt") {
                Ok(new) if new != old => Ok(()),
                _ => Err("it is the old one".to_owned()),
            }
        })
        .await?;
    }
    lab.shows(name, shown, &format!("{name}-server-tls"))
        .await?;
    traffic.flows(200, PATIENCE).await?;
    lab.ready(name).await?;
    ensure!(
        lab.incarnations(name).await? == before,
        "a member was restarted"
    );
    Ok(())
}

fn entry(secret: &Secret, name: &str) -> Result<Vec<u8>> {
    let found = secret.data.as_ref().and_then(|it| it.get(name));
    Ok(found
        .with_context(|| format!("there is no {name}"))?
        .0
        .clone())
}

async fn nobody_without_a_certificate(endpoints: &[String]) -> Result<()> {
    for url in endpoints {
        let plain = url.replacen("https:", "http:", 1);
        let answered = match Client::connect(&plain).await {
            Ok(mut client) => client.status().await.is_ok(),
            Err(_) => false,
        };
        ensure!(!answered, "{plain} answers a client without a certificate");
    }
    Ok(())
}
