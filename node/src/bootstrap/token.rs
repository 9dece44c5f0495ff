//! The cluster's token, kept beside the data: a data directory that is mounted under another cluster is refused.
//!
//! The other `--initial-*` flags may change after the founding and are not looked at, as in etcd. The token never changes
//! with good reason: whoever keeps clusters gives each its own, so that a new cluster of an old name never wakes up in the
//! old one's data. A start without `--initial-cluster-token` says nothing about it and is let through.
//!
//! What this module deliberately does not do: protect anything. It finds mistakes.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// The file's name in the data directory; `storage::DataDir` knows it as ours.
const FILE: &str = "token";
/// What `--initial-cluster-token` is where it is not given; etcd's default.
const UNSAID: &str = "etcd-cluster";

/// Keeps the token of a member that is being founded. Durable before the member is.
pub(crate) fn keep(folder: &Path, token: &str) -> io::Result<()> {
    let mut file = File::create(folder.join(FILE))?;
    file.write_all(token.as_bytes())?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// The token that was kept, if it is not the one that the flags say.
pub(super) fn other_than(folder: &Path, said: &str) -> io::Result<Option<String>> {
    let kept = match fs::read_to_string(folder.join(FILE)) {
        Ok(kept) => kept,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok((said != UNSAID && said != kept).then_some(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_token_is_told_and_silence_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let other = |said| other_than(folder.path(), said).unwrap();
        assert_eq!(other("a"), None, "nothing was kept");
        keep(folder.path(), "a").unwrap();
        assert_eq!(other("a"), None);
        assert_eq!(other(UNSAID), None);
        assert_eq!(other("b").as_deref(), Some("a"));
    }
}
