//! The version that all members of the cluster speak, and the older one that they are on their way to.
//!
//! Versions here are etcd's major and minor, as patches of one minor understand each other. The version only ever rises
//! while no downgrade is enabled, and by one minor down while one is; whoever proposes sees to it, as etcd's leader does.
//!
//! What this module deliberately does not do: decide when to change it. That takes the members' own versions, which the node
//! knows.

use std::fmt;

use prost::Message;

/// A minor version of etcd's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Message)]
pub struct Version {
    /// 3, of 3.7.
    #[prost(uint32, tag = "1")]
    pub major: u32,
    /// 7, of 3.7.
    #[prost(uint32, tag = "2")]
    pub minor: u32,
}

impl Version {
    /// The version `major.minor`.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The only version that members of this one may be downgraded to; none below the first minor.
    #[must_use]
    pub fn one_down(self) -> Option<Self> {
        let minor = self.minor.checked_sub(1)?;
        Some(Self { minor, ..self })
    }

    /// Reads `major.minor.patch`, with whatever semantic versioning allows behind it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let core = text.split(['-', '+']).next()?;
        let numbers: Vec<u32> = core
            .split('.')
            .map(|number| number.parse().ok())
            .collect::<Option<_>>()?;
        match numbers[..] {
            [major, minor, _patch] => Some(Self { major, minor }),
            _ => None,
        }
    }
}

/// `major.minor`.
impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)
    }
}

/// Where a downgrade goes; [`None`] ends one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct Downgrade {
    /// The target.
    #[prost(message, optional, tag = "1")]
    pub target: Option<Version>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_semantic_ones() {
        assert_eq!(Version::parse("3.7.1"), Some(Version::new(3, 7)));
        assert_eq!(Version::parse("3.8.0-alpha.1+x"), Some(Version::new(3, 8)));
        for bad in [
            "", "3", "3.7", "3.7.1.0", "3.x.0", "v3.7.0", "3.7.", "-3.7.0",
        ] {
            assert_eq!(Version::parse(bad), None, "{bad}");
        }
        assert_eq!(Version::new(3, 0).one_down(), None);
        assert_eq!(Version::new(3, 7).one_down(), Some(Version::new(3, 6)));
        assert!(Version::new(3, 10) > Version::new(3, 9));
    }
}
