//! Watches that only wake: they turn every change of a kind into the clusters that should be looked at, and keep nothing.
//!
//! A watch lists once, so that what happened before it began is not missed, then follows. Where its place in history
//! is lost (410), it lists anew; and since nothing is kept, a deletion in between is unknown to it, so then it asks for a
//! look at *all* clusters. Each watch has a backoff of its own and a short life on the wire: a connection that died
//! silently is noticed within a minute.
//!
//! It deliberately decides nothing: a wake-up that was not needed costs one look, and one that was lost is made good by
//! the resync.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::kubernetes::{self, CallError, Name, Named, READ_TIMEOUT, names};
use crate::metrics::Metrics;
use crate::queue::Key;
use crate::serve::Pulse;

/// How long one watch request lives. Load balancers drop idle connections after minutes, some without telling.
const LIFE: Duration = Duration::from_secs(50);
/// What a watch may take beyond its life before its connection counts as dead.
const GRACE: Duration = Duration::from_secs(5);
/// Silence of a watch's loop for this long means that it hangs.
const PATIENCE: Duration = Duration::from_secs(240);
/// After this long it is asked again for what was forbidden.
const FORBIDDEN: Duration = Duration::from_secs(60);
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// One page of a list of names: a few hundred kilobytes on the wire, for each of the watches that begin together.
const PAGE: u32 = 100;

/// What a watch says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wake {
    /// Something about this cluster changed.
    One(Key),
    /// Something may have been missed: look at every cluster.
    All,
}

/// How an object names its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// It is the cluster, or stands for itself.
    Itself,
    /// By this label.
    ByLabel(&'static str),
}

/// One watch: what to follow, and whom to wake.
pub struct Watch<K> {
    /// The kind's API, in one namespace or in all.
    pub api: Api<K>,
    /// The kind's name, for logs and metrics.
    pub kind: String,
    /// Only objects with these labels.
    pub labels: Option<String>,
    /// Only objects with these fields.
    pub fields: Option<String>,
    /// Whether it can be done without, where the right to it is not given.
    pub dispensable: bool,
    /// How an object names its cluster.
    pub belongs: Belongs,
    /// Whom to wake.
    pub wake: mpsc::UnboundedSender<Wake>,
    /// Where to show that the loop lives.
    pub pulse: Pulse,
    /// Where to count restarts.
    pub metrics: Arc<Metrics>,
}

/// Where following a kind ended.
enum End {
    /// Its time was up, or its connection ended: go on from this place in history.
    Continue(String),
    /// That place in history is gone: list anew.
    Expired,
}

/// Where the next step begins.
enum Place {
    /// Nowhere yet; what was missed is told by a list.
    Start,
    /// History was lost on the way; what was deleted meanwhile no list tells.
    Lost,
    /// After this resourceVersion.
    After(String),
}

/// A kind that can be watched.
pub trait Watched: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug {}
impl<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug> Watched for K {}

