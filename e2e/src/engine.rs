//! The program that the members of a lab run: ours, or a stock etcd of this machine.
//!
//! A promise is written once, as a function of the engine; [`on_each_engine!`](crate::on_each_engine) makes a test of it for
//! each. `E2E_ETCD` names another etcd than the first on `PATH` or in `LAB_PREBUILT`.
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
        })
    }

    /// Stock etcd; none, and a line for people that says why, where there is none that the operator can run.
    ///
    /// # Errors
    /// When the one that `E2E_ETCD` names, or the one found, does not say its version.
    pub fn etcd() -> Result<Option<Self>> {
        let program = match std::env::var_os("E2E_ETCD") {
            Some(path) => PathBuf::from(path),
            None => match tools::find("etcd") {
                Ok(path) => path,
                Err(missing) => {
                    println!("{FIGURE}not run with etcd: {missing}");
                    return Ok(None);
                }
            },
        };
        if let Err(why) = smallkube::own_hosts() {
            println!("{FIGURE}not run with etcd, which finds its peers in /etc/hosts: {why}");
            return Ok(None);
        }
        let version = version_of(&program)?;
        Ok(Some(Self {
            kind: crds::Engine::Etcd,
            program,
            name: "etcd",
            version,
        }))
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
        let minor = self.version.rsplit_once('.').map_or("", |(minor, _)| minor);
        format!("{}:{minor}.999", self.name)
    }

    /// All images there are.
    pub fn images(&self) -> Images {
        Images::default()
            .with(&self.image(), &self.program)
            .with(&self.next_image(), &self.program)
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
