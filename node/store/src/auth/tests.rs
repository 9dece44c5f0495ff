//! The holes that etcd published, and what an image must keep.

use super::{
    AuthCommand, AuthError, AuthRequest, Author, Nothing, Permission, PermissionKind, ROOT,
    RoleName, RolePermission, UserAdd, UserRole,
};
use crate::{
    Command, DeleteRangeRequest, Op, PutRequest, RangeRequest, RequestOp, Response, Store,
    StoreError, TxnRequest,
};

fn apply(store: &mut Store, request: AuthRequest) {
    let index = store.applied_index() + 1;
    let root = Author::root();
    let applied = store.apply_by(index, &request.into(), Some(&root));
    assert!(matches!(applied.response, Response::Auth(_)), "{applied:?}");
}

fn add_user(store: &mut Store, name: &str, role: &str) {
    let add = UserAdd {
        name: name.to_owned(),
        password: "a hash".into(),
        no_password: false,
    };
    apply(store, AuthRequest::UserAdd(add));
    let grant = UserRole {
        user: name.to_owned(),
        role: role.to_owned(),
    };
    apply(store, AuthRequest::UserGrantRole(grant));
}

fn add_role(store: &mut Store, name: &str, kind: PermissionKind, key: &'static str) {
    let role = name.to_owned();
    apply(store, AuthRequest::RoleAdd(RoleName { name: role.clone() }));
    let permission = Some(Permission {
        kind: kind.into(),
        key: key.into(),
        range_end: "".into(),
    });
    let grant = RolePermission { role, permission };
    apply(store, AuthRequest::RoleGrantPermission(grant));
}

/// Authentication is on; `mine` is Alice's to write, `seen` Bob's to read, everything else root's alone.
fn guarded() -> Store {
    let mut store = Store::new();
    add_role(&mut store, "writes", PermissionKind::Write, "mine");
    add_role(&mut store, "reads", PermissionKind::Read, "seen");
    add_user(&mut store, ROOT, ROOT);
    add_user(&mut store, "alice", "writes");
    add_user(&mut store, "bob", "reads");
    apply(&mut store, AuthRequest::Enable(Nothing {}));
    store
}

fn author(store: &Store, name: &str) -> Author {
    Author {
        name: name.to_owned(),
        revision: store.auth().revision(),
    }
}

/// What `name` is told.
fn ask(store: &mut Store, name: &str, command: &Command) -> Result<Response, StoreError> {
    let author = author(store, name);
    let index = store.applied_index() + 1;
    let applied = store.apply_by(index, command, Some(&author));
    applied.response.into_result()
}

fn put(key: &'static str) -> PutRequest {
    PutRequest {
        key: key.into(),
        value: "v".into(),
        ..PutRequest::default()
    }
}

fn txn(ops: impl IntoIterator<Item = Op>) -> TxnRequest {
    TxnRequest {
        success: ops.into_iter().map(RequestOp::from).collect(),
        ..TxnRequest::default()
    }
}

const DENIED: StoreError = StoreError::Auth(AuthError::PermissionDenied);

#[test]
fn cve_2026_33343_a_nested_transaction_is_no_way_around_permissions() {
    let mut store = guarded();
    let delete = DeleteRangeRequest {
        key: "secret".into(),
        ..DeleteRangeRequest::default()
    };
    let range = RangeRequest {
        key: "secret".into(),
        ..RangeRequest::default()
    };
    for op in [
        Op::Put(put("secret")),
        Op::DeleteRange(delete),
        Op::Range(range),
    ] {
        for depth in 0..4 {
            let inner = (0..depth).fold(op.clone(), |op, _| Op::Txn(txn([op])));
            let taken = txn([Op::Put(put("mine")), inner]);
            let not_taken = TxnRequest {
                failure: taken.success.clone(),
                ..TxnRequest::default()
            };
            for txn in [taken, not_taken] {
                let answer = ask(&mut store, "alice", &Command::Txn(txn));
                assert_eq!(answer, Err(DENIED), "depth {depth}");
            }
        }
    }
    assert_eq!(store.revision(), 1, "nothing was written");
    let allowed = txn([Op::Txn(txn([Op::Put(put("mine"))]))]);
    assert!(ask(&mut store, "alice", &Command::Txn(allowed)).is_ok());
}

#[test]
fn etcd_3_6_11_a_put_in_a_transaction_shows_no_value_that_its_author_may_not_read() {
    let mut store = guarded();
    let curious = PutRequest {
        prev_kv: true,
        ..put("mine")
    };
    let asked = [
        Command::Put(curious.clone()),
        Command::Txn(txn([Op::Put(curious.clone())])),
        Command::Txn(txn([Op::Txn(txn([Op::Put(curious)]))])),
    ];
    for command in &asked {
        assert_eq!(ask(&mut store, "alice", command), Err(DENIED));
        assert!(ask(&mut store, ROOT, command).is_ok());
    }
}

