//! Forwards the addresses of Services to their ready endpoints, connection by connection.
//!
//! It deliberately balances in turn and retries the next endpoint only while nothing was sent.

use super::SLICES;
use crate::object::Object;
use crate::verbs::Objects;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A Service's port: its address, and how to find what is behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Door {
    address: String,
    port: u16,
    namespace: String,
    service: String,
    port_name: String,
}

/// Keeps a listener for every port of every Service with an address, until the token is cancelled.
pub(crate) async fn forward(objects: Arc<Objects>, stop: CancellationToken) {
    let mut open: BTreeMap<Door, CancellationToken> = BTreeMap::new();
    let mut bell = objects.store.bell();
    bell.mark_changed();
    loop {
        let wanted = doors(&objects);
        open.retain(|door, token| {
            let keep = wanted.contains(door);
            if !keep {
                token.cancel();
            }
            keep
        });
        for door in wanted {
            open.entry(door).or_insert_with_key(|door| {
                let token = stop.child_token();
                tokio::spawn(serve(objects.clone(), door.clone(), token.clone()));
                token
            });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            rang = bell.changed() => if rang.is_err() { return },
        }
    }
}

fn doors(objects: &Objects) -> Vec<Door> {
    let mut doors = Vec::new();
    for service in objects.list("services") {
        let address = service.text("/spec/clusterIP");
        if matches!(address, "" | "None") {
            continue;
        }
        for port in service.items("/spec/ports") {
            if port.text("/protocol") == "TCP"
                && let Some(Ok(number)) = port.number("/port").map(u16::try_from)
            {
                doors.push(Door {
                    address: address.to_owned(),
                    port: number,
                    namespace: service.namespace().to_owned(),
                    service: service.name().to_owned(),
                    port_name: port.text("/name").to_owned(),
                });
            }
        }
    }
    doors
}

async fn serve(objects: Arc<Objects>, door: Door, stop: CancellationToken) {
    let listener = match TcpListener::bind((door.address.as_str(), door.port)).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, service = door.service, address = door.address, "cannot forward a service");
            return;
        }
    };
    let next = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((client, _)) = accepted {
            let (objects, door, next, stop) =
                (objects.clone(), door.clone(), next.clone(), stop.clone());
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = connect(&objects, &door, &next, client) => {}
                }
            });
        }
    }
}

/// Connects a client to the next endpoint that accepts.
async fn connect(objects: &Objects, door: &Door, next: &AtomicUsize, mut client: TcpStream) {
    let endpoints = endpoints(objects, door);
    for _ in 0..endpoints.len() {
        let at = next.fetch_add(1, Ordering::Relaxed) % endpoints.len();
        let (host, port) = &endpoints[at];
        if let Ok(mut server) = TcpStream::connect((host.as_str(), *port)).await {
            // Either side may break off at any time; both then do.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}

fn endpoints(objects: &Objects, door: &Door) -> Vec<(String, u16)> {
    let of_service = |slice: &Arc<Value>| {
        slice.namespace() == door.namespace
            && slice.label("kubernetes.io/service-name") == Some(&door.service)
    };
    let slices = objects.list(SLICES).into_iter().filter(of_service);
    let mut found = Vec::new();
    for slice in slices {
        let ports = slice.items("/ports").iter();
        let mut named = ports.filter(|p| p.text("/name") == door.port_name);
        let Some(Ok(port)) = named.find_map(|p| p.number("/port")).map(u16::try_from) else {
            continue;
        };
        let ready = slice
            .items("/endpoints")
            .iter()
            .filter(|e| e["conditions"]["ready"] == true);
        found.extend(ready.map(|e| (e.text("/addresses/0").to_owned(), port)));
    }
    found
}
