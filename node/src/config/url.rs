//! URLs as etcd's flags take them: a scheme, a host, a port, and nothing after it.
//!
//! What this module does not do: resolve names, or know of paths, users and queries, which no flag of etcd's may carry.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// Whether a URL asks for TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// `http://host:port` or `https://host:port`. Ordered and compared by scheme, host and port, so that equal lists of URLs are
/// equal values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// Why a text is no URL that a flag may carry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Unix sockets are etcd's; nobody of ours needs them.
    #[error(
        "{0} is a Unix socket, which is not served: use http://<address>:<port> or https://<address>:<port>"
    )]
    UnixSocket(String),
    /// No scheme that etcd knows.
    #[error("{0:?} does not begin with http:// or https://")]
    Scheme(String),
    /// The port is missing or no number.
    #[error("{0:?} does not have the form http://<host>:<port>")]
    HostPort(String),
    /// Something stands after the port.
    #[error("{0:?} must end after the port: no path, query or user")]
    Path(String),
    /// Only addresses can be listened on.
    #[error(
        "{0} names a host by DNS name, and only an address can be listened on: use its IP address, or 0.0.0.0 for all"
    )]
    ListenOnName(String),
    /// The list is empty.
    #[error("at least one URL is needed")]
    Empty,
}

impl Url {
    /// The plain URL of a host (a name, or an address without brackets) and a port.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            scheme: Scheme::Http,
            host: host.into(),
            port,
        }
    }

    /// The host: a DNS name in lower case, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether it asks for TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.scheme == Scheme::Https
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address to listen on.
    ///
    /// # Errors
    /// [`UrlError::ListenOnName`] unless the host is an address or `localhost`: what a name stands for can change under a
    /// listener.
    pub fn listen_address(&self) -> Result<SocketAddr, UrlError> {
        if self.host == "localhost" {
            return Ok((Ipv4Addr::LOCALHOST, self.port).into());
        }
        let address: Result<IpAddr, _> = self.host.parse();
        address
            .map(|address| SocketAddr::new(address, self.port))
            .map_err(|_| UrlError::ListenOnName(self.to_string()))
    }

    /// Whether the host is the address that means "all of this machine's", which nobody can dial.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        matches!(self.host.parse::<IpAddr>(), Ok(address) if address.is_unspecified())
    }

    /// Reads a comma list, sorted and without repetitions, as etcd compares such lists.
    ///
    /// # Errors
    /// The first URL that cannot be read, or that there is none.
    pub fn list(text: &str) -> Result<Vec<Self>, UrlError> {
        let mut urls: Vec<Self> = text
            .split(',')
            .map(str::trim)
            .filter(|url| !url.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        urls.sort();
        urls.dedup();
        if urls.is_empty() {
            return Err(UrlError::Empty);
        }
        Ok(urls)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("unix" | "unixs", _)) => return Err(UrlError::UnixSocket(text.to_owned())),
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(UrlError::Path(text.to_owned()));
        }
        let (host, port) =
            host_and_port(rest).ok_or_else(|| UrlError::HostPort(text.to_owned()))?;
        Ok(Self { scheme, host, port })
    }
}

fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(bracketed) => bracketed.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        None if host.is_empty() || host.contains([':', '[', ']', ' ']) => return None,
        None => host.to_ascii_lowercase(),
    };
    Some((host, port))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scheme, host, port } = self;
        if host.contains(':') {
            write!(f, "{scheme}://[{host}]:{port}")
        } else {
            write!(f, "{scheme}://{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_printed() {
        for text in [
            "http://127.0.0.1:2379",
            "http://kv-a.kv-peers.ns.svc:2380",
            "http://[::1]:2379",
            "https://[::1]:2379",
            "https://a.example:1",
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
            assert_eq!(url.is_secure(), text.starts_with("https"));
        }
        let url: Url = "http://Host:1/".parse().unwrap();
        assert_eq!((url.host(), url.port()), ("host", 1));
    }

    #[test]
    fn what_no_flag_may_carry_is_refused_by_reason() {
        let refusal = |text: &str| text.parse::<Url>().unwrap_err().to_string();
        assert!(refusal("ftp://a:1").contains("https://"));
        assert!(refusal("unix://a:1").contains("Unix socket"));
        assert!(refusal("a:1").contains("http://"));
        assert!(refusal("http://a").contains("<host>:<port>"));
        assert!(refusal("http://a:70000").contains("<host>:<port>"));
        assert!(refusal("http://:1").contains("<host>:<port>"));
        assert!(refusal("http://::1:1").contains("<host>:<port>"));
        assert!(refusal("http://a:1/b").contains("no path"));
        assert!(refusal("http://u@a:1").contains("no path"));
        assert_eq!(Url::list(" , "), Err(UrlError::Empty));
    }

    #[test]
    fn only_addresses_are_listened_on() {
        let listen = |text: &str| text.parse::<Url>().unwrap().listen_address();
        assert_eq!(listen("http://localhost:7"), Ok(([127, 0, 0, 1], 7).into()));
        assert_eq!(listen("http://0.0.0.0:7"), Ok(([0, 0, 0, 0], 7).into()));
        assert!(matches!(
            listen("http://example.com:7"),
            Err(UrlError::ListenOnName(_))
        ));
    }

    #[test]
    fn lists_compare_as_sets() {
        let list = |text| Url::list(text).unwrap();
        assert_eq!(
            list("http://b:1,http://a:1"),
            list("http://a:1,http://b:1,http://a:1")
        );
    }
}
