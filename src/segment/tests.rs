//! A segment is whole, deterministic, and what its contract says.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::*;
use crate::model::{
    Action, CloseReason, Decision, Effect, EventDetails, Facts, Intent, Kind, Object, ObjectKind, OutcomeStatus, Param,
    ParamFormat, Peer, Principal, PrincipalKind, Recorded, RecorderEventKind, Reference, Request, RuleId, SegmentCut,
    SessionId, SqlText, Statement, TokenFacts, Verdict,
};

const DAY: i64 = 86_400_000_000;

pub(crate) fn node() -> NodeName {
    NodeName::new("node-1").unwrap()
}

pub(crate) fn session(number: u64) -> Arc<Session> {
    Arc::new(Session {
        id: SessionId::from_bits(number),
        node: node(),
        opened: Timestamp(1),
        principal: principal(),
        peer: Peer {
            address: "[::ffff:10.0.0.7]:5544".parse().unwrap(),
            balancer: None,
            tls_version: Some("TLSv1.3".to_owned()),
            application: None,
            client_certificate: None,
        },
        target: "clinic".to_owned(),
        protocol: "postgresql".to_owned(),
        database: "clinic".to_owned(),
        database_user: "app".to_owned(),
        rules: vec!["may-connect".to_owned()],
        policy_version: "v1".to_owned(),
        recorded: Recorded::Flushed,
    })
}

fn principal() -> Principal {
    Principal {
        issuer: "https://issuer".to_owned(),
        subject: "maria".to_owned(),
        kind: PrincipalKind::Person,
        display: Some("Maria".to_owned()),
        email: None,
        roles: vec!["nurse".to_owned(), "lead".to_owned()],
        groups: vec![],
        token: TokenFacts {
            at_issuer: crate::model::AtIssuer::default(),
            sha256: Sha256::of(b"token"),
            kid: None,
            jti: None,
            issued: Some(Timestamp(0)),
            expires: Timestamp(DAY),
        },
        claims: BTreeMap::from([("amr".to_owned(), serde_json::json!(["mfa"]))]),
    }
}

fn decision() -> Decision {
    Decision {
        verdict: Verdict::Allow,
        rules: vec![RuleId("nurses-read".to_owned())],
        policy_version: "v1".to_owned(),
        message: None,
        hint: None,
    }
}

fn facts() -> Facts {
    let object = Object { kind: ObjectKind::Table, schema: None, name: "patients".to_owned() };
    Facts {
        kind: Kind::Select,
        statement_count: 1,
        effects: vec![Effect { action: Action::Select, object: Some(object), has_where: true }],
        functions: vec!["now".to_owned()],
        has_where: Some(true),
        fingerprint: Some("ab".to_owned()),
        problem: None,
        touched: Vec::new(),
        has_limit: false,
        lifts_read_only: false,
        by_shape: false,
        operators: Vec::new(),
        conversions: Vec::new(),
        handles: Vec::new(),
        executes: None,
    }
}

fn statement(text: SqlText) -> Statement {
    let param = |type_oid, format, value: Option<&'static [u8]>| Param {
        type_oid,
        format,
        value: value.map(Bytes::from_static),
    };
    Statement {
        request: Request::Execute,
        text,
        params: vec![
            param(23, ParamFormat::Binary, Some(&[0, 0, 0, 42])),
            param(25, ParamFormat::Text, None),
            param(0, ParamFormat::Binary, Some(&[1, 2])),
        ],
        prepared: Some("".into()),
        portal: None,
    }
}

pub(crate) fn record(number: u64, time: i64, text: SqlText) -> Record {
    let reference = Reference { session: SessionId::from_bits(7), statement: number };
    Record {
        entry: EntrySeq(number + 10),
        session: session(7),
        intent: Arc::new(Intent {
            reference,
            time: Timestamp(time),
            statement: statement(text),
            facts: facts().into(),
            decision: decision().into(),
            transaction: 'I',
            server_version: Some("15.18".to_owned()),
            acting: Arc::default(),
        }),
        outcome: Outcome { rows_returned: 3, ..Outcome::bare(reference, Timestamp(time + 5), OutcomeStatus::Ok) },
    }
}

