//! Rollouts that fail, in the model: at each of their steps, and with the operator dead after each of its writes.
//!
//! A canary that never becomes healthy is rolled back or paused; the others are never touched; a majority is there all the
//! time; and another template always goes on.

// Everything here is a test, the model included.
#![allow(clippy::unwrap_used, dead_code)]

mod model;

use std::collections::BTreeMap;

use crds::{Canary, OnFailure, RollingUpdate, UpdateStrategy, UpdateType};
use model::{World, facts};
use plan::{Outcome, safety};

/// Rounds of half a second in which anything here must have happened.
const PATIENCE: usize = 800;

/// One round of the operator, which dies after `left` further actions without publishing anything. Whether it lived.
fn round(world: &mut World, left: &mut usize) -> bool {
    world.tick();
    let observed = world.observe(facts::NONE);
    let plan = plan::plan(&world.cluster, &observed, world.now);
    if let Err(violation) = safety::check(&observed, &plan.actions) {
        panic!("{violation}: {:#?}", plan.report);
    }
    let mut outcome = Outcome::default();
    for action in &plan.actions {
        if *left == 0 {
            *left = usize::MAX;
            return false;
        }
        *left -= 1;
        if world.act(action).is_err() {
            break;
        }
        outcome.done.push(action.clone());
    }
    let status = plan::status(&world.cluster, &plan.report, &outcome);
    let status = serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
    if world.cluster.status.as_ref() != Some(&status) {
        if *left == 0 {
            *left = usize::MAX;
            return false;
        }
        *left -= 1;
        world.cluster.status = Some(status);
    }
    true
}

/// The reason that a condition gives, of the spec as it is now.
fn says(world: &World, kind: &str) -> Option<String> {
    let status = world.cluster.status.as_ref()?;
    let current = status.observed_generation == world.cluster.metadata.generation;
    let conditions = status.conditions.iter().filter(|_| current);
    let mut found = conditions.filter(|it| it.type_ == kind);
    found.next().map(|it| it.reason.clone())
}

/// Goes on until a condition gives this reason and nothing is in hand.
fn until(world: &mut World, kind: &str, reason: &str, left: &mut usize) {
    let idle = |world: &World| world.cluster.status.as_ref().unwrap().operation.is_none();
    for _ in 0..PATIENCE {
        let quorate = world.etcd.quorate();
        round(world, left);
        assert!(!quorate || world.etcd.quorate(), "the majority was lost");
        let waits = reason == "RolloutFailed";
        if says(world, kind).as_deref() == Some(reason) && (waits || idle(world)) {
            return;
        }
    }
    panic!("{kind} is never {reason}: {:#?}", world.cluster.status);
}

fn converge(world: &mut World) {
    until(world, "Ready", "Converged", &mut usize::MAX.clone());
}

fn strategy(on_failure: OnFailure) -> UpdateStrategy {
    UpdateStrategy {
        progress_deadline_seconds: 20,
        on_failure: Some(on_failure),
        rolling_update: Some(RollingUpdate {
            canary: Some(Canary {
                count: 1,
                soak_seconds: 15,
            }),
        }),
        ..UpdateStrategy::default()
    }
}

/// A converged cluster of three with this strategy.
fn cluster(seed: u64, on_failure: OnFailure) -> World {
    let mut world = World::new(seed, 3);
    world.cluster.spec.update_strategy = strategy(on_failure);
    converge(&mut world);
    world
}

fn ask_for(world: &mut World, image: &str) {
    world.edit(|spec| spec.image = Some(format!("quorate-node:{image}")));
}

/// How many pods run each image.
fn images(world: &World) -> BTreeMap<String, usize> {
    let mut images = BTreeMap::new();
    for pod in world.pods.values() {
        let image = pod.spec.as_ref().unwrap().containers[0].image.clone();
        *images.entry(image.unwrap()).or_default() += 1;
    }
    images
}

fn uids(world: &World) -> Vec<String> {
    let uids = world.pods.values();
    uids.filter_map(|it| it.metadata.uid.clone()).collect()
}

