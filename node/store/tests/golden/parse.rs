//! The words of a script.

use super::auth;
use bytes::Bytes;
use store::{
    Alarm, AlarmChange, Command, CompactionRequest, Compare, CompareResult, CompareTarget,
    DeleteRangeRequest, Downgrade, LeaseCheckpoint, LeaseGrant, LeaseRemaining, LeaseRevoke,
    Member, MemberAdd, MemberAttributes, MemberChanges, MemberKeep, MemberPromote, MemberRemove,
    MemberStep, MemberUpdate, Op, PutRequest, RangeRequest, RequestOp, SortOrder, SortTarget,
    TargetUnion, TxnRequest, Version,
};

pub(crate) enum Ask {
    Apply(Command),
    Range(RangeRequest),
    ReadTxn(TxnRequest),
    Changes(i64),
    Hash(i64),
    Restart,
    Kept,
    Leases,
    MaxTxnOps(usize),
    Alarms,
    Auth,
    Version,
    LeaveJoint,
    Electorates,
}

/// A command, and the lines indented below it.
pub(crate) fn parse(line: &str, body: &[&str]) -> Ask {
    let mut words = line.split_whitespace();
    let verb = words.next().expect("a line has a verb");
    let words: Vec<&str> = words.collect();
    let number = || {
        words
            .first()
            .map_or(0, |word| word.parse().expect("a number"))
    };
    match verb {
        "range" => Ask::Range(range(&words)),
        "read-txn" => Ask::ReadTxn(txn(body)),
        "changes" => Ask::Changes(number()),
        "hash" => Ask::Hash(number()),
        "restart" => Ask::Restart,
        "kept" => Ask::Kept,
        "leases" => Ask::Leases,
        "max-txn-ops" => Ask::MaxTxnOps(number() as usize),
        "auth" => Ask::Auth,
        "alarms" => Ask::Alarms,
        "alarm-raise" => Ask::Apply(alarm(&words, true)),
        "alarm-lower" => Ask::Apply(alarm(&words, false)),
        "version" => Ask::Version,
        "cluster-version" => {
            Ask::Apply(Command::ClusterVersion(version(&words).expect("a version")))
        }
        "downgrade" => Ask::Apply(Command::Downgrade(Downgrade {
            target: version(&words),
        })),
        "put" => Ask::Apply(Command::Put(put(&words))),
        "delete" => Ask::Apply(Command::DeleteRange(delete(&words))),
        "txn" => Ask::Apply(Command::Txn(txn(body))),
        "compact" => Ask::Apply(Command::Compact(CompactionRequest {
            revision: number(),
            physical: words.contains(&"physical"),
        })),
        "lease-grant" => Ask::Apply(Command::LeaseGrant(LeaseGrant {
            id: number(),
            ttl: named(&words, "ttl=").expect("a TTL"),
        })),
        "lease-revoke" => Ask::Apply(Command::LeaseRevoke(LeaseRevoke { id: number() })),
        "lease-checkpoint" => Ask::Apply(Command::LeaseCheckpoint(checkpoint(&words))),
        "members-change" => Ask::Apply(several(&words, body)),
        "members-leave-joint" => Ask::LeaveJoint,
        "members-electorates" => Ask::Electorates,
        verb if verb.starts_with("member-") => Ask::Apply(member(verb, &words)),
        verb => Ask::Apply(auth::command(verb, &words)),
    }
}

fn version(words: &[&str]) -> Option<Version> {
    words.first().and_then(|word| Version::parse(word))
}

fn alarm(words: &[&str], raised: bool) -> Command {
    let kind = match words[0] {
        "NONE" => 0,
        "NOSPACE" => 1,
        "CORRUPT" => 2,
        number => number.parse().expect("a kind"),
    };
    let member = words[1].parse().expect("an id");
    let alarm = Alarm { kind, member };
    Command::Alarm(AlarmChange { alarm, raised })
}

/// One change a line.
fn several(words: &[&str], body: &[&str]) -> Command {
    let step = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let id = words[1].parse().expect("an id");
        let step = match words[0] {
            "add" => MemberStep::Add(Member {
                id,
                peer_urls: all(&words, "url=").map(str::to_owned).collect(),
                is_learner: words.contains(&"learner"),
                ..Member::default()
            }),
            "remove" => MemberStep::Remove(id),
            "promote" => MemberStep::Promote(id),
            "demote" => MemberStep::Demote(id),
            other => panic!("no change is called {other}"),
        };
        step.into()
    };
    Command::MemberChanges(MemberChanges {
        changes: body.iter().map(step).collect(),
        max_learners: named(words, "max_learners=").unwrap_or(1),
    })
}

fn member(verb: &str, words: &[&str]) -> Command {
    let id = words[0].parse().expect("an id");
    let urls = || all(words, "url=").map(str::to_owned).collect();
    match verb {
        "member-add" => Command::MemberAdd(MemberAdd {
            member: Member {
                id,
                peer_urls: urls(),
                is_learner: words.contains(&"learner"),
                ..Member::default()
            },
            max_learners: named(words, "max_learners=").unwrap_or(1),
        }),
        "member-remove" => Command::MemberRemove(MemberRemove { id }),
        "member-update" => Command::MemberUpdate(MemberUpdate {
            id,
            peer_urls: urls(),
        }),
        "member-keep" => Command::MemberKeep(MemberKeep { id }),
        "member-promote" => Command::MemberPromote(MemberPromote { id }),
        "member-attributes" => Command::MemberAttributes(MemberAttributes {
            id,
            name: named(words, "name=").unwrap_or_default(),
            client_urls: urls(),
        }),
        other => panic!("no command is called {other}"),
    }
}

