//! A session again: its statements in order, in parts of bounded size, with what is missing said.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::answer::Row;
use super::engine::Reading;
use super::error::ArchiveError;
use super::rows::SessionRow;
use crate::model::{Reference, SessionId, UnreadableId};
use crate::segment::Dataset;

/// Statements and values that are held at once; one statement alone may be larger.
const PART_BYTES: i64 = 32 << 20;
/// Statements that are held at once.
const PART_STATEMENTS: usize = 1_000;

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The session of the newest statement.
    Latest,
    /// A session, or a refused login: its error text has a name of the same form.
    Session(SessionId),
    /// A statement.
    Statement(Reference),
}

/// As it is asked for.
impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Session(id) => id.fmt(f),
            Self::Statement(reference) => reference.fmt(f),
        }
    }
}

impl FromStr for Which {
    type Err = UnreadableId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        text.parse().map(Self::Statement).or_else(|_| text.parse().map(Self::Session))
    }
}

/// A session, ready to be replayed. Parts are taken with [`Replay::next`].
#[derive(Debug)]
pub struct Replay {
    reading: Reading,
    id: SessionId,
    asked: Option<Reference>,
    session: Option<(Vec<String>, Row, SessionRow)>,
    columns: Vec<String>,
    index: Vec<Place>,
    next: usize,
}

/// Where a statement stands.
#[derive(Debug, Clone)]
struct Place {
    seq: i64,
    time: String,
    bytes: i64,
}

impl Replay {
    /// Its name.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// The statement that was asked for by its reference.
    pub fn asked(&self) -> Option<Reference> {
        self.asked
    }

    /// How it ended; absent while the session is open, or its end is not shipped yet.
    pub fn session(&self) -> Option<&SessionRow> {
        self.session.as_ref().map(|(_, _, session)| session)
    }

    /// The same as a row, with the names of its columns.
    pub fn session_row(&self) -> Option<(&[String], &Row)> {
        self.session.as_ref().map(|(columns, row, _)| (columns.as_slice(), row))
    }

    /// The names of the columns of the rows; empty before the first part.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many statements the archive has of it.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether the archive has none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// When the first and the last of them were judged.
    pub fn times(&self) -> Option<(&str, &str)> {
        Some((&self.index.first()?.time, &self.index.last()?.time))
    }

    /// The numbers of statements that the archive does not have, though it has later ones or the session's end counts
    /// them: from, to.
    pub fn missing(&self) -> Vec<(i64, i64)> {
        let mut numbers: Vec<i64> = self.index.iter().map(|place| place.seq).collect();
        numbers.sort_unstable();
        let counted = self.session().and_then(|session| session.statements).unwrap_or(0);
        let mut missing = Vec::new();
        let mut due = 1;
        for number in numbers.into_iter().chain([counted.saturating_add(1)]) {
            if number > due {
                missing.push((due, number - 1));
            }
            due = due.max(number.saturating_add(1));
        }
        missing
    }

    /// The next statements, as whole rows in order; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`].
    pub async fn next(&mut self) -> Result<Option<Vec<Row>>, ArchiveError> {
        let part = self.part();
        let (Some(first), Some(last)) = (part.first(), part.last()) else { return Ok(None) };
        let numbers: Vec<String> = part.iter().map(|place| place.seq.to_string()).collect();
        let (least, most) = part.iter().fold((i64::MAX, 0), |(a, b), place| (a.min(place.seq), b.max(place.seq)));
        // One alone may be larger than what sorting may hold.
        let order = if part.len() > 1 { "ORDER BY time, statement_seq" } else { "" };
        let sql = format!(
            "SELECT * FROM statements WHERE session_id = '{}' AND time BETWEEN '{}' AND '{}' \
             AND statement_seq BETWEEN {least} AND {most} AND statement_seq IN ({}) {order}",
            self.id,
            first.time,
            last.time,
            numbers.join(", ")
        );
        let expected = part.len();
        let (columns, rows) = self.reading.rows(&sql).await?;
        if rows.len() != expected {
            let problem = format!("{} of {expected} statements of a part were found", rows.len());
            return Err(ArchiveError::Unexpected(problem));
        }
        self.columns = columns;
        self.next += expected;
        Ok(Some(rows))
    }

    fn part(&self) -> &[Place] {
        let rest = self.index.get(self.next..).unwrap_or(&[]);
        let mut bytes = 0_i64;
        let fits = rest.iter().take(PART_STATEMENTS).take_while(|place| {
            bytes = bytes.saturating_add(place.bytes);
            bytes <= PART_BYTES
        });
        let length = fits.count().max(1).min(rest.len());
        rest.get(..length).unwrap_or(&[])
    }
}

