//! What clients send, to a member that has nobody beside it and everything behind it.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Request;
use jsonwebtoken::{Algorithm, EncodingKey};
use prost::Message;
use quorate_node::auth::{Credentials, Guard, Passwords, Provider, Tokens};
use quorate_node::config::{Config, Invocation};
use quorate_node::gateway;
use quorate_node::handle::Handle;
use quorate_node::resolve::Resolver;
use quorate_node::server::Member;
use quorate_node::status::Status;
use quorate_node::storage::{Identity, Options};
use quorate_node::surface::Surface;
use quorate_node::tls::Security;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use store::{AuthRequest, Nothing};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::peers::{answer, request};
use crate::{Target, seal, seeds};

const PACKAGES: [&str; 4] = ["etcdserverpb", "v3lockpb", "v3electionpb", "quorate.v1"];
/// What waits for another client, or for ever, is not waited for.
const PATIENCE: Duration = Duration::from_millis(30);
/// Inputs shown to one member: some close it for all that follow, an alarm for one.
const INPUTS_MAX: u32 = 100;
const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// A member on this thread, but for its disk.
struct Served {
    runtime: Runtime,
    routes: Router,
    serving: JoinHandle<()>,
    address: SocketAddr,
    inputs: u32,
    _folder: TempDir,
}

fn config(flags: &[String]) -> Config {
    match Config::read(flags.to_vec(), []).unwrap() {
        Invocation::Serve(config) => *config,
        Invocation::Print(text) => panic!("the flags ask for {text}"),
    }
}

/// A port that was free a moment ago.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

