//! Where one scenario plays: a namespace of its own, one cluster of one engine, and traffic at it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use crds::RaftCluster;
use e2e::FIGURE;
use e2e::kind::traffic::{Order, Remote};
use e2e::kind::{nodes, samples};
use e2e::lab::{is_ready, told};
use e2e::traffic::Mix;
use e2e::verdict::judge;
use e2e::wait;
use http::Request;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use plan::names;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::house::House;

/// The cluster's name in every scenario.
pub(crate) const NAME: &str = "kv";
/// How long anything may take: many times what it takes on a calm machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(400);
/// How often the cluster is looked at: on two cores every look costs the members some of their time.
const LOOK_EVERY: Duration = Duration::from_millis(300);
/// How long one member may take to say something; one on a paused node never does.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
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

    pub(crate) fn house(&self) -> &House {
        self.house
    }

    pub(crate) fn client(&self) -> Client {
        self.house.client().clone()
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine
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
        let mut spec = json!({ "replicas": replicas, "storage": { "size": "1Gi" } });
        merge(&mut spec, self.engine.choice());
        let manifest = json!({
            "apiVersion": "quorate.io/v1alpha1",
            "kind": "RaftCluster",
            "metadata": { "name": NAME },
            "spec": spec,
        });
        self.say(&format!("apply a cluster of {replicas}"));
        let kubectl = self.house.kubectl();
        kubectl
            .apply(Some(&self.namespace), &manifest.to_string())
            .await
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

    /// Waits until the cluster is `Ready` for the spec that it has now.
    pub(crate) async fn ready(&self) -> Result<RaftCluster> {
        self.cluster_is("Ready", is_ready).await
    }

    /// Waits until something can be said of the cluster.
    pub(crate) async fn cluster_is(
        &self,
        what: &str,
        is_so: impl Fn(&RaftCluster) -> bool,
    ) -> Result<RaftCluster> {
        let what = format!("{} to be {what}", self.title);
        let found = wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
            let cluster = self.cluster().await.map_err(|e| format!("{e:#}"))?;
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
        let service = names::peer_service(NAME);
        let order = Order {
            mix: Mix {
                clients: 6,
                pace: Duration::from_millis(50),
                ..Mix::default()
            },
            members: format!("{service}.{}.svc.cluster.local.:2379", self.namespace),
        };
        let traffic = Remote::start(self.client(), &self.namespace, &order).await?;
        traffic.flows(ENOUGH, PATIENCE).await?;
        self.say("traffic flows");
        Ok(traffic)
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

    /// The pods of all members.
    pub(crate) async fn pods(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client(), &self.namespace);
        let members = ListParams::default().labels(names::MEMBER_LABEL);
        Ok(pods.list(&members).await?.items)
    }

    /// The uids of the members' pods.
    pub(crate) async fn pod_uids(&self) -> Result<BTreeSet<String>> {
        Ok(self
            .pods()
            .await?
            .iter()
            .filter_map(ResourceExt::uid)
            .collect())
    }

    /// Waits until exactly one member says that it leads, and gives its name; the operator is not asked.
    pub(crate) async fn leader(&self) -> Result<String> {
        let what = format!("a leader of {}", self.title);
        let found = wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
            let mut leaders = Vec::new();
            for pod in self.pods().await.map_err(|e| format!("{e:#}"))? {
                if self.sample(&pod, "etcd_server_is_leader").await == Some(1.0) {
                    leaders.push(pod.name_any());
                }
            }
            match leaders.as_slice() {
                [only] => Ok(only.clone()),
                other => Err(format!("{other:?} say that they lead")),
            }
        });
        Ok(found.await?)
    }

    /// Waits until so many members say that they know a leader.
    pub(crate) async fn healthy(&self, members: i32) -> Result<()> {
        let what = format!("{members} members of {} that know a leader", self.title);
        wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
            let mut know = 0;
            for pod in self.pods().await.map_err(|e| format!("{e:#}"))? {
                let knows = self.sample(&pod, "etcd_server_has_leader").await == Some(1.0);
                know += i32::from(knows);
            }
            (know >= members)
                .then_some(())
                .ok_or_else(|| format!("{know} do"))
        })
        .await?;
        Ok(())
    }

    /// One value of a member's own metrics, through the API server; `None` when it does not say.
    async fn sample(&self, pod: &Pod, metric: &str) -> Option<f64> {
        let (namespace, pod) = (&self.namespace, pod.name_any());
        let port = names::METRICS_PORT;
        let uri = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
        let request = Request::get(uri).body(Vec::new()).ok()?;
        let answer = self.house.client().request_text(request);
        let text = tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .ok()?
            .ok()?;
        samples::value(&text, metric)
    }

    /// Ends a member's process with SIGKILL, on its node.
    pub(crate) async fn kill(&self, member: &str) -> Result<()> {
        let pod = self.pod(member).await?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let container = container_id(&pod).with_context(|| format!("{member} does not run"))?;
        nodes::kill(node.context("a running pod has a node")?, &container)
    }

    /// Deletes a member's pod by force and waits until another one of it runs.
    pub(crate) async fn delete_pod(&self, member: &str) -> Result<()> {
        let before = self.pod(member).await?;
        let delete = ["delete", "pod", member, "--force", "--grace-period=0"];
        self.kubectl_here(&delete).await?;
        self.is_started_again(member, &before).await
    }

    /// Waits until another process of a member runs than the one in this pod as it was.
    pub(crate) async fn is_started_again(&self, member: &str, before: &Pod) -> Result<()> {
        let was = container_id(before);
        let what = format!("{member} to be started again");
        wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
            let pod = self.pod(member).await.map_err(|e| format!("{e:#}"))?;
            let runs = container_id(&pod).is_some_and(|now| Some(now) != was);
            runs.then_some(())
                .ok_or_else(|| json!(pod.status).to_string())
        })
        .await?;
        Ok(())
    }

    /// A member's pod.
    pub(crate) async fn pod(&self, member: &str) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client(), &self.namespace);
        Ok(pods.get(member).await?)
    }

    /// Says that every pod is another one than before, and that there are so many.
    pub(crate) async fn all_are_new(&self, before: &BTreeSet<String>, count: usize) -> Result<()> {
        let after = self.pod_uids().await?;
        ensure!(
            after.len() == count,
            "{} pods where {count} are wanted",
            after.len()
        );
        ensure!(after.is_disjoint(before), "a pod was not replaced");
        Ok(())
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

/// The id of the member's running container.
fn container_id(pod: &Pod) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let member = statuses
        .iter()
        .find(|it| it.name == crds::overlay::MEMBER_CONTAINER)?;
    member.state.as_ref()?.running.as_ref()?;
    member.container_id.clone()
}

/// How often the member's container was started again in this pod.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|it| it.container_statuses.as_ref());
    statuses.map_or(0, |all| all.iter().map(|it| it.restart_count).sum())
}

/// Adds the fields of one object to another.
fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
