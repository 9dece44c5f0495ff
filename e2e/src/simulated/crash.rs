//! Where an operator dies: at its n-th write, just before it or just after. Or what else becomes of that write.
//!
//! Calls to the API server and changes of the membership are counted alike, in the order in which they are sent.
//!
//! It deliberately leaves reads alone: an operator that dies between two reads has changed nothing.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch;
use tower::Service;

/// On which side of a write an operator dies, or how the write fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The operator dies and the write is never sent.
    Before,
    /// The write takes effect, and the operator dies without hearing so.
    After,
    /// The write is held back on its way, and arrives when it is let go: the operator is slow, not dead.
    Held,
    /// The write takes no effect, and the operator hears of a failure.
    Refused,
    /// The write takes effect, and the operator hears of a failure: its answer was lost.
    Unheard,
}

/// One operator's fate. Clones share it.
#[derive(Clone)]
pub struct Crash(Arc<Fate>);

struct Fate {
    at: Option<(u64, When)>,
    seen: AtomicU64,
    sent: Mutex<Vec<String>>,
    struck: watch::Sender<bool>,
    released: watch::Sender<bool>,
}

impl Crash {
    /// It lives.
    #[must_use]
    pub fn never() -> Self {
        Self::with(None)
    }

    /// It is struck at its `n`-th write, counted from 1.
    #[must_use]
    pub fn at(n: u64, when: When) -> Self {
        Self::with(Some((n, when)))
    }

    fn with(at: Option<(u64, When)>) -> Self {
        Self(Arc::new(Fate {
            at,
            seen: AtomicU64::new(0),
            sent: Mutex::default(),
            struck: watch::Sender::new(false),
            released: watch::Sender::new(false),
        }))
    }

    /// The writes that it came to, in words.
    #[must_use]
    pub fn writes(&self) -> Vec<String> {
        self.0
            .sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Whether it is held up at a write, and lives.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        matches!(self.0.at, Some((_, When::Held)))
    }

    /// Whether it has been struck.
    #[must_use]
    pub fn has_struck(&self) -> bool {
        *self.0.struck.borrow()
    }

    /// Returns once it has been struck.
    pub async fn struck(&self) {
        let mut struck = self.0.struck.subscribe();
        // The sender lives as long as we do.
        let _ = struck.wait_for(|struck| *struck).await;
    }

    /// Returns once its operator is dead.
    pub async fn died(&self) {
        match self.0.at {
            Some((_, When::Before | When::After)) => self.struck().await,
            _ => std::future::pending().await,
        }
    }

    /// Lets a held write go.
    pub fn release(&self) {
        self.0.released.send_replace(true);
    }

    /// Sends one write, unless this is where it ends; `failure` is what the operator hears of a write that failed.
    pub async fn around<T, E>(
        &self,
        what: String,
        write: impl Future<Output = Result<T, E>>,
        failure: impl FnOnce() -> E,
    ) -> Result<T, E> {
        let n = self.0.seen.fetch_add(1, Ordering::Relaxed) + 1;
        self.0
            .sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(what);
        let when = self.0.at.filter(|(at, _)| *at == n).map(|(_, when)| when);
        match when {
            None => write.await,
            Some(When::Before) => {
                self.0.struck.send_replace(true);
                std::future::pending().await
            }
            Some(When::After) => {
                // Whatever its answer is, nobody hears it.
                drop(write.await);
                self.0.struck.send_replace(true);
                std::future::pending().await
            }
            Some(When::Refused) => {
                self.0.struck.send_replace(true);
                Err(failure())
            }
            Some(When::Unheard) => {
                drop(write.await);
                self.0.struck.send_replace(true);
                Err(failure())
            }
            Some(When::Held) => {
                self.0.struck.send_replace(true);
                let mut released = self.0.released.subscribe();
                let _ = released.wait_for(|released| *released).await;
                write.await
            }
        }
    }

    /// A client whose writes meet this fate.
    #[must_use]
    pub fn client(&self, client: Client) -> Client {
        Client::new(
            Mortal {
                inner: client,
                crash: self.clone(),
            },
            "default",
        )
    }
}

#[derive(Clone)]
struct Mortal {
    inner: Client,
    crash: Crash,
}

impl Service<Request<Body>> for Mortal {
    type Response = Response<Body>;
    type Error = kube::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // The client waits for its own service when it sends.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (client, crash) = (self.inner.clone(), self.crash.clone());
        async move {
            let what = format!("{} {}", request.method(), request.uri().path());
            let is_read = request.method() == Method::GET;
            let answer = client.send(request);
            let broken = || kube::Error::Service("connection reset by the test".into());
            if is_read {
                answer.await
            } else {
                crash.around(what, answer, broken).await
            }
        }
        .boxed()
    }
}
