//! Client and database talk through an exchange.
//!
//! With a database that keeps to the protocol ([`super::server`]): the exchange says of every execution the text that the
//! database then runs, or that it does not know it; each statement that was allowed has one outcome, and the right one;
//! what waits for an answer is not waited for in vain; no honest answer ends the session; nothing of a denied statement
//! leaves. With one that says anything: no panic, and still one outcome each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};

use arbitrary::Unstructured;
use bytes::Bytes;
use hansard::model::{Asked, Facts, Kind, Outcome, OutcomeStatus, Reference, SessionId, SqlText, Timestamp};
use hansard::sql::{self, Dialect};
use hansard::wire::Violation;
use hansard::wire::postgres::exchange::{Called, Changes, Exchange, Reply, Request};
use hansard::wire::postgres::message::{Parse, Refusal};

use super::server::{Ran, Server};
use super::{frame, one, piece, rarely, show};

/// What clients say. `DENY…` is denied when it is prepared, `LATER` when it is executed.
const TEXTS: &[&str] = &[
    "SELECT 1",
    "SELECT 2",
    "DENY",
    "LATER",
    "",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "PREPARE a AS SELECT 3",
    "DEALLOCATE a",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "DECLARE p CURSOR FOR SELECT 4",
    "CLOSE p",
    "COPY t FROM STDIN",
    "SET client_encoding TO 'UTF8'",
    "SET role TO x",
];
const NAMES: &[&str] = &["", "a", "b"];
const PORTALS: &[&str] = &["", "p", "q"];
/// More steps teach nothing.
const STEPS: usize = 200;

pub fn body(data: &[u8]) {
    let mut from = Unstructured::new(data);
    match from.arbitrary() {
        Ok(true) => honest(&mut from),
        Ok(false) => anything(&mut from).unwrap_or_default(),
        Err(_too_short) => {}
    }
}

static FACTS: LazyLock<BTreeMap<&'static str, Arc<Facts>>> = LazyLock::new(|| {
    let facts = |text| Arc::new(sql::read(&SqlText::from(text), Dialect::PostgreSql));
    TEXTS.iter().map(|text| (*text, facts(*text))).collect()
});

fn facts_of(text: &str) -> Arc<Facts> {
    FACTS.get(text).cloned().unwrap_or_else(|| Arc::new(Facts::unparsed("")))
}

/// What stands for a statement among what is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It was sent, with the text that the exchange said it has.
    Sent(u64, Option<String>),
    /// Another took its place.
    Replaced,
}

/// What waits to be recorded.
enum Item {
    Pass(u8, Bytes),
    Sync(Bytes),
    Denied { simple: bool, poison: Bytes, number: u64 },
    Held { kind: u8, frame: Bytes, asked: Asked, number: u64, text: Option<String> },
}

/// The gateway's part, without journal and sockets.
struct Session {
    exchange: Exchange,
    server: Server,
    batch: Vec<Item>,
    /// The client has asked for a COPY into the database and not ended its data: it sends nothing else but `Flush`, and
    /// `Sync` before the first of them, or a server would end the connection or answer what it should ignore.
    copying: bool,
    data_sent: bool,
    /// On the way to the server.
    sent: VecDeque<(u8, Bytes)>,
    /// Each `Query` and `Execute` that was sent, in order.
    executions: Vec<Fate>,
    numbers: u64,
    preparations: u64,
    /// Answers that arrived.
    delivered: usize,
    outcomes: Vec<Outcome>,
}

const NOW: Timestamp = Timestamp(1_000);

fn reference(statement: u64) -> Reference {
    Reference { session: SessionId::from_bits(5), statement }
}

fn denied() -> Refusal {
    Refusal::error("42501", "denied")
}

