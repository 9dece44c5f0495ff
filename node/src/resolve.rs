//! From a peer's host name to a connection: a hosts file first, then the system's resolver.
//!
//! The hosts file is for places without a name server of their own, such as smallkube, where members are processes of
//! one host and their addresses stand in a file that changes while we run. So it is read again at every dial; a dial is
//! rare and the file is small.
//!
//! What this module deliberately does not do: it remembers no answer, and it prefers no address family; the first
//! address that accepts wins.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpStream;

/// Environment variable that names the hosts file, in the format of hosts(5).
pub const HOSTS_FILE_VARIABLE: &str = "QUORATE_HOSTS_FILE";

/// How long one dial may take. A peer on the same network answers within milliseconds, and a dead one must not hold
/// back the next try for longer than an election or two.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Dials peers by name.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    hosts_file: Option<PathBuf>,
}

impl Resolver {
    /// Asks `hosts_file`, if any, before the system.
    pub fn new(hosts_file: Option<PathBuf>) -> Self {
        Self { hosts_file }
    }

    /// Connects to `host:port`, with small packets sent at once.
    ///
    /// # Errors
    /// The last address's error, `NotFound` where the name has no address, `TimedOut` after two seconds.
    pub async fn dial(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        tokio::time::timeout(DIAL_TIMEOUT, self.dial_any(host, port))
            .await
            .unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("dialing {host}:{port}"),
                ))
            })
    }

    async fn dial_any(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in self.addresses(host, port).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Every address of a host.
    pub(crate) async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let listed = self.listed(bare).await;
        if !listed.is_empty() {
            return Ok(listed
                .into_iter()
                .map(|address| SocketAddr::new(address, port))
                .collect());
        }
        Ok(tokio::net::lookup_host((bare, port)).await?.collect())
    }

    /// Every name that is known of an address: those of the hosts file, and the one that the system's resolver has. None is
    /// no error: most addresses have none.
    pub(crate) async fn names(&self, address: IpAddr) -> Vec<String> {
        let mut names = reverse(&self.hosts().await, address);
        let asking = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address));
        if let Ok(Ok(name)) = asking.await {
            names.push(name);
        }
        names
    }

    async fn listed(&self, host: &str) -> Vec<IpAddr> {
        lookup(&self.hosts().await, host)
    }

    /// The text of the hosts file, empty where there is none.
    async fn hosts(&self) -> String {
        let Some(path) = &self.hosts_file else {
            return String::new();
        };
        tokio::fs::read_to_string(path).await.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "cannot read the hosts file; asking the system's resolver");
            String::new()
        })
    }
}

/// All addresses that `hosts` (text in the format of hosts(5)) gives for `name`, in the file's order. Lines that are
/// no address and names are passed over, as every resolver does.
fn lookup(hosts: &str, name: &str) -> Vec<IpAddr> {
    hosts
        .lines()
        .filter_map(|line| line_address(line, name))
        .collect()
}

/// All names that `hosts` gives for an address.
fn reverse(hosts: &str, address: IpAddr) -> Vec<String> {
    let names = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let listed: IpAddr = words.next()?.parse().ok()?;
        (listed == address).then(|| words.map(str::to_owned).collect::<Vec<_>>())
    };
    hosts.lines().filter_map(names).flatten().collect()
}

fn line_address(line: &str, name: &str) -> Option<IpAddr> {
    let mut words = line.split('#').next()?.split_whitespace();
    let address = words.next()?.parse().ok()?;
    words
        .any(|word| word.eq_ignore_ascii_case(name.trim_end_matches('.')))
        .then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str =
        "# pods\n127.0.1.5 a.kv.ns.svc a\n\n127.0.1.6\tb.kv.ns.svc # b\n::1 a\nnonsense a\n";

    #[test]
    fn a_name_has_every_address_that_is_listed_for_it() {
        let found: Vec<String> = lookup(HOSTS, "A").iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.1.5", "::1"]);
    }

    #[test]
    fn comments_and_unknown_names_give_nothing() {
        assert!(lookup(HOSTS, "pods").is_empty());
        assert!(lookup(HOSTS, "kv.ns.svc").is_empty());
        assert_eq!(lookup(HOSTS, "b.kv.ns.svc.").len(), 1);
    }

    #[tokio::test]
    async fn the_file_is_read_again_at_every_dial() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let resolver = Resolver::new(Some(path.clone()));
        std::fs::write(&path, "").unwrap();
        assert!(resolver.dial("member.invalid", port).await.is_err());
        std::fs::write(&path, "127.0.0.1 member.invalid\n").unwrap();
        assert!(resolver.dial("member.invalid", port).await.is_ok());
    }
}
