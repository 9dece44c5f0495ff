//! Stories: what users do with a cluster, told to the end and judged.
//!
//! The judges are those of every test in this world: it converges, nothing is planned that the operator's own safety check
//! refuses, no rule of the members' model is broken, a cluster that has arrived writes nothing, and what stands in the end and was
//! created and deleted on the way is what it is when nothing goes wrong.
//!
//! It deliberately does not know what may be wrong with the operator: see `bug.rs`.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use plan::names;
use quorate_operator::Context;
use serde_json::{Value, json};

use super::world::{NAME, NAMESPACE, ROOT_SECRET, authentication};
use super::{Bug, Crash, Faults, Round, Summary, World};

/// A storage class whose volumes grow in place.
const GROWS: &str = "elastic";
/// A cluster that has arrived is looked at so often more, and nothing may be written.
const LOOKS: u32 = 5;
/// For so many rounds more the user waits for what he is to agree to.
const PATIENCE: u32 = 10;
/// The operation by which a recovery is asked for.
pub const RECOVERY: &str = "recover";
/// The operation by which a member is kept stopped.
const FENCE: &str = "fence";
/// No story takes this many rounds of an operator that is as it should be.
const LONG: u32 = 400;

/// What is done to the cluster, one after the other.
#[derive(Clone, Debug)]
pub enum Step {
    /// The user creates it.
    Create(Value),
    /// The user changes it by a merge patch of its spec.
    Change(Value),
    /// The user deletes the `RaftMember` of the follower at this place in status.
    Replace(usize),
    /// The pod at this place is evicted by its kubelet.
    FailPod(usize),
    /// The user deletes the volume and the pod at this place.
    LoseVolume(usize),
    /// Volume and pod of one of those members that have both are destroyed: of this one in their order, counted around.
    LoseOne(usize),
    /// The same, and makes a claim of the same name from what he has kept of the old one.
    SwapVolume(usize),
    /// The data of so many voters, the leader's first, come to differ from the others'.
    Corrupt(usize),
    /// The user has found out whose data are right, and takes the alarm back.
    Trust,
    /// All volumes but one are destroyed, and their pods with them.
    LoseQuorum,
    /// The user asks for a recovery from quorum loss.
    AskRecovery,
    /// He agrees to what it would be.
    Agree,
    /// He takes it back.
    Withdraw,
    /// The user has a member kept stopped: FIRST, LAST or LEADER.
    Fence(&'static str),
    /// He lets it start again.
    Unfence,
    /// The user makes the Secret with the password of `root`.
    Password,
    /// The node of the member at this place in status dies.
    LoseNode(usize),
    /// Dead nodes come back with their volumes.
    ReturnNodes,
    /// The user deletes dead nodes.
    DeleteNodes,
    /// The user deletes the cluster.
    Delete,
    /// The operator has so many rounds before what comes next.
    Rounds(u32),
}

/// How a story ended.
#[derive(Clone, Debug)]
pub struct Told {
    /// What stands at the end, and what was written on the way.
    pub summary: Summary,
    /// How many rounds of operators it took.
    pub rounds: u32,
}

/// One story.
#[derive(Clone, Debug)]
pub struct Story {
    /// What it is called.
    pub name: &'static str,
    /// The cluster before, ready; none if there is none.
    before: Option<Value>,
    /// How many nodes there are; none where nothing hangs on them.
    nodes: usize,
    steps: Vec<Step>,
}

fn spec(replicas: i32) -> Value {
    json!({ "replicas": replicas, "storage": { "size": "1Gi" } })
}

fn peers(mode: &str) -> Value {
    json!({ "peer": { "mode": mode } })
}

fn recovery() -> Value {
    json!({ "clusterName": NAME, "recoverQuorum": {} })
}

fn fence(member: &str) -> Value {
    json!({ "clusterName": NAME, "fence": { "member": member } })
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

/// With TLS: from the beginning, and where members move to it, all of them or until the user thinks better of it.
fn secured() -> [Story; 3] {
    let by_default = json!({ "tls": {} });
    let roll = Step::Change(json!({ "image": "quorate-node:9.9.9" }));
    let move_peers = || Step::Change(json!({ "tls": peers("Operator") }));
    let plain = Step::Change(json!({ "tls": peers("Disabled") }));
    [
        story("certificates", Some(with(spec(1), by_default)), &[roll]),
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
fn falls() -> [Story; 3] {
    [
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
fn recoveries() -> [Story; 2] {
    let three = || Some(spec(3));
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

impl Story {
    /// Tells it with these operators, the first one of this fate, to the end.
    ///
    /// # Errors
    /// What the judges say who need not know how it should end.
    pub async fn tell(&self, bug: Option<Bug>, fate: &Crash) -> Result<Summary, String> {
        let told = self.tell_under(bug, fate, &Faults::default()).await?;
        Ok(told.summary)
    }

    /// The same while these faults strike, from the first step on and until the cluster is as declared.
    ///
    /// # Errors
    /// As for [`Story::tell`].
    pub async fn tell_under(
        &self,
        bug: Option<Bug>,
        fate: &Crash,
        faults: &Faults,
    ) -> Result<Told, String> {
        self.go_on(&self.begin(bug).await?, fate, faults).await
    }

    /// The world before the first step.
    ///
    /// # Errors
    /// If it does not come about.
    pub async fn begin(&self, bug: Option<Bug>) -> Result<World, String> {
        let world = World::new().await.with(bug, LONG);
        world.class_that_grows(GROWS).await;
        world.make_nodes(self.nodes).await;
        if let Some(before) = &self.before {
            world.create(before.clone()).await;
            world.converge(&Crash::never()).await?;
        }
        Ok(world)
    }

    /// Tells the story from the world before its first step, which stays as it is.
    ///
    /// # Errors
    /// As for [`Story::tell`].
    pub async fn go_on(
        &self,
        beginning: &World,
        fate: &Crash,
        faults: &Faults,
    ) -> Result<Told, String> {
        let world = beginning.fork().under(faults);
        for step in &self.steps {
            world.take(step).await?;
        }
        let mut held = None;
        if fate.is_held_up() {
            held = world.hold_up(fate).await?;
            world.converge(&Crash::never()).await?;
        } else {
            world.converge(fate).await?;
        }
        world.make_claims_again().await;
        if let Some(slow) = held {
            fate.release();
            slow.await
                .map_err(|why| format!("a round panics: {why}"))?
                .ok();
            world.converge(&Crash::never()).await?;
        }
        let rounds = world.rounds_so_far();
        // While calls fail, a cluster may be quiet that has not arrived.
        faults.end();
        world.converge(&Crash::never()).await?;
        world.rests().await?;
        let summary = world.summary().await;
        match summary.violations.first() {
            Some(violation) => Err(format!("violation: {violation}")),
            None => Ok(Told { summary, rounds }),
        }
    }
}

impl World {
    /// Something is done to the cluster.
    ///
    /// # Errors
    /// If the operator plans what is unsafe meanwhile, or shows nothing to agree to.
    pub async fn take(&self, step: &Step) -> Result<(), String> {
        match step {
            Step::Create(spec) => self.create(spec.clone()).await,
            Step::Change(spec) => self.change(spec.clone()).await,
            Step::Replace(at) => self.replace_member(*at).await,
            Step::FailPod(at) => self.fail_pod(*at).await,
            Step::LoseVolume(at) => drop(self.lose_volume(*at).await),
            Step::LoseOne(at) => self.lose_one(*at).await,
            Step::SwapVolume(at) => self.swap_volume(*at).await,
            Step::Corrupt(count) => self.model.corrupt(*count),
            Step::Trust => self.model.trust(),
            Step::LoseQuorum => self.lose_quorum().await,
            Step::AskRecovery => self.ask(RECOVERY, &recovery()).await,
            Step::Agree => return self.agree_when_shown().await,
            Step::Withdraw => self.withdraw(RECOVERY).await,
            Step::Fence(member) => self.ask(FENCE, &fence(member)).await,
            Step::Unfence => self.withdraw(FENCE).await,
            Step::Password => self.password_of_root(ROOT_SECRET).await,
            Step::LoseNode(at) => self.lose_node(*at).await,
            Step::ReturnNodes => self.return_nodes().await,
            Step::DeleteNodes => self.delete_nodes().await,
            Step::Delete => self.delete().await,
            Step::Rounds(rounds) => {
                let fate = Crash::never();
                let ctx = self.operator(&fate);
                return self.rounds(&ctx, &fate, *rounds).await;
            }
        }
        Ok(())
    }

    /// Rounds that may fail, as everything else that an operator tries before it can be done.
    ///
    /// # Errors
    /// If a plan is unsafe.
    pub async fn rounds(&self, ctx: &Context, fate: &Crash, rounds: u32) -> Result<(), String> {
        for _ in 0..rounds {
            if let Round::Ended(Err(error)) = self.round(ctx, fate).await {
                super::world::safe(&format!("{error:?}"))?;
            }
            self.pass_time().await;
        }
        Ok(())
    }

    /// The user agrees once there is something to agree to: a fault may hide it for some rounds.
    async fn agree_when_shown(&self) -> Result<(), String> {
        let fate = Crash::never();
        let ctx = self.operator(&fate);
        for _ in 0..PATIENCE {
            if self.agree(RECOVERY).await.is_ok() {
                return Ok(());
            }
            self.rounds(&ctx, &fate, 1).await?;
        }
        self.agree(RECOVERY).await
    }

    /// Sees that a cluster which is as declared stays so without a write.
    async fn rests(&self) -> Result<(), String> {
        let fate = Crash::never();
        let ctx = self.operator(&fate);
        self.rounds(&ctx, &fate, LOOKS).await?;
        match fate.writes().as_slice() {
            [] => Ok(()),
            writes => Err(format!("it has arrived and writes: {writes:?}")),
        }
    }

    /// All volumes but that of the last member in status are destroyed, and their pods with them.
    pub async fn lose_quorum(&self) {
        self.model.lose_quorum();
        let members = self.member_names().await.len();
        for at in 1..members {
            self.lose_volume(at - 1).await;
        }
    }

    /// The same, and the user has agreed to what a recovery would be.
    ///
    /// # Errors
    /// If there is no plan to agree to.
    pub async fn lose_quorum_and_agree(&self) -> Result<(), String> {
        self.lose_quorum().await;
        self.ask(RECOVERY, &recovery()).await;
        let fate = Crash::never();
        let ctx = self.operator(&fate);
        self.rounds(&ctx, &fate, 10).await?;
        self.agree(RECOVERY).await
    }

    /// The user deletes volume and pod of a member; what the claim was.
    async fn lose_volume(&self, at: usize) -> PersistentVolumeClaim {
        let name = &self.member_names().await[at];
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.user.clone(), NAMESPACE);
        let pods: Api<Pod> = Api::namespaced(self.user.clone(), NAMESPACE);
        let claim = claims.get(&names::claim(name)).await.expect("it is there");
        let pod = pods.get(name).await.expect("it is there");
        self.processes()
            .stop_unasked(pod.metadata.uid.as_deref().unwrap_or_default());
        let now = DeleteParams::default();
        claims
            .delete(&names::claim(name), &now)
            .await
            .expect("users may");
        pods.delete(name, &now).await.expect("users may");
        for _ in 0..3 {
            self.pass_time().await;
        }
        claim
    }

    /// See [`Step::LoseOne`].
    async fn lose_one(&self, at: usize) {
        let there = self.summary().await.objects;
        let is_there = |it: &String| {
            let claim = format!("PersistentVolumeClaim {}", names::claim(it));
            there.contains_key(&claim) && there.contains_key(&format!("Pod {it}"))
        };
        let names = self.member_names().await.into_iter().enumerate();
        let whole: Vec<usize> = names
            .filter(|(_, name)| is_there(name))
            .map(|(place, _)| place)
            .collect();
        if let Some(place) = whole.get(at % whole.len().max(1)) {
            self.lose_volume(*place).await;
        }
    }

    /// The user makes claims of his own under the names of those that the operator has deleted.
    async fn make_claims_again(&self) {
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.user.clone(), NAMESPACE);
        let writes = self.kube.faults().writes();
        let deleted = writes.iter().filter(|it| {
            let call = &it.call;
            call.verb == "delete" && call.resource == "persistentvolumeclaims" && it.changed
        });
        for name in deleted
            .filter(|it| it.call.client == "operator")
            .map(|it| &it.call.name)
        {
            let claim = json!({
                "metadata": { "name": name },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            });
            let claim = serde_json::from_value(claim).expect("a claim");
            let made = claims.create(&PostParams::default(), &claim).await;
            // One that a fault let the operator delete twice is there by now.
            made.ok();
        }
    }

    async fn swap_volume(&self, at: usize) {
        let mut claim = self.lose_volume(at).await;
        let kept = std::mem::take(&mut claim.metadata);
        claim.metadata.name = kept.name;
        claim.metadata.labels = kept.labels;
        claim.metadata.annotations = kept.annotations;
        claim.status = None;
        if let Some(spec) = &mut claim.spec {
            spec.volume_name = None;
        }
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.user.clone(), NAMESPACE);
        let made = claims.create(&PostParams::default(), &claim).await;
        made.expect("the name is free");
    }
}
