//! Where the chart is, how it is rendered, and golden files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e2e::tools;
use serde_json::Value;
use tempfile::TempDir;

/// Rewrites everything that is generated: from the types, and then from the chart.
pub(crate) const REGENERATE: &str = "export UPDATE_GOLDENFILES=1; \
    cargo test -p quorate-crds --test yaml_is_current && cargo test -p e2e --test chart";
/// What helm is told to render for; some builds take the chart for too new for their own idea of it.
pub(crate) const FOR: [&str; 2] = ["--kube-version", "1.34.4"];
/// The release and its namespace in every test, and in the plain manifest.
pub(crate) const RELEASE: &str = "quorate";
pub(crate) const NAMESPACE: &str = "quorate-system";

/// A path in the project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A file of the project.
pub(crate) fn read(path: &str) -> String {
    let path = project(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The documents of a manifest, without empty ones.
pub(crate) fn documents(manifest: &str) -> Vec<Value> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(manifest).expect("the manifest is YAML");
    documents.into_iter().filter(|it| !it.is_null()).collect()
}

/// The names of the values files in `ci/`.
pub(crate) fn cases() -> Vec<String> {
    let folder = project("charts/quorate/ci");
    let entries = fs::read_dir(folder).expect("the chart has values to test");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("it can be listed").file_name())
        .filter_map(|name| Some(name.to_str()?.strip_suffix("-values.yaml")?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Helm, with a home of its own and no Kubernetes in reach.
pub(crate) struct Helm {
    program: PathBuf,
    home: TempDir,
}

/// What helm made of a values file.
pub(crate) struct Rendered {
    /// The values file's name.
    pub(crate) case: String,
    /// The manifest, as text.
    pub(crate) manifest: String,
    /// What helm tells the user; Helm 3 says it only where it reaches a Kubernetes.
    pub(crate) notes: Option<String>,
}

impl Rendered {
    pub(crate) fn documents(&self) -> Vec<Value> {
        documents(&self.manifest)
    }
}

impl Helm {
    /// Helm, or `None` after saying that `what` is left out and how it would not be.
    pub(crate) fn or_left_out(what: &str) -> Option<Self> {
        let home = tempfile::tempdir().expect("a temporary folder");
        match tools::find("helm") {
            Ok(program) => Some(Self { program, home }),
            Err(missing) => {
                println!("{}left out: {what}; {missing}", e2e::FIGURE);
                None
            }
        }
    }

    /// Runs helm on the chart: `before`, the chart's folder, `after`.
    pub(crate) fn run(&self, before: &[&str], after: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(home, self.home.path());
        }
        command
            .env("KUBECONFIG", self.home.path().join("none"))
            .args(before)
            .arg(project("charts/quorate"))
            .args(["--namespace", NAMESPACE])
            .args(after)
            .output()
            .expect("helm can be started")
    }

    /// What helm prints, where it must succeed.
    pub(crate) fn printed(&self, before: &[&str], after: &[&str]) -> String {
        let output = self.run(before, after);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{before:?} {after:?}: {errors}");
        String::from_utf8(output.stdout).expect("helm prints text")
    }

    /// The manifest and notes of every values file.
    pub(crate) fn matrix(&self) -> Vec<Rendered> {
        cases()
            .into_iter()
            .map(|case| self.rendered(case))
            .collect()
    }

    /// What helm renders with these options. Its majors differ in the empty lines between documents.
    pub(crate) fn manifest(&self, options: &[&str]) -> String {
        let printed = self.printed(&["template", RELEASE], &[&FOR, options].concat());
        let documents = printed.split("\n---\n").map(str::trim_end);
        documents.collect::<Vec<_>>().join("\n---\n") + "\n"
    }

    fn rendered(&self, case: String) -> Rendered {
        let file = project(&format!("charts/quorate/ci/{case}-values.yaml"));
        let values = ["--values", file.to_str().expect("a path is text")];
        Rendered {
            manifest: self.manifest(&values),
            notes: self.notes(&values),
            case,
        }
    }

    fn notes(&self, values: &[&str]) -> Option<String> {
        let dry = [values, &["--dry-run=client"]].concat();
        let output = self.run(&["install", RELEASE], &dry);
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("cluster unreachable") {
            return None;
        }
        assert!(output.status.success(), "{values:?}: {errors}");
        let printed = String::from_utf8(output.stdout).expect("helm prints text");
        let notes = printed.split_once("NOTES:\n").expect("it has notes").1;
        Some(notes.to_owned())
    }
}

/// Whether what is generated is to be written anew.
pub(crate) fn is_updating() -> bool {
    std::env::var_os("UPDATE_GOLDENFILES").is_some()
}

/// Compares with the file at `path`, or rewrites it with `UPDATE_GOLDENFILES`.
pub(crate) fn golden(path: &str, wanted: &str) {
    let file = project(path);
    if is_updating() {
        fs::write(&file, wanted).expect("the golden file can be written");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let differs = found.lines().zip(wanted.lines()).position(|(f, w)| f != w);
    let line = differs.unwrap_or(found.lines().count().min(wanted.lines().count()));
    assert!(
        found == wanted,
        "{path} is stale from line {}:\n  it has {:?}\n  wanted {:?}\nrun {REGENERATE}",
        line + 1,
        found.lines().nth(line),
        wanted.lines().nth(line),
    );
}
