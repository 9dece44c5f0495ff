//! Promise: a snapshot of etcd's, of every version there is, makes a cluster of ours that serves the same, and a snapshot of
//! ours makes a cluster of etcd's that does. Both programs tell the same of either.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::folder::Folder;
use e2e::members::Members;
use e2e::{FIGURE, binaries, tools};
use serde_json::Value;

/// etcd's own tools.
struct Tools {
    ctl: PathBuf,
    utl: PathBuf,
}

/// What is needed of etcd's; none, and a line for people that says why, where something is not to be had.
fn tools_and(etcd: &str) -> Option<(Tools, PathBuf)> {
    let find = |name| tools::find(name);
    let found = find("etcdctl").and_then(|ctl| Ok((ctl, find("etcdutl")?, find(etcd)?)));
    match found {
        Ok((ctl, utl, etcd)) => Some((Tools { ctl, utl }, etcd)),
        Err(missing) => {
            println!("{FIGURE}not run with {etcd}: {missing}");
            None
        }
    }
}

impl Tools {
    /// What `etcdctl` answers.
    fn ctl(&self, endpoint: &str, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.ctl);
        command.arg(format!("--endpoints={endpoint}"));
        run(command.args(arguments))
    }

    fn json(&self, endpoint: &str, arguments: &[&str]) -> Result<Value> {
        let text = self.ctl(endpoint, &[arguments, &["-w", "json"]].concat())?;
        let mut answer: Value = serde_json::from_str(&text)?;
        // A header says who answers, which differs; its revision is compared. That of leases stands beside the answer.
        if let Some(header) = answer.get_mut("header") {
            *header = header["revision"].clone();
        }
        if let Some(fields) = answer.as_object_mut() {
            fields.retain(|name, _| {
                !["cluster_id", "member_id", "raft_term"].contains(&name.as_str())
            });
        }
        Ok(answer)
    }

    fn save(&self, endpoint: &str, folder: &Folder) -> Result<PathBuf> {
        let path = folder.path().join("snapshot.db");
        self.ctl(endpoint, &["snapshot", "save", &path.display().to_string()])?;
        Ok(path)
    }

    /// Both programs read the snapshot, and say the same of it.
    fn agree_on(&self, ours: &Path, snapshot: &Path) -> Result<()> {
        for format in ["json", "simple", "fields", "table"] {
            let status = |program| {
                let mut command = Command::new(program);
                command.args(["snapshot", "status", "-w", format]);
                run(command.arg(snapshot))
            };
            let (theirs, ours) = (status(self.utl.as_path())?, status(ours)?);
            ensure!(theirs == ours, "etcdutl says\n{theirs}and ours\n{ours}");
        }
        Ok(())
    }

    /// A life that leaves history, deletions, a compaction and large values.
    fn live(&self, endpoint: &str) -> Result<()> {
        let large = "x".repeat(50_000);
        for number in 0..40 {
            let key = format!("k{}", number % 12);
            self.ctl(endpoint, &["put", &key, &format!("v{number}")])?;
        }
        self.ctl(endpoint, &["put", "large", &large])?;
        self.ctl(endpoint, &["del", "k1"])?;
        self.ctl(endpoint, &["compact", "20"])?;
        self.ctl(endpoint, &["put", "k1", "again"])?;
        self.ctl(endpoint, &["del", "k2", "k4"])?;
        self.lease(endpoint)
    }

    /// A lease with two keys, and one that was revoked.
    fn lease(&self, endpoint: &str) -> Result<()> {
        let [kept, revoked] = ["6000", "5000"].map(|ttl| -> Result<String> {
            let granted = self.json(endpoint, &["lease", "grant", ttl])?;
            let id = granted["ID"].as_i64().context("the id of a lease")?;
            Ok(format!("{id:x}"))
        });
        let (kept, revoked) = (kept?, revoked?);
        for (key, lease) in [("l1", &kept), ("l2", &kept), ("l3", &revoked)] {
            self.ctl(endpoint, &["put", key, "1", &format!("--lease={lease}")])?;
        }
        self.ctl(endpoint, &["lease", "revoke", &revoked]).map(drop)
    }

    /// A lease takes its keys with it.
    fn honours(&self, endpoint: &str) -> Result<()> {
        let leases = self.json(endpoint, &["lease", "list"])?;
        let id = leases["leases"][0]["id"].as_i64().context("a lease")?;
        self.ctl(endpoint, &["lease", "revoke", &format!("{id:x}")])?;
        let left = self.json(endpoint, &["get", "l", "--prefix"])?;
        let large = left["kvs"].as_array().map_or(0, Vec::len);
        ensure!(
            large == 1,
            "all but the key without a lease are gone: {left}"
        );
        Ok(())
    }

    /// Users and a role; nobody is refused anything yet.
    fn admit(&self, endpoint: &str) -> Result<()> {
        let steps: [&[&str]; 7] = [
            &["user", "add", "root:secret"],
            &["user", "grant-role", "root", "root"],
            &["role", "add", "r"],
            &["role", "grant-permission", "r", "read", "k", "l"],
            &["user", "add", "u:word"],
            &["user", "add", "n", "--no-password"],
            &["user", "grant-role", "u", "r"],
        ];
        steps
            .iter()
            .try_for_each(|step| self.ctl(endpoint, step).map(drop))
    }

    /// Passwords and permissions count, once they are asked for.
    fn keeps_out(&self, endpoint: &str) -> Result<()> {
        self.ctl(endpoint, &["auth", "enable"])?;
        self.ctl(endpoint, &["--user=root:secret", "put", "z", "1"])?;
        self.ctl(endpoint, &["--user=u:word", "get", "k3"])?;
        let refused: [&[&str]; 4] = [
            &["get", "k3"],
            &["--user=u:another", "get", "k3"],
            &["--user=u:word", "get", "z"],
            &["--user=n:", "get", "k3"],
        ];
        for question in refused {
            let answer = self.ctl(endpoint, question);
            ensure!(answer.is_err(), "{question:?} is answered: {answer:?}");
        }
        Ok(())
    }

    /// What a member serves: everything that a restore must keep.
    fn served(&self, endpoint: &str) -> Result<Vec<(String, Value)>> {
        let revision = self.json(endpoint, &["get", "k"])?["header"].clone();
        let older = format!("--rev={}", revision.as_i64().context("a revision")? - 5);
        let questions: [&[&str]; 4] = [
            &["get", "", "--prefix"],
            &["get", "", "--prefix", &older],
            &["get", "", "--prefix", "--rev=20"],
            &["get", "", "--prefix", "--rev=21", "--keys-only"],
        ];
        let mut served = Vec::new();
        for question in questions {
            served.push((question.join(" "), self.json(endpoint, question)?));
        }
        let leases = self.json(endpoint, &["lease", "list"])?;
        let id = leases["leases"][0]["id"].as_i64().context("a lease")?;
        served.push(("lease list".to_owned(), leases));
        let lease = self.json(
            endpoint,
            &["lease", "timetolive", "--keys", &format!("{id:x}")],
        )?;
        // etcd tells them in the order of a hash map.
        let mut keys = lease["keys"].as_array().cloned().unwrap_or_default();
        keys.sort_by_key(ToString::to_string);
        served.push(("granted-ttl".to_owned(), lease["granted-ttl"].clone()));
        served.push(("keys".to_owned(), keys.into()));
        let hash = self.json(endpoint, &["endpoint", "hashkv"])?[0]["HashKV"].clone();
        for field in ["hash", "compact_revision"] {
            served.push((field.to_owned(), hash[field].clone()));
        }
        Ok(served)
    }
}

