//! What repeats from row to row, found once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Int32Array, Int32Builder, ListArray, StringArray, StringBuilder,
    StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow::error::ArrowError;

use super::logical::bounds;

/// Which of some distinct things each row has, by what tells one from the other. The first row's is number 0, and so on
/// as they come: the same rows give the same numbers, whatever the hashes are. Two that are the same may be taken for two,
/// at the price of room.
#[derive(Debug)]
pub(super) struct Distinct<K> {
    numbers: Numbers<K>,
    which: Vec<i32>,
    /// The first row that has each.
    firsts: Vec<usize>,
}

impl<K> Default for Distinct<K> {
    fn default() -> Self {
        Self { numbers: Numbers::default(), which: Vec::new(), firsts: Vec::new() }
    }
}

impl<K: Hash + Eq + Copy> Distinct<K> {
    /// With room for so many that are distinct.
    pub(super) fn with_room(count: usize) -> Self {
        let known = HashMap::with_capacity_and_hasher(count, ahash::RandomState::default());
        Self { numbers: Numbers { known, last: None }, ..Self::default() }
    }

    /// The next row's; whether it is the first that has it.
    pub(super) fn add(&mut self, key: K) -> bool {
        let (number, new) = self.numbers.of(key);
        if new {
            self.firsts.push(self.which.len());
        }
        self.which.push(number);
        new
    }

    /// How many are distinct.
    pub(super) fn len(&self) -> usize {
        self.firsts.len()
    }

    /// The number of each row's.
    pub(super) fn which(self) -> Int32Array {
        self.which.into()
    }

    /// The number of each row's, and of these rows the first that has each.
    pub(super) fn of<T: Copy>(self, rows: &[T]) -> (Int32Array, Vec<T>) {
        let firsts = self.firsts.iter().filter_map(|at| rows.get(*at).copied()).collect();
        (self.which.into(), firsts)
    }
}

/// Texts that repeat, as numbers of words and the words. Null is no word.
#[derive(Debug, Default)]
pub(super) struct Words<'a> {
    numbers: Numbers<&'a str>,
    which: Int32Builder,
    words: StringBuilder,
    /// The last word and its number: words of ours are the very same text each time.
    last: Option<(&'a str, i32)>,
}

impl<'a> Words<'a> {
    /// The next row's.
    pub(super) fn add(&mut self, text: Option<&'a str>) {
        let number = text.map(|word| match self.last {
            Some((last, number)) if std::ptr::eq(last, word) => number,
            _ => {
                let (number, new) = self.numbers.of(word);
                if new {
                    self.words.append_value(word);
                }
                self.last = Some((word, number));
                number
            }
        });
        self.which.append_option(number);
    }

    fn of(texts: &'a StringArray) -> (Int32Array, StringArray) {
        let mut found = Self::default();
        texts.iter().for_each(|text| found.add(text));
        (found.which.finish(), found.words.finish())
    }

    /// The column.
    pub(super) fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        dictionary(self.which.finish(), self.words.finish())
    }
}

fn dictionary(which: Int32Array, words: StringArray) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(which, Arc::new(words))?))
}

/// Numbers by order of appearance.
#[derive(Debug)]
struct Numbers<K> {
    known: HashMap<K, i32, ahash::RandomState>,
    /// What was asked last: it often comes again at once.
    last: Option<(K, i32)>,
}

impl<K> Default for Numbers<K> {
    fn default() -> Self {
        Self { known: HashMap::default(), last: None }
    }
}

impl<K: Hash + Eq + Copy> Numbers<K> {
    /// The number, and whether it was given now.
    fn of(&mut self, key: K) -> (i32, bool) {
        if let Some((_, number)) = self.last.filter(|(last, _)| *last == key) {
            return (number, false);
        }
        // A row group is far below 2^31 rows.
        let next = i32::try_from(self.known.len()).unwrap_or(i32::MAX);
        let (number, new) = match self.known.entry(key) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(place) => (*place.insert(next), true),
        };
        self.last = Some((key, number));
        (number, new)
    }
}

/// A column of things that are distinct by value, as a column of the rows that have them: looking for texts that are the
/// same would find none.
pub(super) fn spread_distinct(which: &Int32Array, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == &DataType::Utf8 && array.null_count() == 0 {
        return dictionary(which.clone(), array.as_string().clone());
    }
    spread(which, array)
}

