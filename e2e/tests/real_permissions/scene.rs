//! Where one operator works: a namespace of its own, one for its cluster, an account, and the roles that it is bound to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use crds::{RaftCluster, RaftClusterSpec};
use e2e::control_plane::ControlPlane;
use e2e::simulated::kubelet::Processes;
use e2e::simulated::{Crash, Model};
use e2e::wait;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use quorate_operator::gate::Gate;
use quorate_operator::lease::Timing;
use quorate_operator::metrics::Metrics;
use quorate_operator::permissions::{PERMISSIONS, Permission, Place};
use quorate_operator::process::{Election, live};
use quorate_operator::run::Scope;
use quorate_operator::serve::Pulse;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::right::Right;

/// What the API server and its controllers take for what they do by themselves.
const SOON: Duration = Duration::from_secs(60);
/// The account and the Lease, as the manifests name them.
const OPERATOR: &str = "quorate-operator";
const CLUSTER: &str = "kv";

/// How far the operator sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The role is bound for all namespaces.
    Everywhere,
    /// It is bound in the one namespace that the operator is told.
    OneNamespace,
}

pub(crate) struct Scene {
    admin: Client,
    mode: Mode,
    /// The cluster's namespace, and the name of the operator's role.
    namespace: String,
    /// The operator's own namespace.
    own: String,
}

/// Defines our kinds.
pub(crate) async fn define(admin: &Client) -> Result<()> {
    let definitions = Api::all(admin.clone());
    for definition in crds::definitions() {
        definitions
            .create(&PostParams::default(), &definition)
            .await?;
    }
    let clusters: Api<RaftCluster> = Api::all(admin.clone());
    let members: Api<crds::RaftMember> = Api::all(admin.clone());
    wait::until("our kinds are served", SOON, async || {
        clusters.list(&ListParams::default()).await?;
        members.list(&ListParams::default()).await.map(drop)
    })
    .await?;
    Ok(())
}

/// A cluster with certificates on both surfaces and a NetworkPolicy, so that the rights to Secrets and to that are needed.
pub(crate) fn guarded(replicas: i32) -> Value {
    json!({
        "replicas": replicas,
        "storage": { "size": "1Gi" },
        "tls": { "peer": { "mode": "Operator" }, "client": { "mode": "Operator" } },
        "networkPolicy": { "mode": "Managed" },
    })
}

