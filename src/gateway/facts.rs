//! Facts remembered by text, so that a repeated statement is read once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::model::{Facts, SqlText};
use crate::sql;

/// Texts remembered in one generation. Two generations at most are kept: the last one answers what the new one lacks.
const GENERATION: usize = 4_096;
/// Longer texts are read each time: they are rare, and 8,192 of them would be much memory.
const LONGEST: usize = 16 << 10;

/// Text → facts. The same text always has the same facts, so nothing is ever invalidated.
#[derive(Debug, Default)]
pub(super) struct FactsCache {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Bytes, Arc<Facts>>,
    old: HashMap<Bytes, Arc<Facts>>,
}

impl FactsCache {
    /// The facts of a text.
    pub(super) fn read(&self, text: &SqlText) -> Arc<Facts> {
        if text.bytes().len() > LONGEST {
            return Arc::new(read(text));
        }
        if let Some(known) = self.known(text.bytes()) {
            return known;
        }
        let facts = Arc::new(read(text));
        // The key is a copy: a slice would keep the whole read buffer alive.
        self.remember(Bytes::copy_from_slice(text.bytes()), &facts);
        facts
    }

    fn known(&self, text: &Bytes) -> Option<Arc<Facts>> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = generations.young.get(text) {
            return Some(Arc::clone(facts));
        }
        let (key, facts) = generations.old.remove_entry(text)?;
        generations.insert(key, Arc::clone(&facts));
        Some(facts)
    }

    fn remember(&self, text: Bytes, facts: &Arc<Facts>) {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner).insert(text, Arc::clone(facts));
    }
}

impl Generations {
    fn insert(&mut self, text: Bytes, facts: Arc<Facts>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(text, facts);
    }
}

/// Reading may wait for a thread with a large stack, so the runtime is told.
fn read(text: &SqlText) -> Facts {
    tokio::task::block_in_place(|| sql::read(text, sql::Dialect::PostgreSql))
}
