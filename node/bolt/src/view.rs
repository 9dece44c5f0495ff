//! What reading looks through: one page's bytes with every place checked, and a bit for each page that was come by.
//!
//! It does not know trees.

use crate::Error;
use crate::page::{ELEMENT_LEN, HEADER_LEN, KEY_MAX, u32_at, u64_at};

/// One bit for each page.
pub(crate) struct Pages {
    bits: Vec<u64>,
    count: u64,
}

impl Pages {
    pub(crate) fn new(count: u64) -> Self {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            bits: vec![0; words],
            count,
        }
    }

    /// Fails if it was taken before, or there is no such page.
    pub(crate) fn take(&mut self, page: u64) -> Result<(), ()> {
        let word = usize::try_from(page / 64).ok();
        let word = word.and_then(|word| self.bits.get_mut(word)).ok_or(())?;
        let bit = 1 << (page % 64);
        if page >= self.count || *word & bit != 0 {
            return Err(());
        }
        *word |= bit;
        Ok(())
    }

    pub(crate) fn first_left(&self) -> Option<u64> {
        let word = self.bits.iter().position(|word| *word != u64::MAX)?;
        let page = word as u64 * 64 + u64::from(self.bits[word].trailing_ones());
        (page < self.count).then_some(page)
    }
}

/// A page's bytes, or those of a leaf inside a page.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) page: u64,
    /// Where the bytes begin in it.
    pub(crate) within_page: usize,
    pub(crate) page_size: u64,
}

impl<'a> View<'a> {
    pub(crate) fn leaf_element(&self, number: u16) -> Result<(u32, &'a [u8], &'a [u8]), Error> {
        let at = element_at(number);
        let numbers = || {
            Some([
                u32_at(self.bytes, at)?,
                u32_at(self.bytes, at + 4)?,
                u32_at(self.bytes, at + 8)?,
                u32_at(self.bytes, at + 12)?,
            ])
        };
        let found = numbers().and_then(|[flags, to_key, key, value]| {
            let rest = self.bytes.get(at.checked_add(to_key as usize)?..)?;
            let (key, rest) = rest.split_at_checked(key as usize)?;
            Some((flags, key, rest.get(..value as usize)?))
        });
        found.ok_or_else(|| self.rule(number, "it points out of the page"))
    }

    pub(crate) fn branch_element(&self, number: u16) -> Result<(&'a [u8], u64), Error> {
        let at = element_at(number);
        let found = || {
            let (to_key, len) = (u32_at(self.bytes, at)?, u32_at(self.bytes, at + 4)?);
            let key = self.bytes.get(at.checked_add(to_key as usize)?..)?;
            Some((key.get(..len as usize)?, u64_at(self.bytes, at + 8)?))
        };
        found().ok_or_else(|| self.rule(number, "it points out of the page"))
    }

    pub(crate) fn check_order(
        &self,
        number: u16,
        key: &[u8],
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Result<(), Error> {
        if !(1..=KEY_MAX).contains(&key.len()) {
            return Err(self.rule(number, "a key has 1 byte to 32 KiB"));
        }
        if key < from || to.is_some_and(|to| key >= to) {
            return Err(self.unordered(number));
        }
        Ok(())
    }

    pub(crate) fn unordered(&self, number: u16) -> Error {
        self.rule(number, "its key is out of order")
    }

    pub(crate) fn rule(&self, number: u16, rule: &str) -> Error {
        self.broken(element_at(number), format!("element {number}: {rule}"))
    }

    pub(crate) fn broken(&self, at: usize, rule: String) -> Error {
        let within = (self.within_page + at) as u64;
        Error::Page {
            page: self.page,
            offset: self.page * self.page_size + within,
            rule,
        }
    }
}

fn element_at(number: u16) -> usize {
    HEADER_LEN + usize::from(number) * ELEMENT_LEN
}
