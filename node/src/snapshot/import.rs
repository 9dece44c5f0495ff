//! From etcd's buckets to a store.
//!
//! - Versions up to 3.7 are read. What a newer one may have added is not known here, so that it is refused.
//! - Buckets that etcd does not have are passed over; entries that make no sense in one that it has are refused.
//! - A compaction that etcd had begun and not finished is finished, as etcd does when it starts.
//! - Members and the version that they agreed on are not taken: a snapshot begins a cluster of its own.
//!
//! What it does not do: check a hash; [`open`](super::open) has.

use bolt::{Item, Source};
use prost::Message;
use proto::etcdserverpb::AlarmMember;
use store::{
    Alarm, Auth, DecodeError, Import, KeyValue, Lease, Role, Store, Tables, User, Version,
};

use super::schema::{self, UserValue};

/// The newest etcd whose storage is known here.
const NEWEST: Version = Version::new(3, 7);

/// Why a file holds no store.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no sound database.
    #[error("cannot read the snapshot's database")]
    Database(#[from] bolt::Error),
    /// It is one of something else.
    #[error("the database is not etcd's: it has no bucket {0:?}")]
    Foreign(&'static str),
    /// It is of an etcd that came later.
    #[error(
        "the snapshot is of etcd {found}, and versions up to {NEWEST} can be read: restore it with a newer quorate-node"
    )]
    TooNew {
        /// What it says.
        found: String,
    },
    /// An entry that etcd does not write.
    #[error("bucket {bucket:?}, key {key}: {why}")]
    Entry {
        /// Where.
        bucket: String,
        /// Its key, printable.
        key: String,
        /// What ought to be.
        why: String,
    },
    /// The parts do not fit together.
    #[error(transparent)]
    Store(#[from] DecodeError),
}

/// What is changed of the tables before they become a store: who belongs to the cluster, and from which revision on.
pub type Edit<'a> = dyn FnOnce(&mut Tables) + 'a;

/// Reads a store; `edit` says what is to be another in it. Applied index and members are what `edit` makes them.
///
/// # Errors
/// [`ImportError`]
pub fn import(source: impl Source, edit: Box<Edit<'_>>) -> Result<Store, ImportError> {
    let mut gathering = Gathering::default();
    bolt::File::open(source)?.walk(|item| gathering.take(item))?;
    let mut tables = gathering.tables()?;
    edit(&mut tables);
    Ok(gathering.import.finish(tables)?)
}

#[derive(Default)]
struct Gathering {
    bucket: Vec<u8>,
    seen: Vec<Vec<u8>>,
    import: Import,
    tables: Tables,
    users: Vec<User>,
    roles: Vec<Role>,
    auth_enabled: bool,
    auth_revision: u64,
    scheduled: i64,
    finished: i64,
    /// The newest revision that any key names.
    newest: i64,
}

impl Gathering {
    fn take(&mut self, item: Item<'_>) -> Result<(), ImportError> {
        match item {
            Item::Bucket(name) => {
                self.bucket = name.to_vec();
                self.seen.push(name.to_vec());
                Ok(())
            }
            Item::Entry { key, value } => self.entry(key, value).map_err(|refused| match refused {
                Refused::Because(why) => ImportError::Entry {
                    bucket: String::from_utf8_lossy(&self.bucket).into_owned(),
                    key: key.escape_ascii().to_string(),
                    why,
                },
                Refused::Whole(error) => error,
            }),
        }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        match self.bucket.as_slice() {
            schema::KEY => self.write(key, value),
            schema::META => self.meta(key, value),
            schema::ALARM => {
                let AlarmMember { member_id, alarm } = AlarmMember::decode(key)?;
                self.tables.alarms.push(Alarm {
                    kind: alarm,
                    member: member_id,
                });
                Ok(())
            }
            schema::LEASE => self.lease(key, value),
            schema::AUTH => self.auth(key, value),
            schema::AUTH_USERS => {
                self.users.push(UserValue::decode(value)?.into());
                Ok(())
            }
            schema::AUTH_ROLES => {
                self.roles.push(Role::decode(value)?);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn auth(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        match key {
            schema::AUTH_ENABLED => self.auth_enabled = value == [1],
            schema::AUTH_REVISION => {
                let revision = value.try_into().map(u64::from_be_bytes);
                self.auth_revision =
                    revision.map_err(|_| Refused::because("a revision has 8 bytes"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn lease(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        let lease = Lease::decode(value)?;
        if lease.id == 0 || key != lease.id.to_be_bytes() {
            return Err(Refused::because("it is not the id of the lease"));
        }
        self.tables.leases.push(lease);
        Ok(())
    }

    fn write(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        let (at, is_delete) =
            schema::revision(key).ok_or_else(|| Refused::because("it is no revision"))?;
        self.newest = self.newest.max(at.main);
        // From a slice, so that key and value get allocations of their own.
        let kv = KeyValue::decode(value)?;
        if kv.key.is_empty() {
            // `etcdutl snapshot restore --bump-revision` leaves such a one, to say how far revisions have come.
            return Ok(());
        }
        Ok(self.import.record(at, kv, is_delete)?)
    }

    fn meta(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refused> {
        match key {
            schema::STORAGE_VERSION => check_version(value),
            schema::SCHEDULED_COMPACT => {
                self.scheduled = main_revision(value)?;
                Ok(())
            }
            schema::FINISHED_COMPACT => {
                self.finished = main_revision(value)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn tables(&mut self) -> Result<Tables, ImportError> {
        for (bucket, name) in [(schema::KEY, "key"), (schema::META, "meta")] {
            if !self.seen.iter().any(|seen| seen == bucket) {
                return Err(ImportError::Foreign(name));
            }
        }
        let mut tables = std::mem::take(&mut self.tables);
        let (users, roles) = (self.users.drain(..), self.roles.drain(..));
        tables.auth = Auth::restore(self.auth_enabled, self.auth_revision, users, roles);
        tables.compacted = self.scheduled.max(self.finished);
        tables.revision = self.newest.max(tables.compacted);
        Ok(tables)
    }
}

fn main_revision(value: &[u8]) -> Result<i64, Refused> {
    let found = schema::revision(value);
    found
        .map(|(at, _)| at.main)
        .ok_or_else(|| Refused::because("it is no revision"))
}

fn check_version(value: &[u8]) -> Result<(), Refused> {
    let text = String::from_utf8_lossy(value).into_owned();
    match Version::parse(&text) {
        Some(version) if version <= NEWEST => Ok(()),
        Some(_) => Err(Refused::Whole(ImportError::TooNew { found: text })),
        None => Err(Refused::Because(format!("{text:?} is no version"))),
    }
}

/// Why an entry is not taken.
enum Refused {
    Because(String),
    Whole(ImportError),
}

impl Refused {
    fn because(why: &str) -> Self {
        Self::Because(why.to_owned())
    }
}

impl From<prost::DecodeError> for Refused {
    fn from(error: prost::DecodeError) -> Self {
        Self::Because(error.to_string())
    }
}

impl From<DecodeError> for Refused {
    fn from(error: DecodeError) -> Self {
        Self::Because(error.to_string())
    }
}
