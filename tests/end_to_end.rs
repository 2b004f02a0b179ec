//! The whole path: people with tokens of a certified issuer, real clients, PostgreSQL, Blob storage, and a reader that is
//! not ours. Every statement that a client ran is one row, as the client knows it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a helper of a test that fails says so by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use support::{
    CLIENTS, Expected, Hansard, Issuer, Login, Postgres, Store, assert_recorded, connect, psql, run, wait_for,
};

/// Whoever has a role may read and change tables. Nothing permits what was not understood.
const ONLY_UNDERSTOOD: &str = r#"
@id("understood-only")
permit (principal, action, resource)
unless { action == Action::"unparsed" };
"#;

// A thread for each client, because those of Python and psql hold theirs until they end.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn every_statement_of_every_client_is_one_row() {
    let hansard = Hansard::start(Store::azurite("end-to-end"));
    let people = ["ana", "dev", "dora", "robot"];
    let logins: Vec<Login> = people.iter().zip(CLIENTS).map(|(person, name)| hansard.login(person, name)).collect();
    let running: Vec<_> = logins
        .iter()
        .cloned()
        .zip(CLIENTS)
        .map(|(login, name)| tokio::spawn(async move { run(name, &login).await }))
        .collect();
    let mut ran = Vec::new();
    for client in running {
        ran.push(client.await.unwrap());
    }

    let archive = hansard.archive();
    let mut references = BTreeSet::new();
    let mut rows_in_all = 0;
    for ((name, person), ran) in CLIENTS.iter().zip(people).zip(&ran) {
        let rows = assert_recorded(&archive, name, ran);
        rows_in_all += rows.len();
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(row["statement_seq"], json!(at + 1), "{name}: numbers in a session have no gaps");
            assert_eq!(row["subject"], json!(subject(person)), "{name}");
            assert_eq!(row["issuer"], json!(Issuer::shared().url()), "{name}");
            assert_eq!((&row["target"], &row["database"]), (&json!("app"), &json!("app")), "{name}");
            assert_eq!((&row["database_user"], &row["protocol"]), (&json!("hansard"), &json!("postgresql")), "{name}");
            assert!(row["tls_version"].as_str().unwrap().starts_with("TLSv1."), "{name}: {}", row["tls_version"]);
            references.insert(row["reference"].as_str().unwrap().to_owned());
        }
        Postgres::shared().assert_asked(name, ran);
    }
    assert_eq!(references.len(), rows_in_all, "a reference is given once");
    let all = archive.query("select count(*) as n from statements");
    assert_eq!(all[0]["n"], json!(rows_in_all), "nobody else ran anything");

    sessions_are_on_record(&hansard);
    understanding_is_on_record(&hansard);
    nothing_secret_is_written(&hansard, &logins, &ran);
}

/// `sub` of a person, as tests/parts/issuer.mjs gives it.
fn subject(person: &str) -> String {
    if person == "robot" { "svc-robot".to_owned() } else { format!("u-{person}") }
}

fn sessions_are_on_record(hansard: &Hansard) {
    let sql = "select application, reason, display, roles, statements, s.token_sha256, server_version, \
               (select count(*) from statements t where t.session_id = s.session_id) as rows \
               from sessions s where kind = 'closed' order by application";
    let sessions = hansard.archive().query_until(sql, |rows| rows.len() >= CLIENTS.len());
    let applications: Vec<&str> = sessions.iter().map(|session| session["application"].as_str().unwrap()).collect();
    assert_eq!(applications, ["asyncpg", "psql", "psycopg", "tokio-postgres"]);
    for session in &sessions {
        assert_eq!(session["reason"], "client_terminated", "{session}");
        assert_eq!(session["statements"], session["rows"], "{session}");
        assert_eq!(session["token_sha256"].as_str().unwrap().len(), 64, "{session}");
        let version = Postgres::shared().admin("show server_version");
        assert_eq!(session["server_version"], json!(version), "{session}");
    }
    let psycopg = &sessions[2];
    assert_eq!((&psycopg["display"], &psycopg["roles"]), (&json!("Ana Analyst"), &json!(["analyst"])));
}

