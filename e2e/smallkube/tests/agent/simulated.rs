//! Pods with pretended containers, in pretended time: hours pass in milliseconds.

use crate::setting::{
    claim, condition, create, is_ready, pod, pod_that, pods, restarts, waiting_reason,
};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use smallkube::{Options, Power, Signal, Simulated, Smallkube};

fn start() -> (Smallkube, Simulated, Client) {
    let runtime = Simulated::new();
    let cluster = Smallkube::start(&Options::simulated(runtime.clone()));
    let client = cluster.client("test");
    (cluster, runtime, client)
}

#[tokio::test(start_paused = true)]
async fn a_pod_becomes_ready_with_an_address_and_its_environment() {
    let (_cluster, runtime, client) = start();
    let container = json!({
        "args": ["--listen=http://$(POD_IP):1"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]});
    create(&client, &pod("p", container, json!({}))).await;
    let ready = pod_that(&client, "p", "got ready", is_ready).await;
    let address = ready["status"]["podIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("127."));
    assert_eq!(
        runtime.running()[0].args,
        [format!("--listen=http://{address}:1")]
    );
    pods(&client)
        .delete("p", &DeleteParams::default())
        .await
        .unwrap();
    pod_that(&client, "p", "went", Value::is_null).await;
    create(&client, &pod("p", json!({}), json!({}))).await;
    let again = pod_that(&client, "p", "got ready again", is_ready).await;
    assert_eq!(
        again["status"]["podIP"], address,
        "an address belongs to the name"
    );
}

#[tokio::test(start_paused = true)]
async fn what_ends_is_restarted_with_growing_patience() {
    let (_cluster, runtime, client) = start();
    create(&client, &pod("p", json!({}), json!({}))).await;
    pod_that(&client, "p", "got ready", is_ready).await;
    assert!(runtime.exit("default", "p", 3));
    let pod = pod_that(&client, "p", "restarted", |p| {
        restarts(p) == 1 && is_ready(p)
    })
    .await;
    assert_eq!(
        pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        3
    );
    assert!(runtime.exit("default", "p", 3));
    pod_that(&client, "p", "backed off", |p| {
        waiting_reason(p) == "CrashLoopBackOff"
    })
    .await;
    pod_that(&client, "p", "restarted again", |p| {
        restarts(p) == 2 && is_ready(p)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_is_waited_for() {
    let (_cluster, runtime, client) = start();
    runtime.lose_image("shell:1");
    create(&client, &pod("p", json!({}), json!({}))).await;
    pod_that(&client, "p", "missed its image", |p| {
        waiting_reason(p) == "ErrImagePull"
    })
    .await;
    pod_that(&client, "p", "backed off", |p| {
        waiting_reason(p) == "ImagePullBackOff"
    })
    .await;
    runtime.find_image("shell:1");
    pod_that(&client, "p", "got ready", is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn probes_decide_about_readiness_and_restarts() {
    let (_cluster, runtime, client) = start();
    let probe = json!({"httpGet": {"port": 1, "path": "/readyz"}, "periodSeconds": 5});
    let container = json!({"readinessProbe": probe});
    create(&client, &pod("p", container, json!({}))).await;
    pod_that(&client, "p", "got ready", is_ready).await;
    runtime.set_healthy("default", "p", false);
    pod_that(&client, "p", "got unready", |p| !is_ready(p)).await;
    assert_eq!(
        restarts(&pod_that(&client, "p", "is there", |_| true).await),
        0
    );
    runtime.set_healthy("default", "p", true);
    pod_that(&client, "p", "got ready again", is_ready).await;
    let live = json!({"livenessProbe": {"tcpSocket": {"port": 1}}});
    create(&client, &pod("q", live, json!({}))).await;
    pod_that(&client, "q", "got ready", is_ready).await;
    runtime.set_healthy("default", "q", false);
    pod_that(&client, "q", "was restarted", |p| restarts(p) > 0).await;
}

#[tokio::test(start_paused = true)]
async fn pods_spread_and_heed_what_keeps_them_apart() {
    let (_cluster, _runtime, client) = start();
    let apart = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "test"}}}]}}});
    for name in ["a", "b", "c"] {
        create(&client, &pod(name, json!({}), apart.clone())).await;
    }
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes
            .push(pod_that(&client, name, "got ready", is_ready).await["spec"]["nodeName"].clone());
    }
    nodes.sort_by_key(Value::to_string);
    assert_eq!(json!(nodes), json!(["node-1", "node-2", "node-3"]));
    create(&client, &pod("d", json!({}), apart)).await;
    let stuck = pod_that(&client, "d", "was refused", |p| {
        condition(p, "PodScheduled") == "False"
    })
    .await;
    let said = stuck["status"]["conditions"].to_string();
    assert!(
        said.contains("0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_binds_with_its_first_pod_and_is_not_removed_under_it() {
    let (_cluster, runtime, client) = start();
    claim(&client, "data").await;
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), "default");
    let volume =
        json!({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]});
    let container = json!({"args": ["--data-dir=/var/lib/quorate/data"],
        "volumeMounts": [{"name": "data", "mountPath": "/var/lib/quorate"}]});
    create(&client, &pod("p", container, volume)).await;
    pod_that(&client, "p", "got ready", is_ready).await;
    let bound = claims.get("data").await.unwrap();
    assert_eq!(bound.status.unwrap().phase.as_deref(), Some("Bound"));
    let name = bound.spec.unwrap().volume_name.unwrap();
    assert_eq!(
        runtime.running()[0].args,
        [format!("--data-dir=/smallkube/volumes/{name}/data")]
    );
    claims
        .delete("data", &DeleteParams::default())
        .await
        .unwrap();
    assert!(
        claims
            .get("data")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .is_some()
    );
    pods(&client)
        .delete("p", &DeleteParams::default())
        .await
        .unwrap();
    pod_that(&client, "p", "went", Value::is_null).await;
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let gone = async || {
        claims.get_opt("data").await.unwrap().is_none()
            && volumes.get_opt(&name).await.unwrap().is_none()
    };
    while !gone().await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_loses_its_pods_and_a_returned_one_runs_them_again() {
    let (cluster, runtime, client) = start();
    create(&client, &pod("p", json!({}), json!({}))).await;
    let first = pod_that(&client, "p", "got ready", is_ready).await;
    let node = first["spec"]["nodeName"].as_str().unwrap().to_owned();
    cluster.set_power(&node, Power::Down).unwrap();
    pod_that(&client, "p", "was marked unready", |p| !is_ready(p)).await;
    assert!(runtime.running().is_empty());
    let nodes: Api<Node> = Api::all(client.clone());
    let taints = nodes
        .get(&node)
        .await
        .unwrap()
        .spec
        .unwrap()
        .taints
        .unwrap();
    assert_eq!(taints[0].key, "node.kubernetes.io/unreachable");
    pod_that(&client, "p", "was told to go", |p| {
        !p["metadata"]["deletionTimestamp"].is_null()
    })
    .await;
    cluster.set_power(&node, Power::Up).unwrap();
    pod_that(&client, "p", "went", Value::is_null).await;
    create(&client, &pod("q", json!({}), json!({"nodeName": node}))).await;
    pod_that(&client, "q", "got ready", is_ready).await;
    cluster.set_power(&node, Power::Down).unwrap();
    while !runtime.running().is_empty() {
        tokio::task::yield_now().await;
    }
    cluster.set_power(&node, Power::Up).unwrap();
    pod_that(&client, "q", "runs again", |p| {
        restarts(p) == 1 && is_ready(p)
    })
    .await;
    assert!(cluster.set_power("nowhere", Power::Up).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cordoned_node_takes_no_new_pod() {
    let (_cluster, _runtime, client) = start();
    let nodes: Api<Node> = Api::all(client.clone());
    for name in ["node-1", "node-2"] {
        nodes.cordon(name).await.unwrap();
    }
    create(&client, &pod("p", json!({}), json!({}))).await;
    let placed = pod_that(&client, "p", "got ready", is_ready).await;
    assert_eq!(placed["spec"]["nodeName"], "node-3");
}

#[tokio::test(start_paused = true)]
async fn an_eviction_asks_the_budget() {
    let (_cluster, _runtime, client) = start();
    let budgets: Api<k8s_openapi::api::policy::v1::PodDisruptionBudget> =
        Api::namespaced(client.clone(), "default");
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "test"}}}});
    budgets
        .create(
            &PostParams::default(),
            &serde_json::from_value(budget).unwrap(),
        )
        .await
        .unwrap();
    for name in ["a", "b"] {
        create(&client, &pod(name, json!({}), json!({}))).await;
        pod_that(&client, name, "got ready", is_ready).await;
    }
    let allowed = async || {
        budgets
            .get("b")
            .await
            .unwrap()
            .status
            .map(|s| s.disruptions_allowed)
    };
    while allowed().await != Some(1) {
        tokio::task::yield_now().await;
    }
    pods(&client)
        .evict("a", &EvictParams::default())
        .await
        .unwrap();
    let refused = pods(&client)
        .evict("b", &EvictParams::default())
        .await
        .unwrap_err();
    let kube::Error::Api(status) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (status.code, status.reason.as_str()),
        (429, "TooManyRequests")
    );
    assert_eq!(status.details.unwrap().causes[0].reason, "DisruptionBudget");
}

