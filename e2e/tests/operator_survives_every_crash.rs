//! Any crash of the operator, between any two writes, changes nothing of the end state.
//!
//! Each story is told once without a crash, and then once for every write in it (to the API server or to a member) and each
//! side of that write, the operator dying there and a new one, with nothing in its head, taking over. At the end the same
//! objects must stand, and the same must have been created and deleted on the way, the same number of times. The same holds
//! where the operator lives and a write fails, or takes effect and is not heard of.
//!
//! The shorter stories are told with every pair of crashes too: the operator that takes over dies as well, at any of its own
//! writes. Where there are too many pairs for one run, a seed draws them: `CRASH_PAIRS` says how many of each story (0 for
//! all), `CRASH_PAIRS_SEED` which.

use e2e::FIGURE;
use e2e::simulated::{Crash, ROOT_SECRET, Summary, When, World, authentication};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};

/// How many pairs of crashes of one story are played where nothing else is said.
const PAIRS: u64 = 40;
/// How many writes the second operator may have more than were left when the first one died: what it finds, it tells.
const AGAIN: u64 = 3;

/// One change that a user asks for, of a cluster that was ready before.
struct Story {
    /// The cluster before; none if it is only created now.
    before: Option<Value>,
    /// What the user does.
    deed: Deed,
    /// Fewer writes than this would mean that the story tells nothing.
    writes_min: u64,
}

enum Deed {
    Create(Value),
    Change(Value),
    /// Deletes the `RaftMember` of the follower at this place in the list of members.
    Replace(usize),
    /// Ends the pod at this place for good, as an eviction by the kubelet does.
    FailPod(usize),
    /// The node of the member at this place dies, with its volume, and is deleted.
    LoseNode(usize),
    /// All members run out of space.
    Fill,
    /// The leader's data come to differ from the others'.
    Corrupt,
    /// Asks for something to be done once.
    Ask(Value),
    /// Takes back what was asked for, once it stands.
    TakeBack(Value),
    /// Has members ask who somebody is.
    Authenticate,
    /// Has them do so, and then no more.
    EndAuthentication,
    /// Has all members run again that hibernate.
    Wake,
    /// Declares a user and a role of members that ask who somebody is.
    Declare,
    /// Changes both, of members that have them.
    Redeclare,
    /// Deletes both.
    Withdraw,
    /// Loses all volumes but one, and agrees to the plan of recovery.
    LoseQuorum,
    Delete,
}

fn spec(replicas: i32) -> Value {
    json!({ "replicas": replicas, "storage": { "size": "1Gi" } })
}

fn run_state(wanted: &str) -> Value {
    json!({ "runState": wanted })
}

