//! Stores on their way out and in, and files that are none.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use bolt::{Bucket, Layout};
use bytes::Bytes;
use futures::StreamExt;
use prost::Message;
use proto::etcdserverpb::SnapshotResponse;
use raft::{Entry, HardState, Index, Payload, Persist, Term, Ticket};
use sha2::{Digest, Sha256};
use store::{
    Alarm, AlarmChange, AlarmKind, Auth, Command, CompactionRequest, DeleteRangeRequest, Import,
    KeyValue, LeaseGrant, Member, MemberAdd, Permission, PermissionKind, PutRequest, RangeRequest,
    Revision, Role, Store, Tables, User,
};

use super::*;
use crate::config::{Config, Invocation};
use crate::replica::{Batch, apply_all, founding_entries};
use crate::storage::{DataDir, Identity, Options, Storage};

fn put(key: &str, value: &[u8]) -> Command {
    Command::Put(PutRequest {
        key: key.to_owned().into(),
        value: value.to_vec().into(),
        ..PutRequest::default()
    })
}

fn delete(key: &str) -> Command {
    Command::DeleteRange(DeleteRangeRequest {
        key: key.to_owned().into(),
        ..DeleteRangeRequest::default()
    })
}

fn compact(revision: i64) -> Command {
    Command::Compact(CompactionRequest {
        revision,
        physical: false,
    })
}

/// With history, a large value, a deletion and an alarm.
fn store() -> Store {
    let member = Member {
        id: 7,
        name: "m".to_owned(),
        peer_urls: vec!["http://a:1".to_owned()],
        ..Member::default()
    };
    let mut commands = vec![Command::MemberAdd(MemberAdd {
        member,
        max_learners: 1,
    })];
    commands.extend((0..300).map(|number| put(&format!("k{}", number % 90), &[7; 100])));
    commands.extend([put("large", &[9; 40_000]), delete("k3"), compact(200)]);
    commands.push(put("k4", b"last"));
    for id in [-5, 9] {
        commands.push(Command::LeaseGrant(LeaseGrant { id, ttl: 600 }));
    }
    commands.push(Command::Put(PutRequest {
        key: "leased".into(),
        lease: 9,
        ..PutRequest::default()
    }));
    commands.push(Command::Alarm(AlarmChange::raise(AlarmKind::NoSpace, 7)));
    let mut store = Store::new();
    for (index, command) in (1..).zip(&commands) {
        store.apply(index, command);
    }
    store
}

fn database(store: &Store) -> Vec<u8> {
    let export = Export::new(store.snapshot(), 3).unwrap();
    let mut bytes = Vec::new();
    let written = export.write(|page| {
        bytes.extend_from_slice(page);
        Ok::<(), Infallible>(())
    });
    written.unwrap();
    bytes
}

/// Reads a database, with nothing changed.
fn imported(bytes: &[u8]) -> Result<Store, ImportError> {
    import(bytes, Box::new(|_: &mut Tables| ()))
}

/// A bucket by its name.
type Named = (&'static [u8], Vec<(Vec<u8>, Vec<u8>)>);

/// A database of these buckets.
fn made_of(buckets: &[Named]) -> Vec<u8> {
    let buckets = || {
        buckets.iter().map(|(name, entries)| Bucket {
            name,
            entries: entries.clone().into_iter(),
        })
    };
    let mut bytes = Vec::new();
    let written = Layout::of(buckets()).write(buckets(), |page| {
        bytes.extend_from_slice(page);
        Ok::<(), Infallible>(())
    });
    written.unwrap();
    bytes
}

fn version(text: &str) -> Named {
    (
        schema::META,
        vec![(schema::STORAGE_VERSION.to_vec(), text.into())],
    )
}

fn write(main: i64, kv: &KeyValue) -> (Vec<u8>, Vec<u8>) {
    let key = schema::RevisionKey::new(Revision { main, sub: 0 }, false);
    (key.as_bytes().to_vec(), kv.encode_to_vec())
}

fn kv(key: &'static str, main: i64) -> KeyValue {
    KeyValue {
        key: key.into(),
        create_revision: main,
        mod_revision: main,
        version: 1,
        ..KeyValue::default()
    }
}

#[test]
fn a_store_that_went_out_and_came_in_is_the_same() {
    let store = store();
    let back = imported(&database(&store)).unwrap();
    let all = RangeRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        ..RangeRequest::default()
    };
    assert_eq!(back.range(&all), store.range(&all));
    for revision in [0, 200, 250, store.revision()] {
        assert_eq!(
            back.hash_kv(revision),
            store.hash_kv(revision),
            "{revision}"
        );
    }
    assert_eq!(back.compact_revision(), 200);
    let alarms: Vec<Alarm> = back.alarms().iter().collect();
    assert_eq!(alarms, [Alarm::new(AlarmKind::NoSpace, 7)]);
    assert!(
        back.leases() == store.leases(),
        "leases and what hangs on them"
    );
    assert_eq!(back.leases().keys(9).count(), 1);
    assert_eq!(back.members().iter().count(), 0, "members are not taken");
}

