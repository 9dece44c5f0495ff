//! Members whose files were damaged while they were stopped: the others give back what is lost, or nobody goes on without it.

#![allow(clippy::unwrap_used, reason = "what the lab cannot do fails the test")]

mod lab;

use std::fs;
use std::path::{Path, PathBuf};

use lab::{Lab, Member, PATIENCE, eventually, leader};
use proto::etcdserverpb as pb;
use quorate_node::storage::{DataDir, Options, Storage};

/// Checkpoints come often, and with few entries kept for those who are behind.
const OFTEN: [&str; 4] = ["--snapshot-count", "40", "--snapshot-catchup-entries", "5"];

async fn write(members: &[Member], from: usize, keys: std::ops::Range<usize>) {
    for key in keys {
        let (key, value) = (format!("key-{key:04}"), format!("{key}").repeat(40));
        eventually("a write", async || {
            let put = members[from].put(&key, &value).await;
            put.map(drop).map_err(|status| status.to_string())
        })
        .await;
    }
}

/// The hash over everything, at the newest revision: the same at all once they have the same.
async fn agree(members: &[Member]) {
    eventually("equal hashes", async || {
        let mut hashes = Vec::new();
        for member in members {
            let asked = pb::HashKvRequest { revision: 0 };
            let answer = member.maintenance().hash_kv(asked).await;
            let answer = answer.map_err(|status| status.to_string())?.into_inner();
            let revision = answer.header.map(|header| header.revision);
            hashes.push((revision, answer.hash, answer.compact_revision));
        }
        let same = hashes.windows(2).all(|pair| pair[0] == pair[1]);
        same.then_some(()).ok_or_else(|| format!("{hashes:?}"))
    })
    .await;
}

fn files(member: &Member, folder: &str, ending: &str) -> Vec<PathBuf> {
    let listed = fs::read_dir(member.folder.join("data").join(folder)).unwrap();
    let mut found: Vec<PathBuf> = listed
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == ending))
        .collect();
    found.sort();
    found
}

/// Where the records of a segment begin, by their mark.
fn records(segment: &[u8]) -> Vec<usize> {
    let places = (0..segment.len()).step_by(8);
    places
        .filter(|place| segment[*place..].starts_with(b"qwal"))
        .collect()
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 0x20;
    fs::write(path, bytes).unwrap();
}

/// Flips a byte in a record of the newest segment, so many percent from its beginning.
fn damage_log(member: &Member, percent: usize) -> PathBuf {
    let path = files(member, "wal", "wal").pop().unwrap();
    let places = records(&fs::read(&path).unwrap());
    assert!(places.len() > 30, "{} records", places.len());
    flip(&path, places[places.len() * percent / 100] + 50);
    path
}

fn stop_hard(members: &mut [Member], places: &[usize]) {
    for place in places {
        members[*place].kill();
    }
}

/// What its log says of the damage.
fn said(member: &Member, sentence: &str, file: &Path) {
    let log = member.log();
    let file = file.to_str().unwrap();
    let told = log.lines().any(|line| {
        line.contains(sentence) && line.contains(&format!("{file} is damaged at byte"))
    });
    assert!(told, "nothing of {sentence:?} and {file} in {log}");
}

