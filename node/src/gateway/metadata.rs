//! What of a request's headers goes along with its call, and what of the call's headers comes back.
//!
//! - `Authorization` goes as it is, `Grpc-Metadata-X` as `x`; nothing else does.
//! - Names that belong to gRPC itself never go along, whoever sends them.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use tonic::Status;

const PREFIX: &str = "grpc-metadata-";

/// The metadata of a call.
pub(super) fn of(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        if name == AUTHORIZATION {
            metadata.append(name, value.clone());
        } else if let Some(name) = name.as_str().strip_prefix(PREFIX)
            && !is_grpcs(name)
            && value.to_str().is_ok()
            && let Ok(name) = name.parse::<HeaderName>()
        {
            metadata.append(name, value.clone());
        }
    }
    metadata
}

fn is_grpcs(name: &str) -> bool {
    name.starts_with("grpc-")
        || matches!(
            name,
            "content-type" | "content-length" | "te" | "connection" | "host"
        )
}

/// The headers of a call's answer as those of the gateway's.
pub(super) fn back(call: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in call {
        let is_known = name == CONTENT_TYPE || !is_grpcs(name.as_str());
        if let (true, Ok(name)) = (is_known, format!("{PREFIX}{name}").parse::<HeaderName>()) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// How long the client wants to wait, by `Grpc-Timeout`: at most eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Status::invalid_argument(format!("invalid grpc-timeout: {text}"));
    duration(&text).map(Some).ok_or_else(wrong)
}

fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_meant_for_the_call_goes_along() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", "token"),
            ("grpc-metadata-hasleader", "true"),
            ("grpc-metadata-grpc-encoding", "gzip"),
            ("grpc-metadata-content-type", "text/plain"),
            ("cookie", "x"),
            ("x-forwarded-for", "1.2.3.4"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let metadata = of(&headers);
        assert_eq!(metadata.len(), 2);
        assert_eq!(metadata["authorization"], "token");
        assert_eq!(metadata["hasleader"], "true");
    }

    #[test]
    fn a_timeout_has_digits_and_a_unit() {
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static("grpc-timeout"),
                text.parse().unwrap(),
            )]);
            timeout(&headers).map_err(|status| status.message().to_owned())
        };
        assert_eq!(read("1S"), Ok(Some(Duration::from_secs(1))));
        assert_eq!(read("20m"), Ok(Some(Duration::from_millis(20))));
        assert_eq!(read(""), Ok(None));
        for text in ["1x", "S", "123456789S", "-1S", "ä"] {
            let text = text.parse::<http::HeaderValue>().unwrap();
            let headers = HeaderMap::from_iter([(HeaderName::from_static("grpc-timeout"), text)]);
            assert!(timeout(&headers).is_err());
        }
        assert_eq!(read("1x"), Err("invalid grpc-timeout: 1x".to_owned()));
    }
}
