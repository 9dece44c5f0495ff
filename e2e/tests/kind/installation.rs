//! Promise: the operator is removed, installed by Helm, upgraded, uninstalled and installed from the plain file again; the
//! cluster, its members and its data go on throughout, and whoever comes takes up what is there.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::kind::install;
use e2e::kind::traffic::Remote;
use futures::FutureExt;

use crate::engine::BOTH;
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "installation",
    engines: BOTH,
    limit: Duration::from_secs(1200),
    usual: Duration::from_secs(150),
    acts: |stage| acts(stage).boxed_local(),
    after: |stage| restore(stage).boxed_local(),
};

/// How long the cluster is watched without an operator.
const ALONE: Duration = Duration::from_secs(20);

async fn restore(stage: &Stage<'_>) -> Result<()> {
    stage.house().restore(install::NAMESPACE).await
}

async fn acts(stage: &Stage<'_>) -> Result<()> {
    let (kubectl, images) = (stage.house().kubectl(), stage.house().images()?);
    stage.founded(3).await?;
    let traffic = stage.traffic().await?;
    let pods = stage.pod_uids().await?;
    stage.say("remove the plain file's operator");
    install::remove_plain(kubectl).await?;
    alone(stage, &traffic).await?;
    stage.say("install by Helm, and scale");
    // The definitions are the plain file's, and change hands.
    let takes = ["--take-ownership"];
    install::chart(kubectl, images, install::NAMESPACE, &takes).await?;
    let cost = stage.cost(&traffic, async || stage.scale(5).await).await?;
    stage.figure(&format!(
        "scaled from 3 to 5 by the chart's operator: {cost}"
    ));
    stage.say("upgrade the release with other values");
    upgrade(stage, &["--set", "logLevel=debug", "--set", "resync=1m"]).await?;
    stage.say("uninstall the release");
    install::uninstall_chart(kubectl, install::NAMESPACE).await?;
    alone(stage, &traffic).await?;
    let after = stage.pod_uids().await?;
    ensure!(after.is_superset(&pods), "members were restarted");
    stage.say("install from the plain file again, and scale");
    install::plain(kubectl, images).await?;
    stage.cost(&traffic, async || stage.scale(3).await).await?;
    let left = stage.pod_uids().await?;
    ensure!(left.is_subset(&after), "members were restarted");
    stage.judge(&traffic).await
}

/// There is no operator, and the cluster serves.
async fn alone(stage: &Stage<'_>, traffic: &Remote) -> Result<()> {
    stage.house().no_operator_is_left().await?;
    stage.serves_for(traffic, ALONE).await
}

async fn upgrade(stage: &Stage<'_>, values: &[&str]) -> Result<()> {
    let house = stage.house();
    let before = house.operator_uids().await?;
    install::chart(house.kubectl(), house.images()?, install::NAMESPACE, values).await?;
    let after = house.operator_uids().await?;
    ensure!(
        !after.is_subset(&before),
        "the upgrade left the operators as they were"
    );
    Ok(())
}
