//! smallkube answers as a real kube-apiserver does: one text, both servers, every answer compared.
//!
//! The text is smallkube's own (`e2e/smallkube/tests/api`), word for word. What differs and stays so is listed with its
//! reason in `differences.yaml`, and nothing else may differ.

#![allow(clippy::unwrap_used)] // the text's: a test that cannot go on says so by stopping

use anyhow::{Result, ensure};
use e2e::FIGURE;
use e2e::contract::{Difference, Exchange, Listed, Recording, compare, judge};
use e2e::control_plane::ControlPlane;
use futures::future::LocalBoxFuture;
use futures::{StreamExt, stream};
use kube::Client;
use smallkube::{Options, Smallkube};

use setting::Setting;

/// The texts of a module, by name.
macro_rules! texts {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TEXTS: &[crate::Text] = &[
            $(crate::Text {
                name: concat!(module_path!(), "::", stringify!($name)),
                run: |at| Box::pin($name(at)),
            }),*
        ];
    };
}

#[path = "../../smallkube/tests/api/apply.rs"]
mod apply;
#[path = "../../smallkube/tests/api/garbage.rs"]
mod garbage;
#[path = "../../smallkube/tests/api/objects.rs"]
mod objects;
#[path = "../../smallkube/tests/api/schema.rs"]
mod schema;
#[path = "../../smallkube/tests/api/setting.rs"]
mod setting;
#[path = "../../smallkube/tests/api/tables.rs"]
mod tables;
#[path = "../../smallkube/tests/api/watches.rs"]
mod watches;

/// The differences that stay.
const DIFFERENCES: &str = include_str!("differences.yaml");
/// How many texts run at once: the servers share two cores with everything else.
const AT_ONCE: usize = 4;

/// One text.
#[derive(Clone, Copy)]
struct Text {
    name: &'static str,
    run: fn(Setting) -> LocalBoxFuture<'static, ()>,
}

/// What became of a text on both servers.
struct Outcome {
    calls: usize,
    failures: Vec<String>,
    differences: Vec<Difference>,
}

#[tokio::test]
async fn the_same_text_gets_the_same_answers() -> Result<()> {
    let list = Listed::read(DIFFERENCES)?;
    let plane = ControlPlane::start().await?;
    let real = plane.client().await?;
    let version = real.apiserver_version().await?.git_version;
    let texts = texts();
    let all = all_on_both(&texts, &real).await;
    let mut failures: Vec<String> = all.iter().flat_map(|it| it.failures.clone()).collect();
    let differences: Vec<Difference> = all.iter().flat_map(|it| it.differences.clone()).collect();
    failures.extend(judge(&differences, &list).err().map(|it| it.to_string()));
    ensure!(
        failures.is_empty(),
        "compared with kube-apiserver {version}:\n{}",
        failures.join("\n")
    );
    let calls: usize = all.iter().map(|it| it.calls).sum();
    println!(
        "{FIGURE}{calls} answers to {} texts compared with kube-apiserver {version}; {} differ as listed, for {} reasons",
        texts.len(),
        differences.len(),
        list.len()
    );
    plane.stop().await
}

fn texts() -> Vec<Text> {
    [
        apply::TEXTS,
        garbage::TEXTS,
        objects::TEXTS,
        schema::TEXTS,
        tables::TEXTS,
        watches::TEXTS,
    ]
    .concat()
}

/// On one thread, for the texts are written for one.
async fn all_on_both(texts: &[Text], real: &Client) -> Vec<Outcome> {
    let running = texts.iter().map(|text| on_both(*text, real.clone()));
    let running = stream::iter(running).buffer_unordered(AT_ONCE);
    tokio::task::LocalSet::new()
        .run_until(running.collect())
        .await
}

async fn on_both(text: Text, real: Client) -> Outcome {
    let cluster = Smallkube::start(&Options::default());
    let (real, ours) = (
        recorded(text, "the real server", real).await,
        recorded(text, "smallkube", cluster.client("test")).await,
    );
    let mut outcome = Outcome {
        calls: 0,
        failures: Vec::new(),
        differences: Vec::new(),
    };
    match (real, ours) {
        (Ok(real), Ok(ours)) => {
            outcome.calls = real.len();
            outcome.differences = compare(text.name, &real, &ours);
        }
        (real, ours) => outcome
            .failures
            .extend([real.err(), ours.err()].into_iter().flatten()),
    }
    outcome
}

/// Runs a text on one server; what was said, or how the text failed there.
async fn recorded(text: Text, server: &str, client: Client) -> Result<Vec<Exchange>, String> {
    let recording = Recording::default();
    let client = recording.around(client);
    let run = async move { (text.run)(Setting::at(client).await).await };
    let ended = tokio::task::spawn_local(run).await;
    ended.map_err(|failed| format!("{} failed on {server}: {failed}", text.name))?;
    Ok(recording.exchanges())
}
