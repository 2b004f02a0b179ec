//! Judging and recording: what a client's frames ask for becomes intents, and bytes leave against permits only.

mod unread;

use std::sync::Arc;

use bytes::Bytes;

use super::Site;
use super::admission::moment;
use super::fastpath;
use super::handles::Handles;
use super::handover;
use super::names::Names;
use super::relay::{Lane, RelayError, note};
use super::roles;
use super::wall;
use super::words::{NOTHING_SENT, denial};
use crate::journal::Permit;
use crate::model::{
    Acting, Asked, Decision, Entry, Facts, HandleName, Intent, Outcome, OutcomeStatus, Prepared, Reference,
    Request as How, RuleId, Session, SqlText, Statement, Verdict,
};
use crate::policy::{Current, Remembered};
use crate::sql;
use crate::wire::Held;
use crate::wire::postgres::exchange::{Changes, Exchange, Executed, Request, Wall};
use crate::wire::postgres::message::{self, Refusal};

/// Frames that leave together after one flush, and what must be on disk before.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    items: Vec<Item>,
    bytes: usize,
}

/// One frame, or what takes its place.
#[derive(Debug)]
enum Item {
    /// Asks for nothing, or is ours.
    Pass(Bytes),
    /// Ends the discarding after an error.
    Sync(Bytes),
    /// Leaves against its permit only.
    Held { held: Held, reference: Reference, simple: bool },
    /// Stands for a denied statement.
    Denied(Bytes, Reference),
}

impl Item {
    /// Whether it stands for something that the client asked for, and not for the protocol's own steps.
    fn is_judged(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Denied(..))
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn pass(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.items.push(Item::Pass(frame));
    }

    fn push(&mut self, size: usize, item: Item) {
        self.bytes += size;
        self.items.push(item);
    }
}

/// Judges one session's statements, in order.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    site: &'a Site,
    session: Arc<Session>,
    statements: u64,
    preparations: u64,
    names: Names<'a>,
    handles: Handles,
    /// The rules, as they were in force at the last statement.
    rules: Current,
    /// What they said.
    remembered: Remembered,
    /// What was judged and not sent yet.
    pub(super) batch: Batch,
}

/// What a statement was found to be.
struct Judged {
    /// What it does in this database.
    facts: Arc<Facts>,
    /// What its text says by itself.
    read: Arc<Facts>,
    decision: Arc<Decision>,
    transaction: char,
    /// Who the session acts as before it.
    acting: Arc<Acting>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(site: &'a Site, session: Arc<Session>, names: Names<'a>) -> Self {
        let (handles, remembered, batch) = (Handles::default(), Remembered::default(), Batch::default());
        let rules = site.policy.current();
        Self { site, session, statements: 0, preparations: 0, names, handles, rules, remembered, batch }
    }

    /// What comes is judged by a newer token of the same person.
    pub(super) fn goes_on_as(&mut self, session: Arc<Session>) {
        self.session = session;
        self.remembered.clear();
    }

    /// How many statements the session has had.
    pub(super) fn statements(&self) -> u64 {
        self.statements
    }

    fn next(&mut self) -> Reference {
        self.statements += 1;
        Reference { session: self.session.id, statement: self.statements }
    }

