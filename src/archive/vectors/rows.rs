//! Rows, their canonical bytes and their leaf hashes.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use chrono::DateTime;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value as Json, json};

use super::super::json;
use super::super::testing::{closed, denied, node, record, refused, with_values};
use super::{hex, kept, unhex};
use crate::model::{Record, SegmentNo, SqlText, Timestamp};
use crate::seal::canonical::{Fields, Row, Value};
use crate::segment::tests::events;
use crate::segment::{Dataset, LogicalRows, Rows, Segment};

/// Values that a careless encoder gets wrong.
fn strange(mut record: Record) -> Record {
    let intent = Arc::make_mut(&mut record.intent);
    intent.time = Timestamp(-1);
    intent.statement.text = SqlText::from("select '\u{1F9FE} e\u{301} \u{e9} \u{0}\r\n\t\"\\'");
    intent.statement.prepared = Some("".into());
    let facts = Arc::make_mut(&mut intent.facts);
    facts.functions = (0..30).map(|number| format!("f{number:02}")).collect();
    facts.has_where = None;
    Arc::make_mut(&mut intent.decision).rules = vec![];
    record.outcome.bytes_in = u64::MAX;
    record.outcome.bytes_out = 0x1_0000_0000;
    record.outcome.rows_returned = 0xffff_ffff;
    record.outcome.rows_affected = Some(0xffff);
    record.outcome.total_us = Some(256);
    record.outcome.first_row_us = Some(0);
    record
}

fn bytes_only(mut record: Record) -> Record {
    Arc::make_mut(&mut record.intent).statement.text = SqlText::new(Bytes::from_static(b"select '\xff\x00'"));
    record
}

fn rows() -> Rows {
    Rows {
        records: vec![
            record(7, 1, 0, "select 1"),
            denied(record(7, 2, 1_000, "select * from patients")),
            with_values(record(7, 3, 2_000, "select $1, $2, $3, $4")),
            strange(record(7, 4, 3_000, "")),
            bytes_only(record(7, 5, 4_000, "")),
        ],
        sessions: vec![closed(7, 9_000, 5), refused(8)],
        events: events(),
    }
}

fn batches() -> Vec<(Dataset, RecordBatch)> {
    let files = Segment::build(&node(), SegmentNo(3), Timestamp(99), &rows()).unwrap().files;
    let batch = |bytes: Bytes| {
        ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap().next().unwrap().unwrap()
    };
    let dataset = |name: &str| *Dataset::ALL.iter().find(|dataset| name.starts_with(dataset.name())).unwrap();
    files.into_iter().map(|file| (dataset(&file.name), batch(file.bytes))).collect()
}

#[test]
fn rows_have_the_bytes_that_were_published() {
    let mut vectors = Vec::new();
    for (dataset, batch) in batches() {
        let logical = LogicalRows::of(dataset, &batch).unwrap();
        let leaves = logical.leaves().unwrap();
        for (at, (entry, leaf)) in leaves.iter().enumerate() {
            let row = logical.row(at).unwrap().unwrap();
            let schema = batch.schema();
            let columns = schema
                .fields()
                .iter()
                .zip(batch.columns())
                .map(|(field, column)| (field.name().clone(), json::value(column.as_ref(), at).unwrap()));
            let columns: Map<String, Json> = columns.collect();
            vectors.push((
                (dataset.name(), entry.0),
                json!({
                    "schema": dataset.version(),
                    "row": columns,
                    "bytes": hex(&row.bytes()),
                    "leaf": leaf.to_string(),
                }),
            ));
        }
    }
    vectors.sort_by_key(|(key, _)| *key);
    let made = json!({
        "about": "Rows in the JSON of `hansard query -o json` (times RFC 3339, binary \\x and hexadecimal), their canonical \
            bytes by record-bytes.v1.md in hexadecimal, and the RFC 6962 leaf hash of these.",
        "vectors": vectors.into_iter().map(|(_, vector)| vector).collect::<Vec<_>>(),
    });
    let kept = kept("records.v1.json", &made);
    for vector in kept["vectors"].as_array().unwrap() {
        let contract = Dataset::ALL.iter().find(|dataset| vector["schema"] == dataset.version()).unwrap().contract();
        let contract: Json = serde_json::from_str(contract).unwrap();
        let bytes = unhex(&vector["bytes"]);
        let fields = from_json(&contract["columns"], vector["row"].as_object().unwrap());
        let row = Row { schema: vector["schema"].as_str().unwrap(), fields: by_reference(&fields) };
        assert_eq!(row.bytes(), bytes, "JSON to bytes");
        let read = Row::read(&bytes).unwrap();
        assert_eq!(Json::Object(to_json(&contract["columns"], &read.fields)), vector["row"], "bytes to JSON");
    }
}

