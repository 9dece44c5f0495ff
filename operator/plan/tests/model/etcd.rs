//! The members of the model: a membership, a log that only has a length, and who runs.

use std::collections::{BTreeMap, BTreeSet};

use plan::{Alarm, Ground, Listed};
use rand::Rng;
use rand::rngs::SmallRng;

/// What lies on a volume.
#[derive(Clone, Debug)]
pub(crate) struct Data {
    pub(crate) id: u64,
    pub(crate) applied: u64,
    /// Whether it has given back what it does not use.
    pub(crate) tidy: bool,
}

/// The etcd cluster.
#[derive(Default)]
pub(crate) struct Etcd {
    pub(crate) id: u64,
    pub(crate) list: Vec<Listed>,
    pub(crate) commit: u64,
    pub(crate) term: u64,
    pub(crate) leader: u64,
    /// Members that have raised the alarm NOSPACE.
    pub(crate) alarms: BTreeSet<u64>,
    /// Members that the alarm CORRUPT is about.
    pub(crate) corrupt: BTreeSet<u64>,
    /// The oldest revision that is kept.
    pub(crate) compacted: i64,
    /// Processes: pod name to the uid of the volume they run on.
    pub(crate) processes: BTreeMap<String, String>,
    /// Data by the uid of the claim.
    pub(crate) volumes: BTreeMap<String, Data>,
    /// What pods have restored, by their uids: the uid of the volume, and how far the data there go.
    pub(crate) restored: BTreeMap<String, (String, u64)>,
    /// Ids of members of a cluster that was lost and rebuilt.
    pub(crate) lost: BTreeSet<u64>,
    /// The pod whose work the cluster lives on, if it was rebuilt.
    pub(crate) rebuilt_by: Option<String>,
    /// Ids that have ever run: they must never run on an empty volume again.
    ran: BTreeSet<u64>,
    /// How many learners the process in each pod allows.
    room: BTreeMap<String, usize>,
    ids: u64,
}

impl Etcd {
    /// A process starts on a volume. Returns whether it runs.
    pub(crate) fn boot(&mut self, name: &str, volume: &str, args: &[String]) -> bool {
        let folder = args.iter().find_map(|it| it.strip_prefix("--data-dir="));
        let restorer = folder.and_then(|it| it.split_once("/restored-"));
        self.look_into(name, volume, restorer.map(|it| it.1), args);
        if !self.volumes.contains_key(volume) {
            let founds = args.iter().any(|it| it == "--initial-cluster-state=new");
            let entered = if founds {
                Some(self.found(name, args))
            } else {
                self.enter(name, args)
            };
            let Some(id) = entered else { return false };
            assert!(
                self.ran.insert(id),
                "{name} came back empty under the id {id:x}"
            );
            self.volumes.insert(
                volume.to_owned(),
                Data {
                    id,
                    applied: 0,
                    tidy: false,
                },
            );
        }
        assert!(
            !self.processes.values().any(|it| it == volume),
            "two pods on one volume"
        );
        let id = self.volumes[volume].id;
        assert!(!self.lost.contains(&id), "{name} runs for the lost cluster");
        if !self.list.iter().any(|it| it.id == id) {
            return false;
        }
        if let Some(listed) = self.list.iter_mut().find(|it| it.id == id) {
            name.clone_into(&mut listed.name);
        }
        let room = args
            .iter()
            .find_map(|it| it.strip_prefix("--max-learners="));
        let room = room.map_or(1, |it| it.parse().unwrap());
        self.room.insert(name.to_owned(), room);
        self.processes.insert(name.to_owned(), volume.to_owned());
        true
    }

    /// A pod makes a new cluster of a volume, beside what is there.
    pub(crate) fn restore(&mut self, pod: &str, uid: &str, volume: &str) {
        assert!(self.processes.is_empty(), "{pod} restores beside others");
        let applied = self.volumes[volume].applied;
        let held = (volume.to_owned(), applied);
        let before = self.restored.insert(uid.to_owned(), held);
        assert!(before.is_none(), "{pod} restores twice");
    }

    /// A process finds the folder that it was told: that of a new cluster, which is one from then on, or the one it knows.
    fn look_into(&mut self, name: &str, volume: &str, restorer: Option<&str>, args: &[String]) {
        let known = self
            .restored
            .get(self.rebuilt_by.as_deref().unwrap_or_default());
        let here = known.is_some_and(|it| it.0 == volume);
        let Some(restorer) = restorer.filter(|it| self.rebuilt_by.as_deref() != Some(*it)) else {
            assert_eq!(
                here,
                restorer.is_some(),
                "{name} runs on what was left behind"
            );
            return;
        };
        let (on, applied) = self.restored[restorer].clone();
        assert_eq!(on, volume, "{name} runs on another volume's data");
        assert!(
            self.processes.is_empty() && !here,
            "{name} makes a second cluster"
        );
        self.rebuilt_by = Some(restorer.to_owned());
        self.lost = (0..=self.ids).collect();
        (self.id, self.ids, self.leader, self.commit) = (self.id + 1, self.ids + 1, 0, applied);
        self.ran.insert(self.ids);
        self.volumes.get_mut(volume).unwrap().id = self.ids;
        self.list = vec![Listed {
            id: self.ids,
            name: name.to_owned(),
            peer_urls: advertised(args),
            is_learner: false,
        }];
    }

