//! The life of one container: pulled, started, probed, ended, started again with back-off.
//!
//! It tells its pod's worker what happens and is told when to stop. It deliberately writes nothing to the API itself.

use super::launch::Source;
use super::probes::{self, Finding};
use super::{Agent, Ending, Running, Signal, lock};
use crate::object::Object;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};

/// How patient the agent is. The default is Kubernetes' own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The wait after the second ending in a row (the first restart is immediate); doubles each time.
    pub first_backoff: Duration,
    /// The longest wait.
    pub longest_backoff: Duration,
    /// A container that ran this long starts from the beginning.
    pub forgives_after: Duration,
    /// A node that is silent this long is no longer ready.
    pub node_grace: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_backoff: Duration::from_secs(10),
            longest_backoff: Duration::from_secs(300),
            forgives_after: Duration::from_secs(600),
            node_grace: Duration::from_secs(40),
        }
    }
}

/// What happened to a container.
#[derive(Debug, Clone)]
pub(super) enum Happening {
    /// It waits, for this reason and with this message.
    Waiting(&'static str, String),
    Running {
        id: String,
    },
    Started,
    Ready(bool),
    /// It ended; `again` says that it will be started again.
    Ended {
        code: i32,
        reason: &'static str,
        again: bool,
    },
    /// Something to put into an event: form, reason, message.
    Noted(&'static str, &'static str, String),
}

/// One container of one pod.
pub(super) struct Container {
    pub(super) agent: Arc<Agent>,
    pub(super) pod: Arc<Value>,
    pub(super) spec: Value,
    pub(super) address: String,
    pub(super) init: bool,
    /// Its place among the init containers and containers of the pod.
    pub(super) slot: usize,
    pub(super) tell: UnboundedSender<(usize, Happening)>,
}

impl Container {
    fn say(&self, happening: Happening) {
        // The worker is gone only when the pod is; then nobody needs to know.
        let _ = self.tell.send((self.slot, happening));
    }

    /// Runs the container until its restart policy says that it is done; answers its last exit code.
    pub(super) async fn live(&self, mut restarts: u32) -> i32 {
        let pace = self.agent.pace;
        let mut backoff = Duration::ZERO;
        loop {
            self.pull().await;
            let began = Instant::now();
            let (code, reason) = self.run_once(restarts).await;
            restarts += 1;
            let again = self.restarts_after(code);
            self.say(Happening::Ended {
                code,
                reason,
                again,
            });
            if !again {
                return code;
            }
            if began.elapsed() >= pace.forgives_after {
                backoff = Duration::ZERO;
            }
            self.back_off(backoff).await;
            backoff = (backoff * 2).clamp(pace.first_backoff, pace.longest_backoff);
        }
    }

    async fn back_off(&self, wait: Duration) {
        if wait.is_zero() {
            return;
        }
        let name = self.spec.text("/name");
        let pod = format!("{}_{}", self.pod.name(), self.pod.namespace());
        let why = format!(
            "back-off {}s restarting failed container={name} pod={pod}",
            wait.as_secs()
        );
        self.say(Happening::Noted(
            "Warning",
            "BackOff",
            format!("Back-off restarting failed container {name} in pod {pod}"),
        ));
        self.say(Happening::Waiting("CrashLoopBackOff", why));
        sleep(wait).await;
    }

    /// Returns once the image is there.
    async fn pull(&self) {
        let image = self.spec.text("/image");
        let mut backoff = self.agent.pace.first_backoff;
        while let Err(missing) = self.agent.runtime.pull(image) {
            let why = format!("Failed to pull image {image:?}: {missing}");
            self.say(Happening::Noted("Warning", "Failed", why.clone()));
            self.say(Happening::Waiting("ErrImagePull", why));
            // Both states can be seen: the first for a moment, the second while it waits.
            sleep(Duration::from_millis(200)).await;
            let why = format!("Back-off pulling image {image:?}: ErrImagePull: {missing}");
            self.say(Happening::Waiting("ImagePullBackOff", why));
            sleep(backoff).await;
            backoff = (backoff * 2).min(self.agent.pace.longest_backoff);
        }
    }

