//! The rings, in the order in which they run: the quickest to find a mistake first.

use e2e::control_plane;

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

/// Every ring but the last, which has a program of its own: see `kind`.
pub(crate) fn all() -> Vec<Ring> {
    vec![quick(), simulation(), contract(), api_server(), smallkube()]
}

/// Unit, golden and property tests: what runs at every commit.
pub(crate) fn quick() -> Ring {
    let holds = |t: &Target| !is_simulation(t) && !needs_processes(t) && !is_kind(t);
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
    Ring {
        name: "contract",
        holds: is_contract,
        doc_tests: false,
        left_out: None,
    }
}

fn api_server() -> Ring {
    let left_out = (!control_plane::can_be_had()).then_some(LeftOut {
        why: "etcd, kube-apiserver and kube-controller-manager (or hyperkube for the two) are not here",
        how: "with a folder that holds them: LAB_PREBUILT=DIR make test",
    });
    Ring {
        name: "real API server",
        holds: needs_api_server,
        doc_tests: false,
        left_out,
    }
}

fn smallkube() -> Ring {
    let holds = |t: &Target| {
        needs_processes(t) && !is_simulation(t) && !needs_api_server(t) && !is_contract(t)
    };
    Ring {
        name: "smallkube",
        holds,
        doc_tests: false,
        left_out: None,
    }
}

/// Whole clusters under one seed: named so, in whichever package.
fn is_simulation(target: &Target) -> bool {
    target.is_integration && target.name.starts_with("sim")
}

/// Our node beside a real etcd, or what one has answered: named so.
pub(crate) fn is_contract(target: &Target) -> bool {
    target.is_integration && target.name.starts_with("differential_")
}

/// Tests on a real API server of their own: named so.
pub(crate) fn needs_api_server(target: &Target) -> bool {
    target.is_integration && target.name.starts_with("real_")
}

/// Tests that start processes or talk to an API server of ours. Those of the chart only render and compare.
fn needs_processes(target: &Target) -> bool {
    let packages = ["e2e", "smallkube", "quorate-operator"];
    let only_compares = target.name == "chart";
    let is_theirs = target.is_integration && packages.contains(&target.package.as_str());
    is_theirs && !only_compares && !is_kind(target)
}

/// The promises on a kind cluster, which the ring of that name plays.
fn is_kind(target: &Target) -> bool {
    target.package == "e2e" && target.name == "kind"
}