    fn found(&mut self, name: &str, args: &[String]) -> u64 {
        assert_eq!(self.id, 0, "{name} founds a second cluster");
        self.id = 0xc0ffee;
        self.ids = 0x100;
        self.list = vec![Listed {
            id: self.ids,
            name: name.to_owned(),
            peer_urls: advertised(args),
            is_learner: false,
        }];
        self.ids
    }

    /// A member with an empty volume finds itself in the membership, if it was told the right one.
    fn enter(&mut self, name: &str, args: &[String]) -> Option<u64> {
        if !self.quorate() {
            return None;
        }
        let told = args
            .iter()
            .find_map(|it| it.strip_prefix("--initial-cluster="))?;
        if told.split(',').count() != self.list.len() {
            return None;
        }
        let host = format!("//{name}.");
        self.list
            .iter()
            .find(|it| it.peer_urls[0].contains(&host))
            .map(|it| it.id)
    }

    /// The log grows, members follow, a leader is elected if there is none.
    pub(crate) fn tick(&mut self, running: &[String], rng: &mut SmallRng) {
        self.processes.retain(|name, _| running.contains(name));
        let ids: BTreeSet<u64> = self.list.iter().map(|it| it.id).collect();
        let volumes = &self.volumes;
        self.processes
            .retain(|_, volume| ids.contains(&volumes[volume].id));
        if !self.quorate() {
            self.leader = 0;
            return;
        }
        let alive: Vec<u64> = self.live_voters();
        if !alive.contains(&self.leader) {
            let ahead = alive
                .iter()
                .copied()
                .max_by_key(|id| self.applied(*id))
                .unwrap();
            (self.leader, self.term) = (ahead, self.term + 1);
        }
        self.commit += rng.random_range(0..400);
        let (leader, commit) = (self.leader, self.commit);
        for volume in self.processes.values() {
            let data = self.volumes.get_mut(volume).unwrap();
            let step = if data.id == leader {
                u64::MAX
            } else {
                rng.random_range(300..3000)
            };
            data.applied = commit.min(data.applied.saturating_add(step));
        }
    }

    fn applied(&self, id: u64) -> u64 {
        self.volumes
            .values()
            .find(|it| it.id == id)
            .map_or(0, |it| it.applied)
    }

    fn live_voters(&self) -> Vec<u64> {
        let voters: BTreeSet<u64> = self
            .list
            .iter()
            .filter(|it| !it.is_learner)
            .map(|it| it.id)
            .collect();
        let running = self.processes.values().map(|it| self.volumes[it].id);
        running.filter(|id| voters.contains(id)).collect()
    }

    /// How many members vote.
    pub(crate) fn voters(&self) -> usize {
        self.list.iter().filter(|it| !it.is_learner).count()
    }

    /// Whether a majority runs.
    pub(crate) fn quorate(&self) -> bool {
        self.id != 0 && 2 * self.live_voters().len() > self.voters()
    }

    /// Whether every voter has its data, those of all agree, and there are enough voters to lose those of one.
    pub(crate) fn can_spare_a_volume(&self) -> bool {
        let has_data = |id: u64| self.volumes.values().any(|it| it.id == id);
        let mut voters = self.list.iter().filter(|it| !it.is_learner);
        self.voters() >= 3 && self.corrupt.is_empty() && voters.all(|it| has_data(it.id))
    }

    /// Whether the member in this pod runs and knows a leader.
    pub(crate) fn follows(&self, pod: &str) -> bool {
        self.leader != 0 && self.processes.contains_key(pod)
    }

    /// Whether the member in this pod leads.
    pub(crate) fn leads(&self, pod: &str) -> bool {
        self.processes
            .get(pod)
            .is_some_and(|it| self.volumes[it].id == self.leader)
    }