impl Session {
    fn new() -> Self {
        Self {
            exchange: Exchange::new(&[("client_encoding".to_owned(), "UTF8".to_owned())]),
            server: Server::new(),
            batch: Vec::new(),
            copying: false,
            data_sent: false,
            sent: VecDeque::new(),
            executions: Vec::new(),
            numbers: 0,
            preparations: 0,
            delivered: 0,
            outcomes: Vec::new(),
        }
    }

    /// Takes a frame of the client as the gateway does. False: the session ends. `answers`: whether the server is there.
    fn client(&mut self, kind: u8, body: &[u8], answers: bool) -> bool {
        let mut whole = frame(kind, body);
        show(|| ("client", frame_text(kind, body)));
        if kind == b'd' {
            if !self.exchange.discards_copy() {
                self.exchange.copied_in(whole.len());
                self.batch.push(Item::Pass(kind, whole));
            }
            return true;
        }
        loop {
            match self.exchange.take(kind, whole) {
                Err(_violation) => return false,
                Ok(Request::Wait(again)) => {
                    assert_eq!(again, frame(kind, body));
                    if !answers {
                        return false;
                    }
                    let before = self.delivered;
                    self.settle(false);
                    self.serve(usize::MAX, false);
                    self.deliver(usize::MAX);
                    if self.server.gone {
                        return false;
                    }
                    assert!(self.delivered > before, "it waits, and no answer is to come");
                    whole = again;
                }
                Ok(request) => {
                    self.judge(kind, request);
                    return true;
                }
            }
        }
    }

    fn judge(&mut self, kind: u8, request: Request) {
        match request {
            Request::Pass(frame) if kind == b'S' => self.batch.push(Item::Sync(frame)),
            Request::Pass(frame) => self.batch.push(Item::Pass(kind, frame)),
            Request::Query(text, frame) => {
                let text = text.text().unwrap_or_default().to_owned();
                let facts = facts_of(&text);
                self.execution(true, Some((text, facts)), frame);
            }
            Request::Parse(parse, frame) => self.preparation(parse, frame),
            Request::Execute(executed, frame) => {
                let known = executed
                    .statement
                    .map(|prepared| (prepared.text.text().unwrap_or_default().to_owned(), Arc::clone(&prepared.facts)));
                self.execution(false, known, frame);
            }
            Request::Call(called, frame) => self.call(&called, frame),
            Request::Discard | Request::Wait(_) | Request::Terminate => {}
        }
    }

    /// A function call; functions of even numbers are denied.
    fn call(&mut self, called: &Called, frame: Bytes) {
        if called.function.is_multiple_of(2) {
            return self.deny(true);
        }
        self.numbers += 1;
        let number = self.numbers;
        let facts = Facts { kind: Kind::Select, effects: Vec::new(), ..Facts::unparsed("") };
        let changes = Changes::of(&facts, &facts, &SqlText::from(""));
        self.exchange.allow_call(reference(number), frame.len(), changes);
        let asked = Asked::Execution(reference(number));
        self.batch.push(Item::Held { kind: b'F', frame, asked, number, text: None });
    }

    fn deny(&mut self, simple: bool) {
        self.numbers += 1;
        let number = self.numbers;
        let poison = self.exchange.deny(simple, reference(number), &denied());
        assert!(TEXTS.iter().all(|text| text.len() < 4 || !shows(&poison, text)), "a denied statement leaves");
        self.batch.push(Item::Denied { simple, poison, number });
    }

    fn preparation(&mut self, parse: Parse, frame: Bytes) {
        let text = std::str::from_utf8(&parse.text).unwrap_or_default().to_owned();
        if text.starts_with("DENY") {
            if parse.name.is_empty() {
                self.exchange.forget_unnamed();
            }
            return self.deny(false);
        }
        self.preparations += 1;
        let asked = Asked::Preparation(SessionId::from_bits(5), self.preparations);
        self.exchange.allow_parse(parse, facts_of(&text), self.preparations);
        let number = self.numbers + 1;
        self.batch.push(Item::Held { kind: b'P', frame, asked, number, text: None });
    }

