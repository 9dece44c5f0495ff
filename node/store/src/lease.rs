//! Leases: keys that go when nobody keeps their lease alive.
//!
//! A lease is a row of the table: an id, a time to live in seconds, and what was left of it at the last checkpoint. When it ends
//! is no business of the state machine, which has no clock: the leader measures, and an end is a command like any other.
//!
//! 1. What hangs on a lease follows from the keys: a key is attached to the lease that its newest record names, and to no
//!    other. So an image holds the table alone, and whoever reads it finds the same attachments.
//! 2. A put names no lease but one of the table, so a key is attached to a lease that exists. The data of another program may break
//!    that; such a key is kept under the id it names, and belongs to that lease if it is ever granted. (etcd forgets it until its next
//!    restart and then does the same, so that its members may differ.)
//! 3. A lease goes together with its keys, under one revision, in the order of the keys.
//!
//! What this module deliberately does not do: measure time, raise a TTL to what a cluster can keep (whoever proposes does), or say
//! who may use a lease.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;

use crate::keys::KeyRange;
use crate::keyspace::Writer;
use crate::{
    Change, LeaseCheckpointResponse, LeaseGrantResponse, LeaseRevokeResponse, Response, Store,
    StoreError,
};

/// The longest time to live, in seconds; etcd's figure.
pub const MAX_LEASE_TTL: i64 = 9_000_000_000;

/// One lease, as the table has it and an image carries it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Lease {
    /// Its id; never 0.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// How long it lives without being renewed, in seconds.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
    /// What the last checkpoint said was left of it, in seconds; 0 if there was none since it was granted or renewed.
    #[prost(int64, tag = "3")]
    pub remaining_ttl: i64,
}

impl Lease {
    /// What a new leader gives it, in seconds: what the last checkpoint left, or everything.
    #[must_use]
    pub const fn left(&self) -> i64 {
        if self.remaining_ttl > 0 {
            self.remaining_ttl
        } else {
            self.ttl
        }
    }
}

/// See [`Command::LeaseGrant`](crate::Command::LeaseGrant).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct LeaseGrant {
    /// The id it shall have; chosen by whoever proposes if the client did not.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Its time to live in seconds, as it is granted.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
}

/// See [`Command::LeaseRevoke`](crate::Command::LeaseRevoke).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct LeaseRevoke {
    /// Which.
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// See [`Command::LeaseCheckpoint`](crate::Command::LeaseCheckpoint).
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct LeaseCheckpoint {
    /// What is left of which; those that do not exist are passed over.
    #[prost(message, repeated, tag = "1")]
    pub checkpoints: Vec<LeaseRemaining>,
}

/// What is left of one lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct LeaseRemaining {
    /// Which.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// In seconds; 0 takes the checkpoint before back.
    #[prost(int64, tag = "2")]
    pub remaining_ttl: i64,
}

/// All leases and what hangs on them; see the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    table: BTreeMap<i64, Lease>,
    /// By the lease that a live key names; no set is empty.
    attached: BTreeMap<i64, BTreeSet<Bytes>>,
}

impl Leases {
    pub(crate) fn of(leases: &[Lease]) -> Self {
        let table = leases.iter().map(|lease| (lease.id, *lease)).collect();
        Self {
            table,
            attached: BTreeMap::new(),
        }
    }

    /// Makes these the table; what hangs on them stays.
    pub(crate) fn fill(&mut self, leases: &[Lease]) {
        self.table = leases.iter().map(|lease| (lease.id, *lease)).collect();
    }

