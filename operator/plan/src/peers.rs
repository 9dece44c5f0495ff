//! Members move to TLS between each other, or away from it, while they serve.
//!
//! - Three steps: all members listen on a second port in the new way, beside the old one (`rollout.rs` restarts them); then the
//!   membership is told, member by member, that its peers are to reach it there; then nobody listens on the old port (the rollout
//!   again). A step begins when *every* member was seen to have taken the last one.
//! - Where members listen is what the membership names, and where they are to go: so it follows from the live membership which
//!   step is in hand, whatever was begun before and whichever way the user wants to go by now. It is remembered in the status,
//!   and built upon from there only, because pods must be made that the others find even when nobody can read the membership.
//! - A member has one peer URL at any time. etcd and quorate-node dial by the URL's scheme, with certificates or without, and keep
//!   the connections that they have while an address changes.
//! - From certificates of one CA to those of another the way leads through plain HTTP: members would not believe each other.
//!
//! This file deliberately restarts nobody, and makes no certificates: see `certificates.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crds::{
    OperationType::MovePeers, PeerListener, PeerTls, RaftCluster, Tls, TlsMode, TlsSurface,
};
use k8s_openapi::api::core::v1::Pod;

use crate::{
    action::Action,
    certificates,
    draft::{Draft, moving, no_quorum, waiting},
    names::{self, PeerPort, Scheme, Surface},
    report::Work,
    tls,
    view::{Member, View},
};

/// Where members listen for each other: as the status remembers, or before there is anything to remember, as a cluster begins.
pub(crate) fn listeners(cluster: &RaftCluster) -> Vec<PeerListener> {
    let status = cluster.status.as_ref();
    let remembered = status.map(|it| it.peer_listeners.clone());
    remembered
        .filter(|it| !it.is_empty())
        .unwrap_or_else(|| vec![PeerListener::new(names::PEER_PORT, asked(cluster))])
}

/// By whose certificates the user wants members to speak to each other; none for plain HTTP.
pub(crate) fn asked(cluster: &RaftCluster) -> Option<PeerTls> {
    let peer = tls::asked(cluster).peer;
    peer.filter(|it| it.mode != TlsMode::Disabled)
}

/// TLS as members have it now: towards clients as it is wanted, between members as they listen.
pub(crate) fn tls_in_force(cluster: &RaftCluster) -> Tls {
    Tls {
        peer: listeners(cluster).into_iter().find_map(|it| it.tls()),
        ..tls::asked(cluster)
    }
}

/// Whether members are on their way, so that they are asked to shake hands before they are sent on.
pub(crate) fn is_moving(cluster: &RaftCluster) -> bool {
    listeners(cluster).len() > 1
}

/// Port and scheme of a listener.
pub(crate) const fn place(listener: &PeerListener) -> PeerPort {
    PeerPort {
        port: listener.port,
        scheme: match listener.mode {
            TlsMode::Disabled => Scheme::Http,
            TlsMode::Operator | TlsMode::Secret | TlsMode::CertManager => Scheme::Https,
        },
    }
}

/// Where the membership has peers look for members.
fn named(view: &View<'_>) -> BTreeSet<PeerPort> {
    let listed = view.membership.iter().flat_map(|it| it.listed.values());
    let urls = listed.flat_map(|it| &it.peer_urls);
    urls.filter_map(|it| view.spec.peer_of_url(it))
        .map(|(_, at)| at)
        .collect()
}

/// The listeners that the membership needs, by port.
fn needed(view: &View<'_>) -> BTreeMap<i32, PeerListener> {
    let remembered = &view.memory.peer_listeners;
    let listener = |at: PeerPort| {
        let known = remembered.iter().find(|it| it.port == at.port).cloned();
        let lost = || {
            let made = || PeerTls {
                mode: TlsMode::Operator,
                ..PeerTls::default()
            };
            let tls = view.spec.asked_peer_tls.clone().unwrap_or_else(made);
            PeerListener::new(at.port, Some(tls).filter(|_| at.scheme == Scheme::Https))
        };
        (at.port, known.unwrap_or_else(lost))
    };
    named(view).into_iter().map(listener).collect()
}

/// Where all members are to be in the end, as far as can be seen from where they are; none while its certificates are not
/// there.
fn aim(view: &View<'_>, needed: &BTreeMap<i32, PeerListener>) -> Option<PeerListener> {
    let asked = &view.spec.asked_peer_tls;
    let of_another_ca = |it: &PeerListener| it.tls().is_some() && it.tls() != *asked;
    let known = || needed.values().chain(&view.memory.peer_listeners);
    let tls = asked.clone().filter(|_| !known().any(of_another_ca));
    if let Some(there) = known().find(|it| it.tls() == tls) {
        return Some(there.clone());
    }
    let coming = view.spec.with_asked_peer_tls().filter(|_| tls.is_some());
    if coming.is_some_and(|it| !certificates::complete(view, &it)) {
        return None;
    }
    let port = [names::PEER_PORT, names::SECOND_PEER_PORT]
        .into_iter()
        .find(|it| !needed.contains_key(it))?;
    Some(PeerListener::new(port, tls))
}

