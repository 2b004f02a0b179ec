//! sqlx: statements that it prepares and keeps, binary values, rows as they come, COPY, transactions with savepoints, denials.
//! It cannot cancel. What it ran is printed at its end as `record.py` does.

use std::env;
use std::error::Error;

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor, Row};

/// The ids of this client's rows, so that clients do not meet.
const BASE: i32 = 15_000;
const AWKWARD: &str = "it's \\ a \"test\" – 漢字;\nselect 1 -- no";
const SALARIES: &str = "select amount from hr.salaries";
const BY_NAME: &str = "select amount from hr.salaries where person = $1";
const INSERT: &str = "insert into notes (id, body) values ($1, $2)";
const UPDATE: &str = "update notes set body = $1 where id = $2";
const SELECT: &str = "select body from notes where id = $1";

type Done = Result<(), Box<dyn Error>>;

#[derive(Default)]
struct Told(Vec<Value>);

impl Told {
    fn ran(&mut self, request: &str, text: &str, params: Option<Value>, known: Value) {
        let mut entry = json!({ "request": request, "text": text });
        let fields = entry.as_object_mut().expect("it is an object");
        fields.extend(params.map(|params| ("params".to_owned(), params)));
        fields.extend(known.as_object().expect("it is an object").clone());
        self.0.push(entry);
    }

    fn query(&mut self, text: &str, known: Value) {
        self.ran("query", text, None, known);
    }

    fn execute(&mut self, text: &str, params: Value, known: Value) {
        self.ran("execute", text, Some(params), known);
    }

    fn denied(&mut self, request: &str, text: &str) {
        self.ran(request, text, None, json!({ "decision": "deny", "status": "denied", "sqlstate": "42501" }));
    }
}

/// An error of this SQLSTATE; a denial is signed by who denied.
fn refused<T>(result: Result<T, sqlx::Error>, sqlstate: &str) -> Done {
    let Err(sqlx::Error::Database(error)) = result else { return Err(format!("not refused by {sqlstate}").into()) };
    let is_right = error.code().as_deref() == Some(sqlstate);
    let is_signed = sqlstate != "42501" || error.message().starts_with("hansard:");
    if is_right && is_signed { Ok(()) } else { Err(format!("expected {sqlstate}: {error:?}").into()) }
}

async fn values(db: &mut PgConnection, told: &mut Told) -> Done {
    for (id, body) in [(BASE, Some(AWKWARD)), (BASE + 1, Some("plain")), (BASE + 2, None)] {
        sqlx::query(INSERT).bind(id).bind(body).execute(&mut *db).await?;
        told.execute(INSERT, json!([id.to_string(), body]), json!({ "rows_affected": 1 }));
    }
    let body: String = sqlx::query_scalar(SELECT).bind(BASE).fetch_one(&mut *db).await?;
    assert_eq!(body, AWKWARD, "values");
    told.execute(SELECT, json!([BASE.to_string()]), json!({ "rows_returned": 1 }));
    db.execute(sqlx::raw_sql("select 1; select 2")).await?;
    told.query("select 1; select 2", json!({ "rows_returned": 2 }));

    let series = "select n from generate_series(1, $1) n";
    let mut rows = sqlx::query(series).bind(500).fetch(&mut *db);
    let mut sum = 0;
    while let Some(row) = rows.try_next().await? {
        sum += row.try_get::<i32, _>(0)?;
    }
    assert_eq!(sum, 125_250, "rows as they come");
    told.execute(series, json!(["500"]), json!({ "rows_returned": 500 }));
    Ok(())
}

async fn transactions(db: &mut PgConnection, told: &mut Told) -> Done {
    let mut outer = db.begin().await?;
    told.query("BEGIN", json!({}));
    sqlx::query(UPDATE).bind("kept").bind(BASE + 1).execute(&mut *outer).await?;
    told.execute(UPDATE, json!(["kept", (BASE + 1).to_string()]), json!({ "rows_affected": 1 }));
    let mut inner = outer.begin().await?;
    told.query("SAVEPOINT _sqlx_savepoint_1", json!({}));
    refused(sqlx::query(INSERT).bind(BASE).bind("again").execute(&mut *inner).await, "23505")?;
    told.execute(INSERT, json!([BASE.to_string(), "again"]), json!({ "status": "error", "sqlstate": "23505" }));
    inner.rollback().await?;
    told.query("ROLLBACK TO SAVEPOINT _sqlx_savepoint_1", json!({}));
    outer.commit().await?;
    told.query("COMMIT", json!({}));
    Ok(())
}

async fn copies(db: &mut PgConnection, told: &mut Told) -> Done {
    let text = "copy notes (id, body) from stdin";
    let mut sink = db.copy_in_raw(text).await?;
    for n in 100..200 {
        sink.send(format!("{}\tcopied {n}\n", BASE + n).into_bytes()).await?;
    }
    assert_eq!(sink.finish().await?, 100, "COPY in");
    told.query(text, json!({ "rows_affected": 100 }));
    let text = "copy (select id from notes where id between 15100 and 15199) to stdout";
    let lines = db.copy_out_raw(text).await?.try_fold(0, async |lines, _| Ok(lines + 1)).await?;
    assert_eq!(lines, 100, "COPY out");
    told.query(text, json!({ "rows_returned": 100 }));
    Ok(())
}

async fn denials(db: &mut PgConnection, told: &mut Told) -> Done {
    refused(sqlx::query(BY_NAME).bind("Ana").fetch_all(&mut *db).await, "42501")?;
    told.denied("parse", BY_NAME);
    refused(db.execute(sqlx::raw_sql(SALARIES)).await, "42501")?;
    told.denied("query", SALARIES);
    // In a transaction nothing works until it is over.
    let mut inside = db.begin().await?;
    told.query("BEGIN", json!({}));
    sqlx::query(UPDATE).bind("not to stay").bind(BASE + 1).execute(&mut *inside).await?;
    told.execute(UPDATE, json!(["not to stay", (BASE + 1).to_string()]), json!({ "rows_affected": 1 }));
    refused(inside.execute(sqlx::raw_sql(SALARIES)).await, "42501")?;
    told.denied("query", SALARIES);
    refused(inside.execute(sqlx::raw_sql("select 1")).await, "25P02")?;
    told.query("select 1", json!({ "status": "error", "sqlstate": "25P02" }));
    inside.rollback().await?;
    told.query("ROLLBACK", json!({}));
    let body: String = sqlx::query_scalar(SELECT).bind(BASE + 1).fetch_one(&mut *db).await?;
    assert_eq!(body, "kept", "after the rollback");
    told.execute(SELECT, json!([(BASE + 1).to_string()]), json!({ "rows_returned": 1 }));
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    // The way in stands in the environment, where sqlx looks for it as libpq does.
    let mut db = PgConnectOptions::new().connect().await?;
    let mut told = Told::default();
    values(&mut db, &mut told).await?;
    transactions(&mut db, &mut told).await?;
    copies(&mut db, &mut told).await?;
    if env::var("HANSARD")? == "1" {
        denials(&mut db, &mut told).await?;
    }
    db.close().await?;
    println!("{}", Value::Array(told.0));
    Ok(())
}
