//! A cluster as its clients meet it: where they find it, what they show to it, and how a planned change feels to them.
//!
//! It deliberately judges nothing: what they saw stands in their history.

use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, ResourceExt};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{Lab, Leader, NAMESPACE, PATIENCE, client_url};
use crate::FIGURE;
use crate::client::Client;
use crate::secured::{Papers, Shown};
use crate::traffic::Traffic;
use crate::wait;

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
        Papers::in_use(self.client.clone(), NAMESPACE, name).await
    }

    /// The client URLs of all members that have an address, for clients with TLS.
    ///
    /// # Errors
    /// The API's.
    pub async fn secured_endpoints(&self, name: &str) -> Result<Vec<String>> {
        let plain = self.endpoints(name).await?;
        Ok(plain.iter().map(|it| secured(it)).collect())
    }

    /// Waits until every member shows the certificate that is in this Secret as `tls.crt`.
    ///
    /// # Errors
    /// When one does not in time; when the Secret has none.
    pub async fn shows(&self, name: &str, shown: &Shown, secret: &str) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let data = secrets.get(secret).await?.data.unwrap_or_default();
        let kept = data.get("tls.crt").context("there is no tls.crt")?;
        let kept = CertificateDer::from_pem_slice(&kept.0)?;
        let what = format!("every member to show what is in {secret}");
        wait::until(what, PATIENCE, async || {
            let urls = self.secured_endpoints(name).await;
            for url in urls.map_err(|it| it.to_string())? {
                let found = shown.certificate_of(&url).await;
                if found.map_err(|it| format!("{it:#}"))? != kept {
                    return Err(format!("{url} shows the old one"));
                }
            }
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// The uid of every member's pod, and how often its containers were started again.
    ///
    /// # Errors
    /// The API's.
    pub async fn incarnations(&self, name: &str) -> Result<Vec<(Option<String>, i32)>> {
        let restarts = |pod: &Pod| {
            let statuses = pod.status.iter();
            let statuses = statuses.flat_map(|it| it.container_statuses.iter().flatten());
            statuses.map(|it| it.restart_count).sum()
        };
        let pods = self.pods(name).await?;
        Ok(pods.iter().map(|it| (it.uid(), restarts(it))).collect())
    }

    /// Waits until a member says that it leads, asking the members and not the operator.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn leader(&self, name: &str) -> Result<Leader> {
        let found = wait::until(format!("a leader of {name}"), PATIENCE, async || {
            let mut leader: Option<Leader> = None;
            for pod in self.pods(name).await.map_err(|e| e.to_string())? {
                let Some(term) = self.term_it_leads(name, &pod).await else {
                    continue;
                };
                if leader.as_ref().is_none_or(|l| l.term < term) {
                    leader = Some(Leader {
                        member: pod.name_any(),
                        term,
                    });
                }
            }
            leader.ok_or_else(|| "no member says that it leads".to_owned())
        });
        found
            .await
            .with_context(|| format!("logs in {}", self.folder.path().display()))
    }

    /// Waits until so many members answer for themselves and agree on a leader, asking the
    /// members and not the operator.
    ///
    /// # Errors
    /// When they do not in time; says how many do.
    pub async fn healthy(&self, name: &str, members: usize) -> Result<()> {
        let found = wait::until(
            format!("{members} healthy members of {name}"),
            PATIENCE,
            async || {
                let mut leaders = std::collections::BTreeMap::<u64, usize>::new();
                for pod in self.pods(name).await.map_err(|e| e.to_string())? {
                    if let Some(leader) = self.leader_it_follows(name, &pod).await {
                        *leaders.entry(leader).or_default() += 1;
                    }
                }
                let agree = leaders.values().copied().max().unwrap_or_default();
                if agree >= members {
                    Ok(())
                } else {
                    Err(format!("{agree} answer and agree"))
                }
            },
        );
        found
            .await
            .with_context(|| format!("logs in {}", self.folder.path().display()))
    }

    async fn term_it_leads(&self, name: &str, pod: &Pod) -> Option<u64> {
        let status = self.dial(name, pod).await?.status().await.ok()?;
        let own = status.header.as_ref()?.member_id;
        (status.leader != 0 && status.leader == own).then_some(status.raft_term)
    }

    async fn leader_it_follows(&self, name: &str, pod: &Pod) -> Option<u64> {
        let status = self.dial(name, pod).await?.status().await.ok()?;
        (status.leader != 0).then_some(status.leader)
    }

    /// A client of the member in this pod, with TLS where that refuses plain HTTP.
    async fn dial(&self, name: &str, pod: &Pod) -> Option<Client> {
        let plain = client_url(pod)?;
        if serves_plaintext(pod) {
            return Client::connect(&plain).await.ok();
        }
        let shown = self.shown(name).await.ok()?;
        shown.client(&secured(&plain)).await.ok()
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

fn secured(url: &str) -> String {
    url.replacen("http:", "https:", 1)
}

/// Whether the member in this pod serves clients without TLS, as the pod was made.
fn serves_plaintext(pod: &Pod) -> bool {
    let containers = pod.spec.iter().flat_map(|it| &it.containers);
    let mut args = containers.flat_map(|it| it.args.iter().flatten());
    args.any(|it| it.starts_with("--listen-client-urls=") && it.contains("http:"))
}
