//! The store: what a replica holds, and the one function that changes it.

use std::sync::Arc;

use crate::digest::Digest;
use crate::image::{self, Image};
use crate::keyspace::{Keyspace, View, Writer};
use crate::record::{Change, Record, Revision};
use crate::{
    AlarmChange, Alarms, AlarmsResponse, Auth, Author, Command, CompactionRequest,
    CompactionResponse, DecodeError, Downgrade, KeyValue, KeyspaceHash, Leases, Members,
    MembersResponse, RangeRequest, RangeResponse, Response, StoreError, TxnRequest, TxnResponse,
    Version, range, txn,
};

/// Records that the sweep after a compaction visits per applied command. A command writes about one record, so two would
/// be enough to be through before as many are written again; four are, and cost an apply some microseconds.
const SWEEP_PER_APPLY: usize = 4;

/// Everything that the log has made, at one applied index.
///
/// - Two stores that applied the same entries are equal: same answers, same changes, same digest, same image.
/// - [`Store::apply`] changes nothing when it refuses, except the applied index.
/// - Revisions start at 1 and rise by one with each command that writes a key.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) applied_index: u64,
    pub(crate) keyspace: Keyspace,
    pub(crate) members: Members,
    pub(crate) alarms: Alarms,
    pub(crate) cluster_version: Option<Version>,
    pub(crate) downgrade: Option<Version>,
    /// Shared, so that whoever must know who may do what can look at it without asking.
    pub(crate) auth: Arc<Auth>,
    pub(crate) digest: Digest,
}

/// What applying one command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What to answer to whoever proposed it.
    pub response: Response,
    /// Every write, in order; all of one revision. Empty if nothing was written.
    pub changes: Vec<Change>,
    /// The newest revision afterwards.
    pub revision: i64,
}

/// Memory held for the keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Keys and values of all kept revisions with what keeping them costs, about, in bytes.
    pub bytes: u64,
    /// Keys that are known, deleted ones in kept history included.
    pub keys: usize,
    /// Writes that are kept.
    pub records: usize,
}

impl Default for Store {
    fn default() -> Self {
        let (keyspace, members) = (Keyspace::default(), Members::default());
        Self {
            applied_index: 0,
            keyspace,
            members,
            alarms: Alarms::default(),
            cluster_version: None,
            downgrade: None,
            auth: Arc::default(),
            digest: Digest::START,
        }
    }
}

