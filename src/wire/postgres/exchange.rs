//! Which reply answers which statement.
//!
//! The database answers in order, so a queue of what was asked is enough: each frame from the client that will be
//! answered is queued when it is taken, each answer settles the front. After an error the database discards what it gets
//! until the next `Sync`; so does the queue. A denied statement's place is taken by one that fails without doing anything
//! ([`message::poison`]), so order, transaction state and discarding stay the database's own.
//!
//! ```text
//! client frame ─ take ─► Pass ───────────────────────────► queued, forwarded
//!                      ► Query · Parse · Execute ─ judged ─ allowed ─► queued, forwarded against a permit
//!                                                         └ denied ──► Poison queued; until Sync all is dropped
//! ```

mod answer;
mod ask;
mod limit;
mod standing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::kept::Total;
use super::message::{self, Name, Refusal};
use super::names::{Change, Names, Portal};
use super::roles::Roles;
use super::running::Running;
use crate::model::{Acting, Asked, Facts, Outcome, OutcomeStatus, Param, Reference, RoleChange, SqlText, Timestamp};

pub use limit::UnderWay;

pub use super::names::Prepared;
pub use super::running::Changes;

/// Requests that may wait for an answer: a client that pipelines more is made to wait.
pub const MAX_PENDING: usize = 100_000;

/// Outcomes that may wait for the end of their batch, some 300 bytes each: a client may execute without end before it
/// synchronises.
const MAX_SETTLING: usize = 10_000;

/// Texts kept for a session are copied out of the read buffer up to this size; longer ones have it almost to themselves.
const COPIED: usize = 32 << 10;

/// What a client's frame asks for.
#[derive(Debug)]
pub enum Request {
    /// Nothing to judge: forward it.
    Pass(Bytes),
    /// `Query`: judge the text, then [`Exchange::allow_query`] or [`Exchange::deny`].
    Query(SqlText, Bytes),
    /// `Parse`: judge the text, then [`Exchange::allow_parse`] or [`Exchange::deny`].
    Parse(message::Parse, Bytes),
    /// `Execute`: judge it again with its values, then [`Exchange::allow_execute`] or [`Exchange::deny`].
    Execute(Executed, Bytes),
    /// `FunctionCall`: judge it, then [`Exchange::allow_call`] or [`Exchange::deny`].
    Call(Called, Bytes),
    /// Discarded, as the database would after an error.
    Discard,
    /// What the frame names hangs on an answer that is still to come: take it again after the next answer.
    Wait(Bytes),
    /// The client says goodbye.
    Terminate,
}

/// What an `Execute` executes.
#[derive(Debug)]
pub struct Executed {
    /// The portal's name.
    pub portal: Name,
    /// The statement; nothing if neither was made through the protocol.
    pub statement: Option<Arc<Prepared>>,
    /// The values.
    pub params: Vec<Param>,
}

/// What a `FunctionCall` calls.
#[derive(Debug)]
pub struct Called {
    /// The function's object identifier.
    pub function: u32,
    /// The arguments.
    pub params: Vec<Param>,
}

/// What to do with a frame of the database.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Forward it as it came.
    Pass,
    /// Forward this instead.
    Replace(Bytes),
}

#[derive(Debug)]
enum Pending {
    Query(u64, Running),
    Execute(Running),
    Parse(Change<Prepared>, u64),
    Bind(Change<Portal>),
    Describe(Option<Arc<Prepared>>),
    CloseStatement(Name, Option<Arc<Prepared>>),
    ClosePortal(Name, Option<Arc<Portal>>),
    Sync(u64),
    /// The client ended its COPY data; nothing answers it.
    CopyEnd,
    /// A poisoned statement stands for a denied one; `Some` until its error was answered.
    Poison {
        batch: u64,
        simple: bool,
        stands_for: Reference,
        answer: Option<Bytes>,
    },
    /// Was not sent after all; stands before a `Sync` that ends the discarding.
    Dropped,
}

impl Pending {
    fn run(&mut self) -> Option<&mut Running> {
        match self {
            Self::Query(_, run) | Self::Execute(run) => Some(run),
            _ => None,
        }
    }
}