/// Where members are to listen from the next round on.
pub(crate) fn next(view: &View<'_>) -> Vec<PeerListener> {
    let mut all = needed(view);
    if all.is_empty() {
        return view.memory.peer_listeners.clone();
    }
    if let Some(aim) = aim(view, &all) {
        all.entry(aim.port).or_insert(aim);
    }
    all.into_values().collect()
}

/// Where a member that joins is reached: where others are, so that everybody can dial it, and at the aim if some are there.
pub(crate) fn url_of_newcomer(view: &View<'_>, member: &str) -> String {
    let needed = needed(view);
    let aim = aim(view, &needed).filter(|it| needed.contains_key(&it.port));
    let at = aim.as_ref().or_else(|| needed.values().next());
    at.map_or_else(
        || view.spec.peer_url(member),
        |at| view.spec.peer_url_at(place(at), member),
    )
}

/// Has the membership look for the next member where it is to be; no work when all are there, and none before all members listen
/// there too: `rollout.rs` and `maintenance.rs` say what that waits for.
pub(crate) fn move_peers(view: &View<'_>, draft: &mut Draft) -> Option<Work> {
    const STEP: &str = "UpdatePeerURL";
    if next(view) != view.spec.peer_listeners && !named(view).is_empty() {
        return Some(Work {
            kind: MovePeers,
            step: "ChooseListeners",
            member: None,
            blocked_by: Vec::new(),
        });
    }
    let aim = aim(view, &needed(view))?;
    let to = place(&aim);
    let is_there = |it: &&Member<'_>| {
        let listed = it.listed.iter().flat_map(|it| &it.peer_urls);
        listed
            .filter_map(|url| view.spec.peer_of_url(url))
            .all(|(_, at)| at == to)
    };
    let elsewhere = view.members.values().filter(|it| !is_there(it));
    let next = elsewhere.min_by_key(|it| (view.leads(it), it.serial))?;
    let outdated = |it: &&Member<'_>| it.pod.is_some() && !it.current;
    if view.roster().iter().any(outdated) {
        return None;
    }
    let (id, ground) = (next.listed.as_ref()?.id, view.ground("")?);
    if let Some(why) = blocked(view, to) {
        return Some(waiting(MovePeers, STEP, &next.name, "PeerListeners", why));
    }
    draft.actions.push(Action::UpdatePeerUrl {
        name: next.name.clone(),
        id,
        peer_url: view.spec.peer_url_at(to, &next.name),
        ground,
    });
    Some(moving(MovePeers, STEP, &next.name))
}

/// Why no member is sent there yet, if none must be.
fn blocked(view: &View<'_>, to: PeerPort) -> Option<String> {
    let rotates = |it: &crds::CertificateRotation| it.surface == TlsSurface::Peer;
    if to.scheme == Scheme::Https && view.memory.rotations.iter().any(rotates) {
        return Some("the CA of the peers is being replaced".to_owned());
    }
    let listed = view.members.values().filter(|it| it.listed.is_some());
    let mut whys = listed.filter_map(|it| not_ready(view, it, to));
    no_quorum(view).or_else(|| whys.next())
}

/// Why the move has to wait for a member, if it has to: each must work, listen there, and prove there who it is.
fn not_ready(view: &View<'_>, member: &Member<'_>, to: PeerPort) -> Option<String> {
    let name = &member.name;
    let follows = member.is_learner() && member.follows(view) && !member.pod_ending();
    if !member.settled() && !follows {
        return Some(member.trouble(view));
    }
    if !member.pod.is_some_and(|it| listens(it, to)) {
        return Some(format!(
            "member {name} does not listen on port {} in {} yet",
            to.port,
            to.scheme.as_str()
        ));
    }
    let met = view.observed.handshakes.get(&(name.clone(), Surface::Peer));
    match met {
        _ if to.scheme == Scheme::Http => None,
        Some(Ok(_)) => None,
        Some(Err(why)) => Some(format!("member {name} does not shake hands: {why}")),
        None => Some(format!("member {name} was not asked to shake hands yet")),
    }
}

/// Where the member in a pod listens for its peers, as the pod was made.
#[must_use]
pub fn listened_on(pod: &Pod) -> Vec<PeerPort> {
    let containers = pod.spec.iter().flat_map(|it| &it.containers);
    let mut args = containers.flat_map(|it| it.args.iter().flatten());
    let urls = args.find_map(|it| it.strip_prefix("--listen-peer-urls="));
    let urls = urls.unwrap_or_default().split(',');
    urls.filter_map(PeerPort::of_url).collect()
}

fn listens(pod: &Pod, at: PeerPort) -> bool {
    listened_on(pod).contains(&at)
}
