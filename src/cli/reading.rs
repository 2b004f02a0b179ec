//! What the commands that read the archive share: which archive, how a failure ends, and how values look.

use std::future::Future;
use std::path::{Path, PathBuf};

use super::assembly::{archive_settings, encoded};
use super::exit::Exit;
use super::operator;
use super::render::{Lines, say, shown};
use super::{Globals, telemetry};
use crate::archive::{Archive, ArchiveError, Fault, ParamRow};
use crate::config::{Config, Place};
use crate::store::{AzureCredential, AzureSettings, Secret, Store, StoreSettings};

/// Types whose values need no quotes.
const BARE: &[&str] = &["bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric"];

/// Which archive is read.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
pub(super) struct Where {
    /// The configuration that names the archive
    #[arg(short = 'c', long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The archive itself: a folder, or az://container/prefix with AZURE_STORAGE_ACCOUNT, and AZURE_STORAGE_KEY or
    /// AZURE_STORAGE_SAS_TOKEN unless the machine has an identity
    #[arg(long, value_name = "FOLDER|URL")]
    archive: Option<String>,
}

/// Why a command ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The archive, or how it was asked.
    Archive(ArchiveError),
    /// Something else, with its words.
    Said(Exit, String),
    /// Standard output.
    Output(std::io::Error),
}

impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

impl Stop {
    /// Says why on standard error. A reader that has gone away has seen enough.
    fn say(&self) -> Exit {
        match self {
            Self::Archive(error) => {
                say(error);
                match error.fault() {
                    Fault::Usage => Exit::Usage,
                    Fault::NotFound => Exit::NotFound,
                    Fault::Settings => Exit::Invalid,
                    Fault::Away => Exit::DependencyAway,
                    Fault::Contradiction => Exit::Contradiction,
                    Fault::Incomplete => Exit::Incomplete,
                    Fault::Unexpected => Exit::Unexpected,
                }
            }
            Self::Said(exit, words) => {
                say(words);
                *exit
            }
            Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(error) => {
                say(format_args!("standard output cannot be written: {error}"));
                Exit::Unexpected
            }
        }
    }
}

/// Runs a command that reads.
pub(super) fn run(globals: &Globals, work: impl Future<Output = Result<Exit, Stop>>) -> Exit {
    if let Err(error) = telemetry::start(&globals.telemetry(None)) {
        say(error);
        return Exit::Unexpected;
    }
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work).unwrap_or_else(|stop| stop.say()),
        Err(error) => {
            say(format_args!("the runtime could not be started: {error}"));
            Exit::Unexpected
        }
    }
}

/// What is asked of the archive, for the record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The command.
    pub(super) command: &'a str,
    /// What it is asked for.
    pub(super) question: &'a str,
    /// Whether to say only what went wrong.
    pub(super) quiet: bool,
}

impl Where {
    /// The configuration, if the archive is named by one.
    pub(super) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Opens the archive. A folder that is not there is not made. A read by a recorder's configuration is put on record
    /// first; one that cannot be is refused.
    pub(super) fn open(&self, asked: Asked<'_>) -> Result<Archive, Stop> {
        Ok(Archive::open(&self.store(asked)?)?)
    }

    /// The same, as objects.
    pub(super) fn store(&self, asked: Asked<'_>) -> Result<Store, Stop> {
        let settings = match (&self.config, &self.archive) {
            (Some(config), _) => configured(config, asked)?,
            (None, Some(archive)) => named(archive)?,
            (None, None) => return Err(Stop::Said(Exit::Usage, "name an archive: -c FILE or --archive".to_owned())),
        };
        Ok(Store::open(&settings).map_err(ArchiveError::from)?)
    }
}

/// The configuration at a path.
pub(super) fn config(path: &Path) -> Result<Config, Stop> {
    Config::load(path).map_err(|problems| Stop::Said(Exit::Invalid, problems.to_string()))
}

/// A folder or container that is named by itself.
pub(super) fn opened(place: &str) -> Result<Store, Stop> {
    Ok(Store::open(&named(place)?).map_err(ArchiveError::from)?)
}

fn configured(path: &Path, asked: Asked<'_>) -> Result<StoreSettings, Stop> {
    let config = config(path)?;
    if let Place::Folder(folder) = &config.storage.place {
        there(folder)?;
    }
    let settings =
        archive_settings(path, &config.storage).map_err(|problems| Stop::Said(Exit::Invalid, problems.join("\n")))?;
    put_on_record(&config.journal.path, asked)?;
    Ok(settings)
}

/// Puts the read on record where the recorder is.
fn put_on_record(journal: &Path, asked: Asked<'_>) -> Result<(), Stop> {
    let journal = match std::fs::metadata(journal) {
        Ok(_) => journal,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if !asked.quiet {
                say(format_args!("note: {} is not on this machine, so this read is not on record", journal.display()));
            }
            return Ok(());
        }
        Err(error) => return Err(unrecorded(journal, &error)),
    };
    operator::note(journal, asked.command, asked.question).map_err(|error| unrecorded(journal, &error))
}

fn unrecorded(journal: &Path, error: &std::io::Error) -> Stop {
    let words = format!(
        "this read would not be on record, so nothing is read: {} cannot be written: {error}; ask as the recorder's user",
        journal.display()
    );
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Stop::Said(Exit::Forbidden, words),
        _ => Stop::Said(Exit::DependencyAway, words),
    }
}

