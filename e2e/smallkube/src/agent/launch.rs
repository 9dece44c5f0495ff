//! What a container is started with: its command line, environment and folders, with every reference resolved.
//!
//! It deliberately resolves what Kubernetes resolves (`$(VAR)`, `fieldRef`, config maps, secrets) and one thing more: a
//! mount path is replaced by the folder behind it, since local processes share one file system.

use crate::object::Object;
use crate::verbs::Objects;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One start of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launch {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// Node that it runs on.
    pub node: String,
    /// Name of the container.
    pub container: String,
    /// Image as the pod names it.
    pub image: String,
    /// `command` of the container; empty when the image's own is meant.
    pub command: Vec<String>,
    /// `args` of the container, expanded.
    pub args: Vec<String>,
    /// Environment in full, in order of names.
    pub env: BTreeMap<String, String>,
    /// Address of the pod.
    pub address: String,
    /// Mount path to the folder behind it.
    pub mounts: BTreeMap<String, PathBuf>,
    /// Where its output goes, if anywhere.
    pub log: Option<PathBuf>,
    /// How often it was started before.
    pub restarts: u32,
}

/// What a launch is made from.
pub(super) struct Source<'a> {
    pub(super) objects: &'a Objects,
    pub(super) pod: &'a Value,
    pub(super) container: &'a Value,
    pub(super) address: &'a str,
    /// Folder of the pod, for volumes that live and end with it.
    pub(super) folder: Option<PathBuf>,
}

