//! Answers as JSON: 64-bit numbers as strings, nothing that is zero, bytes in base64, names as in the .proto files.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use prost_reflect::{DynamicMessage, SerializeOptions};
use tonic::{Code, Status};

/// The media type of everything here.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One message.
pub(super) fn message(message: &DynamicMessage) -> Vec<u8> {
    let options = SerializeOptions::new().use_proto_field_name(true);
    let mut json = serde_json::Serializer::new(Vec::new());
    let written = message.serialize_with_options(&mut json, &options);
    written.expect("a message is JSON, and memory takes everything");
    json.into_inner()
}

/// One message of a stream, as a line.
pub(super) fn result_line(answer: &DynamicMessage) -> Vec<u8> {
    line("result", &message(answer))
}

/// The error that ends a stream, as a line.
pub(super) fn error_line(error: &Status) -> Vec<u8> {
    line("error", &status(error))
}

/// An answer that is an error.
pub(super) fn refusal(error: &Status) -> Response {
    let mut response = Response::new(Body::from(status(error)));
    *response.status_mut() = http_status(error.code());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, JSON);
    if let (Code::Unauthenticated, Ok(why)) = (error.code(), error.message().parse()) {
        headers.insert(WWW_AUTHENTICATE, why);
    }
    response
}

fn status(error: &Status) -> Vec<u8> {
    let mut json = serde_json::Map::new();
    json.insert("code".to_owned(), i32::from(error.code()).into());
    if !error.message().is_empty() {
        json.insert("message".to_owned(), error.message().into());
    }
    serde_json::Value::from(json).to_string().into_bytes()
}

/// Go writes streams through another encoder than single messages; it keeps text from being taken for HTML.
fn line(name: &str, json: &[u8]) -> Vec<u8> {
    let json = String::from_utf8_lossy(json);
    let mut line = format!("{{\"{name}\":");
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                line += &format!("\\u{:04x}", u32::from(character));
            }
            _ => line.push(character),
        }
    }
    line += "}\n";
    line.into_bytes()
}

/// gRPC's codes as HTTP's, by googleapis' table.
pub(super) fn http_status(code: Code) -> StatusCode {
    let status = match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::ResourceExhausted => 429,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::DeadlineExceeded => 504,
    };
    StatusCode::from_u16(status).expect("all of these are statuses")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{bindings::pool, read};

    #[test]
    fn lines_are_no_html() {
        let error = Status::unknown("<a>&\u{2028}\"");
        let said = String::from_utf8(error_line(&error)).unwrap();
        let expected =
            "{\"error\":{\"code\":2,\"message\":\"\\u003ca\\u003e\\u0026\\u2028\\\"\"}}\n";
        assert_eq!(said, expected);
        assert_eq!(
            status(&Status::unknown("<")),
            br#"{"code":2,"message":"<"}"#
        );
        assert_eq!(status(&Status::unknown("")), br#"{"code":2}"#);
    }

    /// What etcd 3.7.3 answered, read and written again.
    #[test]
    fn what_etcd_wrote_is_written_the_same() {
        for (of, json) in [
            (
                "RangeResponse",
                r#"{"header":{"cluster_id":"5460181757046794092","member_id":"2808247883633632492","revision":"2","raft_term":"2"},"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}],"count":"1"}"#,
            ),
            (
                "StatusResponse",
                r#"{"header":{"cluster_id":"5460181757046794092","member_id":"2808247883633632492","revision":"2","raft_term":"2"},"version":"3.7.3","dbSize":"24576","leader":"2808247883633632492","raftIndex":"11","raftTerm":"2","raftAppliedIndex":"11","dbSizeInUse":"16384","storageVersion":"3.7.0","dbSizeQuota":"2147483648","downgradeInfo":{}}"#,
            ),
            (
                "TxnResponse",
                r#"{"header":{"revision":"3"},"succeeded":true,"responses":[{"response_range":{"header":{"revision":"2"},"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"2","version":"1","value":"YmFy"}],"count":"1"}},{"response_put":{"header":{"revision":"3"}}}]}"#,
            ),
            (
                "MemberAddResponse",
                r#"{"header":{"raft_term":"2"},"member":{"ID":"4686074120280141922","peerURLs":["http://a:1"],"isLearner":true},"members":[{"ID":"2808247883633632492","name":"default","peerURLs":["http://127.0.71.1:2380"],"clientURLs":["http://127.0.71.1:2379"]}]}"#,
            ),
            (
                "AlarmResponse",
                r#"{"header":{"revision":"2"},"alarms":[{"alarm":"NOSPACE"}]}"#,
            ),
            (
                "HashKVResponse",
                r#"{"header":{"revision":"2"},"hash":3305255506,"compact_revision":"-1","hash_revision":"2"}"#,
            ),
            (
                "LeaseTimeToLiveResponse",
                r#"{"ID":"1234","TTL":"9","grantedTTL":"10"}"#,
            ),
            ("DefragmentResponse", "{}"),
        ] {
            let of = pool()
                .get_message_by_name(&format!("etcdserverpb.{of}"))
                .unwrap();
            let read = read::message(&of, json.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(message(&read)).unwrap(), json);
        }
    }
}
