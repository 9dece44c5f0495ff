//! The rules of our definitions hold on a real API server as they do on smallkube: every rule has an example that is
//! accepted and one that is refused with the rule's message, every file of `examples/` is accepted, and both servers answer
//! in the same words.
//!
//! The examples stand in `crds/tests/rules.yaml`, where a test of the definitions sees to it that no rule is left out.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use e2e::FIGURE;
use e2e::contract::{Exchange, Listed, Recording, compare, judge};
use e2e::control_plane::ControlPlane;
use e2e::wait;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use smallkube::{Options, Smallkube};
use std::time::Duration;

/// The differences that stay.
const DIFFERENCES: &str = "
- call: POST /apis/apiextensions.k8s.io/*
  at: /answer/*
  because: what is said of definitions is compared by smallkube's own text
";
const RULES: &str = include_str!("../../crds/tests/rules.yaml");
/// A definition is served a second after it is established, or several on a loaded machine.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// A kind and the examples for its rules.
#[derive(Deserialize)]
struct Examples {
    kind: String,
    least: Value,
    rules: Vec<Pair>,
}

/// A rule, by how its message begins, and its examples.
#[derive(Deserialize)]
struct Pair {
    rule: String,
    from: Option<Value>,
    accepted: Value,
    refused: Value,
}

#[tokio::test]
async fn every_rule_accepts_and_refuses_on_a_real_server_as_on_smallkube() -> Result<()> {
    let plane = ControlPlane::start().await?;
    let smallkube = Smallkube::start(&Options::default());
    let real = played(plane.client().await?)
        .await
        .context("on the real server")?;
    let ours = played(smallkube.client("test"))
        .await
        .context("on smallkube")?;
    judge(&compare("rules", &real, &ours), &Listed::read(DIFFERENCES)?)?;
    println!(
        "{FIGURE}{} answers to examples of rules and of use compared",
        real.len()
    );
    plane.stop().await
}

/// Sends every example to one server; what was said.
async fn played(client: Client) -> Result<Vec<Exchange>> {
    let recording = Recording::default();
    let client = recording.around(client);
    define(&client).await?;
    for examples in serde_saphyr::from_str::<Vec<Examples>>(RULES)? {
        for (number, pair) in examples.rules.iter().enumerate() {
            let play = Play {
                api: api(&client, &examples.kind),
                least: &examples.least,
                number,
            };
            play.pair(pair)
                .await
                .with_context(|| format!("the rule {:?}", pair.rule))?;
        }
    }
    unnamed_surfaces(&client).await?;
    use_examples(&client).await?;
    Ok(recording.exchanges())
}

async fn define(client: &Client) -> Result<()> {
    let definitions = Api::all(client.clone());
    for definition in crds::definitions() {
        definitions
            .create(&PostParams::default(), &definition)
            .await?;
        let api = api(client, &definition.spec.names.kind);
        wait::until("the kind is served", SERVED_WITHIN, async || {
            api.list(&kube::api::ListParams::default()).await
        })
        .await?;
    }
    Ok(())
}

fn api(client: &Client, kind: &str) -> Api<DynamicObject> {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(crds::GROUP, "v1alpha1", kind));
    Api::namespaced_with(client.clone(), "default", &kind)
}

/// One pair on the stage.
struct Play<'a> {
    api: Api<DynamicObject>,
    least: &'a Value,
    number: usize,
}

impl Play<'_> {
    async fn pair(&self, pair: &Pair) -> Result<()> {
        let from = match &pair.from {
            Some(from) => Some(self.stands(from).await?),
            None => None,
        };
        let accepted = self.send(&pair.accepted, from.as_ref()).await;
        accepted.context("the accepted example")?;
        let Err(refused) = self.send(&pair.refused, from.as_ref()).await else {
            bail!("the refused example is accepted");
        };
        let kube::Error::Api(status) = &refused else {
            return Err(refused).context("the refused example");
        };
        let causes = status.details.iter().flat_map(|it| &it.causes);
        let says = |message: &str| message.contains(&format!(": {}", pair.rule));
        ensure!(
            status.code == 422 && causes.filter(|it| says(&it.message)).count() == 1,
            "the refused example is refused with {status:?}"
        );
        Ok(())
    }

    /// Creates what a change begins with, under a name of its own.
    async fn stands(&self, from: &Value) -> Result<DynamicObject> {
        let mut object = self.upon(from)?;
        object.metadata.name = Some(format!("kv-{}", self.number));
        Ok(self.api.create(&PostParams::default(), &object).await?)
    }

    /// Tries the example, as a change of what stands or as something new.
    async fn send(
        &self,
        example: &Value,
        from: Option<&DynamicObject>,
    ) -> Result<DynamicObject, kube::Error> {
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let mut object = self.upon(example).expect("an example is an object");
        let Some(from) = from else {
            return self.api.create(&dry, &object).await;
        };
        object.metadata.name = Some(from.name_any());
        object.metadata.resource_version = from.resource_version();
        self.api.replace(&from.name_any(), &dry, &object).await
    }

    fn upon(&self, example: &Value) -> Result<DynamicObject> {
        let mut whole = self.least.clone();
        json_patch::merge(&mut whole, example);
        Ok(serde_json::from_value(whole)?)
    }
}

/// Changes what `spec.tls` says of a surface that it did not name, under each thing that the status may remember of it.
async fn unnamed_surfaces(client: &Client) -> Result<()> {
    let clusters: Api<DynamicObject> = api(client, "RaftCluster");
    let params = PatchParams::default();
    for (number, remembered, (to_plain, to_tls, auth)) in [
        (0, None, (false, true, true)),
        (
            1,
            Some(json!({ "tlsDefault": "Operator" })),
            (false, true, true),
        ),
        (2, Some(json!({ "serial": 1 })), (true, false, false)),
        (
            3,
            Some(json!({ "tlsDefault": "Unknown" })),
            (true, true, true),
        ),
    ] {
        let name = format!("unnamed-{number}");
        let cluster = json!({
            "apiVersion": "quorate.io/v1alpha1", "kind": "RaftCluster", "metadata": { "name": name },
            "spec": { "storage": { "size": "1Gi" } },
        });
        clusters
            .create(&PostParams::default(), &serde_json::from_value(cluster)?)
            .await?;
        if let Some(status) = remembered {
            let status = Patch::Merge(json!({ "status": status }));
            clusters.patch_status(&name, &params, &status).await?;
        }
        let client =
            |mode: &str| json!({ "tls": { "client": { "mode": mode, "plaintext": "Refused" } } });
        for (change, right) in [
            (client("Disabled"), to_plain),
            (client("Operator"), to_tls),
            (json!({ "auth": { "rootSecretName": "root" } }), auth),
        ] {
            let tried = Patch::Merge(json!({ "spec": change }));
            let dry = PatchParams {
                dry_run: true,
                ..PatchParams::default()
            };
            let answered = clusters.patch(&name, &dry, &tried).await;
            ensure!(answered.is_ok() == right, "{name}: {change}: {answered:?}");
        }
    }
    Ok(())
}

/// Creates everything in `examples/`.
async fn use_examples(client: &Client) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .map(|it| it.map(|it| it.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    ensure!(!paths.is_empty(), "there are no examples");
    for path in paths {
        let text = std::fs::read_to_string(&path)?;
        let example: DynamicObject = serde_saphyr::from_str(&text)?;
        let kind = example.types.clone().context("an example has a kind")?.kind;
        let created = api(client, &kind)
            .create(&PostParams::default(), &example)
            .await;
        created.with_context(|| path.display().to_string())?;
    }
    Ok(())
}
