//! Makes requests by a seed: valid and invalid ones over all services, few keys and small numbers, so that they collide.
//!
//! The same seed makes the same requests for ever on one version of this file; a text that showed a difference is kept as such.
//!
//! - Most requests stand for themselves; a share of them goes over HTTP as JSON (`Made::ask`).
//! - What waits for something (a lock, a campaign, a watch) stands in an episode that brings what it waits for.
//! - Users and alarms may be on only within an episode that ends with the way out.
//!
//! It deliberately asks for nothing that hangs on time: leases last longer than any run, and every member that is added is a
//! learner that nobody reaches, removed again soon.

mod auth;
mod keys;
mod locks;
mod members;
mod odd;
mod upkeep;
mod watches;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::text::{Action, Request, Step};
use super::{gateway, services};

/// With which the members are started: low limits, so that they are met, and passwords that take no time.
pub const FLAGS: &[&str] = &[
    "--max-txn-ops=10",
    "--max-request-bytes=10000",
    "--bcrypt-cost=4",
];

/// Requests by a seed, then what shows the state that they left.
pub fn steps(seed: u64, count: usize) -> Vec<Step> {
    let mut made = Made {
        chance: SmallRng::seed_from_u64(seed),
        steps: Vec::new(),
        is_guarded: false,
        learners: 0,
    };
    while made.asked() < count {
        made.next();
    }
    made.what_is_left();
    made.steps
}

/// What was made so far.
struct Made {
    chance: SmallRng,
    steps: Vec<Step>,
    /// Whether users count: for a range that ends before it begins, etcd's answer hangs on the order in which rights were given.
    is_guarded: bool,
    /// How many URLs of learners were made.
    learners: u16,
}

impl Made {
    /// How many of the steps are requests.
    fn asked(&self) -> usize {
        self.steps
            .iter()
            .filter(|it| it.service().is_some())
            .count()
    }

    fn next(&mut self) {
        match self.chance.random_range(0..1000) {
            0..620 => self.key_request(),
            620..700 => self.lease_request(),
            700..780 => self.auth_request(),
            780..840 => self.upkeep_request(),
            840..875 => self.member_request(),
            875..930 => self.odd_request(),
            930..960 => self.watch_episode(),
            960..970 => self.lock_episode(),
            970..980 => self.election_episode(),
            980..988 => self.alarm_episode(),
            988..994 => self.learner_episode(),
            _ => self.auth_episode(),
        }
    }

    fn what_is_left(&mut self) {
        let everything = json!({ "key": "\u{0}", "range_end": "\u{0}" });
        self.call("KV.Range", everything);
        self.call("Maintenance.HashKV", json!({}));
        self.call("Lease.LeaseLeases", json!({}));
        self.call("Auth.UserList", json!({}));
        self.call("Auth.RoleList", json!({}));
        self.call("Auth.AuthStatus", json!({}));
        self.call("Cluster.MemberList", json!({}));
    }

    /// A call by whichever road: gRPC, or JSON where the gateway serves it.
    fn ask(&mut self, method: &str, message: Value) {
        let request = request(method, message);
        let has_road = gateway::path(&request.method).is_some();
        self.steps
            .push(if has_road && self.chance.random_bool(0.15) {
                Step::of(Action::Json(request))
            } else {
                Step::call(request)
            });
    }

    /// A call over gRPC.
    fn call(&mut self, method: &str, message: Value) {
        self.steps.push(Step::call(request(method, message)));
    }

    fn act(&mut self, action: Action) {
        self.steps.push(Step::of(action));
    }

    fn open(&mut self, name: &str, method: &str, message: Value) {
        self.act(Action::Open {
            name: name.to_owned(),
            request: request(method, message),
        });
    }

    fn read(&mut self, name: &str, method: &str, count: usize) {
        self.act(Action::Read {
            name: name.to_owned(),
            count,
            method: request(method, json!({})).method,
        });
    }

    fn close(&mut self, name: &str) {
        self.act(Action::Drop {
            name: name.to_owned(),
        });
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all.choose(&mut self.chance)
            .expect("lists are not empty")
            .clone()
    }

    fn up_to(&mut self, count: usize) -> usize {
        self.chance.random_range(0..=count)
    }

    fn rarely(&mut self) -> bool {
        self.chance.random_bool(0.1)
    }
}

fn request(method: &str, message: Value) -> Request {
    let method = services::method(method).expect("the generator names methods that there are");
    Request { method, message }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::text::Text;
    use super::*;

    #[test]
    fn a_seed_makes_the_same_requests_again() {
        let calls = |seed| {
            steps(seed, 50)
                .into_iter()
                .map(|it| it.call)
                .collect::<Vec<_>>()
        };
        assert_eq!(calls(7), calls(7));
        assert_ne!(calls(7), calls(8));
    }

    #[test]
    fn every_service_is_asked_and_what_is_made_can_be_kept_as_a_text() {
        let made = steps(1, 2000);
        let mut services = BTreeSet::new();
        for step in &made {
            let name = step.service().unwrap_or_default();
            services.insert(name);
        }
        for service in [
            "Auth",
            "Cluster",
            "Election",
            "Health",
            "KV",
            "Lease",
            "Lock",
            "Maintenance",
            "Watch",
        ] {
            assert!(services.contains(service), "{service} in {services:?}");
        }
        let none = vec![Value::Null; made.len()];
        let text = Text::made("made", "Made.", FLAGS, made);
        let read = Text::parse("made", &text.written(&none)).unwrap();
        let calls = |it: &Text| {
            it.steps
                .iter()
                .map(|it| it.call.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(calls(&read), calls(&text));
    }
}
