//! Promise: the alerts for members, under etcd's names, are rules that Prometheus takes; each fires when it should and only then;
//! and a Prometheus that scrapes three of our members tells of one that is stopped, and stops telling when it is back. The same
//! rules do the same for three real etcds, beside ours, which have every metric that stands in them.
//!
//! Prometheus is Debian's. It deliberately sends nothing to anybody: there is no Alertmanager, its own API is asked.

mod prometheus;
mod rules;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::folder::Folder;
use e2e::members::Members;
use e2e::{FIGURE, binaries, differential, tools, wait};

use prometheus::Prometheus;
use rules::Rules;

/// The tests of `promtool`, and the rules that they name.
const TESTS: &str = "tests/differential_alerts/promtool.yaml";
/// Longer than what the alert waits for, in the time of the faster rules, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// Alerts about who is there. How fast a machine of tests is, is nobody's promise.
const ABOUT_MEMBERS: [&str; 3] = ["etcdMembersDown", "etcdInsufficientMembers", "etcdNoLeader"];
const OURS: &str = "etcd/lab/ours";
const REAL: &str = "etcd/lab/real";

/// A program of Debian's package, or a line that says why it is left out.
fn debians(program: &str, what: &str) -> Option<std::path::PathBuf> {
    match tools::debian("prometheus", program) {
        Ok(path) => Some(path),
        Err(why) => {
            println!("{FIGURE}{what} is not run: {why:#}");
            None
        }
    }
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() -> Result<()> {
    let Some(promtool) = debians("promtool", "promtool on the alerts") else {
        return Ok(());
    };
    for words in [["check", "rules", rules::FILE], ["test", "rules", TESTS]] {
        let mut command = Command::new(&promtool);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).args(words);
        let ended = command.output()?;
        let said = [ended.stdout, ended.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        ensure!(ended.status.success(), "{}: {said}", words.join(" "));
    }
    let rules = Rules::read()?;
    let tests = std::fs::read_to_string(TESTS).context(TESTS)?;
    let untested: Vec<_> = rules.alerts().filter(|it| !tests.contains(&it.1)).collect();
    ensure!(untested.is_empty(), "no test has {untested:?}");
    println!(
        "{FIGURE}{} alerts checked by promtool",
        rules.alerts().count()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_tells_of_a_stopped_member_until_it_is_back() -> Result<()> {
    let Some(program) = debians("prometheus", "Prometheus on three members") else {
        return Ok(());
    };
    let mut clusters = vec![(OURS, binaries::ours("quorate-node")?)];
    match differential::etcd() {
        Ok(etcd) => clusters.push((REAL, etcd)),
        Err(missing) => println!("{FIGURE}no etcd is scraped: {missing}"),
    }
    let mut running = Vec::new();
    for (job, program) in clusters {
        // Without it etcd has no histogram of its requests.
        let flags = ["--metrics=extensive".to_owned()];
        running.push((job, Members::start_with(&program, 3, &flags).await?));
    }
    let jobs: BTreeSet<&str> = running.iter().map(|it| it.0).collect();
    let rules = Rules::read()?;
    let mut folder = Folder::new("prometheus")?;
    let prometheus = Prometheus::start(&program, folder.path(), &rules, &running).await?;
    for (_, members) in &running {
        let put = r#"{"key":"YQ==","value":"Yg=="}"#;
        differential::http::ask(&members.endpoints()[0], "POST", "/v3/kv/put", put).await?;
    }
    nothing_fires(&prometheus, &jobs).await?;
    let mut stopped = Vec::new();
    for (_, members) in &mut running {
        let follower = (members.leader().await? + 1) % 3;
        members.stop(follower).await?;
        stopped.push(follower);
    }
    only_members_down(&prometheus, &jobs).await?;
    for job in &jobs {
        has_every_metric(&prometheus, &rules, job).await?;
    }
    for ((_, members), follower) in running.iter_mut().zip(stopped) {
        members.restart(follower)?;
    }
    nothing_fires(&prometheus, &jobs).await?;
    println!(
        "{FIGURE}etcdMembersDown fires and resolves for {jobs:?}; each has the {} metrics of the rules",
        rules.metrics().len()
    );
    prometheus.end().await?;
    folder.discard();
    for (_, members) in running {
        members.end_all().await?;
    }
    Ok(())
}

/// Waits until every metric of the rules is scraped; etcd shows some only when a peer is missing.
async fn has_every_metric(prometheus: &Prometheus, rules: &Rules, job: &str) -> Result<()> {
    let scraped = wait::until(format!("metrics of {job}"), PATIENCE, async || {
        let names = prometheus.names_of(job).await?;
        let missing: Vec<_> = rules.metrics().difference(&names).cloned().collect();
        ensure!(missing.is_empty(), "it has no {missing:?}");
        Ok(())
    });
    Ok(scraped.await?)
}

/// Waits until all clusters are scraped and of these alerts none fires.
async fn nothing_fires(prometheus: &Prometheus, jobs: &BTreeSet<&str>) -> Result<()> {
    let quiet = wait::until("no alert fires", PATIENCE, async || {
        for job in jobs {
            let names = prometheus.names_of(job).await?;
            ensure!(names.contains("etcd_server_has_leader"), "{job}: {names:?}");
        }
        let firing = prometheus.firing(&ABOUT_MEMBERS).await?;
        ensure!(firing.is_empty(), "{firing:?}");
        Ok(())
    });
    Ok(quiet.await?)
}

/// Waits until the alert fires for all clusters; a majority runs and leads, and of that nothing else is told.
async fn only_members_down(prometheus: &Prometheus, jobs: &BTreeSet<&str>) -> Result<()> {
    let wanted = jobs
        .iter()
        .map(|job| (ABOUT_MEMBERS[0].to_owned(), (*job).to_owned()));
    let wanted: BTreeSet<_> = wanted.collect();
    let told = wait::until("etcdMembersDown fires", PATIENCE, async || {
        let firing = prometheus.firing(&ABOUT_MEMBERS).await?;
        ensure!(firing.is_superset(&wanted), "{firing:?}");
        Ok(firing)
    });
    let firing = told.await?;
    ensure!(firing == wanted, "{firing:?} with a majority");
    Ok(())
}