    fn execution(&mut self, simple: bool, known: Option<(String, Arc<Facts>)>, frame: Bytes) {
        let (text, facts) = known.unzip();
        let said = text.as_deref().unwrap_or_default();
        self.copying |= said.starts_with("COPY");
        if said.starts_with("DENY") || said == "LATER" {
            return self.deny(simple);
        }
        let unread = || Arc::new(Facts::unparsed("not read"));
        let facts = match self.exchange.unreadable() {
            Some(_) => unread(),
            None => facts.unwrap_or_else(unread),
        };
        let changes = Changes::of(&facts, &facts, &SqlText::from(said));
        self.numbers += 1;
        let number = self.numbers;
        let kind = if simple { b'Q' } else { b'E' };
        if simple {
            self.exchange.allow_query(reference(number), frame.len(), changes);
        } else {
            self.exchange.allow_execute(reference(number), frame.len(), changes);
        }
        self.batch.push(Item::Held { kind, frame, asked: Asked::Execution(reference(number)), number, text });
    }

    /// The batch is recorded and sent; `fails`: it could not be recorded.
    fn settle(&mut self, fails: bool) {
        let batch = std::mem::take(&mut self.batch);
        if batch.is_empty() {
            return;
        }
        show(|| ("recorded", format!("{} frames: {}", batch.len(), !fails)));
        self.exchange.recording();
        if fails {
            return self.withdraw(batch);
        }
        self.exchange.sent(NOW);
        for item in batch {
            match item {
                Item::Pass(kind, frame) => self.send(kind, frame, Fate::Replaced),
                Item::Sync(frame) => self.send(b'S', frame, Fate::Replaced),
                Item::Denied { simple, poison, .. } => self.send_poison(simple, poison),
                Item::Held { kind, frame, number, text, .. } => self.send(kind, frame, Fate::Sent(number, text)),
            }
        }
    }

    fn withdraw(&mut self, batch: Vec<Item>) {
        let refusal = Refusal::error("58030", "not sent");
        let mut failed = false;
        for item in batch {
            match item {
                Item::Pass(kind, frame) => self.send(kind, frame, Fate::Replaced),
                Item::Sync(frame) => {
                    failed = false;
                    self.send(b'S', frame, Fate::Replaced);
                }
                Item::Denied { simple, poison, number } => {
                    self.exchange.answer_instead(reference(number), &refusal);
                    failed |= !simple;
                    self.send_poison(simple, poison);
                }
                Item::Held { kind, asked, number, .. } => {
                    let simple = matches!(kind, b'Q' | b'F');
                    let answer = (simple || !failed).then_some(&refusal);
                    failed |= !simple;
                    if let Some(poison) = self.exchange.withdraw(asked, reference(number), answer) {
                        self.send_poison(simple, poison);
                    }
                }
            }
        }
    }

    fn send_poison(&mut self, simple: bool, poison: Bytes) {
        self.send(if simple { b'Q' } else { b'P' }, poison, Fate::Replaced);
    }

    fn send(&mut self, kind: u8, frame: Bytes, fate: Fate) {
        assert_eq!(frame.first(), Some(&kind));
        if matches!(kind, b'Q' | b'E' | b'F') {
            self.executions.push(fate);
        }
        self.sent.push_back((kind, frame));
    }

    /// The server takes up to `most` messages.
    fn serve(&mut self, most: usize, fails: bool) {
        for _ in 0..most {
            let Some((kind, frame)) = self.sent.pop_front() else { return };
            show(|| (if fails { "server, failing" } else { "server" }, frame.escape_ascii().to_string()));
            self.server.take(kind, &frame, fails);
        }
    }

    /// Up to `most` answers arrive.
    fn deliver(&mut self, most: usize) {
        for _ in 0..most {
            let Some((kind, body)) = self.server.flushed.pop_front() else { return };
            self.delivered += 1;
            let answered = self.answer(kind, &body);
            assert!(answered.is_ok(), "an honest answer ends the session: {} {answered:?}", char::from(kind));
        }
    }

