//! A campaign against the `RaftCluster`: mutations of its spec in sequences on a live cluster, drawn from the schema, then the
//! way back.
//!
//! - What the API server refuses is refused with the field's name and changes nothing at all.
//! - What it takes, the operator's own types can read.
//! - What only the planner can see to be wrong is held: a condition names the field, no pod, member or volume is touched, and none but
//!   pods that are missing are made.
//! - At every moment no rule of the members' model is broken; a majority goes on serving.
//! - The end of a sequence is that of its last spec, applied to a fresh cluster; after the revert it is that of the first.
//! - A cluster that has arrived writes nothing.
//! - Where the spec itself has the operator wait (`changePolicy`, a canary's soak, an older version, pods that their user
//!   deletes), or the API server refuses the way back, they name a way out, and it is one.
//!
//! It deliberately judges no value by itself, but those that break the schema on purpose: whether a spec is valid is for the
//! API server and the planner to say, and what follows from their word is what is judged.

mod field;
mod mutation;
mod state;

use std::collections::BTreeSet;
use std::ops::AddAssign;

use crds::{RaftCluster, RunState};
use serde_json::{Value, json};

pub use mutation::{Edit, Mutation, Source};

use super::{Crash, Round, Summary, World};
use quorate_operator::Context;

/// A cluster that has arrived is looked at so often more, and nothing may be written.
const LOOKS: u32 = 5;
/// A way out is taken so often at most: once for each member, and once more for a policy and a soak.
const WAYS: u32 = 12;
/// A storage class whose volumes grow in place.
pub const GROWS: &str = "elastic";

/// What became of mutations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Refused by the API server.
    pub refused: usize,
    /// Taken by the API server and held by the planner.
    pub held: usize,
    /// Carried out, or begun to be when the next came.
    pub taken: usize,
    /// Taken and the same as before.
    pub unchanged: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.refused += other.refused;
        self.held += other.held;
        self.taken += other.taken;
        self.unchanged += other.unchanged;
    }
}

/// Plays a sequence on a fresh cluster of this spec, to its end and back.
///
/// # Errors
/// With the first promise that was broken, and at which mutation.
pub async fn play(first: &Value, mutations: &[Mutation]) -> Result<Tally, String> {
    let mut play = Play::begin(first).await?;
    for (n, mutation) in mutations.iter().enumerate() {
        // In boxes, for a debug build's frames would fill a thread's stack.
        let done = Box::pin(play.mutate(mutation)).await;
        done.map_err(|why| {
            format!(
                "mutation {n} ({mutation}): {why}; the spec before: {}",
                play.spec
            )
        })?;
    }
    let last = presentable(&play.spec, first);
    Box::pin(play.arrive(&last)).await?;
    let fresh = Play::begin(&play.spec).await?;
    same(
        "the last spec applied to a fresh cluster",
        &play.state().await,
        &fresh.origin,
    )?;
    let origin = play.origin.clone();
    Box::pin(play.arrive(first)).await?;
    same("the state before all", &play.state().await, &origin)?;
    Ok(play.tally)
}

/// What a spec must say so that a cluster can arrive: it is not paused, its members run, and its image is there.
fn presentable(spec: &Value, first: &Value) -> Value {
    let mut spec = spec.clone();
    spec["paused"] = json!(false);
    spec["runState"] = json!(RunState::Running);
    let is_missing = |it: &Value| it.as_str().is_some_and(|it| it.contains("missing"));
    if is_missing(&spec["image"]) {
        let fields = spec.as_object_mut().expect("a spec is an object");
        fields.remove("image");
        fields.extend(
            first
                .get("image")
                .map(|it| ("image".to_owned(), it.clone())),
        );
    }
    spec
}

/// The spec with volumes that may be changed by whatever it takes.
fn replacing(spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["storage"]["changePolicy"] = json!("ReplaceMember");
    spec
}

fn same(what: &str, is: &Summary, should: &Summary) -> Result<(), String> {
    let differences = is.differences(should);
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!("it has not come to {what}: {differences:#?}"))
}

