//! Watches: the changes after a revision, one JSON line each, with bookmarks and 410 Gone.
//!
//! An object that starts to match its selector appears as added, one that ceases to as deleted. It deliberately buffers
//! nothing for slow readers: each watch reads the store's own log at its own pace, and one that falls out of it gets 410.

use super::call::Request;
use super::{Server, columns, list};
use crate::faults::Call;
use crate::kinds::Kind;
use crate::object::Object;
use crate::refusal::Refusal;
use crate::selectors::Selector;
use crate::store::{Change, Compacted, Key};
use crate::verbs::Target;
use axum::body::Body;
use bytes::Bytes;
use http::{Response, header};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a quiet watch says how far it is. The real server does about once a minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(10);
/// How long a watch lasts when its client does not say; the real server draws from 30 to 60 minutes.
const LASTS: Duration = Duration::from_secs(1800);

struct Watch {
    server: Arc<Server>,
    call: Call,
    kind: Arc<Kind>,
    namespace: String,
    selector: Selector,
    form: Form,
    include: String,
    bookmarks: bool,
    at: u64,
    bell: watch::Receiver<u64>,
    cuts: watch::Receiver<u64>,
    ends: Instant,
    next_bookmark: Instant,
    waiting: VecDeque<Value>,
    over: bool,
    first_table: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Objects,
    Table,
    Partial,
}

/// Opens a watch.
pub(super) fn answer(
    server: &Arc<Server>,
    request: &Request,
    target: &Target,
) -> Result<Response<Body>, Refusal> {
    let seconds = request.parameter("timeoutSeconds").parse::<u64>();
    let form = if request.wants("Table") {
        Form::Table
    } else if request.wants("PartialObjectMetadata") {
        Form::Partial
    } else {
        Form::Objects
    };
    let now = Instant::now();
    let mut watch = Watch {
        server: server.clone(),
        call: request.call.clone(),
        kind: target.kind.clone(),
        namespace: target.namespace.clone(),
        selector: list::selector(request)?,
        form,
        include: request.parameter("includeObject").to_owned(),
        bookmarks: request.flag("allowWatchBookmarks"),
        at: 0,
        bell: server.objects.store.bell(),
        cuts: server.faults.cuts(),
        ends: now + seconds.map_or(LASTS, Duration::from_secs),
        next_bookmark: now + BOOKMARK_EVERY,
        waiting: VecDeque::new(),
        over: false,
        first_table: true,
    };
    watch.start(request)?;
    let lines = futures::stream::unfold(watch, |mut watch| async move {
        let line = watch.next().await?;
        Some((Ok::<_, std::io::Error>(line), watch))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let form = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, form);
    Ok(response)
}

impl Watch {
    /// Decides from where the watch goes, with what stands there as its first events if it asked for them.
    fn start(&mut self, request: &Request) -> Result<(), Refusal> {
        let version = request.parameter("resourceVersion");
        let asked: u64 = version.parse().unwrap_or(0);
        let initial = match request.parameter("sendInitialEvents") {
            "" => asked == 0,
            flag => flag == "true",
        };
        let marked = request.flag("sendInitialEvents");
        if !initial {
            let newest = self.server.objects.store.with(|s| s.revision());
            self.at = if asked == 0 { newest } else { asked };
            return Ok(());
        }
        if marked && request.parameter("resourceVersionMatch") != "NotOlderThan" {
            return Err(Refusal::bad_request(
                "sendInitialEvents requires resourceVersionMatch=NotOlderThan",
            ));
        }
        let (revision, objects) = self.server.objects.store.with(|state| {
            let namespace = Some(self.namespace.as_str()).filter(|n| !n.is_empty());
            let all = state.all(&self.kind.resource, namespace);
            let objects: Vec<Arc<Value>> = all.map(|(_, object)| object.clone()).collect();
            (state.revision(), objects)
        });
        self.at = revision;
        for object in &objects {
            if self.selector.matches(object) {
                self.emit("ADDED", object);
            }
        }
        if marked {
            let bookmark = self.bookmark(true);
            self.waiting.push_back(bookmark);
        }
        Ok(())
    }

    /// The next line, or nothing when the watch is over.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(Bytes::from(format!("{event}\n")));
            }
            if self.over {
                return None;
            }
            self.collect();
            if self.waiting.is_empty() && !self.over {
                self.wait().await;
            }
        }
    }

    fn collect(&mut self) {
        let found = self.server.objects.store.with(|state| {
            self.bell.mark_unchanged();
            state.since(self.at)
        });
        let changes = match found {
            Ok(changes) => changes,
            Err(Compacted) => {
                let refusal = Refusal::expired(format!("too old resource version: {}", self.at));
                self.waiting
                    .push_back(json!({"type": "ERROR", "object": refusal.to_status()}));
                self.over = true;
                return;
            }
        };
        for change in &changes {
            self.at = change.revision;
            self.see(change);
        }
    }

    fn see(&mut self, change: &Change) {
        let Key {
            resource,
            namespace,
            ..
        } = &change.key;
        let here = self.namespace.is_empty() || *namespace == self.namespace;
        if **resource != *self.kind.resource || !here {
            return;
        }
        let before = change
            .before
            .as_ref()
            .is_some_and(|b| self.selector.matches(b));
        let after = !change.deleted && self.selector.matches(&change.after);
        let event = match (before, after) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return,
        };
        match &change.before {
            // What only stopped matching is told as the watcher last knew it, under the version of the change.
            Some(known) if event == "DELETED" && !change.deleted => {
                let mut last = (**known).clone();
                let version = change.revision.to_string();
                last.put(&["metadata", "resourceVersion"], json!(version));
                self.emit(event, &Arc::new(last));
            }
            _ => self.emit(event, &change.after),
        }
    }

    fn emit(&mut self, event: &str, object: &Arc<Value>) {
        let times = self.server.faults.tells(&self.call, object);
        if times == 0 {
            return;
        }
        let shown = match self.form {
            Form::Objects => list::versioned(&self.kind, object),
            Form::Partial => list::partial(object),
            Form::Table => {
                let first = std::mem::replace(&mut self.first_table, false);
                let rows = std::slice::from_ref(object);
                let mut table = columns::table(&self.kind, rows, &self.include, first);
                table["metadata"] =
                    json!({"resourceVersion": object.text("/metadata/resourceVersion")});
                table
            }
        };
        let event = json!({"type": event, "object": shown});
        self.waiting.extend(std::iter::repeat_n(event, times));
    }

    fn bookmark(&self, initial: bool) -> Value {
        let mut object = json!({
            "kind": self.kind.kind, "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": self.at.to_string(), "creationTimestamp": null},
        });
        if initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        json!({"type": "BOOKMARK", "object": object})
    }

    /// Waits for a change, the time of a bookmark or the end.
    async fn wait(&mut self) {
        tokio::select! {
            rang = self.bell.changed() => self.over = rang.is_err(),
            _ = self.cuts.changed() => self.over = true,
            () = tokio::time::sleep_until(self.ends) => self.over = true,
            () = tokio::time::sleep_until(self.next_bookmark) => {
                self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                if self.bookmarks {
                    let bookmark = self.bookmark(false);
                    self.waiting.push_back(bookmark);
                }
            }
        }
    }
}
