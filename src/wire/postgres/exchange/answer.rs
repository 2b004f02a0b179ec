//! The database's half: what each of its frames settles.

use std::sync::Arc;

use bytes::Bytes;

use super::super::cut;
use super::super::message::{self, ErrorFields, Refusal};
use super::super::names::{Change, Portal, Prepared};
use super::super::running::{Changes, Renames};
use super::{Exchange, Pending, Reply};
use crate::model::{OutcomeStatus, Timestamp};
use crate::wire::Violation;

impl Exchange {
    /// Takes a piece of a frame that the database streams: rows, COPY data, notices.
    ///
    /// # Errors
    ///
    /// It answers nothing that was asked: the session must end.
    pub fn stream(&mut self, kind: Option<u8>, len: usize, now: Timestamp) -> Result<(), Violation> {
        self.now = now;
        match self.front() {
            Some(Pending::Query(_, run) | Pending::Execute(run)) if run.has_started() => {
                run.bytes_out += len as u64;
                if kind == Some(b'V') {
                    if !run.awaits_value() {
                        return Err(Violation(UNASKED));
                    }
                    run.row(true, now);
                    run.nothing();
                }
                if matches!(kind, Some(b'D' | b'd')) {
                    run.row(kind == Some(b'D'), now);
                }
                Ok(())
            }
            Some(Pending::Describe(_)) if kind == Some(b'T') => {
                self.pending.pop_front();
                Ok(())
            }
            // Whose rows these are is not known, so nobody gets them.
            _ if matches!(kind, Some(b'D' | b'd' | b'T' | b'V')) => Err(Violation(UNASKED)),
            _ => Ok(()),
        }
    }

    /// Takes a whole frame of the database.
    ///
    /// # Errors
    ///
    /// It answers nothing that was asked: the session must end.
    pub fn answer(&mut self, kind: u8, frame: &[u8], now: Timestamp) -> Result<Reply, Violation> {
        self.now = now;
        let front = self.front().and_then(Pending::run);
        let is_here = front.as_ref().is_some_and(|run| !run.has_started());
        if let Some(run) = front {
            run.bytes_out += frame.len() as u64;
        }
        match kind {
            // A statement that was not sent has no answer; but the connection may end at any time.
            b'C' | b'I' | b's' | b'G' | b'H' | b'W' if is_here => return Err(Violation(UNASKED)),
            b'E' if is_here => {
                let error = message::error_fields(&Bytes::copy_from_slice(frame));
                if !error.fatal {
                    return Err(Violation(UNASKED));
                }
                (self.fatal, self.failed_by) = (true, error.sqlstate);
                return Ok(Reply::Pass);
            }
            b'E' => return Ok(self.error(&Bytes::copy_from_slice(frame), now)),
            b'Z' => self.ready(frame.last().map_or('I', |status| char::from(*status)), now)?,
            b'1' => {
                if let Some(Pending::Parse(change, _)) = self.pop(|front| matches!(front, Pending::Parse(..))) {
                    change.confirm();
                }
            }
            b'2' => match self.pop(|front| matches!(front, Pending::Bind(_) | Pending::ClosePortal(..))) {
                Some(Pending::Bind(change)) => change.confirm(),
                Some(_) => {}
                None => return Err(Violation(UNASKED)),
            },
            b'3' => match self.pop(|f| matches!(f, Pending::CloseStatement(..) | Pending::ClosePortal(..))) {
                Some(Pending::CloseStatement(name, Some(value))) => self.statements.forget(&name, &value),
                Some(Pending::ClosePortal(name, Some(value))) => self.portals.forget(&name, &value),
                _ => {}
            },
            b't' => {
                if let Some(Pending::Describe(Some(statement))) = self.front() {
                    let types = described_types(&Bytes::copy_from_slice(frame))?;
                    // A second description of the same statement says the same.
                    statement.described.set(types).ok();
                }
            }
            b'n' => drop(self.pop(|front| matches!(front, Pending::Describe(_)))),
            b'C' => self.complete(frame, now)?,
            b'I' | b's' => match self.front() {
                Some(Pending::Query(_, run) | Pending::Execute(run)) => {
                    run.nothing();
                    self.end_execute(OutcomeStatus::Ok, now);
                }
                _ => return Err(Violation(UNASKED)),
            },
            b'G' => self.begin_copy_in(),
            b'W' if self.replicates && self.front().is_some_and(|front| front.run().is_some()) => {
                self.copying_both = true;
            }
            b'S' => {
                let mut body = message::Body::of(&Bytes::copy_from_slice(frame));
                let (name, value) = (body.string()?, body.string()?);
                if let (Ok(name), Ok(value)) = (std::str::from_utf8(&name), std::str::from_utf8(&value)) {
                    self.parameter(name, value);
                }
            }
            b'H' | b'c' | b'K' => {}
            _ => return Err(Violation(UNASKED)),
        }
        Ok(Reply::Pass)
    }

