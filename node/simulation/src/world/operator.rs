//! The administrator: wants so many voters, and replaces members that lost their data where the others cannot give it back. Every time it looks at the leader's table
//! anew, and does one thing. Now and then it adds several learners, and once they run, promotes them and removes old members in
//! one call.
//!
//! What this module deliberately does not do: remember what it began.

use raft::Persist;
use rand::Rng;
use store::{Command, MemberAdd, MemberChanges, MemberPromote, MemberRemove, MemberStep};

use super::checker::Checked;
use super::member::Fate;
use super::requests::Wish;
use super::{Event, World, table_entry};
use crate::history::Answer;
use quorate_node::status::Membership;

/// No more members than this in one run, dead or alive.
const MOST_MEMBERS: u64 = 14;
/// As `--max-learners` has it by default.
const MAX_LEARNERS: u32 = 1;

impl World {
    pub(super) fn operator_acts(&mut self) -> Checked {
        let pause = self.rng.random_range(300..1_500);
        self.plan(pause, Event::Operator);
        if self.is_changing() {
            return Ok(());
        }
        self.start_missing()?;
        let Some((leader, table)) = self.table() else {
            return Ok(());
        };
        self.end_removed(&table);
        if let Some(wish) = self.decide(&table) {
            self.note(|| format!("the administrator wants {wish:?}"));
            if matches!(wish, Wish::Change(_)) {
                self.changed_at = self.now;
            }
            self.call(leader, wish);
        }
        Ok(())
    }

    /// Whether the administrator waits for an answer.
    pub(super) fn is_changing(&self) -> bool {
        let mut wishes = self.calls.values().map(|call| &call.wish);
        wishes.any(|wish| !matches!(wish, Wish::Client(_)))
    }

    /// The leader's table.
    pub(super) fn table(&mut self) -> Option<(u64, Membership)> {
        let leader = self.leader().filter(|id| self.is_awake(*id))?;
        let alive = self.alive(leader)?;
        Some((leader, Membership::clone(alive.driver.membership())))
    }

    /// Members that were added, by whoever knows that already, and have no process yet.
    fn start_missing(&mut self) -> Checked {
        let alive = self.members.values().filter_map(|it| it.alive.as_ref());
        let tables = alive.map(|alive| Membership::clone(alive.driver.membership()));
        let tables: Vec<Membership> = tables.collect();
        for table in &tables {
            for id in table.members.keys() {
                if !self.members.contains_key(id) {
                    self.add_member(*id, &Persist::default(), table.clone());
                    self.start(*id)?;
                }
            }
        }
        Ok(())
    }

    /// Members that were removed, and perhaps never heard of it.
    fn end_removed(&mut self, table: &Membership) {
        for id in &table.removed {
            let runs = matches!(self.members[id].fate, Fate::Well);
            if runs && (self.is_calm || self.chance(0.05)) {
                self.remove(*id);
            }
        }
    }

    fn decide(&mut self, table: &Membership) -> Option<Wish> {
        let is_broken = |id: &u64| matches!(self.members[id].fate, Fate::Refused(_));
        let change = |command| Some(Wish::Change(command));
        if let Some(broken) = table.members.keys().copied().find(is_broken) {
            return change(Command::MemberRemove(MemberRemove { id: broken }));
        }
        if table.members.values().any(|member| member.is_learner) {
            return self.promote(table);
        }
        if table.members.len() < self.wanted {
            let id = self.members.keys().max().map_or(1, |newest| newest + 1);
            if id > MOST_MEMBERS {
                self.wanted = table.members.len();
                return None;
            }
            let is_learner = self.rng.random_bool(0.9);
            let member = store::Member {
                is_learner,
                ..table_entry(id)
            };
            return change(Command::MemberAdd(MemberAdd {
                member,
                max_learners: MAX_LEARNERS,
            }));
        }
        if !self.are_whole(table) {
            return None;
        }
        let place = self.rng.random_range(0..table.members.len());
        let some = *table.members.keys().nth(place)?;
        if table.members.len() > self.wanted {
            return change(Command::MemberRemove(MemberRemove { id: some }));
        }
        if self.chance(self.profile.transfers) {
            return Some(Wish::Move(some));
        }
        if self.chance(self.profile.resizing) {
            self.wanted = self.rng.random_range(1..=5);
            return None;
        }
        self.chance(self.profile.exchanges)
            .then(|| self.add_several())?
    }

    /// Whether no member may need the others to get back what it had.
    fn are_whole(&self, table: &Membership) -> bool {
        let is_whole = |id: &u64| self.members[id].platter.is_whole();
        table.members.keys().all(is_whole)
    }

    /// Learners for some or all of the voters there are, in one call, if there may be so many members.
    fn add_several(&mut self) -> Option<Wish> {
        let newest = self.members.keys().max().copied().unwrap_or_default();
        let count = self.rng.random_range(1..=self.wanted as u64);
        if newest + count > MOST_MEMBERS {
            return None;
        }
        let learner = |id| {
            MemberStep::Add(store::Member {
                is_learner: true,
                ..table_entry(id)
            })
        };
        Some(several((newest + 1..=newest + count).map(learner)))
    }

    /// A single learner becomes a voter by itself, or as several do: in one call, in which voters go that are too many then.
    fn promote(&mut self, table: &Membership) -> Option<Wish> {
        let (learners, voters): (Vec<&store::Member>, Vec<_>) =
            table.members.values().partition(|member| member.is_learner);
        let excess = table.members.len().saturating_sub(self.wanted);
        if let [learner] = learners[..]
            && (excess == 0 || self.chance(0.5))
        {
            let id = learner.id;
            return Some(Wish::Change(Command::MemberPromote(MemberPromote { id })));
        }
        if !self.are_whole(table) {
            return None;
        }
        let mut leaving: Vec<u64> = voters.iter().map(|member| member.id).collect();
        while leaving.len() > excess {
            leaving.swap_remove(self.rng.random_range(0..leaving.len()));
        }
        let promotions = learners.iter().map(|it| MemberStep::Promote(it.id));
        Some(several(
            promotions.chain(leaving.into_iter().map(MemberStep::Remove)),
        ))
    }

    /// The cluster answered the administrator.
    pub(super) fn change_answered(&mut self, wish: &Wish, answer: &Answer) {
        let kind = match (wish, answer) {
            (Wish::Change(Command::MemberAdd(_)), Answer::Applied(_)) => "members added",
            (Wish::Change(Command::MemberRemove(_)), Answer::Applied(_)) => "members removed",
            (Wish::Change(Command::MemberPromote(_)), Answer::Applied(_)) => "members promoted",
            (Wish::Change(Command::MemberChanges(it)), Answer::Applied(_)) => kind_of(it),
            (Wish::Move(_), Answer::Done) => "hand-overs",
            (Wish::Members, _) => "questions about the membership",
            _ => "changes refused or lost",
        };
        self.summary.note(kind);
    }
}

fn several(steps: impl Iterator<Item = MemberStep>) -> Wish {
    let changes: Vec<_> = steps.map(Into::into).collect();
    let max_learners = changes.len() as u32;
    Wish::Change(Command::MemberChanges(MemberChanges {
        changes,
        max_learners,
    }))
}

fn kind_of(changes: &MemberChanges) -> &'static str {
    let has = |kind: fn(&MemberStep) -> bool| changes.steps().any(kind);
    if has(|step| matches!(step, MemberStep::Remove(_))) {
        "members exchanged in one call"
    } else if has(|step| matches!(step, MemberStep::Add(_))) {
        "learners added in one call"
    } else {
        "learners promoted in one call"
    }
}
