//! One Hansard for all clients, and what each of them did held against the archive and PostgreSQL's own log.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::{
    Expected, Hansard, Login, Postgres, assert_among, assert_rows, client, node, part, repository, told,
};

/// Where Debian puts pgjdbc.
const PGJDBC: &str = "/usr/share/java/postgresql.jar";

fn hansard() -> &'static Hansard {
    static SHARED: OnceLock<Hansard> = OnceLock::new();
    SHARED.get_or_init(Hansard::start_to_share)
}

/// A client: the subject of its tokens, which is also the name that it gives.
pub(crate) struct Client {
    login: Login,
}

impl Client {
    pub(crate) fn new(name: &str) -> Self {
        Self { login: hansard().login_of_subject(name) }
    }

    pub(crate) fn login(&self) -> &Login {
        &self.login
    }

    fn name(&self) -> &str {
        &self.login.application
    }

    /// The rows are what it ran, each in its place, and nothing else.
    pub(crate) fn assert_exact(&self, told: &[Expected]) {
        let name = self.name();
        assert_rows(name, &self.whole(), told);
        let sql = format!("select distinct reason from sessions where subject = '{name}'");
        assert_eq!(hansard().archive().query(&sql), [json!({ "reason": "client_terminated" })], "{name}");
    }

    /// The rows are what it ran and what its driver asked for by itself, as PostgreSQL has it.
    fn assert_among(&self, told: &[Expected]) {
        assert_among(self.name(), &self.whole(), told);
    }

    /// Every row of this subject, once all of its sessions are over. They are as many as the sessions counted, and those that
    /// were executed are those that PostgreSQL says it executed.
    fn whole(&self) -> Vec<Value> {
        let name = self.name();
        let sql = format!(
            "select count(*) as sessions, coalesce(sum(statements), 0)::bigint as statements, \
             (select count(*) from statements where subject = '{name}') as rows \
             from sessions where subject = '{name}' and kind = 'closed'"
        );
        let over = |rows: &[Value]| {
            let Some(counts) = rows.first() else { return false };
            let at_the_server = Postgres::shared().asked_in_sessions(name).len();
            let all_ended = counts["sessions"].as_u64().unwrap() >= u64::try_from(at_the_server).unwrap();
            at_the_server > 0 && all_ended && counts["statements"] == counts["rows"]
        };
        let counts = hansard().archive().query_until(&sql, over);
        assert!(over(&counts), "{name}: sessions and rows do not agree: {counts:?}");

        let sql = format!(
            "select *, list_transform(params, lambda p: p.value) as values from statements where subject = '{name}' \
             order by entry_seq"
        );
        let rows = hansard().archive().query(&sql);
        let mut sessions: BTreeMap<&str, Vec<(String, String)>> = BTreeMap::new();
        for row in &rows {
            assert!(row["tls_version"].is_string() && row["status"] != "unknown", "{name}: {row}");
            let asked = sessions.entry(row["session_id"].as_str().unwrap()).or_default();
            if reached_the_server(row) {
                let (request, text) = (row["request"].as_str().unwrap(), row["text"].as_str().unwrap());
                let text = if request == "function_call" { called(text) } else { text.to_owned() };
                asked.push((request.to_owned(), text));
            }
        }
        let mut executed: Vec<_> = sessions.into_values().filter(|asked| !asked.is_empty()).collect();
        executed.sort();
        let logged = Postgres::shared().asked_in_sessions(name);
        assert_eq!(executed.len(), logged.len(), "{name}: sessions at PostgreSQL");
        for (executed, logged) in executed.iter().zip(&logged) {
            let differ = executed.iter().zip(logged).find(|(ours, theirs)| ours != theirs);
            assert_eq!(differ, None, "{name}: the archive and PostgreSQL's log differ");
            assert_eq!(executed.len(), logged.len(), "{name}: statements at PostgreSQL");
        }
        rows
    }
}

/// A function call message as PostgreSQL logs it, out of the text that the record has for it.
fn called(text: &str) -> String {
    let name = text.split("\".\"").nth(1).unwrap().split('"').next().unwrap();
    let number = text.rsplit("OID ").next().unwrap().trim_end_matches(" */");
    format!("{name} (OID {number})")
}

/// Whether PostgreSQL logged it as it began to execute it: not before it could be parsed, not behind an error.
fn reached_the_server(row: &Value) -> bool {
    let is_unreadable = row["request"] == "query" && row["sqlstate"] == "42601";
    row["decision"] == "allow" && row["status"] != json!("skipped") && !is_unreadable
}

/// Runs a client that knows each statement that goes over the wire.
pub(crate) fn exact(name: &str, run: impl FnOnce(&Login) -> Vec<Expected>) {
    let client = Client::new(name);
    client.assert_exact(&run(&client.login));
}

/// Runs a client whose driver also asks for things by itself, in texts that are its own affair.
pub(crate) fn among(name: &str, run: impl FnOnce(&Login) -> Vec<Expected>) {
    let client = Client::new(name);
    client.assert_among(&run(&client.login));
}

pub(crate) fn python(program: &str, login: &Login) -> Vec<Expected> {
    client(program, login, &[])
}

pub(crate) fn javascript(program: &str, login: &Login) -> Vec<Expected> {
    part("node-postgres", "tests/parts/node_modules/pg");
    told(program, node().arg(repository("tests/clients").join(program)), login)
}

pub(crate) fn java(program: &str, login: &Login) -> Vec<Expected> {
    let mut command = Command::new("java");
    // One short run: the compiler that makes it fast would cost more than it brings.
    command.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(part("pgjdbc", PGJDBC));
    told(program, command.arg(repository("tests/clients").join(program)), login)
}

pub(crate) fn sqlx(login: &Login) -> Vec<Expected> {
    told("sqlx", &mut Command::new(part("sqlx", ".cache/test-parts/sqlx/with-sqlx")), login)
}

pub(crate) fn perl(program: &str, login: &Login) -> Vec<Expected> {
    told(program, Command::new("perl").arg(repository("tests/clients").join(program)), login)
}
