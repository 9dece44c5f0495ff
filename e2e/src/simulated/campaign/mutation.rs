//! Mutations of a spec, drawn from its schema by a seed.
//!
//! They are absolute (this value at this place), so that a list of them keeps its sense when some are left out.

use std::fmt;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use super::field::{Field, fields};

/// How often, of a hundred, a mutation is a change of size, an example of a rule, or changes two fields at once.
const RESIZES: u32 = 8;
const EXAMPLES: u32 = 20;
const PAIRS: u32 = 10;
/// Rounds of the operator after a mutation, at most: mostly the next one comes before this one is carried out.
const ROUNDS: u32 = 2;

/// One thing written at one place of a spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Keys from the spec down.
    pub path: Vec<String>,
    /// What; nothing to take the field away.
    pub value: Option<Value>,
}

/// What a user sends at once, and how far the operator comes before the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Mutation {
    /// The changes.
    pub edits: Vec<Edit>,
    /// Whether the schema must refuse it if it changes anything.
    pub refused: bool,
    /// Rounds of the operator before the next mutation.
    pub rounds: u32,
}

/// Where mutations come from.
pub struct Source {
    fields: Vec<Field>,
    examples: Vec<Vec<Edit>>,
}

impl Source {
    /// Mutations of what `schema` describes, the fields below `excluded` left out. `examples` are partial specs that somebody
    /// has thought of.
    ///
    /// # Panics
    /// If there is nothing at a place that is excluded.
    #[must_use]
    pub fn new(schema: &Value, examples: &[Value], excluded: &[&str]) -> Self {
        let is_excluded = |path: &[String]| {
            let path = place(path);
            excluded
                .iter()
                .any(|it| path == *it || path.starts_with(&format!("{it}.")))
        };
        let mut fields = fields(schema);
        let places: Vec<String> = fields.iter().map(|it| place(&it.path)).collect();
        let stale = excluded
            .iter()
            .find(|it| !places.iter().any(|place| place == *it));
        assert_eq!(stale, None, "there is no such field to leave out");
        fields.retain(|it| !is_excluded(&it.path));
        let edits = examples.iter().map(|example| {
            let mut edits = Vec::new();
            leaves(example, &mut Vec::new(), &mut edits);
            edits
        });
        let examples = edits
            .filter(|edits| !edits.is_empty() && !edits.iter().any(|it| is_excluded(&it.path)));
        Self {
            examples: examples.collect(),
            fields,
        }
    }

    /// How many fields are mutated.
    #[must_use]
    pub fn width(&self) -> usize {
        self.fields.len()
    }

    /// The mutations of a seed.
    #[must_use]
    pub fn draw(&self, seed: u64, count: usize) -> Vec<Mutation> {
        let mut chance = SmallRng::seed_from_u64(seed);
        (0..count).map(|_| self.mutation(&mut chance)).collect()
    }

    fn mutation(&self, chance: &mut SmallRng) -> Mutation {
        let rounds = chance.random_range(1..=ROUNDS);
        let draw = chance.random_range(0..100);
        let of = |edits, refused| Mutation {
            edits,
            refused,
            rounds,
        };
        if draw < RESIZES {
            let size = json!(chance.random_range(1..=5));
            return of(
                vec![Edit {
                    path: vec!["replicas".to_owned()],
                    value: Some(size),
                }],
                false,
            );
        }
        if let (true, Some(example)) = (draw < RESIZES + EXAMPLES, self.examples.choose(chance)) {
            return of(example.clone(), false);
        }
        let (first, refused) = self.edit(chance);
        if draw < RESIZES + EXAMPLES + PAIRS {
            return of(vec![first, self.edit(chance).0], false);
        }
        of(vec![first], refused)
    }

    fn edit(&self, chance: &mut SmallRng) -> (Edit, bool) {
        let field = self.fields.choose(chance).expect("a schema has fields");
        let candidates = field.candidates(chance);
        let drawn = candidates
            .choose(chance)
            .expect("every field can be taken away");
        let edit = Edit {
            path: field.path.clone(),
            value: drawn.value.clone(),
        };
        (edit, drawn.refused)
    }
}

/// What an example says, place by place.
fn leaves(example: &Value, path: &mut Vec<String>, found: &mut Vec<Edit>) {
    match example {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                leaves(value, path, found);
                path.pop();
            }
        }
        value => found.push(Edit {
            path: path.clone(),
            value: Some(value.clone()),
        }),
    }
}

