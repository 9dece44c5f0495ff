//! Switches as Go's flags read them: `--name`, `--name=true`, `--name=0`.
//!
//! What this module does not do: let a value stand apart (`--name false`), which Go does not either.

/// The words for yes and no.
pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}
