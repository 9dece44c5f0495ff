//! The manifests in `yaml/`, and the chart's copies of them, are those that the types generate.
//! `UPDATE_GOLDENFILES=1 cargo test -p quorate-crds` rewrites them.

use std::{fs, path::PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

const HEADER: &str = "# Generated from the types in crds/src by `UPDATE_GOLDENFILES=1 cargo test -p quorate-crds`. Do not edit.\n";

/// Where they stand. Helm packs only what lies in the chart's folder, so the chart has copies.
const FOLDERS: [&str; 2] = ["yaml", "../charts/quorate/files/crds"];

fn paths(definition: &CustomResourceDefinition) -> [PathBuf; 2] {
    let file = format!("{}.yaml", definition.spec.names.plural);
    FOLDERS.map(|folder| here(folder).join(&file))
}

fn here(folder: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)
}

fn render(definition: &CustomResourceDefinition) -> String {
    let yaml = serde_saphyr::to_string(definition).expect("a definition is YAML");
    format!("{HEADER}{yaml}")
}

#[test]
fn yaml_is_what_the_types_generate() {
    for definition in quorate_crds::definitions() {
        let wanted = render(&definition);
        for path in paths(&definition) {
            if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
                fs::write(&path, &wanted).expect("write manifest");
            }
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == wanted,
                "{} is stale: run UPDATE_GOLDENFILES=1 cargo test -p quorate-crds",
                path.display()
            );
        }
    }
}

#[test]
fn yaml_reads_back_as_the_same_definition() {
    for definition in quorate_crds::definitions() {
        let read: CustomResourceDefinition =
            serde_saphyr::from_str(&render(&definition)).expect("manifest parses");
        assert_eq!(read, definition);
    }
}

#[test]
fn no_folder_has_a_file_without_a_type() {
    let definitions = quorate_crds::definitions();
    let known: Vec<PathBuf> = definitions.iter().flat_map(paths).collect();
    for folder in FOLDERS {
        for entry in fs::read_dir(here(folder)).expect("the folder is there") {
            let path = entry.expect("it can be listed").path();
            assert!(
                known.contains(&path),
                "{} is generated from no type",
                path.display()
            );
        }
    }
}
