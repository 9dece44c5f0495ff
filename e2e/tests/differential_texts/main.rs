//! Our node answers as etcd does: every text in `texts` on both, every answer compared.
//!
//! The answers that stand in the texts are a real etcd's. What differs and stays so is listed with its reason in
//! `differences.yaml`, and nothing else may differ. Where etcd can be had, it is asked too, and must answer what stands
//! there; `UPDATE_GOLDENFILES=1` writes its answers down. `DIFFERENTIAL=NAME` runs the texts whose names begin so.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::contract::{Difference, Exchange, Listed, compare, judge};
use e2e::differential::run::NOT_ASKED;
use e2e::differential::{Run, Text};
use e2e::{FIGURE, binaries, differential};
use futures::{StreamExt, TryStreamExt, stream};

/// The differences that stay.
const DIFFERENCES: &str = include_str!("differences.yaml");
/// How many texts run at once: most of their time is waiting for processes.
const AT_ONCE: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn the_texts_say_what_etcd_answers() -> Result<()> {
    let etcd = match differential::etcd() {
        Ok(etcd) => etcd,
        Err(why) => {
            println!("{FIGURE}the texts are not held against a real etcd: {why}");
            return Ok(());
        }
    };
    let all = stream::iter(texts()?).map(|(path, text)| held(etcd.clone(), path, text));
    let all: Vec<Vec<Difference>> = all.buffer_unordered(AT_ONCE).try_collect().await?;
    let untrue: Vec<String> = all.concat().iter().map(ToString::to_string).collect();
    ensure!(
        untrue.is_empty(),
        "etcd answers (real) not what stands in the texts (ours); UPDATE_GOLDENFILES=1 writes it down:\n{}",
        untrue.join("\n")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ours_answers_what_the_texts_say() -> Result<()> {
    let list = Listed::read(DIFFERENCES)?;
    let program = binaries::ours("quorate-node")?;
    let texts = texts()?;
    let count = texts.len();
    let all = stream::iter(texts).map(|(_, text)| on_ours(program.clone(), text));
    let all: Vec<(usize, Vec<Difference>)> = all.buffer_unordered(AT_ONCE).try_collect().await?;
    let answers: usize = all.iter().map(|it| it.0).sum();
    let found: Vec<Difference> = all.into_iter().flat_map(|it| it.1).collect();
    println!(
        "{FIGURE}{answers} answers to {count} texts compared with etcd's; {} differ as listed, for {} reasons",
        found.len(),
        list.len()
    );
    if chosen().is_some() {
        return judge(&found, &by_chance(list));
    }
    judge(&found, &list)
}

/// Of a part of the texts it cannot be said that a listed difference is gone.
fn by_chance(list: Vec<Listed>) -> Vec<Listed> {
    let by_chance = |it| Listed {
        by_chance: true,
        ..it
    };
    list.into_iter().map(by_chance).collect()
}

/// Where a real etcd answers otherwise than its text says, after the answers were written down if that is asked for.
async fn held(etcd: PathBuf, path: PathBuf, text: Text) -> Result<Vec<Difference>> {
    let real = Run::whole(&etcd, &text).await?;
    if std::env::var_os("UPDATE_GOLDENFILES").is_none() {
        return Ok(compare(&text.name, &real, &recorded(&text)));
    }
    let answers: Vec<_> = real.iter().map(|it| it.answer.clone()).collect();
    let written = text.written(&answers);
    std::fs::write(&path, &written)?;
    let reads_back = Text::parse(&text.name, &written)?;
    all_were_asked(&text.name, &real)?;
    Ok(compare(&text.name, &real, &recorded(&reads_back)))
}

/// A request that cannot be sent to etcd is a mistake in the text.
fn all_were_asked(text: &str, real: &[Exchange]) -> Result<()> {
    for it in real {
        let is_asked = !it.answer["!"]
            .as_str()
            .is_some_and(|it| it.starts_with(NOT_ASKED));
        ensure!(is_asked, "{}: {}: {}", text, it.call, it.answer);
    }
    Ok(())
}

async fn on_ours(program: PathBuf, text: Text) -> Result<(usize, Vec<Difference>)> {
    let ours = Run::whole(&program, &text).await?;
    Ok((ours.len(), compare(&text.name, &recorded(&text), &ours)))
}

/// What stands in the file.
fn recorded(text: &Text) -> Vec<Exchange> {
    let exchange = |step: &differential::text::Step| Exchange {
        call: step.call.clone(),
        code: 0,
        answer: step.recorded.clone().unwrap_or_default(),
    };
    text.steps.iter().map(exchange).collect()
}

fn chosen() -> Option<String> {
    std::env::var("DIFFERENTIAL").ok()
}

fn texts() -> Result<Vec<(PathBuf, Text)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential_texts/texts");
    let begins = chosen().unwrap_or_default();
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        let text = Text::read(&path)?;
        if text.name.starts_with(&begins) {
            all.push((path, text));
        }
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    ensure!(!all.is_empty(), "no text's name begins with {begins}");
    Ok(all)
}