#[test]
fn users_and_roles_go_out_and_come_in() {
    let role = Role {
        name: "r".to_owned(),
        permissions: vec![Permission {
            kind: PermissionKind::ReadWrite as i32,
            key: "a".into(),
            range_end: "z".into(),
        }],
    };
    let user = |name: &str, role: &str, no_password| User {
        name: name.to_owned(),
        password: Bytes::from_static(b"$2a$").into(),
        roles: vec![role.to_owned()],
        no_password,
    };
    let users = [user("root", "root", false), user("u", "r", true)];
    let tables = Tables {
        auth: Auth::restore(true, 7, users, [role]),
        ..Tables::default()
    };
    let store = Import::default().finish(tables).unwrap();
    let back = imported(&database(&store)).unwrap();
    assert_eq!(back.snapshot().auth(), store.snapshot().auth());
}

#[tokio::test]
async fn a_name_that_etcd_has_no_room_for_is_refused() {
    let role = Role {
        name: "r".repeat(40_000),
        permissions: Vec::new(),
    };
    let tables = Tables {
        auth: Auth::restore(false, 1, [], [role]),
        ..Tables::default()
    };
    let store = Import::default().finish(tables).unwrap();
    let answer = stream(store.snapshot(), 1).next().await.unwrap();
    let refusal = answer.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::FailedPrecondition);
    assert!(refusal.message().contains("40000 bytes"), "{refusal}");
}

/// Values that etcd 3.7.3 has written.
#[test]
fn users_and_roles_of_etcd_are_read() {
    let rows = |rows: &[(&[u8], &[u8])]| {
        let owned = rows
            .iter()
            .map(|(key, value)| (key.to_vec(), value.to_vec()));
        owned.collect::<Vec<_>>()
    };
    let bytes = made_of(&[
        (
            schema::AUTH,
            rows(&[
                (schema::AUTH_ENABLED, b"\x01"),
                (schema::AUTH_REVISION, b"\0\0\0\0\0\0\0\x07"),
            ]),
        ),
        (
            schema::AUTH_ROLES,
            rows(&[(b"r", b"\n\x01r\x12\x08\x08\x02\x12\x01a\x1a\x01z")]),
        ),
        (
            schema::AUTH_USERS,
            rows(&[(b"u", b"\n\x01u\x12\x04hash\x1a\x01r\"\0")]),
        ),
        (schema::KEY, vec![]),
        version("3.7.0"),
    ]);
    let image = imported(&bytes).unwrap().snapshot();
    let auth = image.auth();
    assert!(auth.is_enabled());
    assert_eq!(auth.revision(), 7);
    let user = auth.user("u").unwrap();
    assert_eq!(&user.password.bytes[..], b"hash");
    assert_eq!(
        (user.roles.as_slice(), user.no_password),
        (&["r".to_owned()][..], false)
    );
    let role = auth.role("r").unwrap();
    assert_eq!(role.permissions[0].kind, PermissionKind::ReadWrite as i32);
    assert_eq!(
        (
            &role.permissions[0].key[..],
            &role.permissions[0].range_end[..]
        ),
        (&b"a"[..], &b"z"[..])
    );
}

#[test]
fn an_untouched_store_goes_out_and_comes_in() {
    let back = imported(&database(&Store::new())).unwrap();
    assert_eq!((back.revision(), back.compact_revision()), (1, -1));
}

