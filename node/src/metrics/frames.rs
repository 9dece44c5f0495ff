//! gRPC messages in a body, counted without keeping a byte of them.

/// What precedes a message: whether it is compressed, and its length in four bytes.
const HEAD_BYTES: usize = 5;

/// Where in a body the bytes are.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// How many bytes of a head are read.
    head: usize,
    /// The length as far as it is read.
    length: u32,
    /// Bytes of the message that are still to come.
    left: u64,
}

impl Frames {
    /// How many messages end within these bytes.
    pub(super) fn count(&mut self, mut bytes: &[u8]) -> u64 {
        let mut ended = 0;
        while let Some((first, rest)) = bytes.split_first() {
            if self.head < HEAD_BYTES {
                // The flag is shifted out by the four bytes that follow it.
                self.length = self.length << 8 | u32::from(*first);
                self.head += 1;
                bytes = rest;
                self.left = u64::from(self.length);
                if self.head < HEAD_BYTES || self.left > 0 {
                    continue;
                }
            } else {
                let taken = bytes
                    .len()
                    .min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= taken as u64;
                bytes = &bytes[taken..];
                if self.left > 0 {
                    continue;
                }
            }
            *self = Self::default();
            ended += 1;
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_wherever_the_pieces_end() {
        let body = b"\x00\x00\x00\x00\x03abc\x00\x00\x00\x00\x00\x01\x00\x00\x01\x00";
        let mut body = body.to_vec();
        body.extend([0x7f; 256]);
        body.extend(b"\x00\x00\x00\x00\x02a");
        for piece in [1, 2, 3, 7, 100, 1000] {
            let mut frames = Frames::default();
            let counted: u64 = body.chunks(piece).map(|bytes| frames.count(bytes)).sum();
            assert_eq!(counted, 3, "in pieces of {piece}");
        }
    }
}
