//! Members whose files were damaged while they were stopped: the others give back what is lost, or nobody goes on without it.

#![allow(clippy::unwrap_used, reason = "what the lab cannot do fails the test")]

mod lab;

use std::fs;
use std::path::{Path, PathBuf};

use lab::{Lab, Member, PATIENCE, eventually, leader};
use proto::etcdserverpb as pb;

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
