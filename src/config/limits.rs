//! How long something may last: `[drain]`, and the time limits of `[target.NAME.session]`.

use std::time::Duration;

use super::file::{DrainSection, SessionSection};
use super::reading::{Findings, Located, value_if_any, value_or};
use super::units::{Age, duration_text};
use super::{Drain, SessionLimits};

/// Enough for the transactions of programs, and within what those who stop services wait before they kill (Kubernetes 30 s,
/// systemd 90 s), the last shipment included.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
/// Whoever needs longer does not want to stop.
const DRAIN_CEILING: Duration = Duration::from_secs(3_600);

/// Longer than anybody reads a page of a result, and an end to what a client can keep by reading nothing.
const UNREAD: Duration = Duration::from_secs(3_600);
/// Below it a pause of the network or of a busy machine would end sessions.
const LIMIT_FLOOR: Duration = Duration::from_secs(1);
/// Above it, it is no limit.
const LIMIT_CEILING: Duration = Duration::from_secs(30 * 86_400);

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

/// The time limits of a target's sessions.
pub(super) fn session_limits(section: &mut SessionSection, findings: &mut Findings) -> Option<SessionLimits> {
    let mut limit = |age: Option<Located<Age>>| {
        if let Some(located) = &age
            && located.value.is_some_and(|Age(age)| !(LIMIT_FLOOR..=LIMIT_CEILING).contains(&age))
        {
            let (floor, ceiling) = (duration_text(LIMIT_FLOOR), duration_text(LIMIT_CEILING));
            located.refuse(format_args!("must be {floor} to {ceiling}"), findings);
        }
        value_if_any(age).map(|age| age.map(|Age(age)| age))
    };
    // All of them are looked at before a bad one ends it.
    let idle = limit(section.idle.take());
    let idle_in_transaction = limit(section.idle_in_transaction.take());
    let statement = limit(section.statement.take());
    let unread = limit(section.unread.take()).map(|unread| unread.unwrap_or(UNREAD));
    Some(SessionLimits {
        idle: idle?,
        idle_in_transaction: idle_in_transaction?,
        statement: statement?,
        unread: unread?,
    })
}
