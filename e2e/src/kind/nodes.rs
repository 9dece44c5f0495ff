//! Harm to nodes and to the processes on them, and what only a node can tell.
//!
//! A node of kind is a container of the same name, so all of it is done through the container engine.
//!
//! It deliberately undoes nothing by itself but what would outlive the test: a node that is stopped, and an API server
//! that is away.

use std::process::Command;

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::audit::Call;
use super::program::{output, succeeds};

/// Where the control plane of the lab writes its audit log, rotated parts included.
const AUDIT_LOG: &str = "/var/log/kubernetes/audit*.log";

/// Ends a container's process with SIGKILL; `container` is its id as a pod's status has it, `containerd://…`.
///
/// # Errors
/// When the node does not know it, or it does not run.
pub fn kill(node: &str, container: &str) -> Result<()> {
    let id = id(container)?;
    let kill = ["-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", id];
    succeeds(
        Command::new("docker")
            .args(["exec", node, "ctr"])
            .args(kill),
    )
}

/// The resident memory of a container's first process, in KiB.
///
/// # Errors
/// When the node does not know it, or it does not run.
pub fn memory_kib(node: &str, container: &str) -> Result<u64> {
    let id = id(container)?;
    let find = format!("ctr -n k8s.io tasks ls | awk '$1 == \"{id}\" {{ print $2 }}'");
    let status = format!("grep VmRSS /proc/$({find})/status");
    let said = output(Command::new("docker").args(["exec", node, "sh", "-c", &status]))?;
    let number = said.split_whitespace().nth(1);
    let number = number.and_then(|it| it.parse().ok());
    number.with_context(|| format!("read the memory of {id} from {said:?}"))
}

/// A container's id as containerd has it.
fn id(container: &str) -> Result<&str> {
    let id = container.strip_prefix("containerd://");
    id.with_context(|| format!("{container} is no container of containerd"))
}

/// A node that does nothing, until this is dropped.
#[derive(Debug)]
pub struct Stopped {
    node: String,
    /// What the container engine calls the way back.
    back: &'static str,
}

impl Stopped {
    /// Stops every process of a node where it stands, as a machine that hangs.
    ///
    /// # Errors
    /// The container engine's.
    pub fn paused(node: &str) -> Result<Self> {
        Self::by("pause", node, "unpause")
    }

    /// Ends every process of a node with SIGKILL, as by pulling its plug; what its disk holds stays.
    ///
    /// # Errors
    /// The container engine's.
    pub fn killed(node: &str) -> Result<Self> {
        Self::by("kill", node, "start")
    }

    fn by(how: &str, node: &str, back: &'static str) -> Result<Self> {
        succeeds(Command::new("docker").args([how, node]))?;
        Ok(Self {
            node: node.to_owned(),
            back,
        })
    }

    /// Lets it go on, or begin anew.
    ///
    /// # Errors
    /// The container engine's.
    pub fn end(self) -> Result<()> {
        let ended = self.undo();
        std::mem::forget(self);
        ended
    }

    fn undo(&self) -> Result<()> {
        succeeds(Command::new("docker").args([self.back, &self.node]))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("{error:#}; by hand: docker {} {}", self.back, self.node);
        }
    }
}

/// Has a node's kubelet start anew, so that it makes the Node object that somebody has deleted.
///
/// # Errors
/// The container engine's.
pub fn register_again(node: &str) -> Result<()> {
    let restart = ["exec", node, "systemctl", "restart", "kubelet"];
    succeeds(Command::new("docker").args(restart))
}

/// Where a kubelet finds the API server's pod, and where it does not.
const API_SERVER: [&str; 2] = [
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/kube-apiserver.yaml",
];

/// A control plane whose API server is ended and not started again, until this is dropped.
#[derive(Debug)]
pub struct NoApiServer {
    node: String,
}

impl NoApiServer {
    /// Takes the API server's pod from the control plane's kubelet, which ends it within seconds.
    ///
    /// # Errors
    /// The container engine's.
    pub fn on(control_plane: &str) -> Result<Self> {
        let [there, away] = API_SERVER;
        succeeds(Command::new("docker").args(["exec", control_plane, "mv", there, away]))?;
        Ok(Self {
            node: control_plane.to_owned(),
        })
    }

    /// Gives it back.
    ///
    /// # Errors
    /// The container engine's.
    pub fn end(self) -> Result<()> {
        let ended = give_back(&self.node);
        std::mem::forget(self);
        ended
    }
}

impl Drop for NoApiServer {
    fn drop(&mut self) {
        if let Err(error) = give_back(&self.node) {
            let ([there, away], node) = (API_SERVER, &self.node);
            eprintln!("{error:#}; by hand: docker exec {node} mv {away} {there}");
        }
    }
}

fn give_back(node: &str) -> Result<()> {
    let [there, away] = API_SERVER;
    succeeds(Command::new("docker").args(["exec", node, "mv", away, there]))
}

/// The finished requests of one user since a moment, from the audit log of a control-plane node.
///
/// # Errors
/// When the log cannot be read: the cluster may not be one of the lab's.
pub fn calls(control_plane: &str, user: &str, since: Timestamp) -> Result<Vec<Call>> {
    // The log outgrows a pipe's patience; the node picks the lines.
    let grep = format!("grep -hF '\"{user}\"' {AUDIT_LOG} || test $? = 1");
    let lines = output(Command::new("docker").args(["exec", control_plane, "sh", "-c", &grep]))
        .with_context(|| format!("read the audit log of {control_plane}"))?;
    let calls = lines.lines().filter_map(Call::read);
    Ok(calls
        .filter(|call| call.at >= since && call.user == user)
        .collect())
}
