//! The container engine: one that answers, or for root on Debian one that is installed and started.
//!
//! What is started here is stopped by [`stop`]; an engine of the user's is never stopped nor configured. Where root lacks
//! CAP_SYS_RESOURCE, as in a sandbox, containers cannot be given it either, and a runtime of our own leaves it out: see
//! `e2e/node-image/rootfs/usr/local/sbin/oci-runtime`.
//!
//! It deliberately removes no package that it has installed: others may have come to need them.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::json;

use super::program::{output, succeeds};
use super::progress::Progress;
use crate::tools;
use crate::wait;

/// What Debian's engine consists of; `zstd` unpacks the tools, `debootstrap` makes the node image.
const PACKAGES: [&str; 5] = ["docker.io", "iptables", "jq", "zstd", "debootstrap"];
/// The bit of CAP_SYS_RESOURCE in a set of capabilities.
const SYS_RESOURCE: u32 = 24;
/// How long an engine may take to answer after its start.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);
/// What kubelets of several nodes need of the one kernel, where it is less: setting, value.
const KERNEL_NEEDS: [(&str, u64); 2] = [
    ("fs/inotify/max_user_instances", 1024),
    ("fs/inotify/max_user_watches", 1_048_576),
];

const RUNTIME: &str = include_str!("../../node-image/rootfs/usr/local/sbin/oci-runtime");

/// Why there is no engine, or none that will do, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error(
    "no container engine answers ({said}); start Docker and try again, or run this as root on Debian, \
     where it is installed and started"
)]
pub struct NoEngine {
    said: String,
}

/// Whether an engine answers, or one could be installed here.
pub fn can_be_had() -> bool {
    answers().is_ok() || may_install()
}

/// Sees to it that an engine answers.
///
/// # Errors
/// [`NoEngine`], or what kept it from being installed or started.
pub async fn ensure(progress: &Progress) -> Result<()> {
    if let Err(said) = answers() {
        ensure!(may_install(), NoEngine { said });
        install(progress)?;
        start(progress).await?;
    }
    ensure!(
        holds_sys_resource() || default_runtime()? != "runc" || is_remote(),
        "root lacks CAP_SYS_RESOURCE here, and the running container engine would want to give it to the nodes: stop that \
         engine, and one with a runtime that leaves it out is started instead"
    );
    kernel(progress)
}

/// Stops the engine if it was started here.
///
/// # Errors
/// When it does not end.
pub async fn stop(progress: &Progress) -> Result<()> {
    let file = pid_file();
    let Ok(text) = std::fs::read_to_string(&file) else {
        return Ok(());
    };
    let pid: i32 = text
        .trim()
        .parse()
        .with_context(|| format!("read a process id from {}", file.display()))?;
    if is_dockerd(pid) {
        progress.say("stop the container engine");
        kill(Pid::from_raw(pid), Signal::SIGTERM).context("end the container engine")?;
        wait::until("the container engine to end", ANSWERS_WITHIN, async || {
            if is_dockerd(pid) {
                Err(format!("process {pid} still runs"))
            } else {
                Ok(())
            }
        })
        .await?;
    }
    std::fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))
}

fn answers() -> Result<(), String> {
    let asked = output(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]));
    asked.map(drop).map_err(|e| format!("{e:#}"))
}

fn may_install() -> bool {
    geteuid().is_root() && Path::new("/etc/debian_version").is_file()
}

fn install(progress: &Progress) -> Result<()> {
    let missing: Vec<&str> = PACKAGES
        .into_iter()
        .filter(|it| !is_installed(it))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress.run(
        "update Debian's lists of packages",
        Command::new("apt-get").args(["update", "-q"]),
    )?;
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(&missing);
    progress.run(&format!("install {}", missing.join(" ")), &mut apt)
}

fn is_installed(package: &str) -> bool {
    let format = ["-W", "-f", "${db:Status-Status}", package];
    output(Command::new("dpkg-query").args(format)).is_ok_and(|status| status == "installed")
}

/// Starts the engine in a session of its own, so that it outlives this program, with a configuration of its own.
async fn start(progress: &Progress) -> Result<()> {
    let folder = tools::folder().join("engine");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let configuration = folder.join("daemon.json");
    std::fs::write(&configuration, configuration_in(&folder)?.to_string())?;
    let log = progress.log_of("dockerd");
    progress.say(&format!(
        "start the container engine, which logs to {}",
        log.display()
    ));
    let file = File::create(&log)?;
    let mut dockerd = Command::new("dockerd");
    dockerd
        .arg("--config-file")
        .arg(&configuration)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .process_group(0);
    let mut child = dockerd.spawn().context("start dockerd")?;
    std::fs::write(pid_file(), child.id().to_string())?;
    wait::until(
        "the container engine to answer",
        ANSWERS_WITHIN,
        async || {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("it has ended with {status}, see {}", log.display()));
            }
            answers()
        },
    )
    .await?;
    Ok(())
}

