//! Writing a file from front to back.
//!
//! - Pages come in the order of their numbers: meta, meta, free list, each bucket's tree from its leaves up, the root's last.
//! - A leaf is full: what does not fit begins the next one. A larger entry has a page of its own with pages that follow it.
//! - No branch but the root's has fewer than two children: when one is full, its last child goes into the next.
//!
//! It does not inline small buckets, nor leave room in pages for writes to come.

use std::convert::Infallible;

use crate::page::{
    BRANCH, BUCKET, ELEMENT_LEN, FREE_LIST, HEADER_LEN, Header, KEY_MAX, LEAF, META, Meta,
    PAGE_SIZE,
};

/// A key and its value, written only when its page is.
pub trait Entry {
    /// The key: 1 byte to 32 KiB.
    fn key(&self) -> &[u8];
    /// How many bytes [`Entry::put_value`] appends.
    fn value_len(&self) -> usize;
    /// Appends the value.
    fn put_value(&self, bytes: &mut Vec<u8>);
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> Entry for (K, V) {
    fn key(&self) -> &[u8] {
        self.0.as_ref()
    }

    fn value_len(&self) -> usize {
        self.1.as_ref().len()
    }

    fn put_value(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.1.as_ref());
    }
}

/// A bucket to write.
#[derive(Clone, Debug)]
pub struct Bucket<I> {
    /// Its name, not empty.
    pub name: &'static [u8],
    /// What is in it; keys ascend.
    pub entries: I,
}

/// How large a file is and where its root lies, which its first page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    root: u64,
    pages: u64,
}

/// Where the pages of a file go that is only measured.
type Nowhere = fn(&[u8]) -> Result<(), Infallible>;

/// The free list's page; the pages before are meta.
const FREE_LIST_PAGE: u64 = 2;
const PAGE_LEN: u64 = PAGE_SIZE as u64;

impl Layout {
    /// The layout of a file of these buckets, whose names ascend.
    pub fn of<I>(buckets: impl IntoIterator<Item = Bucket<I>>) -> Self
    where
        I: Iterator<Item: Entry>,
    {
        match put_trees(&mut Pages::new(None::<Nowhere>), buckets) {
            Ok(layout) => layout,
            Err(never) => match never {},
        }
    }

    /// The file's length in bytes.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.pages * PAGE_LEN
    }

    /// Writes the file in pieces, each of one page or of a page and those that follow it.
    ///
    /// # Errors
    /// The first error of `out`.
    ///
    /// # Panics
    /// If the buckets are not the ones that the layout is of.
    pub fn write<I, X>(
        self,
        buckets: impl IntoIterator<Item = Bucket<I>>,
        out: impl FnMut(&[u8]) -> Result<(), X>,
    ) -> Result<(), X>
    where
        I: Iterator<Item: Entry>,
    {
        let mut pages = Pages::new(Some(out));
        pages.next = 0;
        // The same twice, as bbolt writes its copies: the page whose transaction is newer counts.
        for transaction in [2, 1] {
            let meta = Meta {
                page_size: PAGE_SIZE as u32,
                root: self.root,
                free_list: FREE_LIST_PAGE,
                pages: self.pages,
                transaction,
            };
            pages.put(META, 0, PAGE_SIZE, |bytes| meta.put(bytes))?;
        }
        pages.put(FREE_LIST, 0, PAGE_SIZE, |_| ())?;
        let written = put_trees(&mut pages, buckets)?;
        assert_eq!(
            written, self,
            "a file is written of what it was measured with"
        );
        Ok(())
    }
}

fn put_trees<I, X, O>(
    pages: &mut Pages<O>,
    buckets: impl IntoIterator<Item = Bucket<I>>,
) -> Result<Layout, X>
where
    I: Iterator<Item: Entry>,
    O: FnMut(&[u8]) -> Result<(), X>,
{
    let mut root = Tree::new(BUCKET);
    for Bucket { name, entries } in buckets {
        let mut tree = Tree::new(0);
        for entry in entries {
            tree.push(entry, pages)?;
        }
        let mut value = [0; HEADER_LEN];
        value[..8].copy_from_slice(&tree.finish(pages)?.to_le_bytes());
        root.push((name, value), pages)?;
    }
    let root = root.finish(pages)?;
    let pages = pages.next;
    Ok(Layout { root, pages })
}

/// Numbers pages, and writes them where there is somewhere to write to.
struct Pages<O> {
    next: u64,
    out: Option<O>,
    buffer: Vec<u8>,
}

impl<O> Pages<O> {
    const fn new(out: Option<O>) -> Self {
        Self {
            next: FREE_LIST_PAGE + 1,
            out,
            buffer: Vec::new(),
        }
    }

    /// Takes the next page, and as many that follow it as `len` bytes with the header need; `fill` appends what comes after
    /// the header.
    fn put<X>(
        &mut self,
        kind: u16,
        count: usize,
        len: usize,
        fill: impl FnOnce(&mut Vec<u8>),
    ) -> Result<u64, X>
    where
        O: FnMut(&[u8]) -> Result<(), X>,
    {
        let (id, taken) = (self.next, len.div_ceil(PAGE_SIZE));
        self.next += taken as u64;
        let Some(out) = &mut self.out else {
            return Ok(id);
        };
        let header = Header {
            id,
            kind,
            count: u16::try_from(count).expect("a page has no room for more elements"),
            overflow: u32::try_from(taken - 1).expect("an entry is shorter than 16 TiB"),
        };
        self.buffer.clear();
        header.put(&mut self.buffer);
        fill(&mut self.buffer);
        self.buffer.resize(taken * PAGE_SIZE, 0);
        out(&self.buffer)?;
        Ok(id)
    }
}