#[test]
fn a_newer_etcd_is_refused_by_name() {
    for (text, is_known) in [
        ("3.5.0", true),
        ("3.7.0", true),
        ("3.8.0", false),
        ("4.0.0", false),
    ] {
        let read = imported(&made_of(&[(schema::KEY, vec![]), version(text)]));
        match read {
            Ok(_) => assert!(is_known, "{text}"),
            Err(ImportError::TooNew { found }) => assert!(!is_known && found == text),
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

#[test]
fn a_database_of_something_else_is_refused() {
    let other = made_of(&[(b"widgets", vec![(b"a".to_vec(), b"b".to_vec())])]);
    assert!(matches!(imported(&other), Err(ImportError::Foreign("key"))));
    assert!(matches!(
        imported(b"text"),
        Err(ImportError::Database(bolt::Error::Foreign))
    ));
}

#[test]
fn entries_that_etcd_does_not_write_are_refused_with_their_place() {
    let bad = [
        (b"no revision".to_vec(), Vec::new()),
        (write(2, &kv("a", 2)).0, b"\xff".to_vec()),
        write(3, &kv("a", 2)),
    ];
    for entry in bad {
        let read = imported(&made_of(&[(schema::KEY, vec![entry]), version("3.6.0")]));
        let Err(ImportError::Entry { bucket, .. }) = read else {
            panic!("{read:?}");
        };
        assert_eq!(bucket, "key");
    }
}

/// What `etcdutl snapshot restore --bump-revision` leaves.
#[test]
fn a_bumped_revision_counts_though_no_key_has_it() {
    let bumped = write(1_000_002, &KeyValue::default()).0;
    let entries = vec![write(2, &kv("a", 2)), (bumped.clone(), Vec::new())];
    let meta = vec![(schema::SCHEDULED_COMPACT.to_vec(), bumped)];
    let store = imported(&made_of(&[(schema::KEY, entries), (schema::META, meta)])).unwrap();
    assert_eq!(
        (store.revision(), store.compact_revision()),
        (1_000_002, 1_000_002)
    );
    let keys = store.range(&RangeRequest {
        key: "a".into(),
        ..RangeRequest::default()
    });
    assert_eq!(keys.unwrap().count, 1);
}

#[tokio::test]
async fn a_stream_is_the_file_that_clients_expect() {
    let store = store();
    let pieces: Vec<SnapshotResponse> = stream(store.snapshot(), 3)
        .map(|piece| piece.unwrap())
        .collect()
        .await;
    let file: Vec<u8> = pieces.iter().flat_map(|piece| piece.blob.clone()).collect();
    let (database, hash) = file.split_at(file.len() - 32);
    assert_eq!(file.len() % 512, 32);
    assert_eq!(hash, &Sha256::digest(database)[..]);
    let mut left = database.len() as u64;
    for piece in &pieces[..pieces.len() - 1] {
        left -= piece.blob.len() as u64;
        assert_eq!(piece.remaining_bytes, left);
        assert_eq!(piece.version, "3.7.0");
    }
    assert_eq!(pieces.last().map(|last| last.remaining_bytes), Some(0));
}

fn saved(folder: &Path, store: &Store) -> PathBuf {
    let mut file = database(store);
    let hash = Sha256::digest(&file);
    file.extend_from_slice(&hash);
    let path = folder.join("snapshot.db");
    std::fs::write(&path, file).unwrap();
    path
}

fn config(data_dir: &Path, name: &str, token: &str) -> Config {
    let arguments = [
        format!("--name={name}"),
        format!("--data-dir={}", data_dir.display()),
        "--initial-cluster=a=http://a:1,b=http://b:1".to_owned(),
        format!("--initial-advertise-peer-urls=http://{name}:1"),
        format!("--initial-cluster-token={token}"),
    ];
    match Config::read(arguments, []) {
        Ok(Invocation::Serve(config)) => *config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_restored_member_has_the_keys_and_another_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let (store, snapshot) = (store(), saved(folder.path(), &store()));
    let restored = |name: &str, token: &str, bump| {
        let data_dir = folder.path().join(format!("{name}-{token}-{bump}"));
        let config = config(&data_dir, name, token);
        let restored = restore(&config, &snapshot, HashCheck::Required, bump).unwrap();
        let directory = DataDir::open(data_dir).unwrap();
        let (storage, recovered) = Storage::open(directory, Options::default()).unwrap();
        storage.close().unwrap();
        assert_eq!(recovered.identity, restored.identity);
        assert_eq!(recovered.snapshot.configuration.voters().len(), 2);
        (restored, Store::decode(&recovered.image.unwrap()).unwrap())
    };
    let (a, held) = restored("a", "t", 0);
    let (b, beside) = restored("b", "t", 0);
    assert_eq!(held.hash_kv(0), store.hash_kv(0));
    assert_eq!((held.applied_index(), held.digest()), (2, beside.digest()));
    assert_eq!(a.identity.cluster_id, b.identity.cluster_id);
    assert_ne!(a.identity.member_id, b.identity.member_id);
    let ids: Vec<u64> = held.members().iter().map(|member| member.id).collect();
    assert!(ids.contains(&a.identity.member_id) && ids.contains(&b.identity.member_id));
    let (other, _) = restored("a", "another", 0);
    assert_ne!(other.identity.cluster_id, a.identity.cluster_id);
    let (bumped, held) = restored("a", "t", 1000);
    assert_eq!(bumped.revision, store.revision() + 1000);
    assert_eq!(held.compact_revision(), bumped.revision);
}

#[test]
fn a_log_is_restored_where_it_is_to_lie() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = saved(folder.path(), &store());
    let (data_dir, wal_dir) = (folder.path().join("data"), folder.path().join("log"));
    let mut config = config(&data_dir, "a", "t");
    config.wal_dir = Some(wal_dir.clone());
    restore(&config, &snapshot, HashCheck::Required, 0).unwrap();
    assert!(std::fs::read_dir(&wal_dir).unwrap().next().is_some());
    let directory = DataDir::open(data_dir).unwrap();
    let (storage, recovered) = Storage::open(directory, Options::default()).unwrap();
    storage.close().unwrap();
    assert!(recovered.image.is_some());
    config.data_dir = folder.path().join("another");
    let taken = restore(&config, &snapshot, HashCheck::Required, 0).unwrap_err();
    assert!(matches!(taken, RestoreError::WalDir { .. }), "{taken}");
    assert!(!config.data_dir.exists());
}

/// The data directory of a member with a log that no checkpoint covers.
fn stopped_member(path: &Path) -> Store {
    let members = [Member {
        id: 5,
        name: "old".to_owned(),
        ..Member::default()
    }];
    let mut entries = founding_entries(&members);
    for number in 0..20 {
        let batch = Batch {
            starter: 5,
            first: number,
            commands: vec![put(&format!("k{number}"), b"v").to_bytes()],
        };
        entries.push(Entry {
            term: Term(3),
            index: Index(entries.len() as u64 + 1),
            payload: Payload::Command(batch.encode()),
        });
    }
    let first = Persist {
        ticket: Ticket::default(),
        entries: entries.clone(),
        hard_state: Some(HardState {
            term: Term(3),
            vote: None,
            // The rest may have been committed by others, and was acknowledged then.
            commit: Index(4),
        }),
        must_sync: true,
    };
    let identity = Identity {
        cluster_id: 77,
        member_id: 5,
    };
    let directory = DataDir::open(path).unwrap();
    let storage = Storage::create(directory, identity, &first, Options::default()).unwrap();
    storage.close().unwrap();
    let mut store = Store::new();
    apply_all(&mut store, entries).unwrap();
    store
}

#[test]
fn a_stopped_members_data_make_a_member_of_another_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old");
    let store = stopped_member(&old);
    let restored = |token: &str| {
        let data_dir = folder.path().join(token);
        let config = config(&data_dir, "a", token);
        let restored = restore(&config, &old, HashCheck::Skipped, 0).unwrap();
        let directory = DataDir::open(data_dir).unwrap();
        let (storage, recovered) = Storage::open(directory, Options::default()).unwrap();
        storage.close().unwrap();
        assert_eq!(recovered.identity, restored.identity);
        let held = Store::decode(&recovered.image.unwrap()).unwrap();
        assert_eq!(held.hash_kv(0), store.hash_kv(0), "all of the log is there");
        assert_eq!(held.members().iter().len(), 2, "and nobody of old");
        restored.identity.cluster_id
    };
    let (one, other) = (restored("t"), restored("u"));
    assert!(one != 77 && other != 77 && one != other);
    let again = Storage::open(DataDir::open(&old).unwrap(), Options::default()).unwrap();
    assert_eq!(again.1.identity.cluster_id, 77, "the source is as it was");
}

#[test]
fn an_empty_folder_is_no_source() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, data_dir) = (folder.path().join("empty"), folder.path().join("data"));
    std::fs::create_dir(&empty).unwrap();
    let refused = restore(&config(&data_dir, "a", "t"), &empty, HashCheck::Skipped, 0);
    let refused = refused.unwrap_err();
    assert!(matches!(refused, RestoreError::Source { .. }), "{refused}");
    assert!(!data_dir.exists());
}

