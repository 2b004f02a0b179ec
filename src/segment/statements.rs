//! Records → the columns of `statements`.
//!
//! A segment's records lie scattered over more memory than any cache holds, so each is visited once: what it has of its
//! own goes into the columns at that visit. What a session, a text, facts or a decision determine is made once for each
//! of them, and spread over the rows.

use std::sync::Arc;

use arrow::array::{
    BinaryBuilder, BooleanBuilder, Int32Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
};

use super::columns::{Columns, number};
use super::repeat::{Distinct, Words};
use super::tables::{self, Who};
use super::{Dataset, SegmentError, params};
use crate::model::{Decision, Facts, Outcome, Param, ParamFormat, Record, SegmentNo, Session, SqlText};

/// The columns of `statements`.
pub(super) fn statements(no: SegmentNo, records: &[&Record]) -> Result<Columns, SegmentError> {
    let mut to = Columns::of(Dataset::Statements)?;
    let (mut own, mut ends, mut common) = (Own::default(), Ends::default(), Common::default());
    for record in records {
        own.add(record);
        ends.add(&record.outcome);
        common.add(record);
    }
    own.finish(&mut to)?;
    ends.finish(&mut to)?;
    common.finish(&mut to, records)?;
    let lists: Vec<Option<&[Param]>> = records.iter().map(|row| Some(row.intent.statement.params.as_slice())).collect();
    bound(&mut to, &lists)?;
    to.count("segment", records.iter().map(|_| Some(no.0)));
    Ok(to)
}

/// What a statement's intent has of its own.
#[derive(Default)]
struct Own<'a> {
    reference: String,
    reference_ends: Vec<usize>,
    statement_seq: Int64Builder,
    entry_seq: Int64Builder,
    time: TimestampMicrosecondBuilder,
    server_version: Words<'a>,
    request: Words<'a>,
    prepared_name: Words<'a>,
    portal_name: Words<'a>,
}

impl<'a> Own<'a> {
    fn add(&mut self, record: &'a Record) {
        let (intent, statement) = (&record.intent, &record.intent.statement);
        intent.reference.print(&mut self.reference);
        self.reference_ends.push(self.reference.len());
        self.statement_seq.append_value(number(intent.reference.statement));
        self.entry_seq.append_value(number(record.entry.0));
        self.time.append_value(intent.time.0);
        self.server_version.add(intent.server_version.as_deref());
        self.request.add(Some(statement.request.as_str()));
        self.prepared_name.add(statement.prepared.as_deref());
        self.portal_name.add(statement.portal.as_deref());
    }

    fn finish(mut self, to: &mut Columns) -> Result<(), SegmentError> {
        to.printed("reference", self.reference, &self.reference_ends)?;
        to.built("statement_seq", self.statement_seq.finish());
        to.built("entry_seq", self.entry_seq.finish());
        to.times("time", self.time.finish());
        to.words("server_version", self.server_version)?;
        to.words("request", self.request)?;
        to.words("prepared_name", self.prepared_name)?;
        to.words("portal_name", self.portal_name)
    }
}

/// How statements ended.
#[derive(Default)]
struct Ends<'a> {
    ended: TimestampMicrosecondBuilder,
    status: Words<'a>,
    sqlstate: Words<'a>,
    command_tag: Words<'a>,
    rows_returned: Int64Builder,
    rows_affected: Int64Builder,
    bytes_in: Int64Builder,
    bytes_out: Int64Builder,
    first_row_us: Int64Builder,
    total_us: Int64Builder,
}

impl<'a> Ends<'a> {
    fn add(&mut self, outcome: &'a Outcome) {
        self.ended.append_value(outcome.time.0);
        self.status.add(Some(outcome.status.as_str()));
        self.sqlstate.add(outcome.sqlstate.as_deref());
        self.command_tag.add(outcome.command_tag.as_deref());
        self.rows_returned.append_value(number(outcome.rows_returned));
        self.rows_affected.append_option(outcome.rows_affected.map(number));
        self.bytes_in.append_value(number(outcome.bytes_in));
        self.bytes_out.append_value(number(outcome.bytes_out));
        self.first_row_us.append_option(outcome.first_row_us.map(number));
        self.total_us.append_option(outcome.total_us.map(number));
    }

