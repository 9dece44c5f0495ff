//! Promise: every file in `examples/` is accepted as it stands and becomes a cluster that is `Ready` and takes writes, all of
//! them at the same time.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::kind::install;
use e2e::lab::is_ready;
use futures::FutureExt;
use serde_json::{Value, json};

use crate::engine::{BOTH, Engine};
use crate::scenario::Scenario;
use crate::stage::Stage;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "examples",
    engines: BOTH,
    limit: Duration::from_secs(900),
    usual: Duration::from_secs(100),
    acts: |stage| acts(stage).boxed_local(),
};

async fn acts(stage: &Stage<'_>) -> Result<()> {
    let manifests = manifests(stage)?;
    let began = Instant::now();
    let mut names = Vec::new();
    for (file, manifest) in &manifests {
        stage.say(&format!("apply {file}"));
        stage
            .apply_manifest(&manifest.to_string())
            .await
            .with_context(|| file.clone())?;
        let name = manifest.pointer("/metadata/name").and_then(Value::as_str);
        names.push(name.with_context(|| format!("{file} has no name"))?);
    }
    for name in &names {
        stage.is(name, "Ready", is_ready).await?;
        stage.say(&format!("{name} is Ready"));
    }
    let seconds = began.elapsed().as_secs_f64();
    stage.figure(&format!(
        "{} examples Ready after {seconds:.1} s",
        names.len()
    ));
    for name in names {
        let traffic = stage.traffic_at(name).await?;
        stage
            .judge(&traffic)
            .await
            .with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// The examples for an engine, by file name: those written for it as they stand, and ours made into one of etcd.
fn manifests(stage: &Stage<'_>) -> Result<Vec<(String, Value)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(install::repository().join("examples"))? {
        let entry = entry?;
        let text = std::fs::read_to_string(entry.path())?;
        let mut manifest: Value = serde_saphyr::from_str(&text)?;
        let is_etcd = manifest.pointer("/spec/engine") == Some(&json!("Etcd"));
        if is_etcd && stage.engine() == Engine::Quorate {
            continue;
        }
        let spec = manifest.pointer_mut("/spec").and_then(Value::as_object_mut);
        let spec = spec.context("an example has a spec")?;
        if let Value::Object(choice) = stage.choice()? {
            spec.extend(choice);
        }
        found.push((entry.file_name().to_string_lossy().into_owned(), manifest));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    ensure!(!found.is_empty(), "there are no examples");
    Ok(found)
}