async fn is_repaired(member: &Member) {
    eventually("what was lost is back", async || {
        let status = member.status().await.map_err(|status| status.to_string())?;
        let log = member.log();
        let told = log.contains("the others have given back what damage took");
        (told && status.errors.is_empty())
            .then_some(())
            .ok_or_else(|| format!("{:?}", status.errors))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_got_back_from_the_others() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    let victim = (leader(&members).await + 1) % 3;
    write(&members, victim, 0..60).await;
    stop_hard(&mut members, &[victim]);
    let file = damage_log(&members[victim], 50);
    let other = (victim + 1) % 3;
    write(&members, other, 60..70).await;
    members[victim].start();
    is_repaired(&members[victim]).await;
    said(&members[victim], "the data is damaged", &file);
    agree(&members).await;
    assert_eq!(files(&members[victim], "wal", "damaged").len(), 1);
    // It may lead again, and what was set aside goes with the next start.
    stop_hard(&mut members, &[victim, other]);
    members[victim].start();
    leader(&members[..]).await;
    write(&members, victim, 70..75).await;
    assert!(files(&members[victim], "wal", "damaged").is_empty());
}

/// Both checkpoints and an early part of the log: nearly nothing is left, and a leader that has forgotten the entries sends its
/// checkpoint.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_checkpoints_are_got_back_from_the_others() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &OFTEN).await;
    let victim = (leader(&members).await + 1) % 3;
    write(&members, victim, 0..200).await;
    eventually("two checkpoints", async || {
        let found = files(&members[victim], "checkpoints", "checkpoint");
        (found.len() == 2)
            .then_some(())
            .ok_or_else(|| format!("{found:?}"))
    })
    .await;
    stop_hard(&mut members, &[victim]);
    let found = files(&members[victim], "checkpoints", "checkpoint");
    for path in &found {
        flip(path, 200);
    }
    damage_log(&members[victim], 10);
    members[victim].start();
    is_repaired(&members[victim]).await;
    agree(&members).await;
    for path in &found {
        said(&members[victim], "set a damaged checkpoint aside", path);
    }
}

/// What only two of three have is damaged at both: it may be gone for good, and nobody acts as if it had never been.
#[tokio::test(flavor = "multi_thread")]
async fn damage_at_a_quorum_is_not_got_over() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &[]).await;
    let behind = (leader(&members).await + 1) % 3;
    let damaged: Vec<usize> = (0..3).filter(|place| *place != behind).collect();
    write(&members, behind, 0..40).await;
    stop_hard(&mut members, &[behind]);
    write(&members, damaged[0], 40..120).await;
    stop_hard(&mut members, &damaged);
    let found: Vec<PathBuf> = damaged
        .iter()
        .map(|it| damage_log(&members[*it], 50))
        .collect();
    for member in &mut members {
        member.start();
    }
    // Several elections' worth of time, by the terms that pass or the questions that are asked in vain.
    eventually("all are up and nobody leads", async || {
        for (place, file) in damaged.iter().zip(&found) {
            let status = members[*place].status().await;
            let status = status.map_err(|status| status.to_string())?;
            let lost = status.errors.iter().any(|it| it.starts_with("damaged:"));
            if status.leader != 0 || !lost {
                return Err(format!("{status:?}"));
            }
            said(&members[*place], "the data is damaged", file);
        }
        Ok(())
    })
    .await;
    let refused = tokio::time::timeout(PATIENCE, members[behind].put("key", "value")).await;
    let refused = refused.expect("an answer in time").unwrap_err();
    assert!(
        refused.message().contains("etcdserver"),
        "nobody can acknowledge it: {refused}"
    );
    for member in &members {
        assert_eq!(member.status().await.unwrap().leader, 0);
    }
}

/// One member alone has nobody to ask.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_member_alone_is_refused() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a"], &[]).await;
    write(&members, 0, 0..60).await;
    stop_hard(&mut members, &[0]);
    let file = damage_log(&members[0], 50);
    members[0].start();
    assert!(!members[0].ended().await.success());
    let log = members[0].log();
    assert!(log.contains(file.to_str().unwrap()), "{log}");
    assert!(log.contains("is damaged at byte"), "{log}");
    assert!(log.contains("there is no other voter"), "{log}");
}

/// Another value in the checkpoint of a stopped member, with every checksum right: as memory that went wrong before it was written
/// leaves it.
async fn alter_store(member: &Member) {
    let directory = DataDir::open(member.folder.join("data")).unwrap();
    let (storage, found) = Storage::open(directory, Options::default()).unwrap();
    let image = found.image.expect("a checkpoint");
    let (sound, altered) = (b"the-sound-value".as_slice(), b"the-wrong-value");
    let place = image.windows(sound.len()).position(|it| it == sound);
    let mut image = image.to_vec();
    image[place.expect("the value is in it")..][..sound.len()].copy_from_slice(altered);
    seal_frames(&mut image);
    let written = storage.renew(found.snapshot, move |out| out.write_all(&image));
    written.await.unwrap();
    storage.close().unwrap();
}

