//! Promise: the members of a cluster move to TLS between each other, and back, while the cluster serves its clients: no write
//! fails for it, and in the end nobody listens in the old way.

use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use plan::names::{PEER_PORT, SECOND_PEER_PORT};
use serde_json::{Value, json};
use tokio::net::TcpStream;

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: peers }
spec:
  replicas: 3
  storage: { size: 1Gi }
";

e2e::on_each_engine!(peers_move_to_tls_and_back);

async fn peers_move_to_tls_and_back(engine: Engine) -> Result<()> {
    let lab = Lab::start("peers-to-tls", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let traffic = Traffic::start(Mix::default(), lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    meet(&lab, &name, "http", PEER_PORT).await?;

    lab.change(&name, &traffic, "peers to TLS", peers("Operator"))
        .await?;
    meet(&lab, &name, "https", SECOND_PEER_PORT).await?;
    // Those that find each other only now: the addresses that they know stand in their data.
    let leader = lab.leader(&name).await?;
    lab.kill(&leader.member)?;
    lab.healthy(&name, 3).await?;
    traffic.flows(50, PATIENCE).await?;

    lab.change(&name, &traffic, "peers to plaintext", peers("Disabled"))
        .await?;
    meet(&lab, &name, "http", PEER_PORT).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    lab.end().await
}

fn peers(mode: &str) -> Value {
    json!({ "tls": { "peer": { "mode": mode } } })
}

/// The membership has all members look for each other there, and they listen there and nowhere else.
async fn meet(lab: &Lab, name: &str, scheme: &str, port: i32) -> Result<()> {
    let urls = lab.endpoints(name).await?;
    let mut client = Client::connect(urls.first().context("no member")?).await?;
    for member in client.members().await? {
        let [url] = &member.peer_urls[..] else {
            anyhow::bail!("{member:?} has not one peer URL");
        };
        let right = url.starts_with(&format!("{scheme}://")) && url.ends_with(&format!(":{port}"));
        ensure!(right, "peers look for {} at {url}", member.name);
    }
    for pod in lab.pods(name).await? {
        let status = pod.status.context("no status")?;
        let address = status.pod_ip.context("no address")?;
        for asked in [PEER_PORT, SECOND_PEER_PORT] {
            let there = TcpStream::connect(format!("{address}:{asked}")).await;
            ensure!(there.is_ok() == (asked == port), "{address}:{asked}");
        }
    }
    Ok(())
}
