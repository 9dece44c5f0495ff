use super::*;
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;

/// A member in any state of health.
#[derive(Clone)]
struct Patient {
    leader: bool,
    alarms: &'static [Alarm],
    writing_for: Option<Duration>,
    local: Result<(), String>,
    confirmed: Result<(), String>,
    answers: bool,
}

const WELL: Patient = Patient {
    leader: true,
    alarms: &[],
    writing_for: None,
    local: Ok(()),
    confirmed: Ok(()),
    answers: true,
};

impl Pulse for Patient {
    fn has_leader(&self) -> bool {
        self.leader
    }

    fn alarms(&self) -> Vec<Alarm> {
        self.alarms.to_vec()
    }

    fn cluster_version(&self) -> Option<Version> {
        Some(Version::new(3, 5))
    }

    fn writing_for(&self) -> Option<Duration> {
        self.writing_for
    }

    async fn read_local(&self) -> Result<(), String> {
        self.local.clone()
    }

    async fn confirm(&self) -> Result<(), String> {
        if !self.answers {
            std::future::pending::<()>().await;
        }
        self.confirmed.clone()
    }
}

async fn get(patient: &Patient, path: &str) -> (u16, String) {
    ask(patient, "GET", path).await
}

async fn ask(patient: &Patient, method: &str, path: &str) -> (u16, String) {
    let routes = routes_of(Shared {
        pulse: patient.clone(),
        metrics: Arc::new(Metrics::new()),
        patience: Duration::from_millis(30),
    });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty());
    let response = routes.oneshot(request.unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn is(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

#[tokio::test]
async fn a_well_member_answers_as_etcd_does() {
    let healthy = is(200, r#"{"health":"true","reason":""}"#);
    assert_eq!(get(&WELL, "/health").await, healthy);
    assert_eq!(get(&WELL, "/health?serializable=true").await, healthy);
    assert_eq!(get(&WELL, "/health?exclude=NOSPACE").await, healthy);
    assert_eq!(get(&WELL, "/livez").await, is(200, "ok\n"));
    assert_eq!(
        get(&WELL, "/livez?verbose").await,
        is(200, "[+]serializable_read ok\nok\n")
    );
    assert_eq!(get(&WELL, "/readyz").await, is(200, "ok\n"));
    assert_eq!(
        get(&WELL, "/readyz?verbose").await,
        is(
            200,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]disk_write ok\n[+]linearizable_read ok\nok\n"
        )
    );
    assert_eq!(
        get(&WELL, "/readyz/linearizable_read?verbose").await,
        is(200, "[+]linearizable_read ok\nok\n")
    );
    assert_eq!(
        get(&WELL, "/readyz/nosuch").await,
        is(404, "404 page not found\n")
    );
    for path in [
        "/health",
        "/livez",
        "/readyz",
        "/readyz/disk_write",
        "/version",
    ] {
        let only_get = is(405, "Method Not Allowed\n");
        assert_eq!(ask(&WELL, "POST", path).await, only_get, "{path}");
        assert_eq!(ask(&WELL, "HEAD", path).await.0, 405, "{path}");
    }
    let version = r#"{"etcdserver":"3.7.1","etcdcluster":"3.5.0","storage":"3.5.0"}"#;
    assert_eq!(get(&WELL, "/version").await, is(200, version));
}

#[tokio::test]
async fn without_a_leader_a_member_is_alive_and_not_ready() {
    let patient = Patient {
        leader: false,
        ..WELL
    };
    assert_eq!(
        get(&patient, "/health").await,
        is(
            503,
            "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n"
        )
    );
    assert_eq!(get(&patient, "/health?serializable=true").await.0, 200);
    assert_eq!(get(&patient, "/livez").await.0, 200);
    assert_eq!(
        get(&patient, "/readyz").await,
        is(
            503,
            "[+]data_corruption ok\n[+]serializable_read ok\n[+]disk_write ok\n[-]linearizable_read failed: etcdserver: no leader\n\n"
        )
    );
    let (status, body) = get(&patient, "/readyz?exclude=linearizable_read&verbose").await;
    assert_eq!(status, 200);
    assert!(!body.contains("linearizable_read"), "{body}");
}

#[tokio::test]
async fn a_majority_that_does_not_answer_is_not_waited_for_long() {
    let patient = Patient {
        answers: false,
        ..WELL
    };
    let (status, body) = get(&patient, "/readyz").await;
    assert!(
        status == 503 && body.contains("linearizable_read failed: no answer within 30ms"),
        "{body}"
    );
    assert_eq!(get(&patient, "/health").await.0, 503);
}

#[tokio::test]
async fn a_disk_that_stalls_makes_a_member_unready_and_keeps_it_alive() {
    let patient = Patient {
        writing_for: Some(Duration::from_millis(2500)),
        ..WELL
    };
    let (status, body) = get(&patient, "/readyz").await;
    assert!(
        status == 503
            && body
                .contains("[-]disk_write failed: one write to the disk has been waiting for 2.5 s"),
        "{body}"
    );
    assert_eq!(get(&patient, "/livez").await.0, 200);
    let busy = Patient {
        writing_for: Some(Duration::from_millis(20)),
        ..WELL
    };
    assert_eq!(get(&busy, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_member_that_stops_is_not_alive() {
    let patient = Patient {
        local: Err("etcdserver: server stopped".to_owned()),
        ..WELL
    };
    let (status, body) = get(&patient, "/livez").await;
    assert!(
        status == 503 && body.starts_with("[-]serializable_read failed: "),
        "{body}"
    );
    assert!(body.contains("server stopped"), "{body}");
}

#[tokio::test]
async fn alarms_come_first_and_can_be_looked_past() {
    let patient = Patient {
        leader: false,
        alarms: &[
            Alarm { kind: 1, member: 5 },
            Alarm { kind: 2, member: 0 },
            Alarm { kind: 9, member: 0 },
        ],
        ..WELL
    };
    let unhealthy = |reason| {
        let body = serde_json::json!({"health": "false", "reason": reason});
        is(503, &format!("{body}\n"))
    };
    let reasons = [
        ("", "ALARM NOSPACE"),
        ("?exclude=NOSPACE", "ALARM CORRUPT"),
        ("?exclude=NOSPACE&exclude=CORRUPT", "ALARM UNKNOWN"),
        (
            "?exclude=NOSPACE&exclude=CORRUPT&exclude=9",
            "RAFT NO LEADER",
        ),
    ];
    for (query, reason) in reasons {
        let answer = get(&patient, &format!("/health{query}")).await;
        assert_eq!(answer, unhealthy(reason), "{query}");
    }
    let (status, body) = get(&patient, "/readyz/data_corruption").await;
    assert_eq!(status, 503);
    assert!(
        body.contains(
            "[-]data_corruption failed: alarm activated: CORRUPT
"
        ),
        "{body}"
    );
}
