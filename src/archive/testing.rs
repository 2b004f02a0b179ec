//! Small archives for tests, made by the code that makes the large ones.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::Archive;
use crate::model::{
    Action, CloseReason, Decision, Effect, EntrySeq, Facts, Intent, Kind, LoginRefused, NodeName, Object, ObjectKind,
    Outcome, OutcomeStatus, Param, ParamFormat, Peer, Principal, PrincipalKind, Record, RecorderEventKind, Reference,
    Request, RuleId, SegmentCut, SegmentNo, Session, SessionClosed, SessionId, Sha256, SqlText, Statement, Timestamp,
    TokenFacts, Verdict,
};
use crate::seal::checkpoint::{Checkpoint, origin};
use crate::seal::log::LogObject;
use crate::seal::merkle::{self, Head, Tree};
use crate::seal::note::SigningKey;
use crate::segment::{Context, EventRow, Happening, Manifest, Rows, Segment, SessionRow};
use crate::store::{AzureSettings, Store, StoreSettings};

pub(crate) const DAY: i64 = 86_400_000_000;
/// 2026-11-24T14:10:52.117Z
pub(crate) const START: i64 = 1_795_529_452_117_000;

/// An archive in a folder of its own.
pub(crate) struct Shelf {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    log: Tree,
    entries: u64,
    previous: Option<Sha256>,
    latest: Timestamp,
    /// What signs.
    pub(crate) key: SigningKey,
}

impl Shelf {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("file://{}", dir.path().display());
        let store = Store::open(&StoreSettings { url, azure: AzureSettings::default() }).unwrap();
        Self { dir, store, log: Tree::default(), entries: 0, previous: None, latest: Timestamp(START), key: key(1) }
    }

    pub(crate) fn archive(&self) -> Archive {
        Archive::open(&self.store).unwrap()
    }

    /// Stores one segment as `ship` does: files, the manifest, the checkpoint. The names of all but the checkpoint.
    pub(crate) async fn seal(&mut self, rows: Rows) -> Vec<String> {
        let no = SegmentNo(self.log.size() + 1);
        let ends = rows.records.iter().map(|record| record.outcome.time);
        let ends = ends.chain(rows.sessions.iter().map(SessionRow::time)).chain(rows.events.iter().map(EventRow::time));
        let latest = ends.chain([self.latest]).max().unwrap_or(self.latest);
        self.latest = latest;
        let built = Segment::build(&node(), no, latest, &rows).unwrap();
        let upto = EntrySeq(self.entries + 100);
        let cut = SegmentCut { segment: no, upto, time: latest, heartbeat_seconds: 300 };
        let stops = rows.events.last().is_some_and(
            |row| matches!(&row.what, Happening::Recorder(event) if event.kind == RecorderEventKind::Stopped),
        );
        let first_entry = EntrySeq(self.entries + 1);
        let context = Context { cut, first_entry, previous: self.previous, open_sessions: 0, stops };
        let manifest = Manifest::new(&node(), &context, &rows, &built).file().unwrap();
        let leaf = merkle::leaf(&manifest.bytes);
        self.log.push(leaf);
        (self.entries, self.previous) = (upto.0, Some(leaf));
        let mut names = Vec::new();
        for file in built.files.into_iter().chain([manifest]) {
            self.store.put_once(&file.name, file.bytes).await.unwrap();
            names.push(file.name);
        }
        self.sign().await;
        names
    }

    /// Stores the checkpoint of the log as it is.
    pub(crate) async fn sign(&self) -> String {
        let head = Head { size: self.log.size(), root: self.log.root() };
        let note = Checkpoint::new(origin(&node()), head).sign(&self.key).unwrap();
        let name = LogObject::Checkpoint(head.size, self.key.verifier().id()).name(&node());
        self.store.put_once(&name, note.to_string().into()).await.unwrap();
        name
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A signing key of the node, the same for the same seed.
pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_pem(&origin(&node()), &SigningKey::new_pem(&[seed; 32])).unwrap()
}

pub(crate) fn node() -> NodeName {
    NodeName::new("node-1").unwrap()
}

