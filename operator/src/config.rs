//! The flags of the operator, each also an environment variable `QUORATE_OPERATOR_*`.
//!
//! It deliberately holds nothing about clusters: what a cluster should be stands in its `RaftCluster`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use plan::OperatorPods;

use crate::lease::Timing;
use crate::telemetry::LogFormat;

/// Runs Raft clusters on Kubernetes: watches `RaftCluster`s and keeps their members as they are declared.
#[derive(Debug, Clone, Parser)]
#[command(name = "quorate-operator", version)]
pub struct Config {
    /// Watch this namespace; repeat or separate by commas for several. Without it: all namespaces.
    #[arg(
        long = "namespace",
        env = "QUORATE_OPERATOR_NAMESPACE",
        value_delimiter = ','
    )]
    pub namespaces: Vec<String>,

    /// Write only while holding a Lease, so that several operators may run and one works.
    #[arg(long, env = "QUORATE_OPERATOR_LEADER_ELECT")]
    pub leader_elect: bool,

    /// The Lease's name.
    #[arg(
        long,
        env = "QUORATE_OPERATOR_LEASE_NAME",
        default_value = "quorate-operator"
    )]
    pub lease_name: String,

    /// The Lease's namespace; the operator's own, in a cluster.
    #[arg(
        long,
        env = "QUORATE_OPERATOR_LEASE_NAMESPACE",
        default_value = "default"
    )]
    pub lease_namespace: String,

    /// How long a leader that went silent is still believed.
    #[arg(long, env = "QUORATE_OPERATOR_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,

    /// How long after its last renewal a leader goes on writing.
    #[arg(long, env = "QUORATE_OPERATOR_LEASE_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    pub lease_renew_deadline: Duration,

    /// How often the Lease is renewed, or looked at.
    #[arg(long, env = "QUORATE_OPERATOR_LEASE_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    pub lease_retry_period: Duration,

    /// This process's name in the Lease and in events; a random suffix is added to it.
    #[arg(long, env = "POD_NAME", default_value = "quorate-operator")]
    pub identity: String,

    /// The namespace of its own pods, in a cluster. Together with --own-labels, the NetworkPolicies of clusters let it in.
    #[arg(long, env = "QUORATE_OPERATOR_OWN_NAMESPACE", requires = "own_labels")]
    pub own_namespace: Option<String>,

    /// Labels of its own pods, such as app=a, that no other pods of that namespace bear; repeat or separate by commas for several.
    #[arg(
        long,
        env = "QUORATE_OPERATOR_OWN_LABELS",
        value_delimiter = ',',
        value_parser = label,
        requires = "own_namespace"
    )]
    pub own_labels: Vec<(String, String)>,

    /// Where to serve /metrics, /healthz and /readyz.
    #[arg(
        long,
        env = "QUORATE_OPERATOR_METRICS_BIND_ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub metrics_bind_address: SocketAddr,

    /// The shape of log lines.
    #[arg(long, env = "QUORATE_OPERATOR_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,

    /// What to log, in `tracing`'s syntax.
    #[arg(long, env = "QUORATE_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// How often every cluster is looked at although nothing happened.
    #[arg(long, env = "QUORATE_OPERATOR_RESYNC", default_value = "5m", value_parser = duration)]
    pub resync: Duration,

    /// How many clusters are worked on at once.
    #[arg(long, env = "QUORATE_OPERATOR_WORKERS", default_value_t = 16, value_parser = workers)]
    pub workers: usize,
}

impl Config {
    /// The election's rhythm.
    #[must_use]
    pub fn timing(&self) -> Timing {
        Timing {
            duration: self.lease_duration,
            renew_deadline: self.lease_renew_deadline,
            retry_period: self.lease_retry_period,
        }
    }

    /// By what its own pods are told, if that is said.
    #[must_use]
    pub fn own_pods(&self) -> Option<OperatorPods> {
        Some(OperatorPods {
            namespace: self.own_namespace.clone()?,
            labels: self.own_labels.iter().cloned().collect(),
        })
    }

    /// Says in a sentence what in these flags contradicts itself.
    ///
    /// # Errors
    /// The sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.resync < Duration::from_secs(1) {
            return Err(format!(
                "--resync ({:?}) must be a second at least",
                self.resync
            ));
        }
        if self.namespaces.iter().any(String::is_empty) {
            return Err(
                "--namespace must not be empty; leave it out to watch all namespaces".into(),
            );
        }
        if self.leader_elect {
            self.timing().check()
        } else {
            Ok(())
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let signed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is no duration, such as 15s or 5m"))?;
    Duration::try_from(signed).map_err(|_| format!("{text:?} is below zero"))
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is no label such as app=a")),
    }
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(workers @ 1..=64) => Ok(workers),
        _ => Err(format!("{text:?} is no number from 1 to 64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(flags: &[&str]) -> Result<Config, clap::Error> {
        Config::try_parse_from(["quorate-operator"].iter().chain(flags))
    }

    #[test]
    fn the_defaults_agree_with_each_other() {
        let config = parsed(&["--leader-elect"]).expect("the defaults");
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.timing(), Timing::default());
        assert_eq!(config.resync, Duration::from_secs(300));
        assert!(config.namespaces.is_empty());
    }

    #[test]
    fn namespaces_may_be_repeated_or_separated() {
        let config = parsed(&["--namespace=a,b", "--namespace=c"]).expect("two ways");
        assert_eq!(config.namespaces, ["a", "b", "c"]);
        assert!(
            parsed(&["--namespace="])
                .map(|config| config.check().is_err())
                .unwrap_or(true)
        );
    }

    #[test]
    fn its_own_pods_are_told_by_namespace_and_labels_together() {
        let config = parsed(&["--own-namespace=system", "--own-labels=app=a,b/c="]);
        let labels = [("app", "a"), ("b/c", "")];
        let pods = OperatorPods {
            namespace: "system".to_owned(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        };
        assert_eq!(config.expect("both").own_pods(), Some(pods));
        assert_eq!(parsed(&[]).expect("neither").own_pods(), None);
        for alone in ["--own-namespace=system", "--own-labels=app=a"] {
            assert!(parsed(&[alone]).is_err(), "{alone} alone");
        }
    }

    #[test]
    fn wrong_flags_are_refused_with_a_sentence() {
        for (flags, sentence) in [
            (vec!["--workers=0"], "no number from 1 to 64"),
            (vec!["--resync=soon"], "is no duration, such as 15s or 5m"),
            (vec!["--resync=-5s"], "is below zero"),
            (vec!["--log-format=xml"], "invalid value"),
            (
                vec!["--own-namespace=a", "--own-labels=app"],
                "is no label such as app=a",
            ),
        ] {
            let error = parsed(&flags).expect_err("refused").to_string();
            assert!(error.contains(sentence), "{flags:?}: {error}");
        }
        let config =
            parsed(&["--leader-elect", "--lease-duration=11s"]).expect("each is fine by itself");
        assert!(
            config
                .check()
                .expect_err("together not")
                .contains("must exceed its renew deadline")
        );
        let config = parsed(&["--resync=10ms"]).expect("a duration");
        assert!(config.check().expect_err("too often").contains("--resync"));
    }
}
