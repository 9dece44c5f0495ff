//! Locks and elections: whoever waits is let through within the episode.

use rand::Rng;
use serde_json::{Value, json};

use super::super::text::Action;
use super::{Made, request};

/// Leases of episodes, in hexadecimal digits in the keys that hang on them.
const ONE: i64 = 0x101;
const OTHER: i64 = 0x102;
const NAMES: &[&str] = &["l", "l/m", "\u{ff}", ""];

impl Made {
    fn leases(&mut self) {
        for lease in [ONE, OTHER] {
            self.call("Lease.LeaseGrant", json!({ "ID": lease, "TTL": 100_000 }));
        }
    }

    /// Nothing of the episode stays.
    fn no_leases(&mut self) {
        for lease in [ONE, OTHER] {
            self.call("Lease.LeaseRevoke", json!({ "ID": lease }));
        }
    }

    /// A call that was only begun may come after the one that follows.
    fn until_it_waits(&mut self, name: &str) {
        let key = format!("/{OTHER:x}");
        let range = json!({ "key": format!("{name}{key}") });
        self.act(Action::Until {
            told: key,
            request: request("KV.Range", range),
        });
    }

    pub(super) fn lock_episode(&mut self) {
        let name = self.one_of(NAMES);
        self.leases();
        self.ask("Lock.Lock", json!({ "name": name, "lease": ONE }));
        if self.rarely() {
            self.ask("Lock.Lock", json!({ "name": name, "lease": ONE }));
        }
        self.open("l", "Lock.Lock", json!({ "name": name, "lease": OTHER }));
        self.until_it_waits(name);
        match self.chance.random_range(0..3) {
            0 => self.call("Lease.LeaseRevoke", json!({ "ID": ONE })),
            1 => self.call(
                "KV.DeleteRange",
                json!({ "key": format!("{name}/{ONE:x}") }),
            ),
            _ => self.ask("Lock.Unlock", json!({ "key": format!("{name}/{ONE:x}") })),
        }
        self.read("l", "Lock.Lock", 1);
        self.close("l");
        let prefix = json!({ "key": format!("{name}/"), "range_end": format!("{name}0") });
        self.call("KV.Range", prefix);
        let key = self.one_of(&["", "nothing", "l/102", "a"]);
        self.ask("Lock.Unlock", json!({ "key": key }));
        self.ask("Lock.Lock", json!({ "name": name, "lease": 77 }));
        self.no_leases();
    }

    pub(super) fn election_episode(&mut self) {
        let name = self.one_of(&NAMES[..2]);
        self.leases();
        self.ask("Election.Leader", json!({ "name": name }));
        self.campaign(name, ONE, "1");
        self.open("o", "Election.Observe", json!({ "name": name }));
        self.read("o", "Election.Observe", 1);
        let leader = leader(name);
        let proclaim = json!({ "leader": leader, "value": "2" });
        self.ask("Election.Proclaim", proclaim);
        self.read("o", "Election.Observe", 1);
        let again = json!({ "name": name, "lease": OTHER, "value": "3" });
        self.open("c", "Election.Campaign", again);
        self.until_it_waits(name);
        self.wrong_leader(name);
        self.ask("Election.Resign", json!({ "leader": leader }));
        self.read("c", "Election.Campaign", 1);
        self.read("o", "Election.Observe", 1);
        self.ask(
            "Election.Proclaim",
            json!({ "leader": leader, "value": "4" }),
        );
        self.ask("Election.Leader", json!({ "name": name }));
        self.close("c");
        self.close("o");
        self.no_leases();
    }

    fn campaign(&mut self, name: &str, lease: i64, value: &str) {
        let campaign = json!({ "name": name, "lease": lease, "value": value });
        self.call("Election.Campaign", campaign.clone());
        if self.chance.random_bool(0.3) {
            self.ask("Election.Campaign", campaign);
        }
    }

    fn wrong_leader(&mut self, name: &str) {
        let mut wrong = leader(name);
        let (field, value) = self.one_of(&[
            ("rev", json!(1)),
            ("key", json!("nothing")),
            ("lease", json!(9)),
            ("name", json!("nobody")),
        ]);
        wrong[field] = value;
        let method = self.one_of(&["Election.Proclaim", "Election.Proclaim", "Election.Resign"]);
        if method == "Election.Resign" && field != "rev" {
            return self.ask(method, json!({}));
        }
        self.ask(method, json!({ "leader": wrong }));
    }
}

/// The key of the one who campaigned first.
fn leader(name: &str) -> Value {
    json!({ "name": name, "key": format!("{name}/{ONE:x}"), "rev": "$leader", "lease": ONE })
}
