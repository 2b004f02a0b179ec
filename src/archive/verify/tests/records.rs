//! What is done to rows and to the files that hold them.

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::compute::{concat_batches, interleave, take_record_batch};
use arrow::datatypes::Schema;

use super::*;
use crate::model::{
    Acting, Action, ClientCertificate, CloseReason, Decision, Effect, Facts, HandleName, Kind, Object, ObjectKind,
    Outcome, OutcomeStatus, Param, ParamFormat, Peer, Reference, Request as Asked, RuleId, SegmentNo, Session,
    SessionClosed, SqlText, Verdict as Judged,
};
use crate::segment::{Segment, SessionRow};

fn peer() -> Peer {
    let certificate = ClientCertificate {
        subject: "CN=x".to_owned(),
        common_name: None,
        sha256: Sha256::of(b"a certificate"),
        emails: vec!["x@y".to_owned()],
        dns_names: Vec::new(),
        uris: Vec::new(),
    };
    Peer {
        address: "[2001:db8::1]:1".parse().unwrap(),
        balancer: Some("10.0.4.7:1".parse().unwrap()),
        tls_version: None,
        application: None,
        client_certificate: Some(certificate),
    }
}

/// A record that has another value in every column.
fn other_record() -> Record {
    let mut other = record(3, 9, 5 * SECOND, "\u{1F9FE}");
    let session: &mut Session = Arc::make_mut(&mut other.session);
    session.principal.issuer.push('x');
    session.principal.subject.push('x');
    session.principal.kind = crate::model::PrincipalKind::Workload;
    session.principal.display = Some("x".to_owned());
    session.principal.email = Some("x".to_owned());
    session.principal.roles.push("x".to_owned());
    session.principal.groups.push("x".to_owned());
    session.principal.token.sha256 = Sha256::of(b"another token");
    session.principal.token.kid = Some("x".to_owned());
    session.principal.token.jti = Some("x".to_owned());
    session.principal.token.issued = Some(Timestamp(1));
    session.principal.token.expires = Timestamp(2);
    session.principal.claims.insert("x".to_owned(), serde_json::json!(1));
    session.peer = peer();
    session.target.push('x');
    session.protocol.push('x');
    session.database.push('x');
    session.database_user.push('x');
    session.rules.push("x".to_owned());
    session.policy_version.push('x');
    session.recorded = crate::model::Recorded::Written;
    session.node = NodeName::new("node-2").unwrap();
    let intent = Arc::make_mut(&mut other.intent);
    intent.statement.request = Asked::Execute;
    intent.statement.text = SqlText::new(Bytes::from_static(b"\xff"));
    let param = Param { type_oid: 25, format: ParamFormat::Text, value: Some(Bytes::from_static(b"x")) };
    intent.statement.params = vec![param];
    intent.statement.prepared = Some("x".into());
    intent.statement.portal = Some("x".into());
    intent.facts = Arc::new(Facts {
        kind: Kind::Delete,
        statement_count: 2,
        effects: vec![Effect {
            action: Action::Select,
            object: Some(Object {
                kind: ObjectKind::Table,
                schema: Some("pg_catalog".to_owned()),
                name: "pg_class".to_owned(),
            }),
            has_where: false,
        }],
        functions: vec!["x".to_owned()],
        has_where: None,
        fingerprint: None,
        problem: Some("x".to_owned()),
        touched: Vec::new(),
        has_limit: false,
        lifts_read_only: false,
        by_shape: false,
        operators: Vec::new(),
        conversions: Vec::new(),
        handles: Vec::new(),
        executes: None,
    });
    intent.decision = Arc::new(Decision {
        verdict: Judged::Deny,
        rules: vec![RuleId("x".to_owned())],
        policy_version: "x".to_owned(),
        message: Some("x".to_owned()),
        hint: Some("x".to_owned()),
    });
    intent.transaction = 'E';
    intent.server_version = Some("x".to_owned());
    intent.acting = Arc::new(Acting { session_user: Some("x".to_owned()), role: Some("x".to_owned()) });
    other.outcome = Outcome {
        sqlstate: Some("57014".to_owned()),
        command_tag: Some("x".to_owned()),
        rows_returned: 77,
        rows_affected: Some(7),
        bytes_in: 777,
        bytes_out: 777,
        first_row_us: Some(7),
        total_us: Some(7),
        transaction_after: Some('T'),
        ..Outcome::bare(intent.reference, Timestamp(3), OutcomeStatus::Error)
    };
    other
}