/// A tree that grows at its right end.
struct Tree<E> {
    /// Of its leaf elements.
    flags: u32,
    leaf: Vec<E>,
    leaf_len: usize,
    /// The open branch of each level, lowest first.
    branches: Vec<Branch>,
}

#[derive(Default)]
struct Branch {
    children: Vec<Child>,
    len: usize,
}

struct Child {
    key: Vec<u8>,
    page: u64,
}

impl<E: Entry> Tree<E> {
    const fn new(flags: u32) -> Self {
        Self {
            flags,
            leaf: Vec::new(),
            leaf_len: 0,
            branches: Vec::new(),
        }
    }

    fn push<X, O>(&mut self, entry: E, pages: &mut Pages<O>) -> Result<(), X>
    where
        O: FnMut(&[u8]) -> Result<(), X>,
    {
        let key = entry.key();
        assert!(
            (1..=KEY_MAX).contains(&key.len()),
            "a key has 1 byte to 32 KiB"
        );
        debug_assert!(
            self.leaf.last().is_none_or(|last| last.key() < key),
            "keys ascend"
        );
        let len = ELEMENT_LEN + key.len() + entry.value_len();
        if !self.leaf.is_empty() && HEADER_LEN + self.leaf_len + len > PAGE_SIZE {
            self.close_leaf(pages)?;
        }
        self.leaf_len += len;
        self.leaf.push(entry);
        Ok(())
    }

    fn close_leaf<X, O>(&mut self, pages: &mut Pages<O>) -> Result<(), X>
    where
        O: FnMut(&[u8]) -> Result<(), X>,
    {
        let (leaf, flags) = (&self.leaf, self.flags);
        let key = leaf
            .first()
            .map_or_else(Vec::new, |first| first.key().to_vec());
        let len = HEADER_LEN + std::mem::take(&mut self.leaf_len);
        let page = pages.put(LEAF, leaf.len(), len, |bytes| put_leaf(bytes, leaf, flags))?;
        self.leaf.clear();
        self.add(0, Child { key, page }, pages)
    }

    /// Adds a child to the open branch of a level; a full one is written first, all but its last child.
    fn add<X, O>(&mut self, level: usize, child: Child, pages: &mut Pages<O>) -> Result<(), X>
    where
        O: FnMut(&[u8]) -> Result<(), X>,
    {
        if self.branches.len() == level {
            self.branches.push(Branch::default());
        }
        let branch = &mut self.branches[level];
        let len = ELEMENT_LEN + child.key.len();
        let is_full = HEADER_LEN + branch.len + len > PAGE_SIZE && branch.children.len() > 2;
        let last = if is_full { branch.children.pop() } else { None };
        if let Some(last) = last {
            branch.len -= ELEMENT_LEN + last.key.len();
            self.close_branch(level, pages)?;
            self.branches[level].push(last);
        }
        self.branches[level].push(child);
        Ok(())
    }

    fn close_branch<X, O>(&mut self, level: usize, pages: &mut Pages<O>) -> Result<(), X>
    where
        O: FnMut(&[u8]) -> Result<(), X>,
    {
        let Branch { mut children, len } = std::mem::take(&mut self.branches[level]);
        let put = |bytes: &mut Vec<u8>| put_branch(bytes, &children);
        let page = pages.put(BRANCH, children.len(), HEADER_LEN + len, put)?;
        let key = std::mem::take(&mut children[0].key);
        self.add(level + 1, Child { key, page }, pages)
    }

    /// Writes what is open; the root's page.
    fn finish<X, O>(mut self, pages: &mut Pages<O>) -> Result<u64, X>
    where
        O: FnMut(&[u8]) -> Result<(), X>,
    {
        if !self.leaf.is_empty() || self.branches.is_empty() {
            self.close_leaf(pages)?;
        }
        let mut level = 0;
        loop {
            let is_top = level + 1 == self.branches.len();
            match self.branches[level].children.as_slice() {
                [only] if is_top => return Ok(only.page),
                _ => self.close_branch(level, pages)?,
            }
            level += 1;
        }
    }
}

impl Branch {
    fn push(&mut self, child: Child) {
        self.len += ELEMENT_LEN + child.key.len();
        self.children.push(child);
    }
}

fn put_leaf(bytes: &mut Vec<u8>, leaf: &[impl Entry], flags: u32) {
    let mut to_key = leaf.len() * ELEMENT_LEN;
    for entry in leaf {
        let (key, value) = (entry.key().len(), entry.value_len());
        for number in [flags, place(to_key), place(key), place(value)] {
            bytes.extend(number.to_le_bytes());
        }
        to_key = to_key + key + value - ELEMENT_LEN;
    }
    for entry in leaf {
        bytes.extend_from_slice(entry.key());
        entry.put_value(bytes);
    }
}

fn put_branch(bytes: &mut Vec<u8>, children: &[Child]) {
    let mut to_key = children.len() * ELEMENT_LEN;
    for Child { key, page } in children {
        bytes.extend(place(to_key).to_le_bytes());
        bytes.extend(place(key.len()).to_le_bytes());
        bytes.extend(page.to_le_bytes());
        to_key = to_key + key.len() - ELEMENT_LEN;
    }
    for Child { key, .. } in children {
        bytes.extend_from_slice(key);
    }
}

/// A length or a distance within a page and those that follow it.
fn place(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("bbolt's values are shorter than 2 GiB")
}
