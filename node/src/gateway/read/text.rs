//! JSON text as tokens with their places, for messages that say where.
//!
//! The text is JSON already, but for what strings may hold; so nothing here can run past its end.

use super::super::quote::quoted;

/// A token: a bracket, a name, or a value that has no parts.
#[derive(Debug)]
pub(super) struct Token<'a> {
    at: usize,
    /// As it stands in the text.
    pub(super) raw: &'a [u8],
    /// What it says, if it is a string.
    pub(super) text: Option<String>,
}

impl Token<'_> {
    pub(super) fn shown(&self) -> String {
        String::from_utf8_lossy(self.raw).into_owned()
    }

    pub(super) fn string(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}

/// One JSON value, read from its beginning to its end.
#[derive(Debug)]
pub(super) struct Text<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    pub(super) const fn new(json: &'a [u8]) -> Self {
        Self { json, at: 0 }
    }

    /// The next token. Commas and colons are none.
    pub(super) fn token(&mut self) -> Result<Token<'a>, String> {
        let start = self.look();
        let (length, text) = match self.json.get(start) {
            Some(b'"') => {
                let (length, text) = self.string(start)?;
                (length, Some(text))
            }
            Some(b'{' | b'}' | b'[' | b']') => (1, None),
            _ => (self.plain(start), None),
        };
        self.at = start + length;
        Ok(Token {
            at: start,
            raw: &self.json[start..self.at],
            text,
        })
    }

    /// The next name of an object; none at its end.
    pub(super) fn name(&mut self) -> Result<Option<Token<'a>>, String> {
        if self.ends(b'}') {
            return Ok(None);
        }
        self.token().map(Some)
    }

    /// Whether a list has one more element.
    pub(super) fn element(&mut self) -> bool {
        !self.ends(b']')
    }

    /// Takes a `null`, if one comes next.
    pub(super) fn null(&mut self) -> bool {
        let start = self.look();
        let is_null = self.json[start..].starts_with(b"null");
        if is_null {
            self.at = start + "null".len();
        }
        is_null
    }

    /// Skips one value, whatever is in it.
    pub(super) fn skip(&mut self) -> Result<(), String> {
        let mut open = 0_usize;
        loop {
            match self.token()?.raw {
                b"{" | b"[" => open += 1,
                b"}" | b"]" => open -= 1,
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// A message about this token.
    pub(super) fn at(&self, token: &Token<'_>, what: &str) -> String {
        let (line, column) = self.place(token.at);
        format!("(line {line}:{column}): {what}")
    }

    /// That this token does not belong here.
    pub(super) fn unexpected(&self, token: &Token<'_>) -> String {
        self.malformed(token.at, &format!("unexpected token {}", token.shown()))
    }

    fn malformed(&self, at: usize, what: &str) -> String {
        let (line, column) = self.place(at);
        format!("syntax error (line {line}:{column}): {what}")
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let before = &self.json[..at];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let begin = before.iter().rposition(|byte| *byte == b'\n');
        let column = &before[begin.map_or(0, |newline| newline + 1)..];
        (line, String::from_utf8_lossy(column).chars().count() + 1)
    }

    /// Where the next token begins.
    fn look(&self) -> usize {
        let rest = &self.json[self.at..];
        let is_between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b',' | b':');
        self.at + rest.iter().take_while(|byte| is_between(byte)).count()
    }

    fn ends(&mut self, with: u8) -> bool {
        let start = self.look();
        let ends = self.json.get(start).is_none_or(|byte| *byte == with);
        if ends {
            self.at = self.json.len().min(start + 1);
        }
        ends
    }

    fn plain(&self, start: usize) -> usize {
        let is_part =
            |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        self.json[start..].iter().take_while(is_part).count()
    }

    /// The string that begins here: its length with the quotes, and what it says.
    fn string(&self, start: usize) -> Result<(usize, String), String> {
        let mut rest = &self.json[start + 1..];
        let mut said = String::new();
        loop {
            let plain = rest
                .iter()
                .take_while(|byte| !matches!(byte, b'"' | b'\\'))
                .count();
            let (text, after) = rest.split_at(plain);
            let Ok(text) = std::str::from_utf8(text) else {
                return Err(self.malformed(start, "invalid UTF-8 in string"));
            };
            said.push_str(text);
            match after {
                [b'\\', b'u', ..] => {
                    let (length, character) = self.unicode(start, after)?;
                    said.push(character);
                    rest = &after[length..];
                }
                [b'\\', escape, ..] => {
                    said.push(plain_escape(*escape));
                    rest = &after[2..];
                }
                _ => return Ok((self.json.len() - start - after.len() + 1, said)),
            }
        }
    }

    /// `\uXXXX`, or two of them that are one character.
    fn unicode(&self, start: usize, escape: &[u8]) -> Result<(usize, char), String> {
        let first = hex(&escape[2..6]);
        if let Some(character) = char::from_u32(first) {
            return Ok((6, character));
        }
        let second = &escape[6..];
        let Some(second) = second.get(..6) else {
            return Err("unexpected EOF".to_owned());
        };
        let is_escape = second.starts_with(b"\\u") && second[2..].iter().all(u8::is_ascii_hexdigit);
        let low = if is_escape { hex(&second[2..]) } else { 0 };
        let mut pair = char::decode_utf16([first, low].map(|unit| unit as u16));
        match (low, pair.next()) {
            (0xdc00..=0xdfff, Some(Ok(character))) => Ok((12, character)),
            _ => {
                let shown = quoted(second);
                Err(self.malformed(start, &format!("invalid escape code {shown} in string")))
            }
        }
    }
}

const fn plain_escape(escape: u8) -> char {
    match escape {
        b'b' => '\x08',
        b'f' => '\x0c',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => other as char,
    }
}

/// Four digits, each of which is one.
fn hex(digits: &[u8]) -> u32 {
    let value = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or_default();
    digits
        .iter()
        .fold(0, |number, digit| number * 16 + value(digit))
}
