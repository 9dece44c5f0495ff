//! How commands stand in an entry of the log: several together, with a mark by which their proposer knows them again.
//!
//! ```text
//! version (1) | starter (8, little endian) | first (8) | { length (4) | command }*
//! ```
//!
//! One entry for everything that clients asked between two turns keeps the cost of an entry (a record in the log, a frame
//! on the wire, a place in the core's books) from being a cost of every request. `starter` is drawn at every start of every
//! member, so `(starter, first + n)` names a command for all time; the member that has a client waiting for it wakes that
//! client when it applies the command, wherever the entry was appended.
//!
//! What this module deliberately does not do: look into the commands; they carry checksums of their own.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The format written today, and the only one there has been.
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 17;
const LENGTH_BYTES: usize = 4;

/// Commands that travel in one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// One start of one member; 0 for entries that nobody waits for.
    pub starter: u64,
    /// The number of the first command; the others follow.
    pub first: u64,
    /// By `store::Command::to_bytes`.
    pub commands: Vec<Bytes>,
}

/// Bytes that no [`Batch::encode`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Written by a later version of this program.
    #[error("the entry has format version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// The bytes end early.
    #[error("the entry ends inside a command or its header")]
    Truncated,
}

impl Batch {
    /// The bytes for the log; commands are copied once.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let body: usize = self
            .commands
            .iter()
            .map(|command| LENGTH_BYTES + command.len())
            .sum();
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + body);
        bytes.put_u8(VERSION);
        bytes.put_u64_le(self.starter);
        bytes.put_u64_le(self.first);
        for command in &self.commands {
            let length =
                u32::try_from(command.len()).expect("a request has a limit far below 4 GiB");
            bytes.put_u32_le(length);
            bytes.put_slice(command);
        }
        bytes.freeze()
    }

    /// The batch in `bytes`; its commands are slices of them.
    ///
    /// # Errors
    /// [`BatchError`] for bytes that are no batch.
    pub fn decode(mut bytes: Bytes) -> Result<Self, BatchError> {
        if bytes.first().is_some_and(|version| *version != VERSION) {
            return Err(BatchError::Version { found: bytes[0] });
        }
        if bytes.len() < HEADER_BYTES {
            return Err(BatchError::Truncated);
        }
        bytes.advance(1);
        let (starter, first) = (bytes.get_u64_le(), bytes.get_u64_le());
        let mut commands = Vec::new();
        while bytes.has_remaining() {
            commands.push(take_command(&mut bytes)?);
        }
        Ok(Self {
            starter,
            first,
            commands,
        })
    }
}

fn take_command(bytes: &mut Bytes) -> Result<Bytes, BatchError> {
    let length = bytes.try_get_u32_le().map_err(|_| BatchError::Truncated)? as usize;
    if bytes.len() < length {
        return Err(BatchError::Truncated);
    }
    Ok(bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        let commands = [&b"one"[..], b"", b"three"]
            .map(Bytes::from_static)
            .to_vec();
        Batch {
            starter: 7,
            first: u64::MAX - 1,
            commands,
        }
    }

    #[test]
    fn a_batch_survives_its_bytes() {
        assert_eq!(Batch::decode(sample().encode()), Ok(sample()));
        let empty = Batch {
            commands: Vec::new(),
            ..sample()
        };
        assert_eq!(Batch::decode(empty.encode()), Ok(empty));
    }

    #[test]
    fn a_batch_cut_inside_a_command_is_refused() {
        let whole = sample().encode();
        let ends_of_commands = [17, 24, 28, whole.len()];
        for length in 0..whole.len() {
            let cut = Batch::decode(whole.slice(..length));
            assert_eq!(
                cut.is_ok(),
                ends_of_commands.contains(&length),
                "cut at {length}: {cut:?}"
            );
        }
    }

    #[test]
    fn a_later_version_is_named() {
        assert_eq!(
            Batch::decode(Bytes::from_static(&[2])),
            Err(BatchError::Version { found: 2 })
        );
    }
}
