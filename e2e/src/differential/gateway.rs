//! The road over HTTP: the path of each call at etcd's JSON gateway, and messages as the JSON that it takes.
//!
//! It deliberately reads no answers: they are compared as they come.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};
use serde_json::Value;

use super::value;

/// Calls that answer once, with their paths.
const ROADS: &[(&str, &str)] = &[
    ("KV.Range", "/v3/kv/range"),
    ("KV.Put", "/v3/kv/put"),
    ("KV.DeleteRange", "/v3/kv/deleterange"),
    ("KV.Txn", "/v3/kv/txn"),
    ("KV.Compact", "/v3/kv/compaction"),
    ("Lease.LeaseGrant", "/v3/lease/grant"),
    ("Lease.LeaseRevoke", "/v3/lease/revoke"),
    ("Lease.LeaseKeepAlive", "/v3/lease/keepalive"),
    ("Lease.LeaseTimeToLive", "/v3/lease/timetolive"),
    ("Lease.LeaseLeases", "/v3/lease/leases"),
    ("Cluster.MemberAdd", "/v3/cluster/member/add"),
    ("Cluster.MemberRemove", "/v3/cluster/member/remove"),
    ("Cluster.MemberUpdate", "/v3/cluster/member/update"),
    ("Cluster.MemberList", "/v3/cluster/member/list"),
    ("Cluster.MemberPromote", "/v3/cluster/member/promote"),
    ("Maintenance.Alarm", "/v3/maintenance/alarm"),
    ("Maintenance.Status", "/v3/maintenance/status"),
    ("Maintenance.Defragment", "/v3/maintenance/defragment"),
    ("Maintenance.Hash", "/v3/maintenance/hash"),
    ("Maintenance.HashKV", "/v3/maintenance/hashkv"),
    (
        "Maintenance.MoveLeader",
        "/v3/maintenance/transfer-leadership",
    ),
    ("Maintenance.Downgrade", "/v3/maintenance/downgrade"),
    ("Auth.AuthEnable", "/v3/auth/enable"),
    ("Auth.AuthDisable", "/v3/auth/disable"),
    ("Auth.AuthStatus", "/v3/auth/status"),
    ("Auth.Authenticate", "/v3/auth/authenticate"),
    ("Auth.UserAdd", "/v3/auth/user/add"),
    ("Auth.UserGet", "/v3/auth/user/get"),
    ("Auth.UserList", "/v3/auth/user/list"),
    ("Auth.UserDelete", "/v3/auth/user/delete"),
    ("Auth.UserChangePassword", "/v3/auth/user/changepw"),
    ("Auth.UserGrantRole", "/v3/auth/user/grant"),
    ("Auth.UserRevokeRole", "/v3/auth/user/revoke"),
    ("Auth.RoleAdd", "/v3/auth/role/add"),
    ("Auth.RoleGet", "/v3/auth/role/get"),
    ("Auth.RoleList", "/v3/auth/role/list"),
    ("Auth.RoleDelete", "/v3/auth/role/delete"),
    ("Auth.RoleGrantPermission", "/v3/auth/role/grant"),
    ("Auth.RoleRevokePermission", "/v3/auth/role/revoke"),
    ("Lock.Lock", "/v3/lock/lock"),
    ("Lock.Unlock", "/v3/lock/unlock"),
    ("Election.Campaign", "/v3/election/campaign"),
    ("Election.Proclaim", "/v3/election/proclaim"),
    ("Election.Leader", "/v3/election/leader"),
    ("Election.Resign", "/v3/election/resign"),
];

/// The path of a call, if it has one that answers once.
pub fn path(method: &MethodDescriptor) -> Option<&'static str> {
    let service = method.parent_service();
    let road = ROADS
        .iter()
        .find(|it| it.0.split_once('.') == Some((service.name(), method.name())));
    road.map(|it| it.1)
}

/// A message as JSON: bytes in base64, numbers of 64 bits as strings.
///
/// # Errors
/// When it has a field that the message has not.
pub fn body(message: &Value, descriptor: &MessageDescriptor) -> Result<Value> {
    let fields = message.as_object().context("a message is not one value")?;
    let fields = fields.iter().map(|(name, it)| {
        let field = descriptor.get_field_by_name(name);
        let field = field.with_context(|| format!("{} has no field {name}", descriptor.name()))?;
        let kind = field.kind();
        Ok((field.json_name().to_owned(), of_field(it, &kind)?))
    });
    Ok(Value::Object(fields.collect::<Result<_>>()?))
}

fn of_field(it: &Value, kind: &Kind) -> Result<Value> {
    if let Value::Array(all) = it {
        return all.iter().map(|it| of_field(it, kind)).collect();
    }
    Ok(match (kind, it) {
        (Kind::Message(inner), it) => body(it, inner)?,
        (Kind::Bytes, Value::String(it)) => STANDARD.encode(value::bytes_of(it)?).into(),
        (Kind::Int64 | Kind::Uint64, Value::Number(it)) => it.to_string().into(),
        (_, it) => it.clone(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::services;
    use super::*;

    #[test]
    fn every_road_leads_to_a_call() {
        for (name, road) in ROADS {
            let method = services::method(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(path(&method), Some(*road));
        }
    }

    #[test]
    fn a_message_is_written_as_the_gateway_reads_it() {
        let txn = services::method("KV.Txn").unwrap().input();
        let message = json!({ "compare": [{ "target": 3, "key": "a\u{ff}", "lease": -1 }] });
        let expected = json!({ "compare": [{ "target": 3, "key": "Yf8=", "lease": "-1" }] });
        assert_eq!(body(&message, &txn).unwrap(), expected);
    }
}
