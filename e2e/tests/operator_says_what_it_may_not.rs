//! What the operator is not permitted to read is told to the cluster's people by an event, once; and the cluster's status,
//! which nobody can know then, stays as it was. `real_permissions` takes the rights away on a real API server.

use e2e::simulated::world::NAMESPACE;
use e2e::simulated::{Crash, World};
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use smallkube::{Effect, Rule};

const WHY: &str =
    "pods is forbidden: User \"operator\" cannot list resource \"pods\" in API group \"\"";

#[tokio::test]
async fn a_list_that_is_forbidden_is_told_once_and_touches_no_status() {
    let world = World::new().await;
    world
        .create(json!({ "replicas": 1, "storage": { "size": "1Gi" } }))
        .await;
    let converged = world.converge(&Crash::never()).await;
    converged.expect("it becomes ready");
    let before = world.cluster().await.expect("it is there").status;
    let forbidden = Effect::refuse(403, "Forbidden", WHY);
    let lists_pods = |call: &smallkube::Call| {
        call.verb == "list" && call.resource == "pods" && call.client == "operator"
    };
    world.kube.faults().add(Rule::new(forbidden, lists_pods));
    let life = Crash::never();
    let ctx = world.operator(&life);
    for _ in 0..3 {
        world.round(&ctx, &life).await;
    }
    let events: Api<Event> = Api::namespaced(world.user.clone(), NAMESPACE);
    let events = events
        .list(&ListParams::default())
        .await
        .expect("events can be read");
    let told: Vec<&Event> = events
        .items
        .iter()
        .filter(|it| it.reason.as_deref() == Some("Forbidden"))
        .collect();
    assert_eq!(told.len(), 1, "{:?}", events.items);
    let note = told[0].note.clone().unwrap_or_default();
    assert!(note.contains(WHY), "{note}");
    assert_eq!(world.cluster().await.expect("it is there").status, before);
}
