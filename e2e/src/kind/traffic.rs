//! Traffic that runs inside the cluster, told what to do from outside.
//!
//! Pods' addresses cannot be reached from every user's machine, so the clients of [`crate::traffic`] run in a pod (the
//! `traffic` program), find the members by the name of their headless service, and are controlled through the API server's
//! proxy to that pod. Each test has a [`Remote`], a run of its own under a name; its history comes back whole and is judged
//! here.
//!
//! It deliberately keeps no time of its own: marks are in the pod's clock, as everything in the history is.

use std::time::Duration;

use anyhow::{Context, Result};
use http::{Method, Request};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::history::{Gap, History};
use crate::secured::Papers;
use crate::traffic::Mix;
use crate::wait;

/// The namespace of what the lab itself runs in the cluster.
pub const NAMESPACE: &str = "quorate-lab";
/// The port on which the traffic program is told what to do.
pub const PORT: u16 = 8080;
/// The label by which its pod is found.
const SELECTOR: &str = "app.kubernetes.io/name=quorate-lab-traffic";

/// What to send, and to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    /// How much, and of what kind.
    pub mix: Mix,
    /// Host and port that resolve to the members, looked up again and again.
    pub members: String,
    /// What to show to members with TLS.
    #[serde(default)]
    pub papers: Option<Papers>,
}

/// How a run stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Time since the run began, in the pod's clock: a mark for [`Remote::gap`].
    pub elapsed: Duration,
    /// Writes acknowledged so far.
    pub acknowledged: u64,
    /// The members as the last look-up found them.
    pub endpoints: Vec<String>,
    /// The operation that ended last.
    pub last: Option<String>,
}

/// A stretch of a run's time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stretch {
    /// Its begin, in milliseconds of the run.
    pub from_ms: u64,
    /// Its end.
    pub to_ms: u64,
}

/// A run of traffic in the cluster.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    pod: String,
    run: String,
}

impl Remote {
    /// Starts a run; one of the same name that is still there is dropped.
    ///
    /// # Errors
    /// When there is no traffic pod, or it refuses.
    pub async fn start(client: Client, run: &str, order: &Order) -> Result<Self> {
        let remote = Self::named(client, run).await?;
        let body = serde_json::to_vec(order)?;
        remote.text(Method::POST, "", body).await?;
        Ok(remote)
    }

    /// Ends a run for good, whether there is one or not.
    ///
    /// # Errors
    /// When there is no traffic pod, or it does not answer.
    pub async fn forget(client: Client, run: &str) -> Result<()> {
        let remote = Self::named(client, run).await?;
        remote.text(Method::DELETE, "", Vec::new()).await?;
        Ok(())
    }

    async fn named(client: Client, run: &str) -> Result<Self> {
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let found = pods.list(&ListParams::default().labels(SELECTOR)).await?;
        let pod = found
            .items
            .iter()
            .find(|pod| pod.metadata.deletion_timestamp.is_none())
            .with_context(|| format!("no pod {SELECTOR} in namespace {NAMESPACE}"))?;
        Ok(Self {
            client,
            pod: pod.name_any(),
            run: run.to_owned(),
        })
    }

    /// How it stands now.
    ///
    /// # Errors
    /// The API server's or the pod's.
    pub async fn state(&self) -> Result<State> {
        self.ask(Method::GET, "").await
    }

    /// Waits until so many further writes have been acknowledged: the cluster serves.
    ///
    /// # Errors
    /// When they have not been after the deadline.
    pub async fn flows(&self, writes: u64, deadline: Duration) -> Result<()> {
        let mut goal = None;
        wait::until(
            format!("{writes} further acknowledged writes"),
            deadline,
            async || {
                let state = self.state().await.map_err(|e| format!("{e:#}"))?;
                let goal = *goal.get_or_insert(state.acknowledged + writes);
                if state.acknowledged >= goal {
                    return Ok(());
                }
                let last = state.last.unwrap_or_else(|| "none".to_owned());
                Err(format!(
                    "{} still to come from {:?}; last operation: {last}",
                    goal - state.acknowledged,
                    state.endpoints
                ))
            },
        )
        .await?;
        Ok(())
    }

    /// The longest time without an acknowledged write that overlaps a stretch between two marks.
    ///
    /// # Errors
    /// When there were not two writes, or the pod does not answer.
    pub async fn gap(&self, from: Duration, to: Duration) -> Result<Duration> {
        let query = format!("gap?from_ms={}&to_ms={}", from.as_millis(), to.as_millis());
        let gap: Option<Gap> = self.ask(Method::GET, &query).await?;
        let gap = gap.context("fewer than two acknowledged writes between the marks")?;
        Ok(gap.length())
    }

    /// Stops the clients, has every key read once more, and gives the whole history.
    ///
    /// # Errors
    /// When no member answers the last reads, or the pod does not.
    pub async fn finish(&self) -> Result<History> {
        self.ask(Method::POST, "finish").await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T> {
        let text = self.text(method, path, Vec::new()).await?;
        serde_json::from_str(&text).with_context(|| format!("read what traffic answers to {path}"))
    }

    async fn text(&self, method: Method, path: &str, body: Vec<u8>) -> Result<String> {
        let (pod, run) = (&self.pod, &self.run);
        let uri =
            format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:{PORT}/proxy/runs/{run}/{path}");
        let request = Request::builder()
            .method(method)
            .uri(uri.trim_end_matches('/'))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)?;
        self.client
            .request_text(request)
            .await
            .with_context(|| format!("ask the traffic pod {pod} for {run}/{path}"))
    }
}
