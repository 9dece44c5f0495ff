//! Which path asks for which call: etcd's, to the letter, and below a name of their own those of our own services.
//!
//! What this module deliberately does not do: `KV.RangeStream`, which etcd's gateway does not serve either.

use std::collections::HashMap;

use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

/// Service, then its methods with their paths.
const BINDINGS: &[(&str, &[(&str, &str)])] = &[
    (
        "etcdserverpb.KV",
        &[
            ("Range", "/v3/kv/range"),
            ("Put", "/v3/kv/put"),
            ("DeleteRange", "/v3/kv/deleterange"),
            ("Txn", "/v3/kv/txn"),
            ("Compact", "/v3/kv/compaction"),
        ],
    ),
    ("etcdserverpb.Watch", &[("Watch", "/v3/watch")]),
    (
        "etcdserverpb.Lease",
        &[
            ("LeaseGrant", "/v3/lease/grant"),
            ("LeaseRevoke", "/v3/lease/revoke"),
            ("LeaseRevoke", "/v3/kv/lease/revoke"),
            ("LeaseKeepAlive", "/v3/lease/keepalive"),
            ("LeaseTimeToLive", "/v3/lease/timetolive"),
            ("LeaseTimeToLive", "/v3/kv/lease/timetolive"),
            ("LeaseLeases", "/v3/lease/leases"),
            ("LeaseLeases", "/v3/kv/lease/leases"),
        ],
    ),
    (
        "etcdserverpb.Cluster",
        &[
            ("MemberAdd", "/v3/cluster/member/add"),
            ("MemberRemove", "/v3/cluster/member/remove"),
            ("MemberUpdate", "/v3/cluster/member/update"),
            ("MemberList", "/v3/cluster/member/list"),
            ("MemberPromote", "/v3/cluster/member/promote"),
        ],
    ),
    (
        "etcdserverpb.Maintenance",
        &[
            ("Alarm", "/v3/maintenance/alarm"),
            ("Status", "/v3/maintenance/status"),
            ("Defragment", "/v3/maintenance/defragment"),
            ("Hash", "/v3/maintenance/hash"),
            ("HashKV", "/v3/maintenance/hashkv"),
            ("Snapshot", "/v3/maintenance/snapshot"),
            ("MoveLeader", "/v3/maintenance/transfer-leadership"),
            ("Downgrade", "/v3/maintenance/downgrade"),
        ],
    ),
    (
        "etcdserverpb.Auth",
        &[
            ("AuthEnable", "/v3/auth/enable"),
            ("AuthDisable", "/v3/auth/disable"),
            ("AuthStatus", "/v3/auth/status"),
            ("Authenticate", "/v3/auth/authenticate"),
            ("UserAdd", "/v3/auth/user/add"),
            ("UserGet", "/v3/auth/user/get"),
            ("UserList", "/v3/auth/user/list"),
            ("UserDelete", "/v3/auth/user/delete"),
            ("UserChangePassword", "/v3/auth/user/changepw"),
            ("UserGrantRole", "/v3/auth/user/grant"),
            ("UserRevokeRole", "/v3/auth/user/revoke"),
            ("RoleAdd", "/v3/auth/role/add"),
            ("RoleGet", "/v3/auth/role/get"),
            ("RoleList", "/v3/auth/role/list"),
            ("RoleDelete", "/v3/auth/role/delete"),
            ("RoleGrantPermission", "/v3/auth/role/grant"),
            ("RoleRevokePermission", "/v3/auth/role/revoke"),
        ],
    ),
    (
        "v3lockpb.Lock",
        &[("Lock", "/v3/lock/lock"), ("Unlock", "/v3/lock/unlock")],
    ),
    (
        "v3electionpb.Election",
        &[
            ("Campaign", "/v3/election/campaign"),
            ("Proclaim", "/v3/election/proclaim"),
            ("Leader", "/v3/election/leader"),
            ("Observe", "/v3/election/observe"),
            ("Resign", "/v3/election/resign"),
        ],
    ),
    (
        "quorate.v1.Membership",
        &[
            ("ChangeMembers", "/v3/quorate/membership/change"),
            ("GetMembership", "/v3/quorate/membership/get"),
        ],
    ),
];

/// One call that a path asks for.
#[derive(Debug)]
pub(super) struct Method {
    /// `/package.Service/Method`.
    pub(super) path: String,
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    pub(super) client_streams: bool,
    pub(super) server_streams: bool,
}

impl Method {
    fn of(method: &MethodDescriptor) -> Self {
        Self {
            path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
            input: method.input(),
            output: method.output(),
            client_streams: method.is_client_streaming(),
            server_streams: method.is_server_streaming(),
        }
    }
}

/// Every message and service that we know.
pub(crate) fn pool() -> DescriptorPool {
    DescriptorPool::decode(proto::DESCRIPTORS).expect("our own descriptors are well formed")
}

/// Every path with its call. A service without descriptors is none.
pub(super) fn methods() -> HashMap<&'static str, Method> {
    let pool = pool();
    let services = BINDINGS.iter().filter_map(|(name, bindings)| {
        let service = pool.get_service_by_name(name)?;
        Some((service, *bindings))
    });
    let methods = services.flat_map(|(service, bindings)| {
        bindings.iter().filter_map(move |(name, path)| {
            let method = service.methods().find(|method| method.name() == *name)?;
            Some((*path, Method::of(&method)))
        })
    });
    methods.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_but_range_stream_has_its_path() {
        let methods = methods();
        let mut bound: Vec<_> = methods.values().map(|method| method.path.clone()).collect();
        bound.sort_unstable();
        bound.dedup();
        let pool = pool();
        let all = pool
            .services()
            .filter(|service| service.package_name() != "quorate.peer.v1");
        let mut all: Vec<_> = all
            .flat_map(|service| {
                service
                    .methods()
                    .map(|method| Method::of(&method).path)
                    .collect::<Vec<_>>()
            })
            .filter(|path| path != "/etcdserverpb.KV/RangeStream")
            .collect();
        all.sort_unstable();
        assert_eq!(bound, all);
    }

    #[test]
    fn names_are_etcds() {
        let member = pool().get_message_by_name("etcdserverpb.Member").unwrap();
        let names: Vec<_> = member
            .fields()
            .map(|field| field.name().to_owned())
            .collect();
        assert_eq!(names, ["ID", "name", "peerURLs", "clientURLs", "isLearner"]);
    }
}
