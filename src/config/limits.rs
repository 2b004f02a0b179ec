//! How much is taken on and how long something may last: `[limits]`, `[drain]`, and the time limits of
//! `[target.NAME.session]`.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::file::{DrainSection, LimitsSection, SessionSection};
use super::reading::{Findings, FromToml, Located, Node, value_if_any, value_or};
use super::units::{Age, Size, duration_text, size_text};
use super::{Drain, Limits, SessionLimits};

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

/// What a machine with the usual limits serves; idle sessions cost little.
const CONNECTIONS: usize = 2_000;
/// More than one machine has ports and files for.
const MOST_CONNECTIONS: i64 = 100_000;
/// Four of the longest messages that are taken unless told otherwise.
const MEMORY: u64 = 1 << 30;
/// Below it ordinary statements would be refused.
const MEMORY_FLOOR: u64 = 1 << 20;

/// As PostgreSQL's `authentication_timeout`.
const SIGN_IN: Duration = Duration::from_secs(60);
/// Below it a slow network would keep people out.
const SIGN_IN_FLOOR: Duration = Duration::from_secs(5);
/// As PostgreSQL's own.
const SIGN_IN_CEILING: Duration = Duration::from_secs(600);

/// A number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connections(usize);

impl FromToml for Connections {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        let number = node.value.get_ref().as_integer();
        let number = number.and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        let number = number.filter(|number| (1..=MOST_CONNECTIONS).contains(number));
        let Some(number) = number.and_then(|number| usize::try_from(number).ok()) else {
            findings.note(&node.at(), format!("{}: expected a whole number from 1 to {MOST_CONNECTIONS}", node.name));
            return None;
        };
        Some(Self(number))
    }
}

impl JsonSchema for Connections {
    fn schema_name() -> Cow<'static, str> {
        "Connections".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MOST_CONNECTIONS })
    }
}

/// What the program takes on at most.
pub(super) fn limits(section: Option<Located<LimitsSection>>, findings: &mut Findings) -> Option<Limits> {
    let section = value_or(section, LimitsSection::default())?;
    if let Some(memory) = &section.memory
        && memory.value.is_some_and(|Size(memory)| memory < MEMORY_FLOOR)
    {
        memory.refuse(format_args!("must be at least {}", size_text(MEMORY_FLOOR)), findings);
    }
    if let Some(sign_in) = &section.sign_in
        && sign_in.value.is_some_and(|Age(limit)| !(SIGN_IN_FLOOR..=SIGN_IN_CEILING).contains(&limit))
    {
        let (floor, ceiling) = (duration_text(SIGN_IN_FLOOR), duration_text(SIGN_IN_CEILING));
        sign_in.refuse(format_args!("must be {floor} to {ceiling}"), findings);
    }
    let Age(sign_in) = value_or(section.sign_in, Age(SIGN_IN))?;
    let sessions_per_identity = value_if_any(section.sessions_per_identity)?.map(|Connections(number)| number);
    let Connections(connections) = value_or(section.connections, Connections(CONNECTIONS))?;
    let Size(memory) = value_or(section.memory, Size(MEMORY))?;
    Some(Limits { connections, sessions_per_identity, sign_in, memory })
}

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
    let max_age = limit(section.max_age.take());
    let unread = limit(section.unread.take()).map(|unread| unread.unwrap_or(UNREAD));
    Some(SessionLimits {
        idle: idle?,
        idle_in_transaction: idle_in_transaction?,
        statement: statement?,
        unread: unread?,
        max_age: max_age?,
    })
}
