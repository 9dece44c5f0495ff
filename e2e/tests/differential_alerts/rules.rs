//! The rule file that the chart hands over.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::Regex;
use serde_json::Value;

/// Where it stands, from the package's folder.
pub(crate) const FILE: &str = "../charts/quorate/files/member-alerts.yaml";

static METRICS: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(?:up|(?:etcd|grpc)_[a-z0-9_]+)\{"));
static MINUTES: LazyLock<Regex> = LazyLock::new(|| pattern(r"(for: |\[)(\d+)m"));
static HOURS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(for: |\[)(\d+)h"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern of ours")
}

/// The rules, as text and as what they are.
#[derive(Debug)]
pub(crate) struct Rules {
    text: String,
    parsed: Value,
}

impl Rules {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, or is no YAML.
    pub(crate) fn read() -> Result<Self> {
        let text = std::fs::read_to_string(FILE).with_context(|| format!("read {FILE}"))?;
        let parsed = serde_saphyr::from_str(&text).with_context(|| format!("read {FILE}"))?;
        Ok(Self { text, parsed })
    }

    /// Each alert with its severity: by name, and as the tests of `promtool` write a firing one.
    pub(crate) fn alerts(&self) -> impl Iterator<Item = (String, String)> {
        let groups = self.parsed["groups"].as_array().into_iter().flatten();
        let rules = groups.flat_map(|it| it["rules"].as_array().into_iter().flatten());
        rules.map(|it| {
            let [name, severity] = [&it["alert"], &it["labels"]["severity"]];
            let name = name.as_str().unwrap_or_default().to_owned();
            let severity = severity.as_str().unwrap_or_default();
            let firing = format!(
                r#"ALERTS{{alertname="{name}", alertstate="firing", severity="{severity}""#
            );
            (name, firing)
        })
    }

    /// Every metric that they read.
    pub(crate) fn metrics(&self) -> BTreeSet<String> {
        let found = METRICS.find_iter(&self.text);
        found
            .map(|it| it.as_str().trim_end_matches('{').to_owned())
            .collect()
    }

    /// The same rules, with a second for each minute.
    pub(crate) fn faster(&self) -> String {
        let seconds = MINUTES.replace_all(&self.text, "${1}${2}s");
        HOURS.replace_all(&seconds, "${1}${2}m").into_owned()
    }
}

#[test]
fn faster_rules_are_the_same_but_for_their_time() {
    let text = "expr: rate(up{}[2m]) + grpc_x{}[4h]\nfor: 10m\n";
    let rules = Rules {
        text: text.to_owned(),
        parsed: Value::Null,
    };
    let faster = "expr: rate(up{}[2s]) + grpc_x{}[4m]\nfor: 10s\n";
    assert_eq!(rules.faster(), faster);
    let metrics = ["grpc_x", "up"].map(str::to_owned);
    assert_eq!(rules.metrics(), BTreeSet::from(metrics));
}
