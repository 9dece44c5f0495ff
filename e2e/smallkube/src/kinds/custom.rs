//! Kinds out of a `CustomResourceDefinition`.
//!
//! It deliberately supports no conversion webhook: every served version shows the stored fields.

use super::{Cell, Column, Kind, Scale, built_in, resource_name};
use crate::object::Object;
use crate::schema::{Schema, cel::Rules};
use serde_json::{Value, json};
use std::sync::Arc;

/// One kind for every served version.
pub(super) fn kinds(definition: &Value) -> Result<Vec<Kind>, String> {
    definition
        .items("/spec/versions")
        .iter()
        .filter(|version| version["served"] == true)
        .map(|version| kind(definition, version))
        .collect()
}

fn kind(definition: &Value, version: &Value) -> Result<Kind, String> {
    let names = &definition["spec"]["names"];
    let group = definition.text("/spec/group").to_owned();
    let plural = names.text("/plural").to_owned();
    let kind = names.text("/kind").to_owned();
    let source = version["schema"]["openAPIV3Schema"].clone();
    structural(&source, "spec.versions[*].schema.openAPIV3Schema")?;
    let rules = Rules::compile(&source)?;
    let singular = match names.text("/singular") {
        "" => kind.to_lowercase(),
        name => name.to_owned(),
    };
    Ok(Kind {
        resource: resource_name(&group, &plural),
        schema: Some(schema(&source)?),
        rules: rules.any().then_some(rules),
        group,
        version: version.text("/name").to_owned(),
        kind,
        plural,
        singular,
        short_names: texts(names.items("/shortNames")),
        categories: texts(names.items("/categories")),
        namespaced: definition.text("/spec/scope") == "Namespaced",
        status: version.pointer("/subresources/status").is_some(),
        scale: version.pointer("/subresources/scale").map(scale),
        custom: true,
        source,
        columns: columns(version),
    })
}

/// Every node of a schema must say its type, or the API server could not tell what to prune.
fn structural(source: &Value, path: &str) -> Result<(), String> {
    let says = |flag: &str| source[flag] == true;
    let typeless = source.text("/type").is_empty()
        && !says("x-kubernetes-int-or-string")
        && !says("x-kubernetes-preserve-unknown-fields");
    if typeless {
        return Err(format!(
            "{path}.type: Required value: must not be empty for specified object fields"
        ));
    }
    for (name, child) in source.entries("/properties").into_iter().flatten() {
        structural(child, &format!("{path}.properties[{name}]"))?;
    }
    for field in ["items", "additionalProperties"] {
        if let Some(child) = source.get(field).filter(|c| c.is_object()) {
            structural(child, &format!("{path}.{field}"))?;
        }
    }
    if source.text("/type") == "array" && source.get("items").is_none() {
        return Err(format!("{path}.items: Required value: must be specified"));
    }
    Ok(())
}

/// The definition's schema with the identity that every object has.
fn schema(source: &Value) -> Result<Schema, String> {
    let mut schema = Schema::compile(source)?;
    let text = Arc::new(Schema::compile(&json!({"type": "string"}))?);
    for name in ["apiVersion", "kind"] {
        schema.properties.insert(name.to_owned(), text.clone());
    }
    schema
        .properties
        .insert("metadata".to_owned(), built_in::object_meta());
    Ok(schema)
}

fn scale(paths: &Value) -> Scale {
    let pointer = |name: &str| paths.text(name).replace('.', "/");
    Scale {
        spec_replicas: pointer("/specReplicasPath"),
        status_replicas: pointer("/statusReplicasPath"),
        selector: Some(pointer("/labelSelectorPath")).filter(|p| !p.is_empty()),
    }
}

fn columns(version: &Value) -> Vec<Column> {
    let mut columns = vec![built_in::name_column()];
    let own = version.items("/additionalPrinterColumns");
    if own.is_empty() {
        columns.push(built_in::age_column());
    }
    columns.extend(own.iter().map(|column| Column {
        name: column.text("/name").to_owned(),
        form: column.text("/type").to_owned(),
        format: column.text("/format").to_owned(),
        description: description(column),
        priority: column.number("/priority").unwrap_or_default(),
        cell: Cell::Path(column.text("/jsonPath").to_owned()),
    }));
    columns
}

fn description(column: &Value) -> String {
    match column.text("/description") {
        "" => format!(
            "Custom resource definition column (in JSONPath format): {}",
            column.text("/jsonPath")
        ),
        own => own.to_owned(),
    }
}

fn texts(values: &[Value]) -> Vec<String> {
    values
        .iter()
        .filter_map(|v| v.as_str().map(str::to_owned))
        .collect()
}
