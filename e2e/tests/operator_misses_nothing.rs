//! An operator whose watches tell it nothing, or too late, still does all there is to do.

use std::time::Duration;

use e2e::simulated::{Crash, World};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DeleteParams;
use quorate_operator::process::{Ended, live};
use quorate_operator::run::Scope;
use quorate_operator::serve::Pulse;
use serde_json::json;
use smallkube::Rule;
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

/// The world moves on, a second at a time, until `done`; says how many it took.
async fn seconds_until(world: &World, done: impl AsyncFn(&World) -> bool) -> u32 {
    for second in 0..1_000 {
        if done(world).await {
            return second;
        }
        world.pass_time().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
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
    let deaf =
        |call: &smallkube::Call| call.client == "operator" && call.resource != "raftclusters";
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
    let world = World::new().await;
    let stop = CancellationToken::new();
    let operator = started(&world, RESYNC, &stop);
    world
        .create(json!({ "replicas": 3, "storage": { "size": "1Gi" } }))
        .await;
    seconds_until(&world, is_ready).await;
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
