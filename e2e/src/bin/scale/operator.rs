//! The operator's program, and what it says of itself.
//!
//! It deliberately runs without an election: a Lease's renewals are no work for a cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::{binaries, wait};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::requests::label;

/// A running operator; it dies with this value.
pub(crate) struct Operator {
    process: Child,
    metrics: SocketAddr,
}

/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// The unit of times in /proc, on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;

impl Operator {
    /// Starts one, and waits until it has reached the API server.
    pub(crate) async fn start(kubeconfig: &Path, workers: Option<usize>) -> Result<Self> {
        let metrics = SocketAddr::new(e2e::members::address_of_our_own().into(), 8080);
        let mut command = Command::new(binaries::ours("quorate-operator")?);
        command.env("KUBECONFIG", kubeconfig);
        command.args([
            "--log-level",
            "error",
            "--metrics-bind-address",
            &metrics.to_string(),
        ]);
        command.args(workers.map(|it| format!("--workers={it}")));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().context("start the operator")?;
        let operator = Self { process, metrics };
        wait::until("the operator to be ready", PATIENCE, async || {
            operator.page("readyz").await
        })
        .await?;
        Ok(operator)
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = self.process.id().context("the operator has ended")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        ensure!(ended.context("the operator does not stop")??.success());
        Ok(())
    }

    async fn page(&self, path: &str) -> Result<String> {
        let stream = TcpStream::connect(self.metrics).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let request = http::Request::get(format!("/{path}"))
            .header("host", self.metrics.to_string())
            .body(String::new())?;
        let answer = sender.send_request(request).await?;
        ensure!(answer.status().is_success(), "{}", answer.status());
        let body = answer.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok(String::from_utf8(body.to_vec())?)
    }

    /// Requests to the API server so far, by HTTP method.
    pub(crate) async fn requests(&self) -> Result<BTreeMap<String, u64>> {
        let mut requests = BTreeMap::new();
        for (labels, value) in samples(&self.page("metrics").await?, "rest_client_requests_total") {
            let method = label(labels, "method").to_owned();
            *requests.entry(method).or_default() += value as u64;
        }
        Ok(requests)
    }

    /// How many looks at clusters have ended, however they did; and how many clusters wait for one.
    pub(crate) async fn looks(&self) -> Result<(u64, u64)> {
        let text = self.page("metrics").await?;
        let sum = |name: &str| samples(&text, name).map(|(_, value)| value as u64).sum();
        Ok((
            sum("controller_runtime_reconcile_total"),
            sum("workqueue_depth"),
        ))
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory_bytes(&self) -> Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most resident memory that it has ever had, in bytes.
    pub(crate) fn memory_bytes_at_most(&self) -> Result<u64> {
        self.memory("VmHWM:")
    }

    fn memory(&self, line: &str) -> Result<u64> {
        let text = self.proc("status")?;
        let line = text.lines().find_map(|it| it.strip_prefix(line));
        let kibibytes =
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        Ok(kibibytes.context("understand /proc/PID/status")? << 10)
    }

    /// Seconds of a processor that it has used.
    pub(crate) fn processor_seconds(&self) -> Result<f64> {
        let text = self.proc("stat")?;
        // After the name, which may hold anything, utime and stime are the twelfth and the thirteenth.
        let fields = text
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace());
        let ticks = fields.into_iter().flatten().skip(11).take(2);
        let ticks: Vec<u64> = ticks.filter_map(|it| it.parse().ok()).collect();
        ensure!(ticks.len() == 2, "understand /proc/PID/stat");
        Ok(ticks.iter().sum::<u64>() as f64 / TICKS_PER_SECOND)
    }

    fn proc(&self, file: &str) -> Result<String> {
        let pid = self.process.id().context("the operator has ended")?;
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
    }
}

/// The samples of one metric: labels and value.
pub(crate) fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines()
        .filter_map(move |line| line.strip_prefix(name))
        .filter_map(|rest| {
            let (labels, value) = rest.strip_prefix('{')?.split_once('}')?;
            Some((labels, value.trim().parse().ok()?))
        })
}
