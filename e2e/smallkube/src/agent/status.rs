//! A pod's status as the agent reports it: phase, conditions, and the state of every container.
//!
//! It deliberately keeps the report apart from the object: what is written is made whole from the report each time.

use super::container::Happening;
use crate::object::Object;
use serde_json::{Value, json};

/// What the agent knows about a pod.
#[derive(Debug, Clone)]
pub(super) struct Report {
    pub(super) address: String,
    pub(super) started: String,
    /// Init containers first, then containers.
    pub(super) slots: Vec<Slot>,
    init: usize,
    restart_policy: String,
}

/// What the agent knows about one container.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    name: String,
    image: String,
    state: Value,
    last: Option<Value>,
    id: String,
    pub(super) restarts: u32,
    ready: bool,
    started: bool,
    /// Its last ending was its final one.
    over: Option<i32>,
}

impl Report {
    pub(super) fn new(pod: &Value, address: &str, now: &str) -> Self {
        let init = pod.items("/spec/initContainers");
        let all = init.iter().chain(pod.items("/spec/containers"));
        Self {
            address: address.to_owned(),
            started: now.to_owned(),
            slots: all.map(Slot::new).collect(),
            init: init.len(),
            restart_policy: pod.text("/spec/restartPolicy").to_owned(),
        }
    }

    /// Takes one happening in.
    pub(super) fn take(&mut self, slot: usize, happening: &Happening, now: &str) {
        let slot = &mut self.slots[slot];
        match happening {
            Happening::Waiting(reason, message) => {
                slot.state = json!({"waiting": {"reason": reason, "message": message}});
            }
            Happening::Running { id } => {
                slot.id = format!("smallkube://{id}");
                slot.state = json!({"running": {"startedAt": now}});
            }
            Happening::Started => slot.started = true,
            Happening::Ready(ready) => slot.ready = *ready,
            Happening::Ended {
                code,
                reason,
                again,
            } => slot.end(*code, reason, *again, now),
            Happening::Noted(..) => {}
        }
    }

    /// The phase that follows from the containers.
    pub(super) fn phase(&self) -> &'static str {
        let containers = &self.slots[self.init..];
        if self.slots[..self.init]
            .iter()
            .any(|s| s.over.is_some_and(|c| c != 0))
        {
            return "Failed";
        }
        if containers.iter().all(|s| s.over.is_some()) {
            let well = containers.iter().all(|s| s.over == Some(0));
            return if well { "Succeeded" } else { "Failed" };
        }
        let begun =
            |s: &Slot| s.state.get("running").is_some() || s.last.is_some() || s.over.is_some();
        if containers.iter().any(begun) {
            "Running"
        } else {
            "Pending"
        }
    }

    /// Writes the report into a pod.
    pub(super) fn write(&self, pod: &mut Value, now: &str) {
        let phase = self.phase();
        let over = matches!(phase, "Succeeded" | "Failed");
        let ready = !over && self.slots[self.init..].iter().all(|s| s.ready);
        let initialized = self.slots[..self.init].iter().all(|s| s.over == Some(0));
        let why = if over {
            "PodCompleted"
        } else {
            "ContainersNotReady"
        };
        let status = &mut pod["status"];
        for (field, value) in [
            ("phase", json!(phase)),
            ("hostIP", json!("127.0.0.1")),
            ("hostIPs", json!([{"ip": "127.0.0.1"}])),
            ("podIP", json!(self.address)),
            ("podIPs", json!([{"ip": self.address}])),
            ("startTime", json!(self.started)),
            (
                "containerStatuses",
                self.statuses(self.init, self.slots.len()),
            ),
        ] {
            status.put(&[field], value);
        }
        if self.init > 0 {
            status.put(&["initContainerStatuses"], self.statuses(0, self.init));
        }
        for (form, holds, reason) in [
            ("PodReadyToStartContainers", true, ""),
            ("Initialized", initialized, "ContainersNotInitialized"),
            ("Ready", ready, why),
            ("ContainersReady", ready, why),
        ] {
            set_condition(status, form, holds, reason, now);
        }
    }

    fn statuses(&self, from: usize, to: usize) -> Value {
        self.slots[from..to].iter().map(Slot::to_json).collect()
    }

    /// What a container becomes when its node fails: it was running and ran no more.
    pub(super) fn lose_all(&mut self, now: &str) {
        let final_end = self.restart_policy == "Never";
        for slot in &mut self.slots {
            if slot.state.get("running").is_some() {
                slot.end(137, "Error", !final_end, now);
            }
        }
    }
}

