//! What was shipped reads back whole, or the reader says which file is to blame.

use std::fs;

use serde_json::json;

use super::testing::{DAY, Shelf, closed, denied, record, records, refused, with_values};
use super::*;
use crate::model::{Reference, SessionId};
use crate::segment::Rows;

async fn ask(archive: &Archive, sql: &str) -> Result<(Vec<Row>, Coverage), ArchiveError> {
    let mut answer = archive.query(sql).await?;
    let mut all = Vec::new();
    while let Some(rows) = answer.next().await? {
        all.extend(rows);
    }
    Ok((all, answer.coverage().await?))
}

async fn error(archive: &Archive, sql: &str) -> ArchiveError {
    ask(archive, sql).await.unwrap_err()
}

/// Three days, one segment each, one statement each.
async fn three_days() -> (Shelf, Vec<String>) {
    let mut shelf = Shelf::new();
    let mut names = Vec::new();
    for day in 0..3_u64 {
        let at = i64::try_from(day).unwrap() * DAY;
        names.extend(shelf.seal(records(vec![record(7, day + 1, at, &format!("select {day}"))])).await);
    }
    (shelf, names)
}

fn id(number: u64) -> SessionId {
    SessionId::from_bits(number)
}

fn reference(number: u64, statement: u64) -> Which {
    Which::Statement(Reference { session: id(number), statement })
}

#[tokio::test]
async fn an_archive_without_files_answers_with_no_rows() {
    let shelf = Shelf::new();
    let archive = shelf.archive();
    for view in ["statements", "sessions", "events"] {
        let (rows, coverage) = ask(&archive, &format!("SELECT * FROM {view}")).await.unwrap();
        assert_eq!((rows.len(), coverage), (0, Coverage::default()));
        let (rows, _) = ask(&archive, &format!("SELECT count(*) FROM {view}")).await.unwrap();
        assert_eq!(rows, [[json!(0)]]);
    }
    assert!(matches!(archive.replay(Which::Latest).await, Err(ArchiveError::Empty)));
}

#[tokio::test]
async fn a_row_reads_back_with_its_types() {
    let mut shelf = Shelf::new();
    shelf.seal(records(vec![with_values(record(7, 1, 0, "select $1"))])).await;
    let sql = "SELECT time, roles, effects, params[1] AS one, params[3] AS three, statement_seq, date FROM statements";
    let (rows, coverage) = ask(&shelf.archive(), sql).await.unwrap();
    let effect = json!({"action": "select", "object_kind": "table", "schema": "clinical", "name": "patients",
        "has_where": true});
    let one = json!({"position": 1, "type_oid": 23, "type_name": "int4", "format": "binary", "value": "88123",
        "raw": "\\x0001583b", "is_null": false});
    let three = json!({"position": 3, "type_oid": 16_500, "type_name": null, "format": "binary", "value": null,
        "raw": "\\x01ff", "is_null": false});
    let row = vec![
        json!("2026-11-24T14:10:52.117000Z"),
        json!(["analyst"]),
        json!([effect]),
        one,
        three,
        json!(1),
        json!("2026-11-24"),
    ];
    assert_eq!(rows, [row]);
    assert_eq!((coverage.files, coverage.unsealed), (1, 0));
    assert_eq!(coverage.newest.unwrap().to_string(), "2026-11-24T14:10:52.117000Z");
}

#[tokio::test]
async fn only_the_files_of_the_days_that_are_asked_for_are_considered() {
    let (shelf, _) = three_days().await;
    let archive = shelf.archive();
    for (condition, files, rows) in [
        ("true", 3, 3),
        ("date = '2026-11-25'", 1, 1),
        ("date > '2026-11-24'", 2, 2),
        ("date BETWEEN '2026-11-24' AND '2026-11-25'", 2, 2),
        ("date IN ('2026-11-24', '2026-11-26')", 2, 2),
        ("time >= '2026-11-26T00:00:00Z'", 1, 1),
        ("time < '2026-11-24T14:10:52Z'", 1, 0),
        ("time >= TIMESTAMP '2026-11-25 00:00:00' AND text = 'select 1'", 2, 1),
        ("date = '2027-01-01'", 0, 0),
        ("session_id = 'nobody'", 3, 0),
        ("date = '2026-11-24' OR subject = 'ana'", 3, 3),
    ] {
        let (found, coverage) = ask(&archive, &format!("SELECT text FROM statements WHERE {condition}")).await.unwrap();
        assert_eq!((coverage.files, found.len()), (files, rows), "{condition}");
    }
}