fn understanding_is_on_record(hansard: &Hansard) {
    let archive = hansard.archive();
    let one = |which: &str| {
        let columns = "kind, decision, rules, message, hint, has_where, params, \
                       list_transform(effects, lambda e: concat_ws(' ', e.action, e.schema, e.name)) as effects";
        let mut rows = archive.query(&format!("select {columns} from statements where {which} limit 1"));
        rows.pop().unwrap_or_else(|| panic!("no row where {which}"))
    };
    let insert = one("application = 'psycopg' and text like 'insert into notes%' and status = 'ok'");
    assert_eq!((&insert["kind"], &insert["effects"]), (&json!("insert"), &json!(["insert public notes"])));
    assert_eq!(insert["rules"], json!(["people-with-a-role"]));
    let update = one("application = 'asyncpg' and kind = 'update'");
    assert_eq!(update["has_where"], json!(true));
    let params = update["params"].as_array().unwrap();
    let types: Vec<&Value> = params.iter().map(|param| &param["type_name"]).collect();
    assert_eq!((types, &params[0]["format"]), (vec![&json!("text"), &json!("int4")], &json!("binary")));

    let denied = one("application = 'psql' and decision = 'deny'");
    assert_eq!(denied["effects"], json!(["select hr salaries"]));
    assert_eq!(denied["rules"], json!(["salaries-are-private"]));
    assert_eq!(denied["message"], "Salaries are not for this way in.");
    assert_eq!(denied["hint"], "Ask the payroll office.");
}

