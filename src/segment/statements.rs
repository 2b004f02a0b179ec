//! Records → the columns of `statements`.
//!
//! A segment's records lie scattered over more memory than any cache holds, so each is visited once: what it has of its
//! own goes into the columns at that visit. What a session, a text, facts or a decision determine is made once for each
//! of them, and spread over the rows.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{BinaryBuilder, BooleanBuilder, Int32Array, Int64Array, Int64Builder, StringBuilder};

use super::columns::{Columns, number};
use super::repeat::{Distinct, Words};
use super::tables::{self, Who};
use super::{Dataset, SegmentError, params};
use crate::model::{
    Acting, Decision, Facts, HandleName, Outcome, Param, ParamFormat, Record, Recorded, SegmentNo, Session, SqlText,
};

/// The columns of `statements`.
pub(super) fn statements(no: SegmentNo, records: &[&Record]) -> Result<Columns, SegmentError> {
    let mut to = Columns::of(Dataset::Statements)?;
    let (mut own, mut ends, mut common) = (Own::default(), Ends::default(), Common::default());
    let (mut texts, mut bound) = (Texts::of(records.len()), Bound::default());
    for record in records {
        own.add(record);
        ends.add(&record.outcome);
        common.add(record);
        texts.add(&record.intent.statement.text);
        bound.add(&record.intent.statement.params);
    }
    own.finish(&mut to)?;
    ends.finish(&mut to)?;
    common.finish(&mut to, records)?;
    texts.finish(&mut to)?;
    bound.finish(&mut to)?;
    to.count("segment", records.iter().map(|_| Some(no.0)));
    Ok(to)
}

/// What a statement's intent has of its own.
#[derive(Default)]
struct Own<'a> {
    reference: String,
    reference_ends: Vec<usize>,
    statement_seq: Vec<i64>,
    entry_seq: Vec<i64>,
    time: Vec<i64>,
    server_version: Words<'a>,
    request: Words<'a>,
    prepared: Names<'a>,
    portal: Names<'a>,
}

impl<'a> Own<'a> {
    fn add(&mut self, record: &'a Record) {
        let (intent, statement) = (&record.intent, &record.intent.statement);
        intent.reference.print(&mut self.reference);
        self.reference_ends.push(self.reference.len());
        self.statement_seq.push(number(intent.reference.statement));
        self.entry_seq.push(number(record.entry.0));
        self.time.push(intent.time.0);
        self.server_version.add(intent.server_version.as_deref());
        self.request.add(Some(statement.request.as_str()));
        self.prepared.add(statement.prepared.as_ref());
        self.portal.add(statement.portal.as_ref());
    }

    fn finish(self, to: &mut Columns) -> Result<(), SegmentError> {
        to.printed("reference", self.reference, &self.reference_ends)?;
        to.built("statement_seq", Int64Array::from(self.statement_seq));
        to.built("entry_seq", Int64Array::from(self.entry_seq));
        to.times("time", self.time.into());
        to.words("server_version", self.server_version)?;
        to.words("request", self.request)?;
        self.prepared.finish(["prepared_name", "prepared_name_bytes"], to)?;
        self.portal.finish(["portal_name", "portal_name_bytes"], to)
    }
}

/// Names as text, and the bytes of those that are none.
#[derive(Default)]
struct Names<'a> {
    text: Words<'a>,
    unreadable: BinaryBuilder,
}

impl<'a> Names<'a> {
    fn add(&mut self, name: Option<&'a HandleName>) {
        self.text.add(name.and_then(HandleName::text));
        self.unreadable.append_option(name.and_then(HandleName::unreadable));
    }

    fn finish(mut self, [text, bytes]: [&'static str; 2], to: &mut Columns) -> Result<(), SegmentError> {
        to.words(text, self.text)?;
        to.built(bytes, self.unreadable.finish());
        Ok(())
    }
}

/// How statements ended.
#[derive(Default)]
struct Ends<'a> {
    ended: Vec<i64>,
    status: Words<'a>,
    sqlstate: Words<'a>,
    command_tag: Words<'a>,
    rows_returned: Vec<i64>,
    rows_affected: Int64Builder,
    bytes_in: Vec<i64>,
    bytes_out: Vec<i64>,
    first_row_us: Int64Builder,
    total_us: Int64Builder,
}

