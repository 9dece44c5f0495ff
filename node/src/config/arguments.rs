//! Arguments, variables and a file's keys, brought to the flags of today.
//!
//! - Go's `-flag` is `--flag`, and a flag wins over its variable.
//! - Older names are replaced, with a warning that says the newer one.
//! - What has no meaning here is named, all in one line; what must not be ignored is refused.
//!
//! What this module does not do: read values.

use super::older::{self, Today};
use super::switch::switch;
use super::unserved::{self, Verdict};

/// What is left for clap, and what there is to tell.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    pub(super) kept: Vec<String>,
    pub(super) without_meaning: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Arguments {
    /// Takes the command line, without the program's name.
    pub(super) fn take_line(
        &mut self,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<(), String> {
        let mut rest = arguments.into_iter().map(doubled_dash);
        while let Some(argument) = rest.next() {
            let (spelled, value) = match argument.split_once('=') {
                Some((spelled, value)) => (spelled, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            match spelled.strip_prefix("--").filter(|name| !name.is_empty()) {
                Some(name) => self.take(spelled, name, value, || rest.next())?,
                None => self.kept.push(argument),
            }
        }
        Ok(())
    }

    /// Takes the variables that belong to flags; `is_flag` knows those that are served.
    pub(super) fn take_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
        is_flag: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let mut variables: Vec<_> = environment
            .into_iter()
            .filter(|(variable, value)| variable.starts_with("ETCD_") && !value.is_empty())
            .collect();
        variables.sort();
        for (variable, value) in variables {
            let name = variable["ETCD_".len()..]
                .to_ascii_lowercase()
                .replace('_', "-");
            let is_known =
                is_flag(&name) || unserved::named(&name).is_some() || older::today(&name).is_some();
            if is_known && name != "version" {
                self.take(&variable, &name, Some(value), || None)?;
            } else {
                self.warnings.push(format!(
                    "the variable {variable} belongs to no flag and is ignored"
                ));
            }
        }
        Ok(())
    }

    /// Takes one flag. `spelled` is how the user wrote it; `next` is the argument after it, for a flag that needs one.
    pub(super) fn take(
        &mut self,
        spelled: &str,
        name: &str,
        value: Option<String>,
        next: impl FnOnce() -> Option<String>,
    ) -> Result<(), String> {
        let today = older::today(name);
        if let Some(today) = today {
            self.warnings
                .push(format!("{spelled} is deprecated: write {today}"));
        }
        let name = match today {
            Some(Today::Gate(gate)) => {
                let value = value.unwrap_or_else(|| "true".to_owned());
                self.kept.push(format!("--feature-gates={gate}={value}"));
                return Ok(());
            }
            Some(Today::Flag(name)) => name,
            None => name,
        };
        let Some(flag) = unserved::named(name) else {
            self.kept.push(match value {
                Some(value) => format!("--{name}={value}"),
                None => format!("--{name}"),
            });
            return Ok(());
        };
        let value = if flag.is_switch() {
            let value = value.unwrap_or_else(|| "true".to_owned());
            switch(&value)
                .map_err(|error| format!("{spelled} is {value:?}: {error}"))?
                .to_string()
        } else {
            value.or_else(next).unwrap_or_default()
        };
        match flag.judge(spelled, &value) {
            Verdict::Harmless => {}
            Verdict::WithoutMeaning(named) => self.without_meaning.push(named),
            Verdict::Refused(why) => return Err(why),
        }
        Ok(())
    }
}

fn doubled_dash(argument: String) -> String {
    let mut characters = argument.chars();
    let single =
        characters.next() == Some('-') && characters.next().is_some_and(char::is_alphabetic);
    if single && argument.len() > 2 {
        format!("-{argument}")
    } else {
        argument
    }
}
