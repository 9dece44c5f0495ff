//! What can go wrong with the disk, each as a sentence with its way out.
//!
//! What this module does not do: decide. Every one of these ends the start or the process, but for a checkpoint that could
//! not be written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The way out of damage: the other members have everything.
const REPLACE: &str = "nothing was changed. The other members have what is lost here: remove this member from the cluster \
                       and add a new one with an empty data directory (a single member is restored from a backup)";

/// Why storage could not be opened, or stopped.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    /// The operating system refused.
    #[error("cannot {attempt} {}{}", path.display(), hint(refusal))]
    Attempt {
        /// What was tried, as a verb phrase.
        attempt: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said. The message has it whole, so that it is no `source`, which a chain would say again.
        refusal: Arc<io::Error>,
    },
    /// Another process has the directory.
    #[error("the data directory {} is in use by another process: stop that one, or give this one its own --data-dir", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A directory cannot be made, as a file is there or on the way.
    #[error("{} cannot be a directory: it, or a folder above it, is a file; move the file away, or give another --data-dir or --wal-dir", path.display())]
    InTheWay {
        /// What should be a directory.
        path: PathBuf,
    },
    /// The directory holds something else.
    #[error("the data directory {} is not one of ours: it holds {entry:?}{}; give an empty directory as --data-dir", path.display(), etcds(entry))]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// What gave it away.
        entry: String,
    },
    /// The log is not where it is asked for.
    #[error("the log of this member lies in {}, and --wal-dir asks for {}: give the first, or none", is.display(), asked.display())]
    Elsewhere {
        /// Where it is.
        is: PathBuf,
        /// Where it should be.
        asked: PathBuf,
    },
    /// Bytes that were durable are not what was written.
    #[error("{} is damaged at byte {offset}: {what}; {REPLACE}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What does not add up.
        what: String,
    },
    /// A file of the log is gone.
    #[error("{} is missing: the log does not hang together without it; {REPLACE}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Log and checkpoints do not meet.
    #[error("the data directory {} lacks part of its history: {what}; {REPLACE}", path.display())]
    Gap {
        /// The directory.
        path: PathBuf,
        /// What is not covered.
        what: String,
    },
    /// A newer program wrote the file.
    #[error("{} has format {found}, and this version knows up to {known}: start the version that wrote it, or a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it has.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// A file belongs to another member.
    #[error("{} belongs to member {member:x} of cluster {cluster:x} and not to its directory's member: put it back where it came from", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The cluster it names.
        cluster: u64,
        /// The member it names.
        member: u64,
    },
    /// What is damaged cannot be got back from the others.
    #[error("{refused}; it cannot be repaired from the other members, because {why}")]
    BeyondRepair {
        /// What is damaged.
        refused: Box<Self>,
        /// What stands in the way.
        why: String,
    },
    /// The thread that should have answered is gone.
    #[error("the storage has stopped")]
    Stopped,
}

impl StorageError {
    /// Makes the system's refusal of `attempt` on `path` an error.
    pub(super) fn attempt(
        attempt: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |refusal| Self::Attempt {
            attempt,
            path,
            refusal: Arc::new(refusal),
        }
    }

    /// Whether something that was durable is damaged or gone.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Corrupt { .. } | Self::Missing { .. } | Self::Gap { .. }
        )
    }

    /// What is wrong, and where, without the way out: for damage that was dealt with.
    #[must_use]
    pub fn damage(&self) -> String {
        let text = self.to_string();
        let end = text.find("; nothing was changed").unwrap_or(text.len());
        text[..end].to_owned()
    }

    pub(super) fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            offset,
            what: what.into(),
        }
    }
}

fn hint(source: &io::Error) -> String {
    let way_out = match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk is full: free space on it or enlarge the volume, then start again"
        }
        io::ErrorKind::PermissionDenied => {
            "; this process may not: give its user the directory and write permission in it"
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "; the file system is read-only: mount it writable, and look in the kernel's log for why it is not"
        }
        _ => "",
    };
    format!(": {source}{way_out}")
}

fn etcds(entry: &str) -> &'static str {
    if entry == "member" {
        " (etcd's own data, which cannot be taken over)"
    } else {
        ""
    }
}
