//! TLS of a cluster: by whose certificates clients and members are spoken to.
//!
//! - A surface that `spec.tls` does not name has TLS by certificates that the operator makes, unless the cluster is older than this
//!   default: what it was born with stands in its status. Mode Disabled is plain HTTP.
//! - The Secrets of mode Secret carry the keys that cert-manager writes: `ca.crt`, `tls.crt` and `tls.key`. With mode CertManager the
//!   operator asks cert-manager for them.
//! - Between members it may be switched on and off: the operator moves them one by one, over a second port, while they serve.
//!   Towards clients it changes by way of `plaintext: Allowed`, so that nobody is cut off. What is *in* the certificates may
//!   change at any time.
//!
//! This file deliberately says nothing of how long certificates are valid and when they are renewed: the planner knows.

use kube::{KubeSchema, core::cel::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// TLS of a cluster, for each of its two surfaces.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.peer) || !has(self.client) || !has(self.peer.issuerRef) || !has(self.client.issuerRef) || self.peer.issuerRef.name != self.client.issuerRef.name || self.peer.issuerRef.kind != self.client.issuerRef.kind || self.peer.issuerRef.group != self.client.issuerRef.group")
        .message("spec.tls.peer.issuerRef and client.issuerRef name the same issuer, so that a client's certificate would make a peer: name another issuer for one of them, or set spec.tls.peer.mode Operator")
)]
pub struct Tls {
    /// Between members. Whoever shows no certificate of the cluster's own CA is no peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<PeerTls>,
    /// Between clients and members. Clients show a certificate too. Health and metrics stay plain, on a port of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientTls>,
}

/// TLS between members.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'Secret' || has(self.secretName)")
        .message("spec.tls.peer.secretName is required with mode Secret: name a Secret with ca.crt, tls.crt and tls.key, or set mode Operator to have them made"),
    validation = Rule::new("self.mode == 'Secret' || !has(self.secretName)")
        .message("spec.tls.peer.secretName goes with mode Secret only: set that mode or drop the field"),
    validation = Rule::new("self.mode != 'CertManager' || has(self.issuerRef)")
        .message("spec.tls.peer.issuerRef is required with mode CertManager: name the issuer that signs for members and for nobody else, or set mode Operator"),
    validation = Rule::new("self.mode == 'CertManager' || !has(self.issuerRef)")
        .message("spec.tls.peer.issuerRef goes with mode CertManager only: set that mode or drop the field")
)]
pub struct PeerTls {
    /// Whose certificates.
    #[serde(default = "by_operator")]
    pub mode: TlsMode,
    /// With mode Secret: the Secret with `ca.crt`, `tls.crt` and `tls.key`. The certificate serves and dials; it names
    /// `*.NAME-peers.NAMESPACE.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// With mode CertManager: who signs. Whoever has a certificate of its CA is a peer: let it sign for nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// An issuer of cert-manager, which puts the certificate of its CA as `ca.crt` beside what it signs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Its name; an Issuer is in the cluster's own namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `Issuer`, `ClusterIssuer`, or the kind of an external one.
    #[serde(default = "issuer")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its API group; that of an external issuer is its own.
    #[serde(default = "cert_manager")]
    #[schemars(length(min = 1, max = 253))]
    pub group: String,
}

fn issuer() -> String {
    "Issuer".to_owned()
}

fn cert_manager() -> String {
    "cert-manager.io".to_owned()
}

/// A port on which every member listens for its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerListener {
    /// The port.
    pub port: i32,
    /// By whose certificates.
    #[serde(default)]
    pub mode: TlsMode,
    /// With mode Secret: the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// With mode CertManager: who signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

impl PeerListener {
    /// One on this port, by these certificates; plain HTTP without any.
    #[must_use]
    pub fn new(port: i32, tls: Option<PeerTls>) -> Self {
        let PeerTls {
            mode,
            secret_name,
            issuer_ref,
        } = tls.unwrap_or_default();
        Self {
            port,
            mode,
            secret_name,
            issuer_ref,
        }
    }

