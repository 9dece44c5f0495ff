//! The `Certificate`s of cert-manager: each is looked for by its name, and only where a cluster has, or had, that mode.
//!
//! One that cannot be read for a passing reason is left out: nothing is made or deleted of it then, and members that run with what is
//! in its Secret are looked after as ever.

use std::collections::BTreeMap;

use crds::RaftCluster;
use futures::future::join_all;
use kube::ResourceExt;
use plan::{Certificate, CertificateSeen};

use crate::context::Context;
use crate::kubernetes::{CallError, chain};

/// What came of looking for those that the plan for a cluster is made from.
pub(crate) async fn seen(
    ctx: &Context,
    cluster: &RaftCluster,
) -> BTreeMap<String, CertificateSeen> {
    let namespace = cluster.namespace().unwrap_or_default();
    let names = plan::cert_manager::in_question(cluster).into_iter();
    let looked = names.map(|name| {
        let namespace = &namespace;
        async move {
            let found = ctx.kubernetes.get::<Certificate>(namespace, &name).await;
            Some((name, judge(found)?))
        }
    });
    join_all(looked).await.into_iter().flatten().collect()
}

/// What an answer says; none for one that says nothing of the `Certificate`.
fn judge(answer: Result<Certificate, CallError>) -> Option<CertificateSeen> {
    match answer {
        Ok(found) => Some(CertificateSeen::There(Box::new(found))),
        Err(error) if error.code() == Some(403) => Some(CertificateSeen::Forbidden),
        Err(error) if error.names_what_is_absent() => Some(CertificateSeen::Absent),
        Err(error) if error.is_absent() => Some(CertificateSeen::Unserved),
        Err(error) => {
            tracing::warn!(error = chain(&error), "a Certificate could not be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn answered(code: u16, reason: &str, name: &str) -> Option<CertificateSeen> {
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
        assert_eq!(absent, Some(CertificateSeen::Absent));
        // Of a group that is not served, and of a version or resource that its group has not.
        for reason in ["Failed to parse error data", "NotFound"] {
            let unserved = answered(404, reason, "");
            assert_eq!(unserved, Some(CertificateSeen::Unserved));
        }
        let forbidden = answered(403, "Forbidden", "kv-peer-cert");
        assert_eq!(forbidden, Some(CertificateSeen::Forbidden));
        assert_eq!(answered(503, "ServiceUnavailable", ""), None);
    }
}
