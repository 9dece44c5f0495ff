//! Makes requests by a seed: valid and invalid ones over the services, few keys and small numbers, so that they collide.
//!
//! The same seed makes the same requests for ever on one version of this file; a text that showed a difference is kept as such.
//!
//! It deliberately asks for nothing that hangs on time: leases last longer than any run, and no member is changed.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::services;
use super::text::{Request, Step};

const KEYS: &[&str] = &["a", "b", "c", "d", "a\u{0}", "ab", "\u{ff}"];
const ENDS: &[&str] = &["", "\u{0}", "a", "b", "c", "z", "a\u{0}"];
const LEASES: &[i64] = &[1, 2, 3, 4];
/// How deep transactions are nested.
const DEEP: usize = 3;

/// Requests by a seed, then what shows the state that they left.
pub fn steps(seed: u64, count: usize) -> Vec<Step> {
    let mut made = Made(SmallRng::seed_from_u64(seed));
    let mut steps: Vec<Step> = (0..count).map(|_| made.step()).collect();
    let everything = json!({ "key": "\u{0}", "range_end": "\u{0}" });
    steps.push(step("KV.Range", everything));
    steps.push(step("Maintenance.HashKV", json!({})));
    steps.push(step("Lease.LeaseLeases", json!({})));
    steps
}

fn step(method: &str, message: Value) -> Step {
    let method = services::method(method).expect("the generator names methods that there are");
    Step::call(Request { method, message })
}

struct Made(SmallRng);

impl Made {
    fn step(&mut self) -> Step {
        match self.0.random_range(0..100) {
            0..30 => step("KV.Put", self.put()),
            30..50 => step("KV.Range", self.range()),
            50..60 => step("KV.DeleteRange", self.delete()),
            60..82 => step("KV.Txn", self.txn(0)),
            82..85 => step(
                "KV.Compact",
                json!({ "revision": self.revision(), "physical": true }),
            ),
            85..88 => step("KV.RangeStream", self.stream()),
            88..91 => step(
                "Lease.LeaseGrant",
                json!({ "ID": self.lease(), "TTL": 100_000 }),
            ),
            91..93 => step("Lease.LeaseRevoke", json!({ "ID": self.lease() })),
            93..96 => step(
                "Lease.LeaseTimeToLive",
                json!({ "ID": self.lease(), "keys": true }),
            ),
            96..98 => step("Maintenance.HashKV", json!({})),
            _ => step("Maintenance.Alarm", json!({ "memberID": self.lease() })),
        }
    }

    /// Mostly true to what is asked for.
    fn rarely(&mut self) -> bool {
        self.0.random_bool(0.1)
    }

    fn key(&mut self) -> Value {
        if self.0.random_bool(0.02) {
            return json!("");
        }
        json!(KEYS.choose(&mut self.0))
    }

    fn end(&mut self) -> Value {
        if self.0.random_bool(0.5) {
            return json!("");
        }
        json!(ENDS.choose(&mut self.0))
    }

    fn lease(&mut self) -> i64 {
        *LEASES.choose(&mut self.0).unwrap_or(&1)
    }

    fn revision(&mut self) -> i64 {
        if self.rarely() {
            self.0.random_range(-2..100)
        } else {
            self.0.random_range(0..600)
        }
    }

    fn put(&mut self) -> Value {
        let mut put = json!({ "key": self.key() });
        if !self.rarely() {
            put["value"] = json!(self.0.random_range(0..10).to_string());
        }
        if self.0.random_bool(0.2) {
            put["lease"] = json!(self.lease());
        }
        for flag in ["prev_kv", "ignore_value", "ignore_lease"] {
            if self.rarely() {
                put[flag] = json!(true);
            }
        }
        put
    }

    fn range(&mut self) -> Value {
        let mut range = json!({ "key": self.key(), "range_end": self.end() });
        for flag in ["keys_only", "count_only", "serializable"] {
            if self.rarely() {
                range[flag] = json!(true);
            }
        }
        if self.0.random_bool(0.3) {
            range["limit"] = json!(self.0.random_range(-1..4));
        }
        if self.0.random_bool(0.3) {
            range["revision"] = json!(self.revision());
        }
        for order in [("sort_order", 4), ("sort_target", 6)] {
            if self.0.random_bool(0.2) {
                range[order.0] = json!(self.0.random_range(0..order.1));
            }
        }
        let filters = [
            "min_mod_revision",
            "max_mod_revision",
            "min_create_revision",
            "max_create_revision",
        ];
        for filter in filters {
            if self.rarely() {
                range[filter] = json!(self.revision());
            }
        }
        range
    }

    /// Without a target to sort by: etcd sorts each piece by itself then, and goes on from whatever key came last.
    fn stream(&mut self) -> Value {
        let mut range = self.range();
        if let Some(fields) = range.as_object_mut() {
            fields.remove("sort_target");
        }
        range
    }

    fn delete(&mut self) -> Value {
        json!({ "key": self.key(), "range_end": self.end(), "prev_kv": self.0.random_bool(0.5) })
    }

    fn txn(&mut self, depth: usize) -> Value {
        let many = |it: &mut Self| it.0.random_range(0..4);
        let compares: Vec<Value> = (0..many(self)).map(|_| self.compare()).collect();
        let success: Vec<Value> = (0..many(self)).map(|_| self.operation(depth)).collect();
        let failure: Vec<Value> = (0..many(self)).map(|_| self.operation(depth)).collect();
        json!({ "compare": compares, "success": success, "failure": failure })
    }

    fn operation(&mut self, depth: usize) -> Value {
        match self.0.random_range(0..100) {
            0..45 => json!({ "request_put": self.put() }),
            45..70 => json!({ "request_range": self.range() }),
            70..88 => json!({ "request_delete_range": self.delete() }),
            88..98 if depth < DEEP => json!({ "request_txn": self.txn(depth + 1) }),
            _ => json!({}),
        }
    }

    fn compare(&mut self) -> Value {
        let mut compare = json!({
            "target": self.0.random_range(0..5),
            "result": self.0.random_range(0..4),
            "key": self.key(),
        });
        let field = [
            "version",
            "create_revision",
            "mod_revision",
            "value",
            "lease",
        ];
        let field = field.choose(&mut self.0).copied().unwrap_or("version");
        compare[field] = match field {
            "value" => json!(self.0.random_range(0..10).to_string()),
            _ => json!(self.0.random_range(-1..5)),
        };
        if self.rarely() {
            compare["range_end"] = self.end();
        }
        compare
    }
}

#[cfg(test)]
mod tests {
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
}
