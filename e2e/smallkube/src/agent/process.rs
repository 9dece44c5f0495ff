//! Containers as local processes.
//!
//! Each leads a process group of its own, so that its children end with it; their ids are written down, so that a start
//! after a crash of smallkube can end what was left. It deliberately changes no user, root or limit.

use super::{Ending, Launch, NoImage, Probe, Running, Runtime, Signal, hosts, lock, names};
use futures::future::BoxFuture;
use nix::sys::signal::{Signal as Sig, killpg};
use nix::unistd::Pid;
use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// Which images there are, and which local binary each one is.
///
/// An image declared with a tag exists with that tag alone; one declared without exists with every tag that no other
/// declaration of its name lists as missing.
#[derive(Debug, Clone, Default)]
pub struct Images {
    binaries: BTreeMap<String, PathBuf>,
    /// Other programs that are in every image, by the name that commands call them.
    programs: BTreeMap<String, PathBuf>,
}

impl Images {
    /// Declares `name` (any tag) or `name:tag` (that tag alone) to be a binary.
    #[must_use]
    pub fn with(mut self, image: &str, binary: impl Into<PathBuf>) -> Self {
        self.binaries.insert(image.to_owned(), binary.into());
        self
    }

    /// Puts another program into every image, where a command names it.
    #[must_use]
    pub fn with_program(mut self, name: &str, binary: impl Into<PathBuf>) -> Self {
        self.programs.insert(name.to_owned(), binary.into());
        self
    }

    /// The binary behind an image. Registry and path before the name do not matter.
    fn find(&self, image: &str) -> Option<&PathBuf> {
        let short = image.rsplit('/').next().unwrap_or(image);
        let name = name_of(image);
        let any_tag = || {
            // Once tags of a name are declared, only those exist.
            let prefix = format!("{name}:");
            let tagged = self.binaries.keys().any(|k| k.starts_with(&prefix));
            self.binaries.get(name).filter(|_| !tagged)
        };
        self.binaries
            .get(image)
            .or_else(|| self.binaries.get(short))
            .or_else(any_tag)
    }
}

/// The name of an image, without registry, path, tag and digest.
fn name_of(image: &str) -> &str {
    let short = image.rsplit('/').next().unwrap_or(image);
    short.split([':', '@']).next().unwrap_or(short)
}

/// Runs containers as processes of this machine.
pub struct Processes {
    images: Images,
    state: PathBuf,
    pids: Arc<Mutex<HashMap<i32, ()>>>,
}

/// File in the state folder with the ids of all process groups.
const PIDS: &str = "processes";

impl Processes {
    /// A runtime that keeps its traces in a state folder; ends whatever a killed run before left there.
    #[must_use]
    pub fn new(state: impl Into<PathBuf>, images: Images) -> Self {
        let state = state.into();
        end_leftovers(&state);
        Self {
            images,
            state,
            pids: Arc::default(),
        }
    }
}

/// Ends process groups of a run that could not end them itself.
fn end_leftovers(state: &Path) {
    let file = state.join(PIDS);
    let Ok(text) = std::fs::read_to_string(&file) else {
        return;
    };
    for line in text.lines() {
        let Some((pid, began)) = line.split_once(' ') else {
            continue;
        };
        // The number alone may be somebody else's by now; the time of birth tells.
        if let Ok(pid) = pid.parse::<i32>()
            && birth(pid).is_some_and(|b| b == began)
        {
            tracing::info!(pid, "ending a process that a run before left behind");
            // Gone in between is as good.
            let _ = killpg(Pid::from_raw(pid), Sig::SIGKILL);
        }
    }
    let _ = std::fs::remove_file(file);
}

/// When a process was born, in clock ticks since boot, as text.
fn birth(pid: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; the fields after it do not. The 22nd of all is the start time.
    let after = stat.rsplit_once(')')?.1;
    after.split_whitespace().nth(19).map(str::to_owned)
}

