//! Flags whose one value is a list: of URLs, and of members with theirs.
//!
//! What this module does not do: look at several flags at once.

use std::collections::BTreeMap;

use super::url::{Url, UrlError};

/// A comma list of URLs as one value: clap takes a bare `Vec` for a flag that repeats.
#[derive(Clone, Debug)]
pub(super) struct Urls(pub(super) Vec<Url>);

/// `name=url,name=url,…`; a name that comes again adds a URL.
#[derive(Clone, Debug)]
pub(super) struct Cluster(pub(super) BTreeMap<String, Vec<Url>>);

pub(super) fn urls(text: &str) -> Result<Urls, UrlError> {
    Url::list(text).map(Urls)
}

pub(super) fn listen_urls(text: &str) -> Result<Urls, UrlError> {
    let urls = Url::list(text)?;
    urls.iter()
        .try_for_each(|url| url.listen_address().map(drop))?;
    Ok(Urls(urls))
}

pub(super) fn optional_listen_urls(text: &str) -> Result<Urls, UrlError> {
    if text.is_empty() {
        Ok(Urls(Vec::new()))
    } else {
        listen_urls(text)
    }
}

pub(super) fn cluster(text: &str) -> Result<Cluster, String> {
    let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    for member in text
        .split(',')
        .map(str::trim)
        .filter(|member| !member.is_empty())
    {
        let (name, url) = member
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("{member:?} does not have the form <name>=<peer URL>"))?;
        let url = url.parse().map_err(|error: UrlError| error.to_string())?;
        members.entry(name.to_owned()).or_default().push(url);
    }
    if members.is_empty() {
        return Err("at least one <name>=<peer URL> is needed".to_owned());
    }
    for urls in members.values_mut() {
        urls.sort();
        urls.dedup();
    }
    Ok(Cluster(members))
}
