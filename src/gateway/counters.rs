//! What the sessions of a target have done since the start, counted. Plain numbers: who reads them chooses the form.
//!
//! Words stand for causes and ends, each from a fixed list, so that every number is there from the start and nothing that
//! a client sends becomes one.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::identity::Cause;
use crate::model::{OutcomeStatus, Verdict};

/// Causes of a refusal beside those that are in the token.
pub(super) const DENIED: &str = "denied";
pub(super) const NO_SUCH_DATABASE: &str = "no_such_database";
pub(super) const NO_LOGIN: &str = "no_database_user";
pub(super) const NO_TLS: &str = "no_tls";
pub(super) const NO_CERTIFICATE: &str = "no_client_certificate";
pub(super) const STARTUP_PARAMETER: &str = "startup_parameter";
pub(super) const LATE: &str = "no_token_in_time";
pub(super) const OUT_OF_TURN: &str = "protocol_violation";
pub(super) const OVER_LIMIT: &str = "too_many_connections";
pub(super) const OVER_OWN_LIMIT: &str = "too_many_sessions";
pub(super) const REVOKED: &str = "revoked";
pub(super) const BLOCKED: &str = "blocked";
const UNRECORDED: &str = "recording_impossible";
const OURS: [&str; 13] = [
    OVER_OWN_LIMIT,
    DENIED,
    NO_SUCH_DATABASE,
    NO_LOGIN,
    NO_TLS,
    NO_CERTIFICATE,
    STARTUP_PARAMETER,
    LATE,
    OUT_OF_TURN,
    OVER_LIMIT,
    REVOKED,
    BLOCKED,
    UNRECORDED,
];

/// Whether a refusal for this cause says something against who tried: a token that proves nobody, or somebody who may not.
pub(super) fn is_failed_attempt(cause: &str) -> bool {
    let of_token = Cause::ALL.iter().any(|known| known.as_str() == cause);
    (of_token && cause != Cause::IssuerAway.as_str()) || [DENIED, REVOKED, BLOCKED].contains(&cause)
}

/// The sessions of a target, or of those who asked for none, counted since the start.
#[derive(Debug)]
pub struct Counters {
    opened: AtomicU64,
    closed: AtomicU64,
    refused: Vec<(&'static str, AtomicU64)>,
    ended: [(OutcomeStatus, AtomicU64); OutcomeStatus::ALL.len()],
    sessions_unrecorded: AtomicU64,
    statements_unrecorded: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        let causes = Cause::ALL.iter().map(|cause| cause.as_str()).chain(OURS);
        Self {
            opened: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            refused: causes.map(|cause| (cause, AtomicU64::new(0))).collect(),
            ended: OutcomeStatus::ALL.map(|status| (status, AtomicU64::new(0))),
            sessions_unrecorded: AtomicU64::new(0),
            statements_unrecorded: AtomicU64::new(0),
        }
    }
}

/// A session that is open as long as this lives.
#[derive(Debug)]
pub(super) struct OpenSession<'a>(&'a Counters);

impl Drop for OpenSession<'_> {
    fn drop(&mut self) {
        add(&self.0.closed, 1);
    }
}

// The numbers say nothing about each other, so no order among them is needed.
fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    pub(super) fn session_opened(&self) -> OpenSession<'_> {
        add(&self.opened, 1);
        OpenSession(self)
    }

    /// Somebody was not let in.
    pub(super) fn refused(&self, cause: &'static str) {
        let found = self.refused.iter().find(|(word, _)| *word == cause);
        debug_assert!(found.is_some(), "{cause} has no place");
        if let Some((_, counter)) = found {
            add(counter, 1);
        }
    }

    /// Somebody was not let in because it could not be recorded.
    pub(super) fn session_unrecorded(&self) {
        self.refused(UNRECORDED);
        add(&self.sessions_unrecorded, 1);
    }

    /// So many statements and preparations were refused because they could not be recorded.
    pub(super) fn statements_unrecorded(&self, count: usize) {
        add(&self.statements_unrecorded, count as u64);
    }

    pub(super) fn statement_ended(&self, status: OutcomeStatus) {
        if let Some((_, counter)) = self.ended.iter().find(|(end, _)| *end == status) {
            add(counter, 1);
        }
    }

    /// Sessions that were opened.
    pub fn sessions_opened(&self) -> u64 {
        read(&self.opened)
    }

    /// Sessions that are open now.
    pub fn sessions_open(&self) -> u64 {
        // Closed first: a session that comes and goes meanwhile is counted too much, never below nothing.
        let closed = read(&self.closed);
        read(&self.opened).saturating_sub(closed)
    }

    /// Clients that were not let in, by cause; every cause is there.
    pub fn sessions_refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refused.iter().map(|(cause, counter)| (*cause, read(counter)))
    }

    /// Statements that ended, by decision and end; every end is there.
    pub fn statements(&self) -> impl Iterator<Item = (Verdict, OutcomeStatus, u64)> {
        self.ended.iter().map(|(status, counter)| {
            let verdict = if *status == OutcomeStatus::Denied { Verdict::Deny } else { Verdict::Allow };
            (verdict, *status, read(counter))
        })
    }

    /// What was refused because it could not be recorded, by the SQLSTATE that told it: sessions that wanted to begin,
    /// and statements and preparations of open ones.
    pub fn unrecorded(&self) -> [(&'static str, u64); 2] {
        [("57P03", read(&self.sessions_unrecorded)), ("58030", read(&self.statements_unrecorded))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_and_every_end_has_one_place() {
        let counters = Counters::default();
        for cause in Cause::ALL.map(Cause::as_str).into_iter().chain(OURS) {
            counters.refused(cause);
        }
        assert!(counters.sessions_refused().all(|(_, count)| count == 1));
        assert_eq!(counters.sessions_refused().count(), Cause::ALL.len() + OURS.len());
        for status in OutcomeStatus::ALL {
            counters.statement_ended(status);
        }
        assert!(counters.statements().all(|(_, _, count)| count == 1));
        let denied: Vec<_> = counters.statements().filter(|(verdict, ..)| *verdict == Verdict::Deny).collect();
        assert_eq!(denied, [(Verdict::Deny, OutcomeStatus::Denied, 1)]);
    }

    #[test]
    fn a_session_is_open_until_it_is_over_however_it_ends() {
        let counters = Counters::default();
        let first = counters.session_opened();
        let second = counters.session_opened();
        assert_eq!((counters.sessions_opened(), counters.sessions_open()), (2, 2));
        drop(first);
        assert_eq!((counters.sessions_opened(), counters.sessions_open()), (2, 1));
        drop(second);
        assert_eq!((counters.sessions_opened(), counters.sessions_open()), (2, 0));
    }

    #[test]
    fn what_could_not_be_recorded_is_told_by_its_code() {
        let counters = Counters::default();
        counters.session_unrecorded();
        counters.statements_unrecorded(3);
        assert_eq!(counters.unrecorded(), [("57P03", 1), ("58030", 3)]);
        let refused: Vec<_> = counters.sessions_refused().filter(|(_, count)| *count > 0).collect();
        assert_eq!(refused, [("recording_impossible", 1)]);
    }
}
