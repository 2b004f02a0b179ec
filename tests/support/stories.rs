//! What psql and tokio-postgres do in the tests, with what each knows of it. The Python clients tell theirs themselves.

use std::pin::pin;

use futures::{SinkExt, StreamExt, TryStreamExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use super::{Expected, Login, client, connect, encryption, psql};

/// The ids of these clients' rows, so that clients do not meet.
const PSQL_BASE: i32 = 3000;
const TOKIO_BASE: i32 = 4000;

/// A value that tokio-postgres binds.
type Parameter<'a> = &'a (dyn ToSql + Sync);

/// The clients of the tests by name, in no order that matters.
pub(crate) const CLIENTS: [&str; 4] = ["psycopg", "asyncpg", "psql", "tokio-postgres"];

/// Lets a client do its work and returns every statement that it ran, in order.
pub(crate) async fn run(name: &str, login: &Login) -> Vec<Expected> {
    match name {
        "psycopg" => client("with_psycopg.py", login, &[]),
        "asyncpg" => client("with_asyncpg.py", login, &[]),
        "psql" => psql_story(login),
        "tokio-postgres" => tokio_story(login).await,
        other => panic!("no client is called {other}"),
    }
}

fn psql_story(login: &Login) -> Vec<Expected> {
    let insert = format!("insert into notes (id, body) values ({PSQL_BASE}, 'it''s; fine -- really');");
    let copy = "copy notes (id, body) from stdin;";
    let rows: String = (1..=10).map(|n| format!("{}\tcopied {n}\n", PSQL_BASE + n)).collect();
    let count = "select count(*)\n  from notes -- a comment stays where it is\n where id between 3000 and 3999;";
    let copy_out = "copy (select id from notes where id between 3000 and 3999) to stdout;";
    let deny = "select * from hr.salaries;";
    let mut script =
        format!("{insert}\nbegin;\n{copy}\n{rows}\\.\ncommit;\n{count}\nselect 'a;b'; select 2;\n{copy_out}\n");
    script.push_str(
        "select 1 / (id - id) from notes where id = 3000;\nbegin;\nselect 1 / (id - id) from notes where id = 3000;\n",
    );
    script.push_str("select 3;\nrollback;\n");
    let zero = || Expected::query("select 1 / (id - id) from notes where id = 3000;").failed("22012");
    let mut ran = vec![
        Expected::query(&insert).affected(1),
        Expected::query("begin;"),
        Expected::query("copy notes (id, body) from stdin;").affected(10),
        Expected::query("commit;"),
        Expected::query(count).returned(1),
        Expected::query("select 'a;b';").returned(1),
        Expected::query("select 2;").returned(1),
        Expected::query(copy_out).returned(11),
        zero(),
        Expected::query("begin;"),
        zero(),
        Expected::query("select 3;").failed("25P02"),
        Expected::query("rollback;"),
    ];
    if login.recorded {
        script.push_str(deny);
        ran.push(Expected::query(deny).denied());
    }
    let done = psql(login, &script);
    let ids: String = (0..=10).map(|n| format!("{}\n", PSQL_BASE + n)).collect();
    assert_eq!(done.stdout, format!("11\na;b\n2\n{ids}"), "psql got something else: {done:?}");
    assert_eq!(done.stderr.contains("hansard:"), login.recorded, "the refusal: {done:?}");
    ran
}

async fn tokio_story(login: &Login) -> Vec<Expected> {
    let mut db = connect(login).await.unwrap();
    let mut ran = Vec::new();
    values(&db, &mut ran).await;
    transactions(&mut db, &mut ran).await;
    copies(&db, &mut ran).await;
    cancel(&db, login, &mut ran).await;
    if login.recorded {
        denials(&mut db, &mut ran).await;
    }
    db.simple_query("select 9").await.unwrap();
    ran.push(Expected::query("select 9").returned(1));
    ran
}

async fn values(db: &tokio_postgres::Client, ran: &mut Vec<Expected>) {
    db.batch_execute("select 1; select 2").await.unwrap();
    ran.push(Expected::query("select 1; select 2").returned(2));

    let text = "insert into notes (id, body) values ($1, $2)";
    let insert = db.prepare(text).await.unwrap();
    for n in 0..3 {
        let (id, body) = (TOKIO_BASE + n, (n != 2).then(|| format!("row {n}")));
        assert_eq!(db.execute(&insert, &[&id, &body]).await.unwrap(), 1);
        ran.push(Expected::execute(text, &[Some(&id.to_string()), body.as_deref()]).affected(1));
    }
    // Both are on their way before the first is answered.
    let query = "select body from notes where id = $1";
    let select = db.prepare(query).await.unwrap();
    let (first, second) = (TOKIO_BASE, TOKIO_BASE + 1);
    let (one, two): (&[Parameter<'_>], &[Parameter<'_>]) = (&[&first], &[&second]);
    let (one, two) = futures::future::join(db.query(&select, one), db.query(&select, two)).await;
    for (rows, id) in [(one, first), (two, second)] {
        assert_eq!(rows.unwrap().len(), 1);
        ran.push(Expected::execute(query, &[Some(&id.to_string())]).returned(1));
    }
    // Refused when it is prepared: the server never executes it.
    let missing = "select * from no_such_table where id = $1";
    assert_eq!(db.prepare(missing).await.unwrap_err().code(), Some(&SqlState::UNDEFINED_TABLE));
}

async fn transactions(db: &mut tokio_postgres::Client, ran: &mut Vec<Expected>) {
    let transaction = db.transaction().await.unwrap();
    ran.push(Expected::query("START TRANSACTION"));
    let query = "select id from notes where id >= $1 order by id limit 3";
    let portal = transaction.bind(query, &[&TOKIO_BASE]).await.unwrap();
    for rows in [2, 1] {
        let found = transaction.query_portal(&portal, 2).await.unwrap();
        assert_eq!(found.len(), rows);
        let returned = i64::try_from(rows).unwrap();
        ran.push(Expected::execute(query, &[Some(&TOKIO_BASE.to_string())]).returned(returned));
    }
    transaction.rollback().await.unwrap();
    ran.push(Expected::query("ROLLBACK"));
}

async fn copies(db: &tokio_postgres::Client, ran: &mut Vec<Expected>) {
    let text = "copy notes (id, body) from stdin";
    let mut sink = pin!(db.copy_in(text).await.unwrap());
    for n in 100..200 {
        let row = bytes::Bytes::from(format!("{}\tcopied {n}\n", TOKIO_BASE + n));
        sink.send(row).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 100);
    ran.push(Expected::execute(text, &[]).affected(100));

    let text = "copy (select id from notes where id between 4100 and 4199) to stdout";
    let rows = db.copy_out(text).await.unwrap();
    assert_eq!(pin!(rows).try_fold(0, async |count, _| Ok(count + 1)).await.unwrap(), 100);
    ran.push(Expected::execute(text, &[]).returned(100));
}

/// A statement that its own client cancels, by a connection of its own as every client does.
async fn cancel(db: &tokio_postgres::Client, login: &Login, ran: &mut Vec<Expected>) {
    let (token, encryption) = (db.cancel_token(), encryption(login));
    let soon = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        token.cancel_query(encryption).await.unwrap();
    };
    let (refusal, ()) = futures::future::join(db.simple_query("select pg_sleep(60)"), soon).await;
    assert_eq!(refusal.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    let cancelled = Expected { status: Some("cancelled".to_owned()), ..Expected::query("select pg_sleep(60)") };
    ran.push(Expected { sqlstate: Some("57014".to_owned()), ..cancelled });
}

/// Whose refusal it is.
fn assert_denied(refusal: &tokio_postgres::Error) {
    assert_eq!(refusal.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{refusal:?}");
    assert!(refusal.as_db_error().unwrap().message().starts_with("hansard:"), "{refusal:?}");
}

async fn denials(db: &mut tokio_postgres::Client, ran: &mut Vec<Expected>) {
    let salaries = "select amount from hr.salaries where person = $1";
    let denied = || Expected { request: None, ..Expected::query(salaries).denied() };
    assert_denied(&db.query(salaries, &[&"Ana"]).await.unwrap_err());
    ran.push(denied());

    // On their way before the first is answered: each has its own answer.
    let before = db.prepare("select 'before'").await.unwrap();
    let nothing: &[Parameter<'_>] = &[];
    let (one, two, three) = futures::future::join3(
        db.query(&before, nothing),
        db.simple_query("select amount from hr.salaries"),
        db.query(&before, nothing),
    )
    .await;
    assert_eq!((one.unwrap().len(), three.unwrap().len()), (1, 1));
    assert_denied(&two.unwrap_err());
    ran.push(Expected::execute("select 'before'", &[]).returned(1));
    ran.push(Expected::query("select amount from hr.salaries").denied());
    ran.push(Expected::execute("select 'before'", &[]).returned(1));

    // In a transaction nothing works until it is over.
    let transaction = db.transaction().await.unwrap();
    ran.push(Expected::query("START TRANSACTION"));
    assert_denied(&transaction.query(salaries, &[&"Ana"]).await.unwrap_err());
    ran.push(denied());
    let failed = transaction.simple_query("select 8").await.unwrap_err();
    assert_eq!(failed.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION), "{failed:?}");
    ran.push(Expected::query("select 8").failed("25P02"));
    transaction.rollback().await.unwrap();
    ran.push(Expected::query("ROLLBACK"));
}

/// Reads a COPY to its end and returns how many bytes came.
pub(crate) async fn copied_bytes(db: &tokio_postgres::Client, text: &str) -> u64 {
    let mut rows = pin!(db.copy_out(text).await.unwrap());
    let mut bytes = 0;
    while let Some(row) = rows.next().await {
        bytes += u64::try_from(row.unwrap().len()).unwrap();
    }
    bytes
}
