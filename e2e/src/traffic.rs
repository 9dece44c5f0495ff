//! Clients that write and read without pause while the tests do harm.
//!
//! Each client talks to one member at a time over its own connection. An answered request is
//! followed by the next; a failed one is recorded as what it is, and the client goes on with a *new*
//! operation at another member. Half of the operations write keys that are written only once
//! (what is missing among them at the end was lost); the rest fights over a few registers, where
//! order shows.
//!
//! At the end every key is read once more, linearizably, and these reads are part of the history.
//!
//! It judges nothing and kills nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, outcome_of};
use crate::history::{Action, Answer, History, Outcome, Recorder, Value};
use crate::secured::Shown;
use crate::wait;

/// How long a client that found nobody waits before it tries the next member.
const NEXT_TRY: Duration = Duration::from_millis(20);

/// How much traffic, and where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mix {
    /// How many clients run at once; at most one request of each is open.
    pub clients: u32,
    /// How many keys they fight over.
    pub registers: u32,
    /// The shortest time between two requests of one client; bounds the length of the history.
    pub pace: Duration,
    /// All keys begin with this.
    pub prefix: String,
    /// Seeds the choice of what to do.
    pub seed: u64,
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            clients: 8,
            registers: 4,
            pace: Duration::from_millis(20),
            prefix: "traffic/".to_owned(),
            seed: 1,
        }
    }
}

/// Running clients. Dropped, they stop where they are.
#[derive(Debug)]
pub struct Traffic {
    mix: Mix,
    recorder: Arc<Recorder>,
    endpoints: watch::Sender<Vec<String>>,
    /// What clients show, where members ask for it.
    shown: Option<Shown>,
    stop: CancellationToken,
    clients: JoinSet<()>,
}

impl Traffic {
    /// Starts the clients against members at these URLs.
    pub fn start(mix: Mix, endpoints: Vec<String>) -> Self {
        Self::start_with(mix, endpoints, None)
    }

    /// Starts the clients against members at these URLs, with TLS.
    pub fn start_secured(mix: Mix, endpoints: Vec<String>, shown: Shown) -> Self {
        Self::start_with(mix, endpoints, Some(shown))
    }

    fn start_with(mix: Mix, endpoints: Vec<String>, shown: Option<Shown>) -> Self {
        let recorder = Arc::new(Recorder::default());
        let (endpoints, _) = watch::channel(endpoints);
        let stop = CancellationToken::new();
        let mut clients = JoinSet::new();
        for number in 0..mix.clients {
            let client = Writer {
                number,
                mix: mix.clone(),
                recorder: Arc::clone(&recorder),
                endpoints: endpoints.subscribe(),
                shown: shown.clone(),
                random: SmallRng::seed_from_u64(mix.seed.wrapping_add(number.into())),
                last_seen: None,
            };
            let stop = stop.clone();
            clients.spawn(async move {
                // The operation in hand is finished, so that little is unknown at the end.
                client.run(&stop).await;
            });
        }
        Self {
            mix,
            recorder,
            endpoints,
            shown,
            stop,
            clients,
        }
    }

    /// Whether its clients speak TLS.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.shown.is_some()
    }

    /// From the next connection on, clients use these members.
    pub fn use_endpoints(&self, endpoints: Vec<String>) {
        self.endpoints.send_replace(endpoints);
    }

    /// What has been recorded so far.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Waits until so many further writes have been acknowledged: the cluster serves.
    ///
    /// # Errors
    /// When they have not been after the deadline.
    pub async fn flows(&self, writes: u64, deadline: Duration) -> Result<(), wait::TimedOut> {
        let goal = self.recorder.acknowledged() + writes;
        wait::until(
            format!("{writes} further acknowledged writes"),
            deadline,
            async || {
                let now = self.recorder.acknowledged();
                if now >= goal {
                    return Ok(());
                }
                let last = self
                    .recorder
                    .last()
                    .map_or_else(|| "none".to_owned(), |o| o.to_string());
                Err(format!(
                    "{} still to come; last operation: {last}",
                    goal - now
                ))
            },
        )
        .await
    }

    /// Stops the clients, reads every key once more, and gives the whole history.
    ///
    /// # Errors
    /// When no member answers the last reads within the deadline.
    pub async fn finish(mut self, deadline: Duration) -> Result<History, wait::TimedOut> {
        self.stop.cancel();
        while self.clients.join_next().await.is_some() {}
        let mut turn = 0;
        wait::until("the last read of every key", deadline, async || {
            turn += 1;
            let endpoint = nth(&self.endpoints.borrow(), turn).ok_or("no endpoints")?;
            self.audit(&endpoint)
                .await
                .map_err(|e| format!("{endpoint}: {e:#}"))
        })
        .await?;
        Ok(self.recorder.history())
    }

    async fn audit(&self, endpoint: &str) -> anyhow::Result<()> {
        let mut client = connect(endpoint, self.shown.as_ref()).await?;
        let mut keys: BTreeSet<String> = self
            .recorder
            .history()
            .operations
            .into_iter()
            .map(|o| o.key)
            .collect();
        let auditor = self.mix.clients;
        let invoke = |key: &String| self.recorder.invoke(auditor, key, Action::Get);
        let reads: Vec<_> = keys.iter().map(|k| (k.clone(), invoke(k))).collect();
        let (found, revision) = client.under(&self.mix.prefix).await?;
        let found: std::collections::BTreeMap<String, Value> = found.into_iter().collect();
        for (key, read) in reads {
            let seen = Answer::Saw(found.get(&key).copied());
            read.finish(Outcome::Done(seen), Some(revision));
        }
        // Keys that nobody wrote are as bad as keys that are missing.
        keys = found
            .keys()
            .filter(|k| !keys.contains(*k))
            .cloned()
            .collect();
        for key in keys {
            let seen = Answer::Saw(found.get(&key).copied());
            invoke(&key).finish(Outcome::Done(seen), Some(revision));
        }
        Ok(())
    }
}

