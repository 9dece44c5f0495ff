//! Requests over HTTP/1.1 on the port that speaks gRPC too: the gateway, `/health`, `/version` and what else there is.
//!
//! One connection per request, so that no answer depends on the one before.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::metadata::{KeyAndValueRef, MetadataMap};

use super::tls::{Way, authority_of};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whom.
    pub url: &'a str,
    /// How, where it is over TLS.
    pub way: Option<&'a Way>,
    /// Beside those that every request has.
    pub headers: &'a [(String, String)],
    /// E.g. `POST`.
    pub method: &'a str,
    /// Behind the host.
    pub path: &'a str,
    /// As it is sent.
    pub body: &'a str,
    /// For an answer that does not end: so many of its first lines are enough.
    pub lines: Option<usize>,
}

/// Sends one request without further headers and waits for the whole answer; see [`Ask::answer`].
///
/// # Errors
/// When there is no answer.
pub async fn ask(url: &str, method: &str, path: &str, body: &str) -> Result<Value> {
    let ask = Ask {
        url,
        way: None,
        headers: &[],
        method,
        path,
        body,
        lines: None,
    };
    ask.answer().await
}

impl Ask<'_> {
    /// The answer as a tree: `http` holds code and content type, `lines` the body, each line as JSON if it is.
    ///
    /// # Errors
    /// When there is none.
    pub async fn answer(&self) -> Result<Value> {
        let asked = format!("{} {}", self.method, self.path);
        tokio::time::timeout(ANSWER, self.exchange())
            .await
            .with_context(|| format!("{asked}: no answer in time"))?
            .with_context(|| asked)
    }

    async fn exchange(&self) -> Result<Value> {
        let authority = authority_of(self.url);
        match self.way {
            Some(way) => self.ask(way.connect(authority, "http/1.1").await?).await,
            None => self.ask(TcpStream::connect(authority).await?).await,
        }
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Value> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = http::Request::builder()
            .method(self.method)
            .uri(self.path)
            .header("host", authority_of(self.url))
            .header("connection", "close");
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(self.body.to_owned())))?;
        let response = sender.send_request(request).await?;
        let code = response.status().as_u16();
        let kind = response.headers().get("content-type");
        let kind = kind.map_or("", |it| it.to_str().unwrap_or("?")).to_owned();
        let body = read(response.into_body(), self.lines).await?;
        let text = String::from_utf8_lossy(&body).into_owned();
        let lines = text.lines().take(self.lines.unwrap_or(usize::MAX));
        Ok(tree(&format!("{code} {kind}"), lines))
    }
}

/// Metadata as headers; the gateway looks for a token where a client over HTTP has it.
pub(super) fn headers(metadata: &MetadataMap) -> Vec<(String, String)> {
    let ascii = metadata.iter().filter_map(|it| match it {
        KeyAndValueRef::Ascii(key, value) => Some((key.as_str(), value.to_str().ok()?)),
        KeyAndValueRef::Binary(..) => None,
    });
    let name = |key| if key == "token" { "authorization" } else { key };
    ascii
        .map(|(key, value)| (name(key).to_owned(), value.to_owned()))
        .collect()
}

/// The body to its end, or up to so many lines.
async fn read(mut body: Incoming, lines: Option<usize>) -> Result<Vec<u8>> {
    let mut read = Vec::new();
    let is_enough = |read: &[u8]| lines.is_some_and(|it| read.split(|c| *c == b'\n').count() > it);
    while !is_enough(&read) {
        let Some(frame) = body.frame().await else {
            break;
        };
        read.extend(frame?.into_data().unwrap_or_default());
    }
    Ok(read)
}

/// The answer as it is compared: `head` is code and content type.
pub fn tree<'a>(head: &str, lines: impl Iterator<Item = &'a str>) -> Value {
    let lines = lines.map(|line| {
        let json = serde_json::from_str::<Value>(line)
            .ok()
            .filter(Value::is_object);
        json.unwrap_or_else(|| Value::from(line))
    });
    json!({ "http": head.trim(), "lines": lines.collect::<Vec<_>>() })
}
