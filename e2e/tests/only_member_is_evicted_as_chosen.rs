//! Promise: the only member of a cluster is evicted, as by a drain, or is not, as its user chose; and comes back.

use anyhow::{Result, ensure};
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::{FIGURE, wait};
use k8s_openapi::api::core::v1::Pod;
use kube::api::EvictParams;
use kube::{Api, ResourceExt};
use serde_json::json;

const MANIFEST: &str = r"
apiVersion: quorate.io/v1alpha1
kind: RaftCluster
metadata: { name: alone }
spec:
  replicas: 1
  storage: { size: 1Gi }
  disruption: { singleMemberEviction: Block }
";

e2e::on_each_engine!(the_only_member_is_evicted_as_its_user_chose);

async fn the_only_member_is_evicted_as_its_user_chose(engine: Engine) -> Result<()> {
    let lab = Lab::start("only-member", engine).await?;
    let name = lab.apply(MANIFEST).await?;
    lab.ready(&name).await?;
    let pods: Api<Pod> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let member = lab.leader(&name).await?.member;
    let before = pods.get(&member).await?.uid();
    let evict = async || pods.evict(&member, &EvictParams::default()).await;
    let refused = evict().await;
    let by_budget = matches!(&refused, Err(kube::Error::Api(status)) if status.code == 429);
    ensure!(by_budget, "its eviction was not refused: {refused:?}");

    let allow = json!({ "disruption": { "singleMemberEviction": "Allow" } });
    lab.patch_spec(&name, allow).await?;
    wait::until("its eviction to be allowed", PATIENCE, evict).await?;
    wait::until("another pod of it", PATIENCE, async || {
        let pod = pods.get_opt(&member).await.map_err(|e| e.to_string())?;
        let uid = pod.and_then(|it| it.uid());
        let other = uid.is_some() && uid != before;
        other.then_some(()).ok_or_else(|| format!("{uid:?}"))
    })
    .await?;
    lab.healthy(&name, 1).await?;
    println!(
        "{FIGURE}{}, an only member was evicted as chosen",
        lab.engine()
    );
    lab.end().await
}
