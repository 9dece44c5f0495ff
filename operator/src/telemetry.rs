//! What the operator says of itself: log lines as JSON for machines or as text for people.
//!
//! It deliberately exports no traces yet; the spans are there for whoever adds it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// One line for people, in colour on a terminal.
    Text,
}

/// Begins logging to standard error, for the life of the process. `filter` is in `tracing`'s syntax (`info,kube=warn`).
///
/// # Errors
/// If the filter cannot be read.
pub fn begin(format: LogFormat, filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .init(),
        LogFormat::Text => {
            let coloured = std::io::stderr().is_terminal();
            lines.with_target(false).with_ansi(coloured).init();
        }
    }
    Ok(())
}
