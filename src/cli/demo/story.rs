//! The story: four people, real clients, through the proxy over TLS. What each did is kept, to hold the record against.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::block_in_place;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DemoError;
use super::find::Programs;
use super::home::{Home, failed};
use super::issuer::{ANA, DEV, DORA, DevelopmentIssuer, LIFETIME, OTTO, Person};
use super::node::{AUDIENCE, Node};
use super::postgres::{DATABASE, psql};
use super::program::{Output, run};
use crate::gateway;

/// How long one client may take; it takes a fraction of a second.
const VISIT_LIMIT: Duration = Duration::from_secs(20);
/// What the program of the story calls itself.
const PROGRAM: &str = "order-desk";

/// What one person did in one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Visit {
    pub(super) person: Person,
    pub(super) application: &'static str,
    pub(super) end: End,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// A session with these statements.
    Session(Vec<Said>),
    /// No session.
    Refused {
        sqlstate: &'static str,
        reason: &'static str,
        /// The person, if the token was good.
        known: bool,
    },
}

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) text: &'static str,
    pub(super) values: Vec<String>,
    /// The rule's name if it was denied, empty if no rule permitted it; absent if it was allowed.
    pub(super) denied_by: Option<&'static str>,
}

const fn allowed(text: &'static str) -> Said {
    Said { text, values: Vec::new(), denied_by: None }
}

const fn denied(text: &'static str, by: &'static str) -> Said {
    Said { text, values: Vec::new(), denied_by: Some(by) }
}

/// The statement that the demo's screen shows refused.
pub(super) const BULK_READ: &str = "SELECT * FROM clinic.patients";
const INSERT: &str = "INSERT INTO app.orders (item, quantity) VALUES ($1, $2)";
const OPEN_ORDERS: &str = "SELECT id, item, quantity FROM app.orders WHERE state = $1 AND quantity >= $2";
const ORDERS: [(&str, i32); 3] = [("bandages", 40), ("thermometers", 12), ("O'Neill splints", 3)];
const AT_LEAST: i32 = 12;

fn ana() -> Vec<Said> {
    vec![
        allowed("SELECT doctor, count(*) FROM clinic.visits GROUP BY doctor ORDER BY doctor"),
        allowed("SELECT name, city FROM clinic.patients WHERE id = 7"),
        denied(BULK_READ, "no-bulk-patients"),
        allowed("SELECT count(*) FROM clinic.visits WHERE reason = 'check-up'"),
    ]
}

fn dev() -> Vec<Said> {
    vec![allowed("SELECT count(*) FROM app.orders WHERE state = 'open'"), denied("DROP TABLE app.orders", "")]
}

fn dora() -> Vec<Said> {
    vec![
        allowed("BEGIN"),
        allowed("ALTER TABLE app.orders ADD COLUMN IF NOT EXISTS note text"),
        allowed("CREATE INDEX IF NOT EXISTS orders_by_state ON app.orders (state)"),
        allowed("COMMIT"),
    ]
}

/// What the program did: the values as the record shows them.
fn program() -> Vec<Said> {
    let insert = |(item, quantity): (&str, i32)| Said {
        text: INSERT,
        values: vec![item.to_owned(), quantity.to_string()],
        denied_by: None,
    };
    let mut all: Vec<Said> = ORDERS.into_iter().map(insert).collect();
    let values = vec!["open".to_owned(), AT_LEAST.to_string()];
    all.push(Said { text: OPEN_ORDERS, values, denied_by: None });
    all
}

/// The story as it went.
#[derive(Debug)]
pub(super) struct Story {
    /// In the order of time; one after the other.
    pub(super) visits: Vec<Visit>,
    /// What `psql` said of the statement that is shown, word for word.
    pub(super) refusal: String,
    /// What went otherwise than it should, seen by the clients.
    pub(super) surprises: Vec<String>,
}

/// What the story is played with.
pub(super) struct Stage<'a> {
    pub(super) programs: &'a Programs,
    pub(super) home: &'a Home,
    pub(super) node: &'a Node,
    pub(super) issuer: &'a DevelopmentIssuer,
}

