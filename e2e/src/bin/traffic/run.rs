//! One run: clients, and a look-up that tells them again and again who the members are.
//!
//! It remembers the members it knew when a look-up fails or finds nobody: names come and go with the pods behind them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use e2e::history::{Gap, History};
use e2e::kind::traffic::{Order, State, Stretch};
use e2e::secured::Shown;
use e2e::traffic::Traffic;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OnceCell};
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;

/// How often the members' names are looked up: a pod that came back is used within a second.
const LOOK_UP_EVERY: Duration = Duration::from_millis(500);
/// How long the last reads may take: a cluster in the middle of an election on a slow machine answers within it.
const LAST_READS_WITHIN: Duration = Duration::from_secs(180);

/// Clients at work, or their history.
#[derive(Debug)]
pub(crate) struct Run {
    /// Gone once the run is finished.
    clients: Mutex<Option<Traffic>>,
    endpoints: std::sync::Mutex<Vec<String>>,
    history: OnceCell<Result<History, String>>,
}

impl Run {
    /// Starts the clients and the look-up.
    ///
    /// # Errors
    /// When what clients are to show cannot be read.
    pub(crate) fn start(order: Order) -> Result<Arc<Self>, String> {
        let shown = order.papers.as_ref().map(Shown::of).transpose();
        let (scheme, traffic) = match shown.map_err(|error| format!("{error:#}"))? {
            None => ("http", Traffic::start(order.mix, Vec::new())),
            Some(shown) => (
                "https",
                Traffic::start_secured(order.mix, Vec::new(), shown),
            ),
        };
        let run = Arc::new(Self {
            clients: Mutex::new(Some(traffic)),
            endpoints: std::sync::Mutex::default(),
            history: OnceCell::new(),
        });
        tokio::spawn(follow(Arc::downgrade(&run), scheme, order.members));
        Ok(run)
    }

    /// How it stands, while it runs.
    pub(crate) async fn standing(&self) -> Result<State, String> {
        let clients = self.clients.lock().await;
        let recorder = clients.as_ref().ok_or("the run is finished")?.recorder();
        Ok(State {
            elapsed: recorder.elapsed(),
            acknowledged: recorder.acknowledged(),
            endpoints: self.endpoints.lock().expect("no holder panics").clone(),
            last: recorder.last().map(|operation| operation.to_string()),
        })
    }

    /// The longest time without an acknowledged write in a stretch, while it runs.
    pub(crate) async fn gap(&self, stretch: Stretch) -> Result<Option<Gap>, String> {
        let clients = self.clients.lock().await;
        let recorder = clients.as_ref().ok_or("the run is finished")?.recorder();
        let (from, to) = (
            Duration::from_millis(stretch.from_ms),
            Duration::from_millis(stretch.to_ms),
        );
        Ok(recorder.history().largest_write_gap_within(from, to))
    }

    /// Ends the clients and gives their history; asked again, the same.
    pub(crate) async fn finish(&self) -> Result<History, String> {
        self.history.get_or_init(|| self.end()).await.clone()
    }

    async fn end(&self) -> Result<History, String> {
        let clients = self.clients.lock().await.take();
        // Whoever asked first may have hung up while the clients were ending.
        let clients = clients.ok_or("its end was cut off, and its history with it")?;
        // On a thread of its own, because a wait cannot be proven to be `Send`.
        let runtime = Handle::current();
        let ending = spawn_blocking(move || runtime.block_on(clients.finish(LAST_READS_WITHIN)));
        let history = ending.await.map_err(|panicked| panicked.to_string())?;
        history.map_err(|late| late.to_string())
    }

    /// Tells the clients, unless they know; whether there are clients to tell.
    async fn use_endpoints(&self, found: Vec<String>) -> bool {
        let clients = self.clients.lock().await;
        let Some(clients) = clients.as_ref() else {
            return false;
        };
        let mut known = self.endpoints.lock().expect("no holder panics");
        if !found.is_empty() && *known != found {
            clients.use_endpoints(found.clone());
            *known = found;
        }
        true
    }
}

/// Looks the members up until the run is finished or dropped.
async fn follow(run: Weak<Run>, scheme: &str, members: String) {
    let mut look = tokio::time::interval(LOOK_UP_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        let found = look_up(scheme, &members).await;
        let Some(run) = run.upgrade() else { return };
        if !run.use_endpoints(found).await {
            return;
        }
    }
}

/// The members' client URLs in a fixed order; none where the name has no address now.
async fn look_up(scheme: &str, members: &str) -> Vec<String> {
    let Ok(addresses) = tokio::net::lookup_host(members).await else {
        return Vec::new();
    };
    let mut urls: Vec<String> = addresses.map(|it| format!("{scheme}://{it}")).collect();
    urls.sort_unstable();
    urls.dedup();
    urls
}
