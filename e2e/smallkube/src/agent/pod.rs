//! The worker of one pod: from the moment it is bound to a node until nothing of it is left.
//!
//! While its node stands still, so does the worker; when its node is gone, its containers are, and nobody is told. It
//! deliberately never decides that a pod is to go: that is said in its deletion timestamp.

use super::container::{Container, Happening, end};
use super::status::Report;
use super::{Agent, Running, Signal, lock};
use crate::events;
use crate::nodes::Power;
use crate::object::Object;
use crate::verbs::Part;
use crate::verbs::delete::Deleting;
use futures::future::join_all;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::mpsc::unbounded_channel;

/// Longest time that containers get to end when smallkube itself does.
const LAST_GRACE_SECONDS: i64 = 5;

/// Why a worker stopped running its pod.
enum Turn {
    /// Its containers are done for good.
    Over,
    /// Somebody deleted it; seconds that it gets.
    Marked(i64),
    /// It is no longer there.
    Gone,
    /// Its node died.
    NodeDown,
    /// smallkube ends.
    Stop,
}

/// Works on a pod until nothing of it is left.
pub(super) async fn work(agent: &Arc<Agent>, pod: &Arc<Value>) {
    let address = agent.address(pod.namespace(), pod.name());
    let report = Report::new(pod, &address, &agent.objects.now_text());
    let mut worker = Worker { agent, pod, report };
    loop {
        worker.node_is_up().await;
        let turn = match worker.ending_now() {
            Some(turn) => turn,
            None => worker.run().await,
        };
        match turn {
            Turn::Over => worker.rest().await,
            Turn::Marked(grace) => worker.end(grace).await,
            Turn::Gone => worker.kill(),
            Turn::NodeDown => {
                worker.kill();
                let now = agent.objects.now_text();
                worker.report.lose_all(&now);
                continue;
            }
            Turn::Stop => {
                worker.end_containers(LAST_GRACE_SECONDS).await;
            }
        }
        break;
    }
    worker.clean_up();
}

struct Worker<'a> {
    agent: &'a Arc<Agent>,
    pod: &'a Arc<Value>,
    report: Report,
}

