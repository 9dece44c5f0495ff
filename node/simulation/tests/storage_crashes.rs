//! The storage of a member on a disk that loses whatever a disk may lose: at every operation of random lives, everything that
//! was acknowledged is there afterwards, nothing that never was, and what one start has seen, the next one sees.

#![allow(
    clippy::unwrap_used,
    reason = "what a sound disk refuses fails the test"
)]

use bytes::Bytes;
use quorate_node::storage::{
    DataDir, Execution, Identity, Options, Recovered, Storage, StorageError,
};
use raft::{
    Configuration, Entry, HardState, Index, Payload, PeerId, Persist, SnapshotMeta, Term, Ticket,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use simulation::disk::SimulatedDisk;
use std::path::{Path, PathBuf};

const IDENTITY: Identity = Identity {
    cluster_id: 0xc1,
    member_id: 0x31,
};

const DATA: &str = "/var/lib/member";

/// Segments so small that a few batches fill one, and no threads.
fn options() -> Options {
    Options {
        segment_bytes: 1500,
        execution: Execution::Inline,
        ..Options::default()
    }
}

fn entry(term: u64, index: u64, length: usize) -> Entry {
    Entry {
        term: Term(term),
        index: Index(index),
        payload: Payload::Command(vec![b'a' + (index % 26) as u8; length].into()),
    }
}

fn meta(index: u64, term: u64) -> SnapshotMeta {
    SnapshotMeta {
        index: Index(index),
        term: Term(term),
        configuration: Configuration::new([PeerId(0x31)], [PeerId(5)]),
    }
}

fn persist(entries: Vec<Entry>, hard_state: Option<HardState>) -> Persist {
    Persist {
        ticket: Ticket(1),
        entries,
        hard_state,
        must_sync: true,
    }
}

/// What a member would be: a checkpoint, entries after it, and a hard state.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Model {
    hard_state: HardState,
    snapshot: SnapshotMeta,
    image: Option<Bytes>,
    entries: Vec<Entry>,
}

impl Model {
    fn last(&self) -> u64 {
        let last = self.entries.last();
        last.map_or(self.snapshot.index.0, |entry| entry.index.0)
    }

    fn append(&mut self, persist: &Persist) {
        if let Some(first) = persist.entries.first() {
            self.entries.retain(|entry| entry.index < first.index);
            self.entries.extend(persist.entries.iter().cloned());
        }
        if let Some(state) = persist.hard_state {
            self.hard_state = state;
        }
    }

    fn base(&mut self, snapshot: SnapshotMeta, image: Bytes) {
        self.entries.retain(|entry| entry.index > snapshot.index);
        if self.hard_state.term < snapshot.term {
            self.hard_state.term = snapshot.term;
            self.hard_state.vote = None;
        }
        self.hard_state.commit = self.hard_state.commit.max(snapshot.index);
        self.snapshot = snapshot;
        self.image = Some(image);
    }

    fn term_at(&self, index: u64) -> u64 {
        let found = self.entries.iter().find(|entry| entry.index.0 == index);
        found.map_or(self.snapshot.term.0, |entry| entry.term.0)
    }
}

impl From<&Recovered> for Model {
    fn from(found: &Recovered) -> Self {
        Self {
            hard_state: found.hard_state,
            snapshot: found.snapshot.clone(),
            image: found.image.clone(),
            entries: found.entries.clone(),
        }
    }
}

fn open(disk: &SimulatedDisk) -> Result<(Storage, Recovered), StorageError> {
    Storage::open(DataDir::open_in(disk.files(), DATA)?, options())
}

/// One member on its disk; what it was each time that it was told that something is durable, and when that was.
struct Life {
    rng: SmallRng,
    disk: SimulatedDisk,
    storage: Option<Storage>,
    model: Model,
    term: u64,
    known: Vec<(u64, Model)>,
}

impl Life {
    fn begin(seed: u64) -> Self {
        let disk = SimulatedDisk::new(seed);
        Self {
            rng: SmallRng::seed_from_u64(seed),
            disk,
            storage: None,
            model: Model::default(),
            term: 1,
            known: Vec::new(),
        }
    }

    fn live(&mut self, steps: usize) {
        let directory = DataDir::open_in(self.disk.files(), DATA).unwrap();
        let first = persist(Vec::new(), None);
        self.storage = Some(Storage::create(directory, IDENTITY, &first, options()).unwrap());
        self.know();
        (0..steps).for_each(|_| self.step());
    }

    fn storage(&self) -> &Storage {
        self.storage.as_ref().unwrap()
    }

