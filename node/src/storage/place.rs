//! `--wal-dir`: a log on a disk of its own.
//!
//! The folder of the log in the data directory is then a link. So whoever starts the member later without the flag finds the
//! log all the same, and a member is never founded anew because its log was looked for in the wrong place.
//!
//! What this module does not do: move a log that is there.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::directory::{WAL, create_folder, names, sync_folder};
use super::error::StorageError;
use super::files::RealFiles;

/// Makes `wal_dir` the place of the log of the member in `data_dir`.
///
/// # Errors
/// The log lies elsewhere already, or something else lies there.
pub(crate) fn place_log(data_dir: &Path, wal_dir: &Path) -> Result<(), StorageError> {
    let wal_dir = std::path::absolute(wal_dir)
        .map_err(StorageError::attempt("find the directory", wal_dir))?;
    let link = data_dir.join(WAL);
    let elsewhere = |is: &Path| {
        Err(StorageError::Elsewhere {
            is: is.to_owned(),
            asked: wal_dir.clone(),
        })
    };
    match fs::symlink_metadata(&link) {
        Ok(found) if found.is_symlink() => {
            let is = fs::read_link(&link).map_err(StorageError::attempt("read the link", &link))?;
            if is == wal_dir {
                Ok(())
            } else {
                elsewhere(&is)
            }
        }
        Ok(_) if !names(&RealFiles, &link)?.is_empty() => elsewhere(&link),
        Ok(_) => {
            fs::remove_dir(&link).map_err(StorageError::attempt("replace", &link))?;
            make_link(data_dir, &link, &wal_dir)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_link(data_dir, &link, &wal_dir)
        }
        Err(error) => Err(StorageError::attempt("look for the log in", &link)(error)),
    }
}

fn make_link(data_dir: &Path, link: &Path, wal_dir: &Path) -> Result<(), StorageError> {
    create_folder(&RealFiles, data_dir)?;
    create_folder(&RealFiles, wal_dir)?;
    if let Some(entry) = names(&RealFiles, wal_dir)?
        .into_iter()
        .find(|name| name != "lost+found")
    {
        let path = wal_dir.to_owned();
        return Err(StorageError::NotOurs { path, entry });
    }
    symlink(wal_dir, link).map_err(StorageError::attempt("link the log's directory", link))?;
    sync_folder(&RealFiles, data_dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::DataDir;

    #[test]
    fn a_log_is_found_where_it_was_placed() {
        let folder = tempfile::tempdir().unwrap();
        let (data, wal) = (folder.path().join("data"), folder.path().join("wal"));
        place_log(&data, &wal).unwrap();
        place_log(&data, &wal).unwrap();
        assert!(DataDir::open(&data).unwrap().is_new());
        fs::write(wal.join("0.wal"), "").unwrap();
        place_log(&data, &wal).unwrap();
        assert!(!DataDir::open(&data).unwrap().is_new(), "without the flag");
        let other = place_log(&data, &folder.path().join("other")).unwrap_err();
        assert!(matches!(other, StorageError::Elsewhere { .. }), "{other}");
        let second = place_log(&folder.path().join("second"), &wal).unwrap_err();
        assert!(matches!(second, StorageError::NotOurs { .. }), "{second}");
    }

    #[test]
    fn a_log_that_is_there_stays_there() {
        let folder = tempfile::tempdir().unwrap();
        let (data, wal) = (folder.path().join("data"), folder.path().join("wal"));
        drop(DataDir::open(&data).unwrap());
        place_log(&data, &wal).unwrap();
        fs::remove_file(data.join(WAL)).unwrap();
        drop(DataDir::open(&data).unwrap());
        fs::write(data.join(WAL).join("0.wal"), "").unwrap();
        let refused = place_log(&data, &wal).unwrap_err().to_string();
        assert!(refused.contains("--wal-dir"), "{refused}");
    }
}
