//! A converged cluster costs nothing: a hundred looks at it write nothing, while its clients write all the time; nor does a glance.

use e2e::simulated::kubelet::Processes;
use e2e::simulated::world::NAME;
use e2e::simulated::{Crash, World};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use quorate_operator::glance::glance;
use serde_json::json;

/// How often it is looked at.
const LOOKS: usize = 100;

#[tokio::test]
async fn a_hundred_resyncs_of_a_converged_cluster_write_nothing() {
    for (replicas, network, policies_sought) in [
        (1, json!(null), 0),
        (3, json!({ "mode": "Disabled" }), 0),
        (1, json!({ "mode": "Managed" }), LOOKS),
    ] {
        let world = World::new().await;
        let size = json!({ "size": "1Gi" });
        world
            .create(json!({ "replicas": replicas, "storage": size, "networkPolicy": network }))
            .await;
        world
            .converge(&Crash::never())
            .await
            .expect("it becomes ready");
        let operator = Crash::never();
        let ctx = world.operator(&operator);
        world.kube.faults().forget_calls();
        for _ in 0..LOOKS {
            world.round(&ctx, &operator).await;
            world.pass_time().await;
        }
        let place = format!("{replicas} replicas, network policy {network}");
        assert_eq!(operator.writes(), Vec::<String>::new(), "{place}");
        assert_eq!(world.model.violations(), Vec::<String>::new());
        let calls = world.kube.faults().calls();
        let sought = calls
            .iter()
            .filter(|it| it.call.resource == "networkpolicies");
        assert_eq!(sought.count(), policies_sought, "{place}");
    }
}

/// A world with a cluster of three that is as declared.
async fn at_rest() -> World {
    let world = World::new().await;
    let spec = json!({ "replicas": 3, "storage": { "size": "1Gi" } });
    world.create(spec).await;
    let ready = world.converge(&Crash::never()).await;
    ready.expect("it becomes ready");
    world
}

/// Whether a glance finds the cluster at rest; it has written nothing, whatever it found.
async fn rests(world: &World) -> bool {
    let before = world.kube.revision();
    let ctx = world.operator(&Crash::never());
    let found = glance(&ctx, "default", NAME).await;
    assert_eq!(world.kube.revision(), before, "a glance has written");
    found.is_some()
}

#[tokio::test]
async fn a_glance_notices_what_nobody_tells_of() {
    let world = at_rest().await;
    assert!(rests(&world).await);

    let silent = at_rest().await;
    let pods: Api<Pod> = Api::namespaced(silent.user.clone(), "default");
    let member = silent.member_names().await.remove(1);
    let pod = pods.get(&member).await.expect("it runs");
    let uid = pod.metadata.uid.expect("every object has one");
    silent.model.stop_unasked(&uid);
    assert!(!rests(&silent).await, "a member does not answer");

    let corrupt = at_rest().await;
    corrupt.model.corrupt(1);
    assert!(!rests(&corrupt).await, "members' data differ");

    let changed = at_rest().await;
    changed.change(json!({ "replicas": 4 })).await;
    assert!(!rests(&changed).await, "the spec is another");
    changed.delete().await;
    changed.pass_time().await;
    assert!(!rests(&changed).await, "it is gone");
}
