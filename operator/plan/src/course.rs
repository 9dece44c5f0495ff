//! Which status need not be written, as the next look, right away, finds the work further.
//!
//! Of all that an operator writes, a status costs the API server most: it checks the whole resource each time. So a step that was
//! just done is not written by itself where another look follows at once and nobody would act on it.
//!
//! It deliberately knows no clock: whoever asks knows when the next look is.

use crds::{MemberPhase, MemberStatus, RaftClusterStatus};

use crate::status::is_on_purpose;

/// What of a member the next step builds upon: its id, and the uid of its volume. Of one that is to join nothing until it has an id,
/// for nothing starts on its volume before; then both are remembered at once. The seed starts on its volume without an id.
pub(crate) fn built_upon(member: &MemberStatus, born: bool) -> Option<(&str, &str)> {
    let id = member.id.as_deref();
    let uid = member.claim_uid.as_deref();
    (id.is_some() || !born).then(|| (id.unwrap_or_default(), uid.unwrap_or_default()))
}

/// Whether the newer status says no more than how far the same work on the same member is, or that the name of a new member need
/// not be remembered beside its id, which the next round reads from the older one as well.
#[must_use]
pub fn is_passing(old: &RaftClusterStatus, new: &RaftClusterStatus) -> bool {
    let (mut before, after) = (without_course(old), without_course(new));
    if new.joining.is_none() && has_entered(old) {
        before.joining = None;
    }
    before == after
}

/// Whether the id of the member that was to be is remembered.
fn has_entered(status: &RaftClusterStatus) -> bool {
    let name = status.joining.as_ref().map(|it| &it.name);
    let mut members = status.members.iter();
    members.any(|it| Some(&it.name) == name && it.id.is_some())
}

fn without_course(status: &RaftClusterStatus) -> RaftClusterStatus {
    let mut status = status.clone();
    for condition in &mut status.conditions {
        condition.message.clear();
    }
    let born = status.cluster_id.is_some();
    status.members.retain(|it| built_upon(it, born).is_some());
    // As many as there are members, but for learners, of whom the status tells elsewhere.
    status.replicas = 0;
    for member in &mut status.members {
        member.lag = None;
        if is_on_its_way(member.phase) {
            (member.phase, member.version, member.node) = Default::default();
        }
    }
    if let Some(operation) = &mut status.operation {
        operation.step.clear();
        // People act on the others: whoever still read that a pod is to be deleted would delete the new one.
        operation.blocked_by.retain(is_on_purpose);
    }
    status
}

/// Whether a member of this phase has not worked yet.
fn is_on_its_way(phase: MemberPhase) -> bool {
    use MemberPhase::{CatchingUp, Pending, Starting};
    matches!(phase, Pending | Starting | CatchingUp)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn status(change: Value) -> RaftClusterStatus {
        let mut status = json!({
            "conditions": [{
                "type": "Ready", "status": "False", "reason": "ScaleUp", "message": "CreateMember",
                "lastTransitionTime": "2027-01-15T08:00:00Z",
            }],
            "members": [{ "name": "kv-a", "phase": "CatchingUp", "role": "Learner", "lag": 7 }],
            "operation": {
                "type": "ScaleUp", "step": "CreateMember", "member": "kv-a",
                "startedAt": "2027-01-15T08:00:00Z", "deadline": "2027-01-15T08:10:00Z",
            },
        });
        crate::overlay::merge(&mut status, &change);
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn a_step_passes_and_what_is_remembered_or_waited_for_by_others_does_not() {
        let old = status(json!({}));
        for passing in [
            json!({ "operation": { "step": "StartMember" } }),
            json!({ "operation": { "blockedBy": [{ "gate": "CaughtUp", "message": "7 behind" }] } }),
        ] {
            assert!(is_passing(&old, &status(passing.clone())), "{passing}");
        }
        for kept in [
            json!({ "operation": { "type": "Rollout" } }),
            json!({ "operation": { "member": "kv-b" } }),
            json!({ "operation": { "blockedBy": [{ "gate": "OnDelete", "message": "delete pod kv-a" }] } }),
            json!({ "serial": 2 }),
            json!({ "observedGeneration": 2 }),
            json!({ "joining": { "name": "kv-b", "serial": 2 } }),
        ] {
            assert!(!is_passing(&old, &status(kept.clone())), "{kept}");
        }
        let mut turned = old.clone();
        turned.conditions[0].reason = "Converged".to_owned();
        assert!(!is_passing(&old, &turned));
        let mut done = old.clone();
        done.operation = None;
        assert!(!is_passing(&old, &done));
        let mut known = old.clone();
        known.members[0].id = Some("1".to_owned());
        assert!(!is_passing(&old, &known));
        let (mut near, mut said) = (old.clone(), old.clone());
        near.members[0].lag = Some(0);
        said.conditions[0].message = "StartMember".to_owned();
        assert!(is_passing(&old, &near) && is_passing(&old, &said));
    }

    #[test]
    fn a_member_on_its_way_passes_until_it_has_an_id_or_works() {
        let members = |change: Value| {
            let mut member = json!({ "name": "kv-a", "phase": "Pending", "role": "Learner" });
            crate::overlay::merge(&mut member, &change);
            json!({ "members": [member], "replicas": 1 })
        };
        let born = |change: Value| {
            let mut all = json!({ "clusterID": "c0ffee" });
            crate::overlay::merge(&mut all, &change);
            status(all)
        };
        let none = born(json!({ "members": [], "replicas": 0 }));
        let made = born(members(json!({ "claimUID": "u" })));
        let entered = born(members(json!({ "claimUID": "u", "id": "1" })));
        let follows = json!({ "claimUID": "u", "id": "1", "phase": "CatchingUp", "node": "n", "version": "1.0.0" });
        let follows = born(members(follows));
        let works = born(members(
            json!({ "claimUID": "u", "id": "1", "phase": "Ready" }),
        ));
        let gone = born(members(
            json!({ "claimUID": "u", "id": "1", "phase": "VolumeLost" }),
        ));
        assert!(is_passing(&none, &made) && is_passing(&entered, &follows));
        assert!(!is_passing(&made, &entered) && !is_passing(&follows, &works));
        assert!(!is_passing(&entered, &gone));
        let seed = status(members(json!({})));
        let founds = status(members(json!({ "claimUID": "u" })));
        assert!(!is_passing(&seed, &founds), "the cluster is founded on it");
    }

    #[test]
    fn the_name_of_a_new_member_passes_once_its_id_is_remembered() {
        let chosen = status(json!({ "joining": { "name": "kv-a", "serial": 2 } }));
        let forgotten = status(json!({}));
        assert!(
            !is_passing(&chosen, &forgotten),
            "nothing else remembers it"
        );
        let (mut named, mut entered) = (chosen, forgotten);
        named.members[0].id = Some("1".to_owned());
        entered.members[0].id = Some("1".to_owned());
        assert!(is_passing(&named, &entered));
        entered.members[0].id = None;
        assert!(!is_passing(&named, &entered), "the id is forgotten as well");
    }
}
