//! A message as people write it: protobuf's text format, as far as the API needs it.
//!
//! ```text
//! key: "a\x00" limit: 3 sort_order: DESCEND success { request_put { key: "a" lease: $1 } }
//! ```
//!
//! - A string may be repeated: `"x" * 2000000`.
//! - `$NAME` stands for what is not known before the text runs, `$NAME+1` and `$NAME-1` for its neighbours.
//!
//! It deliberately knows no descriptions: whether a name is a field, and of what kind, is judged where a message is made.

use anyhow::{Context, Result, bail, ensure};
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::{Map, Value};

/// Strings longer than this that are one character throughout are written as such.
const WRITTEN_OUT: usize = 40;

/// Reads a message whose description tells which fields are lists.
///
/// # Errors
/// When it is no message, with what stands in the way.
pub fn read(text: &str, descriptor: &MessageDescriptor) -> Result<Value> {
    let mut reader = Reader { rest: text };
    let value = reader.fields(Some(descriptor))?;
    ensure!(
        reader.peek().is_none(),
        "cannot read from here on: {}",
        reader.rest
    );
    Ok(value)
}

/// Reads one string in quotes and nothing else.
///
/// # Errors
/// When it is none.
pub fn read_string(text: &str) -> Result<String> {
    let mut reader = Reader { rest: text };
    let string = reader.string()?;
    ensure!(
        reader.peek().is_none(),
        "cannot read from here on: {}",
        reader.rest
    );
    Ok(string)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn take(&mut self, expected: char) -> Result<()> {
        ensure!(
            self.peek() == Some(expected),
            "expected {expected} before: {}",
            self.rest
        );
        self.rest = &self.rest[1..];
        Ok(())
    }

    fn word(&mut self) -> Result<String> {
        self.peek();
        let is_part = |c: char| c.is_alphanumeric() || "_-+$.?".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        ensure!(end > 0, "expected a word before: {}", self.rest);
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(word.to_owned())
    }

    /// All fields up to the end or a closing brace.
    fn fields(&mut self, descriptor: Option<&MessageDescriptor>) -> Result<Value> {
        let mut fields = Map::new();
        while self.peek().is_some_and(|c| c != '}') {
            let name = self.word()?;
            let field = descriptor.and_then(|it| it.get_field_by_name(&name));
            let kind = field.as_ref().map(prost_reflect::FieldDescriptor::kind);
            let value = self
                .value(kind.as_ref())
                .with_context(|| format!("field {name}"))?;
            if field.is_some_and(|it| it.is_list()) {
                let list = fields
                    .entry(name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().context("a list is one")?.push(value);
            } else {
                ensure!(
                    !fields.contains_key(&name),
                    "{name} stands here twice and is no list"
                );
                fields.insert(name, value);
            }
        }
        Ok(Value::Object(fields))
    }

    fn value(&mut self, kind: Option<&Kind>) -> Result<Value> {
        if self.peek() == Some('{') {
            self.take('{')?;
            let message = self.fields(kind.and_then(Kind::as_message))?;
            self.take('}')?;
            return Ok(message);
        }
        self.take(':')?;
        if self.peek() == Some('"') {
            return self.string().map(Value::from);
        }
        let word = self.word()?;
        Ok(match word.as_str() {
            "true" => Value::from(true),
            "false" => Value::from(false),
            number => (number.parse::<i64>().map(Value::from))
                .or_else(|_| number.parse::<u64>().map(Value::from))
                .unwrap_or_else(|_| Value::from(word.as_str())),
        })
    }

    fn string(&mut self) -> Result<String> {
        self.take('"')?;
        let mut string = String::new();
        loop {
            let c = self.next_character()?;
            match c {
                '"' => break,
                '\\' => string.push(self.escaped()?),
                other => string.push(other),
            }
        }
        if self.peek() == Some('*') {
            self.take('*')?;
            string = string.repeat(self.word()?.parse().context("how often it is repeated")?);
        }
        Ok(string)
    }

    fn escaped(&mut self) -> Result<char> {
        Ok(match self.next_character()? {
            'n' => '\n',
            't' => '\t',
            'x' => {
                let digits: String = [self.next_character()?, self.next_character()?]
                    .iter()
                    .collect();
                u8::from_str_radix(&digits, 16)
                    .context("\\x takes two digits")?
                    .into()
            }
            c @ ('"' | '\\') => c,
            other => bail!("\\{other} is no escape"),
        })
    }

    fn next_character(&mut self) -> Result<char> {
        let c = self.rest.chars().next().context("a string does not end")?;
        self.rest = &self.rest[c.len_utf8()..];
        Ok(c)
    }
}

/// Writes a message on one line.
pub fn write(value: &Value, descriptor: Option<&MessageDescriptor>) -> String {
    fields(value, descriptor).join(" ")
}

/// Writes each field of a message, and each item of a list, by itself, in the order of the description.
pub fn fields(value: &Value, descriptor: Option<&MessageDescriptor>) -> Vec<String> {
    let mut all = Vec::new();
    let mut named: Vec<(u32, &String, &Value, Option<Kind>)> = Vec::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let field = descriptor.and_then(|it| it.get_field_by_name(name));
        let number = field
            .as_ref()
            .map_or(u32::MAX, prost_reflect::FieldDescriptor::number);
        named.push((number, name, value, field.map(|it| it.kind())));
    }
    named.sort_by_key(|it| it.0);
    for (_, name, value, kind) in named {
        match value {
            Value::Array(items) => {
                all.extend(items.iter().map(|it| field(name, it, kind.as_ref())))
            }
            one => all.push(field(name, one, kind.as_ref())),
        }
    }
    all
}

