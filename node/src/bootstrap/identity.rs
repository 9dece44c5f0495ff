//! Who is who in a new cluster.
//!
//! Ids are drawn as etcd draws them: the first eight bytes of a hash over sorted peer URLs, the cluster's token and, for
//! members that are added later, the time. Every founding member computes the same ids from the same flags, and a cluster
//! founded with another token is another cluster.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use store::Member;

use crate::config::Url;
use crate::storage::Identity;

/// The founding members by their flags, sorted by id.
pub(crate) fn founding_members(cluster: &BTreeMap<String, Vec<Url>>, token: &str) -> Vec<Member> {
    let member = |(name, urls): (&String, &Vec<Url>)| {
        let peer_urls: Vec<String> = urls.iter().map(ToString::to_string).collect();
        let id = member_id(&peer_urls, token, None);
        Member {
            id,
            name: name.clone(),
            peer_urls,
            ..Member::default()
        }
    };
    let mut members: Vec<Member> = cluster.iter().map(member).collect();
    members.sort_by_key(|member| member.id);
    members
}

/// Who of them has this name, which the flags were checked to list.
pub(crate) fn founding_identity(members: &[Member], name: &str) -> Identity {
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let me = members.iter().find(|member| member.name == name);
    let member_id = me.expect("the flags were checked to list this member").id;
    Identity {
        cluster_id: cluster_id(&ids),
        member_id,
    }
}

/// The id of a member: never 0, which means nobody.
#[must_use]
pub fn member_id(peer_urls: &[String], token: &str, added_at: Option<u128>) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort();
    let mut text = urls.concat();
    text.push_str(token);
    if let Some(time) = added_at {
        text.push_str(&time.to_string());
    }
    first_eight(text.as_bytes())
}

/// The id of a cluster that these members found.
#[must_use]
pub fn cluster_id(member_ids: &[u64]) -> u64 {
    let mut ids = member_ids.to_vec();
    ids.sort_unstable();
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_be_bytes()).collect();
    first_eight(&bytes)
}

fn first_eight(bytes: &[u8]) -> u64 {
    let hash = Sha256::digest(bytes);
    let (first, _) = hash.split_first_chunk().expect("a SHA-256 has 32 bytes");
    u64::from_be_bytes(*first).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_members_id_depends_on_urls_token_and_time_but_not_on_the_order_of_urls() {
        let id = member_id(&urls(&["http://a:1", "http://b:2"]), "token", None);
        assert_eq!(
            id,
            member_id(&urls(&["http://b:2", "http://a:1"]), "token", None)
        );
        assert_ne!(
            id,
            member_id(&urls(&["http://a:1", "http://b:3"]), "token", None)
        );
        assert_ne!(
            id,
            member_id(&urls(&["http://a:1", "http://b:2"]), "other", None)
        );
        assert_ne!(
            id,
            member_id(&urls(&["http://a:1", "http://b:2"]), "token", Some(1))
        );
    }

    #[test]
    fn every_founding_member_computes_the_same_cluster() {
        let cluster = |names: &[&str]| {
            names
                .iter()
                .map(|name| ((*name).to_owned(), vec![Url::new(*name, 2380)]))
                .collect()
        };
        let members = founding_members(&cluster(&["a", "b", "c"]), "token");
        assert_eq!(
            members,
            founding_members(&cluster(&["c", "a", "b"]), "token")
        );
        let identity = |name| founding_identity(&members, name);
        assert_eq!(identity("a").cluster_id, identity("b").cluster_id);
        assert_ne!(identity("a").member_id, identity("b").member_id);
        let other = founding_members(&cluster(&["a", "b", "c"]), "another token");
        assert_ne!(
            founding_identity(&other, "a").cluster_id,
            identity("a").cluster_id
        );
    }
}
