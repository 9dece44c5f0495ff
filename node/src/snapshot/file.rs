//! A snapshot as a file: a database, and behind it the SHA-256 of all of it.
//!
//! What it does not do: look into the database.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes of the hash at the end.
const HASH_LEN: u64 = 32;
/// A database is a whole number of pages, and pages are multiples of this; what remains is the hash. etcd's rule.
const SECTOR_LEN: u64 = 512;

/// A snapshot whose hash is right, or was not to be looked at.
#[derive(Debug)]
pub struct Opened {
    file: File,
    /// The length of the database.
    len_bytes: u64,
    /// The SHA-256 of the database.
    pub hash: [u8; 32],
}

/// Why a file cannot be taken for a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("cannot read the snapshot {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
    /// It was copied from a data directory, or cut.
    #[error(
        "snapshot missing hash but --skip-hash-check=false: {path} does not end with the hash that `snapshot save` appends; was it cut?"
    )]
    NoHash {
        /// Which.
        path: PathBuf,
    },
    /// It is damaged.
    #[error("expected sha256 {expected}, got {found}: {path} is damaged")]
    Hash {
        /// Which.
        path: PathBuf,
        /// What stands behind the database.
        expected: String,
        /// What it should be.
        found: String,
    },
}

/// Whether a file of this length ends with a hash.
const fn has_hash(len_bytes: u64) -> bool {
    len_bytes % SECTOR_LEN == HASH_LEN
}

/// What the hash at the end is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashCheck {
    /// It must be there and be right.
    Required,
    /// Where there is one, it must be right.
    IfThere,
    /// Nothing; for the `db` file of a stopped etcd, which has none.
    Skipped,
}

/// Opens a snapshot and hashes all of it.
///
/// # Errors
/// It cannot be read, or its hash is not what `check` asks for.
pub fn open(path: &Path, check: HashCheck) -> Result<Opened, FileError> {
    let failed = |source| FileError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    if !has_hash(len) && check == HashCheck::Required {
        let path = path.to_owned();
        return Err(FileError::NoHash { path });
    }
    let len_bytes = if has_hash(len) { len - HASH_LEN } else { len };
    let mut reader = BufReader::with_capacity(1 << 20, &file);
    let hash = hash(&mut reader, len_bytes).map_err(failed)?;
    let mut expected = Vec::new();
    reader.read_to_end(&mut expected).map_err(failed)?;
    if has_hash(len) && check != HashCheck::Skipped && expected != hash {
        return Err(FileError::Hash {
            path: path.to_owned(),
            expected: hex(&expected),
            found: hex(&hash),
        });
    }
    Ok(Opened {
        file,
        len_bytes,
        hash,
    })
}

fn hash(reader: &mut impl Read, len: u64) -> io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut left = len;
    while left > 0 {
        let want = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        reader.read_exact(&mut buffer[..want])?;
        hasher.update(&buffer[..want]);
        left -= want as u64;
    }
    Ok(hasher.finalize().into())
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl bolt::Source for &Opened {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}
