//! Our node answers generated requests as etcd does, and holds the same in the end.
//!
//! `DIFFERENTIAL_REQUESTS` says how many requests, `DIFFERENTIAL_SEED` with which seed to begin. A difference is made short
//! and printed as a text, to be kept among those of `differential_texts`.

use std::path::Path;

use anyhow::{Result, bail};
use e2e::contract::compare;
use e2e::differential::text::Step;
use e2e::differential::{Run, Text, generate, shrink};
use e2e::{FIGURE, binaries, differential};
use serde_json::Value;

/// How many requests are made of one seed, to members with fresh data.
const PER_SEED: usize = 1000;
/// How many tries it may take to make a difference short: each starts both servers anew.
const TRIES: usize = 120;

fn number(name: &str, otherwise: u64) -> u64 {
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
    let ours = binaries::ours("quorate-node")?;
    let first = number("DIFFERENTIAL_SEED", 1);
    let seeds = number("DIFFERENTIAL_REQUESTS", 10_000).div_ceil(PER_SEED as u64);
    for seed in first..first + seeds {
        let steps = generate::steps(seed, PER_SEED);
        let Some((at, how)) = first_difference(&etcd, &ours, &steps).await? else {
            continue;
        };
        let shows =
            async |it: &[Step]| matches!(first_difference(&etcd, &ours, it).await, Ok(Some(_)));
        let short = shrink::shortest(steps[..=at].to_vec(), TRIES, shows).await;
        let text = Text::made("generated", &format!("Made of seed {seed}."), &[], short);
        let real = Run::whole(&etcd, &text).await?;
        let answers: Vec<Value> = real.into_iter().map(|it| it.answer).collect();
        bail!(
            "seed {seed}, request {at}:\n{how}\n\nin short, as etcd answers:\n\n{}",
            text.written(&answers)
        );
    }
    println!(
        "{FIGURE}{} generated requests of {seeds} seeds got the same answers",
        seeds * PER_SEED as u64
    );
    Ok(())
}

/// Where the answers differ first, and how.
async fn first_difference(
    etcd: &Path,
    ours: &Path,
    steps: &[Step],
) -> Result<Option<(usize, String)>> {
    let (mut real, mut our) = tokio::try_join!(Run::start(etcd, 1, &[]), Run::start(ours, 1, &[]))?;
    let mut found = None;
    for (at, step) in steps.iter().enumerate() {
        let (one, other) = tokio::join!(real.step(step), our.step(step));
        let differences = compare("generated", &[one], &[other]);
        if !differences.is_empty() {
            let all: Vec<String> = differences.iter().map(ToString::to_string).collect();
            found = Some((at, all.join("\n")));
            break;
        }
    }
    tokio::try_join!(real.end(), our.end())?;
    Ok(found)
}
