//! The `Certificate`s of cert-manager: each is looked for by its name, and only where a cluster has, or had, that mode.
//!
//! One that cannot be read for a passing reason is left out: nothing is made or deleted of it then, and members that run with what is
//! in its Secret are looked after as ever.

use std::collections::BTreeMap;

use crds::RaftCluster;
use futures::future::join_all;
use kube::ResourceExt;
use plan::{Certificate, Sought};

use crate::context::Context;
use crate::sought::seek;

/// What came of looking for those that the plan for a cluster is made from.
pub(crate) async fn seen(
    ctx: &Context,
    cluster: &RaftCluster,
) -> BTreeMap<String, Sought<Certificate>> {
    let namespace = cluster.namespace().unwrap_or_default();
    let names = plan::cert_manager::in_question(cluster).into_iter();
    let looked = names.map(|name| {
        let namespace = &namespace;
        async move {
            let seen = seek::<Certificate>(&ctx.kubernetes, namespace, &name).await?;
            Some((name, seen))
        }
    });
    join_all(looked).await.into_iter().flatten().collect()
}