fn closed(entry: u64, time: i64) -> SessionRow {
    let closed = SessionClosed {
        session: SessionId::from_bits(7),
        closed: Timestamp(time),
        reason: CloseReason::ClientTerminated,
        detail: None,
        statements: 2,
        bytes_in: 10,
        bytes_out: 20,
        server_version: Some("15.18".to_owned()),
    };
    SessionRow::Closed { entry: EntrySeq(entry), session: session(7), closed }
}

fn refused(entry: u64, time: i64) -> SessionRow {
    let refused = LoginRefused {
        session: SessionId::from_bits(8),
        node: node(),
        time: Timestamp(time),
        peer: session(7).peer.clone(),
        principal: None,
        target: "clinic".to_owned(),
        protocol: "postgresql".to_owned(),
        database: None,
        database_user: None,
        sqlstate: "28P01".to_owned(),
        cause: "expired".to_owned(),
        rules: vec![],
        policy_version: None,
    };
    SessionRow::Refused { entry: EntrySeq(entry), refused: Box::new(refused) }
}

pub(crate) fn events() -> Vec<EventRow> {
    let more = EventDetails {
        previous_entry: Some(EntrySeq(0)),
        since: Some(Timestamp(0)),
        missing: Some(0),
        missing_at_most: Some(7),
        key: Some("hansard/node-1+00000000+AAAA".to_owned()),
        policy_version: Some("v1".to_owned()),
        operator: Some("root (uid 0)".to_owned()),
        question: Some("select 1".to_owned()),
    };
    let started = RecorderEvent {
        version: "0.1.0".to_owned(),
        ..RecorderEvent::new(Timestamp(1), node(), RecorderEventKind::Started, "started".to_owned()).with(more)
    };
    let prepared = Prepared {
        session: SessionId::from_bits(7),
        number: 1,
        time: Timestamp(2),
        statement: Statement { params: vec![], ..statement("select 1".into()) },
        facts: facts().into(),
        decision: decision().into(),
    };
    let reference = Reference { session: SessionId::from_bits(9), statement: 4 };
    let SessionRow::Closed { closed, .. } = closed(0, 4) else { unreachable!() };
    [
        Happening::Recorder(started),
        Happening::Prepared(Arc::new(prepared)),
        Happening::UnmatchedOutcome { outcome: Outcome::unknown(reference, Timestamp(3)), intent: None },
        Happening::UnmatchedClose(closed),
    ]
    .into_iter()
    .zip(1..)
    .map(|(what, entry)| EventRow { entry: EntrySeq(entry), session: (entry == 2).then(|| session(7)), what })
    .collect()
}

pub(crate) fn built(rows: &Rows) -> Vec<File> {
    Segment::build(&node(), SegmentNo(3), Timestamp(99), rows).unwrap().files
}

fn read(file: &File) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.bytes.clone()).unwrap();
    reader.with_batch_size(100_000).build().unwrap().map(Result::unwrap).collect()
}

fn text<'a>(batch: &'a RecordBatch, column: &str, row: usize) -> Option<&'a str> {
    let array = batch.column_by_name(column).unwrap().as_string::<i32>();
    array.is_valid(row).then(|| array.value(row))
}

/// A text column of a Parquet file; for tests of other modules.
pub(crate) fn texts(bytes: &Bytes, column: &str) -> Vec<String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap().build().unwrap();
    let batches = reader.map(Result::unwrap);
    batches
        .flat_map(|batch| {
            (0..batch.num_rows()).map(|row| text(&batch, column, row).unwrap().to_owned()).collect::<Vec<_>>()
        })
        .collect()
}

/// The rows of a Parquet file as another writer would store them.
pub(crate) fn encoded_anew(bytes: &Bytes) -> Bytes {
    use parquet::arrow::ArrowWriter;
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(reader.schema()), None).unwrap();
    reader.build().unwrap().for_each(|batch| writer.write(&batch.unwrap()).unwrap());
    writer.into_inner().unwrap().into()
}