/// A place in words, as the API server has them.
fn place(path: &[String]) -> String {
    path.iter()
        .fold("spec".to_owned(), |place, key| match key.parse::<usize>() {
            Ok(at) => format!("{place}[{at}]"),
            Err(_) => format!("{place}.{key}"),
        })
}

impl Mutation {
    /// The spec with this done to it.
    #[must_use]
    pub fn of(&self, spec: &Value) -> Value {
        let mut spec = spec.clone();
        for edit in &self.edits {
            write(&mut spec, &edit.path, edit.value.as_ref());
        }
        spec
    }

    /// Whether a refusal says which field it is about: one of those changed or what is in it, one beside it, or the item of a
    /// list that it is in.
    #[must_use]
    pub fn is_named_in(&self, message: &str) -> bool {
        let named = |path: &[String]| {
            let item = path.iter().position(|key| key.parse::<usize>().is_ok());
            let above = item.unwrap_or(path.len() - 1);
            let ends = ['.', '[', ':', ' '].map(|end| format!("{}{end}", place(&path[..above])));
            message.contains(&place(path))
                || above > 0 && ends.iter().any(|it| message.contains(it))
        };
        self.edits.iter().any(|it| named(&it.path))
    }
}

/// Writes a value, making what is above it; taking one away makes nothing.
fn write(at: &mut Value, path: &[String], value: Option<&Value>) {
    let [key, rest @ ..] = path else {
        *at = value.cloned().unwrap_or_default();
        return;
    };
    if let Ok(n) = key.parse::<usize>() {
        return write_item(at, n, rest, value);
    }
    if !at.is_object() {
        if value.is_none() {
            return;
        }
        *at = Value::Object(Map::new());
    }
    let map = at.as_object_mut().expect("it has just been made one");
    match (value, rest) {
        (None, []) => drop(map.remove(key)),
        (None, _) if !map.contains_key(key) => {}
        _ => write(map.entry(key).or_insert(Value::Null), rest, value),
    }
}

fn write_item(at: &mut Value, n: usize, rest: &[String], value: Option<&Value>) {
    if !at.is_array() {
        if value.is_none() {
            return;
        }
        *at = json!([]);
    }
    let items = at.as_array_mut().expect("it has just been made one");
    match (value, rest) {
        (None, _) if n >= items.len() => {}
        (None, []) => drop(items.remove(n)),
        _ => {
            if n >= items.len() {
                items.push(Value::Null);
            }
            let n = n.min(items.len() - 1);
            write(&mut items[n], rest, value);
        }
    }
}

impl fmt::Display for Mutation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for edit in &self.edits {
            match &edit.value {
                Some(value) => write!(f, "{} = {value}, ", place(&edit.path))?,
                None => write!(f, "{} is taken away, ", place(&edit.path))?,
            }
        }
        write!(f, "then {} rounds", self.rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(path: &[&str], value: Option<Value>) -> Mutation {
        let path = path.iter().map(ToString::to_string).collect();
        Mutation {
            edits: vec![Edit { path, value }],
            refused: false,
            rounds: 1,
        }
    }

    #[test]
    fn an_edit_makes_what_is_above_it_and_taking_away_makes_nothing() {
        let spec = json!({ "a": { "b": 1 } });
        let list = edit(&["c", "0", "d"], Some(json!(2))).of(&spec);
        assert_eq!(list, json!({ "a": { "b": 1 }, "c": [{ "d": 2 }] }));
        assert_eq!(edit(&["a", "b"], None).of(&spec), json!({ "a": {} }));
        assert_eq!(edit(&["x", "0", "y"], None).of(&spec), spec);
    }

    #[test]
    fn a_message_names_a_field_by_its_place_or_one_beside_it() {
        let of = |message| edit(&["a", "b"], None).is_named_in(message);
        assert!(of("spec.a.b: Required value") && of("spec.a.c goes with b"));
        assert!(!of("spec.x: Required value") && !of("the spec is invalid"));
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let schema =
            json!({ "properties": { "n": { "type": "integer", "minimum": 1.0, "maximum": 9.0 } } });
        let source = Source::new(&schema, &[], &[]);
        assert_eq!(source.draw(3, 50), source.draw(3, 50));
        assert_ne!(source.draw(3, 50), source.draw(4, 50));
        assert!(source.draw(3, 50).iter().any(|it| it.refused));
    }
}