/// How long something has been without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    EarlierBatch,
    ThisBatch,
}

/// One session's state between client and database.
#[derive(Debug)]
pub struct Exchange {
    statements: Names<Prepared>,
    portals: Names<Portal>,
    pending: VecDeque<Pending>,
    /// Counts `Sync` and `Query`: what shares a number is answered or discarded together.
    batch: u64,
    /// After a denial: the client's frames are dropped until `Sync`.
    discarding: bool,
    /// Whether the database has said that it ends the connection.
    fatal: bool,
    /// Whether something pending may change how later statements are read; false only if nothing does.
    suspect: bool,
    /// After an error: the database discards until a `Sync` that is still to come.
    skipping: bool,
    /// What was sent into a failed batch: it keeps its meaning for what follows until the `Sync` that discards it.
    skipped: Vec<Pending>,
    /// The database reads COPY data and ignores `Sync` until the client ends them.
    copying_in: bool,
    /// A `Sync` came meanwhile.
    synced_in_copy: bool,
    /// Whether it is a connection for replication, where COPY can go both ways.
    replicates: bool,
    /// COPY goes both ways until the client ends its half.
    copying_both: bool,
    transaction: char,
    /// The denied statement that failed the transaction.
    stopped_by: Option<Reference>,
    parameters: Parameters,
    /// Whether it was opened read-only and is to stay so.
    is_walled: bool,
    done: Vec<Outcome>,
    /// What ended in a batch that the database is not through with: the commit at its `Sync` can still fail, and the state of
    /// the transaction after it is still to come.
    settling: Vec<Outcome>,
    /// The error that the rest of its batch is skipped for.
    failed_by: Option<String>,
    roles: Roles,
    /// What its prepared statements take.
    kept: Total,
    /// What the values of its portals take.
    bound: Total,
    /// What the database will skip and was not sent yet: it has an outcome only if it is recorded. The flag: whether it was
    /// handed over for that.
    early: Vec<(bool, Outcome)>,
    /// Statements that a limit of ours cuts, whichever of them the database is at, and which limit.
    cut: Option<(UnderWay, Duration)>,
    /// The last moment that was told.
    now: Timestamp,
}

/// What the database reported of the session.
#[derive(Debug, Default)]
struct Parameters {
    client_encoding: Option<String>,
    standard_conforming_strings: Option<String>,
    server_version: Option<String>,
    default_transaction_read_only: Option<String>,
}

/// Whether a session was opened read-only, and whether it still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    /// It was not.
    Absent,
    /// It is, as far as the database has said.
    Standing,
    /// The database has said that it is so no more.
    Fallen,
}

impl Exchange {
    /// A session that is ready, with the parameters that the database reported.
    pub fn new(parameters: &[(String, String)]) -> Self {
        let mut exchange = Self {
            statements: Names::default(),
            portals: Names::default(),
            pending: VecDeque::new(),
            batch: 0,
            discarding: false,
            skipping: false,
            skipped: Vec::new(),
            fatal: false,
            suspect: false,
            copying_in: false,
            synced_in_copy: false,
            replicates: false,
            copying_both: false,
            transaction: 'I',
            stopped_by: None,
            parameters: Parameters::default(),
            is_walled: false,
            done: Vec::new(),
            settling: Vec::new(),
            failed_by: None,
            roles: Roles::default(),
            kept: Total::default(),
            bound: Total::default(),
            early: Vec::new(),
            cut: None,
            now: Timestamp(0),
        };
        for (name, value) in parameters {
            exchange.parameter(name, value);
        }
        exchange
    }

    /// The transaction state that the database last reported: `I`, `T` or `E`.
    pub fn transaction(&self) -> char {
        self.transaction
    }

    /// Whether nothing is asked and no transaction is open.
    pub fn idle(&self) -> bool {
        self.transaction == 'I' && self.is_quiet()
    }

    /// Whether nothing is asked, be a transaction open or not.
    pub fn is_quiet(&self) -> bool {
        let nothing_asked = self.pending.iter().all(|pending| matches!(pending, Pending::CopyEnd));
        nothing_asked && self.skipped.is_empty()
    }

