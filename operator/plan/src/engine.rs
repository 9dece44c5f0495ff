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

use crds::{Downgrade, Engine, StableTemplate};

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
    /// Whether a running process believes in the CAs that its files name by now. (All read certificates of their own anew.)
    pub(crate) reads_authorities_anew: bool,
    /// The program in the image that makes a new cluster of a member's data, where it is another one.
    pub(crate) restorer: Option<&'static str>,
    /// What it reads, in the data directory of a member that has stopped.
    pub(crate) restored_from: &'static str,
    /// Which versions run on which data; none if any does.
    lineage: Option<Lineage>,
}

const QUORATE: Traits = Traits {
    name: "quorate-node",
    command: None,
    default_image: Some("quorate-node"),
    alive: "/livez",
    ready: "/readyz",
    reads_authorities_anew: true,
    restorer: None,
    restored_from: "",
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
    reads_authorities_anew: false,
    restorer: Some("etcdutl"),
    restored_from: "/member/snap/db",
    lineage: Some(Lineage {
        oldest: Version(Minor(3, 5), 3),
        why: "3.4 cannot read its membership through a majority, on which the operator's safety rests, and 3.5.0 to 3.5.2 can \
              lose what they have acknowledged when they crash",
        newest: Minor(3, 7),
        stepping_stones: &[Version(Minor(3, 5), 26), Version(Minor(3, 6), 11)],
    }),
};

/// How far the revisions of a rebuilt cluster jump. Writes may have been lost that clients have seen; they must not meet others
/// under the same revisions. etcd's guide for restores names this number: no cluster makes as many writes between two looks.
const REVISION_JUMP: u32 = 1_000_000_000;

/// Flags that make revisions jump, and everything before compacted, where the restorer has them: etcd's has since 3.6.
pub(crate) fn jump(spec: &Spec) -> Vec<String> {
    let minor = Version::of_image(&spec.image).map(|it| it.0);
    if spec.engine == Engine::Etcd && minor.is_none_or(|it| it < Minor(3, 6)) {
        return Vec::new();
    }
    vec![
        format!("--bump-revision={REVISION_JUMP}"),
        "--mark-compacted=true".to_owned(),
    ]
}

/// How many learners members allow where some stay learners: as many as a spec can ask for, and the one that joins. Members judge
/// by their own flag whether one may be added, so that it must be the same at all of them, whatever the spec's number becomes.
const LEARNERS: u32 = 5;

/// The flag that makes room for learners for good.
pub(crate) fn room_for_learners() -> String {
    format!("--max-learners={LEARNERS}")
}

/// The first version of etcd that has it; before, it allows the one learner that a member is while it joins.
const TAKES_LEARNERS: Minor = Minor(3, 6);

/// The table.
pub(crate) const fn of(engine: Engine) -> &'static Traits {
    match engine {
        Engine::Quorate => &QUORATE,
        Engine::Etcd => &ETCD,
    }
}

/// Whether the engine can do what the spec asks for, given the data that the members hold and the template on which the
/// cluster last converged.
pub(crate) fn support<'m, 'a: 'm>(
    spec: &Spec,
    members: impl Iterator<Item = &'m Member<'a>> + Clone,
    stable: Option<&StableTemplate>,
) -> Support {
    let traits = of(spec.engine);
    let name = traits.name;
    let Some(lineage) = &traits.lineage else {
        return downgrade(spec, stable).map_or_else(
            || Support::Full(format!("{name} does all that the spec asks for")),
            Support::Lacking,
        );
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
    if spec.takes_learners && asked.0 < TAKES_LEARNERS {
        return Support::Lacking(Invalid {
            field: "spec.learners".to_owned(),
            message: format!(
                "{name} {} allows one learner, which every new member is while it joins; set it to 0, or spec.image to {TAKES_LEARNERS} or newer",
                asked.0
            ),
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

/// Why an older minor version than the one on which the cluster last converged is not run, where the engine itself has no word
/// in it. What has never converged can always be left again.
fn downgrade(spec: &Spec, stable: Option<&StableTemplate>) -> Option<Invalid> {
    let stable = stable?.template.get("image")?.as_str()?;
    let (asked, last) = (
        Version::of_image(&spec.image)?.0,
        Version::of_image(stable)?.0,
    );
    let denied = spec.update.version_policy.downgrade == Downgrade::Deny && asked < last;
    denied.then(|| Invalid {
        field: "spec.image".to_owned(),
        message: format!(
            "{asked} is older than {last}, on which the cluster last converged; set the version back, or set \
             spec.updateStrategy.versionPolicy.downgrade to Allow if {asked} can read the data of {last}"
        ),
    })
}
