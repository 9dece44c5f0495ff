//! Pages as bytes: what reading and writing share.
//!
//! It does not know trees.

/// The size that files are written with; bbolt takes the page size of the machine, and reads any.
pub const PAGE_SIZE: usize = 4096;
/// The header of every page, and of a bucket's value.
pub(crate) const HEADER_LEN: usize = 16;
/// An element of a leaf or a branch.
pub(crate) const ELEMENT_LEN: usize = 16;
/// The longest key that bbolt takes, in bytes.
pub const KEY_MAX: usize = 32 << 10;

pub(crate) const BRANCH: u16 = 0x01;
pub(crate) const LEAF: u16 = 0x02;
pub(crate) const META: u16 = 0x04;
pub(crate) const FREE_LIST: u16 = 0x10;
/// Flag of a leaf element whose value is a bucket.
pub(crate) const BUCKET: u32 = 0x01;

/// What a page begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) kind: u16,
    pub(crate) count: u16,
    /// Pages that follow and belong to it.
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn put(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.id.to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.overflow.to_le_bytes());
    }

    /// `None` if there are not enough bytes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let low = u32_at(bytes, 8)?;
        Some(Self {
            id: u64_at(bytes, 0)?,
            kind: (low & 0xffff) as u16,
            count: (low >> 16) as u16,
            overflow: u32_at(bytes, 12)?,
        })
    }
}

/// The value of the meta page's `freelist` that says: it is not kept, whoever opens the file finds the free pages himself.
pub(crate) const NO_FREE_LIST: u64 = u64::MAX;
const MAGIC: u32 = 0xed0c_daed;
pub(crate) const VERSION: u32 = 2;
/// Magic number to checksum, the checksum included.
pub(crate) const META_LEN: usize = 64;

/// A meta page, but for what never differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_size: u32,
    pub(crate) root: u64,
    pub(crate) free_list: u64,
    /// Pages in use lie below this one.
    pub(crate) pages: u64,
    pub(crate) transaction: u64,
}

/// Why bytes are no meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoMeta {
    Foreign,
    Version(u32),
    Checksum,
}

impl Meta {
    pub(crate) fn put(self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        for number in [MAGIC, VERSION, self.page_size, 0] {
            bytes.extend(number.to_le_bytes());
        }
        let sequence = 0;
        for number in [
            self.root,
            sequence,
            self.free_list,
            self.pages,
            self.transaction,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        let checksum = fnv1a(&bytes[start..]);
        bytes.extend(checksum.to_le_bytes());
    }

    /// Reads what follows the page's header.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, NoMeta> {
        let read = || {
            let meta = Self {
                page_size: u32_at(bytes, 8)?,
                root: u64_at(bytes, 16)?,
                free_list: u64_at(bytes, 32)?,
                pages: u64_at(bytes, 40)?,
                transaction: u64_at(bytes, 48)?,
            };
            Some((u32_at(bytes, 0)?, u32_at(bytes, 4)?, meta))
        };
        let (magic, version, meta) = read().ok_or(NoMeta::Foreign)?;
        if magic != MAGIC {
            return Err(NoMeta::Foreign);
        }
        let (covered, checksum) = bytes
            .split_at_checked(META_LEN - 8)
            .ok_or(NoMeta::Foreign)?;
        if u64_at(checksum, 0) != Some(fnv1a(covered)) {
            return Err(NoMeta::Checksum);
        }
        if version != VERSION {
            return Err(NoMeta::Version(version));
        }
        Ok(meta)
    }
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv1a_has_the_published_values() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_meta_page_with_any_other_bit_is_refused() {
        let meta = Meta {
            page_size: 4096,
            root: 7,
            free_list: 2,
            pages: 9,
            transaction: 4,
        };
        let mut bytes = Vec::new();
        meta.put(&mut bytes);
        assert_eq!(bytes.len(), META_LEN);
        assert_eq!(Meta::read(&bytes), Ok(meta));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::read(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
