//! `/debug/vars`: what Go's `expvar` shows of etcd, as far as it is true of us.
//!
//! What this module deliberately does not do: `memstats`, which are of Go's allocator; figures for people are in `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::handle::Handle;
use crate::metrics::open_files_max;
use crate::plain;
use crate::status::Status;

/// The route.
pub(crate) fn routes(handle: Handle) -> Router {
    let shown = get(vars).fallback(async || plain::only_get());
    Router::new().route("/debug/vars", shown).with_state(handle)
}

async fn vars(State(handle): State<Handle>) -> Response {
    let arguments: Vec<_> = std::env::args_os()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let raft = handle.with_status(raft);
    let body = text(&[
        ("cmdline", arguments.into()),
        ("file_descriptor_limit", open_files_max().into()),
        ("raft.status", raft),
    ]);
    ([(CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}

fn raft(status: &Status) -> Value {
    let state = if status.is_leader() {
        "StateLeader"
    } else {
        "StateFollower"
    };
    json!({
        "id": format!("{:x}", status.identity.member_id),
        "term": status.term,
        "commit": status.commit,
        "lead": format!("{:x}", status.leader.unwrap_or_default()),
        "raftState": state,
        "applied": status.applied,
    })
}

/// As Go writes them: one variable a line.
fn text(variables: &[(&str, Value)]) -> String {
    let lines: Vec<_> = variables
        .iter()
        .map(|(name, value)| format!("{name:?}: {value}"))
        .collect();
    format!("{{\n{}\n}}\n", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Identity;

    #[test]
    fn variables_are_lines_of_one_object() {
        let mut status = Status::new(Identity {
            cluster_id: 1,
            member_id: 0xab,
        });
        (status.leader, status.term) = (Some(0xab), 7);
        let text = text(&[("cmdline", json!(["a\"b"])), ("raft.status", raft(&status))]);
        assert!(
            text.starts_with("{\n\"cmdline\": [\"a\\\"b\"],\n\"raft.status\": {"),
            "{text}"
        );
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["raft.status"]["raftState"], "StateLeader");
        assert_eq!(read["raft.status"]["id"], "ab");
        assert_eq!(read["raft.status"]["term"], 7);
    }
}
