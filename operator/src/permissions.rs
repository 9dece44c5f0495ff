//! Every right that the operator needs, and for what. The chart and `deploy/quorate.yaml` grant these and no others: the
//! chart's tests compare them both ways, and the tests on smallkube compare the calls that were really made.
//!
//! It deliberately holds no wildcard, no secret, no `exec`, no role and no definition of a kind.

/// A set of verbs on one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, with its subresource after a slash.
    pub resource: &'static str,
    /// The verbs, sorted.
    pub verbs: &'static [&'static str],
    /// Where the right is needed.
    pub place: Place,
    /// What it is for.
    pub why: &'static str,
}

/// Where a right is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In every namespace with clusters.
    Clusters,
    /// In the operator's own namespace.
    Own,
}

/// All of them.
pub const PERMISSIONS: &[Permission] = &[
    Permission {
        group: "quorate.io",
        resource: "raftclusters",
        verbs: &["get", "list", "watch"],
        place: Place::Clusters,
        why: "what is wanted",
    },
    Permission {
        group: "quorate.io",
        resource: "raftclusters/status",
        verbs: &["update"],
        place: Place::Clusters,
        why: "what was found and done",
    },
    Permission {
        group: "quorate.io",
        resource: "raftmembers",
        verbs: &["create", "delete", "list", "watch"],
        place: Place::Clusters,
        why: "one per member",
    },
    Permission {
        group: "",
        resource: "pods",
        verbs: &["create", "delete", "list", "patch", "watch"],
        place: Place::Clusters,
        why: "the members' processes, and the label that says who votes",
    },
    Permission {
        group: "",
        resource: "persistentvolumeclaims",
        verbs: &["create", "delete", "list", "patch", "watch"],
        place: Place::Clusters,
        why: "the members' volumes, and who owns them",
    },
    Permission {
        group: "",
        resource: "services",
        verbs: &["create", "list", "patch", "watch"],
        place: Place::Clusters,
        why: "applied server-side, which creates what is not there",
    },
    Permission {
        group: "policy",
        resource: "poddisruptionbudgets",
        verbs: &["create", "list", "patch", "watch"],
        place: Place::Clusters,
        why: "applied server-side, which creates what is not there",
    },
    Permission {
        group: "events.k8s.io",
        resource: "events",
        verbs: &["create"],
        place: Place::Clusters,
        why: "to tell people",
    },
    Permission {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["create", "get", "update"],
        place: Place::Own,
        why: "one operator of several writes",
    },
];

/// Whether a call is among the permitted ones.
#[must_use]
pub fn permits(group: &str, resource: &str, verb: &str) -> bool {
    PERMISSIONS.iter().any(|right| {
        right.group == group && right.resource == resource && right.verbs.contains(&verb)
    })
}

#[cfg(test)]
mod tests;