impl Worker<'_> {
    fn node(&self) -> &str {
        self.pod.text("/spec/nodeName")
    }

    /// Returns once the node is up, or smallkube ends, or the pod is gone.
    async fn node_is_up(&self) {
        let mut power = self.agent.power.clone();
        let up = async {
            let node = self.node();
            let up = |all: &std::collections::BTreeMap<String, Power>| {
                all.get(node).is_none_or(|p| *p == Power::Up)
            };
            // The sender lives as long as the cluster; when it goes, so does everything.
            let _ = power.wait_for(up).await;
        };
        tokio::select! {
            () = up => {}
            () = self.agent.stop.cancelled() => {}
            () = self.is_gone() => {}
        }
    }

    /// The pod as it stands, unless another of its name took its place.
    fn live(&self) -> Option<Arc<Value>> {
        let (namespace, name) = (self.pod.namespace(), self.pod.name());
        let found = self.agent.objects.find("pods", namespace, name);
        found.filter(|live| live.uid() == self.pod.uid())
    }

    fn ending_now(&self) -> Option<Turn> {
        if self.agent.stop.is_cancelled() {
            return Some(Turn::Stop);
        }
        match self.live() {
            None => Some(Turn::Gone),
            Some(live) if live.ends() => {
                let grace = live.number("/metadata/deletionGracePeriodSeconds");
                Some(Turn::Marked(grace.unwrap_or(0)))
            }
            Some(_) => None,
        }
    }

    async fn is_gone(&self) {
        let mut bell = self.agent.objects.store.bell();
        // The bell's owner outlives every worker.
        while self.live().is_some() && bell.changed().await.is_ok() {}
    }

    async fn ends(&self) -> Turn {
        let mut bell = self.agent.objects.store.bell();
        loop {
            if let Some(turn) = self.ending_now() {
                return turn;
            }
            tokio::select! {
                _ = bell.changed() => {}
                () = self.agent.stop.cancelled() => {}
            }
        }
    }

    /// Runs the containers until something ends that.
    async fn run(&mut self) -> Turn {
        let (agent, pod) = (self.agent.clone(), self.pod.clone());
        let node = self.node().to_owned();
        let mut power = agent.power.clone();
        let watcher = Worker {
            agent: &agent,
            pod: &pod,
            report: self.report.clone(),
        };
        let running = self.run_containers();
        tokio::pin!(running);
        loop {
            let now = *power.borrow_and_update().get(&node).unwrap_or(&Power::Up);
            match now {
                Power::Down => return Turn::NodeDown,
                Power::Paused => {
                    watcher.tell_all(Signal::Pause);
                    if power.changed().await.is_err() {
                        return Turn::Stop;
                    }
                    if agent.power_of(&node) != Power::Down {
                        watcher.tell_all(Signal::Resume);
                    }
                }
                Power::Up => tokio::select! {
                    () = &mut running => return Turn::Over,
                    turn = watcher.ends() => return turn,
                    _ = power.changed() => {}
                },
            }
        }
    }

    /// Runs all containers to their end and reports on the way.
    async fn run_containers(&mut self) {
        let (tell, mut heard) = unbounded_channel();
        let (agent, pod) = (self.agent.clone(), self.pod.clone());
        let address = self.report.address.clone();
        let restarts: Vec<u32> = self.report.slots.iter().map(|s| s.restarts).collect();
        let init = pod.items("/spec/initContainers").len();
        let containers: Vec<Container> = pod
            .items("/spec/initContainers")
            .iter()
            .chain(pod.items("/spec/containers"))
            .enumerate()
            .map(|(slot, spec)| Container {
                agent: agent.clone(),
                pod: pod.clone(),
                spec: spec.clone(),
                address: address.clone(),
                init: slot < init,
                slot,
                tell: tell.clone(),
            })
            .collect();
        drop(tell);
        let lives = async move {
            for first in &containers[..init] {
                if first.live(restarts[first.slot]).await != 0 {
                    return;
                }
            }
            join_all(containers[init..].iter().map(|c| c.live(restarts[c.slot]))).await;
        };
        tokio::pin!(lives);
        let mut over = false;
        self.publish();
        loop {
            tokio::select! {
                () = &mut lives, if !over => over = true,
                next = heard.recv() => match next {
                    Some((slot, happening)) => self.hear(slot, &happening),
                    None => return,
                },
            }
            while let Ok((slot, happening)) = heard.try_recv() {
                self.hear(slot, &happening);
            }
            self.publish();
            if over {
                return;
            }
        }
    }

    fn hear(&mut self, slot: usize, happening: &Happening) {
        let now = self.agent.objects.now_text();
        if let Happening::Noted(form, reason, message) = happening {
            events::note(
                &self.agent.objects,
                self.pod,
                form,
                reason,
                message,
                "kubelet",
            );
        }
        self.report.take(slot, happening, &now);
    }

    /// Writes the report into the pod, if it is still this pod.
    fn publish(&self) {
        let objects = &self.agent.objects;
        let (namespace, name) = (self.pod.namespace(), self.pod.name());
        let Some(target) = objects.target("pods", namespace, name, Part::Status) else {
            return;
        };
        let now = objects.now_text();
        if self.live().is_some() {
            objects.edit(&target, "kubelet", |pod| {
                if pod.uid() == self.pod.uid() {
                    self.report.write(pod, &now);
                }
            });
        }
    }

    fn containers(&self) -> Vec<Arc<dyn Running>> {
        let running = lock(&self.agent.running);
        let own = running.iter().filter(|((uid, _), _)| uid == self.pod.uid());
        own.map(|(_, container)| container.clone()).collect()
    }

    fn tell_all(&self, signal: Signal) {
        for container in self.containers() {
            container.signal(signal);
        }
    }

    /// A pod that is over waits until somebody removes it.
    async fn rest(&self) {
        self.publish();
        let turn = self.ends().await;
        if matches!(turn, Turn::Marked(_)) {
            self.remove();
        }
    }

    /// Ends the containers within the grace, then lets the pod go.
    async fn end(&mut self, grace: i64) {
        let note = |message: &str| {
            events::note(
                &self.agent.objects,
                self.pod,
                "Normal",
                "Killing",
                message,
                "kubelet",
            );
        };
        note("Stopping container");
        tokio::select! {
            () = self.end_containers(grace) => {}
            () = self.is_gone() => self.kill(),
        }
        self.remove();
    }

    async fn end_containers(&self, grace: i64) {
        let containers = self.containers();
        join_all(containers.iter().map(|c| end(&**c, grace))).await;
    }

    fn kill(&self) {
        self.tell_all(Signal::Kill);
        lock(&self.agent.running).retain(|(uid, _), _| uid != self.pod.uid());
    }

    /// Confirms the deletion, as an agent does once nothing runs any more.
    fn remove(&self) {
        let objects = &self.agent.objects;
        let (namespace, name) = (self.pod.namespace(), self.pod.name());
        let deleting = Deleting {
            grace_seconds: Some(0),
            uid: Some(self.pod.uid().to_owned()),
            ..Deleting::default()
        };
        if let Some(target) = objects.target("pods", namespace, name, Part::Main) {
            // Not found, or another of that name: then it is gone already.
            let _ = objects.delete(&target, &deleting);
        }
    }

    fn clean_up(&self) {
        self.kill();
        if let Some(folder) = self.agent.pod_folder(self.pod.uid())
            && folder.exists()
            && let Err(error) = std::fs::remove_dir_all(&folder)
        {
            tracing::warn!(%error, folder = %folder.display(), "cannot remove a pod's folder");
        }
    }
}
