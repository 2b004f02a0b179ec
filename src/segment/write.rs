//! Columns → Parquet bytes, the same bytes for the same columns.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use zstd::bulk::Compressor;

use super::chunk::{self, WordColumn};
use super::columns::Columns;
use super::{Dataset, File, LogicalRows, SegmentError};
use crate::model::{EntrySeq, NodeName, SegmentNo, Sha256, Timestamp};

/// Segment numbers are padded so that names sort as numbers do.
const NUMBER_WIDTH: usize = 12;
/// A segment's worth: each group costs a dictionary and a decompressor for every column. Pruning by time is finer, by pages.
const MAX_GROUP_ROWS: usize = 65_536;
/// Text offsets of Arrow's `Utf8` are 32 bits: no row group may come near 2 GiB, unless one statement alone does, and
/// the wire protocol ends at 1 GiB. Also the bound of what building holds beside the rows.
const MAX_GROUP_BYTES: usize = 64 << 20;
/// Readers such as Security Lake ask for pages of at most 1 MiB; a longer statement has a page of its own.
pub(super) const PAGE_BYTES: usize = 1 << 20;
pub(super) const PAGE_ROWS: usize = 4_096;
/// The page size is looked at after so many values: few, so that long statements do not pile up in one page.
const VALUES_BETWEEN_LOOKS: usize = 64;
/// Statistics repeat a column's least and greatest value; of a 20 MB statement the first bytes prune as well.
pub(super) const STATISTICS_BYTES: usize = 64;
/// Level 3: level 9 saves 1 % and takes twice the time (measured).
const ZSTD_LEVEL: i32 = 3;

/// Columns that auditors look up by value.
const LOOKED_UP: &[&str] = &["session_id", "subject", "fingerprint"];
/// Columns of numbers that grow.
const GROWING: &[&str] =
    &["time", "ended", "opened", "closed", "token_issued", "token_expires", "entry_seq", "statement_seq"];
/// Columns whose values rarely repeat, or are so long that a dictionary would hold them all.
const LONG: &[&str] =
    &["reference", "text", "text_bytes", "text_sha256", "params.list.element.value", "params.list.element.raw"];

/// What names a segment's files.
pub(super) struct Stamp<'a> {
    pub(super) node: &'a NodeName,
    pub(super) no: SegmentNo,
    pub(super) cut_time: Timestamp,
}

/// The Parquet file of one dataset and day, and entry and leaf of each of its rows. `sizes` has an estimate for each row;
/// `table` makes the columns of a range.
pub(super) fn file(
    stamp: &Stamp<'_>,
    dataset: Dataset,
    day: &str,
    sizes: Vec<usize>,
    table: impl Fn(Range<usize>) -> Option<Result<Columns, SegmentError>>,
) -> Result<(File, Vec<(EntrySeq, Sha256)>), SegmentError> {
    let failed = |source| SegmentError::Parquet { dataset: dataset.name(), source };
    let schema = dataset.schema()?;
    let rows = sizes.len();
    let properties = properties(stamp, dataset, &schema).map_err(failed)?;
    let writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).map_err(failed)?;
    let (mut writer, columns) = writer.into_serialized_writer().map_err(failed)?;
    let mut compressor = Compressor::new(ZSTD_LEVEL).map_err(|error| failed(error.into()))?;
    let mut leaves = Vec::with_capacity(rows);
    for (number, range) in groups(sizes).into_iter().enumerate() {
        let Some(table) = table(range) else { continue };
        let batch = table?.batch()?;
        leaves.extend(LogicalRows::of(dataset, &batch)?.leaves()?);
        let columns = columns.create_column_writers(number).map_err(failed)?;
        group(&mut writer, columns, &batch, &mut compressor).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(failed)?;
    let name = format!("{}/date={day}/{}-{:0NUMBER_WIDTH$}.parquet", dataset.name(), stamp.node, stamp.no.0);
    Ok((File::new(name, bytes.into(), rows as u64), leaves))
}

