//! What is written down about the chart and must agree with it: the README's table, the schema, versions, NOTES.

use serde_json::Value;

use crate::objects::flags;
use crate::setting::{Helm, golden, read};

const README: &str = "charts/quorate/README.md";
const BEGIN: &str = "<!-- values -->\n";
const END: &str = "<!-- /values -->\n";
/// A default that is longer is not shown: the table is to be read.
const DEFAULT_MAX: usize = 50;

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths and descriptions: a comment that begins with two dashes, and the key below it.
fn described(values: &str) -> Vec<(String, String)> {
    let (mut path, mut text, mut found) =
        (Vec::<(usize, String)>::new(), String::new(), Vec::new());
    for line in values.lines() {
        let bare = line.trim_start();
        if let Some(begun) = bare.strip_prefix("# -- ") {
            text = begun.to_owned();
        } else if let Some(more) = bare.strip_prefix("# ").filter(|_| !text.is_empty()) {
            text = format!("{text} {more}");
        } else if let Some((key, _)) = bare
            .split_once(':')
            .filter(|_| !bare.starts_with(['-', '#']))
        {
            let depth = line.len() - bare.len();
            path.retain(|(above, _)| *above < depth);
            path.push((depth, key.to_owned()));
            if !text.is_empty() {
                let keys: Vec<&str> = path.iter().map(|(_, key)| &key[..]).collect();
                found.push((keys.join("."), std::mem::take(&mut text)));
            }
        }
    }
    found
}

fn at<'a>(values: &'a Value, path: &str) -> &'a Value {
    let value = values.pointer(&format!("/{}", path.replace('.', "/")));
    value.unwrap_or_else(|| panic!("{path} is described and not there"))
}

fn table() -> String {
    let values = yaml("charts/quorate/values.yaml");
    let mut table = String::from("| Value | Default | What it is |\n|---|---|---|\n");
    for (path, text) in described(&read("charts/quorate/values.yaml")) {
        let default = at(&values, &path).to_string();
        let default = if default.len() > DEFAULT_MAX {
            "see `values.yaml`".to_owned()
        } else {
            format!("`{default}`")
        };
        table += &format!("| `{path}` | {default} | {text} |\n");
    }
    table
}

/// Paths of values that nothing describes, neither by themselves nor as a part.
fn undescribed(value: &Value, path: &str, known: &[String]) -> Vec<String> {
    match value.as_object() {
        _ if known.iter().any(|it| it == path) => Vec::new(),
        Some(parts) if !parts.is_empty() => parts
            .iter()
            .flat_map(|(key, part)| undescribed(part, &format!("{path}.{key}"), known))
            .collect(),
        _ => vec![path.to_owned()],
    }
}

#[test]
fn the_readme_describes_every_value() {
    let readme = read(README);
    let (head, rest) = readme.split_once(BEGIN).expect("a place for the table");
    let (_, tail) = rest.split_once(END).expect("the table's end");
    golden(README, &format!("{head}{BEGIN}{}{END}{tail}", table()));
    let known = described(&read("charts/quorate/values.yaml")).into_iter();
    let known: Vec<String> = known.map(|(path, _)| format!(".{path}")).collect();
    let values = yaml("charts/quorate/values.yaml");
    assert_eq!(undescribed(&values, "", &known), Vec::<String>::new());
}

/// Where the schema and the values have not the same keys.
fn disagreements(schema: &Value, whole: &Value, values: &Value, path: &str) -> Vec<String> {
    let target = schema["$ref"]
        .as_str()
        .map(|to| whole.pointer(to.trim_start_matches('#')));
    let schema = target.map_or(schema, |it| it.expect("the schema refers to what it has"));
    let Some(properties) = schema["properties"].as_object() else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    if schema["additionalProperties"] != false {
        wrong.push(format!("{path}: takes whatever is misspelled"));
    }
    for (key, property) in properties.iter().filter(|(key, _)| *key != "global") {
        match values.get(key) {
            Some(value) => wrong.extend(disagreements(
                property,
                whole,
                value,
                &format!("{path}.{key}"),
            )),
            None => wrong.push(format!("{path}.{key}: has no default in values.yaml")),
        }
    }
    let keys = values.as_object().into_iter().flat_map(|it| it.keys());
    let unknown = keys.filter(|key| !properties.contains_key(*key));
    wrong.extend(unknown.map(|key| format!("{path}.{key}: is not in the schema")));
    wrong
}

#[test]
fn schema_and_values_have_the_same_keys() {
    let schema: Value =
        serde_json::from_str(&read("charts/quorate/values.schema.json")).expect("JSON");
    let values = yaml("charts/quorate/values.yaml");
    assert_eq!(
        disagreements(&schema, &schema, &values, ""),
        Vec::<String>::new()
    );
}

#[test]
fn versions_and_catalogue_are_those_of_the_project() {
    let (chart, version) = (yaml("charts/quorate/Chart.yaml"), env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&chart["version"], &chart["appVersion"]),
        (&version.into(), &version.into())
    );
    let annotation = |name: &str| {
        let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str();
        let value: Value = serde_saphyr::from_str(text.expect("it is there")).expect("YAML");
        value.as_array().expect("a list").clone()
    };
    let names = |list: &[Value]| list.iter().map(|it| it["name"].clone()).collect::<Vec<_>>();
    let known: Vec<Value> = crds::definitions()
        .into_iter()
        .map(|it| it.metadata.name.into())
        .collect();
    assert_eq!(names(&annotation("crds")), known);
    assert_eq!(annotation("crdsExamples"), [yaml("examples/minimal.yaml")]);
    for image in annotation("images") {
        let tag = image["image"]
            .as_str()
            .and_then(|it| it.split_once(':'))
            .map(|it| it.1);
        assert_eq!(tag, Some(version), "{image}");
    }
}

#[test]
fn the_notes_show_a_cluster_to_paste() {
    let Some(helm) = Helm::or_left_out("the cluster in the chart's notes") else {
        return;
    };
    for rendered in helm.matrix() {
        let (Some(notes), case) = (&rendered.notes, &rendered.case) else {
            let why = "Helm 3 renders notes only where it reaches a Kubernetes";
            println!(
                "{}left out: the chart's notes; {why}: use Helm 4",
                e2e::FIGURE
            );
            return;
        };
        let (_, pasted) = notes
            .rsplit_once("-f - <<EOF\n")
            .expect("a cluster to paste");
        let (cluster, _) = pasted.split_once("\nEOF\n").expect("its end");
        let mut cluster: Value = serde_saphyr::from_str(cluster).expect("YAML");
        let metadata = cluster["metadata"].as_object_mut().expect("metadata");
        let namespace = metadata.remove("namespace").expect("it says where");
        let watched = flags(&rendered.documents()).namespaces;
        let looked_after = watched.is_empty() || watched.iter().any(|it| namespace == it.as_str());
        assert!(looked_after, "{case}: nobody looks after {namespace}");
        assert_eq!(cluster, yaml("examples/minimal.yaml"), "{case}");
    }
}
