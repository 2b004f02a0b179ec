//! A realistic mix of statements, the same for the same seed for ever.
//!
//! What it is: [`OPEN_SESSIONS`] sessions at a time of [`PEOPLE`] people and workloads, each with roles, groups, claims and
//! a token of its own; a session ends after about [`STATEMENTS_OF_A_SESSION`] statements and another begins. 2,000
//! statements a second, drawn from [`SHAPES`] distinct shapes, few of them often and many seldom, 175 bytes long on
//! average. Of a hundred statements
//!
//! * 52 are executions of prepared statements, whose text repeats, with one to four bound values (numbers, UUIDs, texts,
//!   times; a third of them binary, one in twenty null); 48 are simple queries with literals that never repeat;
//! * 66 read, 20 write, 12 begin and end transactions, 2 change a setting;
//! * 97 succeed, 1.5 fail with an SQLSTATE, 1 is denied by a rule with a message and a hint, 0.5 are cancelled.
//!
//! Each has one to three effects, and one in four names functions. An outcome follows its intent after a few others.

#![expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "numbers are drawn within bounds")]
#![expect(clippy::unwrap_used, reason = "a bench fails loudly")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use hansard::model::{
    Action, CloseReason, Decision, Effect, Entry, Facts, HandleName, Intent, Kind, NodeName, Object, ObjectKind,
    Outcome, OutcomeStatus, Param, ParamFormat, Peer, Principal, PrincipalKind, Recorded, Reference, Request, RuleId,
    Session, SessionClosed, SessionId, Sha256, SqlText, Statement, Timestamp, TokenFacts, Verdict,
};

const OPEN_SESSIONS: usize = 320;
const PEOPLE: u64 = 180;
const STATEMENTS_OF_A_SESSION: u64 = 600;
const SHAPES: usize = 400;
/// 24 November 2026, 08:00 UTC.
const START: i64 = 1_795_507_200_000_000;
const MICROS_BETWEEN: i64 = 500;
/// Intents that wait for their outcome at a time.
const RUNNING: usize = 24;

const SCHEMAS: [&str; 5] = ["clinic", "billing", "pharmacy", "lab", "staffing"];
const TABLES: [&str; 12] = [
    "patients",
    "admissions",
    "wards",
    "invoices",
    "invoice_lines",
    "prescriptions",
    "orders",
    "samples",
    "results",
    "shifts",
    "employees",
    "audit_notes",
];
const COLUMNS: [&str; 16] = [
    "id",
    "patient_id",
    "ward_id",
    "status",
    "created_at",
    "updated_at",
    "name",
    "born",
    "amount",
    "currency",
    "quantity",
    "code",
    "note",
    "valid_from",
    "valid_until",
    "owner",
];
const FUNCTIONS: [&str; 6] = ["now", "count", "coalesce", "lower", "sum", "date_trunc"];
const NAMES: [&str; 12] =
    ["Miller", "Okafor", "García", "Nguyen", "Schäfer", "Novák", "Rossi", "Haddad", "Kim", "Silva", "Ivanova", "Berg"];

/// SplitMix64: small, and never another sequence with another version of a library.
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True `parts` times in a thousand.
    fn chance(&mut self, parts: u64) -> bool {
        self.below(1_000) < parts
    }

    fn of<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.below(among.len() as u64) as usize]
    }
}

/// What is the same in all statements of a shape. A `?` in the text is a literal, or a bound value.
#[derive(Debug, Clone)]
struct Shape {
    text: String,
    facts: Arc<Facts>,
    prepared: bool,
    literals: Vec<Literal>,
}

#[derive(Debug, Clone, Copy)]
enum Literal {
    Number,
    Uuid,
    Name,
    Time,
}

/// A session, and how many statements it has had.
struct Open {
    session: Arc<Session>,
    statements: u64,
}

