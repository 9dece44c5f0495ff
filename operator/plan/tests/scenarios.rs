//! Golden scenarios: a situation above, what the planner does and says about it below.
//!
//! `UPDATE_GOLDENFILES=1 cargo test -p plan --test scenarios` rewrites what is below. The language of situations is explained
//! in `scenario/mod.rs`. Every plan in here also has to pass the independent checker.

mod scenario;

use std::fmt::Write as _;
use std::path::PathBuf;

use crds::Survivor;
use plan::{Action, Outcome, Plan, names, safety};
use scenario::{Situation, parse, real};

/// One scenario of a file.
struct Case {
    title: String,
    situation: String,
    transcript: String,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}

/// A file is a comment, then scenarios: `== title`, the situation, `--`, the transcript.
fn read(text: &str) -> (String, Vec<Case>) {
    let mut parts = text.split("\n== ");
    let comment = parts.next().unwrap_or_default().to_owned();
    let cases = parts.map(|part| {
        let (title, body) = part.split_once('\n').unwrap_or((part, ""));
        let (situation, transcript) = body.split_once("--\n").unwrap_or((body, ""));
        Case {
            title: title.trim().to_owned(),
            situation: situation.trim().to_owned(),
            transcript: transcript.trim().to_owned(),
        }
    });
    (comment.trim().to_owned(), cases.collect())
}

/// How the actions go: with the word `not-yet`, a member asks for patience.
fn outcome(situation: &str) -> Outcome {
    let asks = situation.split_whitespace().any(|it| it == "not-yet");
    let said = "m1 answered MemberAdd: etcdserver: unhealthy cluster; it is asked again";
    Outcome {
        postponed: asks.then(|| said.to_owned()),
        ..Outcome::default()
    }
}

fn transcript(situation: &Situation, outcome: &Outcome) -> String {
    let Situation {
        cluster,
        observed,
        now,
    } = situation;
    let plan = plan::plan(cluster, observed, *now);
    if let Err(violation) = safety::check(observed, &plan.actions) {
        panic!("{violation}");
    }
    let mut text = describe(&plan);
    let status = plan::status(cluster, &plan.report, outcome);
    for it in &status.conditions {
        let _ = writeln!(
            text,
            "{} {} {}: {}",
            it.type_, it.status, it.reason, it.message
        );
    }
    let _ = writeln!(text, "ready {}", status.ready.unwrap_or_default());
    for member in &status.members {
        let lag = member.lag.map_or(String::new(), |it| format!(" lag {it}"));
        let _ = writeln!(
            text,
            "member {} {:?} {:?}{lag}",
            member.name, member.role, member.phase
        );
    }
    if let Some(it) = &status.recovery {
        let (failed, seen) = (it.last_failure.0, it.detected.0);
        let restored = it
            .restored
            .as_ref()
            .map_or("not yet".to_owned(), |it| it.0.to_string());
        let _ = writeln!(
            text,
            "failed {failed} detected {seen} restored {restored} at risk {}",
            it.voters_at_risk
        );
    }
    for notice in &status.notices {
        let _ = writeln!(text, "notice {notice}");
    }
    (1..=9)
        .fold(text, |text, it| text.replace(&real(it), &format!("m{it}")))
        .trim()
        .to_owned()
}

fn snapshotted(survivor: &Survivor) -> String {
    let class = survivor.volume_snapshot_class.as_ref();
    class.map_or_else(String::new, |it| format!(", snapshotted by {it}"))
}

