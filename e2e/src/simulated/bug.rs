//! Bugs that are planted in the operator, to see that somebody notices.
//!
//! Each is one that users of other operators have suffered from. They are planted at the operator's edges: in what a round takes
//! for seen or for wanted before it decides, in what it makes of the decision, and in what it sends. The operator's own code is the
//! same with and without, its safety check among it.
//!
//! It deliberately does not say who notices: `story.rs` judges every operator alike.

mod believed;
mod done;
mod sent;

use std::sync::Arc;

use crds::RaftCluster;
use kube::Client;
use plan::{Observed, Plan};
use quorate_operator::context::{Context, Decide};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// As many members are wanted as there are pods: a pod that is missing for a moment is a member that is never seen again.
    AdoptsObserved,
    /// A member whose pod is ready counts as caught up.
    ReadyIsCaughtUp,
    /// Everyone whose template has changed is stopped at once.
    RollsAllAtOnce,
    /// Whoever answers with the highest id is taken for the leader.
    MistakesLeader,
    /// A leader that is in the way is removed and hands nothing over.
    RemovesLeader,
    /// A pod that has ended is left as it is.
    LeavesEndedPod,
    /// A pod is restarted only when it is ready, whatever its template is.
    WaitsForBrokenPod,
    /// Nothing is done while a pod is not ready.
    StandsStill,
    /// An operator that has just started finds all pods outdated.
    UpgradeRestarts,
    /// There is no disruption budget.
    NoBudget,
    /// The disruption budget lets one voter too many go.
    LooseBudget,
    /// A member is told the membership that the cluster was founded with.
    FrozenPeers,
    /// The next member takes the name of the last one that left.
    ReusesNames,
    /// A volume that has to grow is deleted and made again.
    RemakesToGrow,
    /// A Secret that a cache does not show yet is made again.
    RemakesSecrets,
    /// A cluster that is paused is worked on.
    FightsUser,
    /// A service is applied in every round.
    WritesWithoutNeed,
    /// A member that does not come up with a new image is deleted.
    FailedUpgradeDeletes,
    /// A volume of whose member a cache knows nothing is taken for an orphan and deleted.
    CacheFindsOrphans,
    /// What is deleted is deleted by its name.
    DeletesByName,
    /// The volume under a member's name is taken for the member's volume.
    VolumeByName,
    /// A volume that is gone is made again, empty, for the same member.
    RemakesLostVolume,
    /// What is left of a member that has gone stays.
    LeavesRemains,
    /// The volume of a member that is not wanted any more is deleted, whatever the policy says.
    DeletesKeptVolumes,
    /// Volumes go with the cluster, whatever the policy says.
    OwnsKeptVolumes,
    /// A change of the storage class is passed over.
    IgnoresClass,
    /// A member whose pod was evicted is replaced, with its volume.
    ReplacesEvicted,
    /// A cluster that has lost its quorum is rebuilt as soon as somebody asks how that would be.
    RebuildsUnasked,
    /// Members that serve are taken for silent, and a cluster that has its quorum is rebuilt.
    RebuildsBesideQuorum,
    /// A member that was rebuilt starts on what was left behind.
    ForgetsRebuilt,
    /// Whoever is accused of corrupt data is removed, however many are.
    BelievesAccusers,
    /// The alarm about a member whose data are corrupt is taken back while it is still there.
    DisarmsFirst,
    /// Peers look for a member in the new way before it listens there.
    MovesPeersEarly,
    /// Members are taken to have what their Secret holds, as soon as it does.
    RotatesBlindly,
    /// A learner that has caught up is promoted, whatever it was made for.
    PromotesLearners,
    /// A member whose pod is missing is started, whoever keeps it stopped.
    StartsFenced,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 36] = [
        Self::AdoptsObserved,
        Self::ReadyIsCaughtUp,
        Self::RollsAllAtOnce,
        Self::MistakesLeader,
        Self::RemovesLeader,
        Self::LeavesEndedPod,
        Self::WaitsForBrokenPod,
        Self::StandsStill,
        Self::UpgradeRestarts,
        Self::NoBudget,
        Self::LooseBudget,
        Self::FrozenPeers,
        Self::ReusesNames,
        Self::RemakesToGrow,
        Self::RemakesSecrets,
        Self::FightsUser,
        Self::WritesWithoutNeed,
        Self::FailedUpgradeDeletes,
        Self::CacheFindsOrphans,
        Self::DeletesByName,
        Self::VolumeByName,
        Self::RemakesLostVolume,
        Self::LeavesRemains,
        Self::DeletesKeptVolumes,
        Self::OwnsKeptVolumes,
        Self::IgnoresClass,
        Self::ReplacesEvicted,
        Self::RebuildsUnasked,
        Self::RebuildsBesideQuorum,
        Self::ForgetsRebuilt,
        Self::BelievesAccusers,
        Self::DisarmsFirst,
        Self::MovesPeersEarly,
        Self::RotatesBlindly,
        Self::PromotesLearners,
        Self::StartsFenced,
    ];

    /// Where users have met it.
    #[must_use]
    pub const fn met_in(self) -> &'static str {
        match self {
            Self::AdoptsObserved => "etcd-io/etcd-operator#193",
            Self::ReadyIsCaughtUp => "scylladb/scylla-operator#1077",
            Self::RollsAllAtOnce => "strimzi/strimzi-kafka-operator#1001",
            Self::MistakesLeader => "gardener/etcd-druid#588",
            Self::RemovesLeader => "cloudnative-pg/cloudnative-pg#11202",
            Self::LeavesEndedPod => "cozystack/etcd-operator#368",
            Self::WaitsForBrokenPod => "pingcap/tidb-operator#5204",
            Self::StandsStill => "pingcap/tidb-operator#865",
            Self::UpgradeRestarts => "cloudnative-pg/cloudnative-pg#5950",
            Self::NoBudget => "scylladb/scylla-operator#214",
            Self::LooseBudget => "cloudnative-pg/cloudnative-pg#10103",
            Self::FrozenPeers => "coreos/etcd-operator#1969",
            Self::ReusesNames => "pravega/zookeeper-operator#94",
            Self::RemakesToGrow => "rabbitmq/cluster-operator#782",
            Self::RemakesSecrets => "cloudnative-pg/cloudnative-pg#10433",
            Self::FightsUser | Self::StartsFenced => "bank-vaults/bank-vaults#1298",
            Self::WritesWithoutNeed => "cloudnative-pg/cloudnative-pg#9885",
            Self::FailedUpgradeDeletes => "coreos/etcd-operator#1301",
            Self::CacheFindsOrphans => "pravega/zookeeper-operator#312",
            Self::DeletesByName => "k8ssandra/cass-operator#118",
            Self::VolumeByName | Self::ReplacesEvicted => "redpanda-data/redpanda-operator#166",
            Self::RemakesLostVolume => "coreos/etcd-operator#1972",
            Self::LeavesRemains => "pravega/zookeeper-operator#71",
            Self::DeletesKeptVolumes => "zalando/postgres-operator#1075",
            Self::OwnsKeptVolumes => "opensearch-project/opensearch-k8s-operator#1539",
            Self::IgnoresClass => "cloudnative-pg/cloudnative-pg#7639",
            Self::RebuildsUnasked => "etcd-io/etcd-operator#383",
            Self::PromotesLearners => "cozystack/etcd-operator#352",
            Self::BelievesAccusers | Self::DisarmsFirst => "etcd-io/etcd#13766",
            Self::RebuildsBesideQuorum => "etcd-io/etcd-operator#476",
            Self::ForgetsRebuilt => "bank-vaults/bank-vaults#1298",
            Self::MovesPeersEarly => "gardener/etcd-druid#420",
            Self::RotatesBlindly => "canonical/kafka-operator#343",
        }
    }

    /// The client through which an operator with this bug writes.
    pub(super) fn client(self, client: Client) -> Client {
        match self {
            Self::DeletesByName => sent::by_name(client),
            _ => client,
        }
    }

    /// Plants it in an operator that has just started.
    pub(super) fn plant(self, ctx: &mut Context) {
        ctx.decide = match self {
            Self::AdoptsObserved => believes(believed::adopts_observed),
            Self::ReadyIsCaughtUp => believes(believed::ready_is_caught_up),
            Self::MistakesLeader => believes(believed::mistakes_leader),
            Self::UpgradeRestarts => believes(believed::all_outdated_at_start()),
            Self::ReusesNames => believes(believed::no_name_was_taken),
            Self::RemakesSecrets => believes(believed::no_secret_yet()),
            Self::FightsUser => believes(|cluster, _| cluster.spec.paused = false),
            Self::VolumeByName => believes(believed::volume_by_name),
            Self::DeletesKeptVolumes => believes(believed::keeps_nothing),
            Self::RotatesBlindly => believes(believed::members_have_what_secrets_hold),
            Self::IgnoresClass => {
                believes(|cluster, _| cluster.spec.storage.storage_class_name = None)
            }
            Self::RollsAllAtOnce => does(done::stops_all),
            Self::RemovesLeader => does(done::removes_leader),
            Self::LeavesEndedPod => does(done::leaves_ended_pod),
            Self::WaitsForBrokenPod => does(done::stops_only_ready),
            Self::StandsStill => does(done::nothing_while_not_ready),
            Self::NoBudget => does(done::no_budget),
            Self::LooseBudget => does(done::loose_budget),
            Self::FrozenPeers => does(done::frozen_peers),
            Self::RemakesToGrow => does(done::deletes_to_grow),
            Self::WritesWithoutNeed => does(done::applies_always),
            Self::FailedUpgradeDeletes => does(done::deletes_what_waits),
            Self::CacheFindsOrphans => does(done::orphans_by_cache()),
            Self::LeavesRemains => does(done::leaves_identities),
            Self::OwnsKeptVolumes => does(done::owns_all),
            Self::ReplacesEvicted => does(done::replaces_evicted),
            Self::RemakesLostVolume => decides(believed::volume_by_name, done::remakes_volume),
            Self::RebuildsUnasked => does(done::rebuilds),
            Self::RebuildsBesideQuorum => decides(believed::nobody_leads, done::rebuilds),
            Self::ForgetsRebuilt => does(done::starts_on_old_data),
            Self::BelievesAccusers => does(done::removes_accused),
            Self::DisarmsFirst => does(done::disarms_first),
            Self::MovesPeersEarly => does(done::moves_peers),
            Self::PromotesLearners => does(done::promotes_learners),
            Self::StartsFenced => does(done::starts_fenced),
            Self::DeletesByName => return,
        };
    }
}

/// Decides as the operator does, of what is believed, and then does something else.
fn decides(
    believes: impl Fn(&mut RaftCluster, &mut Observed) + Send + Sync + 'static,
    does: impl Fn(&RaftCluster, &Observed, &mut Plan) + Send + Sync + 'static,
) -> Decide {
    Arc::new(move |cluster, observed, now| {
        let mut believed = cluster.clone();
        believes(&mut believed, observed);
        let mut plan = plan::plan(&believed, observed, now);
        does(&believed, observed, &mut plan);
        plan
    })
}

fn believes(believes: impl Fn(&mut RaftCluster, &mut Observed) + Send + Sync + 'static) -> Decide {
    decides(believes, |_, _, _| {})
}

fn does(does: impl Fn(&RaftCluster, &Observed, &mut Plan) + Send + Sync + 'static) -> Decide {
    decides(|_, _| {}, does)
}
