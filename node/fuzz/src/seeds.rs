//! Sound inputs, made by those who write them.

use bytes::Bytes;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use raft::{Change, ChangeKind, Entry, Index, JointChange, Payload, PeerId, Term};
use store::{
    Alarm, AlarmChange, AlarmKind, AuthRequest, Authenticate, Author, Command, CompactionRequest,
    Compare, DeleteRangeRequest, Downgrade, LeaseCheckpoint, LeaseGrant, LeaseRemaining,
    LeaseRevoke, Member, MemberAdd, MemberAttributes, MemberPromote, MemberRemove, MemberUpdate,
    Op, Permission, PermissionKind, PutRequest, RangeRequest, RequestOp, RoleName, RolePermission,
    Store, TargetUnion, TxnRequest, UserAdd, UserName, UserPassword, UserRole, Version,
};
use tempfile::TempDir;

/// A folder in memory, where there is one: nothing here is to survive, and waiting for a disk finds nothing.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// The successive commands of a cluster that has used everything.
pub(crate) fn commands() -> Vec<Command> {
    let mut commands = membership();
    commands.extend(users());
    commands.extend(keys());
    commands
}

fn membership() -> Vec<Command> {
    let member = |id: u64, is_learner| Member {
        id,
        name: String::new(),
        peer_urls: vec![format!("http://127.0.0.1:{id}")],
        client_urls: Vec::new(),
        is_learner,
    };
    let add = |id, is_learner| {
        Command::MemberAdd(MemberAdd {
            member: member(id, is_learner),
            max_learners: 1,
        })
    };
    let attributes = MemberAttributes {
        id: 1,
        name: "first".to_owned(),
        client_urls: vec!["http://127.0.0.1:2379".to_owned()],
    };
    let update = MemberUpdate {
        id: 2,
        peer_urls: vec!["http://127.0.0.1:9".to_owned()],
    };
    vec![
        add(1, false),
        add(2, true),
        Command::MemberAttributes(attributes),
        Command::MemberUpdate(update),
        Command::MemberPromote(MemberPromote { id: 2 }),
        add(3, false),
        Command::MemberRemove(MemberRemove { id: 3 }),
        Command::ClusterVersion(Version::new(3, 7)),
        Command::Downgrade(Downgrade {
            target: Some(Version::new(3, 6)),
        }),
    ]
}

fn users() -> Vec<Command> {
    let user = |name: &str| UserAdd {
        name: name.to_owned(),
        password: Bytes::from_static(b"$2a$04$0123456789").into(),
        no_password: false,
    };
    let role = |name: &str| RoleName {
        name: name.to_owned(),
    };
    let grant = |name: &str, role: &str| UserRole {
        user: name.to_owned(),
        role: role.to_owned(),
    };
    let permission = RolePermission {
        role: "reader".to_owned(),
        permission: Some(Permission {
            kind: PermissionKind::ReadWrite.into(),
            key: Bytes::from_static(b"a"),
            range_end: Bytes::from_static(b"m"),
        }),
    };
    let password = UserPassword {
        name: "alice".to_owned(),
        password: Bytes::from_static(b"$2a$04$9876543210").into(),
    };
    let authenticate = Authenticate {
        name: "alice".to_owned(),
        token_prefix: Bytes::from_static(b"abcdefgh").into(),
    };
    let requests = [
        AuthRequest::UserAdd(user("root")),
        AuthRequest::UserAdd(user("alice")),
        AuthRequest::UserAdd(user("bob")),
        AuthRequest::RoleAdd(role("root")),
        AuthRequest::RoleAdd(role("reader")),
        AuthRequest::RoleAdd(role("writer")),
        AuthRequest::UserGrantRole(grant("root", "root")),
        AuthRequest::UserGrantRole(grant("alice", "reader")),
        AuthRequest::RoleGrantPermission(permission.clone()),
        AuthRequest::UserChangePassword(password),
        AuthRequest::Authenticate(authenticate),
        AuthRequest::RoleRevokePermission(RolePermission {
            role: "writer".to_owned(),
            ..permission
        }),
        AuthRequest::UserRevokeRole(grant("bob", "writer")),
        AuthRequest::UserDelete(UserName {
            name: "bob".to_owned(),
        }),
        AuthRequest::RoleDelete(role("writer")),
    ];
    requests.into_iter().map(Command::from).collect()
}

fn put(key: &'static str, value: &'static str, lease: i64) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: value.into(),
        lease,
        ..PutRequest::default()
    }
}

