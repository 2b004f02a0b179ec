//! Columns of few distinct values: which they are, and what their chunks say of them.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, Int32Array, ListArray, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;
use parquet::file::properties::BloomFilterProperties;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::repeat::Distinct;
use super::write::{PAGE_BYTES, STATISTICS_BYTES};

/// Numbers that are more than this are left to the Parquet writer; finding that out costs as much as so many rows.
const MAX_NUMBERS: usize = 1_024;

/// A column of few distinct values, as it stands in a batch.
pub(super) struct Few<'a> {
    /// The list whose elements the values are, or are a field of.
    pub(super) list: Option<&'a ListArray>,
    /// The number of the value that stands in each row, or element.
    pub(super) which: Int32Array,
    values: Values<'a>,
    /// The numbers of the values, in the order of the values.
    sorted: Vec<usize>,
}

/// The distinct values, none of them null.
enum Values<'a> {
    Words(&'a StringArray),
    Longs(Vec<i64>),
    Ints(Vec<i32>),
}

impl<'a> Few<'a> {
    /// The leaves of a column of a batch, in their order; nothing for one that is better written otherwise.
    pub(super) fn leaves(array: &'a ArrayRef) -> Vec<Option<Self>> {
        let DataType::List(element) = array.data_type() else { return vec![Self::of(None, array)] };
        let list = array.as_list::<i32>();
        match element.data_type() {
            DataType::Struct(_) => {
                let fields = list.values().as_struct();
                let whole = fields.null_count() == 0;
                fields.columns().iter().map(|field| Self::of(Some(list), field).filter(|_| whole)).collect()
            }
            _ => vec![Self::of(Some(list), list.values())],
        }
    }

    fn of(list: Option<&'a ListArray>, array: &'a ArrayRef) -> Option<Self> {
        let (which, values) = match array.data_type() {
            DataType::Dictionary(..) => words(array)?,
            DataType::Int64 => numbers(array.as_primitive::<Int64Type>(), Values::Longs)?,
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                numbers(array.as_primitive::<TimestampMicrosecondType>(), Values::Longs)?
            }
            DataType::Int32 => numbers(array.as_primitive::<Int32Type>(), Values::Ints)?,
            _ => return None,
        };
        let sorted = values.sorted();
        Some(Self { list, which, values, sorted })
    }

    pub(super) fn rows(&self) -> usize {
        self.list.map_or(self.which.len(), Array::len)
    }

    /// How many distinct values.
    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    /// The place of each value among all, sorted.
    pub(super) fn ranks(&self) -> Vec<u32> {
        let mut ranks = vec![0; self.sorted.len()];
        for (number, rank) in self.sorted.iter().zip(0..) {
            if let Some(place) = ranks.get_mut(*number) {
                *place = rank;
            }
        }
        ranks
    }

    /// The dictionary, in Parquet's plain form.
    pub(super) fn plain(&self) -> Result<Vec<u8>, ParquetError> {
        let mut plain = Vec::new();
        match &self.values {
            Values::Words(words) => {
                plain.reserve(words.value_data().len() + size_of::<u32>() * words.len());
                for word in words.iter().flatten() {
                    let length = u32::try_from(word.len()).map_err(|error| ParquetError::External(error.into()))?;
                    plain.extend_from_slice(&length.to_le_bytes());
                    plain.extend_from_slice(word.as_bytes());
                }
            }
            Values::Longs(numbers) => plain.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
            Values::Ints(numbers) => plain.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
        }
        Ok(plain)
    }

    /// The value of a rank, or something below it that is not longer than statistics should be; and whether it is itself.
    pub(super) fn least(&self, rank: u32) -> (Vec<u8>, bool) {
        match self.value(rank) {
            Value::Word(word) => shortened(word),
            Value::Number(bytes) => (bytes, true),
        }
    }

    /// The value of a rank, or something above it likewise.
    pub(super) fn greatest(&self, rank: u32) -> (Vec<u8>, bool) {
        match self.value(rank) {
            Value::Word(word) => raised(word),
            Value::Number(bytes) => (bytes, true),
        }
    }

    fn value(&self, rank: u32) -> Value<'_> {
        let number = self.sorted.get(rank as usize).copied().unwrap_or(0);
        match &self.values {
            Values::Words(words) => Value::Word(words.value(number)),
            Values::Longs(numbers) => Value::of(numbers.get(number).map(|number| number.to_le_bytes())),
            Values::Ints(numbers) => Value::of(numbers.get(number).map(|number| number.to_le_bytes())),
        }
    }

    /// The statistics of a chunk with values from the least to the greatest rank.
    pub(super) fn statistics(&self, span: Option<(u32, u32)>, nulls: u64) -> Statistics {
        let at = |rank: u32| self.sorted.get(rank as usize).copied();
        let places = span.and_then(|(least, greatest)| at(least).zip(at(greatest)));
        match &self.values {
            Values::Words(_) => {
                let bounds = span.map(|(least, greatest)| (self.least(least), self.greatest(greatest)));
                let exact = bounds.as_ref().map_or((true, true), |((_, least), (_, greatest))| (*least, *greatest));
                let (least, greatest) =
                    bounds.map(|((least, _), (greatest, _))| (least.into(), greatest.into())).unzip();
                let statistics = ValueStatistics::new(least, greatest, None, Some(nulls), false);
                Statistics::ByteArray(statistics.with_min_is_exact(exact.0).with_max_is_exact(exact.1))
            }
            Values::Longs(numbers) => {
                let value = |at: usize| numbers.get(at).copied();
                let (least, greatest) =
                    places.map(|(least, greatest)| (value(least), value(greatest))).unwrap_or_default();
                let statistics = ValueStatistics::new(least, greatest, None, Some(nulls), false);
                Statistics::Int64(statistics.with_backwards_compatible_min_max(true))
            }
            Values::Ints(numbers) => {
                let value = |at: usize| numbers.get(at).copied();
                let (least, greatest) =
                    places.map(|(least, greatest)| (value(least), value(greatest))).unwrap_or_default();
                let statistics = ValueStatistics::new(least, greatest, None, Some(nulls), false);
                Statistics::Int32(statistics.with_backwards_compatible_min_max(true))
            }
        }
    }

    /// The bloom filter, if there shall be one.
    pub(super) fn bloom_filter(&self, wanted: Option<&BloomFilterProperties>) -> Result<Option<Sbbf>, ParquetError> {
        let Some(wanted) = wanted else { return Ok(None) };
        let mut filter = Sbbf::new_with_ndv_fpp(wanted.ndv(), wanted.fpp())?;
        match &self.values {
            Values::Words(words) => words.iter().flatten().for_each(|word| filter.insert(word)),
            Values::Longs(numbers) => numbers.iter().for_each(|number| filter.insert(number)),
            Values::Ints(numbers) => numbers.iter().for_each(|number| filter.insert(number)),
        }
        filter.fold_to_target_fpp(wanted.fpp());
        Ok(Some(filter))
    }
}

