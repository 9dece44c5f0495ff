//! The whole state at one applied index: immutable, cheap to take, written out by another thread, read back checked.
//!
//! The bytes are `QSTORE`, a zero, the format version, then frames `kind (1) | length (4) | CRC-32 of kind and body (4) | body`, numbers
//! little endian, bodies protobuf: one header with everything but the records, the records by revision in frames of about a
//! mebibyte, and an end. Applied index, running digest and data are one unit: none can be restored without the others.
//!
//! It does not write files or send anything; [`Image::frames`] hands out what the caller writes, piece by piece.

mod assembly;
mod transfer;

pub(crate) use assembly::decode;
pub use assembly::{Assembly, Frame, Frames};
pub use transfer::{Import, Tables};

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::auth::AuthImage;
use crate::digest::{Crc32c, Digest};
use crate::keyspace::Keyspace;
use crate::record::{Record, Revision, encode_bytes, encode_kv};
use crate::timeline::Timeline;
use crate::{
    Alarm, Alarms, Auth, DecodeError, KeyspaceHash, Lease, Leases, Member, Members, Store,
    StoreError, Transition, Version,
};

const MAGIC: [u8; 7] = *b"QSTORE\0";
/// The format written today, and the only one there has been.
const VERSION: u8 = 1;
/// Kind, length and checksum.
const FRAME_HEADER_LEN: usize = 9;
/// A frame of records is closed once its body reaches this: small enough to send in one message, large enough that framing
/// costs nothing. A single record that is larger gets a frame of its own size.
const FRAME_TARGET_LEN: usize = 1 << 20;
/// No revision reaches this in the life of a cluster, and counting on from below it cannot overflow.
const REVISION_LIMIT: i64 = 1 << 62;

const HEADER: u8 = 1;
const RECORDS: u8 = 2;
const END: u8 = 3;

