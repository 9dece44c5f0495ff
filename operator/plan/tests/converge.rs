//! Under every seed: whatever happens to the cluster, the checker never fires, the model never panics, and once nothing
//! happens any more the planner reaches an empty plan and an unchanging status, and stays there.
//!
//! `QUORATE_SEEDS=10000 cargo test -p plan --test converge` runs more of them; `QUORATE_SEED=7` runs that one.

// Everything here is a test, the model included.
#![allow(clippy::unwrap_used)]

mod model;

use crds::{
    AdmittedPods, Canary, ClientTls, DeletionPolicy, Downgrade, Engine, LabelSelector,
    MaintenanceWindow, MemberPhase, NetworkPolicyMode, NetworkPolicyOptions, OnFailure,
    OperationPhase, PeerTls, Plaintext, RepairCause, RepairMode, RollingUpdate, RunState, Tls,
    TlsDefault, TlsMode, UpdateStrategy, UpdateType,
};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use model::{World, facts};
use plan::{Failure, Outcome, safety};
use rand::Rng;
use serde_json::json;

/// Rounds in which things go wrong.
const WILD: usize = 120;
/// Rounds after which the cluster must have come to rest.
const PATIENCE: usize = 3000;
/// Rounds of rest that count as rest.
const REST: usize = 40;

/// How one round of the operator goes wrong.
#[derive(Clone, Copy, PartialEq)]
enum Mishap {
    None,
    /// The operator dies after this many actions and publishes nothing.
    CrashAfter(usize),
    /// This action fails without effect.
    Refused(usize),
    /// This action takes effect, and its answer is lost.
    LostAnswer(usize),
    /// The status could not be published.
    Unpublished,
}

/// One round of the operator. Returns whether it changed anything.
fn round(world: &mut World, faults: facts::Faults, mishap: Mishap) -> bool {
    let observed = world.observe(faults);
    let plan = plan::plan(&world.cluster, &observed, world.now);
    if let Err(violation) = safety::check(&observed, &plan.actions) {
        panic!(
            "{violation}\nplan: {:#?}\nreport: {:#?}",
            plan.actions, plan.report
        );
    }
    let mut outcome = Outcome::default();
    for (index, action) in plan.actions.iter().enumerate() {
        if mishap == Mishap::CrashAfter(index) {
            return true;
        }
        if outcome.failed.is_some() && action.founds() {
            break;
        }
        let result = match mishap {
            Mishap::Refused(at) if at == index => Err("the server said no".to_owned()),
            Mishap::LostAnswer(at) if at == index => {
                world.act(action).ok();
                Err("the answer was lost".to_owned())
            }
            _ => world.act(action),
        };
        match result {
            Ok(()) => outcome.done.push(action.clone()),
            Err(error) => {
                outcome.failed.get_or_insert(Failure {
                    action: action.to_string(),
                    error,
                });
                if !action.stands_alone() || mishap == Mishap::LostAnswer(index) {
                    break;
                }
            }
        }
    }
    if mishap == Mishap::CrashAfter(plan.actions.len()) || mishap == Mishap::Unpublished {
        return true;
    }
    let status = plan::status(&world.cluster, &plan.report, &outcome);
    // As the API server keeps it: through JSON and back.
    let status = serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
    let changed = world.cluster.status.as_ref() != Some(&status) || !plan.actions.is_empty();
    world.cluster.status = Some(status);
    changed
}

fn mishap(world: &mut World) -> Mishap {
    let at = world.rng.random_range(0..4);
    match world.rng.random_range(0..10) {
        0 => Mishap::CrashAfter(at),
        1 => Mishap::Refused(at),
        2 => Mishap::LostAnswer(at),
        3 => Mishap::Unpublished,
        _ => Mishap::None,
    }
}

/// Something happens that the operator did not ask for.
fn misfortune(world: &mut World) {
    let pods: Vec<String> = world.pods.keys().cloned().collect();
    let members: Vec<String> = world.members.keys().cloned().collect();
    match world.rng.random_range(0..60) {
        0..=3 if !pods.is_empty() => {
            let victim = pods[world.rng.random_range(0..pods.len())].clone();
            world.lose_pod(&victim);
        }
        4 => pods.iter().for_each(|it| world.lose_pod(it)),
        10 => world.expandable = !world.expandable,
        12 => world.db_size = world.rng.random_range(0..4) << 30,
        5 if !members.is_empty() => {
            let victim = &members[world.rng.random_range(0..members.len())];
            world.members.remove(victim);
        }
        6..=8 => edit(world),
        9 => world.lose_volume(),
        11 => world.spoil_certificate(),
        16..=19 => world.cordon(),
        14 | 15 => ask(world),
        13 => world.etcd.fill(),
        20 => world.etcd.corrupt_one(&mut world.rng),
        21 => world.network_policies.clear(),
        _ => {}
    }
}

