//! A Prometheus that scrapes clusters of bare members, and its API.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::members::{Members, address_of_our_own};
use e2e::{differential, wait};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::rules::Rules;

const READY_WITHIN: Duration = Duration::from_secs(60);
/// Several within the shortest range of the faster rules, which is two seconds.
const SCRAPE_EVERY: &str = "400ms";

/// The process.
#[derive(Debug)]
pub(crate) struct Prometheus {
    url: String,
    child: Child,
}

impl Prometheus {
    /// Starts one with the faster rules, and waits until it is ready; its files are in `folder`.
    ///
    /// # Errors
    /// When it does not start in time.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        rules: &Rules,
        clusters: &[(&str, Members)],
    ) -> Result<Self> {
        let config = folder.join("prometheus.yml");
        std::fs::write(folder.join("rules.yaml"), rules.faster())?;
        std::fs::write(
            &config,
            serde_json::to_string_pretty(&configured(clusters))?,
        )?;
        let log = std::fs::File::create(folder.join("prometheus.log"))?;
        let address = format!("{}:9090", address_of_our_own());
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let url = format!("http://{address}");
        let prometheus = Self { url, child };
        let ready = async || {
            let answer = differential::http::ask(&prometheus.url, "GET", "/-/ready", "").await?;
            let is_ready = answer["http"]
                .as_str()
                .is_some_and(|it| it.starts_with("200"));
            ensure!(is_ready, "{answer}");
            Ok(())
        };
        wait::until("Prometheus is ready", READY_WITHIN, ready).await?;
        Ok(prometheus)
    }

    /// Those of these alerts that fire, each with its cluster's job.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn firing(&self, of: &[&str]) -> Result<BTreeSet<(String, String)>> {
        let known = self.asked("/api/v1/alerts").await?;
        let alerts = known["alerts"].as_array().context("no alerts")?;
        let firing = alerts.iter().filter(|it| it["state"] == "firing");
        let label = |it: &Value, name: &str| it["labels"][name].as_str().unwrap_or("").to_owned();
        let named = firing.map(|it| (label(it, "alertname"), label(it, "job")));
        Ok(named.filter(|it| of.contains(&it.0.as_str())).collect())
    }

    /// The names of the metrics of a job.
    ///
    /// # Errors
    /// As above.
    pub(crate) async fn names_of(&self, job: &str) -> Result<BTreeSet<String>> {
        let selector = format!("%7Bjob=%22{job}%22%7D");
        let path = format!("/api/v1/label/__name__/values?match[]={selector}");
        let names = self.asked(&path).await?;
        Ok(serde_json::from_value(names)?)
    }

    async fn asked(&self, path: &str) -> Result<Value> {
        let mut answer = differential::http::ask(&self.url, "GET", path, "").await?;
        let body = &mut answer["lines"][0];
        ensure!(body["status"] == "success", "{path}: {body}");
        Ok(body["data"].take())
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub(crate) async fn end(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// JSON is YAML.
fn configured(clusters: &[(&str, Members)]) -> Value {
    let jobs = clusters.iter().map(|(job, members)| {
        let endpoints = members.endpoints();
        let targets: Vec<&str> = endpoints
            .iter()
            .map(|it| it.trim_start_matches("http://"))
            .collect();
        json!({ "job_name": job, "static_configs": [{ "targets": targets }] })
    });
    json!({
        "global": { "scrape_interval": SCRAPE_EVERY, "scrape_timeout": SCRAPE_EVERY, "evaluation_interval": SCRAPE_EVERY },
        "rule_files": ["rules.yaml"],
        "scrape_configs": jobs.collect::<Vec<_>>(),
    })
}
