//! Members of a cluster of one: what is refused, and a learner that nobody reaches.

use rand::Rng;
use serde_json::json;

use super::Made;

/// None that a member could be added with: it would take the quorum with it.
const BAD_URLS: &[&str] = &["", "nonsense", "http://", "ftp://a:1", "http://a", "a:1"];
const TAKEN: &str = "http://ADDRESS:2380";
const IDS: &[u64] = &[0, 5, u64::MAX];

impl Made {
    pub(super) fn member_request(&mut self) {
        let url = self.one_of(BAD_URLS);
        let learner = self.chance.random_bool(0.5);
        let id = self.one_of(IDS);
        match self.chance.random_range(0..20) {
            0..3 => self.ask("Cluster.MemberList", json!({})),
            3..6 => self.ask("Cluster.MemberList", json!({ "linearizable": true })),
            6..9 => self.ask(
                "Cluster.MemberAdd",
                json!({ "peerURLs": [url], "isLearner": learner }),
            ),
            9 => {
                let urls = [self.learner_url(), url.to_owned()];
                let add = json!({ "peerURLs": urls, "isLearner": true });
                self.ask("Cluster.MemberAdd", add);
            }
            10 => self.ask("Cluster.MemberAdd", json!({ "isLearner": learner })),
            11 => self.ask(
                "Cluster.MemberAdd",
                json!({ "peerURLs": [TAKEN], "isLearner": true }),
            ),
            12..14 => self.ask("Cluster.MemberRemove", json!({ "ID": id })),
            14 => self.ask("Cluster.MemberRemove", json!({ "ID": "$m0" })),
            15..17 => self.ask("Cluster.MemberPromote", json!({ "ID": id })),
            17 => self.ask("Cluster.MemberPromote", json!({ "ID": "$m0" })),
            18 => {
                let update = json!({ "ID": id, "peerURLs": [self.learner_url()] });
                self.ask("Cluster.MemberUpdate", update);
            }
            _ => self.ask(
                "Cluster.MemberUpdate",
                json!({ "ID": "$m0", "peerURLs": [TAKEN] }),
            ),
        }
    }

    /// Nobody listens there, and none had it before: etcd makes ids of URLs and the second.
    fn learner_url(&mut self) -> String {
        self.learners += 1;
        format!("http://127.0.0.1:{}", self.learners)
    }

    /// It comes and goes; a learner takes no part in any quorum.
    pub(super) fn learner_episode(&mut self) {
        let add = json!({ "peerURLs": [self.learner_url()], "isLearner": true });
        self.ask("Cluster.MemberAdd", add.clone());
        self.ask("Cluster.MemberAdd", add);
        let more = json!({ "peerURLs": [self.learner_url()], "isLearner": true });
        self.ask("Cluster.MemberAdd", more);
        for _ in 0..self.up_to(4) {
            match self.chance.random_range(0..5) {
                0 => self.ask("Cluster.MemberPromote", json!({ "ID": "$learner" })),
                1 => {
                    let urls = [self.learner_url()];
                    let update = json!({ "ID": "$learner", "peerURLs": urls });
                    self.ask("Cluster.MemberUpdate", update);
                }
                2 => self.ask(
                    "Cluster.MemberUpdate",
                    json!({ "ID": "$learner", "peerURLs": [TAKEN] }),
                ),
                3 => self.ask("Maintenance.MoveLeader", json!({ "targetID": "$learner" })),
                _ => self.key_request(),
            }
        }
        self.ask("Cluster.MemberList", json!({ "linearizable": true }));
        self.ask("Cluster.MemberRemove", json!({ "ID": "$learner" }));
        self.ask("Cluster.MemberRemove", json!({ "ID": "$learner" }));
        self.ask("Cluster.MemberPromote", json!({ "ID": "$learner" }));
    }
}
