//! The first member, and when a cluster counts as born.
//!
//! One seed founds the cluster alone; all others join it as learners. The cluster is born when its id stands in the status,
//! and from then on no member is ever told to found anything again.
//!
//! This file deliberately makes no pod: `upkeep.rs` does, on the volume that the status remembers.

use crds::OperationType::Bootstrap;

use crate::{
    draft::{Draft, make, make_claim, moving, waiting},
    join, names,
    report::Work,
    view::{ClaimState, Member, Membership, View, hex},
};

/// Founds the cluster; no work once it is born.
pub(crate) fn bootstrap(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    if view.born() {
        return None;
    }
    if let Some(membership) = view.membership.as_ref().filter(|it| ours(view, it)) {
        draft.memory.cluster_id = Some(hex(membership.cluster_id));
        return Some(
            join::choose_first(view, draft)
                .unwrap_or_else(|| moving(Bootstrap, "RememberCluster", &membership.via)),
        );
    }
    let roster = view.roster();
    if let Some(leftover) = leftover(view, &roster) {
        return Some(waiting(
            Bootstrap,
            "FindCluster",
            leftover,
            "Status",
            format!(
                "there is a pod or a volume of member {leftover}, but the status remembers no cluster id; restore the status, or delete {} if its data are not needed",
                names::claim(leftover)
            ),
        ));
    }
    let joining = view.memory.joining.as_ref().filter(|it| !view.spoilt(it));
    Some(match (&roster[..], joining) {
        ([], None) => {
            let name = draft.choose(view.next_joining(false));
            moving(Bootstrap, "ChooseName", &name)
        }
        ([], Some(joining)) => {
            make(view, draft, joining);
            moving(Bootstrap, "CreateMember", &joining.name)
        }
        ([seed], _) => start(view, draft, seed),
        ([first, ..], _) => waiting(
            Bootstrap,
            "FindCluster",
            &first.name,
            "Status",
            format!(
                "there are {} members and none answers, but the status remembers no cluster id; start one of them by hand, or restore the status",
                roster.len()
            ),
        ),
    })
}

/// Whether a membership is that of our seed, and not of whoever happens to answer at its address.
fn ours(view: &View<'_>, membership: &Membership) -> bool {
    view.roster()
        .iter()
        .any(|it| membership.listed.contains_key(&it.name))
}

/// A member that has left a pod or a volume, where the next step would be to found the cluster on an empty one: the cluster
/// has been founded before, its status was lost, and what is left may be the only copy.
fn leftover<'v>(view: &'v View<'_>, roster: &[&Member<'_>]) -> Option<&'v str> {
    let empty = match roster {
        [] => view.memory.joining.is_none(),
        [seed] => matches!(seed.claim, ClaimState::Absent),
        _ => false,
    };
    let left = |it: &&Member<'_>| {
        it.identity.is_none()
            && (it.pod.is_some() || matches!(it.claim, ClaimState::Present(_) | ClaimState::Ending))
    };
    let first = view.members.values().filter(|_| empty).find(left);
    first.map(|it| it.name.as_str())
}

fn start(view: &View<'_>, draft: &mut Draft, seed: &Member<'_>) -> Work {
    let name = &seed.name;
    match &seed.claim {
        ClaimState::Absent => {
            make_claim(view, draft, name, seed.serial);
            moving(Bootstrap, "CreateVolume", name)
        }
        ClaimState::Present(_) if seed.known_claim.is_none() => {
            moving(Bootstrap, "RememberVolume", name)
        }
        ClaimState::Foreign => waiting(
            Bootstrap,
            "CreateVolume",
            name,
            "Volume",
            format!(
                "the claim {} belongs to another cluster; delete it if its data are not needed",
                names::claim(name)
            ),
        ),
        _ if seed.pod.is_none() && matches!(seed.claim, ClaimState::Present(_)) => {
            moving(Bootstrap, "StartMember", name)
        }
        _ => waiting(
            Bootstrap,
            "StartMember",
            name,
            "MemberReady",
            seed.trouble(view),
        ),
    }
}
