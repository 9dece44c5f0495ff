//! The rings, in the order in which they run: the quickest to find a mistake first.

use e2e::binaries;

use crate::targets::Target;

/// One ring.
pub(crate) struct Ring {
    /// Its name, as in DESIGN and ARCHITECTURE.
    pub(crate) name: &'static str,
    /// Which test executables belong to it.
    pub(crate) holds: fn(&Target) -> bool,
    /// Whether the doc tests run in it.
    pub(crate) doc_tests: bool,
    /// Why it does not run here, and how it would.
    pub(crate) left_out: Option<LeftOut>,
}

/// A ring that does not run here.
pub(crate) struct LeftOut {
    pub(crate) why: &'static str,
    pub(crate) how: &'static str,
}

/// Every ring.
pub(crate) fn all() -> Vec<Ring> {
    vec![
        quick(),
        simulation(),
        contract(),
        api_server(),
        smallkube(),
        kind(),
    ]
}

/// Unit, golden and property tests: what runs at every commit.
pub(crate) fn quick() -> Ring {
    let holds = |t: &Target| !is_simulation(t) && !needs_processes(t);
    Ring {
        name: "unit, golden, property",
        holds,
        doc_tests: true,
        left_out: None,
    }
}

fn simulation() -> Ring {
    Ring {
        name: "simulation",
        holds: is_simulation,
        doc_tests: false,
        left_out: None,
    }
}

fn contract() -> Ring {
    let left_out = (!binaries::has_foreign("etcd")).then_some(LeftOut {
        why: "there is no etcd to compare with",
        how: "etcd on PATH, or LAB_PREBUILT=DIR with etcd or etcd.zst in it",
    });
    Ring {
        name: "contract",
        holds: is_contract,
        doc_tests: false,
        left_out,
    }
}

fn api_server() -> Ring {
    let left_out = Some(LeftOut {
        why: "it needs a kube-apiserver, and comes with the kind lab",
        how: "what it will check runs on smallkube today: cargo test -p smallkube",
    });
    Ring {
        name: "real API server",
        holds: |_| false,
        doc_tests: false,
        left_out,
    }
}

fn smallkube() -> Ring {
    let holds = |t: &Target| needs_processes(t) && !is_contract(t) && !is_simulation(t);
    Ring {
        name: "smallkube",
        holds,
        doc_tests: false,
        left_out: None,
    }
}

fn kind() -> Ring {
    let left_out = Some(LeftOut {
        why: "it needs a container engine, and its tests come with the kind lab",
        how: "the same promises run on smallkube today: cargo test -p e2e",
    });
    Ring {
        name: "kind",
        holds: |_| false,
        doc_tests: false,
        left_out,
    }
}

/// Whole clusters under one seed: named so, in whichever package.
fn is_simulation(target: &Target) -> bool {
    target.is_integration && target.name.starts_with("sim")
}

/// The same test against a real etcd and against ours.
fn is_contract(target: &Target) -> bool {
    target.package == "e2e" && target.is_integration && target.name.starts_with("api_")
}

/// Tests that start processes or talk to an API server of ours.
fn needs_processes(target: &Target) -> bool {
    let packages = ["e2e", "smallkube", "quorate-operator"];
    target.is_integration && packages.contains(&target.package.as_str())
}
