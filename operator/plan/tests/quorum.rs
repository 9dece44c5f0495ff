//! Recovery from quorum loss, in the model: with the operator dead after each of its writes, with members that come back, and
//! with what a hasty user does meanwhile. The model itself panics where two clusters are made, where a member runs on what was
//! left behind, and where one restores while another runs.

// Everything here is a test, the model included.
#![allow(clippy::unwrap_used, dead_code)]

mod model;

use crds::{OperationPhase, RaftOperationStatus};
use model::{World, facts};
use plan::{Outcome, safety};
use serde_json::json;

/// Rounds of half a second in which anything here must have happened.
const PATIENCE: usize = 1500;

/// Members do not answer now and then.
const FAULTS: facts::Faults = facts::Faults {
    silent: 0.15,
    stale: 0.0,
};

/// One round of the operator, which dies after `left` further writes.
fn round(world: &mut World, left: &mut usize) {
    world.tick();
    let observed = world.observe(FAULTS);
    let plan = plan::plan(&world.cluster, &observed, world.now);
    if let Err(violation) = safety::check(&observed, &plan.actions) {
        panic!("{violation}: {:#?}", plan.report);
    }
    let mut outcome = Outcome::default();
    for action in &plan.actions {
        if *left == 0 {
            *left = usize::MAX;
            return;
        }
        *left -= 1;
        if world.act(action).is_err() {
            break;
        }
        outcome.done.push(action.clone());
    }
    let status = plan::status(&world.cluster, &plan.report, &outcome);
    let status = serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
    if world.cluster.status.as_ref() == Some(&status) {
        return;
    }
    if *left == 0 {
        *left = usize::MAX;
        return;
    }
    *left -= 1;
    world.cluster.status = Some(status);
}

fn is_ready(world: &World) -> bool {
    let conditions = world.cluster.status.iter().flat_map(|it| &it.conditions);
    let mut ready = conditions.filter(|it| it.type_ == "Ready");
    ready.any(|it| it.status == "True")
}

fn until(world: &mut World, what: &str, left: &mut usize, right: impl Fn(&World) -> bool) {
    for _ in 0..PATIENCE {
        round(world, left);
        if right(world) {
            return;
        }
    }
    panic!(
        "never {what}: {:#?}, {:#?}",
        world.cluster.status, world.operations
    );
}

fn told(world: &World, operation: &str) -> RaftOperationStatus {
    let found = world.operations.get(operation);
    found.and_then(|it| it.status.clone()).unwrap_or_default()
}

/// A member's volume is lost with all that is on it, whatever that costs.
fn destroy(world: &mut World, member: &str) {
    world.pods.remove(member);
    world.etcd.stop(member);
    if let Some(claim) = world.claims.remove(&format!("data-{member}")) {
        world.etcd.volumes.remove(&claim.metadata.uid.unwrap());
    }
}

/// A cluster of which one member is left, and its name.
fn bereft(seed: u64, members: i32) -> (World, String) {
    let mut world = World::new(seed, members);
    until(&mut world, "ready", &mut usize::MAX.clone(), is_ready);
    let names: Vec<String> = world.pods.keys().cloned().collect();
    let survivor = names[usize::try_from(seed).unwrap() % names.len()].clone();
    names
        .iter()
        .filter(|it| **it != survivor)
        .for_each(|it| destroy(&mut world, it));
    (world, survivor)
}

/// Acknowledges what the operation shows, as a person would who has read it; now and then nobody answers, and there is none.
fn acknowledge(world: &mut World, operation: &str) {
    until(world, "planned", &mut usize::MAX.clone(), |it| {
        told(it, operation).plan.is_some()
    });
    let plan = told(world, operation).plan.and_then(|it| it.recovery);
    let found = world.operations.get_mut(operation).unwrap();
    let asked = found.spec.recover_quorum.as_mut().unwrap();
    asked.acknowledge = plan.map(|it| it.name);
}

fn ask(world: &mut World) -> String {
    world.ask(json!({"clusterName": "kv", "recoverQuorum": {}}))
}

#[test]
fn a_lost_cluster_is_rebuilt_wherever_the_operator_dies() {
    let mut writes = 0;
    for crash in 0..60 {
        let (mut world, survivor) = bereft(crash, 3);
        let (lost, operation) = (world.etcd.id, ask(&mut world));
        let volume = world.claims[&format!("data-{survivor}")]
            .metadata
            .uid
            .clone()
            .unwrap();
        let had = world.etcd.volumes[&volume].applied;
        until(&mut world, "planned", &mut usize::MAX.clone(), |it| {
            told(it, &operation).plan.is_some()
        });
        for _ in 0..20 {
            round(&mut world, &mut usize::MAX.clone());
        }
        assert_eq!(world.etcd.id, lost, "nothing was acknowledged");
        assert!(world.cluster.status.as_ref().unwrap().recovering.is_none());
        acknowledge(&mut world, &operation);
        let (mut left, before) = (usize::try_from(crash).unwrap(), world.writes);
        until(&mut world, "rebuilt", &mut left, |it| {
            told(it, &operation).phase == OperationPhase::Succeeded
        });
        writes = writes.max(world.writes - before);
        until(&mut world, "ready", &mut left, is_ready);
        let status = world.cluster.status.clone().unwrap();
        assert_ne!(
            world.etcd.id, lost,
            "crash {crash}: the cluster is the same"
        );
        assert_eq!(status.cluster_id, Some(format!("{:x}", world.etcd.id)));
        assert_eq!(status.recovering, None, "crash {crash}");
        assert!(world.etcd.commit >= had, "crash {crash}: data are lost");
        assert_eq!(
            (world.etcd.voters(), world.members.len()),
            (3, 3),
            "crash {crash}"
        );
        assert!(world.members.contains_key(&survivor), "crash {crash}");
    }
    assert!(
        (8..50).contains(&writes),
        "{writes} writes, and every one of them was to be the last"
    );
}

