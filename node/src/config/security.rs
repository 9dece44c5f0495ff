//! The flags of TLS, on the client port and between members.
//!
//! - Certificate and key come together or not at all.
//! - A list of allowed names is either of common names or of host names, never of both.
//! - Flags that no URL asks for are ignored with a warning, as in etcd; a URL that asks for TLS and has no certificate is
//!   refused.
//!
//! What this module does not do: read the files.

use std::fmt;
use std::path::PathBuf;

use super::switch::switch;
use super::url::Url;

/// The two ports that can have TLS; each has flags of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// `--listen-client-urls`, and `--listen-metrics-urls` with it.
    Client,
    /// `--listen-peer-urls`, and what is dialed from here.
    Peer,
}

impl Side {
    /// The flag's name on this side.
    #[must_use]
    pub const fn flag(self, client: &'static str, peer: &'static str) -> &'static str {
        match self {
            Self::Client => client,
            Self::Peer => peer,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Peer => "peer",
        })
    }
}

/// What the flags say about TLS on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFlags {
    /// Which.
    pub side: Side,
    /// `--cert-file` and `--key-file`, `--peer-cert-file` and `--peer-key-file`.
    pub pair: Option<KeyPair>,
    /// `--client-cert-file` and `--client-key-file`, `--peer-client-cert-file` and `--peer-client-key-file`: what is shown
    /// when dialing, instead of the pair above.
    pub dialing_pair: Option<KeyPair>,
    /// `--trusted-ca-file`, `--peer-trusted-ca-file`. Whoever gives one asks everybody for a certificate.
    pub trusted_ca_file: Option<PathBuf>,
    /// `--client-cert-auth`, `--peer-client-cert-auth`.
    pub client_cert_auth: bool,
    /// `--client-crl-file`, `--peer-crl-file`.
    pub crl_file: Option<PathBuf>,
    /// `--peer-cert-allowed-cn`; empty allows all.
    pub allowed_cns: Vec<String>,
    /// `--client-cert-allowed-hostname`, `--peer-cert-allowed-hostname`; empty allows all.
    pub allowed_hostnames: Vec<String>,
    /// `--auto-tls`, `--peer-auto-tls`: a certificate of our own making where none is given.
    pub auto: bool,
    /// Whether the address that a certificate comes from must be one of its names: only between members, and not with
    /// `--peer-skip-client-san-verification`.
    pub checks_address: bool,
}

/// A certificate and its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate, and whatever leads from it to its root.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
}

/// What both sides speak.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// `--cipher-suites`, by their names in etcd's flags; empty for all.
    pub cipher_suites: Vec<String>,
    /// Whether TLS 1.2 is spoken: `--tls-min-version`.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken: `--tls-max-version`.
    pub tls13: bool,
}

impl TlsFlags {
    /// Whether there is, or will be made, a certificate to show.
    #[must_use]
    pub const fn has_certificate(&self) -> bool {
        self.pair.is_some() || self.auto
    }
}

