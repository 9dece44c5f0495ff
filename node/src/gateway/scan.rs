//! Cuts a body into JSON values and refuses what is no JSON, in the words of Go's `encoding/json`, which clients of etcd see.
//!
//! - Every byte is looked at once and moved once, also when a body comes in many pieces or a piece has many values.
//! - Nothing is ever nested deeper than [`DEPTH_MAX`], so that whoever reads a value may walk it with a stack of that size.
//!
//! What this module deliberately does not do: look into strings. What an escape means, and whether the bytes are UTF-8, is for
//! the reader ([`super::read`]).

use super::quote::quoted_char;

/// Go's limit for arrays and objects in each other.
const DEPTH_MAX: usize = 10_000;

/// Where in a value the scanner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    After,
    Text,
    Escape,
    Hex(u8),
    Minus,
    Zero,
    Digits,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// In `true`, `false` or `null`, with so many letters read.
    Word(&'static str, usize),
}

/// What the scanner is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Key,
    Entry,
    Array,
}

/// What a byte meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The value goes on.
    On,
    /// The value ended with this byte.
    Ended,
    /// The value ended before this byte.
    EndedBefore,
}

/// Reads one value, byte by byte.
#[derive(Debug)]
struct Scanner {
    state: State,
    stack: Vec<Within>,
}

impl Scanner {
    const fn new() -> Self {
        Self {
            state: State::Value,
            stack: Vec::new(),
        }
    }

    /// Whether the bytes so far are a whole value, if nothing follows.
    fn is_whole(&self) -> bool {
        self.stack.is_empty() && self.ends_number()
    }

    const fn ends_number(&self) -> bool {
        use State::{Digits, ExponentDigits, Fraction, Zero};
        matches!(self.state, Zero | Digits | Fraction | ExponentDigits)
    }

    fn step(&mut self, byte: u8) -> Result<Step, String> {
        match self.state {
            State::Value | State::ValueOrEnd | State::Key | State::KeyOrEnd => self.begin(byte),
            State::After => self.after(byte),
            State::Text | State::Escape | State::Hex(_) => self.text(byte),
            State::Word(word, read) => self.word(word, read, byte),
            _ => self.number(byte),
        }
    }

    fn go(&mut self, state: State) -> Result<Step, String> {
        self.state = state;
        Ok(Step::On)
    }

    fn begin(&mut self, byte: u8) -> Result<Step, String> {
        match (self.state, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => Ok(Step::On),
            (State::ValueOrEnd, b']') | (State::KeyOrEnd, b'}') => self.close(),
            (_, b'"') => self.go(State::Text),
            (State::Key | State::KeyOrEnd, _) => {
                wrong(byte, "looking for beginning of object key string")
            }
            (_, b'{') => self.open(byte, Within::Key, State::KeyOrEnd),
            (_, b'[') => self.open(byte, Within::Array, State::ValueOrEnd),
            (_, b'-') => self.go(State::Minus),
            (_, b'0') => self.go(State::Zero),
            (_, b'1'..=b'9') => self.go(State::Digits),
            (_, b't') => self.go(State::Word("true", 1)),
            (_, b'f') => self.go(State::Word("false", 1)),
            (_, b'n') => self.go(State::Word("null", 1)),
            _ => wrong(byte, "looking for beginning of value"),
        }
    }

    fn open(&mut self, byte: u8, within: Within, state: State) -> Result<Step, String> {
        self.stack.push(within);
        if self.stack.len() > DEPTH_MAX {
            return wrong(byte, "exceeded max depth");
        }
        self.go(state)
    }

    fn close(&mut self) -> Result<Step, String> {
        self.stack.pop();
        self.ended()
    }

    /// A value ended with this byte.
    fn ended(&mut self) -> Result<Step, String> {
        self.state = State::After;
        Ok(if self.stack.is_empty() {
            Step::Ended
        } else {
            Step::On
        })
    }

    fn after(&mut self, byte: u8) -> Result<Step, String> {
        let Some(within) = self.stack.last_mut() else {
            return Ok(Step::EndedBefore);
        };
        match (*within, byte) {
            (_, b' ' | b'\t' | b'\r' | b'\n') => self.go(State::After),
            (Within::Key, b':') => {
                *within = Within::Entry;
                self.go(State::Value)
            }
            (Within::Entry, b',') => {
                *within = Within::Key;
                self.go(State::Key)
            }
            (Within::Array, b',') => self.go(State::Value),
            (Within::Entry, b'}') | (Within::Array, b']') => self.close(),
            (Within::Key, _) => wrong(byte, "after object key"),
            (Within::Entry, _) => wrong(byte, "after object key:value pair"),
            (Within::Array, _) => wrong(byte, "after array element"),
        }
    }

