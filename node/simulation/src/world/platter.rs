//! What of a member survives: its data directory on a simulated disk, and what goes wrong with that.
//!
//! What this module deliberately does not do: decide when anything is written.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use quorate_node::storage::{
    DataDir, Execution, Identity, Options, Scrubbing, Storage, StorageError,
};
use raft::{Index, Persist, Recovered};
use rand::Rng;
use rand::rngs::SmallRng;

use crate::disk::{Flipped, SimulatedDisk};

/// All members' cluster.
const CLUSTER_ID: u64 = 1;
/// The data directory.
const FOLDER: &str = "/data";

/// See the module.
#[derive(Debug)]
pub(crate) struct Platter {
    pub(crate) disk: SimulatedDisk,
    id: u64,
    first: Persist,
    segment_bytes: u64,
    /// A bit was flipped that nobody may have noticed yet.
    is_flipped: bool,
    /// Entries were lost to damage and are not all back.
    lacks: bool,
    /// A sync is going to fail.
    is_failing: bool,
    /// The process has ended, and nothing was written since: the seal of the last batch may be gone with its power.
    lacks_seal: bool,
}

/// What a start finds.
pub(crate) struct Opened {
    pub(crate) storage: Storage,
    pub(crate) recovered: Recovered,
    /// The image of the newest checkpoint.
    pub(crate) image: Option<Bytes>,
    /// Damaged checkpoints that were put aside.
    pub(crate) put_aside: usize,
    /// A torn end of the log was cut.
    pub(crate) was_cut: bool,
    /// What was damaged was set aside, and the log began anew with what is sound.
    pub(crate) was_salvaged: bool,
    /// Where the log ended before it was damaged, if this start may be the first after that.
    pub(crate) lost_end: Option<Index>,
}

impl Platter {
    /// A new member's, whose log is to begin with this.
    pub(crate) fn new(id: u64, first: &Persist, segment_bytes: u64, rng: &mut SmallRng) -> Self {
        Self {
            disk: SimulatedDisk::new(rng.random()),
            id,
            first: first.clone(),
            segment_bytes,
            is_flipped: false,
            lacks: false,
            is_failing: false,
            lacks_seal: false,
        }
    }

    /// Starts as `bootstrap` does: founds in an empty directory, and reads what lies in another.
    pub(crate) fn open(&mut self) -> Result<Opened, StorageError> {
        let directory = DataDir::open_in(self.disk.files(), FOLDER)?;
        if directory.is_new() {
            return self.found(directory);
        }
        let (storage, found) = Storage::open_or_salvage(directory, self.options())?;
        let was_flipped = std::mem::take(&mut self.is_flipped);
        self.lacks = found.lost.is_some();
        Ok(Opened {
            lost_end: found.lost.filter(|_| was_flipped).map(|(_, index)| index),
            was_salvaged: found.salvaged.is_some(),
            storage,
            recovered: Recovered {
                hard_state: found.hard_state,
                snapshot: found.snapshot,
                entries: found.entries,
                lost: found.lost,
            },
            image: found.image,
            put_aside: found.damaged.len(),
            was_cut: found.cut.is_some(),
        })
    }

    fn found(&self, directory: DataDir) -> Result<Opened, StorageError> {
        let identity = Identity {
            cluster_id: CLUSTER_ID,
            member_id: self.id,
        };
        Ok(Opened {
            storage: Storage::create(directory, identity, &self.first, self.options())?,
            recovered: Recovered {
                hard_state: self.first.hard_state.unwrap_or_default(),
                entries: self.first.entries.clone(),
                ..Recovered::default()
            },
            image: None,
            put_aside: 0,
            was_cut: false,
            was_salvaged: false,
            lost_end: None,
        })
    }

    fn options(&self) -> Options {
        Options {
            segment_bytes: self.segment_bytes,
            scrub: Some(Scrubbing {
                bytes_per_second: u64::MAX,
                pause: Duration::ZERO,
            }),
            execution: Execution::Inline,
            ..Options::default()
        }
    }

    /// The process ends; with a failure of power, as often as not. A flipped bit and a failure of power together could not be
    /// told from a torn end, so that they are not met together, whichever comes first.
    pub(crate) fn crash(&mut self, rng: &mut SmallRng) {
        self.lacks_seal = true;
        if self.is_flipped || rng.random_bool(0.5) {
            self.disk.kill();
        } else {
            self.disk.cut_power();
        }
    }

    /// One of the next syncs fails.
    pub(crate) fn fail_sync(&mut self, rng: &mut SmallRng) {
        if !self.is_flipped {
            self.is_failing = true;
            self.disk.fail_sync_after(rng.random_range(0..4));
        }
    }

    /// There is no space any more, but for a little, or there is again.
    pub(crate) fn fill(&mut self, spare_bytes: Option<u64>) {
        let used = self.disk.used_bytes();
        self.disk.limit(spare_bytes.map(|spare| used + spare));
    }

    /// Nothing fails any more.
    pub(crate) fn mend(&mut self) {
        self.disk.limit(None);
        self.disk.fail_sync_after(u64::MAX);
        self.is_failing = false;
    }

    /// Whether a bit may be flipped and the damage be told from a torn end.
    pub(crate) const fn may_flip(&self) -> bool {
        !self.is_failing && !self.is_flipped && !self.lacks_seal
    }

    /// Something was written, and a seal behind it.
    pub(crate) const fn sealed(&mut self) {
        self.lacks_seal = false;
    }

    /// Flips a bit somewhere.
    pub(crate) fn flip(&mut self) -> Option<Flipped> {
        let flipped = self.disk.flip_somewhere(Path::new(FOLDER));
        self.is_flipped |= flipped.is_some();
        flipped
    }

    /// Everything was written anew.
    pub(crate) const fn renewed(&mut self) {
        self.is_flipped = false;
    }

    /// Everything that was lost is back, durably. Says whether anything was.
    pub(crate) const fn got_back(&mut self) -> bool {
        std::mem::replace(&mut self.lacks, false)
    }

    /// Whether it holds all that it ever promised to hold, as far as is known.
    pub(crate) const fn is_whole(&self) -> bool {
        !self.is_flipped && !self.lacks
    }

    /// Whether a bit was flipped that nobody may have noticed yet.
    pub(crate) const fn is_flipped(&self) -> bool {
        self.is_flipped
    }
}
