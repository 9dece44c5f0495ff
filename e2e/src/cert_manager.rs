//! A stand-in for cert-manager: what it does for a `Certificate` as far as whoever asks for one can see it.
//!
//! It fills the Secret with `ca.crt`, `tls.crt` and `tls.key`, says in annotations who has signed and for which `Certificate`, and
//! says in the status that it is ready. It signs anew where another issuer is wanted, where something is missing, and when it is
//! told to by the condition `Issuing`, as cert-manager's own tool does it. An issuer is a CA under a name.
//!
//! It deliberately looks at the clock for nothing: a renewal comes when a test asks for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams};
use kube::{Api, ResourceExt};
use plan::{Certificate, CertificateCondition, names};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::authority::{Authority, authority};
use crate::wait;

/// How often it looks at all that it was asked for.
const LOOKS: Duration = Duration::from_millis(100);

/// As much of the definition as anybody here writes or reads.
const DEFINITION: &str = r"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: certificates.cert-manager.io }
spec:
  group: cert-manager.io
  scope: Namespaced
  names: { kind: Certificate, listKind: CertificateList, plural: certificates, singular: certificate }
  versions:
    - name: v1
      served: true
      storage: true
      subresources: { status: {} }
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec:
              type: object
              required: [secretName, issuerRef]
              properties:
                secretName: { type: string }
                commonName: { type: string }
                dnsNames: { type: array, items: { type: string } }
                ipAddresses: { type: array, items: { type: string } }
                usages: { type: array, items: { type: string } }
                secretTemplate:
                  type: object
                  properties:
                    labels: { type: object, additionalProperties: { type: string } }
                privateKey:
                  type: object
                  properties:
                    algorithm: { type: string }
                    size: { type: integer }
                    encoding: { type: string }
                    rotationPolicy: { type: string }
                issuerRef:
                  type: object
                  required: [name]
                  properties:
                    name: { type: string }
                    kind: { type: string }
                    group: { type: string }
            status:
              type: object
              properties:
                renewalTime: { type: string, format: date-time }
                conditions:
                  type: array
                  items:
                    type: object
                    required: [type, status]
                    properties:
                      type: { type: string }
                      status: { type: string }
                      reason: { type: string }
                      message: { type: string }
";

/// One that runs.
pub struct CertManager {
    hand: Hand,
    work: JoinHandle<()>,
}

/// What it works with.
#[derive(Clone)]
struct Hand {
    client: kube::Client,
    namespace: String,
    issuers: Arc<Mutex<BTreeMap<String, Authority>>>,
}

impl Drop for CertManager {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl CertManager {
    /// Declares its kind and lets it run, for one namespace and without any issuer.
    ///
    /// # Errors
    /// The API's.
    pub async fn install(
        client: kube::Client,
        namespace: &str,
        deadline: Duration,
    ) -> Result<Self> {
        let definition: CustomResourceDefinition = serde_saphyr::from_str(DEFINITION)?;
        let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
        let patch = Patch::Apply(&definition);
        let name = definition.name_any();
        definitions.patch(&name, &manager(), &patch).await?;
        let hand = Hand {
            client,
            namespace: namespace.to_owned(),
            issuers: Arc::default(),
        };
        let certificates = hand.certificates();
        let listed = async || certificates.list(&ListParams::default()).await;
        wait::until("the API to serve Certificates", deadline, listed).await?;
        let work = tokio::spawn(hand.clone().work());
        Ok(Self { hand, work })
    }

    /// Makes an `Issuer` of this name.
    ///
    /// # Errors
    /// When a CA cannot be made.
    pub fn issue_as(&self, name: &str) -> Result<()> {
        let authority = authority(name)?;
        let mut issuers = self.hand.issuers();
        issuers.insert(name.to_owned(), authority);
        Ok(())
    }