fn edit(world: &mut World) {
    let (kind, number) = (world.rng.random_range(0..17), world.rng.random_range(1..=5));
    world.edit(|spec| match kind {
        0 => spec.replicas = number,
        14 => spec.learners = number / 2,
        15 => spec.network_policy = network_policy(number),
        1 => spec.image = Some(format!("quorate-node:{number}.0.0")),
        2 => spec.image = Some("quorate-node:bad".to_owned()),
        3 => spec.options.snapshot_count = 1000 * i64::from(number),
        4 => spec.paused = number == 1,
        5 => {
            spec.run_state = if number <= 2 {
                RunState::Hibernated
            } else {
                RunState::Running
            };
        }
        6 | 7 => spec.storage.size = Quantity(format!("{}Gi", 4 + number)),
        10 => spec.storage.auto_grow = grows(number),
        9 => spec.storage.retention_policy = retention(number),
        8 => spec.storage.storage_class_name = Some(format!("class-{}", number % 2)),
        11 => spec.update_strategy = strategy(number),
        12 => spec.maintenance_windows = windows(number),
        13 => {
            let mode = if number <= 3 {
                TlsMode::Operator
            } else {
                TlsMode::Disabled
            };
            spec.tls.get_or_insert_default().peer = Some(peers(mode));
        }
        _ => {
            spec.deletion_policy = if number % 2 == 0 {
                DeletionPolicy::Delete
            } else {
                DeletionPolicy::Retain
            };
        }
    });
}

fn network_policy(number: i32) -> Option<NetworkPolicyOptions> {
    let everywhere = AdmittedPods {
        namespace_selector: Some(LabelSelector::default()),
        pod_selector: None,
    };
    (number > 1).then(|| NetworkPolicyOptions {
        mode: if number == 2 {
            NetworkPolicyMode::Disabled
        } else {
            NetworkPolicyMode::Managed
        },
        client_selectors: vec![everywhere; usize::try_from(number % 2).unwrap()],
        metrics_selectors: Vec::new(),
    })
}

fn peers(mode: TlsMode) -> PeerTls {
    PeerTls {
        mode,
        ..PeerTls::default()
    }
}

/// No window, one that is not open while the test lasts, or one that is.
fn windows(number: i32) -> Vec<MaintenanceWindow> {
    let window = |start_time: &str| MaintenanceWindow {
        days: Vec::new(),
        start_time: start_time.to_owned(),
        duration_seconds: 7200,
        time_zone: "Asia/Kathmandu".to_owned(),
    };
    match number {
        1 | 2 => Vec::new(),
        3 | 4 => vec![window("04:00")],
        _ => vec![window("04:00"), window("16:45")],
    }
}

/// One of the update strategies, impatient ones among them.
fn strategy(number: i32) -> UpdateStrategy {
    UpdateStrategy {
        kind: match number {
            1 => UpdateType::OnDelete,
            5 => UpdateType::Surge,
            _ => UpdateType::RollingUpdate,
        },
        progress_deadline_seconds: 10,
        on_failure: match number {
            1 => None,
            2 => Some(OnFailure::Pause),
            _ => Some(OnFailure::Rollback),
        },
        rolling_update: (number > 3).then_some(RollingUpdate {
            canary: Some(Canary {
                count: number - 3,
                soak_seconds: 5,
            }),
        }),
        ..UpdateStrategy::default()
    }
}

/// Some way to grow by itself.
fn grows(number: i32) -> Option<crds::AutoGrow> {
    let auto = |increment: &str, cooldown_seconds| crds::AutoGrow {
        threshold_percent: 70,
        increment: increment.to_owned(),
        max_size: Quantity("9Gi".to_owned()),
        cooldown_seconds,
    };
    match number {
        1 => Some(auto("1Gi", 0)),
        2 => Some(auto("50%", 5)),
        3 => Some(auto("1Gi", 3600)),
        _ => None,
    }
}

/// Some way to treat volumes by why their members left.
fn retention(number: i32) -> Option<crds::RetentionPolicy> {
    let (delete, retain) = (Some(DeletionPolicy::Delete), Some(DeletionPolicy::Retain));
    let (when_scaled, when_replaced, ttl) = match number {
        1 => (delete, retain, None),
        2 => (retain, delete, None),
        3 => (delete, retain, Some(3)),
        4 => (retain, retain, Some(60)),
        _ => return None,
    };
    let scaled_ttl = (when_scaled == retain).then_some(5);
    Some(crds::RetentionPolicy {
        when_deleted: None,
        when_scaled,
        when_replaced,
        replaced_ttl_seconds: ttl,
        scaled_ttl_seconds: scaled_ttl,
    })
}

