//! A request taken apart: path, parameters, body, and the call that faults and the log see.
//!
//! It deliberately decides nothing about kinds: whether the path names one is found later.

use super::protobuf;
use crate::faults::Call;
use crate::refusal::Refusal;
use crate::verbs::{Unknown, Writing};
use bytes::Bytes;
use http::{Method, header};
use serde_json::Value;

/// One request, read but not yet understood.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    /// Group, version and the rest of a resource's path.
    pub(super) version: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) accept: String,
    pub(super) content: String,
    pub(super) body: Bytes,
    pub(super) call: Call,
}

impl Request {
    pub(super) fn parse(request: http::Request<Bytes>, client: &str) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let head = |name: header::HeaderName| {
            let value = parts.headers.get(name).and_then(|v| v.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        let query = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|e| Refusal::bad_request(format!("the query cannot be read: {e}")))?
            .0;
        let agent = head(header::USER_AGENT);
        let mut request = Self {
            path: parts.uri.path().trim_end_matches('/').to_owned(),
            method: parts.method,
            version: String::new(),
            query,
            accept: head(header::ACCEPT),
            content: head(header::CONTENT_TYPE),
            body,
            call: Call::default(),
        };
        request.call.client = if client.is_empty() {
            agent.clone()
        } else {
            client.to_owned()
        };
        let manager = request.parameter("fieldManager").to_owned();
        request.call.manager = if manager.is_empty() {
            let word = agent.split('/').next().unwrap_or_default();
            if word.is_empty() { "unknown" } else { word }.to_owned()
        } else {
            manager
        };
        request.call.dry_run = request.parameter("dryRun") == "All";
        let selectors = ["labelSelector", "fieldSelector"].map(|it| request.parameter(it));
        request.call.selector = selectors.concat();
        request.call.at_hand = request.parameter("resourceVersion") == "0";
        request.place();
        Ok(request)
    }

    /// A query parameter, empty when it is not there.
    pub(super) fn parameter(&self, name: &str) -> &str {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        matches!(self.parameter(name), "true" | "1")
    }

    pub(super) fn is_resource(&self) -> bool {
        !self.call.verb.is_empty()
    }

    /// True when the answer is to be a table of this kind (`Table` or `PartialObjectMetadata`).
    pub(super) fn wants(&self, form: &str) -> bool {
        // The client lists what it can take in order; what it names first with `as=` is what it wants.
        let first = self.accept.split(',').next().unwrap_or_default();
        first
            .split(';')
            .any(|part| part.trim().strip_prefix("as=").is_some_and(|f| f == form))
    }

    /// The body as JSON, from JSON or YAML.
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        if self.content.contains("protobuf") {
            return protobuf::decode(&self.body).ok_or_else(unknown_format);
        }
        if self.content.contains("cbor") {
            return Err(unknown_format());
        }
        let text = std::str::from_utf8(&self.body)
            .map_err(|e| Refusal::bad_request(format!("the body is no text: {e}")))?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        if self.content.contains("yaml") && !text.trim_start().starts_with('{') {
            return serde_saphyr::from_str(text)
                .map_err(|e| Refusal::bad_request(format!("error decoding YAML: {e}")));
        }
        serde_json::from_str(text)
            .map_err(|e| Refusal::bad_request(format!("error decoding JSON: {e}")))
    }

    /// How a write asks to be done.
    pub(super) fn writing(&self) -> Writing {
        // Whoever applies must say who it is; for other writes the agent's name will do.
        let manager = if self.call.verb == "apply" {
            self.parameter("fieldManager")
        } else {
            &self.call.manager
        };
        Writing {
            manager: manager.to_owned(),
            dry_run: self.call.dry_run,
            unknown: match self.parameter("fieldValidation") {
                "Strict" => Unknown::Refuse,
                "Ignore" => Unknown::Ignore,
                _ => Unknown::Warn,
            },
            force: self.flag("force"),
        }
    }

    /// Finds group, resource, name and verb in the path.
    fn place(&mut self) {
        let path = self.path.clone();
        let steps: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
        let (group, version, rest) = match steps.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return,
        };
        group.clone_into(&mut self.call.group);
        version.clone_into(&mut self.version);
        let rest = match rest {
            ["namespaces", namespace, inner, ..] if !matches!(*inner, "status" | "finalize") => {
                (*namespace).clone_into(&mut self.call.namespace);
                &rest[2..]
            }
            _ => rest,
        };
        let [resource, rest @ ..] = rest else {
            return;
        };
        (*resource).clone_into(&mut self.call.resource);
        if let [name, rest @ ..] = rest {
            (*name).clone_into(&mut self.call.name);
            self.call.subresource = rest.join("/");
        }
        self.call.verb = self.verb().to_owned();
    }

    fn verb(&self) -> &'static str {
        let one = !self.call.name.is_empty();
        match self.method {
            Method::GET | Method::HEAD if self.flag("watch") => "watch",
            Method::GET | Method::HEAD if one => "get",
            Method::GET | Method::HEAD => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH if self.content.contains("apply-patch") => "apply",
            Method::PATCH => "patch",
            Method::DELETE if one => "delete",
            Method::DELETE => "deletecollection",
            _ => "unknown",
        }
    }
}

fn unknown_format() -> Refusal {
    Refusal::new(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: \
         application/json, application/yaml",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: &str, path: &str) -> Call {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .body(Bytes::new())
            .unwrap();
        Request::parse(request, "test").unwrap().call
    }

    #[test]
    fn paths_name_their_calls() {
        let one = call(
            "PATCH",
            "/apis/quorate.io/v1alpha1/namespaces/n/raftclusters/kv/status?fieldManager=me",
        );
        assert_eq!(
            (
                one.verb.as_str(),
                one.group.as_str(),
                one.resource.as_str(),
                one.subresource.as_str()
            ),
            ("patch", "quorate.io", "raftclusters", "status")
        );
        assert_eq!(
            (
                one.namespace.as_str(),
                one.name.as_str(),
                one.manager.as_str()
            ),
            ("n", "kv", "me")
        );
        let namespace = call("GET", "/api/v1/namespaces/n");
        assert_eq!(
            (
                namespace.verb.as_str(),
                namespace.resource.as_str(),
                namespace.name.as_str()
            ),
            ("get", "namespaces", "n")
        );
        assert_eq!(call("GET", "/api/v1/pods?watch=1").verb, "watch");
        assert_eq!(call("GET", "/api/v1/pods").selector, "");
        let chosen = call("GET", "/api/v1/pods?labelSelector=a%3Db");
        assert_eq!(chosen.selector, "a=b");
        assert_eq!(call("GET", "/version").verb, "");
    }
}
