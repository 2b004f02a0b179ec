//! Where the rules can permit no write, the database itself takes none: what no reader of text sees writes nothing either.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says so by panicking")]

mod support;

use std::fs;
use std::sync::OnceLock;

use support::{Hansard, Issuer, Login, Postgres, Store, connect, repository};
use tokio_postgres::error::DbError;
use tokio_postgres::{Client, SimpleQueryMessage};

/// The read-only starter set for the database of the tests, and somebody who may do all.
fn rules() -> String {
    let analysts = fs::read_to_string(repository("fixtures/policies/read-only-analysts/rules.cedar")).unwrap();
    analysts.replace("clinic/clinic", "app/app")
        + "@id(\"developers\") permit (principal in Role::\"developer\", action, resource);\n"
}

/// Reading `app.orders` writes to `app.seen`, by a policy of rows: nothing of that is in any text. Reading `app.traps` ends
/// that the session is read-only.
const TABLES: &str = "
    create schema app;
    create table app.orders (id int); insert into app.orders values (1), (2);
    create table app.traps (id int); insert into app.traps values (1);
    create table app.seen (by text default current_setting('application_name'));
    create function app.touch() returns boolean language plpgsql as 'begin insert into app.seen default values; return true; end';
    create function app.lift() returns boolean language plpgsql as
        'begin perform set_config(''default_transaction_read_only'', ''off'', false); return true; end';
    create policy touches on app.orders using (app.touch());
    create policy lifts on app.traps using (app.lift());
    alter table app.orders enable row level security;
    alter table app.traps enable row level security;
    grant usage on schema app to hansard;
    grant select, insert on all tables in schema app to hansard;
";

fn server() -> &'static Postgres {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| drop(Postgres::shared().admin(TABLES)));
    Postgres::shared()
}

/// Rows that were written without anybody saying so, by the application that did not.
fn seen(application: &str) -> u32 {
    server().admin(&format!("select count(*) from app.seen where by = '{application}'")).parse().unwrap()
}