fn keys() -> Vec<Command> {
    let grant = |id| Command::LeaseGrant(LeaseGrant { id, ttl: 60 });
    let delete = DeleteRangeRequest {
        key: "b".into(),
        range_end: "d".into(),
        prev_kv: true,
    };
    let remaining = LeaseRemaining {
        id: 7,
        remaining_ttl: 30,
    };
    let compaction = CompactionRequest {
        revision: 3,
        ..CompactionRequest::default()
    };
    let raise = AlarmChange {
        alarm: Alarm::new(AlarmKind::NoSpace, 1),
        raised: true,
    };
    vec![
        grant(7),
        grant(8),
        Command::Put(put("a", "1", 7)),
        Command::Put(put("b", "2", 0)),
        Command::Put(put("a", "3", 0)),
        Command::Put(put("c", "some longer value, some longer value", 8)),
        Command::DeleteRange(delete),
        Command::Txn(txn(3)),
        Command::LeaseCheckpoint(LeaseCheckpoint {
            checkpoints: vec![remaining],
        }),
        Command::LeaseRevoke(LeaseRevoke { id: 8 }),
        Command::Compact(compaction),
        Command::Put(put("d", "", 0)),
        Command::Alarm(raise),
    ]
}

/// A transaction with everything in it, and itself so deep in itself.
fn txn(depth: u32) -> TxnRequest {
    let compare = Compare {
        result: 1,
        target: 2,
        key: "a".into(),
        target_union: Some(TargetUnion::ModRevision(2)),
        range_end: "b".into(),
    };
    let range = RangeRequest {
        key: "a".into(),
        range_end: "\0".into(),
        limit: 2,
        revision: 2,
        sort_order: 2,
        sort_target: 3,
        ..RangeRequest::default()
    };
    let mut success: Vec<RequestOp> = vec![
        Op::Put(put("e", "5", 7)).into(),
        Op::Range(range).into(),
        Op::DeleteRange(DeleteRangeRequest::default()).into(),
    ];
    success.extend((depth > 0).then(|| Op::Txn(txn(depth - 1)).into()));
    TxnRequest {
        compare: vec![compare],
        failure: success[..1].to_vec(),
        success,
    }
}

/// Who wants a command.
pub(crate) fn author() -> Author {
    Author {
        name: "root".to_owned(),
        revision: 4,
    }
}

/// The store after all of [`commands`].
pub(crate) fn store() -> Store {
    let mut store = Store::new();
    for (command, index) in commands().iter().zip(1..) {
        drop(store.apply(index, command));
    }
    store
}

/// Entries with every kind of payload, from index 1 on.
pub(crate) fn entries() -> Vec<Entry> {
    let context = Bytes::from_static(b"context");
    let change = Change {
        kind: ChangeKind::AddLearner(PeerId(4)),
        context: context.clone(),
    };
    let steps = vec![
        ChangeKind::AddVoter(PeerId(4)),
        ChangeKind::Remove(PeerId(2)),
    ];
    let payloads = [
        Payload::Empty,
        Payload::Command(Bytes::from_static(b"a command")),
        Payload::Change(change),
        Payload::EnterJoint(JointChange { steps, context }),
        Payload::LeaveJoint,
    ];
    let entry = |(payload, index)| Entry {
        term: Term(1 + index / 4),
        index: Index(index),
        payload,
    };
    payloads.into_iter().zip(1..).map(entry).collect()
}

/// A call of a method: its path, and messages in which everything is said, and hardly anything.
pub(crate) struct Call {
    pub(crate) path: String,
    pub(crate) messages: [DynamicMessage; 2],
}

/// Calls of every method in these packages.
pub(crate) fn calls(packages: &[&str]) -> Vec<Call> {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let services = pool.services();
    let services =
        services.filter(|service| packages.contains(&service.parent_file().package_name()));
    let methods = services.flat_map(|service| service.methods().collect::<Vec<_>>());
    methods
        .map(|method| Call {
            path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
            messages: [
                filled(&method.input(), usize::MAX, 4),
                filled(&method.input(), 2, 2),
            ],
        })
        .collect()
}

/// A message with so many fields of each message said, so deep.
fn filled(of: &MessageDescriptor, fields: usize, depth: u32) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields().take(fields) {
        if let Some(value) = value(&field, fields, depth) {
            let is_list = field.is_list();
            let value = if is_list {
                Value::List(vec![value])
            } else {
                value
            };
            message.set_field(&field, value);
        }
    }
    message
}

fn value(field: &FieldDescriptor, fields: usize, depth: u32) -> Option<Value> {
    Some(match field.kind() {
        Kind::Bytes => Value::Bytes(Bytes::from_static(b"key")),
        Kind::String => Value::String("name".to_owned()),
        Kind::Bool => Value::Bool(true),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(1),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(3),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(1),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(1),
        Kind::Enum(_) => Value::EnumNumber(1),
        Kind::Message(of) if depth > 0 => Value::Message(filled(&of, fields, depth - 1)),
        Kind::Message(_) | Kind::Float | Kind::Double => return None,
    })
}
