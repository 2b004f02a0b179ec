//! Arrow values as JSON: times as RFC 3339 in UTC, bytes as `\x…` in lower-case hexadecimal, structs as objects.

use std::fmt::Write;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;
use chrono::{DateTime, Utc};
use serde_json::{Map, Number, Value};

/// The value of one cell. Numbers that JSON has no form of, and types with none of their own, are text.
pub(super) fn value(array: &dyn Array, row: usize) -> Result<Value, ArrowError> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Binary => hex(array.as_binary::<i32>().value(row)).into(),
        DataType::LargeBinary => hex(array.as_binary::<i64>().value(row)).into(),
        DataType::BinaryView => hex(array.as_binary_view().value(row)).into(),
        DataType::FixedSizeBinary(_) => hex(array.as_fixed_size_binary().value(row)).into(),
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).into(),
        // Through text: 0.1 as a wider float is another number.
        DataType::Float32 => number(&array.as_primitive::<Float32Type>().value(row).to_string()),
        DataType::Float64 => number(&array.as_primitive::<Float64Type>().value(row).to_string()),
        DataType::Timestamp(unit, zone) => {
            time(array, row, *unit, zone.is_some()).map_or_else(|| array_value_to_string(array, row), Ok)?.into()
        }
        DataType::List(_) => list(array.as_list::<i32>().value(row).as_ref())?,
        DataType::LargeList(_) => list(array.as_list::<i64>().value(row).as_ref())?,
        DataType::FixedSizeList(..) => list(array.as_fixed_size_list().value(row).as_ref())?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let each = fields.iter().zip(columns);
            let object = each.map(|(field, column)| Ok((field.name().clone(), value(column.as_ref(), row)?)));
            Value::Object(object.collect::<Result<Map<_, _>, ArrowError>>()?)
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys().get(row).copied().unwrap_or_default();
            value(dictionary.values().as_ref(), key)?
        }
        _ => array_value_to_string(array, row)?.into(),
    })
}

fn list(elements: &dyn Array) -> Result<Value, ArrowError> {
    (0..elements.len()).map(|row| value(elements, row)).collect::<Result<_, _>>().map(Value::Array)
}

fn number(text: &str) -> Value {
    text.parse().ok().and_then(Number::from_f64).map_or_else(|| text.into(), Value::Number)
}

/// RFC 3339 with microseconds, as everywhere; finer digits only where there are some. A time without a zone stays so.
fn time(array: &dyn Array, row: usize, unit: TimeUnit, zoned: bool) -> Option<String> {
    let moment = match unit {
        TimeUnit::Second => DateTime::from_timestamp(array.as_primitive::<TimestampSecondType>().value(row), 0),
        TimeUnit::Millisecond => {
            DateTime::from_timestamp_millis(array.as_primitive::<TimestampMillisecondType>().value(row))
        }
        TimeUnit::Microsecond => {
            DateTime::from_timestamp_micros(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        TimeUnit::Nanosecond => {
            Some(DateTime::from_timestamp_nanos(array.as_primitive::<TimestampNanosecondType>().value(row)))
        }
    };
    let moment: DateTime<Utc> = moment?;
    let fine = !moment.timestamp_subsec_nanos().is_multiple_of(1_000);
    let text = moment.format(if fine { "%Y-%m-%dT%H:%M:%S%.9f" } else { "%Y-%m-%dT%H:%M:%S%.6f" });
    Some(format!("{text}{}", if zoned { "Z" } else { "" }))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("\\x");
    for byte in bytes {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, Date32Array, Decimal128Array, DictionaryArray, Float32Array, Float64Array, Int64Array,
        ListArray, NullArray, StructArray, TimestampMicrosecondArray, TimestampNanosecondArray,
    };
    use arrow::datatypes::Field;
    use serde_json::json;

    use super::*;

    fn first(array: &dyn Array) -> Value {
        value(array, 0).unwrap()
    }

    #[test]
    fn every_value_has_one_form() {
        let micros = || TimestampMicrosecondArray::from_iter_values([1_795_512_766_000_001]);
        assert_eq!(first(&micros().with_timezone("UTC")), json!("2026-11-24T09:32:46.000001Z"));
        assert_eq!(first(&micros()), json!("2026-11-24T09:32:46.000001"));
        let nanos = TimestampNanosecondArray::from_iter_values([1_795_512_766_000_000_001]).with_timezone("+00:00");
        assert_eq!(first(&nanos), json!("2026-11-24T09:32:46.000000001Z"));
        assert_eq!(first(&Date32Array::from_iter_values([20_781])), json!("2026-11-24"));
        assert_eq!(first(&BinaryArray::from_iter_values([[0_u8, 255]])), json!("\\x00ff"));
        assert_eq!(first(&Float32Array::from_iter_values([0.1])), json!(0.1));
        assert_eq!(first(&Float64Array::from_iter_values([f64::NAN])), json!("NaN"));
        assert_eq!(first(&Int64Array::from_iter_values([i64::MAX])), json!(i64::MAX));
        assert_eq!(first(&NullArray::new(1)), Value::Null);
        assert_eq!(first(&["a"].into_iter().collect::<DictionaryArray<Int32Type>>()), json!("a"));
        let decimal = Decimal128Array::from_iter_values([12_345]).with_precision_and_scale(10, 2).unwrap();
        assert_eq!(first(&decimal), json!("123.45"));
    }

    #[test]
    fn lists_of_structs_are_arrays_of_objects() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let structs = StructArray::from(vec![(Arc::new(Field::new("n", DataType::Int64, true)), numbers)]);
        let field = Arc::new(Field::new("element", structs.data_type().clone(), false));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([2]);
        let list = ListArray::new(field, offsets, Arc::new(structs), None);
        assert_eq!(first(&list), json!([{"n": 1}, {"n": null}]));
    }
}
