//! What a round of reconciliation works with.
//!
//! It deliberately holds nothing of any cluster: a round that begins with an empty head cannot act on an old one.

use std::future::Future;
use std::sync::Arc;

use crds::RaftCluster;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::{Client, ResourceExt};
use plan::{Observed, OperatorPods, Plan};
use serde::Serialize;

use crate::absences::Absences;
use crate::clock::{Clock, SystemClock};
use crate::gate::{Gate, Shut};
use crate::kubernetes::{self, CallError, Kind, Kubernetes};
use crate::members::Members;
use crate::metrics::Metrics;

/// How a round decides from the cluster, what was observed and the time: by [`plan::plan`], unless a test plants a bug here to
/// see who notices. What such a one changes in what was observed, the rest of the round believes too.
pub type Decide = Arc<dyn Fn(&RaftCluster, &mut Observed, Timestamp) -> Plan + Send + Sync>;

/// The world, as one operator process reaches it. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub kubernetes: Kubernetes,
    /// The members' own API.
    pub members: Arc<dyn Members>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// What need not be asked for.
    pub absences: Absences,
    /// What every write passes.
    pub gate: Gate,
    /// Where to count.
    pub metrics: Arc<Metrics>,
    /// This process's name, for events.
    pub instance: Arc<str>,
    /// By what this operator's own pods are told, if it was told.
    pub own_pods: Option<OperatorPods>,
    /// What decides.
    pub decide: Decide,
}

/// A write that was not sent, or did not do what it was sent for.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It was not sent.
    #[error("not sent")]
    Shut(#[source] Shut),
    /// It was sent to the API server.
    #[error(transparent)]
    Call(CallError),
}

impl Context {
    /// A context with the machine's clock, an always open gate and fresh metrics; every field can be replaced.
    /// `client` must not repeat requests by itself; see [`crate::connect()`].
    #[must_use]
    pub fn new(client: Client, members: Arc<dyn Members>) -> Self {
        Self {
            kubernetes: Kubernetes::new(client),
            members,
            clock: Arc::new(SystemClock),
            absences: Absences::default(),
            gate: Gate::always(),
            metrics: Arc::new(Metrics::new()),
            instance: kubernetes::MANAGER.into(),
            own_pods: None,
            decide: Arc::new(|cluster, observed, now| plan::plan(cluster, observed, now)),
        }
    }

    /// Whether a write may be sent now.
    ///
    /// # Errors
    /// [`Shut`], if not.
    pub fn pass(&self) -> Result<(), Shut> {
        self.gate.pass(self.clock.instant())
    }

    /// Reads all objects of a kind that is rare in a namespace: live, unless it is known that there are none and it is not `in_question`.
    pub(crate) async fn list_rare<K: Kind>(
        &self,
        namespace: &str,
        in_question: bool,
    ) -> Result<Vec<K>, CallError> {
        let sent = self.clock.instant();
        if !in_question && self.absences.noted::<K>(namespace, sent) {
            return Ok(Vec::new());
        }
        let found = self.kubernetes.list_live::<K>(namespace).await?;
        if found.is_empty() {
            self.absences.note::<K>(namespace, sent);
        } else {
            self.absences.told::<K>(namespace, self.clock.instant());
        }
        Ok(found)
    }

    /// Sends one write to the API server, once, if the gate lets it pass.
    pub(crate) async fn write<T>(
        &self,
        verb: &'static str,
        object: String,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        self.pass().map_err(WriteError::Shut)?;
        kubernetes::write(verb, object, call)
            .await
            .map_err(WriteError::Call)
    }

    /// Replaces an object's status, at the very version that was read.
    pub(crate) async fn replace_status<K: Kind + Serialize>(
        &self,
        namespace: &str,
        told: &K,
    ) -> Result<(), WriteError> {
        let (api, name) = (self.kubernetes.namespaced::<K>(namespace), told.name_any());
        let parameters = PostParams {
            field_manager: Some(kubernetes::MANAGER.into()),
            dry_run: false,
        };
        let call = api.replace_status(&name, &parameters, told);
        let sent = self.write("update", kubernetes::object::<K>(&name), call);
        sent.await.map(drop)
    }
}
