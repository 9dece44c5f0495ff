//! Containers that only pretend: for tests that need pods and no processes, under a paused clock if they like.
//!
//! A test decides who is ready, who ends and which image is missing. It deliberately simulates no program; a test that
//! wants members behind the pods follows [`Simulated::running`] or writes a [`Runtime`] of its own.

use super::{Ending, Launch, NoImage, Probe, Running, Runtime, Signal, lock};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// A runtime whose containers run until they are told otherwise and pass every probe.
#[derive(Clone, Default)]
pub struct Simulated {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    missing: BTreeSet<String>,
    unready: BTreeSet<(String, String)>,
    running: BTreeMap<(String, String), Arc<Pretended>>,
    next: u32,
}

struct Pretended {
    id: String,
    launch: Launch,
    inner: Arc<Mutex<Inner>>,
    ended: watch::Sender<Option<Ending>>,
}

impl Simulated {
    /// A runtime that has every image.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes an image away: starts of it fail from now on.
    pub fn lose_image(&self, image: &str) {
        lock(&self.inner).missing.insert(image.to_owned());
    }

    /// Gives an image back.
    pub fn find_image(&self, image: &str) {
        lock(&self.inner).missing.remove(image);
    }

    /// Makes every probe of a pod fail, or pass again.
    pub fn set_healthy(&self, namespace: &str, pod: &str, healthy: bool) {
        let place = (namespace.to_owned(), pod.to_owned());
        let mut inner = lock(&self.inner);
        if healthy {
            inner.unready.remove(&place);
        } else {
            inner.unready.insert(place);
        }
    }

    /// Ends the container of a pod with a code; false when none runs.
    pub fn exit(&self, namespace: &str, pod: &str, code: i32) -> bool {
        let place = (namespace.to_owned(), pod.to_owned());
        let found = lock(&self.inner).running.get(&place).cloned();
        found.is_some_and(|container| {
            container.end(code);
            true
        })
    }

    /// What every running container was started with, in order of namespace and pod.
    #[must_use]
    pub fn running(&self) -> Vec<Launch> {
        let inner = lock(&self.inner);
        inner.running.values().map(|c| c.launch.clone()).collect()
    }
}

impl Runtime for Simulated {
    fn pull(&self, image: &str) -> Result<(), NoImage> {
        if lock(&self.inner).missing.contains(image) {
            return Err(NoImage(format!(
                "failed to resolve reference {image:?}: not found"
            )));
        }
        Ok(())
    }

    fn start(&self, launch: Launch) -> Result<Arc<dyn Running>, String> {
        let mut inner = lock(&self.inner);
        inner.next += 1;
        let container = Arc::new(Pretended {
            id: inner.next.to_string(),
            launch,
            inner: self.inner.clone(),
            ended: watch::channel(None).0,
        });
        inner.running.insert(container.place(), container.clone());
        Ok(container)
    }
}

impl Pretended {
    fn place(&self) -> (String, String) {
        (self.launch.namespace.clone(), self.launch.pod.clone())
    }

    fn end(&self, code: i32) {
        let mut inner = lock(&self.inner);
        let place = self.place();
        if inner.running.get(&place).is_some_and(|c| c.id == self.id) {
            inner.running.remove(&place);
        }
        drop(inner);
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(Ending { code });
            }
            first
        });
    }
}

impl Running for Pretended {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn signal(&self, signal: Signal) {
        match signal {
            Signal::Terminate => self.end(0),
            Signal::Kill => self.end(137),
            Signal::Pause | Signal::Resume => {}
        }
    }

    fn ended(&self) -> BoxFuture<'_, Ending> {
        let mut ended = self.ended.subscribe();
        Box::pin(async move {
            let seen = ended.wait_for(Option::is_some).await.map(|e| *e);
            seen.ok().flatten().unwrap_or(Ending { code: 255 })
        })
    }

    fn probe<'a>(&'a self, _: &'a Probe) -> BoxFuture<'a, Result<(), String>> {
        let healthy = !lock(&self.inner).unready.contains(&self.place());
        Box::pin(async move {
            if healthy {
                Ok(())
            } else {
                Err("it pretends to be ill".to_owned())
            }
        })
    }
}
