//! Probes: what is asked, how often, and what follows.
//!
//! Startup first; until it has passed the others are not asked. It deliberately knows no gRPC probe: nothing here has one.

use super::Running;
use crate::object::Object;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

/// One question to a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// GET this path; 200 to 399 passes.
    Http {
        /// Address to ask.
        host: String,
        /// Port to ask.
        port: u16,
        /// Path with query.
        path: String,
    },
    /// A connection that is accepted passes.
    Tcp {
        /// Address to connect to.
        host: String,
        /// Port to connect to.
        port: u16,
    },
    /// A command that exits with 0 passes.
    Exec(Vec<String>),
}

/// When a probe is asked and how often it must agree.
#[derive(Debug, Clone)]
struct Plan {
    probe: Probe,
    delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: i64,
    failures: i64,
}

/// What the probes found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    Started,
    Ready(bool),
    /// It must be restarted, for this reason.
    Unhealthy(String),
}

impl Plan {
    fn of(container: &Value, name: &str, address: &str) -> Option<Self> {
        let source = container.get(name)?;
        let seconds = |field: &str, default: i64| {
            let seconds = source.number(field).unwrap_or(default);
            Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        };
        Some(Self {
            probe: probe(container, source, address)?,
            delay: seconds("/initialDelaySeconds", 0),
            period: seconds("/periodSeconds", 10).max(Duration::from_secs(1)),
            timeout: seconds("/timeoutSeconds", 1),
            successes: source.number("/successThreshold").unwrap_or(1),
            failures: source.number("/failureThreshold").unwrap_or(3),
        })
    }

    async fn ask(&self, running: &dyn Running) -> Result<(), String> {
        tokio::time::timeout(self.timeout, running.probe(&self.probe))
            .await
            .unwrap_or_else(|_| Err("timed out".to_owned()))
    }
}

fn probe(container: &Value, source: &Value, address: &str) -> Option<Probe> {
    let host = |place: &Value| match place.text("/host") {
        "" => address.to_owned(),
        host => host.to_owned(),
    };
    if let Some(get) = source.get("httpGet") {
        let path = get.text("/path").trim_start_matches('/');
        return Some(Probe::Http {
            host: host(get),
            port: port(container, &get["port"])?,
            path: format!("/{path}"),
        });
    }
    if let Some(socket) = source.get("tcpSocket") {
        let port = port(container, &socket["port"])?;
        return Some(Probe::Tcp {
            host: host(socket),
            port,
        });
    }
    let words = source.items("/exec/command").iter();
    let command: Vec<String> = words
        .filter_map(|w| w.as_str().map(str::to_owned))
        .collect();
    (!command.is_empty()).then_some(Probe::Exec(command))
}

/// A port by its number or by its name in the container.
pub(crate) fn port(container: &Value, wanted: &Value) -> Option<u16> {
    let number = match wanted {
        Value::String(name) => {
            let ports = container.items("/ports");
            let named = ports.iter().find(|p| p.text("/name") == name);
            named
                .and_then(|p| p.number("/containerPort"))
                .or_else(|| name.parse().ok())
        }
        other => other.as_i64(),
    };
    u16::try_from(number?).ok()
}

/// Asks all probes of a container until it ends or is to be restarted.
pub(super) async fn watch(
    container: &Value,
    address: &str,
    running: Arc<dyn Running>,
    tell: UnboundedSender<Finding>,
) {
    // Nobody listens any more when the container is gone; then this ends with it.
    if let Some(plan) = Plan::of(container, "startupProbe", address)
        && let Err(why) = startup(&plan, &*running).await
    {
        let _ = tell.send(Finding::Unhealthy(format!("Startup probe failed: {why}")));
        return;
    }
    let _ = tell.send(Finding::Started);
    let readiness = Plan::of(container, "readinessProbe", address);
    let liveness = Plan::of(container, "livenessProbe", address);
    if readiness.is_none() {
        let _ = tell.send(Finding::Ready(true));
    }
    let ready = async {
        match readiness {
            Some(plan) => readiness_loop(&plan, &*running, &tell).await,
            None => std::future::pending().await,
        }
    };
    let alive = async {
        match liveness {
            Some(plan) => liveness_loop(&plan, &*running).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = ready => {}
        why = alive => {
            let _ = tell.send(Finding::Unhealthy(format!("Liveness probe failed: {why}")));
        }
    }
}

async fn startup(plan: &Plan, running: &dyn Running) -> Result<(), String> {
    sleep(plan.delay).await;
    let mut failures = 0;
    loop {
        match plan.ask(running).await {
            Ok(()) => return Ok(()),
            Err(why) => {
                failures += 1;
                if failures >= plan.failures {
                    return Err(why);
                }
            }
        }
        sleep(plan.period).await;
    }
}

/// Tells every change of readiness; ends when nobody listens.
async fn readiness_loop(plan: &Plan, running: &dyn Running, tell: &UnboundedSender<Finding>) {
    sleep(plan.delay).await;
    let (mut ready, mut streak, mut last) = (false, 0, None);
    loop {
        let passed = plan.ask(running).await.is_ok();
        streak = if last == Some(passed) { streak + 1 } else { 1 };
        last = Some(passed);
        let enough = if passed {
            plan.successes
        } else {
            plan.failures
        };
        if passed != ready && streak >= enough {
            ready = passed;
            if tell.send(Finding::Ready(ready)).is_err() {
                return;
            }
        }
        sleep(plan.period).await;
    }
}

/// Returns why the container is to be restarted.
async fn liveness_loop(plan: &Plan, running: &dyn Running) -> String {
    sleep(plan.delay).await;
    let mut failures = 0;
    loop {
        match plan.ask(running).await {
            Ok(()) => failures = 0,
            Err(why) => {
                failures += 1;
                if failures >= plan.failures {
                    return why;
                }
            }
        }
        sleep(plan.period).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_found_by_name() {
        let container = json!({"ports": [{"name": "metrics", "containerPort": 2381}],
            "readinessProbe": {"httpGet": {"port": "metrics", "path": "/readyz"}}});
        let plan = Plan::of(&container, "readinessProbe", "127.1.0.1").unwrap();
        let expected = Probe::Http {
            host: "127.1.0.1".to_owned(),
            port: 2381,
            path: "/readyz".to_owned(),
        };
        assert_eq!((plan.probe, plan.failures), (expected, 3));
    }
}