    /// By whose certificates; none for plain HTTP.
    #[must_use]
    pub fn tls(&self) -> Option<PeerTls> {
        let tls = PeerTls {
            mode: self.mode,
            secret_name: self.secret_name.clone(),
            issuer_ref: self.issuer_ref.clone(),
        };
        Some(tls).filter(|it| it.mode != TlsMode::Disabled)
    }
}

/// TLS between clients and members.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode != 'Secret' || (has(self.secretName) && has(self.operatorSecretName))")
        .message("spec.tls.client.secretName and operatorSecretName are required with mode Secret: name the members' Secret and the operator's, each with ca.crt, tls.crt and tls.key, or set mode Operator to have them made"),
    validation = Rule::new("self.mode == 'Secret' || (!has(self.secretName) && !has(self.operatorSecretName))")
        .message("spec.tls.client.secretName and operatorSecretName go with mode Secret only: set that mode or drop the fields"),
    validation = Rule::new("self.mode != 'CertManager' || has(self.issuerRef)")
        .message("spec.tls.client.issuerRef is required with mode CertManager: name the issuer that signs for members and their clients, or set mode Operator"),
    validation = Rule::new("self.mode == 'CertManager' || !has(self.issuerRef)")
        .message("spec.tls.client.issuerRef goes with mode CertManager only: set that mode or drop the field")
)]
pub struct ClientTls {
    /// Whose certificates. Applications find theirs in the Secret `NAME-client-tls` with mode Operator, in `NAME-client-cert` with
    /// mode CertManager.
    #[serde(default = "by_operator")]
    pub mode: TlsMode,
    /// Whether clients without TLS are served too, on the same port: for as long as clients move to TLS, or away from it.
    #[serde(default)]
    pub plaintext: Plaintext,
    /// With mode Secret: the members' Secret with `ca.crt` (who signs for clients), `tls.crt` and `tls.key`. The certificate
    /// names `*.NAME-peers.NAMESPACE.svc` and `NAME.NAMESPACE.svc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// With mode Secret: the operator's Secret with `ca.crt` (who signs for members), `tls.crt` and `tls.key`, which it
    /// shows to the members. Where users and roles are in force, its common name must be `root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub operator_secret_name: Option<String>,
    /// With mode CertManager: who signs for members, for the operator, which shows a certificate of the common name `root`, and for
    /// applications. Whoever has a certificate of its CA is a client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// Whether clients without TLS are served too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Plaintext {
    /// They are not.
    #[default]
    Refused,
    /// They are, on the same port, and are asked for no certificate.
    Allowed,
}

const fn by_operator() -> TlsMode {
    TlsMode::Operator
}

/// What a surface means that `spec.tls` does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsDefault {
    /// TLS, by certificates that the operator makes.
    Operator,
    /// Plain HTTP: the cluster is older than TLS by default.
    Disabled,
    /// Nobody knows, for the status was lost: `spec.tls` has to name both surfaces.
    Unknown,
}

/// Whose certificates are shown and believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// None: plain HTTP.
    #[default]
    Disabled,
    /// The operator makes a CA for this cluster alone, signs with it, and renews before anything ends.
    Operator,
    /// The user's, in Secrets that the user keeps and renews; members read them anew without a restart.
    Secret,
    /// Those that an issuer of cert-manager signs. The operator keeps a `Certificate` for each Secret; cert-manager fills and renews
    /// them, and members read them anew without a restart. The operator needs the rights for it: the chart's
    /// `certManager.enabled`.
    CertManager,
}