/// Writes a row group. The file's schema is the contract's; the batch's says which texts are dictionaries.
fn group(
    to: &mut SerializedFileWriter<Vec<u8>>,
    columns: Vec<ArrowColumnWriter>,
    batch: &RecordBatch,
    compressor: &mut Compressor<'static>,
) -> Result<(), ParquetError> {
    let (properties, schema) = (Arc::clone(to.properties()), to.schema_descr().columns().to_vec());
    let mut group = to.next_row_group()?;
    let mut columns = schema.iter().zip(columns);
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let words = WordColumn::leaves(array);
        let all = words.iter().all(Option::is_some);
        let mut leaves = if all { Vec::new() } else { compute_leaves(field, array)? }.into_iter();
        for words in words {
            let (leaf, column) = (leaves.next(), columns.next());
            match (words, leaf, column) {
                (Some(words), _, Some((descr, _))) => {
                    let (bytes, close) = chunk::write(words, descr, &properties, compressor)?;
                    group.append_column(&bytes, close)?;
                }
                (None, Some(leaf), Some((_, mut column))) => {
                    column.write(&leaf)?;
                    column.close()?.append_to_row_group(&mut group)?;
                }
                _ => return Err(ParquetError::General("a batch has other columns than its file".to_owned())),
            }
        }
    }
    group.close().map(|_| ())
}

/// Splits rows into row groups of bounded rows and bytes; a row larger than the bound is a group of its own.
fn groups(sizes: Vec<usize>) -> Vec<Range<usize>> {
    let rows = sizes.len();
    let mut groups = Vec::new();
    let (mut start, mut bytes) = (0, 0_usize);
    for (at, size) in sizes.into_iter().enumerate() {
        let full = at - start >= MAX_GROUP_ROWS || bytes.saturating_add(size) > MAX_GROUP_BYTES;
        if full && at > start {
            groups.push(start..at);
            (start, bytes) = (at, 0);
        }
        bytes = bytes.saturating_add(size);
    }
    if start < rows {
        groups.push(start..rows);
    }
    groups
}

fn properties(
    stamp: &Stamp<'_>,
    dataset: Dataset,
    schema: &arrow::datatypes::Schema,
) -> Result<WriterProperties, ParquetError> {
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(MAX_GROUP_ROWS))
        .set_data_page_size_limit(PAGE_BYTES)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(VALUES_BETWEEN_LOOKS)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_column_index_truncate_length(Some(STATISTICS_BYTES))
        .set_sorting_columns(sorting(schema))
        .set_key_value_metadata(Some(vec![
            pair("hansard.schema", dataset.version().to_owned()),
            pair("hansard.node", stamp.node.to_string()),
            pair("hansard.segment", stamp.no.0.to_string()),
            pair("hansard.cut", stamp.cut_time.to_string()),
        ]));
    for name in LOOKED_UP {
        builder = builder.set_column_bloom_filter_max_ndv(ColumnPath::from(*name), MAX_GROUP_ROWS as u64);
    }
    for name in GROWING {
        let column = ColumnPath::from(*name);
        builder = builder
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
    }
    for name in LONG {
        let column = ColumnPath::new(name.split('.').map(str::to_owned).collect());
        builder = builder
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    Ok(builder.build())
}

/// Rows are sorted by time; the second key is no leaf number that is the same in each dataset, so it is not claimed.
fn sorting(schema: &arrow::datatypes::Schema) -> Option<Vec<SortingColumn>> {
    let at = schema.fields().iter().take_while(|field| field.name() != "time").count();
    let flat = schema.fields().iter().take(at).all(|field| !field.data_type().is_nested());
    let column_idx = i32::try_from(at).ok().filter(|_| flat)?;
    Some(vec![SortingColumn { column_idx, descending: false, nulls_first: false }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_groups_are_bounded_and_a_giant_row_stands_alone() {
        let giant = MAX_GROUP_BYTES * 20;
        assert!(groups(vec![]).is_empty());
        assert_eq!(groups(vec![1]), vec![0..1]);
        assert_eq!(groups(vec![1, giant, 1, 1]), vec![0..1, 1..2, 2..4]);
        assert_eq!(groups(vec![giant, giant]), vec![0..1, 1..2]);
        assert_eq!(groups(vec![1; MAX_GROUP_ROWS + 1]), vec![0..MAX_GROUP_ROWS, MAX_GROUP_ROWS..MAX_GROUP_ROWS + 1]);
    }

    #[test]
    fn the_columns_that_writing_names_exist() {
        let mut names = Vec::new();
        for dataset in Dataset::ALL {
            let schema = dataset.schema().unwrap();
            names.extend(schema.fields().iter().map(|field| field.name().clone()));
            assert!(sorting(&schema).is_some());
        }
        for name in LOOKED_UP.iter().chain(GROWING).chain(LONG) {
            let column = name.split('.').next().unwrap();
            assert!(names.iter().any(|known| known == column), "{name}");
        }
    }
}
