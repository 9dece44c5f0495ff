//! The fields of a spec as its schema declares them, and what may be written into each: what it takes, and what it must not.
//!
//! It deliberately knows no field by name but the three whose schema leaves their values open, the pod overlay, the image and
//! the storage class: a field that is added to the schema is taken in by that.

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::{Value, json};

/// Keys that are tried where the schema leaves the keys of a map open.
const KEYS: [&str; 5] = ["cpu", "memory", "example.com/a", "quorate.io/a", "no key!"];
/// Texts where the schema leaves them open.
const TEXTS: [&str; 6] = ["a", "A.b-c_d", "", " ", "ü", "-a"];
/// Amounts, valid and not.
const AMOUNTS: [&str; 14] = [
    "0", "1", "100m", "16Mi", "255Mi", "256Mi", "1Gi", "1.5Gi", "4Gi", "10Ei", "1e9", "-1Gi", "",
    "a lot",
];
/// Images with fixed tags, one of which is never there.
const IMAGES: [&str; 3] = [
    "quorate-node:0.1.1",
    "quorate-node:missing",
    "registry.example.com/a/b:3.6.7",
];

/// Storage classes that are there: one lets volumes grow, the other does not.
const CLASSES: [&str; 2] = [super::GROWS, "standard"];

/// One place in a spec.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// Keys from the spec down; an item of a list by its number.
    pub path: Vec<String>,
    schema: Value,
    required: bool,
}

/// Something to write into a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Candidate {
    /// What; nothing to take the field away.
    pub value: Option<Value>,
    /// Whether the schema itself, whatever else stands in the spec, refuses it.
    pub refused: bool,
}

fn fits(value: Value) -> Candidate {
    Candidate {
        value: Some(value),
        refused: false,
    }
}

fn breaks(value: Value) -> Candidate {
    Candidate {
        value: Some(value),
        refused: true,
    }
}

/// Every field below a schema, itself left out.
#[must_use]
pub(super) fn fields(schema: &Value) -> Vec<Field> {
    let mut found = Vec::new();
    collect(schema, &[], &mut found);
    found
}

fn collect(schema: &Value, path: &[String], found: &mut Vec<Field>) {
    let required = |name: &str| {
        let list = schema["required"].as_array();
        list.is_some_and(|it| it.iter().any(|it| it == name))
    };
    let mut below = |name: &str, schema: &Value, required: bool| {
        let path: Vec<String> = path.iter().cloned().chain([name.to_owned()]).collect();
        collect(schema, &path, found);
        found.push(Field {
            path,
            schema: schema.clone(),
            required,
        });
    };
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        below(name, schema, required(name));
    }
    if let Some(items) = schema.get("items") {
        below("0", items, false);
    }
    if let Some(values) = schema
        .get("additionalProperties")
        .filter(|it| it.is_object())
    {
        KEYS.iter().for_each(|key| below(key, values, false));
    }
}

impl Field {
    /// What may be written here; anew at each call, as chance has it.
    #[must_use]
    pub(super) fn candidates(&self, chance: &mut SmallRng) -> Vec<Candidate> {
        let schema = &self.schema;
        let gone_is_refused = self.required && schema.get("default").is_none();
        let mut all = vec![Candidate {
            value: None,
            refused: gone_is_refused,
        }];
        if schema["nullable"] == true {
            all.push(fits(Value::Null));
        }
        all.extend(match schema["type"].as_str() {
            _ if schema["x-kubernetes-int-or-string"] == true => amounts(chance),
            _ if schema.get("enum").is_some() => choices(&schema["enum"]),
            Some("integer") => integers(schema, chance),
            Some("boolean") => vec![
                fits(json!(true)),
                fits(json!(false)),
                breaks(json!("true")),
                breaks(json!(1)),
            ],
            Some("string") => self.texts(),
            Some("array") => lists(schema),
            Some("object") => self.objects(),
            _ => Vec::new(),
        });
        all
    }

    fn texts(&self) -> Vec<Candidate> {
        let length = |limit: &str| {
            self.schema[limit]
                .as_u64()
                .and_then(|it| usize::try_from(it).ok())
        };
        let of = |length: usize| json!("a".repeat(length));
        let mut all: Vec<Candidate> = TEXTS
            .iter()
            .filter(|it| it.chars().count() >= length("minLength").unwrap_or(0))
            .map(|it| fits(json!(it)))
            .collect();
        if self.path == ["image"] {
            all.extend(IMAGES.map(|it| fits(json!(it))));
            all.push(fits(json!(format!(
                "registry.example.com/a/b@sha256:{}",
                "0a".repeat(32)
            ))));
        }
        if self.path == ["storage", "storageClassName"] {
            all.extend(CLASSES.map(|it| fits(json!(it))));
        }
        if let Some(least) = length("minLength").filter(|it| *it > 0) {
            all.extend([fits(of(least)), breaks(of(least - 1))]);
        }
        if let Some(most) = length("maxLength") {
            all.extend([fits(of(most)), breaks(of(most + 1))]);
        }
        all.extend([json!(7), json!(true), json!({}), json!([])].map(breaks));
        all
    }

