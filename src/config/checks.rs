//! The sections held against each other, and the defaults, each with its reason. Issuers are in [`super::issuers`], the two
//! ends of a connection in [`super::ends`], the archive's place in [`super::storage`], what makes it checkable in
//! [`super::evidence`].

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::cluster::cluster;
use super::ends::{listeners, targets};
use super::evidence::evidence;
use super::file::{File, JournalSection, LogLevel, LogSection, MetricsSection, TelemetrySection};
use super::issuers::issuers;
use super::limits::{drain, limits};
use super::reading::{Findings, Keys, Located, Named, Surroundings, value_if_any, value_or};
use super::sign_in::{operators, sign_in};
use super::storage::storage;
use super::units::{Percent, Size};
use super::values::{Address, NodeSetting, SecretSection, VERSION, Version, version};
use super::{Config, Issuer, Journal, Listener, Log, Metrics, Secret};
use crate::model::NodeName;

const JOURNAL: &str = "/var/lib/hansard/journal";
/// Hours of a busy database, if the archive is away.
const JOURNAL_MAX: u64 = 10 << 30;
/// The last fifth is for sessions that are already open.
const REFUSE_NEW_SESSIONS_AT: u8 = 80;

/// The folder that relative paths start from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folder<'a>(&'a Path);

impl Folder<'_> {
    /// The path made whole.
    pub(super) fn path(self, path: PathBuf) -> PathBuf {
        self.0.join(path)
    }

    /// The reference with its path made whole.
    pub(super) fn secret(self, reference: Located<SecretSection>) -> Option<Secret> {
        Some(match reference.value? {
            SecretSection::File(path) => Secret::in_file(reference.name, self.path(path)),
            SecretSection::Env(variable) => Secret::in_env(reference.name, variable),
        })
    }
}

/// Reads `text`. Every problem is noted; without any, there is a configuration.
pub(super) fn check(
    text: &str,
    folder: &Path,
    surroundings: Surroundings<'_>,
    findings: &mut Findings,
) -> Option<Config> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        findings.note(&error.span().unwrap_or(0..0), format!("not TOML: {}", error.message()));
    }
    if !findings.is_empty() || is_too_new(table.get_ref(), findings) {
        return None;
    }
    let file = File::from_keys(&Keys::root(table.get_ref()), findings);
    assemble(file, Folder(folder), surroundings, findings)
}

/// Notes a format that this program does not know; the rest of such a file means nothing here.
fn is_too_new(table: &DeTable<'_>, findings: &mut Findings) -> bool {
    let Some(value) = table.get("version") else { return false };
    let newer = version(value.get_ref()).is_some_and(|version| version > VERSION);
    if newer {
        let problem = "version: the file is of a newer format than this program knows";
        findings.note(&value.span(), format!("{problem} ({VERSION}); use a newer hansard"));
    }
    newer
}

fn assemble(file: File, folder: Folder<'_>, surroundings: Surroundings<'_>, findings: &mut Findings) -> Option<Config> {
    let node = node(file.node, surroundings, findings);
    let has_door = file.sign_in.is_some();
    let issuers = issuers(file.issuer, file.identity, (has_door, folder), findings);
    let targets = targets(file.target, (issuers.as_deref(), folder), findings);
    let listeners = listeners(file.listener, (targets.as_deref(), issuers.as_deref()), folder, findings);
    let policy = file.policy.value.and_then(|policy| policy.path.value);
    let journal = journal(file.journal, folder, findings);
    let storage = storage(file.storage, folder, findings);
    let journal_folder = journal.as_ref().map_or(Path::new(JOURNAL), |journal| journal.path.as_path());
    let evidence = evidence(file.evidence, journal_folder, folder, findings);
    let cluster = cluster(file.cluster, folder, findings);
    let limits = limits(file.limits, findings);
    let drain = drain(file.drain, findings);
    let telemetry = value_or(file.telemetry, TelemetrySection::default());
    let (log, metrics) = telemetry
        .map(|telemetry| (log(telemetry.log), metrics(telemetry.metrics, listeners.as_deref(), findings)))
        .unzip();
    let has_operators = file.operators.is_some();
    let operators = operators(file.operators, (issuers.as_deref(), has_door), findings);
    let speaks = |issuer: &Issuer| issuer.client.is_some() || issuer.settings.ends.is_some();
    let has_purpose = issuers.as_ref().map(|issuers| has_operators || issuers.iter().any(speaks));
    let known = (listeners.as_deref(), metrics.as_ref().and_then(|metrics| metrics.as_ref()?.as_ref()));
    let sign_in = sign_in(file.sign_in, known, has_purpose, findings);
    value_or(file.version, Version)?;
    let targets: Option<Vec<_>> = targets?.into_iter().map(|known| known.target).collect();
    Some(Config {
        node: node?,
        issuers: issuers?,
        listeners: listeners?,
        targets: targets?,
        policy: policy?.0.into_iter().map(|path| folder.path(path)).collect(),
        journal: journal?,
        storage: storage?,
        evidence: evidence?,
        cluster: cluster?,
        sign_in: sign_in?,
        operators: operators?,
        limits: limits?,
        drain: drain?,
        log: log??,
        metrics: metrics??,
    })
}

