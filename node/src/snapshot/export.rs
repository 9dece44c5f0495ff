//! From an image to etcd's buckets.
//!
//! What it does not do: hold the file. The small tables are held, the records are walked, once to measure and once to write.

use std::collections::BTreeMap;

use bolt::{Bucket, Entry, Layout};
use prost::Message;
use proto::etcdserverpb::AlarmMember;
use store::{Auth, Change, Image, KeyValue, Lease, Revision, Role, Store, User, Version};

use super::schema::{self, RevisionKey, UserValue};
use crate::version::cluster_text;

/// An image, ready to be written.
#[derive(Debug)]
pub struct Export {
    image: Image,
    tables: Tables,
    layout: Layout,
    /// The etcd whose storage it is like.
    pub(super) version: String,
}

/// The first etcd that writes down whose storage it is; an older one takes the entry for a mistake.
const FIRST_TO_SAY: Version = Version::new(3, 6);

/// Buckets but for that of the keys.
type Tables = BTreeMap<&'static [u8], Table>;
type Table = BTreeMap<Vec<u8>, Vec<u8>>;

/// A name that etcd's format has no room for; etcd ends when it meets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of a {what} has {len} bytes, and a snapshot has room for {}: delete the {what}, and take another",
    bolt::KEY_MAX
)]
pub struct TooLong {
    /// Of whom.
    what: &'static str,
    /// In bytes.
    len: usize,
}

impl Export {
    /// Measures what is to be written of an image, taken in this term. Takes a walk through all records.
    ///
    /// # Errors
    /// [`TooLong`]
    pub fn new(image: Image, term: u64) -> Result<Self, TooLong> {
        check_names("user", image.auth().users().map(|user| &user.name))?;
        check_names("role", image.auth().roles().map(|role| &role.name))?;
        let tables = tables(&image, term);
        let layout = Layout::of(buckets(&image, &tables));
        let version = cluster_text(image.tables().cluster_version());
        Ok(Self {
            image,
            tables,
            layout,
            version,
        })
    }

    /// The length in bytes of what is written: a multiple of 4096, without a hash.
    #[must_use]
    pub const fn len_bytes(&self) -> u64 {
        self.layout.len_bytes()
    }

    /// Writes it in pieces, a page or some pages each.
    ///
    /// # Errors
    /// The first error of `out`.
    pub fn write<X>(&self, out: impl FnMut(&[u8]) -> Result<(), X>) -> Result<(), X> {
        self.layout.write(buckets(&self.image, &self.tables), out)
    }
}

fn check_names<'a>(
    what: &'static str,
    mut names: impl Iterator<Item = &'a String>,
) -> Result<(), TooLong> {
    match names.find(|name| name.len() > bolt::KEY_MAX) {
        Some(name) => Err(TooLong {
            what,
            len: name.len(),
        }),
        None => Ok(()),
    }
}

fn buckets<'a>(
    image: &'a Image,
    tables: &'a Tables,
) -> impl Iterator<Item = Bucket<Box<dyn Iterator<Item = Row<'a>> + 'a>>> {
    schema::BUCKETS.into_iter().map(|name| {
        let entries: Box<dyn Iterator<Item = Row<'a>>> = if name == schema::KEY {
            Box::new(image.changes().map(Row::write))
        } else {
            let table = tables.get(name).into_iter().flatten();
            Box::new(table.map(|(key, value)| Row::Plain(key, value)))
        };
        Bucket { name, entries }
    })
}

/// An entry of a bucket.
enum Row<'a> {
    Plain(&'a [u8], &'a [u8]),
    Write(RevisionKey, Change),
}

impl Row<'_> {
    fn write(change: Change) -> Self {
        Self::Write(
            RevisionKey::new(change.revision(), change.is_delete()),
            change,
        )
    }
}

/// etcd stores nothing but the key of a deletion.
fn deletion(change: &Change) -> KeyValue {
    KeyValue {
        key: change.key().clone(),
        ..KeyValue::default()
    }
}

