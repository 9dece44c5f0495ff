//! Space for members that have used up their quota: compact, defragment, disarm the alarm.
//!
//! The revision to compact to is remembered when the alarm is first seen, so that history goes only once for each alarm, and
//! never what was written after it. Members are defragmented one by one, the leader last; the alarm is disarmed when every
//! member has a tenth of its quota free, and not before, or it would only be raised again.
//!
//! This file deliberately raises no quota and deletes no key. The alarm CORRUPT is `corruption.rs`'s.

use crds::{OnNoSpace, OperationType::Repair, Reclaiming};

use crate::{
    action::{Action, Alarm},
    draft::{Draft, moving, no_quorum, waiting},
    operate,
    report::Work,
    view::{Member, View, thousands},
};

/// Takes one step towards space; no work while no member lacks it, or the spec leaves it to the user. Where it must wait, a
/// roll-out, which may be that of a larger quota, and an operation come first.
pub(crate) fn reclaim(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    next(view, draft).filter(|it| it.blocked_by.is_empty())
}

/// What keeps space from being reclaimed, when nothing else is in hand.
pub(crate) fn wait(view: &View<'_>) -> Option<Work> {
    next(view, &mut Draft::new(view)).filter(|it| !it.blocked_by.is_empty())
}

fn next(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    let leader = view.leading()?;
    let alarmed = &leader.answer?.no_space;
    if alarmed.is_empty() || view.spec.on_no_space == OnNoSpace::Report {
        draft.memory.reclaiming = None;
        return None;
    }
    let Some(reclaiming) = view.memory.reclaiming.clone() else {
        draft.memory.reclaiming = Some(Reclaiming {
            revision: leader.answer?.revision,
            compacted: false,
        });
        return Some(moving(Repair, "PlanReclaim", &leader.name));
    };
    Some(match (no_quorum(view), view.ground("")) {
        (None, Some(ground)) if !reclaiming.compacted => {
            let revision = reclaiming.revision;
            draft.actions.push(Action::Compact { revision, ground });
            moving(Repair, "Compact", &leader.name)
        }
        (None, Some(_)) => make_room(view, draft, leader, alarmed),
        (why, _) => {
            let why = why.unwrap_or_else(|| "the membership is not known".to_owned());
            waiting(Repair, "Compact", &leader.name, "Quorum", why)
        }
    })
}

fn make_room(view: &View<'_>, draft: &mut Draft, leader: &Member<'_>, alarmed: &[u64]) -> Work {
    let leads = |it: &Member<'_>| it.name == leader.name;
    let holey = |it: &&Member<'_>| {
        it.answer.is_some_and(|it| it.db_size.is_some()) && !operate::gains_nothing(it)
    };
    let mut roster = view.roster();
    roster.retain(|it| it.fenced.is_none());
    let next = roster.iter().copied().filter(holey);
    if let Some(next) = next.min_by_key(|it| (leads(it), it.serial)) {
        return operate::defragment_one(view, draft, Repair, next);
    }
    let full = roster.iter().find(|it| !has_room(view, it));
    match (full, view.ground("")) {
        (None, Some(ground)) => {
            draft
                .actions
                .extend(alarmed.iter().map(|id| Action::Disarm {
                    alarm: Alarm::NoSpace,
                    id: *id,
                    ground: ground.clone(),
                }));
            moving(Repair, "DisarmAlarm", &leader.name)
        }
        (full, _) => {
            let name = full.map_or(&leader.name, |it| &it.name);
            waiting(
                Repair,
                "DisarmAlarm",
                name,
                "Space",
                no_room(view, full.copied()),
            )
        }
    }
}

/// Whether a member has a tenth of its quota free.
fn has_room(view: &View<'_>, member: &Member<'_>) -> bool {
    let limit = view.spec.quota_bytes / 10 * 9;
    let size = member.answer.and_then(|it| it.db_size);
    size.is_some_and(|it| it < limit)
}

fn no_room(view: &View<'_>, member: Option<&Member<'_>>) -> String {
    match member.and_then(|it| Some((it, it.answer?.db_size?))) {
        Some((member, size)) => format!(
            "member {} still uses {} of {} bytes after compaction and defragmentation; raise spec.options.quotaBackendBytes, or delete keys and create a RaftOperation with compact",
            member.name,
            thousands(size),
            thousands(view.spec.quota_bytes)
        ),
        None => "a member does not say how much it uses".to_owned(),
    }
}