/// As clap reads them.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Security")]
pub(super) struct Security {
    /// The certificate that clients are shown.
    #[arg(long, value_name = "FILE")]
    cert_file: Option<String>,
    /// Its private key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    /// Ask clients for a certificate, signed by --trusted-ca-file.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    client_cert_auth: bool,
    /// Checked and otherwise unused: this node does not dial its own client port.
    #[arg(long, value_name = "FILE")]
    client_cert_file: Option<String>,
    /// Checked and otherwise unused, as --client-cert-file.
    #[arg(long, value_name = "FILE")]
    client_key_file: Option<String>,
    /// Clients' certificates that are revoked.
    #[arg(long, value_name = "FILE")]
    client_crl_file: Option<String>,
    /// Host names, one of which a client's certificate must have.
    #[arg(long, value_name = "NAMES", default_value = "")]
    client_cert_allowed_hostname: String,
    /// Who signs clients' certificates.
    #[arg(long, value_name = "FILE")]
    trusted_ca_file: Option<String>,
    /// Show clients a certificate that is made here, where --cert-file is not given.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    auto_tls: bool,
    /// The certificate that members are shown, and that is shown to members.
    #[arg(long, value_name = "FILE")]
    peer_cert_file: Option<String>,
    /// Its private key.
    #[arg(long, value_name = "FILE")]
    peer_key_file: Option<String>,
    /// Ask members for a certificate, signed by --peer-trusted-ca-file.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    peer_client_cert_auth: bool,
    /// The certificate to show when dialing members, instead of --peer-cert-file.
    #[arg(long, value_name = "FILE")]
    peer_client_cert_file: Option<String>,
    /// Its private key.
    #[arg(long, value_name = "FILE")]
    peer_client_key_file: Option<String>,
    /// Who signs members' certificates.
    #[arg(long, value_name = "FILE")]
    peer_trusted_ca_file: Option<String>,
    /// Common names, one of which a member's certificate must have.
    #[arg(long, value_name = "NAMES", default_value = "")]
    peer_cert_allowed_cn: String,
    /// Host names, one of which a member's certificate must have.
    #[arg(long, value_name = "NAMES", default_value = "")]
    peer_cert_allowed_hostname: String,
    /// Use a certificate between members that is made here, where --peer-cert-file is not given. It encrypts and proves
    /// nothing.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    peer_auto_tls: bool,
    /// Members' certificates that are revoked.
    #[arg(long, value_name = "FILE")]
    peer_crl_file: Option<String>,
    /// Take a member's certificate from any address, whatever names it has.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_name = "BOOL", value_parser = switch, action = clap::ArgAction::Set)]
    peer_skip_client_san_verification: bool,
    /// For how many years certificates that are made here are valid.
    #[arg(long, value_name = "YEARS", default_value_t = 1)]
    self_signed_cert_validity: u32,
    /// Cipher suites of TLS 1.2, by etcd's names [default: all that are safe]
    #[arg(long, value_name = "NAMES", default_value = "")]
    cipher_suites: String,
    /// The oldest TLS to speak: TLS1.2 or TLS1.3.
    #[arg(long, value_name = "VERSION", default_value = "TLS1.2")]
    tls_min_version: String,
    /// The newest TLS to speak: TLS1.2 or TLS1.3 [default: the newest there is]
    #[arg(long, value_name = "VERSION", default_value = "")]
    tls_max_version: String,
}

/// What [`Security`] comes to.
pub(super) struct Secured {
    pub(super) client: TlsFlags,
    pub(super) peer: TlsFlags,
    pub(super) protocol: Protocol,
    pub(super) self_signed_years: u32,
}

/// What is listened on, flag by flag.
pub(super) struct Urls<'a> {
    pub(super) client: &'a [Url],
    pub(super) http: &'a [Url],
    pub(super) metrics: &'a [Url],
    pub(super) peer: &'a [Url],
}

