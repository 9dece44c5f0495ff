//! One operator writes at a time; and where a write of the one before arrives late, it does no harm.

use std::sync::Arc;
use std::time::Duration;

use e2e::simulated::{Crash, Summary, When, World};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use quorate_operator::clock::SystemClock;
use quorate_operator::gate::{Gate, Shut};
use quorate_operator::kubernetes::Kubernetes;
use quorate_operator::lease::{Candidate, Standing, Timing};
use quorate_operator::permissions;
use quorate_operator::process::{Election, Ended, live};
use quorate_operator::run::Scope;
use quorate_operator::serve::Pulse;
use serde_json::{Value, json};
use smallkube::{Effect, Options, Rule, Smallkube};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An operator is held up at a write, loses its lease meanwhile, and another one finishes the work. Then the write arrives.
async fn late_write_is_harmless(before: Option<Value>, change: Value) {
    let reference = Crash::never();
    let expected = tell(before.as_ref(), &change, &reference).await;
    let writes = reference.writes();
    assert!(writes.len() > 10, "{writes:#?}");
    for (at, write) in writes.iter().enumerate() {
        let held = Crash::at(at as u64 + 1, When::Held);
        let summary = tell(before.as_ref(), &change, &held).await;
        let differences = summary.differences(&expected);
        assert!(
            differences.is_empty(),
            "late arrival of write {}, {write}: {differences:#?}",
            at + 1
        );
    }
}

async fn tell(before: Option<&Value>, change: &Value, fate: &Crash) -> Summary {
    let world = World::new().await;
    match before {
        None => world.create(change.clone()).await,
        Some(before) => {
            world.create(before.clone()).await;
            world
                .converge(&Crash::never())
                .await
                .expect("it becomes ready");
            world.kube.faults().forget_calls();
            world.change(change.clone()).await;
        }
    }
    let held = world.hold_up(fate).await.expect("nothing else holds it up");
    if let Some(slow) = held {
        world
            .converge(&Crash::never())
            .await
            .expect("the second operator finishes the work");
        fate.release();
        slow.await.expect("the first operator's round ends").ok();
    }
    world
        .converge(&Crash::never())
        .await
        .expect("it stays as declared");
    world.summary().await
}

#[tokio::test]
async fn a_late_write_of_the_operator_before_does_no_harm_while_a_cluster_grows() {
    late_write_is_harmless(None, json!({ "replicas": 3, "storage": { "size": "1Gi" } })).await;
}

#[tokio::test]
async fn a_late_write_of_the_operator_before_does_no_harm_while_a_cluster_shrinks() {
    let before = json!({ "replicas": 3, "storage": { "size": "1Gi" } });
    late_write_is_harmless(Some(before), json!({ "replicas": 1 })).await;
}

#[tokio::test]
async fn a_late_write_of_the_operator_before_does_no_harm_while_a_cluster_rolls() {
    let before = json!({ "replicas": 3, "storage": { "size": "1Gi" } });
    late_write_is_harmless(Some(before), json!({ "image": "quorate-node:9.9.9" })).await;
}

fn election(identity: &str) -> Election {
    Election {
        namespace: "default".into(),
        name: "quorate-operator".into(),
        identity: identity.into(),
        timing: Timing::default(),
    }
}

