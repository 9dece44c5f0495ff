//! The hub in numbers.

/// What there is, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Open streams.
    pub streams: u64,
    /// Watchers.
    pub watchers: u64,
    /// Watchers that do not have everything yet.
    pub slow: u64,
    /// Watchers refused for there being too many on their stream, since the start.
    pub refused: u64,
    /// Events given to streams since the start.
    pub events: u64,
}