/// Rows that have, in every column of every dataset, another value than the first row of segment 2 of the story.
fn others() -> Rows {
    let other = other_record();
    let closed = SessionClosed {
        session: SessionId::from_bits(3),
        closed: Timestamp(START + 7),
        reason: CloseReason::Shutdown,
        detail: Some("x".to_owned()),
        statements: 77,
        bytes_in: 77,
        bytes_out: 77,
        server_version: Some("x".to_owned()),
    };
    let session = SessionRow::Closed { entry: EntrySeq(77), session: Arc::clone(&other.session), closed };
    let more = EventDetails {
        previous_entry: Some(EntrySeq(7)),
        since: Some(Timestamp(7)),
        missing: Some(7),
        missing_at_most: Some(7),
        key: Some("x".to_owned()),
        policy_version: Some("x".to_owned()),
        operator: Some("x".to_owned()),
        question: Some("x".to_owned()),
    };
    let recorder = RecorderEvent {
        version: "x".to_owned(),
        node: NodeName::new("node-2").unwrap(),
        ..RecorderEvent::new(Timestamp(START + 7), node(), RecorderEventKind::Gap, "x".to_owned()).with(more)
    };
    let recorder = EventRow { entry: EntrySeq(77), session: None, what: Happening::Recorder(recorder) };
    Rows {
        records: vec![other, with_odd_names()],
        sessions: vec![session],
        events: vec![recorder, prepared(78, 7), prepared_of(79, other_record()), prepared_of(80, with_odd_names())],
    }
}

/// The other record, whose names are not UTF-8.
fn with_odd_names() -> Record {
    let mut other = other_record();
    let reference = Reference { statement: 10, ..other.intent.reference };
    (other.entry, other.outcome.reference) = (EntrySeq(other.entry.0 + 1), reference);
    let intent = Arc::make_mut(&mut other.intent);
    intent.reference = reference;
    let odd = || Some(HandleName::new(Bytes::from_static(b"\xff")));
    (intent.statement.prepared, intent.statement.portal) = (odd(), odd());
    other
}

/// The batches of [`others`], by dataset, as segment 5.
fn donors() -> Vec<(Dataset, RecordBatch)> {
    let dir = tempfile::tempdir().unwrap();
    let built = Segment::build(&node(), SegmentNo(5), Timestamp(99), &others()).unwrap();
    built
        .files
        .iter()
        .map(|file| {
            let path = dir.path().join("x.parquet");
            fs::write(&path, &file.bytes).unwrap();
            let dataset = segment::dataset_of(&file.name).unwrap();
            (dataset, batch(&path))
        })
        .collect()
}

/// The batch with one value of its first row taken from the donor's `from`th.
fn with_value(of: &RecordBatch, column: usize, donor: &RecordBatch, from: usize) -> RecordBatch {
    let mut columns = of.columns().to_vec();
    let sources: [&dyn Array; 2] = [columns[column].as_ref(), donor.column(column).as_ref()];
    let picks: Vec<(usize, usize)> =
        (0..of.num_rows()).map(|row| if row == 0 { (1, from) } else { (0, row) }).collect();
    columns[column] = interleave(&sources, &picks).unwrap();
    RecordBatch::try_new(of.schema(), columns).unwrap()
}

