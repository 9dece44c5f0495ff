//! Whatever the API server answers and whatever members say: once that is over, the cluster is as
//! declared, by the same creations and deletions as if nothing had gone wrong, and writes nothing more. On the way no voter, no
//! quorum and no volume was lost by the operator's hand, and a single fault costs a bounded number of rounds.
//!
//! Each story is told once with nothing wrong, and then once for every call and every way in which that call can go wrong; then
//! under faults drawn from a seed over the whole story; and with an operator that dies among old lists. There are too many calls for one run: `FAULTS` says how many of them of
//! each story (0 for all), `FAULTS_STORMS` how many drawn runs, `FAULTS_SEED` which, `FAULTS_STORY` names one to tell alone.

use crds::{MemberRole, MemberStatus};
use e2e::FIGURE;
use e2e::simulated::faults::{Answer, Lie, Schedule, Strikes};
use e2e::simulated::stories::losses;
use e2e::simulated::story::Told;
use e2e::simulated::{Crash, Faults, Story, Summary, When, World, stories};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use smallkube::Record;

/// How many faults are drawn for one story at most.
const STRIKES: u32 = 60;
/// How many rounds more a single fault may cost.
const ROUNDS_MORE: u32 = 8;

fn number(name: &str, otherwise: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.and_then(|it| it.parse().ok()).unwrap_or(otherwise)
}

/// The stories that are told.
fn asked() -> Vec<Story> {
    let only = std::env::var("FAULTS_STORY").ok();
    let mut all = stories();
    all.retain(|it| only.as_ref().is_none_or(|only| only == it.name));
    assert!(!all.is_empty(), "there is no story {only:?}");
    all
}

/// A story, told once with nothing wrong.
struct Plain {
    story: Story,
    beginning: World,
    told: Told,
    faults: Faults,
    /// How often it was written.
    writes: u64,
}

impl Plain {
    async fn tell(story: Story) -> Self {
        let faults = Faults::default();
        let begun = story.begin(None).await;
        let beginning = begun.unwrap_or_else(|why| panic!("{}: {why}", story.name));
        let alive = Crash::never();
        let told = story.go_on(&beginning, &alive, &faults).await;
        let told = told.unwrap_or_else(|why| panic!("{}: {why}", story.name));
        Self {
            story,
            beginning,
            told,
            faults,
            writes: alive.writes().len() as u64,
        }
    }

    /// What the judges say of the story under these faults, some differences forgiven; how many rounds more it took.
    async fn judged(
        &self,
        faults: &Faults,
        forgives: impl Fn(&str) -> bool,
    ) -> Result<u32, String> {
        let alive = Crash::never();
        let told = self.story.go_on(&self.beginning, &alive, faults).await?;
        let mut differences = told.summary.differences(&self.told.summary);
        differences.retain(|it| !forgives(it));
        if !differences.is_empty() {
            return Err(format!("{differences:#?}"));
        }
        Ok(told.rounds.saturating_sub(self.told.rounds))
    }

    /// The same for one fault.
    async fn judged_once(
        &self,
        faults: &Faults,
        forgives: impl Fn(&str) -> bool,
    ) -> Result<u32, String> {
        let more = self.judged(faults, forgives).await?;
        match (faults.struck(), more) {
            (0, _) => Err("it never struck".to_owned()),
            (_, more) if more > ROUNDS_MORE => Err(format!("it took {more} rounds more")),
            (_, more) => Ok(more),
        }
    }
}

/// So many of all plans, drawn by the seed; and how many there are.
fn some<T>(mut all: Vec<T>, usual: usize) -> (Vec<T>, usize) {
    let count = all.len();
    let runs = number("FAULTS", usual as u64) as usize;
    if runs > 0 {
        all.shuffle(&mut SmallRng::seed_from_u64(number("FAULTS_SEED", 1)));
        all.truncate(runs);
    }
    (all, count)
}

/// Whether pods were made or deleted another number of times.
fn is_of_pods(difference: &str) -> bool {
    let begins = |it: &&str| difference.starts_with(it);
    ["create pods ", "delete pods "].iter().any(begins)
}

