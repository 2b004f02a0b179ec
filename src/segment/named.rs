//! Canonical bytes → values by the names of the contract, for people who hold a proof and no archive.

use std::fmt::Write;

use serde_json::{Map, Value as Json};

use super::schema::{Column, Kind};
use super::{Dataset, SegmentError};
use crate::model::Timestamp;
use crate::seal::canonical::{Fields, Row, Value};

/// The dataset that a row's contract names.
pub fn dataset_of(row: &Row<'_>) -> Option<Dataset> {
    Dataset::ALL.iter().copied().find(|dataset| dataset.version() == row.schema)
}

impl Dataset {
    /// The values of a row by the names of its columns, as JSON: times as RFC 3339 in UTC, bytes as `\x…`. A value whose
    /// key the contract does not know stands under the key's number: a newer program wrote it.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Contract`] if this program was built with a contract that it cannot read.
    pub fn named(self, row: &Row<'_>) -> Result<Map<String, Json>, SegmentError> {
        self.object(self.columns()?, &row.fields)
    }

    fn object(self, columns: &[Column], fields: &Fields<'_>) -> Result<Map<String, Json>, SegmentError> {
        let mut object = Map::new();
        for (key, value) in fields.iter() {
            match columns.iter().find(|column| column.key == key) {
                Some(column) => object.insert(column.name.clone(), self.json(Some(column), value)?),
                None => object.insert(key.to_string(), self.json(None, value)?),
            };
        }
        Ok(object)
    }

    fn json(self, column: Option<&Column>, value: &Value<'_>) -> Result<Json, SegmentError> {
        let kind = column.map(|column| column.kind(self)).transpose()?;
        Ok(match value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Int(number) if kind == Some(Kind::Time) => Timestamp(*number).to_string().into(),
            Value::Int(number) => (*number).into(),
            Value::Text(text) => (*text).into(),
            Value::Bytes(bytes) => hex(bytes).into(),
            Value::List(values) => {
                values.iter().map(|value| self.json(column, value)).collect::<Result<Vec<_>, _>>()?.into()
            }
            Value::Map(fields) => Json::Object(self.object(column.map_or(&[], |column| &column.fields), fields)?),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("\\x".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
