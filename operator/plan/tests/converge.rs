//! Under every seed: whatever happens to the cluster, the checker never fires, the model never panics, and once nothing
//! happens any more the planner reaches an empty plan and an unchanging status, and stays there.
//!
//! `QUORATE_SEEDS=10000 cargo test -p plan --test converge` runs more of them; `QUORATE_SEED=7` runs that one.

// Everything here is a test, the model included.
#![allow(clippy::unwrap_used)]

mod model;

use crds::{DeletionPolicy, MemberPhase};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use model::{World, facts};
use plan::{Failure, Outcome, safety};
use rand::Rng;

/// Rounds in which things go wrong.
const WILD: usize = 120;
/// Rounds after which the cluster must have come to rest.
const PATIENCE: usize = 3000;
/// Rounds of rest that count as rest.
const REST: usize = 40;

/// How one round of the operator goes wrong.
#[derive(Clone, Copy, PartialEq)]
enum Mishap {
    None,
    /// The operator dies after this many actions and publishes nothing.
    CrashAfter(usize),
    /// This action fails without effect.
    Refused(usize),
    /// This action takes effect, and its answer is lost.
    LostAnswer(usize),
    /// The status could not be published.
    Unpublished,
}

/// One round of the operator. Returns whether it changed anything.
fn round(world: &mut World, faults: facts::Faults, mishap: Mishap) -> bool {
    let observed = world.observe(faults);
    let plan = plan::plan(&world.cluster, &observed, world.now);
    if let Err(violation) = safety::check(&observed, &plan.actions) {
        panic!(
            "{violation}\nplan: {:#?}\nreport: {:#?}",
            plan.actions, plan.report
        );
    }
    let mut outcome = Outcome::default();
    for (index, action) in plan.actions.iter().enumerate() {
        if mishap == Mishap::CrashAfter(index) {
            return true;
        }
        if outcome.failed.is_some() && action.founds() {
            break;
        }
        let result = match mishap {
            Mishap::Refused(at) if at == index => Err("the server said no".to_owned()),
            Mishap::LostAnswer(at) if at == index => {
                world.act(action).ok();
                Err("the answer was lost".to_owned())
            }
            _ => world.act(action),
        };
        match result {
            Ok(()) => outcome.done.push(action.clone()),
            Err(error) => {
                outcome.failed.get_or_insert(Failure {
                    action: action.to_string(),
                    error,
                });
                if !action.stands_alone() || mishap == Mishap::LostAnswer(index) {
                    break;
                }
            }
        }
    }
    if mishap == Mishap::CrashAfter(plan.actions.len()) || mishap == Mishap::Unpublished {
        return true;
    }
    let status = plan::status(&world.cluster, &observed, &plan.report, &outcome);
    // As the API server keeps it: through JSON and back.
    let status = serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
    let changed = world.cluster.status.as_ref() != Some(&status) || !plan.actions.is_empty();
    world.cluster.status = Some(status);
    changed
}

fn mishap(world: &mut World) -> Mishap {
    let at = world.rng.random_range(0..4);
    match world.rng.random_range(0..10) {
        0 => Mishap::CrashAfter(at),
        1 => Mishap::Refused(at),
        2 => Mishap::LostAnswer(at),
        3 => Mishap::Unpublished,
        _ => Mishap::None,
    }
}

/// Something happens that the operator did not ask for.
fn misfortune(world: &mut World) {
    let pods: Vec<String> = world.pods.keys().cloned().collect();
    let members: Vec<String> = world.members.keys().cloned().collect();
    match world.rng.random_range(0..60) {
        0..=3 if !pods.is_empty() => {
            let victim = pods[world.rng.random_range(0..pods.len())].clone();
            world.lose_pod(&victim);
        }
        4 => pods.iter().for_each(|it| world.lose_pod(it)),
        5 if !members.is_empty() => {
            let victim = &members[world.rng.random_range(0..members.len())];
            world.members.remove(victim);
        }
        6..=8 => edit(world),
        9 => world.lose_volume(),
        _ => {}
    }
}

