//! The members of a scenario's cluster: their pods and processes, what they say themselves, and harm to them.
//!
//! The operator is not asked here: who leads and who is well, the members' own metrics tell, the same for every engine.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use crds::RaftCluster;
use crds::overlay::MEMBER_CONTAINER;
use e2e::kind::{nodes, samples};
use e2e::wait;
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use plan::names;
use serde_json::json;

use crate::stage::{LOOK_EVERY, NAME, PATIENCE, Stage};

/// How long one member may take to say something; one on a paused node never does.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

impl Stage<'_> {
    /// The pods of all members.
    pub(crate) async fn pods(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client(), self.namespace());
        let members = ListParams::default().labels(names::MEMBER_LABEL);
        Ok(pods.list(&members).await?.items)
    }

    /// The names of the members' pods, which are the members'.
    pub(crate) async fn pod_names(&self) -> Result<BTreeSet<String>> {
        let pods = self.pods().await?;
        Ok(pods.iter().map(ResourceExt::name_any).collect())
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
        let what = format!("a leader of {}", self.title());
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

    /// A node that is not the control plane's and has the leader; leaders elsewhere are restarted until it is so.
    pub(crate) async fn worker_that_leads(&self) -> Result<String> {
        let nodes = self.house().nodes().await?;
        let (control_plane, _) = nodes.split_first().context("a cluster has nodes")?;
        for _ in 0..10 {
            let leader = self.leader().await?;
            let pod = self.pod(&leader).await?;
            let node = node_of(&pod).context("a pod that runs has a node")?;
            if node != control_plane {
                return Ok(node.to_owned());
            }
            self.say(&format!("{leader} leads on the control plane: restart it"));
            self.delete_pod(&leader).await?;
            self.ready().await?;
        }
        bail!("the leader is always on the control plane")
    }

    /// A member that does not lead.
    pub(crate) async fn follower(&self) -> Result<String> {
        let leader = self.leader().await?;
        let mut members = self.pod_names().await?.into_iter();
        members
            .find(|it| *it != leader)
            .context("a cluster of several has a follower")
    }

    /// Waits until the cluster's status tells of members, and this one is none of them.
    pub(crate) async fn is_without(&self, member: &str) -> Result<()> {
        let is_out = |cluster: &RaftCluster| {
            let members = cluster.status.iter().flat_map(|it| &it.members);
            let mut names = members.map(|it| it.name.as_str()).peekable();
            names.peek().is_some() && names.all(|it| it != member)
        };
        let what = format!("without {member}");
        self.is(NAME, &what, is_out).await.map(drop)
    }

    /// Waits until so many members say that they know a leader.
    pub(crate) async fn healthy(&self, members: i32) -> Result<()> {
        let what = format!("{members} members of {} that know a leader", self.title());
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
        let (namespace, pod) = (self.namespace(), pod.name_any());
        let port = names::METRICS_PORT;
        let uri = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
        let request = Request::get(uri).body(Vec::new()).ok()?;
        let answer = self.house().client().request_text(request);
        let text = tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .ok()?
            .ok()?;
        samples::value(&text, metric)
    }

    /// Ends a member's process with SIGKILL, on its node.
    pub(crate) async fn kill(&self, member: &str) -> Result<()> {
        let pod = self.pod(member).await?;
        let node = node_of(&pod);
        let container = container_id(&pod, MEMBER_CONTAINER)
            .with_context(|| format!("{member} does not run"))?;
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
        let was = container_id(before, MEMBER_CONTAINER);
        let what = format!("{member} to be started again");
        wait::until_every(LOOK_EVERY, what, PATIENCE, async || {
            let pod = self.pod(member).await.map_err(|e| format!("{e:#}"))?;
            let runs = container_id(&pod, MEMBER_CONTAINER).is_some_and(|now| Some(now) != was);
            runs.then_some(())
                .ok_or_else(|| json!(pod.status).to_string())
        })
        .await?;
        Ok(())
    }

    /// A member's pod.
    pub(crate) async fn pod(&self, member: &str) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client(), self.namespace());
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

/// Whether a pod has a container of this image.
pub(crate) fn runs(pod: &Pod, image: &str) -> bool {
    let mut containers = pod.spec.iter().flat_map(|it| &it.containers);
    containers.any(|it| it.image.as_deref() == Some(image))
}

/// The node that a pod is on.
pub(crate) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// The id of a running container.
pub(crate) fn container_id(pod: &Pod, name: &str) -> Option<String> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let container = statuses.iter().find(|it| it.name == name)?;
    container.state.as_ref()?.running.as_ref()?;
    container.container_id.clone()
}

/// How often the member's container was started again in this pod.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|it| it.container_statuses.as_ref());
    statuses.map_or(0, |all| all.iter().map(|it| it.restart_count).sum())
}
