//! A scenario: a name, how long it may take, and what happens in it.
//!
//! Each has a namespace of its own, which goes at the end whatever happened; what was in it is kept in a folder when it
//! failed. A scenario that exceeds its time is a failed one.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};

use crate::engine::Engine;
use crate::evidence;
use crate::house::House;
use crate::stage::Stage;

/// One promise, as it is put to the test.
pub(crate) struct Scenario {
    /// Its name, as in `run NAME/ENGINE`.
    pub(crate) name: &'static str,
    /// For which engines it is made.
    pub(crate) engines: &'static [Engine],
    /// When it counts as failed: several times what it usually takes, because machines are noisy.
    pub(crate) limit: Duration,
    /// What it takes on two calm cores.
    pub(crate) usual: Duration,
    /// What happens.
    pub(crate) acts: Act,
    /// What is put right afterwards, whatever happened: what a scenario changes outside its namespace.
    pub(crate) after: Act,
}

/// A part of a scenario.
pub(crate) type Act = for<'a> fn(&'a Stage<'a>) -> LocalBoxFuture<'a, Result<()>>;

/// For scenarios that change nothing outside their namespace.
pub(crate) fn nothing<'a>(_: &'a Stage<'a>) -> LocalBoxFuture<'a, Result<()>> {
    ready(Ok(())).boxed_local()
}

impl Scenario {
    /// Plays it and prints the verdict; whether it held.
    pub(crate) async fn play(&self, house: &House, engine: Engine) -> bool {
        let began = Instant::now();
        let title = format!("{}/{}", self.name, engine.name());
        println!("== {title} (may take {} s)", self.limit.as_secs());
        let played = self.on_stage(house, engine, &title).await;
        let seconds = began.elapsed().as_secs_f64();
        match &played {
            Ok(()) => println!("test {title} ... ok ({seconds:.0} s)"),
            Err(error) => println!("test {title} ... FAILED ({seconds:.0} s)\n  {error:#}"),
        }
        played.is_ok()
    }

    async fn on_stage(&self, house: &House, engine: Engine, title: &str) -> Result<()> {
        let stage = Stage::open(house, self.name, engine).await?;
        let acts = tokio::time::timeout(self.limit, (self.acts)(&stage));
        let late = |_| anyhow!("it was not done after {} s", self.limit.as_secs());
        let played = acts.await.map_err(late).and_then(|played| played);
        if played.is_err() {
            evidence::keep(&stage, title).await;
        }
        let put_right = (self.after)(&stage).await;
        let closed = stage.close().await;
        played.and(put_right).and(closed)
    }
}
