//! Which versions of the API clients say that they speak.
//!
//! A client chooses that text, so that there are only so many series; whoever brings one more counts as `other`.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use prometheus::IntCounterVec;

use super::Maker;

/// Versions that have a series of their own.
const VERSIONS_MAX: usize = 16;
/// A version is not longer than this.
const VERSION_BYTES_MAX: usize = 32;

/// Calls by version.
#[derive(Debug)]
pub(super) struct Clients {
    requests: IntCounterVec,
    versions: Mutex<BTreeSet<String>>,
}

impl Clients {
    pub(super) fn new(make: &Maker) -> Self {
        let requests = make.counters(
            "etcd_server_client_requests_total",
            "Calls by the version of the API that the client says it speaks.",
            &["type", "client_api_version"],
        );
        for kind in ["unary", "stream"] {
            requests.with_label_values(&[kind, "unknown"]);
        }
        Self {
            requests,
            versions: Mutex::default(),
        }
    }

    pub(super) fn count(&self, headers: &HeaderMap, is_stream: bool) {
        let kind = if is_stream { "stream" } else { "unary" };
        let said = headers.get("client-api-version");
        let version = match said.map(|version| version.to_str()) {
            None => "unknown",
            Some(Ok(version)) if self.is_counted(version) => version,
            Some(_) => "other",
        };
        self.requests.with_label_values(&[kind, version]).inc();
    }

    fn is_counted(&self, version: &str) -> bool {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if versions.contains(version) {
            return true;
        }
        let has_room = versions.len() < VERSIONS_MAX && version.len() <= VERSION_BYTES_MAX;
        has_room && versions.insert(version.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_versions() {
        let clients = Clients::new(&Maker(prometheus::Registry::new()));
        let count = |version: &str, times: usize| {
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static("client-api-version"),
                version.parse().unwrap(),
            )]);
            (0..times).for_each(|_| clients.count(&headers, false));
        };
        count("3.7", 2);
        count(&"9".repeat(100), 1);
        (0..100).for_each(|patch| count(&format!("3.6.{patch}"), 1));
        count("3.7", 1);
        clients.count(&HeaderMap::new(), true);
        let of = |kind, version| clients.requests.with_label_values(&[kind, version]).get();
        assert_eq!(of("unary", "3.7"), 3);
        assert_eq!(of("unary", "other"), 1 + 100 - 15);
        assert_eq!(of("stream", "unknown"), 1);
    }
}
