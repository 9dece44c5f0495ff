//! Members without space: the alarm, and what makes room.
//!
//! It deliberately counts no bytes: a disk is tidy or it is not.

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
}

impl State {
    pub(super) fn defragment(&mut self, url: &str) -> Result<(), &'static str> {
        let process = self.processes.get(url).ok_or("gone")?;
        let disk = self.disks.get_mut(&process.claim_uid).ok_or("gone")?;
        disk.tidy = true;
        Ok(())
    }

    pub(super) fn disarm(&mut self, url: &str, id: u64) -> Result<(), &'static str> {
        let cluster = self.writable(url)?;
        let cluster = self.clusters.get_mut(&cluster).expect("it answered");
        cluster.alarms.remove(&id);
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