    fn complete(&mut self, frame: &[u8], now: Timestamp) -> Result<(), Violation> {
        let tag = std::str::from_utf8(message::first_string(frame)?).unwrap_or_default();
        let Some(Pending::Query(_, run) | Pending::Execute(run)) = self.front() else {
            return Err(Violation(UNASKED));
        };
        run.tag(tag);
        let changes = run.changes.clone();
        self.roles.change(&changes.role);
        self.roles.completed(tag);
        self.renamed(tag, changes);
        (self.copying_in, self.copying_both) = (false, false);
        self.end_execute(OutcomeStatus::Ok, now);
        Ok(())
    }

    /// SQL gives up and gives the same names as the protocol. Where it is not known which, none stands for anything seen.
    fn renamed(&mut self, tag: &str, Changes { names, portals, gives, .. }: Changes) {
        match (tag, names, portals) {
            ("DEALLOCATE" | "PREPARE", Renames::One(Some(name)), _) => match gives.filter(|_| tag == "PREPARE") {
                Some((statement, _)) => self.statements.settle(name, statement, self.batch),
                None => self.statements.remove(&name),
            },
            ("DEALLOCATE" | "PREPARE" | "DEALLOCATE ALL", ..) => self.statements.forget_named(),
            ("DISCARD ALL", ..) => {
                self.statements.forget_named();
                self.portals.forget_named();
            }
            ("DECLARE CURSOR", _, Renames::One(Some(name))) => match gives {
                Some((statement, held)) => {
                    let portal = Portal { statement, held, values: Vec::new(), _kept: None };
                    self.portals.settle(name, portal.into(), self.batch);
                }
                None => self.portals.remove(&name),
            },
            ("CLOSE CURSOR", _, Renames::One(Some(name))) => self.portals.remove(&name),
            ("DECLARE CURSOR" | "CLOSE CURSOR" | "CLOSE CURSOR ALL", ..) => self.portals.forget_named(),
            _ => {}
        }
    }

    /// Ends an `Execute` at the front; a `Query` ends with `ReadyForQuery` only.
    fn end_execute(&mut self, status: OutcomeStatus, now: Timestamp) {
        if let Some(Pending::Execute(run)) = self.pop(|front| matches!(front, Pending::Execute(_))) {
            self.settling.push(run.end(status, now));
        }
    }

    /// The commit at a `Sync` failed: what the batch did outside of a transaction was undone, and the last of it is where
    /// the record says so.
    fn commit_failed(&mut self, error: &ErrorFields) {
        if let Some(last) = self.settling.last_mut().filter(|last| last.status == OutcomeStatus::Ok) {
            last.status = cut::status(error, false);
            last.sqlstate.clone_from(&error.sqlstate);
        }
    }

    fn begin_copy_in(&mut self) {
        self.front();
        // What the client sent before the end of its data is ignored by the database, `Sync` included.
        let ended = self.pending.iter().position(|pending| matches!(pending, Pending::CopyEnd));
        let upto = ended.unwrap_or(self.pending.len());
        let mut at = 0;
        self.pending.retain(|pending| {
            let ignored = at < upto && matches!(pending, Pending::Sync(_));
            at += 1;
            !ignored
        });
        // The end that is here already is this COPY's; another COPY of the same message has one of its own.
        let ended = self.pending.iter().position(|pending| matches!(pending, Pending::CopyEnd));
        self.copying_in = ended.is_none();
        self.synced_in_copy = false;
        if let Some(at) = ended {
            self.pending.remove(at);
        }
    }

    fn ready(&mut self, status: char, now: Timestamp) -> Result<(), Violation> {
        self.transaction = status;
        (self.copying_in, self.copying_both) = (false, false);
        if status != 'E' {
            self.stopped_by = None;
        }
        while matches!(self.front(), Some(Pending::Dropped)) {
            self.pending.pop_front();
        }
        // What stands before a Sync was answered or discarded by now, and a Query was answered. Otherwise this belongs to
        // something that the queue does not know, and everything behind would be recorded as something else.
        let batch = match self.pending.front() {
            Some(Pending::Sync(batch) | Pending::Poison { batch, simple: true, answer: None, .. }) => *batch,
            Some(Pending::Query(batch, run)) if run.answered() => *batch,
            _ => return Err(Violation(UNASKED)),
        };
        if let Some(Pending::Query(_, run)) = self.pending.pop_front() {
            let ended = run.failure().unwrap_or(OutcomeStatus::Ok);
            self.settling.push(run.end(ended, now));
        }
        self.settling.iter_mut().for_each(|outcome| outcome.transaction_after = Some(status));
        self.done.append(&mut self.settling);
        self.failed_by = None;
        self.roles.ready(status);
        if status == 'I' {
            self.portals.forget_upto(batch, |portal| portal.held);
        }
        // Ends of COPY that nobody began.
        self.front();
        self.suspect &= !self.pending.is_empty();
        Ok(())
    }

