//! Alarms: members without space, and what makes room; members whose data differ from the others'.
//!
//! It deliberately counts no bytes and holds no keys: a disk is tidy or it is not, and data differ because somebody says so.

use plan::Alarm;

use super::{Model, State};

impl Model {
    /// Members run out of space.
    pub fn fill(&self) {
        let mut state = self.state();
        let state = &mut *state;
        for disk in state.disks.values_mut() {
            disk.tidy = false;
            let cluster = state.clusters.get_mut(&disk.cluster);
            cluster
                .expect("a disk is of a cluster")
                .alarms
                .insert(disk.id);
        }
    }

    /// The data of so many voters, whoever leads among them, come to differ from the others'.
    pub fn corrupt(&self, count: usize) {
        let mut state = self.state();
        for cluster in state.clusters.values_mut() {
            let leader = cluster.leader;
            let mut voters: Vec<u64> = cluster
                .members
                .iter()
                .filter(|it| !it.is_learner)
                .map(|it| it.id)
                .collect();
            voters.sort_by_key(|id| (*id != leader, *id));
            cluster.corrupt.extend(voters.into_iter().take(count));
        }
    }

    /// A person has found out whose data are right, and takes the alarm back.
    pub fn trust(&self) {
        let mut state = self.state();
        for cluster in state.clusters.values_mut() {
            cluster.corrupt.clear();
        }
    }
}

impl State {
    pub(super) fn defragment(&mut self, url: &str) -> Result<(), &'static str> {
        let process = self.processes.get(url).ok_or("gone")?;
        let disk = self.disks.get_mut(&process.claim_uid).ok_or("gone")?;
        disk.tidy = true;
        Ok(())
    }

    pub(super) fn disarm(&mut self, url: &str, alarm: Alarm, id: u64) -> Result<(), &'static str> {
        let cluster = self.writable(url)?;
        let cluster = self.clusters.get_mut(&cluster).expect("it answered");
        match alarm {
            Alarm::NoSpace => cluster.alarms.remove(&id),
            Alarm::Corrupt => cluster.corrupt.remove(&id),
        };
        if alarm == Alarm::Corrupt && cluster.members.iter().any(|it| it.id == id) {
            let note = format!("the data of {id:x}, which differ, are served again");
            self.violations.push(note);
        }
        Ok(())
    }

    pub(super) fn compact(&mut self, url: &str, revision: i64) -> Result<(), &'static str> {
        let cluster = self.writable(url)?;
        let head = self.clusters[&cluster].index;
        if u64::try_from(revision).is_ok_and(|it| it > head) {
            return Err("etcdserver: mvcc: required revision is a future revision");
        }
        Ok(())
    }
}
