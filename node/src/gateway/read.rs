//! A JSON value as a protobuf message, read as Go's `protojson` reads it and refused in its words: clients of etcd see them.
//!
//! - A name is the JSON name or the name in the .proto file; unknown names and unknown names of enum values are skipped.
//! - `null` is as good as nothing, a field must not come twice, and only one field of a oneof may be there.
//! - 64-bit numbers are numbers or strings; bytes are base64 of either alphabet, padded or not.
//!
//! What this module deliberately does not do: check that the text is JSON, [`scan`](super::scan) has done so; floats, maps and
//! the well-known types, as no message of etcd's has any.

mod number;
mod text;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value};

use text::{Text, Token};

/// Messages in each other. prost's own decoders take no more, and whoever walks a message needs a stack for it.
const DEPTH_MAX: usize = 100;

/// Reads a message of this type out of a whole JSON value.
pub(super) fn message(of: &MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, String> {
    let mut text = Text::new(json);
    let read = object(&mut text, of, DEPTH_MAX);
    read.map_err(|error| format!("proto: {error}"))
}

fn object(
    text: &mut Text<'_>,
    of: &MessageDescriptor,
    depth: usize,
) -> Result<DynamicMessage, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err("exceeded max recursion depth".to_owned());
    };
    let open = text.token()?;
    if open.raw != b"{" {
        return Err(text.unexpected(&open));
    }
    let mut message = DynamicMessage::new(of.clone());
    let (mut seen, mut oneofs) = (Vec::new(), Vec::new());
    while let Some(name) = text.name()? {
        let Some(field) = named(of, name.string()) else {
            text.skip()?;
            continue;
        };
        if seen.contains(&field.number()) {
            return Err(text.at(&name, &format!("duplicate field {}", name.shown())));
        }
        seen.push(field.number());
        if text.null() {
            continue;
        }
        if let Some(oneof) = field.containing_oneof() {
            if oneofs.contains(&oneof) {
                let (raw, full) = (name.shown(), oneof.full_name());
                return Err(text.at(
                    &name,
                    &format!("error parsing {raw}, oneof {full} is already set"),
                ));
            }
            oneofs.push(oneof);
        }
        if let Some(value) = value(text, &field, depth)? {
            message.set_field(&field, value);
        }
    }
    Ok(message)
}

fn named(of: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    let by_json = of.get_field_by_json_name(name);
    by_json.or_else(|| of.get_field_by_name(name))
}

fn value(
    text: &mut Text<'_>,
    field: &FieldDescriptor,
    depth: usize,
) -> Result<Option<Value>, String> {
    if !field.is_list() {
        return one(text, field, depth);
    }
    let open = text.token()?;
    if open.raw != b"[" {
        return Err(text.unexpected(&open));
    }
    let mut list = Vec::new();
    while text.element() {
        list.extend(one(text, field, depth)?);
    }
    Ok(Some(Value::List(list)))
}

/// One value; none for an enum's unknown name.
fn one(
    text: &mut Text<'_>,
    field: &FieldDescriptor,
    depth: usize,
) -> Result<Option<Value>, String> {
    let kind = field.kind();
    if let Kind::Message(of) = kind {
        return Ok(Some(Value::Message(object(text, &of, depth)?)));
    }
    let token = text.token()?;
    scalar(&kind, &token).ok_or_else(|| {
        let (kind, name, raw) = (kind_name(&kind), field.json_name(), token.shown());
        text.at(
            &token,
            &format!("invalid value for {kind} field {name}: {raw}"),
        )
    })
}

#[allow(
    clippy::option_option,
    reason = "outer: whether it fits; inner: whether it means anything"
)]
fn scalar(kind: &Kind, token: &Token<'_>) -> Option<Option<Value>> {
    let value = match kind {
        Kind::Bool => match token.raw {
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            _ => return None,
        },
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(integer(token)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(integer(token)?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(integer(token)?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(integer(token)?),
        Kind::String => Value::String(token.text.clone()?),
        Kind::Bytes => Value::Bytes(bytes(token.text.as_deref()?)?.into()),
        Kind::Enum(names) => match &token.text {
            Some(name) => {
                let known = names.get_value_by_name(name);
                return Some(known.map(|known| Value::EnumNumber(known.number())));
            }
            None => Value::EnumNumber(number::integer(token.raw)?.try_into().ok()?),
        },
        Kind::Float | Kind::Double | Kind::Message(_) => return None,
    };
    Some(Some(value))
}

fn integer<N: TryFrom<i128>>(token: &Token<'_>) -> Option<N> {
    let number = match &token.text {
        Some(text) => number::integer(text.as_bytes()),
        None => number::integer(token.raw),
    };
    number?.try_into().ok()
}

/// Base64 as Go's decoders take it: line breaks inside, and bits that belong to no byte.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let is_url_safe = text.contains(['-', '_']);
    let alphabet = if is_url_safe { URL_SAFE } else { STANDARD };
    let padding = if text.len().is_multiple_of(4) {
        DecodePaddingMode::RequireCanonical
    } else {
        DecodePaddingMode::RequireNone
    };
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(padding);
    let text = text.replace(['\r', '\n'], "");
    GeneralPurpose::new(&alphabet, config).decode(text).ok()
}

const fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Double => "double",
        Kind::Float => "float",
        Kind::Int32 => "int32",
        Kind::Int64 => "int64",
        Kind::Uint32 => "uint32",
        Kind::Uint64 => "uint64",
        Kind::Sint32 => "sint32",
        Kind::Sint64 => "sint64",
        Kind::Fixed32 => "fixed32",
        Kind::Fixed64 => "fixed64",
        Kind::Sfixed32 => "sfixed32",
        Kind::Sfixed64 => "sfixed64",
        Kind::Bool => "bool",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::Message(_) => "message",
        Kind::Enum(_) => "enum",
    }
}

#[cfg(test)]
mod tests;
