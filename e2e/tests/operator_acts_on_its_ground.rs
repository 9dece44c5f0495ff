//! Every action carries the ground it stands on: where that is gone, the action fails and nothing is changed.

use e2e::simulated::world::NAMESPACE;
use e2e::simulated::{Crash, World};
use plan::{Action, Ground, Observed, Target, names};
use quorate_operator::Context;
use quorate_operator::act::act;
use quorate_operator::gate::Shut;
use quorate_operator::observe::observe;
use serde_json::json;

/// A ready cluster of three, an operator, and what it sees.
async fn scene() -> (World, Context, Observed) {
    let world = World::new().await;
    world
        .create(json!({ "replicas": 3, "storage": { "size": "1Gi" } }))
        .await;
    world
        .converge(&Crash::never())
        .await
        .expect("it becomes ready");
    let ctx = world.operator(&Crash::never());
    let cluster = world.cluster().await.expect("it is there");
    let (observed, _) = observe(&ctx, &cluster)
        .await
        .expect("smallkube can be read");
    (world, ctx, observed)
}

/// Carries one action out and says why it failed, having made sure that nothing was changed.
async fn refused(scene: &(World, Context, Observed), action: Action) -> String {
    let (world, ctx, observed) = scene;
    let (objects, members) = (world.kube.revision(), world.model.memberships());
    let outcome = act(ctx, NAMESPACE, (observed, None), &[action])
        .await
        .expect("the gate is open");
    assert_eq!(outcome.done, []);
    assert_eq!(world.kube.revision(), objects, "an object was changed");
    assert_eq!(
        world.model.memberships(),
        members,
        "the membership was changed"
    );
    outcome.failed.expect("it fails").error
}

fn stale(name: &str) -> Target {
    Target {
        name: name.to_owned(),
        uid: "00000000-0000-4000-8000-000000000000".to_owned(),
    }
}

/// The ground as it is, through the leader.
fn ground(observed: &Observed) -> Ground {
    let leads = |answer: &&plan::Answer| answer.leader_id == answer.member_id;
    let answers = observed
        .probes
        .values()
        .filter_map(|probe| probe.answer.as_ref().ok());
    let leader = answers.clone().find(leads).expect("somebody leads");
    let listed = leader
        .membership
        .clone()
        .expect("a leader knows the members");
    let via = listed
        .iter()
        .find(|it| it.id == leader.member_id)
        .expect("it is one")
        .name
        .clone();
    let mut members: Vec<(u64, bool)> = listed.iter().map(|it| (it.id, it.is_learner)).collect();
    members.sort_unstable();
    Ground {
        via,
        cluster_id: leader.cluster_id,
        members,
    }
}

#[tokio::test]
async fn an_object_of_another_uid_is_neither_deleted_nor_changed() {
    let scene = scene().await;
    let name = scene.2.pods[0].metadata.name.clone().expect("a name");
    let claim = names::claim(&name);
    let why = "stale".to_owned();
    for action in [
        Action::DeletePod {
            pod: stale(&name),
            why,
        },
        Action::DeleteMember {
            member: stale(&name),
        },
        Action::DeleteClaim {
            claim: stale(&claim),
        },
        Action::LabelPod {
            pod: stale(&name),
            role: names::Role::Learner,
        },
        Action::OwnClaim {
            claim: stale(&claim),
            owner: None,
        },
    ] {
        let words = action.to_string();
        let error = refused(&scene, action).await;
        assert!(error.contains("failed"), "{words}: {error}");
    }
}

#[tokio::test]
async fn a_taken_name_is_not_created_again() {
    let scene = scene().await;
    let mut pod = scene.2.pods[0].clone();
    pod.metadata.resource_version = None;
    let error = refused(&scene, Action::CreatePod(Box::new(pod))).await;
    assert!(error.contains("already exists"), "{error}");
}

#[tokio::test]
async fn the_membership_is_changed_only_if_it_is_the_planned_one() {
    let scene = scene().await;
    let mut changed = ground(&scene.2);
    changed.members.pop();
    let mut foreign = ground(&scene.2);
    foreign.cluster_id += 1;
    for ground in [changed, foreign] {
        let (name, peer_url) = ("kv-new".to_owned(), "http://kv-new:2380".to_owned());
        let id = ground.members[0].0;
        for action in [
            Action::AddLearner {
                name: name.clone(),
                peer_url: peer_url.clone(),
                ground: ground.clone(),
            },
            Action::Promote {
                name: name.clone(),
                id,
                ground: ground.clone(),
            },
            Action::RemoveMember {
                name: name.clone(),
                id,
                ground: ground.clone(),
            },
            Action::UpdatePeerUrl {
                name: name.clone(),
                id,
                peer_url: peer_url.clone(),
                ground: ground.clone(),
            },
            Action::MoveLeader {
                to: name.clone(),
                to_id: id,
                ground: ground.clone(),
            },
        ] {
            let error = refused(&scene, action).await;
            assert_eq!(error, "the membership has changed since it was planned");
        }
    }
}

#[tokio::test]
async fn the_first_failure_ends_the_round() {
    let (_world, ctx, observed) = scene().await;
    let name = observed.pods[0].metadata.name.clone().expect("a name");
    let peer_url = "http://kv-new:2380".to_owned();
    let actions = [
        Action::ApplyBudget(Box::new(observed.budgets[0].clone()).stripped()),
        Action::DeletePod {
            pod: stale(&name),
            why: "stale".to_owned(),
        },
        Action::AddLearner {
            name: "kv-new".to_owned(),
            peer_url,
            ground: ground(&observed),
        },
    ];
    let outcome = act(&ctx, NAMESPACE, (&observed, None), &actions)
        .await
        .expect("the gate is open");
    assert_eq!(outcome.done, actions[..1]);
    let failed = outcome.failed.expect("the second fails");
    assert_eq!(failed.action, format!("delete pod {name}: stale"));
}

/// An object as it is applied: without what the server adds.
trait Stripped {
    fn stripped(self) -> Self;
}

impl Stripped for Box<k8s_openapi::api::policy::v1::PodDisruptionBudget> {
    fn stripped(mut self) -> Self {
        self.metadata.managed_fields = None;
        self.metadata.resource_version = None;
        self.status = None;
        self
    }
}

#[tokio::test]
async fn nothing_is_written_through_a_shut_gate() {
    let (world, ctx, observed) = scene().await;
    let name = observed.pods[0].metadata.name.clone().expect("a name");
    let uid = observed.pods[0].metadata.uid.clone().expect("a uid");
    let peer_url = "http://kv-new:2380".to_owned();
    let (objects, members) = (world.kube.revision(), world.model.memberships());
    ctx.gate.shut(Shut::Lost);
    for action in [
        Action::DeletePod {
            pod: Target { name, uid },
            why: "whatever".to_owned(),
        },
        Action::AddLearner {
            name: "kv-new".to_owned(),
            peer_url,
            ground: ground(&observed),
        },
    ] {
        assert_eq!(
            act(&ctx, NAMESPACE, (&observed, None), &[action]).await,
            Err(Shut::Lost)
        );
    }
    assert_eq!(
        (world.kube.revision(), world.model.memberships()),
        (objects, members)
    );
}
