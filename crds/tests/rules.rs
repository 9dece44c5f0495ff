//! Every rule of the schema, with one example that it accepts and one that it refuses, checked by kube's own CEL. The pairs
//! of `rules.yaml` are sent to a real API server too, by `e2e/tests/real_rules.rs`.
//!
//! Limits and required fields are the schema's and are tested against an API server; here it is the rules.

use std::collections::BTreeSet;

use kube::core::cel::Validator;
use kube::{CustomResourceExt, Resource};
use quorate_crds::{RaftCluster, RaftMember};
use serde::Deserialize;
use serde_json::{Value, json};

fn cluster(spec: Value) -> Value {
    let mut whole = json!({
        "apiVersion": "quorate.io/v1alpha1",
        "kind": "RaftCluster",
        "metadata": {"name": "kv"},
        "spec": {
            "replicas": 3,
            "engine": "Quorate",
            "storage": {"size": "4Gi"},
            "options": {
                "autoCompaction": {"mode": "Off"},
                "heartbeatMilliseconds": 100,
                "electionTimeoutMilliseconds": 1000,
                "snapshotCount": 10000,
            },
            "deletionPolicy": "Retain",
            "paused": false,
        },
    });
    merge(&mut whole["spec"], &spec);
    whole
}

fn merge(under: &mut Value, over: &Value) {
    match (under.as_object_mut(), over.as_object()) {
        (Some(under), Some(over)) => over.iter().for_each(|(key, value)| {
            merge(under.entry(key.clone()).or_insert(Value::Null), value);
        }),
        _ => under.clone_from(over),
    }
}

fn schema<T: CustomResourceExt>() -> Value {
    let definition = T::crd();
    let schema = definition.spec.versions[0]
        .schema
        .as_ref()
        .and_then(|it| it.open_api_v3_schema.as_ref());
    serde_json::to_value(schema.expect("a definition has a schema")).expect("a schema is JSON")
}

/// The messages of all rules that refuse `object`, which replaces `old` if there is one.
fn refusals<T: CustomResourceExt>(object: &Value, old: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(&schema::<T>(), object, old) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|it| it.message).collect(),
    }
}

#[track_caller]
fn accepted(spec: Value) {
    let found = refusals::<RaftCluster>(&cluster(spec.clone()), None);
    assert!(found.is_empty(), "{spec} is refused: {found:?}");
}

#[track_caller]
fn refused(spec: Value, because: &str) {
    let found = refusals::<RaftCluster>(&cluster(spec.clone()), None);
    assert!(
        found.iter().any(|it| it.starts_with(because)),
        "{spec}: {found:?} does not say `{because}`"
    );
}

#[track_caller]
fn change_accepted(from: Value, to: Value) {
    let found = refusals::<RaftCluster>(&cluster(to.clone()), Some(&cluster(from)));
    assert!(found.is_empty(), "the change to {to} is refused: {found:?}");
}

#[track_caller]
fn change_refused(from: Value, to: Value, because: &str) {
    let found = refusals::<RaftCluster>(&cluster(to.clone()), Some(&cluster(from)));
    assert!(
        found.iter().any(|it| it.starts_with(because)),
        "{to}: {found:?} does not say `{because}`"
    );
}

#[test]
fn the_least_cluster_is_accepted() {
    accepted(json!({}));
}

#[test]
fn names_fit_services_and_labels() {
    let named = |name: &str| {
        let mut whole = cluster(json!({}));
        whole["metadata"]["name"] = json!(name);
        refusals::<RaftCluster>(&whole, None)
    };
    let forty = "k".repeat(40);
    assert!(named("kv").is_empty());
    assert!(named("a-1").is_empty());
    assert!(named(&forty).is_empty());
    for bad in ["1kv", "kv.prod", "kv-", "Kv"] {
        assert!(
            named(bad)
                .iter()
                .any(|it| it.starts_with("metadata.name: lower-case")),
            "{bad}"
        );
    }
    assert!(
        named(&format!("{forty}v"))
            .iter()
            .any(|it| it.starts_with("metadata.name: at most 40"))
    );
}