#[tokio::test]
async fn a_value_changed_in_any_column_of_any_dataset_is_found_and_located() {
    let shelf = told().await;
    let mut changed = 0;
    for (dataset, donor) in donors() {
        let copy = Copy::of(&shelf);
        let name = file(dataset.name(), 2);
        let whole = fs::read(copy.path(&name)).unwrap();
        let of = batch(&copy.path(&name));
        for column in 0..of.num_columns() {
            let title = of.schema().field(column).name().clone();
            // The first row that has another value there; of events, some columns are those of a prepared statement.
            let differs =
                |from: &usize| of.column(column).slice(0, 1).as_ref() != donor.column(column).slice(*from, 1).as_ref();
            let from = (0..donor.num_rows()).find(differs);
            let from = from.unwrap_or_else(|| panic!("{}.{title} is the same in both", dataset.name()));
            copy.change(&name, |_| parquet(&with_value(&of, column, &donor, from)));
            let report = copy.verify().await;
            let told = format!("{}.{title}: {:?}", dataset.name(), report.findings);
            assert_eq!(report.verdict(), Verdict::Contradiction, "{told}");
            let found = found(&report);
            assert!(found.contains_key(name.as_str()), "the file is named: {told}");
            let rows = format!("{} of segment 2 of node-1", dataset.name());
            assert!(found.contains_key(rows.as_str()), "the rows are located: {told}");
            let elsewhere = report.findings.iter().filter(|finding| finding.segment != Some(2));
            // A recorder's own words, if they are changed to those of a gap, speak of more than one segment.
            assert!(dataset == Dataset::Events || elsewhere.count() == 0, "and nothing else is blamed: {told}");
            changed += 1;
        }
        fs::write(copy.path(&name), whole).unwrap();
        assert_eq!(copy.verify().await.verdict(), Verdict::Proven);
    }
    let columns: usize = Dataset::ALL.iter().map(|dataset| dataset.schema().unwrap().fields().len()).sum();
    assert_eq!(changed, columns, "every column of every dataset");
}

/// The batch with these of its rows, in this order.
fn rows(batch: &RecordBatch, picks: &[u64]) -> RecordBatch {
    take_record_batch(batch, &UInt64Array::from(picks.to_vec())).unwrap()
}

#[tokio::test]
async fn a_row_removed_doubled_moved_or_invented_is_found() {
    let shelf = told().await;
    let name = file("statements", 1);
    let located = "statements of segment 1 of node-1";
    let (_, donor) = donors().swap_remove(0);
    type Case<'a> = (&'a str, &'a dyn Fn(RecordBatch) -> RecordBatch, Class, Option<Class>);
    let cases: [Case<'_>; 6] = [
        ("removed", &|of| rows(&of, &[0, 2, 3]), Class::Altered, Some(Class::Missing)),
        ("last removed", &|of| rows(&of, &[0, 1, 2]), Class::Altered, Some(Class::Missing)),
        ("doubled", &|of| rows(&of, &[0, 1, 1, 2, 3]), Class::Altered, Some(Class::Inserted)),
        ("doubled over another", &|of| rows(&of, &[0, 1, 1, 3]), Class::Altered, Some(Class::Altered)),
        ("moved", &|of| rows(&of, &[0, 3, 1, 2]), Class::Reordered, None),
        (
            "invented",
            &|of| concat_batches(&of.schema(), [&of, &forged(&of, &donor)]).unwrap(),
            Class::Altered,
            Some(Class::Inserted),
        ),
    ];
    for (what, change, of_file, of_rows) in cases {
        let copy = Copy::of(&shelf);
        copy.rewrite(&name, change);
        let report = copy.verify().await;
        let found = found(&report);
        assert_eq!(report.verdict(), Verdict::Contradiction, "{what}");
        assert_eq!(found.get(name.as_str()), Some(&of_file), "{what}: {:?}", report.findings);
        assert_eq!(found.get(located).copied(), of_rows, "{what}: {:?}", report.findings);
        assert_eq!(found.len(), 1 + usize::from(of_rows.is_some()), "{what}: {:?}", report.findings);
        let twice = report.findings.iter().any(|finding| finding.detail.contains("two rows have the entry 7002"));
        assert_eq!(twice, what.starts_with("doubled"), "{what}: {:?}", report.findings);
    }
}