impl Slot {
    fn new(container: &Value) -> Self {
        Self {
            name: container.text("/name").to_owned(),
            image: container.text("/image").to_owned(),
            state: json!({"waiting": {"reason": "ContainerCreating"}}),
            last: None,
            id: String::new(),
            restarts: 0,
            ready: false,
            started: false,
            over: None,
        }
    }

    fn end(&mut self, code: i32, reason: &str, again: bool, now: &str) {
        let since = match self.state.text("/running/startedAt") {
            "" => now,
            since => since,
        };
        let ended = json!({"terminated": {
            "exitCode": code, "reason": reason, "startedAt": since, "finishedAt": now, "containerID": self.id,
        }});
        self.ready = false;
        self.started = false;
        self.state = ended.clone();
        if again {
            self.last = Some(ended);
            self.restarts += 1;
        } else {
            self.over = Some(code);
        }
    }

    fn to_json(&self) -> Value {
        let mut status = json!({
            "name": self.name, "image": self.image, "imageID": format!("smallkube://{}", self.image),
            "state": self.state, "lastState": self.last.clone().unwrap_or_else(|| json!({})),
            "ready": self.ready, "started": self.started, "restartCount": self.restarts,
        });
        if !self.id.is_empty() {
            status["containerID"] = json!(self.id);
        }
        status
    }
}

/// Sets a condition of a status; its time moves only when its truth does.
pub(crate) fn set_condition(status: &mut Value, form: &str, holds: bool, reason: &str, now: &str) {
    let mut conditions = status.items("/conditions").to_vec();
    let truth = if holds { "True" } else { "False" };
    let mut next = json!({
        "type": form, "status": truth, "lastProbeTime": null, "lastTransitionTime": now,
    });
    if !holds && !reason.is_empty() {
        next["reason"] = json!(reason);
    }
    match conditions.iter_mut().find(|c| c["type"] == form) {
        Some(old) => {
            if old["status"] == truth {
                next["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = next;
        }
        None => conditions.push(next),
    }
    status.put(&["conditions"], Value::Array(conditions));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(policy: &str) -> Report {
        let pod =
            json!({"spec": {"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}]}});
        Report::new(&pod, "127.1.0.1", "now")
    }

    #[test]
    fn a_restart_counts_and_is_remembered() {
        let mut report = report("Always");
        assert_eq!(report.phase(), "Pending");
        report.take(0, &Happening::Running { id: "7".into() }, "t1");
        report.take(0, &Happening::Ready(true), "t1");
        let mut pod = json!({"status": {}});
        report.write(&mut pod, "t1");
        assert_eq!(pod.text("/status/phase"), "Running");
        assert!(crate::budgets::is_ready(&pod));
        let ended = Happening::Ended {
            code: 137,
            reason: "Error",
            again: true,
        };
        report.take(0, &ended, "t2");
        report.write(&mut pod, "t2");
        assert!(!crate::budgets::is_ready(&pod));
        let status = &pod["status"]["containerStatuses"][0];
        assert_eq!(status["restartCount"], 1);
        assert_eq!(status["lastState"]["terminated"]["exitCode"], 137);
        assert_eq!(pod.text("/status/phase"), "Running");
    }

    #[test]
    fn a_final_ending_ends_the_pod() {
        let mut report = report("Never");
        let ended = Happening::Ended {
            code: 1,
            reason: "Error",
            again: false,
        };
        report.take(0, &ended, "t");
        assert_eq!(report.phase(), "Failed");
    }
}
