//! The demo on a kind cluster: what a user sees on a real Kubernetes.
//!
//! It deliberately leaves the cluster up when a person watches, who may want to look around; elsewhere it takes it down.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crds::RaftCluster;
use e2e::kind::cluster::Cluster;
use e2e::kind::kubectl::Kubectl;
use e2e::kind::progress::Progress;
use e2e::kind::traffic::{Order, Remote};
use e2e::kind::{self, images, install};
use e2e::lab::{PATIENCE, is_ready, told};
use e2e::secured::Papers;
use e2e::traffic::Mix;
use e2e::{tools, wait};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use plan::names;

use crate::screen::Screen;
use crate::{act, tree};

/// The namespace and the name of the example's cluster.
const NAMESPACE: &str = "default";
const NAME: &str = "kv";
/// How often the tree is looked at: on two cores every look costs the members some of their time.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// As many acknowledged writes as show that a cluster serves.
const ENOUGH: u64 = 100;

/// What the demo needs of the cluster.
struct House {
    cluster: Cluster,
    kubectl: Kubectl,
    client: Client,
    clusters: Api<RaftCluster>,
}

/// Everything, in order.
pub(crate) async fn play(screen: &mut Screen) -> Result<()> {
    let progress = Progress::new(&tools::folder().join("logs"))?;
    screen.step("bring up a kind cluster of three nodes");
    let cluster = kind::up(&progress).await?;
    let house = House::of(cluster).await?;
    tokio::select! {
        played = house.all(screen, &progress) => played?,
        asked = crate::asked_to_stop() => asked.context("listen for signals")?,
    }
    if screen.is_terminal() {
        screen.step("the cluster stays; to take everything away: make clean-kind");
        return Ok(());
    }
    screen.step("take the cluster down");
    house.cluster.down(&progress)
}

impl House {
    async fn of(cluster: Cluster) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        let client = Client::try_from(config)?;
        Ok(Self {
            kubectl: Kubectl::new(&cluster.kubeconfig())?,
            clusters: Api::namespaced(client.clone(), NAMESPACE),
            cluster,
            client,
        })
    }

    async fn all(&self, screen: &mut Screen, progress: &Progress) -> Result<()> {
        screen.step("build our images, bring them to the nodes, install the operator");
        self.install(progress).await?;
        screen.step("kubectl apply -f examples/minimal.yaml");
        let path = crate::example();
        let manifest =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        self.kubectl.apply(Some(NAMESPACE), &manifest).await?;
        self.watch_until_ready(screen).await?;
        self.lose_the_leader(screen).await?;
        screen.step(&format!("kubectl scale raftcluster {NAME} --replicas=5"));
        self.kubectl
            .run(&["scale", "raftcluster", NAME, "--replicas=5"])
            .await?;
        self.watch_until_ready(screen).await?;
        screen.say("three commands to try:");
        let kubeconfig = self.cluster.kubeconfig();
        screen.say(&format!("export KUBECONFIG={}", kubeconfig.display()));
        screen.say("kubectl get raftcluster,raftmember,pod,pvc -o wide");
        screen.say(&format!("kubectl describe raftcluster {NAME}"));
        Ok(())
    }

    async fn install(&self, progress: &Progress) -> Result<()> {
        let images = images::build(progress)?;
        images::load(&images, self.cluster.name(), progress)?;
        install::plain(&self.kubectl, &images).await?;
        install::traffic(&self.kubectl, &images).await
    }

    /// Draws the cluster until it is ready.
    async fn watch_until_ready(&self, screen: &mut Screen) -> Result<()> {
        let began = Instant::now();
        wait::until_every(
            LOOK_EVERY,
            "the cluster to be Ready",
            PATIENCE,
            async || {
                let cluster = self.clusters.get(NAME).await.map_err(|e| e.to_string())?;
                screen.tree(tree::lines(&cluster));
                is_ready(&cluster)
                    .then_some(())
                    .ok_or_else(|| told(&cluster))
            },
        )
        .await?;
        screen.say(&format!(
            "Ready after {:.1} s",
            began.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    async fn lose_the_leader(&self, screen: &mut Screen) -> Result<()> {
        let cluster = self.clusters.get(NAME).await?;
        let leader = cluster
            .status
            .and_then(|it| it.leader)
            .context("a ready cluster has a leader")?;
        let traffic = self.traffic().await?;
        screen.step(&format!(
            "delete the pod of {}, the leader, by force, under load",
            leader.name
        ));
        let from = traffic.state().await?.elapsed;
        self.kubectl
            .run(&["delete", "pod", &leader.name, "--force", "--grace-period=0"])
            .await?;
        traffic.flows(ENOUGH, PATIENCE).await?;
        let gap = traffic.gap(from, traffic.state().await?.elapsed).await?;
        screen.say(&format!("no write went through for {} ms", gap.as_millis()));
        self.watch_until_ready(screen).await?;
        let history = traffic.finish().await?;
        act::verdict(screen, &history)
    }

    async fn traffic(&self) -> Result<Remote> {
        let papers = Papers::in_use(self.client.clone(), NAMESPACE, NAME).await?;
        let service = names::peer_service(NAME);
        let port = names::CLIENT_PORT;
        let order = Order {
            mix: Mix {
                pace: Duration::from_millis(50),
                ..Mix::default()
            },
            members: format!("{service}.{NAMESPACE}.svc.cluster.local.:{port}"),
            papers: Some(papers),
        };
        let traffic = Remote::start(self.client.clone(), "demo", &order).await?;
        traffic.flows(ENOUGH, PATIENCE).await?;
        Ok(traffic)
    }
}