    /// Judges what a frame asks for and adds it to the batch.
    pub(super) fn judge(&mut self, request: Request, kind: u8, exchange: &mut Exchange) {
        match request {
            Request::Pass(frame) if kind == b'S' => self.batch.push(frame.len(), Item::Sync(frame)),
            Request::Pass(frame) => self.batch.pass(frame),
            Request::Query(text, frame) => {
                let statement = bare(How::Query, text);
                let judged = self.decide(None, &statement.text, exchange);
                self.execution(statement, judged, &frame, exchange);
            }
            Request::Parse(parse, frame) => self.preparation(parse, &frame, exchange),
            Request::Execute(executed, frame) => {
                let facts = executed.statement.as_ref().map(|prepared| Arc::clone(&prepared.facts));
                let statement = executed_statement(executed);
                let facts = facts.unwrap_or_else(|| Arc::new(Facts::unparsed(UNSEEN)));
                let judged = self.decide(Some(facts), &statement.text, exchange);
                self.execution(statement, judged, &frame, exchange);
            }
            Request::Call(called, frame) => {
                let (text, is_known) = fastpath::text_of(&called, &self.names);
                let read = if is_known { self.read(&text) } else { Arc::new(Facts::unparsed(fastpath::UNKNOWN)) };
                let judged = self.decide_read(read, exchange);
                let statement = Statement { params: called.params, ..bare(How::FunctionCall, text) };
                self.execution(statement, judged, &frame, exchange);
            }
            Request::Discard | Request::Wait(_) | Request::Terminate => {}
        }
    }

    /// Facts of the text, unless they are known already, and what the rules say.
    fn decide(&mut self, known: Option<Arc<Facts>>, text: &SqlText, exchange: &Exchange) -> Judged {
        let read = match exchange.unreadable() {
            Some(problem) => Arc::new(Facts::unparsed(problem)),
            None => known.unwrap_or_else(|| self.read_in(exchange, text)),
        };
        let judged = self.decide_read(read, exchange);
        if judged.decision.allows() || exchange.wall() == Wall::Fallen || !handover::is_what_is_left(text) {
            return judged;
        }
        // Nothing of the database's is asked for, so no rule needs to speak of it.
        let version = judged.decision.policy_version.clone();
        let message = Some("A token was handed over, or what is left of that is repeated.".to_owned());
        let decision =
            Decision { verdict: Verdict::Allow, rules: Vec::new(), policy_version: version, message, hint: None };
        Judged { decision: Arc::new(decision), ..judged }
    }

    /// What the rules say of what was read.
    fn decide_read(&mut self, read: Arc<Facts>, exchange: &Exchange) -> Judged {
        let transaction = exchange.transaction();
        let followed = self.handles.followed(&read, exchange);
        let facts = self.names.resolved(&followed, transaction);
        let decision = wall::judge(self.ask(&facts, transaction), exchange.wall(), &facts);
        if decision.allows() {
            self.names.learn(&facts, transaction);
        }
        Judged { facts, read, decision, transaction, acting: exchange.acting() }
    }

    /// What a text says in this session. A command of replication is no SQL, and is not kept with what is.
    fn read_in(&self, exchange: &Exchange, text: &SqlText) -> Arc<Facts> {
        let command = if exchange.replicates() { sql::replication_command(text) } else { None };
        command.map_or_else(|| self.read(text), Arc::new)
    }

    /// What a text says by itself. Reading it may wait for a thread with a large stack, so the runtime is told.
    fn read(&self, text: &SqlText) -> Arc<Facts> {
        let memory = &self.site.memory.facts;
        memory.known(text).unwrap_or_else(|| tokio::task::block_in_place(|| memory.read(text)))
    }

    /// What the rules say. Person, place and client are the session's own. What other rules said is forgotten when they are
    /// replaced: also what was prepared under them is judged by these.
    fn ask(&mut self, facts: &Arc<Facts>, transaction: char) -> Arc<Decision> {
        if self.site.policy.refresh(&mut self.rules) {
            self.remembered.clear();
        }
        let Session { principal, peer, database, .. } = &*self.session;
        let (site, policy) = (self.site, &self.rules.policy);
        let now = site.clock.now();
        self.remembered.decide(policy, facts, transaction, now, || {
            policy.decide(principal, &site.place(database), &moment(principal, peer, now, transaction), facts)
        })
    }