/// `ID:SECONDS` each.
fn checkpoint(words: &[&str]) -> LeaseCheckpoint {
    let remaining = words.iter().map(|word| {
        let (id, left) = word.split_once(':').expect("an id and what is left");
        LeaseRemaining {
            id: id.parse().expect("an id"),
            remaining_ttl: left.parse().expect("seconds"),
        }
    });
    LeaseCheckpoint {
        checkpoints: remaining.collect(),
    }
}

fn range(words: &[&str]) -> RangeRequest {
    let (key, range_end) = key_range(words[0]);
    let number = |name| named(words, name).unwrap_or(0_i64);
    RangeRequest {
        key,
        range_end,
        limit: number("limit="),
        revision: number("rev="),
        sort_order: named(words, "order=").map_or(0, |word: String| match word.as_str() {
            "asc" => SortOrder::Ascend as i32,
            "desc" => SortOrder::Descend as i32,
            number => number.parse().expect("an order"),
        }),
        sort_target: named(words, "by=").map_or(0, |word: String| match word.as_str() {
            "key" => SortTarget::Key as i32,
            "version" => SortTarget::Version as i32,
            "create" => SortTarget::Create as i32,
            "mod" => SortTarget::Mod as i32,
            "value" => SortTarget::Value as i32,
            number => number.parse().expect("a target"),
        }),
        serializable: words.contains(&"serializable"),
        keys_only: words.contains(&"keys_only"),
        count_only: words.contains(&"count_only"),
        min_mod_revision: number("min_mod="),
        max_mod_revision: number("max_mod="),
        min_create_revision: number("min_create="),
        max_create_revision: number("max_create="),
    }
}

fn put(words: &[&str]) -> PutRequest {
    let value = words
        .get(1)
        .filter(|word| !word.contains('_') && !word.starts_with("lease="));
    PutRequest {
        key: bytes(words[0]),
        value: value.map_or_else(Bytes::new, |word| bytes(word)),
        lease: named(words, "lease=").unwrap_or(0),
        prev_kv: words.contains(&"prev_kv"),
        ignore_value: words.contains(&"ignore_value"),
        ignore_lease: words.contains(&"ignore_lease"),
    }
}

fn delete(words: &[&str]) -> DeleteRangeRequest {
    let (key, range_end) = key_range(words[0]);
    DeleteRangeRequest {
        key,
        range_end,
        prev_kv: words.contains(&"prev_kv"),
    }
}

/// Lines of a transaction: `if ..` are compares, operations go to the success branch, after `else` to the failure branch.
fn txn(lines: &[&str]) -> TxnRequest {
    let lines: Vec<&str> = lines.iter().map(|line| &line[2..]).collect();
    let mut txn = TxnRequest::default();
    let mut failed = false;
    let mut rest = lines.as_slice();
    while let [line, more @ ..] = rest {
        let len = more
            .iter()
            .take_while(|line| line.starts_with("  "))
            .count();
        let (body, later) = more.split_at(len);
        rest = later;
        let words: Vec<&str> = line.split_whitespace().collect();
        let op = match words[0] {
            "if" => {
                txn.compare.push(compare(&words[1..]));
                continue;
            }
            "else" => {
                failed = true;
                continue;
            }
            "range" => Some(Op::Range(range(&words[1..]))),
            "put" => Some(Op::Put(put(&words[1..]))),
            "delete" => Some(Op::DeleteRange(delete(&words[1..]))),
            "txn" => Some(Op::Txn(self::txn(body))),
            "nothing" => None,
            other => panic!("no operation is called {other}"),
        };
        let branch = if failed {
            &mut txn.failure
        } else {
            &mut txn.success
        };
        branch.push(RequestOp { request: op });
    }
    txn
}

/// `TARGET KEY RESULT GIVEN`
fn compare(words: &[&str]) -> Compare {
    let [target, key, result, given] = *words else {
        panic!("not a compare: {words:?}")
    };
    let (key, range_end) = key_range(key);
    let number = || given.parse().expect("a number");
    let (target, target_union) = match target {
        "version" => (CompareTarget::Version, TargetUnion::Version(number())),
        "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number())),
        "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number())),
        "value" => (CompareTarget::Value, TargetUnion::Value(bytes(given))),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(number())),
        other => panic!("nothing to compare is called {other}"),
    };
    let result = match result {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        other => panic!("no comparison is written {other}"),
    };
    Compare {
        result: result as i32,
        target: target as i32,
        key,
        target_union: Some(target_union),
        range_end,
    }
}

pub(super) fn key_range(word: &str) -> (Bytes, Bytes) {
    match word.split_once("..") {
        None => (bytes(word), Bytes::new()),
        Some((key, "")) => (bytes(key), Bytes::from_static(&[0])),
        Some((key, end)) => (bytes(key), bytes(end)),
    }
}

fn bytes(word: &str) -> Bytes {
    let word = word.replace("''", "").replace("\\0", "\0");
    let parts: Vec<&[u8]> = word.split("\\xff").map(str::as_bytes).collect();
    Bytes::from(parts.join(&0xff))
}

fn all<'a>(words: &'a [&str], name: &'a str) -> impl Iterator<Item = &'a str> {
    words.iter().filter_map(move |word| word.strip_prefix(name))
}

fn named<T: std::str::FromStr>(words: &[&str], name: &str) -> Option<T> {
    let word = all(words, name).next()?;
    Some(
        word.parse()
            .unwrap_or_else(|_| panic!("{name} cannot be {word}")),
    )
}
