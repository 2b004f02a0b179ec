//! Logs about ourselves, for operators; never the record, never SQL, values or tokens.
//!
//! What this program says is chosen by level; what its dependencies say stays at warnings and cannot be raised, because
//! at finer levels an HTTP client or a SQL engine says what passes through it.

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::Arc;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

/// The environment variable that goes before the configured level: `debug`, or `info,gateway=trace,ship=debug`.
pub const VARIABLE: &str = "HANSARD_LOG";

/// Our own part of the log, as `tracing` names it.
const OURSELVES: &str = env!("CARGO_CRATE_NAME");

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is said and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The form; absent, text on a terminal and JSON otherwise.
    pub format: Option<Format>,
    /// What is said, unless [`VARIABLE`] says otherwise.
    pub levels: Levels,
    /// Whether text may be coloured on a terminal.
    pub color: bool,
}

/// What is said: a level for all, and others for single modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    all: Level,
    modules: Vec<(String, Level)>,
}

impl Levels {
    /// The same level for all modules.
    pub fn all(level: Level) -> Self {
        Self { all: level, modules: Vec::new() }
    }

    fn filter(&self) -> Targets {
        let all = Targets::new().with_default(LevelFilter::WARN).with_target(OURSELVES, self.all);
        self.modules.iter().fold(all, |targets, (module, level)| {
            targets.with_target(format!("{OURSELVES}::{module}"), LevelFilter::from_level(*level))
        })
    }
}

impl FromStr for Levels {
    type Err = TelemetryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let level = |word: &str| match word {
            "error" => Ok(Level::ERROR),
            "warn" => Ok(Level::WARN),
            "info" => Ok(Level::INFO),
            "debug" => Ok(Level::DEBUG),
            "trace" => Ok(Level::TRACE),
            _ => Err(TelemetryError::Levels),
        };
        let is_module = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b':'))
        };
        let mut levels = Self::all(Level::INFO);
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None => levels.all = level(part)?,
                Some((module, word)) if is_module(module) => levels.modules.push((module.to_owned(), level(word)?)),
                Some(_) => return Err(TelemetryError::Levels),
            }
        }
        Ok(levels)
    }
}

/// The log cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The text names no levels.
    #[error("{VARIABLE}: expected error, warn, info, debug or trace, and module=level, separated by commas")]
    Levels,
    /// The variable holds something else than text.
    #[error("{VARIABLE}: is not UTF-8 text")]
    NotText,
    /// There is a log already.
    #[error("the log was started before")]
    Started(#[source] TryInitError),
}

/// Starts the log on standard error, once for the process.
///
/// # Errors
///
/// [`VARIABLE`] makes no sense, or there is a log already.
pub fn start(settings: &Settings) -> Result<(), TelemetryError> {
    let levels = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.parse()?,
        Ok(_) | Err(std::env::VarError::NotPresent) => settings.levels.clone(),
        Err(std::env::VarError::NotUnicode(_)) => return Err(TelemetryError::NotText),
    };
    let terminal = io::stderr().is_terminal();
    let format = settings.format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    // A descriptor of its own: the second reader of SQL points standard error elsewhere for moments (see `sql`).
    let layer = match io::stderr().as_fd().try_clone_to_owned() {
        Ok(own) => layer(format, terminal && settings.color, Arc::new(File::from(own))),
        Err(_) => layer(format, terminal && settings.color, io::stderr),
    };
    tracing_subscriber::registry().with(layer.with_filter(levels.filter())).try_init().map_err(TelemetryError::Started)
}

fn layer<W>(format: Format, color: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> tracing_subscriber::fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        Format::Text => layer.with_ansi(color).with_target(false).boxed(),
        Format::Json => layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(format: Format, levels: &str, what: impl FnOnce()) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let levels: Levels = levels.parse().unwrap();
        let layer = layer(format, false, move || writer.clone()).with_filter(levels.filter());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), what);
        String::from_utf8(kept.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_json_line_has_its_fields_at_the_top() {
        let line = said(Format::Json, "info", || tracing::info!(session = "K7Q4M2XKDT", "session opened"));
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["session"], &line["message"]), (&"K7Q4M2XKDT".into(), &"session opened".into()));
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn dependencies_cannot_be_made_to_say_more_than_warnings() {
        let what = || {
            tracing::debug!(target: "h2::codec", "a header");
            tracing::warn!(target: "h2::codec", "a warning");
            tracing::trace!("our own");
        };
        let text = said(Format::Text, "trace", what);
        assert!(text.contains("a warning") && text.contains("our own") && !text.contains("a header"), "{text}");
    }

    #[test]
    fn a_module_can_have_a_level_of_its_own() {
        let what = || {
            tracing::debug!(target: "hansard::gateway::session", "gateway");
            tracing::debug!(target: "hansard::ship", "ship");
        };
        let text = said(Format::Text, "info,gateway=debug", what);
        assert!(text.contains("gateway") && !text.contains("ship"), "{text}");
    }

    #[test]
    fn levels_that_make_no_sense_are_refused() {
        for bad in ["", "loud", "info,", "h2=", "=debug", "gateway=loud", "[x]=debug", "INFO"] {
            assert!(bad.parse::<Levels>().is_err(), "{bad}");
        }
    }
}
