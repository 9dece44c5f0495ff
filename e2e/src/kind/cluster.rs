//! The kind cluster of a lab: three nodes, an audit log, and nothing of anybody else's.
//!
//! Its name is made from the place of this checkout, so that two labs live side by side; `LAB_NAME` names another. The same
//! name has the same nodes, kubeconfig and network, and nothing here touches a cluster of another name.
//!
//! It deliberately installs nothing in the cluster: see `install`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::node_image::{NodeImage, REPOSITORY};
use super::program::output;
use super::progress::Progress;
use crate::tools;

/// The container network of the labs; kind's own is left to others.
pub const NETWORK: &str = "quorate-lab";
/// The longest name of which every node still has a host name.
const NAME_MAX: usize = 40;

/// Nodes of the cluster, its control plane's included.
pub const NODES: usize = 3;

const AUDIT_POLICY: &str = include_str!("audit-policy.yaml");

/// A lab's cluster, whether it is there or not.
#[derive(Clone, Debug)]
pub struct Cluster {
    name: String,
    folder: PathBuf,
    kind: PathBuf,
}

impl Cluster {
    /// The cluster of this checkout, or of the name in `LAB_NAME`.
    ///
    /// # Errors
    /// When there is no kind, or the name cannot be one of a host.
    pub fn new(kind: PathBuf) -> Result<Self> {
        let name = match std::env::var("LAB_NAME") {
            Ok(name) if !name.is_empty() => name,
            _ => own_name(),
        };
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            name.chars().all(fits)
                && name.len() <= NAME_MAX
                && !name.starts_with('-')
                && !name.ends_with('-'),
            "LAB_NAME={name}: lower-case letters, digits and dashes within, at most {NAME_MAX}"
        );
        let folder = tools::folder().join("clusters").join(&name);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        Ok(Self { name, folder, kind })
    }

    /// Its name for kind.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What clients need to talk to it.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Creates it with nodes of an image, unless it is there just so and answers.
    ///
    /// # Errors
    /// When kind fails; with its log.
    pub fn up(&self, image: &NodeImage, progress: &Progress) -> Result<()> {
        let policy = self.folder.join("audit-policy.yaml");
        let configuration = configuration(image, &policy);
        let file = self.folder.join("kind.yaml");
        if self.exists()? {
            let made_from = std::fs::read_to_string(&file).unwrap_or_default();
            if made_from == configuration && self.answers() {
                progress.say(&format!("the cluster {} is up", self.name));
                return Ok(());
            }
            self.down(progress)?;
        }
        std::fs::write(&policy, AUDIT_POLICY)?;
        std::fs::write(&file, &configuration)?;
        let mut create = self.kind(&["create", "cluster", "--wait", "300s"]);
        create.arg("--config").arg(&file);
        create.args(["--image", &image.name]);
        let created = progress.run(
            &format!("create the kind cluster {}", self.name),
            &mut create,
        );
        if created.is_err() {
            self.keep_logs(progress);
        }
        created
    }

    /// Deletes it, if it is there.
    ///
    /// # Errors
    /// When kind fails; with its log.
    pub fn down(&self, progress: &Progress) -> Result<()> {
        if !self.exists()? {
            return Ok(());
        }
        let mut delete = self.kind(&["delete", "cluster"]);
        progress.run(
            &format!("delete the kind cluster {}", self.name),
            &mut delete,
        )
    }

    /// Whether kind knows it.
    ///
    /// # Errors
    /// When kind fails.
    pub fn exists(&self) -> Result<bool> {
        let listed = output(Command::new(&self.kind).args(["get", "clusters"]))?;
        Ok(listed.lines().any(|it| it == self.name))
    }

    /// Where kind has put what the nodes logged.
    fn keep_logs(&self, progress: &Progress) {
        let into = self.folder.join("logs");
        let mut export = Command::new(&self.kind);
        export
            .args(["export", "logs", "--name", &self.name])
            .arg(&into);
        if output(&mut export).is_ok() {
            progress.say(&format!("what the nodes logged is in {}", into.display()));
        }
    }

    fn answers(&self) -> bool {
        let kubectl = tools::find("kubectl");
        kubectl.is_ok_and(|kubectl| {
            let mut get = Command::new(kubectl);
            get.arg("--kubeconfig").arg(self.kubeconfig());
            get.args(["get", "--raw", "/readyz", "--request-timeout=10s"]);
            output(&mut get).is_ok()
        })
    }

    fn kind(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kind);
        command
            .env("KIND_EXPERIMENTAL_DOCKER_NETWORK", NETWORK)
            .args(arguments)
            .args(["--name", &self.name, "--kubeconfig"])
            .arg(self.kubeconfig());
        command
    }
}