fn edit(world: &mut World) {
    let (kind, number) = (world.rng.random_range(0..6), world.rng.random_range(1..=5));
    world.edit(|spec| match kind {
        0 => spec.replicas = number,
        1 => spec.image = Some(format!("quorate-node:{number}.0.0")),
        2 => spec.image = Some("quorate-node:bad".to_owned()),
        3 => spec.options.snapshot_count = 1000 * i64::from(number),
        4 => spec.paused = number == 1,
        _ => {
            spec.deletion_policy = if number % 2 == 0 {
                DeletionPolicy::Delete
            } else {
                DeletionPolicy::Retain
            };
        }
    });
}

/// The user does what the status tells him: a member whose volume is gone is replaced by deleting its `RaftMember`.
fn heed(world: &mut World) {
    let members = world.cluster.status.iter().flat_map(|it| &it.members);
    let lost = members.filter(|it| it.phase == MemberPhase::VolumeLost);
    let lost: Vec<String> = lost.map(|it| it.name.clone()).collect();
    lost.iter().for_each(|it| {
        world.members.remove(it);
    });
}

/// Lets the world run without faults until nothing changes for [`REST`] rounds.
fn come_to_rest(world: &mut World, seed: u64) {
    let mut rest = 0;
    for _ in 0..PATIENCE {
        world.tick();
        heed(world);
        rest = if round(world, facts::NONE, Mishap::None) {
            0
        } else {
            rest + 1
        };
        if rest == REST {
            return;
        }
    }
    panic!(
        "seed {seed}: no rest after {PATIENCE} rounds: {:#?}",
        world.cluster.status
    );
}

/// What must be true of a cluster at rest.
fn examine(world: &World, seed: u64) {
    let status = world.cluster.status.as_ref().unwrap();
    let wanted = usize::try_from(world.cluster.spec.replicas).unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|it| it.type_ == "Ready")
        .unwrap();
    assert_eq!(ready.status, "True", "seed {seed}: {status:#?}");
    assert_eq!(world.etcd.voters(), wanted, "seed {seed}: voters");
    assert_eq!(world.etcd.list.len(), wanted, "seed {seed}: membership");
    assert_eq!(world.members.len(), wanted, "seed {seed}: identities");
    assert_eq!(world.pods.len(), wanted, "seed {seed}: pods");
    for pod in world.pods.values() {
        let image = pod.spec.as_ref().unwrap().containers[0].image.clone();
        assert_eq!(image, world.cluster.spec.image, "seed {seed}: image");
        let role = &pod.metadata.labels.as_ref().unwrap()["quorate.io/role"];
        assert_eq!(role, "voter", "seed {seed}: role label");
    }
    if world.cluster.spec.deletion_policy == DeletionPolicy::Delete {
        assert_eq!(world.claims.len(), wanted, "seed {seed}: claims");
    }
    for claim in world.claims.values() {
        let owned = claim
            .metadata
            .owner_references
            .as_ref()
            .is_some_and(|it| !it.is_empty());
        let delete = world.cluster.spec.deletion_policy == DeletionPolicy::Delete;
        assert_eq!(
            owned, delete,
            "seed {seed}: owner of {:?}",
            claim.metadata.name
        );
    }
}

fn live(seed: u64) -> World {
    let mut world = World::new(seed, 3);
    world.cluster.spec.replicas = world.rng.random_range(1..=5);
    let faults = facts::Faults {
        silent: 0.05,
        stale: 0.02,
    };
    for _ in 0..WILD {
        world.tick();
        misfortune(&mut world);
        let mishap = mishap(&mut world);
        round(&mut world, faults, mishap);
    }
    world.edit(|spec| {
        spec.image = Some("quorate-node:9.0.0".to_owned());
        spec.paused = false;
    });
    come_to_rest(&mut world, seed);
    examine(&world, seed);
    world
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|it| it.parse::<u64>().ok())
    };
    match number("QUORATE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("QUORATE_SEEDS").unwrap_or(150)).collect(),
    }
}

