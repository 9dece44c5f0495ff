//! Operations on values that follow a schema: which fields a value sets, merging, comparing, taking fields out.
//!
//! Where the schema is silent, maps merge key by key and lists are one value, as the API server deduces it. It
//! deliberately validates nothing: what does not fit the schema is treated as one value.

use super::fields::{FieldSet, Step};
use crate::schema::{ListKind, Schema};
use serde_json::{Map, Value};

/// How two values differ, path by path.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) added: FieldSet,
    pub(crate) modified: FieldSet,
    pub(crate) removed: FieldSet,
}

/// How a value is taken apart.
enum Parts<'a> {
    Whole,
    Map(&'a Map<String, Value>),
    List(&'a [Value]),
}

fn parts<'a>(schema: Option<&Schema>, value: &'a Value) -> Parts<'a> {
    if schema.is_some_and(Schema::is_atomic) {
        return Parts::Whole;
    }
    match value {
        Value::Object(map) => Parts::Map(map),
        Value::Array(items) if schema.is_some() => Parts::List(items),
        _ => Parts::Whole,
    }
}

fn child<'a>(schema: Option<&'a Schema>, name: &str) -> Option<&'a Schema> {
    schema?.child(name).map(AsRef::as_ref)
}

fn element(schema: Option<&Schema>) -> Option<&Schema> {
    schema?.items.as_deref()
}

/// The step of a list's item; the key fields that are missing take their default.
fn step(schema: Option<&Schema>, item: &Value) -> Option<Step> {
    let schema = schema?;
    let ListKind::Map(keys) = &schema.list else {
        return Some(Step::Item(item.to_string()));
    };
    let map = item.as_object()?;
    let mut named = Map::new();
    for key in keys {
        let default = || {
            let default = schema.items.as_ref()?.child(key)?.default.clone();
            default.or_else(|| (key == "protocol").then(|| "TCP".into()))
        };
        if let Some(value) = map.get(key).cloned().or_else(default) {
            named.insert(key.clone(), value);
        }
    }
    Some(Step::Keyed(Value::Object(named).to_string()))
}

/// Every field that a value sets.
pub(crate) fn fields_of(schema: Option<&Schema>, value: &Value) -> FieldSet {
    match parts(schema, value) {
        Parts::Whole => FieldSet::leaf(),
        Parts::Map(map) => {
            let mut set = FieldSet::default();
            for (name, field) in map {
                let declared = schema.is_some_and(|s| s.properties.contains_key(name));
                let mut below = fields_of(child(schema, name), field);
                // Entries of free maps belong to whoever set them, also when they are empty.
                below.here |= !declared || field.as_object().is_some_and(Map::is_empty);
                set.add(Step::Field(name.clone()), below);
            }
            set
        }
        Parts::List(items) => {
            let mut set = FieldSet::default();
            for item in items {
                if let Some(step) = step(schema, item) {
                    let keyed = matches!(step, Step::Keyed(_));
                    let mut below = if keyed {
                        fields_of(element(schema), item)
                    } else {
                        FieldSet::default()
                    };
                    below.here = true;
                    set.add(step, below);
                }
            }
            set
        }
    }
}