/// The donor's row as a row of the batch's recorder, in its segment and on its day.
fn forged(of: &RecordBatch, donor: &RecordBatch) -> RecordBatch {
    let schema = of.schema();
    let keep = |name: &str| ["node", "segment", "time"].contains(&name);
    let columns: Vec<ArrayRef> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| {
            let last = of.num_rows() - 1;
            if keep(field.name()) { of.column(at).slice(last, 1) } else { donor.column(at).slice(0, 1) }
        })
        .collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

#[tokio::test]
async fn a_change_among_many_rows_is_located_to_a_stretch() {
    let mut shelf = Shelf::new();
    let many = (1..=700).map(|number| record(7, number, i64::try_from(number).unwrap(), "select 1")).collect();
    let rows_of = Rows { records: many, sessions: vec![closed(7, SECOND, 700)], ..Rows::default() };
    shelf.seal(rows_of).await;
    let copy = Copy::of(&shelf);
    let name = file("statements", 1);
    let of = batch(&copy.path(&name));
    let picks: Vec<u64> = (0..700).map(|row| if row == 300 { 301 } else { row }).collect();
    copy.rewrite(&name, |of| rows(&of, &picks));
    let report = copy.verify().await;
    let finding = report.findings.iter().find(|finding| finding.object.starts_with("statements of")).unwrap();
    assert!(finding.detail.contains("among entries 7257 to 7512"), "{}", finding.detail);
    assert_eq!(of.num_rows(), 700);
    let mut short: Vec<u64> = (0..700).collect();
    short.truncate(512);
    let copy = Copy::of(&shelf);
    copy.rewrite(&name, |of| rows(&of, &short));
    let report = copy.verify().await;
    let finding = report.findings.iter().find(|finding| finding.object.starts_with("statements of")).unwrap();
    assert!(finding.detail.contains("those after entry 7512 are missing"), "{}", finding.detail);
}

