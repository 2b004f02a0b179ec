//! What a session's names stand for: prepared statements and portals.
//!
//! A name is given when a client sends `Parse` or `Bind`, before the database agreed. Should the database refuse, the
//! name stands for what it stood for before: each change is kept with the request that made it and taken back with it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::kept::Kept;
use super::message::{Name, Value};
use crate::model::{Facts, SqlText};

/// Names that one session may hold at a time. PostgreSQL has no limit; each of ours keeps a statement's text in memory.
pub(super) const MAX_NAMES: usize = 65_536;

/// A prepared statement.
#[derive(Debug)]
pub struct Prepared {
    /// Its name; empty for the unnamed one.
    pub name: Name,
    /// Its text: of the `Parse`, or of the whole `PREPARE` or `DECLARE`, as the server itself shows it.
    pub text: SqlText,
    /// What was understood of it.
    pub facts: Arc<Facts>,
    /// The types that the client gave.
    pub(super) types: Vec<u32>,
    /// The types that the database described.
    pub(super) described: OnceLock<Vec<u32>>,
    /// What it takes of what its session may keep, once it counts.
    pub(super) kept: OnceLock<Kept>,
}

impl Prepared {
    /// The type of a parameter: what the database described, else what the client gave, else 0.
    pub(super) fn type_of(&self, at: usize) -> u32 {
        let described = self.described.get().and_then(|types| types.get(at));
        described.or(self.types.get(at)).copied().unwrap_or(0)
    }
}

/// A bound portal.
#[derive(Debug)]
pub(super) struct Portal {
    /// What it executes.
    pub(super) statement: Arc<Prepared>,
    /// Whether it outlives its transaction: a cursor `WITH HOLD`.
    pub(super) held: bool,
    /// The values: format and bytes, or NULL.
    pub(super) values: Vec<Value>,
    /// What they take of what its session may hold; nothing for a cursor of SQL.
    pub(super) _kept: Option<Kept>,
}

/// What a name stands for, and since which batch.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) value: Arc<T>,
    pub(super) batch: u64,
    /// Whether the database agreed. Shared with the change, because the slot may have been set aside when it does.
    agreed: Arc<AtomicBool>,
}

/// A change that can be taken back.
#[derive(Debug)]
pub(super) struct Change<T> {
    pub(super) name: Name,
    pub(super) value: Arc<T>,
    pub(super) before: Option<Slot<T>>,
    agreed: Arc<AtomicBool>,
}

impl<T> Change<T> {
    /// The database agreed.
    pub(super) fn confirm(&self) {
        self.agreed.store(true, Ordering::Relaxed);
    }
}

/// The names of one kind.
#[derive(Debug)]
pub(super) struct Names<T> {
    slots: HashMap<Name, Slot<T>>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { slots: HashMap::new() }
    }
}

impl<T> Names<T> {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, name: &Name) -> Option<&Slot<T>> {
        self.slots.get(name)
    }

    /// Lets a name stand for something from now on.
    pub(super) fn put(&mut self, name: Name, value: Arc<T>, batch: u64) -> Change<T> {
        let agreed = Arc::new(AtomicBool::new(false));
        let slot = Slot { value: Arc::clone(&value), batch, agreed: Arc::clone(&agreed) };
        let before = self.slots.insert(name.clone(), slot);
        Change { name, value, before, agreed }
    }

    /// The database refused. Gives the change back if a later request has built upon it, whose own `before` must then
    /// become this change's.
    pub(super) fn undo(&mut self, change: Change<T>) -> Option<Change<T>> {
        match self.slots.get(&change.name) {
            Some(slot) if Arc::ptr_eq(&slot.value, &change.value) => {
                match change.before {
                    Some(before) => self.slots.insert(change.name, before),
                    None => self.slots.remove(&change.name),
                };
                None
            }
            _ => Some(change),
        }
    }

    /// Forgets a name if it still stands for `value`.
    pub(super) fn forget(&mut self, name: &Name, value: &Arc<T>) {
        if self.slots.get(name).is_some_and(|slot| Arc::ptr_eq(&slot.value, value)) {
            self.slots.remove(name);
        }
    }

    /// SQL lets a name stand for something, and the database has agreed. A request on its way has given it, too, so what
    /// it will stand for in the end is not known: nothing that was seen. So it is where there are too many names: half of
    /// the room stays for the protocol's, which end the session when there is none.
    pub(super) fn settle(&mut self, name: Name, value: Arc<T>, batch: u64) {
        let is_contested = self.slots.get(&name).is_some_and(|slot| !slot.agreed.load(Ordering::Relaxed));
        if is_contested || self.len() >= MAX_NAMES / 2 {
            self.slots.remove(&name);
        } else {
            self.put(name, value, batch).confirm();
        }
    }

    /// Keeps the names given after a batch, and those whose values say so.
    pub(super) fn forget_upto(&mut self, batch: u64, keeps: impl Fn(&T) -> bool) {
        self.slots.retain(|_, slot| slot.batch > batch || keeps(&slot.value));
    }

    /// Whether what the name stands for hangs on an answer to an earlier batch.
    pub(super) fn unsettled(&self, name: &Name, batch: u64) -> bool {
        self.slots.get(name).is_some_and(|slot| !slot.agreed.load(Ordering::Relaxed) && slot.batch != batch)
    }

    /// Forgets every name but the empty one.
    pub(super) fn forget_named(&mut self) {
        self.slots.retain(|name, _| name.is_empty());
    }

    /// Removes a name that the client gives up for good.
    pub(super) fn remove(&mut self, name: &Name) {
        self.slots.remove(name);
    }
}