fn candidate(kube: &Smallkube, identity: &str, gate: &Gate) -> Candidate {
    let kubernetes = Kubernetes::new(kube.client(identity));
    let (clock, lease) = (Arc::new(SystemClock), ("default", "quorate-operator"));
    Candidate::new(
        kubernetes,
        clock,
        gate.clone(),
        lease,
        identity,
        Timing::default(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_writing_before_another_begins() {
    for effect in [Effect::HangBefore, Effect::HangAfter, Effect::LoseAnswer] {
        let kube = Smallkube::start(&Options::default());
        let (gate_a, gate_b) = (Gate::leased(), Gate::leased());
        let mut a = candidate(&kube, "a", &gate_a);
        a.acquire(|_| {}).await;
        let holding = tokio::spawn(async move { a.hold(|_| {}).await });
        let mut b = candidate(&kube, "b", &gate_b);
        assert_eq!(
            b.step().await.expect("reached"),
            Standing::Waiting { holder: "a".into() }
        );
        kube.faults()
            .add(Rule::new(effect.clone(), |call| call.client == "a"));
        let cut_off = Instant::now();
        let taking = tokio::spawn(async move { b.acquire(|_| {}).await });
        while gate_b.pass(Instant::now()).is_err() {
            assert!(
                cut_off.elapsed() < Duration::from_secs(40),
                "nobody leads after {effect:?}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
            let both = gate_a.pass(Instant::now()).is_ok() && gate_b.pass(Instant::now()).is_ok();
            assert!(!both, "two may write after {effect:?}");
        }
        assert_eq!(gate_a.pass(Instant::now()), Err(Shut::Lost));
        assert_eq!(holding.await.expect("no panic"), Shut::Lost);
        taking.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_candidates_one_leads_and_a_released_lease_is_taken_at_once() {
    let kube = Smallkube::start(&Options::default());
    let gates: Vec<Gate> = (0..5).map(|_| Gate::leased()).collect();
    let name = |at: usize| format!("candidate-{at}");
    let mut all: Vec<Candidate> = (0..5)
        .map(|at| candidate(&kube, &name(at), &gates[at]))
        .collect();
    let steps = futures::future::join_all(all.iter_mut().map(Candidate::step)).await;
    let leads = |step: &Result<Standing, _>| matches!(step, Ok(Standing::Leading));
    assert_eq!(
        steps.iter().filter(|step| leads(step)).count(),
        1,
        "{steps:?}"
    );
    let leader = steps.iter().position(leads).expect("one leads");
    all.remove(leader).release().await;
    assert_eq!(gates[leader].pass(Instant::now()), Err(Shut::Stopping));
    let next = all.first_mut().expect("four are left");
    assert_eq!(next.step().await.expect("reached"), Standing::Leading);
}

/// The world moves on until the cluster is as declared.
async fn until_done(world: &World, replicas: i32) {
    for _ in 0..600 {
        world.pass_time().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let ready = world
            .cluster()
            .await
            .and_then(|cluster| cluster.status)
            .unwrap_or_default()
            .ready_replicas;
        if ready == replicas && world.is_done().await {
            return;
        }
    }
    panic!("never ready: {:#?}", world.cluster().await);
}

fn started(world: &World, name: &str, stop: &CancellationToken) -> JoinHandle<Ended> {
    let mut ctx = world.operator_called(name, &Crash::never());
    ctx.gate = Gate::leased();
    let scope = Scope {
        namespaces: vec![],
        resync: Duration::from_secs(300),
        workers: 4,
    };
    let life = live(
        ctx,
        Some(election(name)),
        scope,
        Pulse::default(),
        stop.clone(),
    );
    tokio::spawn(life)
}

/// Who has changed anything, the lease apart.
fn writers(world: &World) -> Vec<String> {
    let writes = world.kube.faults().writes();
    let operators = writes
        .iter()
        .filter(|write| write.call.resource != "leases");
    let mut names: Vec<String> = operators.map(|write| write.call.client.clone()).collect();
    names.retain(|name| name.starts_with("operator-"));
    names.sort();
    names.dedup();
    names
}

#[tokio::test(start_paused = true)]
async fn two_whole_operators_take_turns() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let a = started(&world, "operator-a", &stop);
    world
        .create(json!({ "replicas": 3, "storage": { "size": "1Gi" } }))
        .await;
    until_done(&world, 3).await;
    let b = started(&world, "operator-b", &stop);
    until_done(&world, 3).await;
    assert_eq!(writers(&world), ["operator-a"]);

    world.kube.faults().forget_calls();
    let cut = Rule::new(Effect::HangBefore, |call| call.client == "operator-a");
    world.kube.faults().add(cut);
    world.change(json!({ "replicas": 4 })).await;
    until_done(&world, 4).await;
    assert_eq!(writers(&world), ["operator-b"]);
    assert_eq!(a.await.expect("no panic"), Ended::LostLease);
    assert_eq!(world.model.violations(), Vec::<String>::new());

    stop.cancel();
    assert_eq!(b.await.expect("no panic"), Ended::Stopped);
    let leases: Api<Lease> = Api::namespaced(world.user.clone(), "default");
    let lease = leases.get("quorate-operator").await.expect("it is there");
    assert_eq!(
        lease.spec.expect("a spec").holder_identity,
        None,
        "it is released"
    );
    all_calls_are_permitted(&world);
}

fn all_calls_are_permitted(world: &World) {
    let calls = world.kube.faults().calls();
    let calls = calls
        .iter()
        .map(|record| &record.call)
        .filter(|call| call.client.starts_with("operator-"));
    for call in calls {
        let slash = if call.subresource.is_empty() { "" } else { "/" };
        let resource = format!("{}{slash}{}", call.resource, call.subresource);
        let verb = if call.verb == "apply" {
            "patch"
        } else {
            &call.verb
        };
        assert!(
            permissions::permits(&call.group, &resource, verb),
            "no right to {call:?}"
        );
    }
}
