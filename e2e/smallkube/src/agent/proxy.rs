//! An HTTP proxy that finds pods by their names, for programs that cannot read the hosts file.
//!
//! A local process asks the machine's resolver, which knows no pod; every program that heeds `HTTP_PROXY`, as all that are
//! written in Go do, asks this proxy instead. One request per connection: it is told to close afterwards, so that nothing but
//! the head of a request has to be understood, and streams of any length pass through.
//!
//! It deliberately knows only the names in the hosts file, and no `CONNECT`: nothing here speaks TLS.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The longest head of a request that is read; Go's own servers take as much.
const HEAD_BYTES_MAX: usize = 1 << 20;

/// An open proxy; it takes no more connections when this is dropped.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Where it listens.
    pub(super) address: SocketAddr,
    accepting: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Opens a proxy that knows the names in this file, on a port of its own.
///
/// # Errors
/// When no port of the loopback can be had.
pub(super) fn open(hosts: PathBuf) -> io::Result<Proxy> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let accepting = tokio::spawn(accept(TcpListener::from_std(listener)?, hosts)).abort_handle();
    Ok(Proxy { address, accepting })
}

async fn accept(listener: TcpListener, hosts: PathBuf) {
    loop {
        // A connection that was given up before it was accepted concerns nobody.
        let Ok((client, _)) = listener.accept().await else {
            continue;
        };
        let hosts = hosts.clone();
        tokio::spawn(async move {
            // Either side may break off at any time; both then do.
            let _ = pass(client, &hosts).await;
        });
    }
}

/// Passes one request on, and then whatever either side says.
async fn pass(mut client: TcpStream, hosts: &Path) -> io::Result<()> {
    let Some((head, rest)) = read_head(&mut client).await? else {
        return Ok(());
    };
    let server = match redirected(&head) {
        Some((host, port, head)) => match connect(hosts, &host, port).await {
            Some(mut server) => {
                server.write_all(head.as_bytes()).await?;
                server.write_all(&rest).await?;
                Some(server)
            }
            None => None,
        },
        None => None,
    };
    let Some(mut server) = server else {
        let answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return client.write_all(answer.as_bytes()).await;
    };
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// The head of a request, with its empty line, and what has come after it; none when the client left.
async fn read_head(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    const END: &[u8] = b"\r\n\r\n";
    let mut read = Vec::new();
    loop {
        let end = read.windows(END.len()).position(|it| it == END);
        if let Some(end) = end {
            let rest = read.split_off(end + END.len());
            return Ok(Some((String::from_utf8_lossy(&read).into_owned(), rest)));
        }
        if read.len() > HEAD_BYTES_MAX || client.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
}

/// Host and port that a request to a proxy is meant for, and its head as that host wants it.
fn redirected(head: &str) -> Option<(String, u16, String)> {
    let (line, fields) = head.split_once("\r\n")?;
    let mut words = line.split(' ');
    let (method, url, version) = (words.next()?, words.next()?, words.next()?);
    let rest = url.strip_prefix("http://")?;
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
    let path = if path.is_empty() { "/" } else { path };
    let head = format!("{method} {path} {version}\r\nConnection: close\r\n{fields}");
    Some((host.to_owned(), port.parse().ok()?, head))
}

async fn connect(hosts: &Path, host: &str, port: u16) -> Option<TcpStream> {
    let text = std::fs::read_to_string(hosts).ok()?;
    let address = address(&text, host)?;
    TcpStream::connect((address, port)).await.ok()
}

/// The address of a name in a hosts file.
fn address<'a>(hosts: &'a str, name: &str) -> Option<&'a str> {
    hosts.lines().find_map(|line| {
        let (address, mut names) = line.split_once(' ').map(|(a, n)| (a, n.split(' ')))?;
        names.any(|it| it == name).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_to_the_host_that_its_line_names() {
        let head = "POST http://kv-a.kv-peers.x.svc:2380/raft?a=b HTTP/1.1\r\nHost: y\r\n\r\n";
        let (host, port, head) = redirected(head).unwrap();
        assert_eq!((host.as_str(), port), ("kv-a.kv-peers.x.svc", 2380));
        assert_eq!(
            head,
            "POST /raft?a=b HTTP/1.1\r\nConnection: close\r\nHost: y\r\n\r\n"
        );
        assert_eq!(redirected("GET /not/a/proxy's HTTP/1.1\r\n\r\n"), None);
    }

    #[tokio::test]
    async fn what_was_said_is_passed_on_by_name_and_an_unknown_name_is_a_bad_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, "127.0.0.1 kv-a.kv-peers.x.svc kv-a\n").unwrap();
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let proxy = open(hosts).unwrap();
        let ask = async |name: &str| {
            let mut client = TcpStream::connect(proxy.address).await.unwrap();
            let request = format!("GET http://{name}:{port}/ HTTP/1.1\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let serve = async {
            let (mut client, _) = server.accept().await.unwrap();
            let (head, _) = read_head(&mut client).await.unwrap().unwrap();
            client
                .write_all(b"HTTP/1.1 200 OK\r\n\r\nhere")
                .await
                .unwrap();
            head
        };
        let (answer, head) = tokio::join!(ask("kv-a"), serve);
        assert!(answer.ends_with("here"), "{answer}");
        assert!(
            head.starts_with("GET / HTTP/1.1\r\nConnection: close"),
            "{head}"
        );
        assert!(ask("kv-b").await.starts_with("HTTP/1.1 502"));
    }
}
