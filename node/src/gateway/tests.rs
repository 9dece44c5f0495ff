//! The gateway before a service that is none of etcd's semantics: what is put into gRPC, and what is made of its answers.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::lease_server::{Lease, LeaseServer};
use tonic::service::Routes;
use tonic::{Request as Call, Response as Answered, Streaming};
use tower::ServiceExt;

use super::*;

struct Echo;

type Answers = Pin<Box<dyn Stream<Item = Result<pb::LeaseKeepAliveResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Lease for Echo {
    async fn lease_grant(
        &self,
        call: Call<pb::LeaseGrantRequest>,
    ) -> Result<Answered<pb::LeaseGrantResponse>, Status> {
        let token = call
            .metadata()
            .get("token")
            .map(|token| token.to_str().unwrap_or("?"));
        let error = token.unwrap_or_default().to_owned();
        let asked = call.into_inner();
        let answer = pb::LeaseGrantResponse {
            header: None,
            id: asked.id,
            ttl: asked.ttl,
            error,
        };
        Ok(Answered::new(answer))
    }

    async fn lease_revoke(
        &self,
        _: Call<pb::LeaseRevokeRequest>,
    ) -> Result<Answered<pb::LeaseRevokeResponse>, Status> {
        Err(Status::unauthenticated("etcdserver: invalid auth token"))
    }

    type LeaseKeepAliveStream = Answers;

    async fn lease_keep_alive(
        &self,
        call: Call<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Answered<Answers>, Status> {
        let answers = call.into_inner().map(|asked| match asked?.id {
            0 => Err(Status::unavailable("<no>")),
            id => Ok(pb::LeaseKeepAliveResponse {
                id,
                ..Default::default()
            }),
        });
        Ok(Answered::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        _: Call<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Answered<pb::LeaseTimeToLiveResponse>, Status> {
        std::future::pending().await
    }

    async fn lease_leases(
        &self,
        _: Call<pb::LeaseLeasesRequest>,
    ) -> Result<Answered<pb::LeaseLeasesResponse>, Status> {
        Ok(Answered::new(pb::LeaseLeasesResponse::default()))
    }
}

async fn ask(request: http::request::Builder, body: &str) -> (u16, String) {
    let grpc = Routes::new(LeaseServer::new(Echo)).into_axum_router();
    let request = request
        .body(axum::body::Body::from(body.to_owned()))
        .unwrap();
    let response = routes(grpc, 1000).oneshot(request).await.unwrap();
    let kind = response.headers().get(CONTENT_TYPE).cloned();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let json = http::HeaderValue::from_static("application/json");
    assert_eq!(kind, (!body.is_empty()).then_some(json));
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn post(path: &str, body: &str) -> (u16, String) {
    ask(http::Request::post(path), body).await
}

fn is(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

#[tokio::test]
async fn a_call_has_one_message_each_way() {
    let asked = post("/v3/lease/grant", r#"{"TTL":"5","ID":7} and more"#).await;
    assert_eq!(asked, is(200, r#"{"ID":"7","TTL":"5"}"#));
    assert_eq!(post("/v3/lease/grant", "").await, is(200, "{}"));
    assert_eq!(post("/v3/kv/lease/leases", "{}").await, is(200, "{}"));
    let request = http::Request::post("/v3/lease/grant").header("Grpc-Metadata-Token", "me");
    assert_eq!(ask(request, "{}").await, is(200, r#"{"error":"me"}"#));
}

#[tokio::test]
async fn what_goes_wrong_has_a_code_and_a_status() {
    for (path, body, status, answer) in [
        (
            "/v3/lease/grant",
            "{",
            400,
            r#"{"code":3,"message":"unexpected EOF"}"#,
        ),
        (
            "/v3/lease/grant",
            r#"{"ID":true}"#,
            400,
            r#"{"code":3,"message":"proto: (line 1:7): invalid value for int64 field ID: true"}"#,
        ),
        (
            "/v3/lease/revoke",
            "",
            401,
            r#"{"code":16,"message":"etcdserver: invalid auth token"}"#,
        ),
        (
            "/v3/lease/nosuch",
            "{}",
            404,
            r#"{"code":5,"message":"Not Found"}"#,
        ),
        ("/v3/", "{}", 404, r#"{"code":5,"message":"Not Found"}"#),
    ] {
        assert_eq!(post(path, body).await, is(status, answer));
    }
    let get = http::Request::get("/v3/lease/grant");
    assert_eq!(
        ask(get, "").await,
        is(501, r#"{"code":12,"message":"Method Not Allowed"}"#)
    );
}

#[tokio::test]
async fn a_client_says_how_long_it_waits() {
    let within =
        |timeout| http::Request::post("/v3/lease/timetolive").header("Grpc-Timeout", timeout);
    let late = r#"{"code":4,"message":"context deadline exceeded"}"#;
    assert_eq!(ask(within("20m"), "{}").await, is(504, late));
    let wrong = r#"{"code":3,"message":"invalid grpc-timeout: 1x"}"#;
    assert_eq!(ask(within("1x"), "{}").await, is(400, wrong));
}

#[tokio::test]
async fn a_stream_is_one_line_for_each_message() {
    let asked = post("/v3/lease/keepalive", r#"{"ID":7}{"ID":"8"}"#).await;
    let lines = "{\"result\":{\"ID\":\"7\"}}\n{\"result\":{\"ID\":\"8\"}}\n";
    assert_eq!(asked, is(200, lines));
    assert_eq!(post("/v3/lease/keepalive", "").await, is(200, ""));
    // What is no message ends the client's half.
    let asked = post("/v3/lease/keepalive", r#"{"ID":7} {"ID":"x"} {"ID":8}"#).await;
    assert_eq!(asked, is(200, "{\"result\":{\"ID\":\"7\"}}\n"));
}

#[tokio::test]
async fn the_error_that_ends_a_stream_is_its_last_line() {
    let error = "{\"error\":{\"code\":14,\"message\":\"\\u003cno\\u003e\"}}\n";
    assert_eq!(
        post("/v3/lease/keepalive", "{}{\"ID\":7}").await,
        is(503, error)
    );
    let asked = post("/v3/lease/keepalive", "{\"ID\":7}{}").await;
    assert_eq!(
        asked,
        is(200, &format!("{{\"result\":{{\"ID\":\"7\"}}}}\n{error}"))
    );
}

#[tokio::test]
async fn a_message_has_a_largest_size() {
    let too_large = |bytes| {
        let said = format!("grpc: received message larger than max ({bytes} vs. 1000)");
        is(429, &format!(r#"{{"code":8,"message":"{said}"}}"#))
    };
    let endless = format!(r#"{{"x":"{}"}}"#, "x".repeat(3000));
    assert_eq!(
        post("/v3/lease/grant", &endless).await,
        too_large(endless.len())
    );
    let add = format!(r#"{{"peerURLs":["{}"]}}"#, "x".repeat(1200));
    assert_eq!(post("/v3/cluster/member/add", &add).await, too_large(1203));
}
