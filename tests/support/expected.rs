//! What a client knows of each statement that it ran, and the comparison with the archive's rows and the server's log.

use serde::Deserialize;
use serde_json::Value;

use super::{Archive, Logged};

/// One statement as the client that ran it knows it. A part that is absent is not compared.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expected {
    /// The text as it goes over the wire.
    pub(crate) text: String,
    /// `query`, `execute`, or `parse` for one refused before it could be executed.
    pub(crate) request: Option<String>,
    /// The bound values in readable form, in order; `null` for NULL.
    pub(crate) params: Option<Vec<Option<String>>>,
    /// `allow` unless said.
    pub(crate) decision: Option<String>,
    /// `ok` unless said.
    pub(crate) status: Option<String>,
    /// The error code.
    pub(crate) sqlstate: Option<String>,
    /// Rows that the client got.
    pub(crate) rows_returned: Option<i64>,
    /// Rows that the client was told were affected.
    pub(crate) rows_affected: Option<i64>,
    /// Whether the server got to execute it, so that its log has it: unless said, if it was allowed and not skipped.
    pub(crate) executed: Option<bool>,
}

impl Expected {
    /// A statement that went well.
    pub(crate) fn query(text: &str) -> Self {
        Self { text: text.to_owned(), request: Some("query".to_owned()), ..Self::default() }
    }

    /// The same in the extended protocol.
    pub(crate) fn execute(text: &str, params: &[Option<&str>]) -> Self {
        let params = params.iter().map(|value| value.map(str::to_owned)).collect();
        Self { request: Some("execute".to_owned()), params: Some(params), ..Self::query(text) }
    }

    pub(crate) fn returned(self, rows: i64) -> Self {
        Self { rows_returned: Some(rows), ..self }
    }

    pub(crate) fn affected(self, rows: i64) -> Self {
        Self { rows_affected: Some(rows), ..self }
    }

    pub(crate) fn failed(self, sqlstate: &str) -> Self {
        Self { status: Some("error".to_owned()), sqlstate: Some(sqlstate.to_owned()), ..self }
    }

    pub(crate) fn denied(self) -> Self {
        let word = |word: &str| Some(word.to_owned());
        Self { decision: word("deny"), status: word("denied"), sqlstate: word("42501"), ..self }
    }

    /// Whether the server's log has it.
    pub(crate) fn executed(&self) -> bool {
        let skipped = self.status.as_deref() == Some("skipped");
        self.executed.unwrap_or(self.decision.as_deref() != Some("deny") && !skipped)
    }

    /// What differs from a row of the archive; nothing if it is the same.
    fn differences(&self, row: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |column: &str, expected: Value| {
            let actual = row.get(column).cloned().unwrap_or(Value::Null);
            if actual != expected {
                found.push(format!("{column} is {actual}, expected {expected}"));
            }
        };
        compare("text", self.text.as_str().into());
        compare("text_length", self.text.len().into());
        compare("decision", self.decision.as_deref().unwrap_or("allow").into());
        compare("status", self.status.as_deref().unwrap_or("ok").into());
        compare("sqlstate", self.sqlstate.as_deref().into());
        if let Some(request) = &self.request {
            compare("request", request.as_str().into());
        }
        if let Some(rows) = self.rows_returned {
            compare("rows_returned", rows.into());
        }
        if let Some(rows) = self.rows_affected {
            compare("rows_affected", rows.into());
        }
        if let Some(params) = &self.params {
            compare("values", params.iter().map(|value| value.as_deref().map(Value::from)).collect());
        }
        found
    }

    /// Whether it is what the server logged; its form of the values is its own, so each must only be in it.
    pub(crate) fn is(&self, logged: &Logged) -> bool {
        let values = self.params.iter().flatten().flatten();
        let shown = logged.parameters.as_deref().unwrap_or("");
        let all_shown = values.into_iter().all(|value| shown.contains(&format!("'{}'", value.replace('\'', "''"))));
        self.text == logged.text && all_shown && self.request.as_ref().is_none_or(|request| *request == logged.request)
    }
}

/// Every statement that a client ran is one row of the archive, in order, and there is no other.
pub(crate) fn assert_recorded(archive: &Archive<'_>, application: &str, expected: &[Expected]) -> Vec<Value> {
    let rows = archive.rows_of(application, expected.len());
    assert_rows(application, &rows, expected);
    rows
}

/// These rows are the statements that a client ran, in order.
pub(crate) fn assert_rows(application: &str, rows: &[Value], expected: &[Expected]) {
    let show = |at: usize| {
        let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        let wanted = expected.get(at).map_or_else(|| "nothing".to_owned(), |e| format!("{:?}", e.text));
        format!("  {at}: recorded {} / ran {wanted}", text(rows.get(at).and_then(|row| row.get("text"))))
    };
    if rows.len() != expected.len() {
        let all: Vec<String> = (0..rows.len().max(expected.len())).map(show).collect();
        panic!("{application}: {} rows for {} statements\n{}", rows.len(), expected.len(), all.join("\n"));
    }
    let mut problems = Vec::new();
    for (at, (row, expected)) in rows.iter().zip(expected).enumerate() {
        let differences = expected.differences(row);
        if !differences.is_empty() {
            problems.push(format!("{}\n     {}", show(at), differences.join("\n     ")));
        }
    }
    assert!(problems.is_empty(), "{application}: the archive differs\n{}", problems.join("\n"));
}

/// Among these rows are the statements that a client says it ran, in order; what is between them its driver asked for.
pub(crate) fn assert_among(application: &str, rows: &[Value], expected: &[Expected]) {
    let mut rest = rows.iter();
    for (at, expected) in expected.iter().enumerate() {
        let before = rest.clone();
        let found = rest.any(|row| expected.differences(row).is_empty());
        let texts = || before.clone().map(|row| row["text"].to_string()).collect::<Vec<_>>().join("\n     ");
        assert!(found, "{application}, statement {at}: {expected:?}\n  is none of\n     {}", texts());
    }
}