impl Scene {
    /// Namespaces and an account that may nothing yet.
    pub(crate) async fn set(plane: &ControlPlane, mode: Mode) -> Result<Self> {
        let admin = plane.client().await?;
        let (namespace, own) = (
            namespace(&admin, "clusters-").await?,
            namespace(&admin, "operator-").await?,
        );
        let account = json!({ "metadata": { "name": OPERATOR } });
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), &own);
        accounts
            .create(&PostParams::default(), &serde_json::from_value(account)?)
            .await?;
        // Pods are refused in a namespace that has no account for them yet.
        let theirs: Api<ServiceAccount> = Api::namespaced(admin.clone(), &namespace);
        wait::until("the namespace has an account", SOON, || {
            theirs.get("default")
        })
        .await?;
        let scene = Self {
            admin,
            mode,
            namespace,
            own,
        };
        scene.bind().await?;
        Ok(scene)
    }

    async fn bind(&self) -> Result<()> {
        let subjects =
            json!([{ "kind": "ServiceAccount", "name": OPERATOR, "namespace": self.own }]);
        let binding = |kind: &str, role: &str| {
            json!({
                "metadata": { "name": self.namespace }, "subjects": subjects,
                "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
            })
        };
        let clusters = binding("ClusterRole", &self.namespace);
        let once = PostParams::default();
        match self.mode {
            Mode::Everywhere => {
                let api: Api<ClusterRoleBinding> = Api::all(self.admin.clone());
                api.create(&once, &serde_json::from_value(clusters)?)
                    .await?;
            }
            Mode::OneNamespace => {
                let api: Api<RoleBinding> = Api::namespaced(self.admin.clone(), &self.namespace);
                api.create(&once, &serde_json::from_value(clusters)?)
                    .await?;
            }
        }
        let api: Api<RoleBinding> = Api::namespaced(self.admin.clone(), &self.own);
        api.create(&once, &serde_json::from_value(binding("Role", OPERATOR))?)
            .await?;
        Ok(())
    }

    /// Grants the rights of the table, all but one, and waits until the API server goes by it.
    pub(crate) async fn grant(&self, without: Option<Right>) -> Result<()> {
        let apply = PatchParams::apply("test").force();
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": self.namespace }, "rules": rules(Place::Clusters, without),
        });
        let roles: Api<ClusterRole> = Api::all(self.admin.clone());
        roles
            .patch(&self.namespace, &apply, &Patch::Apply(role))
            .await?;
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
            "metadata": { "name": OPERATOR }, "rules": rules(Place::Own, without),
        });
        let roles: Api<Role> = Api::namespaced(self.admin.clone(), &self.own);
        roles.patch(OPERATOR, &apply, &Patch::Apply(role)).await?;
        for right in Right::all() {
            wait::until(
                format!("the server goes by the new roles: {right}"),
                SOON,
                async || {
                    let allowed = self.allows(right).await?;
                    ensure!(allowed != (Some(right) == without), "allowed: {allowed}");
                    Ok(())
                },
            )
            .await?;
        }
        Ok(())
    }

    async fn allows(&self, right: Right) -> Result<bool> {
        let (resource, sub) = right
            .of
            .resource
            .split_once('/')
            .unwrap_or((right.of.resource, ""));
        let namespace = match right.of.place {
            Place::Clusters | Place::Whole => &self.namespace,
            Place::Own => &self.own,
        };
        let asked = json!({ "metadata": {}, "spec": {
            "user": format!("system:serviceaccount:{}:{OPERATOR}", self.own),
            "resourceAttributes": {
                "group": right.of.group, "resource": resource, "subresource": sub, "verb": right.verb,
                "namespace": namespace, "name": OPERATOR,
            },
        } });
        let reviews: Api<SubjectAccessReview> = Api::all(self.admin.clone());
        let answer = reviews
            .create(&PostParams::default(), &serde_json::from_value(asked)?)
            .await?;
        Ok(answer.status.context("a review is answered")?.allowed)
    }

    /// Starts a whole operator under its own account; it ends with the thread's runtime.
    pub(crate) async fn start_operator(&self, plane: &ControlPlane, model: &Model) -> Result<()> {
        let metrics = Arc::new(Metrics::new());
        let config = plane.config(&self.token().await?).await?;
        let client = quorate_operator::connect(config, Arc::clone(&metrics))?;
        let mut ctx = quorate_operator::Context::new(client, model.members(Crash::never()));
        (ctx.gate, ctx.metrics) = (Gate::leased(), metrics);
        let election = Election {
            namespace: self.own.clone(),
            name: OPERATOR.to_owned(),
            identity: "test".to_owned(),
            timing: Timing {
                duration: Duration::from_secs(20),
                renew_deadline: Duration::from_secs(15),
                retry_period: Duration::from_millis(500),
            },
        };
        let scope = Scope {
            namespaces: match self.mode {
                Mode::Everywhere => Vec::new(),
                Mode::OneNamespace => vec![self.namespace.clone()],
            },
            resync: Duration::from_secs(300),
            workers: 2,
        };
        tokio::spawn(live(
            ctx,
            Some(election),
            scope,
            Pulse::default(),
            CancellationToken::new(),
        ));
        Ok(())
    }

    async fn token(&self) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), &self.own);
        let asked: TokenRequest =
            serde_json::from_value(json!({ "metadata": {}, "spec": { "audiences": [] } }))?;
        let answer = accounts
            .create_token_request(OPERATOR, &PostParams::default(), &asked)
            .await?;
        Ok(answer.status.context("a token is given")?.token)
    }

    pub(crate) async fn create(&self, spec: Value) -> Result<()> {
        let spec: RaftClusterSpec = serde_json::from_value(spec)?;
        let cluster = RaftCluster::new(CLUSTER, spec);
        self.clusters()
            .create(&PostParams::default(), &cluster)
            .await?;
        Ok(())
    }

    pub(crate) async fn change(&self, spec: Value) -> Result<()> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.clusters()
            .patch(CLUSTER, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    pub(crate) async fn delete(&self) -> Result<()> {
        self.clusters()
            .delete(CLUSTER, &DeleteParams::background())
            .await?;
        Ok(())
    }

    /// Somebody takes a certificate out of its Secret.
    pub(crate) async fn spoil_certificate(&self) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.admin.clone(), &self.namespace);
        let spoil = Patch::Merge(json!({ "data": { "tls.crt": null } }));
        let name = format!("{CLUSTER}-peer-tls");
        secrets
            .patch(&name, &PatchParams::default(), &spoil)
            .await?;
        Ok(())
    }

    /// Something to be done once, of which nothing stays when it is done.
    pub(crate) async fn ask(&self, name: &str) -> Result<()> {
        let spec = json!({ "clusterName": CLUSTER, "compact": {}, "ttlSecondsAfterFinished": 0 });
        let operation = crds::RaftOperation::new(name, serde_json::from_value(spec)?);
        let operations: Api<crds::RaftOperation> =
            Api::namespaced(self.admin.clone(), &self.namespace);
        operations
            .create(&PostParams::default(), &operation)
            .await?;
        Ok(())
    }

    /// A user of the cluster, which asks nobody who he is.
    pub(crate) async fn declare_user(&self, name: &str) -> Result<()> {
        let spec = json!({ "clusterName": CLUSTER, "noPassword": true });
        let user = crds::RaftUser::new(name, serde_json::from_value(spec)?);
        let users: Api<crds::RaftUser> = Api::namespaced(self.admin.clone(), &self.namespace);
        users.create(&PostParams::default(), &user).await?;
        Ok(())
    }

    /// A role in the cluster.
    pub(crate) async fn declare_role(&self, name: &str) -> Result<()> {
        let spec = json!({ "clusterName": CLUSTER });
        let role = crds::RaftRole::new(name, serde_json::from_value(spec)?);
        let roles: Api<crds::RaftRole> = Api::namespaced(self.admin.clone(), &self.namespace);
        roles.create(&PostParams::default(), &role).await?;
        Ok(())
    }

    /// A kubelet ends some pod for good, as it does under pressure.
    pub(crate) async fn fail_pod(&self, model: &Model) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.admin.clone(), &self.namespace);
        let pod = pods
            .list(&ListParams::default())
            .await?
            .items
            .pop()
            .context("there is a pod")?;
        model.stop_unasked(&pod.uid().unwrap_or_default());
        let failed = Patch::Merge(json!({ "status": { "phase": "Failed", "reason": "Evicted" } }));
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &failed)
            .await?;
        Ok(())
    }

    /// Fails with the conditions while the cluster is not ready, or something has failed.
    pub(crate) async fn is_as_declared(&self) -> Result<()> {
        let cluster = self.clusters().get(CLUSTER).await?;
        let generation = cluster.metadata.generation;
        let conditions = cluster.status.unwrap_or_default().conditions;
        let is = |kind: &str, status: &str| {
            conditions.iter().any(|it| {
                it.type_ == kind && it.status == status && it.observed_generation == generation
            })
        };
        ensure!(
            is("Ready", "True") && is("Degraded", "False"),
            "{conditions:?}"
        );
        Ok(())
    }

    pub(crate) async fn status_says(&self, sentence: &str) -> Result<()> {
        let status = self
            .clusters()
            .get(CLUSTER)
            .await?
            .status
            .unwrap_or_default();
        let says = status
            .conditions
            .iter()
            .any(|it| it.message.contains(sentence));
        ensure!(says, "{:?}", status.conditions);
        Ok(())
    }

    pub(crate) async fn event_says(&self, sentence: &str) -> Result<()> {
        let events: Api<Event> = Api::namespaced(self.admin.clone(), &self.namespace);
        let notes: Vec<String> = events
            .list(&ListParams::default())
            .await?
            .items
            .into_iter()
            .filter_map(|it| it.note)
            .collect();
        ensure!(notes.iter().any(|it| it.contains(sentence)), "{notes:?}");
        Ok(())
    }

    fn clusters(&self) -> Api<RaftCluster> {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }
}

