//! Reading and writing places inside an object, which everywhere in this crate is plain JSON.
//!
//! The API server must keep fields that it has never heard of, so typed structs would lie; a place that is missing reads
//! as empty, which is how Kubernetes treats its own optional fields. It deliberately knows no kind.

use serde_json::{Map, Value};

/// Places that every object has, and short ways to any other place.
pub(crate) trait Object {
    /// The text at a JSON pointer, empty when it is missing or no text.
    fn text(&self, pointer: &str) -> &str;
    /// The number at a JSON pointer, when there is one.
    fn number(&self, pointer: &str) -> Option<i64>;
    /// The items of the list at a JSON pointer, none when it is missing.
    fn items(&self, pointer: &str) -> &[Value];
    /// The entries of the map at a JSON pointer, if there is one.
    fn entries(&self, pointer: &str) -> Option<&Map<String, Value>>;
    /// Puts a value at a path of plain keys and makes the maps on the way.
    fn put(&mut self, path: &[&str], value: Value);
    /// Takes the value at a path of plain keys away.
    fn take_away(&mut self, path: &[&str]) -> Option<Value>;

    /// `metadata.name`
    fn name(&self) -> &str {
        self.text("/metadata/name")
    }
    /// `metadata.namespace`, empty for what has none.
    fn namespace(&self) -> &str {
        self.text("/metadata/namespace")
    }
    /// `metadata.uid`
    fn uid(&self) -> &str {
        self.text("/metadata/uid")
    }
    /// True once somebody asked for its deletion.
    fn ends(&self) -> bool {
        !self.text("/metadata/deletionTimestamp").is_empty()
    }
    /// The finalizers that hold it.
    fn finalizers(&self) -> Vec<String> {
        self.items("/metadata/finalizers")
            .iter()
            .filter_map(|f| f.as_str().map(str::to_owned))
            .collect()
    }
    /// Replaces the finalizers; an empty list leaves no trace.
    fn put_finalizers(&mut self, finalizers: &[String]) {
        if finalizers.is_empty() {
            self.take_away(&["metadata", "finalizers"]);
        } else {
            self.put(&["metadata", "finalizers"], serde_json::json!(finalizers));
        }
    }
    /// The labels at a pointer to a map of texts.
    fn label(&self, name: &str) -> Option<&str> {
        self.entries("/metadata/labels")?.get(name)?.as_str()
    }
}

impl Object for Value {
    fn text(&self, pointer: &str) -> &str {
        self.pointer(pointer)
            .and_then(Self::as_str)
            .unwrap_or_default()
    }

    fn number(&self, pointer: &str) -> Option<i64> {
        self.pointer(pointer).and_then(Self::as_i64)
    }

    fn items(&self, pointer: &str) -> &[Value] {
        self.pointer(pointer)
            .and_then(Self::as_array)
            .map_or(&[], Vec::as_slice)
    }

    fn entries(&self, pointer: &str) -> Option<&Map<String, Value>> {
        self.pointer(pointer).and_then(Self::as_object)
    }

    fn put(&mut self, path: &[&str], value: Value) {
        let Some((last, parents)) = path.split_last() else {
            *self = value;
            return;
        };
        let mut place = self;
        for key in parents {
            place = child(place, key);
        }
        *child(place, last) = value;
    }

    fn take_away(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let mut place = self;
        for key in parents {
            place = place.get_mut(*key)?;
        }
        place.as_object_mut()?.remove(*last)
    }
}

fn child<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    let Value::Object(map) = place else {
        unreachable!("made an object just above");
    };
    map.entry(key).or_insert(Value::Null)
}

/// Puts a default at a path when nothing stands there.
pub(crate) fn default_at(object: &mut Value, path: &[&str], value: Value) {
    let mut place = &*object;
    for key in path {
        match place.get(key) {
            Some(found) if !found.is_null() => place = found,
            _ => return object.put(path, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn missing_places_read_as_empty() {
        let object = json!({"metadata": {"name": "a"}});
        assert_eq!((object.name(), object.namespace()), ("a", ""));
        assert!(object.items("/spec/list").is_empty());
        assert!(!object.ends());
    }

    #[test]
    fn put_makes_the_way_and_default_keeps_what_stands() {
        let mut object = json!({"spec": {"a": 1}});
        object.put(&["spec", "b", "c"], json!(2));
        default_at(&mut object, &["spec", "a"], json!(9));
        default_at(&mut object, &["spec", "d"], json!(4));
        assert_eq!(object, json!({"spec": {"a": 1, "b": {"c": 2}, "d": 4}}));
        assert_eq!(object.take_away(&["spec", "b", "c"]), Some(json!(2)));
    }
}
