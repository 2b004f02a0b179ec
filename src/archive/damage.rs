//! Which file is to blame: the engine's errors name none.

use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::catalog::DataFile;
use super::error::ArchiveError;
use crate::store::{Store, StoreError};

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
        let decoded = tokio::task::spawn_blocking(move || decode(bytes)).await;
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