impl Source<'_> {
    /// Resolves everything, or says what is missing (`CreateContainerConfigError`).
    pub(super) fn launch(&self) -> Result<Launch, String> {
        let mounts = self.mounts()?;
        let env = self.env(&mounts)?;
        let line = |field: &str| -> Vec<String> {
            let words = self.container.items(field).iter();
            words
                .map(|w| replace_mounts(&expand(w.as_str().unwrap_or_default(), &env), &mounts))
                .collect()
        };
        Ok(Launch {
            namespace: self.pod.namespace().to_owned(),
            pod: self.pod.name().to_owned(),
            uid: self.pod.uid().to_owned(),
            node: self.pod.text("/spec/nodeName").to_owned(),
            container: self.container.text("/name").to_owned(),
            image: self.container.text("/image").to_owned(),
            command: line("/command"),
            args: line("/args"),
            address: self.address.to_owned(),
            env,
            mounts,
            ..Launch::default()
        })
    }

    fn env(&self, mounts: &BTreeMap<String, PathBuf>) -> Result<BTreeMap<String, String>, String> {
        let mut env = BTreeMap::new();
        for source in self.container.items("/envFrom") {
            let prefix = source.text("/prefix");
            for (name, value) in self.all_of(source)? {
                env.insert(format!("{prefix}{name}"), value);
            }
        }
        for variable in self.container.items("/env") {
            let name = variable.text("/name").to_owned();
            let value = match variable.get("valueFrom") {
                Some(from) => self.referenced(from)?,
                None => Some(expand(variable.text("/value"), &env)),
            };
            if let Some(value) = value {
                env.insert(name, replace_mounts(&value, mounts));
            }
        }
        Ok(env)
    }

    fn all_of(&self, source: &Value) -> Result<BTreeMap<String, String>, String> {
        for (field, resource) in [("configMapRef", "configmaps"), ("secretRef", "secrets")] {
            if let Some(reference) = source.get(field) {
                return self.entries(resource, reference);
            }
        }
        Ok(BTreeMap::new())
    }

    fn referenced(&self, from: &Value) -> Result<Option<String>, String> {
        if let Some(field) = from.get("fieldRef") {
            let path = field.text("/fieldPath");
            return self
                .field(path)
                .map(Some)
                .ok_or_else(|| format!("fieldPath {path:?} is not supported"));
        }
        for (field, resource) in [
            ("configMapKeyRef", "configmaps"),
            ("secretKeyRef", "secrets"),
        ] {
            if let Some(reference) = from.get(field) {
                let key = reference.text("/key");
                let found = self.entries(resource, reference)?.remove(key);
                return match found {
                    None if reference["optional"] != true => Err(format!(
                        "couldn't find key {key} in {resource} {:?}",
                        reference.text("/name")
                    )),
                    found => Ok(found),
                };
            }
        }
        // resourceFieldRef: nothing here has limits; a process may use what the machine has.
        Ok(Some("0".to_owned()))
    }

    /// The downward API.
    fn field(&self, path: &str) -> Option<String> {
        let keyed = |map: &str| {
            let key = path
                .strip_prefix(&format!("metadata.{map}['"))?
                .strip_suffix("']")?;
            let values = self.pod.entries(&format!("/metadata/{map}"))?;
            Some(values.get(key)?.as_str()?.to_owned())
        };
        match path {
            "status.podIP" | "status.podIPs" => Some(self.address.to_owned()),
            "status.hostIP" => Some("127.0.0.1".to_owned()),
            "metadata.name"
            | "metadata.namespace"
            | "metadata.uid"
            | "spec.nodeName"
            | "spec.serviceAccountName" => Some(
                self.pod
                    .text(&format!("/{}", path.replace('.', "/")))
                    .to_owned(),
            ),
            _ => keyed("labels").or_else(|| keyed("annotations")),
        }
    }

    /// The entries of a config map or secret as text.
    fn entries(
        &self,
        resource: &str,
        reference: &Value,
    ) -> Result<BTreeMap<String, String>, String> {
        let name = reference.text("/name");
        let Some(object) = self.objects.find(resource, self.pod.namespace(), name) else {
            if reference["optional"] == true {
                return Ok(BTreeMap::new());
            }
            return Err(format!(
                "{} {name:?} not found",
                resource.trim_end_matches('s')
            ));
        };
        Ok(entries_of(resource, &object))
    }

    /// Every mount path with the folder behind it; folders of the pod's own are made.
    fn mounts(&self) -> Result<BTreeMap<String, PathBuf>, String> {
        let mut mounts = BTreeMap::new();
        for mount in self.container.items("/volumeMounts") {
            let name = mount.text("/name");
            let volumes = self.pod.items("/spec/volumes");
            let volume = volumes
                .iter()
                .find(|v| v.text("/name") == name)
                .ok_or_else(|| format!("volume {name:?} is not declared"))?;
            let mut folder = self.folder_of(volume)?;
            if !mount.text("/subPath").is_empty() {
                folder = folder.join(mount.text("/subPath"));
            }
            mounts.insert(mount.text("/mountPath").to_owned(), folder);
        }
        Ok(mounts)
    }

    fn folder_of(&self, volume: &Value) -> Result<PathBuf, String> {
        let own = || {
            let folder = self
                .folder
                .clone()
                .unwrap_or_else(|| PathBuf::from("/smallkube"));
            folder.join("volumes").join(volume.text("/name"))
        };
        let claim = volume.text("/persistentVolumeClaim/claimName");
        if !claim.is_empty() {
            return self.claimed(claim);
        }
        if !volume.text("/hostPath/path").is_empty() {
            return Ok(PathBuf::from(volume.text("/hostPath/path")));
        }
        let files = self.files_of(volume)?.unwrap_or_default();
        self.write_files(&own(), &files)?;
        Ok(own())
    }

    /// The files of a volume that is made of a config map or a secret: all entries, or those that are listed.
    fn files_of(&self, volume: &Value) -> Result<Option<BTreeMap<String, String>>, String> {
        let sources = [
            ("configMap", "/name", "configmaps"),
            ("secret", "/secretName", "secrets"),
        ];
        let found = sources
            .iter()
            .find_map(|(field, name, resource)| Some((volume.get(field)?, name, resource)));
        let Some((source, name, resource)) = found else {
            return Ok(None);
        };
        let reference = serde_json::json!({
            "name": source.text(name), "optional": source["optional"],
        });
        let mut entries = self.entries(resource, &reference)?;
        let items = source.items("/items");
        if items.is_empty() {
            return Ok(Some(entries));
        }
        let optional = source["optional"] == true;
        let listed = items.iter().map(|item| {
            let (key, path) = (item.text("/key"), item.text("/path").to_owned());
            let lacks = || format!("references non-existent secret key: {key}");
            match entries.remove(key) {
                None if !optional => Err(lacks()),
                found => Ok(found.map(|text| (path, text))),
            }
        });
        let listed: Result<Vec<_>, String> = listed.collect();
        Ok(Some(listed?.into_iter().flatten().collect()))
    }

    /// Brings the files of a running pod up to what its config maps and secrets hold by now, as the kubelet does within a
    /// minute; those that cannot be read stay as they were.
    pub(super) fn refresh(&self) {
        for volume in self.pod.items("/spec/volumes") {
            let Some(folder) = &self.folder else { return };
            let folder = folder.join("volumes").join(volume.text("/name"));
            if let (Ok(Some(files)), true) = (self.files_of(volume), folder.exists()) {
                // A disk that is full is the container's trouble as well.
                let _ = self.write_files(&folder, &files);
            }
        }
    }

    fn claimed(&self, claim: &str) -> Result<PathBuf, String> {
        let namespace = self.pod.namespace();
        let found = self
            .objects
            .find("persistentvolumeclaims", namespace, claim);
        let volume = found
            .map(|c| c.text("/spec/volumeName").to_owned())
            .unwrap_or_default();
        let volume = self
            .objects
            .find("persistentvolumes", "", &volume)
            .ok_or_else(|| format!("persistentvolumeclaim {claim:?} is not bound"))?;
        let path = match volume.text("/spec/hostPath/path") {
            "" => volume.text("/spec/local/path"),
            path => path,
        };
        Ok(PathBuf::from(path))
    }

    fn write_files(
        &self,
        folder: &PathBuf,
        entries: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        if self.folder.is_none() {
            return Ok(());
        }
        let failed =
            |e: std::io::Error| format!("cannot set up volume at {}: {e}", folder.display());
        std::fs::create_dir_all(folder).map_err(failed)?;
        for (name, text) in entries {
            let (file, new) = (folder.join(name), folder.join(format!("..{name}")));
            if std::fs::read(&file).is_ok_and(|now| now == text.as_bytes()) {
                continue;
            }
            // Nobody reads half a file.
            std::fs::write(&new, text).map_err(failed)?;
            std::fs::rename(&new, &file).map_err(failed)?;
        }
        Ok(())
    }
}