/// The store at one applied index. Cloning shares everything.
#[derive(Clone, Debug)]
pub struct Image {
    header: Header,
    auth: Arc<Auth>,
    timeline: Timeline,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Header {
    #[prost(uint64, tag = "1")]
    applied_index: u64,
    #[prost(int64, tag = "2")]
    revision: i64,
    #[prost(sint64, tag = "3")]
    compacted: i64,
    /// Where the sweep of the last compaction goes on.
    #[prost(message, optional, tag = "4")]
    sweep: Option<Cursor>,
    #[prost(fixed64, tag = "5")]
    digest: u64,
    #[prost(message, repeated, tag = "6")]
    members: Vec<Member>,
    #[prost(uint64, repeated, tag = "7")]
    removed: Vec<u64>,
    /// A change of several members that is under way.
    #[prost(message, optional, tag = "9")]
    transition: Option<Transition>,
    /// Records that follow in all frames.
    #[prost(uint64, tag = "8")]
    records: u64,
    #[prost(message, repeated, tag = "30")]
    alarms: Vec<Alarm>,
    #[prost(message, optional, tag = "31")]
    cluster_version: Option<Version>,
    #[prost(message, optional, tag = "32")]
    downgrade: Option<Version>,
    /// All leases; what hangs on them is in the records.
    #[prost(message, repeated, tag = "10")]
    leases: Vec<Lease>,
    /// Only in the bytes; in memory it is shared with the store.
    #[prost(message, optional, tag = "20")]
    auth: Option<AuthImage>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Cursor {
    #[prost(sint64, tag = "1")]
    main: i64,
    #[prost(sint64, tag = "2")]
    sub: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Records {
    #[prost(message, repeated, tag = "1")]
    records: Vec<Record>,
}

impl Image {
    pub(crate) fn of(store: &Store) -> Self {
        let keyspace = &store.keyspace;
        let timeline = keyspace.timeline.clone();
        let cursor = |at: Revision| Cursor {
            main: at.main,
            sub: at.sub,
        };
        let header = Header {
            applied_index: store.applied_index,
            revision: keyspace.revision,
            compacted: keyspace.compacted,
            sweep: keyspace.sweep.map(cursor),
            digest: store.digest.0,
            members: store.members.iter().cloned().collect(),
            removed: store.members.removed().collect(),
            transition: store.members.transition().cloned(),
            records: timeline.len() as u64,
            alarms: store.alarms.iter().collect(),
            cluster_version: store.cluster_version,
            downgrade: store.downgrade,
            leases: keyspace.leases.iter().copied().collect(),
            auth: None,
        };
        let auth = Arc::clone(&store.auth);
        Self {
            header,
            auth,
            timeline,
        }
    }

    /// The index of the last entry whose effects are in it.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.header.applied_index
    }

    /// Its newest revision.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.header.revision
    }

    /// All leases, by id; what hangs on them is what the newest record of each key says.
    #[must_use]
    pub fn leases(&self) -> &[Lease] {
        &self.header.leases
    }

    /// Users and roles, as they were.
    #[must_use]
    pub fn auth(&self) -> &Auth {
        &self.auth
    }

    /// A store of this, for reads that would hold up the one that applies. Makes an index of its own, in time and memory in
    /// proportion to the number of records; keys and values are shared.
    #[must_use]
    pub fn to_store(&self) -> Store {
        let mut store = self.tables();
        let records = self.timeline.iter();
        records.for_each(|record| store.keyspace.share(record));
        store
    }

    /// The bytes, in pieces of about a mebibyte; written one after the other they are what [`Image::encode`] returns.
    pub fn frames(&self) -> impl Iterator<Item = Bytes> {
        let start = std::iter::once_with(|| {
            let mut start = BytesMut::from(&MAGIC[..]);
            start.put_u8(VERSION);
            let header = Header {
                auth: self.auth.to_image(),
                ..self.header.clone()
            };
            frame(&mut start, HEADER, |body| {
                header.encode(body).expect("the buffer grows")
            });
            start.freeze()
        });
        let mut records = self.timeline.iter().peekable();
        let records = std::iter::from_fn(move || {
            records.peek()?;
            let mut bytes = BytesMut::with_capacity(FRAME_TARGET_LEN);
            frame(&mut bytes, RECORDS, |body| {
                while body.len() < FRAME_TARGET_LEN
                    && let Some(record) = records.next()
                {
                    record.encode_as(1, body);
                }
            });
            Some(bytes.freeze())
        });
        let end = std::iter::once_with(|| {
            let mut end = BytesMut::new();
            frame(&mut end, END, |_| ());
            end.freeze()
        });
        start.chain(records).chain(end)
    }

    /// The bytes in one piece. [`Image::frames`] needs no second copy of the store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.frames().fold(Vec::new(), |mut bytes, frame| {
            bytes.extend_from_slice(&frame);
            bytes
        })
    }

    /// The checksum of the keyspace up to `revision`, by etcd's rule; 0 means the newest. Takes time in proportion to the data:
    /// call it on an image, away from the thread that applies.
    ///
    /// CRC-32C over `"key"`, then every record up to `revision`: its revision (8 bytes, `_`, 8 bytes, big endian; `t` behind a
    /// tombstone's), then its key-value as protobuf. Left out are records up to the last compaction that are not what their key is at
    /// `revision`, unless no key exists at `revision`, and every tombstone up to the last compaction.
    ///
    /// Two habits of etcd's are not copied: it answers a revision that was once compacted at from a cache, with the compaction
    /// before; and a key that the command of `revision` itself deleted and put again does not count as existing there.
    ///
    /// # Errors
    /// [`StoreError::Compacted`], [`StoreError::FutureRevision`].
    pub fn hash_kv(&self, revision: i64) -> Result<KeyspaceHash, StoreError> {
        let (newest, compacted) = (self.header.revision, self.header.compacted);
        if revision > 0 && revision < compacted {
            return Err(StoreError::Compacted);
        }
        if revision > newest {
            return Err(StoreError::FutureRevision);
        }
        let upto = if revision == 0 { newest } else { revision };
        let live = self.live_at(upto);
        let shown = if live.is_empty() {
            self.live_at(compacted)
        } else {
            live
        };
        let mut shown = shown.into_iter().peekable();
        let mut crc = Crc32c::new();
        crc.bytes(b"key");
        for record in self
            .timeline
            .iter()
            .take_while(|record| record.kv.mod_revision <= upto)
        {
            let shows = shown.next_if_eq(&record.revision()).is_some();
            if shows || record.kv.mod_revision > compacted {
                hash_record(&mut crc, record);
            }
        }
        let hash = crc.finish();
        Ok(KeyspaceHash {
            hash,
            hash_revision: upto,
            compact_revision: compacted,
            revision: newest,
        })
    }

    /// The records that show at revision `main`, ascending.
    fn live_at(&self, main: i64) -> Vec<Revision> {
        // Only asked whether it holds a key, so its order is never seen.
        let mut seen: HashSet<&[u8], BuildHasherDefault<DefaultHasher>> = HashSet::default();
        let newest_first = self.timeline.iter().rev();
        let mut live: Vec<Revision> = newest_first
            .filter(|record| record.kv.mod_revision <= main)
            .filter(|record| seen.insert(&record.kv.key) && !record.tombstone)
            .map(|record| record.revision())
            .collect();
        live.reverse();
        live
    }
}

