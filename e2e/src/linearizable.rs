//! Says whether a history is linearizable, or shows why it is not.
//!
//! Each key is a register of its own (linearizability composes), so each is searched alone, as
//! Wing and Gong do it, with Lowe's memory of visited configurations: from "these operations
//! have taken effect and the key holds this", any operation may be next that was invoked before
//! the first return among those still open. A history is linearizable when all answered operations find
//! a place. Operations with an unknown outcome may find one, or none.
//!
//! Two facts keep the search small. They hold because every value is written by one operation
//! only and every answer names what it saw:
//! - an unknown write that nobody saw can be left out: whatever stood between it and the next
//!   write would have seen it;
//! - an unknown write that somebody saw did take effect, and before the first such answer.
//!
//! Revisions are checked beside it, over all keys at once ([`revisions_follow_time`]): the store's
//! counter must never run against the order in which answers came and requests left.
//!
//! Existing crates were tried for this: the one that is maintained explores every interleaving
//! without a memory and has no unknown outcomes; that ends at a few dozen operations, and here
//! are tens of thousands.
//!
//! It does not look at leases, watches or transactions over several keys.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::history::{Action, Answer, History, Operation, Outcome, Value};

/// Why a history cannot have been produced by one register per key.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The key whose operations contradict each other.
    pub key: String,
    story: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {} is not linearizable: {}", self.key, self.story)
    }
}

impl std::error::Error for Violation {}

/// Checks every key of a history, and the revisions over all of them.
///
/// # Errors
/// The first contradiction found, told so that a reader can follow it.
pub fn check(history: &History) -> Result<(), Violation> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, operations) in keys {
        check_key(key, &operations)?;
    }
    revisions_follow_time(history)
}

/// Checks that no answer carries a smaller revision than an answer that had returned before its
/// request left, and that no write shares one with an earlier answer.
///
/// # Errors
/// The two operations that contradict each other.
pub fn revisions_follow_time(history: &History) -> Result<(), Violation> {
    let mut returns: Vec<&Operation> = history
        .operations
        .iter()
        .filter(|o| o.revision.is_some() && o.answer().is_some())
        .collect();
    let mut invokes = returns.clone();
    returns.sort_by_key(|o| o.returned.order);
    invokes.sort_by_key(|o| o.invoked.order);
    let mut newest: Option<&Operation> = None;
    let mut returned = returns.into_iter().peekable();
    for later in invokes {
        while let Some(earlier) = returned.next_if(|o| o.returned.order < later.invoked.order) {
            if newest.is_none_or(|n| n.revision < earlier.revision) {
                newest = Some(earlier);
            }
        }
        let Some(earlier) = newest else { continue };
        let must_grow = later.is_acknowledged_write();
        if later.revision < earlier.revision || (must_grow && later.revision == earlier.revision) {
            return Err(Violation {
                key: later.key.clone(),
                story: against_time(earlier, later),
            });
        }
    }
    Ok(())
}

fn against_time(earlier: &Operation, later: &Operation) -> String {
    let revision = |o: &Operation| o.revision.unwrap_or_default();
    format!(
        "revisions run against time:\n  first    {earlier} at revision {}\n  and then {later} at revision {}",
        revision(earlier),
        revision(later),
    )
}

/// An operation as the search sees it.
struct Candidate<'a> {
    operation: &'a Operation,
    invoked: u64,
    /// `u64::MAX`: it never has to take effect.
    returned: u64,
}

fn check_key(key: &str, operations: &[&Operation]) -> Result<(), Violation> {
    let (mut must, ghosts): (Vec<_>, Vec<_>) = candidates(operations)
        .into_iter()
        .partition(|c| c.returned != u64::MAX);
    must.sort_by_key(|c| c.invoked);
    let mut search = Search {
        must,
        ghosts,
        nodes: Vec::new(),
    };
    match search.run() {
        Found::Order => Ok(()),
        Found::Stuck(deepest) => Err(Violation {
            key: key.to_owned(),
            story: search.story(deepest),
        }),
    }
}

