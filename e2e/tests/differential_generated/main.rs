//! Our node answers generated requests as etcd does, and holds the same in the end.
//!
//! `DIFFERENTIAL_REQUESTS` says how many requests, `DIFFERENTIAL_SEED` with which seed to begin. A difference that
//! `differences.yaml` does not know is made short, in `DIFFERENTIAL_TRIES` tries at most, and printed as a text, to be kept
//! among those of `differential_texts`.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use e2e::contract::{Difference, Listed, compare};
use e2e::differential::text::Step;
use e2e::differential::{Run, Text, generate, shrink};
use e2e::{FIGURE, binaries, differential};
use serde_json::Value;

/// The differences that stay; all of them hang on what a seed makes.
const DIFFERENCES: &str = include_str!("differences.yaml");
/// How many requests are made of one seed, to members with fresh data.
const PER_SEED: usize = 1000;
/// How many requests are told that came before a difference.
const BEFORE: usize = 15;
/// How many differences are told of one seed: after the first, those that follow from it.
const TOLD: usize = 12;
/// After this no more tries to make a difference short are begun.
const SHORTENING: Duration = Duration::from_secs(240);

fn number(name: &str, otherwise: usize) -> usize {
    let told = std::env::var(name).ok();
    told.and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread")]
async fn generated_requests_get_the_same_answers() -> Result<()> {
    let etcd = match differential::etcd() {
        Ok(etcd) => etcd,
        Err(why) => {
            println!("{FIGURE}no generated requests are compared: {why}");
            return Ok(());
        }
    };
    let both = Both {
        etcd,
        ours: binaries::ours("quorate-node")?,
        list: Listed::read(DIFFERENCES)?,
    };
    let first = number("DIFFERENTIAL_SEED", 1);
    let seeds = number("DIFFERENTIAL_REQUESTS", 10_000).div_ceil(PER_SEED);
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for seed in first..first + seeds {
        let steps = generate::steps(seed as u64, PER_SEED);
        for service in steps.iter().filter_map(Step::service) {
            *asked.entry(service).or_default() += 1;
        }
        let found = both.differences(&steps, TOLD).await?;
        if let Some((at, _)) = found.first() {
            let all: Vec<String> = found
                .iter()
                .map(|it| format!("request {}: {}", it.0, it.1))
                .collect();
            let before: Vec<&str> = steps[at.saturating_sub(BEFORE)..=*at]
                .iter()
                .map(|it| it.call.as_str())
                .collect();
            // Told now, and not to the test's own output: who ends a run in the middle still learns what it was about.
            writeln!(
                std::io::stderr(),
                "seed {seed}, up to the difference:\n{}\n\n{}",
                before.join("\n"),
                all.join("\n")
            )?;
            let short = both.shortened(seed, steps[..=*at].to_vec()).await?;
            bail!("seed {seed}, in short, as etcd answers:\n\n{short}");
        }
    }
    let by_service: Vec<String> = asked
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    println!(
        "{FIGURE}{} generated requests of {seeds} seeds got the same answers: {}",
        asked.values().sum::<usize>(),
        by_service.join(", ")
    );
    Ok(())
}

/// The two that are asked, and what may differ.
struct Both {
    etcd: PathBuf,
    ours: PathBuf,
    list: Vec<Listed>,
}

impl Both {
    async fn start(&self, program: &Path) -> Result<Run> {
        let flags: Vec<String> = generate::FLAGS.iter().map(|&it| it.to_owned()).collect();
        Run::start(program, 1, &flags).await
    }

    /// The first differences that are not listed, and at which steps.
    async fn differences(&self, steps: &[Step], most: usize) -> Result<Vec<(usize, Difference)>> {
        let (mut real, mut our) = tokio::try_join!(self.start(&self.etcd), self.start(&self.ours))?;
        let mut found = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            let (one, other) = tokio::join!(real.step(step), our.step(step));
            let differences = compare("generated", &[one], &[other]).into_iter();
            let new = differences.filter(|it| !self.list.iter().any(|listed| listed.covers(it)));
            found.extend(new.map(|it| (at, it)));
            if found.len() >= most {
                break;
            }
        }
        tokio::try_join!(real.end(), our.end())?;
        Ok(found)
    }

    /// The fewest of the steps found that show a difference, as a text.
    async fn shortened(&self, seed: usize, steps: Vec<Step>) -> Result<String> {
        let tries = number("DIFFERENTIAL_TRIES", 120);
        let began = Instant::now();
        let shows = async |it: &[Step]| {
            let in_time = began.elapsed() < SHORTENING;
            in_time && self.differences(it, 1).await.is_ok_and(|it| !it.is_empty())
        };
        let short = shrink::shortest(steps, tries, shows).await;
        let text = Text::made(
            "generated",
            &format!("Made of seed {seed}."),
            generate::FLAGS,
            short,
        );
        let real = Run::whole(&self.etcd, &text).await?;
        let answers: Vec<Value> = real.into_iter().map(|it| it.answer).collect();
        Ok(text.written(&answers))
    }
}
