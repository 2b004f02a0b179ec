//! `[evidence]`: what makes the archive checkable by others.

use std::path::Path;
use std::time::Duration;

use super::checks::Folder;
use super::file::{EvidenceSection, TimestampsSection};
use super::reading::{Findings, Located, value_or};
use super::storage::copy;
use super::units::{Age, duration_text};
use super::urls::timestamp_authority;
use super::{Evidence, Timestamps};

/// The folder of the keys in that of the journal.
const KEYS: &str = "keys";
/// Often enough that an hour of silence is noticed at once, seldom enough that a quiet day is 288 rows.
const HEARTBEAT: Duration = Duration::from_secs(300);
/// A stamp an hour: what a stolen key can be used for unnoticed, against what authorities let one ask for free.
const STAMP_EVERY: Duration = Duration::from_secs(3_600);
/// The least pause between two of either.
const LEAST: Duration = Duration::from_secs(1);
const MOST_HEARTBEAT: Duration = Duration::from_secs(3_600);
const MOST_EVERY: Duration = Duration::from_secs(86_400);

/// Turns the section into values. `journal` is the journal's folder.
pub(super) fn evidence(
    section: Option<Located<EvidenceSection>>,
    journal: &Path,
    folder: Folder<'_>,
    findings: &mut Findings,
) -> Option<Evidence> {
    let section = value_or(section, EvidenceSection::default())?;
    let keys = match section.keys {
        Some(keys) => keys.value.map(|keys| folder.path(keys)),
        None => Some(journal.join(KEYS)),
    };
    let heartbeat = within(section.heartbeat, HEARTBEAT, MOST_HEARTBEAT, findings);
    let timestamps = match section.timestamps {
        Some(timestamps) => timestamps.value.and_then(|section| stamps(section, folder, findings)).map(Some),
        None => Some(None),
    };
    let copy = match section.copy {
        Some(section) => copy(section, folder, findings).map(Some),
        None => Some(None),
    };
    Some(Evidence { keys: keys?, heartbeat: heartbeat?, timestamps: timestamps?, copy: copy? })
}

fn stamps(section: TimestampsSection, folder: Folder<'_>, findings: &mut Findings) -> Option<Timestamps> {
    let url = section.url.try_map(|url| timestamp_authority(&url).map(|()| url), findings).value;
    let authorities = section.authorities.value.map(|path| folder.path(path));
    let every = within(section.every, STAMP_EVERY, MOST_EVERY, findings);
    Some(Timestamps { url: url?, authorities: authorities?, every: every? })
}

fn within(age: Option<Located<Age>>, usual: Duration, most: Duration, findings: &mut Findings) -> Option<Duration> {
    if let Some(located) = &age
        && located.value.is_some_and(|Age(age)| !(LEAST..=most).contains(&age))
    {
        let bounds = format!("must be {} to {}", duration_text(LEAST), duration_text(most));
        located.refuse(bounds, findings);
    }
    value_or(age, Age(usual)).map(|Age(age)| age)
}