impl Stage<'_> {
    /// Plays it.
    ///
    /// # Errors
    ///
    /// A client cannot be run.
    pub(super) async fn play(&self) -> Result<Story, DemoError> {
        let mut story = Story { visits: Vec::new(), refusal: String::new(), surprises: Vec::new() };
        story.refusal = self.by_hand(&ANA, ana(), &mut story)?;
        self.by_program(&mut story).await?;
        self.by_hand(&DEV, dev(), &mut story)?;
        self.by_hand(&DORA, dora(), &mut story)?;
        self.turned_away(&ANA, Duration::ZERO, ("28P01", "expired"), &mut story)?;
        self.turned_away(&OTTO, LIFETIME, ("28000", "denied"), &mut story)?;
        Ok(story)
    }

    /// A session of somebody with `psql`; returns what it complained of.
    fn by_hand(&self, person: &Person, said: Vec<Said>, story: &mut Story) -> Result<String, DemoError> {
        let texts: Vec<&str> = said.iter().map(|said| said.text).collect();
        let output = self.psql(person, LIFETIME, &texts)?;
        let refusals = said.iter().filter(|said| said.denied_by.is_some()).count();
        // It goes on after a refusal, so only the first lines tell.
        let errors: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("ERROR:")).collect();
        if errors.len() != refusals || !errors.iter().all(|line| line.starts_with("ERROR:  hansard: ")) {
            let said = output.stderr.trim_end();
            story
                .surprises
                .push(format!("{}: psql should have been refused {refusals} times; it said: {said}", person.name));
        }
        story.visits.push(Visit { person: *person, application: "psql", end: End::Session(said) });
        Ok(output.stderr)
    }

    /// Somebody who is not let in.
    fn turned_away(
        &self,
        person: &Person,
        lifetime: Duration,
        (sqlstate, reason): (&'static str, &'static str),
        story: &mut Story,
    ) -> Result<(), DemoError> {
        let output = self.psql(person, lifetime, &["SELECT 'inside'"])?;
        if output.status.success() || !output.stdout.is_empty() || !output.stderr.contains("hansard: ") {
            let said = output.stderr.trim_end();
            story.surprises.push(format!("{}: should not have been let in; psql said: {said}", person.name));
        }
        let end = End::Refused { sqlstate, reason, known: reason == "denied" };
        story.visits.push(Visit { person: *person, application: "psql", end });
        Ok(())
    }

    fn psql(&self, person: &Person, lifetime: Duration, texts: &[&str]) -> Result<Output, DemoError> {
        let token = self.issuer.issue(person, AUDIENCE, lifetime)?;
        let (host, port) = (self.node.address.ip(), self.node.address.port());
        let mut psql = psql(&self.programs.psql, self.home.path());
        psql.env("PGPASSWORD", token);
        psql.arg(format!("host={host} port={port} dbname={DATABASE} user={} sslmode=require", person.id));
        for text in texts {
            psql.arg("-c").arg(text);
        }
        let unable = |source| DemoError::Client { program: self.programs.psql.clone(), source };
        block_in_place(|| run(&mut psql, None, VISIT_LIMIT)).map_err(unable)
    }

    /// A program of Dev's: statements prepared once, values bound each time.
    async fn by_program(&self, story: &mut Story) -> Result<(), DemoError> {
        let token = self.issuer.issue(&DEV, AUDIENCE, LIFETIME)?;
        let pem = std::fs::read(&self.node.certificate).map_err(failed(&self.node.certificate))?;
        let trust = gateway::tls::connector(Some((&pem, &self.node.certificate)), None);
        let trust = trust.map_err(|error| DemoError::Unfit { problems: error.to_string() })?;
        match tokio::time::timeout(VISIT_LIMIT, self.order(&token, trust)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let why = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
                story.surprises.push(format!("{}: the program failed: {why}", DEV.name));
            }
            Err(_elapsed) => story.surprises.push(format!("{}: the program did not end in time", DEV.name)),
        }
        story.visits.push(Visit { person: DEV, application: PROGRAM, end: End::Session(program()) });
        Ok(())
    }

    async fn order(&self, token: &str, trust: Arc<gateway::tls::ClientConfig>) -> Result<(), tokio_postgres::Error> {
        let mut settings = tokio_postgres::Config::new();
        settings.host("localhost").hostaddr(self.node.address.ip()).port(self.node.address.port());
        settings.user(DEV.id).password(token).dbname(DATABASE).application_name(PROGRAM).ssl_mode(SslMode::Require);
        let tls = MakeRustlsConnect::new(Arc::unwrap_or_clone(trust));
        let (client, connection) = settings.connect(tls).await?;
        let connection = tokio::spawn(connection);
        let insert = client.prepare(INSERT).await?;
        for (item, quantity) in ORDERS {
            client.execute(&insert, &[&item, &quantity]).await?;
        }
        client.query(OPEN_ORDERS, &[&"open", &AT_LEAST]).await?;
        drop((insert, client));
        // The connection ends by itself once its client is gone.
        connection.await.unwrap_or(Ok(()))
    }
}

impl Story {
    /// Statements, and those of them that were denied.
    pub(super) fn statements(&self) -> (usize, usize) {
        let all = || self.visits.iter().filter_map(|visit| visit.session()).flatten();
        (all().count(), all().filter(|said| said.denied_by.is_some()).count())
    }

    /// Sessions, and logins that were refused.
    pub(super) fn sessions(&self) -> (usize, usize) {
        let sessions = self.visits.iter().filter(|visit| visit.session().is_some()).count();
        (sessions, self.visits.len() - sessions)
    }

    /// The people in it.
    pub(super) fn people(&self) -> usize {
        self.visits.iter().map(|visit| visit.person.id).collect::<BTreeSet<_>>().len()
    }
}

impl Visit {
    /// Its statements, if it was one.
    pub(super) fn session(&self) -> Option<&[Said]> {
        match &self.end {
            End::Session(said) => Some(said),
            End::Refused { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_on_the_screen_is_the_only_one_that_ana_is_refused() {
        let refused: Vec<Said> = ana().into_iter().filter(|said| said.denied_by.is_some()).collect();
        assert_eq!(refused.iter().map(|said| said.text).collect::<Vec<_>>(), [BULK_READ]);
    }

    #[test]
    fn the_story_is_counted() {
        let refused = End::Refused { sqlstate: "28000", reason: "denied", known: true };
        let visit = |person, end| Visit { person, application: "psql", end };
        let visits = vec![visit(ANA, End::Session(ana())), visit(DEV, End::Session(dev())), visit(ANA, refused)];
        let story = Story { visits, refusal: String::new(), surprises: Vec::new() };
        assert_eq!((story.statements(), story.sessions(), story.people()), ((6, 2), (2, 1), 2));
    }
}
