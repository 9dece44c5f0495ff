//! etcd's flags that this node does not serve, so that each is refused by name instead of ignored.
//!
//! A flag that only says what is so anyway (`--client-cert-auth=false`) is let pass: manifests written for etcd spell out
//! defaults.
//!
//! What this module does not do: guess. A flag that is neither here nor served is unknown, and that is said.

/// One flag of etcd's that is not served.
pub(super) struct Unserved {
    pub(super) name: &'static str,
    /// The values that ask for nothing we do not do.
    harmless: &'static [&'static str],
    why: Why,
}

#[derive(Clone, Copy)]
enum Why {
    NotYet(&'static str),
    Foreign(&'static str),
}

const AUTH: Why = Why::NotYet("authentication");
const DISCOVERY: Why =
    Why::Foreign("discovery is not served; list the members in --initial-cluster");
const TRACING: Why = Why::NotYet("distributed tracing");
const BACKEND: Why = Why::Foreign("there is no bbolt backend to tune");
const TRANSPORT: Why = Why::NotYet("tuning of connections");
const CHECKS: Why = Why::NotYet("comparing the members' hashes");

const fn flag(name: &'static str, harmless: &'static [&'static str], why: Why) -> Unserved {
    Unserved {
        name,
        harmless,
        why,
    }
}

/// Every flag of etcd 3.7 that is not served, by chapter of its help.
const UNSERVED: &[Unserved] = &[
    flag("config-file", &[], Why::NotYet("a configuration file")),
    flag("wal-dir", &[], Why::NotYet("a log on a disk of its own")),
    flag(
        "initial-election-tick-advance",
        &["true"],
        Why::NotYet("waiting at start"),
    ),
    flag(
        "listen-client-http-urls",
        &[],
        Why::Foreign("gRPC and HTTP share --listen-client-urls"),
    ),
    flag(
        "max-snapshots",
        &["5"],
        Why::Foreign("the last two checkpoints are kept"),
    ),
    flag(
        "max-wals",
        &["5"],
        Why::Foreign("the log is kept as far back as the older checkpoint"),
    ),
    flag("memory-mlock", &["false"], Why::NotYet("locking memory")),
    flag("backend-bbolt-freelist-type", &["map", "array"], BACKEND),
    flag("backend-batch-interval", &["0", "0s"], BACKEND),
    flag("backend-batch-limit", &["0"], BACKEND),
    flag("bootstrap-defrag-threshold-megabytes", &["0"], BACKEND),
    flag("max-concurrent-streams", &["4294967295"], TRANSPORT),
    flag("grpc-keepalive-min-time", &["5s"], TRANSPORT),
    flag("grpc-keepalive-interval", &["2h", "2h0m0s"], TRANSPORT),
    flag("grpc-keepalive-timeout", &["20s"], TRANSPORT),
    flag("socket-reuse-port", &["false"], TRANSPORT),
    flag("socket-reuse-address", &["false", "true"], TRANSPORT),
    flag("raft-read-timeout", &["5s"], TRANSPORT),
    flag("raft-write-timeout", &["5s"], TRANSPORT),
    flag(
        "enable-grpc-gateway",
        &["true", "false"],
        Why::NotYet("the JSON gateway"),
    ),
    flag(
        "feature-gates",
        &[],
        Why::Foreign("there are no feature gates"),
    ),
    flag("discovery", &[], DISCOVERY),
    flag("discovery-token", &[], DISCOVERY),
    flag("discovery-endpoints", &[], DISCOVERY),
    flag("discovery-dial-timeout", &["2s"], DISCOVERY),
    flag("discovery-request-timeout", &["5s"], DISCOVERY),
    flag("discovery-keepalive-time", &["2s"], DISCOVERY),
    flag("discovery-keepalive-timeout", &["6s"], DISCOVERY),
    flag("discovery-insecure-transport", &["true"], DISCOVERY),
    flag("discovery-insecure-skip-tls-verify", &["false"], DISCOVERY),
    flag("discovery-cert", &[], DISCOVERY),
    flag("discovery-key", &[], DISCOVERY),
    flag("discovery-cacert", &[], DISCOVERY),
    flag("discovery-user", &[], DISCOVERY),
    flag("discovery-password", &[], DISCOVERY),
    flag("discovery-fallback", &["exit"], DISCOVERY),
    flag("discovery-proxy", &[], DISCOVERY),
    flag("discovery-srv", &[], DISCOVERY),
    flag("discovery-srv-name", &[], DISCOVERY),
    flag(
        "v2-deprecation",
        &["write-only", "gone"],
        Why::Foreign("there is no v2 store"),
    ),
    flag("cors", &["*"], Why::NotYet("a list of origins")),
    flag(
        "host-whitelist",
        &["*"],
        Why::NotYet("a list of host names"),
    ),
    flag("auth-token", &["simple"], AUTH),
    flag("bcrypt-cost", &["10"], AUTH),
    flag("auth-token-ttl", &["300"], AUTH),
    flag(
        "enable-pprof",
        &["false"],
        Why::Foreign("profiles of Go's runtime do not exist here"),
    ),
    flag(
        "logger",
        &["zap"],
        Why::Foreign("the log has one writer; choose its shape with --log-format"),
    ),
    flag(
        "log-outputs",
        &["default", "stderr"],
        Why::Foreign("the log goes to standard error"),
    ),
    flag(
        "enable-log-rotation",
        &["false"],
        Why::Foreign("the log goes to standard error"),
    ),
    flag(
        "log-rotation-config-json",
        &[],
        Why::Foreign("the log goes to standard error"),
    ),
    flag(
        "warning-unary-request-duration",
        &["300ms"],
        Why::NotYet("warnings about slow requests"),
    ),
    flag(
        "warning-apply-duration",
        &["100ms"],
        Why::NotYet("warnings about slow requests"),
    ),
    flag("enable-distributed-tracing", &["false"], TRACING),
    flag("distributed-tracing-address", &["localhost:4317"], TRACING),
    flag("distributed-tracing-service-name", &["etcd"], TRACING),
    flag("distributed-tracing-instance-id", &[], TRACING),
    flag("distributed-tracing-sampling-rate", &["0"], TRACING),
    flag("corrupt-check-time", &["0", "0s"], CHECKS),
    flag("compact-hash-check-time", &["1m", "1m0s"], CHECKS),
    flag("compaction-batch-limit", &["1000"], BACKEND),
    flag("compaction-sleep-interval", &["10ms"], BACKEND),
    flag("downgrade-check-time", &["5s"], Why::NotYet("downgrade")),
    flag(
        "unsafe-no-fsync",
        &["false"],
        Why::Foreign("what is acknowledged is durable, always"),
    ),
];

/// The flag of that name, if it is etcd's and not served.
pub(super) fn named(name: &str) -> Option<&'static Unserved> {
    UNSERVED.iter().find(|flag| flag.name == name)
}

impl Unserved {
    /// Whether it stands without a value (`--auto-tls`), as etcd's switches do.
    pub(super) fn is_switch(&self) -> bool {
        self.harmless
            .iter()
            .any(|value| matches!(*value, "true" | "false"))
    }

    /// Lets a harmless value pass and refuses any other with a sentence. `spelled` is how the user wrote the flag.
    pub(super) fn check(&self, spelled: &str, value: &str) -> Result<(), String> {
        if value.is_empty() || self.harmless.contains(&value) {
            return Ok(());
        }
        Err(match self.why {
            Why::NotYet(what) => format!("{spelled} is not there yet ({what}): remove it"),
            Why::Foreign(why) => {
                format!("{spelled} of etcd has no meaning here ({why}): remove it")
            }
        })
    }
}
