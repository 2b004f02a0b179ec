//! What names stand for while answers are outstanding.

use std::sync::Arc;

use bytes::Bytes;

use super::super::message::{self, Name};
use super::super::names::{MAX_NAMES, Portal, Prepared};
use super::super::running::Renames;
use super::{Changes, Exchange, Executed, Pending, Request, Since};
use crate::wire::Violation;

impl Exchange {
    /// Whether something that `does` what the reading of a new frame hangs on has no answer yet. An answer to an earlier
    /// batch can be waited for; one to this batch comes only with the batch.
    pub(super) fn unanswered(&self, does: impl Fn(&Changes) -> bool) -> Option<Since> {
        if !self.suspect {
            return None;
        }
        let mut since = Since::ThisBatch;
        for pending in self.pending.iter().rev() {
            match pending {
                Pending::Sync(_) => since = Since::EarlierBatch,
                Pending::Query(_, run) if does(&run.changes) => return Some(Since::EarlierBatch),
                Pending::Query(..) => since = Since::EarlierBatch,
                Pending::Execute(run) if does(&run.changes) => return Some(since),
                _ => {}
            }
        }
        None
    }

    /// Whether what a name stands for hangs on a statement without an answer. In this batch, whose answers cannot be waited
    /// for, only a statement that is all about names counts.
    pub(super) fn doubt(&self, which: impl Fn(&Changes) -> &Renames) -> Option<Since> {
        match self.unanswered(|changes| *which(changes) != Renames::No)? {
            Since::EarlierBatch => Some(Since::EarlierBatch),
            Since::ThisBatch => self.unanswered(|changes| matches!(which(changes), Renames::One(_))),
        }
    }

    pub(super) fn take_bind(&mut self, frame: Bytes) -> Result<Request, Violation> {
        let bind = message::bind(&frame)?;
        if self.statements.unsettled(&bind.statement, self.batch) {
            return Ok(Request::Wait(frame));
        }
        if !bind.statement.is_empty() {
            match self.doubt(|changes| &changes.names) {
                Some(Since::EarlierBatch) => return Ok(Request::Wait(frame)),
                Some(Since::ThisBatch) => self.statements.remove(&bind.statement),
                None => {}
            }
        }
        if self.portals.len() >= MAX_NAMES {
            return Err(Violation("more portals than a session may hold"));
        }
        match self.statements.get(&bind.statement).map(|slot| Arc::clone(&slot.value)) {
            Some(statement) => {
                let kept =
                    self.bound.bind(frame.len()).ok_or(Violation("more values bound than a session may hold"))?;
                let portal = Arc::new(Portal { statement, held: false, values: bind.values, _kept: Some(kept) });
                let change = self.portals.put(Bytes::copy_from_slice(&bind.portal), portal, self.batch);
                self.push(Pending::Bind(change));
            }
            None => {
                // Whatever the portal will stand for was not seen: an Execute of it is not understood.
                self.portals.remove(&bind.portal);
                self.push(Pending::ClosePortal(bind.portal, None));
            }
        }
        Ok(Request::Pass(frame))
    }

    pub(super) fn take_execute(&mut self, frame: Bytes) -> Result<Request, Violation> {
        let name = message::execute(&frame)?;
        if self.portals.unsettled(&name, self.batch) {
            return Ok(Request::Wait(frame));
        }
        if !name.is_empty() {
            match self.doubt(|changes| &changes.portals) {
                Some(Since::EarlierBatch) => return Ok(Request::Wait(frame)),
                Some(Since::ThisBatch) => self.portals.remove(&name),
                None => {}
            }
        }
        let portal = self.portals.get(&name).map(|slot| Arc::clone(&slot.value));
        let params = portal.as_deref().map(Portal::params).unwrap_or_default();
        let statement = portal.map(|portal| Arc::clone(&portal.statement));
        Ok(Request::Execute(Executed { portal: name, statement, params }, frame))
    }

    /// What SQL's `EXECUTE` of a name executes; nothing if that was not seen, or if something without an answer may change
    /// it.
    pub fn prepared(&self, name: &str) -> Option<Arc<Prepared>> {
        let name = Name::copy_from_slice(name.as_bytes());
        let in_doubt = self.unanswered(|changes| changes.names != Renames::No).is_some();
        let slot = self.statements.get(&name).filter(|_| !in_doubt && !self.statements.unsettled(&name, self.batch))?;
        Some(Arc::clone(&slot.value))
    }

    /// What the cursor or portal of a name reads, as far as it is known.
    pub fn cursor(&self, name: &str) -> Option<Arc<Prepared>> {
        let slot = self.portals.get(&Name::copy_from_slice(name.as_bytes()))?;
        Some(Arc::clone(&slot.value.statement))
    }
}