impl Deed {
    /// What is done before the story begins.
    async fn prepare(&self, world: &World) -> Result<(), String> {
        match self {
            Self::Declare => Box::pin(authenticated(world)).await,
            Self::EndAuthentication | Self::Redeclare | Self::Withdraw => {
                Box::pin(authenticated(world)).await?;
                Box::pin(declare(world)).await;
                world.converge(&Crash::never()).await
            }
            Self::TakeBack(spec) => {
                world.ask("once", spec).await;
                world.converge(&Crash::never()).await
            }
            Self::Wake => {
                world.change(run_state("Hibernated")).await;
                world.converge(&Crash::never()).await
            }
            Self::LoseQuorum => {
                // Of the class that grows, and of no other.
                world.install_snapshots().await;
                world.lose_quorum_and_agree().await?;
                // How new members join is told by other stories.
                world.change(json!({ "replicas": 1 })).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn happen(&self, world: &World) {
        match self {
            Self::Create(spec) => world.create(spec.clone()).await,
            Self::Change(spec) => world.change(spec.clone()).await,
            Self::Replace(at) => world.replace_member(*at).await,
            Self::FailPod(at) => world.fail_pod(*at).await,
            Self::LoseNode(at) => {
                world.lose_node(*at).await;
                world.delete_nodes().await;
            }
            Self::Fill => world.model.fill(),
            Self::Corrupt => world.model.corrupt(1),
            Self::Ask(spec) => world.ask("once", spec).await,
            Self::TakeBack(_) => world.withdraw("once").await,
            Self::Authenticate => {
                world.password_of_root(ROOT_SECRET).await;
                world.change(authentication()).await;
            }
            Self::EndAuthentication => world.change(json!({ "auth": null })).await,
            Self::Wake => world.change(run_state("Running")).await,
            Self::Declare => Box::pin(declare(world)).await,
            Self::Redeclare => {
                let narrower = json!([{ "type": "Read", "prefix": "a/b/" }]);
                world.declare_reader(narrower).await;
                world.declare_app(&[]).await;
            }
            Self::Withdraw => world.withdraw_accounts().await,
            Self::LoseQuorum => {}
            Self::Delete => world.delete().await,
        }
    }
}

impl Story {
    /// The world before what the user does.
    async fn begin(&self) -> Result<World, String> {
        let world = World::new().await;
        world.class_that_grows("elastic").await;
        if matches!(self.deed, Deed::LoseNode(_)) {
            world.make_nodes(4).await;
        }
        if let Some(before) = &self.before {
            world.create(before.clone()).await;
            world.converge(&Crash::never()).await?;
        }
        self.deed.prepare(&world).await?;
        Ok(world)
    }

    /// Tells it to the end, nobody dying.
    async fn tell(&self) -> Result<Summary, String> {
        let beginning = self.begin().await?;
        self.go_on(&beginning, &[Crash::never()]).await
    }

    /// Tells it from its beginning, which stays as it is, with operators of these fates, one after the other.
    async fn go_on(&self, beginning: &World, fates: &[Crash]) -> Result<Summary, String> {
        let world = beginning.fork();
        self.deed.happen(&world).await;
        world.converge_dying(fates).await?;
        Ok(world.summary().await)
    }

    /// Tells it with two operators that die, for every pair of their writes and sides, or for so many (0 for all).
    async fn survives_pairs_of_crashes(&self, usual: u64) {
        let beginning = self.begin().await.expect("it begins well");
        let reference = [Crash::never()];
        let expected = self.go_on(&beginning, &reference).await;
        let expected = expected.expect("it ends well");
        let count = reference[0].writes().len() as u64;
        assert!(count >= self.writes_min, "only {count} writes");
        let seed = number("CRASH_PAIRS_SEED", 1);
        let most = Some(number("CRASH_PAIRS", usual)).filter(|it| *it > 0);
        let mut left = pairs(count);
        left.shuffle(&mut SmallRng::seed_from_u64(seed));
        let (mut struck, mut played) = (0, 0);
        while most.is_none_or(|it| played < it)
            && let Some((first, second)) = left.pop()
        {
            let fates = [Crash::at(first.0, first.1), Crash::at(second.0, second.1)];
            let place = format!("crashes at {first:?} and {second:?} of seed {seed}");
            let summary = self.go_on(&beginning, &fates).await;
            let summary = summary.unwrap_or_else(|why| panic!("{place}: {why}"));
            assert!(fates[0].has_struck(), "{place}: never came to the first");
            let differences = summary.differences(&expected);
            assert!(differences.is_empty(), "{place}: {differences:#?}");
            played += 1;
            if fates[1].has_struck() {
                struck += 1;
            } else {
                // The second operator had fewer writes: later ones are none either.
                left.retain(|it| it.0 != first || it.1.0 < second.0);
            }
        }
        assert!(
            struck * 4 > played,
            "only {struck} second crashes of {played}"
        );
        println!(
            "{FIGURE}{count} writes: {struck} pairs of crashes, {} not played",
            left.len()
        );
    }

    /// Tells it with a crash at every write.
    async fn survives_every_crash(&self) {
        self.survives_every(&[When::Before, When::After]).await;
    }

    /// Tells it with a write that fails, for every write and each of these ways.
    async fn survives_every(&self, ways: &[When]) {
        let beginning = self.begin().await.expect("it begins well");
        let reference = [Crash::never()];
        let expected = self.go_on(&beginning, &reference).await;
        let expected = expected.expect("without a crash it ends well");
        assert_eq!(expected.violations, Vec::<String>::new());
        let writes = reference[0].writes();
        let count = writes.len() as u64;
        assert!(count >= self.writes_min, "only {count} writes: {writes:#?}");
        for n in 1..=count {
            for when in ways.iter().copied() {
                let fates = [Crash::at(n, when)];
                let place = format!(
                    "crash {when:?} write {n} of {count}, {}",
                    writes[n as usize - 1]
                );
                let summary = self.go_on(&beginning, &fates).await;
                let summary = summary.unwrap_or_else(|why| panic!("{place}: {why}"));
                assert!(
                    fates[0].has_struck(),
                    "{place}: never came to it; it came to {:#?}",
                    fates[0].writes()
                );
                let differences = summary.differences(&expected);
                assert!(differences.is_empty(), "{place}: {differences:#?}");
            }
        }
        println!("{FIGURE}{count} writes, each {ways:?}");
    }
}

/// Write and side of the first operator's death, and the same of the second's.
fn pairs(writes: u64) -> Vec<((u64, When), (u64, When))> {
    let sides = [When::Before, When::After];
    let deaths = |last: u64| (1..=last).flat_map(move |n| sides.map(|side| (n, side)));
    deaths(writes)
        .flat_map(|first| deaths(writes - first.0 + AGAIN).map(move |second| (first, second)))
        .collect()
}

fn number(name: &str, otherwise: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test]
async fn every_pair_of_crashes_while_the_volumes_are_handed_over() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::Change(json!({ "deletionPolicy": "Delete" })),
        writes_min: 3,
    };
    story.survives_pairs_of_crashes(0).await;
}

#[tokio::test]
async fn pairs_of_crashes_while_an_ended_pod_is_made_again() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::FailPod(2),
        writes_min: 2,
    };
    story.survives_pairs_of_crashes(PAIRS).await;
}

