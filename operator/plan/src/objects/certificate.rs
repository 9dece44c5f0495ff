//! A `Certificate` of cert-manager: what it is asked to keep in one Secret, and what it says of it.
//!
//! Only the fields that matter here are read and written. How long a certificate lasts, and when it is renewed, is left to
//! cert-manager's defaults. The key is an ECDSA key of 256 bits, as the operator's own are, made anew with each certificate.
//!
//! It goes with the cluster, through its owner. The Secret stays, for cert-manager makes it nobody's unless it is told to.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crds::IssuerRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::{Deserialize, Serialize};

use super::metadata;
use crate::{cert_manager::Request, names, spec::Spec};

/// `Certificate` of `cert-manager.io/v1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificate {
    api_version: String,
    kind: String,
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What is asked for.
    pub spec: CertificateSpec,
    /// What cert-manager says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<CertificateStatus>,
}

impl Resource for Certificate {
    const API_VERSION: &'static str = "cert-manager.io/v1";
    const GROUP: &'static str = "cert-manager.io";
    const KIND: &'static str = "Certificate";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "certificates";
    type Scope = NamespaceResourceScope;
}

impl Metadata for Certificate {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateSpec {
    /// The Secret that is filled.
    pub secret_name: String,
    /// Labels of that Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<SecretTemplate>,
    /// Whom it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    /// Hosts that it proves to be, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// Hosts that it proves to be, by address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// What it may be used for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<String>,
    /// What its key is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PrivateKey>,
    /// Who signs; none in an object that is not the operator's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
}

/// What the Secret bears beside what it is filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretTemplate {
    /// Its labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// What a key is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrivateKey {
    /// `ECDSA`, for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// In bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,
    /// `PKCS8`, for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// `Always`: with each certificate another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_policy: Option<String>,
}

/// What cert-manager says of a `Certificate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    /// `Ready` and `Issuing`.
    pub conditions: Vec<CertificateCondition>,
    /// When it means to renew what is in the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
}

/// One thing that it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateCondition {
    /// Of what.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// In one word.
    pub reason: String,
    /// In words for a person.
    pub message: String,
}

/// The `Certificate` for a request, named as its Secret.
pub(crate) fn certificate(spec: &Spec, request: &Request) -> Certificate {
    let is_address = |it: &String| it.parse::<IpAddr>().is_ok();
    let hosts = request.hosts.iter().cloned();
    let (ip_addresses, dns_names) = hosts.partition(is_address);
    let mut labels = names::labels(&spec.name);
    labels.retain(|key, _| key != "app.kubernetes.io/managed-by");
    let said = |it: &str| Some(it.to_owned());
    Certificate {
        api_version: Certificate::API_VERSION.to_owned(),
        kind: Certificate::KIND.to_owned(),
        metadata: metadata(spec, request.name.clone()),
        spec: CertificateSpec {
            secret_name: request.name.clone(),
            secret_template: Some(SecretTemplate { labels }),
            common_name: Some(request.common_name.clone()),
            dns_names,
            ip_addresses,
            usages: request.usages.iter().map(|it| (*it).to_owned()).collect(),
            private_key: Some(PrivateKey {
                algorithm: said("ECDSA"),
                size: Some(256),
                // What every library for TLS reads.
                encoding: said("PKCS8"),
                rotation_policy: said("Always"),
            }),
            issuer_ref: Some(request.issuer.clone()),
        },
        status: None,
    }
}
