//! Keys, transactions and leases.

use rand::Rng;
use serde_json::{Value, json};

use super::Made;

const KEYS: &[&str] = &["a", "b", "c", "d", "a\u{0}", "ab", "\u{ff}"];
const ENDS: &[&str] = &["", "\u{0}", "a", "b", "c", "z", "a\u{0}", "k2"];
/// Before most keys: go sorts more than twelve that are equal in an order of its own.
const FEW: &[&str] = &["", "b", "c", "d"];
/// After every key.
const LATE_ENDS: &[&str] = &["", "\u{0}", "\u{ff}\u{1}"];
/// Their leases last longer than any run.
const LEASES: &[i64] = &[1, 2, 3, 4];
const LONG: &[i64] = &[100_000, 9_000_000_000, 9_000_000_001, i64::MAX];
/// How deep transactions are nested.
const DEEP: usize = 3;

impl Made {
    pub(super) fn key_request(&mut self) {
        match self.chance.random_range(0..100) {
            0..34 => {
                let put = self.put();
                self.ask("KV.Put", put);
            }
            34..55 => {
                let range = self.range();
                self.ask("KV.Range", range);
            }
            55..65 => {
                let delete = self.delete();
                self.ask("KV.DeleteRange", delete);
            }
            65..93 => {
                let txn = self.txn(0);
                self.ask("KV.Txn", txn);
            }
            93..96 => {
                // What etcd compacts at 0 it takes for the state of now from then on, as HashKV tells.
                let revision = self.revision().max(1);
                let compact = json!({ "revision": revision, "physical": true });
                self.ask("KV.Compact", compact);
            }
            _ => {
                let stream = self.stream();
                self.ask("KV.RangeStream", stream);
            }
        }
    }

    pub(super) fn lease_request(&mut self) {
        let lease = self.lease();
        match self.chance.random_range(0..10) {
            0..4 => {
                let ttl = self.one_of(LONG);
                self.ask("Lease.LeaseGrant", json!({ "ID": lease, "TTL": ttl }));
            }
            4 => self.ask("Lease.LeaseRevoke", json!({ "ID": lease })),
            5 => self.ask("Lease.LeaseLeases", json!({})),
            6..8 => self.ask("Lease.LeaseKeepAlive", json!({ "ID": lease })),
            _ => {
                let keys = self.chance.random_bool(0.7);
                self.ask(
                    "Lease.LeaseTimeToLive",
                    json!({ "ID": lease, "keys": keys }),
                );
            }
        }
    }

    /// One that nothing refuses.
    pub(super) fn sound_put(&mut self) {
        let key = self.one_of(&KEYS[..4]);
        let value = self.up_to(9).to_string();
        self.call("KV.Put", json!({ "key": key, "value": value }));
    }

    /// A range that there is something in, mostly.
    pub(super) fn watched(&mut self) -> Value {
        let end = self.end();
        json!({ "key": self.one_of(KEYS), "range_end": end })
    }

    fn key(&mut self) -> Value {
        match self.chance.random_range(0..100) {
            0..2 => json!(""),
            2..3 => json!("h".repeat(12_000)),
            3..30 => json!(format!("k{:02}", self.up_to(40))),
            _ => json!(self.one_of(KEYS)),
        }
    }

    fn end(&mut self) -> Value {
        if self.chance.random_bool(0.5) {
            return json!("");
        }
        json!(self.one_of(if self.is_guarded { LATE_ENDS } else { ENDS }))
    }

    fn lease(&mut self) -> i64 {
        if self.chance.random_bool(0.05) {
            -1
        } else {
            self.one_of(LEASES)
        }
    }

    fn revision(&mut self) -> i64 {
        if self.rarely() {
            self.chance.random_range(-2..100)
        } else {
            self.chance.random_range(0..600)
        }
    }

    fn value(&mut self) -> Value {
        match self.chance.random_range(0..100) {
            0 => json!("v".repeat(20_000)),
            1..6 => json!("v".repeat(1000)),
            _ => json!(self.up_to(9).to_string()),
        }
    }

    pub(super) fn put(&mut self) -> Value {
        let mut put = json!({ "key": self.key() });
        if !self.rarely() {
            put["value"] = self.value();
        }
        if self.chance.random_bool(0.2) {
            put["lease"] = json!(self.lease());
        }
        for flag in ["prev_kv", "ignore_value", "ignore_lease"] {
            if self.rarely() {
                put[flag] = json!(true);
            }
        }
        put
    }

    pub(super) fn range(&mut self) -> Value {
        let mut range = json!({ "key": self.key(), "range_end": self.end() });
        for flag in ["keys_only", "count_only", "serializable"] {
            if self.rarely() {
                range[flag] = json!(true);
            }
        }
        if self.chance.random_bool(0.3) {
            range["limit"] = json!(self.chance.random_range(-1..4));
        }
        if self.chance.random_bool(0.3) {
            range["revision"] = json!(self.revision());
        }
        for order in [("sort_order", 4), ("sort_target", 6)] {
            if self.chance.random_bool(0.2) {
                range[order.0] = json!(self.chance.random_range(0..order.1));
            }
        }
        if range["sort_target"].as_u64().is_some_and(|it| it > 0) {
            range["key"] = json!(self.one_of(&["a", "b", "a\u{0}"]));
            range["range_end"] = json!(self.one_of(FEW));
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

    pub(super) fn delete(&mut self) -> Value {
        json!({ "key": self.key(), "range_end": self.end(), "prev_kv": self.chance.random_bool(0.5) })
    }

    pub(super) fn txn(&mut self, depth: usize) -> Value {
        let many = |it: &mut Self| match it.chance.random_range(0..50) {
            0 => 12,
            some => some % 4,
        };
        let compares: Vec<Value> = (0..many(self)).map(|_| self.compare()).collect();
        let success: Vec<Value> = (0..many(self)).map(|_| self.operation(depth)).collect();
        let failure: Vec<Value> = (0..many(self)).map(|_| self.operation(depth)).collect();
        json!({ "compare": compares, "success": success, "failure": failure })
    }

    fn operation(&mut self, depth: usize) -> Value {
        match self.chance.random_range(0..100) {
            0..45 => json!({ "request_put": self.put() }),
            45..70 => json!({ "request_range": self.range() }),
            70..88 => json!({ "request_delete_range": self.delete() }),
            88..98 if depth < DEEP => json!({ "request_txn": self.txn(depth + 1) }),
            _ => json!({}),
        }
    }

    fn compare(&mut self) -> Value {
        let mut compare = json!({
            "target": self.chance.random_range(0..5),
            "result": self.chance.random_range(0..4),
            "key": self.key(),
        });
        let field = [
            "version",
            "create_revision",
            "mod_revision",
            "value",
            "lease",
        ];
        let field = self.one_of(&field);
        compare[field] = match field {
            "value" => json!(self.chance.random_range(0..10).to_string()),
            _ => json!(self.chance.random_range(-1..5)),
        };
        if self.rarely() {
            compare["range_end"] = self.end();
        }
        compare
    }
}
