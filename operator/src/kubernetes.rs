//! The way to the Kubernetes API: one client, a timeout on every call, retries on reads alone.
//!
//! A read that failed for a passing reason is tried again a few times. A write never is: its answer may have been lost
//! after it took effect, and only the next round, which reads the world anew, can tell. That is also why the client's own
//! retry layer (which repeats POSTs) is left out.
//!
//! It deliberately keeps no cache: what a round decides by, it reads in that round.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::api::{GetParams, ListMeta, ListParams};
use kube::core::Request;
use kube::{Api, Client, Resource};
use plan::Seen;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The field manager of everything that the operator applies, and its name in events.
pub const MANAGER: &str = "quorate-operator";
/// The longest a single write may take; see [`crate::gate`] for what rests on it.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest a single read may take. A list of one cluster's objects is a few kilobytes.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A read is tried this often: a restarting API server is away for longer, and then the whole round is tried again.
const READ_TRIES: usize = 3;
/// One page of a list: small, so that a namespace full of claims costs no spike of memory.
const PAGE: u32 = 100;

/// A call to the Kubernetes API that did not do what it was sent for.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server answered with an error, or could not be reached.
    #[error("{verb} {object} failed")]
    Failed {
        /// `get`, `list`, `create`, `update`, `patch` or `delete`.
        verb: &'static str,
        /// The object, as `Kind name` or `Kind` for a list.
        object: String,
        /// What the client said.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer came in time; a write may have taken effect.
    #[error("{verb} {object} was not answered within {after:?}")]
    TimedOut {
        /// As above.
        verb: &'static str,
        /// As above.
        object: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Somebody else changed the object between our read and our write.
    #[error("{verb} {object} was overtaken by another write")]
    Raced {
        /// As above.
        verb: &'static str,
        /// As above.
        object: String,
    },
}

impl CallError {
    /// The error of a write that was overtaken.
    pub(crate) fn raced(verb: &'static str, object: String) -> Self {
        Self::Raced { verb, object }
    }

    /// The server's HTTP status, if it answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Failed { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::TimedOut { .. } | Self::Raced { .. } => None,
        }
    }

    /// The server's machine-readable reason, or an empty string.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Failed { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => &status.reason,
                _ => "",
            },
            Self::TimedOut { .. } | Self::Raced { .. } => "",
        }
    }

    /// A precondition did not hold: the object is another one or another version than we saw.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.code() == Some(409) && self.reason() != "AlreadyExists"
    }

    /// An object of that name is there already.
    #[must_use]
    pub fn is_already_there(&self) -> bool {
        self.code() == Some(409) && self.reason() == "AlreadyExists"
    }

    /// There is no such object.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.code() == Some(404)
    }

    /// There is no such object, of a kind that is served.
    pub(crate) fn names_what_is_absent(&self) -> bool {
        let Self::Failed { source, .. } = self else {
            return false;
        };
        let kube::Error::Api(status) = source.as_ref() else {
            return false;
        };
        let named = status
            .details
            .as_ref()
            .is_some_and(|it| !it.name.is_empty());
        self.is_absent() && named
    }

    /// The reason may pass by itself.
    fn is_passing(&self) -> bool {
        match self {
            Self::Failed { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
                kube::Error::HyperError(_) | kube::Error::Service(_) => true,
                _ => false,
            },
            Self::TimedOut { .. } => true,
            Self::Raced { .. } => false,
        }
    }
}

/// The error with all that caused it, for the one log line that consumes it.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

/// A kind that lives in namespaces and that we read.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug
{
}
impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
{
}

/// A kind that lives in no namespace and that we read.
pub trait WideKind:
    Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + DeserializeOwned + Debug
{
}
impl<K> WideKind for K where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + DeserializeOwned + Debug
{
}

/// The API server, as this operator asks it.
#[derive(Clone)]
pub struct Kubernetes {
    client: Client,
    bound: bool,
    at_hand: bool,
}