#[test]
fn who_comes_back_before_the_end_stops_it_and_afterwards_is_nobody() {
    for rounds in 0..60 {
        let mut world = World::new(rounds, 3);
        until(&mut world, "ready", &mut usize::MAX.clone(), is_ready);
        let names: Vec<String> = world.pods.keys().cloned().collect();
        let kept: Vec<_> = names[..2]
            .iter()
            .map(|it| world.claims[&format!("data-{it}")].clone())
            .collect();
        let data: Vec<_> = kept
            .iter()
            .map(|it| world.etcd.volumes[it.metadata.uid.as_ref().unwrap()].clone())
            .collect();
        names[..2].iter().for_each(|it| destroy(&mut world, it));
        let operation = ask(&mut world);
        until(&mut world, "planned", &mut usize::MAX.clone(), |it| {
            told(it, &operation).plan.is_some()
        });
        acknowledge(&mut world, &operation);
        (0..rounds).for_each(|_| round(&mut world, &mut usize::MAX.clone()));
        // The storage system finds what it had lost.
        for (claim, data) in kept.into_iter().zip(data) {
            let uid = claim.metadata.uid.clone().unwrap();
            world
                .claims
                .insert(claim.metadata.name.clone().unwrap(), claim);
            world.etcd.volumes.insert(uid, data);
        }
        until(&mut world, "an end", &mut usize::MAX.clone(), |it| {
            is_ready(it) && it.cluster.status.as_ref().unwrap().recovering.is_none()
        });
        let rebuilt = world.etcd.rebuilt_by.is_some();
        let phase = told(&world, &operation).phase;
        assert_eq!(
            phase == OperationPhase::Succeeded,
            rebuilt,
            "after {rounds} rounds: {phase:?}"
        );
        let had: Vec<bool> = names.iter().map(|it| world.pods.contains_key(it)).collect();
        let right = if rebuilt {
            [false, false, true]
        } else {
            [true; 3]
        };
        assert_eq!(had, right, "after {rounds} rounds");
    }
}

#[test]
fn a_plan_that_facts_have_overtaken_is_not_carried_out() {
    let (mut world, _) = bereft(1, 3);
    let operation = ask(&mut world);
    until(&mut world, "planned", &mut usize::MAX.clone(), |it| {
        told(it, &operation).plan.is_some()
    });
    acknowledge(&mut world, &operation);
    let old = told(&world, &operation)
        .plan
        .and_then(|it| it.recovery)
        .unwrap();
    // Another write was known after all.
    world
        .etcd
        .volumes
        .values_mut()
        .for_each(|it| it.applied += 1);
    until(&mut world, "told", &mut usize::MAX.clone(), |it| {
        let message = told(it, &operation).message.unwrap_or_default();
        message.contains("was acknowledged and is not the plan of now")
    });
    let new = told(&world, &operation)
        .plan
        .and_then(|it| it.recovery)
        .unwrap();
    assert_ne!(old.name, new.name);
    assert!(
        told(&world, &operation)
            .message
            .unwrap()
            .contains(&new.name)
    );
    assert!(world.etcd.rebuilt_by.is_none() && !world.etcd.processes.is_empty());
}

/// Deleted before anything was kept, an operation leaves the cluster as it was; afterwards it is gone on with.
#[test]
fn an_operation_is_deleted_at_every_round() {
    let mut ends = std::collections::BTreeMap::new();
    for rounds in 0..60 {
        let (mut world, survivor) = bereft(rounds, 3);
        let (lost, operation) = (world.etcd.id, ask(&mut world));
        until(&mut world, "planned", &mut usize::MAX.clone(), |it| {
            told(it, &operation).plan.is_some()
        });
        acknowledge(&mut world, &operation);
        (0..rounds).for_each(|_| round(&mut world, &mut usize::MAX.clone()));
        world.operations.remove(&operation);
        until(&mut world, "an end", &mut usize::MAX.clone(), |it| {
            let status = it.cluster.status.as_ref().unwrap();
            let answers = it.etcd.processes.contains_key(&survivor);
            status.recovering.is_none() && answers
        });
        let rebuilt = world.etcd.id != lost;
        *ends.entry(rebuilt).or_insert(0) += 1;
        if rebuilt {
            until(&mut world, "ready", &mut usize::MAX.clone(), is_ready);
        }
    }
    assert!(ends.len() == 2, "{ends:?}");
}
