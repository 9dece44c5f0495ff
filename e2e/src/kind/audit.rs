//! What the operator asked of the API server, as the API server wrote it down.
//!
//! The lab's cluster keeps an audit log of the operator's service account, one JSON object a line. A [`Call`] is one
//! finished request of it.
//!
//! It deliberately knows nothing of watches that are still open: they are in no log yet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

/// One finished request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When the API server received it.
    pub at: Timestamp,
    /// Who asked.
    pub user: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// The kind in the plural, with its subresource after a slash.
    pub resource: String,
    /// In which namespace.
    pub namespace: String,
    /// Of what name.
    pub name: String,
    /// The answer's status.
    pub status: u16,
}

impl Call {
    /// The call of one line of the log; `None` for stages before the answer, and for what is no request for a resource.
    #[must_use]
    pub fn read(line: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(line).ok()?;
        let text = |pointer: &str| {
            let found = event.pointer(pointer).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        if text("/stage") != "ResponseComplete" {
            return None;
        }
        let (kind, sub) = (text("/objectRef/resource"), text("/objectRef/subresource"));
        let slash = if sub.is_empty() { "" } else { "/" };
        Some(Self {
            at: text("/requestReceivedTimestamp").parse().ok()?,
            user: text("/user/username"),
            verb: text("/verb"),
            resource: format!("{kind}{slash}{sub}"),
            namespace: text("/objectRef/namespace"),
            name: text("/objectRef/name"),
            status: event
                .pointer("/responseStatus/code")?
                .as_u64()?
                .try_into()
                .ok()?,
        })
    }

    /// Whether it asked for a change. Renewals of a Lease do not count: they are how an operator says that it lives.
    #[must_use]
    pub fn writes(&self) -> bool {
        let changes = ["create", "update", "patch", "delete", "deletecollection"];
        changes.contains(&self.verb.as_str()) && self.resource != "leases"
    }

    /// Whether it was refused for want of a right.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.status == 403
    }
}

/// How often each verb was asked of each resource, as a line for people.
#[must_use]
pub fn summary(calls: &[Call]) -> String {
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    for call in calls {
        *counts.entry((&call.resource, &call.verb)).or_default() += 1;
    }
    let told = counts
        .iter()
        .map(|((resource, verb), count)| format!("{count} {verb} {resource}"));
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"kind":"Event","level":"Metadata","stage":"ResponseComplete","verb":"update",
        "user":{"username":"system:serviceaccount:quorate-system:quorate-operator"},
        "objectRef":{"resource":"raftclusters","subresource":"status","namespace":"ns","name":"kv","apiGroup":"quorate.io"},
        "responseStatus":{"code":200},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z"}"#;

    #[test]
    fn reads_a_finished_request() {
        let call = Call::read(LINE).expect("a call");
        assert_eq!(call.resource, "raftclusters/status");
        assert_eq!((call.verb.as_str(), call.status), ("update", 200));
        assert_eq!(call.at.to_string(), "2026-01-02T03:04:05.678901Z");
        assert!(call.writes() && !call.is_forbidden());
        assert_eq!(
            Call::read(&LINE.replace("ResponseComplete", "RequestReceived")),
            None
        );
        assert_eq!(Call::read("cut off in the mid"), None);
    }

    #[test]
    fn a_lease_and_a_read_are_no_writes() {
        let read = |line: &str| Call::read(line).expect("a call");
        assert!(
            !read(&LINE.replace("\"raftclusters\",\"subresource\":\"status\"", "\"leases\""))
                .writes()
        );
        assert!(!read(&LINE.replace("\"update\"", "\"list\"")).writes());
        assert!(read(&LINE.replace("200", "403")).is_forbidden());
    }

    #[test]
    fn counts_by_resource_and_verb() {
        let call = Call::read(LINE).expect("a call");
        let told = summary(&[call.clone(), call]);
        assert_eq!(told, "2 update raftclusters/status");
    }
}
