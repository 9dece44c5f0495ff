//! Everything that may enter the log, and its stable bytes.
//!
//! A command's bytes are `version (1) | CRC-32 of the rest (4, little endian) | protobuf`. The protobuf is one union whose
//! field numbers are never reused. Taken: 1 to 4 the key-value commands, 10 to 16 the membership table, 20 to 22 leases, 30
//! users and roles, 50 alarms, 60 and 61 the cluster's version, 100 the author.
//!
//! It does not carry who waits for the answer: a proposal's id belongs to the envelope of the one who proposes.

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::message;
use prost::{Message, Oneof};

use crate::{
    AlarmChange, AuthCommand, Author, CompactionRequest, DecodeError, DeleteRangeRequest,
    Downgrade, LeaseCheckpoint, LeaseGrant, LeaseRevoke, Member, MemberChanges, PutRequest,
    TxnRequest, Version,
};

/// The format written today, and the only one there has been.
const VERSION: u8 = 1;
/// Version and checksum.
const HEADER_LEN: usize = 5;

/// One entry of the log, as the state machine understands it.
#[derive(Clone, PartialEq, Eq, Hash, Oneof)]
pub enum Command {
    /// Writes one key.
    #[prost(message, tag = "1")]
    Put(PutRequest),
    /// Deletes a range of keys.
    #[prost(message, tag = "2")]
    DeleteRange(DeleteRangeRequest),
    /// Compares, then writes or reads.
    #[prost(message, tag = "3")]
    Txn(TxnRequest),
    /// Gives history up.
    #[prost(message, tag = "4")]
    Compact(CompactionRequest),
    /// A new member, voter or learner.
    #[prost(message, tag = "10")]
    MemberAdd(MemberAdd),
    /// A member leaves; its id is never used again.
    #[prost(message, tag = "11")]
    MemberRemove(MemberRemove),
    /// Other peer URLs for a member.
    #[prost(message, tag = "12")]
    MemberUpdate(MemberUpdate),
    /// A learner becomes a voter.
    #[prost(message, tag = "13")]
    MemberPromote(MemberPromote),
    /// A started member says its name and where clients reach it.
    #[prost(message, tag = "14")]
    MemberAttributes(MemberAttributes),
    /// Several members come, go, or change their part, as one. Whoever leaves is gone only after [`Store::leave_joint`].
    ///
    /// [`Store::leave_joint`]: crate::Store::leave_joint
    #[prost(message, tag = "15")]
    MemberChanges(MemberChanges),
    /// A member that a change of several members would take something from keeps its place in the table: it is to go on alone.
    #[prost(message, tag = "16")]
    MemberKeep(MemberKeep),
    /// A change of users and roles, or somebody's authentication.
    #[prost(message, tag = "30")]
    Auth(AuthCommand),
    /// An alarm is raised, or taken back.
    #[prost(message, tag = "50")]
    Alarm(AlarmChange),
    /// The version that all members speak.
    #[prost(message, tag = "60")]
    ClusterVersion(Version),
    /// A downgrade begins or ends.
    #[prost(message, tag = "61")]
    Downgrade(Downgrade),
    /// A new lease.
    #[prost(message, tag = "20")]
    LeaseGrant(LeaseGrant),
    /// A lease ends, and with it its keys: a client wants it, or the leader found it expired.
    #[prost(message, tag = "21")]
    LeaseRevoke(LeaseRevoke),
    /// What the leader measured to be left of leases, so that a new leader need not begin anew.
    #[prost(message, tag = "22")]
    LeaseCheckpoint(LeaseCheckpoint),
}

/// See [`Command::MemberAdd`].
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct MemberAdd {
    /// The member; name and client URLs are empty until it has started.
    #[prost(message, required, tag = "1")]
    pub member: Member,
    /// How many learners there may be, this one included, if it is one. It travels with the command because
    /// it is a flag of the proposer and every replica must decide alike. etcd's default is 1.
    #[prost(uint32, tag = "2")]
    pub max_learners: u32,
}