    /// Whether the membership has a member of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        let host = format!("//{name}.");
        self.list.iter().any(|it| it.peer_urls[0].contains(&host))
    }

    /// The process in a pod is gone.
    pub(crate) fn stop(&mut self, pod: &str) {
        self.processes.remove(pod);
    }

    fn stands_on(&self, ground: &Ground) -> Result<(), String> {
        let found = self.list.iter().map(|it| (it.id, it.is_learner));
        match () {
            () if !self.quorate() => Err("no majority".to_owned()),
            () if !self.processes.contains_key(&ground.via) => {
                Err(format!("{} does not answer", ground.via))
            }
            () if !ground.holds(self.id, found) => {
                Err("the membership is another one by now".to_owned())
            }
            () => Ok(()),
        }
    }

    pub(crate) fn add(
        &mut self,
        name: &str,
        peer_url: &str,
        ground: &Ground,
    ) -> Result<(), String> {
        self.stands_on(ground)?;
        assert!(!self.has(name), "{name} is added twice");
        let learners = self.list.iter().filter(|it| it.is_learner).count();
        let room = self.processes.keys().map(|it| self.room[it]).min();
        assert!(
            room.is_some_and(|it| learners < it),
            "{name} is one learner too many for some member"
        );
        self.ids += 1;
        self.list.push(Listed {
            id: self.ids,
            name: String::new(),
            peer_urls: vec![peer_url.to_owned()],
            is_learner: true,
        });
        Ok(())
    }

    pub(crate) fn update_peer_url(
        &mut self,
        id: u64,
        peer_url: &str,
        ground: &Ground,
    ) -> Result<(), String> {
        self.stands_on(ground)?;
        let listed = self.list.iter_mut().find(|it| it.id == id).unwrap();
        listed.peer_urls = vec![peer_url.to_owned()];
        Ok(())
    }

    /// Where the membership has others look for the member in this pod.
    pub(crate) fn url_of(&self, pod: &str) -> Option<&str> {
        let id = self.volumes[self.processes.get(pod)?].id;
        let listed = self.list.iter().find(|it| it.id == id)?;
        Some(&listed.peer_urls[0])
    }

    pub(crate) fn promote(&mut self, id: u64, ground: &Ground) -> Result<(), String> {
        self.stands_on(ground)?;
        if self.applied(id) * 10 < self.commit * 9 {
            return Err("the learner is not in sync with the leader".to_owned());
        }
        self.list
            .iter_mut()
            .find(|it| it.id == id)
            .unwrap()
            .is_learner = false;
        assert!(self.quorate(), "promoting {id:x} cost the majority");
        Ok(())
    }

    pub(crate) fn remove(&mut self, id: u64, ground: &Ground) -> Result<(), String> {
        self.stands_on(ground)?;
        assert!(id != self.leader, "the leader is removed");
        self.list.retain(|it| it.id != id);
        assert!(self.quorate(), "removing {id:x} cost the majority");
        Ok(())
    }

    pub(crate) fn defragment(&mut self, pod: &str, ground: &Ground) -> Result<(), String> {
        self.stands_on(ground)?;
        let volume = self.processes.get(pod).ok_or("it does not answer")?;
        let data = self.volumes.get_mut(volume).unwrap();
        data.tidy = true;
        Ok(())
    }

    /// Members run out of space.
    pub(crate) fn fill(&mut self) {
        for data in self.volumes.values_mut() {
            data.tidy = false;
            self.alarms.insert(data.id);
        }
    }

    /// The data of one voter come to differ from the others', where those that do not are enough to tell.
    pub(crate) fn corrupt_one(&mut self, rng: &mut SmallRng) {
        let voters = self.list.iter().filter(|it| !it.is_learner);
        let voters: Vec<u64> = voters.map(|it| it.id).collect();
        if self.can_spare_a_volume() {
            let one = voters[rng.random_range(0..voters.len())];
            self.corrupt.insert(one);
        }
    }

    pub(crate) fn disarm(&mut self, alarm: Alarm, id: u64, ground: &Ground) -> Result<(), String> {
        self.stands_on(ground)?;
        match alarm {
            Alarm::NoSpace => {
                assert!(self.compacted > 0, "an alarm is disarmed for nothing");
                self.alarms.remove(&id);
            }
            Alarm::Corrupt => {
                let member = self.list.iter().any(|it| it.id == id);
                assert!(
                    !member,
                    "the data of {id:x}, which are corrupt, are called sound"
                );
                self.corrupt.remove(&id);
            }
        }
        Ok(())
    }

    pub(crate) fn compact(&mut self, revision: i64, ground: &Ground) -> Result<(), String> {
        self.stands_on(ground)?;
        assert!(
            revision <= i64::try_from(self.commit).unwrap() + 1,
            "revision {revision} has not come yet"
        );
        self.compacted = self.compacted.max(revision);
        Ok(())
    }

    pub(crate) fn move_leader(&mut self, to: u64, ground: &Ground) -> Result<(), String> {
        self.stands_on(ground)?;
        assert!(
            self.leads(&ground.via),
            "asked {} to hand over, who does not lead",
            ground.via
        );
        if self.live_voters().contains(&to) {
            (self.leader, self.term) = (to, self.term + 1);
        }
        Ok(())
    }
}

/// The peer URLs that a process tells of itself.
fn advertised(args: &[String]) -> Vec<String> {
    let urls = args
        .iter()
        .find_map(|it| it.strip_prefix("--initial-advertise-peer-urls="));
    urls.into_iter().map(ToOwned::to_owned).collect()
}
