//! How the versions of an engine follow upon each other, and why one cannot run on what the members hold.
//!
//! It deliberately does not know what stands in a member's log: etcd says of its data which version they are of, and nothing of
//! its log. Entries that 3.5 wrote and no snapshot has covered yet make 3.7 fail; `docs/decisions/0012-stock-etcd.md` says how
//! to leave them behind.

use super::version::{Minor, Version};
use crate::view::Member;

/// Data of one minor version are read by itself and by the next.
#[derive(Debug)]
pub(super) struct Lineage {
    /// The oldest version that can be run.
    pub(super) oldest: Version,
    /// Why none older can.
    pub(super) why: &'static str,
    /// The newest minor version that has been run by us.
    pub(super) newest: Minor,
    /// Of each minor version, the oldest patch that the next minor version can follow in a cluster that goes on serving.
    pub(super) stepping_stones: &'static [Version],
}

impl Lineage {
    /// Why this version cannot run on the members' data, and the way out.
    pub(super) fn fault<'m, 'a: 'm>(
        &self,
        name: &str,
        asked: Version,
        members: impl Iterator<Item = &'m Member<'a>> + Clone,
    ) -> Option<String> {
        let fault = self.too_old(asked);
        let fault = fault.or_else(|| goes_back(asked.0, members.clone()));
        let fault = fault.or_else(|| skips(asked.0, members.clone()));
        let fault = fault.or_else(|| self.too_early(asked.0, members))?;
        Some(format!("{name} {fault}"))
    }

    fn too_old(&self, asked: Version) -> Option<String> {
        let (oldest, why, newest) = (self.oldest, self.why, self.newest);
        (asked < oldest).then(|| {
            format!("{asked} cannot be run: {why}; choose {oldest} or newer, up to {newest}")
        })
    }

    fn too_early<'m, 'a: 'm>(
        &self,
        asked: Minor,
        members: impl Iterator<Item = &'m Member<'a>>,
    ) -> Option<String> {
        let mut running = members.filter_map(|it| Some((running(it)?, &it.name)));
        let stone = |it: Version| {
            let mut stones = self.stepping_stones.iter();
            stones.find(|stone| stone.0 == it.0 && it < **stone)
        };
        running.find_map(|(running, member)| {
            let stone = stone(running).filter(|_| running.0 < asked)?;
            Some(format!(
                "{asked} cannot follow {running}, which {member} runs: choose {stone} or newer first, and {asked} when all \
                 members run that"
            ))
        })
    }
}

fn goes_back<'m, 'a: 'm>(
    asked: Minor,
    members: impl Iterator<Item = &'m Member<'a>>,
) -> Option<String> {
    let newest = members.filter_map(|it| Some((held(it)?, &it.name))).max();
    let (held, member) = newest.filter(|(held, _)| asked < *held)?;
    Some(format!(
        "{asked} cannot read the data of {member}, which are those of {held}; set the image back to {held}, or, to go back one \
         minor version, run `etcdctl downgrade enable {asked}` on the cluster and wait"
    ))
}

fn skips<'m, 'a: 'm>(
    asked: Minor,
    members: impl Iterator<Item = &'m Member<'a>>,
) -> Option<String> {
    let oldest = members.filter_map(|it| Some((held(it)?, &it.name))).min();
    let (held, member) = oldest.filter(|(held, _)| asked > held.next())?;
    let next = held.next();
    Some(format!(
        "{asked} cannot read the data of {member}, which are those of {held}: no minor version can be skipped; choose {next} \
         first, and {asked} when all members run it"
    ))
}

fn running(member: &Member<'_>) -> Option<Version> {
    Version::parse(&member.answer?.version)
}

/// The minor version whose data a member holds: what it says of its storage; 3.5 says nothing, and its data are its own. For a
/// moment after the founding a member says 3.5 whatever it is; but it runs, so its data cannot be older than the version before.
fn held(member: &Member<'_>) -> Option<Minor> {
    let running = running(member)?.0;
    let storage = member.answer?.storage_version.as_deref();
    let storage = storage.and_then(Version::parse);
    Some(storage.map_or(running, |it| it.0.max(running.before())))
}
