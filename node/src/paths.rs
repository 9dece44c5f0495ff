//! Paths as etcd's port has them, before they are looked up.
//!
//! - A path has no empty and no dotted parts; whoever asks for one is sent to the clean one.
//! - `/v3beta/`, the old name of the gateway's paths, is taken for `/v3/`.
//! - gRPC passes untouched.
//!
//! What this module deliberately does not do: decode. `%2f` is a part of a name.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode, Uri};
use tower::Layer;

/// These routes for tidy paths.
pub(crate) fn tidy(routes: Router) -> Router {
    // Around the whole router, and not around each route: the path that decides about the route is made here.
    Router::new().fallback_service(from_fn(lead).layer(routes))
}

async fn lead(mut request: Request, next: Next) -> Response {
    if is_grpc(&request) {
        return next.run(request).await;
    }
    let path = request.uri().path();
    let path = match path.strip_prefix("/v3beta/") {
        Some(rest) => format!("/v3/{rest}"),
        None => path.to_owned(),
    };
    let query = request.uri().query().map(|query| format!("?{query}"));
    let query = query.unwrap_or_default();
    let clean = clean(&path);
    if clean != path
        && let Ok(clean) = HeaderValue::from_str(&format!("{clean}{query}"))
    {
        return (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, clean)]).into_response();
    }
    if let Ok(uri) = format!("{path}{query}").parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    next.run(request).await
}

/// Without empty and dotted parts, as Go's router has it.
fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let is_folder = path.ends_with('/') && !parts.is_empty();
    format!("/{}{}", parts.join("/"), if is_folder { "/" } else { "" })
}

fn is_grpc(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::routing::any;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn led(path: &str) -> (u16, String) {
        let echo = |uri: Uri| async move { uri.to_string() };
        let routes = tidy(
            Router::new()
                .route("/{*rest}", any(echo))
                .route("/", any(echo)),
        );
        let request = Request::post(path).body(Body::empty()).unwrap();
        let response = routes.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        if let Some(place) = response.headers().get(LOCATION) {
            return (status, place.to_str().unwrap().to_owned());
        }
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn a_path_leads_where_etcds_leads() {
        for (path, status, place) in [
            ("/v3/kv/range", 200, "/v3/kv/range"),
            ("/v3beta/kv/range", 200, "/v3/kv/range"),
            ("/v3//kv/range", 307, "/v3/kv/range"),
            ("/v3/kv/../kv/range?x=1", 307, "/v3/kv/range?x=1"),
            ("//health", 307, "/health"),
            ("/v3/", 200, "/v3/"),
            ("/", 200, "/"),
            (
                "/health?exclude=a&exclude=b",
                200,
                "/health?exclude=a&exclude=b",
            ),
        ] {
            assert_eq!(led(path).await, (status, place.to_owned()), "{path}");
        }
    }
}
