//! Messages as trees of JSON values, which is what texts, generators and comparisons handle.
//!
//! - A field is there when the message has it: zero values are left out, as on the wire.
//! - Bytes are strings of one character per byte.
//! - Enums are names where they have one, numbers where not.
//! - Fields that the description does not know stand under `?NUMBER`: a server that says more than we know is noticed.
//!
//! It deliberately supports no maps and no floats: the API has none.

use anyhow::{Context, Result, bail};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value as Field};
use serde_json::{Map, Value};

/// What a message holds.
pub fn of(message: &DynamicMessage) -> Value {
    let mut fields: Map<String, Value> = message
        .fields()
        .map(|(field, value)| (field.name().to_owned(), of_field(value, &field.kind())))
        .collect();
    for unknown in message.unknown_fields() {
        fields.insert(format!("?{}", unknown.number()), Value::from("unknown"));
    }
    Value::Object(fields)
}

fn of_field(value: &Field, kind: &Kind) -> Value {
    match value {
        Field::Bool(it) => Value::from(*it),
        Field::I32(it) => Value::from(*it),
        Field::I64(it) => Value::from(*it),
        Field::U32(it) => Value::from(*it),
        Field::U64(it) => Value::from(*it),
        Field::F32(it) => Value::from(*it),
        Field::F64(it) => Value::from(*it),
        Field::String(it) => Value::from(it.as_str()),
        Field::Bytes(it) => Value::from(string_of(it)),
        Field::EnumNumber(it) => enum_name(*it, kind).map_or(Value::from(*it), Value::from),
        Field::Message(it) => of(it),
        Field::List(it) => it.iter().map(|it| of_field(it, kind)).collect(),
        Field::Map(_) => Value::from("a map"),
    }
}

fn enum_name(number: i32, kind: &Kind) -> Option<String> {
    let value = kind.as_enum()?.get_value(number)?;
    Some(value.name().to_owned())
}

/// The message that the tree describes.
///
/// # Errors
/// When it has a field that the message has not, or a value that is none of the field's.
pub fn message(value: &Value, descriptor: &MessageDescriptor) -> Result<DynamicMessage> {
    let mut message = DynamicMessage::new(descriptor.clone());
    let fields = value.as_object().context("a message is not one value")?;
    for (name, value) in fields {
        let field = descriptor.get_field_by_name(name);
        let field = field.with_context(|| format!("{} has no field {name}", descriptor.name()))?;
        let value = field_value(value, &field).with_context(|| format!("field {name}"))?;
        message.set_field(&field, value);
    }
    Ok(message)
}

fn field_value(value: &Value, field: &FieldDescriptor) -> Result<Field> {
    match value {
        Value::Array(all) if field.is_list() => {
            let all = all.iter().map(|it| scalar(it, &field.kind()));
            Ok(Field::List(all.collect::<Result<_>>()?))
        }
        one if field.is_list() => Ok(Field::List(vec![scalar(one, &field.kind())?])),
        one => scalar(one, &field.kind()),
    }
}

fn scalar(value: &Value, kind: &Kind) -> Result<Field> {
    let wrong = || format!("{value} is no {kind:?}");
    Ok(match kind {
        Kind::Bool => Field::Bool(value.as_bool().with_context(wrong)?),
        Kind::Int32 => Field::I32(value.as_i64().with_context(wrong)?.try_into()?),
        Kind::Int64 => Field::I64(value.as_i64().with_context(wrong)?),
        Kind::Uint32 => Field::U32(value.as_u64().with_context(wrong)?.try_into()?),
        Kind::Uint64 => Field::U64(value.as_u64().with_context(wrong)?),
        Kind::String => Field::String(value.as_str().with_context(wrong)?.to_owned()),
        Kind::Bytes => Field::Bytes(bytes_of(value.as_str().with_context(wrong)?)?.into()),
        Kind::Enum(names) => Field::EnumNumber(match value {
            Value::String(name) => names.get_value_by_name(name).with_context(wrong)?.number(),
            number => number.as_i64().with_context(wrong)?.try_into()?,
        }),
        Kind::Message(descriptor) => Field::Message(message(value, descriptor)?),
        _ => bail!("a kind of field that the API has not: {kind:?}"),
    })
}

/// One character per byte.
pub fn string_of(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The bytes that the characters stand for.
///
/// # Errors
/// When a character is no byte.
pub fn bytes_of(string: &str) -> Result<Vec<u8>> {
    let bytes = string.chars().map(u8::try_from);
    bytes
        .collect::<Result<_, _>>()
        .context("a character that is no byte; write it as \\xNN")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::services;
    use super::*;

    #[test]
    fn a_tree_becomes_a_message_and_comes_back() {
        let txn = services::method("KV.Txn").unwrap().input();
        let tree = json!({
            "compare": [{ "target": "MOD", "result": "GREATER", "key": "a\u{0}\u{ff}", "mod_revision": 0 }],
            "success": [{ "request_range": { "key": "b", "limit": -1, "sort_order": 7 } }],
        });
        assert_eq!(of(&message(&tree, &txn).unwrap()), tree);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let put = services::method("KV.Put").unwrap().input();
        let error = |tree| format!("{:#}", message(&tree, &put).unwrap_err());
        assert_eq!(error(json!({ "kye": "a" })), "PutRequest has no field kye");
        assert_eq!(
            error(json!({ "lease": "a" })),
            "field lease: \"a\" is no int64"
        );
    }
}
