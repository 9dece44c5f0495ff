//! The file of host names that stands in for cluster DNS: every pod and every Service, in the format of hosts(5).
//!
//! Processes find it in `QUORATE_HOSTS_FILE`. It deliberately answers for what exists now and nothing else.

use super::Agent;
use crate::object::Object;
use serde_json::Value;
use std::fmt::Write;
use std::sync::Arc;

/// Name of the file in the state folder.
pub(super) const FILE: &str = "hosts";

/// Writes the file, if anything changed.
pub(super) fn write(agent: &Agent) {
    let Some(folder) = &agent.state else {
        return;
    };
    let text = render(
        agent,
        &agent.objects.list("pods"),
        &agent.objects.list("services"),
    );
    let file = folder.join(FILE);
    if std::fs::read_to_string(&file).is_ok_and(|before| before == text) {
        return;
    }
    // Written beside and moved, so that no reader sees half of it; two writers at once write two different files.
    let fresh = tempfile::NamedTempFile::new_in(folder).and_then(|fresh| {
        std::fs::write(fresh.path(), &text)?;
        fresh.persist(&file).map_err(|e| e.error)
    });
    if let Err(error) = fresh {
        tracing::warn!(%error, file = %file.display(), "cannot write the hosts file");
    }
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
