//! Every kind that the server knows: its names, its schema, its subresources and its columns.
//!
//! The built-in ones stand in a table; custom ones come and go with their definitions. A registry is an immutable value: a
//! changed definition makes a new one. It deliberately converts nothing between versions beyond their `apiVersion`.

mod built_in;
mod custom;
pub(crate) mod topology;

use crate::object::Object;
use crate::schema::{Schema, cel::Rules};
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// One served version of one kind.
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    /// Status has a door of its own: writes to the main one leave it alone.
    pub(crate) status: bool,
    pub(crate) scale: Option<Scale>,
    pub(crate) custom: bool,
    /// The whole object's schema; none for the definitions of custom resources, which contain themselves.
    pub(crate) schema: Option<Schema>,
    /// The schema as text, for `/openapi/v3`.
    pub(crate) source: Value,
    pub(crate) rules: Option<Rules>,
    pub(crate) columns: Vec<Column>,
    /// Where objects of this kind live: `plural` or `plural.group`, the same for every version.
    pub(crate) resource: String,
}

/// JSON pointers of what `/scale` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) spec_replicas: String,
    pub(crate) status_replicas: String,
    pub(crate) selector: Option<String>,
}

/// One column of `kubectl get`.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) form: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    pub(crate) cell: Cell,
}

/// Where a column's value comes from.
#[derive(Debug, Clone)]
pub(crate) enum Cell {
    /// A JSONPath of the object.
    Path(String),
    /// Worked out from the object.
    Shown(fn(&Value) -> String),
}

impl Kind {
    /// `version` or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// All kinds at one moment.
#[derive(Clone)]
pub(crate) struct Registry {
    kinds: Vec<Arc<Kind>>,
}

impl Registry {
    /// The kinds that are there from the start.
    pub(crate) fn built_in() -> Self {
        // Their schemas take a moment to make and never change: made once for all servers of a process.
        static KINDS: OnceLock<Vec<Arc<Kind>>> = OnceLock::new();
        let kinds = KINDS.get_or_init(|| built_in::kinds().into_iter().map(Arc::new).collect());
        Self {
            kinds: kinds.clone(),
        }
    }

    /// This registry with the kinds of a definition in place of those that it had before.
    pub(crate) fn with_definition(&self, definition: &Value) -> Result<Self, String> {
        let mut next = self.without_definition(definition.name());
        next.kinds
            .extend(custom::kinds(definition)?.into_iter().map(Arc::new));
        Ok(next)
    }

    /// This registry without the kinds of the definition of that name (`plural.group`).
    pub(crate) fn without_definition(&self, name: &str) -> Self {
        let kept = self
            .kinds
            .iter()
            .filter(|k| !(k.custom && k.resource == name));
        Self {
            kinds: kept.cloned().collect(),
        }
    }

    pub(crate) fn all(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// The kind behind a path.
    pub(crate) fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.kinds
            .iter()
            .find(|k| k.group == group && k.version == version && k.plural == plural)
    }

    /// A kind by where its objects live.
    pub(crate) fn by_resource(&self, resource: &str) -> Option<&Arc<Kind>> {
        self.kinds.iter().find(|k| k.resource == resource)
    }
}

/// Name of a resource as keys carry it.
pub(crate) fn resource_name(group: &str, plural: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ListKind;
    use serde_json::json;

    #[test]
    fn built_in_schemas_carry_their_list_keys() {
        let registry = Registry::built_in();
        let pod = registry.by_path("", "v1", "pods").unwrap();
        let spec = pod.schema.as_ref().unwrap().child("spec").unwrap().clone();
        let containers = spec.child("containers").unwrap();
        assert_eq!(containers.list, ListKind::Map(vec!["name".into()]));
        let ports = containers.items.as_ref().unwrap().child("ports").unwrap();
        assert_eq!(
            ports.list,
            ListKind::Map(vec!["containerPort".into(), "protocol".into()])
        );
        assert!(spec.child("nodeSelector").unwrap().map_atomic);
        assert_eq!(spec.child("tolerations").unwrap().list, ListKind::Atomic);
    }

    #[test]
    fn definitions_come_and_go() {
        let definition = json!({"metadata": {"name": "things.x.io"}, "spec": {"group": "x.io", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
        let registry = Registry::built_in().with_definition(&definition).unwrap();
        assert!(registry.by_resource("things.x.io").unwrap().custom);
        let registry = registry.without_definition("things.x.io");
        assert!(registry.by_path("x.io", "v1", "things").is_none());
    }
}
