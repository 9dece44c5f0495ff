//! The differences that stay, each with its reason.
//!
//! It deliberately knows no reason by itself: the list is a file that people read, beside the text.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Difference;

/// A difference, or several of one kind, that stays. In each pattern `*` stands for anything.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// In which texts; without it, in all.
    #[serde(default = "anything")]
    pub text: String,
    /// At which calls; without it, at all.
    #[serde(default = "anything")]
    pub call: String,
    /// Where in the answer.
    pub at: String,
    /// Why it stays.
    pub because: String,
    /// Whether it hangs on timing, so that one run sees it and another does not.
    #[serde(default)]
    pub by_chance: bool,
}

fn anything() -> String {
    "*".to_owned()
}

impl Listed {
    /// Reads a list.
    ///
    /// # Errors
    /// If it is no list, or if a reason is missing.
    pub fn read(text: &str) -> Result<Vec<Self>> {
        let list: Vec<Self> =
            serde_saphyr::from_str(text).context("read the list of differences")?;
        for listed in &list {
            ensure!(
                !listed.because.trim().is_empty(),
                "{} has no reason",
                listed.at
            );
        }
        Ok(list)
    }

    /// Whether it speaks of this difference.
    pub fn covers(&self, difference: &Difference) -> bool {
        fits(&self.text, &difference.text)
            && fits(&self.call, &difference.call)
            && fits(&self.at, &difference.at)
    }
}

/// Whether the differences found are those that are listed, no more and no fewer.
///
/// # Errors
/// With every difference that is not listed, as it would be, and every listed one that does not occur any more.
pub fn judge(found: &[Difference], list: &[Listed]) -> Result<()> {
    let mut complaint = String::new();
    for difference in found {
        if !list.iter().any(|listed| listed.covers(difference)) {
            writeln!(complaint, "{difference}\n  because: ???")?;
        }
    }
    for listed in list.iter().filter(|listed| !listed.by_chance) {
        if !found.iter().any(|difference| listed.covers(difference)) {
            writeln!(
                complaint,
                "listed and not there any more, take it out: {listed:?}"
            )?;
        }
    }
    ensure!(
        complaint.is_empty(),
        "mend ours, or list it with a reason:\n{complaint}"
    );
    Ok(())
}

/// Whether `text` is what `pattern` says, `*` standing for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| fits(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: &str) -> Difference {
        Difference {
            text: "objects::a".to_owned(),
            call: "GET /a".to_owned(),
            at: at.to_owned(),
            real: None,
            ours: None,
        }
    }

    const LIST: &str = "- {at: /answer/*/name, text: 'objects::*', because: so it is}";

    #[test]
    fn what_is_listed_passes_and_nothing_else() {
        let list = Listed::read(LIST).unwrap();
        assert!(judge(&[at("/answer/metadata/name")], &list).is_ok());
        let more = judge(&[at("/answer/metadata/name"), at("/code")], &list).unwrap_err();
        assert!(more.to_string().contains("at: /code"), "{more}");
    }

    #[test]
    fn a_list_that_is_not_true_any_more_fails() {
        let none = judge(&[], &Listed::read(LIST).unwrap()).unwrap_err();
        assert!(none.to_string().contains("take it out"), "{none}");
    }

    #[test]
    fn what_hangs_on_timing_may_be_absent() {
        let list = Listed::read("- {at: /a, because: so it is, by_chance: true}").unwrap();
        assert!(judge(&[], &list).is_ok() && judge(&[at("/a")], &list).is_ok());
    }

    #[test]
    fn a_reason_is_asked_for() {
        assert!(Listed::read("- {at: /a, because: ' '}").is_err());
        assert!(Listed::read("- {at: /a}").is_err());
    }
}
