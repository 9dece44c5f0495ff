//! What the chart renders, byte by byte; what it refuses; and the plain manifest.

use serde_json::Value;

use crate::setting::{
    FOR, Helm, NAMESPACE, RELEASE, cases, documents, golden, is_updating, project, read,
};

/// The head of the plain manifest. The CRDs in it are too large for a client-side apply.
const HEAD: &str = "\
# Quorate without Helm: kubectl apply --server-side -f deploy/quorate.yaml
# Removes the operator, and keeps CRDs, clusters and volumes:
#   kubectl delete -f deploy/quorate.yaml -l app.kubernetes.io/component=operator
# Rendered from charts/quorate by `UPDATE_GOLDENFILES=1 cargo test -p e2e --test chart`. Do not edit.
---
apiVersion: v1
kind: Namespace
metadata:
  name: quorate-system
  labels:
    app.kubernetes.io/name: quorate
    pod-security.kubernetes.io/enforce: restricted
";

/// Lines that say of an object that Helm made it.
fn is_helms(line: &str) -> bool {
    let marks = [
        "# Source: ",
        "helm.sh/chart: ",
        "app.kubernetes.io/managed-by: Helm",
    ];
    marks.iter().any(|mark| line.trim_start().starts_with(mark))
}

/// The manifest without the definitions' schemas, which are compared with the types elsewhere.
fn without_schemas(manifest: &str) -> String {
    let documents =
        manifest
            .split("---\n")
            .map(|document| match document.split_once("\nspec:\n") {
                Some((head, _)) if head.contains("kind: CustomResourceDefinition") => {
                    format!("{head}\n# spec: as in crds/yaml\n")
                }
                _ => document.to_owned(),
            });
    documents.collect::<Vec<_>>().join("---\n")
}

#[test]
fn every_values_file_renders_what_is_written_down() {
    let Some(helm) = Helm::or_left_out("rendering the chart for each of its values files") else {
        return;
    };
    for rendered in helm.matrix() {
        let path = format!("e2e/tests/chart/golden/{}", rendered.case);
        golden(
            &format!("{path}.yaml"),
            &without_schemas(&rendered.manifest),
        );
        if let Some(notes) = &rendered.notes {
            golden(&format!("{path}.notes.txt"), notes);
        }
    }
}

/// The plain manifest as the chart renders it. The policy of keeping is an order to Helm, which is not there.
fn plain_of(helm: &Helm) -> String {
    let manifest = helm.manifest(&["--set", "crds.keep=false"]);
    let lines = manifest.lines().filter(|line| !is_helms(line));
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    format!("{HEAD}{body}")
}

/// The plain manifest as it stands, or as it is just being rewritten.
pub(crate) fn plain() -> Vec<Value> {
    let rewritten = is_updating().then(|| Helm::or_left_out("rewriting deploy/quorate.yaml"));
    let manifest = match rewritten.flatten() {
        Some(helm) => plain_of(&helm),
        None => read("deploy/quorate.yaml"),
    };
    documents(&manifest)
}

#[test]
fn the_plain_manifest_is_what_the_chart_renders() {
    let Some(helm) = Helm::or_left_out("comparing deploy/quorate.yaml with the chart") else {
        return;
    };
    golden("deploy/quorate.yaml", &plain_of(&helm));
    assert!(HEAD.contains(&format!("name: {NAMESPACE}\n")));
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    let Some(helm) = Helm::or_left_out("helm lint --strict") else {
        return;
    };
    for case in cases() {
        let file = project(&format!("charts/quorate/ci/{case}-values.yaml"));
        helm.printed(
            &["lint", "--strict"],
            &["--values", file.to_str().expect("text")],
        );
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    let Some(helm) = Helm::or_left_out("refusing wrong values") else {
        return;
    };
    let digest = "image.digest=sha256:12";
    for (value, sentence) in [
        ("replicas=3", "additional properties 'replicas' not allowed"),
        (
            "replicaCount=two",
            "at '/replicaCount': got string, want integer",
        ),
        (
            "crds.enable=true",
            "at '/crds': additional properties 'enable' not allowed",
        ),
        (digest, "at '/image/digest': 'sha256:12' does not match"),
        (
            "logFormat=xml",
            "at '/logFormat': value must be one of 'json', 'text'",
        ),
        (
            "watchNamespaces={A}",
            "at '/watchNamespaces/0': 'A' does not match",
        ),
        (
            "watchNamespaces={a,a}",
            "at '/watchNamespaces': items at 0 and 1 are equal",
        ),
        ("workers=65", "at '/workers': maximum: got 65, want 64"),
        ("resync=soon", "at '/resync': 'soon' does not match"),
        (
            "resources.limits.memory=1",
            "at '/resources/limits/memory': got number, want string",
        ),
        (
            "members.podMonitor.intervall=3s",
            "at '/members/podMonitor': additional properties 'intervall'",
        ),
        (
            "podDisruptionBudget.minAvailable=half",
            "at '/podDisruptionBudget/minAvailable'",
        ),
        (
            "leaderElection.enabled=false",
            "leaderElection.enabled: more than one replica needs it",
        ),
        (
            "serviceAccount.create=false",
            "serviceAccount.name: name the ServiceAccount to use",
        ),
    ] {
        let output = helm.run(
            &["template", RELEASE],
            &[&FOR[..], &["--set", value]].concat(),
        );
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{value} is accepted");
        assert!(error.contains(sentence), "{value}: {error}");
    }
}
