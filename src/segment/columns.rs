//! Values → Arrow arrays, collected by the names of the contract.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Int32Array, Int64Array, ListArray, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Fields};

use super::schema::ZONE;
use super::{Dataset, SegmentError};
use crate::model::Timestamp;

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

    /// The columns in the contract's order. A column too many or too few is an error.
    pub(super) fn in_order(mut self) -> Result<Vec<ArrayRef>, SegmentError> {
        let mut ordered = Vec::with_capacity(self.fields.len());
        for field in &self.fields {
            match self.arrays.remove(field.name().as_str()) {
                Some(array) => ordered.push(array),
                None => return Err(self.contradicts(format!("column {} is not made", field.name()))),
            }
        }
        match self.arrays.keys().next() {
            Some(left) => Err(self.contradicts(format!("column {left} is made, but not in it"))),
            None => Ok(ordered),
        }
    }

    pub(super) fn text<S: AsRef<str>>(&mut self, name: &'static str, values: impl Iterator<Item = Option<S>>) {
        self.put(name, Arc::new(values.collect::<StringArray>()));
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

    /// Counts. One beyond 2^63 prints as the largest: no counter of ours gets there.
    pub(super) fn count(&mut self, name: &'static str, values: impl Iterator<Item = Option<u64>>) {
        let values = values.map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX)));
        self.put(name, Arc::new(values.collect::<Int64Array>()));
    }

    pub(super) fn time(&mut self, name: &'static str, values: impl Iterator<Item = Option<Timestamp>>) {
        let values: TimestampMicrosecondArray = values.map(|value| value.map(|time| time.0)).collect();
        self.put(name, Arc::new(values.with_timezone(ZONE)));
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
        fill: impl FnOnce(&mut Columns, &[&T]),
    ) -> Result<(), SegmentError> {
        let elements: Vec<&T> = lists.iter().flatten().flat_map(|list| list.iter()).collect();
        let DataType::Struct(fields) = self.element(name)?.data_type().clone() else {
            return Err(self.contradicts(format!("column {name} is no list of structs")));
        };
        let mut inner = Self { dataset: self.dataset, fields: fields.clone(), arrays: BTreeMap::new() };
        fill(&mut inner, &elements);
        let array = StructArray::try_new_with_length(fields, inner.in_order()?, None, elements.len())
            .map_err(|source| SegmentError::Rows { dataset: self.dataset.name(), source })?;
        self.list(name, lists, Arc::new(array))
    }

    fn list<T>(&mut self, name: &'static str, lists: &[Option<&[T]>], values: ArrayRef) -> Result<(), SegmentError> {
        let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.map_or(0, <[T]>::len)));
        let nulls = NullBuffer::from_iter(lists.iter().map(Option::is_some));
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let array = ListArray::try_new(self.element(name)?, offsets, values, nulls)
            .map_err(|source| SegmentError::Rows { dataset: self.dataset.name(), source })?;
        self.put(name, Arc::new(array));
        Ok(())
    }

    fn element(&self, name: &str) -> Result<Arc<arrow::datatypes::Field>, SegmentError> {
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
}