#[expect(clippy::too_many_lines, reason = "a table, one row for each harm")]
#[tokio::test]
async fn a_file_removed_renamed_swapped_truncated_or_written_anew_is_found() {
    let shelf = told().await;
    let (one, two, three) = (file("statements", 1), file("statements", 2), file("statements", 3));
    type Case<'a> = (&'a str, &'a dyn Fn(&Copy), Verdict, Vec<(&'a str, Class)>);
    let of_one = "statements of segment 1 of node-1";
    let of_two = "statements of segment 2 of node-1";
    let day = one.replace("11-24", "11-25");
    let stray = "statements/date=2026-11-24/notes.txt";
    let next = file("statements", 5);
    let cases: [Case<'_>; 11] = [
        (
            "removed",
            &|copy| copy.remove(&one),
            Verdict::Incomplete,
            vec![(&one, Class::Missing), (of_one, Class::Missing)],
        ),
        (
            "renamed",
            &|copy| fs::rename(copy.path(&one), copy.path(&three)).unwrap(),
            Verdict::Contradiction,
            vec![(&one, Class::Missing), (&three, Class::Inserted), (of_one, Class::Missing)],
        ),
        (
            "moved to another day",
            &|copy| {
                fs::create_dir_all(copy.path(&day).parent().unwrap()).unwrap();
                fs::rename(copy.path(&one), copy.path(&day)).unwrap();
            },
            Verdict::Contradiction,
            vec![(&one, Class::Missing), (&day, Class::Inserted), (of_one, Class::Missing)],
        ),
        (
            "swapped",
            &|copy| {
                let (a, b) = (fs::read(copy.path(&one)).unwrap(), fs::read(copy.path(&two)).unwrap());
                fs::write(copy.path(&one), b).unwrap();
                fs::write(copy.path(&two), a).unwrap();
            },
            Verdict::Contradiction,
            vec![(&one, Class::Altered), (&two, Class::Altered), (of_one, Class::Missing), (of_two, Class::Missing)],
        ),
        (
            "truncated",
            &|copy| copy.change(&one, |bytes| bytes[..bytes.len() / 2].to_vec()),
            Verdict::Contradiction,
            vec![(&one, Class::Altered), (of_one, Class::Missing)],
        ),
        ("encoded anew", &|copy| copy.rewrite(&one, |of| of), Verdict::Contradiction, vec![(&one, Class::Altered)]),
        (
            "with other metadata",
            &|copy| {
                copy.rewrite(&one, |of| {
                    let schema = of.schema();
                    let more = std::collections::HashMap::from([("x".to_owned(), "y".to_owned())]);
                    let schema = Arc::new(Schema::new_with_metadata(schema.fields().clone(), more));
                    RecordBatch::try_new(schema, of.columns().to_vec()).unwrap()
                });
            },
            Verdict::Contradiction,
            vec![(&one, Class::Altered)],
        ),
        (
            "a copy of it beside",
            &|copy| {
                copy.change(&one, |bytes| {
                    fs::write(copy.path(&three), &bytes).unwrap();
                    bytes
                })
            },
            Verdict::Contradiction,
            vec![(&three, Class::Inserted)],
        ),
        (
            "a file that is none of ours",
            &|copy| fs::write(copy.path(stray), b"x").unwrap(),
            Verdict::Contradiction,
            vec![(stray, Class::Inserted)],
        ),
        (
            "an object beside the archive",
            &|copy| fs::write(copy.path("readme.txt"), b"x").unwrap(),
            Verdict::Contradiction,
            vec![("readme.txt", Class::Inserted)],
        ),
        (
            "a file of a segment that was never sealed",
            &|copy| assert!(fs::copy(copy.path(&one), copy.path(&next)).unwrap() > 0),
            Verdict::Incomplete,
            vec![(&next, Class::Unsigned)],
        ),
    ];
    for (what, harm, verdict, wanted) in cases {
        let copy = Copy::of(&shelf);
        harm(&copy);
        let report = copy.verify().await;
        let found = found(&report);
        let wanted: BTreeMap<&str, Class> = wanted.into_iter().collect();
        // What was swapped also says that rows of another segment are here.
        let located: BTreeMap<&str, Class> = found
            .iter()
            .filter(|(object, _)| wanted.contains_key(*object))
            .map(|(object, class)| (*object, *class))
            .collect();
        if what == "swapped" {
            assert!(found.len() >= 4, "{what}: {:?}", report.findings);
            assert!(report.findings.iter().any(|finding| finding.detail.contains("rows of segment 2 of node-1")));
        } else {
            assert_eq!(located, wanted, "{what}: {:?}", report.findings);
            assert_eq!(found.len(), wanted.len(), "{what}: {:?}", report.findings);
        }
        assert_eq!(report.verdict(), verdict, "{what}: {:?}", report.findings);
        if what == "renamed" {
            let hint = format!("it is {one} under another name");
            assert!(report.findings.iter().any(|finding| finding.detail.contains(&hint)), "{:?}", report.findings);
        }
        if what == "encoded anew" {
            assert_eq!(report.records, ROWS, "and its rows are those that were sealed");
        }
    }
}

