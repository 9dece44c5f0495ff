//! `quorate-node snapshot status|restore`, with the flags and the output of `etcdutl snapshot`.
//!
//! It does not do: `save`, which any client of etcd's does (`etcdctl snapshot save`).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{HashCheck, restore, status};
use crate::config::{Config, Invocation};

/// Look into snapshots of etcd's format, and make members of them.
#[derive(Parser, Debug)]
#[command(name = "quorate-node snapshot", disable_help_subcommand = true)]
struct Cli {
    /// The format of what is printed.
    #[arg(short, long, value_enum, global = true, default_value = "simple")]
    write_out: WriteOut,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WriteOut {
    Fields,
    Json,
    Simple,
    Table,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Tell hash, revision, number of keys, size and version of a snapshot.
    Status {
        /// The snapshot.
        filename: PathBuf,
    },
    /// Make the data directory of a member of a new cluster from a snapshot of etcd's or ours, or from the data directory of
    /// a stopped member of ours.
    Restore(Restore),
}

#[derive(Args, Debug)]
struct Restore {
    /// The snapshot, or the data directory of a stopped member.
    filename: PathBuf,
    /// Path to the output data directory [default: NAME.etcd]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Path to the log's directory (in --data-dir if none is given).
    #[arg(long, value_name = "DIR", default_value = "")]
    wal_dir: String,
    /// Human-readable name of this member.
    #[arg(long, default_value = "default")]
    name: String,
    /// The members of the new cluster, the same for each of them [default: NAME=http://localhost:2380]
    #[arg(long, value_name = "NAME=URL,...")]
    initial_cluster: Option<String>,
    /// Token of the new cluster, the same for all its members; another for each restore of the same snapshot.
    #[arg(long, default_value = "etcd-cluster")]
    initial_cluster_token: String,
    /// This member's peer URLs.
    #[arg(long, value_name = "URLS", default_value = "http://localhost:2380")]
    initial_advertise_peer_urls: String,
    /// Ignore the hash at the snapshot's end (required if it was copied from a data directory).
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    skip_hash_check: bool,
    /// How much to increase the latest revision after the restore.
    #[arg(long, value_name = "REVISIONS", default_value_t = 0)]
    bump_revision: u64,
    /// Mark the latest revision after the restore as compacted (required if --bump-revision > 0, disallowed otherwise).
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    mark_compacted: bool,
    /// Means nothing here; taken so that scripts for etcdutl work.
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide = true)]
    initial_memory_map_size: u64,
}

/// etcdutl's exit code for flags and arguments that make no sense.
const BAD_ARGUMENTS: u8 = 128;

/// Why a command failed: what is said, and the exit code.
type Failure = (String, u8);

/// Runs `quorate-node snapshot` with what follows these words.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    let name = "quorate-node snapshot".to_owned();
    let cli = match Cli::try_parse_from(std::iter::once(name).chain(arguments)) {
        Ok(cli) => cli,
        // Also what `--help` prints.
        Err(error) => error.exit(),
    };
    match carry_out(cli) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err((text, code)) => {
            eprintln!("Error: {text}");
            ExitCode::from(code)
        }
    }
}

fn carry_out(cli: Cli) -> Result<String, Failure> {
    match cli.command {
        Command::Status { filename } => {
            let status = status(&filename).map_err(|error| failed(&error))?;
            Ok(match cli.write_out {
                WriteOut::Fields => status.fields(),
                WriteOut::Json => status.json(),
                WriteOut::Simple => status.simple(),
                WriteOut::Table => status.table(),
            })
        }
        Command::Restore(flags) => restore_with(&flags),
    }
}

fn restore_with(flags: &Restore) -> Result<String, Failure> {
    if (flags.bump_revision > 0) != flags.mark_compacted {
        let text = "--mark-compacted required if --revision-bump > 0";
        return Err((text.to_owned(), BAD_ARGUMENTS));
    }
    let config = config(flags)?;
    let check = if flags.skip_hash_check {
        HashCheck::Skipped
    } else {
        HashCheck::Required
    };
    let restored = restore(&config, &flags.filename, check, flags.bump_revision)
        .map_err(|error| failed(&error))?;
    eprintln!(
        "restored {} into {}: revision {}, member {:x} of the new cluster {:x}",
        flags.filename.display(),
        config.data_dir.display(),
        restored.revision,
        restored.identity.member_id,
        restored.identity.cluster_id,
    );
    Ok(String::new())
}

/// The member's configuration as its own flags would give it, so that both are read by the same rules.
fn config(flags: &Restore) -> Result<Config, Failure> {
    let cluster = flags.initial_cluster.clone();
    let cluster = cluster.unwrap_or_else(|| format!("{}=http://localhost:2380", flags.name));
    let mut arguments = vec![
        format!("--name={}", flags.name),
        format!("--wal-dir={}", flags.wal_dir),
        format!("--initial-cluster={cluster}"),
        format!("--initial-cluster-token={}", flags.initial_cluster_token),
        format!(
            "--initial-advertise-peer-urls={}",
            flags.initial_advertise_peer_urls
        ),
    ];
    arguments.extend(
        flags
            .data_dir
            .iter()
            .map(|folder| format!("--data-dir={folder}")),
    );
    match Config::read(arguments, []) {
        Ok(Invocation::Serve(config)) => Ok(*config),
        Ok(Invocation::Print(text)) => Err((text, BAD_ARGUMENTS)),
        Err(error) => Err((error.to_string(), BAD_ARGUMENTS)),
    }
}

/// An error with what it came from.
fn failed(error: &dyn std::error::Error) -> Failure {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    (text, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(arguments: &[&str]) -> Result<Restore, String> {
        let words = ["quorate-node snapshot", "restore", "file.db"];
        let cli = Cli::try_parse_from(words.iter().chain(arguments));
        match cli.map_err(|error| error.to_string())?.command {
            Command::Restore(flags) => Ok(flags),
            Command::Status { .. } => panic!("a restore was asked for"),
        }
    }

    #[test]
    fn defaults_are_etcdutls() {
        let config = config(&flags(&[]).unwrap()).unwrap();
        assert_eq!(config.name, "default");
        assert_eq!(config.data_dir.to_str(), Some("default.etcd"));
        assert_eq!(config.initial_cluster_token, "etcd-cluster");
        assert!(config.check_founding().is_ok());
    }

    #[test]
    fn flags_are_written_as_for_etcdutl() {
        let given = flags(&[
            "--skip-hash-check",
            "--mark-compacted=true",
            "--bump-revision",
            "7",
            "--initial-memory-map-size=0",
        ]);
        let given = given.unwrap();
        assert!(given.skip_hash_check && given.mark_compacted);
        assert_eq!(given.bump_revision, 7);
        assert!(!flags(&["--skip-hash-check=false"]).unwrap().skip_hash_check);
        assert!(flags(&["--unknown"]).is_err());
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        let bad: [&[&str]; 3] = [
            &["--bump-revision=1"],
            &["--mark-compacted"],
            &["--initial-advertise-peer-urls=nonsense"],
        ];
        for arguments in bad {
            let (text, code) = restore_with(&flags(arguments).unwrap()).unwrap_err();
            assert_eq!(code, BAD_ARGUMENTS, "{arguments:?}: {text}");
        }
    }
}
