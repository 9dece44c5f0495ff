//! Plays a scene against members with fresh data, and tells what was said.
//!
//! Nothing outlives the scene: what runs beside it is killed when it is dropped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::client::Client;
use e2e::contract::Exchange;
use e2e::folder::Folder;
use e2e::members::Members;
use e2e::wait;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::plain;
use crate::scene::{Act, Scene, Step};

/// Long enough for a loaded machine.
const WITHIN: Duration = Duration::from_secs(40);

struct Stage<'a> {
    ctl: &'a Path,
    unordered: bool,
    /// What `$NAME` stands for.
    names: BTreeMap<String, String>,
    beside: BTreeMap<String, Beside>,
    folder: Folder,
}

/// What runs beside the scene, and writes into files.
struct Beside {
    child: Child,
    out: PathBuf,
    err: PathBuf,
}

/// What an invocation said.
struct Said {
    status: ExitStatus,
    out: String,
    err: String,
}

/// Plays the whole scene on clusters of a program.
///
/// # Errors
/// When a cluster does not start, or what is waited for does not come; with the line.
pub(crate) async fn whole(ctl: &Path, program: &Path, scene: &Scene) -> Result<Vec<Exchange>> {
    let cluster = Members::start(program, scene.members).await?;
    let needs_other = scene.steps.iter().any(|it| it.line.contains("$other"));
    let other = match needs_other {
        true => Some(Members::start(program, 1).await?),
        false => None,
    };
    let mut stage = Stage {
        ctl,
        unordered: scene.unordered,
        names: names(&cluster, other.as_ref()).await?,
        beside: BTreeMap::new(),
        folder: Folder::new("clients")?,
    };
    stage.name("folder", &stage.folder.path().display().to_string());
    let mut all = Vec::new();
    for step in &scene.steps {
        let said = stage.step(step).await;
        let said = said
            .with_context(|| format!("{}: {}, on {}", scene.name, step.line, program.display()))?;
        all.extend(said.map(|said| stage.exchange(step, &said)));
    }
    stage.folder.discard();
    cluster.end_all().await?;
    if let Some(other) = other {
        other.end_all().await?;
    }
    Ok(all)
}

async fn names(cluster: &Members, other: Option<&Members>) -> Result<BTreeMap<String, String>> {
    cluster.are_published().await?;
    let endpoints = cluster.endpoints();
    knows_its_version(&endpoints).await?;
    let (_, ids) = cluster.ids().await?;
    let leader = cluster.leader().await?;
    let follower = (leader + 1) % ids.len();
    // Neither asked first nor chosen to lead: nothing is disturbed when it goes.
    let spare = (1..ids.len()).rev().find(|it| *it != follower).unwrap_or(0);
    let mut names = BTreeMap::from([
        ("endpoint".to_owned(), endpoints[0].clone()),
        ("endpoints".to_owned(), endpoints.join(",")),
        ("leader".to_owned(), format!("{:x}", ids[leader])),
        ("follower".to_owned(), format!("{:x}", ids[follower])),
        ("spare".to_owned(), format!("{:x}", ids[spare])),
    ]);
    if let Some(other) = other {
        let url = &other.endpoints()[0];
        let address = url.strip_prefix("http://").unwrap_or(url);
        names.insert("other".to_owned(), address.to_owned());
    }
    for (number, id) in ids.iter().enumerate() {
        names.insert(format!("m{number}"), format!("{id:x}"));
    }
    Ok(names)
}

/// Every member tells that what it stores is of its own version: etcd looks only now and then, and
/// before it tells of none, then of the one that the data began with.
async fn knows_its_version(endpoints: &[String]) -> Result<()> {
    let known = wait::until("the stored version", WITHIN, async || {
        for url in endpoints {
            let mut client = Client::connect(url).await.map_err(|e| e.to_string())?;
            let status = client.status().await.map_err(|e| e.to_string())?;
            let (runs, stored) = (&status.version, &status.storage_version);
            let of = |text: &str| text.rsplit_once('.').map(|(minor, _)| minor.to_owned());
            if stored.is_empty() || of(stored) != of(runs) {
                return Err(format!("{url} runs {runs} and stores {stored:?}"));
            }
        }
        Ok(())
    });
    Ok(known.await?)
}