    fn text(&mut self, byte: u8) -> Result<Step, String> {
        match (self.state, byte) {
            (State::Text, b'"') => self.ended(),
            (State::Text, b'\\') => self.go(State::Escape),
            (State::Text, ..b' ') => wrong(byte, "in string literal"),
            (State::Text, _) => Ok(Step::On),
            (State::Escape, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => {
                self.go(State::Text)
            }
            (State::Escape, b'u') => self.go(State::Hex(4)),
            (State::Escape, _) => wrong(byte, "in string escape code"),
            (State::Hex(1), _) if byte.is_ascii_hexdigit() => self.go(State::Text),
            (State::Hex(left), _) if byte.is_ascii_hexdigit() => self.go(State::Hex(left - 1)),
            _ => wrong(byte, "in \\u hexadecimal character escape"),
        }
    }

    fn word(&mut self, word: &'static str, read: usize, byte: u8) -> Result<Step, String> {
        let expected = word.as_bytes()[read];
        if byte != expected {
            let expected = char::from(expected);
            return wrong(byte, &format!("in literal {word} (expecting '{expected}')"));
        }
        if read + 1 == word.len() {
            return self.ended();
        }
        self.go(State::Word(word, read + 1))
    }

    fn number(&mut self, byte: u8) -> Result<Step, String> {
        use State::{Digits, Exponent, ExponentDigits, ExponentSign, Fraction, Minus, Point, Zero};
        match (self.state, byte) {
            (Minus, b'0') => self.go(Zero),
            (Minus | Digits, b'0'..=b'9') => self.go(Digits),
            (Minus, _) => wrong(byte, "in numeric literal"),
            (Zero | Digits, b'.') => self.go(Point),
            (Point | Fraction, b'0'..=b'9') => self.go(Fraction),
            (Point, _) => wrong(byte, "after decimal point in numeric literal"),
            (Zero | Digits | Fraction, b'e' | b'E') => self.go(Exponent),
            (Exponent, b'+' | b'-') => self.go(ExponentSign),
            (Exponent | ExponentSign | ExponentDigits, b'0'..=b'9') => self.go(ExponentDigits),
            (Exponent | ExponentSign, _) => wrong(byte, "in exponent of numeric literal"),
            _ => self.after(byte),
        }
    }
}

fn wrong(byte: u8, at: &str) -> Result<Step, String> {
    Err(format!(
        "invalid character {} {at}",
        quoted_char(char::from(byte))
    ))
}

/// Whether the text is one JSON number and nothing else.
pub(super) fn is_number(text: &[u8]) -> bool {
    let mut scanner = Scanner::new();
    let starts = matches!(text.first(), Some(b'-' | b'0'..=b'9'));
    starts && text.iter().all(|byte| scanner.step(*byte) == Ok(Step::On)) && scanner.ends_number()
}

/// The values of a body that comes in pieces.
#[derive(Debug)]
pub(super) struct Values {
    bytes: Vec<u8>,
    /// Where the next value begins. What is before it goes with the next piece: many small values in one piece must not each move
    /// all that follow.
    begin: usize,
    scanned: usize,
    scanner: Scanner,
    bytes_max: usize,
}

/// Why there is no value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// More bytes are needed.
    More,
    /// It is no JSON, for this reason.
    Wrong(String),
    /// It is larger than allowed; so many bytes have come.
    TooLarge(usize),
}

