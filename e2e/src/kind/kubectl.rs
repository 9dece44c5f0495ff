//! `kubectl` and `helm` as a user runs them against the lab's cluster.
//!
//! It deliberately parses nothing that they print for people: what has to be read is asked for as JSON or names.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::tools;

/// The tools, and the cluster that they talk to.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// `kubectl` for the cluster of a kubeconfig.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        Ok(Self {
            kubectl: tools::find("kubectl")?,
            kubeconfig: kubeconfig.to_owned(),
        })
    }

    /// Runs `kubectl` with arguments and gives what it printed.
    ///
    /// # Errors
    /// When it fails; with the command and what it said.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_fed(arguments, "").await
    }

    /// Applies manifests server-side, as the documentation says it.
    ///
    /// # Errors
    /// The API server's refusal.
    pub async fn apply(&self, namespace: Option<&str>, manifests: &str) -> Result<()> {
        let mut arguments = vec!["apply", "--server-side", "--force-conflicts", "-f", "-"];
        arguments.extend(namespace.iter().flat_map(|it| ["-n", it]));
        self.kubectl_fed(&arguments, manifests).await.map(drop)
    }

    /// A command whose output the caller takes as it comes; it ends with its handle.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(
        &self,
        arguments: &[&str],
        output: std::fs::File,
    ) -> Result<tokio::process::Child> {
        let mut command = self.command(&self.kubectl, arguments);
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(Stdio::null());
        command.spawn().context("start kubectl")
    }

    /// Runs `helm` with arguments and gives what it printed.
    ///
    /// # Errors
    /// When there is none, or it fails; with the command and what it said.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let helm = tools::find("helm")?;
        ended(self.command(&helm, arguments), "helm", arguments, "").await
    }

    async fn kubectl_fed(&self, arguments: &[&str], input: &str) -> Result<String> {
        let command = self.command(&self.kubectl, arguments);
        ended(command, "kubectl", arguments, input).await
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .kill_on_drop(true);
        command
    }
}

async fn ended(
    mut command: Command,
    name: &str,
    arguments: &[&str],
    input: &str,
) -> Result<String> {
    let shown = || format!("{name} {}", arguments.join(" "));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(shown)?;
    let mut stdin = child.stdin.take().context("its input is a pipe")?;
    stdin
        .write_all(input.as_bytes())
        .await
        .with_context(shown)?;
    drop(stdin);
    let ended = child.wait_with_output().await.with_context(shown)?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        bail!("{} failed: {}", shown(), said.trim());
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}
