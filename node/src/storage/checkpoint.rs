//! Images of the state machine as files.
//!
//! ```text
//! header   magic 8, format u32, length u32, then identity, origin u8, place and configuration; CRC-32 of all before u32
//! chunk    length u32 (1 MiB at most), CRC-32 of number and bytes u32, bytes
//! …
//! end      length 0 u32, length of the image u64, SHA-256 of everything before 32
//! ```
//!
//! The chunks' checksums say *where* damage is, the hash of the whole says *that* nothing is missing, doubled or exchanged.
//! A file gets its name only when it is durable, so whatever has the name and does not add up was damaged later.
//!
//! What this module does not do: look into an image, or decide which checkpoint counts.

use super::codec::{self, Reader, put_u32, put_u64};
use super::directory::{self, TEMPORARY, sync_folder};
use super::error::StorageError;
use super::files::{File, Files, Sequential};
use super::vitals::Observer;
use super::{Identity, keeper::Image};
use bytes::Bytes;
use raft::SnapshotMeta;
use sha2::{Digest, Sha256};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 8] = b"quorckpt";
const FORMAT: u32 = 1;
const CHUNK_BYTES: usize = 1 << 20;

/// Where an image came from, which decides what a log that ends before it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Made here, of what the log held: the log reaches at least as far.
    Own,
    /// Received: the log may not reach it, if a crash came before the log said so.
    Received,
}

/// What stands before the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) identity: Identity,
    pub(super) origin: Origin,
    pub(super) meta: SnapshotMeta,
}

/// A durable checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) meta: SnapshotMeta,
    pub(super) path: PathBuf,
}

/// A checkpoint that was read and found sound.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) header: Header,
    pub(super) image: Bytes,
}

/// The checkpoint files of a folder, oldest first.
pub(super) fn list(files: &dyn Files, folder: &Path) -> Result<Vec<PathBuf>, StorageError> {
    directory::list(files, folder, ".checkpoint")
}

/// Writes a checkpoint and makes it durable. Returns it and its size.
pub(super) fn write(
    files: &dyn Files,
    folder: &Path,
    identity: Identity,
    meta: SnapshotMeta,
    image: Image,
    observer: &dyn Observer,
) -> Result<(Kept, u64), StorageError> {
    let name = format!("{:016x}-{:016x}", meta.index.0, meta.term.0);
    let temporary = folder.join(format!("{name}{TEMPORARY}"));
    let path = folder.join(format!("{name}.checkpoint"));
    let bytes =
        write_file(files, &temporary, identity, &meta, image, observer).inspect_err(|_| {
            // What cannot be written need not stay; and a full disk is helped.
            drop(files.remove(&temporary));
        })?;
    files
        .rename(&temporary, &path)
        .map_err(StorageError::attempt("rename the checkpoint", &temporary))?;
    observer.step("checkpoint named");
    sync_folder(files, folder)?;
    observer.step("checkpoint durable");
    Ok((Kept { meta, path }, bytes))
}

fn write_file(
    files: &dyn Files,
    path: &Path,
    identity: Identity,
    meta: &SnapshotMeta,
    image: Image,
    observer: &dyn Observer,
) -> Result<u64, StorageError> {
    let attempt = || StorageError::attempt("write the checkpoint", path);
    let file = files.create(path).map_err(attempt())?;
    observer.step("checkpoint begun");
    let header = Header {
        identity,
        origin: image.origin(),
        meta: meta.clone(),
    };
    let mut writer = Writer::begin(file, &header).map_err(attempt())?;
    match image {
        Image::Own(encode) | Image::Restored(encode) => encode(&mut writer),
        Image::Received(bytes) => writer.write_all(&bytes),
    }
    .map_err(attempt())?;
    let (file, bytes) = writer.finish().map_err(attempt())?;
    observer.step("checkpoint written");
    file.sync()
        .map_err(StorageError::attempt("sync the checkpoint", path))?;
    observer.step("checkpoint synced");
    Ok(bytes)
}