/// What a container runs: its image is one binary, which is also meant by a command that is called as the image is; any other
/// command is one of this machine's.
fn command(hosts: &Path, image: &str, binary: &Path, words: &[String]) -> Command {
    let named = words.first().map(Path::new);
    let program = named
        .filter(|it| it.file_name() != Some(name_of(image).as_ref()))
        .unwrap_or(binary);
    let line = names::with_hosts(hosts, program.as_os_str());
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).args(words.iter().skip(1));
    command
}

impl Runtime for Processes {
    fn pull(&self, image: &str) -> Result<(), NoImage> {
        let Some(binary) = self.images.find(image) else {
            return Err(NoImage(format!(
                "failed to resolve reference {image:?}: not found; declared images: {:?}",
                self.images.binaries.keys().collect::<Vec<_>>()
            )));
        };
        if binary.exists() {
            return Ok(());
        }
        Err(NoImage(format!(
            "image {image:?} is {}, which does not exist",
            binary.display()
        )))
    }

    fn start(&self, launch: Launch) -> Result<Arc<dyn Running>, String> {
        let binary = self.images.find(&launch.image).ok_or("the image is gone")?;
        let hosts = hosts::for_mounting(&self.state)?;
        let named = launch.command.first();
        let binary = named
            .and_then(|it| self.images.programs.get(it))
            .unwrap_or(binary);
        let called = named.filter(|it| self.images.programs.contains_key(*it));
        let image = called.unwrap_or(&launch.image);
        let mut command = command(&hosts, image, binary, &launch.command);
        for folder in launch.mounts.values() {
            let made = std::fs::create_dir_all(folder);
            made.map_err(|e| format!("cannot make volume {}: {e}", folder.display()))?;
        }
        command
            .args(&launch.args)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOSTNAME", &launch.pod)
            .env("QUORATE_HOSTS_FILE", self.state.join(hosts::FILE))
            .envs(&launch.env)
            .current_dir(&self.state)
            .stdin(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        output(&mut command, launch.log.as_deref())?;
        let child = command
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
        self.adopt(child)
    }
}

fn output(command: &mut Command, log: Option<&Path>) -> Result<(), String> {
    let Some(path) = log else {
        command.stdout(Stdio::null()).stderr(Stdio::null());
        return Ok(());
    };
    let failed = |e: std::io::Error| format!("cannot write the log {}: {e}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(failed)?;
    let twin = file.try_clone().map_err(failed)?;
    command.stdout(file).stderr(twin);
    Ok(())
}

impl Processes {
    fn adopt(&self, mut child: Child) -> Result<Arc<dyn Running>, String> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.ok_or("the process ended before it had an id")?;
        lock(&self.pids).insert(pid, ());
        write_down(&self.state, &self.pids);
        let (tell, ended) = watch::channel(None);
        let (state, pids) = (self.state.clone(), self.pids.clone());
        tokio::spawn(async move {
            let code = match child.wait().await {
                Ok(status) => status
                    .code()
                    .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
                Err(error) => {
                    tracing::error!(%error, pid, "cannot wait for a process");
                    255
                }
            };
            // Its children end with it, as in a container.
            let _ = killpg(Pid::from_raw(pid), Sig::SIGKILL);
            lock(&pids).remove(&pid);
            write_down(&state, &pids);
            tell.send_replace(Some(Ending { code }));
        });
        Ok(Arc::new(Process { pid, ended }))
    }
}

fn write_down(state: &Path, pids: &Mutex<HashMap<i32, ()>>) {
    let lines: Vec<String> = lock(pids)
        .keys()
        .filter_map(|pid| Some(format!("{pid} {}\n", birth(*pid)?)))
        .collect();
    if let Err(error) = std::fs::write(state.join(PIDS), lines.concat()) {
        tracing::warn!(%error, "cannot write down the ids of processes");
    }
}

struct Process {
    pid: i32,
    ended: watch::Receiver<Option<Ending>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.borrow().is_none() {
            self.signal(Signal::Kill);
        }
    }
}

