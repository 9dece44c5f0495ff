//! Just enough of Kubernetes' protobuf bodies for `kubectl create namespace|configmap|secret|serviceaccount`.
//!
//! `kubectl` sends those four, and nothing else that we serve, as protobuf only. The numbers are those of the published
//! `generated.proto` files. It deliberately decodes no other kind; those are refused as an unknown format.

use serde_json::{Map, Value, json};

/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The object in a body, if it is one of the four kinds.
pub(super) fn decode(body: &[u8]) -> Option<Value> {
    let envelope = fields(body.strip_prefix(MAGIC)?)?;
    let meta = fields(bytes(&envelope, 1)?)?;
    let (version, kind) = (text(&meta, 1)?, text(&meta, 2)?);
    let object = fields(bytes(&envelope, 2)?)?;
    let mut decoded = json!({
        "apiVersion": version, "kind": kind, "metadata": metadata(&fields(bytes(&object, 1)?)?)?,
    });
    match kind.as_str() {
        "Namespace" | "ServiceAccount" => {}
        "ConfigMap" => put(&mut decoded, "data", texts(&object, 2)?),
        "Secret" => {
            put(&mut decoded, "data", encoded(&object, 2)?);
            if let Some(form) = text(&object, 3).filter(|f| !f.is_empty()) {
                decoded["type"] = json!(form);
            }
        }
        _ => return None,
    }
    Some(decoded)
}

fn metadata(fields: &[(u64, Field<'_>)]) -> Option<Value> {
    let mut metadata = json!({});
    for (number, name) in [(1, "name"), (2, "generateName"), (3, "namespace")] {
        if let Some(value) = text(fields, number).filter(|v| !v.is_empty()) {
            metadata[name] = json!(value);
        }
    }
    put(&mut metadata, "labels", texts(fields, 11)?);
    put(&mut metadata, "annotations", texts(fields, 12)?);
    Some(metadata)
}

fn put(object: &mut Value, name: &str, map: Map<String, Value>) {
    if !map.is_empty() {
        object[name] = Value::Object(map);
    }
}

enum Field<'a> {
    Bytes(&'a [u8]),
    Other,
}

/// All fields of a message in their order.
fn fields(mut rest: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let field = match tag & 7 {
            0 => {
                varint(&mut rest)?;
                Field::Other
            }
            1 => skip(&mut rest, 8)?,
            5 => skip(&mut rest, 4)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                let (bytes, after) = rest.split_at_checked(length)?;
                rest = after;
                Field::Bytes(bytes)
            }
            _ => return None,
        };
        found.push((tag >> 3, field));
    }
    Some(found)
}

fn skip<'a>(rest: &mut &'a [u8], length: usize) -> Option<Field<'a>> {
    *rest = rest.get(length..)?;
    Some(Field::Other)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn bytes<'a>(fields: &[(u64, Field<'a>)], wanted: u64) -> Option<&'a [u8]> {
    fields.iter().find_map(|(number, field)| match field {
        Field::Bytes(bytes) if *number == wanted => Some(*bytes),
        _ => None,
    })
}

fn text(fields: &[(u64, Field<'_>)], wanted: u64) -> Option<String> {
    String::from_utf8(bytes(fields, wanted)?.to_vec()).ok()
}

/// The entries of a map field, each a message of key and value.
fn entries<'a>(all: &[(u64, Field<'a>)], wanted: u64) -> Option<Vec<(String, &'a [u8])>> {
    let maps = all.iter().filter(|(number, _)| *number == wanted);
    maps.map(|(_, field)| match field {
        Field::Bytes(bytes) => {
            let entry = fields(bytes)?;
            Some((text(&entry, 1)?, self::bytes(&entry, 2).unwrap_or_default()))
        }
        Field::Other => None,
    })
    .collect()
}

fn texts(all: &[(u64, Field<'_>)], wanted: u64) -> Option<Map<String, Value>> {
    let entries = entries(all, wanted)?.into_iter();
    entries
        .map(|(key, value)| Some((key, json!(std::str::from_utf8(value).ok()?))))
        .collect()
}

/// Byte values, in base64 as JSON has them.
fn encoded(all: &[(u64, Field<'_>)], wanted: u64) -> Option<Map<String, Value>> {
    use base64::Engine;
    let encode = |bytes| base64::engine::general_purpose::STANDARD.encode(bytes);
    let entries = entries(all, wanted)?.into_iter();
    Some(
        entries
            .map(|(key, value)| (key, json!(encode(value))))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `kubectl create namespace foo` sends, byte for byte.
    const NAMESPACE: &[u8] = b"k8s\x00\n\x0f\n\x02v1\x12\tNamespace\x12\x1b\n\x13\n\x03foo\x12\x00\x1a\x00\"\x00*\x002\x008\x00B\x00\x12\x00\x1a\x02\n\x00\x1a\x00\"\x00";

    #[test]
    fn a_namespace_is_read() {
        let expected =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "foo"}});
        assert_eq!(decode(NAMESPACE), Some(expected));
    }

    #[test]
    fn no_cut_body_panics() {
        for end in 0..NAMESPACE.len() {
            let _ = decode(&NAMESPACE[..end]);
        }
        assert_eq!(
            decode(b"k8s\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            None
        );
    }
}