fn configuration_in(folder: &Path) -> Result<serde_json::Value> {
    if holds_sys_resource() {
        return Ok(json!({}));
    }
    let runtime = folder.join("oci-runtime");
    std::fs::write(&runtime, RUNTIME)?;
    std::fs::set_permissions(&runtime, std::fs::Permissions::from_mode(0o755))?;
    Ok(json!({
        "default-runtime": "oci-runtime",
        "runtimes": { "oci-runtime": { "path": runtime } },
    }))
}

fn pid_file() -> PathBuf {
    tools::folder().join("engine/dockerd.pid")
}

/// A process id may have gone to another program since it was written down.
fn is_dockerd(pid: i32) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
    name.is_ok_and(|name| name.trim() == "dockerd")
}

/// Only root can be short of it: others ask an engine that root has started.
fn holds_sys_resource() -> bool {
    if !geteuid().is_root() {
        return true;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    effective.is_none_or(|set| set >> SYS_RESOURCE & 1 == 1)
}

fn default_runtime() -> Result<String> {
    let format = ["info", "--format", "{{.DefaultRuntime}}"];
    Ok(output(Command::new("docker").args(format))?
        .trim()
        .to_owned())
}

/// An engine on another machine has another root.
fn is_remote() -> bool {
    std::env::var("DOCKER_HOST").is_ok_and(|host| !host.starts_with("unix:"))
}

/// Raises what the kernel of this machine allows too little of, where that is ours to do.
fn kernel(progress: &Progress) -> Result<()> {
    for (setting, needed) in KERNEL_NEEDS {
        let file = Path::new("/proc/sys").join(setting);
        let has = std::fs::read_to_string(&file).unwrap_or_default();
        if has.trim().parse::<u64>().is_ok_and(|has| has >= needed) || !file.exists() {
            continue;
        }
        let name = setting.replace('/', ".");
        if geteuid().is_root() {
            progress.say(&format!("raise {name} to {needed}"));
            std::fs::write(&file, needed.to_string())
                .with_context(|| format!("write {}", file.display()))?;
        } else {
            progress.say(&format!(
                "{name} is {}; nodes that fail to start may need: sysctl {name}={needed}",
                has.trim()
            ));
        }
    }
    Ok(())
}

/// Whether the engine has an image of this name; it has none while it does not answer.
pub fn has_image(name: &str) -> bool {
    let inspect = ["image", "inspect", "--format", "{{.Id}}", name];
    output(Command::new("docker").args(inspect)).is_ok()
}

/// A build of an image, to be given its further arguments.
pub fn build() -> Command {
    let mut build = Command::new("docker");
    // The newer builder is a plugin that is not everywhere; nothing here needs it.
    build.env("DOCKER_BUILDKIT", "0").arg("build");
    build
}

/// Removes images by their names. One that a container still has stays: it is another lab's.
///
/// # Errors
/// When the engine refuses.
pub fn remove_images(names: &[String]) -> Result<()> {
    let list = ["ps", "--all", "--format", "{{.Image}}"];
    let in_use = output(Command::new("docker").args(list))?;
    let is_free = |name: &&String| !in_use.lines().any(|it| it == **name);
    let free: Vec<&String> = names.iter().filter(is_free).collect();
    if free.is_empty() {
        return Ok(());
    }
    succeeds(Command::new("docker").args(["image", "rm"]).args(free))
}

/// Removes a network of the engine's, if it is there and no lab hangs on it any more.
///
/// # Errors
/// When the engine refuses.
pub fn remove_network(name: &str) -> Result<()> {
    let list = ["network", "ls", "--format", "{{.Name}}"];
    let listed = output(Command::new("docker").args(list))?;
    if !listed.lines().any(|it| it == name) {
        return Ok(());
    }
    let format = [
        "network",
        "inspect",
        "--format",
        "{{len .Containers}}",
        name,
    ];
    if output(Command::new("docker").args(format))?.trim() == "0" {
        succeeds(Command::new("docker").args(["network", "rm", name]))?;
    }
    Ok(())
}

/// Whether an engine answers.
pub fn is_running() -> bool {
    answers().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_is_not_there_says_what_to_do() {
        let error = NoEngine {
            said: "docker: not found".to_owned(),
        }
        .to_string();
        assert!(
            error.contains("docker: not found") && error.contains("start Docker"),
            "{error}"
        );
    }

    #[test]
    fn a_process_of_another_name_is_no_engine() {
        let own = i32::try_from(std::process::id()).expect("a process id");
        assert!(!is_dockerd(own));
    }
}
