//! Any crash of the operator, between any two writes, changes nothing of the end state.
//!
//! Each story is told once without a crash, and then once for every write in it (to the API server or to a member) and each
//! side of that write, the operator dying there and a new one, with nothing in its head, taking over. At the end the same
//! objects must stand, and the same must have been created and deleted on the way, the same number of times. The same holds
//! where the operator lives and a write fails, or takes effect and is not heard of.

use e2e::FIGURE;
use e2e::simulated::{Crash, Summary, When, World};
use serde_json::{Value, json};

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
    /// Deletes the `RaftMember` at this place in the list of members.
    Replace(usize),
    /// Ends the pod at this place for good, as an eviction by the kubelet does.
    FailPod(usize),
    Delete,
}

fn spec(replicas: i32) -> Value {
    json!({ "replicas": replicas, "storage": { "size": "1Gi" } })
}

impl Story {
    /// Tells it with this fate for the operator, up to the end.
    async fn tell(&self, crash: &Crash) -> Result<Summary, String> {
        let world = World::new().await;
        if let Some(before) = &self.before {
            world.create(before.clone()).await;
            world.converge(&Crash::never()).await?;
            world.kube.faults().forget_calls();
        }
        match &self.deed {
            Deed::Create(spec) => world.create(spec.clone()).await,
            Deed::Change(spec) => world.change(spec.clone()).await,
            Deed::Replace(at) => world.replace_member(*at).await,
            Deed::FailPod(at) => world.fail_pod(*at).await,
            Deed::Delete => world.delete().await,
        }
        world.converge(crash).await?;
        Ok(world.summary().await)
    }

    /// Tells it with a crash at every write.
    async fn survives_every_crash(&self) {
        self.survives_every(&[When::Before, When::After]).await;
    }

    /// Tells it with a write that fails, for every write and each of these ways.
    async fn survives_every(&self, ways: &[When]) {
        let reference = Crash::never();
        let expected = self
            .tell(&reference)
            .await
            .expect("without a crash it ends well");
        assert_eq!(expected.violations, Vec::<String>::new());
        let writes = reference.writes();
        let count = writes.len() as u64;
        assert!(count >= self.writes_min, "only {count} writes: {writes:#?}");
        for n in 1..=count {
            for when in ways.iter().copied() {
                let crash = Crash::at(n, when);
                let place = format!(
                    "crash {when:?} write {n} of {count}, {}",
                    writes[n as usize - 1]
                );
                let summary = self
                    .tell(&crash)
                    .await
                    .unwrap_or_else(|why| panic!("{place}: {why}"));
                assert!(
                    crash.has_struck(),
                    "{place}: never came to it; it came to {:#?}",
                    crash.writes()
                );
                let differences = summary.differences(&expected);
                assert!(differences.is_empty(), "{place}: {differences:#?}");
            }
        }
        println!("{FIGURE}{count} writes, each {ways:?}");
    }
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
        let left = story
            .tell(&Crash::never())
            .await
            .expect("it ends well")
            .objects;
        let left: Vec<&String> = left.keys().collect();
        assert_eq!(left.len(), volumes, "{policy} leaves {left:?}");
    }
}
