//! Bytes in the log and in images: the same forever, refused when damaged, harmless whatever they are.

#[path = "model/requests.rs"]
#[expect(
    dead_code,
    reason = "only the commands among the steps are of use here"
)]
mod requests;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use requests::Step;
use store::{
    AlarmChange, AlarmKind, AuthRequest, Authenticate, Author, Authored, Command,
    CompactionRequest, DecodeError, DeleteRangeRequest, Downgrade, LeaseCheckpoint, LeaseGrant,
    LeaseRemaining, LeaseRevoke, Member, MemberAdd, MemberAttributes, MemberChanges, MemberKeep,
    MemberPromote, MemberRemove, MemberStep, MemberUpdate, Nothing, Op, Permission, PutRequest,
    RangeRequest, RoleName, RolePermission, Store, TxnRequest, UserAdd, UserName, UserPassword,
    UserRole, Version,
};

/// Version and checksum of a command.
const COMMAND_HEADER_LEN: usize = 5;
/// Magic and version of an image.
const IMAGE_START_LEN: usize = 8;
/// Kind, length and checksum of a frame.
const FRAME_HEADER_LEN: usize = 9;
/// The image after one command of each kind.
const EXPECTED_IMAGE: &str = "5153544f52450001\
    0155000000a7d9c35b081a1004180629d0a5c5f1245177933a01074002a20129080110\
    061a140a04726f6f7412060a04686173681a04726f6f74220d0a01721208080212016b\
    1a016cf2010408021007fa01040803100782020408031006021b0000008cc625850a09\
    0a050a016b180318010a0e0a0c0a016b1004180420012a0176030000000037be0b4b";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest {
        key: Bytes::from(key),
        value: Bytes::from(value),
        ..PutRequest::default()
    }
}

/// One command of each kind.
fn all_kinds() -> Vec<Command> {
    let member = Member {
        id: 7,
        peer_urls: vec!["http://p".to_owned()],
        ..Member::default()
    };
    let range = RangeRequest {
        key: Bytes::from("k"),
        ..RangeRequest::default()
    };
    let success = vec![Op::Put(put("k", "v")).into(), Op::Range(range).into()];
    let urls = || vec!["http://c".to_owned()];
    vec![
        Command::Put(put("k", "v")),
        Command::DeleteRange(DeleteRangeRequest {
            key: Bytes::from("k"),
            ..Default::default()
        }),
        Command::Txn(TxnRequest {
            success,
            ..TxnRequest::default()
        }),
        Command::Compact(CompactionRequest {
            revision: 3,
            physical: true,
        }),
        Command::MemberAdd(MemberAdd {
            member,
            max_learners: 1,
        }),
        Command::MemberRemove(MemberRemove { id: 7 }),
        Command::MemberUpdate(MemberUpdate {
            id: 7,
            peer_urls: urls(),
        }),
        Command::MemberPromote(MemberPromote { id: 7 }),
        Command::MemberAttributes(MemberAttributes {
            id: 7,
            name: "n".to_owned(),
            client_urls: urls(),
        }),
        Command::MemberChanges(MemberChanges {
            changes: vec![MemberStep::Demote(7).into(), MemberStep::Remove(8).into()],
            max_learners: 2,
        }),
        Command::MemberKeep(MemberKeep { id: 7 }),
        Command::Alarm(AlarmChange::raise(AlarmKind::Corrupt, 7)),
        Command::ClusterVersion(Version::new(3, 7)),
        Command::Downgrade(Downgrade {
            target: Some(Version::new(3, 6)),
        }),
    ]
    .into_iter()
    .chain(all_of_auth().into_iter().map(Command::from))
    .collect()
}

