//! A glance at a cluster at rest: whether it still is.
//!
//! Nobody wakes the operator when a member falls silent, another one leads or an alarm goes up, so each cluster at rest is looked at every
//! half a minute. A thousand of them would have the API server ask etcd without a pause whether what it has in its cache is of now. For a
//! glance it need not: the members are asked as ever, and of objects that have changed a watch tells.
//!
//! It deliberately writes nothing and concludes nothing but that there is no need of a round: what is read here may be old.

use std::time::Duration;

use crds::RaftCluster;
use plan::Outcome;

use crate::context::Context;
use crate::observe::observe;

/// When to look again at a cluster that is as its status says, with nothing in hand; `None` if a round has to see.
pub async fn glance(ctx: &Context, namespace: &str, name: &str) -> Option<Duration> {
    let ctx = Context {
        kubernetes: ctx.kubernetes.at_hand(),
        ..ctx.clone()
    };
    let found = ctx.kubernetes.find::<RaftCluster>(namespace, name).await;
    let cluster = found.ok()??;
    let (mut observed, _) = observe(&ctx, &cluster).await.ok()?;
    let plan = (ctx.decide)(&cluster, &mut observed, ctx.clock.now());
    let status = plan::status(&cluster, &plan.report, &Outcome::default());
    (plan.rests() && cluster.status == Some(status)).then_some(plan.requeue)
}