    fn know(&mut self) {
        self.known
            .push((self.disk.operations(), self.model.clone()));
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..75 => self.submit().unwrap(),
            75..87 => self.checkpoint().unwrap(),
            87..92 => self.install(),
            _ => self.reopen(),
        }
    }

    /// Entries at the end or over uncommitted ones, and a state that never goes back.
    fn next_persist(&mut self) -> Persist {
        let commit = self.model.hard_state.commit.0;
        let last = self.model.last();
        self.term += u64::from(self.rng.random_ratio(1, 5));
        let over = self.rng.random_ratio(1, 4);
        let first = if over {
            self.rng.random_range(commit + 1..=last + 1)
        } else {
            last + 1
        };
        let entries: Vec<_> = (first..first + self.rng.random_range(1..5))
            .map(|index| entry(self.term, index, self.rng.random_range(0..90)))
            .collect();
        let last = entries.last().map_or(last, |entry| entry.index.0);
        let hard_state = self.rng.random_ratio(2, 3).then(|| HardState {
            term: Term(self.term),
            vote: self.rng.random::<bool>().then_some(PeerId(self.term)),
            commit: Index(self.rng.random_range(commit..=last)),
        });
        persist(entries, hard_state)
    }

    fn submit(&mut self) -> Result<(), StorageError> {
        let next = self.next_persist();
        self.storage().submit(next.clone()).wait()?;
        self.model.append(&next);
        self.know();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StorageError> {
        let index = self.model.hard_state.commit.0;
        if index <= self.model.snapshot.index.0 {
            return Ok(());
        }
        let snapshot = meta(index, self.model.term_at(index));
        let image = Bytes::from(format!("image {index}").repeat(self.rng.random_range(0..30)));
        let bytes = image.clone();
        self.storage()
            .checkpoint(snapshot.clone(), move |out| out.write_all(&bytes))
            .wait()?;
        self.model.base(snapshot, image);
        self.know();
        Ok(())
    }

    fn install(&mut self) {
        self.term += 1;
        let snapshot = meta(self.model.last() + self.rng.random_range(1..20), self.term);
        let image = Bytes::from_static(b"received");
        let installed = self.storage().install(snapshot.clone(), image.clone());
        installed.wait().unwrap();
        self.model.entries.clear();
        self.model.base(snapshot, image);
        self.know();
    }

    fn reopen(&mut self) {
        self.storage.take().unwrap().close().unwrap();
        let (storage, found) = open(&self.disk).unwrap();
        assert_eq!(Model::from(&found), self.model);
        self.storage = Some(storage);
        self.know();
    }

    /// What a start may find when so many operations of the disk were done: what was acknowledged, or with what was in flight.
    fn allowed(&self, done: u64) -> &[(u64, Model)] {
        let after = self.known.partition_point(|(at, _)| *at <= done);
        &self.known[after.saturating_sub(1)..self.known.len().min(after + 1)]
    }

    fn assert_allowed(&self, done: u64, found: &Recovered, when: &str) {
        let allowed = self.allowed(done);
        let found = Model::from(found);
        assert!(
            allowed.iter().any(|(_, model)| *model == found),
            "{when}: found {found:?}, allowed is {allowed:?}"
        );
    }
}

/// Starts on what a crash has left, perhaps crashes again in the midst of it, starts again, and goes on.
fn survive(life: &Life, disk: &SimulatedDisk, done: u64, rng: &mut SmallRng, when: &str) {
    let opening = || open(disk).unwrap_or_else(|error| panic!("{when}: {error}"));
    // A founding that nobody was told of may vanish with the second crash.
    if done >= life.known[0].0 && rng.random_ratio(1, 4) {
        let (started, _cut_off) = disk.fly(opening);
        disk.cut_power();
        drop(started);
    }
    let (storage, found) = opening();
    life.assert_allowed(done, &found, when);
    let mut expected = Model::from(&found);
    if rng.random() {
        let more = persist(vec![entry(1 << 20, expected.last() + 1, 20)], None);
        storage.submit(more.clone()).wait().unwrap();
        expected.append(&more);
    }
    disk.cut_power();
    drop(storage);
    let (_storage, again) = opening();
    assert_eq!(
        Model::from(&again),
        expected,
        "{when}: what one start has seen, the next one sees"
    );
}

