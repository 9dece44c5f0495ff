//! What a snapshot holds, in figures, as `etcdutl snapshot status` tells it.
//!
//! What it does not do: decide whether it can be restored. Any database of etcd's is told of.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;

use bolt::Item;
use bytes::Bytes;
use prost::Message;
use store::{Crc32c, KeyValue};

use super::file::{self, FileError, HashCheck};
use super::schema;

/// The figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C over buckets' names, keys and values, in their order.
    pub hash: u32,
    /// The newest revision that a key names; 0 if there is none.
    pub revision: i64,
    /// Keys that exist at it.
    pub total_keys: usize,
    /// Bytes of the database, without the hash behind it.
    pub total_size: u64,
    /// The etcd whose storage it is; empty before 3.6.
    pub version: String,
}

/// Why there are none.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its database.
    #[error("snapshot file integrity check failed")]
    Database(#[from] bolt::Error),
    /// A key or a value of the keys' bucket.
    #[error("cannot read the write under {key}")]
    Write {
        /// The revision's key, printable.
        key: String,
    },
}

/// Reads all of a snapshot. A hash that is there must be right.
///
/// # Errors
/// [`StatusError`]
pub fn status(path: &Path) -> Result<Status, StatusError> {
    let opened = file::open(path, HashCheck::IfThere)?;
    let database = bolt::File::open(&opened)?;
    let mut counting = Counting::default();
    database.walk(|item| counting.take(item))?;
    Ok(Status {
        hash: counting.crc.finish(),
        total_keys: counting.keys.len(),
        total_size: database.len_bytes(),
        ..counting.status
    })
}

#[derive(Default)]
struct Counting {
    bucket: Vec<u8>,
    crc: Crc32c,
    keys: HashSet<Bytes>,
    status: Status,
}

impl Counting {
    fn take(&mut self, item: Item<'_>) -> Result<(), StatusError> {
        match item {
            Item::Bucket(name) => {
                self.bucket = name.to_vec();
                self.crc.bytes(name);
                Ok(())
            }
            Item::Entry { key, value } => {
                self.crc.bytes(key);
                self.crc.bytes(value);
                self.entry(key, value)
            }
        }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), StatusError> {
        match self.bucket.as_slice() {
            schema::META if key == schema::STORAGE_VERSION => {
                self.status.version = String::from_utf8_lossy(value).into_owned();
            }
            schema::KEY => {
                let write = schema::revision(key).zip(KeyValue::decode(value).ok());
                let ((at, is_delete), kv) = write.ok_or_else(|| StatusError::Write {
                    key: key.escape_ascii().to_string(),
                })?;
                self.status.revision = at.main;
                if is_delete {
                    self.keys.remove(&kv.key);
                } else {
                    self.keys.insert(kv.key);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Status {
    /// What `--write-out=simple` prints: hash, revision, keys, size, version.
    #[must_use]
    pub fn simple(&self) -> String {
        self.row().join(", ") + "\n"
    }

    /// What `--write-out=fields` prints.
    #[must_use]
    pub fn fields(&self) -> String {
        let Self {
            hash,
            revision,
            total_keys,
            total_size,
            version,
        } = self;
        format!(
            "\"Hash\" : {hash}\n\"Revision\" : {revision}\n\"Keys\" : {total_keys}\n\"Size\" : {total_size}\n\"Version\" : {version}\n"
        )
    }

    /// What `--write-out=json` prints.
    #[must_use]
    pub fn json(&self) -> String {
        let Self {
            hash,
            revision,
            total_keys,
            total_size,
            version,
        } = self;
        let version = serde_json::Value::from(version.as_str());
        format!(
            "{{\"hash\":{hash},\"revision\":{revision},\"totalKey\":{total_keys},\"totalSize\":{total_size},\"version\":{version}}}\n"
        )
    }

    /// What `--write-out=table` prints.
    #[must_use]
    pub fn table(&self) -> String {
        let row = self.row();
        let heads = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE", "VERSION"];
        let widths: Vec<usize> = heads
            .iter()
            .zip(&row)
            .map(|(head, cell)| head.len().max(cell.len()))
            .collect();
        let rule = |left, between, right| {
            let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
            format!("{left}{}{right}\n", bars.join(between))
        };
        let mut table = rule("┌", "┬", "┐");
        for (head, width) in heads.iter().zip(&widths) {
            write!(table, "│ {head:^width$} ").expect("a text grows");
        }
        table.push_str("│\n");
        table.push_str(&rule("├", "┼", "┤"));
        for (cell, width) in row.iter().zip(&widths) {
            write!(table, "│ {cell:>width$} ").expect("a text grows");
        }
        table.push_str("│\n");
        table.push_str(&rule("└", "┴", "┘"));
        table
    }

    fn row(&self) -> [String; 5] {
        [
            format!("{:x}", self.hash),
            self.revision.to_string(),
            self.total_keys.to_string(),
            size(self.total_size),
            self.version.clone(),
        ]
    }
}

/// A size for people, in powers of a thousand, as etcd's tools write it.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    let digits = usize::from(value < 10.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_etcds_tools_write_them() {
        let sizes = [
            (0, "0 B"),
            (20_480, "20 kB"),
            (8_192, "8.2 kB"),
            (11_763_712, "12 MB"),
            (1_500_000_000, "1.5 GB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }

    /// As `etcdutl` 3.7.3 prints the same figures.
    #[test]
    fn every_format_is_that_of_etcdutl() {
        let status = Status {
            hash: 0xcf3d_9c17,
            revision: 7,
            total_keys: 3,
            total_size: 20_480,
            version: "3.7.0".to_owned(),
        };
        let table = "\
┌──────────┬──────────┬────────────┬────────────┬─────────┐
│   HASH   │ REVISION │ TOTAL KEYS │ TOTAL SIZE │ VERSION │
├──────────┼──────────┼────────────┼────────────┼─────────┤
│ cf3d9c17 │        7 │          3 │      20 kB │   3.7.0 │
└──────────┴──────────┴────────────┴────────────┴─────────┘
";
        assert_eq!(status.table(), table);
        assert_eq!(status.simple(), "cf3d9c17, 7, 3, 20 kB, 3.7.0\n");
        let json = "{\"hash\":3476921367,\"revision\":7,\"totalKey\":3,\"totalSize\":20480,\"version\":\"3.7.0\"}\n";
        assert_eq!(status.json(), json);
        let fields = "\"Hash\" : 3476921367\n\"Revision\" : 7\n\"Keys\" : 3\n\"Size\" : 20480\n\"Version\" : 3.7.0\n";
        assert_eq!(status.fields(), fields);
    }
}
