//! The first member, and when a cluster counts as born.
//!
//! One seed founds the cluster alone; all others join it as learners. The cluster is born when its id stands in the status,
//! and from then on no member is ever told to found anything again.
//!
//! This file deliberately makes no pod: `upkeep.rs` does, on the volume that the status remembers.

use crds::OperationType::Bootstrap;

use crate::{
    draft::{Draft, make, make_claim, moving, waiting},
    names,
    report::Work,
    view::{ClaimState, Member, View, hex},
};

/// Founds the cluster; no work once it is born.
pub(crate) fn bootstrap(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    if view.born() {
        return None;
    }
    if let Some(membership) = &view.membership {
        draft.memory.cluster_id = Some(hex(membership.cluster_id));
        return Some(moving(Bootstrap, "RememberCluster", &membership.via));
    }
    let roster = view.roster();
    Some(match (&roster[..], &view.memory.joining) {
        ([], None) => {
            let name = draft.choose(view.next_joining());
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
