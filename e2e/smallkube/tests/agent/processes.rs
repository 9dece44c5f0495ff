//! Pods as real processes: `/bin/sh` is the image.

use crate::setting::{claim, create, is_ready, pod, pod_that, pods, restarts};
use k8s_openapi::api::core::v1::Service;
use kube::Client;
use kube::api::{Api, DeleteParams, LogParams, PostParams};
use serde_json::{Value, json};
use smallkube::{Images, Options, Pace, Power, Processes, Signal, Smallkube};
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn start() -> (Smallkube, TempDir, Client) {
    let state = TempDir::new().unwrap();
    let images = Images::default().with("shell:1", "/bin/sh");
    let options = Options {
        pace: Pace {
            first_backoff: Duration::from_millis(100),
            ..Pace::default()
        },
        ..Options::processes(state.path(), Processes::new(state.path(), images))
    };
    let cluster = Smallkube::try_start(&options).unwrap();
    let client = cluster.client("test");
    (cluster, state, client)
}

fn script(text: &str) -> Value {
    json!({"args": ["-c", text]})
}

fn alive(pid: &str) -> bool {
    // A zombie is dead: only its parent has not looked yet.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn pid(pod: &Value) -> String {
    let id = pod["status"]["containerStatuses"][0]["containerID"]
        .as_str()
        .unwrap();
    id.trim_start_matches("smallkube://").to_owned()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "waited 20 s until {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_is_restarted_and_its_volume_is_still_there() {
    let (cluster, state, client) = start();
    claim(&client, "data").await;
    let mut container = script("echo life >> /data/lives; sleep 60 & wait");
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    container["args"][1] = json!("echo life >> $FOLDER/lives; sleep 60 & wait");
    container["env"] = json!([{"name": "FOLDER", "value": "/data"}]);
    let volume =
        json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    create(&client, &pod("p", container, volume)).await;
    let first = pod_that(&client, "p", "got ready", is_ready).await;
    cluster.signal("default", "p", Signal::Kill).unwrap();
    let second = pod_that(&client, "p", "restarted", |p| {
        restarts(p) == 1 && is_ready(p)
    })
    .await;
    assert_ne!(pid(&first), pid(&second));
    let folders: Vec<_> = std::fs::read_dir(state.path().join("volumes"))
        .unwrap()
        .collect();
    let lives = folders[0].as_ref().unwrap().path().join("lives");
    until("both lives are written", || {
        std::fs::read_to_string(&lives).is_ok_and(|t| t.lines().count() == 2)
    })
    .await;
    cluster.stop().await;
    until("nothing runs any more", || !alive(&pid(&second))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_pod_ends_in_good_order_or_by_force_within_its_grace() {
    let (cluster, _state, client) = start();
    let polite = script("trap 'exit 0' TERM; echo up; while true; do sleep 0.05; done");
    create(&client, &pod("polite", polite, json!({}))).await;
    let up = pod_that(&client, "polite", "got ready", is_ready).await;
    pods(&client)
        .delete("polite", &DeleteParams::default())
        .await
        .unwrap();
    let marked = pods(&client).get_opt("polite").await.unwrap();
    assert!(marked.is_none_or(|p| p.metadata.deletion_grace_period_seconds == Some(30)));
    pod_that(&client, "polite", "went", Value::is_null).await;
    assert!(!alive(&pid(&up)));
    let stubborn = script("trap '' TERM; while true; do sleep 0.05; done");
    let short = json!({"terminationGracePeriodSeconds": 1});
    create(&client, &pod("stubborn", stubborn, short)).await;
    let up = pod_that(&client, "stubborn", "got ready", is_ready).await;
    pods(&client)
        .delete("stubborn", &DeleteParams::default())
        .await
        .unwrap();
    pod_that(&client, "stubborn", "went", Value::is_null).await;
    assert!(!alive(&pid(&up)));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_kept_and_names_are_known() {
    let (cluster, state, client) = start();
    let named = json!({"hostname": "p", "subdomain": "peers"});
    create(
        &client,
        &pod(
            "p",
            script("echo hello; cat $QUORATE_HOSTS_FILE /etc/hosts; sleep 60 & wait"),
            named,
        ),
    )
    .await;
    let up = pod_that(&client, "p", "got ready", is_ready).await;
    let address = up["status"]["podIP"].as_str().unwrap().to_owned();
    let mut log = String::new();
    let begun = Instant::now();
    // In the file that is named, and where the machine allows it in the process's own /etc/hosts.
    let copies = 1 + usize::from(smallkube::own_hosts().is_ok());
    while log.matches("svc.cluster.local").count() < copies {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "no host names in {log:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
        log = pods(&client)
            .logs("p", &LogParams::default())
            .await
            .unwrap();
    }
    assert!(log.starts_with("hello\n"), "{log}");
    assert!(
        log.contains(&format!(
            "{address} p.peers.default.svc p.peers.default.svc.cluster.local"
        )),
        "{log}"
    );
    let tail = LogParams {
        tail_lines: Some(1),
        ..LogParams::default()
    };
    assert_eq!(
        pods(&client)
            .logs("p", &tail)
            .await
            .unwrap()
            .lines()
            .count(),
        1
    );
    assert!(state.path().join("hosts").exists());
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_tag_is_no_image() {
    let (cluster, _state, client) = start();
    let wrong = json!({"image": "shell:2"});
    create(&client, &pod("p", wrong, json!({}))).await;
    let stuck = pod_that(&client, "p", "missed its image", |p| {
        p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ImagePullBackOff"
    })
    .await;
    assert!(stuck["status"].to_string().contains("not found"));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_run_left_behind_is_ended_by_the_next() {
    let state = TempDir::new().unwrap();
    let program = env!("CARGO_BIN_EXE_smallkube");
    let begin = || {
        std::process::Command::new(program)
            .args(["serve", "--image", "shell:1=/bin/sh", "--state"])
            .arg(state.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut first = begin();
    let config = state.path().join("kubeconfig");
    until("it serves", || config.exists()).await;
    let client = outside(&config).await;
    create(&client, &pod("p", script("sleep 600"), json!({}))).await;
    let up = pod_that(&client, "p", "got ready", is_ready).await;
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(alive(&pid(&up)), "a killed agent cannot end its processes");
    std::fs::remove_file(&config).unwrap();
    let mut second = begin();
    until("the next one serves", || config.exists()).await;
    until("the leftover is gone", || !alive(&pid(&up))).await;
    let client = outside(&config).await;
    assert!(
        pods(&client).get_opt("p").await.unwrap().is_none(),
        "a second start is empty"
    );
    let id = nix::unistd::Pid::from_raw(i32::try_from(second.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(second.wait().unwrap().success());
}

async fn outside(config: &Path) -> Client {
    let config = kube::config::Kubeconfig::read_from(config).unwrap();
    let config = kube::Config::from_custom_kubeconfig(config, &Default::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_node_stands_still_and_goes_on() {
    let (cluster, _state, client) = start();
    // A shell stopped while it starts a program (vfork) shows as waiting for its child, not as stopped: it starts one and waits.
    create(&client, &pod("p", script("sleep 60 & wait"), json!({}))).await;
    let up = pod_that(&client, "p", "got ready", is_ready).await;
    let (pid, node) = (
        pid(&up),
        up["spec"]["nodeName"].as_str().unwrap().to_owned(),
    );
    let stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
    };
    cluster.set_power(&node, Power::Paused).unwrap();
    until("it stands still", stopped).await;
    cluster.set_power(&node, Power::Up).unwrap();
    until("it goes on", || !stopped() && alive(&pid)).await;
    assert_eq!(
        restarts(&pod_that(&client, "p", "is ready", is_ready).await),
        0
    );
    cluster.set_power(&node, Power::Down).unwrap();
    until("it is dead", || !alive(&pid)).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_a_service_leads_to_a_ready_pod() {
    let (cluster, _state, client) = start();
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "test"}, "ports": [{"port": 80, "targetPort": 7777}]}});
    let made = services
        .create(
            &PostParams::default(),
            &serde_json::from_value(service).unwrap(),
        )
        .await
        .unwrap();
    let front = made.spec.unwrap().cluster_ip.unwrap();
    create(&client, &pod("p", script("sleep 60 & wait"), json!({}))).await;
    let up = pod_that(&client, "p", "got ready", is_ready).await;
    // The process behind the pod is a shell; the test listens in its place, on its address.
    let listener = TcpListener::bind((up["status"]["podIP"].as_str().unwrap(), 7777))
        .await
        .unwrap();
    let answer = tokio::spawn(async move {
        // What connects before an endpoint is ready is closed by the forwarder and never gets here.
        let (mut inner, _) = listener.accept().await.unwrap();
        inner.write_all(b"hello").await.unwrap();
    });
    let begun = Instant::now();
    let mut text = String::new();
    while text != "hello" {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the service at {front} never answered"
        );
        text.clear();
        if let Ok(mut outer) = TcpStream::connect((front.as_str(), 80)).await {
            // A connection that is closed unanswered reads as empty; then it is tried again.
            let _ = outer.read_to_string(&mut text).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    answer.await.unwrap();
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_volume_ties_its_pod_to_its_node() {
    let state = TempDir::new().unwrap();
    let images = Images::default().with("shell", "/bin/sh");
    let options = Options {
        local_volumes: true,
        ..Options::processes(state.path(), Processes::new(state.path(), images))
    };
    let cluster = Smallkube::try_start(&options).unwrap();
    let client = cluster.client("test");
    claim(&client, "data").await;
    let volume =
        json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    create(
        &client,
        &pod("p", script("sleep 60 & wait"), volume.clone()),
    )
    .await;
    let first = pod_that(&client, "p", "got ready", is_ready).await["spec"]["nodeName"].clone();
    pods(&client)
        .delete("p", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    pod_that(&client, "p", "went", Value::is_null).await;
    // More pods there make that node the fullest; the volume decides all the same.
    for name in ["x", "y"] {
        create(
            &client,
            &pod(name, script("sleep 60 & wait"), json!({"nodeName": first})),
        )
        .await;
    }
    create(&client, &pod("q", script("sleep 60 & wait"), volume)).await;
    let second = pod_that(&client, "q", "got ready", is_ready).await["spec"]["nodeName"].clone();
    assert_eq!(first, second);
    cluster.stop().await;
}