    fn restarts_after(&self, code: i32) -> bool {
        match self.pod.text("/spec/restartPolicy") {
            "Never" => false,
            "OnFailure" => code != 0,
            _ => !self.init || code != 0,
        }
    }

    async fn run_once(&self, restarts: u32) -> (i32, &'static str) {
        let source = Source {
            objects: &self.agent.objects,
            pod: &self.pod,
            container: &self.spec,
            address: &self.address,
            folder: self.agent.pod_folder(self.pod.uid()),
        };
        let mut launch = match source.launch() {
            Ok(launch) => launch,
            Err(why) => {
                self.say(Happening::Waiting("CreateContainerConfigError", why));
                sleep(self.agent.pace.first_backoff.min(Duration::from_secs(1))).await;
                return (128, "CreateContainerConfigError");
            }
        };
        launch.restarts = restarts;
        launch.log = self
            .agent
            .log_file(&self.pod, self.spec.text("/name"), false);
        self.keep_previous_log();
        super::hosts::write(&self.agent);
        match self.agent.runtime.start(launch) {
            Ok(running) => {
                let name = self.spec.text("/name").to_owned();
                self.say(Happening::Noted(
                    "Normal",
                    "Started",
                    format!("Started container {name}"),
                ));
                let ending = self.attend(running).await;
                let reason = if ending.code == 0 {
                    "Completed"
                } else {
                    "Error"
                };
                (ending.code, reason)
            }
            Err(why) => {
                self.say(Happening::Noted(
                    "Warning",
                    "Failed",
                    format!("Error: {why}"),
                ));
                (128, "StartError")
            }
        }
    }

    fn keep_previous_log(&self) {
        let name = self.spec.text("/name");
        let file = |previous| self.agent.log_file(&self.pod, name, previous);
        if let (Some(now), Some(before)) = (file(false), file(true)) {
            // Missing on the first start.
            let _ = std::fs::rename(now, before);
        }
    }

    /// Watches a running container to its end.
    async fn attend(&self, running: Arc<dyn Running>) -> Ending {
        let place = (
            self.pod.uid().to_owned(),
            self.spec.text("/name").to_owned(),
        );
        lock(&self.agent.running).insert(place.clone(), running.clone());
        self.say(Happening::Running { id: running.id() });
        let ending = self.probed(&running).await;
        lock(&self.agent.running).remove(&place);
        ending
    }

    async fn probed(&self, running: &Arc<dyn Running>) -> Ending {
        let (tell, mut findings) = unbounded_channel();
        let probing = probes::watch(&self.spec, &self.address, running.clone(), tell);
        tokio::pin!(probing);
        let mut over = false;
        loop {
            tokio::select! {
                ending = running.ended() => return ending,
                () = &mut probing, if !over => over = true,
                Some(finding) = findings.recv() => match finding {
                    Finding::Started => self.say(Happening::Started),
                    Finding::Ready(ready) => self.say(Happening::Ready(ready)),
                    Finding::Unhealthy(why) => {
                        self.say(Happening::Noted("Warning", "Unhealthy", why));
                        return self.end(&**running).await;
                    }
                },
            }
        }
    }

    /// Ends a container that is to be restarted: in good order, then by force.
    async fn end(&self, running: &dyn Running) -> Ending {
        let grace = self
            .pod
            .number("/spec/terminationGracePeriodSeconds")
            .unwrap_or(30);
        end(running, grace).await
    }
}

/// Ends a container within its grace.
pub(super) async fn end(running: &dyn Running, grace_seconds: i64) -> Ending {
    let grace = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
    running.signal(Signal::Terminate);
    match tokio::time::timeout(grace, running.ended()).await {
        Ok(ending) => ending,
        Err(_) => {
            running.signal(Signal::Kill);
            running.ended().await
        }
    }
}