fn run(command: &mut Command) -> Result<String> {
    let ended = command.output().with_context(|| format!("{command:?}"))?;
    let (out, err) = (
        ended.stdout,
        String::from_utf8_lossy(&ended.stderr).into_owned(),
    );
    ensure!(ended.status.success(), "{command:?}: {err}");
    Ok(String::from_utf8(out)?)
}

/// Lets a program live, takes a snapshot, and lets members restored from it serve.
async fn moves(tools: &Tools, from: &Path, to: &Path, restorer: &Path) -> Result<()> {
    let mut folder = Folder::new("snapshot")?;
    let before = Members::start(from, 1).await?;
    let endpoint = before.endpoints().remove(0);
    tools.live(&endpoint)?;
    let expected = tools.served(&endpoint)?;
    let snapshot = tools.save(&endpoint, &folder)?;
    let ids = |endpoint: &str| tools.ctl(endpoint, &["member", "list"]);
    let old = ids(&endpoint)?;
    before.end_all().await?;
    tools.agree_on(&binaries::ours("quorate-node")?, &snapshot)?;

    let after = Members::restored(to, restorer, &snapshot, 3).await?;
    for endpoint in after.endpoints() {
        let served = tools.served(&endpoint)?;
        for (expected, found) in expected.iter().zip(&served) {
            ensure!(
                expected == found,
                "{endpoint}: {found:?}, and was {expected:?}"
            );
        }
        ensure!(ids(&endpoint)?.lines().count() == 3, "three members");
        ensure!(ids(&endpoint)? != old, "a cluster of its own");
    }
    // It goes on from there.
    let endpoint = after.endpoints().remove(0);
    tools.ctl(&endpoint, &["put", "after", "1"])?;
    tools.honours(&endpoint)?;
    after.end_all().await?;
    folder.discard();
    Ok(())
}

