//! Names of folders and files.
//!
//! What this module deliberately does not do: links, and moving something into another folder.

use super::operation::{FileId, NameChange, Node, split};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every folder by its path, with what is in it. The root is always there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<PathBuf, BTreeMap<String, Node>>);

impl Default for Tree {
    fn default() -> Self {
        Self(BTreeMap::from([(PathBuf::from("/"), BTreeMap::new())]))
    }
}

impl Tree {
    pub(super) fn node(&self, path: &Path) -> Option<Node> {
        if path.parent().is_none() {
            return Some(Node::Folder);
        }
        let (folder, name) = split(path)?;
        self.0.get(&folder)?.get(&name).copied()
    }

    pub(super) fn is_folder(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// What is in a folder, by name.
    pub(super) fn folder(&self, path: &Path) -> Option<&BTreeMap<String, Node>> {
        self.0.get(path)
    }

    /// Every file with its path, in order.
    pub(super) fn files(&self) -> impl Iterator<Item = (PathBuf, FileId)> + '_ {
        self.0.iter().flat_map(|(folder, names)| {
            names.iter().filter_map(move |(name, node)| match node {
                Node::File(file) => Some((folder.join(name), *file)),
                Node::Folder => None,
            })
        })
    }

    /// Carries a change out, also in a folder that cannot be reached yet.
    pub(super) fn apply(&mut self, folder: &Path, change: &NameChange) {
        let names = self.0.entry(folder.to_owned()).or_default();
        match change {
            NameChange::Put(name, node) => {
                names.insert(name.clone(), *node);
                if *node == Node::Folder {
                    self.0.entry(folder.join(name)).or_default();
                }
            }
            NameChange::Move(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }

    /// Forgets the folders that nothing leads to, and what is in them.
    pub(super) fn prune(&mut self) {
        let mut reached = Self::default();
        for (folder, names) in std::mem::take(&mut self.0) {
            if reached.node(&folder) == Some(Node::Folder) {
                reached.0.insert(folder, names);
            }
        }
        *self = reached;
    }
}
