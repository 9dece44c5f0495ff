//! The image that the nodes of the lab run: a stock one of kind's that is there or can be pulled, or our own build.
//!
//! Our own is built by `e2e/node-image` from Debian's packages and the Kubernetes programs of [`crate::tools`], for machines
//! that reach no registry. Its tag names the hash of everything in it.
//!
//! It deliberately builds no stock image and pulls none but kind's.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;

use super::engine;
use super::program::{output, succeeds};
use super::progress::Progress;
use crate::tools::{self, hash};

/// The stock image: a version that runs on cgroup v1 and v2.
pub const STOCK: &str = "kindest/node:v1.34.0";
/// Where kubeadm looks for the images in our own node image.
pub const REPOSITORY: &str = "quorate-lab";
/// The version of Kubernetes in our own.
const KUBERNETES: &str = "v1.34.4";
/// Names of the one image that holds every component, as kubeadm and our manifests ask for them.
const COMPONENTS: [&str; 7] = [
    "kube-apiserver:v1.34.4",
    "kube-controller-manager:v1.34.4",
    "kube-scheduler:v1.34.4",
    "kube-proxy:v1.34.4",
    "etcd:3.7.3",
    "coredns:1.12.1",
    "components:1",
];
/// What is in it beside Debian.
const PROGRAMS: [&str; 4] = ["hyperkube", "etcd", "coredns", "local-path-provisioner"];

/// An image for nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeImage {
    /// Its name and tag.
    pub name: String,
    /// Whether it is our own build, whose components stand under [`REPOSITORY`].
    pub ours: bool,
}

/// Whether an image can be had without building Kubernetes first, which takes an hour.
pub fn can_be_had_soon() -> bool {
    engine::has_image(STOCK) || PROGRAMS.iter().all(|name| tools::find(name).is_ok())
}

/// Sees to it that there is an image: present, pulled or built.
///
/// # Errors
/// What kept it from being built; a pull that fails is no error but the reason to build.
pub fn ensure(progress: &Progress) -> Result<NodeImage> {
    if let Some(name) = std::env::var("LAB_NODE_IMAGE")
        .ok()
        .filter(|it| !it.is_empty())
    {
        let ours = name.starts_with(REPOSITORY);
        return Ok(NodeImage { name, ours });
    }
    let stock = NodeImage {
        name: STOCK.to_owned(),
        ours: false,
    };
    if engine::has_image(STOCK) {
        return Ok(stock);
    }
    let built = built_before()?;
    if let Some(name) = built {
        return Ok(NodeImage { name, ours: true });
    }
    if pull(progress) {
        return Ok(stock);
    }
    build(progress).map(|name| NodeImage { name, ours: true })
}

/// Removes what [`ensure()`] has built; a pulled image stays for the kind clusters of others.
///
/// # Errors
/// When the engine refuses.
pub fn remove() -> Result<()> {
    let format = "{{.Repository}}:{{.Tag}}";
    let listed = output(Command::new("docker").args(["image", "ls", "--format", format]))?;
    let ours = format!("{REPOSITORY}/");
    let names: Vec<String> = listed
        .lines()
        .filter(|it| it.starts_with(&ours))
        .map(str::to_owned)
        .collect();
    engine::remove_images(&names)
}

fn pull(progress: &Progress) -> bool {
    let pulled = progress.run(
        &format!("pull {STOCK}"),
        Command::new("docker").args(["pull", STOCK]),
    );
    if pulled.is_err() {
        progress.say("  no registry can be reached: the node image is built here");
    }
    pulled.is_ok()
}

/// Our image with the content that a build would have now, if the tools are there without one.
fn built_before() -> Result<Option<String>> {
    let Ok(programs) = PROGRAMS
        .iter()
        .map(|name| tools::find(name))
        .collect::<Result<Vec<_>, _>>()
    else {
        return Ok(None);
    };
    let name = name_of(&content(&programs)?);
    Ok(engine::has_image(&name).then_some(name))
}

fn build(progress: &Progress) -> Result<String> {
    ensure!(
        geteuid().is_root(),
        "building a node image takes root, for debootstrap: run this as root once, or make {STOCK} available to the \
         container engine"
    );
    let programs = PROGRAMS
        .iter()
        .map(|name| tools::provide(name, progress))
        .collect::<Result<Vec<_>>>()?;
    let content = content(&programs)?;
    let name = name_of(&content);
    if engine::has_image(&name) {
        return Ok(name);
    }
    let base = base(progress)?;
    let context = context(&programs)?;
    let image = |target: &str| format!("{REPOSITORY}/{target}:build");
    // With a name for what is only built from, too, so that it can be removed by it.
    for target in ["iptables", "components", "pause", "node"] {
        let mut build = engine::build();
        build
            .args(["--target", target, "--tag", &image(target), "--build-arg"])
            .arg(format!("BASE={base}"))
            .arg(context.path());
        progress.run(&format!("build the image {target}"), &mut build)?;
    }
    progress.step("put the components into the node image", || {
        with_components(&image("node"), &image("components"), &image("pause"), &name)
    })?;
    Ok(name)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("node-image")
}