#[test]
fn an_image_names_a_fixed_version() {
    accepted(json!({"image": "quorate-node:0.1.0"}));
    accepted(json!({"image": "registry.example.com:5000/team/quorate-node:v1"}));
    accepted(json!({"image": format!("quorate-node@sha256:{}", "a".repeat(64))}));
    refused(
        json!({"image": "quorate-node:latest"}),
        "spec.image: the tag `latest`",
    );
    refused(
        json!({"image": "quorate-node"}),
        "spec.image: name a fixed tag",
    );
    refused(
        json!({"image": "registry.example.com:5000/quorate-node"}),
        "spec.image: name a fixed tag",
    );
    refused(
        json!({"image": "quorate-node@sha256:12"}),
        "spec.image: name a fixed tag",
    );
    refused(
        json!({"image": "quorate node:1"}),
        "spec.image: name a fixed tag",
    );
}

#[test]
fn a_version_is_three_numbers() {
    accepted(json!({"version": "0.1.0"}));
    accepted(json!({"version": "1.20.3-rc.1"}));
    refused(json!({"version": "v0.1.0"}), "spec.version: three numbers");
    refused(json!({"version": "0.1"}), "spec.version: three numbers");
}

#[test]
fn etcd_needs_an_image() {
    accepted(json!({"engine": "Etcd", "image": "etcd:3.6.5"}));
    refused(
        json!({"engine": "Etcd"}),
        "spec.image is required with engine Etcd",
    );
}

#[test]
fn a_volume_has_a_size() {
    accepted(json!({"storage": {"size": "256Mi"}}));
    accepted(json!({"storage": {"size": 1_073_741_824}}));
    refused(
        json!({"storage": {"size": "255Mi"}}),
        "spec.storage.size: a quantity",
    );
    refused(
        json!({"storage": {"size": "-4Gi"}}),
        "spec.storage.size: a quantity",
    );
    refused(
        json!({"storage": {"size": "4 gigs"}}),
        "spec.storage.size: a quantity",
    );
    refused(
        json!({"storage": {"size": 0}}),
        "spec.storage.size: a quantity",
    );
}

#[test]
fn the_quota_fits_the_volume() {
    accepted(json!({"options": {"quotaBackendBytes": "4Gi"}}));
    accepted(json!({"options": {"quotaBackendBytes": 2_147_483_648_i64}}));
    refused(
        json!({"options": {"quotaBackendBytes": "5Gi"}}),
        "spec.options.quotaBackendBytes must not exceed",
    );
    refused(
        json!({"options": {"quotaBackendBytes": "1Mi"}}),
        "spec.options.quotaBackendBytes: a quantity",
    );
    refused(
        json!({"options": {"quotaBackendBytes": "much"}}),
        "spec.options.quotaBackendBytes: a quantity",
    );
}

#[test]
fn an_election_is_five_heartbeats() {
    accepted(
        json!({"options": {"heartbeatMilliseconds": 200, "electionTimeoutMilliseconds": 1000}}),
    );
    refused(
        json!({"options": {"heartbeatMilliseconds": 201, "electionTimeoutMilliseconds": 1000}}),
        "spec.options.electionTimeoutMilliseconds must be at least five times",
    );
}

#[test]
fn compaction_says_how_much_is_kept() {
    let compaction = |it: Value| json!({"options": {"autoCompaction": it}});
    accepted(compaction(
        json!({"mode": "Periodic", "retentionSeconds": 3600}),
    ));
    accepted(compaction(
        json!({"mode": "Revision", "retentionRevisions": 1000}),
    ));
    refused(
        compaction(json!({"mode": "Periodic"})),
        "spec.options.autoCompaction.retentionSeconds is required",
    );
    refused(
        compaction(json!({"mode": "Revision"})),
        "spec.options.autoCompaction.retentionRevisions is required",
    );
    refused(
        compaction(json!({"mode": "Off", "retentionSeconds": 3600})),
        "spec.options.autoCompaction.retentionSeconds goes with",
    );
    refused(
        compaction(json!({"mode": "Periodic", "retentionSeconds": 3600, "retentionRevisions": 1})),
        "spec.options.autoCompaction.retentionRevisions goes with",
    );
}

