//! What the members run: every promise is made for both.

use crds::Engine as Kind;

/// An engine.
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

    /// The name of its images.
    pub(crate) fn image(self) -> &'static str {
        match self {
            Self::Quorate => "quorate-node",
            Self::Etcd => "etcd",
        }
    }
}
