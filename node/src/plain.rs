//! Plain text over HTTP, as Go's standard library writes its errors, which is what etcd answers with outside of gRPC and JSON.

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// A text that no browser takes for anything else.
pub(crate) fn text(status: StatusCode, body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

/// An error: its text is a line.
pub(crate) fn error(status: StatusCode, said: &str) -> Response {
    text(status, format!("{said}\n"))
}

/// That there is nothing at this path.
pub(crate) fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// That a path is only there to be read.
pub(crate) fn only_get() -> Response {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    let get = HeaderMap::from_iter([(ALLOW, HeaderValue::from_static(Method::GET.as_str()))]);
    response.headers_mut().extend(get);
    response
}