/// The values of a row that own what they hold.
enum Owned {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Owned>),
    Map(Vec<(u64, Owned)>),
}

fn by_reference(fields: &[(u64, Owned)]) -> Fields<'_> {
    fn value(owned: &Owned) -> Value<'_> {
        match owned {
            Owned::Null => Value::Null,
            Owned::Bool(flag) => Value::Bool(*flag),
            Owned::Int(number) => Value::Int(*number),
            Owned::Text(text) => Value::Text(text),
            Owned::Bytes(bytes) => Value::Bytes(bytes),
            Owned::List(values) => Value::List(values.iter().map(value).collect()),
            Owned::Map(fields) => Value::Map(by_reference(fields)),
        }
    }
    Fields::new(fields.iter().map(|(key, owned)| (*key, value(owned))).collect()).unwrap()
}

fn from_json(columns: &Json, row: &Map<String, Json>) -> Vec<(u64, Owned)> {
    let of = |column: &Json| (column["key"].as_u64().unwrap(), owned(column, &row[column["name"].as_str().unwrap()]));
    columns.as_array().unwrap().iter().map(of).collect()
}

fn owned(column: &Json, value: &Json) -> Owned {
    if value.is_null() {
        return Owned::Null;
    }
    let text = || value.as_str().unwrap().to_owned();
    match column["type"].as_str().unwrap() {
        "utf8" => Owned::Text(text()),
        "binary" => Owned::Bytes(unhex(&json!(text().strip_prefix("\\x").unwrap()))),
        "bool" => Owned::Bool(value.as_bool().unwrap()),
        "int32" | "int64" => Owned::Int(value.as_i64().unwrap()),
        "timestamp[us, UTC]" => Owned::Int(DateTime::parse_from_rfc3339(&text()).unwrap().timestamp_micros()),
        "list<utf8>" => {
            let each = |value: &Json| Owned::Text(value.as_str().unwrap().to_owned());
            Owned::List(value.as_array().unwrap().iter().map(each).collect())
        }
        "list<struct>" => {
            let each = |value: &Json| Owned::Map(from_json(&column["fields"], value.as_object().unwrap()));
            Owned::List(value.as_array().unwrap().iter().map(each).collect())
        }
        other => panic!("{other}"),
    }
}

fn to_json(columns: &Json, fields: &Fields<'_>) -> Map<String, Json> {
    let columns = columns.as_array().unwrap();
    let known: Vec<u64> = columns.iter().map(|column| column["key"].as_u64().unwrap()).collect();
    assert!(fields.iter().all(|(key, _)| known.contains(&key)));
    let each = columns.iter().zip(known).map(|(column, key)| {
        let value = fields.get(key).map_or(Json::Null, |value| shown(column, value));
        (column["name"].as_str().unwrap().to_owned(), value)
    });
    each.collect()
}

fn shown(column: &Json, value: &Value<'_>) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::Int(micros) if column["type"] == "timestamp[us, UTC]" => json!(Timestamp(*micros).to_string()),
        Value::Int(number) => json!(number),
        Value::Text(text) => json!(text),
        Value::Bytes(bytes) => json!(format!("\\x{}", hex(bytes))),
        Value::List(values) => values.iter().map(|value| shown(column, value)).collect(),
        Value::Map(fields) => Json::Object(to_json(&column["fields"], fields)),
    }
}