impl Entry for Row<'_> {
    fn key(&self) -> &[u8] {
        match self {
            Self::Plain(key, _) => key,
            Self::Write(key, _) => key.as_bytes(),
        }
    }

    fn value_len(&self) -> usize {
        match self {
            Self::Plain(_, value) => value.len(),
            Self::Write(_, change) if change.is_delete() => deletion(change).encoded_len(),
            Self::Write(_, change) => change.kv().encoded_len(),
        }
    }

    fn put_value(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Plain(_, value) => bytes.extend_from_slice(value),
            Self::Write(_, change) if change.is_delete() => deletion(change).encode_raw(bytes),
            Self::Write(_, change) => change.kv().encode_raw(bytes),
        }
    }
}

fn tables(image: &Image, term: u64) -> Tables {
    let store = image.tables();
    let members = store.members();
    let member = |it: &store::Member| (schema::member_key(it.id), schema::member_value(it));
    let removed = |id| (schema::member_key(id), b"removed".to_vec());
    Tables::from([
        (schema::ALARM, alarms(&store)),
        (schema::AUTH, auth(image.auth())),
        (schema::AUTH_ROLES, image.auth().roles().map(role).collect()),
        (schema::AUTH_USERS, image.auth().users().map(user).collect()),
        (schema::CLUSTER, cluster(&store)),
        (schema::LEASE, store.leases().iter().map(lease).collect()),
        (schema::MEMBERS, members.iter().map(member).collect()),
        (
            schema::MEMBERS_REMOVED,
            members.removed().map(removed).collect(),
        ),
        (schema::META, meta(&store, term)),
    ])
}

fn cluster(store: &Store) -> Table {
    let version = cluster_text(store.cluster_version());
    let mut cluster = Table::from([(schema::CLUSTER_VERSION.to_vec(), version.into_bytes())]);
    if let Some(target) = store.downgrade() {
        let downgrade =
            serde_json::json!({ "target-version": format!("{target}.0"), "enabled": true });
        cluster.insert(
            schema::DOWNGRADE.to_vec(),
            downgrade.to_string().into_bytes(),
        );
    }
    cluster
}

/// `leasepb.Lease` has the same fields.
fn lease(lease: &Lease) -> (Vec<u8>, Vec<u8>) {
    (lease.id.to_be_bytes().to_vec(), lease.encode_to_vec())
}

fn auth(auth: &Auth) -> Table {
    let revision = auth.revision().to_be_bytes().to_vec();
    let mut table = Table::from([(schema::AUTH_REVISION.to_vec(), revision)]);
    if auth.is_enabled() {
        table.insert(schema::AUTH_ENABLED.to_vec(), vec![1]);
    }
    table
}

fn role(role: &Role) -> (Vec<u8>, Vec<u8>) {
    (role.name.clone().into_bytes(), role.encode_to_vec())
}

fn user(user: &User) -> (Vec<u8>, Vec<u8>) {
    let value = UserValue::from(user).encode_to_vec();
    (user.name.clone().into_bytes(), value)
}

fn alarms(store: &Store) -> Table {
    let alarm = |it: store::Alarm| {
        let alarm = AlarmMember {
            member_id: it.member,
            alarm: it.kind,
        };
        (alarm.encode_to_vec(), Vec::new())
    };
    store.alarms().iter().map(alarm).collect()
}

fn meta(store: &Store, term: u64) -> Table {
    let number = |number: u64| number.to_be_bytes().to_vec();
    let mut meta = Table::from([
        (
            schema::CONSISTENT_INDEX.to_vec(),
            number(store.applied_index()),
        ),
        (schema::TERM.to_vec(), number(term)),
        (
            schema::CONF_STATE.to_vec(),
            schema::conf_state(store.members()),
        ),
    ]);
    let version = store.cluster_version();
    if version.is_none_or(|version| version >= FIRST_TO_SAY) {
        let text = cluster_text(version);
        meta.insert(schema::STORAGE_VERSION.to_vec(), text.into_bytes());
    }
    let main = store.compact_revision();
    if main > 0 {
        let at = RevisionKey::new(Revision { main, sub: 0 }, false);
        for key in [schema::SCHEDULED_COMPACT, schema::FINISHED_COMPACT] {
            meta.insert(key.to_vec(), at.as_bytes().to_vec());
        }
    }
    meta
}