    fn finish(mut self, to: &mut Columns) -> Result<(), SegmentError> {
        to.times("ended", self.ended.finish());
        to.words("status", self.status)?;
        to.words("sqlstate", self.sqlstate)?;
        to.words("command_tag", self.command_tag)?;
        to.built("rows_returned", self.rows_returned.finish());
        to.built("rows_affected", self.rows_affected.finish());
        to.built("bytes_in", self.bytes_in.finish());
        to.built("bytes_out", self.bytes_out.finish());
        to.built("first_row_us", self.first_row_us.finish());
        to.built("total_us", self.total_us.finish());
        Ok(())
    }
}

/// What many statements have in common. Sessions, facts and decisions are told apart by where they lie in memory: the
/// journal's reader gives the same one to all that have it.
#[derive(Default)]
struct Common<'a> {
    sessions: Distinct<*const Session>,
    facts: Distinct<*const Facts>,
    decisions: Distinct<*const Decision>,
    texts: Distinct<&'a [u8]>,
    transactions: Distinct<char>,
}

impl<'a> Common<'a> {
    fn add(&mut self, record: &'a Record) {
        let intent = &record.intent;
        self.sessions.add(Arc::as_ptr(&record.session));
        self.facts.add(Arc::as_ptr(&intent.facts));
        self.decisions.add(Arc::as_ptr(&intent.decision));
        self.texts.add(intent.statement.text.bytes());
        self.transactions.add(intent.transaction);
    }

    fn finish(self, to: &mut Columns, records: &[&Record]) -> Result<(), SegmentError> {
        let (which, sessions) = self.sessions.of(records);
        to.spread(&which, |to| {
            let each = || sessions.iter().map(|row| row.session.as_ref());
            to.text("session_id", each().map(|session| Some(session.id.to_string())));
            to.text("node", each().map(|session| Some(session.node.as_str())));
            let whos: Vec<Who<'_>> = each().map(Who::session).collect();
            tables::who(to, &whos)?;
            tables::ends(to, &whos);
            Ok(())
        })?;
        let (which, texts) = self.texts.of(records);
        to.spread(&which, |to| {
            let texts: Vec<Option<&SqlText>> = texts.iter().map(|row| Some(&row.intent.statement.text)).collect();
            tables::text(to, &texts);
            Ok(())
        })?;
        let (which, facts) = self.facts.of(records);
        to.spread(&which, |to| {
            let facts: Vec<Option<&Facts>> = facts.iter().map(|row| Some(row.intent.facts.as_ref())).collect();
            tables::facts(to, "kind", &facts)
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
        })
    }
}

/// Bound values.
fn bound(to: &mut Columns, lists: &[Option<&[Param]>]) -> Result<(), SegmentError> {
    to.structs("params", lists, |to, params| {
        let mut values = Values::default();
        let mut elements = params.iter();
        for list in lists.iter().flatten() {
            for (position, param) in (1..).zip(elements.by_ref().take(list.len())) {
                values.add(position, param);
            }
        }
        values.finish(to)
    })
}

#[derive(Default)]
struct Values<'a> {
    position: Int32Builder,
    type_oid: Int64Builder,
    type_name: Words<'a>,
    format: Words<'a>,
    value: StringBuilder,
    raw: BinaryBuilder,
    is_null: BooleanBuilder,
}

impl<'a> Values<'a> {
    fn add(&mut self, position: i32, param: &'a Param) {
        self.position.append_value(position);
        self.type_oid.append_value(i64::from(param.type_oid));
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
        to.built("position", self.position.finish());
        to.built("type_oid", self.type_oid.finish());
        to.words("type_name", self.type_name)?;
        to.words("format", self.format)?;
        to.built("value", self.value.finish());
        to.built("raw", self.raw.finish());
        to.built("is_null", self.is_null.finish());
        Ok(())
    }
}
