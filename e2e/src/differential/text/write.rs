//! Texts as files.

use prost_reflect::MethodDescriptor;
use serde_json::Value;

use super::super::value;
use super::{Action, Request, Shown, Step, Text, grammar};

/// A request this long is written on several lines, one for each field.
const LONG: usize = 110;

impl Text {
    /// The file, with these answers in place of those that stand in it.
    pub fn written(&self, answers: &[Value]) -> String {
        let mut lines = self.head.clone();
        for (step, answer) in self.steps.iter().zip(answers) {
            lines.extend(step.call.lines().enumerate().map(|(at, line)| {
                let indent = if at == 0 { " " } else { "   " };
                format!(">{indent}{}", line.trim_start())
            }));
            lines.extend(step.answer_lines(answer));
            lines.extend(step.after.iter().cloned());
        }
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines.join("\n") + "\n"
    }
}

impl Step {
    /// An answer as it is written.
    pub fn answer_lines(&self, answer: &Value) -> Vec<String> {
        let output = self.action.method().map(MethodDescriptor::output);
        let one = |it: &Value| {
            if let Some(error) = it["!"].as_str() {
                return vec![format!("! {error}")];
            }
            if let Some(head) = it["http"].as_str() {
                let lines = it["lines"].as_array().into_iter().flatten();
                let lines = lines.map(|it| {
                    it.as_str().map_or_else(
                        || it.to_string(),
                        |line| format!("| {line}").trim_end().to_owned(),
                    )
                });
                return [format!("HTTP {head}")].into_iter().chain(lines).collect();
            }
            grammar::fields(it, output.as_ref())
        };
        match answer {
            Value::Null => Vec::new(),
            Value::Array(all) if all.is_empty() => vec!["nothing".to_owned()],
            Value::Array(all) => all
                .iter()
                .map(one)
                .collect::<Vec<_>>()
                .join(&"--".to_owned()),
            it if it.as_object().is_some_and(serde_json::Map::is_empty) => vec!["empty".to_owned()],
            it => one(it),
        }
    }
}

/// A request as it is written.
pub(super) fn action(action: &Action) -> String {
    match action {
        Action::Call(it) => request(it),
        Action::Json(it) => format!("json {}", request(it)),
        Action::Raw { method, bytes } => {
            let bytes = grammar::quoted(&value::string_of(bytes));
            format!("raw {} {bytes}", name(method))
        }
        Action::Until { told, request: it } => format!("until {told:?} {}", request(it)),
        Action::Open { name, request: it } => format!("open {name} {}", request(it)),
        Action::Send { name, request: it } => {
            let message = grammar::write(&it.message, Some(&it.method.input()));
            format!("send {name} {message}")
        }
        Action::Read { name, count: 1, .. } => format!("read {name}"),
        Action::Read { name, count, .. } => format!("read {name} {count}"),
        Action::Drain { name, .. } => format!("drain {name}"),
        Action::Close { name, .. } => format!("close {name}"),
        Action::Drop { name } => format!("drop {name}"),
        Action::Login { user, password } => format!("login {user} {password}"),
        Action::Token(Some(token)) => format!("token {token}"),
        Action::Token(None) => "logout".to_owned(),
        Action::Show(Shown::Ours(name)) => format!("show {name}").trim_end().to_owned(),
        Action::Show(Shown::Foreign(name)) => format!("foreign {name}"),
        Action::Show(Shown::Nothing) => "hide".to_owned(),
        Action::With {
            key,
            value: Some(value),
        } => format!("with {key} {value}"),
        Action::With { key, value: None } => format!("without {key}"),
        Action::At(number) => format!("at {number}"),
        Action::Kill(number) => format!("kill {number}"),
        Action::Start(number) => format!("start {number}"),
        Action::Learner => "learner".to_owned(),
        Action::Http {
            method,
            path,
            body,
            lines,
        } => {
            let lines = lines.map_or_else(String::new, |count| format!("lines {count} "));
            format!("{lines}{method} {path} {body}")
                .trim_end()
                .to_owned()
        }
    }
}

fn name(method: &MethodDescriptor) -> String {
    format!("{}.{}", method.parent_service().name(), method.name())
}

fn request(it: &Request) -> String {
    let name = name(&it.method);
    let fields = grammar::fields(&it.message, Some(&it.method.input()));
    let short = format!("{name} {}", fields.join(" ")).trim_end().to_owned();
    if short.len() <= LONG {
        return short;
    }
    format!("{name}\n{}", fields.join("\n"))
}