fn all_of_auth() -> Vec<AuthRequest> {
    let name = || "root".to_owned();
    let password = || "hash".into();
    let user_role = || UserRole {
        user: name(),
        role: "root".to_owned(),
    };
    let role = || RoleName {
        name: "r".to_owned(),
    };
    let permission = || RolePermission {
        role: "r".to_owned(),
        permission: Some(Permission {
            kind: 2,
            key: "k".into(),
            range_end: "l".into(),
        }),
    };
    vec![
        AuthRequest::UserDelete(UserName { name: name() }),
        AuthRequest::RoleDelete(role()),
        AuthRequest::UserRevokeRole(user_role()),
        AuthRequest::RoleRevokePermission(permission()),
        AuthRequest::Disable(Nothing {}),
        AuthRequest::UserAdd(UserAdd {
            name: name(),
            password: password(),
            no_password: false,
        }),
        AuthRequest::UserChangePassword(UserPassword {
            name: name(),
            password: password(),
        }),
        AuthRequest::RoleAdd(role()),
        AuthRequest::RoleGrantPermission(permission()),
        AuthRequest::UserGrantRole(user_role()),
        AuthRequest::Enable(Nothing {}),
        AuthRequest::Authenticate(Authenticate {
            name: name(),
            token_prefix: password(),
        }),
    ]
}

#[test]
fn commands_are_written_as_ever() {
    let written: Vec<String> = all_kinds()
        .iter()
        .map(|command| hex(&command.to_bytes()))
        .collect();
    let expected = [
        "01191e31580a060a016b120176",
        "0156905b0012030a016b",
        "019db1836b1a11120812060a016b12017612050a030a016b",
        "012f1711f4220408031001",
        "01480e289e52100a0c08071a08687474703a2f2f701001",
        "011ffbcdd05a020807",
        "01b1ea6e89620c08071208687474703a2f2f63",
        "01be03e6206a020807",
        "01340ea983720f080712016e1a08687474703a2f2f63",
        "01b5169f737a0a0a0220070a0210081002",
        "014fb881e08201020807",
        "01696a9c219203080a04080210071001",
        "016aad1369e2030408031007",
        "0176890694ea03060a0408031006",
        "01224eff86f201082a060a04726f6f74",
        "019bc137d4f2010552030a0172",
        "01a982d70cf2010e420c0a04726f6f741204726f6f74",
        "01cb067859f2010f620d0a01721208080212016b1a016c",
        "01f8371a37f201021200",
        "01dde455a4f20110220e0a04726f6f7412060a0468617368",
        "0143da7242f20110320e0a04726f6f7412060a0468617368",
        "01d81da784f201054a030a0172",
        "019d6b565af2010f5a0d0a01721208080212016b1a016c",
        "01da2fe1d5f2010e3a0c0a04726f6f741204726f6f74",
        "01a1af01b5f201020a00",
        "01713e5e26f201101a0e0a04726f6f7412060a0468617368",
    ];
    assert_eq!(
        written, expected,
        "logs on disks out there hold the old bytes"
    );
    for (command, bytes) in all_kinds().iter().zip(&written) {
        let bytes = Bytes::from(unhex(bytes));
        assert_eq!(Command::from_bytes(&bytes).as_ref(), Ok(command));
    }
}

#[test]
fn images_are_written_as_ever() {
    let mut store = Store::new();
    for (index, command) in (1..).zip(all_kinds()) {
        store.apply(index, &command);
    }
    let written = hex(&store.snapshot().encode());
    assert_eq!(
        written, EXPECTED_IMAGE,
        "checkpoints on disks out there hold the old bytes"
    );
}

