//! The process before this one: the data directory may be its own for a moment longer.
//!
//! A pod that is deleted by force is replaced before its process has ended, so that two processes of one member stand before
//! one directory. To give up there costs the restart's backoff, which is longer than what was to be waited for.
//!
//! What this module deliberately does not do: end that process, or wait for ever. Two members by mistake on one directory
//! are told.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::storage::{DataDir, StorageError};

/// How long the process before this one may take to end: half a minute is what Kubernetes gives a pod by default, and as
/// much again for a slow machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The data directory, once it is ours alone.
///
/// # Errors
/// As [`DataDir::open`]; that another process has it only after `patience`.
pub(super) async fn follow(path: &Path, patience: Duration) -> Result<DataDir, StorageError> {
    let deadline = Instant::now() + patience;
    let mut told = false;
    loop {
        match DataDir::open(path) {
            Err(StorageError::Locked { .. }) if Instant::now() < deadline => {
                if !told {
                    tracing::warn!(
                        data_dir = %path.display(),
                        seconds = patience.as_secs(),
                        "another process has the data directory; waiting for it to end"
                    );
                    told = true;
                }
                sleep(LOOK_EVERY).await;
            }
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_is_taken_over_as_soon_as_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let before = DataDir::open(folder.path()).unwrap();
        // Polled in this order: it looks once in vain.
        let (taken, ()) = tokio::join!(follow(folder.path(), PATIENCE), async { drop(before) });
        assert!(taken.unwrap().is_new());
    }

    #[tokio::test]
    async fn a_process_that_stays_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let _stays = DataDir::open(folder.path()).unwrap();
        let refused = follow(folder.path(), LOOK_EVERY).await;
        assert!(matches!(refused, Err(StorageError::Locked { .. })));
    }
}