/// Entries of a journal, one after the other.
pub(crate) struct Mix {
    draw: Draw,
    shapes: Vec<Shape>,
    open: Vec<Open>,
    running: VecDeque<Outcome>,
    /// Entries that come next.
    queue: VecDeque<Entry>,
    now: i64,
    policy_version: String,
    /// Statements that were begun.
    pub(crate) statements: u64,
}

impl Mix {
    /// The mix of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut draw = Draw(seed);
        let shapes = (0..SHAPES).map(|_| shape(&mut draw)).collect();
        let policy_version = Sha256::of(b"the rules").to_string();
        let mut mix = Self {
            draw,
            shapes,
            open: Vec::new(),
            running: VecDeque::new(),
            queue: VecDeque::new(),
            now: START,
            policy_version,
            statements: 0,
        };
        for _ in 0..OPEN_SESSIONS {
            mix.open_session();
        }
        mix
    }

    /// The next entries, about so many.
    pub(crate) fn entries(&mut self, about: usize) -> Vec<Entry> {
        while self.queue.len() < about {
            self.step();
        }
        self.queue.drain(..).collect()
    }

    /// The outcomes of all that still runs.
    pub(crate) fn rest(&mut self) -> Vec<Entry> {
        let ends = self.running.drain(..).map(|outcome| Entry::Outcome(Box::new(outcome)));
        self.queue.drain(..).chain(ends).collect()
    }

    fn open_session(&mut self) {
        let session = Arc::new(session(&mut self.draw, self.now, &self.policy_version));
        self.queue.push_back(Entry::SessionOpened(Box::new(session.as_ref().clone())));
        self.open.push(Open { session, statements: 0 });
    }

    fn step(&mut self) {
        self.now += self.draw.below(2 * MICROS_BETWEEN as u64) as i64;
        let at = self.draw.below(self.open.len() as u64) as usize;
        if self.draw.below(STATEMENTS_OF_A_SESSION) == 0 {
            self.close_session(at);
            return;
        }
        // Few shapes often, many seldom.
        let rank = self.draw.below(1_000) as f64 / 1_000.0;
        let shape = &self.shapes[(rank.powi(3) * SHAPES as f64) as usize];
        let open = &mut self.open[at];
        open.statements += 1;
        self.statements += 1;
        let reference = Reference { session: open.session.id, statement: open.statements };
        let (intent, outcome) = statement(&mut self.draw, shape, reference, self.now, &self.policy_version);
        self.queue.push_back(Entry::Intent(Arc::new(intent)));
        let place = self.draw.below(self.running.len() as u64 + 1) as usize;
        self.running.insert(place, outcome);
        if self.running.len() > RUNNING
            && let Some(outcome) = self.running.pop_front()
        {
            self.queue.push_back(Entry::Outcome(Box::new(outcome)));
        }
    }

    fn close_session(&mut self, at: usize) {
        let Open { session, statements } = self.open.swap_remove(at);
        // What still runs in it ends first.
        let (ends, running): (VecDeque<Outcome>, _) =
            self.running.drain(..).partition(|outcome| outcome.reference.session == session.id);
        self.running = running;
        self.queue.extend(ends.into_iter().map(|outcome| Entry::Outcome(Box::new(outcome))));
        self.queue.push_back(Entry::SessionClosed(SessionClosed {
            session: session.id,
            closed: Timestamp(self.now),
            reason: CloseReason::ClientTerminated,
            detail: None,
            statements,
            bytes_in: statements * 240,
            bytes_out: statements * 1_800,
            server_version: Some("15.18".to_owned()),
        }));
        self.open_session();
    }
}

fn effect(action: Action, schema: &str, table: &str, has_where: bool) -> Effect {
    let object = Object { kind: ObjectKind::Table, schema: Some(schema.to_owned()), name: table.to_owned() };
    Effect { action, object: Some(object), has_where }
}