/// The user asks for something to be done once.
fn ask(world: &mut World) {
    let members: Vec<String> = world.members.keys().cloned().collect();
    let Some(first) = members.first() else { return };
    let asked = match world.rng.random_range(0..8) {
        0 => json!({"restart": {}}),
        5 => json!({"replaceMember": {"member": first}}),
        1 => json!({"restart": {"members": [first]}}),
        2 => json!({"transferLeader": {"to": first}}),
        3 => json!({"defragment": {}}),
        4 => json!({"compact": {}}),
        6 => json!({"fence": {"member": first}}),
        _ => json!({"compact": {}, "dryRun": true}),
    };
    let mut spec = asked;
    spec["clusterName"] = json!("kv");
    spec["ttlSecondsAfterFinished"] = json!(10);
    world.ask(spec);
}

/// The user does what the status tells him: a cluster of which a volume is all that is left, because its first member was
/// deleted before it was born, begins without it; and, unless the operator does it, a member whose volume is gone, or whose
/// data differ, is replaced by deleting its `RaftMember`. Where a member has no space left, he deletes keys; where one is to lead whose node is cordoned,
/// he uncordons it; and where nobody else can tell whose data are right, or the others cannot do without the one that is accused, he
/// has it make its store anew and takes the alarm back. Whom he keeps stopped he lets start again.
fn heed(world: &mut World) {
    world.operations.retain(|_, it| it.spec.fence.is_none());
    if !world.etcd.alarms.is_empty() {
        world.db_size = 0;
    }
    let waits = |gate: &str| {
        let operation = world.cluster.status.iter().flat_map(|it| &it.operation);
        let mut gates = operation.flat_map(|it| &it.blocked_by);
        gates.any(|it| it.gate == gate)
    };
    if waits("Heir") {
        world.cordoned.clear();
    }
    if waits("SoundMajority") || waits("Quorum") {
        world.etcd.corrupt.clear();
    }
    if waits("Status") && world.members.is_empty() && world.pods.is_empty() {
        world.claims.clear();
        world.etcd = model::etcd::Etcd::default();
    }
    if world.cluster.spec.repair_policy.mode == RepairMode::Automatic {
        return;
    }
    if world.cluster.spec.repair_policy.mode == RepairMode::Disabled {
        world.etcd.corrupt.clear();
    }
    let status = world.cluster.status.as_ref();
    let members = status.iter().flat_map(|it| &it.members);
    let lost = members.filter(|it| it.phase == MemberPhase::VolumeLost);
    let suspects = status
        .iter()
        .flat_map(|it| &it.repair)
        .flat_map(|it| &it.suspects);
    let accused = suspects.filter(|it| it.cause == RepairCause::Corrupt);
    let lost = lost.map(|it| &it.name).chain(accused.map(|it| &it.member));
    let lost: Vec<String> = lost.cloned().collect();
    lost.iter().for_each(|it| {
        world.members.remove(it);
    });
}

/// Lets the world run without faults until nothing changes for [`REST`] rounds.
fn come_to_rest(world: &mut World, seed: u64) {
    let mut rest = 0;
    for _ in 0..PATIENCE {
        world.tick();
        heed(world);
        rest = if round(world, facts::NONE, Mishap::None) {
            0
        } else {
            rest + 1
        };
        if rest == REST {
            return;
        }
    }
    panic!(
        "seed {seed}: no rest after {PATIENCE} rounds: {:#?}",
        world.cluster.status
    );
}

