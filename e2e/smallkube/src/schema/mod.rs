//! Structural schemas: what an object of a kind may hold, compiled once from OpenAPI.
//!
//! One form serves custom resources (from their definition) and built-in kinds (from the Kubernetes types, with the list
//! keys of [`crate::kinds::topology`]). It deliberately follows no `$ref` cycle: a kind that contains itself has no schema here.

pub(crate) mod cel;
pub(crate) mod defaults;
pub(crate) mod prune;
pub(crate) mod validate;

use crate::kinds::topology;
use crate::object::Object;
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The JSON type that a schema asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Object,
    Array,
    Text,
    Integer,
    Number,
    Boolean,
    /// A whole number or a text, e.g. ports and quantities.
    IntOrText,
    /// Anything.
    Any,
}

/// How a list is merged and owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListKind {
    Atomic,
    Set,
    /// Items are told apart by these fields.
    Map(Vec<String>),
}

/// One node of a schema.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub(crate) form: Form,
    pub(crate) nullable: bool,
    /// Unknown fields stay.
    pub(crate) open: bool,
    /// A whole Kubernetes object stands here.
    pub(crate) embedded: bool,
    pub(crate) properties: BTreeMap<String, Arc<Self>>,
    /// Schema of the values of a map with free keys.
    pub(crate) values: Option<Arc<Self>>,
    pub(crate) items: Option<Arc<Self>>,
    pub(crate) list: ListKind,
    pub(crate) map_atomic: bool,
    pub(crate) default: Option<Value>,
    pub(crate) limits: Limits,
}

/// What a value must obey beyond its form.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    pub(crate) required: Vec<String>,
    pub(crate) allowed: Vec<Value>,
    pub(crate) minimum: Option<(f64, bool)>,
    pub(crate) maximum: Option<(f64, bool)>,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) length: (Option<u64>, Option<u64>),
    pub(crate) items: (Option<u64>, Option<u64>),
    pub(crate) properties: (Option<u64>, Option<u64>),
    pub(crate) unique: bool,
    pub(crate) pattern: Option<Regex>,
    pub(crate) format: String,
    pub(crate) all_of: Vec<Arc<Schema>>,
    pub(crate) any_of: Vec<Arc<Schema>>,
    pub(crate) one_of: Vec<Arc<Schema>>,
    pub(crate) not: Option<Arc<Schema>>,
}

impl Schema {
    /// From an OpenAPI schema without references, as a definition of custom resources carries it.
    pub(crate) fn compile(source: &Value) -> Result<Self, String> {
        Compiler {
            definitions: &Map::new(),
        }
        .node(source, "", "")
    }

    /// From a schema with `$defs`, as the Kubernetes types give it.
    pub(crate) fn compile_with(
        source: &Value,
        definitions: &Map<String, Value>,
    ) -> Result<Self, String> {
        let title = source.text("/title").to_owned();
        Compiler { definitions }.node(source, &title, "")
    }

    /// The schema of a field or map entry, if the schema knows it.
    pub(crate) fn child(&self, name: &str) -> Option<&Arc<Self>> {
        self.properties.get(name).or(self.values.as_ref())
    }

    /// True for a place whose every value is owned as a whole.
    pub(crate) fn is_atomic(&self) -> bool {
        match self.form {
            Form::Object => self.map_atomic,
            Form::Array => self.list == ListKind::Atomic,
            _ => false,
        }
    }
}

struct Compiler<'a> {
    definitions: &'a Map<String, Value>,
}

