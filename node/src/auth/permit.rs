//! What a read needs.
//!
//! What this module deliberately does not do: judge what goes into the log; the store does, when it is applied.

use store::{Access, AuthError, Author, Store, StoreError};

use super::Caller;
use crate::event::{Need, Read};

/// Whether this caller may read this, of this store.
pub(crate) fn check_read(
    store: &Store,
    caller: Option<&Caller>,
    read: &Read,
) -> Result<(), StoreError> {
    let auth = store.auth();
    let author = caller.map(|caller| caller.author(auth));
    let author = author.as_ref();
    match read {
        Read::Range(range) | Read::Page(range) => {
            auth.access(author).read(&range.key, &range.range_end)?
        }
        Read::Txn(txn) => store.check_txn(txn, author)?,
        Read::Members | Read::Membership => auth.check_known(author)?,
        Read::Leases => {
            auth.check_known(author)?;
            let ids = store.leases().iter().map(|lease| lease.id);
            check_keys(store, author, ids, |access, key| access.read(key, &[]))?;
        }
        Read::Permit(Need::WriteKeysOf(id)) => {
            auth.check_known(author)?;
            check_keys(store, author, [*id], |access, key| access.write(key, &[]))?;
        }
        Read::Permit(Need::ReadKeysOf(id)) => {
            auth.check_known(author)?;
            check_keys(store, author, [*id], |access, key| access.read(key, &[]))?;
        }
        _ => {}
    }
    // A token of a revision to come is refused where keys are read and nowhere else, as in etcd, and in its words.
    let reads_keys = matches!(read, Read::Range(_) | Read::Page(_) | Read::Txn(_));
    let is_of_later = |author: &Author| author.revision > auth.revision();
    if reads_keys && auth.is_enabled() && author.is_some_and(is_of_later) {
        return Err(AuthError::OldRevision.into());
    }
    Ok(())
}

/// Whether this author may do this with every key that hangs on these leases; whoever is root may, as of whatever revision.
fn check_keys(
    store: &Store,
    author: Option<&Author>,
    leases: impl IntoIterator<Item = i64>,
    may: impl Fn(Access<'_>, &[u8]) -> Result<(), AuthError>,
) -> Result<(), AuthError> {
    let auth = store.auth();
    if auth.check_root(author).is_ok() {
        return Ok(());
    }
    let access = auth.access(author);
    let existing = leases
        .into_iter()
        .filter(|id| store.leases().find(*id).is_some());
    let mut keys = existing.flat_map(|id| store.leases().keys(id));
    keys.try_for_each(|key| may(access, key))
}