/// A founding that a crash interrupted never was, and the next one stays.
fn found_again(disk: &SimulatedDisk, when: &str) {
    let first = persist(vec![entry(1, 1, 10)], None);
    let directory = DataDir::open_in(disk.files(), DATA).unwrap();
    let storage = Storage::create(directory, IDENTITY, &first, options()).unwrap();
    disk.cut_power();
    drop(storage);
    let (_storage, found) = open(disk).unwrap_or_else(|error| panic!("{when}: {error}"));
    assert_eq!(found.entries, first.entries, "{when}");
}

/// Some ten seconds; `QUORATE_CRASH_LIVES=n` lives more.
const LIVES: u64 = 60;

/// A life of so many steps that is all in flight, and a crash at every operation of it.
fn crashes(seed: u64, steps: usize, draws: u64) -> u64 {
    let mut life = Life::begin(seed);
    let disk = life.disk.clone();
    let ((), _flight) = disk.fly(|| life.live(steps));
    let mut recording = disk.recording();
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut crashes = 0;
    while recording.step() {
        let done = recording.done();
        for draw in 0..draws {
            let drawn = rng.random();
            let (how, left) = if rng.random_ratio(3, 4) {
                ("power cut", recording.cut_power(drawn))
            } else {
                ("kill", recording.kill(drawn))
            };
            crashes += 1;
            let when = format!("seed {seed}, {how} {draw} after operation {done}");
            if done < life.known[0].0 && DataDir::open_in(left.files(), DATA).unwrap().is_new() {
                found_again(&left, &when);
            } else {
                survive(&life, &left, done, &mut rng, &when);
            }
        }
    }
    crashes
}

#[test]
fn a_crash_at_every_operation_loses_nothing_that_was_acknowledged() {
    let lives = std::env::var("QUORATE_CRASH_LIVES").map_or(LIVES, |text| {
        text.parse().expect("a number in the environment")
    });
    let total: u64 = (0..lives).map(|seed| crashes(seed, 30, 6)).sum();
    assert!(total > lives * 800, "{total} crashes");
    eprintln!("{total} crashes");
}

/// What could not be synced can be read by the next process, and is on no disk.
#[test]
fn a_start_after_a_failed_sync_relies_on_nothing_that_only_memory_holds() {
    for seed in 0..2_000 {
        let mut life = Life::begin(seed);
        life.live(3);
        let fails_after = life.rng.random_range(0..6);
        life.disk.fail_sync_after(fails_after);
        let (failed, with) = until_refused(&mut life);
        assert!(failed.contains("cannot sync the log file"), "{failed}");
        let again = life.submit().unwrap_err().to_string();
        assert_eq!(again, failed, "it is final");
        life.disk.kill();
        drop(life.storage.take());
        let (storage, found) = open(&life.disk).unwrap();
        let found = Model::from(&found);
        assert!(
            found == life.model || found == with,
            "seed {seed}: {found:?}"
        );
        life.disk.cut_power();
        drop(storage);
        let (_storage, again) = open(&life.disk).unwrap();
        assert_eq!(Model::from(&again), found, "seed {seed}");
    }
}

/// Goes on until a batch is refused: what the refusal said, and what would be, had that batch been taken.
fn until_refused(life: &mut Life) -> (String, Model) {
    for _ in 0..200 {
        let next = life.next_persist();
        let submitted = life.storage().submit(next.clone()).wait();
        let mut with = life.model.clone();
        with.append(&next);
        match submitted {
            Ok(()) => life.model = with,
            Err(error) => return (error.to_string(), with),
        }
    }
    panic!("the disk refuses nothing");
}

#[test]
fn a_full_disk_ends_the_log_and_loses_nothing() {
    for seed in 0..300 {
        let mut life = Life::begin(seed);
        life.live(10);
        let room = life.rng.random_range(0..4_000);
        life.disk.limit(Some(life.disk.used_bytes() + room));
        // A checkpoint that does not fit is no failure of the log.
        drop(life.checkpoint());
        let failed = (0..200).find_map(|_| life.submit().err());
        let failed = failed.expect("the disk is full").to_string();
        assert!(failed.contains("the disk is full"), "{failed}");
        life.disk.cut_power();
        drop(life.storage.take());
        life.disk.limit(None);
        let (_storage, found) = open(&life.disk).unwrap();
        assert_eq!(Model::from(&found), life.model, "seed {seed}");
    }
}