impl Compiler<'_> {
    /// `owner` is the name of the definition this node stands in and `field` its field there; they find built-in list keys.
    fn node(&self, source: &Value, owner: &str, field: &str) -> Result<Schema, String> {
        if let Some(name) = reference(source) {
            let found = self
                .definitions
                .get(name)
                .ok_or_else(|| format!("schema names {name:?}, which is not defined"))?;
            let mut node = self.node(found, name, "")?;
            node.map_atomic |= topology::is_atomic(name);
            return Ok(node);
        }
        let mut properties = BTreeMap::new();
        for (name, child) in source.entries("/properties").into_iter().flatten() {
            properties.insert(name.clone(), Arc::new(self.node(child, owner, name)?));
        }
        let (values, any_values) = self.values(source)?;
        let form = form(source);
        let items = source.get("items").map(|i| self.node(i, owner, field));
        let open = flag(source, "x-kubernetes-preserve-unknown-fields")
            || any_values
            || (form == Form::Object
                && properties.is_empty()
                && values.is_none()
                && !owner.is_empty());
        Ok(Schema {
            form,
            nullable: flag(source, "nullable") || nullable_type(source),
            open,
            embedded: flag(source, "x-kubernetes-embedded-resource"),
            properties,
            values,
            items: items.transpose()?.map(Arc::new),
            list: list_kind(source, owner, field),
            map_atomic: source.text("/x-kubernetes-map-type") == "atomic"
                || topology::is_atomic_map(owner, field),
            default: source.get("default").cloned(),
            limits: self.limits(source)?,
        })
    }

    fn values(&self, source: &Value) -> Result<(Option<Arc<Schema>>, bool), String> {
        match source.get("additionalProperties") {
            Some(Value::Bool(any)) => Ok((None, *any)),
            Some(schema) => Ok((Some(Arc::new(self.node(schema, "", "")?)), false)),
            None => Ok((None, false)),
        }
    }

    fn limits(&self, source: &Value) -> Result<Limits, String> {
        let pattern = match source.text("/pattern") {
            "" => None,
            text => Some(Regex::new(text).map_err(|e| format!("pattern {text:?}: {e}"))?),
        };
        let count = |name: &str| source.get(name).and_then(Value::as_u64);
        let bound = |name: &str, exclusive: &str| {
            Some((source.get(name)?.as_f64()?, flag(source, exclusive)))
        };
        Ok(Limits {
            required: texts(source.items("/required")),
            allowed: source.items("/enum").to_vec(),
            minimum: bound("minimum", "exclusiveMinimum"),
            maximum: bound("maximum", "exclusiveMaximum"),
            multiple_of: source.get("multipleOf").and_then(Value::as_f64),
            length: (count("minLength"), count("maxLength")),
            items: (count("minItems"), count("maxItems")),
            properties: (count("minProperties"), count("maxProperties")),
            unique: flag(source, "uniqueItems"),
            pattern,
            format: source.text("/format").to_owned(),
            all_of: self.branches(source, "/allOf")?,
            any_of: self.branches(source, "/anyOf")?,
            one_of: self.branches(source, "/oneOf")?,
            not: match source.get("not") {
                Some(not) => Some(Arc::new(self.node(not, "", "")?)),
                None => None,
            },
        })
    }

    fn branches(&self, source: &Value, pointer: &str) -> Result<Vec<Arc<Schema>>, String> {
        source
            .items(pointer)
            .iter()
            .map(|branch| self.node(branch, "", "").map(Arc::new))
            .collect()
    }
}

/// The definition a node points at, directly or through the single-element `allOf` that carries a description beside it.
fn reference(source: &Value) -> Option<&str> {
    source.text("/$ref").rsplit_once('/').map(|(_, name)| name)
}

fn flag(source: &Value, name: &str) -> bool {
    source.get(name).and_then(Value::as_bool).unwrap_or(false)
}

fn nullable_type(source: &Value) -> bool {
    source.items("/type").iter().any(|t| t == "null")
}

fn form(source: &Value) -> Form {
    if flag(source, "x-kubernetes-int-or-string") {
        return Form::IntOrText;
    }
    let named = source.items("/type").iter().find(|t| *t != "null");
    match named
        .and_then(Value::as_str)
        .unwrap_or(source.text("/type"))
    {
        "object" => Form::Object,
        "array" => Form::Array,
        "string" => Form::Text,
        "integer" => Form::Integer,
        "number" => Form::Number,
        "boolean" => Form::Boolean,
        _ if source.get("properties").is_some() => Form::Object,
        _ => Form::Any,
    }
}

fn list_kind(source: &Value, owner: &str, field: &str) -> ListKind {
    match source.text("/x-kubernetes-list-type") {
        "map" => ListKind::Map(texts(source.items("/x-kubernetes-list-map-keys"))),
        "set" => ListKind::Set,
        "atomic" => ListKind::Atomic,
        _ => topology::list_kind(owner, field),
    }
}

fn texts(values: &[Value]) -> Vec<String> {
    values
        .iter()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}
