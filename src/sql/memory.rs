//! Facts remembered by text, so that a repeated statement is read once.
//!
//! Promises: the same text always has the same facts, so nothing is ever invalidated; what is kept is bounded; a text that
//! is known costs a look-up by its bytes.
//!
//! An application that writes its values into its texts never sends the same text twice, and reading one costs a thousand
//! times a look-up. So a text whose reading did not look at its literals is remembered by its [`shape`]; one of the same
//! shape costs being cut into tokens and a look-up. Rejected: to take literals out of every text and keep a list of
//! statements and functions in which they matter, which is only as good as the list; here the reader says so itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{Dialect, read, shape};
use crate::model::{Facts, SqlText};

/// Texts remembered in one generation. Two generations at most are kept: the last one answers what the new one lacks.
const GENERATION: usize = 4_096;
/// Longer texts are read each time: they are rare, and 8,192 of them would be much memory.
const LONGEST: usize = 16 << 10;

/// Text → facts, in one dialect.
#[derive(Debug)]
pub struct Memory {
    dialect: Dialect,
    texts: Mutex<Generations>,
    shapes: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Bytes, Arc<Facts>>,
    old: HashMap<Bytes, Arc<Facts>>,
}

impl Memory {
    /// Nothing is known yet.
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, texts: Mutex::default(), shapes: Mutex::default() }
    }

    /// The facts of a text if it, or one that differs in literals that do not matter, was read before and is not forgotten.
    pub fn known(&self, text: &SqlText) -> Option<Arc<Facts>> {
        let known = locked(&self.texts).get(text.bytes());
        known.or_else(|| locked(&self.shapes).get(&self.shape(text)?))
    }

    /// Reads a text that is not known, which may take a while: see [`read`].
    pub fn read(&self, text: &SqlText) -> Arc<Facts> {
        let facts = Arc::new(read(text, self.dialect));
        if text.bytes().len() <= LONGEST {
            let shape = if facts.by_shape { self.shape(text) } else { None };
            match shape {
                Some(shape) => locked(&self.shapes).insert(shape, Arc::clone(&facts)),
                // The key is a copy: a slice would keep the whole read buffer alive.
                None => locked(&self.texts).insert(Bytes::copy_from_slice(text.bytes()), Arc::clone(&facts)),
            }
        }
        facts
    }

    fn shape(&self, text: &SqlText) -> Option<Bytes> {
        let is_cut_so = self.dialect == Dialect::PostgreSql && text.bytes().len() <= LONGEST;
        shape::of(text.text().filter(|_| is_cut_so)?)
    }
}

fn locked(generations: &Mutex<Generations>) -> MutexGuard<'_, Generations> {
    generations.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Generations {
    fn get(&mut self, key: &Bytes) -> Option<Arc<Facts>> {
        if let Some(facts) = self.young.get(key) {
            return Some(Arc::clone(facts));
        }
        let (key, facts) = self.old.remove_entry(key)?;
        self.insert(key, Arc::clone(&facts));
        Some(facts)
    }

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
        let kept = SqlText::from("SELECT a FROM t");
        memory.read(&kept);
        for number in 0..2 * GENERATION {
            memory.texts.lock().unwrap().insert(Bytes::from(number.to_string()), Arc::new(Facts::unparsed("")));
            assert!(memory.known(&kept).is_some());
        }
        let generations = memory.texts.lock().unwrap();
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
    fn known(memory: &Memory, read: &str, asked: &str) -> bool {
        let facts = memory.read(&SqlText::from(read));
        let known = memory.known(&SqlText::from(asked));
        assert!(known.as_ref().is_none_or(|known| Arc::ptr_eq(known, &facts)));
        known.is_some()
    }

    #[test]
    fn a_text_that_differs_in_its_values_only_is_known() {
        let memory = Memory::new(Dialect::PostgreSql);
        for (read, asked) in [
            ("SELECT a FROM t WHERE id = 1 AND n = 'x'", "SELECT a FROM t WHERE id = 22 AND n = 'O''Neil'"),
            ("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b')"),
            ("UPDATE t SET n = n + -5 WHERE id = 1", "UPDATE t SET n = n + -7 WHERE id = 2"),
            ("DELETE FROM t WHERE id IN (1, 2) ", "DELETE FROM t WHERE id IN (3, 4)"),
        ] {
            assert!(known(&memory, read, asked), "{asked}");
        }
    }

    #[test]
    fn where_a_literal_is_a_name_a_setting_or_a_text_that_is_run_another_one_is_another_text() {
        let memory = Memory::new(Dialect::PostgreSql);
        for (read, asked) in [
            ("SELECT 'a.t'::regclass", "SELECT 'b.t'::regclass"),
            ("SELECT regclass 'a.t'", "SELECT regclass 'b.t'"),
            ("SELECT CAST('a.t' AS pg_catalog.regclass)", "SELECT CAST('b.t' AS pg_catalog.regclass)"),
            ("SELECT 17::regclass", "SELECT 18::regclass"),
            ("SELECT pg_relation_size('a.t')", "SELECT pg_relation_size('b.t')"),
            ("SELECT current_setting('server_version')", "SELECT current_setting('krb_server_keyfile')"),
            ("SELECT set_config('work_mem', '1', false)", "SELECT set_config('role', '1', false)"),
            ("SELECT set_config('a' || 'b', '1', false)", "SELECT set_config('a' || 'c', '1', false)"),
            ("SET work_mem = 1", "SET work_mem = 2"),
            ("SELECT U&'!0041' UESCAPE '!' FROM t", "SELECT U&'!0041' UESCAPE '?' FROM t"),
            ("DO 'BEGIN END'", "DO 'DROP'"),
            ("COPY t TO PROGRAM 'a'", "COPY t TO PROGRAM 'b'"),
            ("CREATE TABLE t (a int DEFAULT 1)", "CREATE TABLE t (a int DEFAULT 2)"),
            ("EXECUTE p(1)", "EXECUTE p(2)"),
        ] {
            assert!(!known(&memory, read, asked), "{asked}");
        }
    }
}
