//! An operator asks for nothing that is others': one for a namespace for nothing outside of it, so that a Role there is all that it
//! needs; one for all namespaces for no kind that others have as well without saying which of it is its own, so that its memory is
//! no matter of what lies beside.

use std::collections::BTreeSet;
use std::time::Duration;

use crds::{RaftCluster, RaftClusterSpec};
use e2e::simulated::{Crash, World};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use quorate_operator::gate::Gate;
use quorate_operator::lease::Timing;
use quorate_operator::process::{Election, Ended, live};
use quorate_operator::run::Scope;
use quorate_operator::serve::Pulse;
use serde_json::{Value, json};
use smallkube::Call;
use tokio_util::sync::CancellationToken;

/// Where the world's cluster is, and the operator.
const NAMESPACE: &str = "default";

fn spec() -> Value {
    json!({ "replicas": 3, "storage": { "size": "1Gi" } })
}

/// A cluster in a namespace that is not the operator's business.
async fn elsewhere(world: &World) -> Api<RaftCluster> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some("elsewhere".into());
    let namespaces: Api<Namespace> = Api::all(world.user.clone());
    let created = namespaces.create(&PostParams::default(), &namespace).await;
    created.expect("a namespace");
    let clusters = Api::namespaced(world.user.clone(), "elsewhere");
    let spec: RaftClusterSpec = serde_json::from_value(spec()).expect("a spec");
    let cluster = RaftCluster::new("other", spec);
    let created = clusters.create(&PostParams::default(), &cluster).await;
    created.expect("a valid cluster");
    clusters
}

/// All calls of an operator for these namespaces, or for all, from the beginning of a cluster to its end.
async fn calls(world: &World, namespaces: Vec<String>) -> Vec<Call> {
    let stop = CancellationToken::new();
    let mut ctx = world.operator(&Crash::never());
    ctx.gate = Gate::leased();
    let election = Election {
        namespace: NAMESPACE.into(),
        name: "quorate-operator".into(),
        identity: "one".into(),
        timing: Timing::default(),
    };
    let scope = Scope {
        namespaces,
        resync: Duration::from_secs(300),
        workers: 1,
    };
    let operator = tokio::spawn(live(
        ctx,
        Some(election),
        scope,
        Pulse::default(),
        stop.clone(),
    ));
    world.create(spec()).await;
    let mut seconds = 0;
    while !world.is_done().await {
        assert!(seconds < 1_000, "it never came about");
        seconds += 1;
        world.pass_time().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.delete().await;
    world.pass_time().await;
    stop.cancel();
    assert_eq!(operator.await.expect("no panic"), Ended::Stopped);
    let calls = world.kube.faults().calls().into_iter();
    let ours: Vec<Call> = calls
        .map(|it| it.call)
        .filter(|it| it.client == "operator")
        .collect();
    assert!(ours.len() > 50, "it has worked");
    ours
}

#[tokio::test(start_paused = true)]
async fn every_call_is_within_the_namespace() {
    let world = World::new().await;
    let others = elsewhere(&world).await;
    for call in calls(&world, vec![NAMESPACE.into()]).await {
        assert_eq!(call.namespace, NAMESPACE, "{call:?}");
    }
    let other = others.get("other").await.expect("it is still there");
    assert_eq!(other.status.map(|it| it.members.len()), None);
}

#[tokio::test(start_paused = true)]
async fn of_what_others_have_it_asks_for_its_own_alone() {
    let world = World::new().await;
    let mut kinds = BTreeSet::new();
    for call in calls(&world, Vec::new()).await {
        let many = matches!(call.verb.as_str(), "list" | "watch");
        if many && call.group != "quorate.io" {
            assert_ne!(call.selector, "", "{call:?}");
            kinds.insert(call.resource);
        }
    }
    for kind in ["pods", "persistentvolumeclaims", "services", "nodes"] {
        assert!(kinds.contains(kind), "{kind} is not among {kinds:?}");
    }
}
