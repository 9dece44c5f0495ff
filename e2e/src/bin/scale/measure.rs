//! The measurements, one after the other, on one control plane.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use crds::{RaftCluster, RaftClusterSpec};
use e2e::control_plane::ControlPlane;
use e2e::secured::plain;
use e2e::wait;
use futures::{StreamExt, TryStreamExt, pin_mut, stream};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, ResourceExt};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::{self, UnboundedReceiver};

use crate::Arguments;
use crate::kubelet;
use crate::operator::Operator;
use crate::requests::{self, Requests};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) clusters: usize,
    pub(crate) foreign_pods: usize,
    pub(crate) all_ready_seconds: f64,
    pub(crate) memory_bytes_at_start: u64,
    pub(crate) memory_bytes_with_all: u64,
    pub(crate) memory_bytes_at_most: u64,
    pub(crate) memory_bytes_beside_foreign_pods: u64,
    /// Per cluster, from its creation until it is ready, by HTTP method.
    pub(crate) requests_per_cluster: BTreeMap<String, f64>,
    /// The same as the API server counts them, of everybody, by verb and resource.
    pub(crate) requests_answered_per_cluster: BTreeMap<String, f64>,
    /// Of the operator, per cluster, from its creation until it is ready.
    pub(crate) processor_milliseconds_per_cluster: f64,
    pub(crate) idle_seconds: u64,
    pub(crate) writes_while_idle: u64,
    /// As the API server counts them, of everybody, by verb and resource.
    pub(crate) writes_answered_while_idle: Requests,
    /// From an edit to the first thing that the operator did about it, each.
    pub(crate) edit_milliseconds: Vec<f64>,
    /// From the same edits until a watch has told of them: what the API server and this machine take by themselves.
    pub(crate) edit_told_milliseconds: Vec<f64>,
    pub(crate) restart_seconds: f64,
}

/// Between two edits. The API server's watch cache answers a list at once when it was not asked within the last 100 ms, and else waits
/// until they are over: an edit is not to pay for the last list of the one before.
const AT_REST: Duration = Duration::from_millis(300);
/// Creations and edits on their way at the same time.
const AT_ONCE: usize = 16;
/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// After its last write until the operator counts as idle: longer than its longest wait while it still works on something.
const CALM: Duration = Duration::from_secs(10);

/// Measures everything.
pub(crate) async fn measure(arguments: &Arguments, plane: &ControlPlane) -> Result<Figures> {
    let client = plane.client().await?;
    define(&client, arguments.namespaces).await?;
    let kubelet = tokio::spawn(kubelet::run(client.clone()));
    let measuring = async {
        let operator = Operator::start(&plane.kubeconfig_file(), arguments.workers).await?;
        let bench = Bench {
            arguments,
            plane,
            clusters: Clusters::follow(client.clone()),
            client,
            operator,
        };
        bench.measure().await
    };
    tokio::select! {
        ended = kubelet => bail!("the kubelet has ended: {ended:?}"),
        figures = measuring => figures,
    }
}

async fn define(client: &Client, namespaces: usize) -> Result<()> {
    let definitions = Api::all(client.clone());
    for definition in crds::definitions() {
        let created = definitions
            .create(&PostParams::default(), &definition)
            .await;
        created.context("create our definitions")?;
    }
    let all = Api::<Namespace>::all(client.clone());
    for number in 0..namespaces {
        let namespace: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": namespace(number) } }))?;
        all.create(&PostParams::default(), &namespace).await?;
    }
    wait::until(
        "the definitions to be served",
        Duration::from_secs(60),
        async || {
            let clusters = Api::<RaftCluster>::all(client.clone());
            clusters.list(&Default::default()).await.map(drop)
        },
    )
    .await?;
    Ok(())
}

fn namespace(number: usize) -> String {
    format!("scale-{number}")
}

struct Bench<'a> {
    arguments: &'a Arguments,
    plane: &'a ControlPlane,
    client: Client,
    clusters: Clusters,
    operator: Operator,
}