fn nothing_secret_is_written(hansard: &Hansard, logins: &[Login], ran: &[Vec<Expected>]) {
    let log = hansard.log();
    for login in logins {
        // The last part of a token, its signature, is nobody else's.
        let signature = login.password.rsplit('.').next().unwrap();
        assert!(!log.contains(signature), "a token is in the log");
        let sql = format!("select 1 from statements where contains(statements::text, '{signature}')");
        assert!(hansard.archive().query(&sql).is_empty(), "a token is in the archive");
    }
    for statement in ran.iter().flatten().filter(|statement| statement.text.len() > 12) {
        assert!(!log.contains(&statement.text), "SQL is in the log: {}", statement.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_let_in_is_on_record_and_the_database_is_not_asked() {
    let hansard = Hansard::start(Store::Folder);
    let issuer = Issuer::shared();
    let hour = Duration::from_secs(3600);
    let other_key = Issuer::start().token("ana");
    let cases = [
        ("expired", issuer.expired_token("ana", Duration::from_secs(600)), "28P01"),
        ("other-audience", issuer.token_for("ana", "api://other", hour), "28P01"),
        ("other-issuer", other_key, "28P01"),
        ("no-token", "correct horse battery staple".to_owned(), "28P01"),
        ("no-role", issuer.token("nobody"), "28000"),
    ];
    for (application, password, sqlstate) in &cases {
        let login = Login { password: password.clone(), ..hansard.login("ana", application) };
        let refusal = connect(&login).await.err().unwrap_or_else(|| panic!("{application} was let in"));
        let refusal = refusal.as_db_error().unwrap();
        assert_eq!(refusal.code().code(), *sqlstate, "{application}: {refusal:?}");
        assert!(refusal.message().starts_with("hansard:"), "{application}: {refusal:?}");
        assert!(!hansard.log().contains(password), "{application}: what was presented is in the log");
        let done = psql(&login, "select 1;");
        assert!(!done.success && done.stdout.is_empty() && done.stderr.contains("hansard:"), "{application}: {done:?}");
    }
    let sql = "select application, sqlstate, subject, count(*) as n from sessions where kind = 'refused' group by all";
    let rows = hansard.archive().query_until(sql, |rows| rows.iter().all(|row| row["n"] == 2) && rows.len() == 5);
    for (application, _, sqlstate) in &cases {
        let row = rows.iter().find(|row| row["application"] == **application);
        let row = row.unwrap_or_else(|| panic!("{application} is not on record: {rows:?}"));
        assert_eq!((&row["sqlstate"], &row["n"]), (&json!(sqlstate), &json!(2)), "{application}");
        let known = if *application == "no-role" { json!("u-nobody") } else { Value::Null };
        assert_eq!(row["subject"], known, "{application}: only a good token names somebody");
        assert!(Postgres::shared().logged(application, 0).is_empty(), "{application} reached the database");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_is_refused_unless_a_rule_permits_it() {
    let refusing = Hansard::start_with(Store::Folder, ONLY_UNDERSTOOD, Issuer::shared());
    let permitting = Hansard::start(Store::Folder);
    let nonsense = "selec 1";
    for (hansard, application, sqlstate) in [(&refusing, "refused", "42501"), (&permitting, "permitted", "42601")] {
        let db = connect(&hansard.login("dev", application)).await.unwrap();
        let error = db.simple_query(nonsense).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), sqlstate, "{application}: {error:?}");
        // PostgreSQL takes END for a name here, and so reads another table than a reader who stops at it. The second reader
        // names the table, and who permits what is not understood has not permitted that.
        let hidden = db.simple_query("select 1 end, amount from hr.salaries").await;
        let refused = hidden.err().map(|error| error.code().unwrap().code().to_owned());
        assert_eq!(refused.as_deref(), Some("42501"), "{application}");
        db.simple_query("select 1").await.unwrap();
        drop(db);
    }
    let expected = [
        Expected::query("selec 1").denied(),
        Expected::query("select 1 end, amount from hr.salaries").denied(),
        Expected::query("select 1"),
    ];
    let rows = assert_recorded(&refusing.archive(), "refused", &expected);
    assert_eq!(rows[0]["kind"], "unparsed");
    assert!(rows[0]["problem"].is_string());
    let logged = Postgres::shared().logged("refused", 1);
    assert_eq!(logged.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>(), ["select 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_the_issuer_made_later_is_taken_and_one_that_it_withdrew_is_not() {
    let issuer: &Issuer = Box::leak(Box::new(Issuer::start()));
    let rules = std::fs::read_to_string(support::repository("tests/support/rules.cedar")).unwrap();
    let hansard = Hansard::start_with(Store::Folder, &rules, issuer);
    let before = hansard.login("dev", "keys");
    connect(&before).await.unwrap();
    issuer.forget_keys();
    let after = hansard.login("dev", "keys");
    // An unknown key makes it ask the issuer again, but not at any rate that a stranger may choose.
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        wait_for("the new key", Duration::from_secs(90), || runtime.block_on(connect(&after)).ok().map(drop));
    });
    assert_eq!(connect(&before).await.err().unwrap().code().unwrap().code(), "28P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_sessions_ships_everything_and_says_so() {
    let mut hansard = Hansard::start(Store::Folder);
    let db = connect(&hansard.login("dora", "stopped")).await.unwrap();
    db.simple_query("select 1").await.unwrap();
    assert_eq!(hansard.stop(), 0, "a clean stop");
    // No waiting: what was recorded is in the archive when the program has ended.
    let archive = hansard.archive();
    let rows = archive.query("select text, status from statements where application = 'stopped'");
    assert_eq!(rows, [json!({ "text": "select 1", "status": "ok" })]);
    let sessions = archive.query("select reason from sessions where application = 'stopped'");
    assert_eq!(sessions, [json!({ "reason": "shutdown" })]);
    let events = archive.query("select kind from events where kind in ('started', 'stopped') order by entry_seq");
    assert_eq!(events, [json!({ "kind": "started" }), json!({ "kind": "stopped" })]);
}