async fn namespace(admin: &Client, prefix: &str) -> Result<String> {
    let namespaces: Api<Namespace> = Api::all(admin.clone());
    let wanted: Namespace =
        serde_json::from_value(json!({ "metadata": { "generateName": prefix } }))?;
    Ok(namespaces
        .create(&PostParams::default(), &wanted)
        .await?
        .name_any())
}

/// The rules of a place, without one right. As in the manifests, of the Lease only the creation is not bound to its name.
fn rules(place: Place, without: Option<Right>) -> Value {
    let granted = |of: &'static Permission, verbs: &[&'static str]| {
        let left = |verb: &&'static str| without != Some(Right { of, verb });
        let verbs: Vec<&str> = verbs.iter().copied().filter(left).collect();
        json!({ "apiGroups": [of.group], "resources": [of.resource], "verbs": verbs })
    };
    let here = PERMISSIONS.iter().filter(|it| it.place == place);
    let rules = here.flat_map(|of| match place {
        Place::Clusters | Place::Whole => vec![granted(of, of.verbs)],
        Place::Own => {
            let (create, others): (Vec<_>, Vec<_>) =
                of.verbs.iter().partition(|it| **it == "create");
            let mut named = granted(of, &others);
            named["resourceNames"] = json!([OPERATOR]);
            vec![granted(of, &create), named]
        }
    });
    // A rule without verbs is refused.
    rules.filter(|it| it["verbs"] != json!([])).collect()
}