    /// Has a `Certificate` renewed, and waits until its Secret has another one.
    ///
    /// # Errors
    /// The API's, or when it is not in time.
    pub async fn renew(&self, name: &str, deadline: Duration) -> Result<()> {
        let secrets = self.hand.secrets();
        let served = async || -> Result<Vec<u8>> {
            let secret = secrets.get(name).await?;
            let found = secret.data.as_ref().and_then(|it| it.get("tls.crt"));
            Ok(found.context("there is no tls.crt")?.0.clone())
        };
        let old = served().await?;
        let asked = json!([{ "type": "Issuing", "status": "True", "reason": "ManuallyTriggered" }]);
        self.hand.tell(name, &asked).await?;
        wait::until(
            format!("{name} to be renewed"),
            deadline,
            async || match served().await {
                Ok(new) if new != old => Ok(()),
                Ok(_) => Err("it is the old one".to_owned()),
                Err(why) => Err(format!("{why:#}")),
            },
        )
        .await?;
        Ok(())
    }
}

impl Hand {
    fn certificates(&self) -> Api<Certificate> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn issuers(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Authority>> {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn work(self) {
        let mut looks = tokio::time::interval(LOOKS);
        loop {
            looks.tick().await;
            // What fails now is tried again with the next look; a test that waits says what it misses.
            let _ = self.look().await;
        }
    }

    async fn look(&self) -> Result<()> {
        for certificate in self.certificates().list(&ListParams::default()).await? {
            self.attend(&certificate).await?;
        }
        Ok(())
    }

    async fn attend(&self, certificate: &Certificate) -> Result<()> {
        let name = certificate.name_any();
        let filled = self
            .secrets()
            .get_opt(&certificate.spec.secret_name)
            .await?;
        let asked = condition(certificate, "Issuing", "True");
        if asked || !filled.is_some_and(|it| is_filled(&it, certificate)) {
            let Some(secret) = self.signed(certificate)? else {
                let why = json!([
                    { "type": "Ready", "status": "False", "reason": "DoesNotExist", "message": "there is no such issuer" },
                ]);
                return self.tell(&name, &why).await;
            };
            let patch = Patch::Apply(&secret);
            let secrets = self.secrets();
            secrets
                .patch(&secret.name_any(), &manager(), &patch)
                .await?;
        }
        if asked || !condition(certificate, "Ready", "True") {
            let ready = json!([
                { "type": "Ready", "status": "True", "reason": "Ready", "message": "it is up to date" },
            ]);
            self.tell(&name, &ready).await?;
        }
        Ok(())
    }

    async fn tell(&self, name: &str, conditions: &Value) -> Result<()> {
        let status = Patch::Merge(json!({ "status": { "conditions": conditions } }));
        let certificates = self.certificates();
        certificates
            .patch_status(name, &PatchParams::default(), &status)
            .await?;
        Ok(())
    }

    /// The Secret with what the issuer has signed; none without such an issuer.
    fn signed(&self, certificate: &Certificate) -> Result<Option<Secret>> {
        let spec = &certificate.spec;
        let wanted = spec.issuer_ref.as_ref().context("it names an issuer")?;
        let issuers = self.issuers();
        let Some(authority) = issuers.get(&wanted.name) else {
            return Ok(None);
        };
        let hosts = [spec.dns_names.clone(), spec.ip_addresses.clone()].concat();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name = DistinguishedName::new();
        let common_name = spec.common_name.clone().unwrap_or_default();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        for usage in &spec.usages {
            match usage.as_str() {
                "digital signature" => params.key_usages.push(KeyUsagePurpose::DigitalSignature),
                "server auth" => {
                    params
                        .extended_key_usages
                        .push(ExtendedKeyUsagePurpose::ServerAuth);
                }
                "client auth" => {
                    params
                        .extended_key_usages
                        .push(ExtendedKeyUsagePurpose::ClientAuth);
                }
                other => anyhow::bail!("it knows no usage {other}"),
            }
        }
        let key = KeyPair::generate()?;
        let shown = params.signed_by(&key, &**authority)?.pem();
        let entries = [
            ("ca.crt", authority.pem()),
            ("tls.crt", shown),
            ("tls.key", key.serialize_pem()),
        ];
        let said = annotations(certificate)?;
        let template = spec.secret_template.clone().unwrap_or_default();
        Ok(Some(Secret {
            metadata: ObjectMeta {
                name: Some(spec.secret_name.clone()),
                annotations: Some(said),
                labels: Some(template.labels),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            data: Some(
                entries
                    .into_iter()
                    .map(|(name, text)| (name.to_owned(), ByteString(text.into_bytes())))
                    .collect(),
            ),
            ..Secret::default()
        }))
    }
}

/// What it says on a Secret: for which `Certificate`, and who has signed.
fn annotations(certificate: &Certificate) -> Result<BTreeMap<String, String>> {
    let issuer = certificate.spec.issuer_ref.as_ref();
    let issuer = issuer.context("it names an issuer")?;
    let values = [&issuer.name, &issuer.kind, &issuer.group];
    let keys = names::ISSUER.iter().map(|it| (*it).to_owned());
    let mut all: BTreeMap<String, String> = keys.zip(values.into_iter().cloned()).collect();
    all.insert(names::CERTIFICATE_NAME.to_owned(), certificate.name_any());
    Ok(all)
}

fn is_filled(secret: &Secret, certificate: &Certificate) -> bool {
    let entries = secret.data.clone().unwrap_or_default();
    let has = |name: &str| entries.get(name).is_some_and(|it| !it.0.is_empty());
    let found = secret.annotations();
    let said = annotations(certificate).unwrap_or_default();
    ["ca.crt", "tls.crt", "tls.key"].into_iter().all(has)
        && said
            .iter()
            .all(|(key, value)| found.get(key) == Some(value))
}

fn condition(certificate: &Certificate, kind: &str, status: &str) -> bool {
    let mut all = certificate.status.iter().flat_map(|it| &it.conditions);
    all.any(|it: &CertificateCondition| it.type_ == kind && it.status == status)
}

fn manager() -> PatchParams {
    PatchParams::apply("cert-manager").force()
}
