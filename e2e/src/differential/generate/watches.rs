//! Watches: every episode brings the writes that its watches wait for.

use rand::Rng;
use serde_json::{Value, json};

use super::super::text::{Action, Request};
use super::Made;

const WATCH: &str = "Watch.Watch";
const NAME: &str = "w";
const IDS: &[i64] = &[0, 0, 0, 1, 2, 7, -1, -5];

impl Made {
    pub(super) fn watch_episode(&mut self) {
        match self.chance.random_range(0..10) {
            0 => self.future_watch(),
            1 => self.compacted_watch(),
            _ => self.watches(),
        }
    }

    /// Several on one stream, of now and of the past, while keys change.
    fn watches(&mut self) {
        let before = self.up_to(4);
        for _ in 0..before {
            self.sound_put();
        }
        // etcd tells a stream without any watch of no progress.
        let sound = json!({ "key": "a", "range_end": "z" });
        self.open(NAME, WATCH, json!({ "create_request": sound }));
        for _ in 0..1 + self.up_to(3) {
            let create = self.creation(before);
            self.send(create);
        }
        self.drain();
        for _ in 0..1 + self.up_to(2) {
            for _ in 0..self.up_to(5) {
                self.write();
            }
            self.drain();
        }
        if self.chance.random_bool(0.5) {
            let id = self.one_of(&[1, 2, 7, 99]);
            self.send(json!({ "cancel_request": { "watch_id": id } }));
            self.drain();
            self.sound_put();
            self.drain();
        }
        self.close(NAME);
    }

    fn creation(&mut self, before: usize) -> Value {
        let mut create = self.watched();
        create["watch_id"] = json!(self.one_of(IDS));
        for flag in ["prev_kv", "fragment", "progress_notify"] {
            if self.chance.random_bool(0.3) {
                create[flag] = json!(true);
            }
        }
        if self.chance.random_bool(0.2) {
            create["filters"] = json!([self.up_to(2)]);
        }
        match self.chance.random_range(0..10) {
            0..4 => {}
            4 => create["start_revision"] = json!(-1),
            _ => create["start_revision"] = json!(format!("$rev-{}", self.up_to(before))),
        }
        json!({ "create_request": create })
    }

    /// What changes keys, and nothing that compacts them away.
    fn write(&mut self) {
        match self.chance.random_range(0..10) {
            0..5 => self.sound_put(),
            5..7 => {
                let delete = self.delete();
                self.ask("KV.DeleteRange", delete);
            }
            _ => {
                let txn = self.txn(0);
                self.ask("KV.Txn", txn);
            }
        }
    }

    /// Nothing earlier is told.
    fn future_watch(&mut self) {
        let create = json!({ "key": "a", "range_end": "z", "start_revision": "$rev+2" });
        self.open(NAME, WATCH, json!({ "create_request": create }));
        self.read(NAME, WATCH, 1);
        self.sound_put();
        self.sound_put();
        self.read(NAME, WATCH, 1);
        self.send(json!({ "cancel_request": { "watch_id": 0 } }));
        self.read(NAME, WATCH, 1);
        self.close(NAME);
    }

    fn compacted_watch(&mut self) {
        self.sound_put();
        self.sound_put();
        self.call("KV.Compact", json!({ "revision": "$rev" }));
        let first = self.one_of(&[json!(1), json!("$rev-1"), json!("$rev-2")]);
        let create = json!({ "key": "a", "start_revision": first });
        self.open(NAME, WATCH, json!({ "create_request": create }));
        self.read(NAME, WATCH, 2);
        self.close(NAME);
    }

    fn send(&mut self, message: Value) {
        let Request { method, message } = super::request(WATCH, message);
        self.act(Action::Send {
            name: NAME.to_owned(),
            request: Request { method, message },
        });
    }

    fn drain(&mut self) {
        self.act(Action::Drain {
            name: NAME.to_owned(),
            method: super::request(WATCH, json!({})).method,
        });
    }
}
