//! `--auto-compaction-mode` and `--auto-compaction-retention`: how much history stays.
//!
//! What this module does not do: compact.

use std::time::Duration;

/// How much history automatic compaction leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Everything of the last while.
    Periodic(Duration),
    /// The last so many revisions.
    Revisions(u64),
}

impl AutoCompaction {
    /// Reads the pair of flags; a retention of 0 means none. In periodic mode a plain number counts hours.
    pub(super) fn read(mode: &str, retention: &str) -> Result<Option<Self>, String> {
        let kept = match mode {
            "periodic" => {
                let kept = match retention.parse::<u64>() {
                    Ok(hours) => hours.checked_mul(3600).map(Duration::from_secs),
                    Err(_) => duration(retention),
                };
                kept.map(Self::Periodic)
            }
            "revision" => retention.parse().ok().map(Self::Revisions),
            _ => {
                return Err(format!(
                    "--auto-compaction-mode is {mode:?}; it is periodic or revision"
                ));
            }
        };
        let kept = kept.ok_or_else(|| {
            format!(
                "--auto-compaction-retention is {retention:?}, which --auto-compaction-mode={mode} cannot read: give {}",
                if mode == "periodic" { "hours (5) or a duration (30m, 1h30m)" } else { "a number of revisions" }
            )
        })?;
        let nothing = matches!(kept, Self::Periodic(Duration::ZERO) | Self::Revisions(0));
        Ok((!nothing).then_some(kept))
    }
}

/// A duration as Go writes it: numbers with units, largest first by custom (`1h30m`, `500ms`, `1.5s`). None if it is not one.
pub(super) fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        nanoseconds += number * nanoseconds_of(&rest[..unit])?;
        rest = &rest[unit..];
    }
    let seconds = nanoseconds / 1e9;
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

fn nanoseconds_of(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let read = |text| duration(text);
        assert_eq!(read("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(read("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(read("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(read("0"), Some(Duration::ZERO));
        for wrong in ["", "5", "h", "1d", "-1s", "1..5s", "1s2"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn retention_is_read_by_its_mode() {
        let read = |mode, retention| AutoCompaction::read(mode, retention);
        assert_eq!(read("periodic", "0"), Ok(None));
        assert_eq!(
            read("periodic", "5"),
            Ok(Some(AutoCompaction::Periodic(Duration::from_secs(18000))))
        );
        assert_eq!(
            read("periodic", "5m"),
            Ok(Some(AutoCompaction::Periodic(Duration::from_secs(300))))
        );
        assert_eq!(
            read("revision", "1000"),
            Ok(Some(AutoCompaction::Revisions(1000)))
        );
        assert!(read("revision", "5m").unwrap_err().contains("revisions"));
        assert!(read("always", "5").unwrap_err().contains("periodic"));
        assert!(
            read("periodic", "soon")
                .unwrap_err()
                .contains("--auto-compaction-retention")
        );
    }
}