pub(super) async fn open(reading: Reading, which: Which) -> Result<Replay, ArchiveError> {
    let (id, asked) = match which {
        Which::Session(id) => (id, None),
        Which::Statement(reference) => (reference.session, Some(reference)),
        Which::Latest => (latest(&reading).await?, None),
    };
    let session = session(&reading, id).await?;
    let index = match &session {
        Some((_, _, row)) if row.is_refused() => Vec::new(),
        Some((_, _, row)) => index_of_closed(&reading, id, row).await?,
        None => index(&reading, id, "").await?,
    };
    let there = |reference: Reference| index.iter().any(|place| u64::try_from(place.seq) == Ok(reference.statement));
    match asked {
        Some(reference) if !there(reference) => return Err(not_found(&reference)),
        None if index.is_empty() && session.is_none() => return Err(not_found(&id)),
        _ => {}
    }
    Ok(Replay { reading, id, asked, session, columns: Vec::new(), index, next: 0 })
}

pub(super) fn not_found(what: &dyn std::fmt::Display) -> ArchiveError {
    ArchiveError::NotFound { what: what.to_string() }
}

/// The end of a session, if it is there.
pub(super) async fn session(
    reading: &Reading,
    id: SessionId,
) -> Result<Option<(Vec<String>, Row, SessionRow)>, ArchiveError> {
    let (columns, mut rows) = reading.rows(&format!("SELECT * FROM sessions WHERE session_id = '{id}'")).await?;
    let Some(row) = rows.pop() else { return Ok(None) };
    if !rows.is_empty() {
        return Err(ArchiveError::Twice { what: format!("the end of session {id}") });
    }
    let session = SessionRow::of(&columns, row.clone())?;
    Ok(Some((columns, row, session)))
}

/// The session of the newest statement; every file has a row, so the newest day has it.
async fn latest(reading: &Reading) -> Result<SessionId, ArchiveError> {
    let day = reading.catalog.newest_day(Dataset::Statements).await?.ok_or(ArchiveError::Empty)?;
    let sql =
        format!("SELECT session_id FROM statements WHERE date = '{day}' ORDER BY time DESC, entry_seq DESC LIMIT 1");
    let (_, rows) = reading.rows(&sql).await?;
    let id = rows.first().and_then(|row| row.first()).and_then(Value::as_str).ok_or(ArchiveError::Empty)?;
    id.parse().map_err(|error: UnreadableId| ArchiveError::Unexpected(error.to_string()))
}

/// Where the statements of an ended session stand. Its times say which days to look at; if its count says that this was
/// not enough, because a clock was set meanwhile, all days.
async fn index_of_closed(reading: &Reading, id: SessionId, session: &SessionRow) -> Result<Vec<Place>, ArchiveError> {
    let opened = session.opened.as_ref().unwrap_or(&session.time);
    let within = format!("AND time BETWEEN '{opened}' AND '{}'", session.time);
    let found = index(reading, id, &within).await?;
    if i64::try_from(found.len()).ok() == session.statements {
        return Ok(found);
    }
    index(reading, id, "").await
}

async fn index(reading: &Reading, id: SessionId, within: &str) -> Result<Vec<Place>, ArchiveError> {
    let sql = format!(
        "SELECT statement_seq, time, text_length + bytes_in AS bytes FROM statements \
         WHERE session_id = '{id}' {within} ORDER BY time, statement_seq"
    );
    let (_, rows) = reading.rows(&sql).await?;
    let places: Vec<Place> = rows.iter().filter_map(|row| place(row)).collect();
    if places.len() != rows.len() {
        return Err(ArchiveError::Unexpected("a statement has no number or no time".to_owned()));
    }
    let mut numbers: Vec<i64> = places.iter().map(|place| place.seq).collect();
    numbers.sort_unstable();
    match numbers.iter().zip(numbers.iter().skip(1)).find(|(a, b)| a == b) {
        Some((twice, _)) => Err(ArchiveError::Twice { what: format!("statement {id}.{twice}") }),
        None => Ok(places),
    }
}

fn place(row: &[Value]) -> Option<Place> {
    let [seq, time, bytes] = row else { return None };
    Some(Place { seq: seq.as_i64()?, time: time.as_str()?.to_owned(), bytes: bytes.as_i64()? })
}
