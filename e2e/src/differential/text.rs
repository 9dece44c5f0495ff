//! A text: requests and, below each, what etcd answers.
//!
//! ```text
//! # What Put refuses.
//!
//! server --max-txn-ops=4
//!
//! > KV.Put key: "a" value: "1"
//! header { revision: 2 }
//!
//! > KV.Put key: ""
//! ! InvalidArgument: etcdserver: key is not provided
//! ```
//!
//! `server` and `members` stand at the top and say with which flags and how many members are started. A request goes on over
//! lines that begin with `>` and two blanks. `KEYS` in a flag is the folder of the keys for tests. `TLS` in a flag
//! is a folder with `ca.crt`, `server.crt` and `server.key` that are made for the run; then everything is asked over TLS. Several messages of an answer are parted by `--`. Requests:
//!
//! | | |
//! |---|---|
//! | `SERVICE.METHOD MESSAGE` | calls and reads the answer to its end |
//! | `until "TEXT" SERVICE.METHOD MESSAGE` | calls again until TEXT stands in the answer |
//! | `open NAME SERVICE.METHOD MESSAGE` | begins a call and goes on |
//! | `send NAME MESSAGE` | one more message on it |
//! | `read NAME [COUNT]` | the next messages that come on it |
//! | `drain NAME` | all events of a watch stream so far, by watch: up to the answer to a request for progress |
//! | `close NAME` | sends no more, reads to the end |
//! | `drop NAME` | cancels it |
//! | `login USER PASSWORD`, `token TOKEN`, `logout` | whose token the requests that follow carry |
//! | `show NAME`, `show`, `foreign NAME`, `hide` | which certificate connections show from then on: one with that common name, or with none; one of an authority that nobody knows; none. Answers are alerts |
//! | `with KEY VALUE`, `without KEY` | which metadata they carry, over HTTP as headers |
//! | `at NUMBER` | which member they go to, the first at the beginning |
//! | `kill NUMBER`, `start NUMBER` | a member, with the data it has |
//! | `learner` | one more member that does not vote, with the next number, which is waited for |
//! | `GET PATH`, `POST PATH BODY` | over HTTP/1.1 |
//! | `lines COUNT POST PATH BODY` | the same, of an answer that does not end: its first lines |
//! | `json SERVICE.METHOD MESSAGE` | the same call as JSON over HTTP/1.1 |
//! | `raw SERVICE.METHOD "BYTES"` | bytes instead of a message |
//!
//! `$rev` is the last revision that a header told, `$leader` that of the last leader's key, `$learner` the member added last.
//!
//! It deliberately has no loops and no conditions: whoever reads it sees what is sent.

pub mod grammar;
mod read;
mod write;

use std::sync::LazyLock;

use prost_reflect::MethodDescriptor;
use serde_json::Value;

/// What a login calls.
static LOGIN: LazyLock<Option<MethodDescriptor>> =
    LazyLock::new(|| super::services::method("Auth.Authenticate"));

/// A text, as its file says.
#[derive(Clone, Debug)]
pub struct Text {
    /// Its file's name, without the ending.
    pub name: String,
    /// How many members are started.
    pub members: usize,
    /// With which flags beside those of every member.
    pub flags: Vec<String>,
    /// The requests in order.
    pub steps: Vec<Step>,
    /// What stands in the file above the first request.
    head: Vec<String>,
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Step {
    /// The request as it is written, without `>`.
    pub call: String,
    /// What is to be done.
    pub action: Action,
    /// What etcd answered, as it stands in the file; none where nothing stands.
    pub recorded: Option<Value>,
    /// Comments and blank lines before the next request.
    after: Vec<String>,
}

/// A call of an RPC.
#[derive(Clone, Debug)]
pub struct Request {
    /// Of which.
    pub method: MethodDescriptor,
    /// With which message.
    pub message: Value,
}

/// Which certificate a client shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// None.
    Nothing,
    /// One with this common name, or without any where it is empty.
    Ours(String),
    /// The same from an authority that the server does not know.
    Foreign(String),
}

/// What a line does.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the table above says it
pub enum Action {
    Call(Request),
    Json(Request),
    Raw {
        method: MethodDescriptor,
        bytes: Vec<u8>,
    },
    Until {
        told: String,
        request: Request,
    },
    Open {
        name: String,
        request: Request,
    },
    Send {
        name: String,
        request: Request,
    },
    Read {
        name: String,
        count: usize,
        method: MethodDescriptor,
    },
    Drain {
        name: String,
        method: MethodDescriptor,
    },
    Close {
        name: String,
        method: MethodDescriptor,
    },
    Drop {
        name: String,
    },
    Login {
        user: String,
        password: String,
    },
    Token(Option<String>),
    Show(Shown),
    With {
        key: String,
        value: Option<String>,
    },
    At(usize),
    Kill(usize),
    Start(usize),
    Learner,
    Http {
        method: String,
        path: String,
        body: String,
        lines: Option<usize>,
    },
}

impl Action {
    /// The RPC whose messages its answer consists of.
    fn method(&self) -> Option<&MethodDescriptor> {
        match self {
            Self::Call(request) | Self::Until { request, .. } => Some(&request.method),
            Self::Raw { method, .. }
            | Self::Read { method, .. }
            | Self::Drain { method, .. }
            | Self::Close { method, .. } => Some(method),
            Self::Login { .. } => LOGIN.as_ref(),
            _ => None,
        }
    }
}

impl Step {
    /// A call that a generator makes.
    pub fn call(request: Request) -> Self {
        Self::of(Action::Call(request))
    }

    /// The service that is asked, if one is.
    pub fn service(&self) -> Option<String> {
        let method = match &self.action {
            Action::Call(it) | Action::Json(it) => &it.method,
            Action::Until { request, .. }
            | Action::Open { request, .. }
            | Action::Send { request, .. } => &request.method,
            Action::Raw { method, .. } => method,
            Action::Login { .. } => return Some("Auth".to_owned()),
            Action::Http { .. } => return Some("HTTP".to_owned()),
            _ => return None,
        };
        Some(method.parent_service().name().to_owned())
    }

    /// Anything else that a generator makes.
    pub fn of(action: Action) -> Self {
        Self {
            call: write::action(&action),
            action,
            recorded: None,
            after: vec![String::new()],
        }
    }
}

impl Text {
    /// A text that a generator makes.
    pub fn made(name: &str, comment: &str, flags: &[&str], steps: Vec<Step>) -> Self {
        let mut head = vec![format!("# {comment}"), String::new()];
        if !flags.is_empty() {
            head.extend([format!("server {}", flags.join(" ")), String::new()]);
        }
        Self {
            name: name.to_owned(),
            members: 1,
            flags: flags.iter().map(|&it| it.to_owned()).collect(),
            steps,
            head,
        }
    }
}
