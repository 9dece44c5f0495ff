//! `Draft`: a plan while it is being made, and the few sentences that all policies share.
//!
//! A policy is a function from a view to the work in hand, if there is any; it adds its actions to the draft. The first
//! that has work owns the round. Deliberately no trait: there is one list of policies, in `lib.rs`, and it is closed.

use crds::{BlockedBy, Joining, OperationType};

use crate::{
    action::{Action, Target},
    autogrow, footing, objects,
    operate::fence,
    peers, replace,
    report::{Memory, Work},
    view::{ClaimState, Member, View},
};

/// A plan while it is being made.
pub(crate) struct Draft {
    pub(crate) actions: Vec<Action>,
    /// What the status shall remember after this round.
    pub(crate) memory: Memory,
}

impl Draft {
    /// An empty plan that remembers what the status does, less the name of a member whose id is known by now, plus the
    /// image in force, the default one, the size that volumes are to have, and where members are to listen.
    pub(crate) fn new(view: &View<'_>) -> Self {
        let mut memory = view.memory.clone();
        let entered = |name: &str| {
            view.members
                .get(name)
                .is_some_and(|it| it.known_id.is_some())
        };
        memory.joining = memory.joining.filter(|it| !entered(&it.name));
        memory.image = Some(view.spec.image.clone()).filter(|it| !it.is_empty());
        memory.default_image.clone_from(&view.spec.default_image);
        memory.storage = autogrow::next(view);
        memory.peer_listeners = peers::next(view);
        Self {
            actions: Vec::new(),
            memory,
        }
    }

    /// Whether this pod is to be deleted.
    pub(crate) fn stops(&self, target: &Target) -> bool {
        let mut actions = self.actions.iter();
        actions.any(|it| matches!(it, Action::DeletePod { pod, .. } if pod == target))
    }

    /// Chooses the name of the next member. Nothing of that name may be made before the status remembers it.
    pub(crate) fn choose(&mut self, joining: Joining) -> String {
        let name = joining.name.clone();
        self.memory.serial = joining.serial;
        self.memory.joining = Some(joining);
        name
    }
}

/// Work that moves.
pub(crate) fn moving(kind: OperationType, step: &'static str, member: &str) -> Work {
    Work {
        kind,
        step,
        member: Some(member.to_owned()),
        blocked_by: Vec::new(),
    }
}

/// Work that waits.
pub(crate) fn waiting(
    kind: OperationType,
    step: &'static str,
    member: &str,
    gate: &str,
    message: String,
) -> Work {
    let blocked_by = vec![BlockedBy {
        gate: gate.to_owned(),
        message,
    }];
    Work {
        blocked_by,
        ..moving(kind, step, member)
    }
}

/// How many of `voters` make a majority.
pub(crate) const fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Why no change of the membership can be made now, if none can: a majority must be there to agree to it.
pub(crate) fn no_quorum(view: &View<'_>) -> Option<String> {
    let (voters, good) = (view.voters().len(), view.good());
    if view.membership.is_none() {
        return Some("no member could read the membership through a majority".to_owned());
    }
    (good < majority(voters)).then(|| {
        format!(
            "{good} of {voters} voters are healthy and caught up, {} are needed{}",
            majority(voters),
            aside(view)
        )
    })
}

/// Why the voters left without this one would not be `needed` healthy ones, if they would not.
pub(crate) fn short_of(view: &View<'_>, without: &Member<'_>, needed: usize) -> Option<String> {
    let members = view.members.values();
    let left = members.filter(|it| it.good && it.name != without.name);
    let (left, voters) = (left.count(), view.voters().len());
    (left < needed).then(|| {
        format!(
            "without {}, {left} of {voters} voters would be healthy and caught up, {needed} are needed{}",
            without.name,
            aside(view)
        )
    })
}

/// Whom a person could bring back, where voters are short.
fn aside(view: &View<'_>) -> String {
    fence::told(view).map_or_else(String::new, |it| format!("; {it}"))
}

/// Starts handing the leadership over from `from`, or says why it cannot be.
pub(crate) fn hand_over(
    view: &View<'_>,
    draft: &mut Draft,
    kind: OperationType,
    from: &Member<'_>,
) -> Work {
    let heir = view
        .members
        .values()
        .filter(|it| it.good && it.name != from.name)
        .min_by_key(|it| {
            let goes = replace::reason(view, it).is_some();
            let emptied = footing::stays(view, it) == Some(false);
            (
                goes,
                !it.current,
                !it.pod_ready(),
                emptied,
                it.lag,
                it.serial,
            )
        });
    hand_over_to(view, draft, kind, from, heir)
}

/// Starts handing the leadership over from `from` to this heir, or says why it cannot be.
pub(crate) fn hand_over_to(
    view: &View<'_>,
    draft: &mut Draft,
    kind: OperationType,
    from: &Member<'_>,
    heir: Option<&Member<'_>>,
) -> Work {
    const STEP: &str = "HandOver";
    let ground = view.ground("").filter(|it| it.via == from.name);
    match (heir, ground) {
        (None, _) => waiting(
            kind,
            STEP,
            &from.name,
            "Heir",
            format!(
                "member {} leads and no other voter is healthy and caught up to take over",
                from.name
            ),
        ),
        (_, None) => waiting(
            kind,
            STEP,
            &from.name,
            "Leader",
            format!("member {} leads and does not answer", from.name),
        ),
        (Some(heir), Some(ground)) => {
            let to_id = heir.listed.as_ref().map_or(0, |it| it.id);
            draft.actions.push(Action::MoveLeader {
                to: heir.name.clone(),
                to_id,
                ground,
            });
            moving(kind, STEP, &from.name)
        }
    }
}

/// Makes identity and volume in one go: both bear a name that the status remembers.
pub(crate) fn make(view: &View<'_>, draft: &mut Draft, joining: &Joining) {
    let Joining { name, serial, .. } = joining;
    let identity = objects::member::member(&view.spec, joining);
    draft.actions.push(Action::CreateMember(Box::new(identity)));
    let absent = view
        .members
        .get(name)
        .is_none_or(|it| matches!(it.claim, ClaimState::Absent));
    if absent {
        make_claim(view, draft, name, *serial);
    }
}

/// Makes the volume of a member that has none yet.
pub(crate) fn make_claim(view: &View<'_>, draft: &mut Draft, name: &str, serial: i64) {
    let claim = objects::claim::claim(&view.spec, name, serial);
    draft.actions.push(Action::CreateClaim(Box::new(claim)));
}
