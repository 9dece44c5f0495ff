//! HTTP/2's frames, followed by their heads alone: hyper shows neither pings nor refusals.
//!
//! What this module deliberately does not do: understand a frame beyond its head, but for the reason of a reset; or bound
//! anything, as hyper does.

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const PING: u8 = 6;
/// END_STREAM of DATA and HEADERS, ACK of PING.
pub(super) const FIRST_FLAG: u8 = 1;
/// The reason of a reset for a call beyond the most, REFUSED_STREAM.
pub(super) const REFUSED: u32 = 7;

const HEAD_BYTES: usize = 9;
const REASON_BYTES: usize = 4;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Why a stream is reset; 0 in other frames.
    pub(super) reason: u32,
}

/// Follows one direction from frame to frame.
#[derive(Debug)]
pub(super) struct Frames {
    /// A head, and behind it the reason of a reset.
    head: [u8; HEAD_BYTES + REASON_BYTES],
    known: usize,
    /// Bytes to pass over before the next head.
    skip: usize,
}

impl Frames {
    pub(super) const fn after(skip: usize) -> Self {
        Self {
            head: [0; HEAD_BYTES + REASON_BYTES],
            known: 0,
            skip,
        }
    }

    /// Whether the last frame has ended and no other has begun.
    pub(super) const fn is_between(&self) -> bool {
        self.known == 0 && self.skip == 0
    }

    /// Tells of every head that is whole with these bytes.
    pub(super) fn follow(&mut self, mut bytes: &[u8], mut on: impl FnMut(Head)) {
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            self.skip -= passed;
            bytes = &bytes[passed..];
            let missing = (self.wanted() - self.known).min(bytes.len());
            if self.skip > 0 || missing == 0 {
                continue;
            }
            self.head[self.known..self.known + missing].copy_from_slice(&bytes[..missing]);
            self.known += missing;
            bytes = &bytes[missing..];
            if self.known == self.wanted() {
                on(self.take());
            }
        }
    }

    /// How many bytes tell everything of this frame that is asked for.
    const fn wanted(&self) -> usize {
        let is_reset = self.known >= HEAD_BYTES && self.head[3] == RST_STREAM;
        if is_reset && self.length() == REASON_BYTES {
            HEAD_BYTES + REASON_BYTES
        } else {
            HEAD_BYTES
        }
    }

    const fn length(&self) -> usize {
        let [a, b, c, ..] = self.head;
        u32::from_be_bytes([0, a, b, c]) as usize
    }

    /// The head that is known; what follows it is passed over.
    const fn take(&mut self) -> Head {
        let [_, _, _, kind, flags, s, t, u, v, reason @ ..] = self.head;
        let told = self.wanted() - HEAD_BYTES;
        self.skip = self.length() - told;
        self.known = 0;
        Head {
            kind,
            flags,
            stream: u32::from_be_bytes([s, t, u, v]) & 0x7fff_ffff,
            reason: if told > 0 {
                u32::from_be_bytes(reason)
            } else {
                0
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_followed_however_they_are_cut() {
        let mut bytes = b"preface".to_vec();
        bytes.extend([0, 0, 3, HEADERS, 4, 0, 0, 0, 1, 9, 9, 9]);
        bytes.extend([0, 0, 4, RST_STREAM, 0, 0, 0, 0, 3, 0, 0, 0, 7]);
        bytes.extend([0, 0, 0, DATA, 1, 0, 0, 0, 1]);
        // Of a wrong length, which hyper ends the connection for.
        bytes.extend([0, 0, 1, RST_STREAM, 0, 0, 0, 0, 1, 7]);
        bytes.extend([0, 0, 8, PING, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let head = |kind, flags, stream, reason| Head {
            kind,
            flags,
            stream,
            reason,
        };
        let expected = [
            head(HEADERS, 4, 1, 0),
            head(RST_STREAM, 0, 3, REFUSED),
            head(DATA, 1, 1, 0),
            head(RST_STREAM, 0, 1, 0),
            head(PING, 0, 0, 0),
        ];
        for size in 1..bytes.len() {
            let (mut frames, mut seen) = (Frames::after(7), Vec::new());
            for piece in bytes.chunks(size) {
                frames.follow(piece, |head| seen.push(head));
            }
            assert_eq!(seen, expected, "in pieces of {size}");
            assert!(frames.is_between());
        }
    }
}