fn named(archive: &str) -> Result<StoreSettings, Stop> {
    if archive.starts_with("az://") {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let key = variable("AZURE_STORAGE_KEY").map(|key| AzureCredential::AccessKey(Secret::new(key)));
        let sas = || variable("AZURE_STORAGE_SAS_TOKEN").map(|sas| AzureCredential::Sas(Secret::new(sas)));
        let azure = AzureSettings {
            account: variable("AZURE_STORAGE_ACCOUNT"),
            credential: key.or_else(sas).unwrap_or_default(),
            ..AzureSettings::default()
        };
        return Ok(StoreSettings { url: archive.to_owned(), azure });
    }
    let path = match archive.strip_prefix("file://") {
        Some(path) if path.contains('%') => {
            let words = format!("{archive} has escapes; give the folder as a path");
            return Err(Stop::Said(Exit::Usage, words));
        }
        Some(path) => path,
        None => archive,
    };
    there(Path::new(path))?;
    let real = std::fs::canonicalize(path).map_err(|error| away(path, &error))?;
    Ok(StoreSettings { url: format!("file://{}", encoded(&real)), azure: AzureSettings::default() })
}

fn there(folder: &Path) -> Result<(), Stop> {
    match std::fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Stop::Said(Exit::NotFound, format!("{} is not a folder", folder.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Stop::Said(Exit::NotFound, format!("there is no archive at {}", folder.display())))
        }
        Err(error) => Err(away(&folder.display().to_string(), &error)),
    }
}

fn away(folder: &str, error: &std::io::Error) -> Stop {
    Stop::Said(Exit::DependencyAway, format!("the archive at {folder} cannot be read: {error}"))
}

/// `2026-11-24T14:10:52.117000Z` for people: `2026-11-24 14:10:52.117 UTC`.
pub(super) fn moment(time: &str) -> String {
    format!("{} {} UTC", day(time), clock(time))
}

/// The day of a time.
pub(super) fn day(time: &str) -> &str {
    time.get(..10).unwrap_or(time)
}

/// The time of day, to the millisecond.
pub(super) fn clock(time: &str) -> &str {
    time.get(11..23).unwrap_or(time)
}

/// A bound value: `$1 = int4 88123`.
pub(super) fn bound(param: &ParamRow) -> String {
    let kind = param.type_name.clone().unwrap_or_else(|| match param.type_oid {
        0 => "unknown".to_owned(),
        oid => format!("type {oid}"),
    });
    let value = match (&param.value, &param.raw) {
        _ if param.is_null => "NULL".to_owned(),
        (Some(value), _) if BARE.contains(&kind.as_str()) => value.clone(),
        (Some(value), _) => format!("'{}'", value.replace('\'', "''")),
        (None, raw) => format!("{} {}", param.format, raw.as_deref().unwrap_or("")),
    };
    shown(&format!("${} = {kind} {value}", param.position), Lines::Shown).into_owned()
}

/// How long it took, if that is known.
pub(super) fn took(us: Option<i64>) -> String {
    match us {
        None => String::new(),
        Some(us) if us < 10_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        Some(us) if us < 10_000_000 => format!("{} ms", us / 1_000),
        Some(us) => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// `1 row`, `2 rows`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked<'_> = Asked { command: "query", question: "SELECT 1", quiet: true };

    #[test]
    fn an_archive_that_is_not_there_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("typo");
        for name in [folder.display().to_string(), format!("file://{}", folder.display())] {
            let which = Where { config: None, archive: Some(name) };
            let stop = which.open(ASKED).unwrap_err();
            assert!(matches!(&stop, Stop::Said(Exit::NotFound, words) if words.contains("no archive at")), "{stop:?}");
        }
        assert!(!folder.exists());
        let odd = dir.path().join("a b%c");
        std::fs::create_dir(&odd).unwrap();
        assert!(Where { config: None, archive: Some(odd.display().to_string()) }.open(ASKED).is_ok());
    }

    #[test]
    fn values_are_shown_with_their_types_and_cannot_act() {
        let param = |type_name: Option<&str>, value: Option<&str>, raw: Option<&str>| ParamRow {
            position: 2,
            type_oid: 16_500,
            type_name: type_name.map(str::to_owned),
            format: "binary".to_owned(),
            value: value.map(str::to_owned),
            raw: raw.map(str::to_owned),
            is_null: raw.is_none(),
        };
        assert_eq!(bound(&param(Some("int4"), Some("88123"), Some("\\x00"))), "$2 = int4 88123");
        assert_eq!(bound(&param(Some("text"), Some("it's\n\u{1b}[2J"), Some("\\x00"))), "$2 = text 'it''s␊␛[2J'");
        assert_eq!(bound(&param(None, None, Some("\\x01ff"))), "$2 = type 16500 binary \\x01ff");
        assert_eq!(bound(&param(Some("text"), None, None)), "$2 = text NULL");
    }

    #[test]
    fn durations_have_two_or_three_digits() {
        for (us, text) in [(0, "0.0 ms"), (3_420, "3.4 ms"), (12_900, "12 ms"), (61_250_000, "61.2 s")] {
            assert_eq!(took(Some(us)), text);
        }
        assert_eq!(took(None), "");
    }
}
