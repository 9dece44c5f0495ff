//! The file of host names that stands in for cluster DNS: every pod and every Service, in the format of hosts(5).
//!
//! Processes find it in `QUORATE_HOSTS_FILE`, and where the machine allows it at `/etc/hosts`, see `names.rs`. It
//! deliberately answers for what exists now and nothing else.

use super::{Agent, lock};
use crate::object::Object;
use serde_json::Value;
use std::fmt::Write;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the file in the state folder.
pub(super) const FILE: &str = "hosts";

/// Name of the same file for mounting: it stays the same file while its content changes.
const MOUNTED: &str = "etc-hosts";

/// The file to mount, made if there is none yet.
pub(super) fn for_mounting(folder: &Path) -> Result<PathBuf, String> {
    let file = folder.join(MOUNTED);
    let made = OpenOptions::new().create(true).append(true).open(&file);
    made.map_err(|e| format!("cannot write {}: {e}", file.display()))?;
    Ok(file)
}

/// Writes both files, if anything changed.
pub(super) fn write(agent: &Agent) {
    let Some(folder) = &agent.state else {
        return;
    };
    let mut written = lock(&agent.hosts);
    let text = render(
        agent,
        &agent.objects.list("pods"),
        &agent.objects.list("services"),
    );
    if *written == text {
        return;
    }
    if let Err(error) = replace(folder, &text).and_then(|()| overwrite(folder, &text)) {
        tracing::warn!(%error, folder = %folder.display(), "cannot write the hosts files");
        return;
    }
    *written = text;
}

/// Written beside and moved, so that no reader sees half of it.
fn replace(folder: &Path, text: &str) -> io::Result<()> {
    let fresh = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(fresh.path(), text)?;
    let kept = fresh.persist(folder.join(FILE));
    kept.map(drop).map_err(|e| e.error)
}

/// Written over, since a mount holds the file and not its name: a reader in between sees lines of before at its end.
fn overwrite(folder: &Path, text: &str) -> io::Result<()> {
    let file = folder.join(MOUNTED);
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(file)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

fn render(agent: &Agent, pods: &[Arc<Value>], services: &[Arc<Value>]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    for pod in pods.iter().filter(|p| !p.text("/spec/nodeName").is_empty()) {
        let (namespace, subdomain) = (pod.namespace(), pod.text("/spec/subdomain"));
        let host = match pod.text("/spec/hostname") {
            "" => pod.name(),
            name => name,
        };
        if !subdomain.is_empty() {
            let address = agent.address(namespace, pod.name());
            line(
                &mut text,
                &address,
                &format!("{host}.{subdomain}.{namespace}"),
            );
        }
    }
    for service in services {
        let address = service.text("/spec/clusterIP");
        if !matches!(address, "" | "None") {
            let name = format!("{}.{}", service.name(), service.namespace());
            line(&mut text, address, &name);
        }
    }
    text
}

fn line(text: &mut String, address: &str, name: &str) {
    // Writing to a String does not fail.
    let _ = writeln!(text, "{address} {name}.svc {name}.svc.cluster.local {name}");
}