/// See [`Command::MemberRemove`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct MemberRemove {
    /// Who.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// See [`Command::MemberUpdate`].
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct MemberUpdate {
    /// Who.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// All its peer URLs from now on.
    #[prost(string, repeated, tag = "2")]
    pub peer_urls: Vec<String>,
}

/// See [`Command::MemberPromote`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct MemberPromote {
    /// Who.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// See [`Command::MemberAttributes`].
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct MemberAttributes {
    /// Who.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name; a member with a name counts as started.
    #[prost(string, tag = "2")]
    pub name: String,
    /// All its client URLs from now on.
    #[prost(string, repeated, tag = "3")]
    pub client_urls: Vec<String>,
}

/// See [`Command::MemberKeep`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct MemberKeep {
    /// Who.
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// A command, and who wants it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authored {
    /// What.
    pub command: Command,
    /// Who; none for the cluster itself, and for clients while authentication is off.
    pub author: Option<Author>,
}

/// The union as a message, which is what decoding needs.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(
        oneof = "Command",
        tags = "1, 2, 3, 4, 10, 11, 12, 13, 14, 15, 16, 20, 21, 22, 30, 50, 60, 61"
    )]
    command: Option<Command>,
    #[prost(message, optional, tag = "100")]
    author: Option<Author>,
}

/// The tag of an author.
const AUTHOR: u32 = 100;

impl Command {
    /// The bytes for the log: keys and values are copied once, into this one buffer.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.to_bytes_by(None)
    }

    /// The bytes for the log of a command that somebody wants.
    #[must_use]
    pub fn to_bytes_by(&self, author: Option<&Author>) -> Bytes {
        let author_len = author.map_or(0, |author| message::encoded_len(AUTHOR, author));
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + self.encoded_len() + author_len);
        bytes.put_u8(VERSION);
        bytes.put_u32_le(0);
        self.encode(&mut bytes);
        if let Some(author) = author {
            message::encode(AUTHOR, author, &mut bytes);
        }
        let checksum = crc32fast::hash(&bytes[HEADER_LEN..]);
        bytes[1..HEADER_LEN].copy_from_slice(&checksum.to_le_bytes());
        bytes.freeze()
    }

    /// The command in `bytes`, whoever wants it; its keys and values are slices of them.
    ///
    /// # Errors
    /// As [`Authored::from_bytes`].
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        Authored::from_bytes(bytes).map(|authored| authored.command)
    }

    fn is_known(&self) -> bool {
        match self {
            Self::Auth(AuthCommand { request }) => request.is_some(),
            Self::MemberChanges(MemberChanges { changes, .. }) => {
                changes.iter().all(|change| change.step.is_some())
            }
            _ => true,
        }
    }
}

impl Authored {
    /// The command in `bytes`, and who wants it; its keys and values are slices of them.
    ///
    /// # Errors
    /// [`DecodeError`] for bytes that [`Command::to_bytes`] did not write, or a later version of it did.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, DecodeError> {
        let what = "a command";
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(DecodeError::Truncated {
                what,
                have: bytes.len(),
                need: HEADER_LEN,
            });
        };
        let [version, checksum @ ..] = *header;
        if version != VERSION {
            return Err(DecodeError::Version {
                what,
                found: version,
                known: VERSION,
            });
        }
        let (found, expected) = (crc32fast::hash(body), u32::from_le_bytes(checksum));
        if found != expected {
            return Err(DecodeError::Checksum {
                what,
                offset: 0,
                found,
                expected,
            });
        }
        let malformed = |why: String| DecodeError::Malformed { what, why };
        let envelope = Envelope::decode(bytes.slice(HEADER_LEN..));
        let Envelope { command, author } = envelope.map_err(|e| malformed(e.to_string()))?;
        let command = command
            .filter(Command::is_known)
            .ok_or_else(|| malformed("no command number that is known here".to_owned()))?;
        Ok(Self { command, author })
    }
}
