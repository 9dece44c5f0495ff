//! Promise: the operator is killed ten times in the middle of founding a cluster and of scaling it, at another step each
//! time; whoever takes over goes on from there, and the cluster ends as it was declared, having lost nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use crds::{RaftCluster, RaftMember};
use e2e::lab::is_ready;
use e2e::wait;
use futures::FutureExt;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

use crate::engine::BOTH;
use crate::scenario::{Scenario, nothing};
use crate::stage::{LOOK_EVERY, PATIENCE, Stage};

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "operator-killed",
    engines: BOTH,
    limit: Duration::from_secs(1200),
    usual: Duration::from_secs(140),
    acts: |stage| acts(stage).boxed_local(),
    after: nothing,
};

const KILLS: usize = 10;

async fn acts(stage: &Stage<'_>) -> Result<()> {
    let mut kills = 0;
    stage.apply(3).await?;
    kills += killed_at_each_step(stage, KILLS / 2).await?;
    ensure!(
        kills > 0,
        "the cluster was founded before the operator could be killed"
    );
    let traffic = stage.traffic().await?;
    // Members leave and join; a scaling has a handful of steps, so a few of them are needed.
    for to in [5, 3].into_iter().cycle() {
        if kills == KILLS {
            break;
        }
        stage.say(&format!("scale to {to}"));
        let cost = stage.cost(&traffic, async || {
            stage.scale(to).await?;
            kills += killed_at_each_step(stage, KILLS - kills).await?;
            Ok(())
        });
        stage.figure(&format!(
            "scaled to {to} by operators that died: {}",
            cost.await?
        ));
    }
    stage.judge(&traffic).await
}

/// Kills the operator whenever something has changed since the last time, at most so often, until the cluster is `Ready`;
/// gives how often.
async fn killed_at_each_step(stage: &Stage<'_>, at_most: usize) -> Result<usize> {
    let mut seen = trace(stage).await?;
    for kill in 0..at_most {
        let Some(now) = next_step(stage, &seen).await? else {
            return Ok(kill);
        };
        let news: Vec<&String> = now.difference(&seen).collect();
        stage.say(&format!("kill the operator at {news:?}"));
        stage.house().kill_operators().await?;
        seen = now;
    }
    stage.ready().await?;
    Ok(at_most)
}

/// The next trace that differs from one seen; `None` when the cluster is `Ready` first.
async fn next_step(stage: &Stage<'_>, seen: &BTreeSet<String>) -> Result<Option<BTreeSet<String>>> {
    let found = wait::until_every(LOOK_EVERY, "a step", PATIENCE, async || {
        let cluster = stage.cluster().await.map_err(|e| format!("{e:#}"))?;
        if is_ready(&cluster) {
            return Ok(None);
        }
        let now = trace(stage).await.map_err(|e| format!("{e:#}"))?;
        if now == *seen {
            return Err(format!("still {now:?}"));
        }
        Ok(Some(now))
    });
    Ok(found.await?)
}

/// What the operator has done so far, as far as objects show it.
async fn trace(stage: &Stage<'_>) -> Result<BTreeSet<String>> {
    let members: Api<RaftMember> = Api::namespaced(stage.client(), stage.namespace());
    let members = members.list(&ListParams::default()).await?.items;
    let mut trace: BTreeSet<String> = members.iter().map(|it| told("member", it)).collect();
    for pod in stage.pods().await? {
        let role = pod.labels().get(plan::names::ROLE_LABEL).cloned();
        trace.insert(told(&role.unwrap_or_default(), &pod));
    }
    trace.extend(phases(&stage.cluster().await?));
    Ok(trace)
}

fn told(what: &str, object: &impl ResourceExt) -> String {
    format!("{what} {}", object.name_any())
}

fn phases(cluster: &RaftCluster) -> Vec<String> {
    let members = cluster.status.iter().flat_map(|it| &it.members);
    members
        .map(|it| format!("{} {:?} {:?}", it.name, it.role, it.phase))
        .collect()
}
