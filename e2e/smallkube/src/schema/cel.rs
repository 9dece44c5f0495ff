//! CEL rules of custom resources (`x-kubernetes-validations`), transition rules included.
//!
//! The engine is the one that comes with the kube client; this room words its findings as the API server does. Rules are
//! compiled when the definition is stored, so a rule that does not parse is found then. It deliberately measures no cost.

use crate::refusal::Cause;
use kube::core::cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use serde_json::Value;

/// The compiled rules of one version of a custom resource.
pub(crate) struct Rules {
    compiled: CompiledSchema,
    source: Value,
}

impl Rules {
    /// Compiles the rules of a schema, or names the first that cannot be.
    pub(crate) fn compile(source: &Value) -> Result<Self, String> {
        let compiled = compile_schema(source);
        if let Some(error) = first_error(&compiled) {
            return Err(error);
        }
        Ok(Self {
            compiled,
            source: source.clone(),
        })
    }

    /// Every rule that the object, or its change from `old`, breaks.
    pub(crate) fn check(&self, object: &Value, old: Option<&Value>) -> Vec<Cause> {
        let verdict = Validator::new().validate_compiled(&self.compiled, object, old);
        let Err(errors) = verdict else {
            return Vec::new();
        };
        errors
            .into_vec()
            .iter()
            .map(|error| self.cause(error))
            .collect()
    }

    fn cause(&self, error: &kube::core::cel::ValidationError) -> Cause {
        let path = error.field_path.as_str();
        let reason = match error.reason.as_deref() {
            Some("FieldValueForbidden") => "FieldValueForbidden",
            Some("FieldValueRequired") => "FieldValueRequired",
            Some("FieldValueDuplicate") => "FieldValueDuplicate",
            _ => "FieldValueInvalid",
        };
        let why = match error.kind {
            ErrorKind::ValidationFailure => error.message.clone(),
            _ => format!(
                "rule `{}` cannot be evaluated: {}",
                error.rule, error.message
            ),
        };
        let message = match reason {
            "FieldValueForbidden" => format!("Forbidden: {why}"),
            "FieldValueRequired" => format!("Required value: {why}"),
            "FieldValueDuplicate" => format!("Duplicate value: {why}"),
            _ => {
                let form = type_at(&self.source, &error.rule).unwrap_or_default();
                format!("Invalid value: {form:?}: {why}")
            }
        };
        let field = match path {
            "" => "<nil>",
            // A rule of the whole object begins the field that it names with a dot.
            path => path.strip_prefix('.').unwrap_or(path),
        };
        let mut cause = Cause::new(reason, field, message);
        let named = rule_at(&self.source, &error.rule).and_then(|it| it["fieldPath"].as_str());
        cause.rule_at = named
            .and_then(|it| path.strip_suffix(it))
            .map(ToOwned::to_owned);
        cause
    }

    /// True when the schema has any rule at all.
    pub(crate) fn any(&self) -> bool {
        self.source.to_string().contains("x-kubernetes-validations")
    }
}

/// The first rule anywhere in a schema that does not parse.
fn first_error(schema: &CompiledSchema) -> Option<String> {
    if let Some(error) = schema.compilation_errors().first() {
        return Some(error.to_string());
    }
    let below = schema.properties.values();
    let below = below.chain(schema.items.as_deref());
    below
        .chain(schema.additional_properties.as_deref())
        .find_map(first_error)
}

/// The type of the place where a rule stands: the server shows no value that a rule refused, only this.
fn type_at(source: &Value, rule: &str) -> Option<String> {
    let form = place_of(source, rule)?["type"].as_str();
    Some(form.unwrap_or_default().to_owned())
}

/// A rule as the schema has it.
fn rule_at<'a>(source: &'a Value, rule: &str) -> Option<&'a Value> {
    let rules = place_of(source, rule)?["x-kubernetes-validations"].as_array()?;
    rules.iter().find(|it| it["rule"] == rule)
}

/// The schema that a rule stands in.
fn place_of<'a>(source: &'a Value, rule: &str) -> Option<&'a Value> {
    let rules = source["x-kubernetes-validations"].as_array();
    if rules.is_some_and(|rules| rules.iter().any(|it| it["rule"] == rule)) {
        return Some(source);
    }
    let properties = source["properties"].as_object();
    let fields = properties.into_iter().flat_map(|it| it.values());
    let below = ["items", "additionalProperties"].into_iter();
    let below = below.filter_map(|it| source.get(it));
    fields.chain(below).find_map(|it| place_of(it, rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_and_transition_rules_name_field_and_way_out() {
        let rules = Rules::compile(
            &json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"size": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "self % 2 == 1", "message": "must be odd: use 3 or 5"}]},
              "class": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self == oldSelf", "message": "cannot change"}]}}}}}),
        )
        .unwrap();
        let old = json!({"spec": {"size": 3, "class": "a"}});
        let new = json!({"spec": {"size": 4, "class": "b"}});
        assert!(rules.check(&old, None).is_empty());
        let mut said: Vec<String> = rules
            .check(&new, Some(&old))
            .iter()
            .map(|c| format!("{}: {}", c.field, c.message))
            .collect();
        said.sort();
        assert_eq!(
            said,
            [
                "spec.class: Invalid value: \"string\": cannot change",
                "spec.size: Invalid value: \"integer\": must be odd: use 3 or 5",
            ]
        );
        assert!(rules.any());
    }

    #[test]
    fn a_rule_that_names_another_field_still_judges_every_change_where_it_stands() {
        let rules = Rules::compile(
            &json!({"type": "object", "properties": {"spec": {"type": "object",
            "properties": {"least": {"type": "integer"}, "most": {"type": "integer"}},
            "x-kubernetes-validations": [
                {"rule": "self.least <= self.most", "message": "raise the one", "fieldPath": ".most"}]}}}),
        )
        .unwrap();
        let old = json!({"spec": {"least": 1, "most": 2}});
        let new = json!({"spec": {"least": 3, "most": 2}});
        let causes = rules.check(&new, Some(&old));
        assert_eq!(causes[0].field, "spec.most");
        assert!(
            !causes[0].stood_before(&old, &new),
            "the other field is not what has changed"
        );
        assert!(causes[0].stood_before(&new, &new));
    }

    #[test]
    fn a_rule_that_does_not_parse_is_found_at_once() {
        let broken = json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.a ==", "message": "x"}]});
        assert!(Rules::compile(&broken).is_err());
        let below = json!({"type": "object", "properties": {"spec": broken}});
        assert!(Rules::compile(&below).is_err());
    }
}
