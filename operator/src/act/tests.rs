use std::sync::{Arc, Mutex};

use http::{Request, Response};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::client::Body;
use plan::names::Role;

use super::*;
use crate::members::etcd::EtcdMembers;

/// What the API server does with a write of a service; it does all others.
#[derive(Clone, Copy)]
enum Services {
    Refused,
    Unanswered,
}

/// An API server, and the paths that it has been sent writes for.
fn server(services: Services) -> (Context, Arc<Mutex<Vec<String>>>) {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let log = calls.clone();
    let answer = move |request: Request<Body>| {
        let path = request.uri().path().to_owned();
        log.lock().expect("no test panics here").push(path.clone());
        async move {
            let (code, body) = match services {
                _ if !path.contains("/services") => {
                    (200, serde_json::to_vec(&request_body(request).await)?)
                }
                Services::Refused => (422, serde_json::to_vec(&refusal())?),
                Services::Unanswered => return Err("the connection was reset".into()),
            };
            let response = Response::builder().status(code).body(Body::from(body));
            Ok::<_, tower::BoxError>(response?)
        }
    };
    let client = kube::Client::new(tower::service_fn(answer), "demo");
    (
        Context::new(client, Arc::new(EtcdMembers::default())),
        calls,
    )
}

async fn request_body(request: Request<Body>) -> Value {
    let bytes = request.into_body().collect_bytes().await;
    let sent = bytes.expect("a body of this process");
    serde_json::from_slice(&sent).expect("a write sends JSON")
}

fn refusal() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 422,
        "reason": "Invalid", "message": "spec.clusterIP: field is immutable",
    })
}

fn service() -> Action {
    let mut service = Service::default();
    service.metadata.name = Some("kv".to_owned());
    Action::ApplyService(Box::new(service))
}

fn budget() -> Action {
    let mut budget = PodDisruptionBudget::default();
    budget.metadata.name = Some("kv".to_owned());
    Action::ApplyBudget(Box::new(budget))
}

fn label() -> Action {
    let pod = Target {
        name: "kv-aaaaa".to_owned(),
        uid: "1".to_owned(),
    };
    Action::LabelPod {
        pod,
        role: Role::Voter,
    }
}

fn pod(state: &str) -> Action {
    let pod = json!({
        "metadata": {"name": "kv-bbbbb"},
        "spec": {"containers": [{"name": "member", "args": [format!("--initial-cluster-state={state}")]}]},
    });
    Action::CreatePod(serde_json::from_value(pod).expect("a pod"))
}

async fn carry_out(ctx: &Context, actions: &[Action]) -> Outcome {
    let observed = Observed::empty(Timestamp::UNIX_EPOCH);
    let outcome = act(ctx, "demo", (&observed, None), actions).await;
    outcome.expect("the gate is open")
}

#[tokio::test]
async fn a_service_that_is_refused_keeps_nobody_from_being_repaired() {
    let (ctx, _) = server(Services::Refused);
    let (all, last) = ([service(), budget(), label(), pod("existing")], service());
    let outcome = carry_out(&ctx, &[&all[..], &[last]].concat()).await;
    assert_eq!(outcome.done, all[1..]);
    let failed = outcome.failed.expect("the service is refused");
    assert_eq!(failed.action, "apply service kv");
    assert!(failed.error.contains("field is immutable"), "{failed:?}");
}

#[tokio::test]
async fn no_member_founds_a_cluster_after_a_service_was_refused() {
    let (ctx, calls) = server(Services::Refused);
    let outcome = carry_out(&ctx, &[service(), budget(), pod("new")]).await;
    assert_eq!(outcome.done, [budget()]);
    let calls = calls.lock().expect("no test panics here");
    assert!(calls.iter().all(|it| !it.contains("/pods")), "{calls:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_ends_the_round() {
    let (ctx, calls) = server(Services::Unanswered);
    let outcome = carry_out(&ctx, &[service(), budget(), pod("existing")]).await;
    assert_eq!(outcome.done, []);
    assert!(outcome.failed.is_some());
    assert_eq!(calls.lock().expect("no test panics here").len(), 1);
}