fn describe(plan: &Plan) -> String {
    let mut text = String::new();
    for action in &plan.actions {
        let _ = writeln!(text, "do {action}");
        if let Action::TellOperation(told) = action {
            let status = told.status.clone().unwrap_or_default();
            for step in status.plan.iter().flat_map(|it| &it.steps) {
                let of = step.member.as_deref().unwrap_or("all");
                let state = if step.done { "done" } else { "open" };
                let _ = writeln!(text, "  step {} {of}: {state}", step.action);
            }
            let recovery = status.plan.as_ref().and_then(|it| it.recovery.as_ref());
            for it in recovery.iter().flat_map(|it| &it.survivors) {
                let _ = writeln!(
                    text,
                    "  survives {}: term {}, index {}, revision {}{}",
                    it.member,
                    it.term,
                    it.last_index,
                    it.last_revision,
                    snapshotted(it)
                );
            }
            for it in recovery.iter().flat_map(|it| &it.lost) {
                let _ = writeln!(text, "  lost {}: {}", it.member, it.why);
            }
        }
    }
    match &plan.report.work {
        Some(work) => {
            let member = work.member.as_deref().unwrap_or("nobody");
            let _ = writeln!(text, "work {} {} {member}", work.kind.as_str(), work.step);
            for gate in &work.blocked_by {
                let _ = writeln!(text, "waits for {}: {}", gate.gate, gate.message);
            }
        }
        None => text.push_str("work none\n"),
    }
    let memory = &plan.report.memory;
    let joining = memory
        .joining
        .as_ref()
        .map_or("none".to_owned(), |it| it.name.clone());
    let _ = writeln!(
        text,
        "remembers cluster {}, serial {}, joining {joining}",
        memory.cluster_id.as_deref().unwrap_or("none"),
        memory.serial
    );
    text += &rollout(memory.rollout.as_ref());
    text += &requested(&memory.requested);
    text += &listeners(&memory.peer_listeners);
    text += network_policy(memory.network_policy);
    text += &tls_default(memory.tls_default);
    if let Some(it) = &memory.recovering {
        let (of, by) = (&it.survivor, &it.plan);
        let _ = writeln!(text, "remembers to rebuild of {of} by plan {by}");
    }
    if let Some(it) = &memory.reclaiming {
        let _ = writeln!(
            text,
            "remembers to reclaim {}, {}",
            it.revision, it.compacted
        );
    }
    text += &authentication(memory.auth.as_ref());
    let _ = writeln!(text, "again in {:?}", plan.requeue);
    text
}

fn rollout(known: Option<&crds::RolloutStatus>) -> String {
    let Some(it) = known else {
        return String::new();
    };
    let since = it.canary_healthy_since.as_ref();
    let since = since.map_or("never".to_owned(), |it| it.0.to_string());
    let failure = it.failure.as_ref().map_or("none", |it| it.message.as_str());
    format!(
        "remembers rollout with {} updated, got on {}, canaries healthy since {since}, soaked {}, failure {failure}\n",
        it.updated, it.progressed_at.0, it.canary_soaked
    )
}

fn listeners(all: &[crds::PeerListener]) -> String {
    if all.iter().all(|it| it.port == names::PEER_PORT) {
        return String::new();
    }
    let told = |it: &crds::PeerListener| format!("{} {:?}", it.port, it.mode);
    let all: Vec<String> = all.iter().map(told).collect();
    format!("remembers listeners {}\n", all.join(", "))
}

fn requested(all: &std::collections::BTreeSet<String>) -> String {
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    match all[..] {
        [] => String::new(),
        _ => format!("remembers certificates {}\n", all.join(", ")),
    }
}

fn network_policy(known: Option<crds::NetworkPolicyMode>) -> &'static str {
    known.map_or("", |_| "remembers a network policy\n")
}

fn tls_default(known: Option<crds::TlsDefault>) -> String {
    known.map_or(String::new(), |it| {
        format!("remembers that TLS is by default {it:?}\n")
    })
}

fn authentication(known: Option<&crds::AuthStatus>) -> String {
    known.map_or(String::new(), |it| {
        let known = serde_json::to_string(it).expect("a status is JSON");
        format!("remembers of authentication {known}\n")
    })
}

fn write(comment: &str, cases: &[Case], transcripts: &[String]) -> String {
    let mut text = format!("{comment}\n");
    for (case, transcript) in cases.iter().zip(transcripts) {
        let _ = write!(
            text,
            "\n== {}\n{}\n--\n{transcript}\n",
            case.title, case.situation
        );
    }
    text
}

#[test]
fn scenarios_go_as_written() {
    let mut seen = 0;
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("read scenarios")
        .map(|it| it.expect("read scenarios").path())
        .collect();
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).expect("read a scenario file");
        let (comment, cases) = read(&text);
        let transcripts: Vec<String> = cases
            .iter()
            .map(|it| transcript(&parse(&it.situation), &outcome(&it.situation)))
            .collect();
        seen += cases.len();
        if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
            std::fs::write(&path, write(&comment, &cases, &transcripts))
                .expect("write a scenario file");
            continue;
        }
        for (case, transcript) in cases.iter().zip(&transcripts) {
            let place = format!("{}: {}", path.display(), case.title);
            assert!(
                case.transcript == *transcript,
                "{place}\nwritten:\n{}\n\nfound:\n{transcript}",
                case.transcript
            );
        }
    }
    assert!(seen >= 40, "{seen} scenarios");
}