#[test]
fn a_canary_that_fails_is_rolled_back_and_stays_so_until_the_template_changes() {
    let mut world = cluster(1, OnFailure::Rollback);
    let before = uids(&world);
    ask_for(&mut world, "bad");
    until(&mut world, "Ready", "RolledBack", &mut usize::MAX.clone());
    assert_eq!(
        images(&world),
        [("quorate-node:1.0.0".to_owned(), 3)].into()
    );
    let kept = uids(&world).iter().filter(|it| before.contains(it)).count();
    assert_eq!(kept, 2, "only the canary was touched");
    assert_eq!(says(&world, "Degraded").as_deref(), Some("RolledBack"));

    let (writes, status) = (world.writes, world.cluster.status.clone());
    (0..200).for_each(|_| {
        round(&mut world, &mut usize::MAX.clone());
    });
    assert_eq!((world.writes, &world.cluster.status), (writes, &status));

    ask_for(&mut world, "2.0.0");
    converge(&mut world);
    assert_eq!(
        images(&world),
        [("quorate-node:2.0.0".to_owned(), 3)].into()
    );
    assert_eq!(says(&world, "Degraded").as_deref(), Some("MembersHealthy"));
}

#[test]
fn a_canary_that_fails_pauses_the_rollout_and_its_revert_heals() {
    let mut world = cluster(2, OnFailure::Pause);
    ask_for(&mut world, "bad");
    until(
        &mut world,
        "Progressing",
        "RolloutFailed",
        &mut usize::MAX.clone(),
    );
    for _ in 0..200 {
        round(&mut world, &mut usize::MAX.clone());
        assert_eq!(images(&world).get("quorate-node:1.0.0"), Some(&2));
    }
    ask_for(&mut world, "1.0.0");
    converge(&mut world);
    assert_eq!(
        images(&world),
        [("quorate-node:1.0.0".to_owned(), 3)].into()
    );
}

/// Goes on until all pods are there and a majority is, with never more than one of the bad image.
fn until_all_run(world: &mut World, seed: u64) {
    for _ in 0..PATIENCE {
        round(world, &mut usize::MAX.clone());
        let bad = images(world).remove("quorate-node:bad").unwrap_or(0);
        assert!(bad <= 1, "seed {seed}: {bad} members are of the bad image");
        if world.etcd.quorate() && world.pods.len() == 3 {
            return;
        }
    }
    panic!("seed {seed}: the majority never comes back");
}

#[test]
fn a_pod_that_is_lost_while_the_canary_or_the_whole_rollout_fails_comes_back_as_it_was() {
    for seed in 0..20 {
        let mut world = cluster(seed, OnFailure::Pause);
        ask_for(&mut world, "bad");
        let bad = |world: &World| images(world).contains_key("quorate-node:bad");
        while !bad(&world) {
            round(&mut world, &mut usize::MAX.clone());
        }
        for wait in [0, 200] {
            (0..wait).for_each(|_| {
                round(&mut world, &mut usize::MAX.clone());
            });
            let good = |pod: &k8s_openapi::api::core::v1::Pod| {
                let image = &pod.spec.as_ref().unwrap().containers[0].image;
                image.as_deref() == Some("quorate-node:1.0.0")
            };
            let mut pods = world.pods.iter();
            let other = pods.find(|(_, pod)| good(pod)).unwrap().0.clone();
            world.lose_pod(&other);
            until_all_run(&mut world, seed);
        }
        assert_eq!(
            says(&world, "Progressing").as_deref(),
            Some("RolloutFailed")
        );
        ask_for(&mut world, "2.0.0");
        converge(&mut world);
    }
}

#[test]
fn a_change_that_mends_a_cluster_without_a_majority_waits_for_no_canary() {
    let mut world = cluster(4, OnFailure::Pause);
    world.edit(|spec| spec.update_strategy.on_failure = None);
    ask_for(&mut world, "2.0.0");
    converge(&mut world);
    // What worked works no more, at any of them.
    for pod in world.pods.values_mut() {
        let image = &mut pod.spec.as_mut().unwrap().containers[0].image;
        *image = Some("quorate-node:bad".to_owned());
    }
    let names: Vec<String> = world.pods.keys().cloned().collect();
    names.iter().for_each(|name| {
        world.etcd.stop(name);
        model::set_status(world.pods.get_mut(name).unwrap(), "Pending", false);
    });
    ask_for(&mut world, "3.0.0");
    converge(&mut world);
}

