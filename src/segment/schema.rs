//! The archive's contract, `schemas/*.v1.json`, as Arrow schemas. The contract is the one source: a column that is not
//! in it cannot be written, and one that is in it cannot be left out.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde::Deserialize;

use super::SegmentError;

/// The key of a column's meaning in its Arrow metadata. One key only: several would have no fixed order in the file.
pub const MEANING: &str = "meaning";
/// The zone of every time in the archive.
pub(super) const ZONE: &str = "UTC";
/// The name of a list's element, as the Parquet format wants it.
pub(super) const ELEMENT: &str = "element";

const INT32: &str = "int32";

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

    /// The dataset whose folder an object of the archive is in.
    pub fn of_object(name: &str) -> Option<Self> {
        let (folder, _) = name.split_once('/')?;
        Self::ALL.iter().copied().find(|dataset| dataset.name() == folder)
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
        let fields = self.columns()?.iter().map(|column| self.field(column)).collect::<Result<Fields, _>>()?;
        Ok(Arc::new(Schema::new(fields)))
    }

    /// The contract's columns. Read once: every batch that is hashed asks for them.
    pub(super) fn columns(self) -> Result<&'static [Column], SegmentError> {
        static STATEMENTS: Read = Read::new();
        static SESSIONS: Read = Read::new();
        static EVENTS: Read = Read::new();
        let read = match self {
            Self::Statements => &STATEMENTS,
            Self::Sessions => &SESSIONS,
            Self::Events => &EVENTS,
        };
        let contract = || serde_json::from_str::<Contract>(self.contract()).map(|contract| contract.columns);
        match read.get_or_init(|| contract().map_err(|error| error.to_string())) {
            Ok(columns) => Ok(columns),
            Err(problem) => Err(SegmentError::Contract { dataset: self.name(), problem: problem.clone() }),
        }
    }

    fn field(self, column: &Column) -> Result<Field, SegmentError> {
        let kind = self.data_type(column)?;
        let meaning = HashMap::from([(MEANING.to_owned(), column.meaning.clone())]);
        Ok(Field::new(&column.name, kind, column.nullable).with_metadata(meaning))
    }

    fn data_type(self, column: &Column) -> Result<DataType, SegmentError> {
        let list = |kind| DataType::List(Arc::new(Field::new(ELEMENT, kind, false)));
        Ok(match column.kind(self)? {
            Kind::Text => DataType::Utf8,
            Kind::Bytes => DataType::Binary,
            Kind::Flag => DataType::Boolean,
            Kind::Number if column.written_kind == INT32 => DataType::Int32,
            Kind::Number => DataType::Int64,
            Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into())),
            Kind::Texts => list(DataType::Utf8),
            Kind::Structs => {
                let inner = column.fields.iter().map(|inner| self.field(inner)).collect::<Result<Fields, _>>()?;
                list(DataType::Struct(inner))
            }
        })
    }
}

/// A contract once it was read, or why it could not be.
type Read = OnceLock<Result<Vec<Column>, String>>;

#[derive(Deserialize)]
struct Contract {
    columns: Vec<Column>,
}

/// A column, or a field of a struct.
#[derive(Debug, Deserialize)]
pub(super) struct Column {
    /// Its number in canonical bytes.
    pub(super) key: u64,
    pub(super) name: String,
    #[serde(rename = "type")]
    written_kind: String,
    pub(super) nullable: bool,
    meaning: String,
    #[serde(default)]
    pub(super) fields: Vec<Column>,
}

/// What the values of a column are, apart from how wide they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Bytes,
    Flag,
    Number,
    Time,
    Texts,
    Structs,
}

impl Column {
    pub(super) fn kind(&self, dataset: Dataset) -> Result<Kind, SegmentError> {
        Ok(match self.written_kind.as_str() {
            "utf8" => Kind::Text,
            "binary" => Kind::Bytes,
            "bool" => Kind::Flag,
            INT32 | "int64" => Kind::Number,
            "timestamp[us, UTC]" => Kind::Time,
            "list<utf8>" => Kind::Texts,
            "list<struct>" => Kind::Structs,
            other => {
                let problem = format!("column {} has the unknown type {other}", self.name);
                return Err(SegmentError::Contract { dataset: dataset.name(), problem });
            }
        })
    }
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

    #[test]
    fn keys_are_given_once() {
        fn check(columns: &[Column]) {
            let mut keys: Vec<u64> = columns.iter().map(|column| column.key).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), columns.len());
            columns.iter().for_each(|column| check(&column.fields));
        }
        for dataset in Dataset::ALL {
            check(dataset.columns().unwrap());
        }
    }
}
