//! Members as bare processes, without any Kubernetes: what they promise alone.
//!
//! The command line is etcd's, so the same code starts ours and a real etcd; tests of the data
//! plane run on either.
//!
//! It does not heal anything: a killed member stays dead until it is restarted here.

use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::client::Client;
use crate::folder::Folder;
use crate::wait;

/// Long enough for a cold start of three processes on a loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// One process and what is needed to start it again.
#[derive(Debug)]
struct Member {
    name: String,
    client_url: String,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

/// The flags of a member that a restore takes too.
const OF_RESTORE: [&str; 5] = [
    "--name=",
    "--data-dir=",
    "--initial-cluster=",
    "--initial-cluster-token=",
    "--initial-advertise-peer-urls=",
];

impl Member {
    async fn restore(&self, restorer: &Path, snapshot: &Path) -> Result<()> {
        let taken = |flag: &&String| OF_RESTORE.iter().any(|name| flag.starts_with(name));
        let ended = Command::new(restorer)
            .args(["snapshot", "restore"])
            .arg(snapshot)
            .args(self.args.iter().filter(taken))
            .output()
            .await
            .with_context(|| format!("run {}", restorer.display()))?;
        if !ended.status.success() {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            bail!(
                "{} refuses {}: {said}",
                restorer.display(),
                snapshot.display()
            );
        }
        Ok(())
    }
}

/// A cluster of bare processes; they are killed when it is dropped.
#[derive(Debug)]
pub struct Members {
    program: PathBuf,
    members: Vec<Member>,
    address: Ipv4Addr,
    folder: Folder,
}

impl Members {
    /// Starts `count` members of a program that understands etcd's flags, and waits for a leader.
    ///
    /// # Errors
    /// When a process does not start or nobody leads in time.
    pub async fn start(program: &Path, count: usize) -> Result<Self> {
        Self::start_with(program, count, &[]).await
    }

    /// The same, with more flags for each.
    ///
    /// # Errors
    /// As [`Members::start`].
    pub async fn start_with(program: &Path, count: usize, flags: &[String]) -> Result<Self> {
        Self::start_each(program, count, |_| flags.to_vec()).await
    }

    /// The same, with flags for each by its client URL.
    ///
    /// # Errors
    /// As [`Members::start`].
    pub async fn start_each(
        program: &Path,
        count: usize,
        flags: impl Fn(&str) -> Vec<String>,
    ) -> Result<Self> {
        let mut members = Self::laid_out(program, count)?;
        for member in &mut members.members {
            member.args.extend(flags(&member.client_url));
        }
        members.started().await
    }

    /// Starts as many members as there are folders, with their data in these.
    ///
    /// # Errors
    /// As [`Members::start`].
    pub async fn start_in(program: &Path, folders: &[PathBuf]) -> Result<Self> {
        let mut members = Self::laid_out(program, folders.len())?;
        for (member, folder) in members.members.iter_mut().zip(folders) {
            // The last of a repeated flag counts.
            member.args.push(format!("--data-dir={}", folder.display()));
        }
        members.started().await
    }

    /// Starts members whose data directories `restorer` makes of a snapshot: `etcdutl`, or a program that takes its flags.
    ///
    /// # Errors
    /// When the snapshot is refused, and as [`Members::start`].
    pub async fn restored(
        program: &Path,
        restorer: &Path,
        snapshot: &Path,
        count: usize,
    ) -> Result<Self> {
        let members = Self::laid_out(program, count)?;
        for member in &members.members {
            member.restore(restorer, snapshot).await?;
        }
        members.started().await
    }

    /// Nobody runs yet.
    fn laid_out(program: &Path, count: usize) -> Result<Self> {
        let folder = Folder::new("members")?;
        let address = address_of_our_own();
        let cluster = initial_cluster(address, count);
        let members = (0..count)
            .map(|n| member(n, address, &cluster, folder.path()))
            .collect();
        Ok(Self {
            program: program.to_owned(),
            members,
            address,
            folder,
        })
    }

