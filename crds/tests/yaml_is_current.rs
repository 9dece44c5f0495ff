//! The manifests in `yaml/` are those that the types generate. `UPDATE=1 cargo test -p quorate-crds` rewrites them.

use std::{fs, path::PathBuf};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

const HEADER: &str = "# Generated from the types in crds/src by `UPDATE=1 cargo test -p quorate-crds`. Do not edit.\n";

fn path(definition: &CustomResourceDefinition) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("yaml")
        .join(format!("{}.yaml", definition.spec.names.plural))
}

fn render(definition: &CustomResourceDefinition) -> String {
    let yaml = serde_saphyr::to_string(definition).expect("a definition is YAML");
    format!("{HEADER}{yaml}")
}

#[test]
fn yaml_is_what_the_types_generate() {
    for definition in quorate_crds::definitions() {
        let (path, wanted) = (path(&definition), render(&definition));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &wanted).expect("write manifest");
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{} is stale: run UPDATE=1 cargo test -p quorate-crds",
            path.display()
        );
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
fn no_folder_file_without_a_type() {
    let known: Vec<PathBuf> = quorate_crds::definitions().iter().map(path).collect();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("yaml");
    for entry in fs::read_dir(folder).expect("read yaml/") {
        let path = entry.expect("read yaml/").path();
        assert!(
            known.contains(&path),
            "{} is generated from no type",
            path.display()
        );
    }
}