impl Secured {
    /// Whether every URL that asks for TLS can have it; warns of flags that a plain URL leaves without effect.
    pub(super) fn check(&self, urls: &Urls<'_>, warnings: &mut Vec<String>) -> Result<(), String> {
        let certificate = "--cert-file and --key-file, or --auto-tls";
        let of_peers = "--peer-cert-file and --peer-key-file, or --peer-auto-tls";
        for (flag, urls, side, missing) in [
            (
                "--listen-client-urls",
                urls.client,
                &self.client,
                certificate,
            ),
            (
                "--listen-client-http-urls",
                urls.http,
                &self.client,
                certificate,
            ),
            (
                "--listen-metrics-urls",
                urls.metrics,
                &self.client,
                certificate,
            ),
            ("--listen-peer-urls", urls.peer, &self.peer, of_peers),
        ] {
            for url in urls {
                if url.is_secure() && !side.has_certificate() {
                    return Err(format!(
                        "{flag} has {url}, which needs a certificate: give {missing}"
                    ));
                }
                let is_unused =
                    !url.is_secure() && (side.has_certificate() || side.client_cert_auth);
                if is_unused && flag != "--listen-metrics-urls" {
                    warnings.push(format!(
                        "{flag} has {url}, which is plain HTTP: certificates are neither shown nor asked for there; write \
                         https:// to use them"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Security {
    pub(super) fn read(self) -> Result<Secured, String> {
        let protocol = self.protocol()?;
        if self.self_signed_cert_validity == 0 {
            return Err("--self-signed-cert-validity is 0; give at least 1 year".to_owned());
        }
        let years = self.self_signed_cert_validity;
        let (client, peer) = self.sides()?;
        for flags in [&client, &peer] {
            check(flags)?;
        }
        Ok(Secured {
            client,
            peer,
            protocol,
            self_signed_years: years,
        })
    }

    fn protocol(&self) -> Result<Protocol, String> {
        let least = version("--tls-min-version", &self.tls_min_version)?.unwrap_or(2);
        let most = version("--tls-max-version", &self.tls_max_version)?.unwrap_or(3);
        if least > most {
            return Err(format!(
                "--tls-min-version ({}) is greater than --tls-max-version ({}); exchange them",
                self.tls_min_version, self.tls_max_version
            ));
        }
        let cipher_suites = list(&self.cipher_suites);
        if least == 3 && !cipher_suites.is_empty() {
            return Err(
                "--cipher-suites cannot be chosen when only TLS1.3 is spoken; leave it out or set \
                 --tls-min-version=TLS1.2"
                    .to_owned(),
            );
        }
        Ok(Protocol {
            cipher_suites,
            tls12: least == 2,
            tls13: most == 3,
        })
    }

    fn sides(self) -> Result<(TlsFlags, TlsFlags), String> {
        let client = TlsFlags {
            side: Side::Client,
            pair: pair("--cert-file", self.cert_file, "--key-file", self.key_file)?,
            dialing_pair: pair(
                "--client-cert-file",
                self.client_cert_file,
                "--client-key-file",
                self.client_key_file,
            )?,
            trusted_ca_file: given(self.trusted_ca_file),
            client_cert_auth: self.client_cert_auth,
            crl_file: given(self.client_crl_file),
            allowed_cns: Vec::new(),
            allowed_hostnames: list(&self.client_cert_allowed_hostname),
            auto: self.auto_tls,
            checks_address: false,
        };
        let peer = TlsFlags {
            side: Side::Peer,
            pair: pair(
                "--peer-cert-file",
                self.peer_cert_file,
                "--peer-key-file",
                self.peer_key_file,
            )?,
            dialing_pair: pair(
                "--peer-client-cert-file",
                self.peer_client_cert_file,
                "--peer-client-key-file",
                self.peer_client_key_file,
            )?,
            trusted_ca_file: given(self.peer_trusted_ca_file),
            client_cert_auth: self.peer_client_cert_auth,
            crl_file: given(self.peer_crl_file),
            allowed_cns: list(&self.peer_cert_allowed_cn),
            allowed_hostnames: list(&self.peer_cert_allowed_hostname),
            auto: self.peer_auto_tls,
            checks_address: !self.peer_skip_client_san_verification,
        };
        Ok((client, peer))
    }
}

fn check(flags: &TlsFlags) -> Result<(), String> {
    if !flags.allowed_cns.is_empty() && !flags.allowed_hostnames.is_empty() {
        return Err(
            "--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other; give one of them"
                .to_owned(),
        );
    }
    Ok(())
}

/// Go takes an empty value for none.
fn given(file: Option<String>) -> Option<PathBuf> {
    file.filter(|file| !file.is_empty()).map(PathBuf::from)
}

fn pair(
    cert: &str,
    cert_file: Option<String>,
    key: &str,
    key_file: Option<String>,
) -> Result<Option<KeyPair>, String> {
    match (given(cert_file), given(key_file)) {
        (Some(cert_file), Some(key_file)) => Ok(Some(KeyPair {
            cert_file,
            key_file,
        })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(format!("{cert} is given without {key}; give both")),
        (None, Some(_)) => Err(format!("{key} is given without {cert}; give both")),
    }
}

pub(super) fn list(names: &str) -> Vec<String> {
    names
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn version(flag: &str, text: &str) -> Result<Option<u8>, String> {
    match text {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(2)),
        "TLS1.3" => Ok(Some(3)),
        _ => Err(format!(
            "{flag}: unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)"
        )),
    }
}
