//! Promise: stock etcd goes up one minor version after the other under load and loses nothing. A step that etcd cannot take
//! is refused in the condition `Supported` before any member is touched, and back it goes once the user has allowed it. What
//! cannot be known before, that its log is too old for the next version, costs one member, and its revert heals.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use crds::ConditionType;
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, PATIENCE, told};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

/// Writes after which every member has made a snapshot, at one in a hundred entries.
const SNAPSHOTS_ARE_MADE: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn versions_follow_upon_each_other_and_none_is_skipped() -> Result<()> {
    let Some(etcds) = Engine::etcds()? else {
        return Ok(());
    };
    let [oldest, middle, newest] = etcds.each_ref();
    let house = House::start("versions", &etcds, 100).await?;
    house.refuses(newest).await.context("two versions up")?;
    house.rolls_to(middle).await?;
    house.traffic.flows(SNAPSHOTS_ARE_MADE, PATIENCE).await?;
    house.rolls_to(newest).await?;
    house.holds_data_of(newest).await?;
    house.refuses(middle).await.context("one version back")?;
    house.allow_back_to(middle).await?;
    house.becomes_ready().await.context("back, once allowed")?;
    house.refuses(oldest).await.context("two versions back")?;
    house.end().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_next_version_cannot_read_costs_one_member_until_the_revert() -> Result<()> {
    let Some(etcds) = Engine::etcds()? else {
        return Ok(());
    };
    let [_, middle, newest] = etcds.each_ref();
    let house = House::start("log", &etcds, 1_000_000).await?;
    house.rolls_to(middle).await?;
    house.holds_data_of(middle).await?;
    house.ask_for(newest).await?;
    house.one_fails_with(newest).await?;
    house.traffic.flows(200, PATIENCE).await?;
    house.rolls_to(middle).await.context("the revert")?;
    house.end().await
}

/// A cluster that serves while its versions change.
struct House {
    lab: Lab,
    name: String,
    traffic: Traffic,
}

impl House {
    /// A Ready cluster of the oldest of these, with traffic.
    async fn start(what: &str, etcds: &[Engine; 3], snapshot_count: u32) -> Result<Self> {
        let lab = Lab::start(what, etcds[0].clone().beside(&etcds[1..])).await?;
        let manifest = json!({
            "apiVersion": "quorate.io/v1alpha1",
            "kind": "RaftCluster",
            "metadata": { "name": what },
            "spec": { "storage": { "size": "1Gi" }, "options": { "snapshotCount": snapshot_count } },
        });
        let name = lab.apply(&manifest.to_string()).await?;
        lab.ready(&name).await?;
        Ok(Self {
            traffic: Traffic::start(Mix::default(), lab.endpoints(&name).await?),
            lab,
            name,
        })
    }

    /// Nothing was lost on the way.
    async fn end(self) -> Result<()> {
        judge(&self.traffic.finish(PATIENCE).await?)?;
        self.lab.end().await
    }

    /// Waits until a member of this version has been restarted again and again, and sees that it is the only one.
    async fn one_fails_with(&self, engine: &Engine) -> Result<()> {
        let image = engine.image();
        wait::until(
            format!("a member to fail with {image}"),
            PATIENCE,
            async || {
                let pods = self.lab.pods(&self.name).await.map_err(|e| e.to_string())?;
                let of_it = pods.iter().filter(|pod| runs(pod, &image));
                let restarts: Vec<i32> = of_it.map(restarts).collect();
                let one = restarts.len() == 1 && restarts[0] >= 2;
                one.then_some(()).ok_or(format!("restarts: {restarts:?}"))
            },
        )
        .await?;
        Ok(())
    }

    /// Rolls all members to this version.
    async fn rolls_to(&self, engine: &Engine) -> Result<()> {
        self.ask_for(engine).await?;
        self.becomes_ready()
            .await
            .with_context(|| format!("roll to {engine}"))
    }

    async fn ask_for(&self, engine: &Engine) -> Result<()> {
        let spec = json!({ "image": engine.image() });
        self.lab.patch_spec(&self.name, spec).await
    }

    async fn becomes_ready(&self) -> Result<()> {
        self.lab.ready(&self.name).await?;
        self.traffic
            .use_endpoints(self.lab.endpoints(&self.name).await?);
        self.traffic.flows(50, PATIENCE).await?;
        Ok(())
    }

    /// Asks for a version that cannot be run on the data: the condition says so, no pod is touched, and clients are served.
    async fn refuses(&self, engine: &Engine) -> Result<()> {
        let before = self.pods().await?;
        self.ask_for(engine).await?;
        wait::until("the refusal", PATIENCE, async || {
            let found = self.lab.clusters().get(&self.name).await;
            let cluster = found.map_err(|e| e.to_string())?;
            let status = cluster.status.clone().unwrap_or_default();
            let seen = status.observed_generation == cluster.metadata.generation;
            let mut conditions = status.conditions.iter();
            let refused = conditions
                .any(|it| it.type_ == ConditionType::Supported.as_str() && it.status == "False");
            (seen && refused).then_some(()).ok_or(told(&cluster))
        })
        .await?;
        self.traffic.flows(50, PATIENCE).await?;
        ensure!(self.pods().await? == before, "a pod was touched");
        Ok(())
    }

    async fn pods(&self) -> Result<BTreeSet<String>> {
        let pods = self.lab.pods(&self.name).await?;
        Ok(pods.iter().filter_map(ResourceExt::uid).collect())
    }

    /// Waits until every member says that its data are of this version: some moments after all run it.
    async fn holds_data_of(&self, engine: &Engine) -> Result<()> {
        let minor = engine.minor();
        for url in self.lab.endpoints(&self.name).await? {
            wait::until(format!("data of {minor} at {url}"), PATIENCE, async || {
                let mut client = Client::connect(&url).await.map_err(|e| e.to_string())?;
                let status = client.status().await.map_err(|e| e.to_string())?;
                let held = status.storage_version;
                let right = held.starts_with(&format!("{minor}."));
                right.then_some(()).ok_or(format!("data of {held:?}"))
            })
            .await?;
        }
        Ok(())
    }

    /// What `etcdctl downgrade enable` does.
    async fn allow_back_to(&self, engine: &Engine) -> Result<()> {
        let endpoints = self.lab.endpoints(&self.name).await?;
        let mut client = Client::connect(endpoints.first().context("no endpoints")?).await?;
        client
            .enable_downgrade(&format!("{}.0", engine.minor()))
            .await
            .context("enable the downgrade")
    }
}

fn runs(pod: &Pod, image: &str) -> bool {
    let mut containers = pod.spec.iter().flat_map(|it| &it.containers);
    containers.any(|it| it.image.as_deref() == Some(image))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .iter()
        .flat_map(|it| it.container_statuses.iter().flatten());
    statuses.map(|it| it.restart_count).sum()
}