fn node(
    setting: Option<Located<NodeSetting>>,
    surroundings: Surroundings<'_>,
    findings: &mut Findings,
) -> Option<NodeName> {
    let Some(setting) = setting else {
        let name = (surroundings.hostname)().and_then(|hostname| NodeName::new(sanitised(&hostname)).ok());
        if name.is_none() {
            findings.note(&(0..0), "the machine has no hostname that could be a node name; write node = \"NAME\"");
        }
        return name;
    };
    let named = setting.try_map(
        |setting| {
            match setting {
                NodeSetting::Name(name) => NodeName::new(name).map_err(str::to_owned),
                NodeSetting::Env(section) => {
                    let Some(variable) = section.env.value else { return Ok(None) };
                    match (surroundings.variable)(&variable) {
                        Some(name) => NodeName::new(name).map_err(|problem| format!("{variable}: {problem}")),
                        None => Err(format!("the environment variable {variable} is not set")),
                    }
                }
            }
            .map(Some)
        },
        findings,
    );
    named.value?
}

/// The machine's own name.
pub(super) fn hostname() -> Option<String> {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|name| name.trim().to_owned())
}

/// A hostname as a node name: what cannot stand in one becomes a dash.
fn sanitised(hostname: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    hostname.trim_start_matches('.').chars().take(63).map(|c| if fits(c) { c } else { '-' }).collect()
}

/// Whether the operator's word can stand in messages and records as it is.
pub(super) fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Notes names that are not.
pub(super) fn refuse_bad_names<T>(named: &Named<T>, findings: &mut Findings) {
    for (name, section) in &named.0 {
        if !is_name(name) {
            findings.note(&section.at, format!("{}: a name has 1 to 63 of a-z A-Z 0-9 - _", section.name));
        }
    }
}

fn journal(section: Option<Located<JournalSection>>, folder: Folder<'_>, findings: &mut Findings) -> Option<Journal> {
    let section = value_or(section, JournalSection::default())?;
    if let Some(max) = &section.max
        && max.value == Some(Size(0))
    {
        max.refuse("must be more than nothing", findings);
    }
    Some(Journal {
        path: folder.path(value_or(section.path, PathBuf::from(JOURNAL))?),
        max: value_or(section.max, Size(JOURNAL_MAX))?.0,
        refuse_new_sessions_at: value_or(section.refuse_new_sessions_at, Percent(REFUSE_NEW_SESSIONS_AT))?.0,
    })
}

fn log(log: Option<Located<LogSection>>) -> Option<Log> {
    let log = value_or(log, LogSection::default())?;
    Some(Log { format: value_if_any(log.format)?, level: value_or(log.level, LogLevel::Info)? })
}

fn metrics(
    section: Option<Located<MetricsSection>>,
    listeners: Option<&[Listener]>,
    findings: &mut Findings,
) -> Option<Option<Metrics>> {
    let Some(section) = value_if_any(section)? else { return Some(None) };
    let Address(address) = section.address.value?;
    if let Some(same) = listeners.unwrap_or_default().iter().find(|listener| listener.address == address) {
        section.address.refuse(format_args!("is that of listener.{} too", same.name), findings);
    }
    Some(Some(Metrics { address }))
}
