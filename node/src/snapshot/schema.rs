//! etcd's buckets and what stands in them, as `server/storage/schema` of etcd has it.
//!
//! Keys of the bucket `key` are revisions: main (8 bytes, big endian), `_`, sub (8 bytes), and `t` behind a deletion's. Values
//! are `mvccpb.KeyValue`; of a deletion with nothing but the key.
//!
//! It does not know files.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use store::{Member, Members, Revision, User};

pub(super) const ALARM: &[u8] = b"alarm";
pub(super) const AUTH: &[u8] = b"auth";
pub(super) const AUTH_ROLES: &[u8] = b"authRoles";
pub(super) const AUTH_USERS: &[u8] = b"authUsers";
pub(super) const CLUSTER: &[u8] = b"cluster";
pub(super) const KEY: &[u8] = b"key";
pub(super) const LEASE: &[u8] = b"lease";
pub(super) const MEMBERS: &[u8] = b"members";
pub(super) const MEMBERS_REMOVED: &[u8] = b"members_removed";
pub(super) const META: &[u8] = b"meta";

/// All that etcd makes, by name.
pub(super) const BUCKETS: [&[u8]; 10] = [
    ALARM,
    AUTH,
    AUTH_ROLES,
    AUTH_USERS,
    CLUSTER,
    KEY,
    LEASE,
    MEMBERS,
    MEMBERS_REMOVED,
    META,
];

pub(super) const AUTH_ENABLED: &[u8] = b"authEnabled";
pub(super) const AUTH_REVISION: &[u8] = b"authRevision";
pub(super) const CONF_STATE: &[u8] = b"confState";
pub(super) const CONSISTENT_INDEX: &[u8] = b"consistent_index";
pub(super) const FINISHED_COMPACT: &[u8] = b"finishedCompactRev";
pub(super) const SCHEDULED_COMPACT: &[u8] = b"scheduledCompactRev";
pub(super) const STORAGE_VERSION: &[u8] = b"storageVersion";
pub(super) const TERM: &[u8] = b"term";
pub(super) const CLUSTER_VERSION: &[u8] = b"clusterVersion";
pub(super) const DOWNGRADE: &[u8] = b"downgrade";

/// Main, `_`, sub.
const REVISION_LEN: usize = 17;
const DELETION: u8 = b't';

/// The key under which a revision's write stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RevisionKey {
    bytes: [u8; REVISION_LEN + 1],
    len: usize,
}

impl RevisionKey {
    pub(super) fn new(at: Revision, is_delete: bool) -> Self {
        let mut bytes = [DELETION; REVISION_LEN + 1];
        bytes[..8].copy_from_slice(&at.main.to_be_bytes());
        bytes[8] = b'_';
        bytes[9..REVISION_LEN].copy_from_slice(&at.sub.to_be_bytes());
        Self {
            bytes,
            len: REVISION_LEN + usize::from(is_delete),
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The revision that a key names, and whether it is a deletion's.
pub(super) fn revision(key: &[u8]) -> Option<(Revision, bool)> {
    let (main, rest) = key.split_first_chunk()?;
    let (sub, mark) = rest.strip_prefix(b"_")?.split_first_chunk()?;
    let at = Revision {
        main: i64::from_be_bytes(*main),
        sub: i64::from_be_bytes(*sub),
    };
    let is_sound = at.main >= 0 && at.sub >= 0;
    match mark {
        [] if is_sound => Some((at, false)),
        [DELETION] if is_sound => Some((at, true)),
        _ => None,
    }
}

/// A member's key: its id in hexadecimal digits.
pub(super) fn member_key(id: u64) -> Vec<u8> {
    format!("{id:x}").into_bytes()
}

/// A member as etcd writes it; empty fields are left out but for the peer URLs.
pub(super) fn member_value(member: &Member) -> Vec<u8> {
    let mut value = serde_json::json!({ "id": member.id, "peerURLs": member.peer_urls });
    if member.is_learner {
        value["isLearner"] = true.into();
    }
    if !member.name.is_empty() {
        value["name"] = member.name.as_str().into();
    }
    if !member.client_urls.is_empty() {
        value["clientURLs"] = member.client_urls.as_slice().into();
    }
    value.to_string().into_bytes()
}

/// Raft's configuration as etcd writes it.
///
/// While old and new voters decide together it has both, and says that the leader ends that by itself.
pub(super) fn conf_state(members: &Members) -> Vec<u8> {
    let ids = |members: Vec<&Member>| members.iter().map(|member| member.id).collect::<Vec<_>>();
    let voters = ids(members.voters().collect());
    let learners = ids(members.iter().filter(|member| member.is_learner).collect());
    let transition = members.transition();
    let mut value = serde_json::json!({ "voters": voters, "auto_leave": transition.is_some() });
    if !learners.is_empty() {
        value["learners"] = learners.into();
    }
    if let Some(transition) = transition {
        value["voters_outgoing"] = ids(members.old_voters().collect()).into();
        if !transition.demoted.is_empty() {
            value["learners_next"] = transition.demoted.clone().into();
        }
    }
    value.to_string().into_bytes()
}

/// `authpb.User`. Roles are stored as etcd has them: `authpb.Role` is [`store::Role`], field by field.
#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub(super) struct UserValue {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    password: Bytes,
    #[prost(string, repeated, tag = "3")]
    roles: Vec<String>,
    #[prost(message, optional, tag = "4")]
    options: Option<UserOptions>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct UserOptions {
    #[prost(bool, tag = "1")]
    no_password: bool,
}

impl fmt::Debug for UserValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The hash of a password is nobody's to read.
        write!(formatter, "UserValue({:?})", self.name)
    }
}

impl From<&User> for UserValue {
    fn from(user: &User) -> Self {
        let no_password = user.no_password;
        Self {
            name: user.name.clone(),
            password: user.password.bytes.clone(),
            roles: user.roles.clone(),
            options: Some(UserOptions { no_password }),
        }
    }
}

impl From<UserValue> for User {
    fn from(value: UserValue) -> Self {
        let mut roles = value.roles;
        roles.sort();
        Self {
            name: value.name,
            password: value.password.into(),
            roles,
            no_password: value.options.is_some_and(|options| options.no_password),
        }
    }
}

#[cfg(test)]
mod tests {
    use store::{Command, MemberChanges, MemberStep, Store};

