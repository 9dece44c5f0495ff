//! What is done to a sound input.
//!
//! A mutation is a value that is drawn from entropy, so that a seeded generator and a fuzzing engine, which looks for entropy that
//! reaches new code, find inputs in the same way. Places are taken modulo what there is: every mutation fits every input.

use bolero::TypeGenerator;

/// Nothing longer is tried: what a decoder does wrong shows in less, and time is better spent on more inputs.
const LEN_MAX: usize = 256 << 10;

/// One of the sound inputs, with edits.
#[derive(Clone, Debug, TypeGenerator)]
pub struct Mutation {
    /// Which, counted round.
    pub seed: u8,
    /// Whether checksums are left as they were: at 0. Without new ones hardly a mutation gets past the door.
    #[generator(0..8_u8)]
    pub seal: u8,
    /// What is done, in this order.
    #[generator(bolero::produce::<Vec<Edit>>().with().len(1..=4_usize))]
    pub edits: Vec<Edit>,
}

/// A place in an input.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub struct Place {
    at: u32,
    /// Whether to go on to the next byte that is not zero: files are mostly padding.
    is_dense: bool,
}

/// How many bytes: mostly a few, as more take everything that follows with them.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub struct Count(u16);

impl Count {
    fn get(self) -> usize {
        usize::from(self.0 >> 4) >> (self.0 & 15)
    }
}

/// How a number is written.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub enum Width {
    /// Little endian, of so many bytes: 1, 2, 4 or 8 by the lowest bits.
    Little(u8),
    /// As before, big endian.
    Big(u8),
    /// As protobuf has it, in the place of one that is there.
    Varint,
    /// As text, in the place of digits that are there.
    Decimal,
}

/// One change.
#[derive(Clone, Copy, Debug, TypeGenerator)]
pub enum Edit {
    /// Another bit.
    Flip(Place, u8),
    /// Another byte.
    Set(Place, u8),
    /// A number near a power of two: lengths and counts go wrong there.
    Number(Place, Width, u8, i8),
    /// The end is missing, from so many bytes before it on.
    Cut(Count),
    /// Bytes are missing.
    Remove(Place, Count),
    /// Bytes come so often.
    Repeat(Place, Count, u8),
    /// A part of an input is put into another.
    Splice {
        /// Of which.
        seed: u8,
        /// From where.
        from: Place,
        /// How much of it.
        len: Count,
        /// To where.
        to: Place,
        /// Whether in the place of what is there.
        replaces: bool,
    },
}

impl Mutation {
    /// The input that becomes of these sound ones.
    #[must_use]
    pub fn of(&self, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = chosen(seeds, self.seed).to_vec();
        for edit in &self.edits {
            edit.make(&mut bytes, seeds);
            bytes.truncate(LEN_MAX);
        }
        bytes
    }
}

fn chosen(seeds: &[Vec<u8>], number: u8) -> &[u8] {
    &seeds[usize::from(number) % seeds.len()]
}

impl Place {
    /// Inside, or 0 where nothing is.
    fn within(self, bytes: &[u8]) -> usize {
        let place = self.at as usize % bytes.len().max(1);
        let rest = bytes.get(place..).unwrap_or_default();
        let next = rest.iter().position(|byte| *byte != 0);
        place + next.filter(|_| self.is_dense).unwrap_or(0)
    }
}

impl Edit {
    fn make(self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        match self {
            Self::Flip(place, bit) => change(bytes, place, |byte| byte ^ 1 << (bit % 8)),
            Self::Set(place, to) => change(bytes, place, |_| to),
            Self::Number(place, width, bits, by) => {
                let power = 1_u64.checked_shl(u32::from(bits % 65)).unwrap_or(0);
                let number = power.wrapping_add_signed(i64::from(by));
                width.put(number, place.within(bytes), bytes);
            }
            Self::Cut(count) => bytes.truncate(bytes.len().saturating_sub(count.get())),
            Self::Remove(place, len) => {
                let taken = taken(bytes, place, len.get());
                drop(bytes.drain(taken));
            }
            Self::Repeat(place, len, times) => {
                let taken = taken(bytes, place, len.get());
                let repeated = bytes[taken.clone()].repeat(usize::from(times));
                drop(bytes.splice(taken.end..taken.end, repeated));
            }
            Self::Splice {
                seed,
                from,
                len,
                to,
                replaces,
            } => {
                let source = chosen(seeds, seed);
                let part = source[taken(source, from, len.get())].to_vec();
                let gone = if replaces { part.len() } else { 0 };
                let place = taken(bytes, to, gone);
                drop(bytes.splice(place, part));
            }
        }
    }
}

fn change(bytes: &mut [u8], place: Place, to: impl FnOnce(u8) -> u8) {
    let place = place.within(bytes);
    if let Some(byte) = bytes.get_mut(place) {
        *byte = to(*byte);
    }
}

/// `len` bytes from this place on, or as many as there are.
fn taken(bytes: &[u8], place: Place, len: usize) -> std::ops::Range<usize> {
    let start = place.within(bytes);
    start..bytes.len().min(start + len)
}

impl Width {
    fn put(self, number: u64, at: usize, bytes: &mut Vec<u8>) {
        let rest = bytes.get(at..).unwrap_or_default();
        let (written, replaced) = match self {
            Self::Little(width) => (number.to_le_bytes()[..1 << (width % 4)].to_vec(), None),
            Self::Big(width) => (
                number.to_be_bytes()[8 - (1 << (width % 4))..].to_vec(),
                None,
            ),
            Self::Varint => {
                let mut varint = Vec::new();
                prost::encoding::encode_varint(number, &mut varint);
                let goes_on = rest.iter().take_while(|byte| **byte >= 0x80).count();
                (varint, Some(goes_on + 1))
            }
            Self::Decimal => {
                let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
                (number.to_string().into_bytes(), Some(digits.count()))
            }
        };
        let end = bytes.len().min(at + replaced.unwrap_or(written.len()));
        drop(bytes.splice(at..end, written));
    }
}
