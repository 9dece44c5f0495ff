//! Maintenance and health.

use rand::Rng;
use serde_json::json;

use super::super::text::Action;
use super::Made;

/// Too old, too new, not to be read.
const VERSIONS: &[&str] = &[
    "", "3", "3.1.0", "3.5.0", "3.8.0", "4.0.0", "nonsense", "3.7.0",
];
const PAGES: &[&str] = &[
    "/health",
    "/health?serializable=true",
    "/health?exclude=NOSPACE",
    "/livez",
    "/livez/serializable_read",
    "/readyz/linearizable_read",
    "/readyz/nothing",
];
const NOSPACE: i64 = 1;
const CORRUPT: i64 = 2;

impl Made {
    pub(super) fn upkeep_request(&mut self) {
        match self.chance.random_range(0..100) {
            0..15 => self.ask("Maintenance.Status", json!({})),
            15..30 => self.ask("Maintenance.HashKV", json!({})),
            30..35 => {
                let ahead = self.one_of(&[json!("$rev"), json!("$rev+1"), json!(-1)]);
                self.ask("Maintenance.HashKV", json!({ "revision": ahead }));
            }
            35..42 => self.ask("Maintenance.Hash", json!({})),
            42..46 => self.ask("Maintenance.Defragment", json!({})),
            46..56 => self.alarm_of_another(),
            56..64 => {
                let id = self.one_of(&[0, 5, u64::MAX]);
                self.ask("Maintenance.MoveLeader", json!({ "targetID": id }));
            }
            64..78 => self.downgrade(),
            78..86 => self.call("Health.Check", json!({})),
            _ => {
                let path = self.one_of(PAGES).to_owned();
                let (method, body) = ("GET".to_owned(), String::new());
                self.act(Action::Http {
                    method,
                    path,
                    body,
                    lines: None,
                });
            }
        }
    }

    /// None is on outside of an episode, so nothing comes of it.
    fn alarm_of_another(&mut self) {
        let (id, kind) = (self.one_of(&[0, 5]), self.up_to(3));
        let action = self.one_of(&["GET", "DEACTIVATE"]);
        self.ask(
            "Maintenance.Alarm",
            json!({ "action": action, "memberID": id, "alarm": kind }),
        );
    }

    /// Nothing that would begin: how far it is by then hangs on time.
    fn downgrade(&mut self) {
        let version = self.one_of(VERSIONS);
        let action = self.one_of(&[
            json!("VALIDATE"),
            json!("ENABLE"),
            json!("CANCEL"),
            json!(7),
        ]);
        self.ask(
            "Maintenance.Downgrade",
            json!({ "action": action, "version": version }),
        );
    }

    pub(super) fn alarm_episode(&mut self) {
        let kind = self.one_of(&[NOSPACE, NOSPACE, CORRUPT]);
        let member = self.one_of(&[json!("$m0"), json!(5), json!(0)]);
        let alarm = |action: &str| json!({ "action": action, "memberID": member, "alarm": kind });
        self.ask("Maintenance.Alarm", alarm("ACTIVATE"));
        if self.rarely() {
            self.ask("Maintenance.Alarm", alarm("ACTIVATE"));
        }
        for _ in 0..3 + self.up_to(6) {
            match self.chance.random_range(0..10) {
                0..6 => self.key_request(),
                6..8 => self.lease_request(),
                8 => self.auth_request(),
                _ => self.upkeep_request(),
            }
        }
        let kind = self.up_to(2);
        self.ask("Maintenance.Alarm", json!({ "alarm": kind }));
        self.ask("Maintenance.Alarm", alarm("DEACTIVATE"));
    }
}
