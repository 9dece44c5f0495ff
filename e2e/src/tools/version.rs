//! Versions, as programs say them.

use std::fmt;
use std::path::Path;
use std::process::Command;

/// Three numbers, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first.
    pub major: u32,
    /// The second.
    pub minor: u32,
    /// The third; 0 where a program says only two.
    pub patch: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Version {
    /// The first version in a text: digits, a dot and digits, and perhaps a further dot and digits.
    #[must_use]
    pub fn first_in(text: &str) -> Option<Self> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .find_map(Self::read)
    }

    fn read(word: &str) -> Option<Self> {
        let mut numbers = word.trim_matches('.').split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        let patch = numbers.next().and_then(Result::ok).unwrap_or_default();
        Some(Self {
            major,
            minor,
            patch,
        })
    }
}

/// What a program says of its version; `None` where it cannot be asked, and is believed.
///
/// # Errors
/// When it does not run or names none, in words.
pub(super) fn of(program: &Path, ask: &[&str]) -> Result<Option<Version>, String> {
    if ask.is_empty() {
        return Ok(None);
    }
    let ended = Command::new(program)
        .args(ask)
        .output()
        .map_err(|e| format!("does not run: {e}"))?;
    let said = String::from_utf8_lossy(&ended.stdout);
    match Version::first_in(&said) {
        Some(version) => Ok(Some(version)),
        None => Err(format!("says no version to {}", ask.join(" "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_programs_say() {
        for (said, version) in [
            ("kind v0.33.0 go1.26.8 linux/amd64", "0.33.0"),
            (
                "Client Version: v1.34.4\nKustomize Version: v5.7.1",
                "1.34.4",
            ),
            ("Kubernetes v1.34.4", "1.34.4"),
            (
                "version.BuildInfo{Version:\"v4.3\", GitCommit:\"\"",
                "4.3.0",
            ),
            ("etcd Version: 3.7.3\nGit SHA: Not provided", "3.7.3"),
            ("CoreDNS-1.12.1\nlinux/amd64, go1.26.8,", "1.12.1"),
        ] {
            let read = Version::first_in(said).expect(said);
            assert_eq!(read.to_string(), version);
        }
        assert_eq!(Version::first_in("no version 7 here..."), None);
    }

    #[test]
    fn a_program_that_cannot_be_asked_is_believed() {
        assert_eq!(of(Path::new("/nowhere"), &[]), Ok(None));
        assert!(of(Path::new("/nowhere"), &["version"]).is_err());
    }
}
