//! What can be wrong with a file.

use std::io;

/// Why a file cannot be read. Nothing is known of it beyond what was handed out before.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed.
    #[error("read {len} bytes at byte {offset}")]
    Read {
        /// Where.
        offset: u64,
        /// How many.
        len: usize,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Neither meta page has the number that bbolt's files begin with.
    #[error("it is no bbolt file: neither meta page begins as one")]
    Foreign,
    /// Another version of the format.
    #[error("it has bbolt's format version {found}, and only {known} can be read")]
    Version {
        /// What the file says.
        found: u32,
        /// What can be read.
        known: u32,
    },
    /// The meta pages are damaged.
    #[error("both meta pages are damaged: their checksums are others")]
    Meta,
    /// It ends before its pages do.
    #[error("it is cut: its {pages} pages need {need} bytes, and {have} are there")]
    Cut {
        /// Pages by its meta page.
        pages: u64,
        /// What they take.
        need: u64,
        /// What there is.
        have: u64,
    },
    /// A page that breaks a rule of the format.
    #[error("page {page}, byte {offset}: {rule}")]
    Page {
        /// Its number.
        page: u64,
        /// Where in the file the rule is broken.
        offset: u64,
        /// What ought to be.
        rule: String,
    },
}