/// The same rows in other files: one for each dataset, written by another writer.
fn compacted(shelf: &Shelf, change: impl Fn(Dataset, RecordBatch) -> RecordBatch) -> Copy {
    let copy = Copy { dir: tempfile::tempdir().unwrap() };
    for dataset in Dataset::ALL {
        let mut files = Vec::new();
        walk(&shelf.dir.path().join(dataset.name()), &mut |path| files.push(path.to_owned()));
        files.sort();
        let batches: Vec<RecordBatch> = files.iter().rev().map(|path| batch(path)).collect();
        let all = concat_batches(&batches[0].schema(), &batches).unwrap();
        let path = copy.path(&format!("{}/compact-0001.parquet", dataset.name()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, parquet(&change(*dataset, all))).unwrap();
    }
    copy
}

#[tokio::test]
async fn a_compacted_copy_is_proven_and_one_that_lacks_or_adds_a_row_is_not() {
    let shelf = told().await;
    let copy = Copy::of(&shelf);
    let by = |rows: &Copy| Request { rows: Some(rows.store()), ..trusting(&[1]) };
    let whole = compacted(&shelf, |_, of| of);
    let report = copy.verify_by(&by(&whole)).await;
    assert_eq!((report.verdict(), report.records), (Verdict::Proven, ROWS), "{:?}", report.findings);
    // The recorder's own files need not be there.
    let log_only = Copy::of(&shelf);
    for dataset in Dataset::ALL {
        fs::remove_dir_all(log_only.path(dataset.name())).unwrap();
    }
    assert_eq!(log_only.verify_by(&by(&whole)).await.verdict(), Verdict::Proven);
    assert_eq!(log_only.verify().await.verdict(), Verdict::Incomplete);
    let keep = |of: &RecordBatch, row: u64| (0..of.num_rows() as u64).filter(|at| *at != row).collect::<Vec<_>>();
    let short = compacted(&shelf, |dataset, of| match dataset {
        Dataset::Statements => rows(&of, &keep(&of, 3)),
        _ => of,
    });
    let report = copy.verify_by(&by(&short)).await;
    assert_eq!(report.verdict(), Verdict::Incomplete, "{:?}", report.findings);
    assert!(found(&report).values().all(|class| *class == Class::Missing), "{:?}", report.findings);
    let long = compacted(&shelf, |dataset, of| match dataset {
        Dataset::Sessions => concat_batches(&of.schema(), [&of, &rows(&of, &[0])]).unwrap(),
        _ => of,
    });
    assert_eq!(copy.verify_by(&by(&long)).await.verdict(), Verdict::Contradiction);
    fs::write(whole.path("rows.parquet"), b"x").unwrap();
    let report = copy.verify_by(&by(&whole)).await;
    assert_eq!(found(&report), BTreeMap::from([("rows.parquet", Class::Inserted)]), "a file that nobody looks into");
    let (dataset, donor) = donors().swap_remove(0);
    let strange = compacted(&shelf, |of, batch| match of == dataset {
        true => concat_batches(&batch.schema(), [&batch, &donor]).unwrap(),
        false => batch,
    });
    let report = copy.verify_by(&by(&strange)).await;
    assert!(report.findings.iter().any(|finding| finding.detail.contains("segment 5 of node-2, which no log has")));
}

#[tokio::test]
async fn one_record_is_proven_by_its_proof_alone() {
    let shelf = told().await;
    let store = shelf.store.clone();
    let keys = trusting(&[1]).keys;
    let reference = Reference { session: SessionId::from_bits(7), statement: 5 };
    let file = prove(&store, reference, &keys).await.unwrap().to_string();
    let proven = check(file.as_bytes(), &keys).unwrap();
    assert_eq!((proven.segment, proven.checkpoint.head.size), (2, 4));
    assert_eq!(proven.record["reference"], reference.to_string());
    assert_eq!(proven.record["text"], "select $1");
    assert_eq!(proven.record["time"], "2026-11-24T14:11:52.117000Z");
    assert_eq!(proven.record["params"][0]["value"], "88123");
    assert_eq!(proven.record["params"][2]["raw"], "\\x01ff");
    let bytes = file.as_bytes();
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(check(&changed, &keys).is_err(), "byte {at}");
    }
    assert!(check(bytes, &trusting(&[2]).keys).unwrap_err().is_untrusted());
    let unknown = Reference { session: SessionId::from_bits(7), statement: 77 };
    assert!(matches!(prove(&store, unknown, &keys).await, Err(ArchiveError::NotFound { .. })));
    let stranger = prove(&store, reference, &trusting(&[2]).keys).await.unwrap_err();
    assert!(stranger.to_string().contains("no checkpoint of a trusted key"), "{stranger}");
    let copy = Copy::of(&shelf);
    copy.rewrite(&super::file("statements", 2), |of| rows(&of, &[0]));
    let harmed = prove(&copy.store(), reference, &keys).await.unwrap_err();
    assert!(harmed.to_string().contains("not those that were sealed"), "{harmed}");
}
