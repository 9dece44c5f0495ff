//! A cluster as its clients meet it: where they find it, what they show to it, and how a planned change feels to them.
//!
//! It deliberately judges nothing: what they saw stands in their history.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use plan::names;

use super::{Lab, NAMESPACE, PATIENCE, client_url};
use crate::FIGURE;
use crate::secured::{Papers, Shown};
use crate::traffic::Traffic;

/// Writes that show that traffic flows.
const WRITES: u64 = 50;

impl Lab {
    /// The client URLs of all members that have an address, ready or not.
    ///
    /// # Errors
    /// The API's.
    pub async fn endpoints(&self, name: &str) -> Result<Vec<String>> {
        Ok(self
            .pods(name)
            .await?
            .iter()
            .filter_map(client_url)
            .collect())
    }

    /// What an application shows to the members of a cluster with TLS, as it finds it in its Secret.
    ///
    /// # Errors
    /// The API's, or when something is missing there.
    pub async fn shown(&self, name: &str) -> Result<Shown> {
        Shown::of(&self.papers(name).await?)
    }

    /// What applications of a cluster find in their Secret now.
    ///
    /// # Errors
    /// The API's; when something is missing there.
    pub async fn papers(&self, name: &str) -> Result<Papers> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let secret = secrets.get(&names::application_secret(name)).await?;
        Papers::of(&secret, format!("{name}.{NAMESPACE}.svc"))
    }

    /// The client URLs of all members that have an address, for clients with TLS.
    ///
    /// # Errors
    /// The API's.
    pub async fn secured_endpoints(&self, name: &str) -> Result<Vec<String>> {
        let plain = self.endpoints(name).await?;
        Ok(plain
            .iter()
            .map(|it| it.replacen("http:", "https:", 1))
            .collect())
    }

    /// Keeps the clients' list of members as current as a Service would. Ends only with an error.
    ///
    /// # Errors
    /// The API's.
    pub async fn follow(&self, name: &str, traffic: &Traffic) -> Result<()> {
        let mut known = Vec::new();
        let mut look = tokio::time::interval(Duration::from_millis(200));
        loop {
            look.tick().await;
            let now = self.endpoints_for(name, traffic).await?;
            if now != known && !now.is_empty() {
                traffic.use_endpoints(now.clone());
                known = now;
            }
        }
    }

    /// Changes the spec, waits until it is done with writes flowing, and prints the largest gap.
    ///
    /// Clients use the members as they are now: the operator removes and adds them under load.
    ///
    /// # Errors
    /// The API's; when it is not done, or nothing flows, in time.
    pub async fn change(
        &self,
        name: &str,
        traffic: &Traffic,
        what: &str,
        spec: serde_json::Value,
    ) -> Result<()> {
        let began = traffic.recorder().elapsed();
        self.patch_spec(name, spec).await?;
        tokio::select! {
            ready = self.ready(name) => { ready.with_context(|| what.to_owned())?; }
            followed = self.follow(name, traffic) => followed?,
        }
        traffic.use_endpoints(self.endpoints_for(name, traffic).await?);
        traffic.flows(WRITES, PATIENCE).await?;
        let ended = traffic.recorder().elapsed();
        let history = traffic.recorder().history();
        let gap = history
            .largest_write_gap_within(began, ended)
            .context("no writes")?;
        println!(
            "{FIGURE}{}, {what}: largest write gap {} ms in {:.1} s",
            self.engine(),
            gap.length().as_millis(),
            (ended - began).as_secs_f64()
        );
        Ok(())
    }

    async fn endpoints_for(&self, name: &str, traffic: &Traffic) -> Result<Vec<String>> {
        if traffic.is_secured() {
            self.secured_endpoints(name).await
        } else {
            self.endpoints(name).await
        }
    }
}
