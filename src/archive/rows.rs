//! Rows with names: what `replay` and `why` show. The fields are columns of the contract; its sentences hold.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::answer::Row;
use super::error::ArchiveError;

/// A row of `statements`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of `schemas/statements.v1.json`, which says what they mean")]
pub struct StatementRow {
    pub reference: String,
    pub session_id: String,
    pub statement_seq: i64,
    pub node: String,
    pub time: String,
    pub ended: String,
    pub subject: String,
    pub principal_kind: Option<String>,
    pub display: Option<String>,
    pub email: Option<String>,
    pub issuer: String,
    pub roles: Vec<String>,
    pub client_address: String,
    pub tls_version: Option<String>,
    pub application: Option<String>,
    pub target: String,
    pub database: String,
    pub database_user: String,
    pub request: String,
    pub text: Option<String>,
    pub text_bytes: Option<String>,
    pub kind: String,
    pub effects: Vec<EffectRow>,
    pub problem: Option<String>,
    pub params: Vec<ParamRow>,
    pub decision: String,
    pub rules: Vec<String>,
    pub policy_version: String,
    pub message: Option<String>,
    pub hint: Option<String>,
    pub status: String,
    pub sqlstate: Option<String>,
    pub command_tag: Option<String>,
    pub rows_returned: i64,
    pub rows_affected: Option<i64>,
    pub total_us: Option<i64>,
    pub tag: Option<String>,
    pub recorded: Option<String>,
    pub session_user: Option<String>,
    pub role: Option<String>,
}

/// One of `effects`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of `schemas/statements.v1.json`, which says what they mean")]
pub struct EffectRow {
    pub action: String,
    pub object_kind: Option<String>,
    pub schema: Option<String>,
    pub name: Option<String>,
    pub has_where: bool,
}

/// One of `params`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of `schemas/statements.v1.json`, which says what they mean")]
pub struct ParamRow {
    pub position: i64,
    pub type_oid: i64,
    pub type_name: Option<String>,
    pub format: String,
    pub value: Option<String>,
    pub raw: Option<String>,
    pub is_null: bool,
}

/// A row of `sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the columns of `schemas/sessions.v1.json`, which says what they mean")]
pub struct SessionRow {
    pub kind: String,
    pub session_id: String,
    pub node: String,
    pub time: String,
    pub opened: Option<String>,
    pub closed: Option<String>,
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub principal_kind: Option<String>,
    pub display: Option<String>,
    pub email: Option<String>,
    pub roles: Vec<String>,
    pub client_address: String,
    pub tls_version: Option<String>,
    pub application: Option<String>,
    pub target: String,
    pub database: Option<String>,
    pub database_user: Option<String>,
    pub reason: String,
    pub sqlstate: Option<String>,
    pub detail: Option<String>,
    pub statements: Option<i64>,
    pub rules: Vec<String>,
    pub policy_version: Option<String>,
}

impl StatementRow {
    /// The row, by the names of its columns.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unexpected`] if it is no whole row of `statements`.
    pub fn of(columns: &[String], row: Row) -> Result<Self, ArchiveError> {
        named(columns, row)
    }

    /// The text as sent; bytes that are no UTF-8 in hexadecimal.
    pub fn sql(&self) -> &str {
        self.text.as_deref().or(self.text_bytes.as_deref()).unwrap_or("")
    }

    /// The name to show of the person.
    pub fn who(&self) -> &str {
        self.display.as_deref().or(self.email.as_deref()).unwrap_or(&self.subject)
    }
}

impl SessionRow {
    /// The row, by the names of its columns.
    ///
    /// # Errors
    ///
    /// [`ArchiveError::Unexpected`] if it is no whole row of `sessions`.
    pub fn of(columns: &[String], row: Row) -> Result<Self, ArchiveError> {
        named(columns, row)
    }

    /// Whether it is a client that was not let in.
    pub fn is_refused(&self) -> bool {
        self.kind == "refused"
    }

    /// The name to show of the person; nobody where no token was accepted.
    pub fn who(&self) -> Option<&str> {
        self.display.as_deref().or(self.email.as_deref()).or(self.subject.as_deref())
    }
}

fn named<T: DeserializeOwned>(columns: &[String], row: Row) -> Result<T, ArchiveError> {
    let object: Map<String, Value> = columns.iter().cloned().zip(row).collect();
    serde_json::from_value(Value::Object(object)).map_err(|error| ArchiveError::Unexpected(error.to_string()))
}
