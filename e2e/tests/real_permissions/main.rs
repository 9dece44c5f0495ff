//! The operator works with exactly the rights of its table (`quorate_operator::permissions`), on a real API server with
//! RBAC, cluster-wide and in one namespace; and whichever right is taken away, the operator names the verb and the resource.
//!
//! A right that is needed at once is missing from the start; one that is needed later is taken away in the middle of a
//! cluster's life, and given back. Members and kubelets are simulated: what counts here are the operator's calls.

mod log;
mod right;
mod scene;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::control_plane::ControlPlane;
use e2e::simulated::Model;
use e2e::simulated::kubelet::{Kubelet, Processes};
use e2e::{FIGURE, wait};
use futures::{StreamExt, TryStreamExt, stream};
use kube::Client;
use serde_json::json;
use tokio::task::AbortHandle;

use log::Log;
use right::{Right, Told};
use scene::{Mode, Scene};

/// A round follows on a failed one after seconds, and machines can be slow.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often the simulated kubelets look around.
const KUBELETS_STEP: Duration = Duration::from_millis(200);
/// How many operators run at once, each in a namespace of its own.
const AT_ONCE: usize = 3;

/// What happens in the middle of a cluster's life, and which right the operator needs then.
const ACTS: [(&str, &str, Act); 14] = [
    ("secrets", "patch", Act::SpoilCertificate),
    ("networkpolicies", "delete", Act::OpenNetwork),
    ("raftoperations", "get", Act::Ask("one")),
    ("raftoperations/status", "update", Act::Ask("two")),
    ("raftoperations", "delete", Act::Ask("three")),
    ("raftusers", "get", Act::DeclareUser("one")),
    ("raftusers/status", "update", Act::DeclareUser("two")),
    ("raftroles", "get", Act::DeclareRole("one")),
    ("raftroles/status", "update", Act::DeclareRole("two")),
    ("pods", "patch", Act::Scale(3)),
    ("persistentvolumeclaims", "patch", Act::DeleteVolumes),
    ("pods", "delete", Act::FailPod),
    ("raftmembers", "delete", Act::Scale(2)),
    ("persistentvolumeclaims", "delete", Act::Scale(1)),
];

