//! The operator's whole decision: `(cluster, observed, now) -> (actions, report)`.
//!
//! ```text
//! observe (reads) -> plan (this crate) -> act (writes) -> publish (this crate's `status`)
//! ```
//!
//! Policies run in one written order (`POLICIES`, below); the first that has work owns the one quorum-changing action of the
//! round. What keeps everything in order whatever is in hand (`upkeep`) runs in every round and takes no working voter away.
//!
//! Nothing is remembered between rounds but what stands in the resource's status. What must be remembered *before*
//! something is made (a member's name, its volume, its id, the cluster's id) is published first and built upon in the next
//! round: [`report::Memory`] and the members' `id` and `claimUID`.
//!
//! This crate deliberately does no input or output and has no clock: everything is handed in.

pub mod action;
pub mod names;
pub mod observed;
pub mod report;
pub mod safety;

mod account;
pub mod accounts;
mod autogrow;
mod bootstrap;
pub mod cert_manager;
pub mod certificates;
mod corruption;
mod course;
mod disruption;
mod draft;
mod engine;
mod evacuate;
mod footing;
mod hibernate;
mod join;
mod leave;
mod maintenance;
pub mod network_policy;
mod objects;
mod operate;
mod overlay;
pub mod peers;
mod progress;
mod quantity;
mod reclaim;
mod recovery;
mod repair;
mod replace;
mod resize;
mod retention;
mod rollout;
pub mod rotation;
mod settle;
mod spec;
mod status;
mod syntax;
mod tls;
mod upkeep;
mod view;
mod volume;

use std::time::Duration;

use crds::{Operation, RaftCluster};
use jiff::Timestamp;

pub use accounts::{AccountChange, Asked, Declarations, PasswordSource};
pub use action::{Action, Alarm, Ground, Target};
pub use certificates::{Authority, Issue, Leaf};
pub use course::is_passing;
pub use footing::is_about_to_be_emptied;
pub use objects::certificate::{
    Certificate, CertificateCondition, CertificateSpec, CertificateStatus,
};
pub use objects::snapshot::{
    VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotError, VolumeSnapshotSource,
    VolumeSnapshotSpec, VolumeSnapshotStatus,
};
pub use observed::{
    Accounts, Answer, Footing, Handshake, Keyring, Listed, Listing, Observed, OperatorPods,
    Password, Probe, Seen, Sought,
};
pub use operate::operations_in_question;
pub use operate::recover::{classes_to_snapshot, snapshot_class, snapshots_in_question};
pub use report::{Entered, Failure, Outcome, Report, Support};
pub use spec::OPERATOR_VERSION;
pub use status::status;
pub use volume::classes_in_question;

use draft::Draft;
use report::{HandsOff, Work};
use view::View;

/// When the next look is where something was done.
const SOON: Duration = Duration::from_millis(20);

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The calls to make, in this order, stopping at the first that fails, except as [`Action::stands_alone`] says.
    pub actions: Vec<Action>,
    /// Why.
    pub report: Report,
    /// When to look again if nothing happens before: zero for at once, after the status is published.
    pub requeue: Duration,
}

impl Plan {
    /// Whether the next look follows at once.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        self.requeue <= SOON
    }

    /// Whether there is nothing to do, now or next.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.actions.is_empty() && self.report.work.is_none() && !self.goes_on()
    }
}