fn candidates<'a>(operations: &[&'a Operation]) -> Vec<Candidate<'a>> {
    let seen_by = first_proofs(operations);
    operations
        .iter()
        .filter_map(|o| candidate(o, &seen_by))
        .collect()
}

/// For each value that an answer proves to have been there, the earliest return of such an answer.
///
/// An unknown swap whose value was seen took effect, so it has seen what it expected: proofs
/// follow from proofs, until nothing is new.
fn first_proofs(operations: &[&Operation]) -> BTreeMap<Value, u64> {
    let mut seen_by: BTreeMap<Value, u64> = BTreeMap::new();
    for operation in operations {
        if let Some(value) = operation.answer().and_then(|a| a.proves(&operation.action)) {
            note(&mut seen_by, value, operation.returned.order);
        }
    }
    loop {
        let derived: Vec<(Value, u64)> = operations
            .iter()
            .filter_map(|o| derived_proof(o, &seen_by))
            .collect();
        let news = derived
            .into_iter()
            .filter(|(value, at)| note(&mut seen_by, *value, *at))
            .count();
        if news == 0 {
            return seen_by;
        }
    }
}

/// Whether this proof is earlier than what was known.
fn note(seen_by: &mut BTreeMap<Value, u64>, value: Value, at: u64) -> bool {
    let first = seen_by.entry(value).or_insert(u64::MAX);
    let earlier = at < *first;
    *first = at.min(*first);
    earlier
}

fn derived_proof(operation: &Operation, seen_by: &BTreeMap<Value, u64>) -> Option<(Value, u64)> {
    match (&operation.outcome, operation.action) {
        (
            Outcome::Unknown(_),
            Action::Swap {
                expect: Some(value),
                to,
            },
        ) => Some((value, *seen_by.get(&to)?)),
        _ => None,
    }
}

fn candidate<'a>(
    operation: &'a Operation,
    seen_by: &BTreeMap<Value, u64>,
) -> Option<Candidate<'a>> {
    let returned = match (&operation.outcome, operation.action) {
        (Outcome::Done(_), _) => operation.returned.order,
        (Outcome::Failed(_), _) | (Outcome::Unknown(_), Action::Get) => return None,
        (Outcome::Unknown(_), Action::Delete) => u64::MAX,
        (Outcome::Unknown(_), Action::Put(value) | Action::Swap { to: value, .. }) => {
            *seen_by.get(&value)?
        }
    };
    Some(Candidate {
        operation,
        invoked: operation.invoked.order,
        returned,
    })
}

/// What the register holds after an operation, or `None` if it cannot take effect there.
fn apply(operation: &Operation, held: Option<Value>) -> Option<Option<Value>> {
    match (operation.action, operation.answer()) {
        (Action::Put(value), _) => Some(Some(value)),
        (Action::Get, Some(Answer::Saw(seen))) => (*seen == held).then_some(held),
        (Action::Swap { expect, .. }, Some(Answer::Kept(seen))) => {
            (*seen == held && expect != held).then_some(held)
        }
        (Action::Swap { expect, to }, _) => (expect == held).then_some(Some(to)),
        (Action::Delete, Some(Answer::Deleted(seen))) => (*seen == held).then_some(None),
        (Action::Delete, None) => Some(None),
        (Action::Get | Action::Delete, _) => None,
    }
}

/// Which operations have taken effect, in a form that stays small: operations are sorted by
/// invocation, so all but the last few below the furthest one have.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Frontier {
    /// All of `must` below this have taken effect.
    below: u32,
    /// And these above it, sorted.
    above: Vec<u32>,
    /// And these of `ghosts`, sorted.
    ghosts: Vec<u32>,
    held: Option<Value>,
}

struct Node {
    frontier: Frontier,
    /// The node before this one and what took effect between them.
    came: Option<(usize, Step)>,
}

#[derive(Clone, Copy)]
enum Step {
    Must(u32),
    Ghost(u32),
}

struct Search<'a> {
    must: Vec<Candidate<'a>>,
    ghosts: Vec<Candidate<'a>>,
    nodes: Vec<Node>,
}

