//! Answers as lines of a script.

use std::fmt::Write as _;

use store::{
    Alarm, Auth, Change, DeleteRangeResponse, KeyValue, KeyspaceHash, Permission, PutResponse,
    RangeResponse, Response, ResponseOp, Store, StoreError, TxnResponse,
};

pub(crate) fn refusal(error: StoreError) -> String {
    format!("{:?} ({}): {error}\n", error.code(), error.code() as i32)
}

pub(crate) fn response(response: &Response) -> String {
    match response {
        Response::Put(answer) => put(answer),
        Response::DeleteRange(answer) => delete(answer),
        Response::Txn(answer) => txn(answer),
        Response::Compact(answer) => format!("revision {}\n", answer.revision),
        Response::LeaseGrant(answer) => {
            let (id, ttl) = (answer.id, answer.ttl);
            format!("revision {}, lease {id}, ttl {ttl}\n", answer.revision)
        }
        Response::LeaseRevoke(answer) => format!("revision {}\n", answer.revision),
        Response::LeaseCheckpoint(answer) => format!("revision {}\n", answer.revision),
        Response::Members(answer) => answer
            .members
            .iter()
            .fold(String::new(), |text, member| text + &show(member)),
        Response::Alarms(answer) => alarms(&answer.alarms),
        Response::Done => "done\n".to_owned(),
        Response::Auth(answer) => format!("revision {}\n", answer.revision),
        Response::Authenticated(answer) => format!(
            "revision {}, auth revision {}, token {}\n",
            answer.revision,
            answer.auth_revision,
            text(&answer.token.bytes)
        ),
        Response::Refused(error) => refusal(*error),
    }
}

/// Users and roles, a line each.
pub(crate) fn auth(auth: &Auth) -> String {
    let state = if auth.is_enabled() { "on" } else { "off" };
    let mut shown = format!("{state}, auth revision {}\n", auth.revision());
    for user in auth.users() {
        let password = match (user.no_password, &*user.password.bytes) {
            (true, _) => "without password".to_owned(),
            (false, hash) => format!("password {}", text(hash)),
        };
        writeln!(
            shown,
            "user {}, {password}, roles {:?}",
            user.name, user.roles
        )
        .expect("a string takes all");
    }
    for role in auth.roles() {
        let permissions: String = role.permissions.iter().map(permission).collect();
        writeln!(shown, "role {}{permissions}", role.name).expect("a string takes all");
    }
    shown
}

fn permission(permission: &Permission) -> String {
    let kind = match permission.kind {
        0 => "read".to_owned(),
        1 => "write".to_owned(),
        2 => "readwrite".to_owned(),
        other => other.to_string(),
    };
    let end = match &*permission.range_end {
        [] => String::new(),
        [0] => "..".to_owned(),
        end => format!("..{}", text(end)),
    };
    format!(", {kind} {}{end}", text(&permission.key))
}

/// One line each, or that there is none.
pub(crate) fn alarms(alarms: &[Alarm]) -> String {
    let line = |alarm: &Alarm| format!("alarm {} of {}\n", alarm.kind, alarm.member);
    match alarms {
        [] => "no alarm\n".to_owned(),
        alarms => alarms.iter().map(line).collect(),
    }
}

/// Who decides: the voters, and beside them those before a change that is under way.
pub(crate) fn electorates(members: &store::Members) -> String {
    let ids = |voters: Vec<&store::Member>| voters.iter().map(|it| it.id).collect::<Vec<_>>();
    let now = ids(members.voters().collect());
    match members.transition() {
        Some(_) => format!("{:?} and {now:?}\n", ids(members.old_voters().collect())),
        None => format!("{now:?}\n"),
    }
}

fn show(member: &store::Member) -> String {
    let role = if member.is_learner {
        "learner"
    } else {
        "voter"
    };
    let store::Member {
        id,
        name,
        peer_urls,
        client_urls,
        ..
    } = member;
    format!("{id} {role} '{name}' peers {peer_urls:?} clients {client_urls:?}\n")
}

