//! A real kube-apiserver stores itself in three of our members: it takes definitions and ten thousand objects, survives the kill
//! of our leader in the middle, and ends with the lists that one on a real etcd has after the same script.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::control_plane::ControlPlane;
use e2e::members::Members;
use e2e::{FIGURE, binaries, wait};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

const OBJECTS: usize = 10_000;
/// Objects in flight: enough to keep a server busy, as controllers do.
const AT_ONCE: usize = 24;
/// Objects in a page of a list.
const PAGE: u32 = 500;
/// Longer than an election and everything that waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_server_stores_itself_in_our_members() -> Result<()> {
    let mut members = Members::start(&binaries::ours("quorate-node")?, 3).await?;
    let plane = ControlPlane::stored_in(&members.endpoints()).await?;
    let client = plane.client().await?;
    define(&client).await?;
    write(&client, 0..OBJECTS / 2).await?;
    let leader = members.leader().await?;
    members.kill(leader).await?;
    write(&client, OBJECTS / 2..OBJECTS)
        .await
        .context("after the kill of the leader")?;
    change(&client).await?;
    let ours = everything(&client).await?;
    plane.stop().await?;
    members.end_all().await?;

    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    define(&client).await?;
    write(&client, 0..OBJECTS).await?;
    change(&client).await?;
    let real = everything(&client).await?;
    plane.stop().await?;

    ensure!(
        ours.len() == real.len(),
        "{} objects in ours, {} in etcd",
        ours.len(),
        real.len()
    );
    for (name, object) in &real {
        let stored = ours
            .get(name)
            .with_context(|| format!("{name} is not in ours"))?;
        ensure!(
            stored == object,
            "{name} differs:\nours {stored}\netcd {object}"
        );
    }
    println!(
        "{FIGURE}{} objects listed alike from quorate-node, whose leader was killed, and from etcd",
        ours.len()
    );
    Ok(())
}

/// A kind of our own, with one object of it.
async fn define(client: &Client) -> Result<()> {
    let definition: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": { "name": "marks.storage.example" },
        "spec": {
            "group": "storage.example", "scope": "Namespaced",
            "names": { "plural": "marks", "singular": "mark", "kind": "Mark" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    }))?;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .create(&PostParams::default(), &definition)
        .await?;
    let mark: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "storage.example/v1", "kind": "Mark",
        "metadata": { "name": "first" }, "spec": { "of": "many" },
    }))?;
    let marks = marks(client);
    let create = async || marks.create(&PostParams::default(), &mark).await.map(drop);
    wait::until("the new kind is served", PATIENCE, create).await?;
    Ok(())
}

fn marks(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("storage.example", "v1", "Mark");
    Api::namespaced_with(client.clone(), "default", &ApiResource::from_gvk(&kind))
}

fn config_maps(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "default")
}

/// Creates objects; whoever is told of a failure tries again, as controllers do.
async fn write(client: &Client, numbers: std::ops::Range<usize>) -> Result<()> {
    let create = |number: usize| async move {
        let object: ConfigMap = serde_json::from_value(json!({
            "metadata": { "name": format!("o{number:05}"), "labels": { "third": (number % 3).to_string() } },
            "data": { "number": number.to_string(), "text": "x".repeat(200) },
        }))?;
        let objects = config_maps(client);
        let create = async || match objects.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(error)) if error.code == 409 => Ok(()),
            other => other.map(drop),
        };
        wait::until("an object is taken", PATIENCE, create).await?;
        anyhow::Ok(())
    };
    stream::iter(numbers.map(create))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Replaces some, and deletes some.
async fn change(client: &Client) -> Result<()> {
    let objects = config_maps(client);
    for number in (0..OBJECTS).step_by(997) {
        let name = format!("o{number:05}");
        let mut object = objects.get(&name).await?;
        object
            .data
            .get_or_insert_default()
            .insert("text".to_owned(), "replaced".to_owned());
        objects
            .replace(&name, &PostParams::default(), &object)
            .await?;
        objects
            .delete(&format!("o{:05}", number + 1), &Default::default())
            .await?;
    }
    Ok(())
}

/// Every object of the kinds above, page by page, without what each server draws for itself.
async fn everything(client: &Client) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = config_maps(client).list(&page).await?;
        for object in list.items {
            // It holds the certificate that the server made for itself.
            if object.name_any() != "kube-root-ca.crt" {
                all.insert(object.name_any(), plain(serde_json::to_value(object)?));
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    for mark in marks(client).list(&ListParams::default()).await? {
        all.insert(
            format!("mark {}", mark.name_any()),
            plain(serde_json::to_value(mark)?),
        );
    }
    ensure!(
        all.len() > OBJECTS * 9 / 10,
        "only {} objects are listed",
        all.len()
    );
    Ok(all)
}

fn plain(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for drawn in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "managedFields",
        ] {
            metadata.remove(drawn);
        }
    }
    object
}
