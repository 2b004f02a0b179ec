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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::demo::issuer::{ANA, OTTO};

    fn statement(number: i64, said: &Said) -> Value {
        let denied = said.denied_by.is_some();
        let params: Vec<Value> = said
            .values
            .iter()
            .map(|value| json!({ "position": 1, "type_oid": 25, "format": "text", "value": value, "is_null": false }))
            .collect();
        json!({
            "reference": format!("K7Q4M2XKDT.{number}"), "session_id": "K7Q4M2XKDT", "statement_seq": number,
            "node": "demo", "time": "", "ended": "", "subject": ANA.subject, "display": ANA.name, "issuer": "",
            "roles": [], "client_address": "", "tls_version": "TLSv1.3", "application": "psql", "target": "demo",
            "database": "demo", "database_user": "hansard", "request": "query", "text": said.text, "kind": "select",
            "effects": [], "params": params, "decision": if denied { "deny" } else { "allow" },
            "rules": if denied { vec!["no-bulk-patients"] } else { vec!["analysts-read"] }, "policy_version": "",
            "status": if denied { "denied" } else { "ok" }, "rows_returned": 0,
        })
    }

    fn session(kind: &str, subject: &str, reason: &str) -> Value {
        json!({
            "kind": kind, "session_id": "K7Q4M2XKDT", "node": "demo", "time": "", "subject": subject, "roles": [],
            "client_address": "", "target": "demo", "reason": reason, "rules": [],
            "sqlstate": if kind == "refused" { Some("28000") } else { None }, "statements": 2,
        })
    }

    fn story() -> Story {
        let said = vec![
            Said { text: "SELECT $1", values: vec!["7".to_owned()], denied_by: None },
            Said { text: BULK_READ, values: Vec::new(), denied_by: Some("no-bulk-patients") },
        ];
        let end = End::Refused { sqlstate: "28000", reason: "denied", known: true };
        Story {
            visits: vec![
                Visit { person: ANA, application: "psql", end: End::Session(said) },
                Visit { person: OTTO, application: "psql", end },
            ],
            refusal: "ERROR:  hansard: denied by rule \"no-bulk-patients\" (ref K7Q4M2XKDT.2)".to_owned(),
            surprises: Vec::new(),
        }
    }

    /// What is found after a field of the archive was changed: by dataset, row and column.
    fn found(change: impl FnOnce(&mut Value)) -> Vec<String> {
        let story = story();
        let said = story.visits[0].session().unwrap();
        let mut archive = json!({
            "statements": [statement(1, &said[0]), statement(2, &said[1])],
            "closed": [session("closed", ANA.subject, "client_terminated")],
            "refused": [session("refused", OTTO.subject, "denied")],
        });
        change(&mut archive);
        let mut rows = |name: &str| archive[name].take();
        let record = Record {
            statements: serde_json::from_value(rows("statements")).unwrap(),
            closed: serde_json::from_value(rows("closed")).unwrap(),
            refused: serde_json::from_value(rows("refused")).unwrap(),
        };
        record.against(&story)
    }

    #[test]
    fn a_record_of_what_happened_is_good() {
        assert_eq!(found(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_found_and_named() {
        let changes = [
            ("/statements/0/text", json!("SELECT $2"), "another text"),
            ("/statements/0/subject", json!(OTTO.subject), "another person"),
            ("/statements/0/display", json!("Eve"), "another name"),
            ("/statements/0/application", json!("other"), "another program"),
            ("/statements/1/decision", json!("allow"), "another decision"),
            ("/statements/1/rules", json!(["other"]), "other rules"),
            ("/statements/0/status", json!("unknown"), "another end"),
            ("/statements/0/params/0/value", json!("8"), "other values"),
            ("/statements/0/tls_version", Value::Null, "not come over TLS"),
            ("/statements/1/reference", json!("K7Q4M2XKDT.9"), "the reference that psql was told"),
            ("/closed/0/reason", json!("client_gone"), "ended in another way"),
            ("/closed/0/statements", json!(3), "count of statements"),
            ("/closed/0/subject", json!(OTTO.subject), "the session is another person's"),
            ("/refused/0/reason", json!("expired"), "refused for another reason"),
            ("/refused/0/sqlstate", json!("28P01"), "refused with another code"),
            ("/refused/0/subject", Value::Null, "the refused login is another person's"),
        ];
        for (place, value, expected) in changes {
            let found = found(|archive| *archive.pointer_mut(place).unwrap() = value);
            assert!(found.iter().any(|how| how.contains(expected)), "{place}: {found:?}");
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_found() {
        for (name, expected) in [("statements", "statements"), ("closed", "sessions"), ("refused", "refused logins")] {
            let rows = |archive: &mut Value| archive[name].as_array_mut().unwrap().clone();
            let less = found(|archive| drop(archive[name].as_array_mut().unwrap().pop()));
            let more = found(|archive| {
                let again = rows(archive);
                archive[name].as_array_mut().unwrap().extend(again);
            });
            for found in [less, more] {
                let counted = found.iter().any(|how| how.contains(&format!("{expected}; there were")));
                assert!(counted, "{name}: {found:?}");
            }
        }
    }
}
