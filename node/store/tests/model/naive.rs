//! A whole map per revision, and every write that ever was. Slow, and as plain as the rules allow.

use std::collections::BTreeMap;

use bytes::Bytes;
use store::{
    Command, CompactionRequest, CompactionResponse, Compare, DeleteRangeRequest,
    DeleteRangeResponse, KeyValue, KeyspaceHash, Lease, LeaseCheckpoint, LeaseCheckpointResponse,
    LeaseGrant, LeaseGrantResponse, LeaseRevokeResponse, Op, PutRequest, PutResponse, RangeRequest,
    RangeResponse, Response, ResponseOp, Revision, StoreError, TargetUnion, TxnRequest,
    TxnResponse,
};

type Map = BTreeMap<Bytes, KeyValue>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Write {
    pub(crate) at: Revision,
    pub(crate) deleted: bool,
    pub(crate) kv: KeyValue,
}

pub(crate) struct Naive {
    /// `maps[0]` is revision 1.
    maps: Vec<Map>,
    writes: Vec<Write>,
    pub(crate) leases: BTreeMap<i64, Lease>,
    pub(crate) compacted: i64,
}

impl Default for Naive {
    fn default() -> Self {
        Self {
            maps: vec![Map::new()],
            writes: Vec::new(),
            leases: BTreeMap::new(),
            compacted: -1,
        }
    }
}

/// A revision in the making.
struct Draft<'a> {
    naive: &'a Naive,
    map: Map,
    writes: Vec<Write>,
}

impl Naive {
    pub(crate) fn revision(&self) -> i64 {
        self.maps.len() as i64
    }

    fn map(&self, revision: i64) -> &Map {
        &self.maps[revision as usize - 1]
    }

    fn newest(&self) -> &Map {
        self.map(self.revision())
    }

    pub(crate) fn apply(&mut self, command: &Command) -> (Response, Vec<Write>) {
        if let Command::Compact(request) = command {
            let answer = self.compact(request).map(Response::Compact);
            return (answer.unwrap_or_else(Response::Refused), Vec::new());
        }
        if let Command::LeaseGrant(grant) = command {
            let answer = self.grant(grant).map(Response::LeaseGrant);
            return (answer.unwrap_or_else(Response::Refused), Vec::new());
        }
        if let Command::LeaseCheckpoint(request) = command {
            return (self.checkpoint(request), Vec::new());
        }
        let mut draft = Draft {
            naive: self,
            map: self.newest().clone(),
            writes: Vec::new(),
        };
        let answer = match command {
            Command::Put(put) => draft.can_put(put).map(|()| Response::Put(draft.put(put))),
            Command::DeleteRange(delete) => Ok(Response::DeleteRange(draft.delete(delete))),
            Command::Txn(txn) => draft.txn(txn).map(Response::Txn),
            Command::LeaseRevoke(revoke) => draft.revoke(revoke.id),
            other => panic!("{other:?} is not for the keyspace"),
        };
        let Draft { map, writes, .. } = draft;
        if let (Command::LeaseRevoke(revoke), Ok(_)) = (command, &answer) {
            self.leases.remove(&revoke.id);
        }
        if !writes.is_empty() {
            self.maps.push(map);
            self.writes.extend(writes.iter().cloned());
        }
        (answer.unwrap_or_else(Response::Refused), writes)
    }

    fn grant(&mut self, grant: &LeaseGrant) -> Result<LeaseGrantResponse, StoreError> {
        let LeaseGrant { id, ttl } = *grant;
        if self.leases.contains_key(&id) {
            return Err(StoreError::LeaseExists);
        }
        let remaining_ttl = 0;
        let lease = Lease {
            id,
            ttl,
            remaining_ttl,
        };
        self.leases.insert(id, lease);
        let revision = self.revision();
        Ok(LeaseGrantResponse { revision, id, ttl })
    }

    fn checkpoint(&mut self, request: &LeaseCheckpoint) -> Response {
        for remaining in &request.checkpoints {
            self.leases
                .entry(remaining.id)
                .and_modify(|lease| lease.remaining_ttl = remaining.remaining_ttl);
        }
        let revision = self.revision();
        Response::LeaseCheckpoint(LeaseCheckpointResponse { revision })
    }

