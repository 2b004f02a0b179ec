//! Parquet → the leaves of its rows, by the segment that each row says it is of.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use bytes::Bytes;

use super::super::days::{DATE, TIME};
use crate::model::Timestamp;
use crate::segment::{Dataset, Leaves, LogicalRows, Segment};

/// A moment of which a recorder itself tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) entry: i64,
    pub(super) time: Timestamp,
    pub(super) kind: String,
    /// Entries that the recorder says are missing.
    pub(super) missing: Option<i64>,
    /// Statements that it says may be missing.
    pub(super) at_most: Option<i64>,
    /// What it says in words.
    pub(super) detail: String,
}

/// The rows of one segment in a file.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) leaves: Leaves,
    pub(super) moments: Vec<Moment>,
}

/// A file's rows.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    /// By recorder and segment.
    pub(super) parts: BTreeMap<(String, u64), Part>,
    pub(super) rows: u64,
    /// Whether they stand in the order of their times.
    pub(super) in_order: bool,
}

/// Decodes a file of a dataset.
///
/// # Errors
///
/// It is no Parquet file of the contract, in one sentence.
pub(super) fn decode(dataset: Dataset, bytes: Bytes) -> Result<Decoded, String> {
    let batches = Segment::batches(dataset, bytes).map_err(|error| error.to_string())?;
    let mut decoded = Decoded { in_order: true, ..Decoded::default() };
    let mut last = i64::MIN;
    for batch in batches {
        let batch = without_date(batch.map_err(|error| error.to_string())?)?;
        decoded.add(dataset, &batch, &mut last)?;
    }
    Ok(decoded)
}

impl Decoded {
    fn add(&mut self, dataset: Dataset, batch: &RecordBatch, last: &mut i64) -> Result<(), String> {
        let leaves =
            LogicalRows::of(dataset, batch).and_then(|rows| rows.leaves()).map_err(|error| error.to_string())?;
        let nodes = column(batch, "node", &DataType::Utf8)?;
        let segments = column(batch, "segment", &DataType::Int64)?;
        let times = column(batch, "time", &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let (nodes, segments) = (nodes.as_string::<i32>(), segments.as_primitive::<Int64Type>());
        let times = times.as_primitive::<TimestampMicrosecondType>();
        for time in times.values() {
            self.in_order &= *time >= *last;
            *last = *time;
        }
        self.rows += leaves.len() as u64;
        // Rows of one segment stand together nearly always.
        let (mut start, mut at) = (0, 0);
        let place = |at: usize| (nodes.is_valid(at).then(|| nodes.value(at)), segments.value(at));
        while at < leaves.len() {
            at += 1;
            if at < leaves.len() && place(at) == place(start) {
                continue;
            }
            let (node, segment) = place(start);
            let segment = u64::try_from(segment).ok().filter(|segment| segments.is_valid(start) && *segment > 0);
            let Some((node, segment)) = node.zip(segment) else {
                return Err("a row does not say which segment it belongs to".to_owned());
            };
            let part = self.parts.entry((node.to_owned(), segment)).or_default();
            part.leaves.extend(dataset, leaves.get(start..at).unwrap_or_default().iter().copied());
            if dataset == Dataset::Events {
                moments(&batch.slice(start, at - start), &mut part.moments)?;
            }
            start = at;
        }
        Ok(())
    }
}

/// The batch without the column `date`, which stands in the folder's name where a recorder writes, and in the rows where
/// others do. It must say the day of `time`, so nobody is told another day by it.
fn without_date(batch: RecordBatch) -> Result<RecordBatch, String> {
    let Ok(at) = batch.schema().index_of(DATE) else { return Ok(batch) };
    let days = column(&batch, DATE, &DataType::Date32)?;
    let times = column(&batch, TIME, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let of_times = cast(&times, &DataType::Date32).map_err(|error| error.to_string())?;
    if days.as_ref() != of_times.as_ref() {
        return Err("a row says that it is of another day than its time is".to_owned());
    }
    let others: Vec<usize> = (0..batch.num_columns()).filter(|column| *column != at).collect();
    batch.project(&others).map_err(|error| error.to_string())
}

/// A column in the form that is read here.
fn column(batch: &RecordBatch, name: &str, kind: &DataType) -> Result<arrow::array::ArrayRef, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("column {name} is missing"))?;
    cast(column, kind).map_err(|error| error.to_string())
}

/// The events of a recorder itself among these rows; a prepared statement is none.
fn moments(batch: &RecordBatch, to: &mut Vec<Moment>) -> Result<(), String> {
    let text = |name| column(batch, name, &DataType::Utf8);
    let number = |name| match batch.column_by_name(name) {
        Some(_) => column(batch, name, &DataType::Int64).map(Some),
        // The file is older than the column.
        None => Ok(None),
    };
    let (kinds, details, versions) = (text("kind")?, text("detail")?, text("version")?);
    let entries = column(batch, "entry_seq", &DataType::Int64)?;
    let times = column(batch, "time", &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let (missing, at_most) = (number("missing")?, number("missing_at_most")?);
    let count = |column: &Option<arrow::array::ArrayRef>, row: usize| {
        let numbers = column.as_ref()?.as_primitive::<Int64Type>();
        numbers.is_valid(row).then(|| numbers.value(row))
    };
    for row in 0..batch.num_rows() {
        // Only a recorder's own events have the version of the program.
        if versions.is_null(row) || kinds.is_null(row) {
            continue;
        }
        let details = details.as_string::<i32>();
        to.push(Moment {
            entry: entries.as_primitive::<Int64Type>().value(row),
            time: Timestamp(times.as_primitive::<TimestampMicrosecondType>().value(row)),
            kind: kinds.as_string::<i32>().value(row).to_owned(),
            missing: count(&missing, row),
            at_most: count(&at_most, row),
            detail: if details.is_valid(row) { details.value(row).to_owned() } else { String::new() },
        });
    }
    Ok(())
}
