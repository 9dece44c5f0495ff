//! etcd's flags that this node does not serve: most are taken and named in one line at the start as having no meaning here;
//! those that ask for what would be dangerous to leave out are refused.
//!
//! A flag that only says what is so anyway (`--enable-pprof=false`) is let pass without a word: manifests written for etcd
//! spell out defaults.
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
    /// Ignoring it would leave out something that matters, and there is another way.
    Refused(&'static str),
    /// What it turns is not there, or turns by itself.
    Foreign(&'static str),
}

/// What becomes of a flag that is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It asks for nothing.
    Harmless,
    /// It has no meaning here; this says so.
    WithoutMeaning(String),
    /// The start must end; this is why.
    Refused(String),
}

const DISCOVERY: Why =
    Why::Refused("discovery is not served; list the members in --initial-cluster");
const TRACING: Why = Why::Foreign("nothing is traced");
const BACKEND: Why = Why::Foreign("there is no bbolt backend to tune");
const ROTATION: Why = Why::Foreign("logs are not rotated; whoever keeps them does that");
const CHECKS: Why = Why::Foreign("replicas compare digests all the time");
const DROPPED: Why = Why::Foreign("etcd ignores it too");
const PEERS: Why = Why::Foreign("members ping each other every two seconds");

const fn flag(name: &'static str, harmless: &'static [&'static str], why: Why) -> Unserved {
    Unserved {
        name,
        harmless,
        why,
    }
}

/// Every flag of etcd 3.6 and 3.7 that is not served, by chapter of its help.
const UNSERVED: &[Unserved] = &[
    flag(
        "initial-election-tick-advance",
        &["true"],
        Why::Foreign("a member that starts waits for a whole election timeout"),
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
    flag(
        "memory-mlock",
        &["false"],
        Why::Foreign("memory is the system's to manage"),
    ),
    flag("backend-bbolt-freelist-type", &["map", "array"], BACKEND),
    flag("backend-batch-interval", &["0", "0s", "0ns"], BACKEND),
    flag("backend-batch-limit", &["0"], BACKEND),
    flag("bootstrap-defrag-threshold-megabytes", &["0"], BACKEND),
    flag("raft-read-timeout", &["5s"], PEERS),
    flag("raft-write-timeout", &["5s"], PEERS),
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
    // Without discovery there is nothing to fall back from; etcd's sample of a file has the second.
    flag("discovery-fallback", &["exit", "proxy"], DISCOVERY),
    flag("discovery-proxy", &[], DISCOVERY),
    flag("discovery-srv", &[], DISCOVERY),
    flag("discovery-srv-name", &[], DISCOVERY),
    flag(
        "v2-deprecation",
        &["write-only", "gone"],
        Why::Foreign("there is no v2 store"),
    ),
    flag(
        "enable-pprof",
        &["false"],
        Why::Foreign("profiles of Go's runtime do not exist here"),
    ),
    flag("enable-log-rotation", &["false"], ROTATION),
    flag("log-rotation-config-json", &[], ROTATION),
    flag("enable-distributed-tracing", &["false"], TRACING),
    flag("distributed-tracing-address", &["localhost:4317"], TRACING),
    flag("distributed-tracing-service-name", &["etcd"], TRACING),
    flag("distributed-tracing-instance-id", &[], TRACING),
    flag("distributed-tracing-sampling-rate", &["0"], TRACING),
    flag("corrupt-check-time", &["0", "0s", "0ns"], CHECKS),
    flag("compact-hash-check-time", &["1m", "1m0s"], CHECKS),
    flag("compaction-batch-limit", &["1000"], BACKEND),
    flag("compaction-sleep-interval", &["10ms"], BACKEND),
    flag(
        "downgrade-check-time",
        &["5s"],
        Why::Foreign("a downgrade is looked at whenever something of it changes"),
    ),
    flag(
        "unsafe-no-fsync",
        &["false"],
        Why::Foreign("what is acknowledged is durable, always"),
    ),
    flag("cluster-active-size", &[], DROPPED),
    flag("cluster-remove-delay", &[], DROPPED),
    flag("cluster-sync-interval", &[], DROPPED),
    flag("config", &[], DROPPED),
    flag("force", &["false"], DROPPED),
    flag("max-result-buffer", &[], DROPPED),
    flag("max-retry-attempts", &[], DROPPED),
    flag("peer-heartbeat-interval", &[], DROPPED),
    flag("peer-election-timeout", &[], DROPPED),
    flag("retry-interval", &[], DROPPED),
    flag("snapshot", &["false"], DROPPED),
    flag("v", &["false"], DROPPED),
    flag("vv", &["false"], DROPPED),
];

/// The flag of that name, if it is etcd's and not served.
pub(super) fn named(name: &str) -> Option<&'static Unserved> {
    UNSERVED.iter().find(|flag| flag.name == name)
}

impl Unserved {
    /// Whether it stands without a value (`--enable-pprof`), as etcd's switches do.
    pub(super) fn is_switch(&self) -> bool {
        self.harmless
            .iter()
            .any(|value| matches!(*value, "true" | "false"))
    }

    /// What becomes of it. `spelled` is how the user wrote the flag.
    pub(super) fn judge(&self, spelled: &str, value: &str) -> Verdict {
        if value.is_empty() || self.harmless.contains(&value) {
            return Verdict::Harmless;
        }
        match self.why {
            Why::Refused(why) => Verdict::Refused(format!(
                "{spelled} of etcd is refused here ({why}): remove it"
            )),
            Why::Foreign(why) => Verdict::WithoutMeaning(format!("{spelled} ({why})")),
        }
    }
}