impl<'a> Ends<'a> {
    fn add(&mut self, outcome: &'a Outcome) {
        self.ended.push(outcome.time.0);
        self.status.add(Some(outcome.status.as_str()));
        self.sqlstate.add(outcome.sqlstate.as_deref());
        self.command_tag.add(outcome.command_tag.as_deref());
        self.rows_returned.push(number(outcome.rows_returned));
        self.rows_affected.append_option(outcome.rows_affected.map(number));
        self.bytes_in.push(number(outcome.bytes_in));
        self.bytes_out.push(number(outcome.bytes_out));
        self.first_row_us.append_option(outcome.first_row_us.map(number));
        self.total_us.append_option(outcome.total_us.map(number));
    }

    fn finish(mut self, to: &mut Columns) -> Result<(), SegmentError> {
        to.times("ended", self.ended.into());
        to.words("status", self.status)?;
        to.words("sqlstate", self.sqlstate)?;
        to.words("command_tag", self.command_tag)?;
        to.built("rows_returned", Int64Array::from(self.rows_returned));
        to.built("rows_affected", self.rows_affected.finish());
        to.built("bytes_in", Int64Array::from(self.bytes_in));
        to.built("bytes_out", Int64Array::from(self.bytes_out));
        to.built("first_row_us", self.first_row_us.finish());
        to.built("total_us", self.total_us.finish());
        Ok(())
    }
}

/// The texts of statements, each distinct one read and hashed when it is met first.
struct Texts<'a> {
    distinct: Distinct<&'a [u8]>,
    text: StringBuilder,
    unreadable: BinaryBuilder,
    length: Vec<i64>,
    sha256: String,
    sha256_ends: Vec<usize>,
}

impl<'a> Texts<'a> {
    fn of(rows: usize) -> Self {
        Self {
            // With room for all, because growing would hash them again.
            distinct: Distinct::with_room(rows),
            text: StringBuilder::new(),
            unreadable: BinaryBuilder::new(),
            length: Vec::new(),
            sha256: String::new(),
            sha256_ends: Vec::new(),
        }
    }

    fn add(&mut self, text: &'a SqlText) {
        if !self.distinct.add(text.bytes()) {
            return;
        }
        let read = text.text();
        self.text.append_option(read);
        self.unreadable.append_option(read.is_none().then_some(&text.bytes()[..]));
        self.length.push(number(text.bytes().len() as u64));
        // Writing to a String cannot fail.
        write!(self.sha256, "{}", text.sha256()).unwrap_or_default();
        self.sha256_ends.push(self.sha256.len());
    }

    fn finish(mut self, to: &mut Columns) -> Result<(), SegmentError> {
        let which = self.distinct.which();
        to.spread_distinct(&which, |to| {
            to.built("text", self.text.finish());
            to.built("text_bytes", self.unreadable.finish());
            to.built("text_length", Int64Array::from(self.length));
            to.printed("text_sha256", self.sha256, &self.sha256_ends)
        })
    }
}

/// What many statements have in common. Sessions, facts and decisions are told apart by where they lie in memory: the
/// journal's reader gives the same one to most that have it. Not to all, and after a restart to others, so nothing that is
/// written may tell of it.
#[derive(Default)]
struct Common {
    sessions: Distinct<*const Session>,
    facts: Distinct<*const Facts>,
    decisions: Distinct<*const Decision>,
    transactions: Distinct<char>,
    after: Distinct<Option<char>>,
    acting: Distinct<*const Acting>,
}

impl Common {
    fn add(&mut self, record: &Record) {
        let intent = &record.intent;
        self.sessions.add(Arc::as_ptr(&record.session));
        self.facts.add(Arc::as_ptr(&intent.facts));
        self.decisions.add(Arc::as_ptr(&intent.decision));
        self.transactions.add(intent.transaction);
        self.after.add(record.outcome.transaction_after);
        self.acting.add(Arc::as_ptr(&intent.acting));
    }

