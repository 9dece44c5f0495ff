//! `--feature-gates`: etcd's gates, by their names.
//!
//! What this module does not do: switch anything on. Who has a use for a gate asks for it.

use std::collections::BTreeMap;

/// etcd's gates of 3.6 and 3.7, whether each is on by default, and what it would be here; nothing where we have it.
const GATES: &[(&str, bool, Option<&str>)] = &[
    (
        "CompactHashCheck",
        false,
        Some("replicas compare digests all the time"),
    ),
    (
        "FastLeaseKeepAlive",
        true,
        Some("a renewal never waits for the log"),
    ),
    (
        "InitialCorruptCheck",
        false,
        Some("replicas compare digests all the time"),
    ),
    ("LeaseCheckpoint", false, None),
    ("LeaseCheckpointPersist", false, None),
    (
        "PriorityRequest",
        false,
        Some("no command waits for another client's"),
    ),
    (
        "SetMemberLocalAddr",
        false,
        Some("the system chooses the address to dial from"),
    ),
    (
        "StopGRPCServiceOnDefrag",
        false,
        Some("a defragmentation stops nobody"),
    ),
    (
        "TxnModeWriteWithSharedBuffer",
        true,
        Some("there is no buffer to share"),
    ),
];

/// Switches for all gates that are not on by default, and for all that are.
const ALL_ALPHA: &str = "AllAlpha";
const ALL_BETA: &str = "AllBeta";

/// The gates as they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features(BTreeMap<&'static str, bool>);

impl Features {
    /// Reads `Name=true,Other=false`; a later one wins.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut features = Self::default();
        let mut named = BTreeMap::new();
        for pair in super::security::list(text) {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                format!("--feature-gates: missing bool value for {pair}; write {pair}=true")
            })?;
            let value = super::switch::switch(value.trim()).map_err(|_| {
                format!("--feature-gates: invalid value of {name}: {value}; it is true or false")
            })?;
            let name = name.trim();
            match name {
                ALL_ALPHA | ALL_BETA => features.set_all(name == ALL_BETA, value),
                _ => {
                    let known = GATES.iter().find(|(gate, ..)| *gate == name);
                    let (gate, ..) = known.ok_or_else(|| unknown(name))?;
                    named.insert(*gate, value);
                }
            }
        }
        features.0.extend(named);
        if features.is_on("LeaseCheckpointPersist") && !features.is_on("LeaseCheckpoint") {
            return Err(
                "--feature-gates: enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
                 LeaseCheckpoint"
                    .to_owned(),
            );
        }
        Ok(features)
    }

    fn set_all(&mut self, beta: bool, value: bool) {
        let of_kind = GATES.iter().filter(|(_, default, _)| *default == beta);
        self.0.extend(of_kind.map(|(gate, ..)| (*gate, value)));
    }

    /// Whether a gate is open.
    ///
    /// # Panics
    /// That etcd has no such gate: a name in our own code.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        let known = GATES.iter().find(|(gate, ..)| *gate == name);
        let (gate, default, _) = known.expect("a gate of etcd's");
        self.0.get(gate).copied().unwrap_or(*default)
    }

    /// The gates that were set otherwise than by default and have no meaning here, each with what is so instead.
    pub(super) fn without_meaning(&self) -> impl Iterator<Item = String> {
        GATES.iter().filter_map(|(gate, default, here)| {
            let set = self.0.get(gate).filter(|set| *set != default)?;
            here.map(|here| format!("--feature-gates={gate}={set} ({here})"))
        })
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<&str> = GATES.iter().map(|(gate, ..)| *gate).collect();
    format!(
        "--feature-gates: unrecognized feature gate: {name}; there are {}",
        known.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_read_as_etcd_reads_them() {
        let read = |text| Features::read(text);
        let features = read("LeaseCheckpoint=true, LeaseCheckpointPersist=1").unwrap();
        assert!(features.is_on("LeaseCheckpoint") && features.is_on("LeaseCheckpointPersist"));
        assert!(features.is_on("FastLeaseKeepAlive"), "by default");
        assert_eq!(features.without_meaning().count(), 0);
        assert!(!read("").unwrap().is_on("LeaseCheckpoint"));
        assert!(!read("AllBeta=false").unwrap().is_on("FastLeaseKeepAlive"));
        let all = read("AllAlpha=true,CompactHashCheck=false").unwrap();
        assert!(all.is_on("PriorityRequest") && !all.is_on("CompactHashCheck"));
        let named: Vec<String> = read("PriorityRequest=true")
            .unwrap()
            .without_meaning()
            .collect();
        assert!(named[0].contains("PriorityRequest=true"), "{named:?}");
        for (text, said) in [
            ("Unheard=true", "unrecognized feature gate: Unheard"),
            ("LeaseCheckpoint", "missing bool value"),
            ("LeaseCheckpoint=perhaps", "perhaps"),
            ("LeaseCheckpointPersist=true", "requires"),
        ] {
            let refused = read(text).unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }
}