#[test]
fn leases_are_written_as_ever() {
    let remaining = LeaseRemaining {
        id: 7,
        remaining_ttl: 30,
    };
    let commands = [
        Command::LeaseGrant(LeaseGrant { id: 7, ttl: 60 }),
        Command::LeaseCheckpoint(LeaseCheckpoint {
            checkpoints: vec![remaining],
        }),
        Command::LeaseRevoke(LeaseRevoke { id: 7 }),
    ];
    let written: Vec<String> = commands.iter().map(|it| hex(&it.to_bytes())).collect();
    assert_eq!(
        written,
        [
            "01e038d2d6a201040807103c",
            "01ef5dcc0bb201060a040807101e",
            "018adc3011aa01020807"
        ]
    );
    let mut store = Store::new();
    for (index, command) in (1..).zip(&commands[..2]) {
        let bytes = Bytes::from(unhex(&written[index as usize - 1]));
        assert_eq!(Command::from_bytes(&bytes).as_ref(), Ok(command));
        store.apply(index, command);
    }
    let frames = &hex(&store.snapshot().encode())[2 * IMAGE_START_LEN..];
    assert_eq!(
        frames,
        "01170000001e7b504b080210011801293707eda64a03c2b152060807103c181e030000000037be0b4b"
    );
}

#[test]
fn an_author_stands_behind_his_command() {
    let author = Author {
        name: "u".to_owned(),
        revision: 9,
    };
    let command = &all_kinds()[0];
    let bytes = command.to_bytes_by(Some(&author));
    assert_eq!(hex(&bytes), "010a792fbe0a060a016b120176a206050a01751009");
    let read = Authored::from_bytes(&bytes).expect("it was just written");
    assert_eq!((&read.command, read.author), (command, Some(author)));
    let nobodys = Authored::from_bytes(&command.to_bytes()).expect("it was just written");
    assert_eq!(nobodys.author, None);
}

#[test]
fn values_are_slices_of_the_entry() {
    let entry = Command::Put(put("key", "a value")).to_bytes();
    let Ok(Command::Put(request)) = Command::from_bytes(&entry) else {
        panic!("a put was written")
    };
    let entry = entry.as_ptr_range();
    assert!(entry.contains(&request.key.as_ptr()) && entry.contains(&request.value.as_ptr()));
}

#[test]
fn a_later_version_is_named() {
    let mut entry = all_kinds()[0].to_bytes().to_vec();
    entry[0] = 9;
    let error = Command::from_bytes(&Bytes::from(entry)).expect_err("version 9 is not known");
    assert_eq!(
        error.to_string(),
        "a command has format version 9, this program reads version 1"
    );
    let mut image = Store::new().snapshot().encode();
    image[7] = 2;
    let error = Store::decode(&image).expect_err("version 2 is not known");
    assert_eq!(
        error.to_string(),
        "an image has format version 2, this program reads version 1"
    );
}

