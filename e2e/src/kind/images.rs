//! Container images of our own, and a stock etcd beside them: static binaries, one in each of ours, from nothing else.
//!
//! Each image is known by its content: a tag that names the hash of everything in it. Where that tag is, nothing is built
//! again, and a node that has it is sent nothing. The tags that manifests name (`quorate-node:0.1.0`) move with it.
//!
//! It deliberately pushes nothing anywhere, and checks no signature: images go from here to the nodes of one kind cluster.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::engine;
use super::program::{output, succeeds};
use super::progress::Progress;
use crate::{binaries, tools};

/// Our version, which is the tag of our images.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What is added to a version for a second tag of the same image, so that there is something to roll to.
const NEXT: &str = "-next";
/// No image of ours is larger: one that is pulled while a cluster waits for its quorum has to be small.
const BYTES_MAX: u64 = 25_000_000;
/// How the tag begins that names an image's content.
const CONTENT: &str = "content-";
/// How many contents of one image the engine keeps: several checkouts of this repository may share it.
const KEPT: usize = 5;
/// Since glibc 2.34 name services are part of the library; those of older ones are loaded from files that no image has.
const GLIBC_MINOR_MIN: u32 = 34;
/// The cargo profile of what goes into images.
const PROFILE: &str = "image";

/// The image that holds the programs of others.
const STOCK: &str = "etcd";

/// What an image is made of.
struct Recipe {
    name: &'static str,
    /// Whether there is a second tag to roll to.
    next: bool,
    dockerfile: &'static str,
    /// The files in it; what the first one says is its version.
    programs: &'static [&'static str],
}

impl Recipe {
    /// Whether what is in it comes from here.
    fn is_ours(&self) -> bool {
        self.name != STOCK
    }
}

/// All images, ours first.
const RECIPES: [Recipe; 4] = [
    Recipe {
        name: "quorate-operator",
        next: false,
        dockerfile: include_str!("../../../operator/Dockerfile"),
        programs: &["quorate-operator"],
    },
    Recipe {
        name: "quorate-node",
        next: true,
        dockerfile: include_str!("../../../node/Dockerfile"),
        programs: &["quorate-node"],
    },
    Recipe {
        name: "quorate-lab-traffic",
        next: false,
        dockerfile: include_str!("../../images/traffic.Dockerfile"),
        programs: &["traffic"],
    },
    Recipe {
        name: STOCK,
        next: true,
        dockerfile: include_str!("../../images/etcd.Dockerfile"),
        // Its restorer rebuilds a cluster that has lost its quorum.
        programs: &["etcd", "etcdutl"],
    },
];

/// An image that the container engine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The tags that manifests name.
    pub tags: Vec<String>,
    /// The tag that names its content.
    pub content: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// The binaries of an image, and the version that it is tagged with.
struct Content {
    paths: Vec<PathBuf>,
    version: String,
}

/// Builds what is not there yet, and gives all images.
///
/// # Errors
/// When a binary does not build or is missing, the engine refuses, or an image has grown too large.
pub fn build(progress: &Progress) -> Result<Vec<Image>> {
    let ours = build_binaries(progress)?;
    let etcd = stock_etcd(progress)?;
    let scratch = tempfile::tempdir().context("make a folder to build images in")?;
    let pack = |recipe: &Recipe| {
        if !recipe.is_ours() {
            return image(recipe, &etcd, scratch.path(), progress);
        }
        let content = Content {
            paths: recipe.programs.iter().map(|it| ours.join(it)).collect(),
            version: VERSION.to_owned(),
        };
        image(recipe, &content, scratch.path(), progress)
    };
    RECIPES.iter().map(pack).collect()
}