    fn answer(&mut self, kind: u8, body: &[u8]) -> Result<(), Violation> {
        let whole = frame(kind, body);
        show(|| ("answer", frame_text(kind, body)));
        if matches!(kind, b'D' | b'd' | b'T' | b'V' | b'N' | b'A') {
            self.exchange.stream(Some(kind), whole.len(), NOW)?;
        } else if let Reply::Replace(ours) = self.exchange.answer(kind, &whole, NOW)? {
            assert_eq!((kind, ours.first()), (b'E', Some(&b'E')), "only errors are replaced");
        }
        self.outcomes.extend(self.exchange.outcomes());
        Ok(())
    }

    /// The session ends: each statement that was sent has one outcome, and no other has any.
    fn finish(&mut self) -> BTreeMap<u64, OutcomeStatus> {
        self.outcomes.extend(self.exchange.finish((OutcomeStatus::ConnectionLost, None), NOW));
        let mut ends = BTreeMap::new();
        for outcome in &self.outcomes {
            let before = ends.insert(outcome.reference.statement, outcome.status);
            assert_eq!(before, None, "two outcomes of {}", outcome.reference);
        }
        let sent = self.executions.iter().filter_map(|fate| match fate {
            Fate::Sent(number, _) => Some(*number),
            Fate::Replaced => None,
        });
        assert_eq!(ends.keys().copied().collect::<Vec<_>>(), sent.collect::<Vec<_>>(), "statements and their outcomes");
        ends
    }
}

fn frame_text(kind: u8, body: &[u8]) -> String {
    format!("{} {}", char::from(kind), body.escape_ascii())
}