/// Whether something was made or deleted less often.
fn is_less(difference: &str) -> bool {
    let counts = difference.rsplit_once(": ").map(|it| it.1);
    let counts = counts.and_then(|it| it.split_once(" times instead of "));
    let counts = counts.and_then(|(found, plain)| Some((found.parse().ok()?, plain.parse().ok()?)));
    counts.is_some_and(|(found, plain): (u32, u32)| found < plain)
}

/// One family of faults.
trait Family {
    type Fault: Copy + std::fmt::Debug + 'static;
    const NAME: &'static str;
    const ALL: &'static [Self::Fault];
    /// How often one is drawn: one call in so many.
    const ONE_IN: u32;
    /// How many runs of each story with a single fault, where nothing else is said.
    const RUNS: usize;
    /// How many runs of each story under drawn faults, where nothing else is said.
    const STORMS: u64;

    fn schedule(faults: &mut Faults) -> &mut Schedule<Self::Fault>;

    fn fits(_fault: Self::Fault, _call: &str) -> bool {
        true
    }

    /// Whether one fault, or many of all kinds, may rightly have made this difference.
    fn forgives(_fault: Option<Self::Fault>, _difference: &str) -> bool {
        false
    }

    fn with(strikes: Strikes<Self::Fault>) -> Faults {
        let mut faults = Faults::default();
        *Self::schedule(&mut faults) = Schedule::new(strikes);
        faults
    }
}

struct Answers;

impl Family for Answers {
    type Fault = Answer;
    const NAME: &'static str = "answers of the API server";
    const ALL: &'static [Answer] = &Answer::ALL;
    const ONE_IN: u32 = 12;
    const RUNS: usize = 2;
    const STORMS: u64 = 1;

    fn schedule(faults: &mut Faults) -> &mut Schedule<Answer> {
        &mut faults.answers
    }
}

struct Lies;

impl Family for Lies {
    type Fault = Lie;
    const NAME: &'static str = "lies of members";
    const ALL: &'static [Lie] = &Lie::ALL;
    const ONE_IN: u32 = 10;
    const RUNS: usize = 2;
    const STORMS: u64 = 1;

    fn schedule(faults: &mut Faults) -> &mut Schedule<Lie> {
        &mut faults.lies
    }

    fn fits(lie: Lie, call: &str) -> bool {
        lie.fits(call)
    }

    /// Whom an old list does not know, or no list, starts in vain, and its pod is made again; and a name that was chosen because an
    /// old list does not have the last one yet is used by nobody.
    fn forgives(lie: Option<Lie>, difference: &str) -> bool {
        let skipped = difference.contains(" differs at /status/serial: ");
        let past = matches!(lie, None | Some(Lie::Past | Lie::PastList | Lie::Unlisted));
        past && (is_of_pods(difference) || skipped)
    }
}

/// What was played of a family, and what the judges had to say.
#[derive(Default)]
struct Played {
    single: usize,
    possible: usize,
    most: u32,
    storms: u64,
    struck: u32,
    failed: Vec<String>,
}

impl Played {
    /// Every call of a story with every fault of a family, or so many of them.
    async fn singles<F: Family>(&mut self, plain: &Plain) {
        let calls = F::schedule(&mut plain.faults.clone()).calls();
        let numbered = (1..).zip(&calls);
        let plans = numbered.flat_map(|(n, call)| {
            let fitting = F::ALL.iter().filter(|it| F::fits(**it, call));
            fitting.map(move |fault| (n, *fault, call))
        });
        let (plans, possible) = some(plans.collect(), F::RUNS);
        self.possible += possible;
        for (n, fault, call) in plans {
            self.single += 1;
            let faults = F::with(Strikes::At(n, fault));
            match plain
                .judged_once(&faults, |it| F::forgives(Some(fault), it))
                .await
            {
                Ok(more) => self.most = self.most.max(more),
                Err(why) => self.failed.push(format!(
                    "{}: {fault:?} at call {n} of {}, {call}: {why}",
                    plain.story.name,
                    calls.len()
                )),
            }
        }
    }