#[test]
fn a_record_reads_back_as_the_contract_says() {
    let rows = Rows { records: vec![record(1, 5, "select 1".into())], ..Rows::default() };
    let files = built(&rows);
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].name, "statements/date=1970-01-01/node-1-000000000003.parquet");
    let batch = &read(&files[0])[0];
    assert_eq!(batch.schema().fields(), Dataset::Statements.schema().unwrap().fields(), "with nullability and meaning");
    assert_eq!(text(batch, "reference", 0), Some("0000000007.1"));
    assert_eq!(text(batch, "text", 0), Some("select 1"));
    assert_eq!(text(batch, "client_address", 0), Some("10.0.0.7"));
    assert_eq!(text(batch, "claims", 0), Some(r#"{"amr":["mfa"]}"#));
    assert_eq!(text(batch, "server_version", 0), Some("15.18"));
    assert!(batch.column_by_name("text_bytes").unwrap().is_null(0));
    assert_eq!(batch.column_by_name("text_length").unwrap().as_primitive::<Int64Type>().value(0), 8);
    assert_eq!(batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>().value(0), 5);
    let roles = batch.column_by_name("roles").unwrap().as_list::<i32>().value(0);
    assert_eq!(roles.as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["nurse", "lead"]);
    let params = batch.column_by_name("params").unwrap().as_list::<i32>().value(0);
    let params = params.as_struct();
    let values = params.column_by_name("value").unwrap().as_string::<i32>();
    assert_eq!(values.iter().collect::<Vec<_>>(), [Some("42"), None, None]);
    let raw = params.column_by_name("raw").unwrap().as_binary::<i32>();
    assert_eq!(raw.iter().collect::<Vec<_>>(), [Some(&[0, 0, 0, 42][..]), None, Some(&[1, 2][..])]);
    let nulls = params.column_by_name("is_null").unwrap().as_boolean();
    assert_eq!(nulls.iter().flatten().collect::<Vec<_>>(), [false, true, false]);
    let effects = batch.column_by_name("effects").unwrap().as_list::<i32>().value(0);
    assert_eq!(effects.as_struct().column_by_name("name").unwrap().as_string::<i32>().value(0), "patients");
}

#[test]
fn sessions_and_events_read_back_with_every_column() {
    let rows = Rows { sessions: vec![refused(5, 9), closed(4, 8)], events: events(), ..Rows::default() };
    let files = built(&rows);
    assert_eq!(files.len(), 2);
    let sessions = &read(&files[0])[0];
    assert_eq!(sessions.schema().fields(), Dataset::Sessions.schema().unwrap().fields());
    assert_eq!([text(sessions, "kind", 0), text(sessions, "kind", 1)], [Some("closed"), Some("refused")]);
    assert_eq!(
        [text(sessions, "reason", 0), text(sessions, "reason", 1)],
        [Some("client_terminated"), Some("expired")]
    );
    assert_eq!([text(sessions, "subject", 0), text(sessions, "subject", 1)], [Some("maria"), None]);
    assert_eq!([text(sessions, "principal_kind", 0), text(sessions, "principal_kind", 1)], [Some("person"), None]);
    assert!(sessions.column_by_name("opened").unwrap().is_null(1));
    let events = &read(&files[1])[0];
    assert_eq!(events.schema().fields(), Dataset::Events.schema().unwrap().fields());
    let kinds: Vec<_> = (0..4).map(|row| text(events, "kind", row).unwrap()).collect();
    assert_eq!(kinds, ["started", "statement_prepared", "unmatched_outcome", "unmatched_close"]);
    assert_eq!([text(events, "text", 0), text(events, "text", 1)], [None, Some("select 1")]);
    assert_eq!([text(events, "subject", 0), text(events, "subject", 1)], [None, Some("maria")]);
    assert_eq!([text(events, "principal_kind", 0), text(events, "principal_kind", 1)], [None, Some("person")]);
    assert!(events.column_by_name("effects").unwrap().is_null(0));
    assert_eq!(text(events, "detail", 2), Some("statement 0000000009.4 ended (unknown) without an intent"));
}

#[test]
fn the_same_rows_give_the_same_bytes_in_whatever_order_they_came() {
    let mut rows = Rows {
        records: (1..200)
            .map(|number| record(number, DAY - 100 + i64::try_from(number % 7).unwrap() * 50, "select 1".into()))
            .collect(),
        sessions: vec![closed(4, 8), refused(5, 9), closed(6, 8)],
        events: events(),
    };
    let files = built(&rows);
    rows.records.reverse();
    rows.sessions.reverse();
    rows.events.reverse();
    assert_eq!(built(&rows), files);
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "statements/date=1970-01-01/node-1-000000000003.parquet",
            "statements/date=1970-01-02/node-1-000000000003.parquet",
            "sessions/date=1970-01-01/node-1-000000000003.parquet",
            "events/date=1970-01-01/node-1-000000000003.parquet",
        ]
    );
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 199 + 3 + 4);
    let batch = &read(&files[0])[0];
    let times: Vec<_> =
        batch.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec();
    assert!(times.is_sorted());
}

