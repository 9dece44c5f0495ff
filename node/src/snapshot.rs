//! Snapshots in etcd's format: the file that `Maintenance.Snapshot` hands out, `etcdutl snapshot status` reads and
//! `etcdutl snapshot restore` makes a member of; and the same three of our own.
//!
//! ```text
//! Image ─► export (buckets) ─► bolt ─► stream ─► etcdctl snapshot save ─► file = database | SHA-256 of it
//! file  ─► import (buckets) ─► store::Import ─► Store ─► restore ─► data directory of a new cluster
//! data directory of a stopped member ─► store::Import ─┘
//! ```
//!
//! - A snapshot is of one applied index. Taking one costs a walk through the records, and no second copy of them.
//! - A restored member belongs to a cluster that never was: its id follows from the flags *and* the snapshot's hash, so that
//!   members restored from the same file with the same flags find each other, and nobody takes them for the old ones.
//! - A restore that fails has written nothing.
//!
//! What this module deliberately does not do: read data directories of etcd's that were not snapshotted (`--skip-hash-check`
//! takes the `db` file of a stopped etcd), or keep the members of the old cluster.

pub mod command;
mod data;
mod export;
mod file;
mod import;
mod restore;
mod schema;
mod status;
mod stream;

pub use data::DataError;
pub use export::{Export, TooLong};
pub use file::{FileError, HashCheck, Opened, open};
pub use import::{Edit, ImportError, import};
pub use restore::{RestoreError, Restored, restore};
pub use status::{Status, StatusError, status};
pub(crate) use stream::{Pieces, stream};

#[cfg(test)]
mod tests;