    /// Keys that name this lease now.
    pub(crate) fn attached(&self, id: i64) -> Vec<Bytes> {
        attached(self.newest(), id)
    }

    fn compact(&mut self, request: &CompactionRequest) -> Result<CompactionResponse, StoreError> {
        if request.revision <= self.compacted {
            return Err(StoreError::Compacted);
        }
        if request.revision > self.revision() {
            return Err(StoreError::FutureRevision);
        }
        self.compacted = request.revision;
        Ok(CompactionResponse {
            revision: self.revision(),
        })
    }

    pub(crate) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, StoreError> {
        if request.revision > self.revision() {
            return Err(StoreError::FutureRevision);
        }
        let at = if request.revision <= 0 {
            self.revision()
        } else {
            request.revision
        };
        if at < self.compacted {
            return Err(StoreError::Compacted);
        }
        Ok(select(self.map(at), request, self.revision()))
    }

    /// etcd's rule, over every write there ever was.
    pub(crate) fn hash_kv(&self, revision: i64) -> Result<KeyspaceHash, StoreError> {
        if revision > 0 && revision < self.compacted {
            return Err(StoreError::Compacted);
        }
        if revision > self.revision() {
            return Err(StoreError::FutureRevision);
        }
        let upto = if revision == 0 {
            self.revision()
        } else {
            revision
        };
        let keep_at = if self.map(upto).is_empty() {
            self.compacted
        } else {
            upto
        };
        let mut bytes = b"key".to_vec();
        for write in self.writes.iter().filter(|write| write.at.main <= upto) {
            if write.at.main <= self.compacted && !self.shows(write, keep_at) {
                continue;
            }
            bytes.extend(write.at.main.to_be_bytes());
            bytes.push(b'_');
            bytes.extend(write.at.sub.to_be_bytes());
            let mut kv = write.kv.clone();
            if write.deleted {
                bytes.push(b't');
                kv.mod_revision = 0;
            }
            bytes.extend(prost::Message::encode_to_vec(&kv));
        }
        Ok(KeyspaceHash {
            hash: crc32c(&bytes),
            hash_revision: upto,
            compact_revision: self.compacted,
            revision: self.revision(),
        })
    }

    fn shows(&self, write: &Write, revision: i64) -> bool {
        let later = |other: &Write| {
            other.kv.key == write.kv.key && other.at > write.at && other.at.main <= revision
        };
        !write.deleted && write.at.main <= revision && !self.writes.iter().any(later)
    }

    /// Whether a swept store still has this write: it is after the compaction, or shows there, or is a deletion of that
    /// revision.
    fn is_kept(&self, write: &Write) -> bool {
        let later = |other: &Write| {
            other.kv.key == write.kv.key && other.at > write.at && other.at.main <= self.compacted
        };
        write.at.main > self.compacted
            || !self.writes.iter().any(later) && (!write.deleted || write.at.main == self.compacted)
    }

    pub(crate) fn kept_writes(&self) -> usize {
        self.writes
            .iter()
            .filter(|write| self.is_kept(write))
            .count()
    }

    pub(crate) fn writes_from(&self, from: i64) -> Result<Vec<Write>, StoreError> {
        if from < self.compacted {
            return Err(StoreError::Compacted);
        }
        let wanted = |write: &&Write| write.at.main >= from && self.is_kept(write);
        Ok(self.writes.iter().filter(wanted).cloned().collect())
    }

    pub(crate) fn previous(&self, key: &[u8], revision: i64) -> Option<KeyValue> {
        let before = revision - 1;
        if before < self.compacted.max(1) {
            None
        } else {
            self.map(before).get(key).cloned()
        }
    }
}

