//! The record, read back from the archive and held against what the clients did.

use std::time::{Duration, Instant};

use super::DemoError;
use super::node::Node;
use super::story::{BULK_READ, End, Said, Story, Visit};
use crate::archive::{Archive, Row, SessionRow, StatementRow};
use crate::model::Timestamp;

/// How long the ends of sessions may take to be recorded after the clients have gone.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What the archive has of the story.
#[derive(Debug, Default)]
pub(super) struct Record {
    statements: Vec<StatementRow>,
    closed: Vec<SessionRow>,
    refused: Vec<SessionRow>,
}

impl Record {
    /// Reads it once everything has arrived, or when the time is over: then the comparison says what is missing.
    ///
    /// # Errors
    ///
    /// The archive cannot be written or read.
    pub(super) async fn of(node: &Node, since: Timestamp, story: &Story) -> Result<Self, DemoError> {
        let start = Instant::now();
        loop {
            node.seal().await?;
            let record = Self::read(&node.archive()?, since).await?;
            let (sessions, refused) = story.sessions();
            let arrived = record.closed.len() >= sessions && record.refused.len() >= refused;
            if arrived || start.elapsed() > ARRIVAL_LIMIT {
                return Ok(record);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn read(archive: &Archive, since: Timestamp) -> Result<Self, DemoError> {
        let question = |view, also| format!("SELECT * FROM {view} WHERE time >= '{since}' ORDER BY time{also}");
        let (columns, rows) = all(archive, &question("statements", ", statement_seq")).await?;
        let statements = rows.into_iter().map(|row| StatementRow::of(&columns, row)).collect::<Result<_, _>>()?;
        let (columns, rows) = all(archive, &question("sessions", "")).await?;
        let sessions: Vec<SessionRow> =
            rows.into_iter().map(|row| SessionRow::of(&columns, row)).collect::<Result<_, _>>()?;
        let (refused, closed) = sessions.into_iter().partition(SessionRow::is_refused);
        Ok(Self { statements, closed, refused })
    }

    /// What is not as it should be, a sentence each.
    pub(super) fn against(&self, story: &Story) -> Vec<String> {
        let mut found = story.surprises.clone();
        let mut rows = self.statements.iter();
        let mut refused = self.refused.iter();
        for visit in &story.visits {
            let who = format!("{} with {}", visit.person.name, visit.application);
            let differs = match &visit.end {
                End::Refused { .. } => {
                    refused.next().map_or(Some("the refused login is missing"), |row| refusal_differs(row, visit))
                }
                End::Session(said) => {
                    let mut session = None;
                    for said in said {
                        let row = rows.next();
                        session = session.or(row.map(|row| &row.session_id));
                        let differs = row.map_or(Some("it is missing"), |row| statement_differs(row, visit, said));
                        found.extend(differs.map(|how| format!("{who}: {}: {how}", said.text)));
                    }
                    let end = self.closed.iter().find(|row| Some(&row.session_id) == session);
                    end.map_or(Some("the end of the session is missing"), |row| session_differs(row, visit, said.len()))
                }
            };
            found.extend(differs.map(|how| format!("{who}: {how}")));
        }
        let counted = [
            ("statements", self.statements.len(), story.statements().0),
            ("sessions", self.closed.len(), story.sessions().0),
            ("refused logins", self.refused.len(), story.sessions().1),
        ];
        let wrong = counted.iter().filter(|(_, is, should)| is != should);
        found.extend(wrong.map(|(what, is, should)| format!("the archive has {is} {what}; there were {should}")));
        if !self.reference().is_some_and(|reference| story.refusal.contains(&format!("(ref {reference})"))) {
            found.push("the reference that psql was told is not the one on record".to_owned());
        }
        found
    }

    /// Of the statement that the screen shows.
    pub(super) fn reference(&self) -> Option<&str> {
        let shown = self.statements.iter().find(|row| row.sql() == BULK_READ && row.decision == "deny");
        shown.map(|row| row.reference.as_str())
    }
}

async fn all(archive: &Archive, sql: &str) -> Result<(Vec<String>, Vec<Row>), DemoError> {
    let mut answer = archive.query(sql).await?;
    let mut rows = Vec::new();
    while let Some(more) = answer.next().await? {
        rows.extend(more);
    }
    Ok((answer.columns().to_vec(), rows))
}

fn statement_differs(row: &StatementRow, visit: &Visit, said: &Said) -> Option<&'static str> {
    let values: Vec<&str> = row.params.iter().filter_map(|param| param.value.as_deref()).collect();
    let (decision, status) = if said.denied_by.is_some() { ("deny", "denied") } else { ("allow", "ok") };
    let rules_fit = match said.denied_by {
        None => true,
        Some("") => row.rules.is_empty(),
        Some(rule) => row.rules == [rule],
    };
    let checks = [
        (row.sql() == said.text, "another text is on record"),
        (row.subject == visit.person.subject, "another person is on record"),
        (row.who() == visit.person.name, "another name is on record"),
        (row.application.as_deref() == Some(visit.application), "another program is on record"),
        (row.decision == decision, "another decision is on record"),
        (rules_fit, "other rules are on record"),
        (row.status == status, "another end is on record"),
        (values == said.values, "other values are on record"),
        (row.tls_version.is_some(), "it did not come over TLS"),
    ];
    checks.into_iter().find(|(good, _)| !good).map(|(_, how)| how)
}

fn session_differs(row: &SessionRow, visit: &Visit, statements: usize) -> Option<&'static str> {
    let counted = row.statements.and_then(|count| usize::try_from(count).ok());
    let checks = [
        (row.subject.as_deref() == Some(visit.person.subject), "the session is another person's on record"),
        (row.reason == "client_terminated", "the session ended in another way on record"),
        (counted == Some(statements), "the session's count of statements is another on record"),
    ];
    checks.into_iter().find(|(good, _)| !good).map(|(_, how)| how)
}

fn refusal_differs(row: &SessionRow, visit: &Visit) -> Option<&'static str> {
    let End::Refused { sqlstate, reason, known } = visit.end else { return Some("it was a session") };
    let subject = known.then_some(visit.person.subject);
    let checks = [
        (row.reason == reason, "the login was refused for another reason on record"),
        (row.sqlstate.as_deref() == Some(sqlstate), "the login was refused with another code on record"),
        (row.subject.as_deref() == subject, "the refused login is another person's on record"),
    ];
    checks.into_iter().find(|(good, _)| !good).map(|(_, how)| how)
}
