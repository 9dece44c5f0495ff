//! What is kept of a scenario that failed.
//!
//! It deliberately fails at nothing: what cannot be had is missing from the folder, and the failure stays the first one.

use std::path::Path;

use e2e::folder::Folder;
use e2e::kind::install;

use crate::stage::Stage;

/// Writes everything that tells what happened into a folder, and says where it is.
pub(crate) async fn keep(stage: &Stage<'_>, title: &str) {
    let Ok(folder) = Folder::new(&title.replace('/', "-")) else {
        return println!("  no folder could be made for what happened");
    };
    let namespace = stage.namespace();
    let kinds = "all,raftclusters,raftmembers,persistentvolumeclaims,poddisruptionbudgets";
    for (file, arguments) in [
        (
            "objects.txt",
            vec!["get", kinds, "-n", namespace, "-o", "wide"],
        ),
        (
            "clusters.yaml",
            vec!["get", "raftclusters", "-n", namespace, "-o", "yaml"],
        ),
        ("pods.txt", vec!["describe", "pods", "-n", namespace]),
        (
            "events.txt",
            vec!["get", "events", "-n", namespace, "--sort-by=.lastTimestamp"],
        ),
        ("nodes.txt", vec!["describe", "nodes"]),
        ("system.txt", vec!["get", "pods", "-A", "-o", "wide"]),
        ("operator.log", operator_logs(&[])),
        ("operator-before.log", operator_logs(&["--previous"])),
    ] {
        write(stage, folder.path(), file, &arguments).await;
    }
    for pod in stage.pods().await.unwrap_or_default() {
        let name = pod.metadata.name.unwrap_or_default();
        let log = ["logs", "-n", namespace, &name];
        write(stage, folder.path(), &format!("{name}.log"), &log).await;
        let before = ["logs", "-n", namespace, &name, "--previous"];
        write(stage, folder.path(), &format!("{name}-before.log"), &before).await;
    }
    println!("  what there was is kept in {}", folder.path().display());
}

fn operator_logs(more: &[&'static str]) -> Vec<&'static str> {
    let mut arguments = vec!["logs", "-n", install::NAMESPACE, "-l", install::SELECTOR];
    arguments.extend(["--prefix", "--tail=5000"]);
    arguments.extend(more);
    arguments
}

async fn write(stage: &Stage<'_>, folder: &Path, file: &str, arguments: &[&str]) {
    let said = match stage.house().kubectl().run(arguments).await {
        Ok(said) => said,
        Err(error) => format!("{error:#}\n"),
    };
    // A full disk is no reason to hide the failure itself.
    let _ = std::fs::write(folder.join(file), said);
}