impl Kubernetes {
    /// Talks through `client`, which must not retry by itself; see [`crate::connect()`].
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client,
            bound: false,
            at_hand: false,
        }
    }

    /// The same, bound to namespaces: it never asks for what lives in none, which a Role could not grant.
    #[must_use]
    pub fn bound(self) -> Self {
        Self {
            bound: true,
            ..self
        }
    }

    /// The same, content with what the API server has at hand of what lives in namespaces: it may be old, and has the API server ask
    /// nobody whether it is.
    #[must_use]
    pub fn at_hand(&self) -> Self {
        Self {
            at_hand: true,
            ..self.clone()
        }
    }

    /// The kind's API in one namespace.
    #[must_use]
    pub fn namespaced<K: Kind>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The kind's API in one namespace, or in all.
    #[must_use]
    pub fn scoped<K: Kind>(&self, namespace: Option<&str>) -> Api<K> {
        match namespace {
            Some(namespace) => self.namespaced(namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// The API of a kind that lives in no namespace.
    #[must_use]
    pub fn wide<K: WideKind>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// The names of the pods on a node that carry `labels`, in all namespaces.
    ///
    /// # Errors
    /// [`CallError`], after a few tries.
    pub async fn pods_on(&self, node: &str, labels: &str) -> Result<Vec<Name>, CallError> {
        let api = self.scoped::<Pod>(None);
        let fields = format!("spec.nodeName={node}");
        let there = ListParams::default().labels(labels).fields(&fields);
        let of = || Pod::kind(&()).into_owned();
        let found = read(|| timed(READ_TIMEOUT, "list", of(), names(&api, &there))).await?;
        let found = found.items.into_iter().flatten();
        Ok(found.map(|it| it.metadata).collect())
    }

    /// Reads one object, live unless what is [at hand](Self::at_hand) will do; `None` if there is none.
    ///
    /// # Errors
    /// [`CallError`], after a few tries.
    pub async fn find<K: Kind>(&self, namespace: &str, name: &str) -> Result<Option<K>, CallError> {
        let api = self.namespaced::<K>(namespace);
        let how = if self.at_hand {
            GetParams::any()
        } else {
            GetParams::default()
        };
        let get = || {
            timed(
                READ_TIMEOUT,
                "get",
                object::<K>(name),
                api.get_with(name, &how),
            )
        };
        match read(get).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads one object, live. That there is none is an error like any other, which says whether its kind is served.
    ///
    /// # Errors
    /// [`CallError`], after a few tries.
    pub async fn get<K: Kind>(&self, namespace: &str, name: &str) -> Result<K, CallError> {
        let api = self.namespaced::<K>(namespace);
        read(|| timed(READ_TIMEOUT, "get", object::<K>(name), api.get(name))).await
    }

    /// Reads all objects of a kind that carry `labels`, whole, page by page; live unless what is [at hand](Self::at_hand) will do.
    ///
    /// # Errors
    /// [`CallError`], after a few tries of a page.
    pub async fn list<K: Kind>(&self, namespace: &str, labels: &str) -> Result<Vec<K>, CallError> {
        let labelled = ListParams::default().labels(labels);
        let parameters = if self.at_hand {
            // What is at hand comes in one page, whatever is asked for; kube leaves the version out where there is a limit.
            labelled.match_any()
        } else {
            labelled.limit(PAGE)
        };
        list(&self.namespaced::<K>(namespace), parameters).await
    }

    /// Reads all objects of a kind in a namespace, live whatever is at hand.
    ///
    /// # Errors
    /// As [`Kubernetes::list`].
    pub(crate) async fn list_live<K: Kind>(&self, namespace: &str) -> Result<Vec<K>, CallError> {
        let parameters = ListParams::default().limit(PAGE);
        list(&self.namespaced::<K>(namespace), parameters).await
    }

    /// Looks for one object of a kind that lives in no namespace, live.
    ///
    /// # Errors
    /// [`CallError`], after a few tries, for another reason than that it is forbidden.
    pub async fn see<K: WideKind>(&self, name: &str) -> Result<Seen<K>, CallError> {
        if self.bound {
            return Ok(Seen::Forbidden);
        }
        let api = self.wide::<K>();
        let get = || timed(READ_TIMEOUT, "get", object::<K>(name), api.get_opt(name));
        let found = permitted(read(get).await)?;
        Ok(match found {
            None => Seen::Forbidden,
            Some(None) => Seen::Absent,
            Some(Some(object)) => Seen::There(object),
        })
    }

    /// Looks for all objects that carry `labels`, of a kind that lives in no namespace; `None` if that is forbidden.
    ///
    /// # Errors
    /// As [`Kubernetes::see`].
    pub async fn see_all<K: WideKind>(&self, labels: &str) -> Result<Option<Vec<K>>, CallError> {
        if self.bound {
            return Ok(None);
        }
        let parameters = ListParams::default().labels(labels).limit(PAGE);
        permitted(list(&self.wide::<K>(), parameters).await)
    }
}

/// What was read; `None` if it is forbidden to.
fn permitted<T>(read: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match read {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.code() == Some(403) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What of an object is read where it only has to be known which one it is: most of the rest tells who manages which of its fields.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Named {
    pub(crate) metadata: Name,
}

/// An object's name, and by what else it is found.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Name {
    /// The namespace.
    pub namespace: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Which version of it.
    pub resource_version: Option<String>,
}

/// One page of a list. kube's own is read into a copy of the whole page first, for the sake of the list's kind, and that copy is many
/// times as large.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    #[serde(default)]
    pub(crate) metadata: ListMeta,
    /// None is how some servers say that there are none.
    pub(crate) items: Option<Vec<T>>,
}

/// One page of whole objects.
async fn page<K>(api: &Api<K>, parameters: &ListParams) -> kube::Result<Page<K>>
where
    K: Resource + Clone + DeserializeOwned,
{
    let request = Request::new(api.resource_url()).list(parameters);
    let request = request.map_err(kube::Error::BuildRequest)?;
    api.clone().into_client().request(request).await
}

/// One page of names.
pub(crate) async fn names<K: Resource + Clone>(
    api: &Api<K>,
    parameters: &ListParams,
) -> kube::Result<Page<Named>> {
    let request = Request::new(api.resource_url()).list_metadata(parameters);
    let request = request.map_err(kube::Error::BuildRequest)?;
    api.clone().into_client().request(request).await
}

/// All objects that carry `labels`, page by page.
async fn list<K>(api: &Api<K>, mut parameters: ListParams) -> Result<Vec<K>, CallError>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let mut all = Vec::new();
    loop {
        let of = || K::kind(&()).into_owned();
        let page = read(|| timed(READ_TIMEOUT, "list", of(), page(api, &parameters))).await?;
        all.extend(page.items.into_iter().flatten());
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(all),
        }
    }
}

/// `Kind name`, for messages.
pub(crate) fn object<K: Resource<DynamicType = ()>>(name: &str) -> String {
    format!("{} {name}", K::kind(&()))
}

/// Sends one write, once. Callers other than the lease pass the gate first; see [`crate::context::Context::write`].
pub(crate) async fn write<T>(
    verb: &'static str,
    object: String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    timed(WRITE_TIMEOUT, verb, object, call).await
}

async fn timed<T>(
    limit: Duration,
    verb: &'static str,
    object: String,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(CallError::Failed {
            verb,
            object,
            source: Box::new(error),
        }),
        Err(_) => Err(CallError::TimedOut {
            verb,
            object,
            after: limit,
        }),
    }
}