fn hash_record(crc: &mut Crc32c, record: &Record) {
    let mut body = Vec::new();
    crc.bytes(&record.kv.mod_revision.to_be_bytes());
    crc.bytes(b"_");
    crc.bytes(&record.sub.to_be_bytes());
    if record.tombstone {
        crc.bytes(b"t");
        // etcd stores nothing but the key of a deletion.
        encode_bytes(1, &record.kv.key, &mut body);
    } else {
        encode_kv(&record.kv, &mut body);
    }
    crc.bytes(&body);
}

/// Appends a frame whose body is what `write` appends.
fn frame(bytes: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    let start = bytes.len();
    bytes.put_bytes(kind, FRAME_HEADER_LEN);
    write(bytes);
    let (header, body) = bytes[start..].split_at_mut(FRAME_HEADER_LEN);
    let len = u32::try_from(body.len()).expect("a record comes from one message, which is shorter");
    header[1..5].copy_from_slice(&len.to_le_bytes());
    header[5..].copy_from_slice(&checksum(kind, body).to_le_bytes());
}

fn checksum(kind: u8, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(body);
    hasher.finalize()
}

/// The store of an image without its records.
fn empty_store(header: &Header) -> Result<Store, DecodeError> {
    let revisions = 1..REVISION_LIMIT;
    if !revisions.contains(&header.revision) || !(-1..=header.revision).contains(&header.compacted)
    {
        let Header {
            revision,
            compacted,
            ..
        } = header;
        return Err(malformed(format!(
            "revision {revision}, compacted at {compacted}"
        )));
    }
    let members = header
        .members
        .iter()
        .map(|member| (member.id, member.clone()))
        .collect();
    let removed = header.removed.iter().copied().collect();
    let keyspace = Keyspace {
        revision: header.revision,
        compacted: header.compacted,
        sweep: header.sweep.map(|at| Revision {
            main: at.main,
            sub: at.sub,
        }),
        leases: Leases::of(&header.leases),
        ..Keyspace::default()
    };
    let members = Members {
        members,
        removed,
        transition: header.transition.clone(),
    };
    Ok(Store {
        applied_index: header.applied_index,
        keyspace,
        members,
        alarms: Alarms {
            raised: header.alarms.iter().copied().collect(),
        },
        cluster_version: header.cluster_version,
        downgrade: header.downgrade,
        auth: Arc::new(Auth::of_image(header.auth.as_ref())),
        digest: Digest(header.digest),
    })
}

fn malformed(why: String) -> DecodeError {
    DecodeError::Malformed { what: WHAT, why }
}

const WHAT: &str = "an image";
