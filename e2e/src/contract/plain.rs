//! Takes out of an answer what differs from run to run.
//!
//! It deliberately works on the text of the JSON, for such things stand in messages and in the keys of owned fields too.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// What is replaced everywhere, and by what.
static PATTERNS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let patterns = [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "UID",
        ),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        // Also within a message, where quotation marks are escaped once or more.
        (
            r#"(\\*)"resourceVersion\\*":\\*"\d+\\*""#,
            r#"$1"resourceVersion$1":$1"VERSION$1""#,
        ),
        (r"esourceVersion=\d+", "esourceVersion=VERSION"),
        (
            r"ResourceVersion in object meta: \d+",
            "ResourceVersion in object meta: VERSION",
        ),
        (r"in record \(\d+\)", "in record (VERSION)"),
        (r#""continue":"[^"]+""#, r#""continue":"TOKEN""#),
        (r"continue=[^&]+", "continue=TOKEN"),
    ];
    patterns
        .map(|(it, by)| (Regex::new(it).expect("a pattern of ours"), by))
        .into()
});

/// Knows which names a server has made.
pub(super) struct Plain {
    made: BTreeMap<String, String>,
}

impl Plain {
    /// Learns the names from all answers, so that they are known in those before their making too.
    pub(super) fn learned_from<'a>(answers: impl Iterator<Item = &'a [u8]>) -> Self {
        let objects = answers.filter_map(|it| serde_json::from_slice::<Value>(it).ok());
        let made = objects.filter_map(|object| {
            let metadata = &object["metadata"];
            let prefix = metadata["generateName"].as_str()?;
            Some((
                metadata["name"].as_str()?.to_owned(),
                format!("{prefix}MADE"),
            ))
        });
        Self {
            made: made.collect(),
        }
    }

    /// An answer or an event.
    pub(super) fn json(&self, text: &str) -> Value {
        let plain = self.replaced(text);
        let Ok(mut json) = serde_json::from_str(&plain) else {
            return Value::String(plain);
        };
        sort_managers(&mut json);
        json
    }

    /// A path with its query.
    pub(super) fn target(&self, target: &str) -> String {
        self.replaced(target)
    }

    fn replaced(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, by) in &self.made {
            text = text.replace(name, by);
        }
        for (pattern, by) in PATTERNS.iter() {
            text = pattern.replace_all(&text, *by).into_owned();
        }
        text
    }
}

/// Managers stand in the order of their times, which chance decides when two write within one second.
fn sort_managers(json: &mut Value) {
    match json {
        Value::Object(map) => {
            if let Some(Value::Array(managers)) = map.get_mut("managedFields") {
                let names = ["operation", "manager", "apiVersion", "subresource"];
                managers.sort_by_key(|it| names.map(|name| it[name].to_string()));
            }
            map.values_mut().for_each(sort_managers);
        }
        Value::Array(items) => items.iter_mut().for_each(sort_managers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_taken_out() {
        let made = json!({"metadata": {
            "generateName": "test-", "name": "test-x7q2k", "uid": "0f1e2d3c-0000-4000-8000-00000000000a",
            "resourceVersion": "12", "creationTimestamp": "2026-01-02T03:04:05Z"}});
        let plain = Plain::learned_from([made.to_string().as_bytes()].into_iter());
        let expected = json!({"metadata": {
            "generateName": "test-", "name": "test-MADE", "uid": "UID",
            "resourceVersion": "VERSION", "creationTimestamp": "TIME"}});
        assert_eq!(plain.json(&made.to_string()), expected);
        assert_eq!(
            plain.target("/api/v1/namespaces/test-x7q2k?resourceVersion=7"),
            "/api/v1/namespaces/test-MADE?resourceVersion=VERSION"
        );
        assert_eq!(
            plain.json("404 page not found"),
            json!("404 page not found")
        );
    }
}
