//! The consensus core: Raft as a state machine without a world around it.
//!
//! A [`Raft`] is one peer. What happens to it goes in through [`Raft::step`]: a tick of a clock, a
//! message, a client's proposal, the news that something is on disk. What is to be done comes out of
//! [`Raft::ready`]. In between there is no clock, no disk, no network, no thread, and no randomness
//! but a seeded generator. So one test can run a whole cluster in one thread, break everything
//! around it, and run the same again from one number.
//!
//! # The driver's contract
//!
//! The driver gives the core a world. It gathers inputs, as many as it likes, and then asks for one
//! [`Ready`]. Batching is the driver's choice: a thousand proposals stepped before one `ready()` are
//! one write to the disk and one message per follower.
//!
//! ```text
//!   step(Input) ...  ->  ready()  ->  1. install   a snapshot that arrived, if there is one
//!                                     2. persist   entries and hard state; then step(Persisted)
//!                                     3. messages  are sent
//!                                        committed is applied
//!                                        reads     are served once their index is applied
//! ```
//!
//! 1. **Nothing of step 3 happens before steps 1 and 2 are durable**, nor before those of every
//!    earlier `Ready` are. A vote or an acknowledgement that leaves before it is durable can be
//!    forgotten in a crash after it was counted; then entries are lost that clients were told of.
//!    This is the whole contract about disks, and the core relies on nothing else.
//! 2. `step(Input::Persisted)` follows when the disk is done, not before. A leader counts its own
//!    log, and a candidate its own vote, only from then on. It need not be waited for: inputs may be stepped while the disk works. They
//!    gather for the next `Ready`.
//! 3. `persist.entries` replaces the stored log from `entries[0].index` on. Entries and hard state
//!    are one unit, or are written in this order. [`Persist::must_sync`] is false when only the
//!    commit moved: that may be written lazily, as recovery needs no exact commit.
//! 4. `committed` is applied in order, once. After a restart the core hands out everything after
//!    the snapshot again, as far as it is known to be committed.
//! 5. Messages may be lost, doubled, delayed and reordered at will. They may not be forged or
//!    altered: authenticating peers is the driver's business.
//! 6. A tick comes at a steady pace, whatever the disk does.
//!
//! # Snapshots
//!
//! Bytes of snapshots never pass through here. When the driver has a durable checkpoint of the
//! state after entry `i`, it says [`Input::SnapshotTaken`]; [`Raft::meta_at`] gives what to write
//! beside it. When a follower needs what is gone, the core sends [`Body::InstallSnapshot`]: the
//! driver attaches its newest checkpoint (and corrects `meta` if that is newer), and reports with
//! [`Input::SnapshotSent`]. It must report, be it a failure: the follower gets nothing else until
//! then. The receiving driver takes the whole snapshot, verifies it, and only then steps the
//! message. If [`Ready::install`] then names it, it is installed; otherwise it was not needed.
//!
//! # Membership
//!
//! A change is a log entry. It takes effect by itself when it is committed, and is then handed out
//! like any other, so that the driver can dial a new peer. One change is in flight at a time.
//! Learners receive the log and count for nothing; [`ChangeKind::AddVoter`] promotes one.
//!
//! Several peers come and go together by joint consensus ([`Payload::EnterJoint`]): once that entry
//! is committed, every decision takes a majority of the old voters and one of the new, and the leader
//! appends [`Payload::LeaveJoint`], whose commit ends it. A new leader that finds itself in between
//! does the same.
//!
//! A leader that commits its own removal stays, without counting itself, until the others know of
//! it; then it hands the change out, names an heir and steps down. A peer that was removed may
//! never hear of it; it asks for votes in vain, and its driver learns from the others what became
//! of it.
//!
//! # Partial connectivity
//!
//! A voter that refuses a candidate whose log is the beginning of its own lends it the rest
//! ([`Body::Lend`]): if only that candidate is reached by a quorum, it can lead after all.
//! `docs/decisions/0015-joint-consensus-and-lent-entries.md` says why that is safe.
//!
//! # Damage
//!
//! A peer whose disk lost entries comes back with [`Recovered::damaged`]: it votes as if it still had
//! them, leads nobody, and takes them from the next leader.
//!
//! # Reads
//!
//! [`Input::Read`] asks for an index such that a read of the state at that index is linearizable.
//! At a follower the question goes to the leader. Each try has a fresh [`ReadId`].
//!
//! # A driver, as small as can be
//!
//! ```
//! use raft::{ChangeKind, Config, Input, Payload, PeerId, Raft, Recovered};
//! use rand::{SeedableRng, rngs::SmallRng};
//!
//! // A brand-new cluster of one: its log begins with the change that makes it a voter.
//! let me = PeerId(1);
//! let recovered = Recovered::founding([ChangeKind::AddVoter(me)]);
//! let mut raft = Raft::recover(Config::new(me), recovered, SmallRng::seed_from_u64(7)).unwrap();
//!
//! let mut applied = Vec::new();
//! let mut drive = |raft: &mut Raft| {
//!     loop {
//!         let ready = raft.ready();
//!         if ready.is_empty() {
//!             break;
//!         }
//!         // A real driver writes `ready.persist` to its disk here, and waits for it.
//!         raft.step(Input::Persisted { ticket: ready.persist.ticket }).unwrap();
//!         // Only now: send `ready.messages`, and apply.
//!         applied.extend(ready.committed);
//!     }
//! };
//! raft.step(Input::Campaign).unwrap();
//! drive(&mut raft);
//! raft.step(Input::Propose(vec![Payload::Command("x = 1".into())])).unwrap();
//! drive(&mut raft);
//! assert_eq!(applied.last().unwrap().payload, Payload::Command("x = 1".into()));
//! ```
//!
//! # Where things stand
//!
//! The rules on which safety rests are one table (`rules.rs`). [`Raft`] (`raft.rs`) sends each input
//! to the role (`follower.rs`, `candidate.rs`, `leader.rs`) and changes roles; elections are in
//! `election.rs`. `log.rs`, `membership.rs`, `progress.rs`, `read.rs` and `quorum.rs` are the
//! instruments. How it behaves is best read in `tests/scripts/`.
//!
//! # Deliberately not here
//!
//! - Reads that rest on a clock: every read costs a round to a quorum, shared by all that wait.
//! - A leader that sends entries while it still writes them: everything leaves after it is durable.
//! - Disks that forget without a trace: a peer that lost its term and vote, or does not know how far
//!   its log reached, must come back under a new id.
//! - Encoding, authentication, and the moving of snapshots.

mod candidate;
mod config;
mod configuration;
mod core;
mod election;
mod follower;
mod ids;
mod input;
mod leader;
mod log;
mod membership;
mod message;
mod progress;
mod quorum;
mod raft;
mod read;
mod ready;
mod recovery;
mod rules;
mod status;

pub use config::Config;
pub use configuration::Configuration;
pub use ids::{Index, PeerId, ReadId, Term, Ticket};
pub use input::{Input, Refused};
pub use message::{
    Alteration, Body, Change, ChangeKind, Entry, HardState, JointChange, Message, Payload,
    SnapshotMeta, VoteKind,
};
pub use raft::Raft;
pub use ready::{Persist, Ready};
pub use recovery::{Recovered, Unrecoverable};
#[doc(hidden)]
pub use rules::Rules;
pub use status::{ProgressMode, ProgressStatus, Role, Status};