impl Bench<'_> {
    async fn measure(mut self) -> Result<Figures> {
        let memory_bytes_at_start = self.operator.memory_bytes()?;
        let before = self.operator.requests().await?;
        let (answered, used) = (self.answered().await?, self.operator.processor_seconds()?);
        let begun = Instant::now();
        self.create().await?;
        self.all_ready().await?;
        let all_ready_seconds = begun.elapsed().as_secs_f64();
        eprintln!("all ready after {all_ready_seconds:.1} s");
        let clusters = self.arguments.clusters as f64;
        let used = self.operator.processor_seconds()? - used;
        let requests_per_cluster = self.requests_since(&before).await?;
        let answered = requests::since(self.answered().await?, &answered);
        let answered = answered.into_iter();
        let memory_bytes_with_all = self.operator.memory_bytes()?;
        let memory_bytes_at_most = self.operator.memory_bytes_at_most()?;
        let (writes_while_idle, writes_answered_while_idle) = self.idle().await?;
        let (edit_told_milliseconds, edit_milliseconds) = self.edits().await?;
        self.foreign_pods().await?;
        let restart_seconds = self.restart().await?;
        eprintln!("all looked at {restart_seconds:.1} s after a restart");
        tokio::time::sleep(CALM).await;
        let memory_bytes_beside_foreign_pods = self.operator.memory_bytes()?;
        self.operator.stop().await?;
        Ok(Figures {
            clusters: self.arguments.clusters,
            foreign_pods: self.arguments.foreign_pods,
            all_ready_seconds,
            memory_bytes_at_start,
            memory_bytes_with_all,
            memory_bytes_at_most,
            memory_bytes_beside_foreign_pods,
            requests_per_cluster,
            requests_answered_per_cluster: answered
                .map(|(name, count)| (name, count as f64 / clusters))
                .collect(),
            processor_milliseconds_per_cluster: used * 1_000.0 / clusters,
            idle_seconds: self.arguments.idle_seconds,
            writes_while_idle,
            writes_answered_while_idle,
            edit_milliseconds,
            edit_told_milliseconds,
            restart_seconds,
        })
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60 * self.arguments.patience_minutes)
    }

    /// Namespace and name of a cluster.
    fn place(&self, number: usize) -> (String, String) {
        (
            namespace(number % self.arguments.namespaces),
            format!("kv-{number}"),
        )
    }

    async fn create(&self) -> Result<()> {
        let mut spec = json!({
            "replicas": 3, "engine": "Etcd", "image": "etcd:v3.7.1", "storage": { "size": "1Gi" },
        });
        // The members of this program have no certificates.
        plain(&mut spec);
        let spec: RaftClusterSpec = serde_json::from_value(spec)?;
        stream::iter(0..self.arguments.clusters)
            .map(|number| {
                let (namespace, name) = self.place(number);
                let cluster = RaftCluster::new(&name, spec.clone());
                let api = Api::<RaftCluster>::namespaced(self.client.clone(), &namespace);
                async move { api.create(&PostParams::default(), &cluster).await.map(drop) }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
            .context("create the clusters")
    }

    async fn all_ready(&mut self) -> Result<()> {
        let (wanted, patience, begun) = (self.arguments.clusters, self.patience(), Instant::now());
        let mut told = begun;
        while self.clusters.ready() < wanted {
            if begun.elapsed() > patience {
                bail!(
                    "{} of {wanted} clusters are ready after {patience:?}",
                    self.clusters.ready()
                );
            }
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                eprintln!("{} of {wanted} are ready", self.clusters.ready());
            }
            self.clusters.hear(LOOK_EVERY).await?;
        }
        Ok(())
    }

    async fn requests_since(
        &self,
        before: &BTreeMap<String, u64>,
    ) -> Result<BTreeMap<String, f64>> {
        let clusters = self.arguments.clusters as f64;
        let now = self.operator.requests().await?;
        let since = now.into_iter().map(|(method, count)| {
            let count = count - before.get(&method).copied().unwrap_or_default();
            (method, count as f64 / clusters)
        });
        Ok(since.collect())
    }

    async fn answered(&self) -> Result<Requests> {
        requests::answered(&self.client).await
    }

    /// Writes of the operator while nothing happens, and those that the API server has seen of anybody.
    async fn idle(&self) -> Result<(u64, Requests)> {
        let before = self.calm().await?;
        let answered = self.answered().await?;
        eprintln!("counting writes for {} s", self.arguments.idle_seconds);
        tokio::time::sleep(Duration::from_secs(self.arguments.idle_seconds)).await;
        let mut answered = requests::since(self.answered().await?, &answered);
        answered.retain(|it, _| !it.starts_with("GET ") && !it.starts_with("LIST "));
        Ok((self.writes().await? - before, answered))
    }

    /// How much the operator has written, once it has written nothing for a while: the last clusters become ready all at once, and what
    /// it then says of them takes it some seconds.
    async fn calm(&self) -> Result<u64> {
        let (patience, begun) = (self.patience(), Instant::now());
        let mut last = self.writes().await?;
        while begun.elapsed() < patience {
            tokio::time::sleep(CALM).await;
            let now = self.writes().await?;
            if now == last {
                return Ok(now);
            }
            last = now;
        }
        bail!("the operator still writes after {patience:?}")
    }

    /// How much the operator has written.
    async fn writes(&self) -> Result<u64> {
        let requests = self.operator.requests().await?;
        let writes = requests.iter().filter(|(it, _)| *it != "GET");
        Ok(writes.map(|(_, count)| count).sum())
    }

    /// Edits one cluster after another; each time, how long it takes until a watch tells of it, and until the operator has written
    /// about it. What follows on an edit is waited for, so that no edit is measured beside the work of another.
    async fn edits(&mut self) -> Result<(Vec<f64>, Vec<f64>)> {
        let (mut told, mut milliseconds) = (Vec::new(), Vec::new());
        for number in 0..self.arguments.edits {
            let (namespace, name) = self.place(number % self.arguments.clusters);
            let api = Api::<RaftCluster>::namespaced(self.client.clone(), &namespace);
            let count = 20_000 + number / self.arguments.clusters;
            let patch = json!({ "spec": { "options": { "snapshotCount": count } } });
            let begun = Instant::now();
            let edited = api
                .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
            let generation = edited.metadata.generation;
            for (reached, after) in [
                (Clusters::generation as fn(&_, &_, &_) -> _, &mut told),
                (Clusters::observed, &mut milliseconds),
            ] {
                while reached(&self.clusters, &namespace, &name) < generation {
                    if begun.elapsed() > self.patience() {
                        bail!("nothing was done about an edit of {namespace}/{name}");
                    }
                    self.clusters.hear(LOOK_EVERY).await?;
                }
                after.push(begun.elapsed().as_secs_f64() * 1_000.0);
            }
            self.all_ready().await?;
            tokio::time::sleep(AT_REST).await;
        }
        Ok((told, milliseconds))
    }

    async fn foreign_pods(&self) -> Result<()> {
        eprintln!("creating {} pods of nobody's", self.arguments.foreign_pods);
        let all = Api::<Namespace>::all(self.client.clone());
        let namespace: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": "foreign" } }))?;
        all.create(&PostParams::default(), &namespace).await?;
        let pods = Api::<Pod>::namespaced(self.client.clone(), "foreign");
        // The account that a pod runs as is made by a controller.
        wait::until(
            "the first foreign pod",
            Duration::from_secs(60),
            async || {
                pods.create(&PostParams::default(), &foreign("first"))
                    .await
                    .map(drop)
            },
        )
        .await?;
        stream::iter(1..self.arguments.foreign_pods)
            .map(|number| {
                let (pods, pod) = (pods.clone(), foreign(&number.to_string()));
                async move { pods.create(&PostParams::default(), &pod).await.map(drop) }
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
            .context("create the foreign pods")
    }

    /// From the start of a new operator until it has looked at every cluster and has nothing in hand.
    async fn restart(&mut self) -> Result<f64> {
        let file = self.plane.kubeconfig_file();
        let begun = Instant::now();
        let new = Operator::start(&file, self.arguments.workers).await?;
        std::mem::replace(&mut self.operator, new).stop().await?;
        let wanted = self.arguments.clusters as u64;
        wait::until(
            "all clusters to be looked at",
            self.patience(),
            async || match self.operator.looks().await {
                Ok((looks, 0)) if looks >= wanted => Ok(()),
                found => Err(format!("{found:?}")),
            },
        )
        .await?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

fn foreign(name: &str) -> Pod {
    let pod = json!({
        "metadata": { "name": format!("foreign-{name}"), "labels": { "app": "foreign" } },
        "spec": { "containers": [{ "name": "main", "image": "none:1" }] },
    });
    serde_json::from_value(pod).expect("a pod of our own making")
}

/// What a watch shows of all clusters.
struct Clusters {
    seen: HashMap<(String, String), Seen>,
    news: UnboundedReceiver<RaftCluster>,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    ready: bool,
    generation: Option<i64>,
    observed: Option<i64>,
}

impl Clusters {
    fn follow(client: Client) -> Self {
        let (tell, news) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let events = watcher(Api::<RaftCluster>::all(client), watcher::Config::default());
            pin_mut!(events);
            while let Some(event) = events.next().await {
                if let Ok(Event::Apply(cluster) | Event::InitApply(cluster)) = event
                    && tell.send(cluster).is_err()
                {
                    return;
                }
            }
        });
        Self {
            seen: HashMap::new(),
            news,
        }
    }

    /// Waits for news, for so long at most, and takes in all there are.
    async fn hear(&mut self, longest: Duration) -> Result<()> {
        if let Ok(first) = tokio::time::timeout(longest, self.news.recv()).await {
            self.take(&first.context("the watch has ended")?);
        }
        while let Ok(next) = self.news.try_recv() {
            self.take(&next);
        }
        Ok(())
    }

    fn take(&mut self, cluster: &RaftCluster) {
        let key = (cluster.namespace().unwrap_or_default(), cluster.name_any());
        let status = cluster.status.as_ref();
        let conditions = status.into_iter().flat_map(|it| &it.conditions);
        let mut ready = conditions.filter(|it| it.type_ == "Ready");
        let ready = ready
            .next()
            .filter(|it| it.observed_generation == cluster.metadata.generation);
        let seen = Seen {
            ready: ready.is_some_and(|it| it.status == "True"),
            generation: cluster.metadata.generation,
            observed: ready.and(cluster.metadata.generation),
        };
        self.seen.insert(key, seen);
    }

    fn ready(&self) -> usize {
        self.seen.values().filter(|it| it.ready).count()
    }

    /// The newest generation.
    fn generation(&self, namespace: &str, name: &str) -> Option<i64> {
        let seen = self.seen.get(&(namespace.to_owned(), name.to_owned()));
        seen?.generation
    }

    /// The newest generation that the operator has said something about.
    fn observed(&self, namespace: &str, name: &str) -> Option<i64> {
        let seen = self.seen.get(&(namespace.to_owned(), name.to_owned()));
        seen?.observed
    }
}