impl Stage<'_> {
    fn name(&mut self, name: &str, value: &str) {
        self.names.insert(name.to_owned(), value.to_owned());
    }

    async fn step(&mut self, step: &Step) -> Result<Option<Said>> {
        match &step.act {
            Act::Run(name) => {
                let said = self.run(step).await?;
                if let Some(name) = name {
                    let id = Regex::new(r"\b[0-9a-f]{13,16}\b")?;
                    let id = id.find(&said.out).with_context(|| said.out.clone())?;
                    self.name(name, id.as_str());
                }
                Ok(Some(said))
            }
            Act::Until(lines) => {
                let right = wait::until(format!("{lines} lines"), WITHIN, async || {
                    let said = self.run(step).await.map_err(|e| e.to_string())?;
                    match said.out.lines().count() == *lines {
                        true => Ok(said),
                        false => Err(said.out + &said.err),
                    }
                });
                Ok(Some(right.await?))
            }
            Act::Begin(name) => {
                let beside = self.begin(name, step).await?;
                self.beside.insert(name.clone(), beside);
                Ok(None)
            }
            Act::Wait(name, lines) => {
                let beside = self.beside.get(name).context("nothing runs by this name")?;
                beside.has_said(*lines).await?;
                Ok(None)
            }
            Act::End(name) => {
                let beside = self
                    .beside
                    .remove(name)
                    .context("nothing runs by this name")?;
                Ok(Some(beside.end().await?))
            }
        }
    }

    /// The names are put in; the longest first, as one may begin another.
    fn command(&self, step: &Step) -> Command {
        let mut command = Command::new(self.ctl);
        let elsewhere = step.words.iter().any(|it| it.starts_with("--endpoints"));
        if !elsewhere {
            command.arg(format!("--endpoints={}", self.names["endpoint"]));
        }
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_by_key(|it| std::cmp::Reverse(it.0.len()));
        for word in &step.words {
            let full =
                |word: String, it: &(&String, &String)| word.replace(&format!("${}", it.0), it.1);
            command.arg(names.iter().fold(word.clone(), full));
        }
        command.kill_on_drop(true).stdin(Stdio::piped());
        command
    }

    async fn run(&self, step: &Step) -> Result<Said> {
        let mut command = self.command(step);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.context("start etcdctl")?;
        write(&mut child, &step.input).await?;
        // Its end is part of the input.
        drop(child.stdin.take());
        let ended = tokio::time::timeout(WITHIN, child.wait_with_output()).await;
        let ended = ended.context("it does not end")??;
        Ok(Said {
            status: ended.status,
            out: String::from_utf8_lossy(&ended.stdout).into_owned(),
            err: String::from_utf8_lossy(&ended.stderr).into_owned(),
        })
    }

    async fn begin(&self, name: &str, step: &Step) -> Result<Beside> {
        let [out, err] = ["out", "err"].map(|it| self.folder.path().join(format!("{name}.{it}")));
        let mut command = self.command(step);
        command.stdout(std::fs::File::create(&out)?);
        command.stderr(std::fs::File::create(&err)?);
        let mut child = command.spawn().context("start etcdctl")?;
        write(&mut child, &step.input).await?;
        Ok(Beside { child, out, err })
    }

    fn exchange(&self, step: &Step, said: &Said) -> Exchange {
        Exchange {
            call: step.line.clone(),
            code: 0,
            answer: json!({
                "exit": said.status.code(),
                "out": plain::lines(&said.out, self.unordered),
                "err": plain::lines(&said.err, self.unordered),
            }),
        }
    }
}

impl Beside {
    async fn has_said(&self, lines: usize) -> Result<()> {
        let said = wait::until(format!("{lines} lines"), WITHIN, async || {
            let out = std::fs::read_to_string(&self.out).map_err(|e| e.to_string())?;
            match out.lines().count() >= lines {
                true => Ok(()),
                false => Err(out + &std::fs::read_to_string(&self.err).unwrap_or_default()),
            }
        });
        Ok(said.await?)
    }

    async fn end(mut self) -> Result<Said> {
        if let Some(pid) = self.child.id() {
            // Not SIGINT, which whoever was started in the background by a shell ignores, and his children with him.
            kill(Pid::from_raw(pid.try_into()?), Signal::SIGTERM)?;
        }
        // Kept open, so that it is the signal that ends it.
        let input = self.child.stdin.take();
        let ended = tokio::time::timeout(WITHIN, self.child.wait()).await;
        drop(input);
        Ok(Said {
            status: ended.context("it does not end")??,
            out: std::fs::read_to_string(&self.out)?,
            err: std::fs::read_to_string(&self.err)?,
        })
    }
}

/// All of the input; who runs beside the scene may wait for more.
async fn write(child: &mut Child, input: &str) -> Result<()> {
    let stdin = child.stdin.as_mut().context("it has an input")?;
    // Who reads none may have ended already.
    let _ = stdin.write_all(input.as_bytes()).await;
    Ok(())
}