#[test]
fn the_overlay_leaves_the_operators_labels_alone() {
    let metadata = |it: Value| json!({"podTemplate": {"metadata": it}});
    accepted(metadata(
        json!({"labels": {"example.com/team": "a"}, "annotations": {"note": "b"}}),
    ));
    refused(
        metadata(json!({"labels": {"quorate.io/role": "voter"}})),
        "spec.podTemplate.metadata.labels",
    );
    refused(
        metadata(json!({"labels": {"app.kubernetes.io/name": "x"}})),
        "spec.podTemplate.metadata.labels",
    );
    refused(
        metadata(json!({"annotations": {"quorate.io/template-hash": "x"}})),
        "spec.podTemplate.metadata.annotations",
    );
}

#[test]
fn the_overlay_leaves_the_members_pod_a_members_pod() {
    let spec = |it: Value| json!({"podTemplate": {"spec": it}});
    accepted(spec(
        json!({"priorityClassName": "high", "tolerations": [{"key": "a"}]}),
    ));
    accepted(spec(
        json!({"containers": [{"name": "sidecar", "image": "proxy:1", "args": ["-v"]}]}),
    ));
    accepted(spec(
        json!({"containers": [{"name": "member", "env": [{"name": "TZ", "value": "UTC"}]}]}),
    ));
    accepted(spec(
        json!({"dnsPolicy": "ClusterFirst", "hostAliases": [{"ip": "127.0.0.2", "hostnames": ["a"]}]}),
    ));
    refused(
        spec(json!({"hostNetwork": true})),
        "spec.podTemplate.spec.hostNetwork cannot be overlaid: members listen on fixed ports",
    );
    for (key, _) in quorate_crds::overlay::RESERVED {
        refused(
            spec(json!({key: "x"})),
            &format!("spec.podTemplate.spec.{key} cannot be overlaid"),
        );
    }
    for (key, _) in quorate_crds::overlay::RESERVED_IN_MEMBER {
        let because = format!(
            "spec.podTemplate.spec.containers of the container `member`.{key} cannot be overlaid"
        );
        refused(
            spec(json!({"containers": [{"name": "member", key: ["x"]}]})),
            &because,
        );
    }
}

#[test]
fn what_the_data_rest_on_does_not_change() {
    change_accepted(
        json!({"replicas": 3}),
        json!({"replicas": 5, "paused": true}),
    );
    change_accepted(json!({"image": "a:1"}), json!({"image": "a:2"}));
    change_refused(
        json!({"image": "a:1"}),
        json!({"engine": "Etcd", "image": "a:1"}),
        "spec.engine cannot be changed",
    );
    let storage = |it: Value| json!({"storage": it});
    change_accepted(
        storage(json!({"size": "4Gi"})),
        storage(json!({"size": "4Gi"})),
    );
    let by = |policy: &str, size: &str, class: Option<&str>| {
        let mut it = json!({"size": size, "changePolicy": policy});
        class
            .into_iter()
            .for_each(|class| it["storageClassName"] = json!(class));
        storage(it)
    };
    let (size, lowered) = (
        "spec.storage.size cannot be changed while",
        "spec.storage.size cannot be lowered while",
    );
    let class = "spec.storage.storageClassName can be changed only while";
    for other in ["2Gi", "8Gi"] {
        change_refused(by("Deny", "4Gi", None), by("Deny", other, None), size);
        change_accepted(by("Deny", "4Gi", None), by("ReplaceMember", other, None));
    }
    change_accepted(
        by("InPlaceOnly", "4Gi", None),
        by("InPlaceOnly", "8Gi", None),
    );
    change_refused(
        by("InPlaceOnly", "4Gi", None),
        by("InPlaceOnly", "2Gi", None),
        lowered,
    );
    let classes = [None, Some("a"), Some("b")];
    for (from, to) in (0..9).map(|it| (it / 3, it % 3)) {
        let change = |policy| {
            (
                by(policy, "4Gi", classes[from]),
                by(policy, "4Gi", classes[to]),
            )
        };
        let ((old, new), (free, freed)) = (change("InPlaceOnly"), change("ReplaceMember"));
        change_accepted(free, freed);
        if from == to {
            change_accepted(old, new);
        } else {
            change_refused(old, new, class);
        }
    }
}