impl<K: Watched> Watch<K> {
    /// Watches for as long as somebody listens.
    pub async fn run(self) {
        let (mut place, mut wait) = (Place::Start, BACKOFF_MIN);
        while !self.wake.is_closed() {
            self.pulse.tried(&self.pulse_name(), PATIENCE);
            match self.step(&place).await {
                Ok(next) => {
                    self.pulse.reached(&self.pulse_name(), PATIENCE);
                    (place, wait) = (next, BACKOFF_MIN);
                }
                Err(error) if self.dispensable && error.code() == Some(403) => {
                    self.pulse.reached(&self.pulse_name(), PATIENCE);
                    tokio::time::sleep(FORBIDDEN).await;
                }
                Err(error) => {
                    let error = kubernetes::chain(&error);
                    tracing::warn!(kind = self.kind, error, "a watch broke; trying again");
                    self.metrics.watch_restarted(&self.kind);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACKOFF_MAX);
                }
            }
        }
        self.pulse.ended(&self.pulse_name());
    }

    async fn step(&self, place: &Place) -> Result<Place, CallError> {
        let version = match place {
            Place::After(version) => version,
            Place::Start => return self.list().await.map(Place::After),
            Place::Lost => {
                let version = self.list().await?;
                self.tell(Wake::All);
                return Ok(Place::After(version));
            }
        };
        match self.follow(version).await? {
            End::Continue(version) => Ok(Place::After(version)),
            End::Expired => Ok(Place::Lost),
        }
    }

    /// Wakes the cluster of every object there is, and says as of when.
    async fn list(&self) -> Result<String, CallError> {
        let mut parameters = ListParams::default().limit(PAGE);
        parameters.label_selector.clone_from(&self.labels);
        parameters.field_selector.clone_from(&self.fields);
        loop {
            let call = tokio::time::timeout(READ_TIMEOUT, names(&self.api, &parameters));
            let page = self.answer("list", call.await)?;
            page.items
                .iter()
                .flatten()
                .for_each(|object| self.tell_of(&object.metadata));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => parameters.continue_token = Some(token),
                None => return Ok(page.metadata.resource_version.unwrap_or_default()),
            }
        }
    }

    /// Follows one watch request from `version` to its end.
    async fn follow(&self, version: &str) -> Result<End, CallError> {
        let mut parameters = WatchParams::default();
        parameters.label_selector.clone_from(&self.labels);
        parameters.field_selector.clone_from(&self.fields);
        parameters.timeout = u32::try_from(LIFE.as_secs()).ok();
        let begun = tokio::time::timeout(READ_TIMEOUT, self.events(&parameters, version));
        let mut events = match begun.await {
            Ok(Err(kube::Error::Api(status))) if status.code == 410 => return Ok(End::Expired),
            begun => self.answer("watch", begun)?.boxed(),
        };
        let mut version = version.to_owned();
        let dead = tokio::time::Instant::now() + LIFE + GRACE;
        loop {
            // A connection that ended, or died without a word: what it told so far stands, and the rest is asked for again.
            let Ok(Some(event)) = tokio::time::timeout_at(dead, events.next()).await else {
                return Ok(End::Continue(version));
            };
            self.pulse.reached(&self.pulse_name(), PATIENCE);
            match self.answer("watch", Ok(event))? {
                WatchEvent::Added(object)
                | WatchEvent::Modified(object)
                | WatchEvent::Deleted(object) => {
                    self.tell_of(&object.metadata);
                    version = seen(object, version);
                }
                WatchEvent::Bookmark(mark) => version = mark.metadata.resource_version,
                WatchEvent::Error(status) if status.code == 410 => return Ok(End::Expired),
                WatchEvent::Error(status) => {
                    return Err(self.failed("watch", kube::Error::Api(status)));
                }
            }
        }
    }

    async fn events(
        &self,
        parameters: &WatchParams,
        version: &str,
    ) -> kube::Result<impl Stream<Item = kube::Result<WatchEvent<Named>>> + use<K>> {
        let request = Request::new(self.api.resource_url()).watch_metadata(parameters, version);
        let request = request.map_err(kube::Error::BuildRequest)?;
        let client = self.api.clone().into_client();
        client.request_events(request).await
    }

    fn tell_of(&self, object: &Name) {
        if let Some(key) = cluster_of(self.belongs, object) {
            self.tell(Wake::One(key));
        }
    }

    fn tell(&self, wake: Wake) {
        // Nobody listens any more only when the process ends, and then nothing is missed.
        let _ = self.wake.send(wake);
    }

    fn answer<T>(
        &self,
        verb: &'static str,
        answer: Result<kube::Result<T>, tokio::time::error::Elapsed>,
    ) -> Result<T, CallError> {
        match answer {
            Ok(answer) => answer.map_err(|error| self.failed(verb, error)),
            Err(_) => Err(CallError::TimedOut {
                verb,
                object: self.kind.clone(),
                after: READ_TIMEOUT,
            }),
        }
    }

    fn failed(&self, verb: &'static str, error: kube::Error) -> CallError {
        CallError::Failed {
            verb,
            object: self.kind.clone(),
            source: Box::new(error),
        }
    }

    fn pulse_name(&self) -> String {
        match self.api.namespace() {
            Some(namespace) => format!("watch {} in {namespace}", self.kind),
            None => format!("watch {}", self.kind),
        }
    }
}

fn seen(object: Named, before: String) -> String {
    object.metadata.resource_version.unwrap_or(before)
}

/// The cluster that an object belongs to, if it names one.
fn cluster_of(belongs: Belongs, object: &Name) -> Option<Key> {
    let namespace = object.namespace.clone().unwrap_or_default();
    let name = match belongs {
        Belongs::Itself => object.name.clone(),
        Belongs::ByLabel(label) => object.labels.as_ref()?.get(label).cloned(),
    };
    Some(Key {
        namespace,
        name: name?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_names_its_cluster_by_itself_or_by_its_label() {
        let object = Name {
            namespace: Some("ns".into()),
            name: Some("kv-x7q2k".into()),
            labels: Some([("quorate.io/cluster".to_owned(), "kv".to_owned())].into()),
            ..Name::default()
        };
        let key = |name: &str| {
            Some(Key {
                namespace: "ns".into(),
                name: name.into(),
            })
        };
        assert_eq!(cluster_of(Belongs::Itself, &object), key("kv-x7q2k"));
        assert_eq!(
            cluster_of(Belongs::ByLabel("quorate.io/cluster"), &object),
            key("kv")
        );
        assert_eq!(cluster_of(Belongs::ByLabel("other"), &object), None);
    }
}
