//! Who may do what: every command and every read is judged here, against users and roles as they are.
//!
//! - A transaction needs its permissions in every branch, taken or not, and in every transaction nested in it; each compare
//!   needs to read. (etcd once looked at the outermost operations alone: CVE-2026-33343.)
//! - A put that asks for the value before it, and a deletion that does, needs to read as well, inside a transaction as outside.
//!   (etcd once forgot the first inside: fixed in 3.6.11.)
//! - A put under a lease, and the end of one, needs to write every key that hangs on it.
//!
//! What this module deliberately does not do: judge compactions, changes of the membership, alarms and the like. The node
//! lets only those propose them who have the role `root`, as etcd does.

use super::{Auth, AuthError, AuthRequest, Author, Granted};
use crate::{
    Command, Compare, DeleteRangeRequest, Leases, Op, PutRequest, RequestOp, StoreError, TxnRequest,
};

/// What somebody may do with keys.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a>(Keys<'a>);

#[derive(Clone, Copy, Debug)]
enum Keys<'a> {
    All,
    Some(&'a Granted),
    None(AuthError),
}

impl Access<'_> {
    /// Whether the range, under etcd's rule for `range_end`, may be read and watched.
    ///
    /// # Errors
    /// Why not.
    pub fn read(self, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        self.check(|granted| granted.read.contain(key, range_end))
    }

    /// Whether the range may be put and deleted.
    ///
    /// # Errors
    /// Why not.
    pub fn write(self, key: &[u8], range_end: &[u8]) -> Result<(), AuthError> {
        self.check(|granted| granted.write.contain(key, range_end))
    }

    fn check(self, allows: impl FnOnce(&Granted) -> bool) -> Result<(), AuthError> {
        match self.0 {
            Keys::All => Ok(()),
            Keys::Some(granted) if allows(granted) => Ok(()),
            Keys::Some(_) => Err(AuthError::PermissionDenied),
            Keys::None(why) => Err(why),
        }
    }
}

impl Auth {
    /// What this author may do with keys, now; everybody may do everything while authentication is off.
    #[must_use]
    pub fn access(&self, author: Option<&Author>) -> Access<'_> {
        if !self.enabled {
            return Access(Keys::All);
        }
        let Some(Author { name, revision }) = author.filter(|author| author.revision > 0) else {
            return Access(Keys::None(AuthError::UserEmpty));
        };
        Access(match self.accounts.get(name) {
            _ if *revision < self.revision => Keys::None(AuthError::OldRevision),
            None => Keys::None(AuthError::PermissionDenied),
            Some(account) if account.user.is_root() => Keys::All,
            Some(account) => Keys::Some(&account.granted),
        })
    }

    /// Whether this author may do what needs the role `root`. His revision does not matter, as in etcd.
    ///
    /// # Errors
    /// Why not.
    pub fn check_root(&self, author: Option<&Author>) -> Result<(), AuthError> {
        if !self.enabled {
            return Ok(());
        }
        let name = author.map_or("", |author| &author.name);
        if name.is_empty() {
            return Err(AuthError::UserEmpty);
        }
        let user = self.user(name).ok_or(AuthError::UserNotFound)?;
        if user.is_root() {
            Ok(())
        } else {
            Err(AuthError::PermissionDenied)
        }
    }

    /// Whether somebody asks, whoever it is.
    ///
    /// # Errors
    /// That nobody does.
    pub fn check_known(&self, author: Option<&Author>) -> Result<(), AuthError> {
        if self.enabled && author.is_none() {
            return Err(AuthError::UserEmpty);
        }
        Ok(())
    }
}

/// Judges one command, or one transaction that reads.
pub(crate) struct Permit<'a> {
    auth: &'a Auth,
    author: Option<&'a Author>,
    access: Access<'a>,
    leases: &'a Leases,
}

impl<'a> Permit<'a> {
    pub(crate) fn new(auth: &'a Auth, leases: &'a Leases, author: Option<&'a Author>) -> Self {
        Self {
            auth,
            author,
            access: auth.access(author),
            leases,
        }
    }

    pub(crate) fn check(&self, command: &Command) -> Result<(), StoreError> {
        match command {
            Command::Put(put) => self.check_put(put)?,
            Command::DeleteRange(delete) => self.check_delete(delete)?,
            Command::Txn(txn) => self.check_txn(txn)?,
            Command::LeaseRevoke(revoke) => self.check_lease(revoke.id)?,
            Command::Auth(command) => match &command.request {
                // Whoever knows the password may.
                Some(AuthRequest::Authenticate(_)) | None => {}
                Some(_) => self.auth.check_root(self.author)?,
            },
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn check_txn(&self, txn: &TxnRequest) -> Result<(), AuthError> {
        let TxnRequest {
            compare,
            success,
            failure,
        } = txn;
        for Compare { key, range_end, .. } in compare {
            self.access.read(key, range_end)?;
        }
        let mut both = success.iter().chain(failure);
        both.try_for_each(|op| self.check_op(op))
    }

    fn check_op(&self, op: &RequestOp) -> Result<(), AuthError> {
        match &op.request {
            Some(Op::Range(range)) => self.access.read(&range.key, &range.range_end),
            Some(Op::Put(put)) => self.check_put(put),
            Some(Op::DeleteRange(delete)) => self.check_delete(delete),
            Some(Op::Txn(txn)) => self.check_txn(txn),
            None => Ok(()),
        }
    }

    fn check_put(&self, put: &PutRequest) -> Result<(), AuthError> {
        self.access.write(&put.key, &[])?;
        self.check_lease(put.lease)?;
        if put.prev_kv {
            self.access.read(&put.key, &[])?;
        }
        Ok(())
    }

    fn check_delete(&self, delete: &DeleteRangeRequest) -> Result<(), AuthError> {
        self.access.write(&delete.key, &delete.range_end)?;
        if delete.prev_kv {
            self.access.read(&delete.key, &delete.range_end)?;
        }
        Ok(())
    }

    fn check_lease(&self, id: i64) -> Result<(), AuthError> {
        let exists = self.leases.find(id).is_some();
        if !exists || self.auth.check_root(self.author).is_ok() {
            return Ok(());
        }
        let mut keys = self.leases.keys(id);
        keys.try_for_each(|key| self.access.write(key, &[]))
    }
}
