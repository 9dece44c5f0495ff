//! Versions of etcd, as images and members name them.
//!
//! It deliberately reads no more than three numbers: what follows them (`-0`, `-alpha.1`, `-arm64`) says how the image was
//! made and not what its data look like.

use std::fmt;

/// Major and minor version: data on disk change with these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Minor(pub(super) u32, pub(super) u32);

/// A whole version: minor version and patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) Minor, pub(super) u32);

impl Minor {
    /// The one before it.
    pub(super) const fn before(self) -> Self {
        Self(self.0, self.1.saturating_sub(1))
    }

    /// The one after it.
    pub(super) const fn next(self) -> Self {
        Self(self.0, self.1 + 1)
    }
}

impl Version {
    /// Reads `3.6.5`, `v3.6.5` or `3.6.5-0`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let numbers = text.trim_start_matches('v');
        let numbers = numbers.split(['-', '+']).next().unwrap_or(numbers);
        let mut numbers = numbers.split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self(Minor(next()?, next()?), next()?))
    }

    /// The version that the tag of an image names, if it has such a tag.
    pub(super) fn of_image(image: &str) -> Option<Self> {
        let (named, _digest) = image.split_once('@').unwrap_or((image, ""));
        let (_, tag) = named.rsplit_once(':')?;
        Self::parse(tag)
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_an_image_is_in_its_tag() {
        let read = |image| Version::of_image(image).map(|it| it.to_string());
        assert_eq!(read("etcd:3.7.3").as_deref(), Some("3.7.3"));
        assert_eq!(read("k8s.example/etcd:3.6.5-0").as_deref(), Some("3.6.5"));
        assert_eq!(
            read("example:5000/a/etcd:v3.5.35").as_deref(),
            Some("3.5.35")
        );
        assert_eq!(read("etcd:3.6.16@sha256:00").as_deref(), Some("3.6.16"));
        assert_eq!(read("etcd@sha256:00"), None);
        assert_eq!(read("example:5000/etcd"), None);
        assert_eq!(read("etcd:stable"), None);
        assert_eq!(read("etcd:3.6"), None);
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("3.5.9") < version("3.5.10"));
        assert!(version("3.5.35") < version("3.6.0"));
        assert_eq!(version("3.6.16").0.next(), Minor(3, 7));
    }
}