/// Whether there are nodes of any lab.
///
/// # Errors
/// When the container engine does not answer.
pub fn any_is_there() -> Result<bool> {
    let network = format!("network={NETWORK}");
    let list = ["ps", "--all", "--quiet", "--filter", &network];
    Ok(!output(Command::new("docker").args(list))?.is_empty())
}

/// A name for the lab of this checkout.
fn own_name() -> String {
    let place = Path::new(env!("CARGO_MANIFEST_DIR"));
    let hash = tools::hash(&[place.to_string_lossy().as_bytes()]);
    format!("quorate-{}", &hash[..6])
}

/// kind's configuration. Members may run on the control plane's node too, so it is not tainted: three nodes for three
/// members. Its etcd need not survive anything, and with one of each controller there is nothing to elect.
fn configuration(image: &NodeImage, audit_policy: &Path) -> String {
    let own = if image.ours {
        format!("  imageRepository: {REPOSITORY}\n  dns:\n    imageTag: 1.12.1\n")
    } else {
        String::new()
    };
    let etcd_tag = if image.ours {
        "      imageTag: 3.7.3\n"
    } else {
        ""
    };
    format!(
        r#"kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
  extraMounts:
  - hostPath: "{policy}"
    containerPath: /etc/kubernetes/audit/policy.yaml
    readOnly: true
- role: worker
- role: worker
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
{own}  etcd:
    local:
{etcd_tag}      dataDir: /tmp/etcd
      extraArgs:
        unsafe-no-fsync: "true"
  apiServer:
    extraArgs:
      audit-policy-file: /etc/kubernetes/audit/policy.yaml
      audit-log-path: /var/log/kubernetes/audit.log
    extraVolumes:
    - name: audit-policy
      hostPath: /etc/kubernetes/audit
      mountPath: /etc/kubernetes/audit
      readOnly: true
      pathType: Directory
    - name: audit-log
      hostPath: /var/log/kubernetes
      mountPath: /var/log/kubernetes
      pathType: DirectoryOrCreate
  controllerManager:
    extraArgs:
      leader-elect: "false"
  scheduler:
    extraArgs:
      leader-elect: "false"
- |
  kind: InitConfiguration
  nodeRegistration:
    taints: []
"#,
        policy = audit_policy.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(ours: bool) -> serde_json::Value {
        let name = "some/image:1".to_owned();
        let text = configuration(&NodeImage { name, ours }, Path::new("/p/policy.yaml"));
        serde_saphyr::from_str(&text).expect("kind's configuration is YAML")
    }

    fn cluster_patch(configuration: &serde_json::Value) -> serde_json::Value {
        let patch = configuration["kubeadmConfigPatches"][0]
            .as_str()
            .expect("a patch");
        serde_saphyr::from_str(patch).expect("a patch is YAML")
    }

    #[test]
    fn a_stock_image_keeps_its_own_components() {
        let configuration = configured(false);
        let nodes = configuration["nodes"].as_array();
        assert_eq!(nodes.map(Vec::len), Some(NODES));
        let patch = cluster_patch(&configuration);
        assert!(patch.get("imageRepository").is_none(), "{patch}");
        assert!(patch["etcd"]["local"].get("imageTag").is_none(), "{patch}");
    }

    #[test]
    fn our_image_names_its_components() {
        let patch = cluster_patch(&configured(true));
        assert_eq!(patch["imageRepository"], REPOSITORY);
        assert_eq!(patch["etcd"]["local"]["imageTag"], "3.7.3");
        assert_eq!(patch["etcd"]["local"]["dataDir"], "/tmp/etcd");
    }

    #[test]
    fn every_checkout_has_a_name_of_its_own_that_fits() {
        let name = own_name();
        assert!(
            name.starts_with("quorate-") && name.len() <= NAME_MAX,
            "{name}"
        );
    }
}
