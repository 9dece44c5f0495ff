//! The operations on files that storage is made of, and their real implementation.
//!
//! Whoever implements [`Files`] anew (a simulated disk does) keeps these promises and no others:
//!
//! - What was written may be lost by a crash, in any part and in any order, until [`File::sync`] came back well. So may the
//!   length of a file and the space that was reserved for it.
//! - A name that was made, changed or removed may be as before after a crash until [`Files::sync_folder`] came back well, also
//!   where the file itself is durable.
//! - A rename takes the place of what has the new name in one step.
//! - Where [`File::sync`] fails, nobody knows what the disk holds, and a later one that succeeds says nothing about what was
//!   written before.
//!
//! What this module does not do: say what was tried. Its errors are the system's; who calls adds the attempt and the path. Nor
//! does it know of links, which only `place` makes.

use nix::errno::Errno;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise, posix_fallocate};
use std::fmt::Debug;
use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

/// A file system, or what is taken for one.
pub trait Files: Debug + Send + Sync {
    /// Makes a folder and those above it that are missing. Only the owner may look in: the store holds other people's secrets.
    ///
    /// # Errors
    /// The system refused; that it is there already is none.
    fn create_folder(&self, path: &Path) -> io::Result<()>;

    /// Whether a folder is there.
    fn is_folder(&self, path: &Path) -> bool;

    /// The names in a folder, in any order.
    ///
    /// # Errors
    /// It is not there, or the system refused.
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// Makes the names in a folder durable: of files created, renamed or removed there.
    ///
    /// # Errors
    /// The system refused; then nobody knows which names are durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Makes an empty file, also in the place of one that has the name, to be read and written.
    ///
    /// # Errors
    /// The system refused.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file that is there, to be read.
    ///
    /// # Errors
    /// It is not there, or the system refused.
    fn open(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file that is there, to be read and written.
    ///
    /// # Errors
    /// It is not there, or the system refused.
    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Gives a file another name, in one step also where that name is taken.
    ///
    /// # Errors
    /// It is not there, or the system refused.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a name, and the file with it once nobody has it open.
    ///
    /// # Errors
    /// It is not there, or the system refused.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the file if it is not there and locks it, until the value is dropped or the process ends; none if somebody else
    /// holds it.
    ///
    /// # Errors
    /// The system refused.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn File>>>;

    /// Reads a whole file.
    ///
    /// # Errors
    /// As [`Files::open`] and [`File::read_at`].
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        let length = usize::try_from(file.length()?).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// An open file read from front to back.
#[derive(Debug)]
pub(super) struct Sequential {
    file: Box<dyn File>,
    offset: u64,
}

impl Sequential {
    pub(super) fn new(file: Box<dyn File>) -> Self {
        Self { file, offset: 0 }
    }
}

impl io::Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// An open file.
pub trait File: Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The system refused.
    fn length(&self) -> io::Result<u64>;

    /// Reads from a place on; how many bytes, 0 at the end of the file.
    ///
    /// # Errors
    /// The system refused, or the device could not read them.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of it at a place; what lies between there and the end of the file becomes zeros.
    ///
    /// # Errors
    /// The system refused; any part may be written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Gives the file its length at once, and the space for it where the file system can, so that a full disk shows here.
    ///
    /// # Errors
    /// There is no such space, or the system refused.
    fn reserve(&self, length: u64) -> io::Result<()>;

    /// Makes what was written durable, and the length with it, by `fdatasync`.
    ///
    /// # Errors
    /// The system refused, and nobody knows what the disk holds.
    fn sync(&self) -> io::Result<()>;

    /// Asks that what is read next comes from the disk and not from memory, as far as the system grants that.
    fn forget_cached(&self);
}

/// The operating system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

#[derive(Debug)]
struct RealFile(fs::File);

fn boxed(file: fs::File) -> Box<dyn File> {
    Box::new(RealFile(file))
}

impl Files for RealFiles {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        fs::File::open(folder)?.sync_all()
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(true).read(true).write(true);
        options.open(path).map(boxed)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        fs::File::open(path).map(boxed)
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).open(path).map(boxed)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn File>>> {
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(boxed(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl File for RealFile {
    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    /// File systems that cannot reserve get a file of that length instead, whose space comes as it is written.
    fn reserve(&self, length: u64) -> io::Result<()> {
        let signed = i64::try_from(length).map_err(io::Error::other)?;
        match posix_fallocate(&self.0, 0, signed) {
            Ok(()) => Ok(()),
            Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => self.0.set_len(length),
            Err(error) => Err(error.into()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn forget_cached(&self) {
        let forget = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        if let Err(error) = posix_fadvise(&self.0, 0, 0, forget) {
            tracing::debug!(%error, "reading what the operating system remembers");
        }
    }
}