impl Served {
    fn new() -> Self {
        let (folder, address) = (seeds::folder(), free_port());
        let config = config(&[
            format!("--data-dir={}", folder.path().join("data").display()),
            format!("--listen-client-urls=http://{address}"),
            format!("--advertise-client-urls=http://{address}"),
            "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        ]);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (serving, routes) = runtime.block_on(serve(config));
        Self {
            runtime,
            routes,
            serving,
            address,
            inputs: 0,
            _folder: folder,
        }
    }

    /// Makes a request, and waits for a while whether it is answered.
    fn ask(&self, request: Request<Body>) {
        let routes = self.routes.clone();
        let answered = async { tokio::time::timeout(PATIENCE, answer(routes, request)).await };
        drop(self.runtime.block_on(answered));
        assert!(!self.serving.is_finished(), "the member has ended");
    }
}

/// Serves the port as the program does, and shows its routes without metrics and health.
async fn serve(config: Config) -> (JoinHandle<()>, Router) {
    let resolver = Resolver::default();
    let security = Security::open(&config, resolver.clone()).unwrap();
    let surface = Surface::open(&config, &security).unwrap();
    let rng = SmallRng::seed_from_u64(7);
    let member = Member::start(&config, resolver, &security, Options::default(), rng);
    let member = member.await.unwrap();
    let (handle, grpc) = (member.handle(), member.client_routes());
    let serving = tokio::spawn(async move {
        surface.serve(member, std::future::pending()).await.unwrap();
    });
    let mut status = handle.watch_status();
    status.wait_for(Status::is_leader).await.unwrap();
    let routes = gateway::routes(grpc.clone(), MESSAGE_BYTES_MAX);
    (serving, routes.merge(grpc))
}

/// A decoder that shows inputs to a member, and takes a new one from time to time.
fn on_a_member(show: impl Fn(&Served, &[u8]) -> bool + 'static) -> impl Fn(&[u8]) -> bool {
    let served = RefCell::new(Served::new());
    move |input| {
        let mut served = served.borrow_mut();
        served.inputs += 1;
        if served.inputs > INPUTS_MAX {
            allocation_counter::opt_out(|| *served = Served::new());
        }
        show(&served, input)
    }
}

/// gRPC calls of every method, messages as they lie on the wire.
#[must_use]
pub fn calls() -> Target {
    let calls = seeds::calls(&PACKAGES).into_iter();
    let seeds = calls.flat_map(|call| {
        call.messages.map(|message| {
            let mut bytes = format!("{}\n", call.path).into_bytes();
            seal::put_message(&mut bytes, &message.encode_to_vec());
            bytes
        })
    });
    let decode = on_a_member(|served, input| {
        let request = request(input);
        request.map(|request| served.ask(request)).is_some()
    });
    // A message's length is believed, up to the largest that is taken.
    Target::new("calls", seeds.collect(), seal::call, decode)
        .bounded(256, 8 << 20)
        .runs(800)
}

/// JSON for every method: the path, the end of the line, and the body.
#[must_use]
pub fn gateway() -> Target {
    let mut paths: Vec<_> = gateway::paths().collect();
    paths.sort();
    let calls = seeds::calls(&PACKAGES);
    let seeds = paths.iter().flat_map(|(path, called)| {
        let call = calls.iter().find(|call| call.path == *called).unwrap();
        call.messages.each_ref().map(|message| {
            let json = serde_json::to_string(message).unwrap();
            format!("{path}\n{json}").into_bytes()
        })
    });
    let decode = on_a_member(|served, input| {
        let line = input.iter().position(|byte| *byte == b'\n');
        let (path, body) = input.split_at(line.unwrap_or(input.len()));
        let body = Body::from(body.to_vec());
        let request = std::str::from_utf8(path).map(|path| Request::post(path).body(body));
        request.is_ok_and(|request| request.map(|request| served.ask(request)).is_ok())
    });
    Target::new("gateway", seeds.collect(), seal::nothing, decode)
        .bounded(256, 8 << 20)
        .runs(800)
}

/// A connection to the port of clients, byte for byte: HTTP/1.1, HTTP/2 and what is neither.
#[must_use]
pub fn http() -> Target {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let gets = [
        "/version",
        "/health?serializable=true&exclude=NOSPACE",
        "/readyz?verbose",
        "/metrics",
    ];
    let put = r#"{"key":"YQ==","value":"Yg=="}"#;
    let len = put.len();
    let post = format!(
        "POST /v3/kv/put HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Grpc-Timeout: 1S\r\nContent-Length: {len}\r\n\r\n{put}"
    );
    let mut seeds: Vec<_> = gets.map(get).map(String::into_bytes).into();
    seeds.extend([post.into_bytes(), http2()]);
    let decode = on_a_member(|served, input| served.connect(input));
    Target::new("http", seeds, seal::nothing, decode)
        .bounded(64, 8 << 20)
        .runs(400)
}

/// The preface of HTTP/2, settings, and the headers of a call, as a Go client begins.
fn http2() -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PATH: &[u8] = b"/etcdserverpb.KV/Range";
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(SETTINGS);
    // Indexed: POST and http; then the path and the content type as they are.
    let mut headers = vec![0x83, 0x86, 0x04, PATH.len() as u8];
    headers.extend(PATH);
    headers.extend([0x0f, 0x10, 16]);
    headers.extend(b"application/grpc");
    bytes.extend([0, 0, headers.len() as u8, 1, 4, 0, 0, 0, 1]);
    bytes.extend(headers);
    bytes.extend([0, 0, 8, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 3, 10, 1, b'a']);
    bytes
}

impl Served {
    /// Sends all of it and reads until the member closes, or for as long as is waited.
    fn connect(&self, input: &[u8]) -> bool {
        let connection = async {
            let mut stream = TcpStream::connect(self.address).await?;
            stream.write_all(input).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await
        };
        let answered = async { tokio::time::timeout(PATIENCE, connection).await };
        let answered = self.runtime.block_on(answered);
        assert!(!self.serving.is_finished(), "the member has ended");
        // Nobody is asked to close what is half said.
        answered.is_err() || answered.is_ok_and(|answer| answer.is_ok())
    }
}

const SECRET: &[u8] = b"a secret of many bytes, as there should be";

/// The token of a request, where tokens are signed.
#[must_use]
pub fn tokens() -> Target {
    let folder = seeds::folder();
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let config = config(&[
        "--data-dir=nowhere".to_owned(),
        format!(
            "--auth-token=jwt,sign-method=HS256,priv-key={}",
            path.display()
        ),
    ]);
    let provider = Provider::load(&config.auth.tokens).unwrap();
    let claims = [
        r#"{"username":"root","revision":7}"#,
        r#"{"username":"alice","revision":7.5,"exp":99999999999,"nbf":1,"aud":["a"],"sub":null}"#,
    ];
    let seeds = claims.map(|claims| {
        let parts =
            [r#"{"typ":"JWT","alg":"HS256"}"#, claims].map(|part| URL_SAFE_NO_PAD.encode(part));
        let mut token = format!("{}.", parts.join(".")).into_bytes();
        sign(&mut token);
        token
    });
    let (runtime, guard, status) = guarded(provider);
    let decode = move |input: &[u8]| {
        let _member = &status;
        let Ok(value) = tonic::metadata::MetadataValue::try_from(input) else {
            return false;
        };
        let mut request = tonic::Request::new(());
        request.metadata_mut().insert("token", value);
        let credentials = Credentials::of(&request);
        runtime.block_on(guard.caller(&credentials)).is_ok()
    };
    Target::new("tokens", seeds.to_vec(), sign, decode)
}

/// Signs what stands before the last dot.
fn sign(token: &mut Vec<u8>) {
    if let Some(dot) = token.iter().rposition(|byte| *byte == b'.') {
        token.truncate(dot);
        let key = EncodingKey::from_secret(SECRET);
        let signature = jsonwebtoken::crypto::sign(token, &key, Algorithm::HS256).unwrap();
        token.push(b'.');
        token.extend(signature.as_bytes());
    }
}

/// The guard of a member on which authentication is on.
fn guarded(provider: Provider) -> (Runtime, Guard, watch::Sender<Status>) {
    let mut store = seeds::store();
    let enable = AuthRequest::Enable(Nothing {}).into();
    drop(store.apply(store.applied_index() + 1, &enable));
    let identity = Identity {
        cluster_id: 1,
        member_id: 2,
    };
    let mut status = Status::new(identity);
    status.auth = Arc::clone(store.auth());
    assert!(status.auth.is_enabled());
    let (status, published) = watch::channel(status);
    let guard = Guard {
        handle: Handle::new(mpsc::channel(1).0, published),
        tokens: Arc::new(Tokens::new(Duration::from_secs(60))),
        provider,
        passwords: Passwords::new(4),
        client_cert_auth: false,
        patience: Duration::from_secs(1),
    };
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    (runtime, guard, status)
}