#[test]
fn ghsa_xg4h_6gfc_h4m8_one_key_is_not_all_that_follow_it() {
    let store = guarded();
    let bob = author(&store, "bob");
    let access = store.auth().access(Some(&bob));
    assert_eq!(access.read(b"seen", b""), Ok(()));
    assert_eq!(access.read(b"seen", b"seen\0"), Ok(()));
    for range_end in [&b"\0"[..], b"seen\0\0", b"t", b"\xff"] {
        assert_eq!(
            access.read(b"seen", range_end),
            Err(AuthError::PermissionDenied)
        );
    }
}

/// etcd issue 14571: a member that read its data back denied what the others allowed.
#[test]
fn issue_14571_what_is_granted_survives_an_image() {
    let mut before = guarded();
    let mut after = Store::decode(&before.snapshot().encode()).expect("what we write we can read");
    let mut aside = before.snapshot().to_store();
    for store in [&mut before, &mut after, &mut aside] {
        assert!(store.auth().is_enabled());
        assert!(ask(store, "alice", &Command::Put(put("mine"))).is_ok());
        assert_eq!(ask(store, "alice", &Command::Put(put("seen"))), Err(DENIED));
        let bob = author(store, "bob");
        assert_eq!(store.auth().access(Some(&bob)).read(b"seen", b""), Ok(()));
    }
    assert_eq!(before.digest(), after.digest());
    assert_eq!(before.snapshot().encode(), after.snapshot().encode());
}

/// etcd issue 11651: a member that restarted counted the revision otherwise, and diverged.
#[test]
fn issue_11651_members_agree_whenever_they_restarted() {
    let add = |name: &str| {
        let add = UserAdd {
            name: name.to_owned(),
            ..UserAdd::default()
        };
        Command::from(AuthRequest::UserAdd(add))
    };
    let commands = [
        add("carol"),
        add("carol"),
        Command::Put(put("mine")),
        AuthRequest::Enable(Nothing {}).into(),
        add("dave"),
        Command::Put(put("seen")),
    ];
    let images = (0..=commands.len()).map(|restart| {
        let mut store = guarded();
        for (at, command) in commands.iter().enumerate() {
            if at == restart {
                store = Store::decode(&store.snapshot().encode()).expect("we can read it");
            }
            let name = if at % 2 == 0 { ROOT } else { "alice" };
            let author = Author {
                name: name.to_owned(),
                // As of before the second user was added.
                revision: guarded().auth().revision() + 1,
            };
            store.apply_by(20 + at as u64, command, Some(&author));
        }
        store.snapshot().encode()
    });
    let images: Vec<_> = images.collect();
    assert!(images.iter().all(|image| *image == images[0]));
}

#[test]
fn a_permission_on_the_same_range_takes_the_place_of_the_old_one() {
    let mut store = guarded();
    let grant = |kind: PermissionKind, range_end: &'static str| {
        AuthRequest::RoleGrantPermission(RolePermission {
            role: "writes".to_owned(),
            permission: Some(Permission {
                kind: kind.into(),
                key: "x".into(),
                range_end: range_end.into(),
            }),
        })
    };
    for (kind, range_end) in [
        (PermissionKind::Read, "y"),
        (PermissionKind::ReadWrite, "z"),
        (PermissionKind::Read, "z"),
    ] {
        apply(&mut store, grant(kind, range_end));
    }
    let alice = author(&store, "alice");
    let access = store.auth().access(Some(&alice));
    assert_eq!(access.read(b"x", b"z"), Ok(()));
    assert_eq!(access.write(b"x", b""), Err(AuthError::PermissionDenied));
}

#[test]
fn the_cluster_itself_may_everything_whatever_changes() {
    let mut store = guarded();
    add_user(&mut store, "carol", "reads");
    let root = Author::root();
    assert_eq!(store.auth().check_root(Some(&root)), Ok(()));
    assert_eq!(store.auth().access(Some(&root)).write(b"a", b"\0"), Ok(()));
}

#[test]
fn no_hash_and_no_token_shows() {
    let secret = "$2a$10$abcdefgh";
    let requests = [
        AuthRequest::UserAdd(UserAdd {
            name: "u".to_owned(),
            password: secret.into(),
            no_password: false,
        }),
        AuthRequest::UserChangePassword(super::UserPassword {
            name: "u".to_owned(),
            password: secret.into(),
        }),
        AuthRequest::Authenticate(super::Authenticate {
            name: ROOT.to_owned(),
            token_prefix: secret.into(),
        }),
    ];
    let mut store = guarded();
    for request in requests {
        let command = Command::Auth(AuthCommand {
            request: Some(request),
        });
        let answer = ask(&mut store, ROOT, &command).expect("root may");
        let shown = format!("{command:?} {answer:?} {store:?} {:?}", store.snapshot());
        assert!(
            !shown.contains("abcdefgh") && !shown.contains("a hash"),
            "{shown}"
        );
        let as_bytes = "97, 98, 99, 100";
        assert!(!shown.contains(as_bytes), "{shown}");
    }
}