#[tokio::test]
async fn nothing_but_reading_is_possible() {
    let (shelf, _) = three_days().await;
    let archive = shelf.archive();
    let before = shelf.store.list("").await.unwrap();
    let out = shelf.path("out.parquet");
    let copy = format!("COPY statements TO '{}'", out.display());
    for sql in [
        "CREATE TABLE x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '/tmp'",
        "DROP VIEW statements",
        "INSERT INTO statements SELECT * FROM statements",
        "DELETE FROM statements",
        "UPDATE statements SET text = ''",
        "SET datafusion.execution.batch_size = 1",
        "EXPLAIN ANALYZE INSERT INTO statements SELECT * FROM statements",
        copy.as_str(),
    ] {
        let error = error(&archive, sql).await;
        assert_eq!(error.fault(), Fault::Usage, "{sql}: {error}");
    }
    assert!(matches!(error(&archive, &copy).await, ArchiveError::ReadOnly));
    assert!(!out.exists());
    assert_eq!(shelf.store.list("").await.unwrap(), before);
    for sql in [
        "SELECT * FROM '/etc/hosts.parquet'",
        "SELECT 1; SELECT 2",
        "SELECT",
        "SELECT 1 / 0",
        "SELECT CAST(text AS INT) FROM statements",
    ] {
        let error = error(&archive, sql).await;
        assert!(matches!(error, ArchiveError::Query { .. }), "{sql}: {error:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    for sql in
        ["DESCRIBE statements", "SHOW TABLES", "EXPLAIN SELECT 1", "VALUES (1)", "WITH x AS (SELECT 1) SELECT * FROM x"]
    {
        assert!(!ask(&archive, sql).await.unwrap().0.is_empty(), "{sql}");
    }
}

#[tokio::test]
async fn a_misspelt_name_is_one_sentence_with_a_suggestion() {
    let archive = Shelf::new().archive();
    let says = error(&archive, "SELECT subjekt FROM statements").await.to_string();
    assert_eq!(says, "the query cannot be answered: there is no column \"subjekt\"; did you mean \"subject\"?");
    let says = error(&archive, "SELECT * FROM statement").await.to_string();
    assert!(says.ends_with("there is no view \"statement\"; there are statements, sessions, events"), "{says}");
}

#[tokio::test]
async fn a_damaged_file_is_named_wherever_the_damage_is() {
    let (shelf, names) = three_days().await;
    let name = &names[2];
    assert!(name.starts_with("statements/date=2026-11-25/"), "{name}");
    let whole = fs::read(shelf.path(name)).unwrap();
    let footer = whole.len() - 5;
    for at in [footer, whole.len() - 100, 200] {
        let mut bytes = whole.clone();
        for byte in &mut bytes[at - 60..at] {
            *byte ^= 0x5a;
        }
        fs::write(shelf.path(name), bytes).unwrap();
        let error = error(&shelf.archive(), "SELECT * FROM statements").await;
        assert!(matches!(&error, ArchiveError::Damaged { name: named, .. } if named == name), "{at}: {error:?}");
        assert_eq!(error.fault(), Fault::Incomplete);
    }
    fs::write(shelf.path(name), &whole[..100]).unwrap();
    let error = error(&shelf.archive(), "SELECT * FROM statements").await;
    assert!(matches!(&error, ArchiveError::Length { name: named, found: 100, .. } if named == name), "{error:?}");
    let (rows, _) = ask(&shelf.archive(), "SELECT text FROM statements WHERE date > '2026-11-25'").await.unwrap();
    assert_eq!(rows, [[json!("select 2")]]);
}

#[tokio::test]
async fn an_empty_or_cut_file_without_a_manifest_is_not_skipped() {
    let shelf = Shelf::new();
    let name = "statements/date=2026-11-24/node-1-000000000001.parquet";
    fs::create_dir_all(shelf.path(name).parent().unwrap()).unwrap();
    for bytes in [&b""[..], b"PAR1", b"no parquet at all, but long enough"] {
        fs::write(shelf.path(name), bytes).unwrap();
        let error = error(&shelf.archive(), "SELECT text FROM statements").await;
        assert!(matches!(&error, ArchiveError::Damaged { name: named, .. } if named == name), "{error:?}");
    }
}

#[tokio::test]
async fn a_missing_file_is_named_by_the_question_that_concerns_it() {
    let (shelf, names) = three_days().await;
    fs::remove_file(shelf.path(&names[2])).unwrap();
    let archive = shelf.archive();
    for condition in ["true", "date = '2026-11-25'", "time > '2026-11-25'"] {
        let error = error(&archive, &format!("SELECT 1 FROM statements WHERE {condition}")).await;
        assert!(matches!(&error, ArchiveError::Missing { name, .. } if *name == names[2]), "{condition}: {error:?}");
        assert_eq!(error.fault(), Fault::Incomplete);
    }
    for condition in ["date = '2026-11-24'", "date = '2026-11-26'"] {
        assert_eq!(ask(&archive, &format!("SELECT 1 FROM statements WHERE {condition}")).await.unwrap().0.len(), 1);
    }
    assert!(ask(&archive, "SELECT 1 FROM sessions").await.is_ok());
}

#[tokio::test]
async fn a_missing_manifest_is_named() {
    let (shelf, names) = three_days().await;
    assert_eq!(names[3], "log/node-1/manifest-000000000002.json");
    fs::remove_file(shelf.path(&names[3])).unwrap();
    for sql in ["SELECT 1 FROM statements", "SELECT 1 FROM statements WHERE date = '2026-11-25'"] {
        let error = error(&shelf.archive(), sql).await;
        assert!(matches!(&error, ArchiveError::Missing { name, .. } if *name == names[3]), "{error:?}");
    }
    fs::write(shelf.path(&names[3]), "{}").unwrap();
    let error = error(&shelf.archive(), "SELECT 1 FROM statements").await;
    assert!(matches!(&error, ArchiveError::Damaged { name, .. } if *name == names[3]), "{error:?}");
}

#[tokio::test]
async fn a_file_that_no_recorder_wrote_is_an_error_and_one_not_sealed_is_counted() {
    let (shelf, names) = three_days().await;
    fs::remove_file(shelf.path(&names[5])).unwrap();
    let (rows, coverage) = ask(&shelf.archive(), "SELECT 1 FROM statements").await.unwrap();
    assert_eq!((rows.len(), coverage.files, coverage.unsealed), (3, 3, 1));
    fs::copy(shelf.path(&names[0]), shelf.path("statements/date=2026-11-24/merged.parquet")).unwrap();
    let error = error(&shelf.archive(), "SELECT 1 FROM statements").await;
    assert!(matches!(&error, ArchiveError::Stranger { name } if name.ends_with("merged.parquet")), "{error:?}");
    assert_eq!(error.fault(), Fault::Contradiction);
}

#[tokio::test]
async fn too_much_memory_is_refused_in_words() {
    let archive = Archive::within(&Shelf::new().store, 16 << 20).unwrap();
    let sql = "SELECT repeat('x', 1000) || value AS text FROM generate_series(1, 100000) ORDER BY text DESC";
    assert!(matches!(error(&archive, sql).await, ArchiveError::TooLarge));
    let (rows, _) = ask(&archive, "SELECT value FROM generate_series(1, 300000)").await.unwrap();
    assert_eq!(rows.len(), 300_000, "what needs no memory is not limited");
}

async fn texts(replay: &mut Replay) -> Vec<(i64, String)> {
    let mut all = Vec::new();
    while let Some(rows) = replay.next().await.unwrap() {
        for row in rows {
            let row = StatementRow::of(replay.columns(), row).unwrap();
            all.push((row.statement_seq, row.sql().to_owned()));
        }
    }
    all
}

#[tokio::test]
async fn a_session_is_replayed_in_order_across_segments_and_days() {
    let mut shelf = Shelf::new();
    let first =
        vec![record(7, 2, 10, "two"), record(8, 1, 5, "other"), record(7, 1, 0, "one"), record(7, 3, 10, "three")];
    shelf.seal(records(first)).await;
    let last = Rows {
        records: vec![denied(record(7, 4, DAY, "four"))],
        sessions: vec![closed(7, DAY + 5, 4)],
        ..Rows::default()
    };
    shelf.seal(last).await;
    let archive = shelf.archive();
    for which in [Which::Session(id(7)), reference(7, 3), Which::Latest] {
        let mut replay = archive.replay(which).await.unwrap();
        assert_eq!((replay.id(), replay.len(), replay.missing()), (id(7), 4, vec![]));
        assert_eq!(replay.session().unwrap().reason, "client_terminated");
        let expected = [(1, "one"), (2, "two"), (3, "three"), (4, "four")].map(|(seq, text)| (seq, text.to_owned()));
        assert_eq!(texts(&mut replay).await, expected);
        assert!(replay.next().await.unwrap().is_none());
    }
    let mut open = archive.replay(Which::Session(id(8))).await.unwrap();
    assert!(open.session().is_none());
    assert_eq!(texts(&mut open).await, [(1, "other".to_owned())]);
}

#[tokio::test]
async fn a_large_session_comes_in_parts_and_each_statement_whole() {
    let mut shelf = Shelf::new();
    let text = |number: u64| format!("select '{}' -- {number}", "x".repeat(9 << 20));
    let many = (1..=6).map(|number| record(7, number, i64::try_from(number).unwrap(), &text(number))).collect();
    shelf.seal(records(many)).await;
    let mut replay = shelf.archive().replay(Which::Latest).await.unwrap();
    let (mut parts, mut number) = (0, 0);
    while let Some(rows) = replay.next().await.unwrap() {
        parts += 1;
        for row in rows {
            number += 1;
            assert!(StatementRow::of(replay.columns(), row).unwrap().sql() == text(number), "{number}");
        }
    }
    assert_eq!((parts, number), (6, 6));
}

#[tokio::test]
async fn a_statement_larger_than_the_memory_for_sorting_is_replayed_and_explained() {
    let mut shelf = Shelf::new();
    let text = format!("select '{}'", "x".repeat(40 << 20));
    shelf.seal(records(vec![record(7, 1, 0, "select 1"), record(7, 2, 1, &text)])).await;
    let archive = Archive::within(&shelf.store, 24 << 20).unwrap();
    let mut replay = archive.replay(Which::Latest).await.unwrap();
    assert!(texts(&mut replay).await.pop().unwrap().1 == text);
    let What::Statement(row) = archive.why(reference(7, 2)).await.unwrap().what else { panic!("no statement") };
    assert!(row.sql() == text);
}

#[tokio::test]
async fn statements_outside_of_their_session_s_times_are_found() {
    let mut shelf = Shelf::new();
    let rows =
        Rows { records: vec![record(7, 1, -2 * DAY, "one")], sessions: vec![closed(7, 9, 1)], ..Rows::default() };
    shelf.seal(rows).await;
    let mut replay = shelf.archive().replay(Which::Session(id(7))).await.unwrap();
    assert_eq!((texts(&mut replay).await.len(), replay.missing()), (1, vec![]));
}

#[tokio::test]
async fn statements_that_are_not_there_are_counted() {
    let mut shelf = Shelf::new();
    let some = Rows {
        records: vec![record(7, 2, 0, "two"), record(7, 5, 1, "five")],
        sessions: vec![closed(7, 9, 7)],
        ..Rows::default()
    };
    shelf.seal(some).await;
    let replay = shelf.archive().replay(Which::Session(id(7))).await.unwrap();
    assert_eq!(replay.missing(), [(1, 1), (3, 4), (6, 7)]);
}

#[tokio::test]
async fn what_the_archive_does_not_have_is_not_found_and_says_when_it_may_come() {
    let (shelf, _) = three_days().await;
    let archive = shelf.archive();
    for which in [reference(7, 9), reference(9, 1), Which::Session(id(9))] {
        for error in [archive.replay(which).await.unwrap_err(), archive.why(which).await.unwrap_err()] {
            assert_eq!(error.fault(), Fault::NotFound, "{error}");
            assert!(error.to_string().contains("within the age of a segment"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_denial_and_a_refused_login_are_explained() {
    let mut shelf = Shelf::new();
    let rows = Rows {
        records: vec![record(7, 1, 0, "one"), denied(record(7, 2, 1, "select * from clinical.patients"))],
        sessions: vec![refused(8)],
        ..Rows::default()
    };
    shelf.seal(rows).await;
    let archive = shelf.archive();
    let explanation = archive.why(reference(7, 2)).await.unwrap();
    let What::Statement(row) = explanation.what else { panic!("{explanation:?}") };
    assert_eq!(
        (row.sql(), row.who(), row.decision.as_str()),
        ("select * from clinical.patients", "ana@contoso.com", "deny")
    );
    assert_eq!(row.rules, ["no-bulk-pii-export"]);
    assert_eq!(row.hint.as_deref(), Some("Add WHERE patient_id = …"));
    assert_eq!(explanation.columns.len(), explanation.row.len());
    let explanation = archive.why(Which::Session(id(8))).await.unwrap();
    let What::Session(row) = explanation.what else { panic!("{explanation:?}") };
    assert!(row.is_refused());
    assert_eq!((row.reason.as_str(), row.who()), ("expired", None));
    let replay = archive.replay(Which::Session(id(8))).await.unwrap();
    assert!(replay.is_empty() && replay.missing().is_empty());
}

#[tokio::test]
async fn a_record_that_is_there_twice_is_a_contradiction() {
    let mut shelf = Shelf::new();
    shelf.seal(records(vec![record(7, 1, 0, "one")])).await;
    shelf.seal(records(vec![record(7, 1, 1, "another one")])).await;
    let archive = shelf.archive();
    for error in [archive.replay(Which::Latest).await.unwrap_err(), archive.why(reference(7, 1)).await.unwrap_err()] {
        assert_eq!(error.fault(), Fault::Contradiction, "{error}");
    }
}

#[test]
fn a_session_a_reference_and_latest_are_told_apart() {
    let name = id(7).to_string();
    assert_eq!(name.parse(), Ok(Which::Session(id(7))));
    assert_eq!(format!("{name}.3").parse(), Ok(reference(7, 3)));
    assert_eq!("latest".parse(), Ok(Which::Latest));
    assert!("newest".parse::<Which>().is_err());
}

#[tokio::test]
async fn rows_that_are_older_than_a_column_have_null_there() {
    let mut shelf = Shelf::new();
    let names = shelf.seal(records(vec![record(7, 1, 0, "select 1")])).await;
    let path = shelf.path(&names[0]);
    let bytes = bytes::Bytes::from(fs::read(&path).unwrap());
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    // The columns that came last: `segment`, and those behind it.
    let older: Vec<usize> = (0..batch.schema().index_of("segment").unwrap()).collect();
    let batch = batch.project(&older).unwrap();
    assert!(batch.column_by_name("segment").is_none());
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    fs::write(&path, writer.into_inner().unwrap()).unwrap();
    // It promises the bytes that the file had.
    fs::remove_file(shelf.path(&names[1])).unwrap();
    let (rows, _) = ask(&shelf.archive(), "SELECT reference, segment FROM statements").await.unwrap();
    assert_eq!(rows, [[json!(Reference { session: id(7), statement: 1 }.to_string()), json!(null)]]);
    let (rows, _) = ask(&shelf.archive(), "SELECT count(*) FROM statements WHERE segment = 1").await.unwrap();
    assert_eq!(rows, [[json!(0)]]);
}