fn field(name: &str, value: &Value, kind: Option<&Kind>) -> String {
    let message = kind.and_then(Kind::as_message);
    match value {
        Value::Object(it) if it.is_empty() => format!("{name} {{}}"),
        Value::Object(_) => format!("{name} {{ {} }}", write(value, message)),
        Value::String(it) if matches!(kind, Some(Kind::String | Kind::Bytes)) => {
            format!("{name}: {}", quoted(it))
        }
        Value::String(it) => format!("{name}: {it}"),
        other => format!("{name}: {other}"),
    }
}

/// A string in quotes.
pub fn quoted(it: &str) -> String {
    let first = it.chars().next();
    let is_one_throughout = it.len() > WRITTEN_OUT && it.chars().all(|c| Some(c) == first);
    if let (true, Some(first)) = (is_one_throughout, first) {
        return format!("\"{}\" * {}", escaped(first), it.chars().count());
    }
    format!("\"{}\"", it.chars().map(escaped).collect::<String>())
}

fn escaped(c: char) -> String {
    match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        ' '..='~' => c.to_string(),
        c if u32::from(c) < 256 => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::services;
    use super::*;

    #[test]
    fn what_is_written_is_what_was_read() {
        let txn = services::method("KV.Txn").unwrap().input();
        for text in [
            "",
            "compare { target: MOD key: \"a\\x00\\xff\\\"\" mod_revision: 0 } compare {}",
            "success { request_put { key: \"a\" value: \"x\" * 2000 lease: $1 } }",
            "failure { request_range { key: \"MOD\" limit: -1 sort_order: 7 serializable: true } }",
        ] {
            let read = read(text, &txn).unwrap();
            assert_eq!(write(&read, Some(&txn)), text);
        }
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let put = services::method("KV.Put").unwrap().input();
        let error = |text| format!("{:#}", read(text, &put).unwrap_err());
        assert_eq!(error("key: \"a"), "field key: a string does not end");
        assert_eq!(error("key: \"a\" }"), "cannot read from here on: }");
        assert_eq!(
            error("lease: 1 lease: 2"),
            "lease stands here twice and is no list"
        );
    }
}