/// A policy: the work in hand, if there is any, with its actions added to the draft.
type Policy = fn(&View<'_>, &mut Draft) -> Option<Work>;

/// The order in which policies are asked. Whether a lost cluster is to be rebuilt is asked first, for nothing else can end then.
/// Certificates come before all else, for no pod starts without them; what a CA that is replaced waits for holds nothing up. A
/// cluster is founded first; a leader whose node is about to be emptied moves, which hinders nothing else; an alarm that stops all
/// writes and is about nobody who is there is taken back; who has to go goes before anyone comes, so that a change of mind takes
/// the half-added member away again. When the membership is as it should be, whom a person wants stopped is stopped, and templates
/// change; peers look for members elsewhere and what a `RaftOperation` asks for is done when the templates are. What volumes and
/// fences wait for holds nothing up.
const POLICIES: [Policy; 24] = [
    operate::recover::consider,
    certificates::certificates,
    rotation::rotate,
    bootstrap::bootstrap,
    evacuate::evacuate,
    corruption::disarm,
    leave::leave,
    repair::replace,
    join::join,
    operate::fence::fence,
    reclaim::reclaim,
    rollout::rollout,
    peers::move_peers,
    resize::resize,
    operate::operate,
    |view, _| operate::fence::wait(view),
    |view, _| corruption::wait(view),
    |view, _| repair::wait(view),
    |view, _| reclaim::wait(view),
    |view, _| rotation::wait(view),
    |view, _| maintenance::wait(view),
    |view, _| accounts::wait(view),
    |view, _| join::wait(view),
    |view, _| settle::settle(view),
];

/// What is asked instead while a lost cluster is rebuilt.
const REBUILDING: [Policy; 1] = [operate::recover::go_on];

/// What is asked instead while the user wants no member to run.
const ASLEEP: [Policy; 1] = [hibernate::hibernate];

/// Decides one round. Total: whatever is handed in, there is a plan, if only one that does nothing and says why.
#[must_use]
pub fn plan(cluster: &RaftCluster, observed: &Observed, now: Timestamp) -> Plan {
    let view = View::new(cluster, observed, now);
    let hands_off = hands_off(cluster);
    let sleeps = hibernate::wanted(&view);
    let leaving = leave::leaving(&view).filter(|_| !sleeps);
    let leaving = leaving.map(|(member, _)| member.name.as_str());
    let mut draft = Draft::new(&view);
    let mut work = None;
    if hands_off.is_none() && view.invalid.is_empty() {
        network_policy::keep(&view, &mut draft);
        cert_manager::keep(&view, &mut draft);
        upkeep::upkeep(&view, leaving, &mut draft);
        draft.memory.repair.suspects = repair::suspects(&view);
        let rebuilds = operate::recover::is_under_way(&view);
        let policies: &[Policy] = match () {
            () if sleeps => &ASLEEP,
            () if rebuilds => &REBUILDING,
            () => &POLICIES,
        };
        work = policies.iter().find_map(|policy| policy(&view, &mut draft));
        if sleeps || rebuilds {
            progress::interrupt(&mut draft);
        } else {
            progress::note(&view, work.is_none(), &mut draft);
            accounts::keep(&view, &mut draft);
        }
        disruption::budget(&view, work.as_ref(), &mut draft);
    } else {
        draft.memory = view.memory.clone();
        progress::interrupt(&mut draft);
        upkeep::release(&view, &mut draft);
        if hands_off.is_none() && upkeep::may_hold(&view) {
            upkeep::hold(&view, &mut draft);
            disruption::budget(&view, None, &mut draft);
        }
    }
    draft.memory.network_policy = network_policy::remembered(&view);
    draft.memory.tls_default = tls::remember(cluster, &view);
    operate::queue(&view, &mut draft, hands_off, work.as_ref());
    let Draft { actions, memory } = draft;
    let report = account::account(&view, hands_off, work, memory, leaving);
    let requeue = requeue(&view, &actions, &report);
    Plan {
        actions,
        report,
        requeue,
    }
}

/// Deleting is the garbage collector's work and needs no operator; pausing is the user's wish.
fn hands_off(cluster: &RaftCluster) -> Option<HandsOff> {
    let deleted = cluster
        .metadata
        .deletion_timestamp
        .as_ref()
        .map(|_| HandsOff::Deletion);
    deleted.or(cluster.spec.paused.then_some(HandsOff::Paused))
}

/// At once when the next step only waits for the status to remember something or for a call that has just been made; often
/// while members are asked how far they are; rarely when all is done, because changes wake the operator anyway.
fn requeue(view: &View<'_>, actions: &[Action], report: &Report) -> Duration {
    let only_applies = actions.iter().all(|it| {
        matches!(
            it,
            Action::ApplyService(_)
                | Action::ApplyBudget(_)
                | Action::ApplyNetworkPolicy(_)
                | Action::ApplyCertificate(_)
        )
    });
    let begun = |operation: &Operation| view.now.duration_since(operation.started_at.0).as_secs();
    match &report.work {
        _ if remembers_more(view, report) => Duration::ZERO,
        _ if !only_applies => SOON,
        // The members may come to hold other data, and nothing wakes the operator then.
        None if matches!(report.support, Support::Lacking(_)) => Duration::from_secs(5),
        None => rest(view),
        Some(work) if status::is_held(work) => Duration::from_secs(30),
        Some(_)
            if view
                .status
                .operation
                .as_ref()
                .is_some_and(|it| begun(it) > 60) =>
        {
            Duration::from_secs(2)
        }
        Some(_) => Duration::from_millis(500),
    }
}

/// How long nothing is expected to be due.
fn rest(view: &View<'_>) -> Duration {
    const LONGEST: Duration = Duration::from_secs(30);
    let due = rotation::due_in(view);
    due.map_or(LONGEST, |due| due.unsigned_abs().min(LONGEST))
}

/// Whether the status will remember something that the next step needs and the last one had not.
fn remembers_more(view: &View<'_>, report: &Report) -> bool {
    let born = view.born();
    let known = |name: &str| {
        let old = view.status.members.iter().find(|it| it.name == name);
        old.and_then(|it| course::built_upon(it, born))
    };
    let mut members = report.members.iter();
    report.memory != view.memory
        || members.any(|it| course::built_upon(it, born) != known(&it.name))
}