/// There is one exactly where the spec asks for it, and it says what the spec does.
fn examine_network_policy(world: &World, seed: u64) {
    let options = world
        .cluster
        .spec
        .network_policy
        .clone()
        .unwrap_or_default();
    let managed = options.mode == NetworkPolicyMode::Managed;
    let found: Vec<_> = world.network_policies.values().collect();
    assert_eq!(found.len(), usize::from(managed), "seed {seed}: policies");
    let status = world.cluster.status.as_ref().unwrap();
    assert_eq!(status.network_policy.is_some(), managed, "seed {seed}");
    let opens = !options.client_selectors.is_empty();
    for policy in found {
        let said = serde_json::to_string(policy).unwrap();
        let is_open = said.contains(r#""namespaceSelector":{}"#);
        assert_eq!(is_open, opens, "seed {seed}: {said}");
    }
}

/// What must be true of a cluster at rest.
fn examine(world: &World, seed: u64) {
    let status = world.cluster.status.as_ref().unwrap();
    let wanted = usize::try_from(world.cluster.spec.replicas).unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|it| it.type_ == "Ready")
        .unwrap();
    assert_eq!(ready.status, "True", "seed {seed}: {status:#?}");
    assert_eq!(world.etcd.voters(), wanted, "seed {seed}: voters");
    let learners = usize::try_from(world.cluster.spec.learners).unwrap();
    let wanted = wanted + learners;
    assert_eq!(world.etcd.list.len(), wanted, "seed {seed}: membership");
    assert_eq!(world.members.len(), wanted, "seed {seed}: identities");
    assert_eq!(world.pods.len(), wanted, "seed {seed}: pods");
    let made = world.members.values().filter(|it| it.spec.learner).count();
    assert_eq!(made, learners, "seed {seed}: learners");
    assert!(world.etcd.alarms.is_empty(), "seed {seed}: alarms");
    assert!(world.etcd.corrupt.is_empty(), "seed {seed}: CORRUPT");
    assert_eq!(world.operations.len(), 0, "seed {seed}: operations");
    examine_network_policy(world, seed);
    let mut calm = world.on_good_nodes();
    calm.retain(|it| !world.members[*it].spec.learner);
    assert!(
        calm.is_empty() || calm.iter().any(|it| world.etcd.leads(it)),
        "seed {seed}: the leader is on a cordoned node, and {calm:?} are not"
    );
    examine_peers(world, seed);
    examine_pods(world, seed);
    let by_reason = world.cluster.spec.storage.retention_policy.is_some();
    if world.cluster.spec.deletion_policy == DeletionPolicy::Delete && !by_reason {
        assert_eq!(world.claims.len(), wanted, "seed {seed}: claims");
    }
    for name in world.members.keys() {
        let claim = &world.claims[&format!("data-{name}")];
        let storage = &world.cluster.spec.storage;
        let held = model::capacity(claim);
        let grown = world.cluster.status.as_ref().unwrap().storage.as_ref();
        let wanted = grown.map_or(&storage.size.0, |it| &it.size);
        let size = |it: &str| model::bytes(it);
        assert_eq!(size(&held), size(wanted), "seed {seed}: size of {name}");
        assert!(
            size(wanted) <= size(&storage.size.0).max(9 << 30),
            "seed {seed}: {name} has grown too far"
        );
        let class = claim.spec.as_ref().unwrap().storage_class_name.clone();
        let right = storage.storage_class_name.is_none() || class == storage.storage_class_name;
        assert!(right, "seed {seed}: class of {name} is {class:?}");
    }
    for claim in world.claims.values() {
        let owned = claim
            .metadata
            .owner_references
            .as_ref()
            .is_some_and(|it| !it.is_empty());
        let member = claim
            .metadata
            .name
            .as_ref()
            .unwrap()
            .trim_start_matches("data-");
        let delete = world.cluster.spec.deletion_policy == DeletionPolicy::Delete
            && world.members.contains_key(member);
        assert_eq!(
            owned, delete,
            "seed {seed}: owner of {:?}",
            claim.metadata.name
        );
    }
}

/// Pods are of the image that the spec names, and bear the label of what their members are.
fn examine_pods(world: &World, seed: u64) {
    for pod in world.pods.values() {
        let image = pod.spec.as_ref().unwrap().containers[0].image.clone();
        assert_eq!(image, world.cluster.spec.image, "seed {seed}: image");
        let role = &pod.metadata.labels.as_ref().unwrap()["quorate.io/role"];
        let learner = world.members[pod.metadata.name.as_ref().unwrap()]
            .spec
            .learner;
        let right = if learner { "learner" } else { "voter" };
        assert_eq!(role, right, "seed {seed}: role label");
    }
}

/// Members listen for each other as the spec has it, and look for each other there.
fn examine_peers(world: &World, seed: u64) {
    let tls = world.cluster.spec.tls.as_ref();
    let mode = tls.and_then(|it| Some(it.peer.as_ref()?.mode));
    let status = world.cluster.status.as_ref().unwrap();
    assert_eq!(status.tls_default, Some(TlsDefault::Operator));
    let secured = mode.unwrap_or(TlsMode::Operator) != TlsMode::Disabled;
    let listeners = &status.peer_listeners;
    assert_eq!(listeners.len(), 1, "seed {seed}: peers still move");
    assert_eq!(
        listeners[0].tls().is_some(),
        secured,
        "seed {seed}: {listeners:?}"
    );
    for listed in &world.etcd.list {
        let url = &listed.peer_urls[0];
        let right = url.starts_with(if secured { "https:" } else { "http:" });
        assert!(right, "seed {seed}: peers look for {url}");
    }
}

/// TLS on both surfaces, with CAs that the operator makes.
fn own_certificates() -> Tls {
    serde_json::from_value(
        serde_json::json!({"peer": {"mode": "Operator"}, "client": {"mode": "Operator"}}),
    )
    .unwrap()
}

fn live(seed: u64) -> World {
    let mut world = World::new(seed, 3);
    world.cluster.spec.replicas = world.rng.random_range(1..=5);
    match seed % 3 {
        0 => {}
        1 => world.cluster.spec.tls = None,
        _ => world.cluster.spec.tls = Some(own_certificates()),
    }
    if world.rng.random_bool(0.3) {
        world.cluster.spec.repair_policy.mode = RepairMode::Recommend;
    }
    let faults = facts::Faults {
        silent: 0.05,
        stale: 0.02,
    };
    for _ in 0..WILD {
        world.tick();
        misfortune(&mut world);
        let mishap = mishap(&mut world);
        round(&mut world, faults, mishap);
    }
    world.edit(|spec| {
        spec.image = Some("quorate-node:9.0.0".to_owned());
        spec.update_strategy = UpdateStrategy::default();
        spec.maintenance_windows = Vec::new();
        spec.paused = false;
        spec.run_state = RunState::Running;
    });
    come_to_rest(&mut world, seed);
    examine(&world, seed);
    world
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|it| it.parse::<u64>().ok())
    };
    match number("QUORATE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("QUORATE_SEEDS").unwrap_or(150)).collect(),
    }
}

