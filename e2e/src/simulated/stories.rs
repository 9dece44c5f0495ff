//! The stories that are told: one of every kind of thing that users do with a cluster, and of what happens to it meanwhile.
//!
//! It deliberately neither tells nor judges: see `story.rs`.

use serde_json::{Value, json};

use super::story::{Step, Story};
use super::world::authentication;

/// A storage class whose volumes grow in place.
pub(super) const GROWS: &str = "elastic";

fn spec(replicas: i32) -> Value {
    json!({ "replicas": replicas, "storage": { "size": "1Gi" } })
}

fn peers(mode: &str) -> Value {
    json!({ "peer": { "mode": mode } })
}

fn with(mut spec: Value, change: Value) -> Value {
    for (key, value) in change.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    spec
}

fn story(name: &'static str, before: Option<Value>, steps: &[Step]) -> Story {
    Story {
        name,
        before,
        nodes: 0,
        steps: steps.to_vec(),
    }
}

/// On so many nodes, and members are replaced soon after they have lost theirs.
fn on(nodes: usize, story: Story) -> Story {
    let soon = json!({ "repairPolicy": { "nodeUnreachableSeconds": 20, "volumeLostSeconds": 5 } });
    Story {
        nodes,
        before: story.before.map(|it| with(it, soon)),
        ..story
    }
}

/// One story of every kind.
#[must_use]
pub fn stories() -> Vec<Story> {
    let mut all = plain();
    all.extend(secured());
    all.extend(corruptions());
    all.extend(falls());
    all.extend(learners());
    all.extend(recoveries());
    all.extend(fences());
    all.push(authentication_and_back());
    all.push(network_policy_and_back());
    all.push(hibernation());
    all.push(by_hand());
    all
}

/// Of a cluster without any of what others are about.
fn plain() -> Vec<Story> {
    let change = Step::Change;
    let image = |it: &str| change(json!({ "image": format!("quorate-node:{it}") }));
    let deletes = json!({ "deletionPolicy": "Delete" });
    let elastic = json!({ "storage": { "size": "1Gi", "storageClassName": GROWS } });
    let paused = json!({ "paused": true, "image": "quorate-node:9.9.9" });
    let back = json!({ "paused": false, "image": null });
    let three = || Some(spec(3));
    vec![
        story("create", None, &[Step::Create(spec(3))]),
        story(
            "scale up",
            Some(spec(1)),
            &[change(json!({ "replicas": 3 }))],
        ),
        story("scale down", three(), &[change(json!({ "replicas": 1 }))]),
        story(
            "scale down and delete the volumes",
            Some(with(spec(3), deletes.clone())),
            &[change(json!({ "replicas": 2 }))],
        ),
        story(
            "scale down and up again",
            three(),
            &[
                change(json!({ "replicas": 2 })),
                Step::Rounds(25),
                change(json!({ "replicas": 3 })),
            ],
        ),
        story("roll", three(), &[image("9.9.9")]),
        story(
            "a bad image and back",
            three(),
            &[
                image("missing"),
                Step::Rounds(25),
                change(json!({ "image": null })),
            ],
        ),
        story("replace", three(), &[Step::Replace(1)]),
        story("an evicted pod", three(), &[Step::FailPod(2)]),
        story("a lost volume", three(), &[Step::LoseVolume(2)]),
        story("a swapped volume", three(), &[Step::SwapVolume(2)]),
        story(
            "grow in place",
            Some(with(spec(3), elastic)),
            &[change(json!({ "storage": { "size": "2Gi" } }))],
        ),
        story(
            "another class",
            Some(spec(1)),
            &[change(
                json!({ "storage": { "storageClassName": "other" } }),
            )],
        ),
        story(
            "pause and undo",
            three(),
            &[change(paused), Step::Rounds(10), change(back)],
        ),
        story("delete and keep", three(), &[Step::Delete]),
        story("delete all", Some(with(spec(3), deletes)), &[Step::Delete]),
    ]
}

/// Members ask who somebody is, for a while.
fn authentication_and_back() -> Story {
    let tls = json!({ "tls": { "client": { "mode": "Operator" } } });
    story(
        "authentication",
        Some(with(spec(1), tls)),
        &[
            Step::Change(authentication()),
            Step::Rounds(10),
            Step::Password,
            Step::Rounds(25),
            Step::Change(json!({ "auth": null })),
        ],
    )
}

/// A NetworkPolicy is wanted, for a moment.
fn network_policy_and_back() -> Story {
    let network = |options| Step::Change(json!({ "networkPolicy": options }));
    let managed = network(json!({ "mode": "Managed" }));
    let steps = [managed, Step::Rounds(2), network(json!(null))];
    story("a network policy", Some(spec(1)), &steps)
}

/// No member runs, for a while.
fn hibernation() -> Story {
    let run = |state: &str| Step::Change(json!({ "runState": state }));
    let steps = [run("Hibernated"), Step::Rounds(10), run("Running")];
    story("hibernate and wake", Some(spec(3)), &steps)
}

/// The user deletes the pods himself.
fn by_hand() -> Story {
    let roll = json!({ "image": "quorate-node:9.9.9", "updateStrategy": { "type": "OnDelete" } });
    let steps = [Step::Change(roll), Step::Obey, Step::Obey, Step::Obey];
    story("roll by hand", Some(spec(3)), &steps)
}

