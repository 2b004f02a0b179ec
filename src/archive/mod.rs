//! What was shipped, read back: query, replay, why, verify.
//!
//! What it promises:
//!
//! * Nothing is skipped in silence. A file that a manifest promises and that is gone, one of another length, one that
//!   cannot be read and one that no recorder wrote are errors that name the file. Whether bytes were changed so that
//!   they still read is not asked here.
//! * Only reading: no statement can change the archive, write a file or change the engine.
//! * Bounded memory: answers are handed over batch by batch, the engine works within [`MEMORY_LIMIT`] and spills
//!   nothing to disk, where recorded statements do not belong.
//! * Whole values: no text is cut.

mod answer;
mod catalog;
mod coverage;
mod damage;
mod days;
mod engine;
mod error;
mod json;
mod replay;
mod rows;
mod table;
pub mod verify;
mod why;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::sync::Arc;

use crate::store::Store;

pub use answer::{Answer, Row};
pub use coverage::Coverage;
pub use damage::among_hostile_bytes;
pub use engine::MEMORY_LIMIT;
pub use error::{ArchiveError, Fault};
pub use replay::{Replay, Which};
pub use rows::{EffectRow, ParamRow, SessionRow, StatementRow};
pub use why::{Explanation, What};

use engine::Engine;

/// The archive, opened for reading. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Archive {
    engine: Arc<Engine>,
}

impl Archive {
    /// Opens it; the store is not asked before the first use.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unexpected`] if the query engine does not start.
    pub fn open(store: &Store) -> Result<Self, ArchiveError> {
        Self::within(store, MEMORY_LIMIT)
    }

    fn within(store: &Store, memory: usize) -> Result<Self, ArchiveError> {
        Ok(Self { engine: Arc::new(Engine::new(store, memory)?) })
    }

    /// Answers one SQL query over the views `statements`, `sessions` and `events`. Each has the columns of its contract
    /// and `date`, the UTC day of `time`; conditions on either leave the files of other days unread.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`]; also each [`Answer::next`] may fail.
    pub async fn query(&self, sql: &str) -> Result<Answer, ArchiveError> {
        self.engine.reading().query(sql).await
    }

    /// The statements of one session, in order.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::NotFound`] if the archive has nothing of it (yet); [`ArchiveError`] otherwise.
    pub async fn replay(&self, which: Which) -> Result<Replay, ArchiveError> {
        replay::open(self.engine.reading(), which).await
    }

    /// What became of one statement, or of one session or refused login.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::NotFound`] if the archive has nothing of it (yet); [`ArchiveError`] otherwise.
    pub async fn why(&self, which: Which) -> Result<Explanation, ArchiveError> {
        why::explain(&self.engine.reading(), which).await
    }
}