    use super::*;

    #[test]
    fn revisions_are_written_as_etcd_writes_them() {
        let at = Revision {
            main: 0x0102,
            sub: 3,
        };
        let put = RevisionKey::new(at, false);
        assert_eq!(put.as_bytes(), b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03");
        let delete = RevisionKey::new(at, true);
        assert_eq!(
            delete.as_bytes(),
            b"\0\0\0\0\0\0\x01\x02_\0\0\0\0\0\0\0\x03t"
        );
        assert_eq!(revision(put.as_bytes()), Some((at, false)));
        assert_eq!(revision(delete.as_bytes()), Some((at, true)));
        for bad in [
            &b""[..],
            b"\xff\0\0\0\0\0\0\0_\0\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\x01_\0\0\0\0\0\0\0\0x",
        ] {
            assert_eq!(revision(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn members_are_written_as_etcd_writes_them() {
        let member = Member {
            id: 3_319_814_642_761_637_952,
            name: "default".to_owned(),
            peer_urls: vec!["http://127.0.0.1:23800".to_owned()],
            client_urls: vec!["http://127.0.0.1:23790".to_owned()],
            is_learner: false,
        };
        assert_eq!(member_key(member.id), b"2e1259d415f2a040");
        let read = |bytes: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        let expected = serde_json::json!({
            "id": 3_319_814_642_761_637_952_u64,
            "peerURLs": ["http://127.0.0.1:23800"],
            "name": "default",
            "clientURLs": ["http://127.0.0.1:23790"],
        });
        assert_eq!(read(member_value(&member)), expected);
        let learner = Member {
            is_learner: true,
            ..member.clone()
        };
        assert_eq!(read(member_value(&learner))["isLearner"], true);
    }

    #[test]
    fn raft_s_configuration_is_written_as_etcd_writes_it() {
        let add = |id| {
            MemberStep::Add(Member {
                id,
                ..Member::default()
            })
        };
        let several = |steps: Vec<MemberStep>| {
            Command::MemberChanges(MemberChanges {
                changes: steps.into_iter().map(Into::into).collect(),
                max_learners: 1,
            })
        };
        let mut store = Store::new();
        let state = |store: &Store| {
            serde_json::from_slice::<serde_json::Value>(&conf_state(store.members())).unwrap()
        };
        store.apply(1, &several(vec![add(1), add(2)]));
        store.leave_joint(2);
        let simple = serde_json::json!({ "voters": [1, 2], "auto_leave": false });
        assert_eq!(state(&store), simple);
        store.apply(3, &several(vec![add(3), MemberStep::Demote(1)]));
        let joint = serde_json::json!({
            "voters": [2, 3],
            "voters_outgoing": [1, 2],
            "learners_next": [1],
            "auto_leave": true,
        });
        assert_eq!(state(&store), joint);
        store.leave_joint(4);
        let after = serde_json::json!({ "voters": [2, 3], "learners": [1], "auto_leave": false });
        assert_eq!(state(&store), after);
    }
}
