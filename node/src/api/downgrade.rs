//! Downgrades: what may be asked for, and what is then put into the log.
//!
//! The version to go to is one minor below the cluster's, nothing else. Once a downgrade is enabled the leader lowers the
//! cluster's version, so that members of the older version may take part, and ends it when all of them are.
//!
//! What this module deliberately does not do: lower anything itself; `replica::versions` does.

use proto::etcdserverpb as pb;
use store::{Command, Downgrade, Version};
use tonic::Status;

use super::Shared;
use crate::refusal::Refusal;

impl Shared {
    /// Whether a downgrade to `version` may begin; the cluster's version, and what `version` says.
    pub(super) async fn check_downgrade(
        &self,
        version: &str,
    ) -> Result<(Version, Version), Refusal> {
        let target = read(version).ok_or(Refusal::BadVersion)?;
        let (cluster, under_way) = self.versions().await?;
        if cluster.one_down() != Some(target) {
            return Err(Refusal::BadDowngrade);
        }
        if under_way.is_some() {
            return Err(Refusal::DowngradeUnderWay);
        }
        Ok((cluster, target))
    }

    /// Begins a downgrade; the cluster's version as it was.
    pub(super) async fn enable_downgrade(&self, version: &str) -> Result<Version, Status> {
        let (cluster, target) = self.check_downgrade(version).await?;
        self.set_downgrade(Some(target)).await?;
        Ok(cluster)
    }

    /// Ends a downgrade; the cluster's version then. That there is none is no error, as in etcd.
    pub(super) async fn cancel_downgrade(&self) -> Result<Version, Status> {
        let (cluster, under_way) = self.versions().await?;
        if under_way.is_some() {
            self.set_downgrade(None).await?;
        }
        Ok(cluster)
    }

    async fn set_downgrade(&self, target: Option<Version>) -> Result<(), Status> {
        let command = Command::Downgrade(Downgrade { target });
        self.propose(&command).await.map(drop)
    }

    /// The cluster's version and where a downgrade goes, as of now.
    async fn versions(&self) -> Result<(Version, Option<Version>), Refusal> {
        self.handle.confirm().await?;
        let (cluster, under_way) = self
            .handle
            .with_status(|status| (status.cluster_version, status.downgrade));
        Ok((cluster.ok_or(Refusal::NoClusterVersion)?, under_way))
    }
}

/// `X.Y.Z` or `X.Y`.
fn read(version: &str) -> Option<Version> {
    Version::parse(version).or_else(|| Version::parse(&format!("{version}.0")))
}

/// As the status shows it.
pub(super) fn shown(target: Option<Version>) -> pb::DowngradeInfo {
    pb::DowngradeInfo {
        enabled: target.is_some(),
        target_version: target
            .map(|target| format!("{target}.0"))
            .unwrap_or_default(),
    }
}