/// Sends to each node of a kind cluster the images that it lacks; what a node has is not sent again.
///
/// # Errors
/// When a node cannot be asked or kind fails.
pub fn load(images: &[Image], cluster: &str, progress: &Progress) -> Result<()> {
    let kind = tools::find("kind")?;
    let listed = output(Command::new(&kind).args(["get", "nodes", "--name", cluster]))?;
    for node in listed.split_whitespace() {
        let there = on_node(node)?;
        let missing: Vec<&Image> = images
            .iter()
            .filter(|image| !there.iter().any(|it| it.ends_with(&image.content)))
            .collect();
        if missing.is_empty() {
            continue;
        }
        forget_others(node, &there, &missing)?;
        let mut load = Command::new(&kind);
        load.args(["load", "docker-image", "--name", cluster, "--nodes", node]);
        load.args(missing.iter().map(|image| &image.content));
        progress.run(
            &format!("send {} images to {node}", missing.len()),
            &mut load,
        )?;
        for image in missing {
            name(image, node)?;
        }
    }
    Ok(())
}

/// Removes every image that [`build`] makes from the container engine.
///
/// # Errors
/// When the engine refuses.
pub fn remove() -> Result<()> {
    for recipe in &RECIPES {
        engine::remove_images(&packed_here(recipe.name)?)?;
    }
    Ok(())
}

/// The names of images that were packed here: those that a name of ours for their content goes with. Somebody else's image
/// may have the same name, such as `etcd`.
fn packed_here(name: &str) -> Result<Vec<String>> {
    let format = "{{.ID}} {{.Repository}}:{{.Tag}}";
    let list = ["image", "ls", "--no-trunc", "--format", format, name];
    let listed = output(Command::new("docker").args(list))?;
    let images: Vec<(&str, &str)> = listed.lines().filter_map(|it| it.split_once(' ')).collect();
    let content = format!("{name}:{CONTENT}");
    let ours = |id: &str| {
        let mut names = images.iter().filter(|it| it.0 == id).map(|it| it.1);
        names.any(|it| it.starts_with(&content))
    };
    let found = images.iter().filter(|it| ours(it.0));
    Ok(found.map(|it| it.1.to_owned()).collect())
}

/// Static binaries of ours; the folder they are in.
fn build_binaries(progress: &Progress) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let triple = host_triple()?;
    if triple.ends_with("gnu") {
        check_glibc(&output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?)?;
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = binaries::build_folder().join("..").canonicalize()?;
    let mut build = Command::new(cargo);
    build
        .current_dir(repository)
        .args(["build", "--locked", "--profile", PROFILE])
        // Naming the target keeps the flags below from procedural macros, which cannot be static.
        .args(["--target", &triple, "--config"])
        .arg(format!(
            r#"target.{triple}.rustflags=["-C", "target-feature=+crt-static"]"#
        ))
        .arg("--target-dir")
        .arg(&target)
        .args(["-p", "quorate-operator", "-p", "quorate-node", "-p", "e2e"])
        .args(["--bin", "quorate-operator", "--bin", "quorate-node"])
        .args(["--bin", "traffic"])
        .stdin(Stdio::null());
    progress.run("build static binaries for images", &mut build)?;
    Ok(target.join(triple).join(PROFILE))
}

fn host_triple() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|l| l.strip_prefix("host: "));
    let host = host.context("rustc -vV names no host")?;
    ensure!(
        host.contains("linux"),
        "images hold Linux programs, and this is {host}: build them on Linux"
    );
    Ok(host.to_owned())
}

/// Whether this machine's C library can look up names in an image that holds nothing else.
fn check_glibc(said: &str) -> Result<()> {
    let version = said.trim().strip_prefix("glibc 2.");
    let minor = version.and_then(|it| it.split('.').next()?.parse::<u32>().ok());
    ensure!(
        minor.is_some_and(|minor| minor >= GLIBC_MINOR_MIN),
        "this machine has {}: programs linked to it statically could look up no names; build images with glibc \
         2.{GLIBC_MINOR_MIN} or newer, as on Debian 12",
        said.trim()
    );
    Ok(())
}