    /// A `Query`, an `Execute` or a `FunctionCall`.
    fn execution(&mut self, statement: Statement, judged: Judged, frame: &Bytes, exchange: &mut Exchange) {
        let reference = self.next();
        let simple = statement.request != How::Execute;
        if !judged.decision.allows() {
            let refusal = denial(&judged.facts, &judged.decision, &reference);
            return self.refuse(statement, judged, (reference, simple), &refusal, exchange);
        }
        let role = roles::change(&judged.facts, &statement.text);
        let changes = Changes::of(&judged.facts, &judged.read, &statement.text).with_role(role);
        if let Some(limit) = exchange.is_full_for(&changes) {
            return self.refuse_over_limit(statement, judged, (reference, simple), &limit, exchange);
        }
        match statement.request {
            How::Execute => exchange.allow_execute(reference, frame.len(), changes),
            How::FunctionCall => exchange.allow_call(reference, frame.len(), changes),
            How::Query | How::Parse => exchange.allow_query(reference, frame.len(), changes),
        }
        self.batch.entries.push(self.intent(statement, judged, reference, exchange));
        let held = Held::new(Asked::Execution(reference), frame.clone());
        self.batch.push(frame.len(), Item::Held { held, reference, simple });
    }

    /// A `Parse`: its text goes upstream before anything is executed, so it is judged and recorded by itself.
    fn preparation(&mut self, parse: message::Parse, frame: &Bytes, exchange: &mut Exchange) {
        let text = SqlText::new(parse.text.clone());
        let judged = self.decide(None, &text, exchange);
        let prepared_name = Some(HandleName::new(parse.name.clone()));
        if !judged.decision.allows() {
            let reference = self.next();
            let refusal = denial(&judged.facts, &judged.decision, &reference);
            if parse.name.is_empty() {
                exchange.forget_unnamed();
            }
            let statement = Statement { prepared: prepared_name, ..bare(How::Parse, text) };
            return self.refuse(statement, judged, (reference, false), &refusal, exchange);
        }
        if let Some(limit) = exchange.is_full(&parse.name) {
            let statement = Statement { prepared: prepared_name, ..bare(How::Parse, text) };
            let reference = self.next();
            return self.refuse_over_limit(statement, judged, (reference, false), &limit, exchange);
        }
        self.preparations += 1;
        let number = self.preparations;
        exchange.allow_parse(parse, Arc::clone(&judged.read), number);
        self.batch.entries.push(Entry::Prepared(Box::new(Prepared {
            session: self.session.id,
            number,
            time: self.site.clock.now(),
            statement: Statement { prepared: prepared_name, ..bare(How::Parse, text) },
            facts: judged.facts,
            decision: judged.decision,
        })));
        let held = Held::new(Asked::Preparation(self.session.id, number), frame.clone());
        // Should it be impossible to record, the refusal names the statement that would have come next.
        let reference = Reference { session: self.session.id, statement: self.statements + 1 };
        self.batch.push(frame.len(), Item::Held { held, reference, simple: false });
    }

    /// What the rules permit and the session has no room for.
    fn refuse_over_limit(
        &mut self,
        statement: Statement,
        judged: Judged,
        (reference, simple): (Reference, bool),
        limit: &str,
        exchange: &mut Exchange,
    ) {
        const HINT: &str = "Close or DEALLOCATE those that are not needed any more.";
        let refusal = Refusal::error("54000", format!("not prepared: {limit} (ref {reference})"))
            .detail(NOTHING_SENT)
            .hint(Some(HINT.to_owned()));
        let decision = Decision {
            verdict: Verdict::Deny,
            rules: judged.decision.would_deny().map(RuleId::would_deny).collect(),
            policy_version: judged.decision.policy_version.clone(),
            message: Some(format!("No more can be prepared: {limit}.")),
            hint: Some(HINT.to_owned()),
        };
        let judged = Judged { decision: Arc::new(decision), ..judged };
        self.refuse(statement, judged, (reference, simple), &refusal, exchange);
    }

