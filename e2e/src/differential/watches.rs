//! What comes on a stream of watches, put together by watch.
//!
//! It deliberately reads nothing itself.

use serde_json::{Value, json};

/// What came on a watch stream, in order, and of which watch it is.
#[derive(Default)]
pub(super) struct Watches {
    all: Vec<(i64, Value)>,
}

impl Watches {
    /// Why nothing more comes.
    pub(super) fn end(&mut self, why: &str) {
        self.all.push((i64::MAX, json!({ "!": why })));
    }

    /// Takes a message; whether it was none of a watch's own but the answer to a request for progress.
    pub(super) fn take(&mut self, answer: Value) -> bool {
        let id = answer["watch_id"].as_i64().unwrap_or(0);
        let is_told = |name: &str| !answer[name].is_null();
        let is_of_no_watch =
            id == -1 && !["created", "canceled", "events"].into_iter().any(is_told);
        if is_of_no_watch {
            return false;
        }
        let is_events = |it: &Value| it["events"].is_array();
        let before = self.all.iter_mut().rev().find(|it| it.0 == id);
        match before {
            Some((_, before)) if is_events(before) && is_events(&answer) => {
                let events = answer["events"].as_array().cloned().unwrap_or_default();
                if let Some(all) = before["events"].as_array_mut() {
                    all.extend(events);
                }
            }
            _ => self.all.push((id, answer)),
        }
        true
    }

    /// By watch; headers and fragments hang on how events were put together, and are left out.
    pub(super) fn joined(mut self) -> Value {
        self.all.sort_by_key(|it| it.0);
        let all = self.all.into_iter().map(|(_, mut answer)| {
            if let Some(fields) = answer.as_object_mut() {
                fields.remove("header");
                fields.remove("fragment");
            }
            answer
        });
        all.collect()
    }
}
