//! An operator whose watches tell it nothing, or too late, still does all there is to do.

use std::sync::Mutex;
use std::time::Duration;

use crds::RaftOperation;
use e2e::FIGURE;
use e2e::simulated::world::NAME;
use e2e::simulated::{Crash, Summary, World};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::api::DeleteParams;
use quorate_operator::process::{Ended, live};
use quorate_operator::run::Scope;
use quorate_operator::serve::Pulse;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use smallkube::{Call, Rule};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// So rare that nothing is owed to it.
const RESYNC: Duration = Duration::from_secs(86_400);

fn started(world: &World, resync: Duration, stop: &CancellationToken) -> JoinHandle<Ended> {
    let ctx = world.operator(&Crash::never());
    let scope = Scope {
        namespaces: vec!["default".into()],
        resync,
        workers: 1,
    };
    tokio::spawn(live(ctx, None, scope, Pulse::default(), stop.clone()))
}

/// A world with a cluster of three that is ready, and an operator that lives until `stop`.
async fn running(stop: &CancellationToken) -> (World, JoinHandle<Ended>) {
    let world = World::new().await;
    let operator = started(&world, RESYNC, stop);
    world
        .create(json!({ "replicas": 3, "storage": { "size": "1Gi" } }))
        .await;
    seconds_until(&world, is_ready).await;
    (world, operator)
}