    fn refuse(
        &mut self,
        statement: Statement,
        judged: Judged,
        (reference, simple): (Reference, bool),
        refusal: &Refusal,
        exchange: &mut Exchange,
    ) {
        let poison = exchange.deny(simple, reference, refusal);
        self.batch.entries.push(self.intent(statement, judged, reference, exchange));
        let outcome = Outcome::denied(reference, self.site.clock.now(), refusal.sqlstate);
        self.batch.entries.push(Entry::Outcome(Box::new(outcome)));
        self.batch.push(poison.len(), Item::Denied(poison, reference));
    }

    fn intent(&self, statement: Statement, judged: Judged, reference: Reference, exchange: &Exchange) -> Entry {
        Entry::Intent(Arc::new(Intent {
            reference,
            time: self.site.clock.now(),
            statement,
            facts: judged.facts,
            decision: judged.decision,
            transaction: judged.transaction,
            server_version: exchange.server_version().map(str::to_owned),
            acting: judged.acting,
        }))
    }
}

const UNSEEN: &str = "the text of this prepared statement or cursor was not seen by hansard";

fn bare(request: How, text: SqlText) -> Statement {
    Statement { request, text, params: Vec::new(), prepared: None, portal: None }
}

fn executed_statement(executed: Executed) -> Statement {
    let prepared = executed.statement.as_ref().map(|prepared| HandleName::new(prepared.name.clone()));
    let portal = Some(HandleName::new(executed.portal));
    let text = executed.statement.map_or_else(|| SqlText::from(""), |prepared| prepared.text.clone());
    Statement { params: executed.params, prepared, portal, ..bare(How::Execute, text) }
}

/// Records the batch, and sends what may be sent.
pub(super) async fn settle(batch: &mut Batch, lane: &mut Lane<'_>) -> Result<(), RelayError> {
    let Batch { entries, items, .. } = std::mem::take(batch);
    if items.is_empty() {
        return Ok(());
    }
    lane.exchange().recording();
    let mut permits = match lane.site.journal.record(entries, lane.site.target.recorded).await {
        Ok(permits) => permits.into_iter(),
        Err(error) => {
            tracing::error!(%error, session = %lane.session, "statements were refused: they could not be recorded");
            lane.site.counters.statements_unrecorded(items.iter().filter(|item| item.is_judged()).count());
            let sent = withdraw(items, lane);
            return lane.send(sent).await;
        }
    };
    let overdue = lane.leaves(lane.site.clock.now());
    note(overdue, lane.site).await?;
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        out.push(match item {
            Item::Pass(bytes) | Item::Sync(bytes) => bytes,
            Item::Denied(bytes, _) => {
                lane.site.counters.statement_ended(OutcomeStatus::Denied);
                bytes
            }
            Item::Held { held, .. } => {
                let permit: Permit = permits.next().ok_or(RelayError::Unpermitted)?;
                held.release(permit).or(Err(RelayError::Unpermitted))?
            }
        });
    }
    lane.send(out).await
}

/// Nothing of the batch was recorded, so nothing of it is sent: each statement is answered with an error in its turn.
fn withdraw(items: Vec<Item>, lane: &Lane<'_>) -> Vec<Bytes> {
    let mut exchange = lane.exchange();
    let mut out = Vec::new();
    let mut failed = false;
    for item in items {
        match item {
            Item::Pass(bytes) => out.push(bytes),
            Item::Sync(bytes) => {
                failed = false;
                out.push(bytes);
            }
            Item::Denied(poison, reference) => {
                exchange.answer_instead(reference, &impossible(reference));
                // A query fails alone; what comes after it is not skipped by the database.
                failed |= poison.first() != Some(&b'Q');
                out.push(poison);
            }
            Item::Held { held, reference, simple } => {
                let answer = (simple || !failed).then(|| impossible(reference));
                failed |= !simple;
                out.extend(exchange.withdraw(held.asked(), reference, answer.as_ref()));
            }
        }
    }
    out
}

fn impossible(reference: Reference) -> Refusal {
    Refusal::error("58030", format!("not sent: recording is not possible right now (ref {reference})"))
        .detail(NOTHING_SENT)
}