#[test]
fn every_seed_comes_to_rest_and_no_plan_is_unsafe() {
    let mut deeds: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for seed in seeds() {
        match std::panic::catch_unwind(|| live(seed)) {
            Ok(world) => world
                .deeds
                .into_iter()
                .for_each(|(deed, count)| *deeds.entry(deed).or_default() += count),
            Err(cause) => {
                eprintln!("failing seed: QUORATE_SEED={seed}");
                std::panic::resume_unwind(cause);
            }
        }
    }
    let rare: Vec<_> = DEEDS
        .iter()
        .filter(|it| deeds.get(**it).is_none_or(|count| *count < 10))
        .collect();
    assert!(
        seeds().len() < 100 || rare.is_empty(),
        "hardly ever done: {rare:?} of {deeds:?}"
    );
}

/// The first word or two of every action: each must have been tried, or the seeds prove less than they seem to.
const DEEDS: [&str; 22] = [
    "issue certificates",
    "apply service",
    "apply disruption",
    "create member",
    "create claim",
    "create pod",
    "label pod",
    "make",
    "grow",
    "mark",
    "delete pod",
    "delete member",
    "delete claim",
    "add",
    "promote",
    "remove",
    "hand",
    "tell",
    "defragment",
    "compact",
    "disarm",
    "delete operation",
];

#[test]
fn a_quiet_creation_takes_few_rounds() {
    let mut world = World::new(1, 3);
    let mut rounds = 0;
    while world
        .cluster
        .status
        .as_ref()
        .is_none_or(|it| it.ready_replicas < 3)
    {
        world.tick();
        round(&mut world, facts::NONE, Mishap::None);
        rounds += 1;
        assert!(rounds < 150, "{:#?}", world.cluster.status);
    }
    let quantity = Quantity("4Gi".to_owned());
    assert_eq!(world.cluster.spec.storage.size, quantity);
}

/// Certificates are made anew under the CA that all believe in, long before they end, and no member restarts for it.
#[test]
fn certificates_are_renewed_in_time_and_nothing_restarts() {
    let mut world = World::new(3, 3);
    world.cluster.spec.tls = Some(own_certificates());
    come_to_rest(&mut world, 3);
    let (before, authorities) = (pods(&world), authorities(&world));
    let writes = world.writes;
    world.now += SignedDuration::from_hours(24 * 240);
    come_to_rest(&mut world, 3);
    assert_eq!(
        world.writes, writes,
        "nothing is due in the first two thirds of their time"
    );
    world.now += SignedDuration::from_hours(24 * 10);
    come_to_rest(&mut world, 3);
    assert_eq!(world.writes, writes + 3, "one write for each Secret");
    assert_eq!(
        (pods(&world), self::authorities(&world)),
        (before, authorities)
    );
    let due = world.now + SignedDuration::from_hours(24 * 300);
    assert!(world.keyrings.values().all(|it| it.ends["tls"] > due));
}

fn authorities(world: &World) -> Vec<Option<String>> {
    world
        .keyrings
        .values()
        .map(|it| it.authority.clone())
        .collect()
}

/// A cluster of this engine with TLS on both surfaces, at rest.
fn secured(engine: Engine, seed: u64) -> World {
    let mut world = World::new(seed, 3);
    if engine == Engine::Etcd {
        world.cluster.spec.engine = engine;
        world.cluster.spec.image = Some("etcd:v3.7.1".to_owned());
        world.version = "3.7.1".to_owned();
    }
    world.cluster.spec.tls = Some(own_certificates());
    come_to_rest(&mut world, seed);
    world
}

fn roots(world: &World) -> Vec<Vec<String>> {
    world.keyrings.values().map(|it| it.roots.clone()).collect()
}

/// CAs are replaced on demand, while everybody believes everybody (the model looks all the time), with crashes at any write:
/// members of quorate-node go on, those of etcd restart one by one.
#[test]
fn authorities_are_replaced_under_members_that_believe_each_other() {
    for (engine, seed) in [Engine::Quorate, Engine::Etcd]
        .into_iter()
        .flat_map(|it| (0..12).map(move |seed| (it, seed)))
    {
        let mut world = secured(engine, seed);
        let (old, pods) = (roots(&world), pods(&world));
        let asked = world.ask(json!({"clusterName": "kv", "rotateCertificates":
            {"certificateAuthority": true, "overlapSeconds": 20}}));
        for _ in 0..200 {
            world.tick();
            let mishap = mishap(&mut world);
            round(&mut world, facts::NONE, mishap);
        }
        come_to_rest(&mut world, seed);
        let status = world.operations[&asked].status.clone().unwrap();
        assert_eq!(status.phase, OperationPhase::Succeeded, "{status:#?}");
        let new = roots(&world);
        let replaced = |(old, new): (&Vec<String>, &Vec<String>)| new.len() == 1 && old != new;
        assert!(old.iter().zip(&new).all(replaced), "{old:?} {new:?}");
        let kept = self::pods(&world) == pods;
        assert_eq!(
            kept,
            engine == Engine::Quorate,
            "{engine:?}: pods are the same: {kept}"
        );
        let status = world.cluster.status.clone().unwrap().certificates.unwrap();
        assert_eq!(status.rotations, [], "seed {seed}");
        world.operations.clear();
        examine(&world, seed);
    }
}