/// `live` with everything that `applied` sets.
pub(crate) fn merge(schema: Option<&Schema>, live: &Value, applied: &Value) -> Value {
    match (parts(schema, live), parts(schema, applied)) {
        (Parts::Map(old), Parts::Map(new)) => {
            let mut merged = old.clone();
            for (name, field) in new {
                let value = match old.get(name) {
                    Some(before) => merge(child(schema, name), before, field),
                    None => field.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (Parts::List(old), Parts::List(new)) => Value::Array(merge_lists(schema, old, new)),
        _ => applied.clone(),
    }
}

/// Walks both lists: what only the live one has comes first, then what only the applied one has; shared items follow the
/// applied order.
fn merge_lists(schema: Option<&Schema>, old: &[Value], new: &[Value]) -> Vec<Value> {
    let steps = |items: &[Value]| -> Vec<Option<Step>> {
        items.iter().map(|item| step(schema, item)).collect()
    };
    let (old_steps, new_steps) = (steps(old), steps(new));
    let mut merged = Vec::new();
    let mut next_old = 0;
    for (item, wanted) in new.iter().zip(&new_steps) {
        while next_old < old.len() && !new_steps.contains(&old_steps[next_old]) {
            merged.push(old[next_old].clone());
            next_old += 1;
        }
        let shared = old_steps.iter().position(|step| step == wanted);
        merged.push(match (shared, wanted) {
            (Some(at), Some(Step::Keyed(_))) => merge(element(schema), &old[at], item),
            _ => item.clone(),
        });
        if shared == Some(next_old) {
            next_old += 1;
        }
    }
    let rest = old.iter().zip(&old_steps).skip(next_old);
    merged.extend(
        rest.filter(|(_, step)| !new_steps.contains(step))
            .map(|(item, _)| item.clone()),
    );
    merged
}

/// How `new` differs from `old`.
pub(crate) fn compare(schema: Option<&Schema>, old: &Value, new: &Value) -> Difference {
    let mut difference = Difference::default();
    if old == new {
        return difference;
    }
    match (parts(schema, old), parts(schema, new)) {
        (Parts::Map(before), Parts::Map(after)) => {
            let names = before
                .keys()
                .chain(after.keys().filter(|k| !before.contains_key(*k)));
            for name in names {
                let (old, new) = (before.get(name), after.get(name));
                difference.descend(Step::Field(name.clone()), child(schema, name), old, new);
            }
        }
        (Parts::List(before), Parts::List(after)) => {
            let find = |items: &'_ [Value], wanted: &Step| {
                let found = items
                    .iter()
                    .find(|i| step(schema, i).as_ref() == Some(wanted));
                found.cloned()
            };
            let mut seen = Vec::new();
            for step in before.iter().chain(after).filter_map(|i| step(schema, i)) {
                if !seen.contains(&step) {
                    let (old, new) = (find(before, &step), find(after, &step));
                    difference.descend(step.clone(), element(schema), old.as_ref(), new.as_ref());
                    seen.push(step);
                }
            }
        }
        _ => difference.modified.here = true,
    }
    difference
}

/// What appears or goes as a whole is owned at each of its nodes, not only at its leaves.
fn every_node(mut set: FieldSet) -> FieldSet {
    set.here = true;
    for child in set.children.values_mut() {
        *child = every_node(std::mem::take(child));
    }
    set
}

impl Difference {
    fn descend(
        &mut self,
        step: Step,
        schema: Option<&Schema>,
        old: Option<&Value>,
        new: Option<&Value>,
    ) {
        let whole = |value: &Value| every_node(fields_of(schema, value));
        match (old, new) {
            (Some(old), Some(new)) => {
                let below = compare(schema, old, new);
                self.added.add(step.clone(), below.added);
                self.modified.add(step.clone(), below.modified);
                self.removed.add(step, below.removed);
            }
            (None, Some(new)) => self.added.add(step, whole(new)),
            (Some(old), None) => self.removed.add(step, whole(old)),
            (None, None) => {}
        }
    }
}

/// The value without the fields of a set; `None` when nothing is left of it.
pub(crate) fn take_out(schema: Option<&Schema>, value: &Value, set: &FieldSet) -> Option<Value> {
    if set.children.is_empty() {
        return (!set.here).then(|| value.clone());
    }
    match parts(schema, value) {
        Parts::Whole => (!set.here).then(|| value.clone()),
        Parts::Map(map) => {
            let mut rest = Map::new();
            for (name, field) in map {
                match set.children.get(&Step::Field(name.clone())) {
                    None => {
                        rest.insert(name.clone(), field.clone());
                    }
                    Some(below) => {
                        if let Some(left) = take_out(child(schema, name), field, below) {
                            rest.insert(name.clone(), left);
                        }
                    }
                }
            }
            (!rest.is_empty()).then_some(Value::Object(rest))
        }
        Parts::List(items) => {
            let left: Vec<Value> = items
                .iter()
                .filter_map(|item| take_item(schema, item, set))
                .collect();
            (!left.is_empty()).then_some(Value::Array(left))
        }
    }
}

fn take_item(schema: Option<&Schema>, item: &Value, set: &FieldSet) -> Option<Value> {
    let below = step(schema, item).and_then(|step| set.children.get(&step));
    match below {
        None => Some(item.clone()),
        Some(below) if below.here => None,
        Some(below) => take_out(element(schema), item, below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Schema {
        Schema::compile(&json!({"type": "object", "properties": {
            "list": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {
                    "name": {"type": "string"}, "a": {"type": "integer"}, "b": {"type": "integer"}}}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "atomic": {"type": "array", "items": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
        }}))
        .unwrap()
    }

    #[test]
    fn lists_merge_by_their_keys_and_keep_order() {
        let live = json!({"list": [{"name": "x", "a": 1}, {"name": "y"}, {"name": "z"}], "set": ["p"], "atomic": ["1", "2"]});
        let applied = json!({"list": [{"name": "n"}, {"name": "z", "b": 2}], "set": ["q", "p"], "atomic": ["3"]});
        assert_eq!(
            merge(Some(&schema()), &live, &applied),
            json!({"list": [{"name": "x", "a": 1}, {"name": "y"}, {"name": "n"}, {"name": "z", "b": 2}],
                "set": ["q", "p"], "atomic": ["3"]})
        );
    }

    #[test]
    fn differences_name_the_smallest_fields() {
        let old = json!({"list": [{"name": "x", "a": 1}], "map": {"k": "1", "gone": "1"}, "atomic": ["1"]});
        let new =
            json!({"list": [{"name": "x", "a": 2}], "map": {"k": "1", "l": "1"}, "atomic": ["2"]});
        let difference = compare(Some(&schema()), &old, &new);
        assert_eq!(difference.added.paths(), [".map.l"]);
        assert_eq!(difference.removed.paths(), [".map.gone"]);
        assert_eq!(
            difference.modified.paths(),
            [".atomic", ".list[name=\"x\"].a"]
        );
    }

    #[test]
    fn taking_out_an_item_takes_all_of_it() {
        let value = json!({"list": [{"name": "x", "a": 1}, {"name": "y"}], "map": {"k": "1"}});
        let set = FieldSet::from_json(
            &json!({"f:list": {"k:{\"name\":\"x\"}": {".": {}, "f:name": {}}}, "f:map": {"f:k": {}}}),
        );
        let left = take_out(Some(&schema()), &value, &set).unwrap();
        assert_eq!(left, json!({"list": [{"name": "y"}]}));
    }
}
