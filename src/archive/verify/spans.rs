//! What no single segment can show: sessions without a gap, and silence that somebody explained.

use std::collections::BTreeMap;

use super::findings::{Class, Report, Weight, moment};
use super::rows::Moment;
use super::segment::Moments;
use crate::model::{NodeName, Timestamp};
use crate::segment::Manifest;

/// So many heartbeats' time without one is a gap: a busy machine may be late, a machine that runs is not that late.
const BEATS_TO_A_GAP: u64 = 2;
/// And so much more: timers are late by this on a machine that has too much to do.
const LATE: u64 = 5_000_000;
/// Clocks are set by so little all the time.
const CLOCK_STEP: i64 = 1_000_000;

/// What was seen of a session so far.
#[derive(Debug, Default)]
struct Seen {
    least: u64,
    greatest: u64,
    statements: u64,
}

/// Follows a recorder through its segments.
pub(super) struct Spans {
    node: NodeName,
    /// Whether the segments are read from the first on, so that every session is seen from its beginning.
    whole: bool,
    sessions: BTreeMap<String, Seen>,
    /// Entries that the recorder says are missing: then a session may be short of what is among them.
    declared: bool,
    short: Vec<(u64, String, String)>,
    heartbeats: BTreeMap<u64, u64>,
    last: Option<Moment>,
    last_time: Option<Timestamp>,
    stopped: bool,
    anything: bool,
}

impl Spans {
    pub(super) fn new(node: NodeName, whole: bool) -> Self {
        Self {
            node,
            whole,
            sessions: BTreeMap::new(),
            declared: false,
            short: Vec::new(),
            heartbeats: BTreeMap::new(),
            last: None,
            last_time: None,
            stopped: false,
            anything: false,
        }
    }

    pub(super) fn node(&self) -> &NodeName {
        &self.node
    }

    /// What the manifest says of sessions. Manifests come in their order.
    pub(super) fn manifest(&mut self, manifest: &Manifest) {
        self.anything = true;
        self.stopped = manifest.stops;
        self.last_time = super::segment::time(manifest.last_time.as_ref()).or(self.last_time);
        self.heartbeats.insert(manifest.segment.0, manifest.heartbeat_seconds);
        for head in &manifest.sessions {
            let seen = self.sessions.entry(head.session.clone()).or_default();
            if head.statements > 0 {
                seen.least = if seen.statements == 0 { head.first } else { seen.least.min(head.first) };
                seen.greatest = seen.greatest.max(head.last);
                seen.statements += head.statements;
            }
            let Some(closed) = head.closed else { continue };
            let Some(seen) = self.sessions.remove(&head.session) else { continue };
            // Of a session that began before the first segment here, the beginning is not known.
            let from = if self.whole || seen.statements == 0 { 1 } else { seen.least };
            let expected = closed.saturating_sub(from - 1);
            let fits = seen.statements == expected && (seen.statements == 0 || seen.greatest == closed);
            if !fits {
                let detail = format!(
                    "it had {closed} statements; {} are in the log, numbered {} to {}",
                    seen.statements, seen.least, seen.greatest
                );
                self.short.push((manifest.segment.0, head.session.clone(), detail));
            }
        }
    }

    /// The promise of a segment whose manifest was looked at before.
    pub(super) fn promise(&mut self, segment: u64, heartbeat_seconds: u64) {
        self.heartbeats.insert(segment, heartbeat_seconds);
    }

    /// What the rows of a segment tell of the recorder. Segments come in their order.
    pub(super) fn segment(&mut self, moments: Moments, report: &mut Report) {
        let Moments { segment, mut moments } = moments;
        let heartbeat = self.heartbeats.remove(&segment).unwrap_or(0);
        moments.sort_by_key(|moment| moment.entry);
        for next in moments {
            self.declares(segment, &next, report);
            if let Some(last) = &self.last {
                self.between(segment, last, &next, heartbeat, report);
            }
            self.last = Some(next);
        }
    }

    fn declares(&mut self, segment: u64, moment: &Moment, report: &mut Report) {
        let Some(at_most) = moment.at_most else { return };
        let missing = moment.missing.unwrap_or(0);
        let nothing = missing == 0 && at_most == 0;
        self.declared |= !nothing;
        let weight = if nothing { Weight::Note } else { Weight::Incomplete };
        let object = format!("entry {} of {}", moment.entry, self.node);
        let detail =
            format!("{}: missing for certain {missing}, at most {at_most} statements: {}", moment.kind, moment.detail);
        report.find_of(Class::DeclaredGap, weight, &object, (&self.node, Some(segment)), detail);
    }

    fn between(&self, segment: u64, last: &Moment, next: &Moment, heartbeat: u64, report: &mut Report) {
        let object = format!("entry {} of {}", next.entry, self.node);
        let place = (&self.node, segment);
        if next.time.0 < last.time.0.saturating_sub(CLOCK_STEP) {
            let detail = format!("it is of {}, the one before it of {}", moment(next.time), moment(last.time));
            return report.find_in(Class::ClockAnomaly, &object, place, detail);
        }
        let silent = next.time.micros_since(last.time);
        let promised = heartbeat > 0 && silent > heartbeat * BEATS_TO_A_GAP * 1_000_000 + LATE;
        let explained = last.kind == "stopped" || next.at_most.is_some();
        if promised && !explained {
            let detail = format!(
                "the recorder was silent from {} to {}, and promised a sign of life every {heartbeat} s",
                moment(last.time),
                moment(next.time)
            );
            report.find_in(Class::UndeclaredGap, &object, place, detail);
        }
    }

    /// What is left at the end of the log.
    pub(super) fn end(self, until: Option<Timestamp>, report: &mut Report) {
        for (segment, session, detail) in self.short {
            let class = if self.declared { Class::DeclaredGap } else { Class::Missing };
            let detail = if self.declared { format!("{detail}; the recorder declares a gap") } else { detail };
            report.find_in(class, &format!("session {session}"), (&self.node, segment), detail);
        }
        let reaches = |until: Timestamp| self.last_time.is_some_and(|last| last >= until);
        if let Some(until) = until.filter(|until| self.anything && !self.stopped && !reaches(*until)) {
            let object = format!("the log of {}", self.node);
            let last = self.last_time.map_or_else(|| "nothing".to_owned(), moment);
            let detail = format!("it ends at {last} without a stop, before {}", moment(until));
            report.find_of(Class::TruncatedTail, Weight::Incomplete, &object, (&self.node, None), detail);
        }
    }
}
