//! Sends the requests of a text to members with fresh data, and keeps what they answer.
//!
//! It deliberately goes on after a wrong answer: what follows is compared too.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::plain::Plain;
use super::text::{Action, Request, Step, Text};
use super::wire::{self, Call, Said};
use super::{http, services, value};
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

/// Members on which a text is run.
#[derive(Debug)]
pub struct Run {
    members: Members,
    channels: Vec<Channel>,
    ids: Vec<u64>,
    asked: usize,
    metadata: MetadataMap,
    streams: HashMap<String, Call>,
    plain: Plain,
}

impl Run {
    /// Starts members of a program that understands etcd's flags.
    ///
    /// # Errors
    /// When they do not start.
    pub async fn start(program: &Path, count: usize, flags: &[String]) -> Result<Self> {
        let members = Members::start_with(program, count, flags).await?;
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
            Action::Until { told, request } => self.until(step, told, request).await,
            Action::Login { user, password } => self.login(user, password).await,
            Action::Http { method, path, body } => self.http(method, path, body).await,
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
            other => bail!("{other:?} is no setting"),
        }
        Ok(Value::Null)
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

    async fn http(&mut self, method: &str, path: &str, body: &str) -> Result<Value> {
        let endpoint = self.members.endpoints()[self.asked].clone();
        let answer = http::ask(&endpoint, method, path, body).await?;
        Ok(self.plain.http(answer))
    }

    fn begin(&mut self, request: &Request) -> Result<Call> {
        let message = self.plain.request(&request.message);
        let message = value::message(&message, &request.method.input())?;
        let channel = self.channels[self.asked].clone();
        Ok(Call::begin(
            channel,
            &request.method,
            &self.metadata,
            message,
        ))
    }

    async fn call(&mut self, request: &Request) -> Result<Value> {
        let mut call = self.begin(request)?;
        call.finish();
        let mut all = self.rest(&mut call, &request.method.output()).await;
        if services::is_streaming(&request.method) {
            return Ok(Value::Array(all));
        }
        Ok(if all.len() == 1 {
            all.remove(0)
        } else {
            Value::Array(all)
        })
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
                let call = self.begin(request)?;
                self.streams.insert(name.clone(), call);
                Ok(Value::Null)
            }
            Action::Send { name, request } => {
                let message = self.plain.request(&request.message);
                let message = value::message(&message, &request.method.input())?;
                self.open(name)?.send(message)?;
                Ok(Value::Null)
            }
            Action::Read {
                name,
                count,
                method,
            } => self.read(name, *count, &method.output()).await,
            Action::Drain { name, method } => self.drain(name, method).await,
            Action::Close { name, method } => {
                let mut call = self.streams.remove(name).context("it is not open")?;
                call.finish();
                Ok(Value::Array(self.rest(&mut call, &method.output()).await))
            }
            Action::Drop { name } => {
                self.streams.remove(name).context("it is not open")?;
                Ok(Value::Null)
            }
            other => bail!("{other:?} has to do with no stream"),
        }
    }

    fn open(&mut self, name: &str) -> Result<&mut Call> {
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
            let said = self.open(name)?.next(MESSAGE).await;
            let goes_on = matches!(said, Some(Said::Message(_)));
            all.push(self.answer(said, output));
            if !goes_on {
                break;
            }
        }
        Ok(Value::Array(all))
    }

    /// Reads up to the answer to a request for progress, and joins the events of each watch.
    async fn drain(
        &mut self,
        name: &str,
        method: &prost_reflect::MethodDescriptor,
    ) -> Result<Value> {
        let progress = value::message(&json!({ "progress_request": {} }), &method.input())?;
        let mut watches = Watches::default();
        let began = Instant::now();
        self.open(name)?.send(progress.clone())?;
        loop {
            match self.open(name)?.next(PROGRESS).await {
                None if began.elapsed() > PATIENCE => watches
                    .all
                    .push((i64::MAX, json!({ "!": "no progress in time" }))),
                None => {
                    self.open(name)?.send(progress.clone())?;
                    continue;
                }
                Some(said @ Said::End(_)) => watches
                    .all
                    .push((i64::MAX, self.answer(Some(said), &method.output()))),
                Some(said) => {
                    let answer = self.answer(Some(said), &method.output());
                    if watches.take(answer) {
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

/// What came on a watch stream, in order, and of which watch it is.
#[derive(Default)]
struct Watches {
    all: Vec<(i64, Value)>,
}

impl Watches {
    /// Takes a message; whether it was none of a watch's own but the answer to a request for progress.
    fn take(&mut self, answer: Value) -> bool {
        let id = answer["watch_id"].as_i64().unwrap_or(0);
        let is_of_no_watch = id == -1 && answer["canceled"].is_null();
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

    /// By watch; headers hang on how events were put together, and are left out.
    fn joined(mut self) -> Value {
        self.all.sort_by_key(|it| it.0);
        let all = self.all.into_iter().map(|(_, mut answer)| {
            if let Some(fields) = answer.as_object_mut() {
                fields.remove("header");
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
