//! The program that the members of a lab run: ours, or a stock etcd of this machine.
//!
//! A promise is written once, as a function of the engine; [`on_each_engine!`](crate::on_each_engine) makes a test of it for
//! each. `E2E_ETCD` names another etcd than the one that [`tools`] finds.
//!
//! It deliberately builds and fetches nothing: where no etcd can be had, the tests say so and how to get one.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use smallkube::Images;

use crate::{FIGURE, binaries, tools};

/// A program that members run, and the images under which a lab has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    kind: crds::Engine,
    program: PathBuf,
    /// The image's name, which is the program's.
    name: &'static str,
    version: String,
    /// Others whose images the lab has too.
    beside: Vec<Self>,
}

impl Engine {
    /// Ours.
    ///
    /// # Errors
    /// When it is not built; with what to build.
    pub fn quorate() -> Result<Self> {
        Ok(Self {
            kind: crds::Engine::Quorate,
            program: binaries::ours("quorate-node")?,
            name: "quorate-node",
            version: env!("CARGO_PKG_VERSION").to_owned(),
            beside: Vec::new(),
        })
    }

    /// Stock etcd; none, and a line for people that says why, where there is none.
    ///
    /// # Errors
    /// When the one that was found does not say its version.
    pub fn etcd() -> Result<Option<Self>> {
        let found = match std::env::var_os("E2E_ETCD") {
            Some(path) => Ok(path.into()),
            None => found("etcd"),
        };
        Self::if_usable("etcd", found)
    }

    /// Stock etcd of each minor version that the operator has been run with, the oldest first; none, and a line for people,
    /// where one of them is not to be had.
    ///
    /// # Errors
    /// As [`Engine::etcd`].
    pub fn etcds() -> Result<Option<[Self; 3]>> {
        let named = |name| Self::if_usable(name, found(name));
        let [oldest, middle, newest] = ["etcd-3.5", "etcd-3.6", "etcd"].map(named);
        let all = oldest?.zip(middle?).zip(newest?);
        Ok(all.map(|((oldest, middle), newest)| [oldest, middle, newest]))
    }

    /// The etcd that was found, if processes can find their peers by name here.
    fn if_usable(name: &str, found: Result<PathBuf, String>) -> Result<Option<Self>> {
        let hosts = smallkube::own_hosts();
        let hosts = hosts.map_err(|why| format!("it finds its peers in /etc/hosts, and {why}"));
        match found.and_then(|path| hosts.map(|()| path)) {
            Ok(path) => Self::etcd_at(path).map(Some),
            Err(why) => {
                println!("{FIGURE}not run with {name}: {why}");
                Ok(None)
            }
        }
    }

    fn etcd_at(program: PathBuf) -> Result<Self> {
        Ok(Self {
            version: version_of(&program)?,
            kind: crds::Engine::Etcd,
            program,
            name: "etcd",
            beside: Vec::new(),
        })
    }

    /// The same, with the images of others in the lab too.
    #[must_use]
    pub fn beside(self, others: &[Self]) -> Self {
        Self {
            beside: others.to_vec(),
            ..self
        }
    }

    /// What it is to a `RaftCluster`.
    pub const fn kind(&self) -> crds::Engine {
        self.kind
    }

    /// The image that a cluster runs until it asks for another.
    pub fn image(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }

    /// Another image there is.
    pub fn next_image(&self) -> String {
        format!("{}:{}-next", self.name, self.version)
    }

    /// An image that nobody has, of a version that would do.
    pub fn missing_image(&self) -> String {
        format!("{}:{}.999", self.name, self.minor())
    }

    /// Its major and minor version, such as `3.6`.
    pub fn minor(&self) -> &str {
        self.version.rsplit_once('.').map_or("", |(minor, _)| minor)
    }

    /// All images there are.
    pub fn images(&self) -> Images {
        let others = self.beside.iter();
        // Etcd's own images have it beside the server; where there is none here, what needs it says so.
        let images = match tools::find("etcdutl") {
            Ok(path) if self.kind == crds::Engine::Etcd => {
                Images::default().with_program("etcdutl", path)
            }
            _ => Images::default(),
        };
        others.chain([self]).fold(images, |images, it| {
            images
                .with(&it.image(), &it.program)
                .with(&it.next_image(), &it.program)
        })
    }

    /// What `spec.image` is in a cluster that asks for nothing in particular: ours has a default.
    pub fn plain_image(&self) -> Option<String> {
        match self.kind {
            crds::Engine::Quorate => None,
            crds::Engine::Etcd => Some(self.image()),
        }
    }

    /// Makes a cluster one of this engine; for ours every manifest stands as it is.
    pub(crate) fn dress(&self, cluster: &mut Value) {
        if let Some(image) = self.plain_image() {
            cluster["spec"]["engine"] = json!(self.kind);
            cluster["spec"]["image"] = json!(image);
            // It only shows what a default image would be.
            cluster["spec"]
                .as_object_mut()
                .map(|spec| spec.remove("version"));
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

fn found(name: &str) -> Result<PathBuf, String> {
    tools::find(name).map_err(|missing| missing.to_string())
}

/// What `etcd --version` says.
fn version_of(program: &PathBuf) -> Result<String> {
    let place = program.display();
    let output = Command::new(program)
        .arg("--version")
        .output()
        .with_context(|| format!("run {place} --version"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("etcd Version: "));
    let version = version.with_context(|| format!("{place} --version does not say one: {text}"))?;
    ensure!(
        version.split('.').count() == 3,
        "{place} is of version {version}, which is not three numbers"
    );
    Ok(version.to_owned())
}

/// A test for each engine of each of these promises: `PROMISE::quorate` and `PROMISE::etcd`.
#[macro_export]
macro_rules! on_each_engine {
    ($($promise:ident),+ $(,)?) => {$(
        mod $promise {
            use $crate::engine::Engine;

            #[tokio::test(flavor = "multi_thread")]
            async fn quorate() -> anyhow::Result<()> {
                super::$promise(Engine::quorate()?).await
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn etcd() -> anyhow::Result<()> {
                match Engine::etcd()? {
                    Some(engine) => super::$promise(engine).await,
                    None => Ok(()),
                }
            }
        }
    )+};
}