/// Members with certificates of two CAs do not believe each other.
pub(crate) fn peer_changes_by_way_of_disabled() -> Rule {
    let secret = |cluster: &str| {
        let named = named(cluster, "peer");
        format!(
            "({named} && has({cluster}.spec.tls.peer.secretName) ? {cluster}.spec.tls.peer.secretName : '')"
        )
    };
    let [old, new] = ["oldSelf", "self"].map(|it| mode(it, "peer"));
    let [old_secret, new_secret] = ["oldSelf", "self"].map(secret);
    let [old_issuer, new_issuer] = ["oldSelf", "self"].map(|it| issuer_of(it, "peer"));
    Rule::new(format!(
        "{old} in ['Disabled', 'Unknown'] || {new} in ['Disabled', 'Unknown'] || ({old} == {new} && {old_secret} == {new_secret} && {old_issuer} == {new_issuer})"
    ))
    .message("spec.tls.peer changes by way of mode Disabled, for members with certificates of two CAs would not believe each other: set that first, then the new mode or issuerRef; the members move one by one and go on serving; certificates of mode Secret are renewed by changing what is in their Secret")
    .field_path(".spec.tls")
}

/// Clients that live without TLS, or with it, are never cut off.
pub(crate) fn client_changes_by_way_of_plaintext() -> Rule {
    let allowed = |cluster: &str| {
        let named = named(cluster, "client");
        format!("({named} && {cluster}.spec.tls.client.plaintext == 'Allowed')")
    };
    let [old, new] = ["oldSelf", "self"].map(|it| mode(it, "client"));
    let [was_allowed, is_allowed] = ["oldSelf", "self"].map(allowed);
    let [old_issuer, new_issuer] = ["oldSelf", "self"].map(|it| issuer_of(it, "client"));
    Rule::new(format!(
        "({old} == {new} && {old_issuer} == {new_issuer}) || {old} == 'Unknown' || {new} == 'Unknown' || ({old} == 'Disabled' && {is_allowed}) || ({new} == 'Disabled' && {was_allowed})"
    ))
    .message("spec.tls.client changes by way of plaintext Allowed, or clients would be cut off: set the new mode with plaintext Allowed, move the clients, then set plaintext Refused; the way back is the same; between the modes Operator, Secret and CertManager, and from one issuerRef to another, it leads through Disabled")
    .field_path(".spec.tls")
}

/// Passwords and tokens go over TLS.
pub(crate) fn auth_needs_client_tls() -> Rule {
    let new = mode("self", "client");
    Rule::new(format!("!has(self.spec.auth) || {new} != 'Disabled'"))
        .message("spec.auth needs TLS towards clients, by which members know the operator and passwords stay secret: set spec.tls.client to a mode other than Disabled, or drop spec.auth")
        .field_path(".spec.auth")
}

/// The operator ends authentication as who its certificate says it is.
pub(crate) fn auth_ends_before_client_tls() -> Rule {
    let new = mode("self", "client");
    Rule::new(format!("!has(oldSelf.spec.auth) || {new} != 'Disabled'"))
        .message("spec.tls.client cannot be dropped together with spec.auth, for the operator needs it to end authentication: drop spec.auth, and TLS when the cluster is Ready again")
        .field_path(".spec.tls")
}

/// In CEL: whether the spec names a surface.
fn named(cluster: &str, surface: &str) -> String {
    format!("has({cluster}.spec.tls) && has({cluster}.spec.tls.{surface})")
}

/// In CEL: who signs for a surface, as one text; empty where no issuer does.
fn issuer_of(cluster: &str, surface: &str) -> String {
    let (named, it) = (
        named(cluster, surface),
        format!("{cluster}.spec.tls.{surface}.issuerRef"),
    );
    format!("({named} && has({it}) ? {it}.group + '/' + {it}.kind + '/' + {it}.name : '')")
}

/// In CEL: how a surface is served, or Unknown. A cluster that the operator has not seen yet has no status.
fn mode(cluster: &str, surface: &str) -> String {
    let named = named(cluster, surface);
    format!(
        "({named} ? {cluster}.spec.tls.{surface}.mode : !has(self.status) ? 'Operator' : has(self.status.tlsDefault) ? self.status.tlsDefault : 'Disabled')"
    )
}
