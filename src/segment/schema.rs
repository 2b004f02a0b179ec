//! The archive's contract, `schemas/*.v1.json`, as Arrow schemas. The contract is the one source: a column that is not
//! in it cannot be written, and one that is in it cannot be left out.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde::Deserialize;

use super::SegmentError;

/// The key of a column's meaning in its Arrow metadata. One key only: several would have no fixed order in the file.
pub const MEANING: &str = "meaning";
/// The zone of every time in the archive.
pub(super) const ZONE: &str = "UTC";
/// The name of a list's element, as the Parquet format wants it.
pub(super) const ELEMENT: &str = "element";

/// One kind of file in the archive; each has its folder and its contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dataset {
    /// One row for each executed statement.
    Statements,
    /// One row for each ended session and each refused login.
    Sessions,
    /// One row for each event of a recorder and each prepared statement.
    Events,
}

impl Dataset {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Statements, Self::Sessions, Self::Events];

    /// The folder in the archive, and the table's name in queries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Statements => "statements",
            Self::Sessions => "sessions",
            Self::Events => "events",
        }
    }

    /// The contract's name, written into each file.
    pub fn version(self) -> &'static str {
        match self {
            Self::Statements => "statements.v1",
            Self::Sessions => "sessions.v1",
            Self::Events => "events.v1",
        }
    }

    /// The contract as published.
    pub fn contract(self) -> &'static str {
        match self {
            Self::Statements => include_str!("../../schemas/statements.v1.json"),
            Self::Sessions => include_str!("../../schemas/sessions.v1.json"),
            Self::Events => include_str!("../../schemas/events.v1.json"),
        }
    }

    /// The contract as an Arrow schema; each column carries its [`MEANING`].
    ///
    /// # Errors
    ///
    /// [`SegmentError::Contract`] if this program was built with a contract that it cannot read.
    pub fn schema(self) -> Result<SchemaRef, SegmentError> {
        let contract: Contract = serde_json::from_str(self.contract())
            .map_err(|error| SegmentError::Contract { dataset: self.name(), problem: error.to_string() })?;
        let fields = contract.columns.iter().map(|column| self.field(column)).collect::<Result<Fields, _>>()?;
        Ok(Arc::new(Schema::new(fields)))
    }

    fn field(self, column: &Column) -> Result<Field, SegmentError> {
        let kind = self.data_type(column)?;
        let meaning = HashMap::from([(MEANING.to_owned(), column.meaning.clone())]);
        Ok(Field::new(&column.name, kind, column.nullable).with_metadata(meaning))
    }

    fn data_type(self, column: &Column) -> Result<DataType, SegmentError> {
        let list = |kind| DataType::List(Arc::new(Field::new(ELEMENT, kind, false)));
        Ok(match column.kind.as_str() {
            "utf8" => DataType::Utf8,
            "binary" => DataType::Binary,
            "bool" => DataType::Boolean,
            "int32" => DataType::Int32,
            "int64" => DataType::Int64,
            "timestamp[us, UTC]" => DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
            "list<utf8>" => list(DataType::Utf8),
            "list<struct>" => {
                let inner = column.fields.iter().map(|inner| self.field(inner)).collect::<Result<Fields, _>>()?;
                list(DataType::Struct(inner))
            }
            other => {
                let problem = format!("column {} has the unknown type {other}", column.name);
                return Err(SegmentError::Contract { dataset: self.name(), problem });
            }
        })
    }
}

#[derive(Deserialize)]
struct Contract {
    columns: Vec<Column>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    nullable: bool,
    meaning: String,
    #[serde(default)]
    fields: Vec<Column>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contract_reads_and_every_column_says_what_it_means() {
        for dataset in Dataset::ALL {
            let schema = dataset.schema().unwrap();
            assert!(dataset.contract().contains(&format!("\"schema\": \"{}\"", dataset.version())));
            assert!(schema.fields().len() > 20);
            for field in schema.fields() {
                let meaning = field.metadata().get(MEANING).unwrap();
                assert!(meaning.len() > 5 && meaning.ends_with('.'), "{} {}", dataset.name(), field.name());
                assert_eq!(field.name(), &field.name().to_lowercase());
            }
            for sorted in ["time", "node", "entry_seq", "session_id"] {
                assert!(schema.field_with_name(sorted).is_ok(), "{} lacks {sorted}", dataset.name());
            }
        }
    }
}