/// A CA that ends within a year is replaced by itself, with a month for applications after each step, in which the cluster is
/// Ready and nothing is written; between members nobody needs the month.
#[test]
fn an_authority_is_replaced_before_it_ends() {
    let mut world = secured(Engine::Quorate, 8);
    let (old, pods) = (roots(&world), pods(&world));
    world.now += SignedDuration::from_hours(24 * (3_650 - 366));
    come_to_rest(&mut world, 8);
    assert_eq!(roots(&world), old, "there is time yet");
    world.now += SignedDuration::from_hours(48);
    come_to_rest(&mut world, 8);
    let peer = |world: &World| world.keyrings["kv-peer-tls"].roots.clone();
    let client = |world: &World| world.keyrings["kv-client-tls"].roots.clone();
    assert_ne!(peer(&world), old[1]);
    assert_eq!(client(&world).len(), 2, "{:?}", roots(&world));
    let status = world.cluster.status.clone().unwrap();
    assert!(
        status
            .notices
            .iter()
            .any(|it| it.contains("is being replaced: until")),
        "{:?}",
        status.notices
    );
    assert!(status.operation.is_none());
    let before = client(&world);
    for _ in 0..2 {
        world.now += SignedDuration::from_hours(24 * 29);
        let writes = world.writes;
        come_to_rest(&mut world, 8);
        assert_eq!(world.writes, writes);
        world.now += SignedDuration::from_hours(48);
        come_to_rest(&mut world, 8);
    }
    assert_eq!(client(&world), before[1..], "the new one alone");
    let first = world
        .cluster
        .status
        .clone()
        .unwrap()
        .certificates
        .unwrap()
        .first_expiry
        .unwrap();
    assert!(
        first.0 < world.now + SignedDuration::from_hours(24 * 366),
        "a certificate ends first: {first:?}"
    );
    assert_eq!(self::pods(&world), pods);
}

/// A status that is lost in the middle of it, or a spec that takes TLS away, leaves nothing half-done.
#[test]
fn a_rotation_is_brought_to_its_end_without_the_status() {
    let mut world = secured(Engine::Quorate, 9);
    world.ask(json!({"clusterName": "kv", "rotateCertificates":
        {"certificateAuthority": true, "surfaces": ["Peer"], "overlapSeconds": 0}}));
    for rounds in [1, 9, 14, 25] {
        (0..rounds).for_each(|_| steady_round(&mut world, "a rotation"));
        if let Some(status) = world.cluster.status.as_mut() {
            status.certificates = None;
        }
    }
    come_to_rest(&mut world, 9);
    assert!(
        roots(&world).iter().all(|it| it.len() == 1),
        "{:?}",
        roots(&world)
    );
    assert!(!world.keyrings["kv-peer-tls"].has("next-ca.key"));
}

/// New certificates under the CA there is, on demand.
#[test]
fn certificates_are_renewed_on_demand() {
    let mut world = secured(Engine::Etcd, 10);
    let (old, pods) = (roots(&world), pods(&world));
    let before = world.keyrings.clone();
    let asked = world.ask(json!({"clusterName": "kv", "rotateCertificates": {}}));
    come_to_rest(&mut world, 10);
    let status = world.operations[&asked].status.clone().unwrap();
    assert_eq!(status.phase, OperationPhase::Succeeded, "{status:#?}");
    for (name, keyring) in &world.keyrings {
        assert_ne!(
            keyring.fingerprints["tls"], before[name].fingerprints["tls"],
            "{name}"
        );
    }
    assert_eq!((roots(&world), self::pods(&world)), (old, pods));
}

fn pods(world: &World) -> Vec<Option<String>> {
    let pods = world.pods.values();
    pods.map(|it| it.metadata.uid.clone()).collect()
}