async fn read<T, F>(call: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let waits = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_times(READ_TRIES - 1)
        .with_jitter();
    call.retry(waits).when(CallError::is_passing).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(code: u16, reason: &str) -> CallError {
        let status = kube::core::Status {
            code,
            reason: reason.into(),
            ..kube::core::Status::default()
        };
        let source = Box::new(kube::Error::Api(Box::new(status)));
        CallError::Failed {
            verb: "get",
            object: "Pod a".into(),
            source,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_tried_again_for_a_passing_reason_only() {
        for (code, tries) in [
            (503, READ_TRIES),
            (429, READ_TRIES),
            (404, 1),
            (403, 1),
            (409, 1),
        ] {
            let mut count = 0;
            let result: Result<(), _> = read(|| {
                count += 1;
                async move { Err(answered(code, "")) }
            })
            .await;
            assert_eq!(result.expect_err("it always fails").code(), Some(code));
            assert_eq!(count, tries, "code {code}");
        }
    }

    #[test]
    fn a_page_without_objects_may_say_null() {
        let read = |text: &str| serde_json::from_str::<Page<Named>>(text).expect("a page");
        let kind = r#""kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"7"}"#;
        for items in [r#","items":null"#, r#","items":[]"#, ""] {
            let page = read(&format!("{{{kind}{items}}}"));
            assert_eq!(page.metadata.resource_version.as_deref(), Some("7"));
            assert_eq!(page.items.into_iter().flatten().count(), 0, "{items}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_without_an_answer_ends_and_says_so() {
        let never = std::future::pending::<kube::Result<()>>();
        let error = write("patch", "Pod a".into(), never)
            .await
            .expect_err("never answered");
        assert_eq!(error.to_string(), "patch Pod a was not answered within 5s");
    }

    #[test]
    fn a_conflict_and_a_taken_name_are_told_apart() {
        assert!(answered(409, "Conflict").is_conflict());
        assert!(!answered(409, "AlreadyExists").is_conflict());
        assert!(answered(409, "AlreadyExists").is_already_there());
        assert_eq!(
            chain(&answered(404, ""))
                .matches("get Pod a failed")
                .count(),
            1
        );
    }
}
