//! Looking for objects of kinds that need not be installed, each by its name.
//!
//! It deliberately takes a failure that passes for no answer: whoever looks goes without, and looks again in the next round.

use plan::Sought;

use crate::kubernetes::{CallError, Kind, Kubernetes, chain};

/// What comes of looking for one object, live; none where the answer says nothing of it.
pub(crate) async fn seek<K: Kind>(
    kubernetes: &Kubernetes,
    namespace: &str,
    name: &str,
) -> Option<Sought<K>> {
    judge(kubernetes.get::<K>(namespace, name).await)
}

/// What an answer says; none for one that says nothing of the object.
fn judge<K: Kind>(answer: Result<K, CallError>) -> Option<Sought<K>> {
    match answer {
        Ok(found) => Some(Sought::There(Box::new(found))),
        Err(error) if error.code() == Some(403) => Some(Sought::Forbidden),
        Err(error) if error.names_what_is_absent() => Some(Sought::Absent),
        Err(error) if error.is_absent() => Some(Sought::Unserved),
        Err(error) => {
            let kind = K::kind(&());
            tracing::warn!(%kind, error = chain(&error), "an object could not be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use plan::Certificate;

    use super::*;

    fn answered(code: u16, reason: &str, name: &str) -> Option<Sought<Certificate>> {
        let details = serde_json::from_value(serde_json::json!({ "name": name }));
        let status = Status {
            code,
            reason: reason.to_owned(),
            details: Some(details.expect("details of a status")),
            ..Status::default()
        };
        judge(Err(CallError::Failed {
            verb: "get",
            object: "Certificate kv-peer-cert".to_owned(),
            source: Box::new(kube::Error::Api(Box::new(status))),
        }))
    }

    #[test]
    fn an_object_that_is_absent_is_told_from_a_kind_that_is_not_served() {
        let absent = answered(404, "NotFound", "kv-peer-cert");
        assert_eq!(absent, Some(Sought::Absent));
        // Of a group that is not served, and of a version or resource that its group has not.
        for reason in ["Failed to parse error data", "NotFound"] {
            let unserved = answered(404, reason, "");
            assert_eq!(unserved, Some(Sought::Unserved));
        }
        let forbidden = answered(403, "Forbidden", "kv-peer-cert");
        assert_eq!(forbidden, Some(Sought::Forbidden));
        assert_eq!(answered(503, "ServiceUnavailable", ""), None);
    }
}
