//! The kind ring: brings the lab up, plays as many promises as fit into its time, and takes it down.
//!
//! `KIND_BUDGET_MINUTES` says how long it should play; `TEST_DEADLINE`, in seconds since 1970, when the whole run must have
//! ended. `KIND_REQUIRED` makes it build whatever it lacks, however long that takes.
//!
//! It deliberately plays no promise twice, and calls one that did not fit neither passed nor failed: it is due.

mod choice;

use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use e2e::kind::cluster::Cluster;
use e2e::kind::progress::Progress;
use e2e::kind::{self, engine, node_image};
use e2e::tools;

use crate::report::{Count, Report};
use crate::ring::LeftOut;
use crate::run;
use crate::targets::Target;
use choice::{Listed, Time};

/// The ring's name.
const NAME: &str = "kind";
/// What playing should take if nothing else is said.
const BUDGET: Duration = Duration::from_secs(15 * 60);
/// What taking the lab down may take, on a slow machine.
const ENDING: Duration = Duration::from_secs(120);
/// What bringing up a lab may take, with its images built, where nothing of it is there.
const PREPARING: Duration = Duration::from_secs(15 * 60);
/// A scenario ends itself at its limit; one that does not even do that is ended this much later.
const GRACE: Duration = Duration::from_secs(180);

/// Which scenarios are wanted.
pub(crate) enum Wanted {
    /// Those that fit into the time.
    Fitting,
    /// All, however long it takes.
    All,
    /// These.
    Named(Vec<String>),
}

/// Runs the ring, or says why not.
pub(crate) fn ring(wanted: &Wanted, targets: &[Target]) -> Result<Report> {
    println!("\n== {NAME}");
    if let Some(left_out) = left_out(wanted) {
        println!("left out: {}", left_out.why);
        return Ok(Report::left_out(NAME, left_out));
    }
    let began = Instant::now();
    let promises = targets
        .iter()
        .find(|t| t.package == "e2e" && t.name == "kind")
        .context("the promises on kind are not built")?;
    let chosen = chosen(wanted, promises)?;
    if left(wanted).is_some_and(|left| left < PREPARING) {
        println!("too little is left of the run's time to bring up a lab");
        let due = chosen.into_iter().map(|it| it.name).collect();
        return Ok(Report::ran(NAME, Count::default(), began.elapsed()).with_due(due));
    }
    let progress = Progress::new(&tools::folder().join("logs"))?;
    let up = tokio::runtime::Runtime::new()?.block_on(kind::up(&progress));
    let (count, due) = match up {
        Ok(cluster) => {
            let played = play(wanted, promises, chosen, &cluster);
            cluster.down(&progress)?;
            played?
        }
        Err(error) => {
            println!("FAILED to bring up the lab: {error:#}");
            (Count::FAILED, Vec::new())
        }
    };
    Ok(Report::ran(NAME, count, began.elapsed()).with_due(due))
}

/// Whoever asks for it by name gets it, and its error if it cannot be.
fn left_out(wanted: &Wanted) -> Option<LeftOut> {
    let required = std::env::var_os("KIND_REQUIRED").is_some_and(|it| !it.is_empty());
    if required || !matches!(wanted, Wanted::Fitting) {
        return None;
    }
    if !engine::can_be_had() {
        return Some(LeftOut {
            why: "no container engine answers, and only root on Debian has one installed",
            how: "start Docker, then: make test-kind",
        });
    }
    if !node_image::can_be_had_soon() {
        return Some(LeftOut {
            why: "there is no node image, and to build one without LAB_PREBUILT takes an hour",
            how: "docker pull kindest/node:v1.34.0, or name the folder of the tools in LAB_PREBUILT; or: make test-kind",
        });
    }
    None
}

/// Plays what fits; gives what came of it, and the names of what did not fit.
fn play(
    wanted: &Wanted,
    promises: &Target,
    chosen: Vec<Listed>,
    cluster: &Cluster,
) -> Result<(Count, Vec<String>)> {
    let command = |arguments: &[&str]| {
        let mut command = command(promises, arguments);
        command
            .env("QUORATE_KIND_KUBECONFIG", cluster.kubeconfig())
            .env("QUORATE_KIND_CLUSTER", cluster.name());
        command
    };
    let install = command(&["install"]);
    let mut count = run::one("e2e", "kind install", install, run::HUNG_AFTER)?;
    let mut due = Vec::new();
    if count.failed > 0 {
        return Ok((count, due));
    }
    let mut time = Time {
        budget: budget(wanted),
        ..Time::default()
    };
    for scenario in chosen {
        time.left = left(wanted);
        if !time.fits(&scenario) {
            due.push(scenario.name);
            continue;
        }
        let started = Instant::now();
        let log = format!("kind {}", scenario.name.replace('/', " "));
        let run = command(&["run", &scenario.name]);
        count += run::one("e2e", &log, run, scenario.limit + GRACE)?;
        time.played += started.elapsed();
        time.usually += scenario.usual;
    }
    Ok((count, due))
}

fn command(promises: &Target, arguments: &[&str]) -> Command {
    let mut command = Command::new(&promises.executable);
    command.current_dir(&promises.folder).args(arguments);
    command
}

fn chosen(wanted: &Wanted, promises: &Target) -> Result<Vec<Listed>> {
    let listed = command(promises, &["list"]).output();
    let listed = listed.context("list the promises on kind")?;
    let listed = String::from_utf8(listed.stdout)?;
    let all: Vec<Listed> = listed.lines().filter_map(Listed::read).collect();
    anyhow::ensure!(
        !all.is_empty(),
        "the promises on kind list nothing: {listed}"
    );
    Ok(match wanted {
        Wanted::Fitting => choice::turned(all, &commit()),
        Wanted::All => all,
        Wanted::Named(names) => {
            let unknown = names
                .iter()
                .find(|name| !all.iter().any(|it| it.name == **name));
            if let Some(unknown) = unknown {
                anyhow::bail!("there is no promise {unknown}; there are:\n{listed}");
            }
            all.into_iter()
                .filter(|it| names.contains(&it.name))
                .collect()
        }
    })
}

/// Empty outside a repository: then the order is that of the list.
fn commit() -> String {
    let asked = Command::new("git").args(["rev-parse", "HEAD"]).output();
    asked.map_or_else(
        |_| String::new(),
        |it| String::from_utf8_lossy(&it.stdout).into_owned(),
    )
}

fn budget(wanted: &Wanted) -> Option<Duration> {
    if !matches!(wanted, Wanted::Fitting) {
        return None;
    }
    let said = std::env::var("KIND_BUDGET_MINUTES").ok();
    let minutes = said.and_then(|it| it.parse().ok());
    Some(minutes.map_or(BUDGET, |minutes: u64| Duration::from_secs(60 * minutes)))
}

/// What is left of the whole run's time, from now.
fn left(wanted: &Wanted) -> Option<Duration> {
    if !matches!(wanted, Wanted::Fitting) {
        return None;
    }
    let deadline: u64 = std::env::var("TEST_DEADLINE").ok()?.parse().ok()?;
    #[expect(clippy::disallowed_methods, reason = "the one clock of this binary")]
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .ok()?;
    Some(Duration::from_secs(deadline).saturating_sub(now + ENDING + GRACE))
}

/// So that a wrong word is told before an hour has gone by.
pub(crate) fn check_environment() -> Result<()> {
    for name in ["KIND_BUDGET_MINUTES", "TEST_DEADLINE"] {
        if let Ok(said) = std::env::var(name) {
            said.parse::<u64>()
                .with_context(|| format!("{name}={said} is no whole number"))?;
        }
    }
    Ok(())
}