/// The etcd of this machine, with the version that it says it is.
fn stock_etcd(progress: &Progress) -> Result<Content> {
    let path = tools::provide("etcd", progress)?;
    let said = output(Command::new(&path).arg("--version"))?;
    let version = said.lines().find_map(|l| l.strip_prefix("etcd Version: "));
    let version = version.with_context(|| format!("{} says: {said}", path.display()))?;
    Ok(Content {
        version: version.to_owned(),
        paths: vec![path, tools::provide("etcdutl", progress)?],
    })
}

fn image(recipe: &Recipe, from: &Content, scratch: &Path, progress: &Progress) -> Result<Image> {
    let read =
        |path: &PathBuf| std::fs::read(path).with_context(|| format!("read {}", path.display()));
    let binaries: Vec<Vec<u8>> = from.paths.iter().map(read).collect::<Result<_>>()?;
    let content = content_tag(recipe, &from.version, &binaries);
    if !engine::has_image(&content) {
        progress.step(&format!("pack {content}"), || {
            pack(recipe, from, scratch, &content)
        })?;
    }
    let image = Image {
        tags: tags(recipe, &from.version),
        bytes: bytes(&content)?,
        content,
    };
    ensure!(
        !recipe.is_ours() || image.bytes < BYTES_MAX,
        "{} has {:.1} MB and must stay under {} MB: look what the binary has grown by",
        image.tags[0],
        image.bytes as f64 / 1e6,
        BYTES_MAX / 1_000_000
    );
    for tag in &image.tags {
        succeeds(Command::new("docker").args(["tag", &image.content, tag]))?;
    }
    drop_older(recipe.name)?;
    Ok(image)
}

fn tags(recipe: &Recipe, version: &str) -> Vec<String> {
    let tag = |more: &str| format!("{}:{version}{more}", recipe.name);
    let next = recipe.next.then(|| tag(NEXT));
    [tag("")].into_iter().chain(next).collect()
}

/// Everything that decides what is in the image.
fn content_tag(recipe: &Recipe, version: &str, binaries: &[impl AsRef<[u8]>]) -> String {
    let mut parts = vec![recipe.dockerfile.as_bytes(), version.as_bytes()];
    parts.extend(binaries.iter().map(AsRef::as_ref));
    format!("{}:{CONTENT}{}", recipe.name, tools::hash(&parts))
}

/// Has the engine build it, from a folder that holds the recipe and its files.
fn pack(recipe: &Recipe, from: &Content, scratch: &Path, content: &str) -> Result<()> {
    let context = scratch.join(recipe.name);
    std::fs::create_dir_all(&context)?;
    for (path, name) in from.paths.iter().zip(recipe.programs) {
        std::fs::copy(path, context.join(name))?;
    }
    std::fs::write(context.join("Dockerfile"), recipe.dockerfile)?;
    let mut build = engine::build();
    build
        .args(["--quiet", "--tag", content, "--build-arg"])
        .arg(format!("VERSION={}", from.version))
        .arg(&context);
    succeeds(&mut build)
}

fn bytes(tag: &str) -> Result<u64> {
    let format = ["image", "inspect", "--format", "{{.Size}}", tag];
    let size = output(Command::new("docker").args(format))?;
    size.trim()
        .parse()
        .with_context(|| format!("read the size of {tag} from {size:?}"))
}

