//! What binders and kubelets do for the pods of our clusters: claims are bound, pods get an address and run, members come and go.
//!
//! Unlike that of the tests it follows watches, for it has thousands of pods to look after. One model of a membership for each
//! cluster. It deliberately schedules nothing, and nothing ever fails here.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::simulated::Model;
use e2e::simulated::etcd::Start;
use e2e::simulated::kubelet::Processes;
use futures::{StreamExt, pin_mut, stream};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Resource, ResourceExt};
use plan::names;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::members::{self, Member};

/// How often members' clocks tick and pods that wait are tried again.
const TICK: Duration = Duration::from_millis(50);
/// Patches on their way at the same time.
const AT_ONCE: usize = 8;

/// Looks after all pods of ours until it is dropped.
pub(crate) async fn run(client: Client) -> Result<()> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let pods = follow::<Pod>(client.clone(), tell.clone(), Seen::Pod);
    let claims = follow::<PersistentVolumeClaim>(client.clone(), tell, Seen::Claim);
    let mut kubelet = Kubelet {
        client,
        claims: HashMap::new(),
        waiting: HashMap::new(),
        running: HashMap::new(),
        models: BTreeMap::new(),
        addresses: 0,
    };
    let work = async {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(seen) = told.recv() => kubelet.see(seen),
                _ = ticks.tick() => kubelet.tick().await?,
            }
        }
    };
    tokio::select! {
        ended = pods => ended,
        ended = claims => ended,
        ended = work => ended,
    }
}

/// What a watch has shown.
enum Seen {
    Pod(Box<Pod>, There),
    Claim(Box<PersistentVolumeClaim>, There),
}

/// Whether it is there, or has just gone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum There {
    Yes,
    No,
}

async fn follow<K>(
    client: Client,
    tell: mpsc::UnboundedSender<Seen>,
    seen: fn(Box<K>, There) -> Seen,
) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let ours = watcher::Config::default().labels(names::CLUSTER_LABEL);
    let events = watcher(Api::<K>::all(client), ours);
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let seen = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                seen(Box::new(object), There::Yes)
            }
            Ok(Event::Delete(object)) => seen(Box::new(object), There::No),
            Ok(Event::Init | Event::InitDone) => continue,
            // The watcher begins anew by itself.
            Err(error) => {
                eprintln!("a watch of {} broke: {error}", K::kind(&()));
                continue;
            }
        };
        tell.send(seen).ok().context("the kubelet has ended")?;
    }
    Ok(())
}

type Key = (String, String);

fn key<K: ResourceExt>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// All kubelets of all nodes.
struct Kubelet {
    client: Client,
    /// The uids of claims.
    claims: HashMap<Key, String>,
    waiting: HashMap<Key, Pod>,
    running: HashMap<Key, Running>,
    /// By namespace and name of the cluster.
    models: BTreeMap<Key, Model>,
    addresses: u32,
}

/// A pod whose member runs.
struct Running {
    uid: String,
    model: Model,
    /// Ends with the pod.
    _member: Member,
}

impl Kubelet {
    fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Claim(claim, There::Yes) => {
                self.claims
                    .insert(key(&*claim), claim.uid().unwrap_or_default());
            }
            Seen::Claim(claim, There::No) => {
                self.claims.remove(&key(&*claim));
            }
            Seen::Pod(pod, There::No) => self.end(&pod),
            Seen::Pod(pod, There::Yes) => {
                let key = key(&*pod);
                if self
                    .running
                    .get(&key)
                    .is_none_or(|it| Some(&it.uid) != pod.metadata.uid.as_ref())
                {
                    self.waiting.insert(key, *pod);
                }
            }
        }
    }

    fn end(&mut self, pod: &Pod) {
        let key = key(pod);
        let same = |uid: Option<&String>| uid == pod.metadata.uid.as_ref();
        if self
            .waiting
            .get(&key)
            .is_some_and(|it| same(it.metadata.uid.as_ref()))
        {
            self.waiting.remove(&key);
        }
        if self.running.get(&key).is_some_and(|it| same(Some(&it.uid)))
            && let Some(ended) = self.running.remove(&key)
        {
            ended.model.stop(&ended.uid);
        }
    }

    /// Starts what can start, lets all members' time pass, and says who runs.
    async fn tick(&mut self) -> Result<()> {
        let mut started = Vec::new();
        for (key, pod) in std::mem::take(&mut self.waiting) {
            match self.start(&key, &pod).await? {
                Some(address) => started.push((key, pod.uid(), address)),
                None => drop(self.waiting.insert(key, pod)),
            }
        }
        self.models.values().for_each(Processes::step);
        let client = &self.client;
        let told = stream::iter(started).map(|(key, uid, address)| async move {
            let pods: Api<Pod> = Api::namespaced(client.clone(), &key.0);
            let patch = json!({ "metadata": { "uid": uid }, "status": status(address) });
            let patched = pods
                .patch_status(&key.1, &PatchParams::default(), &Patch::Merge(patch))
                .await;
            match patched {
                // It was deleted in the meantime.
                Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
                patched => patched.map(drop),
            }
        });
        let told: Vec<kube::Result<()>> = told.buffer_unordered(AT_ONCE).collect().await;
        told.into_iter()
            .collect::<kube::Result<()>>()
            .context("say that a pod runs")
    }

    /// The new member's address; none while its claim is missing or its peers do not know it.
    async fn start(&mut self, key: &Key, pod: &Pod) -> Result<Option<Ipv4Addr>> {
        let claim = (key.0.clone(), names::claim(&key.1));
        let (Some(claim_uid), Some(uid)) = (self.claims.get(&claim), pod.uid()) else {
            return Ok(None);
        };
        let cluster = pod
            .labels()
            .get(names::CLUSTER_LABEL)
            .cloned()
            .unwrap_or_default();
        let model = self.models.entry((key.0.clone(), cluster)).or_default();
        let (listener, number) = members::listen(self.addresses).await?;
        let address = members::address(number);
        let start = Start::of(pod, claim_uid, &members::url(address));
        if start.is_none_or(|start| model.start(&start).is_err()) {
            return Ok(None);
        }
        self.addresses = number + 1;
        let running = Running {
            uid,
            model: model.clone(),
            _member: members::serve(model, &key.1, listener, address),
        };
        self.running.insert(key.clone(), running);
        Ok(Some(address))
    }
}

fn status(address: Ipv4Addr) -> Value {
    json!({
        "phase": "Running",
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "conditions": [{ "type": "Ready", "status": "True" }],
        "containerStatuses": [{
            "name": "member", "image": "", "imageID": "", "restartCount": 0, "ready": true,
            "state": { "running": {} },
        }],
    })
}
