//! What is promised on a real Kubernetes, one promise per file, each for both engines.
//!
//! `list` prints every scenario with the seconds it may take and those it usually takes; `run NAME...` plays the named ones
//! one after the other on the lab's cluster, which `QUORATE_KIND_KUBECONFIG` and `QUORATE_KIND_CLUSTER` name; `install`
//! brings images, operator and traffic there and does no more. Without arguments it says how it is run.
//!
//! It chooses nothing and brings no cluster up: that is the ring's work.

mod all_pods_deleted;
mod api_server_down;
mod bad_image;
mod canary;
mod certificates;
mod engine;
mod evidence;
mod examples;
mod follower_killed;
mod hibernation;
mod house;
mod installation;
mod leader_killed;
mod leader_pod_deleted;
mod members;
mod namespace_deleted;
mod node_deleted;
mod node_killed;
mod node_paused;
mod nodes_drained;
mod operator_killed;
mod quiet;
mod quorum_lost;
mod rights;
mod rolling;
mod scaled_while_rolled;
mod scaling;
mod scenario;
mod stage;
mod storage_changed;
mod tls_enabled;
mod volume_deleted;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use house::House;
use scenario::Scenario;

/// Every scenario, those first that find most mistakes soonest.
const SCENARIOS: &[Scenario] = &[
    leader_pod_deleted::SCENARIO,
    scaling::SCENARIO,
    rolling::SCENARIO,
    operator_killed::SCENARIO,
    all_pods_deleted::SCENARIO,
    nodes_drained::SCENARIO,
    bad_image::SCENARIO,
    canary::SCENARIO,
    scaled_while_rolled::SCENARIO,
    volume_deleted::SCENARIO,
    node_deleted::SCENARIO,
    storage_changed::SCENARIO,
    rights::EVERYWHERE,
    installation::SCENARIO,
    quiet::SCENARIO,
    examples::BY_KUBECTL,
    examples::BY_HELM,
    node_paused::SCENARIO,
    node_killed::SCENARIO,
    rights::IN_ONE_NAMESPACE,
    namespace_deleted::SCENARIO,
    leader_killed::SCENARIO,
    hibernation::SCENARIO,
    follower_killed::SCENARIO,
    api_server_down::SCENARIO,
    certificates::SCENARIO,
    tls_enabled::SCENARIO,
    quorum_lost::SCENARIO,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => list(),
        ["install"] => told(with_house(async |house| {
            house.install().await?;
            house.tell_sizes()
        })),
        ["run", names @ ..] if !names.is_empty() => {
            told(with_house(async |house| run(house, &chosen(names)?).await))
        }
        _ => {
            println!("the promises on a real cluster are run by: make test-kind");
            ExitCode::SUCCESS
        }
    }
}

fn list() -> ExitCode {
    for (scenario, engine) in all() {
        let (limit, usual) = (scenario.limit.as_secs(), scenario.usual.as_secs());
        println!("{}/{} {limit} {usual}", scenario.name, engine.name());
    }
    ExitCode::SUCCESS
}

fn all() -> impl Iterator<Item = (&'static Scenario, engine::Engine)> {
    let engines = |it: &'static Scenario| it.engines.iter().map(move |engine| (it, *engine));
    SCENARIOS.iter().flat_map(engines)
}

fn chosen(names: &[&str]) -> Result<Vec<(&'static Scenario, engine::Engine)>> {
    let find = |name: &&str| {
        let is_it =
            |it: &(&Scenario, engine::Engine)| format!("{}/{}", it.0.name, it.1.name()) == *name;
        let Some(found) = all().find(is_it) else {
            bail!("there is no scenario {name}; `list` prints them");
        };
        Ok(found)
    };
    names.iter().map(find).collect()
}

fn with_house(act: impl AsyncFnOnce(&House) -> Result<()>) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async { act(&House::from_environment().await?).await })
}

fn told(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Plays scenarios one after the other; fails at the end when one of them has.
async fn run(house: &House, chosen: &[(&'static Scenario, engine::Engine)]) -> Result<()> {
    let began = Instant::now();
    house.install().await?;
    let mut failed = 0;
    for (scenario, engine) in chosen {
        failed += usize::from(!scenario.play(house, *engine).await);
    }
    let (passed, verdict) = (
        chosen.len() - failed,
        if failed == 0 { "ok" } else { "FAILED" },
    );
    println!(
        "test result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.1}s",
        began.elapsed().as_secs_f64()
    );
    if failed > 0 {
        bail!("{failed} scenarios failed");
    }
    Ok(())
}