/// A sequence in the middle.
struct Play {
    world: World,
    ctx: Context,
    operator: Crash,
    /// The last spec that was taken and not held, as it stands in the API server.
    spec: Value,
    origin: Summary,
    tally: Tally,
}

impl Play {
    /// A cluster of this spec that has arrived.
    async fn begin(first: &Value) -> Result<Self, String> {
        let world = World::new().await;
        world.class_that_grows(GROWS).await;
        let operator = Crash::never();
        let mut play = Self {
            ctx: world.operator(&operator),
            operator,
            spec: first.clone(),
            origin: Summary::default(),
            tally: Tally::default(),
            world,
        };
        play.arrive(first)
            .await
            .map_err(|why| format!("a fresh cluster of {first}: {why}"))?;
        play.origin = play.state().await;
        Ok(play)
    }

    async fn state(&self) -> Summary {
        state::of(&self.world).await
    }

    /// Puts a spec in place and waits until all is as it says, and stays so without a write. What the operator waits for by
    /// order of the spec it would wait for without end; then the way out is taken.
    async fn arrive(&mut self, spec: &Value) -> Result<(), String> {
        self.spec = self
            .world
            .put(spec)
            .await
            .map_err(|why| format!("{spec} is refused: {why}"))?;
        let mut converged = self.world.converge(&Crash::never()).await;
        let mut ways = 0;
        while converged.is_err() && ways < WAYS && Box::pin(self.takes_the_way_out()).await? {
            converged = self.world.converge(&Crash::never()).await;
            ways += 1;
        }
        converged.map_err(|why| format!("with {}: {why}", self.spec))?;
        self.rest().await
    }

    /// Sees that a cluster which has arrived writes nothing; where volumes are kept for a time only, after the last one's.
    async fn rest(&self) -> Result<(), String> {
        let policy = &self.spec["storage"]["retentionPolicy"];
        let times = ["replacedTTLSeconds", "scaledTTLSeconds"];
        let ends = times.iter().any(|it| !policy[it].is_null());
        let takes_volume =
            |it: &String| it.starts_with("DELETE ") && it.contains("/persistentvolumeclaims/");
        loop {
            let before = self.operator.writes().len();
            self.rounds(LOOKS).await?;
            match &self.operator.writes()[before..] {
                [] => return Ok(()),
                writes if ends && writes.iter().any(takes_volume) => {}
                writes => return Err(format!("it has arrived and writes: {writes:?}")),
            }
        }
    }

