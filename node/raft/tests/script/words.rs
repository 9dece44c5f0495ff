//! How things read in a transcript.
//!
//! What this module does not do: decide what is shown.

use raft::{Body, ChangeKind, Configuration, Entry, HardState, Index, Message, Payload, PeerId};
use raft::{ProgressStatus, ReadId, Role, Status, Term, VoteKind};
use std::fmt::Display;

pub(super) fn list<T: Display>(things: impl IntoIterator<Item = T>, between: &str) -> String {
    things
        .into_iter()
        .map(|thing| thing.to_string())
        .collect::<Vec<_>>()
        .join(between)
}

pub(super) fn place(index: Index, term: Term) -> String {
    format!("{index}@{term}")
}

fn payload(payload: &Payload) -> String {
    match payload {
        Payload::Empty => String::from("empty"),
        Payload::Command(bytes) => format!("\"{}\"", String::from_utf8_lossy(bytes)),
        Payload::Change(change) => step(change.kind),
        Payload::EnterJoint(change) => {
            let steps = change.steps.iter().map(|kind| step(*kind));
            format!("joint ({})", list(steps, ", "))
        }
        Payload::LeaveJoint => String::from("leave-joint"),
    }
}

fn step(kind: ChangeKind) -> String {
    match kind {
        ChangeKind::AddVoter(peer) => format!("add-voter {peer}"),
        ChangeKind::AddLearner(peer) => format!("add-learner {peer}"),
        ChangeKind::Remove(peer) => format!("remove {peer}"),
    }
}

pub(super) fn entry(entry: &Entry) -> String {
    format!(
        "{} {}",
        place(entry.index, entry.term),
        payload(&entry.payload)
    )
}

pub(super) fn entries(entries: &[Entry]) -> String {
    list(entries.iter().map(entry), ", ")
}

pub(super) fn configuration(configuration: &Configuration) -> String {
    let mut text = format!("voters {}", list(configuration.voters(), " "));
    if configuration.is_joint() {
        text += &format!(", outgoing {}", list(configuration.outgoing(), " "));
    }
    if !configuration.learners().is_empty() {
        text += &format!(", learners {}", list(configuration.learners(), " "));
    }
    if !configuration.next_learners().is_empty() {
        let next = list(configuration.next_learners(), " ");
        text += &format!(", next learners {next}");
    }
    text
}

pub(super) fn hard_state(state: HardState) -> String {
    let vote = state
        .vote
        .map_or(String::new(), |vote| format!(", vote {vote}"));
    format!("term {}{vote}, commit {}", state.term, state.commit)
}

pub(super) fn role(role: Role, term: Term, leader: Option<PeerId>) -> String {
    match (role, leader) {
        (Role::Follower, Some(leader)) => format!("follows {leader} in term {term}"),
        (Role::Follower, None) => format!("follows nobody in term {term}"),
        (Role::PreCandidate, _) => format!("asks around in term {term}"),
        (Role::Candidate, _) => format!("campaigns in term {term}"),
        (Role::Leader, _) => format!("leads term {term}"),
    }
}

fn vote_kind(kind: VoteKind) -> &'static str {
    match kind {
        VoteKind::PreVote => "pre-vote",
        VoteKind::Vote => "vote",
    }
}

fn reads(ids: &[ReadId]) -> String {
    format!("read {}", list(ids, " "))
}

fn body(body: &Body) -> String {
    match body {
        Body::RequestVote {
            kind,
            last_index,
            last_term,
            transfer,
        } => {
            let transfer = if *transfer { ", for the leader" } else { "" };
            let end = place(*last_index, *last_term);
            format!("{}? log ends {end}{transfer}", vote_kind(*kind))
        }
        Body::Vote {
            kind,
            granted,
            commit,
            commit_term,
        } => {
            let answer = if *granted { "yes" } else { "no" };
            format!(
                "{} {answer}, commit {}",
                vote_kind(*kind),
                place(*commit, *commit_term)
            )
        }
        Body::Append {
            prev_index,
            prev_term,
            entries,
            commit,
        } => format!(
            "append {}",
            after((*prev_index, *prev_term), entries, *commit)
        ),
        Body::Lend {
            prev_index,
            prev_term,
            entries,
            commit,
        } => format!(
            "lend {}",
            after((*prev_index, *prev_term), entries, *commit)
        ),
        Body::Accepted { match_index } => format!("accepted {match_index}"),
        Body::Rejected {
            prev_index,
            hint_index,
            hint_term,
        } => {
            let hint = place(*hint_index, *hint_term);
            format!("rejected {prev_index}, perhaps {hint}")
        }
        Body::Heartbeat { commit, round } => format!("heartbeat {round}, commit {commit}"),
        Body::HeartbeatReply { round } => format!("heard heartbeat {round}"),
        Body::InstallSnapshot { meta } => format!(
            "snapshot {} with {}",
            place(meta.index, meta.term),
            configuration(&meta.configuration)
        ),
        Body::TimeoutNow => String::from("your turn"),
        Body::Propose { payloads } => {
            format!("propose {}", list(payloads.iter().map(payload), ", "))
        }
        Body::Read { ids } => reads(ids),
        Body::ReadReply { ids, index } => {
            let outcome = index.map_or("failed".to_owned(), |index| format!("at {index}"));
            format!("{} {outcome}", reads(ids))
        }
    }
}

/// Entries after a place, and the commit that is told with them.
fn after(prev: (Index, Term), sent: &[Entry], commit: Index) -> String {
    let place = place(prev.0, prev.1);
    if sent.is_empty() {
        return format!("{place}, commit {commit}");
    }
    format!("{place} + {}, commit {commit}", entries(sent))
}

pub(super) fn message(message: &Message) -> String {
    let Message {
        from,
        to,
        term,
        body: said,
    } = message;
    format!("{from} -> {to} [{term}] {}", body(said))
}

pub(super) fn status(status: &Status) -> Vec<String> {
    let Status {
        id,
        first_index,
        last_index,
        commit,
        stable_index,
        ..
    } = status;
    let mut lines = vec![format!(
        "{id} {}; log {first_index} to {last_index}, durable {stable_index}, commit {commit}; {}",
        role(status.role, status.term, status.leader),
        configuration(&status.configuration)
    )];
    if let Some(to) = status.transferring_to {
        lines.push(format!("  hands over to {to}"));
    }
    lines.extend(status.progress.iter().map(progress));
    lines
}

fn progress(progress: &ProgressStatus) -> String {
    let ProgressStatus {
        peer,
        matched,
        next,
        mode,
        ..
    } = progress;
    let active = if progress.recently_active {
        ""
    } else {
        ", silent"
    };
    let (messages, bytes) = (progress.inflight_messages, progress.inflight_bytes);
    let mode = format!("{mode:?}").to_lowercase();
    format!(
        "  {peer}: {mode}, has {matched}, next {next}, under way {messages} ({bytes} B){active}"
    )
}