async fn connect(url: &str, shown: Option<&Shown>) -> anyhow::Result<Client> {
    match shown {
        None => Ok(Client::connect(url).await?),
        Some(shown) => shown.client(url).await,
    }
}

fn nth(endpoints: &[String], turn: usize) -> Option<String> {
    endpoints.get(turn % endpoints.len().max(1)).cloned()
}

struct Writer {
    number: u32,
    mix: Mix,
    recorder: Arc<Recorder>,
    endpoints: watch::Receiver<Vec<String>>,
    shown: Option<Shown>,
    random: SmallRng,
    /// What this client saw last in which register: what a swap expects.
    last_seen: Option<(String, Option<Value>)>,
}

impl Writer {
    async fn run(mut self, stop: &CancellationToken) {
        let mut last = None;
        while !stop.is_cancelled() {
            last = self.another(last.as_deref());
            let connected = match &last {
                Some(url) => connect(url, self.shown.as_ref()).await.ok(),
                None => None,
            };
            match connected {
                Some(client) => self.talk(client, stop).await,
                None => tokio::time::sleep(NEXT_TRY).await,
            }
        }
    }

    /// Any member but the last one, where there is another. Drawn, because clients that all went to the one behind the last would
    /// be at the same member after two restarts, and their writes would stand still with it.
    fn another(&mut self, last: Option<&str>) -> Option<String> {
        let all = self.endpoints.borrow_and_update();
        let others = all.iter().filter(|it| Some(it.as_str()) != last);
        let other = others.choose(&mut self.random).or_else(|| all.first());
        other.cloned()
    }

    /// Operations over one connection, until one fails or the members change.
    async fn talk(&mut self, mut client: Client, stop: &CancellationToken) {
        let mut pace = tokio::time::interval(self.mix.pace);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() && !self.endpoints.has_changed().unwrap_or(false) {
            pace.tick().await;
            let (key, action) = self.choose();
            let pending = self.recorder.invoke(self.number, key.as_str(), action);
            match client.act(&key, action).await {
                Ok(answered) => {
                    pending.finish(Outcome::Done(answered.answer), Some(answered.revision));
                    if let Answer::Saw(seen) | Answer::Kept(seen) = answered.answer {
                        self.last_seen = Some((key, seen));
                    }
                }
                Err(status) => {
                    pending.finish(outcome_of(&status), None);
                    return tokio::time::sleep(NEXT_TRY).await;
                }
            }
        }
    }

    fn choose(&mut self) -> (String, Action) {
        let value = self.recorder.fresh_value();
        let choice = self.random.random_range(0..20);
        if choice < 10 {
            return (
                format!("{}once/{}", self.mix.prefix, value.0),
                Action::Put(value),
            );
        }
        let register = self.random.random_range(0..self.mix.registers);
        let key = format!("{}register/{register}", self.mix.prefix);
        match choice {
            10..13 => (key, Action::Put(value)),
            13..17 => (key, Action::Get),
            17..19 => match self.last_seen.take() {
                Some((key, expect)) => (key, Action::Swap { expect, to: value }),
                None => (key, Action::Get),
            },
            _ => (key, Action::Delete),
        }
    }
}
