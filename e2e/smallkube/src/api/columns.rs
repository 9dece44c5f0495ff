//! Tables for `kubectl get`: columns, their cells and the small JSONPath that custom columns are written in.
//!
//! Understands fields, quoted keys, indexes, `[*]` and equality filters, which is what printer columns use. It deliberately
//! leaves a cell empty when its path means nothing, as the real server does.

use crate::kinds::{Cell, Column, Kind};
use crate::object::Object;
use serde_json::{Value, json};
use std::sync::Arc;

/// A table of objects. `include` says what each row carries: `None`, `Metadata` (the default) or `Object`.
pub(super) fn table(kind: &Kind, objects: &[Arc<Value>], include: &str, headed: bool) -> Value {
    let rows: Vec<Value> = objects.iter().map(|o| row(kind, o, include)).collect();
    let columns: Vec<Value> = kind.columns.iter().filter(|_| headed).map(head).collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": columns, "rows": rows,
    })
}

fn head(column: &Column) -> Value {
    json!({
        "name": column.name, "type": column.form, "format": column.format,
        "description": column.description, "priority": column.priority,
    })
}

fn row(kind: &Kind, object: &Value, include: &str) -> Value {
    let cells: Vec<Value> = kind.columns.iter().map(|c| cell(c, object)).collect();
    let carried = match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => super::list::partial(object),
    };
    json!({"cells": cells, "object": carried})
}

fn cell(column: &Column, object: &Value) -> Value {
    let path = match &column.cell {
        Cell::Shown(show) => return json!(show(object)),
        Cell::Path(path) => path,
    };
    let found = find(object, path);
    match (column.form.as_str(), found.as_slice()) {
        (_, []) => Value::Null,
        ("date", [one]) => json!(age(one.as_str().unwrap_or_default())),
        ("string", [Value::String(text)]) => json!(text),
        ("string", many) => {
            let texts: Vec<String> = many.iter().map(|v| plain(v)).collect();
            json!(texts.join(","))
        }
        (_, [one, ..]) => (*one).clone(),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// How long ago, as `kubectl` shows ages of its own: one or two units.
fn age(time: &str) -> String {
    let Ok(then) = time.parse::<jiff::Timestamp>() else {
        return "<unknown>".to_owned();
    };
    let seconds = jiff::Timestamp::now().as_second() - then.as_second();
    match seconds.max(0) {
        s if s < 120 => format!("{s}s"),
        s if s < 600 => match s % 60 {
            0 => format!("{}m", s / 60),
            rest => format!("{}m{rest}s", s / 60),
        },
        s if s < 3 * 3600 => format!("{}m", s / 60),
        s if s < 8 * 3600 => format!("{}h{}m", s / 3600, s / 60 % 60),
        s if s < 48 * 3600 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// Every value at a JSONPath.
pub(super) fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    let mut rest = path
        .trim()
        .trim_start_matches(['{', '$'])
        .trim_end_matches('}');
    while !rest.is_empty() {
        let step;
        (step, rest) = next_step(rest);
        found = found.iter().flat_map(|v| take(v, &step)).collect();
    }
    found
}

enum Step {
    Field(String),
    Index(i64),
    All,
    Where(String, String),
}

fn next_step(path: &str) -> (Step, &str) {
    if let Some(inside) = path.strip_prefix('[') {
        let end = closing(inside);
        let rest = inside.get(end + 1..).unwrap_or_default();
        return (bracket(&inside[..end]), rest);
    }
    let path = path.trim_start_matches('.');
    let mut end = path.len();
    let mut escaped = false;
    for (at, c) in path.char_indices() {
        if !escaped && (c == '.' || c == '[') {
            end = at;
            break;
        }
        escaped = c == '\\';
    }
    let name = path[..end].replace('\\', "");
    let step = if name == "*" {
        Step::All
    } else {
        Step::Field(name)
    };
    (step, &path[end..])
}

/// Where the bracket ends; quotes inside may hold brackets.
fn closing(text: &str) -> usize {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return at,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    text.len()
}

fn bracket(text: &str) -> Step {
    let text = text.trim();
    if text == "*" {
        return Step::All;
    }
    if let Ok(index) = text.parse() {
        return Step::Index(index);
    }
    let filter = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')'));
    if let Some((field, value)) = filter.and_then(|f| f.split_once("==")) {
        let field = field.trim().trim_start_matches('@').trim_start_matches('.');
        return Step::Where(field.to_owned(), unquoted(value));
    }
    Step::Field(unquoted(text))
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_owned()
}

fn take<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Field(name), Value::Object(map)) => map.get(name).into_iter().collect(),
        (Step::Index(index), Value::Array(items)) => {
            let at = if *index < 0 {
                items.len() as i64 + index
            } else {
                *index
            };
            usize::try_from(at)
                .ok()
                .and_then(|at| items.get(at))
                .into_iter()
                .collect()
        }
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(map)) => map.values().collect(),
        (Step::Where(field, wanted), Value::Array(items)) => items
            .iter()
            .filter(|item| plain(&item[field.as_str()]) == *wanted)
            .collect(),
        _ => Vec::new(),
    }
}

/// The number at a JSON pointer, or zero; for scales.
pub(super) fn count(object: &Value, pointer: &str) -> i64 {
    object.number(pointer).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printer_paths_find_what_they_name() {
        let object = json!({"spec": {"replicas": 3, "list": [{"n": "a"}, {"n": "b"}]},
            "metadata": {"labels": {"quorate.io/x": "y"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let one = |path: &str| {
            find(&object, path)
                .into_iter()
                .map(plain)
                .collect::<Vec<_>>()
        };
        assert_eq!(one(".spec.replicas"), ["3"]);
        assert_eq!(
            one(".status.conditions[?(@.type==\"Ready\")].status"),
            ["True"]
        );
        assert_eq!(one(".metadata.labels['quorate.io/x']"), ["y"]);
        assert_eq!(one(".metadata.labels.quorate\\.io/x"), ["y"]);
        assert_eq!(one(".spec.list[*].n"), ["a", "b"]);
        assert_eq!(one(".spec.list[-1].n"), ["b"]);
        assert!(one(".spec.nothing.here").is_empty());
    }
}