/// Writes the checksum of every frame of an image anew: kind, length, checksum over kind and body, body.
fn seal_frames(image: &mut [u8]) {
    // Behind the mark and its version.
    let mut rest = &mut image[8..];
    while let Some((header, behind)) = rest.split_first_chunk_mut::<9>() {
        let length = u32::from_le_bytes(header[1..5].try_into().unwrap());
        let (body, behind) = behind.split_at_mut(length as usize);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header[..1]);
        hasher.update(body);
        header[5..].copy_from_slice(&hasher.finalize().to_le_bytes());
        rest = behind;
    }
}

/// One thing if the value is sound, another if it is not.
fn depends_on_the_value() -> pb::TxnRequest {
    let put = |key: &str| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(lab::put(key, "1"))),
    };
    pb::TxnRequest {
        compare: vec![pb::Compare {
            result: pb::compare::CompareResult::Equal.into(),
            target: pb::compare::CompareTarget::Value.into(),
            key: "victim".into(),
            target_union: Some(pb::compare::TargetUnion::Value("the-sound-value".into())),
            ..pb::Compare::default()
        }],
        success: vec![put("sound")],
        failure: vec![put("wrong")],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_memory_was_damaged_is_found_at_the_first_entry_that_shows_it() {
    let mut lab = Lab::new();
    let mut members = lab.cluster(&["a", "b", "c"], &OFTEN).await;
    let victim = (leader(&members).await + 1) % 3;
    members[victim]
        .put("victim", "the-sound-value")
        .await
        .unwrap();
    write(&members, victim, 0..90).await;
    let id = members[victim].id().await;
    eventually("a checkpoint", async || {
        let found = files(&members[victim], "checkpoints", "checkpoint");
        (!found.is_empty()).then_some(()).ok_or_else(String::new)
    })
    .await;
    members[victim].terminate();
    assert!(members[victim].ended().await.success());
    alter_store(&members[victim]).await;
    members[victim].start();
    let sound = (victim + 1) % 3;
    // Nothing shows it yet, and the member serves what it has.
    eventually("the altered value", async || {
        let read = members[victim].get("victim").await;
        let read = read.map_err(|status| status.to_string())?;
        (read.as_deref() == Some("the-wrong-value"))
            .then_some(())
            .ok_or_else(|| format!("{read:?}"))
    })
    .await;
    let applied = async || members[sound].status().await.unwrap().raft_applied_index;
    let before = applied().await;
    let txn = members[sound].kv().txn(depends_on_the_value()).await;
    let txn = txn.unwrap().into_inner();
    assert!(txn.succeeded, "the majority's value decides");
    let after = applied().await;
    eventually("CORRUPT about the member", async || {
        let status = members[sound].status().await;
        let errors = status.map_err(|status| status.to_string())?.errors;
        let told = format!("memberID:{id} alarm:CORRUPT");
        let raised = errors.contains(&told);
        raised.then_some(()).ok_or_else(|| format!("{errors:?}"))
    })
    .await;
    let differs = members[victim].log();
    let line = differs
        .lines()
        .find(|it| it.contains("differs from the majority's"));
    let line = line.expect("it says what it found");
    let named = line.split("\"first_differing_index\":").nth(1).unwrap();
    let digits: String = named.chars().take_while(char::is_ascii_digit).collect();
    let differs: u64 = digits.parse().unwrap();
    assert!(
        before < differs && differs <= after,
        "the very entry: {line}"
    );
    for _ in 0..2 {
        let refused = members[victim].get("victim").await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::DataLoss, "{refused}");
    }
    let others: Vec<Member> = members
        .into_iter()
        .enumerate()
        .filter_map(|(place, member)| (place != victim).then_some(member))
        .collect();
    agree(&others).await;
    assert_eq!(others[0].get("sound").await.unwrap().as_deref(), Some("1"));
}
