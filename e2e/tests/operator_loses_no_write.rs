//! Promise: whatever is asked of the operator, and wherever it dies, no write is lost that a client was told is done.
//!
//! The members are real: the node's own driver, `raft` and `store`, on a simulated network, disk and clock, and clients that go on
//! all the while. One number draws everything: how bad the wires are, whom they are cut between, when members crash, which volumes and nodes are lost, in which
//! order members roll, grow, hibernate and come and go, at which of its writes the operator dies. `WRITES_SEEDS=n` runs more, `WRITES_FIRST=n` begins elsewhere, `WRITES_SEED=n` runs one.

use std::time::Instant;

use e2e::simulated::story::Step;
use e2e::simulated::{Bug, Crash, Real, When, World, side_by_side};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use simulation::Summary;

/// About a minute of one core.
const SEEDS: u64 = 20;
/// More than members, as two of them die for good.
const NODES: usize = 8;
/// A storage class whose volumes grow in place.
const GROWS: &str = "elastic";
/// No change takes this many rounds of an operator that dies now and then.
const LONG: u32 = 400;
/// So many seeds look for a planted bug.
const PLANTED: u64 = 4;
/// At one of so many writes an operator dies, if it does so many.
const WRITES: u64 = 25;

/// What must have happened in some of the seeds, or they prove nothing.
const EVERYTHING: [&str; 10] = [
    "puts done",
    "linearizable reads done",
    "members added",
    "members promoted",
    "members removed",
    "hand-overs",
    "crashes",
    "cuts in two",
    "cuts of one",
    "whole histories",
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number in the environment"))
}

/// What is asked for, one after the other; which member is meant is drawn.
fn steps(rng: &mut SmallRng) -> Vec<Step> {
    let spec = json!({
        "replicas": 1,
        "storage": { "size": "1Gi", "storageClassName": GROWS },
        "repairPolicy": { "volumeLostSeconds": 5, "nodeUnreachableSeconds": 20 },
        "tls": { "peer": { "mode": "Disabled" }, "client": { "mode": "Disabled" } },
    });
    let size = |replicas: i32| Step::Change(json!({ "replicas": replicas }));
    let roll = Step::Change(json!({ "image": "quorate-node:9.9.9" }));
    let run = |state: &str| Step::Change(json!({ "runState": state }));
    let learners = |count: i32| Step::Change(json!({ "learners": count }));
    let mut middle = vec![
        vec![size(5), size(3)],
        vec![roll],
        vec![Step::LoseOne(rng.random_range(0..3))],
        vec![Step::Replace(rng.random_range(0..2))],
        vec![run("Hibernated"), run("Running")],
        vec![learners(1), learners(0)],
        vec![Step::Change(json!({ "storage": { "size": "2Gi" } }))],
        vec![Step::LoseNode(rng.random_range(0..3)), Step::ReturnNodes],
        vec![Step::LoseNode(rng.random_range(0..3)), Step::DeleteNodes],
    ];
    let mut steps = vec![Step::Create(spec), size(3)];
    while !middle.is_empty() {
        steps.extend(middle.swap_remove(rng.random_range(0..middle.len())));
    }
    steps
}

/// Operators that die, each at a write of its own.
fn fates(rng: &mut SmallRng) -> Vec<Crash> {
    let sides = [When::Before, When::After];
    let deaths = rng.random_range(0..=2);
    let fate = |_| Crash::at(rng.random_range(1..=WRITES), sides[rng.random_range(0..2)]);
    (0..deaths).map(fate).collect()
}

/// Tells the story of this seed to its end; what happened.
async fn tell(seed: u64) -> Result<Summary, String> {
    tell_with(seed, None, None).await
}

/// The same with a bug in every operator, and one in every member.
async fn tell_with(
    seed: u64,
    operator: Option<Bug>,
    member: Option<simulation::Bug>,
) -> Result<Summary, String> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let real = Real::new(seed, member);
    let world = World::new().await.with(operator, LONG).of(&real);
    world.class_that_grows(GROWS).await;
    world.make_nodes(NODES).await;
    for step in steps(&mut rng) {
        let told = async {
            world.take(&step).await?;
            world.converge_dying(&fates(&mut rng)).await
        };
        // What the members say is nearer to the cause than that the operator waits.
        told.await
            .map_err(|why| real.end().err().unwrap_or(format!("{step:?}: {why}")))?;
    }
    real.end()
}

fn run(seeds: Vec<u64>) -> Summary {
    let mut total = Summary::default();
    for (seed, told) in side_by_side(seeds, async |seed| (seed, tell(seed).await)) {
        match told {
            Ok(summary) => total += summary,
            Err(why) => panic!(
                "seed {seed}: {why}\n\
                 replay: WRITES_SEED={seed} cargo test -p e2e --test operator_loses_no_write"
            ),
        }
    }
    total
}

#[test]
fn whatever_is_asked_for_no_write_is_lost() {
    let seeds = match number("WRITES_SEED") {
        Some(seed) => vec![seed],
        None => {
            let first = number("WRITES_FIRST").unwrap_or(0);
            (first..first + number("WRITES_SEEDS").unwrap_or(SEEDS)).collect()
        }
    };
    let (count, began) = (seeds.len(), Instant::now());
    let total = run(seeds);
    eprintln!("{count} seeds in {:.1?}:\n{total}", began.elapsed());
    if count as u64 >= SEEDS {
        for what in EVERYTHING {
            assert!(total.count(what) > 0, "no {what} in {count} seeds");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    let twice = side_by_side(vec![1, 1], async |seed| tell(seed).await);
    assert_eq!(twice[0], twice[1]);
}

/// Nothing that is planted gets by all of the first seeds.
fn is_noticed(operator: Option<Bug>, member: Option<simulation::Bug>) {
    let seeds = (0..PLANTED).collect();
    let told = side_by_side(seeds, async |seed| tell_with(seed, operator, member).await);
    let noticed: Vec<String> = told.into_iter().filter_map(Result::err).collect();
    assert!(!noticed.is_empty(), "{operator:?} {member:?} gets by");
    eprintln!("{operator:?} {member:?}: {}", noticed[0]);
}

#[test]
fn an_operator_that_gives_a_voter_an_empty_volume_is_noticed() {
    is_noticed(Some(Bug::RemakesLostVolume), None);
}

#[test]
fn members_that_answer_before_their_disk_does_are_noticed() {
    is_noticed(None, Some(simulation::Bug::ReleaseBeforeSync));
}
