//! What the program does when its time is short: `[drain]`.

use std::time::Duration;

use super::Drain;
use super::file::DrainSection;
use super::reading::{Findings, Located, value_or};
use super::units::{Age, duration_text};

/// Enough for the transactions of programs, and within what those who stop services wait before they kill (Kubernetes 30 s,
/// systemd 90 s), the last shipment included.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Whoever needs longer does not want to stop.
const DRAIN_CEILING: Duration = Duration::from_secs(3_600);

/// Turns the section into values.
pub(super) fn drain(section: Option<Located<DrainSection>>, findings: &mut Findings) -> Option<Drain> {
    let section = value_or(section, DrainSection::default())?;
    if let Some(limit) = &section.limit
        && limit.value.is_some_and(|Age(limit)| limit > DRAIN_CEILING)
    {
        limit.refuse(format_args!("must be at most {}", duration_text(DRAIN_CEILING)), findings);
    }
    value_or(section.limit, Age(DRAIN_LIMIT)).map(|Age(limit)| Drain { limit })
}
