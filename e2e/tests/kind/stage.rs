//! Where one scenario plays: a namespace of its own, one cluster of one engine, and traffic at it.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crds::RaftCluster;
use e2e::FIGURE;
use e2e::kind::traffic::{Order, Remote};
use e2e::lab::{is_ready, told};
use e2e::secured::{Papers, plain};
use e2e::traffic::Mix;
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use plan::names;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::house::House;

/// The cluster's name in every scenario.
pub(crate) const NAME: &str = "kv";
/// How long anything may take: many times what it takes on a calm machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(400);
/// How often the cluster is looked at: on two cores every look costs the members some of their time.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(300);
/// As many acknowledged writes as show that a cluster serves again.
const ENOUGH: u64 = 50;

/// A namespace and what plays in it.
pub(crate) struct Stage<'a> {
    house: &'a House,
    namespace: String,
    title: String,
    engine: Engine,
    began: Instant,
}

impl<'a> Stage<'a> {
    /// Makes the namespace, under the restricted pod security standard; one that a broken run left goes first.
    pub(crate) async fn open(house: &'a House, name: &str, engine: Engine) -> Result<Self> {
        let stage = Self {
            house,
            namespace: format!("quorate-{name}-{}", engine.name()),
            title: format!("{name}/{}", engine.name()),
            engine,
            began: Instant::now(),
        };
        stage.close().await?;
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": stage.namespace,
                "labels": { "pod-security.kubernetes.io/enforce": "restricted" },
            },
        });
        house.kubectl().apply(None, &namespace.to_string()).await?;
        Ok(stage)
    }

    /// Ends the traffic and deletes the namespace with everything in it.
    pub(crate) async fn close(&self) -> Result<()> {
        Remote::forget(self.client(), &self.namespace).await?;
        self.delete_namespace().await?;
        self.namespace_is_gone().await
    }

    /// Deletes the namespace, as a user does, and does not wait.
    pub(crate) async fn delete_namespace(&self) -> Result<()> {
        let delete = ["delete", "namespace", &self.namespace];
        let softly = ["--ignore-not-found", "--wait=false"];
        self.kubectl(&[delete.as_slice(), &softly].concat()).await?;
        Ok(())
    }

    /// Waits until nothing is left of the namespace.
    pub(crate) async fn namespace_is_gone(&self) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        let what = format!("the namespace {} to be gone", self.namespace);
        wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
            let found = namespaces.get_opt(&self.namespace).await;
            match found.map_err(|e| e.to_string())? {
                None => Ok(()),
                Some(there) => Err(json!(there.status).to_string()),
            }
        })
        .await?;
        Ok(())
    }

    /// The cluster that it plays on.
    pub(crate) fn house(&self) -> &House {
        self.house
    }

    /// A client as an administrator has it.
    pub(crate) fn client(&self) -> Client {
        self.house.client().clone()
    }

    /// The name of the namespace.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The scenario's name with its engine's.
    pub(crate) fn title(&self) -> &str {
        &self.title
    }

    /// What the members run.
    pub(crate) fn engine(&self) -> Engine {
        self.engine
    }

    /// The image that clusters start with.
    pub(crate) fn image(&self) -> Result<String> {
        self.tag(0)
    }

    /// The image to roll to.
    pub(crate) fn next_image(&self) -> Result<String> {
        self.tag(1)
    }

    /// An image that no node has and none can pull, of a version that would do.
    pub(crate) fn missing_image(&self) -> Result<String> {
        let image = self.image()?;
        let (minor, _) = image.rsplit_once('.').context("a version has dots")?;
        Ok(format!("{minor}.999"))
    }

    fn tag(&self, number: usize) -> Result<String> {
        let image = self.house.image(self.engine.image())?;
        let tag = image.tags.get(number);
        tag.cloned()
            .with_context(|| format!("{} has no tag {number}", image.content))
    }

    /// The part of a spec that chooses the engine: nothing, where it is the default.
    pub(crate) fn choice(&self) -> Result<Value> {
        Ok(match self.engine {
            Engine::Quorate => json!({}),
            Engine::Etcd => json!({ "engine": self.engine.kind(), "image": self.image()? }),
        })
    }

    /// Tells a person how far the scenario is.
    pub(crate) fn say(&self, text: &str) {
        println!("  {:>4.0} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// Prints a measured value, for the summary of the rings too.
    pub(crate) fn figure(&self, text: &str) {
        println!("{FIGURE}{}: {text}", self.title);
    }

    /// Runs `kubectl`; where a namespace is meant, it is in the arguments.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.house.kubectl().run(arguments).await
    }

    /// Runs `kubectl` in the scenario's namespace.
    pub(crate) async fn kubectl_here(&self, arguments: &[&str]) -> Result<String> {
        let here = ["-n", &self.namespace];
        self.kubectl(&[here.as_slice(), arguments].concat()).await
    }

    /// Applies a cluster of so many members.
    pub(crate) async fn apply(&self, replicas: u32) -> Result<()> {
        self.apply_with(replicas, json!({})).await
    }

    /// Applies a cluster of so many members with further wishes, in plain HTTP on surfaces that they do not name.
    pub(crate) async fn apply_with(&self, replicas: u32, wishes: Value) -> Result<()> {
        let mut spec = json!({ "replicas": replicas, "storage": { "size": "1Gi" } });
        merge(&mut spec, wishes);
        plain(&mut spec);
        merge(&mut spec, self.choice()?);
        let manifest = json!({
            "apiVersion": "quorate.io/v1alpha1",
            "kind": "RaftCluster",
            "metadata": { "name": NAME },
            "spec": spec,
        });
        self.say(&format!("apply a cluster of {replicas}"));
        self.apply_manifest(&manifest.to_string()).await
    }

    /// Applies a manifest into the namespace.
    pub(crate) async fn apply_manifest(&self, manifest: &str) -> Result<()> {
        let kubectl = self.house.kubectl();
        kubectl.apply(Some(&self.namespace), manifest).await
    }

    /// Changes the spec, as `kubectl patch --type merge` does.
    pub(crate) async fn patch(&self, spec: Value) -> Result<()> {
        let patch = json!({ "spec": spec }).to_string();
        let arguments = ["patch", "raftcluster", NAME, "--type=merge", "-p", &patch];
        self.kubectl_here(&arguments).await.map(drop)
    }

    /// Changes the number of members, as `kubectl scale` does.
    pub(crate) async fn scale(&self, replicas: u32) -> Result<()> {
        let replicas = format!("--replicas={replicas}");
        let arguments = ["scale", "raftcluster", NAME, &replicas];
        self.kubectl_here(&arguments).await.map(drop)
    }

    /// The cluster as it is now.
    pub(crate) async fn cluster(&self) -> Result<RaftCluster> {
        let clusters: Api<RaftCluster> = Api::namespaced(self.client(), &self.namespace);
        Ok(clusters.get(NAME).await?)
    }

    /// Waits until a look finds nothing missing.
    pub(crate) async fn sees(
        &self,
        what: &str,
        mut look: impl AsyncFnMut() -> Result<()>,
    ) -> Result<()> {
        let what = format!("{what} in {}", self.title);
        let looked = wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
            look().await.map_err(|missing| format!("{missing:#}"))
        });
        Ok(looked.await?)
    }

    /// Waits until the cluster is `Ready` for the spec that it has now.
    pub(crate) async fn ready(&self) -> Result<RaftCluster> {
        self.is(NAME, "Ready", is_ready).await
    }

    /// Waits until something can be said of a cluster.
    pub(crate) async fn is(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&RaftCluster) -> bool,
    ) -> Result<RaftCluster> {
        let clusters: Api<RaftCluster> = Api::namespaced(self.client(), &self.namespace);
        let what = format!("{name} of {} to be {what}", self.title);
        let found = wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
            let cluster = clusters.get(name).await.map_err(|e| e.to_string())?;
            if is_so(&cluster) {
                Ok(cluster)
            } else {
                Err(told(&cluster))
            }
        });
        Ok(found.await?)
    }

    /// Applies a cluster, waits until it is `Ready`, and prints how long that took.
    pub(crate) async fn founded(&self, replicas: u32) -> Result<()> {
        let began = Instant::now();
        self.apply(replicas).await?;
        self.ready().await?;
        let seconds = began.elapsed().as_secs_f64();
        self.figure(&format!(
            "Ready with {replicas} members {seconds:.1} s after apply"
        ));
        Ok(())
    }

    /// Starts traffic at the cluster and waits until it flows.
    pub(crate) async fn traffic(&self) -> Result<Remote> {
        let traffic = self.traffic_at(NAME).await?;
        self.say("traffic flows");
        Ok(traffic)
    }

    /// Starts traffic at a cluster of this name, in place of what there was, and waits until it flows.
    pub(crate) async fn traffic_at(&self, cluster: &str) -> Result<Remote> {
        self.traffic_with(cluster, None).await
    }

    /// The same, with the certificate that an application of the cluster finds in its Secret.
    pub(crate) async fn secured_traffic_at(&self, cluster: &str) -> Result<Remote> {
        let papers = Papers::in_use(self.client(), &self.namespace, cluster).await?;
        self.traffic_with(cluster, Some(papers)).await
    }

    /// The same, with what clients show to members with TLS.
    async fn traffic_with(&self, cluster: &str, papers: Option<Papers>) -> Result<Remote> {
        let service = names::peer_service(cluster);
        // Keys of their own: what others wrote before is no part of their history.
        let prefix = if papers.is_some() {
            "secured/"
        } else {
            "plain/"
        };
        let order = Order {
            mix: Mix {
                clients: 6,
                pace: Duration::from_millis(50),
                prefix: prefix.to_owned(),
                ..Mix::default()
            },
            members: format!(
                "{service}.{}.svc.cluster.local.:{}",
                self.namespace,
                names::CLIENT_PORT
            ),
            papers,
        };
        let traffic = Remote::start(self.client(), &self.namespace, &order).await?;
        traffic.flows(ENOUGH, PATIENCE).await?;
        Ok(traffic)
    }

    /// Waits until so much time has passed in which, and at the end of which, writes were acknowledged.
    pub(crate) async fn serves_for(&self, traffic: &Remote, time: Duration) -> Result<()> {
        let from = traffic.state().await?.elapsed;
        let deadline = time + PATIENCE;
        wait::until_every(
            LOOK_EVERY,
            format!("{time:?} to pass"),
            deadline,
            async || {
                let elapsed = traffic.state().await.map_err(|e| format!("{e:#}"))?.elapsed;
                (elapsed >= from + time)
                    .then_some(())
                    .ok_or_else(|| format!("{elapsed:?}"))
            },
        )
        .await?;
        traffic.flows(ENOUGH, PATIENCE).await
    }

    /// Does something under load, waits until the cluster is `Ready` and writes flow, and gives what it cost. What is done
    /// must have shown when `act` returns, or nothing is waited for.
    pub(crate) async fn cost(
        &self,
        traffic: &Remote,
        act: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<Cost> {
        let from = traffic.state().await?.elapsed;
        act().await?;
        traffic.flows(ENOUGH, PATIENCE).await?;
        // What the operator says may be a moment old; the members answer for now.
        self.healthy(self.ready().await?.spec.replicas).await?;
        let redundancy = traffic.state().await?.elapsed - from;
        traffic.flows(ENOUGH, PATIENCE).await?;
        let to = traffic.state().await?.elapsed;
        Ok(Cost {
            gap: traffic.gap(from, to).await?,
            redundancy,
        })
    }

    /// Ends the traffic and judges everything that its clients were told.
    pub(crate) async fn judge(&self, traffic: &Remote) -> Result<()> {
        let history = traffic.finish().await?;
        self.say("judge the history");
        judge(&history)
    }
}

/// What something cost under load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The longest time without an acknowledged write.
    pub(crate) gap: Duration,
    /// Until the cluster was `Ready` again.
    pub(crate) redundancy: Duration,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gap, seconds) = (self.gap.as_millis(), self.redundancy.as_secs_f64());
        write!(f, "write gap {gap} ms, Ready again after {seconds:.1} s")
    }
}

/// Median and worst of several costs, for a figure.
pub(crate) fn summed_up(costs: &[Cost]) -> String {
    let sorted = |of: fn(&Cost) -> Duration| {
        let mut all: Vec<Duration> = costs.iter().map(of).collect();
        all.sort_unstable();
        all
    };
    let (gaps, redundancy) = (sorted(|it| it.gap), sorted(|it| it.redundancy));
    let (middle, last) = (costs.len() / 2, costs.len() - 1);
    format!(
        "{} times: write gap median {} ms, largest {} ms; Ready again median {:.1} s, largest {:.1} s",
        costs.len(),
        gaps[middle].as_millis(),
        gaps[last].as_millis(),
        redundancy[middle].as_secs_f64(),
        redundancy[last].as_secs_f64()
    )
}

/// Adds the fields of one object to another.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