    fn finish(self, to: &mut Columns, records: &[&Record]) -> Result<(), SegmentError> {
        let (which, sessions) = self.sessions.of(records);
        to.spread(&which, |to| {
            let each = || sessions.iter().map(|row| row.session.as_ref());
            to.text("session_id", each().map(|session| Some(session.id.to_string())));
            to.text("node", each().map(|session| Some(session.node.as_str())));
            let written =
                |session: &Session| (session.recorded == Recorded::Written).then_some(session.recorded.as_str());
            to.text("recorded", each().map(written));
            let whos: Vec<Who<'_>> = each().map(Who::session).collect();
            tables::who(to, &whos)?;
            tables::ends(to, &whos);
            Ok(())
        })?;
        let (which, facts) = self.facts.of(records);
        to.spread(&which, |to| {
            let facts: Vec<Option<&Facts>> = facts.iter().map(|row| Some(row.intent.facts.as_ref())).collect();
            tables::facts(to, "kind", &facts)?;
            to.text("tag", facts.iter().map(|facts| facts.and_then(Facts::tag)));
            Ok(())
        })?;
        let (which, decisions) = self.decisions.of(records);
        to.spread(&which, |to| {
            let decisions: Vec<Option<&Decision>> =
                decisions.iter().map(|row| Some(row.intent.decision.as_ref())).collect();
            tables::decision(to, &decisions)
        })?;
        let (which, transactions) = self.transactions.of(records);
        to.spread(&which, |to| {
            to.text("transaction", transactions.iter().map(|row| Some(row.intent.transaction.to_string())));
            Ok(())
        })?;
        let (which, after) = self.after.of(records);
        to.spread(&which, |to| {
            let state = |row: &&Record| row.outcome.transaction_after.map(|state| state.to_string());
            to.text("transaction_after", after.iter().map(state));
            Ok(())
        })?;
        let (which, acting) = self.acting.of(records);
        to.spread(&which, |to| {
            let each = || acting.iter().map(|row| row.intent.acting.as_ref());
            to.text("session_user", each().map(|acting| acting.session_user.as_deref()));
            to.text("role", each().map(|acting| acting.role.as_deref()));
            Ok(())
        })
    }
}

/// Bound values.
#[derive(Default)]
struct Bound<'a> {
    values: Values<'a>,
    lengths: Vec<usize>,
}

impl<'a> Bound<'a> {
    fn add(&mut self, params: &'a [Param]) {
        self.lengths.push(params.len());
        for (position, param) in (1..).zip(params) {
            self.values.add(position, param);
        }
    }

    fn finish(self, to: &mut Columns) -> Result<(), SegmentError> {
        to.structs_of("params", self.lengths, |to| self.values.finish(to))
    }
}

#[derive(Default)]
struct Values<'a> {
    position: Vec<i32>,
    type_oid: Vec<i64>,
    type_name: Words<'a>,
    format: Words<'a>,
    value: StringBuilder,
    raw: BinaryBuilder,
    is_null: BooleanBuilder,
}

impl<'a> Values<'a> {
    fn add(&mut self, position: i32, param: &'a Param) {
        self.position.push(position);
        self.type_oid.push(i64::from(param.type_oid));
        self.type_name.add(params::type_name(param.type_oid));
        self.format.add(Some(match param.format {
            ParamFormat::Text => "text",
            ParamFormat::Binary => "binary",
        }));
        self.value.append_option(params::readable(param));
        self.raw.append_option(param.value.as_deref());
        self.is_null.append_value(param.value.is_none());
    }

    fn finish(mut self, to: &mut Columns) -> Result<(), SegmentError> {
        to.built("position", Int32Array::from(self.position));
        to.built("type_oid", Int64Array::from(self.type_oid));
        to.words("type_name", self.type_name)?;
        to.words("format", self.format)?;
        to.built("value", self.value.finish());
        to.built("raw", self.raw.finish());
        to.built("is_null", self.is_null.finish());
        Ok(())
    }
}
