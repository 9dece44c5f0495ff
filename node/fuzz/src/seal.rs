//! Checksums made right again, so that what was done to an input is seen by more than the checksum.
//!
//! Each of these follows a format as far as it makes sense, and leaves the rest. None says which bytes are sound: decoders do.

use crc32fast::Hasher;
use prost::Message;
use proto::peer::{SnapshotPiece, snapshot_piece::Part};
use sha2::{Digest, Sha256};

/// The length of the segments that logs are made of here.
pub const SEGMENT_BYTES: usize = 2048;

/// Nothing is summed up.
pub fn nothing(_: &mut Vec<u8>) {}

/// A log, segment behind segment: each record's place, checksum, and the chain.
pub fn log(bytes: &mut [u8]) {
    let mut previous = 0;
    for (segment, sequence) in bytes.chunks_mut(SEGMENT_BYTES).zip(1..) {
        previous = self::segment(segment, sequence, previous);
    }
}

fn segment(segment: &mut [u8], sequence: u64, mut previous: u32) -> u32 {
    const HEADER: usize = 32;
    const SEAL: u8 = 5;
    let mut at = 0;
    while let Some(header) = segment.get(at..at + HEADER)
        && header.starts_with(b"qwal")
    {
        let end = at + HEADER + number(header, 8) as usize;
        let end = end.next_multiple_of(8);
        let Some(record) = segment.get_mut(at..end) else {
            break;
        };
        record[24..28].copy_from_slice(&previous.to_le_bytes());
        put(record, 28, at);
        let sum = crc(&[&sequence.to_le_bytes(), &record[8..]]);
        record[4..8].copy_from_slice(&sum.to_le_bytes());
        if record[12] != SEAL {
            previous = sum;
        }
        at = end;
    }
    previous
}

/// A checkpoint: its header's checksum, each chunk's, and the hash of the whole.
pub fn checkpoint(bytes: &mut Vec<u8>) {
    const START: usize = 16;
    let Some(start) = bytes.get(..START) else {
        return;
    };
    let mut at = START + number(start, 12) as usize;
    if bytes.len() < at + 4 {
        return;
    }
    let sum = crc(&[&bytes[..at]]);
    bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    at += 4;
    let mut image_bytes = 0;
    for chunk in 0_u64.. {
        let Some(head) = bytes.get_mut(at..at + 8) else {
            return;
        };
        let len = number(head, 0) as usize;
        if len == 0 {
            break;
        }
        let Some(body) = bytes.get(at + 8..at + 8 + len) else {
            return;
        };
        let sum = crc(&[&chunk.to_le_bytes(), body]);
        bytes[at + 4..at + 8].copy_from_slice(&sum.to_le_bytes());
        at += 8 + len;
        image_bytes += len as u64;
    }
    bytes.truncate(at + 4);
    bytes.extend(image_bytes.to_le_bytes());
    let hash = Sha256::digest(&*bytes);
    bytes.extend(hash);
}

/// A store's image: each frame's checksum.
pub fn image(bytes: &mut [u8]) {
    const START: usize = 8;
    const HEADER: usize = 9;
    let mut at = START;
    while let Some(header) = bytes.get(at..at + HEADER) {
        let (kind, len) = (header[0], number(header, 1) as usize);
        let end = bytes.len().min(at + HEADER + len);
        let body = at + HEADER..end;
        put(bytes, at + 1, body.len());
        let sum = crc(&[&[kind], &bytes[body]]);
        bytes[at + 5..at + HEADER].copy_from_slice(&sum.to_le_bytes());
        at = end;
    }
}

/// A command of the log.
pub fn command(bytes: &mut [u8]) {
    const HEADER: usize = 5;
    if bytes.len() >= HEADER {
        let sum = crc(&[&bytes[HEADER..]]);
        bytes[1..HEADER].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A file of bbolt's: both meta pages, and the hash behind the whole if there is to be one.
pub fn database(bytes: &mut Vec<u8>) {
    const HEADER: usize = 16;
    const SUMMED: usize = 56;
    for page in [0, bolt::PAGE_SIZE] {
        let from = page + HEADER;
        if let Some(meta) = bytes.get_mut(from..from + SUMMED + 8) {
            let sum = meta[..SUMMED]
                .iter()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3_u64)
                });
            meta[SUMMED..].copy_from_slice(&sum.to_le_bytes());
        }
    }
    let pages = bytes.len() / bolt::PAGE_SIZE * bolt::PAGE_SIZE;
    if bytes.len() > pages {
        bytes.truncate(pages);
        let hash = Sha256::digest(&*bytes);
        bytes.extend(hash);
    }
}

/// Behind a line, messages of gRPC: their lengths, and the checksums of a snapshot's pieces.
pub fn call(bytes: &mut Vec<u8>) {
    let line = bytes.iter().position(|byte| *byte == b'\n');
    let body = line.map_or(bytes.len(), |end| end + 1);
    let messages = messages(&bytes[body..]);
    bytes.truncate(body);
    let has_sums = bytes.ends_with(b"/InstallSnapshot\n");
    let mut whole = (0, Hasher::new());
    for message in messages {
        let summed = has_sums.then(|| piece(&message, &mut whole)).flatten();
        put_message(bytes, &summed.unwrap_or(message));
    }
}

/// One message of gRPC, framed.
pub fn put_message(bytes: &mut Vec<u8>, message: &[u8]) {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    bytes.push(0);
    bytes.extend(len.to_be_bytes());
    bytes.extend(message);
}

fn messages(mut body: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let len = head[1..]
            .iter()
            .fold(0, |len, byte| len << 8 | usize::from(*byte));
        let (message, rest) = rest.split_at(len.min(rest.len()));
        found.push(message.to_vec());
        body = rest;
    }
    found
}

/// The same piece of a snapshot with sums that are right; none of another message.
fn piece(message: &[u8], (offset, whole): &mut (u64, Hasher)) -> Option<Vec<u8>> {
    let mut piece = SnapshotPiece::decode(message).ok()?;
    match piece.part.as_mut()? {
        Part::Bytes(part) => {
            part.offset = *offset;
            part.crc = crc(&[&part.bytes]);
            *offset += part.bytes.len() as u64;
            whole.update(&part.bytes);
        }
        Part::Closing(closing) => {
            closing.length_bytes = *offset;
            closing.crc = whole.clone().finalize();
        }
        Part::Opening(_) => return None,
    }
    Some(piece.encode_to_vec())
}

fn crc(parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Four bytes; the callers have looked that they are there.
fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes[at..].first_chunk().expect("the format has them");
    u32::from_le_bytes(*bytes)
}

fn put(bytes: &mut [u8], at: usize, number: usize) {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}