impl Running for Process {
    fn id(&self) -> String {
        self.pid.to_string()
    }

    fn signal(&self, signal: Signal) {
        let signal = match signal {
            Signal::Terminate => Sig::SIGTERM,
            Signal::Kill => Sig::SIGKILL,
            Signal::Pause => Sig::SIGSTOP,
            Signal::Resume => Sig::SIGCONT,
        };
        if self.ended.borrow().is_none() {
            // It may end between the look and the signal; its group is then gone, which is what was wanted.
            let _ = killpg(Pid::from_raw(self.pid), signal);
        }
    }

    fn ended(&self) -> BoxFuture<'_, Ending> {
        let mut ended = self.ended.clone();
        Box::pin(async move {
            let seen = ended.wait_for(Option::is_some).await.map(|e| *e);
            seen.ok().flatten().unwrap_or(Ending { code: 255 })
        })
    }

    fn probe<'a>(&'a self, probe: &'a Probe) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(ask(probe))
    }
}

async fn ask(probe: &Probe) -> Result<(), String> {
    match probe {
        Probe::Http { host, port, path } => http(host, *port, path).await,
        Probe::Tcp { host, port } => {
            let connected = TcpStream::connect((host.as_str(), *port)).await;
            connected.map(drop).map_err(|e| e.to_string())
        }
        Probe::Exec(words) => {
            let mut command = Command::new(&words[0]);
            command
                .args(&words[1..])
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            let status = command.kill_on_drop(true).status().await;
            match status {
                Ok(status) if status.success() => Ok(()),
                Ok(status) => Err(format!("command ended with {status}")),
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

/// One GET, of which only the status line matters.
async fn http(host: &str, port: u16, path: &str) -> Result<(), String> {
    let plain = |e: std::io::Error| format!("Get \"http://{host}:{port}{path}\": {e}");
    let mut stream = TcpStream::connect((host, port)).await.map_err(plain)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: kube-probe/1.34\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(plain)?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < 1024 {
        let mut piece = [0; 256];
        let n = stream.read(&mut piece).await.map_err(plain)?;
        if n == 0 {
            break;
        }
        head.extend_from_slice(&piece[..n]);
    }
    let text = String::from_utf8_lossy(&head);
    let code = text
        .split_whitespace()
        .nth(1)
        .and_then(|c| c.parse::<u16>().ok());
    match code {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("HTTP probe failed with statuscode: {code}")),
        None => Err("the answer is no HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_called_as_the_image_is_means_its_binary() {
        let program = |command: &[&str]| {
            let words: Vec<String> = command.iter().map(ToString::to_string).collect();
            let line = command_line(&words);
            line.into_iter().rev().nth(words.len().saturating_sub(1))
        };
        let etcd = Some("/x/etcd-3.5".to_owned());
        assert_eq!(program(&[]), etcd);
        assert_eq!(program(&["etcd", "--name=a"]), etcd);
        assert_eq!(program(&["/usr/local/bin/etcd"]), etcd);
        assert_eq!(program(&["sh", "-c", "true"]), Some("sh".to_owned()));
    }

    /// The words of the command that a container of an image of etcd becomes.
    fn command_line(words: &[String]) -> Vec<String> {
        let image = "registry.example/team/etcd:v3.5.35";
        let command = command(Path::new("hosts"), image, Path::new("/x/etcd-3.5"), words);
        let command = command.as_std();
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|it| it.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn a_declared_tag_is_the_only_one() {
        let images = Images::default()
            .with("node", "/bin/a")
            .with("other", "/bin/b")
            .with("other:2", "/bin/c");
        assert!(images.find("node:1.2").is_some() && images.find("registry.x/y/node").is_some());
        assert!(images.find("other:2").is_some());
        assert!(images.find("other:3").is_none() && images.find("nothing:1").is_none());
    }
}
