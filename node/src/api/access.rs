//! Who may ask over HTTP, as etcd has it: `--host-whitelist` and `--cors` for web pages, and tokens alone for the gateway.
//!
//! A page that names a host of its own and leads that name to this machine (DNS rebinding) asks with that name; a plain port
//! answers only the names on the list. Calls of gRPC are no page's and pass.
//!
//! Where certificates make users, the gateway refuses whoever shows one with a name: it would not count there.
//!
//! What this module deliberately does not do: authenticate anybody.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST,
    ORIGIN,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::is_grpc;
use crate::config::Connections;
use crate::handle::Handle;
use crate::plain;
use crate::tls::{ClientIdentity, OverTls};

/// etcd's words.
const NAMED: &str = "CommonName of client sending a request against gateway will be ignored and not used as expected";

/// Guards every HTTP request that goes through `routes`. `certified` is the member of a gateway on whose port certificates make
/// users.
pub fn guard(routes: Router, connections: &Connections, certified: Option<Handle>) -> Router {
    let lists = Arc::new(Lists {
        origins: connections.cors.clone(),
        hosts: connections.host_whitelist.clone(),
        certified,
    });
    routes.layer(from_fn_with_state(lists, check))
}

struct Lists {
    origins: Vec<String>,
    hosts: Vec<String>,
    certified: Option<Handle>,
}

async fn check(State(lists): State<Arc<Lists>>, request: Request, next: Next) -> Response {
    if is_grpc(request.headers()) {
        return next.run(request).await;
    }
    if request.extensions().get::<OverTls>().is_none() {
        let host = host(&request);
        if !has(&lists.hosts, &host) {
            tracing::warn!(
                host,
                "rejecting HTTP request to prevent DNS rebinding attacks"
            );
            return plain::error(StatusCode::MISDIRECTED_REQUEST, &unknown_host(&host));
        }
    } else if lists.refuses_name(&request) {
        return plain::error(StatusCode::BAD_REQUEST, NAMED);
    }
    let allowed = lists.allowed_origin(request.headers());
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::OK.into_response()
    } else {
        next.run(request).await
    };
    if let Some(origin) = allowed {
        let headers = response.headers_mut();
        let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let named = HeaderValue::from_static("accept, content-type, authorization");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, named);
    }
    response
}

fn has(list: &[String], name: &str) -> bool {
    list.iter().any(|listed| listed == "*" || listed == name)
}

/// The name that was asked by, without its port.
fn host(request: &Request) -> String {
    let named = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok());
    let named = named.or_else(|| request.uri().authority().map(http::uri::Authority::as_str));
    let named = named.unwrap_or_default();
    match named.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            host.trim_matches(['[', ']']).to_owned()
        }
        _ => named.to_owned(),
    }
}

impl Lists {
    fn refuses_name(&self, request: &Request) -> bool {
        let identity = request.extensions().get::<ClientIdentity>();
        let name = identity.and_then(|identity| identity.common_name.as_deref());
        let is_enabled = |handle: &Handle| handle.with_status(|status| status.auth.is_enabled());
        is_ignored(request.uri().path(), name) && self.certified.as_ref().is_some_and(is_enabled)
    }

    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.origins.iter().any(|origin| origin == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = headers.get(ORIGIN)?;
        origin
            .to_str()
            .is_ok_and(|text| has(&self.origins, text))
            .then(|| origin.clone())
    }
}

/// Whether the name of a certificate gets lost on the way to what is at this path.
fn is_ignored(path: &str, common_name: Option<&str>) -> bool {
    let is_gateway = ["/v3/", "/v3beta/"]
        .iter()
        .any(|begin| path.starts_with(begin));
    is_gateway && common_name.is_some_and(|name| !name.is_empty())
}

/// etcd's words.
fn unknown_host(host: &str) -> String {
    format!(
        "\netcd received your request, but the Host header was unrecognized.\n\n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n  \
         - e.g. etcd --host-whitelist {host:?}\n\n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n"
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::config::{Config, Invocation};

    async fn asked(
        flags: &[&str],
        head: &[(&str, &str)],
        method: Method,
        secure: bool,
    ) -> Response {
        let flags = flags.iter().map(ToString::to_string);
        let Ok(Invocation::Serve(config)) = Config::read(flags, []) else {
            panic!("the flags ask for a member");
        };
        let routes = Router::new().route("/health", get(|| async { "ok" }));
        let mut request = Request::builder().uri("/health").method(method);
        for (name, value) in head {
            request = request.header(*name, *value);
        }
        if secure {
            request = request.extension(OverTls);
        }
        let request = request.body(Body::empty()).unwrap();
        let guarded = guard(routes, &config.connections, None);
        guarded.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_plain_port_is_asked_by_listed_names_only() {
        let listed = &["--host-whitelist=kv.example,127.0.0.1"][..];
        for (flags, host, secure, status) in [
            (&[][..], "evil.example", false, 200),
            (listed, "kv.example:2379", false, 200),
            (listed, "127.0.0.1", false, 200),
            (listed, "evil.example:2379", false, 421),
            (listed, "evil.example", true, 200),
        ] {
            let answer = asked(flags, &[("host", host)], Method::GET, secure).await;
            assert_eq!(answer.status(), status, "{host} {secure}");
        }
        let head = [("host", "evil"), ("content-type", "application/grpc")];
        let answer = asked(listed, &head, Method::GET, false).await;
        assert_eq!(answer.status(), 200, "gRPC is no page's");
    }

    #[test]
    fn a_name_is_ignored_by_the_gateway_alone() {
        for (path, name, ignored) in [
            ("/v3/kv/range", Some("u"), true),
            ("/v3beta/kv/range", Some("u"), true),
            ("/v3/nothing", Some("u"), true),
            ("/v3/kv/range", Some(""), false),
            ("/v3/kv/range", None, false),
            ("/v3", Some("u"), false),
            ("/health", Some("u"), false),
        ] {
            assert_eq!(is_ignored(path, name), ignored, "{path} {name:?}");
        }
    }

    #[tokio::test]
    async fn origins_are_told_what_they_may_do() {
        let some = &["--cors=https://a.example"][..];
        for (flags, origin, allowed) in [
            (&[][..], "https://b.example", Some("*")),
            (some, "https://a.example", Some("https://a.example")),
            (some, "https://b.example", None),
        ] {
            let answer = asked(flags, &[("origin", origin)], Method::OPTIONS, false).await;
            assert_eq!(answer.status(), 200);
            let told = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
            let told = told.map(|value| value.to_str().unwrap());
            assert_eq!(told, allowed, "{origin}");
        }
    }
}
