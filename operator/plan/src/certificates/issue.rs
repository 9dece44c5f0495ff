//! What the operator is to sign, and by which CA: the planner's order to the executor.
//!
//! It deliberately holds no key.

use k8s_openapi::api::core::v1::Secret;

use crate::{action::Target, names::Surface};

/// Certificates to be made and kept in one Secret.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    /// Whose certificates.
    pub surface: Surface,
    /// The Secret, without what is in it.
    pub secret: Box<Secret>,
    /// The Secret as it was seen, whose certificates are replaced; none if it is to be created.
    pub replaces: Option<Target>,
    /// The resource version of that one.
    pub version: Option<String>,
    /// Who signs.
    pub authority: Authority,
    /// What is signed.
    pub leaves: Vec<Leaf>,
}

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// A new CA, kept in the same Secret as `ca.crt` and `ca.key`.
    New {
        /// Its common name.
        common_name: String,
    },
    /// The CA in this Secret, by the uid that was seen.
    Kept {
        /// The Secret.
        secret: Target,
    },
    /// Nobody. In this Secret a new CA is made beside the one that signs, as `next-ca.crt` and `next-ca.key`, and `ca.crt` has
    /// both.
    Beside {
        /// The Secret.
        secret: Target,
        /// The new CA's common name.
        common_name: String,
    },
    /// The CA that was made beside the other, from now on; `ca.crt` keeps both.
    Next {
        /// The Secret.
        secret: Target,
    },
    /// Nobody. Only the CA that signs stays in `ca.crt`.
    Alone {
        /// The Secret.
        secret: Target,
    },
}

/// A certificate to be signed, kept as `<file>.crt` and `<file>.key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Stem of its entries.
    pub file: &'static str,
    /// Whom it names.
    pub common_name: String,
    /// Hosts, by name or address, that it proves to be; none for one that only dials.
    pub hosts: Vec<String>,
}
