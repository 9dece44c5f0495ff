//! The log on standard error: by default one JSON object per line with etcd's keys, so that what reads etcd's log reads ours.
//!
//! ```text
//! {"level":"info","ts":"2026-11-21T08:07:55.177014Z","caller":"server/rounds.rs:241","msg":"the leader changed","term":3}
//! ```
//!
//! What this module deliberately does not do: rotate or export. Whoever keeps the files keeps them short.

mod outputs;

pub use outputs::{OutputError, Outputs};

use crate::config::{LogFormat, LogLevel};
use serde_json::{Map, Value};
use std::fmt;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

/// Writes everything that is logged from now on to these outputs.
///
/// # Panics
/// If the process has a log already.
pub fn start(level: LogLevel, format: LogFormat, outputs: Outputs) {
    let subscriber = subscriber(level, format, outputs);
    tracing::subscriber::set_global_default(subscriber).expect("the log is started once");
}

/// A log of this shape into a writer.
pub fn subscriber<W>(
    level: LogLevel,
    format: LogFormat,
    writer: W,
) -> impl Subscriber + Send + Sync + use<W>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => lines.event_format(Etcds::Json).boxed(),
        LogFormat::Console | LogFormat::Text => lines.event_format(Etcds::Console).boxed(),
    };
    Registry::default().with(lines.with_filter(targets(level)))
}

/// What the libraries below us say at their finest is of no use to whoever runs a member.
fn targets(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error | LogLevel::Panic | LogLevel::Fatal => LevelFilter::ERROR,
    };
    Targets::new()
        .with_default(ours.min(LevelFilter::INFO))
        .with_targets(["quorate_node", "raft", "store"].map(|target| (target, ours)))
}

/// etcd's two shapes of a line.
enum Etcds {
    /// One object.
    Json,
    /// Columns parted by tabs, the fields as an object at the end.
    Console,
}

impl<S, N> FormatEvent<S, N> for Etcds
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let place = metadata.file().zip(metadata.line());
        let caller = place.map(|(file, number)| format!("{}:{number}", last_two(file)));
        let level = level(*metadata.level());
        match self {
            Self::Json => json(line, level, &time, caller, fields),
            Self::Console => console(line, level, &time, caller, fields),
        }
    }
}

fn json(
    mut line: Writer<'_>,
    level: &str,
    time: &str,
    caller: Option<String>,
    fields: Fields,
) -> fmt::Result {
    write!(line, r#"{{"level":"{level}","ts":"{time}""#)?;
    if let Some(caller) = caller {
        write!(line, r#","caller":{}"#, Value::from(caller))?;
    }
    write!(line, r#","msg":{}"#, Value::from(fields.message))?;
    for (name, value) in fields.rest {
        write!(line, ",{}:{value}", Value::from(name))?;
    }
    writeln!(line, "}}")
}

fn console(
    mut line: Writer<'_>,
    level: &str,
    time: &str,
    caller: Option<String>,
    fields: Fields,
) -> fmt::Result {
    let caller = caller.unwrap_or_default();
    write!(line, "{time}\t{level}\t{caller}\t{}", fields.message)?;
    if !fields.rest.is_empty() {
        write!(line, "\t{}", Value::from(fields.rest))?;
    }
    writeln!(line)
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::TRACE | Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

/// `server/rounds.rs` of a longer path.
fn last_two(file: &str) -> &str {
    let mut slashes = file.rmatch_indices('/').map(|(at, _)| at + 1);
    slashes.nth(1).map_or(file, |at| &file[at..])
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.rest.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, format!("{value:?}").into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field, value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, chain(value).into());
    }
}

/// An error with everything that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, format: LogFormat, say: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let subscriber = subscriber(level, format, move || writer.clone());
        tracing::subscriber::with_default(subscriber, say);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_etcds_keys_and_the_fields() {
        let error = io::Error::other("no\nspace \"left\"");
        let text = logged(LogLevel::Info, LogFormat::Json, || {
            tracing::warn!(term = 3, peer = "ab", fine = true, error = %error, "odd \"thing\"");
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "warn");
        assert_eq!(line["msg"], "odd \"thing\"");
        assert_eq!((&line["term"], &line["peer"]), (&3.into(), &"ab".into()));
        assert_eq!(
            (&line["fine"], &line["error"]),
            (&true.into(), &"no\nspace \"left\"".into())
        );
        assert!(
            line["caller"]
                .as_str()
                .unwrap()
                .starts_with("src/telemetry.rs:")
        );
        let ts = line["ts"].as_str().unwrap();
        assert!(ts.len() == 27 && ts.ends_with('Z'), "{ts}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn lines_below_the_level_are_left_out() {
        let say = || {
            tracing::debug!("fine");
            tracing::info!("plain");
            tracing::error!("bad");
        };
        assert_eq!(
            logged(LogLevel::Debug, LogFormat::Json, say)
                .lines()
                .count(),
            3
        );
        assert_eq!(
            logged(LogLevel::Info, LogFormat::Json, say).lines().count(),
            2
        );
        assert_eq!(
            logged(LogLevel::Error, LogFormat::Json, say)
                .lines()
                .count(),
            1
        );
        assert_eq!(
            logged(LogLevel::Fatal, LogFormat::Json, say)
                .lines()
                .count(),
            1
        );
    }

    #[test]
    fn the_log_for_people_is_no_json() {
        let text = logged(LogLevel::Info, LogFormat::Console, || {
            tracing::info!(term = 3, "plain")
        });
        let columns: Vec<_> = text.trim_end().split('\t').collect();
        assert_eq!(columns[1..2], ["info"]);
        assert_eq!(columns[3..], ["plain", r#"{"term":3}"#]);
    }
}
