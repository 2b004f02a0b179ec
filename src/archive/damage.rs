//! Which file is to blame: the engine's errors name none.

use std::cell::Cell;

use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::catalog::DataFile;
use super::error::ArchiveError;
use crate::store::{Store, StoreError};

thread_local! {
    static HOSTILE: Cell<bool> = const { Cell::new(false) };
}

/// Runs a decoder on bytes that somebody else may have made, where it may panic: whoever watches for panics can ask
/// [`among_hostile_bytes`] whether this one is a finding and no fault of ours.
pub(super) fn hostile<T>(decode: impl FnOnce() -> T) -> T {
    struct Left;
    impl Drop for Left {
        fn drop(&mut self) {
            HOSTILE.set(false);
        }
    }
    HOSTILE.set(true);
    let _left = Left;
    decode()
}

/// Whether this thread decodes bytes that somebody else may have made.
pub fn among_hostile_bytes() -> bool {
    HOSTILE.get()
}

/// Rows that are decoded at once while looking for damage.
const ROWS_AT_ONCE: usize = 256;

/// Reads every file whole and returns what is wrong with the first one that cannot be read.
pub(super) async fn find(store: &Store, files: Vec<DataFile>) -> Option<ArchiveError> {
    for file in files {
        let bytes = match store.get(&file.name).await {
            Ok(bytes) => bytes,
            Err(StoreError::Missing { name }) => {
                return Some(ArchiveError::Missing {
                    name,
                    promised_by: "the archive's own list of a moment ago".to_owned(),
                });
            }
            Err(error) => return Some(error.into()),
        };
        // A decoder may panic on bytes that nobody wrote on purpose; then the task fails, not the program.
        let decoded = tokio::task::spawn_blocking(move || hostile(|| decode(bytes))).await;
        let cause = match decoded {
            Ok(Ok(())) => continue,
            Ok(Err(cause)) => cause,
            Err(_) => "the Parquet reader gave up on it".to_owned(),
        };
        return Some(ArchiveError::Damaged { name: file.name, cause });
    }
    None
}

fn decode(bytes: Bytes) -> Result<(), String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
    let mut batches = reader.with_batch_size(ROWS_AT_ONCE).build().map_err(|error| error.to_string())?;
    batches.try_for_each(|batch| batch.map(drop)).map_err(|error| error.to_string())
}
