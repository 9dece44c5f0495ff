//! Sends the requests of a text to members with fresh data, and keeps what they answer.
//!
//! It deliberately goes on after a wrong answer: what follows is compared too.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use prost_reflect::MethodDescriptor;
use serde_json::{Value, json};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::http::Ask;
use super::plain::Plain;
use super::text::{Action, Request, Step, Text};
use super::wire::{self, Call, Payload, Said};
use super::{gateway, services, value};
use crate::contract::Exchange;
use crate::members::Members;

/// How an answer begins that no server gave: the text is wrong, or an answer before it was.
pub const NOT_ASKED: &str = "not asked: ";
/// How long a message may take to come: longer than a server waits before it gives up itself.
const MESSAGE: Duration = Duration::from_secs(12);
/// How long it may take until a repeated request is answered as it shall be.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is repeated.
const AGAIN: Duration = Duration::from_millis(100);
/// After this without an answer, progress is asked for again: a watch that lags behind gets none.
const PROGRESS: Duration = Duration::from_millis(500);

/// What `KEYS` in a flag stands for.
const KEYS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../node/tests/keys");

/// A call that was begun under a name.
#[derive(Debug)]
struct Stream {
    call: Call,
    /// How many watches were asked for that nobody has told of yet.
    unanswered: usize,
}

/// Members on which a text is run.
#[derive(Debug)]
pub struct Run {
    members: Members,
    /// With which flags a member is started.
    flags: Vec<String>,
    channels: Vec<Channel>,
    ids: Vec<u64>,
    asked: usize,
    metadata: MetadataMap,
    streams: HashMap<String, Stream>,
    plain: Plain,
}

impl Run {
    /// Starts members of a program that understands etcd's flags.
    ///
    /// # Errors
    /// When they do not start.
    pub async fn start(program: &Path, count: usize, flags: &[String]) -> Result<Self> {
        let flags: Vec<String> = flags.iter().map(|it| it.replace("KEYS", KEYS)).collect();
        let members = Members::start_with(program, count, &flags).await?;
        members.are_published().await?;
        let endpoints = members.endpoints();
        let (cluster, ids) = members.ids().await?;
        let address = endpoints[0].trim_start_matches("http://");
        let address = address
            .rsplit_once(':')
            .map_or(address, |it| it.0)
            .to_owned();
        let mut plain = Plain::new(cluster, &ids, &[address]);
        plain.asks(ids[0]);
        let channels = endpoints.iter().map(|it| wire::channel(it));
        Ok(Self {
            channels: channels.collect::<Result<_>>()?,
            members,
            flags,
            ids,
            asked: 0,
            metadata: MetadataMap::new(),
            streams: HashMap::new(),
            plain,
        })
    }

    /// Runs a text from its beginning to its end, on members of its own.
    ///
    /// # Errors
    /// When the members do not run.
    pub async fn whole(program: &Path, text: &Text) -> Result<Vec<Exchange>> {
        let mut run = Self::start(program, text.members, &text.flags).await?;
        let mut exchanges = Vec::new();
        for step in &text.steps {
            exchanges.push(run.step(step).await);
        }
        run.end().await?;
        Ok(exchanges)
    }

    /// Ends the members.
    ///
    /// # Errors
    /// When they cannot be ended.
    pub async fn end(mut self) -> Result<()> {
        self.streams.clear();
        self.members.end_all().await
    }

    /// Takes one step. What a server refuses is an answer, and so is what cannot be asked: see [`NOT_ASKED`].
    pub async fn step(&mut self, step: &Step) -> Exchange {
        let answer = self.take(step).await;
        let answer = answer.unwrap_or_else(|e| json!({ "!": format!("{NOT_ASKED}{e:#}") }));
        Exchange {
            call: step.call.clone(),
            code: 0,
            answer,
        }
    }

    async fn take(&mut self, step: &Step) -> Result<Value> {
        match &step.action {
            Action::Call(request) => self.call(request).await,
            Action::Json(request) => self.json(request).await,
            Action::Raw { method, bytes } => self.raw(method, bytes).await,
            Action::Until { told, request } => self.until(step, told, request).await,
            Action::Login { user, password } => self.login(user, password).await,
            Action::Http {
                method,
                path,
                body,
                lines,
            } => self.http(method, path, body, *lines).await,
            Action::Open { .. }
            | Action::Send { .. }
            | Action::Read { .. }
            | Action::Drain { .. }
            | Action::Close { .. }
            | Action::Drop { .. } => self.stream(&step.action).await,
            other => self.set(other).await,
        }
    }