/// What happens.
#[derive(Clone, Copy)]
enum Act {
    /// The user wants another number of members.
    Scale(i32),
    /// The user wants the volumes to go with the cluster.
    DeleteVolumes,
    /// A kubelet ends a pod for good.
    FailPod,
    /// The user wants no NetworkPolicy any more.
    OpenNetwork,
    /// Somebody takes a certificate out of its Secret.
    SpoilCertificate,
    /// The user asks for something to be done once, and its answer to go at once.
    Ask(&'static str),
    /// The user declares a user of the cluster.
    DeclareUser(&'static str),
    /// The user declares a role in the cluster.
    DeclareRole(&'static str),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_right_is_enough_with_the_others_and_is_named_when_it_is_missing() -> Result<()> {
    let plane = Arc::new(ControlPlane::start().await?);
    scene::define(&plane.client().await?).await?;
    let late = |right: &Right| {
        ACTS.iter()
            .any(|(resource, verb, _)| right.is(resource, verb))
    };
    let early: Vec<Right> = Right::all().into_iter().filter(|it| !late(it)).collect();
    for mode in [Mode::Everywhere, Mode::OneNamespace] {
        play(&plane, move |plane, log| Box::pin(life(plane, log, mode))).await?;
        // An operator that sees all namespaces would look after the others' clusters too.
        let at_once = if mode == Mode::Everywhere { 1 } else { AT_ONCE };
        let plays = early.iter().map(|right| {
            let right = *right;
            play(&plane, move |plane, log| {
                Box::pin(beginning(plane, log, mode, right))
            })
        });
        stream::iter(plays)
            .buffer_unordered(at_once)
            .try_collect::<Vec<()>>()
            .await?;
    }
    println!(
        "{FIGURE}{} rights, each taken away cluster-wide and in one namespace, are named",
        Right::all().len()
    );
    Arc::into_inner(plane)
        .context("all plays are over")?
        .stop()
        .await
}

/// Runs one play on a thread of its own, so that the log is that of its operator alone.
async fn play(
    plane: &Arc<ControlPlane>,
    play: impl FnOnce(Arc<ControlPlane>, Log) -> futures::future::LocalBoxFuture<'static, Result<()>>
    + Send
    + 'static,
) -> Result<()> {
    let plane = Arc::clone(plane);
    let thread = tokio::task::spawn_blocking(move || {
        let log = Log::default();
        let _kept = log.keep();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let played = runtime.block_on(play(plane, log.clone()));
        played.with_context(|| format!("the operator said:\n{}", log.end()))
    });
    thread.await?
}

/// An operator that lacks the right from the start says so.
async fn beginning(plane: Arc<ControlPlane>, log: Log, mode: Mode, right: Right) -> Result<()> {
    let scene = Scene::set(&plane, mode).await?;
    scene.grant(Some(right)).await?;
    scene.create(scene::guarded(1)).await?;
    scene.start_operator(&plane, &Model::default()).await?;
    named(&scene, &log, right)
        .await
        .with_context(|| format!("{mode:?} without {right}"))?;
    scene.delete().await
}

/// A cluster from its first member to its last but one; for each act, without the right that it needs, and then with it.
async fn life(plane: Arc<ControlPlane>, log: Log, mode: Mode) -> Result<()> {
    let scene = Scene::set(&plane, mode).await?;
    scene.grant(None).await?;
    scene.create(scene::guarded(2)).await?;
    let model = Model::default();
    let _kubelets = Kubelets::start(plane.client().await?, &model);
    scene.start_operator(&plane, &model).await?;
    wait::until("the cluster is ready", PATIENCE, || scene.is_as_declared()).await?;
    ensure!(
        !log.says("forbidden"),
        "the rights of the table are not enough"
    );
    for (resource, verb, act) in ACTS {
        let right = Right::find(resource, verb)?;
        scene.grant(Some(right)).await?;
        match act {
            Act::Scale(replicas) => scene.change(json!({ "replicas": replicas })).await?,
            Act::DeleteVolumes => scene.change(json!({ "deletionPolicy": "Delete" })).await?,
            Act::FailPod => scene.fail_pod(&model).await?,
            Act::OpenNetwork => scene.change(json!({ "networkPolicy": null })).await?,
            Act::SpoilCertificate => scene.spoil_certificate().await?,
            Act::Ask(name) => scene.ask(name).await?,
            Act::DeclareUser(name) => scene.declare_user(name).await?,
            Act::DeclareRole(name) => scene.declare_role(name).await?,
        }
        named(&scene, &log, right)
            .await
            .with_context(|| format!("{mode:?} without {right}"))?;
        scene.grant(None).await?;
        let healed = format!("the cluster is as declared once the operator may {right}");
        wait::until(healed, PATIENCE, || scene.is_as_declared()).await?;
    }
    scene.delete().await
}

/// Waits until the right is named wherever people would look for it.
async fn named(scene: &Scene, log: &Log, right: Right) -> Result<()> {
    let sentence = right.sentence();
    wait::until(format!("the log says {sentence}"), PATIENCE, async || {
        log.find(&sentence)
    })
    .await?;
    match right.told() {
        Told::Status => {
            wait::until("the status says so", PATIENCE, || {
                scene.status_says(&sentence)
            })
            .await?
        }
        Told::Event => {
            wait::until("an event says so", PATIENCE, || scene.event_says(&sentence)).await?
        }
        Told::Log => {}
    }
    Ok(())
}

/// The kubelets of this play, for as long as it lasts.
struct Kubelets(AbortHandle);

impl Kubelets {
    fn start(client: Client, model: &Model) -> Self {
        let (kubelet, model) = (Kubelet::new(client, Arc::new(model.clone())), model.clone());
        let turning = async move {
            let mut ticks = tokio::time::interval(KUBELETS_STEP);
            loop {
                ticks.tick().await;
                // Two writers may meet, as on a real node; the next step looks again.
                if let Err(error) = kubelet.step().await {
                    eprintln!("a kubelet tries again: {error}");
                }
                model.step();
            }
        };
        Self(tokio::spawn(turning).abort_handle())
    }
}

impl Drop for Kubelets {
    fn drop(&mut self) {
        self.0.abort();
    }
}
