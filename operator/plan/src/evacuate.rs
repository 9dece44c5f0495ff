//! Moving the leadership away from a node that is about to be emptied: a leader that has handed over before its pod is
//! evicted costs its clients nothing.
//!
//! What keeps it from going to and fro:
//! - it goes only to a voter whose node is known to stay;
//! - never to one that another policy would make hand back: of the current template unless the leader itself is not, neither
//!   leaving nor to be replaced unless the leader is;
//! - nor to the member that other work is about, which may have had it hand over a moment ago;
//! - it never goes back: where the leader stands well, nothing is done.
//!
//! A pod that is ending already is left alone: both engines hand over by themselves when they are told to stop.
//!
//! This file deliberately blocks nothing: where nobody elsewhere can take over there is no work, and people are told; and a
//! hand-over that does not come about gives way to other work after [`TURN`].

use crds::OperationType::Evacuate;
use jiff::SignedDuration;

use crate::{
    draft::{Draft, hand_over_to},
    footing, leave, replace,
    report::Work,
    view::{Member, View},
};

/// How long it goes before all other work; then that has a round. A hand-over takes less than an election.
const TURN: SignedDuration = SignedDuration::from_secs(10);

/// Hands over if the leader's node is about to be emptied and somebody elsewhere can lead.
pub(crate) fn evacuate(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let leader = endangered(view).filter(|_| !had_its_turn(view))?;
    let heir = heir(view, leader, in_hand(view))?;
    // A leader that does not answer cannot be asked.
    view.ground("").filter(|it| it.via == leader.name)?;
    Some(hand_over_to(view, draft, Evacuate, leader, Some(heir)))
}

/// What a person should know of a leader that cannot leave its node.
pub(crate) fn notice(view: &View<'_>) -> Option<String> {
    let leader = endangered(view)?;
    let node = leader.node()?;
    heir(view, leader, None).is_none().then(|| {
        format!(
            "member {} leads on node {node}, which is about to be emptied, and no healthy, caught-up voter elsewhere can take over",
            leader.name
        )
    })
}

/// The member that other work is about.
fn in_hand<'v>(view: &'v View<'_>) -> Option<&'v str> {
    let operation = view.status.operation.as_ref();
    operation
        .filter(|it| it.kind != Evacuate)?
        .member
        .as_deref()
}

fn had_its_turn(view: &View<'_>) -> bool {
    let operation = view.status.operation.as_ref();
    let tried = operation.filter(|it| it.kind == Evacuate);
    tried.is_some_and(|it| view.now.duration_since(it.started_at.0) >= TURN)
}

/// The leader, if its node is about to be emptied and its pod runs on.
fn endangered<'v, 'a>(view: &'v View<'a>) -> Option<&'v Member<'a>> {
    let leader = view.leading()?;
    let goes = footing::stays(view, leader) == Some(false);
    (goes && leader.pod.is_some() && !leader.pod_ending()).then_some(leader)
}

fn heir<'v, 'a>(
    view: &'v View<'a>,
    leader: &Member<'_>,
    in_hand: Option<&str>,
) -> Option<&'v Member<'a>> {
    let leaving = leave::leaving(view).map(|(member, _)| member.name.as_str());
    let goes = |it: &Member<'_>| leaving == Some(&it.name) || replace::reason(view, it).is_some();
    let candidates = view.members.values().filter(|it| {
        let fit = it.good && it.pod_ready() && footing::stays(view, it) == Some(true);
        fit && it.name != leader.name
            && in_hand != Some(it.name.as_str())
            && (it.current || !leader.current)
            && (!goes(it) || goes(leader))
    });
    candidates.min_by_key(|it| (goes(it), !it.current, it.lag, it.serial))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use crate::is_about_to_be_emptied;

    #[test]
    fn a_node_is_emptied_when_it_or_the_tools_that_end_nodes_say_so() {
        let emptied = |spec: serde_json::Value| {
            let node: Node = serde_json::from_value(json!({"spec": spec})).expect("a node");
            is_about_to_be_emptied(&node)
        };
        let tainted =
            |key: &str| emptied(json!({"taints": [{"key": key, "effect": "NoSchedule"}]}));
        assert!(emptied(json!({"unschedulable": true})));
        assert!(tainted("karpenter.sh/disrupted"));
        assert!(tainted("ToBeDeletedByClusterAutoscaler"));
        assert!(
            !tainted("DeletionCandidateOfClusterAutoscaler"),
            "it may yet stay"
        );
        assert!(!tainted("node.kubernetes.io/memory-pressure"));
        assert!(!tainted("dedicated"));
        assert!(!emptied(json!({})));
    }
}