fn shape(draw: &mut Draw) -> Shape {
    let (schema, table, other) = (*draw.of(&SCHEMAS), *draw.of(&TABLES), *draw.of(&TABLES));
    let columns: Vec<&str> = (0..3 + draw.below(6)).map(|_| *draw.of(&COLUMNS)).collect();
    let [a, b, c] = [(); 3].map(|()| *draw.of(&COLUMNS));
    let function = *draw.of(&FUNCTIONS);
    let list = columns.join(", ");
    let (text, kind, action, joined) = match draw.below(100) {
        0..=33 => (
            format!(
                "SELECT {list} FROM {schema}.{table} WHERE {a} = ? AND {b} >= ? ORDER BY {c} DESC, {a} LIMIT {}",
                50 + draw.below(3) * 75
            ),
            Kind::Select,
            Action::Select,
            false,
        ),
        34..=57 => (
            format!(
                "SELECT t.{a}, t.{b}, o.{c}, {function}(o.{a}) FROM {schema}.{table} AS t JOIN {schema}.{other} AS o ON \
                 o.{a} = t.{b} WHERE t.{c} = ? AND o.{b} BETWEEN ? AND ? GROUP BY t.{a}, t.{b}, o.{c}"
            ),
            Kind::Select,
            Action::Select,
            true,
        ),
        58..=65 => (format!("SELECT {list} FROM {schema}.{table} WHERE {a} = ?"), Kind::Select, Action::Select, false),
        66..=75 => (
            format!("INSERT INTO {schema}.{table} ({a}, {b}, {c}, note) VALUES (?, ?, ?, ?) RETURNING id"),
            Kind::Insert,
            Action::Insert,
            false,
        ),
        76..=83 => (
            format!(
                "UPDATE {schema}.{table} SET {a} = ?, {b} = ?, updated_at = now() WHERE {c} = ? AND status <> 'closed'"
            ),
            Kind::Update,
            Action::Update,
            false,
        ),
        84..=85 => (format!("DELETE FROM {schema}.{table} WHERE {a} = ?"), Kind::Delete, Action::Delete, false),
        86..=91 => ("BEGIN".to_owned(), Kind::Transaction, Action::Session, false),
        92..=97 => ("COMMIT".to_owned(), Kind::Transaction, Action::Session, false),
        _ => (format!("SET application_name = 'worker {}'", draw.below(9)), Kind::Session, Action::Session, false),
    };
    let object = |name| effect(action, schema, name, !matches!(kind, Kind::Insert));
    let effects = match (action, joined) {
        (Action::Session, _) => vec![Effect { action, object: None, has_where: false }],
        (_, true) => vec![object(table), object(other)],
        (_, false) => vec![object(table)],
    };
    let count = text.matches('?').count();
    let literals = [Literal::Number, Literal::Uuid, Literal::Name, Literal::Time, Literal::Number];
    let facts = Facts {
        kind,
        statement_count: 1,
        effects,
        functions: if joined { vec![function.to_owned()] } else { Vec::new() },
        has_where: (count > 0).then_some(!matches!(kind, Kind::Insert)),
        fingerprint: Some(Sha256::of(text.as_bytes()).to_string()),
        problem: None,
        touched: Vec::new(),
        has_limit: false,
        lifts_read_only: false,
        by_shape: false,
        operators: Vec::new(),
        conversions: Vec::new(),
        handles: Vec::new(),
        executes: None,
    };
    Shape {
        facts: facts.into(),
        prepared: draw.chance(520),
        literals: (0..count).map(|_| *draw.of(&literals)).collect(),
        text,
    }
}