fn entries_of(resource: &str, object: &Value) -> BTreeMap<String, String> {
    use base64::Engine;
    let data = object.entries("/data").into_iter().flatten();
    data.map(|(name, value)| {
        let text = value.as_str().unwrap_or_default();
        let text = if resource == "secrets" {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
        } else {
            text.to_owned()
        };
        (name.clone(), text)
    })
    .collect()
}

/// Replaces `$(NAME)` by its value; unknown names stay and `$$(NAME)` escapes, as Kubernetes does.
fn expand(text: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|r| r.split_once(')'))
        {
            match env.get(name) {
                Some(value) => out.push_str(value),
                None => out.push_str(&rest[..name.len() + 3]),
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out + rest
}

/// Puts the folder in place of every mount path that stands as a path of its own or begins one.
fn replace_mounts(text: &str, mounts: &BTreeMap<String, PathBuf>) -> String {
    // Longer paths first: a mount inside of another is meant before the outer one.
    let mut paths: Vec<(&String, &PathBuf)> = mounts.iter().collect();
    paths.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    for (path, folder) in paths {
        let Some(at) = text.find(path.as_str()) else {
            continue;
        };
        let after = &text[at + path.len()..];
        let begins = at == 0 || text[..at].ends_with(['=', ':', ',', ' ', '"']);
        if begins && (after.is_empty() || after.starts_with(['/', ':', ',', ' ', '"'])) {
            return format!("{}{}{after}", &text[..at], folder.display());
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_expand_and_unknown_ones_stay() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(expand("x$(A)y$(B)$$(A)$", &env), "x1y$(B)$(A)$");
    }

    #[test]
    fn mount_paths_become_folders() {
        let mounts = BTreeMap::from([("/var/lib/quorate".to_owned(), PathBuf::from("/tmp/v"))]);
        let replaced = |text: &str| replace_mounts(text, &mounts);
        assert_eq!(
            replaced("--data-dir=/var/lib/quorate/data"),
            "--data-dir=/tmp/v/data"
        );
        assert_eq!(replaced("/var/lib/quorate"), "/tmp/v");
        assert_eq!(replaced("/var/lib/quorate-other"), "/var/lib/quorate-other");
        assert_eq!(replaced("/x/var/lib/quorate"), "/x/var/lib/quorate");
    }

    #[test]
    fn the_downward_api_knows_the_pod() {
        let objects = Objects::new(1, std::sync::Arc::new(jiff::Timestamp::now));
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"a/b": "c"}}, "spec": {}});
        let field =
            |path: &str| json!({"name": "V", "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let container = json!({"name": "c", "image": "i:1", "args": ["--listen=http://$(V):1"], "env": [field("status.podIP")]});
        let source = Source {
            objects: &objects,
            pod: &pod,
            container: &container,
            address: "127.1.0.1",
            folder: None,
        };
        let launch = source.launch().unwrap();
        assert_eq!(launch.args, ["--listen=http://127.1.0.1:1"]);
        assert_eq!(source.field("metadata.labels['a/b']").as_deref(), Some("c"));
        assert_eq!(source.field("status.nothing"), None);
    }
}
