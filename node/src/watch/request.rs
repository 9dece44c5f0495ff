//! What a stream asks of the hub, and what it is told.
//!
//! What this module deliberately does not do: the wire's form, which is the service's.

use bytes::Bytes;
use store::{Change, KeyValue};

/// One stream of watchers. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// A watcher within its stream, by the client's choice or the hub's. Any number is one, as in etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(pub i64);

/// In a request: the hub shall choose.
pub const AUTO_ID: WatchId = WatchId(0);
/// In a response: it is about no watcher, or about all of the stream.
pub const NO_ID: WatchId = WatchId(-1);

/// The keys that a watcher looks at; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// One key.
    One(Bytes),
    /// From a key on, up to the other and without it, or to the end of all keys.
    Span(Bytes, Option<Bytes>),
}

impl KeyRange {
    /// By etcd's rules: no key is the smallest one, no end is a single key, an end of one zero byte is no bound.
    ///
    /// # Errors
    /// [`Reason::EmptyRange`] for an end that does not come after the key.
    pub fn new(key: Bytes, range_end: Bytes) -> Result<Self, Reason> {
        let key = if key.is_empty() {
            Bytes::from_static(&[0])
        } else {
            key
        };
        match &range_end[..] {
            [] => Ok(Self::One(key)),
            [0] => Ok(Self::Span(key, None)),
            end if &key[..] < end => Ok(Self::Span(key, Some(range_end))),
            _ => Err(Reason::EmptyRange),
        }
    }

    /// Every key that begins with `prefix`, which is not empty.
    #[must_use]
    pub fn prefix(prefix: Bytes) -> Self {
        let mut end = prefix.to_vec();
        while end.pop_if(|last| *last == u8::MAX).is_some() {}
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        let end = (!end.is_empty()).then(|| end.into());
        Self::Span(prefix, end)
    }
}

/// Changes that a watcher does not want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Puts.
    NoPut,
    /// Deletions.
    NoDelete,
}

/// A watcher to be made.
#[derive(Clone, Debug)]
pub struct Create {
    /// Its id, or [`AUTO_ID`].
    pub id: WatchId,
    /// Its keys.
    pub range: KeyRange,
    /// The first revision it wants; 0 for the next one.
    pub start: i64,
    /// What it does not want.
    pub filters: Vec<Filter>,
    /// Whether events tell what was there before.
    pub prev_kv: bool,
    /// Whether it is told of progress when [`Ask::Tick`] comes.
    pub progress_notify: bool,
    /// Whether its responses may be sent in pieces; handed back with each of them.
    pub fragment: bool,
}

impl Create {
    /// A watcher of these keys from revision `start` on, or from the next one on for 0, without any wish.
    #[must_use]
    pub const fn new(range: KeyRange, start: i64) -> Self {
        Self {
            id: AUTO_ID,
            range,
            start,
            filters: Vec::new(),
            prev_kv: false,
            progress_notify: false,
            fragment: false,
        }
    }
}

/// What a stream wants. All but [`Ask::Open`] are ignored for a stream that is not open.
#[derive(Debug)]
pub enum Ask<O> {
    /// A new stream, whose responses go there.
    Open(StreamId, O),
    /// A watcher.
    Create(StreamId, Create),
    /// To be told, in its turn, that no watcher was made for this reason.
    Refuse(StreamId, Reason),
    /// No more of this watcher.
    Cancel(StreamId, WatchId),
    /// To be told once how far all its watchers are, as soon as they are all at the same place.
    Progress(StreamId),
    /// The interval of progress notifications is over.
    Tick(StreamId),
    /// There is room again, after there was none.
    Drained(StreamId),
    /// The stream ends.
    Close(StreamId),
}

/// Why no watcher was made, in etcd's words where it has some.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// A negative start.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    NegativeStart,
    /// No key can be in the range.
    #[error("mvcc: watcher range is empty")]
    EmptyRange,
    /// The client's id is taken.
    #[error("mvcc: duplicate watch ID provided on the WatchStream")]
    DuplicateId,
    /// The stream has as many watchers as it may.
    #[error(
        "quorate: {0} watchers on one stream are the most (--max-watchers-per-stream); cancel some or open another stream"
    )]
    TooMany(usize),
    /// The caller may not read these keys.
    #[error("{0}")]
    NotPermitted(String),
}

/// What a stream is told, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Which watcher it is about.
    pub id: WatchId,
    /// The store's revision that the response speaks as of; 0 where etcd leaves it out.
    pub revision: i64,
    /// What it says.
    pub body: Body,
}

/// See [`Response`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The watcher was made.
    Created,
    /// None was made.
    Refused(Reason),
    /// The watcher is no more, as asked for.
    Canceled,
    /// The watcher is no more: what it wants next was before this compaction.
    Compacted(i64),
    /// Changes, all of one revision or of several whole ones, and whether they may be sent in pieces.
    Events(Vec<Event>, bool),
    /// Everything up to the response's revision has been delivered.
    Progress,
}

/// A change, as its watcher wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub change: Change,
    /// What was there before, if that was asked for, existed and can still be read.
    pub previous: Option<KeyValue>,
}

/// What keeping an event or a response costs beside keys and values, about, in bytes.
const OVERHEAD_BYTES: usize = 128;

impl Event {
    /// Memory that waiting events hold, about.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let size = |kv: &KeyValue| kv.key.len() + kv.value.len();
        OVERHEAD_BYTES + size(self.change.kv()) + self.previous.as_ref().map_or(0, size)
    }
}

impl Response {
    /// Memory that it holds while it waits, about.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let events = self.events().iter().map(Event::size_bytes);
        OVERHEAD_BYTES + events.sum::<usize>()
    }

    /// The changes in it.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        match &self.body {
            Body::Events(events, _) => events,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_follow_etcds_rules() {
        let range = |key: &'static str, end: &'static str| KeyRange::new(key.into(), end.into());
        let zero = || Bytes::from_static(&[0]);
        assert_eq!(range("a", ""), Ok(KeyRange::One("a".into())));
        assert_eq!(range("", ""), Ok(KeyRange::One(zero())));
        assert_eq!(range("", "\0"), Ok(KeyRange::Span(zero(), None)));
        assert_eq!(range("b", "\0"), Ok(KeyRange::Span("b".into(), None)));
        let span = KeyRange::Span("a".into(), Some("b".into()));
        assert_eq!(range("a", "b"), Ok(span));
        for (key, end) in [("b", "a"), ("a", "a"), ("b", "\0\0")] {
            assert_eq!(range(key, end), Err(Reason::EmptyRange), "{key} {end:?}");
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next() {
        let prefix = |bytes: &'static [u8]| KeyRange::prefix(Bytes::from_static(bytes));
        let span = |start: &'static [u8], end: &'static [u8]| {
            KeyRange::Span(start.into(), Some(end.into()))
        };
        assert_eq!(prefix(b"ab"), span(b"ab", b"ac"));
        assert_eq!(prefix(b"a\xff\xff"), span(b"a\xff\xff", b"b"));
        assert_eq!(
            prefix(b"\xff"),
            KeyRange::Span(Bytes::from_static(b"\xff"), None)
        );
    }
}