async fn moves_in(etcd: &str) -> Result<()> {
    let Some((tools, etcd)) = tools_and(etcd) else {
        return Ok(());
    };
    let ours = binaries::ours("quorate-node")?;
    moves(&tools, &etcd, &ours, &ours).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_etcd_3_5_makes_a_cluster_of_ours() -> Result<()> {
    moves_in("etcd-3.5").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_etcd_3_6_makes_a_cluster_of_ours() -> Result<()> {
    moves_in("etcd-3.6").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_etcd_makes_a_cluster_of_ours() -> Result<()> {
    moves_in("etcd").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_ours_makes_a_cluster_of_etcd() -> Result<()> {
    let Some((tools, etcd)) = tools_and("etcd") else {
        return Ok(());
    };
    let ours = binaries::ours("quorate-node")?;
    moves(&tools, &ours, &etcd, &tools.utl).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_ours_makes_a_cluster_of_ours() -> Result<()> {
    let Some((tools, _)) = tools_and("etcd") else {
        return Ok(());
    };
    let ours = binaries::ours("quorate-node")?;
    moves(&tools, &ours, &ours, &ours).await
}

/// Whoever moves out again finds his users, their passwords and what they may.
#[tokio::test(flavor = "multi_thread")]
async fn users_of_etcd_pass_through_ours_and_back() -> Result<()> {
    let Some((tools, etcd)) = tools_and("etcd") else {
        return Ok(());
    };
    let ours = binaries::ours("quorate-node")?;
    let mut folder = Folder::new("snapshot")?;
    let members = Members::start(&etcd, 1).await?;
    tools.admit(&members.endpoints()[0])?;
    let snapshot = tools.save(&members.endpoints()[0], &folder)?;
    members.end_all().await?;

    let members = Members::restored(&ours, &ours, &snapshot, 1).await?;
    let snapshot = tools.save(&members.endpoints()[0], &folder)?;
    members.end_all().await?;

    let members = Members::restored(&etcd, &tools.utl, &snapshot, 1).await?;
    tools.keeps_out(&members.endpoints()[0])?;
    members.end_all().await?;
    folder.discard();
    Ok(())
}