    /// All leases, by id.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Lease> {
        self.table.values()
    }

    /// The lease with this id.
    #[must_use]
    pub fn find(&self, id: i64) -> Option<&Lease> {
        self.table.get(&id)
    }

    /// The keys that hang on a lease, in order.
    pub fn keys(&self, id: i64) -> impl Iterator<Item = &Bytes> {
        self.attached.get(&id).into_iter().flatten()
    }

    /// A key was written, or deleted, whose newest record named the one lease before and names the other now; 0 is none.
    pub(crate) fn moved(&mut self, key: &Bytes, from: i64, to: i64) {
        if from == to {
            return;
        }
        if let Some(keys) = self.attached.get_mut(&from) {
            keys.remove(key);
            if keys.is_empty() {
                self.attached.remove(&from);
            }
        }
        if to != 0 {
            self.attached.entry(to).or_default().insert(key.clone());
        }
    }

    pub(crate) fn grant(&mut self, grant: &LeaseGrant) -> Result<(), StoreError> {
        let LeaseGrant { id, ttl } = *grant;
        if id == 0 {
            return Err(StoreError::LeaseNotFound);
        }
        if ttl > MAX_LEASE_TTL {
            return Err(StoreError::LeaseTtlTooLarge);
        }
        if self.table.contains_key(&id) {
            return Err(StoreError::LeaseExists);
        }
        let remaining_ttl = 0;
        self.table.insert(
            id,
            Lease {
                id,
                ttl,
                remaining_ttl,
            },
        );
        Ok(())
    }

    /// Says whether there is such a lease.
    pub(crate) fn checkpoint(&mut self, remaining: &LeaseRemaining) -> bool {
        let lease = self.table.get_mut(&remaining.id);
        lease.is_some_and(|lease| {
            lease.remaining_ttl = remaining.remaining_ttl;
            true
        })
    }
}

/// What the digest says before an effect on leases, and which.
const EFFECT_LEASE: u64 = 5;
const GRANTED: u64 = 1;
const REVOKED: u64 = 2;
const CHECKPOINTED: u64 = 3;

impl Store {
    pub(crate) fn grant_lease(&mut self, grant: &LeaseGrant) -> Result<Response, StoreError> {
        self.keyspace.leases.grant(grant)?;
        let LeaseGrant { id, ttl } = *grant;
        self.digest_lease(GRANTED, id, ttl);
        let revision = self.keyspace.revision;
        Ok(Response::LeaseGrant(LeaseGrantResponse {
            revision,
            id,
            ttl,
        }))
    }

    /// Ends a lease and deletes what hangs on it.
    pub(crate) fn revoke_lease(
        &mut self,
        LeaseRevoke { id }: LeaseRevoke,
    ) -> (Response, Vec<Change>) {
        let (response, changes) = self.write(|to| revoke(to, id).map(Response::LeaseRevoke));
        if matches!(response, Response::LeaseRevoke(_)) {
            self.digest_lease(REVOKED, id, 0);
        }
        (response, changes)
    }

    pub(crate) fn checkpoint_leases(&mut self, request: &LeaseCheckpoint) -> Response {
        for remaining in &request.checkpoints {
            if self.keyspace.leases.checkpoint(remaining) {
                self.digest_lease(CHECKPOINTED, remaining.id, remaining.remaining_ttl);
            }
        }
        let revision = self.keyspace.revision;
        Response::LeaseCheckpoint(LeaseCheckpointResponse { revision })
    }

    fn digest_lease(&mut self, what: u64, id: i64, seconds: i64) {
        let numbers = [
            EFFECT_LEASE,
            what,
            id.cast_unsigned(),
            seconds.cast_unsigned(),
        ];
        let digest = &mut self.digest;
        numbers.into_iter().for_each(|number| digest.number(number));
    }
}

fn revoke(writer: &mut Writer<'_>, id: i64) -> Result<LeaseRevokeResponse, StoreError> {
    let leases = writer.leases();
    leases.find(id).ok_or(StoreError::LeaseNotFound)?;
    let keys: Vec<Bytes> = leases.keys(id).cloned().collect();
    for key in &keys {
        writer.delete(KeyRange::One(key));
    }
    writer.leases_mut().table.remove(&id);
    let revision = writer.revision();
    Ok(LeaseRevokeResponse { revision })
}