/// From plaintext to TLS and back, with plaintext beside it on the way: never without a majority, and the CA stays.
#[test]
fn clients_move_to_tls_and_back_without_an_outage() {
    let mut world = World::new(5, 3);
    settle_steadily(&mut world, "plaintext");
    let client = |plaintext| {
        let client = serde_json::json!({"mode": "Operator", "plaintext": plaintext});
        serde_json::from_value(client).unwrap()
    };
    let ways = [
        client("Allowed"),
        client("Refused"),
        client("Allowed"),
        ClientTls::default(),
    ];
    let urls = ["http,https", "https", "http,https", "http"];
    for (client, schemes) in ways.into_iter().zip(urls) {
        world.edit(|spec| spec.tls.as_mut().unwrap().client = Some(client));
        settle_steadily(&mut world, schemes);
        let urls = schemes
            .split(',')
            .map(|it| format!("{it}://$(POD_IP):2379"))
            .collect::<Vec<_>>();
        let flag = format!("--listen-client-urls={}", urls.join(","));
        for pod in world.pods.values() {
            let args = pod.spec.as_ref().unwrap().containers[0]
                .args
                .as_ref()
                .unwrap();
            assert!(args.contains(&flag), "{schemes}: {args:?}");
        }
    }
    assert_eq!(world.deeds["issue certificates"], 2);
}

/// Peers, too, and half-way back, while the spec changes its mind at every place: where members meet is judged all the time.
#[test]
fn peers_move_to_tls_and_back_without_an_outage() {
    for (seed, engine) in [(7, Engine::Quorate), (8, Engine::Etcd)] {
        let mut world = World::new(seed, 3);
        world.cluster.spec.engine = engine;
        if engine == Engine::Etcd {
            world.edit(|spec| spec.image = Some("etcd:3.6.5".to_owned()));
            "3.6.5".clone_into(&mut world.version);
        }
        settle_steadily(&mut world, "plaintext");
        for rounds in (0..120).step_by(5) {
            for mode in [TlsMode::Operator, TlsMode::Disabled] {
                world.edit(|spec| spec.tls.as_mut().unwrap().peer = Some(peers(mode)));
                (0..rounds).for_each(|_| steady_round(&mut world, "half-way"));
            }
        }
        for (mode, way) in [
            (TlsMode::Operator, "https://$(POD_IP):2382"),
            (TlsMode::Disabled, "http://$(POD_IP):2380"),
        ] {
            world.edit(|spec| spec.tls.as_mut().unwrap().peer = Some(peers(mode)));
            settle_steadily(&mut world, way);
            let flag = format!("--listen-peer-urls={way}");
            for pod in world.pods.values() {
                let args = pod.spec.as_ref().unwrap().containers[0].args.as_ref();
                assert!(args.unwrap().contains(&flag), "{way}: {args:?}");
            }
            examine(&world, seed);
        }
    }
}

/// Whoever drops TLS before the members have restarted with plaintext beside it is told so, and is back by the way out.
#[test]
fn dropping_tls_too_soon_changes_nothing() {
    let mut world = World::new(6, 3);
    world.cluster.spec.tls = Some(own_certificates());
    settle_steadily(&mut world, "TLS");
    let writes = world.writes;
    let peer = Tls {
        client: Some(ClientTls::default()),
        ..own_certificates()
    };
    world.edit(|spec| spec.tls = Some(peer.clone()));
    (0..50).for_each(|_| steady_round(&mut world, "TLS dropped too soon"));
    assert_eq!(world.writes, writes);
    let status = world.cluster.status.clone().unwrap();
    let ready = status
        .conditions
        .iter()
        .find(|it| it.type_ == "Ready")
        .unwrap();
    assert!(
        ready.message.contains("with plaintext Allowed"),
        "{}",
        ready.message
    );
    let mut both = own_certificates();
    both.client.as_mut().unwrap().plaintext = Plaintext::Allowed;
    for tls in [both, peer] {
        world.edit(|spec| spec.tls = Some(tls));
        settle_steadily(&mut world, "the way out");
    }
    examine(&world, 6);
}

/// A CA that is lost is said to be, not made anew under members that believe in the old one.
#[test]
fn a_lost_authority_is_made_anew_only_when_no_member_runs() {
    let mut world = World::new(4, 3);
    world.cluster.spec.tls = Some(own_certificates());
    come_to_rest(&mut world, 4);
    let lost = world.keyrings.remove("kv-peer-tls").unwrap();
    (0..100).for_each(|_| steady_round(&mut world, "a lost CA"));
    assert!(!world.keyrings.contains_key("kv-peer-tls"));
    let status = world.cluster.status.clone().unwrap();
    let blocked = status.operation.unwrap().blocked_by;
    assert_eq!(blocked[0].gate, "Certificates");
    assert!(
        blocked[0]
            .message
            .contains("delete all pods of the cluster"),
        "{blocked:?}"
    );
    let names: Vec<String> = world.pods.keys().cloned().collect();
    for name in names {
        world.etcd.stop(&name);
        world.pods.remove(&name);
    }
    come_to_rest(&mut world, 4);
    examine(&world, 4);
    assert_ne!(world.keyrings["kv-peer-tls"].authority, lost.authority);
}