#[test]
fn a_restore_that_fails_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let snapshot = saved(folder.path(), &store());
    let sound = std::fs::read(&snapshot).unwrap();
    let data_dir = folder.path().join("data");
    let config = config(&data_dir, "a", "t");
    let attempt = |bytes: &[u8], check| {
        std::fs::write(&snapshot, bytes).unwrap();
        let error = restore(&config, &snapshot, check, 0).unwrap_err();
        assert!(!data_dir.exists(), "{error}");
        error
    };
    let cut = attempt(&sound[..sound.len() - 100], HashCheck::Required);
    assert!(matches!(cut, RestoreError::File(FileError::NoHash { .. })));
    let mut flipped = sound.clone();
    flipped[9000] ^= 1;
    let flipped = attempt(&flipped, HashCheck::Required);
    assert!(matches!(
        flipped,
        RestoreError::File(FileError::Hash { .. })
    ));
    let cut = attempt(&sound[..sound.len() / 2], HashCheck::Skipped);
    assert!(matches!(
        cut,
        RestoreError::Import(ImportError::Database(bolt::Error::Cut { .. }))
    ));
    std::fs::create_dir(&data_dir).unwrap();
    std::fs::write(data_dir.join("something"), "").unwrap();
    let full = restore(&config, &snapshot, HashCheck::Required, 0).unwrap_err();
    assert!(matches!(full, RestoreError::DataDir { .. }));
}
