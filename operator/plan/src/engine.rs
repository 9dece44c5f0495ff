//! What differs between the engines, in one place: a table with one line for each, and what follows from it.
//!
//! Everything else in this crate treats all engines alike: it knows etcd's flags, etcd's API and Kubernetes, and asks here for
//! the rest. Rules about etcd's versions were found by running 3.5, 3.6 and 3.7 on each other's data.
//!
//! This file deliberately knows no feature of the engines' API for clients: what an engine does not serve, its own
//! documentation says. Here stands what the *operator* cannot do with it.

mod version;

use crds::Engine;

use crate::{
    report::{Invalid, Support},
    spec::Spec,
    view::Member,
};
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

/// How the versions of an engine follow upon each other. Data of one minor version are read by itself and by the next.
#[derive(Debug)]
struct Lineage {
    /// The oldest version that can be run.
    oldest: Version,
    /// Why none older can.
    why: &'static str,
    /// The newest minor version that has been run by us.
    newest: Minor,
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
/// parameters is there since 3.5.2. That space has run out is no reason to restart a member or to keep clients from reading
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

impl Lineage {
    /// Why this version cannot run on the members' data, and the way out.
    fn fault<'m, 'a: 'm>(
        &self,
        name: &str,
        asked: Version,
        members: impl Iterator<Item = &'m Member<'a>> + Clone,
    ) -> Option<String> {
        let (oldest, newest) = (self.oldest, self.newest);
        if asked < oldest {
            let why = self.why;
            return Some(format!(
                "{name} {asked} cannot be run: {why}; choose {oldest} or newer, up to {newest}"
            ));
        }
        let minor = asked.0;
        let held = members.filter_map(|it| Some((held(it)?, &it.name)));
        if let Some((held, member)) = held.clone().max().filter(|(held, _)| minor < *held) {
            return Some(format!(
                "{name} {minor} cannot read the data of {member}, which are those of {held}; set the image back to {held}, or, to \
                 go back one minor version, run `etcdctl downgrade enable {minor}` on the cluster and wait"
            ));
        }
        let (held, member) = held.min().filter(|(held, _)| minor > held.next())?;
        let next = held.next();
        Some(format!(
            "{name} {minor} cannot read the data of {member}, which are those of {held}: no minor version can be skipped; \
             choose {next} first, and {minor} when all members run it"
        ))
    }
}

/// The minor version whose data a member holds: what it says of its storage; 3.5 says nothing, and its data are its own. For a
/// moment after the founding a member says 3.5 whatever it is; but it runs, so its data cannot be older than the version before.
fn held(member: &Member<'_>) -> Option<Minor> {
    let answer = member.answer?;
    let running = Version::parse(&answer.version)?.0;
    let storage = answer.storage_version.as_deref().and_then(Version::parse);
    Some(storage.map_or(running, |it| it.0.max(running.before())))
}
