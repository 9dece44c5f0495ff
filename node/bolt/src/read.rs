//! Reading a file, whatever its bytes are.
//!
//! - A page counts once: a second way to it, a cycle among them, is refused.
//! - Keys ascend within a bucket, and lie where the branches above say.
//! - What is read into memory at once is a page with those that follow it, for each level of a tree; all of them are in the file.
//! - A file with a free list has no page that is neither in use nor free.

use std::io;

use crate::Error;
use crate::page::{
    BRANCH, BUCKET, FREE_LIST, HEADER_LEN, Header, LEAF, META_LEN, Meta, NO_FREE_LIST, NoMeta,
    VERSION, u64_at,
};
use crate::view::{Pages, View};

/// Where bytes are read from.
pub trait Source {
    /// How many there are.
    fn len_bytes(&self) -> u64;
    /// Fills `buffer` with those from `offset` on; they are there.
    ///
    /// # Errors
    /// What stood in the way.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl Source for &[u8] {
    fn len_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let bytes = start
            .and_then(|start| self.get(start..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

/// A file whose meta page is sound. Its trees are checked as they are walked.
#[derive(Debug)]
pub struct File<S> {
    source: S,
    meta: Meta,
}

/// What a walk comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A bucket with this name begins.
    Bucket(&'a [u8]),
    /// A key of the bucket that began last.
    Entry {
        /// The key, not empty.
        key: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
}

/// The smallest and the largest page size that bbolt looks for.
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 1 << 10..=1 << 24;
/// Levels of a tree. Two children a branch and 2^48 pages would not need more.
const DEPTH_MAX: u32 = 48;

impl<S: Source> File<S> {
    /// Finds the newer sound meta page.
    ///
    /// # Errors
    /// [`Error`]
    pub fn open(source: S) -> Result<Self, Error> {
        let meta = newest_meta(&source)?;
        let file = Self { source, meta };
        let page_size = meta.page_size;
        if !page_size.is_power_of_two() || !PAGE_SIZES.contains(&page_size) {
            return Err(file.broken(0, 8, format!("{page_size} is no page size")));
        }
        let (pages, have) = (meta.pages, file.source.len_bytes());
        let need = pages.saturating_mul(u64::from(page_size));
        if need > have {
            return Err(Error::Cut { pages, need, have });
        }
        Ok(file)
    }

    /// The length of what is in use, in bytes; what lies behind does not count.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.meta.pages * self.page_size()
    }

    /// Visits every bucket and every entry, in the order of names and keys, and checks the whole structure.
    ///
    /// # Errors
    /// The first error of the file, or of `visit`, whatever comes first.
    pub fn walk<X: From<Error>>(
        &self,
        mut visit: impl FnMut(Item<'_>) -> Result<(), X>,
    ) -> Result<(), X> {
        let mut walk = Walk {
            file: self,
            used: Pages::new(self.meta.pages),
            visit: &mut visit,
        };
        for meta in [0, 1] {
            walk.take(meta, 0)?;
        }
        walk.tree(self.meta.root, Tree::Root, Bounds::default(), 0)?;
        let used = walk.used;
        Ok(self.check_free(used)?)
    }

    fn page_size(&self) -> u64 {
        u64::from(self.meta.page_size)
    }

    fn broken(&self, page: u64, within: usize, rule: String) -> Error {
        let offset = page
            .saturating_mul(self.page_size())
            .saturating_add(within as u64);
        Error::Page { page, offset, rule }
    }

    /// Reads a page and those that belong to it.
    fn page(&self, page: u64) -> Result<(Header, Vec<u8>), Error> {
        if !(2..self.meta.pages).contains(&page) {
            let rule = format!("the file has pages 2 to {}", self.meta.pages);
            return Err(self.broken(page, 0, rule));
        }
        let offset = page * self.page_size();
        let mut start = [0; HEADER_LEN];
        read(&self.source, offset, &mut start)?;
        let header = Header::read(&start).expect("it is as long as a header");
        if header.id != page {
            let rule = format!("it says that it is page {}", header.id);
            return Err(self.broken(page, 0, rule));
        }
        let taken = u64::from(header.overflow) + 1;
        if taken > self.meta.pages - page {
            let rule = format!("it takes {taken} pages, and the file ends");
            return Err(self.broken(page, 12, rule));
        }
        let len = usize::try_from(taken * self.page_size());
        let len = len.map_err(|_| self.broken(page, 12, "it does not fit into memory".into()))?;
        let mut bytes = vec![0; len];
        read(&self.source, offset, &mut bytes)?;
        Ok((header, bytes))
    }

    /// Every page is in use or free, and none is both.
    fn check_free(&self, mut used: Pages) -> Result<(), Error> {
        if self.meta.free_list == NO_FREE_LIST {
            return Ok(());
        }
        let list = self.meta.free_list;
        let (header, bytes) = self.page(list)?;
        if header.kind != FREE_LIST {
            return Err(self.broken(list, 8, "it is to be the free list".into()));
        }
        let own = list..=list + u64::from(header.overflow);
        for page in own {
            used.take(page)
                .map_err(|()| self.broken(page, 0, "it is in use and the free list's".into()))?;
        }
        let (first, count) = match header.count {
            u16::MAX => (1, u64_at(&bytes, HEADER_LEN).unwrap_or(0)),
            count => (0, u64::from(count)),
        };
        for number in 0..count {
            let at = number
                .checked_add(first)
                .and_then(|place| usize::try_from(place).ok()?.checked_mul(8))
                .and_then(|place| place.checked_add(HEADER_LEN));
            let free = at.and_then(|at| u64_at(&bytes, at));
            let free = free.ok_or_else(|| self.broken(list, 10, format!("{count} free pages")))?;
            used.take(free).map_err(|()| {
                self.broken(free, 0, "it is listed as free, and is not".to_owned())
            })?;
        }
        match used.first_left() {
            Some(page) => Err(self.broken(page, 0, "it is neither in use nor free".into())),
            None => Ok(()),
        }
    }
}

fn read(source: &impl Source, offset: u64, buffer: &mut [u8]) -> Result<(), Error> {
    let len = buffer.len();
    source
        .read_at(offset, buffer)
        .map_err(|source| Error::Read {
            offset,
            len,
            source,
        })
}

fn newest_meta(source: &impl Source) -> Result<Meta, Error> {
    let mut why = NoMeta::Foreign;
    let mut at = |offset: u64| -> Result<Option<Meta>, Error> {
        let mut bytes = [0; META_LEN];
        let offset = offset + HEADER_LEN as u64;
        if offset + META_LEN as u64 > source.len_bytes() {
            return Ok(None);
        }
        read(source, offset, &mut bytes)?;
        Ok(Meta::read(&bytes)
            .inspect_err(|found| why = more_telling(why, *found))
            .ok())
    };
    let first = at(0)?;
    let second = match first {
        Some(first) => at(u64::from(first.page_size))?,
        // Without the first, the page size is to be guessed, as bbolt does.
        None => {
            let mut size = *PAGE_SIZES.start();
            loop {
                match at(u64::from(size))? {
                    Some(meta) => break Some(meta),
                    None if size < *PAGE_SIZES.end() => size *= 2,
                    None => break None,
                }
            }
        }
    };
    let newest = [first, second].into_iter().flatten();
    newest.max_by_key(|meta| meta.transaction).ok_or(match why {
        NoMeta::Foreign => Error::Foreign,
        NoMeta::Checksum => Error::Meta,
        NoMeta::Version(found) => Error::Version {
            found,
            known: VERSION,
        },
    })
}

fn more_telling(one: NoMeta, other: NoMeta) -> NoMeta {
    match (one, other) {
        (NoMeta::Foreign, other) | (NoMeta::Checksum, other @ NoMeta::Version(_)) => other,
        (one, _) => one,
    }
}

/// What a tree holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    Root,
    Bucket,
}

/// Where the branches above say that keys lie.
#[derive(Clone, Copy, Default)]
struct Bounds<'a> {
    /// No key is smaller.
    from: &'a [u8],
    /// Every key is smaller.
    to: Option<&'a [u8]>,
}

struct Walk<'a, S, V> {
    file: &'a File<S>,
    used: Pages,
    visit: &'a mut V,
}

impl<S: Source, V> Walk<'_, S, V> {
    fn tree<X>(&mut self, page: u64, tree: Tree, within: Bounds<'_>, depth: u32) -> Result<(), X>
    where
        X: From<Error>,
        V: FnMut(Item<'_>) -> Result<(), X>,
    {
        let (header, bytes) = self.file.page(page)?;
        self.take(page, header.overflow)?;
        let view = View {
            bytes: &bytes,
            page,
            within_page: 0,
            page_size: self.file.page_size(),
        };
        match header.kind {
            LEAF => self.leaf(view, header.count, tree, within),
            BRANCH if depth < DEPTH_MAX => self.branch(view, header.count, tree, within, depth),
            BRANCH => Err(view.broken(8, format!("over {DEPTH_MAX} levels")).into()),
            kind => Err(view
                .broken(8, format!("{kind:#x} is no kind of page here"))
                .into()),
        }
    }

    fn take(&mut self, page: u64, overflow: u32) -> Result<(), Error> {
        for page in page..=page + u64::from(overflow) {
            let taken = self.used.take(page);
            taken.map_err(|()| {
                let rule = "it is not there, or two ways lead to it".to_owned();
                self.file.broken(page, 0, rule)
            })?;
        }
        Ok(())
    }

    fn branch<X>(
        &mut self,
        view: View<'_>,
        count: u16,
        tree: Tree,
        within: Bounds<'_>,
        depth: u32,
    ) -> Result<(), X>
    where
        X: From<Error>,
        V: FnMut(Item<'_>) -> Result<(), X>,
    {
        if count == 0 {
            return Err(view.broken(10, "a branch without children".into()).into());
        }
        for number in 0..count {
            let (key, child) = view.branch_element(number)?;
            let next = match number + 1 {
                next if next < count => Some(view.branch_element(next)?.0),
                _ => None,
            };
            view.check_order(number, key, within.from, next.or(within.to))?;
            let within = Bounds {
                from: key,
                to: next.or(within.to),
            };
            self.tree(child, tree, within, depth + 1)?;
        }
        Ok(())
    }

    fn leaf<X>(
        &mut self,
        view: View<'_>,
        count: u16,
        tree: Tree,
        within: Bounds<'_>,
    ) -> Result<(), X>
    where
        X: From<Error>,
        V: FnMut(Item<'_>) -> Result<(), X>,
    {
        let mut last: Option<&[u8]> = None;
        for number in 0..count {
            let (flags, key, value) = view.leaf_element(number)?;
            view.check_order(number, key, within.from, within.to)?;
            if last.is_some_and(|last| last >= key) {
                return Err(view.unordered(number).into());
            }
            last = Some(key);
            match (tree, flags & BUCKET != 0) {
                (Tree::Bucket, false) => (self.visit)(Item::Entry { key, value })?,
                (Tree::Root, true) => {
                    (self.visit)(Item::Bucket(key))?;
                    self.bucket(view, number, value)?;
                }
                (Tree::Bucket, true) => {
                    return Err(view.rule(number, "a bucket in a bucket").into());
                }
                (Tree::Root, false) => {
                    return Err(view.rule(number, "an entry outside all buckets").into());
                }
            }
        }
        Ok(())
    }

    fn bucket<X>(&mut self, view: View<'_>, number: u16, value: &[u8]) -> Result<(), X>
    where
        X: From<Error>,
        V: FnMut(Item<'_>) -> Result<(), X>,
    {
        let root = u64_at(value, 0).filter(|_| value.len() >= HEADER_LEN);
        let root = root.ok_or_else(|| view.rule(number, "a bucket of less than 16 bytes"))?;
        if root != 0 {
            return self.tree(root, Tree::Bucket, Bounds::default(), 0);
        }
        let bytes = &value[HEADER_LEN..];
        let header = Header::read(bytes).filter(|header| header.kind == LEAF);
        let header = header.ok_or_else(|| view.rule(number, "a bucket inline, without a leaf"))?;
        let within_page = bytes.as_ptr().addr() - view.bytes.as_ptr().addr();
        let inline = View {
            bytes,
            within_page,
            ..view
        };
        self.leaf(inline, header.count, Tree::Bucket, Bounds::default())
    }
}