fn shows(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

/// What a client does next: a kind and a body.
fn asked(from: &mut Unstructured<'_>) -> arbitrary::Result<(u8, Vec<u8>)> {
    let name = |from: &mut Unstructured<'_>| one(from, NAMES);
    let portal = |from: &mut Unstructured<'_>| one(from, PORTALS);
    Ok(match from.int_in_range(0..=12)? {
        0 | 1 => (b'Q', format!("{}\0", one(from, TEXTS)?).into()),
        2 | 3 => (b'P', format!("{}\0{}\0\0\0", name(from)?, one(from, TEXTS)?).into()),
        4 | 5 => (b'B', format!("{}\0{}\0\0\0\0\0\0\0", portal(from)?, name(from)?).into()),
        6 | 7 => (b'E', format!("{}\0\0\0\0\0", portal(from)?).into()),
        8 => {
            let target = one(from, &["S", "P"])?;
            let name = if target == "S" { name(from)? } else { portal(from)? };
            (one(from, b"DC")?, format!("{target}{name}\0").into())
        }
        9 | 10 => (b'S', Vec::new()),
        11 => (one(from, b"Hc")?, Vec::new()),
        _ => {
            let kind = one(from, b"dfF")?;
            let body: &[u8] = match kind {
                b'd' => b"1\n",
                b'F' => b"\0\0\x03\xbd\0\0\0\0\0\0",
                _ => b"x\0",
            };
            (kind, body.to_vec())
        }
    })
}

fn honest(from: &mut Unstructured<'_>) {
    let mut session = Session::new();
    let mut in_order = true;
    for _ in 0..STEPS {
        if from.is_empty() || session.server.gone || !in_order {
            break;
        }
        // What is read from an input that has ended is its first choice.
        match from.int_in_range(0..=7_u8).unwrap_or_default() {
            0 => session.settle(false),
            1 => session.settle(rarely(from).unwrap_or_default()),
            2 => {
                session.settle(false);
                let fails = rarely(from).unwrap_or_default();
                session.serve(from.int_in_range(1..=4).unwrap_or(1), fails);
            }
            3 => session.deliver(from.int_in_range(1..=4).unwrap_or(1)),
            _ => {
                let Ok((kind, body)) = asked(from) else { break };
                let ended = matches!(kind, b'c' | b'f');
                let is_data = matches!(kind, b'd' | b'H') || kind == b'S' && !session.data_sent;
                if session.copying && !ended && !is_data {
                    continue;
                }
                session.copying &= !ended;
                session.data_sent = session.copying && (session.data_sent || kind == b'd');
                in_order = session.client(kind, &body, true);
            }
        }
    }
    let complete = in_order && session.wind_up();
    let ends = session.finish();
    session.compare(&ends, complete);
}

impl Session {
    /// Everything is answered, and a last `Sync` too; false if the server is gone before.
    fn wind_up(&mut self) -> bool {
        for kind in [None, Some(b'f'), Some(b'S')] {
            let body: &[u8] = if kind == Some(b'f') { b"end\0" } else { b"" };
            if kind.is_some_and(|kind| !self.client(kind, body, true)) {
                return false;
            }
            self.settle(false);
            self.serve(usize::MAX, false);
            self.deliver(usize::MAX);
            if self.server.gone {
                return false;
            }
        }
        assert!(self.exchange.idle() || self.exchange.transaction() != 'I', "all is answered, and something waits");
        true
    }

    /// What the server ran is what the exchange said, and it ended as it says.
    fn compare(&self, ends: &BTreeMap<u64, OutcomeStatus>, complete: bool) {
        let ran = |number: usize| self.server.ran.iter().find(|ran| ran.number == number);
        for (number, fate) in self.executions.iter().enumerate() {
            let (Fate::Sent(statement, text), ran) = (fate, ran(number)) else { continue };
            if let (Some(said), Some(Ran { text, is_there: true, .. })) = (text, ran) {
                assert_eq!(Some(said), text.as_ref(), "statement {statement} ran another text than was judged");
            }
            let status = ends.get(statement).copied();
            let wanted: &[OutcomeStatus] = match ran {
                Some(Ran { ok: true, .. }) => &[OutcomeStatus::Ok],
                Some(_) => &[OutcomeStatus::Error, OutcomeStatus::Cancelled],
                None => &[OutcomeStatus::Skipped],
            };
            if complete {
                assert!(status.is_some_and(|status| wanted.contains(&status)), "{statement}: {status:?}, {ran:?}");
            }
        }
    }
}

/// A client and a database that say anything, in frames.
fn anything(from: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let mut session = Session::new();
    for _ in 0..STEPS {
        if from.is_empty() {
            break;
        }
        let goes_on = match from.int_in_range(0..=5)? {
            0 => {
                session.settle(from.arbitrary()?);
                true
            }
            1 => {
                let (kind, body) = asked(from)?;
                session.client(kind, &body, false)
            }
            2 => {
                let (kind, body) = (one(from, b"QPBEDCSHcfFXd")?, piece(from)?);
                session.client(kind, body, false)
            }
            3 => {
                let (kind, body) = (from.arbitrary()?, piece(from)?);
                kind == b'd' || session.client(kind, body, false)
            }
            4 => {
                let kind = one(from, b"123CIsnGZEtTDdSK")?;
                let usual: &[u8] = match kind {
                    b'Z' => one(from, &[b"I", b"T", b"E"])?,
                    b'C' => one(from, &[&b"SELECT 1\0"[..], b"DEALLOCATE ALL\0", b"PREPARE\0", b"INSERT 0 3\0"])?,
                    b'E' => one(from, &[&b"VERROR\0C42601\0\0"[..], b"VFATAL\0C57P01\0\0", b"C25P02\0\0"])?,
                    _ => b"",
                };
                session.answer(kind, usual).is_ok()
            }
            _ => {
                let (kind, body) = (one(from, b"123CIsnGZEtTDdSKNHc")?, piece(from)?);
                session.answer(kind, body).is_ok()
            }
        };
        if !goes_on {
            break;
        }
    }
    // What waits to be recorded when the session ends never is.
    session.finish();
    Ok(())
}
