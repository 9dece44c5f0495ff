//! What differs between the engines, in one place: a table with one line for each, and what follows from it.
//!
//! Everything else in this crate treats all engines alike: it knows etcd's flags, etcd's API and Kubernetes, and asks here for
//! the rest. Rules about etcd's versions are those of its guides for upgrades, and were seen to hold by running 3.5, 3.6 and
//! 3.7 on each other's data.
//!
//! This file deliberately knows no feature of the engines' API for clients: what an engine does not serve, its own
//! documentation says. Here stands what the *operator* cannot do with it.

mod lineage;
mod version;

use crds::Engine;

use crate::{
    report::{Invalid, Support},
    spec::Spec,
    view::Member,
};
use lineage::Lineage;
use version::{Minor, Version};

/// What the operator must know of an engine.
#[derive(Debug)]
pub(crate) struct Traits {
    /// What it is called in sentences.
    name: &'static str,
    /// The program in the image, where the image's own entry point cannot be relied upon.
    pub(crate) command: Option<&'static str>,
    /// The image that runs where the spec names none, without its tag.
    pub(crate) default_image: Option<&'static str>,
    /// Path, on the metrics port, that answers 200 while the process works, with or without a majority.
    pub(crate) alive: &'static str,
    /// Path that answers 200 while a majority confirms that the member is up to date. It must do so at a learner too.
    pub(crate) ready: &'static str,
    /// Which versions run on which data; none if any does.
    lineage: Option<Lineage>,
}

const QUORATE: Traits = Traits {
    name: "quorate-node",
    command: None,
    default_image: Some("quorate-node"),
    alive: "/livez",
    ready: "/readyz",
    lineage: None,
};

/// `/livez` and `/readyz` would do from 3.5.11 on, but the latter is never 200 at a learner, in no version. `/health` with its
/// parameters is there since 3.5.3. That space has run out is no reason to restart a member or to keep clients from reading
/// and deleting; that data are corrupt is none to restart it.
const ETCD: Traits = Traits {
    name: "etcd",
    command: Some("etcd"),
    default_image: None,
    alive: "/health?serializable=true&exclude=NOSPACE&exclude=CORRUPT",
    ready: "/health?exclude=NOSPACE",
    lineage: Some(Lineage {
        oldest: Version(Minor(3, 5), 3),
        why: "3.4 cannot read its membership through a majority, on which the operator's safety rests, and 3.5.0 to 3.5.2 can \
              lose what they have acknowledged when they crash",
        newest: Minor(3, 7),
        stepping_stones: &[Version(Minor(3, 5), 26), Version(Minor(3, 6), 11)],
    }),
};

/// The table.
pub(crate) const fn of(engine: Engine) -> &'static Traits {
    match engine {
        Engine::Quorate => &QUORATE,
        Engine::Etcd => &ETCD,
    }
}

/// Whether the engine can do what the spec asks for, given the data that the members hold.
pub(crate) fn support<'m, 'a: 'm>(
    spec: &Spec,
    members: impl Iterator<Item = &'m Member<'a>> + Clone,
) -> Support {
    let traits = of(spec.engine);
    let name = traits.name;
    let Some(lineage) = &traits.lineage else {
        return Support::Full(format!("{name} does all that the spec asks for"));
    };
    let running = members.clone().filter(|it| it.current);
    let running = running.filter_map(|it| Version::parse(&it.answer?.version));
    let tag = Version::of_image(&spec.image);
    let Some(asked) = tag.or_else(|| running.min()) else {
        return Support::Untold(format!(
            "the image names no version of {name}, and no member that runs it has answered yet"
        ));
    };
    if let Some(fault) = lineage.fault(name, asked, members) {
        return Support::Lacking(Invalid {
            field: "spec.image".to_owned(),
            message: fault,
        });
    }
    let (minor, newest) = (asked.0, lineage.newest);
    if minor > newest {
        return Support::Untold(format!(
            "this operator has been run with {name} up to {newest}; whether it works with {minor} is not known"
        ));
    }
    Support::Full(format!(
        "{name} {minor} does all that the spec asks for; it cannot skip a minor version, nor go back to the one before \
         without `etcdctl downgrade enable`"
    ))
}
