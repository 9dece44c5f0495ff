//! A stand-in for what snapshots volumes, as far as whoever asks for a snapshot can see it.
//!
//! Each `VolumeSnapshot` of a class that is there is taken a step after it was made. It deliberately copies nothing: what a volume holds is
//! the members' matter.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use plan::{VolumeSnapshot, VolumeSnapshotClass};
use serde_json::json;

/// Name of the one class.
pub(super) const CLASS: &str = "copies";

/// As much of the definitions as anybody here writes or reads.
const DEFINITIONS: [&str; 2] = [
    r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: volumesnapshots.snapshot.storage.k8s.io }
spec:
  group: snapshot.storage.k8s.io
  scope: Namespaced
  names: { kind: VolumeSnapshot, listKind: VolumeSnapshotList, plural: volumesnapshots, singular: volumesnapshot }
  versions:
    - name: v1
      served: true
      storage: true
      subresources: { status: {} }
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [source]
              properties:
                volumeSnapshotClassName: { type: string }
                source:
                  type: object
                  properties:
                    persistentVolumeClaimName: { type: string }
            status:
              type: object
              properties:
                creationTime: { type: string, format: date-time }
                readyToUse: { type: boolean }
                error:
                  type: object
                  properties:
                    message: { type: string }
",
    r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: volumesnapshotclasses.snapshot.storage.k8s.io }
spec:
  group: snapshot.storage.k8s.io
  scope: Cluster
  names: { kind: VolumeSnapshotClass, listKind: VolumeSnapshotClassList, plural: volumesnapshotclasses, singular: volumesnapshotclass }
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          required: [driver, deletionPolicy]
          properties:
            driver: { type: string }
            deletionPolicy: { type: string }
",
];

/// The administrator has volumes of this driver be snapshotted.
pub(super) async fn install(client: &Client, driver: &str) -> kube::Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    for text in DEFINITIONS {
        let definition: CustomResourceDefinition =
            serde_saphyr::from_str(text).expect("a definition");
        definitions
            .create(&PostParams::default(), &definition)
            .await?;
    }
    let class = json!({
        "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshotClass", "metadata": { "name": CLASS },
        "driver": driver, "deletionPolicy": "Retain",
    });
    let classes: Api<VolumeSnapshotClass> = Api::all(client.clone());
    let apply = PatchParams::apply("administrator");
    classes
        .patch(CLASS, &apply, &Patch::Apply(class))
        .await
        .map(drop)
}

/// Moves on by one step: what was asked for is taken. Nothing where the kinds are not installed.
pub(super) async fn step(client: &Client) -> kube::Result<()> {
    let all: Api<VolumeSnapshot> = Api::all(client.clone());
    let found = match all.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        found => found?,
    };
    for snapshot in found {
        let of_ours = snapshot.spec.volume_snapshot_class_name.as_deref() == Some(CLASS);
        if snapshot.is_taken() || !of_ours {
            continue;
        }
        let namespace = snapshot.namespace().unwrap_or_default();
        let api: Api<VolumeSnapshot> = Api::namespaced(client.clone(), &namespace);
        let taken =
            json!({ "status": { "creationTime": "2026-11-18T00:00:00Z", "readyToUse": true } });
        let params = PatchParams::default();
        api.patch_status(&snapshot.name_any(), &params, &Patch::Merge(taken))
            .await?;
    }
    Ok(())
}
