//! What becomes of the volumes of a cluster of the simulated world, by people's hands and by accident.
//!
//! It deliberately judges nothing: see `story.rs`.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, PostParams};
use plan::names;
use serde_json::json;

use super::story::RECOVERY;
use super::world::NAMESPACE;
use super::{Crash, World};

impl World {
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
        self.ask_recovery().await;
        let fate = Crash::never();
        let ctx = self.operator(&fate);
        self.rounds(&ctx, &fate, 10).await?;
        self.agree(RECOVERY).await
    }

    /// The user deletes volume and pod of a member; what the claim was.
    pub(super) async fn lose_volume(&self, at: usize) -> PersistentVolumeClaim {
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

    /// See [`super::story::Step::LoseOne`].
    pub(super) async fn lose_one(&self, at: usize) {
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
    pub(super) async fn make_claims_again(&self) {
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

    pub(super) async fn swap_volume(&self, at: usize) {
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