enum Value<'a> {
    Word(&'a str),
    Number(Vec<u8>),
}

impl Value<'_> {
    fn of<const N: usize>(bytes: Option<[u8; N]>) -> Self {
        Self::Number(bytes.map(Vec::from).unwrap_or_default())
    }
}

impl Values<'_> {
    fn sorted(&self) -> Vec<usize> {
        fn order<T: Ord>(values: impl Iterator<Item = T>) -> Vec<usize> {
            let mut sorted: Vec<(T, usize)> = values.zip(0..).collect();
            sorted.sort_unstable();
            sorted.into_iter().map(|(_, number)| number).collect()
        }
        match self {
            Self::Words(words) => order(words.iter().flatten()),
            Self::Longs(numbers) => order(numbers.iter()),
            Self::Ints(numbers) => order(numbers.iter()),
        }
    }
}

/// Texts whose words repeat. A dictionary is no form for what comes once, nor for what would make a page longer than pages
/// should be.
fn words(array: &ArrayRef) -> Option<(Int32Array, Values<'_>)> {
    let dictionary = array.as_dictionary_opt::<Int32Type>()?;
    let (which, words) = (dictionary.keys(), dictionary.values().as_string_opt::<i32>()?);
    let bytes = words.value_data().len() + size_of::<u32>() * words.len();
    let repeats = words.len() <= which.len().div_ceil(2) && bytes <= PAGE_BYTES;
    (repeats && !words.is_empty() && words.null_count() == 0).then(|| (which.clone(), Values::Words(words)))
}

/// Numbers that repeat; `make` says of which type they are.
fn numbers<'a, T>(
    array: &'a PrimitiveArray<T>,
    make: impl FnOnce(Vec<T::Native>) -> Values<'a>,
) -> Option<(Int32Array, Values<'a>)>
where
    T: ArrowPrimitiveType,
    T::Native: std::hash::Hash + Eq,
{
    if array.null_count() == array.len() {
        return None;
    }
    let mut distinct = Distinct::default();
    // Under a null stands any number; it is given one too, which nothing refers to.
    for value in array.values() {
        distinct.add(*value);
        if distinct.len() > MAX_NUMBERS {
            return None;
        }
    }
    let (which, values) = distinct.of(array.values());
    Some((Int32Array::new(which.values().clone(), array.nulls().cloned()), make(values)))
}

/// The first bytes of a word; and whether that is all of it.
fn shortened(word: &str) -> (Vec<u8>, bool) {
    let end = word.floor_char_boundary(STATISTICS_BYTES);
    (word.as_bytes().get(..end).unwrap_or_default().to_vec(), end == word.len())
}

/// As many bytes at most, not less than the word; all of it, if none can be found.
fn raised(word: &str) -> (Vec<u8>, bool) {
    let end = word.floor_char_boundary(STATISTICS_BYTES);
    if end == word.len() {
        return (word.into(), true);
    }
    let mut start = word.get(..end).unwrap_or_default().to_owned();
    while let Some(last) = start.pop() {
        // Of the same length, so that the bytes do not become more.
        let next = char::from_u32(u32::from(last) + 1).filter(|next| next.len_utf8() == last.len_utf8());
        if let Some(next) = next {
            start.push(next);
            return (start.into_bytes(), false);
        }
    }
    (word.into(), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_statistics_are_short_and_still_bounds() {
        let long = "z".repeat(63) + "ä" + &"z".repeat(200);
        let greatest = "\u{10FFFF}".repeat(40);
        for word in ["", "short", &long, &"y".repeat(64), &"y".repeat(65), &"\u{7f}".repeat(70), &greatest] {
            let ((least, whole), (most, all)) = (shortened(word), raised(word));
            assert!(least.as_slice() <= word.as_bytes() && most.as_slice() >= word.as_bytes(), "{word}");
            assert!(std::str::from_utf8(&least).is_ok() && std::str::from_utf8(&most).is_ok(), "{word}");
            assert_eq!((whole, all), (least == word.as_bytes(), most == word.as_bytes()));
            // Of some there is nothing short above.
            assert!(least.len() <= STATISTICS_BYTES && (most.len() <= STATISTICS_BYTES || all), "{word}");
        }
    }
}
