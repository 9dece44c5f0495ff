//! Promise: deleting a cluster keeps its volumes or takes them, as its policy says; a later
//! cluster of the same name says what it found, and never takes old volumes for its own.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use e2e::client::Client;
use e2e::engine::Engine;
use e2e::lab::{Lab, NAMESPACE, PATIENCE};
use e2e::traffic::{Mix, Traffic};
use e2e::verdict::judge;
use e2e::wait;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, ResourceExt};

const PREFIX: &str = "traffic/";

e2e::on_each_engine!(
    retained_volumes_stay_and_are_never_joined_by_accident,
    volumes_go_with_a_cluster_that_says_so,
);

async fn retained_volumes_stay_and_are_never_joined_by_accident(engine: Engine) -> Result<()> {
    let lab = Lab::start("retain", engine).await?;
    let manifest = include_str!("../../examples/minimal.yaml");
    let name = fill(&lab, manifest).await?;
    let old = claims(&lab).await?;
    ensure!(old.len() == 3, "three members have {} claims", old.len());
    lab.delete(&name).await?;
    nothing_but_claims_is_left(&lab, &name).await?;
    ensure!(
        claims(&lab).await? == old,
        "the claims changed with the deletion"
    );

    lab.apply(manifest).await?;
    let cluster = lab.ready(&name).await?;
    let notices = cluster.status.context("no status")?.notices.join("\n");
    for (claim, _) in &old {
        ensure!(
            notices.contains(claim),
            "{claim} is not named in the notices: {notices:?}"
        );
    }
    let now = claims(&lab).await?;
    ensure!(
        old.is_subset(&now) && now.len() == 6,
        "old: {old:?}, now: {now:?}"
    );
    let endpoints = lab.endpoints(&name).await?;
    let mut client = Client::connect(endpoints.first().context("no endpoints")?).await?;
    let (keys, _) = client.under(PREFIX).await?;
    ensure!(
        keys.is_empty(),
        "the new cluster holds {} keys of the old one",
        keys.len()
    );
    lab.end().await
}

async fn volumes_go_with_a_cluster_that_says_so(engine: Engine) -> Result<()> {
    let lab = Lab::start("delete", engine).await?;
    let name = fill(&lab, include_str!("../../examples/ephemeral.yaml")).await?;
    lab.delete(&name).await?;
    nothing_but_claims_is_left(&lab, &name).await?;
    wait::until("the claims to be gone", PATIENCE, async || {
        match claims(&lab).await {
            Ok(left) if left.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    lab.end().await
}

/// A Ready cluster with something in it.
async fn fill(lab: &Lab, manifest: &str) -> Result<String> {
    let name = lab.apply(manifest).await?;
    lab.ready(&name).await?;
    let mix = Mix {
        prefix: PREFIX.to_owned(),
        ..Mix::default()
    };
    let traffic = Traffic::start(mix, lab.endpoints(&name).await?);
    traffic.flows(50, PATIENCE).await?;
    judge(&traffic.finish(PATIENCE).await?)?;
    Ok(name)
}

/// Names and uids of all claims.
async fn claims(lab: &Lab) -> Result<BTreeSet<(String, String)>> {
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let found = claims.list(&ListParams::default()).await?;
    let living = found
        .items
        .iter()
        .filter(|c| c.metadata.deletion_timestamp.is_none());
    Ok(living
        .map(|c| (c.name_any(), c.uid().unwrap_or_default()))
        .collect())
}

async fn nothing_but_claims_is_left(lab: &Lab, name: &str) -> Result<()> {
    let services: Api<Service> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(lab.client().clone(), NAMESPACE);
    let of_cluster = ListParams::default().labels(&format!("quorate.io/cluster={name}"));
    wait::until(
        "everything but the claims to be gone",
        PATIENCE,
        async || {
            let left = async || -> Result<[usize; 4]> {
                Ok([
                    lab.pods(name).await?.len(),
                    lab.raft_members().list(&of_cluster).await?.items.len(),
                    services.list(&of_cluster).await?.items.len(),
                    budgets.list(&of_cluster).await?.items.len(),
                ])
            };
            match left().await {
                Ok([0, 0, 0, 0]) => Ok(()),
                Ok(left) => Err(format!("pods, members, services, budgets: {left:?}")),
                Err(e) => Err(format!("{e:#}")),
            }
        },
    )
    .await?;
    Ok(())
}