pub(crate) fn session(number: u64) -> Session {
    Session {
        id: SessionId::from_bits(number),
        node: node(),
        opened: Timestamp(START - 1_000_000),
        principal: Principal {
            issuer: "https://issuer".to_owned(),
            subject: "ana".to_owned(),
            kind: PrincipalKind::Person,
            display: None,
            email: Some("ana@contoso.com".to_owned()),
            roles: vec!["analyst".to_owned()],
            groups: vec![],
            token: TokenFacts {
                at_issuer: crate::model::AtIssuer::default(),
                sha256: Sha256::of(b"token"),
                kid: None,
                jti: None,
                issued: None,
                expires: Timestamp(START + DAY),
            },
            claims: BTreeMap::new(),
        },
        peer: Peer {
            address: "10.4.0.17:5544".parse().unwrap(),
            balancer: None,
            tls_version: Some("TLSv1.3".to_owned()),
            application: Some("psql".to_owned()),
            client_certificate: None,
        },
        target: "clinic".to_owned(),
        protocol: "postgresql".to_owned(),
        database: "clinical".to_owned(),
        database_user: "app".to_owned(),
        rules: vec!["may-connect".to_owned()],
        policy_version: "3f9c1a2".to_owned(),
        recorded: crate::model::Recorded::Flushed,
    }
}

/// An allowed statement of session `number`, `at` microseconds after [`START`], which took 3 ms and returned one row.
pub(crate) fn record(number: u64, statement: u64, at: i64, text: &str) -> Record {
    let reference = Reference { session: SessionId::from_bits(number), statement };
    let object = Object { kind: ObjectKind::Table, schema: Some("clinical".to_owned()), name: "patients".to_owned() };
    Record {
        entry: EntrySeq(number * 1_000 + statement),
        session: Arc::new(session(number)),
        intent: Arc::new(Intent {
            reference,
            time: Timestamp(START + at),
            statement: Statement {
                request: Request::Query,
                text: SqlText::from(text),
                params: vec![],
                prepared: None,
                portal: None,
            },
            facts: Arc::new(Facts {
                kind: Kind::Select,
                statement_count: 1,
                effects: vec![Effect { action: Action::Select, object: Some(object), has_where: true }],
                functions: vec![],
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
            }),
            decision: Arc::new(Decision {
                verdict: Verdict::Allow,
                rules: vec![RuleId("analysts-read".to_owned())],
                policy_version: "3f9c1a2".to_owned(),
                message: None,
                hint: None,
            }),
            transaction: 'I',
            server_version: Some("15.18".to_owned()),
            acting: Arc::default(),
        }),
        outcome: Outcome {
            rows_returned: 1,
            bytes_in: text.len() as u64,
            total_us: Some(3_000),
            ..Outcome::bare(reference, Timestamp(START + at + 3_000), OutcomeStatus::Ok)
        },
    }
}

/// The same, refused.
pub(crate) fn denied(mut record: Record) -> Record {
    let intent = Arc::make_mut(&mut record.intent);
    intent.decision = Arc::new(Decision {
        verdict: Verdict::Deny,
        rules: vec![RuleId("no-bulk-pii-export".to_owned())],
        policy_version: "3f9c1a2".to_owned(),
        message: Some("Analysts may read patients only one at a time.".to_owned()),
        hint: Some("Add WHERE patient_id = …".to_owned()),
    });
    record.outcome = Outcome::denied(record.outcome.reference, record.intent.time, "42501");
    record
}

/// The same with bound values: an int4, a NULL, and bytes of an unknown type.
pub(crate) fn with_values(mut record: Record) -> Record {
    let param = |type_oid, format, value: Option<&'static [u8]>| Param {
        type_oid,
        format,
        value: value.map(Bytes::from_static),
    };
    Arc::make_mut(&mut record.intent).statement.params = vec![
        param(23, ParamFormat::Binary, Some(&[0, 1, 88, 59])),
        param(25, ParamFormat::Text, None),
        param(16_500, ParamFormat::Binary, Some(&[1, 255])),
        param(25, ParamFormat::Text, Some(b"it's \x1b[2J")),
    ];
    record
}

pub(crate) fn closed(number: u64, at: i64, statements: u64) -> SessionRow {
    let closed = SessionClosed {
        session: SessionId::from_bits(number),
        closed: Timestamp(START + at),
        reason: CloseReason::ClientTerminated,
        detail: None,
        statements,
        bytes_in: 10,
        bytes_out: 20,
        server_version: Some("15.18".to_owned()),
    };
    SessionRow::Closed { entry: EntrySeq(number), session: Arc::new(session(number)), closed }
}

pub(crate) fn refused(number: u64) -> SessionRow {
    let refused = LoginRefused {
        session: SessionId::from_bits(number),
        node: node(),
        time: Timestamp(START),
        peer: session(number).peer,
        principal: None,
        target: "clinic".to_owned(),
        protocol: "postgresql".to_owned(),
        database: Some("clinical".to_owned()),
        database_user: None,
        sqlstate: "28P01".to_owned(),
        cause: "expired".to_owned(),
        rules: vec![],
        policy_version: None,
    };
    SessionRow::Refused { entry: EntrySeq(number), refused: Box::new(refused) }
}

pub(crate) fn records(records: Vec<Record>) -> Rows {
    Rows { records, ..Rows::default() }
}