#[tokio::test]
async fn pairs_of_crashes_while_a_member_is_replaced() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::Replace(1),
        writes_min: 6,
    };
    story.survives_pairs_of_crashes(PAIRS).await;
}

#[tokio::test]
async fn pairs_of_crashes_while_three_members_roll() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::Change(json!({ "image": "quorate-node:9.9.9" })),
        writes_min: 7,
    };
    story.survives_pairs_of_crashes(PAIRS).await;
}

#[tokio::test]
async fn creating_three_members() {
    let story = Story {
        before: None,
        deed: Deed::Create(spec(3)),
        writes_min: 20,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn creating_a_member_with_tls_by_default() {
    let mut wanted = spec(1);
    wanted["tls"] = json!({});
    let story = Story {
        before: None,
        deed: Deed::Create(wanted),
        writes_min: 13,
    };
    story.survives_every_crash().await;
    story.survives_every(&[When::Refused, When::Unheard]).await;
}

#[tokio::test]
async fn a_network_policy_comes_and_changes_and_goes() {
    let managed = |clients| json!({ "mode": "Managed", "clientSelectors": clients });
    let (own, all) = (json!([]), json!([{ "namespaceSelector": {} }]));
    for (before, after, writes_min) in [
        (json!(null), managed(&own), 3),
        (managed(&own), managed(&all), 2),
        (managed(&all), json!(null), 3),
    ] {
        let mut with = spec(1);
        with["networkPolicy"] = before;
        let story = Story {
            before: Some(with),
            deed: Deed::Change(json!({ "networkPolicy": after })),
            writes_min,
        };
        story
            .survives_every(&[When::Before, When::After, When::Refused, When::Unheard])
            .await;
        story.survives_pairs_of_crashes(0).await;
    }
}

#[tokio::test]
async fn moving_peers_to_tls() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::Change(json!({ "tls": { "peer": { "mode": "Operator" } } })),
        writes_min: 16,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn moving_peers_away_from_tls() {
    let mut before = spec(3);
    before["tls"] = json!({ "peer": { "mode": "Operator" } });
    let story = Story {
        before: Some(before),
        deed: Deed::Change(json!({ "tls": { "peer": { "mode": "Disabled" } } })),
        writes_min: 15,
    };
    story.survives_every(&[When::After]).await;
}

#[tokio::test]
async fn creating_three_members_where_any_write_fails_or_is_not_heard_of() {
    let story = Story {
        before: None,
        deed: Deed::Create(spec(3)),
        writes_min: 20,
    };
    story.survives_every(&[When::Refused, When::Unheard]).await;
}

#[tokio::test]
async fn rolling_three_members_where_any_write_fails_or_is_not_heard_of() {
    let deed = Deed::Change(json!({ "image": "quorate-node:9.9.9" }));
    let story = Story {
        before: Some(spec(3)),
        deed,
        writes_min: 7,
    };
    story.survives_every(&[When::Refused, When::Unheard]).await;
}

#[tokio::test]
async fn scaling_up_from_one_to_three() {
    let deed = Deed::Change(json!({ "replicas": 3 }));
    let story = Story {
        before: Some(spec(1)),
        deed,
        writes_min: 12,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn scaling_down_from_three_to_one() {
    let deed = Deed::Change(json!({ "replicas": 1 }));
    let story = Story {
        before: Some(spec(3)),
        deed,
        writes_min: 6,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn rolling_three_members() {
    let deed = Deed::Change(json!({ "image": "quorate-node:9.9.9" }));
    let story = Story {
        before: Some(spec(3)),
        deed,
        writes_min: 7,
    };
    story.survives_every_crash().await;
}

/// Three members that roll with a canary, and go back when that fails.
fn careful() -> Value {
    let mut careful = spec(3);
    careful["updateStrategy"] = json!({
        "progressDeadlineSeconds": 10,
        "onFailure": "Rollback",
        "rollingUpdate": { "canary": { "count": 1, "soakSeconds": 3 } },
    });
    careful
}

#[tokio::test]
async fn rolling_three_members_after_a_canary() {
    let story = Story {
        before: Some(careful()),
        deed: Deed::Change(json!({ "image": "quorate-node:9.9.9" })),
        writes_min: 9,
    };
    story.survives_every(&[When::After]).await;
}

#[tokio::test]
async fn rolling_back_a_canary_that_fails() {
    let story = Story {
        before: Some(careful()),
        deed: Deed::Change(json!({ "image": "quorate-node:missing" })),
        writes_min: 7,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn three_members_hibernate_and_wake() {
    for (deed, writes_min) in [(Deed::Change(run_state("Hibernated")), 5), (Deed::Wake, 5)] {
        let story = Story {
            before: Some(spec(3)),
            deed,
            writes_min,
        };
        story.survives_every(&WAYS).await;
        story.survives_pairs_of_crashes(PAIRS).await;
    }
}

#[tokio::test]
async fn replacing_a_member_that_the_user_deletes() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::Replace(1),
        writes_min: 6,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn replacing_a_member_whose_node_is_gone() {
    let mut before = spec(3);
    before["repairPolicy"] = json!({ "volumeLostSeconds": 5 });
    let story = Story {
        before: Some(before),
        deed: Deed::LoseNode(1),
        writes_min: 12,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn making_an_ended_pod_again() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::FailPod(2),
        writes_min: 2,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn handing_the_volumes_over_to_be_deleted() {
    let deed = Deed::Change(json!({ "deletionPolicy": "Delete" }));
    let story = Story {
        before: Some(spec(3)),
        deed,
        writes_min: 3,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn growing_three_volumes_in_place() {
    let mut before = spec(3);
    before["storage"]["storageClassName"] = "elastic".into();
    let story = Story {
        before: Some(before),
        deed: Deed::Change(json!({ "storage": { "size": "2Gi" } })),
        writes_min: 3,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn moving_the_only_member_to_another_class() {
    let mut before = spec(1);
    before["storage"]["storageClassName"] = "elastic".into();
    let story = Story {
        before: Some(before),
        deed: Deed::Change(json!({ "storage": { "storageClassName": "other" } })),
        writes_min: 8,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn deleting_a_cluster_under_both_policies() {
    for (policy, volumes) in [("Retain", 3), ("Delete", 0)] {
        let mut before = spec(3);
        before["deletionPolicy"] = policy.into();
        let story = Story {
            before: Some(before),
            deed: Deed::Delete,
            writes_min: 0,
        };
        story.survives_every_crash().await;
        let left = story.tell().await.expect("it ends well").objects;
        let left: Vec<&String> = left.keys().collect();
        assert_eq!(left.len(), volumes, "{policy} leaves {left:?}");
    }
}

/// A member that serves TLS to clients.
fn secured() -> Value {
    let mut spec = spec(1);
    spec["tls"] = json!({ "client": { "mode": "Operator" } });
    spec
}

/// Members ask who somebody is.
async fn authenticated(world: &World) -> Result<(), String> {
    world.password_of_root(ROOT_SECRET).await;
    world.change(authentication()).await;
    world.converge(&Crash::never()).await
}

/// A user and its role.
async fn declare(world: &World) {
    world
        .declare_reader(
            json!([{ "type": "Read", "prefix": "a/" }, { "type": "ReadWrite", "key": "b" }]),
        )
        .await;
    world.declare_app(&["reader"]).await;
}

/// Tells a story of declared accounts, and gives what the members have in the end.
async fn accounts_after(deed: Deed, writes_min: u64) -> String {
    let story = Story {
        before: Some(secured()),
        deed,
        writes_min,
    };
    // In boxes, for a debug build's frames would fill a thread's stack.
    Box::pin(story.survives_every(&WAYS)).await;
    let told = Box::pin(story.tell()).await;
    told.expect("it ends well").accounts.concat()
}

#[tokio::test]
async fn declaring_a_user_and_a_role() {
    let accounts = accounts_after(Deed::Declare, 8).await;
    assert!(
        accounts.contains(r#""app": User { has_password: true, roles: {"reader"} }"#),
        "{accounts}"
    );
}

#[tokio::test]
async fn changing_a_user_and_a_role() {
    let accounts = accounts_after(Deed::Redeclare, 5).await;
    assert!(
        accounts.contains(r#""app": User { has_password: true, roles: {} }"#),
        "{accounts}"
    );
}

#[tokio::test]
async fn withdrawing_a_user_and_a_role() {
    let accounts = accounts_after(Deed::Withdraw, 3).await;
    assert!(
        accounts.contains("enabled true") && !accounts.contains("app"),
        "{accounts}"
    );
}

#[tokio::test]
async fn switching_authentication_on() {
    let story = Story {
        before: Some(secured()),
        deed: Deed::Authenticate,
        writes_min: 7,
    };
    story.survives_every(&WAYS).await;
    let told = story.tell().await.expect("it ends well");
    assert!(
        told.accounts[0].starts_with("enabled true"),
        "{:?}",
        told.accounts
    );
}

#[tokio::test]
async fn switching_authentication_off() {
    let story = Story {
        before: Some(secured()),
        deed: Deed::EndAuthentication,
        writes_min: 3,
    };
    story.survives_every(&WAYS).await;
    let told = story.tell().await.expect("it ends well");
    let accounts = told.accounts.concat();
    assert!(
        accounts.starts_with("enabled false") && !accounts.contains("app"),
        "{accounts}"
    );
}

const WAYS: [When; 4] = [When::Before, When::After, When::Refused, When::Unheard];

/// A story of an operation, told with every write going wrong in each of these ways.
async fn asked_for(what: Value, writes_min: u64, ways: &[When]) {
    asked_of(spec(3), what, writes_min, ways).await;
}

async fn asked_of(before: Value, mut what: Value, writes_min: u64, ways: &[When]) {
    what["clusterName"] = json!("kv");
    let story = Story {
        before: Some(before),
        deed: Deed::Ask(what),
        writes_min,
    };
    story.survives_every(ways).await;
}

#[tokio::test]
async fn recovering_from_quorum_loss() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::LoseQuorum,
        writes_min: 12,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn recovering_from_quorum_loss_with_volumes_snapshotted_first() {
    let mut before = spec(3);
    before["storage"]["storageClassName"] = json!("elastic");
    let story = Story {
        before: Some(before),
        deed: Deed::LoseQuorum,
        writes_min: 13,
    };
    let told = story.tell().await.expect("nobody dies");
    let mut kinds = told.objects.keys().map(String::as_str);
    assert!(kinds.any(|it| it.starts_with("VolumeSnapshot ")));
    story.survives_every_crash().await;
}

#[tokio::test]
async fn rotating_certificates_and_their_authority_as_asked() {
    let mut before = spec(3);
    before["tls"] = json!({ "peer": { "mode": "Operator" }, "client": { "mode": "Operator" } });
    let leaves = json!({ "rotateCertificates": {} });
    asked_of(before.clone(), leaves, 5, &WAYS).await;
    let authority =
        json!({ "rotateCertificates": { "certificateAuthority": true, "overlapSeconds": 0 } });
    asked_of(before, authority, 10, &WAYS[..2]).await;
}

#[tokio::test]
async fn restarting_three_members_as_asked() {
    asked_for(json!({ "restart": {} }), 8, &WAYS[..2]).await;
}

#[tokio::test]
async fn defragmenting_three_members_as_asked() {
    asked_for(json!({ "defragment": {} }), 8, &WAYS).await;
}

#[tokio::test]
async fn compacting_as_asked() {
    asked_for(json!({ "compact": { "revision": 100 } }), 3, &WAYS).await;
}

#[tokio::test]
async fn fencing_the_leader() {
    asked_for(json!({ "fence": { "member": "LEADER" } }), 6, &WAYS).await;
}

#[tokio::test]
async fn letting_a_fenced_member_start_again() {
    let fence = json!({ "clusterName": "kv", "fence": { "member": "LAST" } });
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::TakeBack(fence),
        writes_min: 2,
    };
    story.survives_every(&WAYS).await;
}

#[tokio::test]
async fn making_room_where_members_have_none() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::Fill,
        writes_min: 10,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn adding_a_learner_for_good_and_taking_it_away() {
    let with = |learners: i32| {
        let mut spec = spec(3);
        spec["learners"] = json!(learners);
        spec
    };
    for (before, after, writes_min) in [(0, 1, 9), (1, 0, 9)] {
        let story = Story {
            before: Some(with(before)),
            deed: Deed::Change(json!({ "learners": after })),
            writes_min,
        };
        story.survives_every_crash().await;
    }
}

#[tokio::test]
async fn replacing_a_leader_whose_data_are_corrupt() {
    let story = Story {
        before: Some(spec(3)),
        deed: Deed::Corrupt,
        writes_min: 12,
    };
    story.survives_every_crash().await;
}

#[tokio::test]
async fn replacing_a_member_as_asked() {
    let replace = json!({ "replaceMember": { "member": "FIRST" } });
    asked_for(replace, 12, &WAYS[..2]).await;
}