pub(crate) fn range(answer: &RangeResponse) -> String {
    let RangeResponse {
        revision,
        kvs,
        more,
        count,
    } = answer;
    let more = if *more { ", more" } else { "" };
    format!("revision {revision}, count {count}{more}\n") + &list(kvs)
}

fn put(answer: &PutResponse) -> String {
    let before = answer
        .prev_kv
        .as_ref()
        .map_or_else(String::new, |kv| format!("was {}", line(kv)));
    format!("revision {}\n{before}", answer.revision)
}

fn delete(answer: &DeleteRangeResponse) -> String {
    let DeleteRangeResponse {
        revision,
        deleted,
        prev_kvs,
    } = answer;
    let before: String = prev_kvs
        .iter()
        .map(|kv| format!("was {}", line(kv)))
        .collect();
    format!("revision {revision}, deleted {deleted}\n{before}")
}

pub(crate) fn txn(answer: &TxnResponse) -> String {
    let branch = if answer.succeeded {
        "succeeded"
    } else {
        "failed"
    };
    let mut text = format!("{branch}, revision {}\n", answer.revision);
    for op in &answer.responses {
        let inner = match op {
            Some(ResponseOp::Range(answer)) => format!("range: {}", range(answer)),
            Some(ResponseOp::Put(answer)) => format!("put: {}", put(answer)),
            Some(ResponseOp::DeleteRange(answer)) => format!("delete: {}", delete(answer)),
            Some(ResponseOp::Txn(answer)) => format!("txn: {}", txn(answer)),
            None => "nothing\n".to_owned(),
        };
        for line in inner.lines() {
            writeln!(text, "  {line}").expect("a string takes all");
        }
    }
    text
}

/// The table, and what hangs on each.
pub(crate) fn leases(store: &Store) -> String {
    let leases = store.leases();
    let line = |lease: &store::Lease| {
        let keys: Vec<String> = leases.keys(lease.id).map(|key| text(key)).collect();
        let store::Lease {
            id,
            ttl,
            remaining_ttl,
        } = lease;
        format!("{id}: ttl {ttl}, remaining {remaining_ttl}, keys {keys:?}\n")
    };
    leases.iter().map(line).collect()
}

pub(crate) fn hash(hash: &KeyspaceHash) -> String {
    let KeyspaceHash {
        hash,
        hash_revision,
        compact_revision,
        revision,
    } = hash;
    format!(
        "{hash:08x} up to {hash_revision}, compacted at {compact_revision}, revision {revision}\n"
    )
}

/// With what the key was before, as a watcher may ask.
pub(crate) fn change(store: &Store, change: &Change) -> String {
    let at = change.revision();
    let before = store.previous(change);
    let before = before.map_or_else(|| "nothing\n".to_owned(), line);
    if change.is_delete() {
        format!(
            "@{}.{} delete {}, was {before}",
            at.main,
            at.sub,
            text(change.key())
        )
    } else {
        let now = line(change.kv());
        format!(
            "@{}.{} put {}, was {before}",
            at.main,
            at.sub,
            now.trim_end()
        )
    }
}

fn list(kvs: &[KeyValue]) -> String {
    kvs.iter().map(line).collect()
}

fn line(kv: &KeyValue) -> String {
    let KeyValue {
        create_revision,
        mod_revision,
        version,
        ..
    } = kv;
    let (key, value) = (text(&kv.key), text(&kv.value));
    let lease = match kv.lease {
        0 => String::new(),
        lease => format!(", lease {lease}"),
    };
    format!(
        "{key}={value} (create {create_revision}, mod {mod_revision}, version {version}{lease})\n"
    )
}

fn text(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        "''".to_owned()
    } else {
        bytes.escape_ascii().to_string()
    }
}