impl Values {
    /// No value may have more than so many bytes.
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            begin: 0,
            scanned: 0,
            scanner: Scanner::new(),
            bytes_max,
        }
    }

    /// A piece of the body.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.begin);
        self.scanned -= self.begin;
        self.begin = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// The next whole value among the pieces so far.
    pub(super) fn next(&mut self) -> Result<Vec<u8>, Unread> {
        while let Some(byte) = self.bytes.get(self.scanned) {
            match self.scanner.step(*byte).map_err(Unread::Wrong)? {
                Step::On => self.scanned += 1,
                Step::Ended => return Ok(self.cut(self.scanned + 1)),
                Step::EndedBefore => return Ok(self.cut(self.scanned)),
            }
            if self.scanned - self.begin > self.bytes_max {
                return Err(Unread::TooLarge(self.bytes.len() - self.begin));
            }
        }
        Err(Unread::More)
    }

    /// The value that the end of the body ends; none if nothing but space was left.
    pub(super) fn last(&mut self) -> Result<Option<Vec<u8>>, Unread> {
        if self.bytes[self.begin..].trim_ascii().is_empty() {
            return Ok(None);
        }
        if self.scanner.is_whole() {
            return Ok(Some(self.cut(self.bytes.len())));
        }
        Err(Unread::Wrong("unexpected EOF".to_owned()))
    }

    fn cut(&mut self, at: usize) -> Vec<u8> {
        let value = self.bytes[self.begin..at].trim_ascii_start().to_vec();
        (self.begin, self.scanned, self.scanner) = (at, at, Scanner::new());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(body: &[u8], piece: usize) -> Vec<Result<String, String>> {
        let mut values = Values::new(100_000);
        let mut found = Vec::new();
        let text = |value: Vec<u8>| Ok(String::from_utf8_lossy(&value).into_owned());
        for bytes in body.chunks(piece) {
            values.push(bytes);
            loop {
                match values.next() {
                    Ok(value) => found.push(text(value)),
                    Err(Unread::More) => break,
                    Err(why) => {
                        found.push(Err(said(why)));
                        return found;
                    }
                }
            }
        }
        match values.last() {
            Ok(last) => found.extend(last.map(text)),
            Err(why) => found.push(Err(said(why))),
        }
        found
    }

    fn said(why: Unread) -> String {
        match why {
            Unread::Wrong(text) => text,
            other => format!("{other:?}"),
        }
    }

    fn ok(values: &[&str]) -> Vec<Result<String, String>> {
        values.iter().map(|value| Ok((*value).to_owned())).collect()
    }

    #[test]
    fn values_are_cut_wherever_the_pieces_end() {
        for piece in [1, 2, 3, 100] {
            let body = b" {\"a\":[1,{}],\"b\":\"}\\\"\"}\n{} 5 true[]\"x\"null -1.5e+3";
            let values = [
                "{\"a\":[1,{}],\"b\":\"}\\\"\"}",
                "{}",
                "5",
                "true",
                "[]",
                "\"x\"",
                "null",
                "-1.5e+3",
            ];
            assert_eq!(all(body, piece), ok(&values));
            assert_eq!(all(b" \n\t ", piece), ok(&[]));
        }
    }

    /// What etcd 3.7.3 said to each.
    #[test]
    fn what_is_no_json_is_refused_in_gos_words() {
        for (body, said) in [
            (&b"{\"key\":\"Zm9v\""[..], "unexpected EOF"),
            (
                b"{\"key\":\"Zm9v\",}",
                "invalid character '}' looking for beginning of object key string",
            ),
            (
                b"{key:1}",
                "invalid character 'k' looking for beginning of object key string",
            ),
            (
                b"\xef\xbb\xbf{}",
                "invalid character '\u{ef}' looking for beginning of value",
            ),
            (
                b"'",
                r"invalid character '\'' looking for beginning of value",
            ),
            (
                b"\x7f",
                r"invalid character '\x7f' looking for beginning of value",
            ),
            (
                b"\x80",
                r"invalid character '\u0080' looking for beginning of value",
            ),
            (
                b"\xa0",
                r"invalid character '\u00a0' looking for beginning of value",
            ),
            (b"\"a\x01\"", r"invalid character '\x01' in string literal"),
            (b"\"a\\qq\"", "invalid character 'q' in string escape code"),
            (
                b"\"\\u12x4\"",
                r"invalid character 'x' in \u hexadecimal character escape",
            ),
            (
                b"[tru]",
                "invalid character ']' in literal true (expecting 'e')",
            ),
            (b"[nul", "unexpected EOF"),
            (b"{\"a\" 5}", "invalid character '5' after object key"),
            (
                b"{\"a\":5 5}",
                "invalid character '5' after object key:value pair",
            ),
            (b"[5 5]", "invalid character '5' after array element"),
            (b"[-]", "invalid character ']' in numeric literal"),
            (
                b"[1.]",
                "invalid character ']' after decimal point in numeric literal",
            ),
            (
                b"[1e]",
                "invalid character ']' in exponent of numeric literal",
            ),
            (
                b"{\"a\":01}",
                "invalid character '1' after object key:value pair",
            ),
        ] {
            assert_eq!(all(body, 1), [Err(said.to_owned())]);
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        let said = "invalid character '[' exceeded max depth".to_owned();
        assert_eq!(all(deep.as_bytes(), 1000), [Err(said)]);
    }

    #[test]
    fn a_value_has_a_largest_size() {
        let mut values = Values::new(10);
        values.push(b"{\"a\":5} \"123456789\"");
        assert_eq!(values.next(), Ok(b"{\"a\":5}".to_vec()));
        assert_eq!(values.next(), Err(Unread::TooLarge(12)));
    }

    #[test]
    fn many_values_in_one_piece_take_no_longer_than_their_bytes() {
        let mut values = Values::new(100);
        let body = b"{}".repeat(200_000);
        values.push(&body);
        let found = std::iter::from_fn(|| values.next().ok());
        assert_eq!(found.filter(|value| value == b"{}").count(), 200_000);
        values.push(b" 5");
        assert_eq!(values.next(), Err(Unread::More));
        assert_eq!(values.last(), Ok(Some(b"5".to_vec())));
    }

    #[test]
    fn a_number_is_a_number() {
        for text in ["0", "-0", "15", "1.50e1", "1E-7", "-1e+2"] {
            assert!(is_number(text.as_bytes()), "{text}");
        }
        for text in ["", " 1", "1 ", "01", "1.", "1e", "+1", "x", "\"1\"", "1,"] {
            assert!(!is_number(text.as_bytes()), "{text}");
        }
    }
}