impl Draft<'_> {
    fn revision(&self) -> i64 {
        self.naive.revision() + i64::from(!self.writes.is_empty())
    }

    fn write(&mut self, deleted: bool, kv: KeyValue) {
        let at = Revision {
            main: kv.mod_revision,
            sub: self.writes.len() as i64,
        };
        self.writes.push(Write { at, deleted, kv });
    }

    fn can_put(&self, put: &PutRequest) -> Result<(), StoreError> {
        if put.lease != 0 && !self.naive.leases.contains_key(&put.lease) {
            return Err(StoreError::LeaseNotFound);
        }
        let wants_key = put.ignore_value || put.ignore_lease;
        if wants_key && !self.naive.newest().contains_key(&put.key) {
            return Err(StoreError::KeyNotFound);
        }
        Ok(())
    }

    fn put(&mut self, put: &PutRequest) -> PutResponse {
        let main = self.naive.revision() + 1;
        let before = self.map.get(&put.key).cloned();
        let mut kv = KeyValue {
            key: put.key.clone(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: put.value.clone(),
            lease: put.lease,
        };
        if let Some(before) = &before {
            kv.create_revision = before.create_revision;
            kv.version = before.version + 1;
            if put.ignore_value {
                kv.value = before.value.clone();
            }
            if put.ignore_lease {
                kv.lease = before.lease;
            }
        }
        self.map.insert(put.key.clone(), kv.clone());
        self.write(false, kv);
        PutResponse {
            revision: main,
            prev_kv: before.filter(|_| put.prev_kv),
        }
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let gone: Vec<KeyValue> = matching(&self.map, &delete.key, &delete.range_end);
        for kv in &gone {
            self.map.remove(&kv.key);
            let mod_revision = self.naive.revision() + 1;
            self.write(
                true,
                KeyValue {
                    key: kv.key.clone(),
                    mod_revision,
                    ..Default::default()
                },
            );
        }
        let deleted = gone.len() as i64;
        let prev_kvs = if delete.prev_kv { gone } else { Vec::new() };
        DeleteRangeResponse {
            revision: self.revision(),
            deleted,
            prev_kvs,
        }
    }

    fn revoke(&mut self, id: i64) -> Result<Response, StoreError> {
        if !self.naive.leases.contains_key(&id) {
            return Err(StoreError::LeaseNotFound);
        }
        for key in attached(&self.map, id) {
            self.delete(&DeleteRangeRequest {
                key,
                ..DeleteRangeRequest::default()
            });
        }
        let revision = self.revision();
        Ok(Response::LeaseRevoke(LeaseRevokeResponse { revision }))
    }

    fn txn(&mut self, txn: &TxnRequest) -> Result<TxnResponse, StoreError> {
        self.can_run(txn, &mut Vec::new())?;
        let mut answer = self.run(txn);
        answer.revision = self.revision();
        Ok(answer)
    }

    /// Compares are judged before anything is written, so always against the newest map, never against the draft.
    fn branch<'t>(&self, txn: &'t TxnRequest) -> (bool, Vec<&'t Op>) {
        let before = self.naive.newest();
        let holds = txn.compare.iter().all(|compare| holds(before, compare));
        let branch = if holds { &txn.success } else { &txn.failure };
        (
            holds,
            branch
                .iter()
                .map(|op| op.request.as_ref().expect("generated"))
                .collect(),
        )
    }

    /// `deleted` are the starts of deletions "from this key on" before these operations.
    fn can_run(&self, txn: &TxnRequest, deleted: &mut Vec<Bytes>) -> Result<(), StoreError> {
        for op in self.branch(txn).1 {
            match op {
                Op::Range(range) if range.revision > self.naive.revision() => {
                    return Err(StoreError::FutureRevision);
                }
                Op::Range(range)
                    if range.revision != 0 && range.revision < self.naive.compacted =>
                {
                    return Err(StoreError::Compacted);
                }
                Op::Range(_) => {}
                Op::Put(put) => {
                    self.can_put(put)?;
                    let gone = deleted.iter().any(|start| put.key >= *start);
                    if (put.ignore_value || put.ignore_lease) && gone {
                        return Err(StoreError::KeyNotFound);
                    }
                }
                Op::DeleteRange(delete) => {
                    if delete.range_end.as_ref() == [0] {
                        deleted.push(delete.key.clone());
                    }
                }
                Op::Txn(nested) => self.can_run(nested, deleted)?,
            }
        }
        Ok(())
    }

    fn run(&mut self, txn: &TxnRequest) -> TxnResponse {
        let (succeeded, branch) = self.branch(txn);
        let run = |op: &Op| match op {
            Op::Range(range) if range.revision > 0 => ResponseOp::Range(select(
                self.naive.map(range.revision),
                range,
                self.revision(),
            )),
            Op::Range(range) => ResponseOp::Range(select(&self.map, range, self.revision())),
            Op::Put(put) => ResponseOp::Put(self.put(put)),
            Op::DeleteRange(delete) => ResponseOp::DeleteRange(self.delete(delete)),
            Op::Txn(nested) => ResponseOp::Txn(self.run(nested)),
        };
        let responses = branch.into_iter().map(run).map(Some).collect();
        TxnResponse {
            revision: 0,
            succeeded,
            responses,
        }
    }
}

