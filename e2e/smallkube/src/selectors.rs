//! Label and field selectors, as lists, watches and budgets name objects.
//!
//! Parses Kubernetes' selector text (`a=b,c!=d,e in (x,y),!f`) and its structured form. Field selectors know equality
//! alone, and only of the fields that the real server indexes; it deliberately refuses anything else, and never ignores it.

use crate::object::Object;
use crate::refusal::Refusal;
use serde_json::Value;

/// All of these must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRule {
    pointer: String,
    equal: bool,
    value: String,
}

impl Selector {
    /// From the query parameters of a list or a watch.
    pub(crate) fn parse(labels: &str, fields: &str) -> Result<Self, Refusal> {
        let labels = split(labels)
            .iter()
            .map(|one| requirement(one))
            .collect::<Result<_, _>>()?;
        let fields = fields
            .split(',')
            .filter(|one| !one.trim().is_empty())
            .map(field_rule)
            .collect::<Result<_, _>>()?;
        Ok(Self { labels, fields })
    }

    /// From the `{matchLabels, matchExpressions}` form; an empty one matches everything, a missing one nothing.
    pub(crate) fn from_object(selector: Option<&Value>) -> Option<Self> {
        let selector = selector?;
        let mut labels = Vec::new();
        for (key, value) in selector.entries("/matchLabels").into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            labels.push(Requirement {
                key: key.clone(),
                rule: Rule::In(vec![value]),
            });
        }
        for expression in selector.items("/matchExpressions") {
            labels.push(Requirement {
                key: expression.text("/key").to_owned(),
                rule: expression_rule(expression)?,
            });
        }
        Some(Self {
            labels,
            fields: Vec::new(),
        })
    }

    /// From a plain map of labels, as a Service has it.
    pub(crate) fn from_map(labels: Option<&Value>) -> Option<Self> {
        let map = labels?.as_object()?;
        let labels = map
            .iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                rule: Rule::In(vec![value.as_str().unwrap_or_default().to_owned()]),
            })
            .collect();
        Some(Self {
            labels,
            fields: Vec::new(),
        })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels
            .iter()
            .all(|r| r.rule.holds(object.label(&r.key)))
            && self
                .fields
                .iter()
                .all(|f| (field(object, &f.pointer) == f.value) == f.equal)
    }
}

/// A field in words, as the server indexes it: what is not set is empty, or false where it can be true.
fn field(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer) {
        Some(Value::Bool(value)) => value.to_string(),
        None if pointer == "/spec/unschedulable" => false.to_string(),
        _ => object.text(pointer).to_owned(),
    }
}

impl Rule {
    fn holds(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Exists, found) => found.is_some(),
            (Self::Missing, found) => found.is_none(),
            (Self::In(allowed), Some(found)) => allowed.iter().any(|a| a == found),
            (Self::In(_), None) => false,
            (Self::NotIn(denied), Some(found)) => !denied.iter().any(|d| d == found),
            (Self::NotIn(_), None) => true,
        }
    }
}

fn expression_rule(expression: &Value) -> Option<Rule> {
    let values = expression
        .items("/values")
        .iter()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect();
    match expression.text("/operator") {
        "In" => Some(Rule::In(values)),
        "NotIn" => Some(Rule::NotIn(values)),
        "Exists" => Some(Rule::Exists),
        "DoesNotExist" => Some(Rule::Missing),
        _ => None,
    }
}

/// Splits at commas that stand outside of parentheses.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.retain(|p| !p.trim().is_empty());
    parts
}

fn requirement(text: &str) -> Result<Requirement, Refusal> {
    let text = text.trim();
    let (key, rule) = if let Some((key, values)) = text.split_once(" notin ") {
        (key, Rule::NotIn(set(values)))
    } else if let Some((key, values)) = text.split_once(" in ") {
        (key, Rule::In(set(values)))
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Rule::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Rule::In(vec![value.trim().to_owned()]))
    } else if let Some(key) = text.strip_prefix('!') {
        (key, Rule::Missing)
    } else {
        (text, Rule::Exists)
    };
    let key = key.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(Refusal::bad_request(format!(
            "unable to parse requirement: {text:?} is no label selector"
        )));
    }
    Ok(Requirement {
        key: key.to_owned(),
        rule,
    })
}

fn set(text: &str) -> Vec<String> {
    text.trim()
        .trim_start_matches('(')
        .trim_end_matches(')')
        .split(',')
        .map(|v| v.trim().to_owned())
        .collect()
}

fn field_rule(text: &str) -> Result<FieldRule, Refusal> {
    let (name, value, equal) = if let Some((name, value)) = text.split_once("!=") {
        (name, value, false)
    } else if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (name, value, true)
    } else {
        return Err(Refusal::bad_request(format!(
            "invalid selector: '{text}'; can't understand '{text}'"
        )));
    };
    const KNOWN: [&str; 13] = [
        "metadata.name",
        "metadata.namespace",
        "status.phase",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.unschedulable",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.uid",
        "involvedObject.kind",
        "type",
        "reason",
    ];
    if !KNOWN.contains(&name.trim()) {
        return Err(Refusal::bad_request(format!(
            "field label not supported: {name}"
        )));
    }
    Ok(FieldRule {
        pointer: format!("/{}", name.trim().replace('.', "/")),
        equal,
        value: value.trim().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn selects(labels: &str, fields: &str) -> bool {
        let object = json!({
            "metadata": {"name": "a", "labels": {"app": "kv", "tier": "x"}},
            "status": {"phase": "Running"},
        });
        Selector::parse(labels, fields).unwrap().matches(&object)
    }

    #[test]
    fn label_selectors_follow_kubernetes() {
        assert!(selects("app=kv,tier in (x, y)", ""));
        assert!(selects("app==kv,!gone", ""));
        assert!(selects("app,missing!=z", ""));
        assert!(selects("tier notin (a,b)", ""));
        assert!(!selects("app=other", ""));
        assert!(!selects("missing in (a)", ""));
        assert!(Selector::parse("=x", "").is_err());
    }

    #[test]
    fn field_selectors_know_what_the_server_indexes() {
        assert!(selects("", "metadata.name=a,status.phase!=Failed"));
        assert!(!selects("", "metadata.name=b"));
        assert!(Selector::parse("", "spec.replicas=3").is_err());
        let cordoned = |text: &str, node: Value| Selector::parse("", text).unwrap().matches(&node);
        let (yes, no) = ("spec.unschedulable=true", "spec.unschedulable=false");
        assert!(cordoned(yes, json!({"spec": {"unschedulable": true}})));
        assert!(!cordoned(yes, json!({"spec": {}})) && cordoned(no, json!({"spec": {}})));
    }

    #[test]
    fn a_missing_structured_selector_selects_nothing() {
        assert_eq!(Selector::from_object(None), None);
        let all = Selector::from_object(Some(&json!({}))).unwrap();
        assert!(all.matches(&json!({})));
    }
}
