//! Parquet → the leaves of its rows, in their order.

use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Dataset, LogicalRows, SegmentError};
use crate::model::{EntrySeq, Sha256};

/// Entry and leaf of each row of a file, in the order of the published rule.
///
/// # Errors
///
/// [`SegmentError`] if it is no file of the dataset.
pub fn leaves_of(dataset: Dataset, bytes: Bytes) -> Result<Vec<(EntrySeq, Sha256)>, SegmentError> {
    let failed = |source| SegmentError::Parquet { dataset: dataset.name(), source };
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(failed)?.build().map_err(failed)?;
    let mut leaves = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|source| SegmentError::Rows { dataset: dataset.name(), source })?;
        leaves.extend(LogicalRows::of(dataset, &batch)?.leaves()?);
    }
    leaves.sort_unstable();
    Ok(leaves)
}