enum Found {
    Order,
    /// The node that got furthest.
    Stuck(usize),
}

impl<'a> Search<'a> {
    fn run(&mut self) -> Found {
        let start = Frontier {
            below: 0,
            above: Vec::new(),
            ghosts: Vec::new(),
            held: None,
        };
        let mut visited = HashSet::from([start.clone()]);
        self.nodes.push(Node {
            frontier: start,
            came: None,
        });
        let mut open = vec![0_usize];
        let mut deepest = (0, 0);
        while let Some(at) = open.pop() {
            let effected =
                self.nodes[at].frontier.below as usize + self.nodes[at].frontier.above.len();
            if effected == self.must.len() {
                return Found::Order;
            }
            deepest = deepest.max((effected, at));
            for step in self.possible(&self.nodes[at].frontier) {
                let Some(next) = self.take(&self.nodes[at].frontier, step) else {
                    continue;
                };
                if visited.insert(next.clone()) {
                    open.push(self.nodes.len());
                    self.nodes.push(Node {
                        frontier: next,
                        came: Some((at, step)),
                    });
                }
            }
        }
        Found::Stuck(deepest.1)
    }

    /// What may be next, most promising last: ghosts, then by return, the earliest last.
    fn possible(&self, frontier: &Frontier) -> Vec<Step> {
        let mut first_return = u64::MAX;
        let mut open = Vec::new();
        for index in frontier.below..self.must.len() as u32 {
            let candidate = &self.must[index as usize];
            if candidate.invoked > first_return {
                break;
            }
            if frontier.above.binary_search(&index).is_err() {
                first_return = first_return.min(candidate.returned);
                open.push(index);
            }
        }
        open.retain(|i| self.must[*i as usize].invoked < first_return);
        open.sort_by_key(|i| std::cmp::Reverse(self.must[*i as usize].returned));
        let ghosts = (0..self.ghosts.len() as u32).filter(|g| {
            self.ghosts[*g as usize].invoked < first_return
                && frontier.ghosts.binary_search(g).is_err()
        });
        ghosts
            .map(Step::Ghost)
            .chain(open.into_iter().map(Step::Must))
            .collect()
    }

    fn operation(&self, step: Step) -> &'a Operation {
        match step {
            Step::Must(index) => self.must[index as usize].operation,
            Step::Ghost(index) => self.ghosts[index as usize].operation,
        }
    }

    fn take(&self, frontier: &Frontier, step: Step) -> Option<Frontier> {
        let held = apply(self.operation(step), frontier.held)?;
        let mut next = Frontier {
            held,
            ..frontier.clone()
        };
        let (set, index) = match step {
            Step::Must(index) => (&mut next.above, index),
            Step::Ghost(index) => (&mut next.ghosts, index),
        };
        let place = set
            .binary_search(&index)
            .expect_err("an operation takes effect once");
        set.insert(place, index);
        let full = next
            .above
            .iter()
            .zip(next.below..)
            .take_while(|(a, b)| **a == *b)
            .count();
        next.above.drain(..full);
        next.below += full as u32;
        Some(next)
    }

    fn story(&self, deepest: usize) -> String {
        const SHOWN: usize = 8;
        let frontier = &self.nodes[deepest].frontier;
        let mut before = Vec::new();
        let mut at = deepest;
        while let (Some((parent, step)), true) = (self.nodes[at].came, before.len() < SHOWN) {
            before.push(format!("\n  took effect  {}", self.operation(step)));
            at = parent;
        }
        before.reverse();
        let next: String = self
            .possible(frontier)
            .into_iter()
            .rev()
            .map(|s| format!("\n  cannot be next  {}", self.operation(s)))
            .collect();
        let held = frontier
            .held
            .map_or_else(|| "nothing".to_owned(), |v| v.0.to_string());
        format!(
            "of {} operations {} can be put in order, the last of them:{}\nthen the key holds {held}, and none of those fits that were open:{next}",
            self.must.len(),
            frontier.below as usize + frontier.above.len(),
            before.concat(),
        )
    }
}

#[cfg(test)]
mod tests;