#[test]
fn an_unknown_command_is_refused() {
    // Field 63, empty: a command of a version to come that forgot to raise the format's.
    // Field 30 is users and roles, without a request, or with one that is not known.
    for body in [
        &[0xfa, 0x03, 0x00][..],
        &[0xf2, 0x01, 0x00],
        &[0xf2, 0x01, 0x03, 0xfa, 0x03, 0x00],
    ] {
        let error = Command::from_bytes(&entry_of(body)).expect_err("not known");
        let expected = "no command number that is known here";
        assert!(error.to_string().contains(expected), "{error}");
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(digits).collect()
}

/// A command's bytes around any body, with the right checksum.
fn entry_of(body: &[u8]) -> Bytes {
    let checksum = crc32fast::hash(body).to_le_bytes();
    Bytes::from([&[1], &checksum[..], body].concat())
}

/// An image with some history, a compaction that is half swept, and members.
fn image(steps: &[Step]) -> Vec<u8> {
    let mut store = Store::new();
    let commands = steps.iter().filter_map(|step| match step {
        Step::Apply(command) => Some(command.clone()),
        Step::Burst(n) => Some(requests::of_burst(*n)),
        _ => None,
    });
    for (index, command) in (1..).zip(commands.chain(all_kinds())) {
        store.apply(index, &command);
    }
    let compaction = CompactionRequest {
        revision: store.revision() - 1,
        physical: false,
    };
    store.apply(store.applied_index() + 1, &Command::Compact(compaction));
    store.snapshot().encode()
}

/// Puts the right checksum into every frame again, as far as they can be followed.
fn repair(image: &mut [u8]) {
    let mut at = IMAGE_START_LEN;
    while let Some(header) = image.get(at..at + FRAME_HEADER_LEN) {
        let len = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let body = at + FRAME_HEADER_LEN;
        let Some(bytes) = image.get(body..body.saturating_add(len)) else {
            return;
        };
        let checksum = crc32fast::hash(&[&image[at..=at], bytes].concat());
        image[at + 5..body].copy_from_slice(&checksum.to_le_bytes());
        at = body + len;
    }
}

/// Everything one can do with a store; nothing may panic.
fn exercise(mut store: Store) {
    let index = store.applied_index();
    if index > u64::MAX - 100 {
        return;
    }
    for (index, command) in (index + 1..).zip(all_kinds()) {
        store.apply(index, &command);
    }
    let all = |revision| RangeRequest {
        key: Bytes::from_static(&[0]),
        range_end: Bytes::from_static(&[0]),
        revision,
        ..RangeRequest::default()
    };
    for revision in [0, 1, store.compact_revision(), store.revision()] {
        let _ = store.range(&all(revision));
        let _ = store.hash_kv(revision);
        let changes = store
            .changes_from(revision)
            .map(|changes| changes.collect::<Vec<_>>());
        for change in changes.into_iter().flatten() {
            let _ = store.previous(&change);
        }
    }
    let last = CompactionRequest {
        revision: store.revision(),
        physical: true,
    };
    store.apply(index + 50, &Command::Compact(last));
    Store::decode(&store.snapshot().encode()).expect("what we write we can read");
}

/// So many cases, or more if `PROPTEST_CASES` says so.
fn at_least(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(cases),
        ..default
    }
}

proptest! {
    #![proptest_config(at_least(2000))]

    #[test]
    fn any_bytes_are_harmless(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Command::from_bytes(&Bytes::from(bytes.clone())).is_err());
        prop_assert!(Store::decode(&bytes).is_err());
        // With a header that is right, the inner decoder sees them too.
        if let Ok(command) = Command::from_bytes(&entry_of(&bytes)) {
            Store::new().apply(1, &command);
        }
    }

    #[test]
    fn a_changed_command_is_refused(
        step in requests::steps(),
        at in any::<proptest::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        for command in step.iter().filter_map(|step| match step {
            Step::Apply(command) => Some(command),
            _ => None,
        }) {
            let entry = command.to_bytes();
            let mut changed = entry.to_vec();
            changed[at.index(entry.len())] ^= flip;
            prop_assert!(Command::from_bytes(&Bytes::from(changed)).is_err());
            let cut = entry.slice(..at.index(entry.len()));
            prop_assert!(Command::from_bytes(&cut).is_err());

            let mut body = entry[COMMAND_HEADER_LEN..].to_vec();
            let at = at.index(body.len());
            body[at] ^= flip;
            if let Ok(command) = Command::from_bytes(&entry_of(&body)) {
                let mut store = Store::new();
                store.apply(1, &command);
                exercise(store);
            }
        }
    }
}

proptest! {
    #![proptest_config(at_least(300))]

    #[test]
    fn a_changed_image_is_refused(
        steps in requests::steps(),
        places in vec((any::<proptest::sample::Index>(), 1..=255_u8), 20),
    ) {
        let image = image(&steps);
        for (at, flip) in places {
            let at = at.index(image.len());
            let mut changed = image.clone();
            changed[at] ^= flip;
            prop_assert!(Store::decode(&changed).is_err(), "byte {at} changed unnoticed");
            prop_assert!(Store::decode(&image[..at]).is_err(), "cut at {at} unnoticed");
            repair(&mut changed);
            if let Ok(store) = Store::decode(&changed) {
                exercise(store);
            }
        }
        let longer = [&image[..], &[0]].concat();
        let after_end = matches!(Store::decode(&longer), Err(DecodeError::Malformed { .. }));
        prop_assert!(after_end, "bytes after the end went unnoticed");
    }
}
