//! Values → Arrow arrays, collected by the names of the contract.
//!
//! Texts that repeat stand as dictionaries: a word once, and for each row its number. The file's own schema knows nothing
//! of it; a column is plain text to whoever reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use arrow::error::ArrowError;

use super::repeat::{self, Words};
use super::schema::ZONE;
use super::{Dataset, SegmentError};
use crate::model::Timestamp;

/// A count as a column holds it. One beyond 2^63 stands as the largest: no counter of ours gets there.
pub(super) fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Arrays by column name, checked against the contract's columns.
pub(super) struct Columns {
    dataset: Dataset,
    fields: Fields,
    arrays: BTreeMap<&'static str, ArrayRef>,
}

impl Columns {
    pub(super) fn of(dataset: Dataset) -> Result<Self, SegmentError> {
        Ok(Self { dataset, fields: dataset.schema()?.fields().clone(), arrays: BTreeMap::new() })
    }

    /// The columns in the contract's order, with types that say where texts are dictionaries. A column too many or too
    /// few is an error.
    pub(super) fn batch(self) -> Result<RecordBatch, SegmentError> {
        let dataset = self.dataset;
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = self.in_order()?.into_iter().unzip();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|source| SegmentError::Rows { dataset: dataset.name(), source })
    }

    fn in_order(mut self) -> Result<Vec<(Field, ArrayRef)>, SegmentError> {
        let mut ordered = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            match self.arrays.remove(field.name().as_str()) {
                Some(array) => ordered.push((field.as_ref().clone().with_data_type(array.data_type().clone()), array)),
                None => return Err(self.contradicts(format!("column {} is not made", field.name()))),
            }
        }
        match self.arrays.keys().next() {
            Some(left) => Err(self.contradicts(format!("column {left} is made, but not in it"))),
            None => Ok(ordered),
        }
    }

    /// Columns of what several rows have in common: `make` makes them for each thing, as if it were a row.
    pub(super) fn spread(
        &mut self,
        which: &Int32Array,
        make: impl FnOnce(&mut Self) -> Result<(), SegmentError>,
    ) -> Result<(), SegmentError> {
        self.spread_by(repeat::spread, which, make)
    }

    /// The same where no two things have the same value.
    pub(super) fn spread_distinct(
        &mut self,
        which: &Int32Array,
        make: impl FnOnce(&mut Self) -> Result<(), SegmentError>,
    ) -> Result<(), SegmentError> {
        self.spread_by(repeat::spread_distinct, which, make)
    }

    fn spread_by(
        &mut self,
        spread: impl Fn(&Int32Array, &ArrayRef) -> Result<ArrayRef, ArrowError>,
        which: &Int32Array,
        make: impl FnOnce(&mut Self) -> Result<(), SegmentError>,
    ) -> Result<(), SegmentError> {
        let mut few = Self { dataset: self.dataset, fields: self.fields.clone(), arrays: BTreeMap::new() };
        make(&mut few)?;
        for (name, array) in few.arrays {
            self.put(name, spread(which, &array).map_err(|source| self.unfit(source))?);
        }
        Ok(())
    }

    /// Texts that hardly repeat.
    pub(super) fn text<S: AsRef<str>>(&mut self, name: &'static str, values: impl Iterator<Item = Option<S>>) {
        self.put(name, Arc::new(values.collect::<StringArray>()));
    }

    /// Texts that stand one after the other, by where each ends.
    pub(super) fn printed(&mut self, name: &'static str, texts: String, ends: &[usize]) -> Result<(), SegmentError> {
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let offsets = OffsetBuffer::from_lengths(starts.zip(ends).map(|(start, end)| end - start));
        let array = StringArray::try_new(offsets, texts.into_bytes().into(), None);
        self.put(name, Arc::new(array.map_err(|source| self.unfit(source))?));
        Ok(())
    }

    /// Texts that are the same in many rows.
    pub(super) fn words(&mut self, name: &'static str, words: Words<'_>) -> Result<(), SegmentError> {
        let array = words.finish().map_err(|source| self.unfit(source))?;
        self.put(name, array);
        Ok(())
    }

    /// A column that was made elsewhere.
    pub(super) fn built(&mut self, name: &'static str, array: impl Array + 'static) {
        self.put(name, Arc::new(array));
    }

    /// Times that were collected elsewhere.
    pub(super) fn times(&mut self, name: &'static str, array: TimestampMicrosecondArray) {
        self.put(name, Arc::new(array.with_timezone(ZONE)));
    }

    pub(super) fn bytes<'a>(&mut self, name: &'static str, values: impl Iterator<Item = Option<&'a [u8]>>) {
        self.put(name, Arc::new(values.collect::<BinaryArray>()));
    }

    pub(super) fn flag(&mut self, name: &'static str, values: impl Iterator<Item = Option<bool>>) {
        self.put(name, Arc::new(values.collect::<BooleanArray>()));
    }

    pub(super) fn small(&mut self, name: &'static str, values: impl Iterator<Item = Option<i32>>) {
        self.put(name, Arc::new(values.collect::<Int32Array>()));
    }

    pub(super) fn count(&mut self, name: &'static str, values: impl Iterator<Item = Option<u64>>) {
        self.put(name, Arc::new(values.map(|value| value.map(number)).collect::<Int64Array>()));
    }

    pub(super) fn time(&mut self, name: &'static str, values: impl Iterator<Item = Option<Timestamp>>) {
        self.times(name, values.map(|value| value.map(|time| time.0)).collect());
    }

    pub(super) fn texts<S: AsRef<str>>(
        &mut self,
        name: &'static str,
        lists: &[Option<&[S]>],
    ) -> Result<(), SegmentError> {
        let values: StringArray = lists.iter().flatten().flat_map(|list| list.iter()).map(Some).collect();
        self.list(name, lists, Arc::new(values))
    }

    /// A list of structs; `fill` makes the columns of all elements, one list after the other.
    pub(super) fn structs<T>(
        &mut self,
        name: &'static str,
        lists: &[Option<&[T]>],
        fill: impl FnOnce(&mut Columns, &[&T]) -> Result<(), SegmentError>,
    ) -> Result<(), SegmentError> {
        let elements: Vec<&T> = lists.iter().flatten().flat_map(|list| list.iter()).collect();
        let values = self.elements(name, elements.len(), |to| fill(to, &elements))?;
        self.list(name, lists, values)
    }

    /// A list of structs for each of these lengths; `fill` makes the columns of all elements.
    pub(super) fn structs_of(
        &mut self,
        name: &'static str,
        lengths: Vec<usize>,
        fill: impl FnOnce(&mut Columns) -> Result<(), SegmentError>,
    ) -> Result<(), SegmentError> {
        let values = self.elements(name, lengths.iter().sum(), fill)?;
        self.listed(name, OffsetBuffer::from_lengths(lengths), values, None)
    }

    fn elements(
        &self,
        name: &'static str,
        count: usize,
        fill: impl FnOnce(&mut Columns) -> Result<(), SegmentError>,
    ) -> Result<ArrayRef, SegmentError> {
        let DataType::Struct(fields) = self.element(name)?.data_type().clone() else {
            return Err(self.contradicts(format!("column {name} is no list of structs")));
        };
        let mut inner = Self { dataset: self.dataset, fields, arrays: BTreeMap::new() };
        fill(&mut inner)?;
        let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = inner.in_order()?.into_iter().unzip();
        let array = StructArray::try_new_with_length(fields.into(), columns, None, count);
        Ok(Arc::new(array.map_err(|source| self.unfit(source))?))
    }

    fn list<T>(&mut self, name: &'static str, lists: &[Option<&[T]>], values: ArrayRef) -> Result<(), SegmentError> {
        let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.map_or(0, <[T]>::len)));
        let nulls = NullBuffer::from_iter(lists.iter().map(Option::is_some));
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        self.listed(name, offsets, values, nulls)
    }

    fn listed(
        &mut self,
        name: &'static str,
        offsets: OffsetBuffer<i32>,
        values: ArrayRef,
        nulls: Option<NullBuffer>,
    ) -> Result<(), SegmentError> {
        let element = self.element(name)?.as_ref().clone().with_data_type(values.data_type().clone());
        let array = ListArray::try_new(Arc::new(element), offsets, values, nulls);
        self.put(name, Arc::new(array.map_err(|source| self.unfit(source))?));
        Ok(())
    }

    fn element(&self, name: &str) -> Result<Arc<Field>, SegmentError> {
        match self.fields.find(name).map(|(_, field)| field.data_type()) {
            Some(DataType::List(element)) => Ok(Arc::clone(element)),
            _ => Err(self.contradicts(format!("column {name} is no list in it"))),
        }
    }

    fn put(&mut self, name: &'static str, array: ArrayRef) {
        self.arrays.insert(name, array);
    }

    fn contradicts(&self, problem: String) -> SegmentError {
        SegmentError::Contract { dataset: self.dataset.name(), problem }
    }

    fn unfit(&self, source: arrow::error::ArrowError) -> SegmentError {
        SegmentError::Rows { dataset: self.dataset.name(), source }
    }
}
