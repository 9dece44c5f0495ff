//! Two checksums: one over everything that was ever applied, one over the keyspace as etcd defines it.
//!
//! Both find damage and divergence, not malice.

/// The running digest of all effects. Replicas that applied the same entries have the same one, so two that differ at the
/// same index have diverged, and everybody can see it without reading the data.
///
/// The rule is part of the protocol between members: changing it needs a new version of the image and of the peers' messages.
/// Words of eight bytes, little endian, are folded alternately into two lanes by a 64x64 to 128 bit product whose halves are
/// xored; bytes are preceded by their length, and their tail is filled with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digest(pub(crate) u64);

/// Odd numbers without pattern: the first digits of the fractions of e and pi.
const LANES: [u64; 2] = [0xb7e1_5162_8aed_2a6b, 0x243f_6a88_85a3_08d3];

impl Digest {
    /// The digest of a store to which nothing was applied.
    pub(crate) const START: Self = Self(0x9e37_79b9_7f4a_7c15);

    /// Adds one number.
    pub(crate) fn number(&mut self, number: u64) {
        self.0 = fold(self.0 ^ number ^ LANES[1], LANES[0]).wrapping_add(LANES[1]);
    }

    /// Adds bytes, with their length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let (mut a, mut b) = (self.0 ^ LANES[0], self.0 ^ LANES[1]);
        let mut pairs = bytes.chunks_exact(16);
        for pair in &mut pairs {
            let (first, second) = pair.split_at(8);
            a = fold(a ^ word(first), LANES[0]).wrapping_add(LANES[1]);
            b = fold(b ^ word(second), LANES[1]).wrapping_add(LANES[0]);
        }
        let (first, second) = pairs.remainder().split_at(pairs.remainder().len().min(8));
        a = fold(a ^ word(first), LANES[0]);
        b = fold(b ^ word(second), LANES[1]);
        self.number(a ^ b.rotate_left(32));
    }
}

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

/// Up to eight bytes as a number.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// CRC-32C (Castagnoli), which etcd uses for the keyspace; reflected, as everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

/// `TABLES[k][b]` is what byte `b` contributes when `k` more bytes follow it in the word of eight.
const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut k = 1;
    while k < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[k - 1][byte];
            tables[k][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32c {
    /// The checksum before the first byte.
    #[must_use]
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for eight in &mut words {
            let mixed = word(eight) ^ u64::from(self.0);
            self.0 = (0..8).fold(0, |crc, at| {
                crc ^ TABLES[7 - at][(mixed >> (8 * at) & 0xff) as usize]
            });
        }
        for byte in words.remainder() {
            self.0 = self.0 >> 8 ^ TABLES[0][((self.0 ^ u32::from(*byte)) & 0xff) as usize];
        }
    }

    /// The checksum of all bytes that were added.
    #[must_use]
    pub const fn finish(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crc32c(bytes: &[u8]) -> u32 {
        let mut crc = Crc32c::new();
        crc.bytes(bytes);
        crc.finish()
    }

    fn digest(bytes: &[u8]) -> u64 {
        let mut digest = Digest::START;
        digest.bytes(bytes);
        digest.0
    }

    #[test]
    fn crc32c_has_the_published_values() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
    }

    #[test]
    fn crc32c_of_parts_is_that_of_the_whole() {
        let bytes: Vec<u8> = (0..=255).collect();
        for split in 0..=bytes.len() {
            let mut crc = Crc32c::new();
            crc.bytes(&bytes[..split]);
            crc.bytes(&bytes[split..]);
            assert_eq!(crc.finish(), crc32c(&bytes));
        }
    }

    #[test]
    fn every_bit_of_every_length_counts() {
        let mut seen = std::collections::BTreeSet::new();
        for len in 0..40 {
            let mut bytes = vec![0; len];
            assert!(seen.insert(digest(&bytes)), "{len} zeros collide");
            for bit in 0..len * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    seen.insert(digest(&bytes)),
                    "bit {bit} of {len} bytes collides"
                );
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }

    #[test]
    fn the_digest_is_the_one_it_always_was() {
        let mut digest = Digest::START;
        digest.number(7);
        digest.bytes(b"the rule is part of the protocol");
        assert_eq!(digest.0, 8_096_376_976_169_048_841);
    }
}