    fn error(&mut self, frame: &Bytes, now: Timestamp) -> Reply {
        let error = message::error_fields(frame);
        let fatal = error.fatal;
        self.fatal |= fatal;
        self.roles.failed();
        let cut = self.instead_of(error.sqlstate.as_deref());
        let mut reply = Reply::Pass;
        match self.front() {
            Some(Pending::Query(_, run)) => {
                run.fail(&error);
                self.copying_both = false;
            }
            Some(Pending::Poison { simple: true, answer, .. }) => {
                if let Some(answer) = answer.take().filter(|_| !fatal) {
                    return Reply::Replace(answer);
                }
            }
            None => {}
            Some(Pending::Sync(_)) if fatal => {}
            Some(Pending::Sync(_)) => self.commit_failed(&error),
            Some(_) => {
                self.failed_by.clone_from(&error.sqlstate);
                match self.pending.pop_front() {
                    Some(Pending::Execute(mut run)) => {
                        let status = run.fail(&error);
                        self.settling.push(run.end(status, now));
                    }
                    Some(Pending::Poison { answer: Some(answer), .. }) if !fatal => {
                        self.failed_by = message::error_fields(&answer).sqlstate;
                        reply = Reply::Replace(answer);
                    }
                    Some(other) => self.discard(other),
                    None => {}
                }
                self.copying_in = false;
                self.skip();
            }
        }
        if fatal {
            self.failed_by.clone_from(&error.sqlstate);
        }
        if let Some(cut) = cut {
            return Reply::Replace(cut);
        }
        match self.stopped_by {
            Some(reference) if error.sqlstate.as_deref() == Some("25P02") && reply == Reply::Pass => {
                let text = format!(
                    "this transaction was stopped by a denied statement (ref {reference}); ROLLBACK to continue"
                );
                Reply::Replace(Refusal::error("25P02", text).frame())
            }
            _ => reply,
        }
    }

    /// Discards what the database discards: everything up to the next `Sync`.
    fn skip(&mut self) {
        let upto = self.pending.iter().position(|pending| matches!(pending, Pending::Sync(_)));
        self.skipping = upto.is_none();
        let skipped = self.pending.drain(..upto.unwrap_or(self.pending.len())).collect();
        self.discard_all(skipped);
    }

    /// From the back, so that each name goes back to what it stood for before.
    pub(super) fn discard_all(&mut self, mut skipped: Vec<Pending>) {
        let (first, first_early) = (self.settling.len(), self.early.len());
        while let Some(pending) = skipped.pop() {
            self.discard(pending);
        }
        if let Some(new) = self.settling.get_mut(first..) {
            new.reverse();
        }
        if let Some(new) = self.early.get_mut(first_early..) {
            new.reverse();
        }
    }

    pub(super) fn discard(&mut self, pending: Pending) {
        match pending {
            Pending::Execute(run) | Pending::Query(_, run) => {
                let (sent, handed) = (run.has_started(), run.is_handed_over());
                let outcome = run.cut(OutcomeStatus::Skipped, self.failed_by.as_deref(), self.now);
                if sent { self.settling.push(outcome) } else { self.early.push((handed, outcome)) }
            }
            Pending::Parse(change, _) => self.undo_parse(change),
            Pending::Bind(change) => {
                if let Some(stale) = self.portals.undo(change) {
                    rebase(self.pending.iter_mut().chain(&mut self.skipped), stale, |pending| match pending {
                        Pending::Bind(later) => Some(later),
                        _ => None,
                    });
                }
            }
            _ => {}
        }
    }

    pub(super) fn undo_parse(&mut self, change: Change<Prepared>) {
        if let Some(stale) = self.statements.undo(change) {
            rebase(self.pending.iter_mut().chain(&mut self.skipped), stale, |pending| match pending {
                Pending::Parse(later, _) => Some(later),
                _ => None,
            });
        }
    }
}

/// A change was taken back that a later one was built upon: the later one's `before` becomes the earlier one's.
fn rebase<'a, T: 'a>(
    queued: impl Iterator<Item = &'a mut Pending>,
    stale: Change<T>,
    change_of: impl Fn(&mut Pending) -> Option<&mut Change<T>>,
) {
    let later = queued.filter_map(change_of).find(|later| {
        later.name == stale.name && later.before.as_ref().is_some_and(|before| Arc::ptr_eq(&before.value, &stale.value))
    });
    if let Some(later) = later {
        later.before = stale.before;
    }
}

const UNASKED: &str = "an answer to nothing that was asked";

fn described_types(frame: &Bytes) -> Result<Vec<u32>, Violation> {
    let mut body = message::Body::of(frame);
    let count = body.u16()?;
    let types = (0..count).map(|_| body.i32().map(i32::cast_unsigned)).collect::<Result<_, _>>()?;
    body.end().map(|()| types)
}