fn tags_of(name: &str) -> Result<Vec<String>> {
    let format = "{{.Repository}}:{{.Tag}}";
    let listed = output(Command::new("docker").args(["image", "ls", "--format", format, name]))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// Removes content that nobody has built for long: all but the newest few.
fn drop_older(name: &str) -> Result<()> {
    let prefix = format!("{name}:{CONTENT}");
    // The engine lists the newest first.
    let older: Vec<String> = tags_of(name)?
        .into_iter()
        .filter(|tag| tag.starts_with(&prefix))
        .skip(KEPT)
        .collect();
    if older.is_empty() {
        return Ok(());
    }
    succeeds(Command::new("docker").args(["image", "rm"]).args(older))
}

/// The names of the images that a node has.
fn on_node(node: &str) -> Result<Vec<String>> {
    let list = ["exec", node, "ctr", "-n", "k8s.io", "images", "ls", "-q"];
    let listed = output(Command::new("docker").args(list))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// Gives an image on a node the tags that manifests name. They are not sent: with two labs on one engine they may be those
/// of the other there.
fn name(image: &Image, node: &str) -> Result<()> {
    let there = on_node(node)?;
    // Its whole name begins with where containerd takes short names to belong.
    let place = there.iter().find_map(|it| it.strip_suffix(&image.content));
    let place =
        place.with_context(|| format!("{node} has no {} after it was sent", image.content))?;
    let tag = [
        "exec", node, "ctr", "-n", "k8s.io", "images", "tag", "--force",
    ];
    let names = [&image.content].into_iter().chain(&image.tags);
    let names = names.map(|name| format!("{place}{name}"));
    succeeds(Command::new("docker").args(tag).args(names))
}

/// Takes the names of other content from a node: such a name promises that the tags beside it are of that content.
fn forget_others(node: &str, there: &[String], missing: &[&Image]) -> Result<()> {
    let older: Vec<&String> = there
        .iter()
        .filter(|name| missing.iter().any(|image| is_other_content(name, image)))
        .collect();
    if older.is_empty() {
        return Ok(());
    }
    let forget = ["exec", node, "ctr", "-n", "k8s.io", "images", "rm"];
    succeeds(Command::new("docker").args(forget).args(older))
}

/// Whether a name on a node, such as `registry.example/library/etcd:content-0123`, is of the same image with other content.
fn is_other_content(name: &str, image: &Image) -> bool {
    let repository = image.content.split(':').next().unwrap_or_default();
    let Some((path, tag)) = name.rsplit_once(':') else {
        return false;
    };
    path.rsplit('/').next() == Some(repository) && tag.starts_with(CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_binary_recipe_or_version_is_other_content() {
        let [operator, node, ..] = &RECIPES;
        let first = content_tag(node, "0.1.0", &[b"one"]);
        assert!(first.starts_with("quorate-node:content-"), "{first}");
        assert_eq!(first, content_tag(node, "0.1.0", &[b"one"]));
        assert_ne!(first, content_tag(node, "0.1.0", &[b"two"]));
        assert_ne!(first, content_tag(node, "0.1.1", &[b"one"]));
        let of = |tag: String| tag.rsplit_once('-').map(|(_, hash)| hash.to_owned());
        assert_ne!(of(first), of(content_tag(operator, "0.1.0", &[b"one"])));
    }

    #[test]
    fn a_node_forgets_other_content_of_the_same_image_only() {
        let image = Image {
            tags: vec!["etcd:3.7.3".to_owned()],
            content: "etcd:content-ab".to_owned(),
            bytes: 1,
        };
        for (name, other) in [
            ("registry.example/library/etcd:content-cd", true),
            ("registry.example/library/etcd:3.7.3", false),
            ("registry.example/etcd:3.6.5-0", false),
            ("registry.example/library/quorate-node:content-cd", false),
            ("sha256:0123", false),
        ] {
            assert_eq!(is_other_content(name, &image), other, "{name}");
        }
    }

    #[test]
    fn a_library_that_could_look_up_no_names_is_refused() {
        for fits in ["glibc 2.34\n", "glibc 2.36", "glibc 2.41"] {
            assert!(check_glibc(fits).is_ok(), "{fits}");
        }
        for old in ["glibc 2.31", "glibc 2.4", ""] {
            let error = check_glibc(old).unwrap_err().to_string();
            assert!(error.contains("2.34 or newer"), "{error}");
        }
    }

    #[test]
    fn what_rolls_has_a_second_tag() {
        let [operator, node, ..] = &RECIPES;
        assert_eq!(
            tags(node, "1.2.3"),
            ["quorate-node:1.2.3", "quorate-node:1.2.3-next"]
        );
        assert_eq!(tags(operator, "1.2.3"), ["quorate-operator:1.2.3"]);
    }
}
