//! Promise: clients of a cluster without TLS move to TLS, and back, in ordered steps, while the cluster serves: those that
//! have not moved yet are served until the user says so, and those that have moved are never cut off.

use anyhow::{Result, ensure};
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use serde_json::{Value, json};

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: mover }
spec:
  replicas: 3
  storage: { size: 1Gi }
";

e2e::on_each_engine!(clients_move_to_tls_and_back);

async fn clients_move_to_tls_and_back(engine: Engine) -> Result<()> {
    let lab = Lab::start("move-to-tls", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let plain = Traffic::start(mix("before/"), lab.endpoints(&name).await?);
    plain.flows(50, PATIENCE).await?;
    lab.change(&name, &plain, "TLS beside plaintext", tls("Allowed"))
        .await?;

    let (urls, shown) = (lab.secured_endpoints(&name).await?, lab.shown(&name).await?);
    let secured = Traffic::start_secured(mix("secured/"), urls, shown);
    secured.flows(50, PATIENCE).await?;
    judge(&plain.finish(PATIENCE).await?)?;
    lab.change(&name, &secured, "TLS alone", tls("Refused"))
        .await?;
    ensure!(
        !answers_plaintext(&lab, &name).await?,
        "plaintext is still served"
    );
    lab.change(&name, &secured, "plaintext beside TLS", tls("Allowed"))
        .await?;

    let plain = Traffic::start(mix("after/"), lab.endpoints(&name).await?);
    plain.flows(50, PATIENCE).await?;
    judge(&secured.finish(PATIENCE).await?)?;
    let without = json!({ "tls": { "client": { "mode": "Disabled", "plaintext": "Refused" } } });
    lab.change(&name, &plain, "plaintext alone", without)
        .await?;
    judge(&plain.finish(PATIENCE).await?)?;
    lab.end().await
}

fn mix(prefix: &str) -> Mix {
    Mix {
        prefix: prefix.to_owned(),
        ..Mix::default()
    }
}

fn tls(plaintext: &str) -> Value {
    json!({ "tls": { "client": { "mode": "Operator", "plaintext": plaintext } } })
}

async fn answers_plaintext(lab: &Lab, name: &str) -> Result<bool> {
    for url in lab.endpoints(name).await? {
        if let Ok(mut client) = Client::connect(&url).await
            && client.status().await.is_ok()
        {
            return Ok(true);
        }
    }
    Ok(false)
}
