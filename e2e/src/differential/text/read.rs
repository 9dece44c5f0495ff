//! Files as texts.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use prost_reflect::{MessageDescriptor, MethodDescriptor};
use serde_json::{Map, Value, json};

use super::super::{http, services, value};
use super::{Action, Request, Shown, Step, Text, grammar};

impl Text {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, with the line.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let name = path.file_stem().and_then(|it| it.to_str());
        let name = name.with_context(|| format!("{place} has no name"))?;
        let text = std::fs::read_to_string(path).with_context(|| format!("read {place}"))?;
        Self::parse(name, &text).with_context(|| format!("read {place}"))
    }

    /// Reads what a file of that name holds.
    ///
    /// # Errors
    /// When it is no text, with the line.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut it = Self {
            name: name.to_owned(),
            members: 1,
            flags: Vec::new(),
            steps: Vec::new(),
            head: Vec::new(),
        };
        let mut streams = HashMap::new();
        let lines: Vec<&str> = text.lines().collect();
        let mut at = 0;
        while at < lines.len() {
            if !lines[at].starts_with('>') {
                it.note(lines[at])
                    .with_context(|| format!("line {}", at + 1))?;
                at += 1;
                continue;
            }
            let count = block(&lines[at..]);
            let step = step(&lines[at..at + count], &mut streams);
            it.steps
                .push(step.with_context(|| format!("line {}", at + 1))?);
            at += count;
        }
        Ok(it)
    }

    /// What stands between the requests.
    fn note(&mut self, line: &str) -> Result<()> {
        match line.split_once(' ') {
            Some(("server", flags)) => self.flags = flags.split(' ').map(str::to_owned).collect(),
            Some(("members", count)) => self.members = count.parse().context("how many members")?,
            _ => ensure!(
                line.is_empty() || line.starts_with('#'),
                "neither request nor comment: {line}"
            ),
        }
        let place = self
            .steps
            .last_mut()
            .map_or(&mut self.head, |it| &mut it.after);
        place.push(line.to_owned());
        Ok(())
    }
}

/// How many lines belong to a request and its answer.
fn block(lines: &[&str]) -> usize {
    let begins_another =
        |at: usize| at > 0 && lines[at].starts_with("> ") && !is_continuation(lines[at]);
    let ends =
        |at: &usize| lines[*at].is_empty() || lines[*at].starts_with('#') || begins_another(*at);
    (0..lines.len()).find(ends).unwrap_or(lines.len())
}

fn is_continuation(line: &str) -> bool {
    line.starts_with(">  ")
}

fn step(lines: &[&str], streams: &mut HashMap<String, MethodDescriptor>) -> Result<Step> {
    let asked = lines.iter().take_while(|it| it.starts_with('>')).count();
    let call: Vec<&str> = lines[..asked].iter().map(|it| it[1..].trim()).collect();
    let call = call.join("\n");
    let action = action(&call, streams)?;
    let recorded = recorded(&lines[asked..], &action).context("the answer")?;
    Ok(Step {
        call,
        action,
        recorded,
        after: Vec::new(),
    })
}

fn action(call: &str, streams: &mut HashMap<String, MethodDescriptor>) -> Result<Action> {
    let (word, rest) = split(call);
    let (name, more) = split(rest);
    let name = name.to_owned();
    Ok(match word {
        "open" | "send" | "read" | "drain" | "close" | "drop" => {
            return stream(word, name, more, streams);
        }
        "until" => {
            let told = rest.strip_prefix('"').and_then(|it| it.split_once('"'));
            let (told, request) = told.context("until what, in quotes")?;
            Action::Until {
                told: told.to_owned(),
                request: self::request(request.trim())?,
            }
        }
        "json" => Action::Json(request(rest)?),
        "raw" => {
            let method = services::method(&name);
            let bytes = grammar::read_string(more)?;
            Action::Raw {
                method: method.with_context(|| format!("no RPC is called {name}"))?,
                bytes: value::bytes_of(&bytes)?,
            }
        }
        "login" => Action::Login {
            user: name,
            password: more.to_owned(),
        },
        "token" => Action::Token(Some(rest.to_owned())),
        "logout" => Action::Token(None),
        "show" => Action::Show(Shown::Ours(name)),
        "foreign" => Action::Show(Shown::Foreign(name)),
        "hide" => Action::Show(Shown::Nothing),
        "with" => Action::With {
            key: name,
            value: Some(more.to_owned()),
        },
        "without" => Action::With {
            key: name,
            value: None,
        },
        "at" => Action::At(rest.parse().context("which member")?),
        "kill" => Action::Kill(rest.parse().context("which member")?),
        "start" => Action::Start(rest.parse().context("which member")?),
        "learner" => Action::Learner,
        "lines" => http_request(more, Some(name.parse().context("how many lines")?)),
        verb if verb.chars().all(|c| c.is_ascii_uppercase()) => http_request(call, None),
        _ => Action::Call(request(call)?),
    })
}