#[test]
fn a_member_is_fixed_for_life() {
    let member = |serial: i64| {
        json!({
            "apiVersion": "quorate.io/v1alpha1",
            "kind": "RaftMember",
            "metadata": {"name": "kv-abcde"},
            "spec": {"clusterName": "kv", "clusterUID": "u", "serial": serial},
        })
    };
    assert!(refusals::<RaftMember>(&member(1), Some(&member(1))).is_empty());
    let found = refusals::<RaftMember>(&member(2), Some(&member(1)));
    assert!(
        found[0].starts_with("spec of a RaftMember is fixed for life"),
        "{found:?}"
    );
}

/// The messages of all rules of a schema, those of a type that stands in several fields once.
fn messages(schema: &Value) -> BTreeSet<String> {
    let rules = schema["x-kubernetes-validations"].as_array();
    let message = |rule: &Value| rule["message"].as_str().map(str::to_owned);
    let own = rules
        .into_iter()
        .flatten()
        .map(|rule| message(rule).expect("every rule has a message"));
    let properties = schema["properties"].as_object();
    let fields = properties.into_iter().flat_map(|it| it.values());
    let below = fields.chain(
        ["items", "additionalProperties"]
            .iter()
            .filter_map(|it| schema.get(*it)),
    );
    own.chain(below.flat_map(messages)).collect()
}

#[test]
fn every_message_names_its_field() {
    let messages = messages(&schema::<RaftCluster>());
    assert!(messages.len() >= 30, "{}", messages.len());
    for message in messages {
        assert!(
            message.starts_with("spec.") || message.starts_with("metadata.name"),
            "{message}"
        );
    }
}

/// A kind and the examples for its rules, as `rules.yaml` has them.
#[derive(Deserialize)]
struct Examples {
    kind: String,
    least: Value,
    rules: Vec<Pair>,
}

/// A rule and its examples.
#[derive(Deserialize)]
struct Pair {
    rule: String,
    from: Option<Value>,
    accepted: Value,
    refused: Value,
}

#[test]
fn every_rule_has_an_accepted_and_a_refused_example() {
    let kinds: Vec<Examples> =
        serde_saphyr::from_str(include_str!("rules.yaml")).expect("read rules.yaml");
    for definition in quorate_crds::definitions() {
        let kind = &definition.spec.names.kind;
        let examples = kinds.iter().find(|it| it.kind == *kind);
        let examples = examples.unwrap_or_else(|| panic!("rules.yaml has no {kind}"));
        let whole =
            serde_json::to_value(&definition.spec.versions[0]).expect("a definition is JSON");
        let schema = &whole["schema"]["openAPIV3Schema"];
        let messages = messages(schema);
        for message in &messages {
            let pairs = examples
                .rules
                .iter()
                .filter(|pair| message.starts_with(&pair.rule));
            assert_eq!(
                pairs.count(),
                1,
                "pairs of examples in rules.yaml for: {message}"
            );
        }
        assert_eq!(
            messages.len(),
            examples.rules.len(),
            "rules and pairs of {kind}"
        );
        for pair in &examples.rules {
            judge(schema, &examples.least, pair);
        }
    }
}

/// Holds one pair against kube's CEL.
fn judge(schema: &Value, least: &Value, pair: &Pair) {
    let upon = |example: &Value| {
        let mut whole = least.clone();
        merge(&mut whole, example);
        whole
    };
    let from = pair.from.as_ref().map(upon);
    let said =
        |example: &Value| match Validator::new().validate(schema, &upon(example), from.as_ref()) {
            Ok(()) => Vec::new(),
            Err(errors) => errors.into_vec().into_iter().map(|it| it.message).collect(),
        };
    assert_eq!(
        said(&pair.accepted),
        [""; 0],
        "the accepted example of {}",
        pair.rule
    );
    let refused = said(&pair.refused);
    assert!(
        refused.len() == 1 && refused[0].starts_with(&pair.rule),
        "the refused example of {}: {refused:?}",
        pair.rule
    );
}

