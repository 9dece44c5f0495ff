//! The verbs on objects: create, update, patch, apply, delete; each one read, judgement and commit under one lock.
//!
//! Clients come here through [`crate::api`], the controllers of this crate directly, so both obey the same rules. It
//! deliberately knows no HTTP and no faults.

pub(crate) mod delete;
pub(crate) mod patch;
pub(crate) mod write;

use crate::kinds::Kind;
use crate::object::Object;
use crate::refusal::Refusal;
use crate::store::{Key, State, Store};
use crate::volumes::Ground;
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// Tells the time to everything that writes timestamps.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Which part of an object a write goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Main,
    Status,
    Scale,
}

impl Part {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Scale => "scale",
        }
    }
}

/// The one object that a call is about.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) kind: Arc<Kind>,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) part: Part,
}

impl Target {
    pub(crate) fn key(&self) -> Key {
        Key::new(&self.kind.resource, &self.namespace, &self.name)
    }

    pub(crate) fn not_found(&self) -> Refusal {
        Refusal::not_found(&self.kind.plural, &self.kind.group, &self.name)
    }

    pub(crate) fn conflict(&self, why: &str) -> Refusal {
        Refusal::conflict(&self.kind.plural, &self.kind.group, &self.name, why)
    }
}

/// What to do about fields that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unknown {
    Ignore,
    Warn,
    Refuse,
}

/// How a write is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Writing {
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
    pub(crate) unknown: Unknown,
    pub(crate) force: bool,
}

impl Writing {
    /// A write by one of our own controllers.
    pub(crate) fn by(manager: &str) -> Self {
        Self {
            manager: manager.to_owned(),
            dry_run: false,
            unknown: Unknown::Ignore,
            force: false,
        }
    }
}

/// A write that was carried out.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) object: Arc<Value>,
    pub(crate) created: bool,
    pub(crate) warnings: Vec<String>,
}

/// The objects with all verbs on them.
pub(crate) struct Objects {
    pub(crate) store: Store,
    clock: Clock,
    ground: Ground,
}

impl Objects {
    pub(crate) fn new(seed: u64, clock: Clock) -> Self {
        Self {
            store: Store::new(seed),
            clock,
            ground: Ground::default(),
        }
    }

    /// The same objects, and a clock of their own.
    pub(crate) fn fork(&self, clock: Clock) -> Self {
        Self {
            store: self.store.fork(),
            clock,
            ground: self.ground(),
        }
    }

    /// The same objects with folders for their volumes.
    pub(crate) fn on(self, ground: Ground) -> Self {
        Self { ground, ..self }
    }

    /// Where the folders of volumes are made.
    pub(crate) fn ground(&self) -> Ground {
        self.ground.clone()
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The time as Kubernetes writes it: whole seconds.
    pub(crate) fn now_text(&self) -> String {
        seconds(self.now())
    }

    /// The one object, or 404.
    pub(crate) fn read(&self, target: &Target) -> Result<Arc<Value>, Refusal> {
        self.store
            .with(|state| state.one(&target.key()))
            .ok_or_else(|| target.not_found())
    }

    /// A target for one of our own controllers; none when the resource is not served (any more).
    pub(crate) fn target(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        part: Part,
    ) -> Option<Target> {
        let kind = self
            .store
            .with(|state| state.kinds.by_resource(resource).cloned())?;
        Some(Target {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            part,
        })
    }

    /// Reads, changes and writes one object in one step; nothing when it is not there or the change is refused.
    pub(crate) fn edit(
        &self,
        target: &Target,
        manager: &str,
        change: impl FnOnce(&mut Value),
    ) -> Option<Arc<Value>> {
        let now = self.now_text();
        self.store.with(|state| {
            let live = state.one(&target.key())?;
            let mut new = (*live).clone();
            change(&mut new);
            let edit = write::Edit {
                state,
                target,
                writing: &Writing::by(manager),
                now,
            };
            match edit.update(&live, new) {
                Ok(written) => Some(written.object),
                Err(refusal) => {
                    tracing::warn!(
                        manager,
                        name = target.name,
                        why = refusal.message,
                        "own edit refused"
                    );
                    None
                }
            }
        })
    }

    /// All objects of a resource right now.
    pub(crate) fn list(&self, resource: &str) -> Vec<Arc<Value>> {
        self.store
            .with(|state| state.all(resource, None).map(|(_, o)| o.clone()).collect())
    }

    /// One object right now.
    pub(crate) fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.store
            .with(|state| state.find(resource, namespace, name))
    }
}

/// A time in Kubernetes' own form.
pub(crate) fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second())
        .unwrap_or(time)
        .to_string()
}

/// True when a namespace is there and not on its way out; cluster-wide objects are always welcome.
pub(crate) fn welcome(state: &State, target: &Target) -> Result<(), Refusal> {
    if target.namespace.is_empty() {
        return Ok(());
    }
    let (plural, group) = (&target.kind.plural, &target.kind.group);
    match state.find("namespaces", "", &target.namespace) {
        None => Err(Refusal::not_found("namespaces", "", &target.namespace)),
        Some(namespace) if namespace.ends() => {
            let (name, namespace) = (&target.name, &target.namespace);
            Err(Refusal::terminating(plural, group, name, namespace))
        }
        Some(_) => Ok(()),
    }
}