/// So many seconds pass.
async fn pass(world: &World, seconds: u32) {
    for _ in 0..seconds {
        world.pass_time().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The world moves on, a second at a time, until `done`; says how many it took.
async fn seconds_until(world: &World, done: impl AsyncFn(&World) -> bool) -> u32 {
    for second in 0..1_000 {
        if done(world).await {
            return second;
        }
        pass(world, 1).await;
    }
    panic!("it never came about: {:#?}", world.cluster().await);
}

async fn is_ready(world: &World) -> bool {
    world.is_done().await
}

fn pods(world: &World) -> Api<Pod> {
    Api::namespaced(world.user.clone(), "default")
}

#[tokio::test(start_paused = true)]
async fn a_cluster_becomes_ready_though_no_watch_ever_tells_of_its_objects() {
    let world = World::new().await;
    let deaf = |call: &Call| call.client == "operator" && call.resource != "raftclusters";
    world
        .kube
        .faults()
        .add(Rule::drop_event(move |call, _| deaf(call)));
    let stop = CancellationToken::new();
    let operator = started(&world, Duration::from_secs(300), &stop);
    world
        .create(json!({ "replicas": 3, "storage": { "size": "1Gi" } }))
        .await;
    seconds_until(&world, is_ready).await;
    stop.cancel();
    assert_eq!(operator.await.expect("no panic"), Ended::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_went_while_the_watch_had_lost_its_place_is_made_again() {
    let stop = CancellationToken::new();
    let (world, operator) = running(&stop).await;
    let name = world.member_names().await.remove(2);
    let uid = pods(&world).get(&name).await.expect("it runs").metadata.uid;

    // The event of its end is never told, and history before it is gone: only a new list can tell.
    let silence = world
        .kube
        .faults()
        .add(Rule::drop_event(|call, _| call.client == "operator"));
    world.model.expect_end();
    pods(&world)
        .delete(&name, &DeleteParams::default().grace_period(0))
        .await
        .expect("it runs");
    world.pass_time().await;
    world.kube.faults().remove(&silence);
    world.kube.forget_changes();
    world.kube.faults().cut_watches();

    let again = async |world: &World| {
        let pod = pods(world)
            .get_opt(&name)
            .await
            .expect("smallkube can be read");
        pod.is_some_and(|pod| pod.metadata.uid != uid)
    };
    let took = seconds_until(&world, again).await;
    // The planner looks at a quiet cluster every 30 s anyway; this is not owed to that.
    assert!(
        took < 8,
        "it took {took} s: a watch that lost its place asks for a look at once"
    );
    stop.cancel();
    assert_eq!(operator.await.expect("no panic"), Ended::Stopped);
}

/// The operator's lists of a kind.
fn lists(world: &World, resource: &str) -> Vec<Call> {
    let calls = world.kube.faults().calls().into_iter();
    let of = |it: &Call| it.client == "operator" && it.verb == "list" && it.resource == resource;
    calls.map(|it| it.call).filter(of).collect()
}

/// Asks for something, and says after how many seconds it was done.
async fn seconds_to_do(world: &World, name: &str) -> u32 {
    let asked = json!({ "clusterName": NAME, "transferLeader": { "to": "LAST" }, "dryRun": true });
    world.ask(name, &asked).await;
    let operations = Api::<RaftOperation>::namespaced(world.user.clone(), "default");
    let done = async |_: &World| {
        let found = operations.get(name).await.expect("it was asked for");
        found.status.is_some_and(|it| it.phase.is_final())
    };
    seconds_until(world, done).await
}

#[tokio::test(start_paused = true)]
async fn what_there_was_none_of_is_seldom_asked_for_and_found_when_it_comes() {
    let stop = CancellationToken::new();
    let (world, operator) = running(&stop).await;
    let rounds = lists(&world, "services").len();
    for rare in ["raftoperations", "raftusers", "raftroles"] {
        let asked = lists(&world, rare).len();
        assert!(
            asked * 4 < rounds,
            "{rare} listed {asked} times in {rounds} rounds"
        );
    }

    let took = seconds_to_do(&world, "told").await;
    assert!(took < 8, "it took {took} s: a watch tells of it");
    let operations = Api::<RaftOperation>::namespaced(world.user.clone(), "default");
    let gone = operations.delete("told", &DeleteParams::default()).await;
    gone.expect("it is there");
    // Until it is noted again that there is none.
    pass(&world, 90).await;
    world.kube.faults().add(Rule::drop_event(|call, _| {
        call.client == "operator" && call.resource == "raftoperations"
    }));
    let took = seconds_to_do(&world, "untold").await;
    assert!(
        took <= 62,
        "it took {took} s: two looks at a quiet cluster find what no watch tells"
    );
    stop.cancel();
    assert_eq!(operator.await.expect("no panic"), Ended::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_at_rest_is_glanced_at_and_now_and_then_looked_at() {
    let world = World::new().await;
    let spec = json!({ "replicas": 3, "storage": { "size": "1Gi" } });
    world.create(spec).await;
    let ready = world.converge(&Crash::never()).await;
    ready.expect("it becomes ready");
    world.kube.faults().forget_calls();
    let stop = CancellationToken::new();
    let operator = started(&world, USUAL, &stop);
    pass(&world, 1_200).await;
    let (at_hand, live): (Vec<Call>, Vec<Call>) =
        lists(&world, "pods").into_iter().partition(|it| it.at_hand);
    // One for each watch that tells of the cluster at the start, and one in five minutes.
    let (at_hand, live) = (at_hand.len(), live.len());
    assert!((4..=12).contains(&live), "{live} live lists");
    assert!((30..=40).contains(&at_hand), "{at_hand} glances");
    assert!(world.kube.faults().writes().is_empty());
    stop.cancel();
    assert_eq!(operator.await.expect("no panic"), Ended::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_glance_at_the_past_keeps_nothing_from_being_done() {
    let world = World::new().await;
    let stop = CancellationToken::new();
    let operator = started(&world, USUAL, &stop);
    let spec = json!({ "replicas": 3, "storage": { "size": "1Gi" } });
    world.create(spec).await;
    seconds_until(&world, is_ready).await;
    pass(&world, 60).await;
    world.kube.freeze_what_is_at_hand();

    world.change(json!({ "replicas": 4 })).await;
    let took = seconds_until(&world, is_ready).await;
    assert!(took < 60, "it took {took} s: a watch tells of the change");
    pass(&world, 60).await;
    world.kube.faults().forget_calls();
    pass(&world, 600).await;
    assert!(world.kube.faults().writes().is_empty());

    // No watch tells, no member notices, and what is at hand says that all is well.
    world.kube.freeze_what_is_at_hand();
    world
        .kube
        .faults()
        .add(Rule::drop_event(|call, _| call.client == "operator"));
    let services: Api<Service> = Api::namespaced(world.user.clone(), "default");
    let gone = services.delete(NAME, &DeleteParams::default()).await;
    gone.expect("it is there");
    let again = async |_: &World| {
        let found = services.get_opt(NAME).await;
        found.expect("smallkube can be read").is_some()
    };
    let took = seconds_until(&world, again).await;
    let usual = u32::try_from(USUAL.as_secs()).expect("some minutes");
    assert!(
        took <= usual + 30,
        "it took {took} s: each cluster has its round"
    );
    stop.cancel();
    assert_eq!(operator.await.expect("no panic"), Ended::Stopped);
}

/// How often every cluster is looked at where nothing else is said.
const USUAL: Duration = Duration::from_secs(300);
/// Worlds whose watches are out of order.
const SEEDS: u64 = 6;

/// A cluster is created and grows while an operator lives; up to what is expected, if that is known, or to where nothing is
/// written any more.
async fn grown(world: &World, expected: Option<&Summary>) -> (Summary, u32) {
    let stop = CancellationToken::new();
    let operator = started(world, USUAL, &stop);
    world
        .create(json!({ "replicas": 1, "storage": { "size": "1Gi" } }))
        .await;
    let first = seconds_until(world, is_ready).await;
    world.change(json!({ "replicas": 3 })).await;
    let second = match expected {
        None => seconds_until(world, is_ready).await,
        Some(expected) => {
            let as_expected =
                async |it: &World| it.summary().await.differences(expected).is_empty();
            seconds_until(world, as_expected).await
        }
    };
    pass(world, 5).await;
    stop.cancel();
    assert_eq!(operator.await.expect("no panic"), Ended::Stopped);
    (world.summary().await, first + second)
}

/// A closure that says yes once in so many times, by a seed.
fn now_and_then(seed: u64, one_in: u32) -> impl Fn() -> bool + Send + Sync + 'static {
    let chance = Mutex::new(SmallRng::seed_from_u64(seed));
    move || {
        let mut chance = chance.lock().expect("nobody panics with it");
        chance.random_range(0..one_in) == 0
    }
}

#[tokio::test(start_paused = true)]
async fn events_left_out_and_told_twice_and_watches_that_lose_their_place_cost_time_only() {
    let (expected, usual) = grown(&World::new().await, None).await;
    let mut longest = 0;
    for seed in 0..SEEDS {
        let world = World::new().await;
        let (skips, repeats) = (now_and_then(seed, 3), now_and_then(seed + 100, 3));
        let faults = world.kube.faults();
        // What is left out before another event of the same object is merged into that one.
        faults.add(Rule::drop_event(move |call, _| {
            call.client == "operator" && skips()
        }));
        faults.add(Rule::repeat_event(move |call, _| {
            call.client == "operator" && repeats()
        }));
        let loses = now_and_then(seed + 200, 10);
        let losing = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if loses() {
                    world.kube.forget_changes();
                    faults.cut_watches();
                }
            }
        };
        let (end, took) = tokio::select! {
            grown = grown(&world, Some(&expected)) => grown,
            () = losing => unreachable!("it goes on for ever"),
        };
        assert_eq!(
            end.differences(&expected),
            Vec::<String>::new(),
            "seed {seed}"
        );
        longest = longest.max(took);
    }
    println!(
        "{FIGURE}{SEEDS} worlds with watches out of order: {longest} s at most, {usual} s with watches in order"
    );
}
