//! Permissions on ranges of keys, and many of them merged into what somebody may read and write.
//!
//! etcd keeps the ranges of a user in a tree of intervals and walks it at every request. Here they are merged when they change,
//! into ranges that neither overlap nor touch, so that asking is one search.
//!
//! What this module deliberately does not do: know who somebody is.

use bytes::Bytes;
use prost::{Enumeration, Message};

use crate::keys::KeyRange;

/// What a permission allows. Numbers are etcd's; others are kept and allow nothing, as etcd has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum PermissionKind {
    /// To see the keys, their values and their changes.
    Read = 0,
    /// To put and to delete them.
    Write = 1,
    /// Both.
    ReadWrite = 2,
}

/// The right to a range of keys, under etcd's rule for `range_end`. Field numbers are etcd's.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Permission {
    /// A [`PermissionKind`], or a number that this version does not know.
    #[prost(enumeration = "PermissionKind", tag = "1")]
    pub kind: i32,
    /// The first key.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// The end: none for one key, `"\0"` for everything from `key` on.
    #[prost(bytes = "bytes", tag = "3")]
    pub range_end: Bytes,
}

impl Permission {
    /// Whether it is on any key at all.
    pub(super) fn is_valid(&self) -> bool {
        !self.key.is_empty() && Span::of(&self.key, &self.range_end).is_some()
    }

    /// A copy that does not keep the request alive it came in.
    pub(super) fn detached(&self) -> Self {
        Self {
            kind: self.kind,
            key: Bytes::copy_from_slice(&self.key),
            range_end: Bytes::copy_from_slice(&self.range_end),
        }
    }

    pub(super) fn is_on(&self, key: &[u8], range_end: &[u8]) -> bool {
        self.key == key && self.range_end == range_end
    }
}

/// Keys from `start` on, up to and without `end`; none is no end. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    start: Bytes,
    end: Option<Bytes>,
}

impl Span {
    /// None if there is no key in it.
    fn of(key: &Bytes, range_end: &Bytes) -> Option<Self> {
        let end = match KeyRange::new(key, range_end) {
            KeyRange::One(key) => Some(successor(key)),
            KeyRange::From(_) => None,
            KeyRange::Span(start, end) if start < end => Some(range_end.clone()),
            KeyRange::Span(..) => return None,
        };
        let start = key.clone();
        Some(Self { start, end })
    }

    fn ends_before(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_some_and(|end| **end < *key)
    }
}

/// The first key after `key`.
fn successor(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

/// A set of keys as ranges: ascending, and between two of them there is a key that belongs to neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Span>);

impl Ranges {
    fn of(mut spans: Vec<Span>) -> Self {
        spans.sort_by(|a, b| a.start.cmp(&b.start));
        let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
        for span in spans {
            match merged.last_mut() {
                Some(last) if !last.ends_before(&span.start) => {
                    if span.end.as_deref().is_none_or(|end| last.ends_before(end)) {
                        last.end = span.end;
                    }
                }
                _ => merged.push(span),
            }
        }
        Self(merged)
    }

    /// Whether every key of the range is in the set. A range without keys is taken for its first one, as etcd has it.
    pub(super) fn contain(&self, key: &[u8], range_end: &[u8]) -> bool {
        let after = self.0.partition_point(|span| *span.start <= *key);
        let Some(span) = after.checked_sub(1).and_then(|at| self.0.get(at)) else {
            return false;
        };
        let Some(end) = span.end.as_deref() else {
            return true;
        };
        match KeyRange::new(key, range_end) {
            KeyRange::One(key) => key < end,
            KeyRange::From(_) => false,
            KeyRange::Span(start, wanted) => start < end && wanted <= end,
        }
    }
}

/// What somebody may read and write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) read: Ranges,
    pub(super) write: Ranges,
}