/// What is read again after a restart is not shared as it was before.
#[test]
fn the_same_rows_give_the_same_bytes_whatever_of_them_is_shared_in_memory() {
    for count in [1, 2, 3, 5, 40] {
        let apart: Vec<Record> = (1..=count).map(|number| record(number, 5, SqlText::from("select 1"))).collect();
        let mut shared = apart.clone();
        let Record { session, intent, .. } = apart[0].clone();
        for record in &mut shared {
            let (facts, decision) = (Arc::clone(&intent.facts), Arc::clone(&intent.decision));
            record.session = Arc::clone(&session);
            record.intent = Arc::new(Intent { facts, decision, ..record.intent.as_ref().clone() });
        }
        let of = |records| Segment::build(&node(), SegmentNo(3), Timestamp(9), &Rows { records, ..Rows::default() });
        assert_eq!(of(apart).unwrap(), of(shared).unwrap(), "{count} rows");
    }
}

#[test]
fn no_rows_make_no_file() {
    assert_eq!(built(&Rows::default()), vec![]);
    assert!(Rows::default().is_empty());
}

#[test]
fn a_text_that_is_not_utf_8_is_kept_byte_for_byte() {
    let bytes = Bytes::from_static(b"select '\xff'");
    let rows = Rows { records: vec![record(1, 5, SqlText::new(bytes.clone()))], ..Rows::default() };
    let batch = &read(&built(&rows)[0])[0];
    assert_eq!(text(batch, "text", 0), None);
    assert_eq!(batch.column_by_name("text_bytes").unwrap().as_binary::<i32>().value(0), &bytes[..]);
}

#[test]
fn long_texts_come_back_whole_and_are_not_repeated_in_statistics() {
    let long = |seed: u8| SqlText::new(vec![b'a' + seed; (20 << 20) + usize::from(seed)].into());
    let records: Vec<_> = (1..=5).map(|seed| record(u64::from(seed), i64::from(seed), long(seed))).collect();
    let rows = Rows { records, ..Rows::default() };
    let file = &built(&rows)[0];
    let batches = read(file);
    let texts: Vec<_> = batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(|row| Sha256::of(text(batch, "text", row).unwrap().as_bytes())))
        .collect();
    let sent: Vec<_> = rows.records.iter().map(|record| record.intent.statement.text.sha256()).collect();
    assert_eq!(texts, sent);
    let reader = SerializedFileReader::new(file.bytes.clone()).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 2, "64 MiB bound one row group");
    let footer = file.bytes.len() - usize::try_from(data_end(&reader)).unwrap();
    assert!(footer < 200_000, "{footer} bytes of index and footer");
}

fn data_end(reader: &SerializedFileReader<Bytes>) -> u64 {
    let columns = reader.metadata().row_groups().iter().flat_map(|group| group.columns());
    columns.map(|column| column.byte_range().0 + column.byte_range().1).max().unwrap()
}

