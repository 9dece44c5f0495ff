//! What the members run: every promise is made for both.

use crds::Engine as Kind;
use e2e::kind::images::{ETCD_VERSION, NEXT, VERSION};
use serde_json::{Value, json};

/// An engine and its images in the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Our own member.
    Quorate,
    /// Stock etcd.
    Etcd,
}

/// Both, ours first.
pub(crate) const BOTH: &[Engine] = &[Engine::Quorate, Engine::Etcd];

impl Engine {
    /// As it stands behind a scenario's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quorate => "quorate",
            Self::Etcd => "etcd",
        }
    }

    /// As it stands in a spec.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Quorate => Kind::Quorate,
            Self::Etcd => Kind::Etcd,
        }
    }

    /// The image that clusters start with.
    pub(crate) fn image(self) -> String {
        match self {
            Self::Quorate => format!("quorate-node:{VERSION}"),
            Self::Etcd => format!("etcd:{ETCD_VERSION}"),
        }
    }

    /// The image to roll to.
    pub(crate) fn next_image(self) -> String {
        format!("{}{NEXT}", self.image())
    }

    /// An image that no node has and none can pull.
    pub(crate) fn missing_image(self) -> String {
        format!("{}-missing", self.image())
    }

    /// The part of a spec that chooses it: nothing, where it is the default.
    pub(crate) fn choice(self) -> Value {
        match self {
            Self::Quorate => json!({}),
            Self::Etcd => json!({ "engine": self.kind(), "image": self.image() }),
        }
    }
}