    /// A story under faults drawn from seeds. They cost rounds: before what comes after so many, less has come about.
    async fn storms<F: Family>(&mut self, plain: &Plain) {
        let first = number("FAULTS_SEED", 1);
        for seed in first..first + number("FAULTS_STORMS", F::STORMS) {
            self.storms += 1;
            let faults = F::with(Strikes::drawn(seed, F::ONE_IN, F::ALL.to_vec(), STRIKES));
            let hurries = plain.story.waits_for_nobody();
            let forgives = |it: &str| F::forgives(None, it) || (hurries && is_less(it));
            if let Err(why) = plain.judged(&faults, forgives).await {
                let story = plain.story.name;
                self.failed.push(format!("{story}, seed {seed}: {why}"));
            }
            self.struck += faults.struck();
        }
    }
}

fn none_failed(failed: &[String]) {
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

/// Tells every story with faults of a family.
async fn tell_all<F: Family>() {
    let mut played = Played::default();
    for story in asked() {
        let plain = Plain::tell(story).await;
        played.singles::<F>(&plain).await;
        played.storms::<F>(&plain).await;
    }
    none_failed(&played.failed);
    println!(
        "{FIGURE}{}: {} of {} single faults, at most {} rounds more; {} stories under {} drawn ones",
        F::NAME,
        played.single,
        played.possible,
        played.most,
        played.storms,
        played.struck
    );
}

#[tokio::test(start_paused = true)]
async fn any_call_to_the_api_server_is_answered_with_any_error() {
    tell_all::<Answers>().await;
}

#[tokio::test(start_paused = true)]
async fn any_answer_of_a_member_is_a_lie() {
    tell_all::<Lies>().await;
}

/// The operator dies at any write, and around it one answer in three is an old list, or none: the next one, which remembers nothing,
/// begins with what is no longer so.
///
/// So many old lists may have a member that was just let in, and of which nothing has run, go again and another one come: who is in at
/// the end may differ, how many there are, and which of them vote, may not.
#[tokio::test(start_paused = true)]
async fn an_operator_dies_and_old_lists_are_what_the_next_one_hears() {
    const OLD: [Lie; 3] = [Lie::Past, Lie::PastList, Lie::Unlisted];
    let votes = |told: &Told| -> Vec<Vec<bool>> {
        let votes = |it: &Vec<(String, bool)>| {
            let mut votes: Vec<bool> = it.iter().map(|it| it.1).collect();
            votes.sort_unstable();
            votes
        };
        told.summary.memberships.iter().map(votes).collect()
    };
    let (mut played, mut struck, mut failed) = (0, 0, Vec::new());
    let first = number("FAULTS_SEED", 1);
    for story in asked() {
        let plain = Plain::tell(story).await;
        for seed in first..first + number("FAULTS_STORMS", 1) {
            let mut chance = SmallRng::seed_from_u64(seed);
            let at = chance.random_range(1..=plain.writes.max(1));
            let side = [When::Before, When::After][chance.random_range(0..2)];
            let faults = Lies::with(Strikes::drawn(seed, 3, OLD.to_vec(), 12));
            let fate = Crash::at(at, side);
            let told = plain.story.go_on(&plain.beginning, &fate, &faults).await;
            let why = match told {
                Ok(told) if votes(&told) == votes(&plain.told) => None,
                Ok(told) => Some(format!("it ends with {:?}", told.summary.memberships)),
                Err(why) => Some(why),
            };
            let story = plain.story.name;
            failed
                .extend(why.map(|why| format!("{story}, seed {seed}, {side:?} write {at}: {why}")));
            played += usize::from(fate.has_struck());
            struck += faults.struck();
        }
    }
    none_failed(&failed);
    println!("{FIGURE}{played} crashes with {struck} old lists around them");
}

/// The operator dies, the API server fails, members lie, and a volume or a node is lost, all in one story.
#[tokio::test(start_paused = true)]
async fn a_volume_or_a_node_is_lost_while_all_of_it_goes_wrong() {
    let (mut played, mut struck, mut failed) = (0, 0, Vec::new());
    let first = number("FAULTS_SEED", 1);
    for seed in first..first + number("FAULTS_STORMS", 1) {
        let mut chance = SmallRng::seed_from_u64(seed);
        for story in losses(chance.random_range(0..30), chance.random_range(0..5)) {
            let answers = Strikes::drawn(seed, 40, Answer::ALL.to_vec(), 30);
            let lies = Strikes::drawn(seed, 40, Lie::ALL.to_vec(), 30);
            let faults = Faults::new(answers, lies);
            let sides = [When::Before, When::After];
            let side = sides[chance.random_range(0..2)];
            let fate = Crash::at(chance.random_range(1..30), side);
            played += 1;
            if let Err(why) = story.tell_under(None, &fate, &faults).await {
                failed.push(format!("{}, seed {seed}: {why}", story.name));
            }
            struck += faults.struck();
        }
    }
    none_failed(&failed);
    println!(
        "{FIGURE}{played} stories with a lost volume or node and a crash under {struck} drawn faults of every kind"
    );
}

/// A cluster of three that is ready.
async fn three_members(operator: &Crash) -> World {
    let world = World::new().await;
    world
        .create(json!({ "replicas": 3, "storage": { "size": "1Gi" } }))
        .await;
    world.converge(operator).await.expect("it becomes ready");
    world
}

/// etcd has been seen to take its peers for lost, though they are there, until it starts again.
#[tokio::test(start_paused = true)]
async fn a_leader_that_takes_the_others_for_lost_is_passed_over() {
    let alive = Crash::never();
    let world = three_members(&alive).await;
    world.model.leader_believes_itself_alone();
    for replicas in [4, 3] {
        world.change(json!({ "replicas": replicas })).await;
        let converged = world.converge(&alive).await;
        converged.expect("another member is asked");
        let memberships = world.model.memberships();
        assert_eq!(memberships[0].len(), replicas);
    }
    assert_eq!(world.model.violations(), Vec::<String>::new());
}

/// Joins that a learner can hold up: what is asked for of a cluster of three.
#[tokio::test(start_paused = true)]
async fn a_learner_that_never_catches_up_is_waited_for_and_named() {
    for replaces in [false, true] {
        let plain = held_up(replaces, 0).await;
        let held = held_up(replaces, 90).await;
        assert_eq!(
            held.differences(&plain),
            Vec::<String>::new(),
            "replaced: {replaces}"
        );
    }
}

/// A cluster of three that grows or replaces a member, whose learner lacks everything for so many rounds.
async fn held_up(replaces: bool, rounds: u32) -> Summary {
    let alive = Crash::never();
    let world = three_members(&alive).await;
    world.kube.faults().forget_calls();
    if replaces {
        world.replace_member(1).await;
    } else {
        world.change(json!({ "replicas": 4 })).await;
    }
    if rounds > 0 {
        world.model.stall(true);
        let ctx = world.operator(&alive);
        world
            .rounds(&ctx, &alive, rounds)
            .await
            .expect("no plan is unsafe");
        let voters = |world: &World| {
            world.model.memberships()[0]
                .iter()
                .filter(|it| it.1)
                .count()
        };
        assert_eq!(
            voters(&world),
            3 - usize::from(replaces),
            "a voter was lost, or one came too early"
        );
        let status = world
            .cluster()
            .await
            .and_then(|it| it.status)
            .expect("a status");
        let operation = status.operation.expect("it is not done");
        let gate = operation
            .blocked_by
            .first()
            .expect("it says what it waits for");
        let is_learner = |it: &&MemberStatus| it.role == MemberRole::Learner;
        let learner = status.members.iter().find(is_learner);
        let learner = &learner.expect("there is a learner").name;
        assert_eq!(gate.gate, "CaughtUp", "{gate:?}");
        assert!(gate.message.contains(learner), "{gate:?}");
        let begun = world.kube.faults().writes().len();
        let rounds = world.rounds(&ctx, &alive, 30).await;
        rounds.expect("no plan is unsafe");
        let writes = world.kube.faults().writes().split_off(begun);
        let tells = |it: &Record| it.call.client != "operator" || it.call.subresource == "status";
        assert!(
            writes.iter().all(tells),
            "it does more than wait: {writes:#?}"
        );
        world.model.stall(false);
    }
    world.converge(&alive).await.expect("it goes on");
    world.summary().await
}