#[test]
fn a_file_says_what_it_is_and_can_be_pruned() {
    let records =
        (1..=65_537).map(|number| record(number, i64::try_from(number).unwrap(), "select 1".into())).collect();
    let file = &built(&Rows { records, ..Rows::default() })[0];
    let reader = SerializedFileReader::new(file.bytes.clone()).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.num_row_groups(), 2);
    let pairs: Vec<_> = metadata.file_metadata().key_value_metadata().unwrap().iter().collect();
    for (key, value) in [
        ("hansard.schema", "statements.v1"),
        ("hansard.node", "node-1"),
        ("hansard.segment", "3"),
        ("hansard.cut", "1970-01-01T00:00:00.000099Z"),
    ] {
        assert!(pairs.iter().any(|pair| pair.key == key && pair.value.as_deref() == Some(value)), "{key}");
    }
    for column in metadata.row_group(0).columns() {
        let path = column.column_path().string();
        let looked_up = ["session_id", "subject", "fingerprint"].contains(&path.as_str());
        assert_eq!(column.bloom_filter_offset().is_some(), looked_up, "{path}");
        assert!(column.column_index_offset().is_some() && column.offset_index_offset().is_some(), "{path}");
        // Numbers of a few bytes do not become fewer.
        let spared = matches!(column.compression(), Compression::ZSTD(_));
        assert!(spared || column.compression() == Compression::UNCOMPRESSED && path != "reference", "{path}");
    }
    assert!(metadata.row_group(0).sorting_columns().is_some());
    assert!(file.bytes.len() < 65_537 * 60, "{} bytes", file.bytes.len());
}

#[test]
fn a_manifest_says_what_is_there_and_repeats_the_one_before() {
    let records = vec![record(4, 5, "select 1".into()), record(3, 7, "select 2".into())];
    let rows = Rows { records, sessions: vec![closed(20, 9), refused(21, 2)], events: events() };
    let built = Segment::build(&node(), SegmentNo(3), Timestamp(99), &rows).unwrap();
    let before = Sha256::of(b"before");
    let cut = SegmentCut { segment: SegmentNo(3), upto: EntrySeq(40), time: Timestamp(99), heartbeat_seconds: 300 };
    let context = Context { cut, first_entry: EntrySeq(11), previous: Some(before), open_sessions: 4, stops: true };
    let manifest = Manifest::new(&node(), &context, &rows, &built);
    let file = manifest.file().unwrap();
    assert_eq!(file.name, "log/node-1/manifest-000000000003.json");
    assert_eq!((file.rows, manifest.records), (8, 8));
    assert_eq!(Manifest::read(&file.bytes).unwrap(), manifest);
    assert_eq!(manifest.previous_leaf, Some(before.to_string()));
    assert_eq!(manifest.files[2].sha256, built.files[0].sha256.to_string(), "sorted by name: events first");
    assert_eq!(manifest.records_root, built.leaves.root().to_string());
    assert_eq!(manifest.dataset(Dataset::Statements).unwrap().rows, 2);
    let micros = |text: &Option<String>| text.clone().unwrap();
    assert_eq!(micros(&manifest.first_time), "1970-01-01T00:00:00.000001Z");
    assert_eq!(micros(&manifest.last_time), "1970-01-01T00:00:00.000009Z");
    assert!(manifest.starts && manifest.stops);
    assert_eq!((manifest.open_sessions, manifest.heartbeat_seconds), (4, 300));
    let session = SessionId::from_bits(7).to_string();
    let head = SessionHead { session, first: 3, last: 4, statements: 2, closed: Some(2) };
    assert_eq!(manifest.sessions, [head]);
    let older = String::from_utf8(file.bytes.to_vec()).unwrap().replace("manifest.v1", "manifest.v9");
    assert!(matches!(Manifest::read(older.as_bytes()), Err(SegmentError::Version { .. })));
    has_the_fields_of_the_contract(&file);
}

fn has_the_fields_of_the_contract(file: &File) {
    use serde_json::Value;
    let contract: Value = serde_json::from_str(include_str!("../../schemas/manifest.v1.json")).unwrap();
    let written: Value = serde_json::from_slice(&file.bytes).unwrap();
    fn check(fields: &Value, object: &Value) {
        let mut names: Vec<_> =
            fields.as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap()).collect();
        let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        keys.sort_unstable();
        assert_eq!(keys, names);
        for field in fields.as_array().unwrap().iter().filter(|field| field["fields"].is_array()) {
            check(&field["fields"], &object[field["name"].as_str().unwrap()][0]);
        }
    }
    check(&contract["fields"], &written);
}
