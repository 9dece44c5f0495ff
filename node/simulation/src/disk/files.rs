//! The disk as the storage sees it.
//!
//! What this module deliberately does not do: permissions, links, folders that are removed or renamed.

use super::operation::{FileId, NameChange, Node, Operation, split};
use super::{SimulatedDisk, State};
use quorate_node::storage::{File, Files};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::MutexGuard;

/// Whoever asks has ended already: what it had open in its life is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

impl std::fmt::Display for Crashed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the process that asks has crashed (simulated)")
    }
}

impl std::error::Error for Crashed {}

/// The disk in the life of one process.
#[derive(Debug)]
pub(super) struct LivingDisk {
    disk: SimulatedDisk,
    life: u64,
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    life: u64,
    file: FileId,
    writable: bool,
    lock: Option<PathBuf>,
}

impl SimulatedDisk {
    /// The disk, for a process that ends with the next [`SimulatedDisk::cut_power`] or [`SimulatedDisk::kill`].
    pub(super) fn living(&self) -> LivingDisk {
        let life = self.state().life;
        LivingDisk {
            disk: self.clone(),
            life,
        }
    }

    fn alive(&self, life: u64) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.life == life {
            Ok(state)
        } else {
            Err(io::Error::other(Crashed))
        }
    }
}

fn place(path: &Path) -> io::Result<(PathBuf, String)> {
    split(path).ok_or_else(|| ErrorKind::InvalidInput.into())
}

impl LivingDisk {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        self.disk.alive(self.life)
    }

    fn handle(
        &self,
        state: &mut State,
        file: FileId,
        writable: bool,
        lock: Option<PathBuf>,
    ) -> Box<dyn File> {
        *state.open.entry(file).or_default() += 1;
        Box::new(SimulatedFile {
            disk: self.disk.clone(),
            life: self.life,
            file,
            writable,
            lock,
        })
    }

    fn existing(&self, path: &Path, writable: bool) -> io::Result<Box<dyn File>> {
        let mut state = self.state()?;
        let file = state.file_at(path)?;
        Ok(self.handle(&mut state, file, writable, None))
    }
}

impl State {
    fn file_at(&self, path: &Path) -> io::Result<FileId> {
        match self.view.tree.node(path) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn change_name(&mut self, folder: PathBuf, change: NameChange) {
        self.run(Operation::Name { folder, change });
    }

    fn put_file(&mut self, path: &Path) -> io::Result<FileId> {
        let (folder, name) = place(path)?;
        if !self.view.tree.is_folder(&folder) {
            return Err(ErrorKind::NotFound.into());
        }
        let replaced = self.view.tree.node(path);
        let file = FileId(self.next_file);
        self.next_file += 1;
        self.change_name(folder, NameChange::Put(name, Node::File(file)));
        if let Some(Node::File(replaced)) = replaced {
            self.drop_if_nameless(replaced);
        }
        Ok(file)
    }
}

impl Files for LivingDisk {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        let missing: Vec<_> = path
            .ancestors()
            .take_while(|above| !state.view.tree.is_folder(above))
            .collect();
        for folder in missing.into_iter().rev() {
            if state.view.tree.node(folder).is_some() {
                return Err(ErrorKind::NotADirectory.into());
            }
            let (above, name) = place(folder)?;
            state.change_name(above, NameChange::Put(name, Node::Folder));
        }
        Ok(())
    }

    fn is_folder(&self, path: &Path) -> bool {
        self.state()
            .is_ok_and(|state| state.view.tree.is_folder(path))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state()?;
        let names = state.view.tree.folder(folder).ok_or(ErrorKind::NotFound)?;
        Ok(names.keys().cloned().collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        if !state.view.tree.is_folder(folder) {
            return Err(ErrorKind::NotFound.into());
        }
        state.run(Operation::SyncFolder(folder.to_owned()));
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut state = self.state()?;
        let file = state.put_file(path)?;
        Ok(self.handle(&mut state, file, true, None))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.existing(path, false)
    }

    fn open_to_write(&self, path: &Path) -> io::Result<Box<dyn File>> {
        self.existing(path, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        state.file_at(from)?;
        let ((folder, name), (into, new_name)) = (place(from)?, place(to)?);
        if folder != into {
            return Err(ErrorKind::Unsupported.into());
        }
        let replaced = state.view.tree.node(to);
        state.change_name(folder, NameChange::Move(name, new_name));
        if let Some(Node::File(replaced)) = replaced {
            state.drop_if_nameless(replaced);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        let file = state.file_at(path)?;
        let (folder, name) = place(path)?;
        state.change_name(folder, NameChange::Remove(name));
        state.drop_if_nameless(file);
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn File>>> {
        let mut state = self.state()?;
        if state.locks.contains(path) {
            return Ok(None);
        }
        let file = match state.file_at(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => state.put_file(path)?,
            Err(error) => return Err(error),
        };
        state.locks.insert(path.to_owned());
        Ok(Some(self.handle(
            &mut state,
            file,
            true,
            Some(path.to_owned()),
        )))
    }
}

impl SimulatedFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        self.disk.alive(self.life)
    }

    fn state_to_write(&self) -> io::Result<MutexGuard<'_, State>> {
        if self.writable {
            self.state()
        } else {
            Err(ErrorKind::PermissionDenied.into())
        }
    }
}

impl File for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        let state = self.state()?;
        Ok(state
            .view
            .files
            .get(&self.file)
            .map_or(0, |bytes| bytes.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        let bytes = state
            .view
            .files
            .get(&self.file)
            .map_or(&[][..], |bytes| bytes);
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let read = buffer.len().min(bytes.len() - from);
        buffer[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.state_to_write()?.write(self.file, offset, bytes)
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        self.state_to_write()?.reserve(self.file, length)
    }

    fn sync(&self) -> io::Result<()> {
        self.state()?.sync(self.file)
    }

    /// What is read comes from where it lies anyway.
    fn forget_cached(&self) {}
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        let Ok(mut state) = self.disk.alive(self.life) else {
            return;
        };
        if let Some(lock) = &self.lock {
            state.locks.remove(lock);
        }
        state.close(self.file);
    }
}