    fn objects(&self) -> Vec<Candidate> {
        let mut all = vec![
            fits(json!({})),
            fits(json!({ "nonsense": 1 })),
            breaks(json!("text")),
            breaks(json!(7)),
        ];
        all.push(breaks(json!([])));
        if let Some(most) = self.schema["maxProperties"].as_u64() {
            let many = (0..=most).map(|n| (format!("k{n}"), json!("1")));
            all.push(breaks(Value::Object(many.collect())));
        }
        if self
            .path
            .ends_with(&["podTemplate".to_owned(), "spec".to_owned()])
        {
            all.extend(overlays().map(fits));
        }
        all
    }
}

fn amounts(chance: &mut SmallRng) -> Vec<Candidate> {
    let drawn = chance.random_range(1..1u64 << 34);
    let mut all: Vec<Candidate> = AMOUNTS.iter().map(|it| fits(json!(it))).collect();
    all.extend(
        [
            json!(drawn),
            json!(drawn.to_string()),
            json!(0),
            json!(-1),
            json!(i64::MAX),
        ]
        .map(fits),
    );
    all.extend([json!(true), json!({}), json!([])].map(breaks));
    all
}

fn choices(values: &Value) -> Vec<Candidate> {
    let values = values.as_array().cloned().unwrap_or_default();
    let mut all: Vec<Candidate> = values.iter().cloned().map(fits).collect();
    let lower = values
        .first()
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_lowercase();
    let wrong = [
        json!(""),
        json!("Nonsense"),
        json!(lower),
        json!(7),
        json!(true),
    ];
    all.extend(
        wrong
            .into_iter()
            .filter(|it| !values.contains(it))
            .map(breaks),
    );
    all
}

fn integers(schema: &Value, chance: &mut SmallRng) -> Vec<Candidate> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "limits in schemas are whole numbers"
    )]
    let limit = |name: &str| schema[name].as_f64().map(|it| it as i64);
    let (least, most) = (limit("minimum"), limit("maximum"));
    let widest = if schema["format"] == "int32" {
        i64::from(i32::MAX)
    } else {
        i64::MAX
    };
    let (from, to) = (least.unwrap_or(0), most.unwrap_or(widest));
    let small = from.saturating_add(8).min(to);
    let drawn = [
        from,
        small,
        to,
        chance.random_range(from..=small),
        chance.random_range(from..=to),
    ];
    let mut all: Vec<Candidate> = drawn.map(|it| fits(json!(it))).into();
    all.extend(
        least
            .and_then(|it| it.checked_sub(1))
            .map(|it| breaks(json!(it))),
    );
    all.extend(
        most.and_then(|it| it.checked_add(1))
            .map(|it| breaks(json!(it))),
    );
    all.extend([json!("3"), json!(1.5), json!(true), json!({}), json!([])].map(breaks));
    all
}

fn lists(schema: &Value) -> Vec<Candidate> {
    let mut all = vec![
        fits(json!([])),
        breaks(json!("text")),
        breaks(json!({})),
        breaks(json!(7)),
    ];
    if let Some(most) = schema["maxItems"].as_u64() {
        let many = (0..=most).map(|n| json!({ "name": format!("n{n}") }));
        all.push(breaks(many.collect()));
    }
    all
}

/// Partial pods: such as work, and such as the planner must hold back, because the schema does not spell out a pod.
fn overlays() -> [Value; 11] {
    [
        json!({ "nodeSelector": { "disk": "fast" } }),
        json!({ "terminationGracePeriodSeconds": 60 }),
        json!({ "tolerations": [{ "key": "a", "operator": "Exists" }] }),
        json!({ "containers": [{ "name": "member", "env": [{ "name": "TZ", "value": "UTC" }] }] }),
        json!({ "containers": [{ "name": "sidecar", "image": "a:1" }] }),
        json!({ "nodeSelctor": { "disk": "fast" } }),
        json!({ "tolerations": "none" }),
        json!({ "volumes": [{ "name": "data", "emptyDir": {} }] }),
        json!({ "containers": [{ "name": "member", "env": [{ "name": "POD_IP", "value": "::" }] }] }),
        json!({ "containers": [{ "name": "member", "volumeMounts": [{ "name": "a", "mountPath": "/var/lib/quorate" }] }] }),
        json!({ "containers": [{ "name": "sidecar" }] }),
    ]
}