#[test]
fn the_others_wait_until_the_canary_has_soaked() {
    let mut world = cluster(3, OnFailure::Rollback);
    ask_for(&mut world, "2.0.0");
    let healthy = |world: &World| world.cluster.status.as_ref().unwrap().ready_replicas;
    while healthy(&world) != 1 {
        round(&mut world, &mut usize::MAX.clone());
    }
    let began = world.now;
    while healthy(&world) == 1 {
        round(&mut world, &mut usize::MAX.clone());
    }
    let soaked = world.now.duration_since(began).as_secs();
    assert!((14..60).contains(&soaked), "{soaked} s");
    converge(&mut world);
}

#[test]
fn a_bad_template_at_every_step_of_a_good_rollout_is_rolled_back_to_what_last_converged() {
    for step in (0..90).step_by(3) {
        let mut world = cluster(step, OnFailure::Rollback);
        ask_for(&mut world, "2.0.0");
        (0..step).for_each(|_| {
            round(&mut world, &mut usize::MAX.clone());
        });
        let stable = world
            .cluster
            .status
            .as_ref()
            .unwrap()
            .stable_template
            .clone();
        let stable = stable.unwrap().template["image"]
            .as_str()
            .unwrap()
            .to_owned();
        ask_for(&mut world, "bad");
        until(&mut world, "Ready", "RolledBack", &mut usize::MAX.clone());
        assert_eq!(images(&world), [(stable, 3)].into(), "step {step}");
        ask_for(&mut world, "2.0.1");
        converge(&mut world);
    }
}

#[test]
fn a_revert_at_every_step_of_a_failing_rollout_heals() {
    for step in (0..90).step_by(3) {
        let mut world = cluster(step, OnFailure::Rollback);
        ask_for(&mut world, "bad");
        (0..step).for_each(|_| {
            round(&mut world, &mut usize::MAX.clone());
        });
        ask_for(&mut world, "1.0.0");
        converge(&mut world);
        assert_eq!(
            images(&world),
            [("quorate-node:1.0.0".to_owned(), 3)].into()
        );
    }
}

#[test]
fn a_crash_after_any_write_of_a_rollback_changes_nothing_of_its_end() {
    let mut crashes = 0;
    for write in 0.. {
        let mut world = cluster(7, OnFailure::Rollback);
        let before = uids(&world);
        ask_for(&mut world, "bad");
        let mut left = write;
        until(&mut world, "Ready", "RolledBack", &mut left);
        assert_eq!(
            images(&world),
            [("quorate-node:1.0.0".to_owned(), 3)].into()
        );
        let kept = uids(&world).iter().filter(|it| before.contains(it)).count();
        assert_eq!(kept, 2, "a crash after {write} writes");
        // A crash leaves no more than that to count.
        if left < usize::MAX / 2 {
            break;
        }
        crashes += 1;
    }
    assert!(crashes > 6, "{crashes} crashes");
}

#[test]
fn a_surge_never_has_fewer_voters_that_work_than_were_asked_for() {
    for seed in 0..10 {
        let mut world = cluster(seed, OnFailure::Rollback);
        world.edit(|spec| spec.update_strategy.kind = UpdateType::Surge);
        converge(&mut world);
        let before = uids(&world);
        ask_for(&mut world, "2.0.0");
        for _ in 0..PATIENCE {
            round(&mut world, &mut usize::MAX.clone());
            assert!(world.etcd.voters() >= 3, "seed {seed}: too few voters");
            if says(&world, "Ready").as_deref() == Some("Converged") {
                break;
            }
        }
        converge(&mut world);
        assert!(uids(&world).iter().all(|it| !before.contains(it)));
        assert_eq!(
            images(&world),
            [("quorate-node:2.0.0".to_owned(), 3)].into()
        );

        ask_for(&mut world, "bad");
        let before = uids(&world);
        until(&mut world, "Ready", "RolledBack", &mut usize::MAX.clone());
        assert_eq!(
            uids(&world),
            before,
            "seed {seed}: an old member was touched"
        );
    }
}