fn session(draw: &mut Draw, now: i64, policy_version: &str) -> Session {
    let person = draw.below(PEOPLE);
    let name = NAMES[(person % 12) as usize];
    let workload = person.is_multiple_of(3);
    let token = draw.next();
    let target = SCHEMAS[(person % 3) as usize];
    let claims = [
        ("acr", serde_json::json!("urn:example:loa:2")),
        ("amr", serde_json::json!(["pwd", "mfa"])),
        ("azp", serde_json::json!(format!("client-{}", person % 7))),
        ("department", serde_json::json!(format!("department {}", person % 23))),
        ("tid", serde_json::json!("8b1c7a52-3f0e-4a57-9a51-6f0f3c0de001")),
    ];
    Session {
        id: SessionId::from_bits(draw.next()),
        node: NodeName::new("node-1").unwrap(),
        opened: Timestamp(now),
        principal: Principal {
            issuer: "https://login.example.org/8b1c7a52-3f0e-4a57-9a51-6f0f3c0de001/v2.0".to_owned(),
            subject: format!("{:016x}{person:016x}", person.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            kind: if workload { PrincipalKind::Workload } else { PrincipalKind::Person },
            display: (!workload).then(|| format!("{name}, Person {person}")),
            email: (!workload).then(|| format!("person.{person}@example.org")),
            roles: vec![format!("role-{}", person % 9), "reader".to_owned()],
            groups: (0..person % 4).map(|group| format!("group-{}", (person + group) % 17)).collect(),
            token: TokenFacts {
                at_issuer: hansard::model::AtIssuer::default(),
                sha256: Sha256::of(&token.to_be_bytes()),
                kid: Some(format!("key-{}", person % 2)),
                jti: Some(format!("{token:016x}")),
                issued: Some(Timestamp(now - 60_000_000)),
                expires: Timestamp(now + 3_540_000_000),
            },
            claims: claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>(),
        },
        peer: Peer {
            address: format!("10.{}.{}.{}:{}", person % 4, person % 250, draw.below(250), 1_024 + draw.below(60_000))
                .parse()
                .unwrap(),
            balancer: None,
            tls_version: Some("TLSv1.3".to_owned()),
            application: Some(if workload { format!("service-{}", person % 31) } else { "DBeaver 25.2".to_owned() }),
            client_certificate: None,
        },
        target: target.to_owned(),
        protocol: "postgresql".to_owned(),
        database: target.to_owned(),
        database_user: if workload { "app" } else { "people" }.to_owned(),
        rules: vec!["may-connect".to_owned()],
        policy_version: policy_version.to_owned(),
        recorded: Recorded::Flushed,
    }
}

fn literal(draw: &mut Draw, literal: Literal) -> String {
    match literal {
        Literal::Number => draw.below(5_000_000).to_string(),
        Literal::Uuid => format!("'{:08x}-{:04x}-4000-8000-{:012x}'", draw.below(1 << 32), draw.below(1 << 16), {
            draw.below(1 << 48)
        }),
        Literal::Name => format!("'{} {}'", draw.of(&NAMES), draw.below(1_000)),
        Literal::Time => format!("'2026-{:02}-{:02}'", 1 + draw.below(12), 1 + draw.below(28)),
    }
}

fn bound(draw: &mut Draw, literal: Literal) -> Param {
    let text = |type_oid, text: String| (type_oid, ParamFormat::Text, Bytes::from(text));
    let (type_oid, format, value) = match literal {
        Literal::Number if draw.chance(500) => {
            (23, ParamFormat::Binary, Bytes::copy_from_slice(&(draw.below(5_000_000) as u32).to_be_bytes()))
        }
        Literal::Number => text(20, draw.below(5_000_000).to_string()),
        Literal::Uuid => {
            let bits = [draw.next().to_be_bytes(), draw.next().to_be_bytes()].concat();
            (2950, ParamFormat::Binary, Bytes::from(bits))
        }
        Literal::Name => text(25, format!("{} {}", draw.of(&NAMES), draw.below(1_000))),
        Literal::Time => text(1082, format!("2026-{:02}-{:02}", 1 + draw.below(12), 1 + draw.below(28))),
    };
    Param { type_oid, format, value: (!draw.chance(50)).then_some(value) }
}

fn statement(draw: &mut Draw, shape: &Shape, reference: Reference, now: i64, version: &str) -> (Intent, Outcome) {
    let mut text = String::with_capacity(shape.text.len() + 64);
    for (at, part) in shape.text.split('?').enumerate() {
        match at.checked_sub(1) {
            None => {}
            Some(number) if shape.prepared => text.push_str(&format!("${}", number + 1)),
            Some(number) => text.push_str(&literal(draw, shape.literals[number])),
        }
        text.push_str(part);
    }
    let executes = shape.prepared && !shape.literals.is_empty();
    let params = if executes { shape.literals.iter().map(|kind| bound(draw, *kind)).collect() } else { Vec::new() };
    let named = executes.then(|| HandleName::from(format!("S_{}", shape.text.len() % 40).as_str()));
    let denied = draw.chance(10);
    let decision = Decision {
        verdict: if denied { Verdict::Deny } else { Verdict::Allow },
        rules: vec![RuleId(if denied {
            "no-bulk-reads".to_owned()
        } else {
            format!("allow-{}", shape.facts.kind.as_str())
        })],
        policy_version: version.to_owned(),
        message: denied.then(|| "Patients are read one at a time.".to_owned()),
        hint: denied.then(|| "Ask for a report at the data office.".to_owned()),
    };
    let intent = Intent {
        reference,
        time: Timestamp(now),
        statement: Statement {
            request: if executes { Request::Execute } else { Request::Query },
            text: SqlText::new(Bytes::from(text)),
            params,
            portal: executes.then(|| "".into()),
            prepared: named,
        },
        facts: Arc::clone(&shape.facts),
        decision: decision.into(),
        transaction: if draw.chance(400) { 'T' } else { 'I' },
        server_version: Some("15.18".to_owned()),
        acting: Arc::default(),
    };
    let outcome = outcome(draw, shape, reference, now, denied);
    (intent, outcome)
}

fn outcome(draw: &mut Draw, shape: &Shape, reference: Reference, now: i64, denied: bool) -> Outcome {
    if denied {
        return Outcome::denied(reference, Timestamp(now + 40), "42501");
    }
    let scale = draw.below(9);
    let micros = 120 + draw.below(64 << scale);
    let ended = Timestamp(now + micros as i64);
    let bytes_in = 60 + shape.text.len() as u64;
    if draw.chance(20) {
        let (status, code) = match draw.below(4) {
            0 => (OutcomeStatus::Cancelled, "57014"),
            1 => (OutcomeStatus::Error, "23505"),
            2 => (OutcomeStatus::Error, "42P01"),
            _ => (OutcomeStatus::Error, "40001"),
        };
        let bare = Outcome::bare(reference, ended, status);
        return Outcome { sqlstate: Some(code.to_owned()), bytes_in, bytes_out: 118, total_us: Some(micros), ..bare };
    }
    let reads = matches!(shape.facts.kind, Kind::Select);
    let scale = draw.below(8);
    let rows = if reads { draw.below(1 << scale) } else { u64::from(!shape.literals.is_empty()) };
    let tag = match shape.facts.kind {
        Kind::Select => format!("SELECT {rows}"),
        Kind::Insert => format!("INSERT 0 {rows}"),
        Kind::Update => format!("UPDATE {rows}"),
        Kind::Delete => format!("DELETE {rows}"),
        _ => shape.text.split(' ').next().unwrap_or_default().to_owned(),
    };
    Outcome {
        command_tag: Some(tag),
        rows_returned: if reads { rows } else { 0 },
        rows_affected: (!reads && rows > 0).then_some(rows),
        bytes_in,
        bytes_out: 40 + rows * (60 + draw.below(40)),
        first_row_us: reads.then(|| micros * 2 / 3),
        total_us: Some(micros),
        ..Outcome::bare(reference, ended, OutcomeStatus::Ok)
    }
}
