//! One write as it is kept: a key's state from one revision on, or its end.
//!
//! It is immutable and shared: the key index, the timeline, images and changes hold the same allocation.

use std::sync::Arc;

use bytes::{BufMut, Bytes};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, int64};

use crate::KeyValue;

/// When something was written: the revision of the whole command, and the position within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The store's revision, one per writing command.
    pub main: i64,
    /// 0 for the first write of the command, then 1, 2, ...
    pub sub: i64,
}

impl Revision {
    /// The first write of revision `main`.
    pub(crate) const fn first_of(main: i64) -> Self {
        Self { main, sub: 0 }
    }
}

/// A write. Its key and value lie in allocations of their own, so that keeping them keeps no network or log buffer alive.
///
/// As a message it is what images are made of.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Record {
    /// As clients see it; a tombstone has nothing but key and `mod_revision`.
    #[prost(message, required, tag = "1")]
    pub(crate) kv: KeyValue,
    /// [`Revision::sub`]
    #[prost(int64, tag = "2")]
    pub(crate) sub: i64,
    /// The key ends here.
    #[prost(bool, tag = "3")]
    pub(crate) tombstone: bool,
}

/// What a record costs beside its key and value, on a 64-bit machine: the record itself with its counters, its places
/// in timeline and index, and the allocator's rounding. Measured, not exact; what `dbSize` reports.
const OVERHEAD_BYTES: u64 = 288;

impl Record {
    pub(crate) fn revision(&self) -> Revision {
        Revision {
            main: self.kv.mod_revision,
            sub: self.sub,
        }
    }

    /// Appends it as field `tag` of a message: the bytes of prost's own encoding, which would clone key and value, and the
    /// first clone of [`Bytes`] allocates. A checkpoint would leave every value with two dozen bytes more than it found.
    pub(crate) fn encode_as(&self, tag: u32, body: &mut impl BufMut) {
        encode_key(tag, WireType::LengthDelimited, body);
        encode_varint(self.encoded_len() as u64, body);
        encode_key(1, WireType::LengthDelimited, body);
        encode_varint(self.kv.encoded_len() as u64, body);
        encode_kv(&self.kv, body);
        encode_number(2, self.sub, body);
        if self.tombstone {
            prost::encoding::bool::encode(3, &true, body);
        }
    }

    /// Memory that is held for it, about.
    pub(crate) fn size_bytes(&self) -> u64 {
        OVERHEAD_BYTES + (self.kv.key.len() + self.kv.value.len()) as u64
    }
}

/// Appends the fields of `kv`, without cloning its bytes.
pub(crate) fn encode_kv(kv: &KeyValue, body: &mut impl BufMut) {
    encode_bytes(1, &kv.key, body);
    encode_number(2, kv.create_revision, body);
    encode_number(3, kv.mod_revision, body);
    encode_number(4, kv.version, body);
    encode_bytes(5, &kv.value, body);
    encode_number(6, kv.lease, body);
}

/// Appends field `tag`, without cloning it.
pub(crate) fn encode_bytes(tag: u32, bytes: &[u8], body: &mut impl BufMut) {
    if !bytes.is_empty() {
        encode_key(tag, WireType::LengthDelimited, body);
        encode_varint(bytes.len() as u64, body);
        body.put_slice(bytes);
    }
}

fn encode_number(tag: u32, number: i64, body: &mut impl BufMut) {
    if number != 0 {
        int64::encode(tag, &number, body);
    }
}

/// One write as a watcher is told of it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change(pub(crate) Arc<Record>);

impl Change {
    /// When it was written.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.0.revision()
    }

    /// Whether the key was deleted; it was put otherwise.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        self.0.tombstone
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        &self.0.kv.key
    }

    /// The key as it is now; of a deleted one only key and `mod_revision`, the revision of the deletion.
    #[must_use]
    pub fn kv(&self) -> &KeyValue {
        &self.0.kv
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_written_as_prost_writes_it(
            (key, value) in any::<(Vec<u8>, Vec<u8>)>(),
            (create_revision, mod_revision, version, lease, sub) in any::<(i64, i64, i64, i64, i64)>(),
            (is_bare, tombstone) in any::<(bool, bool)>(),
        ) {
            let whole = KeyValue {
                key: key.into(),
                create_revision,
                mod_revision,
                version,
                value: value.into(),
                lease,
            };
            let kv = if is_bare { KeyValue::default() } else { whole };
            let record = Record { kv, sub, tombstone };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            record.encode_as(1, &mut ours);
            prost::encoding::message::encode(1, &record, &mut theirs);
            prop_assert_eq!(ours, theirs);
        }
    }
}