    /// What is of this run and not of any request.
    async fn set(&mut self, action: &Action) -> Result<Value> {
        match action {
            Action::Token(token) => self.carry("token", token.as_deref())?,
            Action::With { key, value } => self.carry(key, value.as_deref())?,
            Action::At(number) => {
                self.asked = *number;
                let id = self.ids.get(*number).context("there is no such member")?;
                self.plain.asks(*id);
            }
            Action::Kill(number) => self.members.kill(*number).await?,
            Action::Start(number) => self.members.restart(*number)?,
            Action::Learner => self.learner().await?,
            other => bail!("{other:?} is no setting"),
        }
        Ok(Value::Null)
    }

    async fn learner(&mut self) -> Result<()> {
        let number = self.members.add_learner(&self.flags).await?;
        let id = self.members.learner_is_published(number).await?;
        self.channels
            .push(wire::channel(&self.members.endpoints()[number])?);
        self.ids.push(id);
        self.plain.joined(id);
        Ok(())
    }

    fn carry(&mut self, key: &str, value: Option<&str>) -> Result<()> {
        let key: tonic::metadata::MetadataKey<_> = key.parse().context("no key for metadata")?;
        match value {
            Some(value) => drop(self.metadata.insert(key, MetadataValue::try_from(value)?)),
            None => drop(self.metadata.remove(key)),
        }
        Ok(())
    }

