//! Whatever a user writes into a `RaftCluster`, valid or not, in whatever order, nothing that serves stops, and the cluster
//! comes to what its last spec says, whichever way it came, and back where it was when the spec is put back.
//!
//! `CAMPAIGN_MUTATIONS` says how many, `CAMPAIGN_SEED` with which seed to begin; each seed is a sequence on a cluster of its
//! own. A sequence that fails is made short, in `CAMPAIGN_TRIES` tries at most, and printed.

use e2e::FIGURE;
use e2e::differential::shrink;
use e2e::secured::plain;
use e2e::simulated::campaign::{GROWS, Mutation, Source, Tally, play};
use e2e::simulated::side_by_side;
use serde::Deserialize;
use serde_json::{Value, json};

const RULES: &str = include_str!("../../crds/tests/rules.yaml");
/// Mutations of one seed: long enough for several changes to be on their way at once.
const PER_SEED: usize = 500;

/// Fields that this world cannot play, with the reason.
const EXCLUDED: [(&str, &str); 3] = [
    (
        "spec.maintenanceWindows",
        "changes wait for a window to begin, for days if need be",
    ),
    (
        "spec.tls",
        "the members of this world have no certificates and speak in plain text only",
    ),
    (
        "spec.updateStrategy.onFailure",
        "a rollout that has failed stays so until the template changes, and on purpose: where it ends depends on the way there",
    ),
];

/// A kind and the examples for its rules.
#[derive(Deserialize)]
struct Examples {
    kind: String,
    rules: Vec<Pair>,
}

/// A rule's examples.
#[derive(Deserialize)]
struct Pair {
    from: Option<Value>,
    accepted: Value,
    refused: Value,
}

fn number(name: &str, otherwise: usize) -> usize {
    let told = std::env::var(name).ok();
    told.and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

/// What the schema says of the spec, and what the rules' examples say.
fn source() -> Source {
    let definition = serde_json::to_value(&crds::definitions()[0]).expect("a definition is JSON");
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let all: Vec<Examples> = serde_saphyr::from_str(RULES).expect("the examples are YAML");
    let of_cluster = all
        .into_iter()
        .filter(|it| it.kind == "RaftCluster")
        .flat_map(|it| it.rules);
    let examples: Vec<Value> = of_cluster
        .flat_map(|it| [it.from.unwrap_or_default(), it.accepted, it.refused])
        .map(|it| it["spec"].clone())
        .filter(Value::is_object)
        .collect();
    let excluded: Vec<&str> = EXCLUDED.iter().map(|it| it.0).collect();
    Source::new(&schema["properties"]["spec"], &examples, &excluded)
}

/// The cluster that a seed's sequence begins with: both engines, one and three members.
fn first(seed: usize) -> Value {
    let mut spec = match seed % 4 {
        0 => {
            json!({ "replicas": 3, "engine": "Etcd", "image": "etcd:3.6.5", "storage": { "size": "4Gi" } })
        }
        1 => json!({ "replicas": 1, "storage": { "size": "4Gi" } }),
        2 => {
            json!({ "replicas": 3, "storage": { "size": "4Gi", "storageClassName": GROWS }, "deletionPolicy": "Delete" })
        }
        _ => json!({ "replicas": 3, "storage": { "size": "1Gi" } }),
    };
    plain(&mut spec);
    spec
}

/// The shortest part of a sequence that fails, and why.
async fn shortened(first: &Value, mutations: Vec<Mutation>) -> String {
    let tries = number("CAMPAIGN_TRIES", 60);
    let fails = async |it: &[Mutation]| play(first, it).await.is_err();
    let short = shrink::shortest(mutations, tries, fails).await;
    let why = play(first, &short).await.err().unwrap_or_default();
    let lines: Vec<String> = short.iter().map(ToString::to_string).collect();
    format!("in short, on {first}:\n{}\n{why}", lines.join("\n"))
}

#[test]
fn ten_thousand_mutations_and_the_way_back() {
    let source = source();
    let begin = number("CAMPAIGN_SEED", 1);
    let count = number("CAMPAIGN_MUTATIONS", 10_000);
    let seeds = count.div_ceil(PER_SEED);
    let all = (begin..begin + seeds).collect();
    let tallies = side_by_side(all, async |seed| {
        let mutations = source.draw(seed as u64, PER_SEED);
        match play(&first(seed), &mutations).await {
            Ok(done) => done,
            Err(why) => panic!(
                "seed {seed}: {why}\n{}",
                shortened(&first(seed), mutations).await
            ),
        }
    });
    let mut tally = Tally::default();
    tallies.into_iter().for_each(|it| tally += it);
    let played = tally.refused + tally.held + tally.taken + tally.unchanged;
    assert_eq!(played, seeds * PER_SEED);
    assert!(
        tally.refused * 5 > played && tally.taken * 5 > played,
        "one-sided: {tally:?}"
    );
    println!(
        "{FIGURE}{played} mutations of {} fields in {seeds} sequences, each converged, compared with a fresh cluster and \
         reverted: {} refused, {} held, {} taken, {} changed nothing",
        source.width(),
        tally.refused,
        tally.held,
        tally.taken,
        tally.unchanged
    );
}
