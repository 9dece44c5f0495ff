//! The hand that kills processes and switches nodes, from this process or over HTTP below `/smallkube`.
//!
//! It deliberately is no part of the Kubernetes API: no real cluster can be asked for these things.

use crate::agent::{Agent, Signal};
use crate::nodes::Power;
use crate::refusal::Refusal;
use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::post;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// A name that names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// There is no node of that name.
    #[error("there is no node {0:?}")]
    Node(String),
    /// No container of that pod is running.
    #[error("no container of pod {0:?} is running")]
    Pod(String),
    /// There is no such thing to do.
    #[error(
        "{0:?} is nothing that can be done: nodes go up, paused or down, pods take kill, terminate, pause or resume"
    )]
    Deed(String),
}

/// What can be done to nodes and processes.
#[derive(Clone)]
pub(crate) struct Hand {
    pub(crate) power: Arc<watch::Sender<BTreeMap<String, Power>>>,
    pub(crate) agent: Option<Arc<Agent>>,
}

impl Hand {
    pub(crate) fn set_power(&self, node: &str, power: Power) -> Result<(), Unknown> {
        let known = self.power.send_if_modified(|all| match all.get_mut(node) {
            Some(place) => {
                *place = power;
                true
            }
            None => false,
        });
        known
            .then_some(())
            .ok_or_else(|| Unknown::Node(node.to_owned()))
    }

    pub(crate) fn signal(&self, namespace: &str, pod: &str, signal: Signal) -> Result<(), Unknown> {
        let told = self
            .agent
            .as_ref()
            .is_some_and(|a| a.tell(namespace, pod, signal));
        told.then_some(())
            .ok_or_else(|| Unknown::Pod(pod.to_owned()))
    }

    /// The routes of the hand.
    pub(crate) fn routes(self) -> Router {
        let (nodes, pods) = (self.clone(), self);
        let node = move |Path((name, deed)): Path<(String, String)>| async move {
            answer(power(&deed).and_then(|power| nodes.set_power(&name, power)))
        };
        let pod = move |Path((namespace, name, deed)): Path<(String, String, String)>| async move {
            answer(signal(&deed).and_then(|signal| pods.signal(&namespace, &name, signal)))
        };
        Router::new()
            .route("/smallkube/nodes/{name}/{deed}", post(node))
            .route("/smallkube/pods/{namespace}/{name}/{deed}", post(pod))
    }
}

fn power(deed: &str) -> Result<Power, Unknown> {
    match deed {
        "up" => Ok(Power::Up),
        "paused" => Ok(Power::Paused),
        "down" => Ok(Power::Down),
        other => Err(Unknown::Deed(other.to_owned())),
    }
}

fn signal(deed: &str) -> Result<Signal, Unknown> {
    match deed {
        "kill" => Ok(Signal::Kill),
        "terminate" => Ok(Signal::Terminate),
        "pause" => Ok(Signal::Pause),
        "resume" => Ok(Signal::Resume),
        other => Err(Unknown::Deed(other.to_owned())),
    }
}

/// A `Status`, so that every client of the API can read it.
fn answer(done: Result<(), Unknown>) -> (StatusCode, String) {
    match done {
        Ok(()) => (StatusCode::OK, "done\n".to_owned()),
        Err(unknown) => {
            let refusal = Refusal::new(404, "NotFound", unknown.to_string());
            (StatusCode::NOT_FOUND, refusal.to_status().to_string())
        }
    }
}
