//! A real Kubernetes control plane for one test: etcd, kube-apiserver and kube-controller-manager as processes on loopback.
//!
//! The programs are among [`crate::tools`]. Nothing is installed and nothing is left: the servers end with the test, however that
//! ends, and the folder with their logs and data goes when all went well.
//!
//! RBAC is on. The server makes its own certificate, and its key signs the tokens of service accounts too, so that no key
//! has to be made here. Of the controllers those run that answer for objects: garbage, namespaces, service accounts,
//! budgets, and claims in use.
//!
//! It deliberately runs no scheduler and no kubelet: pods stay `Pending` until a test says otherwise.

mod process;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use self::process::Process;
use crate::folder::Folder;
use crate::members::address_of_our_own;
use crate::tools;
use crate::wait;

/// A cold start takes 4 s on two idle cores; machines here can be ten times slower.
const READY_WITHIN: Duration = Duration::from_secs(180);
/// What it is made of, in the order in which it starts.
const PROGRAMS: [&str; 3] = ["etcd", "kube-apiserver", "kube-controller-manager"];
/// Who may do everything. It never leaves this machine's loopback.
const ADMIN_TOKEN: &str = "admin";
/// In the servers' folder, which is where they run.
const KUBECONFIG: &str = "kubeconfig.yaml";
/// The controllers that tests rely on; each more would only cost time.
const CONTROLLERS: &str = "garbage-collector-controller,namespace-controller,serviceaccount-controller,\
disruption-controller,persistentvolumeclaim-protection-controller";

/// The servers, for as long as it lives.
#[derive(Debug)]
pub struct ControlPlane {
    address: Ipv4Addr,
    /// In the order in which they were started.
    servers: Vec<Process>,
    folder: Folder,
}

/// Whether the programs can be had here.
#[must_use]
pub fn can_be_had() -> bool {
    PROGRAMS.into_iter().all(|it| tools::find(it).is_ok())
}

impl ControlPlane {
    /// Starts one and waits until it answers and its controllers work.
    ///
    /// # Errors
    /// When a program is nowhere, ends, or is not ready in time; the error names the log.
    pub async fn start() -> Result<Self> {
        Self::start_on(None).await
    }

    /// The same, but what it knows is stored behind these client URLs of a cluster that runs already, not in an etcd of its own.
    ///
    /// # Errors
    /// As [`ControlPlane::start`].
    pub async fn stored_in(endpoints: &[String]) -> Result<Self> {
        Self::start_on(Some(endpoints.join(","))).await
    }

    async fn start_on(storage: Option<String>) -> Result<Self> {
        // Before anything is made that would have to be cleared away.
        PROGRAMS
            .into_iter()
            .try_for_each(|it| tools::find(it).map(drop))?;
        let mut plane = Self {
            address: address_of_our_own(),
            servers: Vec::new(),
            folder: Folder::new("control-plane")?,
        };
        let tokens = format!("{ADMIN_TOKEN},admin,admin,system:masters\n");
        std::fs::write(plane.folder.path().join("tokens.csv"), tokens)?;
        let kubeconfig = plane.kubeconfig(ADMIN_TOKEN);
        std::fs::write(plane.kubeconfig_file(), kubeconfig)?;
        let storage = match storage {
            Some(storage) => storage,
            None => {
                plane.run("etcd", etcd_flags(plane.address))?;
                format!("http://{}:2379", plane.address)
            }
        };
        plane.run("kube-apiserver", apiserver_flags(plane.address, &storage))?;
        let answers = async |client: Client| {
            let ready = http::Request::get("/readyz").body(Vec::new())?;
            client.request_text(ready).await.map_err(Into::into)
        };
        plane.until("kube-apiserver is ready", answers).await?;
        plane.run("kube-controller-manager", controllers_flags())?;
        let works = async |client: Client| {
            let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
            accounts.get("default").await.map_err(Into::into)
        };
        plane
            .until("the controllers have made an account", works)
            .await?;
        Ok(plane)
    }

    /// A client that may do everything.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config(ADMIN_TOKEN).await?)?)
    }

    /// A file with which a program reaches it that may do everything.
    #[must_use]
    pub fn kubeconfig_file(&self) -> PathBuf {
        self.folder.path().join(KUBECONFIG)
    }

    /// How whoever holds this token reaches the API server.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub async fn config(&self, token: &str) -> Result<Config> {
        let kubeconfig = Kubeconfig::from_yaml(&self.kubeconfig(token))?;
        Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
    }

    /// All went well: ends the servers, youngest first, and removes their folder.
    ///
    /// # Errors
    /// When a server had ended before, or does not end.
    pub async fn stop(mut self) -> Result<()> {
        for server in &mut self.servers {
            server.still_runs()?;
        }
        while let Some(server) = self.servers.pop() {
            server.end().await?;
        }
        self.folder.discard();
        Ok(())
    }

    fn run(&mut self, name: &'static str, flags: Vec<String>) -> Result<()> {
        let program = tools::find(name)?;
        let server = Process::start(name, &program, &flags, self.folder.path())?;
        self.servers.push(server);
        Ok(())
    }

    /// Waits for an answer to a question; fails at once when a server ends.
    async fn until<T>(&mut self, what: &str, ask: impl AsyncFn(Client) -> Result<T>) -> Result<()> {
        let look = async || {
            let ended = self.servers.iter_mut().find_map(|it| it.still_runs().err());
            match (ended, self.client().await) {
                (Some(ended), _) => Ok(Err(ended)),
                (None, Ok(client)) => ask(client).await.map(|_| Ok(())),
                (None, Err(no_client)) => Err(no_client),
            }
        };
        wait::until(what, READY_WITHIN, look).await?
    }

    fn kubeconfig(&self, token: &str) -> String {
        // Made by the server when it starts; the file holds the authority that has signed it as well.
        let authority = self.folder.path().join("certificates/apiserver.crt");
        let server = format!("https://{}:6443", self.address);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority": authority } }],
            "users": [{ "name": "test", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        })
        .to_string()
    }
}

fn etcd_flags(address: Ipv4Addr) -> Vec<String> {
    vec![
        "--data-dir=etcd".to_owned(),
        // Nothing of it outlives the test.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls=http://{address}:2379"),
        format!("--advertise-client-urls=http://{address}:2379"),
        format!("--listen-peer-urls=http://{address}:2380"),
        format!("--initial-advertise-peer-urls=http://{address}:2380"),
        format!("--initial-cluster=default=http://{address}:2380"),
    ]
}

fn apiserver_flags(address: Ipv4Addr, storage: &str) -> Vec<String> {
    let mut flags = vec![
        format!("--etcd-servers={storage}"),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
    ];
    let fixed = [
        "--secure-port=6443",
        // A loopback address is no endpoint that pods could use, and there are no pods.
        "--endpoint-reconciler-type=none",
        "--cert-dir=certificates",
        "--token-auth-file=tokens.csv",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file=certificates/apiserver.key",
        "--service-account-signing-key-file=certificates/apiserver.key",
    ];
    flags.extend(fixed.map(str::to_owned));
    flags
}

fn controllers_flags() -> Vec<String> {
    let controllers = format!("--controllers={CONTROLLERS}");
    [
        "--kubeconfig=kubeconfig.yaml",
        "--leader-elect=false",
        "--secure-port=0",
        &controllers,
    ]
    .map(str::to_owned)
    .to_vec()
}
