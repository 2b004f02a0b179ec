//! Arrow → logical rows: the values that are hashed, whatever file they come from.
//!
//! The one place that knows how the types of Arrow carry the types of the contract, for writing (the batches that go
//! into a file) and for reading (batches from any file). Other forms of the same values are taken where nothing is lost
//! by it: longer offsets, dictionaries, views, other widths of integers, other units of time. A form that loses
//! something, and a column that the contract does not know, are errors and never a guess.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::leaves;
use super::schema::{Column, ELEMENT, Kind};
use super::{Dataset, SegmentError};
use crate::model::{EntrySeq, Sha256};
use crate::seal::canonical::{Fields, KeyTwice, Row, Value};

/// The column that numbers the rows of a dataset in the order of their leaves.
const ENTRY: &str = "entry_seq";

/// The logical rows of a batch.
#[derive(Debug)]
pub struct LogicalRows {
    dataset: Dataset,
    columns: Vec<(u64, Cells)>,
    entries: Int64Array,
}

impl LogicalRows {
    /// The rows of a batch with the columns of the contract, in any order. A nullable column may be missing: the file is
    /// older than the column.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Foreign`] if the batch is not of this contract, [`SegmentError::Rows`] if a value does not fit it.
    pub fn of(dataset: Dataset, batch: &RecordBatch) -> Result<Self, SegmentError> {
        let schema = batch.schema();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let columns = cells(dataset, dataset.columns()?, &names, batch.columns())?;
        let entries = match batch.column_by_name(ENTRY) {
            Some(entries) => converted(dataset, entries, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
            None => return Err(foreign(dataset, format!("column {ENTRY} is missing"))),
        };
        Ok(Self { dataset, columns, entries })
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at `at`; nothing if there are fewer.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Contract`] if two columns of the contract have one key.
    pub fn row(&self, at: usize) -> Result<Option<Row<'_>>, SegmentError> {
        if at >= self.len() {
            return Ok(None);
        }
        let fields = self.columns.iter().map(|(key, cells)| Ok((*key, cells.value(self.dataset, at)?)));
        let fields = fields.collect::<Result<Vec<_>, SegmentError>>()?;
        Ok(Some(Row { schema: self.dataset.version(), fields: self.dataset.keyed(fields)? }))
    }

    /// The number of each row's entry, and the hash of its canonical bytes as a leaf. A row without a number, which the
    /// contract forbids, has zero.
    ///
    /// # Errors
    ///
    /// As [`LogicalRows::row`].
    pub fn leaves(&self) -> Result<Vec<(EntrySeq, Sha256)>, SegmentError> {
        let numbers = self.entries.iter().map(|entry| entry.and_then(|entry| u64::try_from(entry).ok()).unwrap_or(0));
        Ok(numbers.map(EntrySeq).zip(leaves::of(self.dataset, &self.columns, self.len())).collect())
    }
}

impl Dataset {
    fn keyed(self, fields: Vec<(u64, Value<'_>)>) -> Result<Fields<'_>, SegmentError> {
        Fields::new(fields).map_err(|error| self.key_twice(error))
    }

    fn key_twice(self, error: KeyTwice) -> SegmentError {
        SegmentError::Contract { dataset: self.name(), problem: error.to_string() }
    }
}

/// A column in the forms that each type of the contract has here: one, and for texts another where they repeat.
#[derive(Debug)]
pub(super) enum Cells {
    Absent,
    Flag(BooleanArray),
    Number(Int64Array),
    Text(StringArray),
    /// Which word stands in each row, and the words, none of them null.
    Words(Int32Array, StringArray),
    Bytes(BinaryArray),
    List(ListArray, Box<Cells>),
    Struct(ArrayRef, Vec<(u64, Cells)>),
}

impl Cells {
    /// The word that stands in a row.
    pub(super) fn word(which: &Int32Array, at: usize) -> usize {
        usize::try_from(which.value(at)).unwrap_or(0)
    }

    fn value(&self, dataset: Dataset, at: usize) -> Result<Value<'_>, SegmentError> {
        Ok(match self {
            Self::Flag(cells) if cells.is_valid(at) => Value::Bool(cells.value(at)),
            Self::Number(cells) if cells.is_valid(at) => Value::Int(cells.value(at)),
            Self::Text(cells) if cells.is_valid(at) => Value::Text(cells.value(at)),
            Self::Words(which, words) if which.is_valid(at) => Value::Text(words.value(Self::word(which, at))),
            Self::Bytes(cells) if cells.is_valid(at) => Value::Bytes(cells.value(at)),
            Self::List(cells, elements) if cells.is_valid(at) => {
                let elements = bounds(cells, at).map(|at| elements.value(dataset, at));
                Value::List(elements.collect::<Result<_, _>>()?)
            }
            Self::Struct(cells, fields) if cells.is_valid(at) => {
                let fields = fields.iter().map(|(key, cells)| Ok((*key, cells.value(dataset, at)?)));
                Value::Map(dataset.keyed(fields.collect::<Result<_, SegmentError>>()?)?)
            }
            _ => Value::Null,
        })
    }
}

/// Where the elements of a list are among those of all lists.
pub(super) fn bounds(list: &ListArray, at: usize) -> std::ops::Range<usize> {
    let bounds = list.value_offsets().get(at..).unwrap_or(&[]);
    let [from, to, ..] = bounds else { return 0..0 };
    usize::try_from(*from).unwrap_or(0)..usize::try_from(*to).unwrap_or(0)
}

/// The columns of the contract among these, by their keys, in the order of their keys.
fn cells(
    dataset: Dataset,
    columns: &[Column],
    names: &[&str],
    arrays: &[ArrayRef],
) -> Result<Vec<(u64, Cells)>, SegmentError> {
    for (at, name) in names.iter().enumerate() {
        if !columns.iter().any(|column| column.name == **name) {
            return Err(foreign(dataset, format!("column {name} is not in the contract that this program knows")));
        }
        if names.iter().skip(at + 1).any(|other| other == name) {
            return Err(foreign(dataset, format!("column {name} is there twice")));
        }
    }
    let each = columns.iter().map(|column| {
        let found = names.iter().zip(arrays).find(|(name, _)| column.name == **name);
        let cells = match found {
            Some((_, array)) => cell(dataset, column, array)?,
            None if column.nullable => Cells::Absent,
            None => return Err(foreign(dataset, format!("column {} is missing", column.name))),
        };
        Ok((column.key, cells))
    });
    let mut keyed = each.collect::<Result<Vec<_>, SegmentError>>()?;
    keyed.sort_by_key(|(key, _)| *key);
    let twice = keyed.iter().zip(keyed.iter().skip(1)).find(|((before, _), (after, _))| before == after);
    match twice {
        Some(((key, _), _)) => Err(dataset.key_twice(KeyTwice(*key))),
        None => Ok(keyed),
    }
}

fn cell(dataset: Dataset, column: &Column, array: &ArrayRef) -> Result<Cells, SegmentError> {
    let wrong = || {
        let (name, found) = (&column.name, array.data_type());
        foreign(dataset, format!("column {name} is {found}, which does not carry the contract's type without loss"))
    };
    let to = |kind: &DataType| converted(dataset, array, kind);
    let found = match array.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    Ok(match (column.kind(dataset)?, found) {
        (Kind::Flag, DataType::Boolean) => Cells::Flag(array.as_boolean().clone()),
        (Kind::Number, number) if number.is_integer() => {
            Cells::Number(to(&DataType::Int64)?.as_primitive::<Int64Type>().clone())
        }
        (Kind::Text, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => texts(dataset, array)?,
        (Kind::Bytes, DataType::Binary | DataType::LargeBinary | DataType::BinaryView) => {
            Cells::Bytes(to(&DataType::Binary)?.as_binary::<i32>().clone())
        }
        (Kind::Time, DataType::Timestamp(unit, _)) => {
            // Without a zone, so that a time with none is taken for the UTC that all times here are.
            let micros = to(&DataType::Timestamp(TimeUnit::Microsecond, None))?;
            if *unit == TimeUnit::Nanosecond {
                let (plain, back) = (DataType::Timestamp(TimeUnit::Nanosecond, None), &micros);
                if converted(dataset, back, &plain)?.as_ref() != to(&plain)?.as_ref() {
                    return Err(wrong());
                }
            }
            Cells::Number(micros.as_primitive::<TimestampMicrosecondType>().reinterpret_cast::<Int64Type>())
        }
        (Kind::Texts | Kind::Structs, DataType::List(element) | DataType::LargeList(element)) => {
            let field = Arc::new(Field::new(ELEMENT, element.data_type().clone(), true));
            let list = to(&DataType::List(field))?.as_list::<i32>().clone();
            let elements = list_elements(dataset, column, list.values(), &wrong)?;
            Cells::List(list, Box::new(elements))
        }
        _ => return Err(wrong()),
    })
}

fn list_elements(
    dataset: Dataset,
    column: &Column,
    elements: &ArrayRef,
    wrong: &dyn Fn() -> SegmentError,
) -> Result<Cells, SegmentError> {
    let found = match elements.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    match (column.kind(dataset)?, found) {
        (Kind::Texts, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) => texts(dataset, elements),
        (Kind::Structs, DataType::Struct(fields)) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            let inner = cells(dataset, &column.fields, &names, elements.as_struct().columns())?;
            Ok(Cells::Struct(Arc::clone(elements), inner))
        }
        _ => Err(wrong()),
    }
}

/// Texts, as words if that is how they come.
fn texts(dataset: Dataset, array: &ArrayRef) -> Result<Cells, SegmentError> {
    if let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() {
        let words = dictionary.values();
        // A word that is null would make a row null whose key is not.
        if let Some(words) = words.as_string_opt::<i32>().filter(|words| words.null_count() == 0) {
            return Ok(Cells::Words(dictionary.keys().clone(), words.clone()));
        }
    }
    Ok(Cells::Text(converted(dataset, array, &DataType::Utf8)?.as_string::<i32>().clone()))
}

/// Another form of the same values; a value that does not fit is an error.
fn converted(dataset: Dataset, array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, SegmentError> {
    if array.data_type() == kind {
        return Ok(Arc::clone(array));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, kind, &options)
        .map_err(|source: ArrowError| SegmentError::Rows { dataset: dataset.name(), source })
}

fn foreign(dataset: Dataset, problem: String) -> SegmentError {
    SegmentError::Foreign { dataset: dataset.name(), problem }
}

#[cfg(test)]
mod tests {
    use arrow::array::{LargeListArray, StructArray, TimestampNanosecondArray, UInt64Array};
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Int32Type, Schema};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::segment::tests::{built, record};
    use crate::segment::{File, Rows};

    fn batch(file: &File) -> RecordBatch {
        let bytes: Bytes = file.bytes.clone();
        ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap().next().unwrap().unwrap()
    }

    fn statements() -> RecordBatch {
        let records = (1..=3).map(|number| record(number, 7_000_000, "select 1".into())).collect();
        batch(&built(&Rows { records, ..Rows::default() })[0])
    }

    /// The batch with one column made anew.
    fn with(batch: &RecordBatch, name: &str, change: impl FnOnce(&ArrayRef) -> ArrayRef) -> RecordBatch {
        let mut columns = batch.columns().to_vec();
        let at = batch.schema().index_of(name).unwrap();
        columns[at] = change(&columns[at]);
        let fields: Vec<Field> = batch
            .schema()
            .fields()
            .iter()
            .zip(&columns)
            .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn leaves(batch: &RecordBatch) -> Result<Vec<(EntrySeq, Sha256)>, String> {
        let rows = LogicalRows::of(Dataset::Statements, batch).map_err(|error| error.to_string())?;
        rows.leaves().map_err(|error| error.to_string())
    }

    #[test]
    fn other_forms_of_the_same_values_have_the_same_hashes() {
        let batch = statements();
        let wanted = leaves(&batch).unwrap();
        assert_eq!(wanted.iter().map(|(entry, _)| entry.0).collect::<Vec<_>>(), [11, 12, 13]);
        let cast = |name: &str, kind: &DataType| {
            let kind = kind.clone();
            leaves(&with(&batch, name, move |array| arrow::compute::cast(array, &kind).unwrap()))
        };
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        for (name, kind) in [
            ("text", DataType::LargeUtf8),
            ("text", DataType::Utf8View),
            ("subject", dictionary),
            ("text_bytes", DataType::LargeBinary),
            ("client_port", DataType::Int64),
            ("statement_seq", DataType::UInt64),
            ("time", DataType::Timestamp(TimeUnit::Microsecond, None)),
            ("time", DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into()))),
            ("time", DataType::Timestamp(TimeUnit::Second, None)),
        ] {
            assert_eq!(cast(name, &kind), Ok(wanted.clone()), "{name} as {kind}");
        }
        let large = with(&batch, "params", |array| {
            let list = array.as_list::<i32>();
            let offsets = OffsetBuffer::from_lengths(list.offsets().lengths());
            let field = Arc::new(Field::new("item", list.values().data_type().clone(), false));
            Arc::new(LargeListArray::new(field, offsets, Arc::clone(list.values()), None))
        });
        assert_eq!(leaves(&large), Ok(wanted.clone()));
        let swapped = with(&batch, "effects", |array| {
            let list = array.as_list::<i32>();
            let (fields, columns, nulls) = list.values().as_struct().clone().into_parts();
            let fields: Vec<_> = fields.iter().rev().cloned().collect();
            let values = StructArray::new(fields.into(), columns.into_iter().rev().collect(), nulls);
            let field = Arc::new(Field::new("item", values.data_type().clone(), false));
            Arc::new(ListArray::new(field, list.offsets().clone(), Arc::new(values), list.nulls().cloned()))
        });
        assert_eq!(leaves(&swapped), Ok(wanted.clone()));
        let reversed: Vec<usize> = (0..batch.num_columns()).rev().collect();
        assert_eq!(leaves(&batch.project(&reversed).unwrap()), Ok(wanted.clone()));
        assert_eq!(leaves(&batch.slice(1, 1)), Ok(vec![wanted[1]]));
    }

    #[test]
    fn every_value_is_in_the_hash() {
        let batch = statements();
        let wanted = leaves(&batch).unwrap();
        for field in batch.schema().fields() {
            let changed = with(&batch, field.name(), |array| arrow::array::new_null_array(array.data_type(), 3));
            let null = (0..3).all(|row| batch.column_by_name(field.name()).unwrap().is_null(row));
            let same = leaves(&changed).unwrap().iter().zip(&wanted).all(|(new, old)| new.1 == old.1);
            assert_eq!(same, null, "{}", field.name());
        }
    }

    #[test]
    fn a_nullable_column_that_came_later_changes_no_hash_of_an_old_row() {
        let batch = statements();
        // The columns that came last: `segment`, and those behind it.
        let older: Vec<usize> = (0..batch.schema().index_of("segment").unwrap()).collect();
        let nulled = batch.schema().fields().iter().skip(older.len()).fold(batch.clone(), |batch, field| {
            with(&batch, field.name(), |array| arrow::array::new_null_array(array.data_type(), 3))
        });
        assert_eq!(leaves(&batch.project(&older).unwrap()), leaves(&nulled));
    }

    #[test]
    fn what_loses_something_or_is_not_of_the_contract_is_refused() {
        let batch = statements();
        let error = |batch: &RecordBatch| leaves(batch).unwrap_err();
        let fine = with(&batch, "time", |_| Arc::new(TimestampNanosecondArray::from(vec![7_000_001; 3])));
        assert_eq!(
            error(&fine),
            "the rows are not those of statements: column time is Timestamp(ns), \
            which does not carry the contract's type without loss"
        );
        let text = with(&batch, "total_us", |_| Arc::new(StringArray::from(vec!["1"; 3])));
        assert!(error(&text).contains("column total_us is Utf8"));
        let float = with(&batch, "bytes_in", |array| arrow::compute::cast(array, &DataType::Float64).unwrap());
        assert!(error(&float).contains("column bytes_in is Float64"));
        let huge = with(&batch, "bytes_in", |_| Arc::new(UInt64Array::from(vec![u64::MAX; 3])));
        assert!(error(&huge).contains("do not fit its contract"), "{}", error(&huge));
        let missing: Vec<usize> = (1..batch.num_columns()).collect();
        assert!(error(&batch.project(&missing).unwrap()).ends_with("column reference is missing"));
        let before = batch.schema();
        let fields = before.fields().iter().cloned().chain([Arc::new(Field::new("x", DataType::Int32, true))]);
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let more = arrow::array::PrimitiveArray::<Int32Type>::from(vec![1; 3]);
        let columns = batch.columns().iter().cloned().chain([Arc::new(more) as ArrayRef]).collect();
        let added = RecordBatch::try_new(schema, columns).unwrap();
        assert!(error(&added).contains("column x is not in the contract"));
        let twice: Vec<usize> = (0..batch.num_columns()).chain([3]).collect();
        assert!(error(&batch.project(&twice).unwrap()).ends_with("column entry_seq is there twice"));
    }
}
