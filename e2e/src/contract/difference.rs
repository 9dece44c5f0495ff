//! Where two recordings of the same text differ.
//!
//! It deliberately stops at the first call that only one of them has: what follows would be noise.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use serde_json::{Value, json};

use super::Exchange;

/// One field of one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The text's name.
    pub text: String,
    /// The call.
    pub call: String,
    /// Where in the answer, as a JSON pointer; `/` followed by nothing for the call itself.
    pub at: String,
    /// What the real server says; absent if nothing.
    pub real: Option<Value>,
    /// What ours says; absent if nothing.
    pub ours: Option<Value>,
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |it: &Option<Value>| it.as_ref().map_or("nothing".to_owned(), Value::to_string);
        write!(
            f,
            "- text: {}\n  call: {}\n  at: {}\n    real: {}\n    ours: {}",
            self.text,
            self.call,
            self.at,
            said(&self.real),
            said(&self.ours)
        )
    }
}

/// All differences between what a real server and ours answered to one text.
#[must_use]
pub fn compare(text: &str, real: &[Exchange], ours: &[Exchange]) -> Vec<Difference> {
    let mut found = Vec::new();
    for at in 0..real.len().max(ours.len()) {
        let (real, ours) = (real.get(at), ours.get(at));
        let asked = |it: Option<&Exchange>| it.map(|it| Value::from(it.call.as_str()));
        let mut note = |at: &str, of_real: Option<&Value>, of_ours: Option<&Value>| {
            found.push(Difference {
                text: text.to_owned(),
                call: real.or(ours).map(|it| it.call.clone()).unwrap_or_default(),
                at: at.to_owned(),
                real: of_real.cloned(),
                ours: of_ours.cloned(),
            });
        };
        let (Some(one), Some(other)) = (real, ours) else {
            note("/", asked(real).as_ref(), asked(ours).as_ref());
            break;
        };
        if one.call != other.call {
            note("/", asked(real).as_ref(), asked(ours).as_ref());
            break;
        }
        let (one, other) = alike(one, other);
        walk("", Some(&one), Some(&other), &mut note);
    }
    found
}

/// Both answers with their codes. Two watches were read to a certain event, and how much came beyond it is chance.
fn alike(real: &Exchange, ours: &Exchange) -> (Value, Value) {
    let (mut one, mut other) = (real.answer.clone(), ours.answer.clone());
    if let (true, Some(one), Some(other)) =
        (real.is_watch(), one.as_array_mut(), other.as_array_mut())
    {
        let both = one.len().min(other.len());
        one.truncate(both);
        other.truncate(both);
    }
    (
        json!({ "code": real.code, "answer": one }),
        json!({ "code": ours.code, "answer": other }),
    )
}

/// Notes every place where the two differ, as deep as can be.
fn walk(
    at: &str,
    one: Option<&Value>,
    other: Option<&Value>,
    note: &mut impl FnMut(&str, Option<&Value>, Option<&Value>),
) {
    match (one, other) {
        (one, other) if one == other => {}
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                walk(&format!("{at}/{key}"), one.get(key), other.get(key), note);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) if one.len() == other.len() => {
            for (place, (one, other)) in one.iter().zip(other).enumerate() {
                walk(&format!("{at}/{place}"), Some(one), Some(other), note);
            }
        }
        (one, other) => note(at, one, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(call: &str, answer: Value) -> Exchange {
        Exchange {
            call: call.to_owned(),
            code: 200,
            answer,
        }
    }

    fn places(real: &[Exchange], ours: &[Exchange]) -> Vec<String> {
        compare("text", real, ours)
            .into_iter()
            .map(|it| it.at)
            .collect()
    }

    #[test]
    fn every_field_that_differs_is_named() {
        let real = [said(
            "GET /a",
            json!({ "a": [1, 2], "b": { "c": 1, "d": 2 }, "same": true }),
        )];
        let ours = [said(
            "GET /a",
            json!({ "a": [1, 3], "b": { "c": 1 }, "same": true }),
        )];
        assert_eq!(places(&real, &ours), ["/answer/a/1", "/answer/b/d"]);
        assert_eq!(places(&real, &real), [""; 0]);
    }

    #[test]
    fn a_call_that_only_one_has_ends_the_comparison() {
        let real = [
            said("GET /a", json!(1)),
            said("GET /b", json!(1)),
            said("GET /c", json!(1)),
        ];
        let ours = [
            said("GET /a", json!(1)),
            said("PUT /b", json!(1)),
            said("GET /c", json!(2)),
        ];
        assert_eq!(places(&real, &ours), ["/"]);
        assert_eq!(places(&real, &ours[..1]), ["/"]);
    }

    #[test]
    fn of_watches_the_beginning_counts() {
        let real = [said("GET /a?watch=true", json!([1, 2]))];
        assert_eq!(
            places(&real, &[said("GET /a?watch=true", json!([1]))]),
            [""; 0]
        );
        assert_eq!(
            places(&real, &[said("GET /a?watch=true", json!([3]))]),
            ["/answer/0"]
        );
    }
}
