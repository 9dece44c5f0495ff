//! A converged cluster costs nothing: a hundred looks at it write nothing, while its clients write all the time.

use e2e::simulated::{Crash, World};
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
