//! What a member shows besides gRPC: health, version and metrics, on the client port and on `--listen-metrics-urls`.
//!
//! What this module deliberately does not do: close the ports of `--listen-metrics-urls` before the member has ended. Whoever
//! watches a member that stops should see it stop.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::port::{self, Port};
use crate::api::{self, OVERHEAD_BYTES, access};
use crate::config::{Config, Connections, Url};
use crate::gateway;
use crate::handle::Handle;
use crate::health::{self, Alive};
use crate::metrics::Metrics;
use crate::server::{Ended, Member, ServeError};
use crate::tls::Security;
use crate::{paths, plain, vars};

/// A port of `--listen-metrics-urls` cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {url} of --listen-metrics-urls")]
pub struct Unopened {
    url: Url,
    #[source]
    source: std::io::Error,
}

/// The figures of a member, and the open ports to show them on.
#[derive(Debug)]
pub struct Surface {
    metrics: Arc<Metrics>,
    security: Security,
    ports: Vec<Port>,
    name: String,
    client_urls: Vec<Url>,
    connections: Connections,
    quota_bytes: u64,
    message_bytes_max: usize,
    serves_gateway: bool,
    /// Whether certificates make users.
    client_cert_auth: bool,
    warning_unary: Duration,
}

impl Surface {
    /// Opens the ports; nobody is answered before [`Surface::serve`].
    ///
    /// # Errors
    /// [`Unopened`] names the port.
    pub fn open(config: &Config, security: &Security) -> Result<Self, Unopened> {
        let ports = port::listen(
            &config.listen_metrics_urls,
            security.scrapers().as_ref(),
            &config.connections,
        )
        .map_err(|(url, source)| Unopened { url, source })?;
        let metrics = Arc::new(Metrics::new());
        metrics.show([security.ends()]);
        Ok(Self {
            metrics,
            security: security.clone(),
            ports,
            name: config.name.clone(),
            client_urls: config.listen_client_urls.clone(),
            connections: config.connections.clone(),
            quota_bytes: config.quota_backend_bytes,
            serves_gateway: config.enable_grpc_gateway,
            client_cert_auth: config.client_tls.client_cert_auth,
            warning_unary: config.warning_unary,
            message_bytes_max: config.max_request_bytes + OVERHEAD_BYTES,
        })
    }

    /// The figures, to be told what the storage does.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Serves the member until it ends, see [`Member::serve`].
    ///
    /// # Errors
    /// The member's.
    pub async fn serve(
        self,
        member: Member,
        stop: impl Future<Output = ()>,
    ) -> Result<Ended, ServeError> {
        let http = self.routes(&member);
        let close = CancellationToken::new();
        let shown = http.clone().fallback(async || plain::not_found());
        let serve = |port: Port| port.serve(shown.clone(), close.clone());
        let ports: JoinSet<()> = self.ports.into_iter().map(serve).collect();
        let mut minding = JoinSet::new();
        minding.spawn(self.security.mind());
        tokio::spawn(say_when_ready(member.handle(), self.name, self.client_urls));
        let (metrics, handle) = (self.metrics, member.handle());
        let all = |grpc: Router| {
            let grpc = metrics.count_calls(grpc, self.warning_unary);
            let mut all = grpc.clone().merge(http.clone());
            if self.serves_gateway {
                all = all.merge(gateway::routes(grpc, self.message_bytes_max));
            }
            let all = all.merge(vars::routes(handle.clone()));
            let all = paths::tidy(all.fallback(api::nothing_here));
            let certified = (self.serves_gateway && self.client_cert_auth).then_some(handle);
            access::guard(all, &self.connections, certified)
        };
        let ended = member.serve(all, stop).await;
        close.cancel();
        ports.join_all().await;
        ended
    }

    fn routes(&self, member: &Member) -> Router {
        let (handle, vitals) = (member.handle(), member.vitals());
        let alive = Alive::new(handle.clone(), Arc::clone(&vitals));
        self.metrics.show(member.connections().collectors());
        let (metrics, traffic) = (self.metrics(), member.traffic());
        health::routes(alive, self.metrics()).merge(metrics.routes(
            handle,
            self.quota_bytes,
            vitals,
            traffic,
        ))
    }
}

/// One line for whoever waits for the start to end: a leader is known, so that requests are served. Then one for each port of
/// clients, in etcd's words.
async fn say_when_ready(handle: Handle, name: String, client_urls: Vec<Url>) {
    let mut status = handle.watch_status();
    if let Ok(status) = status.wait_for(|status| status.leader.is_some()).await {
        let identity = status.identity;
        tracing::info!(
            name,
            member = format!("{:x}", identity.member_id),
            cluster = format!("{:x}", identity.cluster_id),
            "ready to serve client requests"
        );
        client_urls.iter().for_each(say_served);
    }
}

fn say_served(url: &Url) {
    let (traffic, address) = ("grpc+http", format!("{}:{}", url.host(), url.port()));
    if url.is_secure() {
        tracing::info!(traffic, address, "serving client traffic securely");
    } else {
        tracing::info!(
            traffic,
            address,
            "serving client traffic insecurely; this is strongly discouraged!"
        );
    }
}