#[test]
fn every_seed_comes_to_rest_and_no_plan_is_unsafe() {
    let mut deeds: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for seed in seeds() {
        match std::panic::catch_unwind(|| live(seed)) {
            Ok(world) => world
                .deeds
                .into_iter()
                .for_each(|(deed, count)| *deeds.entry(deed).or_default() += count),
            Err(cause) => {
                eprintln!("failing seed: QUORATE_SEED={seed}");
                std::panic::resume_unwind(cause);
            }
        }
    }
    let rare: Vec<_> = DEEDS
        .iter()
        .filter(|it| deeds.get(**it).is_none_or(|count| *count < 10))
        .collect();
    assert!(
        seeds().len() < 100 || rare.is_empty(),
        "hardly ever done: {rare:?} of {deeds:?}"
    );
}

/// The first word or two of every action: each must have been tried, or the seeds prove less than they seem to.
const DEEDS: [&str; 14] = [
    "apply service",
    "apply disruption",
    "create member",
    "create claim",
    "create pod",
    "label pod",
    "make",
    "delete pod",
    "delete member",
    "delete claim",
    "add",
    "promote",
    "remove",
    "hand",
];

#[test]
fn a_quiet_creation_takes_few_rounds() {
    let mut world = World::new(1, 3);
    let mut rounds = 0;
    while world
        .cluster
        .status
        .as_ref()
        .is_none_or(|it| it.ready_replicas < 3)
    {
        world.tick();
        round(&mut world, facts::NONE, Mishap::None);
        rounds += 1;
        assert!(rounds < 150, "{:#?}", world.cluster.status);
    }
    let quantity = Quantity("4Gi".to_owned());
    assert_eq!(world.cluster.spec.storage.size, quantity);
}

#[test]
fn a_converged_cluster_writes_nothing() {
    let mut world = World::new(2, 3);
    come_to_rest(&mut world, 2);
    let (writes, status) = (world.writes, world.cluster.status.clone());
    for _ in 0..100 {
        world.tick();
        round(&mut world, facts::NONE, Mishap::None);
    }
    assert_eq!(world.writes, writes);
    assert_eq!(world.cluster.status, status);
}

/// One quiet round in which a majority, once there was one, must not be lost.
fn steady_round(world: &mut World, doing: &str) {
    let quorate = world.etcd.quorate();
    world.tick();
    round(world, facts::NONE, Mishap::None);
    assert!(
        !quorate || world.etcd.quorate(),
        "{doing} cost the majority"
    );
}

/// Quiet rounds until the status speaks of the spec as it is now, and says `Ready`.
fn settle_steadily(world: &mut World, doing: &str) {
    for _ in 0..PATIENCE {
        steady_round(world, doing);
        let status = world.cluster.status.as_ref().unwrap();
        let ready = status
            .conditions
            .iter()
            .any(|it| it.type_ == "Ready" && it.status == "True");
        if ready && status.observed_generation == world.cluster.metadata.generation {
            return;
        }
    }
    panic!("{doing}: no rest: {:#?}", world.cluster.status);
}

#[test]
fn scaling_and_rolling_never_cost_the_majority() {
    for seed in 0..10 {
        let mut world = World::new(seed, 1);
        for replicas in [1, 3, 5, 3, 1] {
            world.edit(|spec| spec.replicas = replicas);
            settle_steadily(&mut world, &format!("seed {seed}: going to {replicas}"));
            examine(&world, seed);
            if replicas == 1 {
                continue;
            }
            world.edit(|spec| spec.image = Some(format!("quorate-node:{replicas}.0.0")));
            settle_steadily(&mut world, &format!("seed {seed}: rolling {replicas}"));
            examine(&world, seed);
        }
    }
}

#[test]
fn a_bad_spec_and_its_revert_heal_at_every_step_of_creation() {
    for step in 0..60 {
        let mut world = World::new(step, 3);
        let good = world.cluster.spec.image.clone();
        let rounds = usize::try_from(step).unwrap();
        let doing = format!("a bad spec at step {step}");
        (0..rounds).for_each(|_| steady_round(&mut world, &doing));
        world.edit(|spec| spec.image = Some("quorate-node:bad".to_owned()));
        (0..30).for_each(|_| steady_round(&mut world, &doing));
        world.edit(|spec| spec.image = good);
        settle_steadily(&mut world, &doing);
        examine(&world, step);
    }
}