fn http_request(text: &str, lines: Option<usize>) -> Action {
    let (method, rest) = split(text);
    let (path, body) = split(rest);
    Action::Http {
        method: method.to_owned(),
        path: path.to_owned(),
        body: body.to_owned(),
        lines,
    }
}

/// What is done with the stream of that name.
fn stream(
    word: &str,
    name: String,
    more: &str,
    streams: &mut HashMap<String, MethodDescriptor>,
) -> Result<Action> {
    if word == "open" {
        let request = request(more)?;
        streams.insert(name.clone(), request.method.clone());
        return Ok(Action::Open { name, request });
    }
    let method = streams.get(&name).cloned();
    let method = method.with_context(|| format!("{name} is not open"))?;
    Ok(match word {
        "send" => {
            let message = grammar::read(more, &method.input())?;
            let request = Request { method, message };
            Action::Send { name, request }
        }
        "read" => {
            let count = if more.is_empty() { "1" } else { more };
            let count = count.parse().context("how many")?;
            Action::Read {
                name,
                count,
                method,
            }
        }
        "drain" => Action::Drain { name, method },
        "close" => Action::Close { name, method },
        _ => Action::Drop { name },
    })
}

/// The first word and what follows.
fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

fn request(text: &str) -> Result<Request> {
    let (name, message) = split(text);
    let method = services::method(name).with_context(|| format!("no RPC is called {name}"))?;
    let message = grammar::read(message, &method.input())?;
    Ok(Request { method, message })
}

/// The answer that stands in the file.
fn recorded(lines: &[&str], action: &Action) -> Result<Option<Value>> {
    if lines.is_empty() {
        return Ok(None);
    }
    let output = action.method().map(MethodDescriptor::output);
    let is_list = match action {
        Action::Call(Request { method, .. }) | Action::Raw { method, .. } => {
            services::is_streaming(method)
        }
        Action::Read { .. } | Action::Drain { .. } | Action::Close { .. } => true,
        _ => false,
    };
    if !is_list {
        return message(lines, output.as_ref()).map(Some);
    }
    if lines == ["nothing"] {
        return Ok(Some(json!([])));
    }
    let all = lines
        .split(|&it| it == "--")
        .map(|it| message(it, output.as_ref()));
    Ok(Some(Value::Array(all.collect::<Result<_>>()?)))
}

fn message(lines: &[&str], output: Option<&MessageDescriptor>) -> Result<Value> {
    let first = lines.first().copied().unwrap_or_default();
    if let Some(error) = first.strip_prefix("! ") {
        return Ok(json!({ "!": error }));
    }
    if let Some(head) = first.strip_prefix("HTTP ") {
        let body = lines[1..]
            .iter()
            .map(|it| it.strip_prefix("| ").unwrap_or(it.trim_start_matches('|')));
        return Ok(http::tree(head, body));
    }
    if first == "empty" || lines.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    match output {
        Some(output) => grammar::read(&lines.join("\n"), output),
        None => bail!("an answer to what has none: {first}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# A text.\n\nserver --max-txn-ops=4\n\n> KV.Put key: \"a\"\nheader { revision: 2 }\n\n\
        # More.\n> KV.Range key: \"\"\n! InvalidArgument: etcdserver: key is not provided\n\
        > open w Watch.Watch create_request {}\n> read w 2\ncreated: true\n--\nwatch_id: 1\n\
        > Maintenance.Hash\nempty\n> learner\n> foreign u\n! TLS: UnknownCA\n> show\n> hide\n> GET /health\nHTTP 200 text/plain\n{\"health\":\"true\"}\n| ok\n\
        > lines 2 POST /v3/watch {}\nHTTP 200 application/json\n{\"a\":1}\n{\"a\":2}\n";

    #[test]
    fn a_file_that_is_read_and_written_is_the_same() {
        let text = Text::parse("name", FILE).unwrap();
        assert_eq!(text.flags, ["--max-txn-ops=4"]);
        assert_eq!(text.steps.len(), 11);
        let answers: Vec<Value> = text
            .steps
            .iter()
            .map(|it| it.recorded.clone().unwrap_or_default())
            .collect();
        assert_eq!(text.written(&answers), FILE);
    }

    #[test]
    fn the_line_that_cannot_be_read_is_named() {
        let error = |text| format!("{:#}", Text::parse("name", text).unwrap_err());
        assert_eq!(error("> KV.Nothing"), "line 1: no RPC is called KV.Nothing");
        assert_eq!(error("\n> read w"), "line 2: w is not open");
        assert_eq!(error("what"), "line 1: neither request nor comment: what");
    }
}