/// With TLS: from the beginning, and where members move to it, all of them or until the user thinks better of it.
fn secured() -> [Story; 4] {
    let by_default = json!({ "tls": {} });
    let roll = Step::Change(json!({ "image": "quorate-node:9.9.9" }));
    let move_peers = || Step::Change(json!({ "tls": peers("Operator") }));
    let plain = Step::Change(json!({ "tls": peers("Disabled") }));
    let secured_peers = Some(with(spec(3), json!({ "tls": peers("Operator") })));
    [
        story("certificates", Some(with(spec(1), by_default)), &[roll]),
        story("another authority", secured_peers, &[Step::Rotate]),
        story("peers to TLS", Some(spec(3)), &[move_peers()]),
        story(
            "peers to TLS and back half-way",
            Some(spec(3)),
            &[move_peers(), Step::Rounds(45), plain],
        ),
    ]
}

/// With learners for good.
fn learners() -> [Story; 2] {
    let change = Step::Change;
    let two = with(spec(3), json!({ "learners": 2 }));
    [
        story(
            "a learner for good",
            Some(spec(1)),
            &[change(json!({ "learners": 1 }))],
        ),
        story(
            "no learners any more",
            Some(two),
            &[change(json!({ "learners": 0 }))],
        ),
    ]
}

/// With data that differ: of one that is replaced, and of so many that nobody can tell who is right.
fn corruptions() -> [Story; 2] {
    [
        story("corrupt data", Some(spec(3)), &[Step::Corrupt(1)]),
        story(
            "corrupt data of two of three",
            Some(spec(3)),
            &[Step::Corrupt(2), Step::Rounds(25), Step::Trust],
        ),
    ]
}

/// With nodes that die: for a while, for good, as many as may at once, and the volumes on them.
fn falls() -> [Story; 4] {
    let grow = json!({ "replicas": 4 });
    [
        on(
            4,
            story(
                "a node dies before a new member's volume is made on it",
                Some(spec(3)),
                &[Step::DoomNode, Step::Change(grow)],
            ),
        ),
        on(
            3,
            story(
                "a node dies and comes back",
                Some(spec(3)),
                &[Step::LoseNode(0), Step::Rounds(10), Step::ReturnNodes],
            ),
        ),
        on(
            4,
            story(
                "a node is gone for good",
                Some(spec(3)),
                &[Step::LoseNode(0), Step::Rounds(10), Step::DeleteNodes],
            ),
        ),
        on(
            7,
            story(
                "a zone of two nodes is gone for good",
                Some(spec(5)),
                &[
                    Step::LoseNode(0),
                    Step::LoseNode(3),
                    Step::Rounds(10),
                    Step::DeleteNodes,
                ],
            ),
        ),
    ]
}

/// With the quorum lost, and with a recovery asked for that there is no reason for.
fn recoveries() -> [Story; 3] {
    let three = || Some(spec(3));
    let elastic = json!({ "storage": { "size": "1Gi", "storageClassName": GROWS } });
    [
        story(
            "a recovery in vain",
            three(),
            &[Step::AskRecovery, Step::Rounds(25), Step::Withdraw],
        ),
        story(
            "a lost quorum",
            three(),
            &[
                Step::LoseQuorum,
                Step::AskRecovery,
                Step::Rounds(20),
                Step::Agree,
            ],
        ),
        story(
            "a lost quorum, of which volumes are snapshotted",
            Some(with(spec(3), elastic)),
            &[
                Step::InstallSnapshots,
                Step::LoseQuorum,
                Step::AskRecovery,
                Step::Rounds(20),
                Step::Agree,
            ],
        ),
    ]
}

/// With a member that is kept stopped, for good or for a while.
fn fences() -> [Story; 2] {
    let three = || Some(spec(3));
    [
        story("a fenced member", three(), &[Step::Fence("LAST")]),
        story(
            "a leader fenced for a while",
            three(),
            &[Step::Fence("LEADER"), Step::Rounds(25), Step::Unfence],
        ),
    ]
}

/// What goes on in a cluster of five, which can do without two, when one member loses its volume or its node after so many rounds.
#[must_use]
pub fn losses(rounds: u32, at: usize) -> Vec<Story> {
    let roll = || Step::Change(json!({ "image": "quorate-node:9.9.9" }));
    let grow = Step::Change(json!({ "replicas": 6 }));
    let shrink = Step::Change(json!({ "replicas": 4 }));
    let of = |name, first: Step, then: &[Step]| {
        let steps = [&[first, Step::Rounds(rounds)], then].concat();
        story(name, Some(spec(5)), &steps)
    };
    let volume = [Step::LoseOne(at)];
    let away = [Step::LoseNode(at), Step::Rounds(60), Step::ReturnNodes];
    let gone = [Step::LoseNode(at), Step::DeleteNodes];
    let replace = || Step::Replace(1);
    vec![
        of("a volume is lost while five roll", roll(), &volume),
        of("a volume is lost while five grow", grow, &volume),
        of("a volume is lost while five shrink", shrink, &volume),
        of(
            "a volume is lost while one of five is replaced",
            replace(),
            &volume,
        ),
        on(7, of("a node is away while five roll", roll(), &away)),
        on(
            7,
            of(
                "a node is gone while one of five is replaced",
                replace(),
                &gone,
            ),
        ),
    ]
}