/// What the spec does not name is judged by what the status remembers, and not at all where it is forgotten.
#[test]
fn a_surface_that_is_not_named_is_what_the_status_says() {
    let born = |status: &Option<Value>, spec: Value| {
        let mut whole = cluster(spec);
        if let Some(status) = status {
            whole["status"] = status.clone();
        }
        whole
    };
    let client = |mode: &str, plaintext: &str| json!({"tls": {"client": {"mode": mode, "plaintext": plaintext}}});
    let auth = json!({"auth": {"rootSecretName": "root"}});
    let (plain, moving, secured) = (
        client("Disabled", "Refused"),
        client("Operator", "Allowed"),
        client("Operator", "Refused"),
    );
    let secrets = json!({"tls": {"peer": {"mode": "Secret", "secretName": "peers"}}});
    let with_tls = [
        (&plain, "spec.tls.client changes"),
        (&moving, ""),
        (&secured, ""),
        (&secrets, "spec.tls.peer changes"),
        (&auth, ""),
    ];
    let without = [
        (&plain, ""),
        (&moving, ""),
        (&secured, "spec.tls.client changes"),
        (&secrets, ""),
        (&auth, "spec.auth needs TLS"),
    ];
    let forgotten = [
        (&plain, ""),
        (&moving, ""),
        (&secured, ""),
        (&secrets, ""),
        (&auth, ""),
    ];
    for (status, changes) in [
        (None, with_tls),
        (Some(json!({"tlsDefault": "Operator"})), with_tls),
        (Some(json!({})), without),
        (Some(json!({"tlsDefault": "Unknown"})), forgotten),
    ] {
        let from = born(&status, json!({}));
        for (to, because) in changes {
            let found = refusals::<RaftCluster>(&born(&status, to.clone()), Some(&from));
            let right = match because {
                "" => found.is_empty(),
                _ => found.len() == 1 && found[0].starts_with(because),
            };
            assert!(right, "{status:?} to {to}: {found:?}");
        }
    }
}

/// Neither members nor clients believe in two CAs at once.
#[test]
fn an_issuer_is_changed_by_way_of_disabled() {
    let of = |surface: &str, tls: &Value| cluster(json!({"tls": {surface: tls}}));
    let issuer =
        |name: &str, kind: &str| json!({"name": name, "kind": kind, "group": "cert-manager.io"});
    let tls = |plaintext: &str, issuer: Value| json!({"mode": "CertManager", "plaintext": plaintext, "issuerRef": issuer});
    let disabled = json!({"mode": "Disabled", "plaintext": "Allowed"});
    for (surface, because) in [
        ("peer", "spec.tls.peer changes"),
        ("client", "spec.tls.client changes"),
    ] {
        let from = tls("Allowed", issuer("one", "Issuer"));
        let operator = json!({"mode": "Operator", "plaintext": "Allowed"});
        for (from, to, right) in [
            (&from, &from, true),
            (&from, &tls("Allowed", issuer("two", "Issuer")), false),
            (
                &from,
                &tls("Allowed", issuer("one", "ClusterIssuer")),
                false,
            ),
            (&from, &operator, false),
            (&operator, &from, false),
            (&from, &disabled, true),
            (&disabled, &from, true),
        ] {
            let found = refusals::<RaftCluster>(&of(surface, to), Some(&of(surface, from)));
            let as_expected = match right {
                true => found.is_empty(),
                false => found.len() == 1 && found[0].starts_with(because),
            };
            assert!(as_expected, "{surface}: {from} to {to}: {found:?}");
        }
    }
}

#[test]
fn the_generated_methods_agree_with_the_schema() {
    let good: RaftCluster = serde_json::from_value(cluster(json!({}))).expect("a cluster");
    assert_eq!(RaftCluster::plural(&()), "raftclusters");
    assert!(good.validate_cel().is_ok());
    let mut bad = good.clone();
    bad.spec.engine = quorate_crds::Engine::Etcd;
    assert!(bad.validate_cel_update(&good).is_err());
}

#[test]
fn every_example_is_accepted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("read examples/") {
        let path = entry.expect("read examples/").path();
        let text = std::fs::read_to_string(&path).expect("read an example");
        let example: RaftCluster =
            serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let found = example.validate_cel();
        assert!(found.is_ok(), "{path:?}: {found:?}");
        seen += 1;
    }
    assert!(seen >= 5, "{seen} examples");
}
