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

use super::flags::{Flags, secure};
use super::http::{Ask, headers};
use super::plain::Plain;
use super::text::{Action, Request, Shown, Step, Text};
use super::tls::{Way, authority_of};
use super::watches::Watches;
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
    flags: Flags,
    /// How members are reached, where it is over TLS.
    way: Option<Way>,
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
        let flags = Flags::of(flags)?;
        let members = Members::start_each(program, count, |url| flags.of_member(url)).await?;
        members.are_published().await?;
        let (cluster, ids) = members.ids().await?;
        let endpoints = members.endpoints();
        let address = authority_of(&endpoints[0]);
        let address = address.rsplit_once(':').map_or(address, |it| it.0);
        let mut plain = Plain::new(cluster, &ids, &[address.to_owned()]);
        plain.asks(ids[0]);
        let certificates = flags.certificates.as_ref();
        let mut run = Self {
            way: certificates
                .map(|it| it.client(&Shown::Nothing))
                .transpose()?,
            channels: Vec::new(),
            members,
            flags,
            ids,
            asked: 0,
            metadata: MetadataMap::new(),
            streams: HashMap::new(),
            plain,
        };
        run.connect()?;
        Ok(run)
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
        self.members.end_all().await?;
        if let Some(certificates) = &mut self.flags.certificates {
            certificates.discard();
        }
        Ok(())
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
            Action::Show(shown) => self.show(shown).await,
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
        let flags = |url: &str| self.flags.of_member(url);
        let number = self.members.add_learner(flags).await?;
        let id = self.members.learner_is_published(number).await?;
        self.channels.push(self.connected(self.url(number))?);
        self.ids.push(id);
        self.plain.joined(id);
        Ok(())
    }

    /// Where a member is asked.
    fn url(&self, number: usize) -> String {
        let url = &self.members.endpoints()[number];
        match self.way {
            Some(_) => secure(url),
            None => url.clone(),
        }
    }

    fn connected(&self, url: String) -> Result<Channel> {
        match &self.way {
            Some(way) => way.channel(&url),
            None => wire::channel(&url),
        }
    }

    /// New connections to all members; streams that are open stay on theirs.
    fn connect(&mut self) -> Result<()> {
        let all = (0..self.ids.len()).map(|number| self.connected(self.url(number)));
        self.channels = all.collect::<Result<_>>()?;
        Ok(())
    }

    /// What a server says to the certificate at once.
    async fn show(&mut self, shown: &Shown) -> Result<Value> {
        let certificates = self.flags.certificates.as_ref();
        let certificates = certificates.context("the flags name no certificates")?;
        let way = certificates.client(shown)?;
        let refusal = way.refusal(&self.url(self.asked)).await?;
        self.way = Some(way);
        self.connect()?;
        Ok(refusal.map_or(Value::Null, |why| json!({ "!": format!("TLS: {why}") })))
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
        let url = self.url(self.asked);
        let headers = headers(&self.metadata);
        let ask = Ask {
            url: &url,
            way: self.way.as_ref(),
            headers: &headers,
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

fn sentence(status: &Status) -> String {
    let code = match status.code() {
        Code::Ok => "Ok".to_owned(),
        code => format!("{code:?}"),
    };
    format!("{code}: {}", status.message())
}
