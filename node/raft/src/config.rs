//! The knobs of one peer.
//!
//! What this module does not do: know of milliseconds. Time is counted in ticks, whose length the
//! driver decides.

use crate::ids::PeerId;

/// How one peer behaves. [`Config::new`] gives defaults that suit a cluster in one region.
#[derive(Clone, Debug)]
pub struct Config {
    /// This peer.
    pub id: PeerId,
    /// A follower that hears nothing for this many ticks, or for up to twice as many (drawn anew
    /// each time), calls an election.
    pub election_ticks: u32,
    /// A leader speaks at least every so many ticks; well below `election_ticks`.
    pub heartbeat_ticks: u32,
    /// Ask whether an election could be won before calling it: a peer that was cut off disturbs
    /// nobody when it returns.
    pub pre_vote: bool,
    /// A leader that a majority has not answered for an election timeout steps down, and followers
    /// that hear from their leader refuse to vote.
    pub check_quorum: bool,
    /// The most bytes of entries in one message; a single entry beyond it travels alone.
    pub max_append_bytes: u64,
    /// The most messages with entries on their way to one follower.
    pub max_inflight_messages: usize,
    /// The most bytes of entries on their way to one follower; the message that reaches the limit
    /// is the last.
    pub max_inflight_bytes: u64,
    /// A leader refuses proposals while this many bytes wait for commit; one proposal is always let
    /// in when none waits.
    pub max_uncommitted_bytes: u64,
    /// The most bytes of committed entries in one `Ready`; a single entry beyond it comes alone.
    pub max_committed_bytes: u64,
    /// How many entries before a snapshot stay in memory, so that a follower a little behind needs
    /// no snapshot. None of them with a leader to whom every follower has said that it has them.
    pub catchup_entries: u64,
    /// The most bytes of entries that stay in memory for that: large entries are fewer.
    pub catchup_bytes: u64,
}

impl Config {
    /// The defaults: heartbeat every tick, election after 10, 1 MiB per message, 512 messages or 64
    /// MiB on their way to a follower, 1 GiB uncommitted, 5,000 entries or 64 MiB kept behind a snapshot. The
    /// limits are etcd's or close to them.
    #[must_use]
    pub const fn new(id: PeerId) -> Self {
        const MIB: u64 = 1 << 20;
        Self {
            id,
            election_ticks: 10,
            heartbeat_ticks: 1,
            pre_vote: true,
            check_quorum: true,
            max_append_bytes: MIB,
            max_inflight_messages: 512,
            max_inflight_bytes: 64 * MIB,
            max_uncommitted_bytes: 1024 * MIB,
            max_committed_bytes: 64 * MIB,
            catchup_entries: 5_000,
            catchup_bytes: 64 * MIB,
        }
    }

    pub(crate) fn assert_sound(&self) {
        assert!(self.id != PeerId(0), "peer 0 is nobody");
        assert!(
            0 < self.heartbeat_ticks && self.heartbeat_ticks < self.election_ticks,
            "a leader must speak more often than its followers lose patience"
        );
        assert!(
            self.max_inflight_messages > 0,
            "with nothing in flight nothing is replicated"
        );
    }
}