/// Cuts what is written into chunks with checksums.
struct Writer {
    file: Box<dyn File>,
    hasher: Sha256,
    chunk: Vec<u8>,
    chunks: u64,
    image_bytes: u64,
    file_bytes: u64,
}

impl Writer {
    fn begin(file: Box<dyn File>, header: &Header) -> io::Result<Self> {
        let mut writer = Self {
            file,
            hasher: Sha256::new(),
            chunk: Vec::with_capacity(CHUNK_BYTES),
            chunks: 0,
            image_bytes: 0,
            file_bytes: 0,
        };
        writer.put(&encode_header(header))?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.append(bytes)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(bytes, self.file_bytes)?;
        self.file_bytes += bytes.len() as u64;
        Ok(())
    }

    fn put_chunk(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        if !chunk.is_empty() {
            let mut frame = Vec::with_capacity(8);
            put_u32(&mut frame, u32::try_from(chunk.len()).expect("a mebibyte"));
            put_u32(&mut frame, checksum(self.chunks, &chunk));
            self.put(&frame)?;
            self.put(&chunk)?;
            self.chunks += 1;
        }
        self.chunk = chunk;
        self.chunk.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<(Box<dyn File>, u64)> {
        self.put_chunk()?;
        let mut end = Vec::new();
        put_u32(&mut end, 0);
        put_u64(&mut end, self.image_bytes);
        self.put(&end)?;
        let hash = self.hasher.finalize_reset();
        self.append(&hash)?;
        Ok((self.file, self.file_bytes))
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        self.image_bytes += taken as u64;
        if self.chunk.len() == CHUNK_BYTES {
            self.put_chunk()?;
        }
        Ok(taken)
    }

    /// Does nothing: a chunk is written when it is full, and made durable at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn encode_header(header: &Header) -> Vec<u8> {
    let mut payload = Vec::new();
    codec::put_identity(&mut payload, header.identity);
    payload.push(match header.origin {
        Origin::Own => 0,
        Origin::Received => 1,
    });
    codec::put_meta(&mut payload, &header.meta);
    let mut bytes = MAGIC.to_vec();
    put_u32(&mut bytes, FORMAT);
    put_u32(
        &mut bytes,
        u32::try_from(payload.len()).expect("a cluster has a handful of members"),
    );
    bytes.extend(payload);
    let checksum = crc32fast::hash(&bytes);
    put_u32(&mut bytes, checksum);
    bytes
}

fn checksum(number: u64, chunk: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(chunk);
    hasher.finalize()
}

/// Reads a checkpoint and checks every byte.
pub(super) fn read(files: &dyn Files, path: &Path) -> Result<Read, StorageError> {
    let (mut passing, length) = Passing::open(files, path)?;
    let header = passing.header()?;
    // One piece of memory, instead of ever larger ones; the file is a little longer than its image.
    let mut image = Vec::with_capacity(length);
    passing.image(|chunk| image.extend_from_slice(chunk))?;
    Ok(Read {
        header,
        image: image.into(),
    })
}

/// Reads and checks what stands before the image.
pub(super) fn read_header(files: &dyn Files, path: &Path) -> Result<Header, StorageError> {
    Passing::open(files, path)?.0.header()
}

/// Checks every byte of a checkpoint without keeping it in memory.
pub(super) fn verify(path: &Path, input: &mut dyn io::Read) -> Result<(), StorageError> {
    let mut passing = Passing::new(path, input);
    passing.header()?;
    passing.image(|_| ())
}

/// A checkpoint that is read from front to back.
struct Passing<'a, R> {
    path: &'a Path,
    input: R,
    hasher: Sha256,
    offset: u64,
    /// Where the part begins that is being read: a length that is damaged is noticed only behind it.
    part: u64,
}

impl<'a> Passing<'a, Sequential> {
    /// And how long the file is.
    fn open(files: &dyn Files, path: &'a Path) -> Result<(Self, usize), StorageError> {
        let attempt = || StorageError::attempt("read the checkpoint", path);
        let file = files.open(path).map_err(attempt())?;
        let length = file.length().map_err(attempt())?;
        let length = usize::try_from(length).map_err(|error| attempt()(io::Error::other(error)))?;
        Ok((Self::new(path, Sequential::new(file)), length))
    }
}

