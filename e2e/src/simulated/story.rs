//! Stories: what users do with a cluster, told to the end and judged.
//!
//! The judges are those of every test in this world: it converges, nothing is planned that the operator's own safety check
//! refuses, no rule of the members' model is broken, a cluster that has arrived writes nothing, and what stands in the end and was
//! created and deleted on the way is what it is when nothing goes wrong.
//!
//! It deliberately does not know what may be wrong with the operator: see `bug.rs`.

use quorate_operator::Context;
use serde_json::{Value, json};

use super::stories::GROWS;
use super::world::{NAME, ROOT_SECRET};
use super::{Bug, Crash, Faults, Round, Summary, World};
use crate::lab::asked_to_delete;

/// The operation by which a recovery is asked for.
pub(super) const RECOVERY: &str = "recover";
/// The operation by which a member is kept stopped.
const FENCE: &str = "fence";
/// A cluster that has arrived is looked at so often more, and nothing may be written.
const LOOKS: u32 = 5;
/// For so many rounds more the user waits for what he is to agree to.
const PATIENCE: u32 = 10;
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
    /// The administrator has volumes that can grow be snapshotted, too.
    InstallSnapshots,
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
    /// The user asks for other certificates of another authority.
    Rotate,
    /// The user deletes a pod as soon as he is asked to.
    Obey,
    /// The user makes the Secret with the password of `root`.
    Password,
    /// The node of the member at this place in status dies.
    LoseNode(usize),
    /// Dead nodes come back with their volumes.
    ReturnNodes,
    /// The next node that a volume is to be made on dies before it is.
    DoomNode,
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
    pub(super) before: Option<Value>,
    /// How many nodes there are; none where nothing hangs on them.
    pub(super) nodes: usize,
    pub(super) steps: Vec<Step>,
}

impl Story {
    /// Whether something happens after so many rounds: how far what was begun has come by then is no matter of the end.
    #[must_use]
    pub fn waits_for_nobody(&self) -> bool {
        let mut pairs = self.steps.windows(2);
        pairs.any(|it| matches!(it, [Step::Rounds(_), _]))
    }

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
            Step::InstallSnapshots => self.install_snapshots().await,
            Step::AskRecovery => self.ask_recovery().await,
            Step::Agree => return self.agree_when_shown().await,
            Step::Withdraw => self.withdraw(RECOVERY).await,
            Step::Fence(member) => self.ask_fence(member).await,
            Step::Unfence => self.withdraw(FENCE).await,
            Step::Rotate => self.ask_rotation().await,
            Step::Obey => return self.obey().await,
            Step::Password => self.password_of_root(ROOT_SECRET).await,
            Step::LoseNode(at) => self.lose_node(*at).await,
            Step::DoomNode => self.doom_node(),
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

    /// The user deletes the pod that the status asks for, once it asks for one.
    async fn obey(&self) -> Result<(), String> {
        let fate = Crash::never();
        let ctx = self.operator(&fate);
        for _ in 0..LONG {
            self.rounds(&ctx, &fate, 1).await?;
            let cluster = self.cluster().await;
            // While calls fail, the status may still ask for one that is on its way already.
            if let Some(member) = cluster.as_ref().and_then(asked_to_delete)
                && self.delete_pod(member).await
            {
                return Ok(());
            }
        }
        Err("nobody asks for a pod".to_owned())
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

    /// The user asks for the recovery of a lost quorum.
    pub(super) async fn ask_recovery(&self) {
        let asked = json!({ "clusterName": NAME, "recoverQuorum": {} });
        self.ask(RECOVERY, &asked).await;
    }

    async fn ask_rotation(&self) {
        let rotation = json!({ "certificateAuthority": true, "overlapSeconds": 0 });
        let asked = json!({ "clusterName": NAME, "rotateCertificates": rotation });
        self.ask("rotate", &asked).await;
    }

    async fn ask_fence(&self, member: &str) {
        let asked = json!({ "clusterName": NAME, "fence": { "member": member } });
        self.ask(FENCE, &asked).await;
    }
}
