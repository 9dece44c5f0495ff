//! The file format of bbolt, the embedded database that etcd keeps its state in and hands its snapshots out as.
//!
//! ```text
//! page 0, 1   meta: page size, root, high water mark, transaction number, FNV-1a over all of it; the newer sound one counts
//! page 2 …    free list, then trees; a page is 16 bytes of header, elements of 16 bytes, and what they point at
//!
//! page        id u64 | kind u16 | elements u16 | pages that follow and belong to it u32
//! leaf        flags u32 | distance from here to the key u32 | key's length u32 | value's length u32; the value follows the key
//! branch      distance from here to the key u32 | key's length u32 | page u64; the key is the first below that page
//! bucket      a leaf element of the root tree, flag 1, its value: root page u64 | sequence u64; page 0: the leaf follows inline
//! ```
//!
//! Numbers are little endian, as bbolt has them on every machine that etcd supports.
//!
//! - **Writing** ([`Layout::of`], then [`Layout::write`]) takes sorted buckets of sorted entries twice: once to count pages,
//!   because the first page names the last, and once to write them front to back. It holds one page for each level of a tree.
//! - **Reading** ([`File`]) is safe on any bytes: whatever does not add up is an [`Error`] with page and offset. No page is
//!   visited twice, so that no file makes it run longer or hold more than its size warrants.
//!
//! What this crate deliberately does not do: change a file, take free pages into use, nest buckets, or know what etcd keeps
//! in them. bbolt has no checksums but those of the meta pages, so that a flipped value reads as another value: whoever needs
//! to know hashes the whole.

mod error;
mod page;
mod read;
mod view;
mod write;

pub use error::Error;
pub use page::{KEY_MAX, PAGE_SIZE};
pub use read::{File, Item, Source};
pub use write::{Bucket, Entry, Layout};