impl<'a, R: io::Read> Passing<'a, R> {
    fn new(path: &'a Path, input: R) -> Self {
        Self {
            path,
            input,
            hasher: Sha256::new(),
            offset: 0,
            part: 0,
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, StorageError> {
        let mut bytes = vec![0; length];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged_at(self.part, "it ends early"));
            }
            Err(error) => {
                return Err(StorageError::attempt("read the checkpoint", self.path)(
                    error,
                ));
            }
        }
        self.hasher.update(&bytes);
        self.offset += length as u64;
        Ok(bytes)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], StorageError> {
        let bytes = self.take(N)?;
        Ok(std::array::from_fn(|place| bytes[place]))
    }

    fn damaged(&self, what: &str) -> StorageError {
        self.damaged_at(self.offset, what)
    }

    fn damaged_at(&self, offset: u64, what: &str) -> StorageError {
        StorageError::corrupt(self.path, offset, what)
    }

    fn header(&mut self) -> Result<Header, StorageError> {
        let magic = self.take(MAGIC.len())?;
        let format = self.number::<4>()?;
        let length = self.number::<4>()?;
        let payload_bytes = u32::from_le_bytes(length) as usize;
        if magic != MAGIC || payload_bytes > CHUNK_BYTES {
            return Err(self.damaged_at(0, "it does not begin as a checkpoint does"));
        }
        let payload = self.take(payload_bytes)?;
        let covered = [&magic, &format[..], &length[..], &payload].concat();
        if u32::from_le_bytes(self.number()?) != crc32fast::hash(&covered) {
            return Err(self.damaged_at(0, "the header's checksum is another"));
        }
        match u32::from_le_bytes(format) {
            FORMAT => decode_header(Reader(&payload))
                .ok_or_else(|| self.damaged_at(0, "the header makes no sense")),
            found => Err(StorageError::Newer {
                path: self.path.to_owned(),
                found,
                known: FORMAT,
            }),
        }
    }

    /// Shows the image to `keep`, chunk by chunk, and checks that it ends where it says.
    fn image(mut self, mut keep: impl FnMut(&[u8])) -> Result<(), StorageError> {
        let mut image_bytes = 0;
        for number in 0.. {
            let chunk = self.chunk(number)?;
            if chunk.is_empty() {
                break;
            }
            image_bytes += chunk.len() as u64;
            keep(&chunk);
        }
        self.end(image_bytes)
    }

    /// The next chunk; nothing at the end.
    fn chunk(&mut self, number: u64) -> Result<Vec<u8>, StorageError> {
        self.part = self.offset;
        let length = u32::from_le_bytes(self.number()?) as usize;
        if length == 0 {
            return Ok(Vec::new());
        }
        let sum = u32::from_le_bytes(self.number()?);
        if length <= CHUNK_BYTES {
            let chunk = self.take(length)?;
            if checksum(number, &chunk) == sum {
                return Ok(chunk);
            }
        }
        Err(self.damaged_at(self.part, "the chunk's checksum is another"))
    }

    fn end(mut self, image_bytes: u64) -> Result<(), StorageError> {
        if u64::from_le_bytes(self.number()?) != image_bytes {
            return Err(self.damaged_at(self.part, "the image's length is another"));
        }
        let hash = self.hasher.clone().finalize();
        let at = self.offset;
        if self.take(hash.len())? != hash[..] {
            return Err(self.damaged_at(at, "the hash of the whole is another"));
        }
        match self.input.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something stands behind its end")),
            Err(error) => Err(StorageError::attempt("read the checkpoint", self.path)(
                error,
            )),
        }
    }
}

fn decode_header(mut reader: Reader<'_>) -> Option<Header> {
    let identity = codec::identity(&mut reader)?;
    let origin = match reader.u8()? {
        0 => Origin::Own,
        1 => Origin::Received,
        _ => return None,
    };
    let meta = codec::meta(&mut reader)?;
    Some(Header {
        identity,
        origin,
        meta,
    })
}

#[cfg(test)]
mod tests;