    async fn login(&mut self, user: &str, password: &str) -> Result<Value> {
        let method = services::method("Auth.Authenticate").context("no way to log in")?;
        let message = json!({ "name": user, "password": password });
        self.carry("token", None)?;
        let mut call = self.begin(&Request {
            method: method.clone(),
            message,
        })?;
        call.finish();
        let said = call.next(MESSAGE).await;
        if let Some(Said::Message(message)) = &said {
            let token = value::of(message)["token"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            self.carry("token", Some(&token))?;
        }
        Ok(self.answer(said, &method.output()))
    }

    async fn http(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        lines: Option<usize>,
    ) -> Result<Value> {
        let endpoint = self.members.endpoints()[self.asked].clone();
        let token = self.metadata.get("token").and_then(|it| it.to_str().ok());
        let ask = Ask {
            url: &endpoint,
            token,
            method,
            path,
            body,
            lines,
        };
        Ok(self.plain.http(ask.answer().await?))
    }

    async fn json(&mut self, request: &Request) -> Result<Value> {
        let path = gateway::path(&request.method).context("the gateway has no path for it")?;
        let message = self.plain.request(&request.message);
        let body = gateway::body(&message, &request.method.input())?;
        self.http("POST", path, &body.to_string(), None).await
    }

    /// In which words a library says that it cannot read bytes is nobody's business.
    async fn raw(&mut self, method: &MethodDescriptor, bytes: &[u8]) -> Result<Value> {
        let bytes = Payload::Raw(bytes.to_vec().into());
        let mut call = Call::begin(self.channel(), method, &self.metadata, bytes);
        call.finish();
        Ok(without_words(self.whole_answer(&mut call, method).await))
    }

    fn channel(&self) -> Channel {
        self.channels[self.asked].clone()
    }

    fn begin(&mut self, request: &Request) -> Result<Call> {
        let message = self.plain.request(&request.message);
        let message = value::message(&message, &request.method.input())?;
        Ok(Call::begin(
            self.channel(),
            &request.method,
            &self.metadata,
            message,
        ))
    }

    async fn call(&mut self, request: &Request) -> Result<Value> {
        let mut call = self.begin(request)?;
        call.finish();
        Ok(self.whole_answer(&mut call, &request.method).await)
    }

    async fn whole_answer(&mut self, call: &mut Call, method: &MethodDescriptor) -> Value {
        let mut all = self.rest(call, &method.output()).await;
        if services::is_streaming(method) || all.len() != 1 {
            return Value::Array(all);
        }
        all.remove(0)
    }

    async fn until(&mut self, step: &Step, told: &str, request: &Request) -> Result<Value> {
        let began = Instant::now();
        loop {
            let answer = self.call(request).await?;
            let says_so = step.answer_lines(&answer).join("\n").contains(told);
            if says_so || began.elapsed() > PATIENCE {
                return Ok(answer);
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Everything that still comes. Messages of a snapshot are as many as its size makes them.
    async fn rest(
        &mut self,
        call: &mut Call,
        output: &prost_reflect::MessageDescriptor,
    ) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let said = call.next(MESSAGE).await;
            let is_last = !matches!(said, Some(Said::Message(_)));
            let is_end = matches!(said, Some(Said::End(None)));
            let answer = self.answer(said, output);
            let is_more_of_it = output.name() == "SnapshotResponse" && all.last() == Some(&answer);
            if !is_end && !is_more_of_it {
                all.push(answer);
            }
            if is_last {
                return all;
            }
        }
    }

    async fn stream(&mut self, action: &Action) -> Result<Value> {
        match action {
            Action::Open { name, request } => {
                let mut call = self.begin(request)?;
                if !request.method.is_client_streaming() {
                    call.finish();
                }
                let unanswered = usize::from(is_watch(request));
                let stream = Stream { call, unanswered };
                self.streams.insert(name.clone(), stream);
                Ok(Value::Null)
            }
            Action::Send { name, request } => {
                let message = self.plain.request(&request.message);
                let message = value::message(&message, &request.method.input())?;
                let stream = self.open(name)?;
                stream.unanswered += usize::from(is_watch(request));
                stream.call.send(message)?;
                Ok(Value::Null)
            }
            Action::Read {
                name,
                count,
                method,
            } => self.read(name, *count, &method.output()).await,
            Action::Drain { name, method } => self.drain(name, method).await,
            Action::Close { name, method } => {
                let mut stream = self.streams.remove(name).context("it is not open")?;
                stream.call.finish();
                Ok(Value::Array(
                    self.rest(&mut stream.call, &method.output()).await,
                ))
            }
            Action::Drop { name } => {
                self.streams.remove(name).context("it is not open")?;
                Ok(Value::Null)
            }
            other => bail!("{other:?} has to do with no stream"),
        }
    }

    fn open(&mut self, name: &str) -> Result<&mut Stream> {
        self.streams
            .get_mut(name)
            .with_context(|| format!("{name} is not open"))
    }

    async fn read(
        &mut self,
        name: &str,
        count: usize,
        output: &prost_reflect::MessageDescriptor,
    ) -> Result<Value> {
        let mut all = Vec::new();
        for _ in 0..count {
            let said = self.open(name)?.call.next(MESSAGE).await;
            let goes_on = matches!(said, Some(Said::Message(_)));
            let answer = self.answer(said, output);
            self.open(name)?.told(&answer);
            all.push(answer);
            if !goes_on {
                break;
            }
        }
        Ok(Value::Array(all))
    }

    /// Reads up to the answer to a request for progress, and joins the events of each watch.
    ///
    /// Every watch asked for is told of before; the answer is of the last revision that was told, or it is of an earlier request.
    async fn drain(&mut self, name: &str, method: &MethodDescriptor) -> Result<Value> {
        let progress = value::message(&json!({ "progress_request": {} }), &method.input())?;
        let mut watches = Watches::default();
        let began = Instant::now();
        let mut is_asked = false;
        loop {
            let stream = self.open(name)?;
            if stream.unanswered == 0 && !is_asked {
                stream.call.send(progress.clone())?;
                is_asked = true;
            }
            match self.open(name)?.call.next(PROGRESS).await {
                None if began.elapsed() > PATIENCE => watches.end("no progress in time"),
                None => {
                    is_asked = false;
                    continue;
                }
                Some(said @ Said::End(_)) => {
                    let answer = self.answer(Some(said), &method.output());
                    watches.end(answer["!"].as_str().unwrap_or("the end"));
                }
                Some(said) => {
                    let answer = self.answer(Some(said), &method.output());
                    self.open(name)?.told(&answer);
                    let is_old = answer["header"]["revision"].as_i64() < self.plain.revision();
                    if watches.take(answer) || is_old {
                        continue;
                    }
                }
            }
            return Ok(watches.joined());
        }
    }

    fn answer(&mut self, said: Option<Said>, output: &prost_reflect::MessageDescriptor) -> Value {
        match said {
            Some(Said::Message(message)) => self.plain.message(value::of(&message), output),
            Some(Said::End(Some(status))) => json!({ "!": self.plain.text(&sentence(&status)) }),
            Some(Said::End(None)) => json!({ "!": "the end" }),
            None => json!({ "!": "nothing in time" }),
        }
    }
}

/// An answer without what a library says of bytes that it cannot read.
fn without_words(answer: Value) -> Value {
    match answer {
        Value::Array(all) => all.into_iter().map(without_words).collect(),
        it if it["!"]
            .as_str()
            .is_some_and(|it| it.starts_with("Internal")) =>
        {
            json!({ "!": "Internal: not to be read" })
        }
        it => it,
    }
}

/// Whether an answer is owed that a watch was created, or was not.
fn is_watch(request: &Request) -> bool {
    request.message.get("create_request").is_some()
}

impl Stream {
    fn told(&mut self, answer: &Value) {
        let is_created = answer["created"] == true;
        self.unanswered = self.unanswered.saturating_sub(usize::from(is_created));
    }
}

/// What came on a watch stream, in order, and of which watch it is.
#[derive(Default)]
struct Watches {
    all: Vec<(i64, Value)>,
}

impl Watches {
    /// Why nothing more comes.
    fn end(&mut self, why: &str) {
        self.all.push((i64::MAX, json!({ "!": why })));
    }

    /// Takes a message; whether it was none of a watch's own but the answer to a request for progress.
    fn take(&mut self, answer: Value) -> bool {
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
    fn joined(mut self) -> Value {
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

fn sentence(status: &Status) -> String {
    let code = match status.code() {
        Code::Ok => "Ok".to_owned(),
        code => format!("{code:?}"),
    };
    format!("{code}: {}", status.message())
}