fn attached(map: &Map, id: i64) -> Vec<Bytes> {
    map.values()
        .filter(|kv| kv.lease == id)
        .map(|kv| kv.key.clone())
        .collect()
}

fn matching(map: &Map, key: &[u8], range_end: &[u8]) -> Vec<KeyValue> {
    let within = |at: &[u8]| match range_end {
        [] => at == key,
        [0] => at >= key,
        end => at >= key && at < end,
    };
    map.iter()
        .filter(|(at, _)| within(at))
        .map(|(_, kv)| kv.clone())
        .collect()
}

fn select(map: &Map, request: &RangeRequest, revision: i64) -> RangeResponse {
    let mut kvs = matching(map, &request.key, &request.range_end);
    let count = kvs.len() as i64;
    if request.count_only {
        return RangeResponse {
            revision,
            kvs: Vec::new(),
            more: false,
            count,
        };
    }
    let (order, target, limit) = (request.sort_order, request.sort_target, request.limit);
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if limit > 0 && (order == 0 || order == 1 && target == 0) && bounds == [0; 4] {
        kvs.truncate(limit as usize + 1);
    }
    kvs.retain(|kv| bounds[0] == 0 || kv.mod_revision >= bounds[0]);
    kvs.retain(|kv| bounds[1] == 0 || kv.mod_revision <= bounds[1]);
    kvs.retain(|kv| bounds[2] == 0 || kv.create_revision >= bounds[2]);
    kvs.retain(|kv| bounds[3] == 0 || kv.create_revision <= bounds[3]);
    let rank = |kv: &KeyValue| match target {
        1 => (kv.version, Bytes::new()),
        2 => (kv.create_revision, Bytes::new()),
        3 => (kv.mod_revision, Bytes::new()),
        4 => (0, kv.value.clone()),
        _ => (0, kv.key.clone()),
    };
    kvs.sort_by_key(rank);
    if order == 2 {
        kvs.sort_by_key(|kv| std::cmp::Reverse(rank(kv)));
        // Ties in the order of their keys, as before.
    }
    let more = limit > 0 && kvs.len() > limit as usize;
    if more {
        kvs.truncate(limit as usize);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        // etcd answers from its index, which knows no leases, unless it must sort by what the index does not know.
        if target != 4 {
            kvs.iter_mut().for_each(|kv| kv.lease = 0);
        }
    }
    RangeResponse {
        revision,
        kvs,
        more,
        count,
    }
}

fn holds(map: &Map, compare: &Compare) -> bool {
    let kvs = matching(map, &compare.key, &compare.range_end);
    match (kvs.is_empty(), compare.target) {
        (true, 3) => false,
        (true, _) => holds_for(&KeyValue::default(), compare),
        _ => kvs.iter().all(|kv| holds_for(kv, compare)),
    }
}

fn holds_for(kv: &KeyValue, compare: &Compare) -> bool {
    let given = compare.target_union.clone();
    let order = match compare.target {
        3 => kv.value.cmp(&match given {
            Some(TargetUnion::Value(value)) => value,
            _ => Bytes::new(),
        }),
        target => {
            let stored =
                [kv.version, kv.create_revision, kv.mod_revision, 0, kv.lease][target as usize];
            let given = match (target, given) {
                (0, Some(TargetUnion::Version(n)))
                | (1, Some(TargetUnion::CreateRevision(n)))
                | (2, Some(TargetUnion::ModRevision(n)))
                | (4, Some(TargetUnion::Lease(n))) => n,
                _ => 0,
            };
            stored.cmp(&given)
        }
    };
    match compare.result {
        0 => order.is_eq(),
        1 => order.is_gt(),
        2 => order.is_lt(),
        _ => order.is_ne(),
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc: u32, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0x82f6_3b78
            } else {
                crc >> 1
            }
        })
    })
}
