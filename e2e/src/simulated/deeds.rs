//! What people and kubelets do to a cluster of the simulated world, one deed at a time.
//!
//! It deliberately judges nothing: see `story.rs`.

use crds::{
    RaftCluster, RaftClusterSpec, RaftMember, RaftOperation, RaftOperationSpec, RaftRole, RaftUser,
    RunState,
};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams,
    PostParams,
};
use serde_json::{Value, json};

use super::World;
use super::nodes::node_of;
use super::snapshots;
use super::world::{NAME, NAMESPACE, ROOT_SECRET};
use crate::secured::plain;

/// Whose volumes those of classes that grow are.
const PROVISIONER: &str = "example.com/none";

impl World {
    /// The administrator makes a storage class whose volumes can grow in place.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn class_that_grows(&self, name: &str) {
        let class = json!({
            "metadata": { "name": name }, "provisioner": PROVISIONER, "allowVolumeExpansion": true,
        });
        let class: StorageClass = serde_json::from_value(class).expect("a class");
        let made = Api::all(self.kube.client("test"))
            .create(&PostParams::default(), &class)
            .await;
        made.expect("the class is made");
    }

    /// The administrator has volumes of classes that grow be snapshotted.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn install_snapshots(&self) {
        let installed = snapshots::install(&self.kube.client("test"), PROVISIONER).await;
        installed.expect("the kinds of snapshots are installed");
    }

    /// There are so many nodes, and volumes are tied to them.
    ///
    /// # Panics
    /// If they are refused.
    pub async fn make_nodes(&self, count: usize) {
        self.nodes.make(count).await.expect("nodes are made");
    }

    /// The next node that a volume is to be made on dies before it is.
    pub fn doom_node(&self) {
        self.nodes.doom_next();
    }

    /// The node of the member at this place in status dies, if the member has a pod on one.
    ///
    /// # Panics
    /// If the API server cannot be told.
    pub async fn lose_node(&self, at: usize) {
        let pods: Api<Pod> = Api::namespaced(self.user.clone(), NAMESPACE);
        let names = self.member_names().await;
        let name = &names[at % names.len()];
        let pod = pods.get_opt(name).await.expect("smallkube can be read");
        let Some(node) = pod.as_ref().and_then(node_of) else {
            return;
        };
        let all = pods.list(&ListParams::default()).await;
        for pod in all.expect("smallkube can be read") {
            if node_of(&pod) == Some(node) {
                self.processes()
                    .stop_unasked(&pod.uid().unwrap_or_default());
            }
        }
        self.nodes.die(node).await.expect("the controller may");
    }

    /// All dead nodes come back, with their volumes.
    ///
    /// # Panics
    /// If the API server cannot be told.
    pub async fn return_nodes(&self) {
        self.nodes.return_all().await.expect("the controller may");
    }

    /// The user deletes the dead nodes.
    ///
    /// # Panics
    /// If the API server cannot be told.
    pub async fn delete_nodes(&self) {
        self.nodes.delete_dead().await.expect("users may");
    }

    /// The user creates the cluster, in plain HTTP on surfaces that the spec does not name.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn create(&self, mut spec: Value) {
        plain(&mut spec);
        let spec: RaftClusterSpec = serde_json::from_value(spec).expect("a spec of the test");
        let created = self
            .clusters()
            .create(&PostParams::default(), &RaftCluster::new(NAME, spec))
            .await;
        self.heed(created.expect("a valid cluster").spec.run_state);
    }

    /// The members are told what the user wants of them.
    fn heed(&self, wanted: RunState) {
        self.model.expect_running(wanted == RunState::Running);
    }

    /// The user changes the cluster by a merge patch of its spec.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn change(&self, spec: Value) {
        let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
        let patched = self
            .clusters()
            .patch(NAME, &PatchParams::default(), &patch)
            .await;
        self.heed(patched.expect("a valid change").spec.run_state);
    }

    /// The user puts this in place of the whole spec, whatever it is, or creates the cluster with it; what then stands in the
    /// API server.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn put(&self, spec: &Value) -> kube::Result<Value> {
        let kind = ApiResource::erase::<RaftCluster>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.user.clone(), NAMESPACE, &kind);
        let params = PostParams::default();
        let put = if let Some(mut cluster) = api.get_opt(NAME).await? {
            cluster.data["spec"].clone_from(spec);
            api.replace(NAME, &params, &cluster).await?
        } else {
            let cluster = DynamicObject::new(NAME, &kind).data(json!({ "spec": spec }));
            api.create(&params, &cluster).await?
        };
        let spec = put.data["spec"].clone();
        let wanted = spec.get("runState").cloned();
        let wanted = wanted.map(|it| serde_json::from_value(it).expect("a valid spec"));
        self.heed(wanted.unwrap_or_default());
        Ok(spec)
    }

    /// The user makes the Secret with the password of `root`.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn password_of_root(&self, name: &str) {
        let entry = |name: &str, text: &str| (name.to_owned(), ByteString(text.into()));
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            data: Some([entry("username", "root"), entry("password", "secret")].into()),
            ..Secret::default()
        };
        let api = Api::namespaced(self.user.clone(), NAMESPACE);
        let made = api.create(&PostParams::default(), &secret).await;
        made.expect("the secret is made");
    }

    /// The user declares a role `reader` of the cluster, with these permissions, or changes it.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn declare_reader(&self, permissions: Value) {
        let role = json!({
            "apiVersion": "quorate.io/v1alpha1", "kind": "RaftRole", "metadata": { "name": "reader" },
            "spec": { "clusterName": NAME, "permissions": permissions },
        });
        let api: Api<RaftRole> = Api::namespaced(self.user.clone(), NAMESPACE);
        let applied = api
            .patch("reader", &PatchParams::apply("user"), &Patch::Apply(role))
            .await;
        applied.expect("a valid role");
    }

    /// The user declares a user `app` of the cluster, who has these roles and the password of `root`.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn declare_app(&self, roles: &[&str]) {
        let user = json!({
            "apiVersion": "quorate.io/v1alpha1", "kind": "RaftUser", "metadata": { "name": "app" },
            "spec": { "clusterName": NAME, "roles": roles, "passwordSecretRef": { "name": ROOT_SECRET } },
        });
        let api: Api<RaftUser> = Api::namespaced(self.user.clone(), NAMESPACE);
        let applied = api
            .patch("app", &PatchParams::apply("user"), &Patch::Apply(user))
            .await;
        applied.expect("a valid user");
    }

    /// The user deletes both.
    ///
    /// # Panics
    /// If they are not there.
    pub async fn withdraw_accounts(&self) {
        let (users, now) = (
            Api::namespaced(self.user.clone(), NAMESPACE),
            DeleteParams::default(),
        );
        let users: Api<RaftUser> = users;
        users.delete("app", &now).await.expect("it is there");
        let roles: Api<RaftRole> = Api::namespaced(self.user.clone(), NAMESPACE);
        roles.delete("reader", &now).await.expect("it is there");
    }

    /// The user deletes the cluster.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn delete(&self) {
        self.model.expect_end();
        self.clusters()
            .delete(NAME, &DeleteParams::background())
            .await
            .expect("it can be deleted");
    }

    /// The user deletes the `RaftMember` at this place in status among those that do not lead: the pod goes with it, and of a
    /// leader nobody could hand over first.
    ///
    /// # Panics
    /// If there is none.
    pub async fn replace_member(&self, at: usize) {
        let status = self.cluster().await.and_then(|it| it.status);
        let led = status.and_then(|it| it.leader).map(|it| it.name);
        let mut names = self.member_names().await;
        names.retain(|it| Some(it) != led.as_ref());
        let name = &names[at];
        let api: Api<RaftMember> = Api::namespaced(self.user.clone(), NAMESPACE);
        api.delete(name, &DeleteParams::background())
            .await
            .expect("it is there");
    }

    /// The user deletes a member's pod; whether it was there.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn delete_pod(&self, name: &str) -> bool {
        let api: Api<Pod> = Api::namespaced(self.user.clone(), NAMESPACE);
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => true,
            Err(kube::Error::Api(refusal)) if refusal.is_not_found() => false,
            Err(why) => panic!("{name} cannot be deleted: {why}"),
        }
    }

    /// The user asks for something to be done once; `FIRST`, `LAST` and `LEADER` in it are members.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn ask(&self, name: &str, spec: &Value) {
        let names = self.member_names().await;
        let (first, last) = (&names[0], &names[names.len() - 1]);
        let status = self.cluster().await.and_then(|it| it.status);
        let leader = status.and_then(|it| it.leader).map(|it| it.name);
        let text = spec
            .to_string()
            .replace("FIRST", first)
            .replace("LAST", last)
            .replace("LEADER", leader.as_ref().unwrap_or(first));
        let spec: RaftOperationSpec = serde_json::from_str(&text).expect("a spec of the test");
        let created = self
            .operations()
            .create(&PostParams::default(), &RaftOperation::new(name, spec))
            .await;
        created.expect("a valid operation");
    }

    /// The user agrees to what the operation of this name would recover.
    ///
    /// # Errors
    /// If it shows nothing to agree to.
    ///
    /// # Panics
    /// If the API server refuses.
    pub async fn agree(&self, name: &str) -> Result<(), String> {
        let found = self.operations().get(name).await.expect("it is there");
        let status = found.status.unwrap_or_default();
        let plan = status.plan.clone().and_then(|it| it.recovery);
        let plan = plan.ok_or_else(|| format!("there is no plan: {status:?}"))?;
        let word = json!({ "spec": { "recoverQuorum": { "acknowledge": plan.name } } });
        let patched = self
            .operations()
            .patch(name, &PatchParams::default(), &Patch::Merge(word))
            .await;
        patched.expect("a valid change");
        Ok(())
    }

    /// The user takes back what he has asked for.
    ///
    /// # Panics
    /// If there is no such operation.
    pub async fn withdraw(&self, name: &str) {
        let (api, now) = (self.operations(), DeleteParams::default());
        api.delete(name, &now).await.expect("it is there");
    }

    /// The kubelet ends the pod at this place in status for good, as it does under pressure.
    ///
    /// # Panics
    /// If there is none.
    pub async fn fail_pod(&self, at: usize) {
        let name = &self.member_names().await[at];
        let api: Api<Pod> = Api::namespaced(self.user.clone(), NAMESPACE);
        let pod = api.get(name).await.expect("it is there");
        self.processes()
            .stop_unasked(&pod.uid().unwrap_or_default());
        let failed = json!({ "status": { "phase": "Failed", "reason": "Evicted" } });
        let patched = api
            .patch_status(name, &PatchParams::default(), &Patch::Merge(failed))
            .await;
        patched.expect("kubelets may do that");
    }
}
