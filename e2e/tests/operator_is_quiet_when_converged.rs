//! A converged cluster costs nothing: a hundred looks at it write nothing, while its clients write all the time.

use e2e::simulated::{Crash, World};
use serde_json::json;

#[tokio::test]
async fn a_hundred_resyncs_of_a_converged_cluster_write_nothing() {
    for replicas in [1, 3] {
        let world = World::new().await;
        world
            .create(json!({ "replicas": replicas, "storage": { "size": "1Gi" } }))
            .await;
        world
            .converge(&Crash::never())
            .await
            .expect("it becomes ready");
        let operator = Crash::never();
        let ctx = world.operator(&operator);
        world.kube.faults().forget_calls();
        for _ in 0..100 {
            world.round(&ctx, &operator).await;
            world.pass_time().await;
        }
        assert_eq!(
            operator.writes(),
            Vec::<String>::new(),
            "{replicas} replicas"
        );
        assert_eq!(world.model.violations(), Vec::<String>::new());
    }
}