    async fn started(mut self) -> Result<Self> {
        for number in 0..self.members.len() {
            self.restart(number)?;
        }
        self.leader().await?;
        Ok(self)
    }

    /// Adds a learner to a cluster that still has all its founders, starts it with further flags by its client URL, and gives
    /// its number.
    ///
    /// # Errors
    /// When the cluster refuses it, or its process cannot be started.
    pub async fn add_learner(&mut self, flags: impl Fn(&str) -> Vec<String>) -> Result<usize> {
        let number = self.members.len();
        let peer_url = peer_url(self.address, number);
        // Members count as healthy once they have been connected for some seconds, and nobody is added before.
        let added = wait::until(
            format!("{peer_url} as a learner"),
            READY_WITHIN,
            async || {
                let client = Client::connect(&self.members[0].client_url).await;
                let mut client = client.map_err(|e| format!("{e:#}"))?;
                let added = client.add_learner(&peer_url).await;
                added.map_err(|e| e.to_string())
            },
        );
        added.await?;
        let cluster = initial_cluster(self.address, number + 1);
        let mut learner = member(number, self.address, &cluster, self.folder.path());
        learner.args.extend(flags(&learner.client_url));
        // The last of a repeated flag counts.
        learner
            .args
            .push("--initial-cluster-state=existing".to_owned());
        self.members.push(learner);
        self.restart(number)?;
        Ok(number)
    }

    /// Client URLs of all members, dead ones too.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|m| m.client_url.clone()).collect()
    }

    /// Waits until every member knows where clients reach every other: etcd serves none before.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn are_published(&self) -> Result<()> {
        let published = wait::until("published members", READY_WITHIN, async || {
            for member in &self.members {
                let client = Client::connect(&member.client_url).await;
                let known = client.map_err(|e| e.to_string())?.members().await;
                let known = known.map_err(|e| e.to_string())?;
                if known.len() < self.members.len()
                    || known.iter().any(|it| it.client_urls.is_empty())
                {
                    return Err(format!("{} knows {known:?}", member.name));
                }
            }
            Ok(())
        });
        Ok(published.await?)
    }

    /// Waits until a learner answers for itself and the others know where clients reach it, and gives its id. It tells nobody
    /// of other members, so that [`Members::are_published`] waits in vain.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn learner_is_published(&self, number: usize) -> Result<u64> {
        let found = wait::until("a published learner", READY_WITHIN, async || {
            let url = |number: usize| &self.members[number].client_url;
            let told = async {
                let status = Client::connect(url(number)).await?.status().await?;
                let known = Client::connect(url(0)).await?.members().await?;
                anyhow::Ok((status, known))
            };
            let (status, known) = told.await.map_err(|e| format!("{e:#}"))?;
            if known.iter().any(|it| it.client_urls.is_empty()) {
                return Err(format!("the others know {known:?}"));
            }
            let header = status.header.ok_or("a status without a header")?;
            Ok(header.member_id)
        });
        Ok(found.await?)
    }

    /// The ids of the cluster and of each member, all of which run.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn ids(&self) -> Result<(u64, Vec<u64>)> {
        let (mut cluster, mut ids) = (0, Vec::new());
        for member in &self.members {
            let status = Client::connect(&member.client_url).await?.status().await?;
            let header = status.header.context("a status has a header")?;
            cluster = header.cluster_id;
            ids.push(header.member_id);
        }
        Ok((cluster, ids))
    }

    /// The process of a member that runs.
    pub fn pid(&self, number: usize) -> Option<u32> {
        self.members[number].child.as_ref().and_then(Child::id)
    }

    /// Waits until a running member says that it leads, and gives its number.
    ///
    /// # Errors
    /// When none does in time; says what each answered.
    pub async fn leader(&self) -> Result<usize> {
        let found = wait::until("a leader", READY_WITHIN, async || {
            let mut seen = String::new();
            for (number, member) in self
                .members
                .iter()
                .enumerate()
                .filter(|m| m.1.child.is_some())
            {
                match leads(&member.client_url).await {
                    Ok(true) => return Ok(number),
                    Ok(false) => seen.push_str(&format!("{} follows; ", member.name)),
                    Err(e) => seen.push_str(&format!("{}: {e:#}; ", member.name)),
                }
            }
            Err(seen)
        });
        found
            .await
            .with_context(|| format!("logs in {}", self.folder.path().display()))
    }

    /// Ends a member with SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill(&mut self, number: usize) -> Result<()> {
        self.end(number, Signal::SIGKILL).await
    }

    /// Asks a member to stop with SIGTERM, and waits until it has.
    ///
    /// # Errors
    /// When it does not run, does not stop, or does not stop cleanly.
    pub async fn stop(&mut self, number: usize) -> Result<()> {
        self.end(number, Signal::SIGTERM).await
    }

    async fn end(&mut self, number: usize, signal: Signal) -> Result<()> {
        let member = &mut self.members[number];
        let mut child = member
            .child
            .take()
            .with_context(|| format!("{} is dead", member.name))?;
        let pid = child
            .id()
            .with_context(|| format!("{} has ended by itself", member.name))?;
        kill(Pid::from_raw(pid.try_into()?), signal)?;
        let status = tokio::time::timeout(READY_WITHIN, child.wait()).await??;
        // After a clean stop ours exits with 0; etcd lets the signal end it.
        let by_signal = status.signal() == Some(Signal::SIGTERM as i32);
        if signal == Signal::SIGTERM && !status.success() && !by_signal {
            bail!(
                "{} ended with {status}; log: {}",
                member.name,
                member.log.display()
            );
        }
        Ok(())
    }

    /// Starts a dead member again, with the disk that it had.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        let member = &mut self.members[number];
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&member.log)?;
        let child = Command::new(&self.program)
            .args(&member.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", self.program.display()))?;
        member.child = Some(child);
        Ok(())
    }

    /// All went well: ends the processes and removes their files.
    ///
    /// # Errors
    /// When a process cannot be ended.
    pub async fn end_all(mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(child) = &mut member.child {
                child.kill().await?;
            }
        }
        self.folder.discard();
        Ok(())
    }
}