impl Store {
    /// The store before the first entry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads what [`Image::encode`] wrote. Keys and values are copied out of `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`]; nothing else can happen, whatever the bytes are.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        image::decode(bytes)
    }

    /// Applies a command of nobody's at `index`; see [`Store::apply_by`].
    ///
    /// # Panics
    /// As there.
    pub fn apply(&mut self, index: u64, command: &Command) -> Applied {
        self.apply_by(index, command, None)
    }

    /// Applies the entry at `index`, if its author may. An entry may carry several commands: apply them in order with the same
    /// index, and take no image in between.
    ///
    /// # Panics
    /// If `index` is before one that was applied: the caller lost its place in the log.
    pub fn apply_by(&mut self, index: u64, command: &Command, author: Option<&Author>) -> Applied {
        self.advance(index);
        let (response, changes) = match self.refusal(command, author) {
            Some(error) => (Response::Refused(error), Vec::new()),
            None => self.carry_out(command),
        };
        self.keyspace.sweep(SWEEP_PER_APPLY);
        for Change(record) in &changes {
            digest_record(&mut self.digest, record);
        }
        Applied {
            response,
            changes,
            revision: self.keyspace.revision,
        }
    }

    /// Takes note of an entry without a command.
    ///
    /// # Panics
    /// As [`Store::apply`].
    pub fn advance(&mut self, index: u64) {
        let last = self.applied_index;
        assert!(
            index >= last,
            "entry {index} comes after entry {last} was applied"
        );
        self.applied_index = index;
    }

    /// Takes note of the end of joint consensus: what [`Command::MemberChanges`] began is through, and whoever it lets go is gone.
    /// The answer to it; none if nothing was under way.
    ///
    /// # Panics
    /// As [`Store::apply`].
    pub fn leave_joint(&mut self, index: u64) -> Option<Response> {
        self.advance(index);
        if !self.members.leave() {
            return None;
        }
        self.digest.number(EFFECT_MEMBERS);
        self.digest.number(END_OF_CHANGES);
        Some(self.members_response())
    }

    /// Frees memory of compacted history, visiting up to `records` records; whether there is more to do. Applying does
    /// the same little by little, so this is for idle time alone. It changes nothing that can be read.
    pub fn sweep(&mut self, records: usize) -> bool {
        self.keyspace.sweep(records)
    }

    /// Reads a range of keys.
    ///
    /// # Errors
    /// [`StoreError::Compacted`], [`StoreError::FutureRevision`].
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        range::range(View::newest(&self.keyspace), request)
    }

    /// The first keys of a range, as many as the limit says, in the order of their bytes; in time by how many those are and
    /// not by how many there would be. `count` is how many are in the answer, `more` whether there are others. Filters and
    /// order are not looked at.
    ///
    /// # Errors
    /// As [`Store::range`].
    pub fn page(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        range::page(View::newest(&self.keyspace), request)
    }

    /// About how many keys answering `request` takes to copy, counting eight keys that are only counted as one. Counts no
    /// further than `most`, so that asking is cheap beside a read of that size.
    #[must_use]
    pub fn range_cost(&self, request: &RangeRequest, most: usize) -> usize {
        range::cost(&self.keyspace, request, most)
    }

    /// Runs a transaction of ranges alone, which needs no entry in the log.
    ///
    /// # Errors
    /// As [`Store::range`].
    ///
    /// # Panics
    /// Unless [`TxnRequest::is_read_only`].
    pub fn read_txn(&self, request: &TxnRequest) -> Result<TxnResponse, StoreError> {
        txn::read(&self.keyspace, request)
    }

    /// The membership table.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The alarms that are up.
    #[must_use]
    pub const fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// The version that all members speak; none before it was decided.
    #[must_use]
    pub const fn cluster_version(&self) -> Option<Version> {
        self.cluster_version
    }

    /// Where a downgrade goes that is under way.
    #[must_use]
    pub const fn downgrade(&self) -> Option<Version> {
        self.downgrade
    }

    /// All leases and what hangs on them.
    #[must_use]
    pub fn leases(&self) -> &Leases {
        &self.keyspace.leases
    }

    /// Index of the last applied entry; 0 before the first.
    #[must_use]
    pub fn applied_index(&self) -> u64 {
        self.applied_index
    }

    /// The newest revision; 1 before the first write.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.keyspace.revision
    }

    /// The oldest readable revision; -1 before the first compaction.
    #[must_use]
    pub fn compact_revision(&self) -> i64 {
        self.keyspace.compacted
    }

    /// The running digest of everything applied so far. Replicas at the same [`Store::applied_index`] with different digests
    /// have diverged.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest.0
    }

    /// The memory held for the keyspace.
    #[must_use]
    pub fn size(&self) -> Size {
        let Keyspace {
            keys,
            timeline,
            size_bytes,
            ..
        } = &self.keyspace;
        Size {
            bytes: *size_bytes,
            keys: keys.len(),
            records: timeline.len(),
        }
    }

    /// The checksum of the keyspace; see [`Image::hash_kv`], which can be asked on another thread.
    ///
    /// # Errors
    /// As there.
    pub fn hash_kv(&self, revision: i64) -> Result<KeyspaceHash, StoreError> {
        self.snapshot().hash_kv(revision)
    }

    /// The whole state as it is now: one pointer is copied for each few hundred records, everything else is shared.
    #[must_use]
    pub fn snapshot(&self) -> Image {
        Image::of(self)
    }

    /// Every kept change from revision `from` on, oldest first: what a watcher that starts there has missed.
    ///
    /// # Errors
    /// [`StoreError::Compacted`] if `from` lies before the last compaction. One may start at the compaction's own revision: the last
    /// write to each key is kept, deletions included.
    pub fn changes_from(&self, from: i64) -> Result<impl Iterator<Item = Change>, StoreError> {
        if from < self.keyspace.compacted {
            return Err(StoreError::Compacted);
        }
        let records = self.keyspace.timeline.iter_from(Revision::first_of(from));
        let kept = records.filter(|record| !self.keyspace.is_garbage(record));
        Ok(kept.map(|record| Change(Arc::clone(record))))
    }

    /// What the key of `change` was before it; `None` if it did not exist, or if that is compacted.
    #[must_use]
    pub fn previous(&self, change: &Change) -> Option<&KeyValue> {
        let before = change.revision().main - 1;
        if before < self.keyspace.compacted {
            return None;
        }
        self.keyspace
            .find(change.key(), before)
            .map(|record| &record.kv)
    }

    /// An alarm refuses before anybody asks whose command it is, as in etcd.
    fn refusal(&self, command: &Command, author: Option<&Author>) -> Option<StoreError> {
        let by_alarm = self.alarms.refusal(command);
        by_alarm.or_else(|| self.permit(author).check(command).err())
    }

    fn carry_out(&mut self, command: &Command) -> (Response, Vec<Change>) {
        match command {
            Command::Put(put) => self.write(|to| txn::put(to, put).map(Response::Put)),
            Command::DeleteRange(delete) => {
                self.write(|to| Ok(Response::DeleteRange(txn::delete(to, delete))))
            }
            Command::Txn(txn) => self.write(|to| txn::txn(to, txn).map(Response::Txn)),
            Command::Compact(request) => (answer(self.compact(request)), Vec::new()),
            Command::MemberAdd(_)
            | Command::MemberRemove(_)
            | Command::MemberUpdate(_)
            | Command::MemberPromote(_)
            | Command::MemberAttributes(_)
            | Command::MemberChanges(_)
            | Command::MemberKeep(_) => (answer(self.change_members(command)), Vec::new()),
            Command::Alarm(change) => (self.change_alarm(*change, command), Vec::new()),
            Command::ClusterVersion(version) => {
                self.cluster_version = Some(*version);
                (self.note_version(command), Vec::new())
            }
            Command::Downgrade(Downgrade { target }) => {
                self.downgrade = *target;
                (self.note_version(command), Vec::new())
            }
            Command::LeaseGrant(grant) => (answer(self.grant_lease(grant)), Vec::new()),
            Command::LeaseRevoke(revoke) => self.revoke_lease(*revoke),
            Command::LeaseCheckpoint(request) => (self.checkpoint_leases(request), Vec::new()),
            Command::Auth(request) => (answer(self.change_auth(request)), Vec::new()),
        }
    }

    pub(crate) fn write(
        &mut self,
        request: impl FnOnce(&mut Writer<'_>) -> Result<Response, StoreError>,
    ) -> (Response, Vec<Change>) {
        let mut writer = Writer::new(&mut self.keyspace);
        let response = answer(request(&mut writer));
        (response, writer.finish())
    }

    fn compact(&mut self, request: &CompactionRequest) -> Result<Response, StoreError> {
        self.keyspace.compact(request.revision)?;
        if request.physical {
            self.keyspace.sweep_all();
        }
        self.digest.number(EFFECT_COMPACTION);
        self.digest.number(request.revision.cast_unsigned());
        Ok(Response::Compact(CompactionResponse {
            revision: self.keyspace.revision,
        }))
    }

    fn change_members(&mut self, command: &Command) -> Result<Response, StoreError> {
        self.members.apply(command)?;
        self.digest.number(EFFECT_MEMBERS);
        self.digest.bytes(&command.to_bytes());
        Ok(self.members_response())
    }

    fn members_response(&self) -> Response {
        Response::Members(MembersResponse {
            members: self.members.iter().cloned().collect(),
        })
    }

    fn note_version(&mut self, command: &Command) -> Response {
        self.digest.number(EFFECT_VERSION);
        self.digest.bytes(&command.to_bytes());
        Response::Done
    }

    fn change_alarm(&mut self, change: AlarmChange, command: &Command) -> Response {
        let (alarm, changed) = self.alarms.change(change);
        if changed {
            self.digest.number(EFFECT_ALARM);
            self.digest.bytes(&command.to_bytes());
        }
        Response::Alarms(AlarmsResponse {
            alarms: alarm.into_iter().collect(),
            revision: self.keyspace.revision,
        })
    }
}

fn answer(result: Result<Response, StoreError>) -> Response {
    result.unwrap_or_else(Response::Refused)
}

/// What the digest says before each kind of effect.
const EFFECT_PUT: u64 = 1;
const EFFECT_DELETE: u64 = 2;
const EFFECT_COMPACTION: u64 = 3;
const EFFECT_MEMBERS: u64 = 4;
/// In the place of a command's length, which none has.
const END_OF_CHANGES: u64 = 0;
pub(crate) const EFFECT_AUTH: u64 = 6;
const EFFECT_ALARM: u64 = 7;
const EFFECT_VERSION: u64 = 8;

/// Adds a write to a digest.
pub(crate) fn digest_record(digest: &mut Digest, record: &Record) {
    let Record { kv, sub, tombstone } = record;
    digest.number(if *tombstone {
        EFFECT_DELETE
    } else {
        EFFECT_PUT
    });
    let numbers = [
        kv.mod_revision,
        *sub,
        kv.create_revision,
        kv.version,
        kv.lease,
    ];
    numbers
        .into_iter()
        .for_each(|number| digest.number(number.cast_unsigned()));
    digest.bytes(&kv.key);
    digest.bytes(&kv.value);
}