/// Whether a start refuses; if it does not, it finds what is allowed or has cut the damage as a torn end.
fn refuses(life: &Life, disk: &SimulatedDisk, file: &Path, offset: usize, when: &str) -> bool {
    let before = disk.holds(Path::new(DATA));
    match open(disk) {
        Err(StorageError::Corrupt {
            path, offset: said, ..
        }) => {
            assert_eq!(path, file, "{when}");
            assert!(said as usize <= offset, "{when}: {said} is behind {offset}");
            assert!(
                disk.holds(Path::new(DATA)) == before,
                "a refusal changes nothing"
            );
            true
        }
        // The last batch was taken for a torn one, and a checkpoint or a commit knows better.
        Err(StorageError::Gap { .. }) => true,
        Err(other) => panic!("{when}: {other}"),
        Ok((_, found)) => {
            let cuts = |cut: &quorate_node::storage::Cut| {
                cut.path == file && cut.offset as usize <= offset
            };
            if !found.cut.as_ref().is_some_and(cuts) {
                life.assert_allowed(u64::MAX, &found, when);
            }
            false
        }
    }
}

#[test]
fn a_flipped_bit_in_the_log_is_refused_with_its_place_or_changes_nothing() {
    let (mut refused, mut harmless) = (0, 0);
    for seed in 0..6 {
        let mut life = Life::begin(seed);
        life.live(25);
        life.storage.take().unwrap().close().unwrap();
        let files = life.disk.holds(&Path::new(DATA).join("wal"));
        for (file, bytes) in files {
            // The next segment, made ahead, has nothing in it.
            let used = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| last + 1);
            for bit in (0..used * 8).step_by(3) {
                let disk = life.disk.recording().kill(seed);
                disk.flip(&file, bit / 8, 1 << (bit % 8));
                let when = format!("seed {seed}, bit {bit} of {}", file.display());
                if refuses(&life, &disk, &file, bit / 8, &when) {
                    refused += 1;
                } else {
                    harmless += 1;
                }
            }
        }
    }
    assert!(refused > 10_000, "{refused} refused, {harmless} harmless");
    assert!(
        harmless < refused / 10,
        "only seals: {refused} refused, {harmless} harmless"
    );
}

#[test]
fn a_flipped_bit_after_a_power_cut_is_refused_unless_it_is_in_what_is_cut() {
    let mut refused = 0;
    for seed in 0..1_500 {
        let mut life = Life::begin(seed);
        life.live(20);
        life.disk.cut_power();
        drop(life.storage.take());
        let wal = Path::new(DATA).join("wal");
        let flipped = life.disk.flip_somewhere(&wal).unwrap();
        if flipped
            .path
            .extension()
            .is_some_and(|ending| ending == "tmp")
        {
            continue;
        }
        let when = format!("seed {seed}, {flipped:?}");
        refused += u64::from(refuses(
            &life,
            &life.disk,
            &flipped.path,
            flipped.offset,
            &when,
        ));
    }
    assert!(refused > 700, "{refused} refused");
}

#[test]
fn a_flipped_bit_in_a_checkpoint_costs_the_checkpoint_alone() {
    let (mut put_aside, mut gaps, mut unread) = (0, 0, 0);
    for seed in 0..2_000 {
        let mut life = Life::begin(seed);
        life.live(25);
        life.storage.take().unwrap().close().unwrap();
        let folder = Path::new(DATA).join("checkpoints");
        let Some(flipped) = life.disk.flip_somewhere(&folder) else {
            continue;
        };
        match open(&life.disk) {
            Ok((_, found)) => {
                match &found.damaged[..] {
                    [StorageError::Corrupt { path, offset, .. }] => {
                        assert_eq!(*path, flipped.path);
                        assert!(*offset as usize <= flipped.offset);
                        put_aside += 1;
                    }
                    // Of those before the newest a start reads the header alone.
                    [] if flipped.path < newest(&life.disk, &folder) => unread += 1,
                    damaged => panic!("seed {seed}: {damaged:?}"),
                }
                let found = Model::from(&found);
                assert_eq!(found.last(), life.model.last(), "seed {seed}");
                assert_eq!(found.hard_state, life.model.hard_state, "seed {seed}");
                assert!(found.entries.ends_with(&life.model.entries), "seed {seed}");
            }
            Err(StorageError::Gap { .. }) => gaps += 1,
            Err(other) => panic!("seed {seed}: {other}"),
        }
    }
    assert!(
        put_aside > 500 && gaps > 0 && unread > 0,
        "{put_aside} put aside, {gaps} gaps, {unread} not read"
    );
}

/// The newest checkpoint, by its name.
fn newest(disk: &SimulatedDisk, folder: &Path) -> PathBuf {
    let names = disk.files().names(folder).unwrap().into_iter();
    let newest = names.filter(|name| name.ends_with(".checkpoint")).max();
    folder.join(newest.unwrap())
}