/// A column of things, as a column of the rows that have them. The same thing may be there twice, which leaves no trace:
/// what the rows have alone decides what comes of them.
pub(super) fn spread(which: &Int32Array, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == &DataType::Utf8 {
        let (numbers, words) = Words::of(array.as_string());
        let which = if numbers.null_count() == 0 && words.len() == numbers.len() {
            which.clone()
        } else {
            take(&numbers, which, None)?.as_primitive::<Int32Type>().clone()
        };
        return dictionary(which, words);
    }
    take_rows(&in_words(array)?, which)
}

/// As `take`, which copies lists element by element: here the numbers of all elements are put together first, and each
/// column of theirs is then taken in one go.
fn take_rows(array: &ArrayRef, which: &Int32Array) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::List(element) if array.null_count() == 0 && which.null_count() == 0 => {
            let list = array.as_list::<i32>();
            let rows = || which.values().iter().map(|row| bounds(list, row.unsigned_abs() as usize));
            let offsets = OffsetBuffer::from_lengths(rows().map(|elements| elements.len()));
            let mut numbers = Vec::with_capacity(rows().map(|elements| elements.len()).sum());
            for elements in rows() {
                // Offsets are 32 bits.
                numbers.extend(elements.map(|number| i32::try_from(number).unwrap_or(i32::MAX)));
            }
            let values = take_rows(list.values(), &Int32Array::from(numbers))?;
            Ok(Arc::new(ListArray::try_new(Arc::clone(element), offsets, values, None)?))
        }
        DataType::Struct(fields) if array.null_count() == 0 && which.null_count() == 0 => {
            let columns = array.as_struct().columns().iter().map(|column| take_rows(column, which));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, which.len())?))
        }
        _ => take(array, which, None),
    }
}

/// The same values with texts, however deep, as words: they are then taken by number.
fn in_words(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::Utf8 => {
            let (which, words) = Words::of(array.as_string());
            dictionary(which, words)?
        }
        DataType::List(element) => {
            let list = array.as_list::<i32>();
            let values = in_words(list.values())?;
            let element = retyped(element, &values);
            Arc::new(ListArray::try_new(element, list.offsets().clone(), values, list.nulls().cloned())?)
        }
        DataType::Struct(fields) => {
            let group = array.as_struct();
            let columns = group.columns().iter().map(in_words).collect::<Result<Vec<_>, _>>()?;
            let fields = fields.iter().zip(&columns).map(|(field, column)| retyped(field, column)).collect();
            Arc::new(StructArray::try_new_with_length(fields, columns, group.nulls().cloned(), group.len())?)
        }
        _ => Arc::clone(array),
    })
}

fn retyped(field: &Field, values: &ArrayRef) -> Arc<Field> {
    Arc::new(field.clone().with_data_type(values.data_type().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_in_the_order_of_appearance() {
        let mut found = Distinct::default();
        let new = ["b", "a", "b", "b", "c", "a"].map(|key| found.add(key));
        assert_eq!(new, [true, true, false, false, true, false]);
        let (which, firsts) = found.of(&[10, 11, 12, 13, 14, 15]);
        assert_eq!((&which.values()[..], &firsts[..]), (&[0, 1, 0, 0, 2, 1][..], &[10, 11, 14][..]));
        let texts = StringArray::from(vec![Some("b"), None, Some(""), Some("b")]);
        let (which, words) = Words::of(&texts);
        assert_eq!(which, Int32Array::from(vec![Some(0), None, Some(1), Some(0)]));
        assert_eq!(words, StringArray::from(vec!["b", ""]));
    }

    #[test]
    fn a_column_of_few_things_becomes_one_of_many_rows() {
        let few: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), None, Some("x"), Some("y")]));
        let which = Int32Array::from(vec![3, 1, 2, 0, 0]);
        let many = spread(&which, &few).unwrap();
        let plain = arrow::compute::cast(&many, &DataType::Utf8).unwrap();
        let wanted = StringArray::from(vec![Some("y"), None, Some("x"), Some("x"), Some("x")]);
        assert_eq!(plain.as_string::<i32>(), &wanted);
        assert_eq!(many.as_dictionary::<Int32Type>().values().len(), 2);
    }
}
