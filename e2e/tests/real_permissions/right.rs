//! One verb on one resource, as the table of permissions has it.

use std::fmt::{self, Display};

use anyhow::{Context, Result};
use quorate_operator::permissions::{PERMISSIONS, Permission, Place};

/// One verb on one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    pub(crate) of: &'static Permission,
    pub(crate) verb: &'static str,
}

/// Where people find that it is missing, beside the operator's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// In the cluster's conditions.
    Status,
    /// In an event about the cluster.
    Event,
    /// Nowhere: the operator cannot know which cluster it concerns, or cannot write there.
    Log,
}

impl Right {
    /// Every right that the operator cannot do without.
    pub(crate) fn all() -> Vec<Self> {
        let of = |of: &'static Permission| of.verbs.iter().map(move |verb| Self { of, verb });
        let needed = PERMISSIONS.iter().filter(|it| it.place != Place::Whole);
        needed.flat_map(of).collect()
    }

    pub(crate) fn find(resource: &str, verb: &str) -> Result<Self> {
        let found = Self::all().into_iter().find(|it| it.is(resource, verb));
        found.with_context(|| format!("the table does not have {verb} {resource}"))
    }

    pub(crate) fn is(&self, resource: &str, verb: &str) -> bool {
        (self.of.resource, self.verb) == (resource, verb)
    }

    /// How the API server says that it is missing.
    pub(crate) fn sentence(&self) -> String {
        let Self { of, verb } = self;
        format!(
            "cannot {verb} resource \"{}\" in API group \"{}\"",
            of.resource, of.group
        )
    }

    pub(crate) fn told(&self) -> Told {
        match (self.of.resource, self.verb) {
            _ if self.of.place == Place::Own => Told::Log,
            ("raftclusters" | "raftclusters/status" | "events", _)
            | (_, "watch")
            | ("raftoperations" | "raftusers" | "raftroles", "get") => Told::Log,
            (_, "list") | ("secrets", "get") => Told::Event,
            _ => Told::Status,
        }
    }
}

impl Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.of.resource)
    }
}
