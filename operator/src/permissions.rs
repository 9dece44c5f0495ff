//! Every right that the operator needs, and for what. The chart and `deploy/quorate.yaml` grant these and no others, those for cert-manager
//! only where they are asked for: the chart's tests compare them both ways, and the tests on smallkube compare the calls that were really made.
//!
//! It deliberately holds no wildcard, no list or watch of secrets, no `exec`, no role and no definition of a kind.

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
    /// On objects of no namespace, and on what is of no use without them. Granted only where the operator sees all namespaces;
    /// elsewhere it does without.
    Whole,
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
        group: "quorate.io",
        resource: "raftoperations",
        verbs: &["delete", "get", "list", "watch"],
        place: Place::Clusters,
        why: "what is to be done once, and clearing it away when its time is over",
    },
    Permission {
        group: "quorate.io",
        resource: "raftoperations/status",
        verbs: &["update"],
        place: Place::Clusters,
        why: "how it stands",
    },
    Permission {
        group: "quorate.io",
        resource: "raftusers",
        verbs: &["get", "list", "watch"],
        place: Place::Clusters,
        why: "who may do something in a cluster",
    },
    Permission {
        group: "quorate.io",
        resource: "raftusers/status",
        verbs: &["update"],
        place: Place::Clusters,
        why: "how it stands",
    },
    Permission {
        group: "quorate.io",
        resource: "raftroles",
        verbs: &["get", "list", "watch"],
        place: Place::Clusters,
        why: "what may be done there",
    },
    Permission {
        group: "quorate.io",
        resource: "raftroles/status",
        verbs: &["update"],
        place: Place::Clusters,
        why: "how it stands",
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
        group: "networking.k8s.io",
        resource: "networkpolicies",
        verbs: &["create", "delete", "list", "patch", "watch"],
        place: Place::Clusters,
        why: "of clusters with spec.networkPolicy: applied server-side, and deleted when it is not wanted any more",
    },
    Permission {
        group: "",
        resource: "secrets",
        verbs: &["create", "get", "patch"],
        place: Place::Clusters,
        why: "certificates and passwords: each is read by its name; certificates are made where spec.tls says so, and renewed; nobody can list by this",
    },
    Permission {
        group: "events.k8s.io",
        resource: "events",
        verbs: &["create"],
        place: Place::Clusters,
        why: "to tell people",
    },
    Permission {
        group: "storage.k8s.io",
        resource: "storageclasses",
        verbs: &["get"],
        place: Place::Whole,
        why: "whether volumes can grow in place; without it, it is tried",
    },
    Permission {
        group: "coordination.k8s.io",
        resource: "leases",
        verbs: &["create", "get", "update"],
        place: Place::Own,
        why: "one operator of several writes",
    },
];

/// Rights to what lives in no namespace. An operator that is bound to namespaces has none of them and does without: it does not
/// notice then that a node is dead, or about to be emptied.
pub const SIGHTS: &[Permission] = &[
    Permission {
        group: "",
        resource: "nodes",
        verbs: &["get", "list", "watch"],
        place: Place::Whole,
        why: "whether the node of a member that does not answer is dead, and that of a leader about to be emptied",
    },
    Permission {
        group: "",
        resource: "persistentvolumes",
        verbs: &["get"],
        place: Place::Whole,
        why: "whether such a member can go to another node",
    },
];

/// Rights of an operator that may ask cert-manager for certificates, as the chart's `certManager.enabled` grants them. Without them it says
/// what is missing where `spec.tls` has mode CertManager, and does not need them anywhere else.
pub const CERT_MANAGER: &[Permission] = &[Permission {
    group: "cert-manager.io",
    resource: "certificates",
    verbs: &["create", "delete", "get", "patch"],
    place: Place::Clusters,
    why: "of clusters with spec.tls mode CertManager: each is read by its name, applied server-side, and deleted when it is not wanted any more",
}];

/// Rights of an operator that may snapshot volumes before a lost cluster is rebuilt, as the chart's `volumeSnapshots.enabled` grants them.
/// Without them, or where it is bound to namespaces, a recovery does without, and its plan shows no class.
pub const SNAPSHOTS: &[Permission] = &[
    Permission {
        group: "snapshot.storage.k8s.io",
        resource: "volumesnapshots",
        verbs: &["create", "get"],
        // Of no use without the other one.
        place: Place::Whole,
        why: "of survivors' volumes, before a lost cluster is rebuilt; each is read by its name, and none is ever deleted",
    },
    Permission {
        group: "snapshot.storage.k8s.io",
        resource: "volumesnapshotclasses",
        verbs: &["list"],
        place: Place::Whole,
        why: "by which class a volume can be snapshotted",
    },
];

/// Every right there is a use for.
pub fn all() -> impl Iterator<Item = &'static Permission> {
    PERMISSIONS
        .iter()
        .chain(SIGHTS)
        .chain(CERT_MANAGER)
        .chain(SNAPSHOTS)
}

/// Whether a call is among the permitted ones.
#[must_use]
pub fn permits(group: &str, resource: &str, verb: &str) -> bool {
    all().any(|right| {
        right.group == group && right.resource == resource && right.verbs.contains(&verb)
    })
}

#[cfg(test)]
mod tests;
