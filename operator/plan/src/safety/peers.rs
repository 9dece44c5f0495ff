//! The checker's part about where members meet: a peer URL that leads nowhere is a vote that is missing.
//!
//! It goes by what pods were made with and by what the membership says, and deliberately knows no steps.

use k8s_openapi::api::core::v1::Pod;

use super::volume::args;
use super::{Facts, Violation, is_dead, is_majority, refuse};

/// Scheme and port of a URL; nothing of its host.
fn way(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    Some((scheme, rest.rsplit_once(':')?.1))
}

fn listens(pod: &Pod, url: &str) -> bool {
    let listened = args(pod).find_map(|it| it.strip_prefix("--listen-peer-urls="));
    let mut listened = listened.unwrap_or_default().split(',');
    listened.any(|it| way(it).is_some() && way(it) == way(url))
}

fn has_certificate(pod: &Pod) -> bool {
    args(pod).any(|it| it.starts_with("--peer-cert-file="))
}

fn is_secured(url: &str) -> bool {
    url.starts_with("https:")
}

/// Everybody who runs must be able to dial the URL.
pub(super) fn dialed(facts: &Facts<'_>, name: &str, url: &str) -> Result<(), Violation> {
    let members = facts.observed.pods.iter().filter(|it| !is_dead(it));
    let mut members = members.filter(|it| facts.id_in(name_of(it)).is_some());
    match members.find(|it| is_secured(url) && !has_certificate(it)) {
        None => Ok(()),
        Some(pod) => refuse(
            1,
            format!(
                "{name} is to be reached at {url}, and {} has no certificate for that",
                name_of(pod)
            ),
        ),
    }
}

/// Whoever is to be reached elsewhere must listen there, and the others must be a majority should it not be reached.
pub(super) fn moved(facts: &Facts<'_>, id: u64, name: &str, url: &str) -> Result<(), Violation> {
    if facts.list.is_none() {
        let sentence =
            format!("{name} is to be reached elsewhere while nobody reads the membership");
        return refuse(1, sentence);
    }
    let pod = facts.pod(name).filter(|_| facts.id_in(name) == Some(id));
    if !pod.is_some_and(|it| listens(it, url)) {
        return refuse(
            1,
            format!("{name} is to be reached at {url} and does not listen there"),
        );
    }
    let (voters, sound) = (facts.voters(), facts.sound());
    let others = sound.iter().filter(|it| **it != id).count();
    let small = voters.len() <= 2 && sound.len() == voters.len();
    if !small && !is_majority(others, voters.len()) {
        return refuse(
            1,
            format!(
                "{name} is to be reached elsewhere while {others} of the other {} voters are sound",
                voters.len().saturating_sub(1)
            ),
        );
    }
    dialed(facts, name, url)
}

/// Who starts must listen where the others look for it, and be able to dial them.
pub(super) fn start(facts: &Facts<'_>, pod: &Pod) -> Result<(), Violation> {
    let name = name_of(pod);
    let host = format!("//{name}.");
    let list = facts.list.unwrap_or_default();
    let restores = !args(pod).any(|it| it.starts_with("--listen-peer-urls="));
    let urls = list
        .iter()
        .flat_map(|it| &it.peer_urls)
        .filter(|_| !restores);
    let missed = urls
        .clone()
        .find(|it| it.contains(&host) && !listens(pod, it));
    if let Some(url) = missed {
        let sentence = format!("{name} is looked for at {url} and is not to listen there");
        return refuse(1, sentence);
    }
    match urls
        .clone()
        .find(|it| is_secured(it) && !has_certificate(pod))
    {
        None => Ok(()),
        Some(url) => refuse(
            1,
            format!("{name} is to start without a certificate, and cannot dial {url} then"),
        ),
    }
}

fn name_of(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}