#[tokio::test(start_paused = true)]
async fn a_service_knows_who_is_ready_behind_it() {
    let (_cluster, runtime, client) = start();
    let services: Api<k8s_openapi::api::core::v1::Service> =
        Api::namespaced(client.clone(), "default");
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"app": "test"}, "ports": [{"name": "client", "port": 2379, "targetPort": "client"}]}});
    let made = services
        .create(
            &PostParams::default(),
            &serde_json::from_value(service).unwrap(),
        )
        .await
        .unwrap();
    assert!(made.spec.unwrap().cluster_ip.unwrap().starts_with("127."));
    let container = json!({"ports": [{"name": "client", "containerPort": 1234}],
        "readinessProbe": {"tcpSocket": {"port": "client"}, "periodSeconds": 1}});
    create(&client, &pod("p", container, json!({}))).await;
    let ready = pod_that(&client, "p", "got ready", is_ready).await;
    let slices: Api<k8s_openapi::api::discovery::v1::EndpointSlice> =
        Api::namespaced(client.clone(), "default");
    let slice = async |wanted: bool| loop {
        let found = slices
            .list(&ListParams::default().labels("kubernetes.io/service-name=s"))
            .await
            .unwrap();
        let found = serde_json::to_value(&found.items).unwrap();
        if found[0]["endpoints"][0]["conditions"]["ready"] == wanted {
            return found[0].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    let found = slice(true).await;
    assert_eq!(
        found["endpoints"][0]["addresses"],
        json!([ready["status"]["podIP"]])
    );
    assert_eq!(found["ports"][0]["port"], 1234);
    runtime.set_healthy("default", "p", false);
    slice(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_done_is_over_and_can_be_removed() {
    let (_cluster, runtime, client) = start();
    create(
        &client,
        &pod("p", json!({}), json!({"restartPolicy": "Never"})),
    )
    .await;
    pod_that(&client, "p", "got ready", is_ready).await;
    runtime.exit("default", "p", 1);
    pod_that(&client, "p", "failed", |p| p["status"]["phase"] == "Failed").await;
    pods(&client)
        .delete("p", &DeleteParams::default())
        .await
        .unwrap();
    assert!(pods(&client).get_opt("p").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_killed_container_comes_back_under_the_same_pod() {
    let (cluster, _runtime, client) = start();
    let made = create(&client, &pod("p", json!({}), json!({}))).await;
    pod_that(&client, "p", "got ready", is_ready).await;
    cluster.signal("default", "p", Signal::Kill).unwrap();
    let back = pod_that(&client, "p", "came back", |p| {
        restarts(p) == 1 && is_ready(p)
    })
    .await;
    assert_eq!(back["metadata"]["uid"], json!(made.uid()));
    assert!(cluster.signal("default", "nobody", Signal::Kill).is_err());
    let relabel = Patch::Merge(json!({"spec": {"containers": null}}));
    assert!(
        pods(&client)
            .patch("p", &PatchParams::default(), &relabel)
            .await
            .is_err()
    );
}
