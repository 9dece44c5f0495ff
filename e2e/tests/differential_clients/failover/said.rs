//! What a program says while members die; the lines stand in `failover.rs` of the one in Rust.

use anyhow::{Context, Result, bail};

/// Time since 1970, by the clock that all programs of a machine share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Micros(pub(crate) u64);

/// An event of the store's history, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) revision: i64,
    pub(crate) is_delete: bool,
    pub(crate) key: String,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A write was acknowledged; not every client tells its revision.
    Put {
        key: String,
        revision: Option<i64>,
        at: Micros,
    },
    /// A watcher saw an event.
    Event { watcher: String, change: Change },
    /// A mutex or an election was held from then to then.
    Held {
        name: String,
        from: Micros,
        to: Micros,
    },
    /// An election's observer saw its leader.
    Led { at: Micros },
    /// What may not happen.
    Wrong(String),
}

impl Said {
    /// What goes on, and when it last did; events have no time of their own.
    pub(crate) fn activity(&self) -> Option<(String, Micros)> {
        match self {
            Self::Put { key, at, .. } => Some((stream_of(key).to_owned(), *at)),
            Self::Held { name, from, .. } => Some((name.clone(), *from)),
            Self::Led { at } => Some(("observer".to_owned(), *at)),
            Self::Event { .. } | Self::Wrong(_) => None,
        }
    }
}

/// The key without its number.
pub(crate) fn stream_of(key: &str) -> &str {
    key.rsplit_once('/').map_or(key, |(stream, _)| stream)
}

impl std::str::FromStr for Said {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = |text: &str| text.parse().map(Micros);
        let said = match words[..] {
            ["put", key, revision, time] => Self::Put {
                key: key.to_owned(),
                revision: Some(revision.parse()?).filter(|it| *it > 0),
                at: at(time)?,
            },
            ["event", watcher, kind, key, revision] => Self::Event {
                watcher: watcher.to_owned(),
                change: Change {
                    revision: revision.parse()?,
                    is_delete: kind == "DELETE",
                    key: key.to_owned(),
                },
            },
            ["held", name, from, to] => Self::Held {
                name: name.to_owned(),
                from: at(from)?,
                to: at(to)?,
            },
            ["led", .., time] => Self::Led { at: at(time)? },
            ["wrong", ..] => Self::Wrong(line.to_owned()),
            _ => bail!("nothing that a program says"),
        };
        Ok(said)
    }
}

/// Reads one line.
///
/// # Errors
/// With the line, when no program says such a thing.
pub(crate) fn read(line: &str) -> Result<Said> {
    line.parse().with_context(|| format!("read {line:?}"))
}