    /// Whether so much waits for an answer that no more should be taken.
    pub fn crowded(&self) -> bool {
        self.pending.len() >= MAX_PENDING
    }

    /// `server_version`, as the database reported it.
    pub fn server_version(&self) -> Option<&str> {
        self.parameters.server_version.as_deref()
    }

    /// The role that a session of this login begins with, if that is known.
    pub fn began_with_role(&mut self, role: Option<&str>) {
        self.roles.began_with(role);
    }

    /// Who the session acts as, as far as it is known: nobody is, while something that changes it has no answer.
    pub fn acting(&self) -> Arc<Acting> {
        if self.unanswered(Changes::takes_role).is_some() { Arc::default() } else { Arc::clone(self.roles.acting()) }
    }

    /// Something is asked that may change the reading of what follows.
    fn suspects(&mut self, changes: &Changes) {
        self.suspect |= changes.any();
        if changes.role == RoleChange::Unseen {
            self.roles.lose();
        }
        if let Some((prepared, _)) = &changes.gives {
            self.kept.add(prepared);
        }
    }

    /// Why no text of this session can be understood at present, if so: the database reads quotes or bytes differently.
    pub fn unreadable(&self) -> Option<&'static str> {
        /// Encodings in which a byte that looks like ASCII can be the second half of a character.
        const TWO_FACED: &[&str] = &["SJIS", "SHIFT_JIS_2004", "BIG5", "GBK", "UHC", "GB18030", "JOHAB"];
        if self.unanswered(|changes| changes.reading).is_some() {
            return Some("an earlier statement that may change how text is read has no answer yet");
        }
        if self.parameters.standard_conforming_strings.as_deref() == Some("off") {
            return Some("the session has standard_conforming_strings off");
        }
        let encoding = self.parameters.client_encoding.as_deref()?;
        TWO_FACED.contains(&encoding).then_some("the session's client_encoding can hide quotes")
    }

    /// The connection was opened for replication: the database may answer a command with COPY both ways.
    pub fn replicate(&mut self) {
        self.replicates = true;
    }

    /// Whether it was opened for replication.
    pub fn replicates(&self) -> bool {
        self.replicates
    }

    /// The session was opened read-only and is to stay so.
    pub fn wall_off(&mut self) {
        self.is_walled = true;
    }

    /// Whether it was, and whether it still is.
    pub fn wall(&self) -> Wall {
        match self.parameters.default_transaction_read_only.as_deref() {
            _ if !self.is_walled => Wall::Absent,
            Some("off") => Wall::Fallen,
            _ => Wall::Standing,
        }
    }

    /// Whether the database has said that it ends the connection, and why.
    pub fn said_goodbye(&self) -> bool {
        self.fatal
    }

    /// Why the session may not keep one statement more under the name that a `Parse` gives, if so.
    pub fn is_full(&self, name: &Name) -> Option<String> {
        self.kept.is_full(&self.statements, name)
    }

    /// The same for the name that a statement of SQL gives.
    pub fn is_full_for(&self, changes: &Changes) -> Option<String> {
        changes.gives.as_ref().and_then(|(prepared, _)| self.kept.is_full(&self.statements, &prepared.name))
    }

    /// A `Query` was allowed: queued, to be answered.
    pub fn allow_query(&mut self, reference: Reference, bytes_in: usize, changes: Changes) {
        self.suspects(&changes);
        self.push(Pending::Query(self.batch, Running::new(reference, bytes_in, changes)));
        self.query_ends_batch();
    }

    /// A `FunctionCall` was allowed: queued, to be answered. It ends with a `ReadyForQuery` of its own, as a `Query` does.
    pub fn allow_call(&mut self, reference: Reference, bytes_in: usize, changes: Changes) {
        self.suspects(&changes);
        self.push(Pending::Query(self.batch, Running::new(reference, bytes_in, changes).of_a_call()));
        self.query_ends_batch();
    }

    /// A `Query` has a `ReadyForQuery` of its own, so what follows it is another batch; but after an error it is discarded
    /// like all else, and what was asked before it is never answered.
    fn query_ends_batch(&mut self) {
        self.batch += u64::from(!self.skipping);
    }

    /// A `Parse` was allowed: its name stands for it from now on.
    pub fn allow_parse(&mut self, parse: message::Parse, facts: Arc<Facts>, number: u64) {
        let message::Parse { name, text, types } = parse;
        // A slice would keep the whole read buffer alive as long as the name.
        let name = Name::copy_from_slice(&name);
        let text = if text.len() < COPIED { Bytes::copy_from_slice(&text) } else { text };
        let prepared = Prepared {
            name: name.clone(),
            text: SqlText::new(text),
            facts,
            types,
            described: std::sync::OnceLock::new(),
            kept: std::sync::OnceLock::new(),
        };
        self.kept.add(&prepared);
        let change = self.statements.put(name, Arc::new(prepared), self.batch);
        self.push(Pending::Parse(change, number));
    }

    /// An `Execute` was allowed: queued, to be answered.
    pub fn allow_execute(&mut self, reference: Reference, bytes_in: usize, changes: Changes) {
        self.suspects(&changes);
        self.push(Pending::Execute(Running::new(reference, bytes_in, changes)));
    }

    /// A statement was denied: gives the bytes to send in its place. `stops` is its reference.
    pub fn deny(&mut self, simple: bool, stops: Reference, refusal: &Refusal) -> Bytes {
        let answer = Some(refusal.frame());
        if !self.skipping {
            self.stopped_by = Some(stops);
        }
        self.push(Pending::Poison { batch: self.batch, simple, stands_for: stops, answer });
        if simple {
            self.query_ends_batch();
        } else {
            self.discarding = true;
        }
        message::poison(simple, &stops.to_string())
    }

    /// A denied `Parse` of the unnamed statement: the one before is gone, as after any `Parse`.
    pub fn forget_unnamed(&mut self) {
        self.statements.remove(&Name::new());
    }

    /// A denial could not be recorded: it is answered with `refusal` instead.
    pub fn answer_instead(&mut self, denied: Reference, refusal: &Refusal) {
        let poison = self.pending.iter_mut().chain(&mut self.skipped).rev().find_map(|pending| match pending {
            Pending::Poison { stands_for, answer, .. } if *stands_for == denied => Some(answer),
            _ => None,
        });
        if let Some(answer) = poison {
            *answer = Some(refusal.frame());
        }
    }

    /// What was allowed could not be recorded and is not sent. `answer` answers the first of a batch, and a poison takes
    /// its place; those behind it in the same batch are dropped. Gives the bytes to send instead, if any.
    pub fn withdraw(&mut self, asked: Asked, stops: Reference, answer: Option<&Refusal>) -> Option<Bytes> {
        if let Asked::Execution(reference) = asked {
            self.early.retain(|(_, outcome)| outcome.reference != reference);
        }
        let found = self.pending.iter_mut().chain(&mut self.skipped).rev().find(|pending| match (pending, asked) {
            (Pending::Query(_, run) | Pending::Execute(run), Asked::Execution(reference)) => run.is(reference),
            (Pending::Parse(_, number), Asked::Preparation(_, wanted)) => *number == wanted,
            _ => false,
        })?;
        let (batch, simple) = match found {
            Pending::Query(batch, _) => (*batch, true),
            _ => (self.batch, false),
        };
        let answer = answer.map(Refusal::frame);
        let replacement = match answer {
            Some(_) => Pending::Poison { batch, simple, stands_for: stops, answer },
            None => Pending::Dropped,
        };
        let poisoned = matches!(replacement, Pending::Poison { .. });
        if let Pending::Parse(change, _) = std::mem::replace(found, replacement) {
            self.undo_parse(change);
        }
        self.stopped_by = Some(stops);
        poisoned.then(|| message::poison(simple, &stops.to_string()))
    }

    /// What was queued is about to be recorded. From here on it has an outcome, if [`Self::withdraw`] does not say that it
    /// could not be recorded.
    pub fn recording(&mut self) {
        self.each_new(Running::hand_over);
        self.early.iter_mut().for_each(|(handed, _)| *handed = true);
    }

    /// The bytes of what was queued are about to leave. Gives outcomes that waited for the end of their batch and are too many.
    pub fn sent(&mut self, now: Timestamp) -> Vec<Outcome> {
        self.now = now;
        self.each_new(|run| run.start(now));
        self.settling.extend(self.early.extract_if(.., |(handed, _)| *handed).map(|(_, outcome)| outcome));
        if self.settling.len() > MAX_SETTLING { self.outcomes() } else { Vec::new() }
    }

    /// Does something to the statements that were queued last, back to the one to which it was done before.
    fn each_new(&mut self, is_new: impl Fn(&mut Running) -> bool) {
        let mut runs = self.pending.iter_mut().chain(&mut self.skipped).rev().filter_map(Pending::run);
        while runs.next().is_some_and(&is_new) {}
    }

    /// COPY data of the client passed through: `len` bytes of the running statement.
    pub fn copied_in(&mut self, len: usize) {
        if let Some(Pending::Query(_, run) | Pending::Execute(run)) = self.front() {
            run.bytes_in += len as u64;
        }
    }

    /// Whether COPY data of the client would only be discarded.
    pub fn discards_copy(&self) -> bool {
        self.discarding
    }

    /// The outcomes that became known since the last call.
    pub fn outcomes(&mut self) -> Vec<Outcome> {
        if self.settling.len() > MAX_SETTLING {
            // The last one is where a commit that fails is recorded.
            let last = self.settling.pop();
            self.done.append(&mut self.settling);
            self.settling.extend(last);
        }
        std::mem::take(&mut self.done)
    }

    /// A time limit of ours has the database cancel the statement that it is at: how that ends is a `timeout`.
    pub fn limit_reached(&mut self) {
        if let Some(run) = self.front().and_then(Pending::run) {
            run.limit_reached();
        }
    }

    /// The session is over, and `cut` says how that ends what was still running, and what its client was told. Where the
    /// database had the last word, it came to nothing behind that. What was not even handed over to be recorded has no
    /// outcome.
    pub fn finish(&mut self, cut: (OutcomeStatus, Option<&str>), now: Timestamp) -> Vec<Outcome> {
        let failed_by = self.failed_by.clone();
        let (status, sqlstate) = if self.fatal { (OutcomeStatus::Skipped, failed_by.as_deref()) } else { cut };
        let skipped = std::mem::take(&mut self.skipped);
        self.discard_all(skipped);
        self.done.append(&mut self.settling);
        self.done.extend(self.early.drain(..).filter(|(handed, _)| *handed).map(|(_, outcome)| outcome));
        for pending in std::mem::take(&mut self.pending) {
            if let Pending::Query(_, run) | Pending::Execute(run) = pending
                && run.is_handed_over()
            {
                self.done.push(match run.failure() {
                    Some(failure) => run.end(failure, now),
                    None => run.cut(status, sqlstate, now),
                });
            }
        }
        self.outcomes()
    }

    fn parameter(&mut self, name: &str, value: &str) {
        let slot = match name {
            "client_encoding" => &mut self.parameters.client_encoding,
            "standard_conforming_strings" => &mut self.parameters.standard_conforming_strings,
            "session_authorization" => return self.roles.user(value),
            "server_version" => &mut self.parameters.server_version,
            "default_transaction_read_only" => &mut self.parameters.default_transaction_read_only,
            _ => return,
        };
        *slot = Some(value.to_owned());
    }

    fn push(&mut self, pending: Pending) {
        if self.skipping && self.skipped.len() < MAX_PENDING {
            self.skipped.push(pending);
        } else if self.skipping {
            self.discard(pending);
        } else {
            self.pending.push_back(pending);
        }
    }

    fn front(&mut self) -> Option<&mut Pending> {
        while matches!(self.pending.front(), Some(Pending::CopyEnd)) {
            self.pending.pop_front();
        }
        self.pending.front_mut()
    }

    fn pop(&mut self, fits: impl Fn(&Pending) -> bool) -> Option<Pending> {
        let fits = self.front().is_some_and(|front| fits(front));
        if fits { self.pending.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests;