impl Granted {
    pub(super) fn of<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Self {
        let (mut read, mut write) = (Vec::new(), Vec::new());
        for permission in permissions {
            let span = Span::of(&permission.key, &permission.range_end);
            match PermissionKind::try_from(permission.kind) {
                Ok(PermissionKind::Read) => read.extend(span),
                Ok(PermissionKind::Write) => write.extend(span),
                Ok(PermissionKind::ReadWrite) => {
                    read.extend(span.clone());
                    write.extend(span);
                }
                Err(_) => {}
            }
        }
        Self {
            read: Ranges::of(read),
            write: Ranges::of(write),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Bytes> {
        vec(prop::sample::select(vec![0_u8, 1, 0xff]), 1..3).prop_map(Bytes::from)
    }

    fn range() -> impl Strategy<Value = (Bytes, Bytes)> {
        let end = prop_oneof![
            2 => Just(Bytes::new()),
            1 => Just(Bytes::from_static(&[0])),
            5 => key(),
        ];
        (key(), end)
    }

    /// The rule as one says it.
    fn is_in(key: &[u8], (start, end): &(Bytes, Bytes)) -> bool {
        match **end {
            [] => key == *start,
            [0] => key >= &**start,
            _ => key >= &**start && key < &**end,
        }
    }

    /// Every key that can be the first one of a gap between ranges over these.
    fn universe(ranges: &[(Bytes, Bytes)]) -> BTreeSet<Bytes> {
        let ends = ranges.iter().flat_map(|(start, end)| [start, end]);
        let keys = ends.flat_map(|key| [key.clone(), successor(key)]);
        keys.filter(|key| !key.is_empty()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn merged_ranges_allow_what_they_allow_one_by_one(
            granted in vec(range(), 0..6),
            asked in range(),
        ) {
            let permissions: Vec<Permission> = granted
                .iter()
                .map(|(key, range_end)| Permission {
                    kind: PermissionKind::Read.into(),
                    key: key.clone(),
                    range_end: range_end.clone(),
                })
                .collect();
            let merged = Granted::of(permissions.iter());
            let all: Vec<_> = granted.iter().chain([&asked]).cloned().collect();
            let mut keys = universe(&all);
            keys.retain(|key| is_in(key, &asked));
            // A range without keys is taken for its first one.
            keys.insert(asked.0.clone());
            let expected = keys.iter().all(|key| granted.iter().any(|range| is_in(key, range)));
            prop_assert_eq!(merged.read.contain(&asked.0, &asked.1), expected);
            prop_assert!(!merged.write.contain(&asked.0, &asked.1));
        }
    }

    #[test]
    fn ranges_that_touch_are_one() {
        let permission = |key: &'static str, end: &'static str| Permission {
            kind: PermissionKind::ReadWrite.into(),
            key: key.into(),
            range_end: end.into(),
        };
        let granted = Granted::of([permission("b", "c"), permission("a", "b")].iter());
        assert!(granted.read.contain(b"a", b"c") && granted.write.contain(b"a", b"c"));
        assert!(!granted.read.contain(b"a", b"c\0") && !granted.read.contain(b"a", b"\0"));
        let open = Granted::of([permission("a", "\0")].iter());
        assert!(open.read.contain(b"a", b"\0") && open.read.contain(b"zz", b""));
        assert!(!open.read.contain(b"\0", b"\0"));
    }

    #[test]
    fn a_permission_is_on_at_least_one_key() {
        let is_valid = |key: &'static [u8], end: &'static [u8]| {
            let (key, range_end) = (Bytes::from_static(key), Bytes::from_static(end));
            Permission {
                kind: 0,
                key,
                range_end,
            }
            .is_valid()
        };
        assert!(is_valid(b"a", b"") && is_valid(b"a", b"b") && is_valid(b"a", b"\0"));
        assert!(is_valid(b"\0", b"\0") && is_valid(b"\0", b"\x01"));
        assert!(!is_valid(b"", b"") && !is_valid(b"", b"b") && !is_valid(b"", b"\0"));
        assert!(!is_valid(b"a", b"a") && !is_valid(b"b", b"a"));
    }
}