async fn refusal(db: &Client, text: &str) -> DbError {
    match db.simple_query(text).await {
        Ok(_) => panic!("{text} was not refused"),
        Err(error) => error.as_db_error().unwrap_or_else(|| panic!("{text}: {error}")).clone(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_reader_sees_cannot_write_in_a_session_without_a_rule_for_writes() {
    server();
    let hansard = Hansard::start_with(Store::Folder, &rules(), Issuer::shared());
    let ana = connect(&hansard.login("ana", "walled")).await.unwrap();
    assert_eq!(refusal(&ana, "SELECT * FROM app.orders").await.code().code(), "25006");
    // What leads back to how the session began leads back to the wall.
    for text in ["DISCARD ALL", "RESET ALL", "RESET default_transaction_read_only", "SET LOCAL work_mem = '4MB'"] {
        ana.simple_query(text).await.unwrap();
        assert_eq!(refusal(&ana, "SELECT * FROM app.orders").await.code().code(), "25006", "{text}");
    }
    assert_eq!(seen("walled"), 0);
    assert!(hansard.log().contains("\"read_only\":true"), "{}", hansard.log());
    // Who may write is not held back, and is told nothing new.
    let dev = connect(&hansard.login("dev", "free")).await.unwrap();
    dev.simple_query("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE").await.unwrap();
    dev.simple_query("BEGIN READ WRITE; SELECT * FROM app.orders; COMMIT").await.unwrap();
    assert!(seen("free") > 0);
    assert!(hansard.log().contains("\"read_only\":false"), "{}", hansard.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lift_the_wall_is_refused_and_what_drivers_say_is_not() {
    server();
    let hansard = Hansard::start_with(Store::Folder, &rules(), Issuer::shared());
    let ana = connect(&hansard.login("ana", "lifts")).await.unwrap();
    for text in [
        "SET default_transaction_read_only = off",
        "SET TRANSACTION READ WRITE",
        "BEGIN READ WRITE",
        "START TRANSACTION READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "SELECT set_config('default_transaction_read_only', 'off', false)",
        "RESET transaction_read_only",
        "COMMIT; SET default_transaction_read_only = 'off'",
    ] {
        let refused = refusal(&ana, text).await;
        assert_eq!(refused.code().code(), "42501", "{text}: {refused:?}");
        assert!(refused.detail().unwrap().contains("opened read-only and stays read-only"), "{text}: {refused:?}");
    }
    assert_eq!(
        refusal(&ana, "ALTER ROLE hansard SET default_transaction_read_only = off").await.code().code(),
        "42501"
    );
    for text in [
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SET default_transaction_read_only = on",
        "BEGIN READ ONLY; SHOW transaction_read_only; COMMIT",
        "BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT 1; COMMIT",
        "SET extra_float_digits = 3",
    ] {
        ana.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    // In the extended protocol and in a transaction as well.
    assert_eq!(ana.execute("SET TRANSACTION READ WRITE", &[]).await.unwrap_err().code().unwrap().code(), "42501");
    ana.simple_query("BEGIN").await.unwrap();
    assert_eq!(refusal(&ana, "SET transaction_read_only = off").await.code().code(), "42501");
    assert_eq!(refusal(&ana, "SELECT 1").await.code().code(), "25P02");
    ana.simple_query("ROLLBACK").await.unwrap();
    let told = ana.simple_query("SHOW default_transaction_read_only").await.unwrap();
    let told = told.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    assert_eq!(told, Some("on"));
}

/// With `options`, the way a client sets what it likes before its first statement.
async fn begin_with(login: &Login, options: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(login.port).user(&login.user).password(&login.password).dbname(&login.database);
    config.ssl_mode(tokio_postgres::config::SslMode::Require).options(options);
    let (client, connection) = config.connect(support::encryption(login)).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_begins_a_walled_session_with_the_wall_lifted() {
    server();
    let hansard = Hansard::start_with(Store::Folder, &rules(), Issuer::shared());
    let (ana, dev) = (hansard.login("ana", "begins"), hansard.login("dev", "begins"));
    let refused = begin_with(&ana, "-c default-transaction-read-only=off").await.err().unwrap();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "28000", "{refused:?}");
    assert!(refused.detail().unwrap().contains("opened read-only"), "{refused:?}");
    let held = begin_with(&ana, "-c default_transaction_read_only=on").await.unwrap();
    assert_eq!(refusal(&held, "SELECT * FROM app.orders").await.code().code(), "25006");
    let free = begin_with(&dev, "-c default_transaction_read_only=off").await.unwrap();
    free.simple_query("SELECT * FROM app.orders").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn once_something_in_the_database_lifted_the_wall_nothing_more_is_sent() {
    server();
    let hansard = Hansard::start_with(Store::Folder, &rules(), Issuer::shared());
    let ana = connect(&hansard.login("ana", "trapped")).await.unwrap();
    ana.simple_query("SELECT * FROM app.traps").await.unwrap();
    for text in ["SELECT * FROM app.orders", "SELECT 1", "SET default_transaction_read_only = on"] {
        let refused = refusal(&ana, text).await;
        assert!(refused.detail().unwrap().contains("has ended that"), "{text}: {refused:?}");
    }
    assert_eq!(seen("trapped"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_can_do_without_the_wall() {
    server();
    let without =
        |config: String| config.replace("[policy]", "[target.app.session]\nread_only = \"never\"\n\n[policy]");
    let hansard = Hansard::start_on(Store::Folder, &rules(), Issuer::shared(), &without);
    let ana = connect(&hansard.login("ana", "without")).await.unwrap();
    ana.simple_query("SET default_transaction_read_only = off; SELECT * FROM app.orders").await.unwrap();
    assert!(seen("without") > 0);
}