/// An address of 127.0.0.0/8 that no other test uses at the same time: ports may then be fixed,
/// and nothing is bound, released and hoped to be free again.
pub fn address_of_our_own() -> Ipv4Addr {
    static CLUSTERS: AtomicU16 = AtomicU16::new(0);
    let cluster = CLUSTERS.fetch_add(1, Ordering::Relaxed) % 50;
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(
        127,
        200 + u8::try_from(cluster).expect("below 50"),
        high,
        low,
    )
}

fn initial_cluster(address: Ipv4Addr, count: usize) -> String {
    let peers: Vec<String> = (0..count)
        .map(|number| format!("m{number}={}", peer_url(address, number)))
        .collect();
    peers.join(",")
}

fn peer_url(address: Ipv4Addr, number: usize) -> String {
    format!("http://{address}:{}", 2380 + 10 * number)
}

fn member(number: usize, address: Ipv4Addr, initial_cluster: &str, folder: &Path) -> Member {
    let name = format!("m{number}");
    let url = |port: usize| format!("http://{address}:{}", port + 10 * number);
    let (client, peer, metrics) = (url(2379), url(2380), url(2381));
    let data = folder.join(&name);
    let args = vec![
        format!("--name={name}"),
        format!("--data-dir={}", data.display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--listen-metrics-urls={metrics}"),
        format!("--initial-cluster={initial_cluster}"),
        "--initial-cluster-state=new".to_owned(),
        format!("--initial-cluster-token={}", folder.display()),
    ];
    let log = folder.join(format!("{name}.log"));
    Member {
        name,
        client_url: client,
        args,
        log,
        child: None,
    }
}

async fn leads(url: &str) -> Result<bool> {
    let status = Client::connect(url).await?.status().await?;
    let own = status.header.map(|h| h.member_id);
    Ok(status.leader != 0 && own == Some(status.leader))
}
