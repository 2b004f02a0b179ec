//! Nothing is truncated at any size, and size costs no memory where the protocol streams.

#![expect(clippy::unwrap_used, reason = "a helper of a test that fails says so by panicking")]

mod support;

use std::fmt::Write;

use serde_json::json;
use sha2::{Digest, Sha256};
use support::{Hansard, Postgres, Store, connect, copied_bytes};

const MB: usize = 1_000_000;
const MIB: u64 = 1 << 20;

/// The growth that issue and README allow for a COPY of any length.
const MAX_GROWTH: u64 = 64 * MIB;

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_20_mb_arrives_at_the_database_and_in_the_archive_whole() {
    let hansard = Hansard::start(Store::Folder);
    let db = connect(&hansard.login("dev", "large-statement")).await.unwrap();
    let body = varied(20 * MB);
    let text = format!("insert into notes (id, body) values (20000001, '{body}')");
    let done = db.simple_query(&text).await.unwrap();
    assert_eq!(done.len(), 1);
    assert_eq!(in_the_database(20_000_001), format!("{}|{}", body.len(), hex(body.as_bytes())));

    let sql = "select kind, decision, status, rows_affected, length(text) as length, sha256(text) as hash, text_length, \
               text_sha256, problem is not null as problem, bytes_in from statements where application = 'large-statement'";
    let rows = hansard.archive().query_until(sql, |rows| !rows.is_empty());
    let hash = hex(text.as_bytes());
    let row = rows.first().unwrap();
    assert_eq!(row["kind"], "unparsed", "over the limit of what is parsed; the rules of the tests permit it");
    assert_eq!((&row["decision"], &row["status"], &row["rows_affected"]), (&json!("allow"), &json!("ok"), &json!(1)));
    assert_eq!((&row["length"], &row["hash"]), (&json!(text.len()), &json!(hash)), "the text itself");
    assert_eq!((&row["text_length"], &row["text_sha256"]), (&json!(text.len()), &json!(hash)), "what is said of it");
    assert_eq!(row["problem"], json!(true));
    assert!(row["bytes_in"].as_u64().unwrap() > text.len().try_into().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_5_mb_arrives_at_the_database_and_in_the_archive_whole() {
    let hansard = Hansard::start(Store::Folder);
    let db = connect(&hansard.login("dev", "large-value")).await.unwrap();
    let body = varied(5 * MB);
    let text = "insert into notes (id, body) values ($1, $2)";
    assert_eq!(db.execute(text, &[&5_000_001, &body]).await.unwrap(), 1);
    assert_eq!(in_the_database(5_000_001), format!("{}|{}", body.len(), hex(body.as_bytes())));

    let sql = "select text, kind, status, params[1].value as id, length(params[2].value) as length, \
               sha256(params[2].value) as hash, sha256(params[2].raw) as raw_hash \
               from statements where application = 'large-value'";
    let rows = hansard.archive().query_until(sql, |rows| !rows.is_empty());
    let hash = hex(body.as_bytes());
    let expected = json!({
        "text": text, "kind": "insert", "status": "ok", "id": "5000001",
        "length": body.len(), "hash": hash, "raw_hash": hash,
    });
    assert_eq!(rows, [expected]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_1_gb_runs_through_in_constant_memory() {
    const ROWS: u64 = 125_000;
    const ROW: u64 = 8_000;
    let hansard = Hansard::start(Store::Folder);
    let db = connect(&hansard.login("dora", "large-copy")).await.unwrap();
    let copy = |rows: u64| format!("copy (select repeat('x', {}) from generate_series(1, {rows})) to stdout", ROW - 1);
    // Once small, so that what the first COPY needs for good is not counted.
    assert_eq!(copied_bytes(&db, &copy(100)).await, 100 * ROW);

    hansard.forget_peak_memory();
    let before = hansard.memory("VmRSS");
    assert_eq!(copied_bytes(&db, &copy(ROWS)).await, ROWS * ROW);
    let growth = hansard.memory("VmHWM").saturating_sub(before);
    assert!(growth < MAX_GROWTH, "it grew by {} MiB", growth / MIB);

    let sql = "select status, rows_affected, bytes_out >= 1000000000 as whole from statements \
               where application = 'large-copy' order by statement_seq";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 2);
    assert_eq!(rows[1], json!({ "status": "ok", "rows_affected": ROWS, "whole": true }));
}

/// Text that no two places of look alike, so that a swapped or doubled piece is seen.
fn varied(length: usize) -> String {
    let mut text = String::with_capacity(length + 16);
    let mut number = 0_u64;
    while text.len() < length {
        write!(text, "{number:x}.").unwrap();
        number += 1;
    }
    text.truncate(length);
    text
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn in_the_database(id: u32) -> String {
    let sql = "select length(body), encode(sha256(convert_to(body, 'UTF8')), 'hex') from notes where id = ";
    Postgres::shared().admin(&format!("{sql}{id}"))
}