#[test]
fn a_converged_cluster_writes_nothing() {
    let mut world = World::new(2, 3);
    come_to_rest(&mut world, 2);
    let (writes, status) = (world.writes, world.cluster.status.clone());
    for _ in 0..100 {
        world.tick();
        round(&mut world, facts::NONE, Mishap::None);
    }
    assert_eq!(world.writes, writes);
    assert_eq!(world.cluster.status, status);
}

/// One quiet round in which a majority, once there was one, must not be lost.
fn steady_round(world: &mut World, doing: &str) {
    let quorate = world.etcd.quorate();
    world.tick();
    round(world, facts::NONE, Mishap::None);
    assert!(
        !quorate || world.etcd.quorate(),
        "{doing} cost the majority"
    );
}

/// Quiet rounds until the status speaks of the spec as it is now, and says `Ready`.
fn settle_steadily(world: &mut World, doing: &str) {
    for _ in 0..PATIENCE {
        steady_round(world, doing);
        let status = world.cluster.status.as_ref().unwrap();
        let ready = status
            .conditions
            .iter()
            .any(|it| it.type_ == "Ready" && it.status == "True");
        if ready && status.observed_generation == world.cluster.metadata.generation {
            return;
        }
    }
    panic!("{doing}: no rest: {:#?}", world.cluster.status);
}

#[test]
fn scaling_and_rolling_never_cost_the_majority() {
    for seed in 0..10 {
        let mut world = World::new(seed, 1);
        for replicas in [1, 3, 5, 3, 1] {
            world.edit(|spec| spec.replicas = replicas);
            settle_steadily(&mut world, &format!("seed {seed}: going to {replicas}"));
            examine(&world, seed);
            if replicas == 1 {
                continue;
            }
            world.edit(|spec| {
                spec.image = Some(format!("quorate-node:{replicas}.0.0"));
                spec.update_strategy.version_policy.downgrade = Downgrade::Allow;
            });
            settle_steadily(&mut world, &format!("seed {seed}: rolling {replicas}"));
            examine(&world, seed);
        }
    }
}

#[test]
fn a_bad_spec_and_its_revert_heal_at_every_step_of_creation() {
    for step in 0..60 {
        let mut world = World::new(step, 3);
        let good = world.cluster.spec.image.clone();
        let rounds = usize::try_from(step).unwrap();
        let doing = format!("a bad spec at step {step}");
        (0..rounds).for_each(|_| steady_round(&mut world, &doing));
        world.edit(|spec| spec.image = Some("quorate-node:bad".to_owned()));
        (0..30).for_each(|_| steady_round(&mut world, &doing));
        world.edit(|spec| spec.image = good);
        settle_steadily(&mut world, &doing);
        examine(&world, step);
    }
}

/// What must be true of a cluster that was put to sleep while it had `before`.
fn examine_sleep(world: &World, step: u64) {
    let status = world.cluster.status.as_ref().unwrap();
    let said = |kind: &str| {
        let mut all = status.conditions.iter();
        let found = all.find(|it| it.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone())
    };
    let as_is = |truth: &str, reason: &str| (truth.to_owned(), reason.to_owned());
    assert!(world.pods.is_empty(), "step {step}: a pod runs");
    assert_eq!(said("Ready"), as_is("True", "Hibernated"), "step {step}");
    assert_eq!(
        said("Progressing"),
        as_is("False", "Hibernated"),
        "step {step}"
    );
    assert_eq!(said("Degraded").0, "False", "step {step}: {status:#?}");
    assert_eq!(said("Available").0, "False", "step {step}");
    assert_eq!(status.operation, None, "step {step}");
    let as_slept = |it: &crds::MemberStatus| it.phase == MemberPhase::Hibernated;
    assert!(
        status.members.iter().all(as_slept),
        "step {step}: {status:#?}"
    );
}

#[test]
fn a_cluster_sleeps_and_wakes_at_every_step_of_its_creation_with_all_its_data() {
    for step in 0..60 {
        let mut world = World::new(step, 3);
        for _ in 0..step {
            steady_round(&mut world, "creation");
        }
        world.edit(|spec| spec.run_state = RunState::Hibernated);
        come_to_rest(&mut world, step);
        examine_sleep(&world, step);
        let (writes, volumes) = (world.writes, world.claims.clone());
        let commit = world.etcd.commit;
        for _ in 0..20 {
            world.tick();
            round(&mut world, facts::NONE, Mishap::None);
        }
        assert_eq!(world.writes, writes, "step {step}: a write in its sleep");
        world.edit(|spec| spec.run_state = RunState::Running);
        come_to_rest(&mut world, step);
        examine(&world, step);
        // It may have been bound, and named its class or size, meanwhile.
        let uid = |claim: &PersistentVolumeClaim| claim.metadata.uid.clone();
        let kept =
            |(name, claim): (&String, &_)| world.claims.get(name).map(uid) == Some(uid(claim));
        assert!(volumes.iter().all(kept), "step {step}: a volume changed");
        assert!(
            world.etcd.commit >= commit,
            "step {step}: entries were lost"
        );
    }
}