fn name_of(content: &str) -> String {
    format!("{REPOSITORY}/kind:{content}")
}

/// Debian with a node's packages, as an image; made once for each list of packages.
fn base(progress: &Progress) -> Result<String> {
    let read =
        |name: &str| std::fs::read(folder().join(name)).with_context(|| format!("read {name}"));
    let name = format!(
        "{REPOSITORY}/debian:{}",
        hash(&[&read("packages")?, &read("make-base")?])
    );
    if engine::has_image(&name) {
        return Ok(name);
    }
    output(Command::new("debootstrap").arg("--version")).context(
        "a node image is built with debootstrap; to get it: apt-get install debootstrap",
    )?;
    let archive = tempfile::NamedTempFile::new().context("make a file for the base system")?;
    let mut make = Command::new("sh");
    make.arg("-c")
        .arg("\"$1\" > \"$2\"")
        .arg("sh")
        .arg(folder().join("make-base"))
        .arg(archive.path());
    progress.run("make a base system of Debian's packages", &mut make)?;
    let path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut import = Command::new("docker");
    import
        .args(["import", "--change", path])
        .arg(archive.path())
        .arg(&name);
    progress.run("import the base system", &mut import)?;
    Ok(name)
}

/// What the engine builds from: our files, and the programs.
fn context(programs: &[PathBuf]) -> Result<tempfile::TempDir> {
    let context = tempfile::tempdir().context("make a folder to build the node image in")?;
    let bin = context.path().join("bin");
    std::fs::create_dir(&bin)?;
    for (name, program) in PROGRAMS.iter().zip(programs) {
        std::fs::copy(program, bin.join(name))
            .with_context(|| format!("copy {}", program.display()))?;
    }
    let mut copy = Command::new("cp");
    copy.arg("-a")
        .args([folder().join("Dockerfile"), folder().join("rootfs")])
        .arg(context.path());
    succeeds(&mut copy)?;
    Ok(context)
}

/// Everything that decides what is in the image.
fn content(programs: &[PathBuf]) -> Result<String> {
    let mut files = ["Dockerfile", "packages", "make-base"]
        .map(|it| folder().join(it))
        .to_vec();
    files_below(&folder().join("rootfs"), &mut files)?;
    files.sort();
    let mut parts = vec![KUBERNETES.as_bytes().to_vec()];
    for path in files.iter().chain(programs) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        parts.push(name.as_bytes().to_vec());
        parts.push(std::fs::read(path).with_context(|| format!("read {}", path.display()))?);
    }
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    Ok(hash(&parts))
}

fn files_below(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

/// Gives the node's own containerd the components, and keeps the result under a name.
fn with_components(node: &str, components: &str, pause: &str, name: &str) -> Result<()> {
    let names: Vec<String> = COMPONENTS
        .iter()
        .map(|it| format!("{REPOSITORY}/{it}"))
        .collect();
    for name in &names {
        succeeds(Command::new("docker").args(["tag", components, name]))?;
    }
    let sandbox = format!("{REPOSITORY}/pause:1");
    succeeds(Command::new("docker").args(["tag", pause, &sandbox]))?;
    let run = [
        "run",
        "--detach",
        "--privileged",
        "--entrypoint",
        "containerd",
        node,
    ];
    let container = output(Command::new("docker").args(run))?;
    let container = container.trim();
    let kept =
        import(container, names.iter().chain([&sandbox])).and_then(|()| keep(container, name));
    succeeds(Command::new("docker").args(["rm", "--force", "--volumes", container]))?;
    kept
}

fn import<'a>(container: &str, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let until_up =
        "for n in $(seq 600); do ctr version > /dev/null 2>&1 && exit 0; sleep 0.1; done; exit 1";
    succeeds(Command::new("docker").args(["exec", container, "sh", "-c", until_up]))
        .context("wait for the containerd of the node image")?;
    let mut save = Command::new("docker");
    let mut saved = save
        .arg("save")
        .args(names)
        .stdout(Stdio::piped())
        .spawn()
        .context("start docker save")?;
    let archive = saved.stdout.take().context("docker save has an output")?;
    let ctr = ["exec", "--interactive", container, "ctr", "-n", "k8s.io"];
    let imported = Command::new("docker")
        .args(ctr)
        // Unpacked on the nodes: what a snapshot looks like depends on where it is.
        .args(["images", "import", "--no-unpack", "-"])
        .stdin(archive)
        .output()?;
    if !saved.wait()?.success() || !imported.status.success() {
        let said = String::from_utf8_lossy(&imported.stderr);
        bail!("import the components: {}", said.trim());
    }
    let version = format!("echo {KUBERNETES} > /kind/version");
    succeeds(Command::new("docker").args(["exec", container, "sh", "-c", &version]))
}

fn keep(container: &str, name: &str) -> Result<()> {
    succeeds(Command::new("docker").args(["stop", container]))?;
    let entry = r#"ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]"#;
    succeeds(Command::new("docker").args(["commit", "--change", entry, container, name]))
}