    /// Does what the user, or time, has to do where the operator waits by order of the spec alone, and says so; whether it does.
    async fn takes_the_way_out(&mut self) -> Result<bool, String> {
        let status = self.world.cluster().await.and_then(|it| it.status);
        let status = status.unwrap_or_default();
        let mut conditions = status.conditions.iter();
        if conditions.any(|it| it.message.contains("versionPolicy.downgrade to Allow")) {
            return Box::pin(self.goes_back_a_version()).await.map(|()| true);
        }
        let Some(operation) = status.operation else {
            return Ok(false);
        };
        let gates = operation.blocked_by.iter().map(|it| it.gate.as_str());
        let gates: BTreeSet<&str> = gates.collect();
        match gates.into_iter().collect::<Vec<_>>().as_slice() {
            ["ChangePolicy"] => {
                let out = self.world.put(&replacing(&self.spec)).await;
                let refused = |why| format!("the way out of {} is refused: {why}", self.spec);
                self.spec = out.map_err(refused)?;
            }
            ["Canary"] => {
                let soak = &self.spec["updateStrategy"]["rollingUpdate"]["canary"]["soakSeconds"];
                self.world.wait(soak.as_i64().unwrap_or_default());
            }
            ["Password"] => {
                let secret = &self.spec["auth"]["rootSecretName"];
                let secret = secret.as_str().unwrap_or_default();
                self.world.password_of_root(secret).await;
            }
            ["OnDelete"] => match &operation.member {
                Some(member) => return Ok(self.world.delete_pod(member).await),
                None => return Ok(false),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Goes back to an older version by the way that the refusal names, and then says again what was wanted.
    async fn goes_back_a_version(&mut self) -> Result<(), String> {
        let wanted = self.spec.clone();
        let mut allowing = wanted.clone();
        allowing["updateStrategy"]["versionPolicy"]["downgrade"] = json!("Allow");
        let refused = |why| format!("the way out of {wanted} is refused: {why}");
        self.world.put(&allowing).await.map_err(refused)?;
        self.world.converge(&Crash::never()).await?;
        self.spec = self.world.put(&wanted).await.map_err(refused)?;
        Ok(())
    }

    /// Puts the last good spec in place again; where a volume cannot go back in place, by the way that the refusal names.
    async fn put_back(&mut self) -> Result<(), String> {
        let mut put = self.world.put(&self.spec).await;
        if let Err(kube::Error::Api(refusal)) = &put
            && refusal
                .message
                .contains("or set changePolicy to ReplaceMember")
        {
            put = self.world.put(&replacing(&self.spec)).await;
            if put.is_ok() {
                put = self.world.put(&self.spec).await;
            }
        }
        self.spec = put.map_err(|why| format!("the way back is refused: {why}"))?;
        Ok(())
    }

    async fn rounds(&self, rounds: u32) -> Result<(), String> {
        for _ in 0..rounds {
            if let Round::Ended(Err(why)) = self.world.round(&self.ctx, &self.operator).await {
                return Err(format!("a round fails: {why}"));
            }
            self.world.pass_time().await;
        }
        match self.world.model.violations().first() {
            None => Ok(()),
            Some(violation) => Err(format!("violation: {violation}")),
        }
    }

    async fn mutate(&mut self, mutation: &Mutation) -> Result<(), String> {
        let wanted = mutation.of(&self.spec);
        let before = self.world.kube.revision();
        match self.world.put(&wanted).await {
            Ok(stored) if stored == self.spec => {
                self.tally.unchanged += 1;
                Ok(())
            }
            Ok(_) if mutation.refused => Err("the schema forbids it, and it is taken".to_owned()),
            Ok(stored) => self.follow(mutation, stored).await,
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 400 | 422) => {
                self.tally.refused += 1;
                if self.world.kube.revision() != before {
                    return Err("it is refused and has changed something".to_owned());
                }
                let named = mutation.is_named_in(&refusal.message);
                named
                    .then_some(())
                    .ok_or_else(|| format!("the refusal names no field of it: {}", refusal.message))
            }
            Err(why) => Err(format!("it is answered by {why}")),
        }
    }

    /// Sees what the operator makes of a spec that was taken.
    async fn follow(&mut self, mutation: &Mutation, stored: Value) -> Result<(), String> {
        let read = serde_json::from_value::<crds::RaftClusterSpec>(stored.clone());
        read.map_err(|why| format!("it is taken and cannot be read: {why}"))?;
        let before = self.operator.writes().len();
        self.rounds(mutation.rounds).await?;
        let cluster = self.world.cluster().await.ok_or("the cluster is gone")?;
        let Some(fault) = held(&cluster)? else {
            self.tally.taken += 1;
            self.spec = stored;
            return Ok(());
        };
        self.tally.held += 1;
        let touched = |it: &&String| {
            it.contains("/pods/") || it.contains("/raftmembers") || it.contains(" through ")
        };
        if let Some(write) = self.operator.writes()[before..].iter().find(touched) {
            return Err(format!(
                "it is held ({fault}), and the operator sends {write}"
            ));
        }
        if !fault.contains("spec.") {
            return Err(format!(
                "it is held, and the condition names no field: {fault}"
            ));
        }
        self.put_back().await?;
        self.rounds(1).await
    }
}

/// Why the planner holds the spec, if it does; every condition must be of this spec.
fn held(cluster: &RaftCluster) -> Result<Option<String>, String> {
    let status = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    if let Some(old) = status
        .conditions
        .iter()
        .find(|it| it.observed_generation != generation)
    {
        return Err(format!(
            "after a round, {} is of generation {:?}",
            old.type_, old.observed_generation
        ));
    }
    let ready = status.conditions.into_iter().find(|it| it.type_ == "Ready");
    let ready = ready.ok_or("there is no condition Ready")?;
    Ok((ready.reason == "InvalidSpec").then_some(ready.message))
}
