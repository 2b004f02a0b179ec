//! What became of one thing that a reference names.

use super::answer::Row;
use super::engine::Reading;
use super::error::ArchiveError;
use super::replay::{Which, not_found, session};
use super::rows::{SessionRow, StatementRow};

/// What became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The names of the columns of the row.
    pub columns: Vec<String>,
    /// The whole row.
    pub row: Row,
    /// The same, by name.
    pub what: What,
}

/// What the reference named.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// A statement.
    Statement(Box<StatementRow>),
    /// The end of a session, or a refused login.
    Session(Box<SessionRow>),
}

pub(super) async fn explain(reading: &Reading, which: Which) -> Result<Explanation, ArchiveError> {
    let filter = match which {
        Which::Session(id) => {
            let (columns, row, session) = session(reading, id).await?.ok_or_else(|| not_found(&id))?;
            return Ok(Explanation { columns, row, what: What::Session(Box::new(session)) });
        }
        Which::Statement(reference) => reference,
        Which::Latest => return Err(ArchiveError::Query { problem: "`why` needs a reference".to_owned() }),
    };
    let (session, number) = (filter.session, filter.statement);
    let sql = format!("SELECT * FROM statements WHERE session_id = '{session}' AND statement_seq = {number}");
    let (columns, mut rows) = reading.rows(&sql).await?;
    let row = rows.pop().ok_or_else(|| not_found(&filter))?;
    if !rows.is_empty() {
        return Err(ArchiveError::Twice { what: format!("statement {filter}") });
    }
    let statement = StatementRow::of(&columns, row.clone())?;
    Ok(Explanation { columns, row, what: What::Statement(Box::new(statement)) })
}
