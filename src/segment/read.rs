//! Parquet → batches, in the form that costs least to hash, and the leaves of their rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::{Dataset, LogicalRows, Segment, SegmentError};
use crate::model::{EntrySeq, Sha256};

/// Rows of a batch: enough that a word is encoded once for many rows, few enough that long statements fit.
const BATCH_ROWS: usize = 4_096;

/// Entry and leaf of each row of a file, in the order of the published rule.
///
/// # Errors
///
/// [`SegmentError`] if it is no file of the dataset.
pub fn leaves_of(dataset: Dataset, bytes: Bytes) -> Result<Vec<(EntrySeq, Sha256)>, SegmentError> {
    let mut leaves = Vec::new();
    for batch in Segment::batches(dataset, bytes)? {
        leaves.extend(LogicalRows::of(dataset, &batch?)?.leaves()?);
    }
    leaves.sort_unstable();
    Ok(leaves)
}

impl Segment {
    /// The rows of a Parquet file. Texts come as dictionaries, which is how files of ours hold what repeats.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Parquet`] if the bytes are no Parquet file, now or with a batch.
    pub fn batches(
        dataset: Dataset,
        bytes: Bytes,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, SegmentError>>, SegmentError> {
        let failed = move |source| SegmentError::Parquet { dataset: dataset.name(), source };
        let found = ArrowReaderMetadata::load(&bytes, ArrowReaderOptions::new()).map_err(failed)?;
        let wanted = Schema::new(found.schema().fields().iter().map(words).collect::<Fields>());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(wanted));
        let found = ArrowReaderMetadata::try_new(Arc::clone(found.metadata()), options).map_err(failed)?;
        // Row group by row group: a batch of two would have no dictionary, because each has its own.
        let groups = (0..found.metadata().num_row_groups()).map(move |group| {
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), found.clone());
            builder.with_row_groups(vec![group]).with_batch_size(BATCH_ROWS).build().map_err(failed)
        });
        Ok(groups.flat_map(move |group| match group {
            Ok(batches) => Batches::Of(dataset, batches),
            Err(error) => Batches::Error(Some(error)),
        }))
    }
}

/// The batches of a row group, or why there are none.
enum Batches {
    Of(Dataset, ParquetRecordBatchReader),
    Error(Option<SegmentError>),
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Of(dataset, batches) => {
                let failed = |source| SegmentError::Rows { dataset: dataset.name(), source };
                batches.next().map(|batch| batch.map_err(failed))
            }
            Self::Error(error) => error.take().map(Err),
        }
    }
}

/// The same field with texts as dictionaries.
fn words(field: &Arc<Field>) -> Arc<Field> {
    let kind = match field.data_type() {
        DataType::Utf8 if !LONG.contains(&field.name().as_str()) => {
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
        }
        DataType::List(element) => DataType::List(words(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(words).collect()),
        _ => return Arc::clone(field),
    };
    Arc::new(field.as_ref().clone().with_data_type(kind))
}

/// Columns whose values rarely repeat: a dictionary would only have to be made first.
const LONG: &[&str] = &["reference", "text", "text_sha256", "value"];
