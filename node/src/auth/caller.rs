//! What a request shows of whoever sent it, and whom that makes him.
//!
//! What this module deliberately does not do: find out whether a token is one.

use std::fmt;

use store::{Auth, Author};
use tonic::Request;
use tonic::metadata::MetadataMap;

use crate::tls::ClientIdentity;

/// Where a token is looked for, in this order: etcd's clients use the first, its gateway the second.
const TOKEN_FIELDS: [&str; 2] = ["token", "authorization"];
/// What requests carry that came through the JSON gateway. Whose certificate their connection shows says nothing, as in etcd.
const OF_GATEWAY: &str = "grpcgateway-accept";

/// The token and the certificate's common name of one request.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    pub(super) token: Option<String>,
    pub(super) common_name: Option<String>,
}

impl Credentials {
    /// Those of a request.
    #[must_use]
    pub fn of<T>(request: &Request<T>) -> Self {
        let metadata = request.metadata();
        let identity = request.extensions().get::<ClientIdentity>();
        let is_direct = !metadata.contains_key(OF_GATEWAY);
        let identity = identity.filter(|_| is_direct);
        Self {
            token: token(metadata),
            common_name: identity.and_then(|identity| identity.common_name.clone()),
        }
    }
}

fn token(metadata: &MetadataMap) -> Option<String> {
    let value = TOKEN_FIELDS.iter().find_map(|name| metadata.get(*name))?;
    let value = String::from_utf8_lossy(value.as_bytes());
    Some(value.strip_prefix("Bearer ").unwrap_or(&value).to_owned())
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("has_token", &self.token.is_some())
            .field("common_name", &self.common_name)
            .finish()
    }
}

/// Somebody who was found to be who he says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's name.
    pub name: String,
    /// The revision of users and roles that his token carries; none if it says nothing: then he is judged as of now.
    pub revision: Option<u64>,
}

impl Caller {
    /// The author of what he wants, where users and roles are as in `auth`.
    #[must_use]
    pub fn author(&self, auth: &Auth) -> Author {
        Author {
            name: self.name.clone(),
            revision: self.revision.unwrap_or_else(|| auth.revision()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&'static str, &str)]) -> Credentials {
        let mut request = Request::new(());
        for (name, value) in fields {
            let value = value.parse().unwrap();
            request.metadata_mut().append(*name, value);
        }
        let common_name = Some("cn".to_owned());
        request
            .extensions_mut()
            .insert(ClientIdentity { common_name });
        Credentials::of(&request)
    }

    #[test]
    fn a_token_stands_in_one_of_two_fields() {
        let token = |fields| of(fields).token;
        assert_eq!(token(&[]), None);
        assert_eq!(token(&[("token", "a.1")]).as_deref(), Some("a.1"));
        let both = [("authorization", "b.2"), ("token", "a.1"), ("token", "c.3")];
        assert_eq!(token(&both).as_deref(), Some("a.1"));
        assert_eq!(token(&[("authorization", "b.2")]).as_deref(), Some("b.2"));
        let bearer = [("authorization", "Bearer b.2")];
        assert_eq!(token(&bearer).as_deref(), Some("b.2"));
    }

    #[test]
    fn the_gateways_own_certificate_is_nobodys() {
        assert_eq!(of(&[]).common_name.as_deref(), Some("cn"));
        assert_eq!(of(&[("grpcgateway-accept", "*/*")]).common_name, None);
    }

    #[test]
    fn a_token_does_not_show() {
        let shown = format!("{:?}", of(&[("token", "abcdef.1")]));
        assert!(!shown.contains("abcdef"), "{shown}");
    }
}
