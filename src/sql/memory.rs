//! Facts remembered by text, so that a repeated statement is read once.
//!
//! Promises: the same text always has the same facts, so nothing is ever invalidated; what is kept is bounded; a text that
//! is known costs a look-up by its bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Dialect, read};
use crate::model::{Facts, SqlText};

/// Texts remembered in one generation. Two generations at most are kept: the last one answers what the new one lacks.
const GENERATION: usize = 4_096;
/// Longer texts are read each time: they are rare, and 8,192 of them would be much memory.
const LONGEST: usize = 16 << 10;

/// Text → facts, in one dialect.
#[derive(Debug)]
pub struct Memory {
    dialect: Dialect,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Bytes, Arc<Facts>>,
    old: HashMap<Bytes, Arc<Facts>>,
}

impl Memory {
    /// Nothing is known yet.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, generations: Mutex::default() }
    }

    /// The facts of a text that was read before and not forgotten since.
    pub fn known(&self, text: &SqlText) -> Option<Arc<Facts>> {
        let text = text.bytes();
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = generations.young.get(text) {
            return Some(Arc::clone(facts));
        }
        let (key, facts) = generations.old.remove_entry(text)?;
        generations.insert(key, Arc::clone(&facts));
        Some(facts)
    }

    /// Reads a text that is not known, which may take a while: see [`read`].
    pub fn read(&self, text: &SqlText) -> Arc<Facts> {
        let facts = Arc::new(read(text, self.dialect));
        if text.bytes().len() <= LONGEST {
            // The key is a copy: a slice would keep the whole read buffer alive.
            let key = Bytes::copy_from_slice(text.bytes());
            let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
            generations.insert(key, Arc::clone(&facts));
        }
        facts
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_asked_for_outlives_those_that_are_not() {
        let memory = Memory::new(Dialect::PostgreSql);
        let kept = SqlText::from("SELECT 1");
        memory.read(&kept);
        for number in 0..2 * GENERATION {
            memory.generations.lock().unwrap().insert(Bytes::from(number.to_string()), Arc::new(Facts::unparsed("")));
            assert!(memory.known(&kept).is_some());
        }
        let generations = memory.generations.lock().unwrap();
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
        assert!(!generations.young.contains_key(&b"0"[..]) && !generations.old.contains_key(&b"0"[..]));
    }

    #[test]
    fn a_very_long_text_is_read_each_time() {
        let memory = Memory::new(Dialect::PostgreSql);
        let long = SqlText::from(format!("SELECT '{}'", "x".repeat(LONGEST)).as_str());
        memory.read(&long);
        assert!(memory.known(&long).is_none());
    }
}
