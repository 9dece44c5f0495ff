//! What no operator may do to the members, noted where it is seen.
//!
//! It deliberately forbids nothing: what is done is done, and the list of violations says so.

use super::start::way;
use super::{CATCH_UP, Disk, Process, Start, State};

impl State {
    /// A leader must have handed over before the operator stops it.
    pub(super) fn note_abandoned_leadership(&mut self, url: &str) {
        let disk = self.disks[&self.processes[url].claim_uid];
        let (_, running) = self.voters(disk.cluster);
        let is_member = self.clusters[&disk.cluster]
            .members
            .iter()
            .any(|member| member.id == disk.id);
        let leads = is_member && self.clusters[&disk.cluster].leader == disk.id;
        if leads && running.len() > 1 && !self.may_stop() {
            self.violations.push(format!(
                "the leader at {url} was stopped without a hand-over"
            ));
        }
    }

    /// A voter that has lost its data has forgotten whom it voted for: a new one has to take its place.
    pub(super) fn note_empty_voter(&mut self, start: &Start, disk: Disk) {
        let mut members = self.clusters[&disk.cluster].members.iter();
        let votes = members.any(|member| member.id == disk.id && !member.is_learner);
        if votes && !start.new {
            self.violations
                .push(format!("the voter {} starts without its data", start.name));
        }
    }

    /// Who runs must listen where the membership has the others look for it, and all others who run must be able to dial that.
    pub(super) fn note_unreachable_peers(&mut self, cluster: u64) {
        let of_it = |it: &&Process| self.disks[&it.claim_uid].cluster == cluster;
        let running = || self.processes.values().filter(of_it);
        let secret = running().all(|it| it.has_certificate);
        let mut lost = Vec::new();
        for process in running() {
            let id = self.disks[&process.claim_uid].id;
            let members = self.clusters[&cluster].members.iter();
            let urls = members
                .filter(|it| it.id == id)
                .flat_map(|it| &it.peer_urls);
            let is_reached = |url: &&String| {
                let dialed = secret || !url.starts_with("https:");
                dialed && process.listens.contains(&way(url))
            };
            lost.extend(urls.filter(|it| !is_reached(it)).cloned());
        }
        let lost = lost.into_iter();
        let sentences = lost.map(|url| format!("peers cannot reach {url}"));
        self.violations.extend(sentences);
    }

    /// Of three or more voters, one must not be stopped by the operator while those left are no caught-up majority.
    pub(super) fn note_lonely_majority(&mut self, url: &str) {
        let disk = self.disks[&self.processes[url].claim_uid];
        let (voters, running) = self.voters(disk.cluster);
        let is_caught_up = |id: &&u64| {
            let process = self.process(disk.cluster, **id);
            process.is_some_and(|process| process.steps > CATCH_UP)
        };
        let others = running.iter().filter(|id| **id != disk.id);
        let left = others.filter(is_caught_up).count();
        if voters.len() >= 3
            && running.contains(&disk.id)
            && left * 2 <= voters.len()
            && !self.may_stop()
            && !self.rebuilds.is_lost(disk.cluster)
        {
            self.violations.push(format!(
                "the voter at {url} was stopped while {left} of the other {} had caught up",
                voters.len() - 1
            ));
        }
    }
}
