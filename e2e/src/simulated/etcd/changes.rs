//! Changes of the membership and of who leads, and the texts with which etcd refuses them.
//!
//! It deliberately notes only what the change itself shows to be wrong: what stopping members breaks is in `rules.rs`.

use plan::Listed;

use super::{Model, State};

impl Model {
    /// From now on whoever leads takes the others for lost, as an etcd does that hears late of an old connection's end: it serves, and
    /// puts off every change of the membership.
    ///
    /// # Panics
    /// If there is no cluster.
    pub fn leader_believes_itself_alone(&self) {
        let mut state = self.state();
        let leader = state.clusters.values().map(|it| it.leader).next();
        state.alone = Some(leader.expect("there is a cluster"));
    }
}

impl State {
    /// The cluster of the process at `url`, if it can be changed through it.
    pub(super) fn writable(&mut self, url: &str) -> Result<u64, &'static str> {
        let answer = self.answer(url).ok_or("gone")?;
        if answer.is_learner {
            return Err("etcdserver: rpc not supported for learner");
        }
        if answer.leader_id == 0 {
            return Err("etcdserver: no leader");
        }
        Ok(answer.cluster_id)
    }

    /// Whether the member at `url` takes the others for lost.
    fn is_alone(&self, url: &str) -> bool {
        let asked = self.answer(url).map(|it| it.member_id);
        asked.is_some() && asked == self.alone
    }

    pub(super) fn add(&mut self, url: &str, peer_url: &str) -> Result<u64, &'static str> {
        let (cluster, id) = (self.writable(url)?, self.ids + 1);
        if self.is_alone(url) {
            return Err("etcdserver: unhealthy cluster");
        }
        let processes = self.processes.values();
        let room = processes.map(|it| it.max_learners).min().unwrap_or(1);
        let members = &mut self
            .clusters
            .get_mut(&cluster)
            .expect("it answered")
            .members;
        if members
            .iter()
            .any(|member| member.peer_urls.iter().any(|url| url == peer_url))
        {
            return Err("etcdserver: Peer URLs already exists");
        }
        if members.iter().filter(|member| member.is_learner).count() >= room {
            return Err("etcdserver: too many learner members in cluster");
        }
        let id = 0x1000 + id;
        let (name, peer_urls) = (String::new(), vec![peer_url.to_owned()]);
        members.push(Listed {
            id,
            name,
            peer_urls,
            is_learner: true,
        });
        self.ids += 1;
        Ok(id)
    }

    pub(super) fn promote(&mut self, url: &str, id: u64) -> Result<(), &'static str> {
        let cluster = self.writable(url)?;
        let index = self.clusters[&cluster].index;
        let caught_up = self.process(cluster, id).is_some_and(|process| {
            let applied = self.disks[&process.claim_uid].applied;
            applied * 10 >= index * 9
        });
        let members = &mut self
            .clusters
            .get_mut(&cluster)
            .expect("it answered")
            .members;
        let member = members
            .iter_mut()
            .find(|member| member.id == id)
            .ok_or("etcdserver: member not found")?;
        if !member.is_learner {
            return Err("etcdserver: can only promote a learner member");
        }
        if !caught_up {
            return Err(
                "etcdserver: can only promote a learner member which is in sync with leader",
            );
        }
        member.is_learner = false;
        Ok(())
    }

    pub(super) fn remove(&mut self, url: &str, id: u64) -> Result<(), &'static str> {
        let cluster = self.writable(url)?;
        if self.is_alone(url) {
            return Err("etcdserver: unhealthy cluster");
        }
        let members = &self.clusters[&cluster].members;
        let member = members
            .iter()
            .find(|member| member.id == id)
            .ok_or("etcdserver: member not found")?
            .clone();
        let (voters, running) = self.voters(cluster);
        let left = running.iter().filter(|running| **running != id).count();
        if !member.is_learner && left * 2 < voters.len() {
            return Err("etcdserver: re-configuration failed due to not enough started members");
        }
        if self.clusters[&cluster].leader == id && left > 0 {
            self.violations.push(format!(
                "the leader {} was removed without a hand-over",
                member.name
            ));
        }
        let cluster = self.clusters.get_mut(&cluster).expect("it answered");
        cluster.members.retain(|member| member.id != id);
        Ok(())
    }

    pub(super) fn update_peer_url(
        &mut self,
        url: &str,
        id: u64,
        to: &str,
    ) -> Result<(), &'static str> {
        let cluster = self.writable(url)?;
        let members = &mut self
            .clusters
            .get_mut(&cluster)
            .expect("it answered")
            .members;
        let taken = |it: &Listed| it.id != id && it.peer_urls.iter().any(|url| url == to);
        if members.iter().any(taken) {
            return Err("etcdserver: Peer URLs already exists");
        }
        let member = members.iter_mut().find(|it| it.id == id);
        let member = member.ok_or("etcdserver: member not found")?;
        member.peer_urls = vec![to.to_owned()];
        self.note_unreachable_peers(cluster);
        Ok(())
    }

    pub(super) fn move_leader(&mut self, url: &str, to: u64) -> Result<(), &'static str> {
        let cluster = self.writable(url)?;
        let asked = self.answer(url).map_or(0, |answer| answer.member_id);
        if self.clusters[&cluster].leader != asked {
            return Err("etcdserver: not leader");
        }
        if !self.voters(cluster).1.contains(&to) {
            return Err("etcdserver: bad leader transferee");
        }
        let cluster = self.clusters.get_mut(&cluster).expect("it answered");
        if cluster.leader != to {
            (cluster.leader, cluster.term) = (to, cluster.term + 1);
        }
        Ok(())
    }
}
