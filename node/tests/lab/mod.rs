//! A small lab: real member processes on loopback addresses of their own, in a temporary folder, gone when dropped.
//!
//! What this module deliberately does not do: inject faults other than signals; the simulations do.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test file uses its part of the lab, and what the lab cannot do fails the test"
)]

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Nothing that these tests wait for takes a tenth of this on an idle machine; a machine that builds at the same time is
/// not idle.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Members of one or more clusters.
pub struct Lab {
    folder: TempDir,
    network: [u8; 3],
    addresses: u8,
}

/// One member: its flags, and its process while it runs.
pub struct Member {
    pub name: String,
    pub ip: String,
    pub folder: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    starts: u32,
}

impl Lab {
    /// A lab with a network of its own: processes and tests that run side by side do not meet.
    pub fn new() -> Self {
        static LABS: AtomicU8 = AtomicU8::new(1);
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let lab = LABS.fetch_add(1, Ordering::Relaxed);
        Self {
            folder: tempfile::tempdir().unwrap(),
            network: [high | 0x40, low, lab],
            addresses: 0,
        }
    }

    /// A member that is not started yet, with an address, and no flags about its cluster.
    pub fn member(&mut self, name: &str) -> Member {
        self.addresses += 1;
        // Several labs of one process share the middle numbers, so that the last carries both.
        let [a, b, lab] = self.network;
        let ip = format!(
            "127.{a}.{b}.{}",
            lab.wrapping_mul(16).wrapping_add(self.addresses)
        );
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let mut member = Member {
            name: name.to_owned(),
            ip,
            folder: folder.clone(),
            arguments: Vec::new(),
            child: None,
            starts: 0,
        };
        let (client, peer) = (member.client_url(), member.peer_url());
        member.with(&["--name", name]);
        member.with(&["--data-dir", folder.join("data").to_str().unwrap()]);
        member.with(&[
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ]);
        member.with(&[
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        member.with(&["--heartbeat-interval", "50", "--election-timeout", "500"]);
        member
    }

    /// Members that found a cluster together, started, with a leader.
    pub async fn cluster(&mut self, names: &[&str], flags: &[&str]) -> Vec<Member> {
        let mut members: Vec<Member> = names.iter().map(|name| self.member(name)).collect();
        let cluster = initial_cluster(&members);
        for member in &mut members {
            member.with(&[
                "--initial-cluster",
                &cluster,
                "--initial-cluster-token",
                "lab",
            ]);
            member.with(flags);
            member.start();
        }
        leader(&members).await;
        members
    }
}

/// `name=url` of every member, as `--initial-cluster` wants it.
pub fn initial_cluster(members: &[Member]) -> String {
    let entries: Vec<String> = members
        .iter()
        .map(|member| format!("{}={}", member.name, member.peer_url()))
        .collect();
    entries.join(",")
}

impl Member {
    pub fn client_url(&self) -> String {
        format!("http://{}:2379", self.ip)
    }

    pub fn peer_url(&self) -> String {
        format!("http://{}:2380", self.ip)
    }

    /// Adds flags for the next start.
    pub fn with(&mut self, flags: &[&str]) -> &mut Self {
        self.arguments.extend(flags.iter().map(ToString::to_string));
        self
    }

    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        self.starts += 1;
        let log = File::create(self.log_path()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_quorate-node"))
            .args(&self.arguments)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(format!("log-{}", self.starts))
    }

    /// What it has written since its last start.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// SIGKILL: it gets no chance to do anything.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, sent.
    pub fn terminate(&self) {
        let child = self.child.as_ref().expect("it runs");
        let sent = Command::new("kill")
            .args(["-TERM", &child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        let status = eventually(&format!("{name} ends"), async || {
            let child = self.child.as_mut().expect("it was started");
            child
                .try_wait()
                .unwrap()
                .ok_or_else(|| "it runs".to_owned())
        })
        .await;
        self.child = None;
        status
    }

    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.client_url())
            .unwrap()
            .connect_lazy()
    }

    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    pub fn watches(&self) -> WatchClient<Channel> {
        WatchClient::new(self.channel())
    }

    pub fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel())
    }

    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel())
    }

    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel())
    }

    pub async fn status(&self) -> Result<pb::StatusResponse, Status> {
        let call = self.maintenance().status(pb::StatusRequest {}).await;
        call.map(tonic::Response::into_inner)
    }

    /// Its id, from its own mouth.
    pub async fn id(&self) -> u64 {
        let header = self.status().await.unwrap().header;
        header.expect("every answer has a header").member_id
    }

    pub async fn put(&self, key: &str, value: &str) -> Result<pb::PutResponse, Status> {
        let call = self.kv().put(put(key, value)).await;
        call.map(tonic::Response::into_inner)
    }

    /// A linearizable read of one key.
    pub async fn get(&self, key: &str) -> Result<Option<String>, Status> {
        let answer = self.kv().range(range(key)).await?.into_inner();
        Ok(answer.kvs.first().map(|kv| text(&kv.value)))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(25).collect();
            eprintln!("--- last lines of {} ---", self.name);
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

pub fn put(key: &str, value: &str) -> pb::PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    pb::PutRequest {
        key,
        value,
        ..pb::PutRequest::default()
    }
}

pub fn range(key: &str) -> pb::RangeRequest {
    pb::RangeRequest {
        key: key.to_owned().into(),
        ..pb::RangeRequest::default()
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Tries until it succeeds, and explains what it waited for if that never happens.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match tokio::time::timeout(Duration::from_secs(5), attempt()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(why)) if Instant::now() > deadline => panic!("waited for: {what}; but {why}"),
            Err(_) if Instant::now() > deadline => panic!("waited for: {what}; but no answer"),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The place in `members` of the one that leads, once a majority of those that answer agrees.
pub async fn leader(members: &[Member]) -> usize {
    eventually("a leader", async || {
        let mut votes = Vec::new();
        let mut ids = Vec::new();
        for member in members {
            if let Ok(Ok(status)) =
                tokio::time::timeout(Duration::from_secs(1), member.status()).await
            {
                votes.push(status.leader);
                ids.push(status.header.expect("every answer has a header").member_id);
            } else {
                ids.push(0);
            }
        }
        let place = ids.iter().position(|id| {
            let agree = votes.iter().filter(|vote| **vote == *id).count();
            *id != 0 && agree > members.len() / 2
        });
        place.ok_or_else(|| format!("they see {votes:x?}"))
    })
    .await
}
