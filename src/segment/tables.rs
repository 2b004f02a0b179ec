//! Rows → the columns of `sessions` and `events`, and the groups of columns that all datasets share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::columns::Columns;
use super::write::Stamp;
use super::{Dataset, EventRow, Happening, SegmentError, SessionRow, params};
use crate::model::{
    ClientCertificate, Decision, Effect, EventDetails, Facts, HandleName, LoginRefused, Peer, Principal, Record,
    RuleId, SegmentNo, Session, SessionClosed, SqlText, Statement, Timestamp,
};

/// What a row takes beside its texts, as a guess for the size of a row group.
const ROW_BYTES: usize = 512;

/// Guesses of the bytes of rows of `statements`, with what is known of their sessions.
#[derive(Default)]
pub(super) struct Sizes(HashMap<*const Session, usize, ahash::RandomState>);

impl Sizes {
    /// A guess of the bytes of one row.
    pub(super) fn statement(&mut self, record: &Record) -> usize {
        let session = self.0.entry(Arc::as_ptr(&record.session)).or_insert_with(|| session_bytes(&record.session));
        *session + asked_bytes(&record.intent.statement, &record.intent.facts)
    }
}

/// A guess of the bytes of one row of `sessions`.
pub(super) fn session_size(row: &SessionRow) -> usize {
    match row {
        SessionRow::Closed { session, .. } => session_bytes(session),
        SessionRow::Refused { refused, .. } => ROW_BYTES + refused.principal.as_ref().map_or(0, principal_bytes),
    }
}

/// A guess of the bytes of one row of `events`.
pub(super) fn event_size(row: &EventRow) -> usize {
    match &row.what {
        Happening::Prepared(prepared) => ROW_BYTES + asked_bytes(&prepared.statement, &prepared.facts),
        Happening::UnmatchedOutcome { intent: Some(intent), .. } => {
            ROW_BYTES + asked_bytes(&intent.statement, &intent.facts)
        }
        _ => ROW_BYTES,
    }
}

fn asked_bytes(statement: &Statement, facts: &Facts) -> usize {
    let params: usize = statement.params.iter().map(params::size_estimate).sum();
    let functions: usize = facts.functions.iter().map(|name| name.len() + 8).sum();
    let effects: usize = facts.effects.iter().map(effect_bytes).sum();
    statement.text.bytes().len() + params + functions + effects
}

fn effect_bytes(effect: &Effect) -> usize {
    let object =
        effect.object.as_ref().map_or(0, |object| object.name.len() + object.schema.as_ref().map_or(0, String::len));
    object + 64
}

fn session_bytes(session: &Session) -> usize {
    ROW_BYTES + principal_bytes(&session.principal) + session.peer.application.as_ref().map_or(0, String::len)
}

fn principal_bytes(principal: &Principal) -> usize {
    let lists = principal.roles.iter().chain(&principal.groups).map(|word| word.len() + 8).sum::<usize>();
    lists + principal.claims.iter().map(|(name, value)| name.len() + json_bytes(value)).sum::<usize>()
}

fn json_bytes(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::String(text) => text.len() + 8,
        serde_json::Value::Array(values) => values.iter().map(json_bytes).sum(),
        serde_json::Value::Object(map) => map.iter().map(|(name, value)| name.len() + 8 + json_bytes(value)).sum(),
        _ => 24,
    }
}

/// The columns of `sessions`.
pub(super) fn sessions(no: SegmentNo, rows: &[&SessionRow]) -> Result<Columns, SegmentError> {
    let mut to = Columns::of(Dataset::Sessions)?;
    let closed = || rows.iter().map(|row| as_closed(row));
    let whos: Vec<Who<'_>> = rows
        .iter()
        .map(|row| match row {
            SessionRow::Closed { session, .. } => Who::session(session),
            SessionRow::Refused { refused, .. } => Who::refused(refused),
        })
        .collect();
    to.text("kind", closed().map(|row| Some(if row.is_some() { "closed" } else { "refused" })));
    to.text(
        "session_id",
        rows.iter().map(|row| Some(one(row, |closed| closed.session, |refused| refused.session).to_string())),
    );
    to.count("entry_seq", rows.iter().map(|row| Some(row.entry().0)));
    to.text("node", whos.iter().map(|who| Some(who.node)));
    to.time("time", rows.iter().map(|row| Some(row.time())));
    to.time("opened", whos.iter().map(|who| who.opened));
    to.time("closed", closed().map(|row| row.map(|closed| closed.closed)));
    who(&mut to, &whos)?;
    ends(&mut to, &whos);
    to.text("server_version", closed().map(|row| row.and_then(|closed| closed.server_version.as_deref())));
    to.text(
        "reason",
        rows.iter().map(|row| Some(one(row, |closed| closed.reason.as_str(), |refused| refused.cause.as_str()))),
    );
    to.text("sqlstate", rows.iter().map(|row| one(row, |_| None, |refused| Some(refused.sqlstate.as_str()))));
    to.text("detail", closed().map(|row| row.and_then(|closed| closed.detail.as_deref())));
    to.count("statements", closed().map(|row| row.map(|closed| closed.statements)));
    to.count("bytes_in", closed().map(|row| row.map(|closed| closed.bytes_in)));
    to.count("bytes_out", closed().map(|row| row.map(|closed| closed.bytes_out)));
    let rules: Vec<Option<&[String]>> = whos.iter().map(|who| Some(who.rules)).collect();
    to.texts("rules", &rules)?;
    to.text("policy_version", whos.iter().map(|who| who.policy_version));
    let names: Vec<Option<Vec<String>>> =
        whos.iter().map(|who| who.peer.client_certificate.as_ref().map(certified_names)).collect();
    let names: Vec<Option<&[String]>> = names.iter().map(Option::as_deref).collect();
    to.texts("client_certificate_names", &names)?;
    to.text("balancer_address", whos.iter().map(|who| who.peer.balancer.map(ip)));
    to.count("segment", rows.iter().map(|_| Some(no.0)));
    Ok(to)
}

/// The names of a certificate beside its subject, each with its kind.
fn certified_names(shown: &ClientCertificate) -> Vec<String> {
    let kinds = [("email", &shown.emails), ("dns", &shown.dns_names), ("uri", &shown.uris)];
    kinds.into_iter().flat_map(|(kind, names)| names.iter().map(move |name| format!("{kind}:{name}"))).collect()
}

fn as_closed(row: &SessionRow) -> Option<&SessionClosed> {
    match row {
        SessionRow::Closed { closed, .. } => Some(closed),
        SessionRow::Refused { .. } => None,
    }
}

/// One value of either kind of row.
fn one<'a, T>(
    row: &'a SessionRow,
    of_closed: impl FnOnce(&'a SessionClosed) -> T,
    of_refused: impl FnOnce(&'a LoginRefused) -> T,
) -> T {
    match row {
        SessionRow::Closed { closed, .. } => of_closed(closed),
        SessionRow::Refused { refused, .. } => of_refused(refused),
    }
}

/// The columns of `events`.
pub(super) fn events(stamp: &Stamp<'_>, rows: &[&EventRow]) -> Result<Columns, SegmentError> {
    let mut to = Columns::of(Dataset::Events)?;
    let prepared = || {
        rows.iter().map(|row| match &row.what {
            Happening::Prepared(prepared) => Some(prepared.as_ref()),
            _ => None,
        })
    };
    let recorder = || {
        rows.iter().map(|row| match &row.what {
            Happening::Recorder(event) => Some(event),
            _ => None,
        })
    };
    let session = || rows.iter().map(|row| row.session.as_deref());
    to.text("kind", rows.iter().map(|row| Some(happened(&row.what))));
    to.count("entry_seq", rows.iter().map(|row| Some(row.entry.0)));
    to.text("node", recorder().map(|event| Some(event.map_or(stamp.node, |event| &event.node).as_str())));
    to.time("time", rows.iter().map(|row| Some(row.time())));
    to.text("detail", rows.iter().map(|row| detail(&row.what)));
    to.text("version", recorder().map(|event| event.map(|event| event.version.as_str())));
    more(&mut to, &recorder().map(|event| event.map(|event| event.more.as_ref())).collect::<Vec<_>>());
    to.text("session_id", rows.iter().map(|row| session_of(row).map(|id| id.to_string())));
    to.text("issuer", session().map(|session| session.map(|session| session.principal.issuer.as_str())));
    to.text("subject", session().map(|session| session.map(|session| session.principal.subject.as_str())));
    to.text("principal_kind", session().map(|session| session.map(|session| session.principal.kind.as_str())));
    to.text("target", session().map(|session| session.map(|session| session.target.as_str())));
    to.text("database", session().map(|session| session.map(|session| session.database.as_str())));
    to.text("database_user", session().map(|session| session.map(|session| session.database_user.as_str())));
    let judged: Vec<_> = rows.iter().map(|row| judged(&row.what)).collect();
    let texts: Vec<_> = judged.iter().map(|row| row.map(|(statement, ..)| &statement.text)).collect();
    text(&mut to, &texts);
    let known: Vec<_> = judged.iter().map(|row| row.map(|(_, facts, _)| facts)).collect();
    facts(&mut to, "statement_kind", &known)?;
    let names = || judged.iter().map(|row| row.and_then(|(statement, ..)| statement.prepared.as_ref()));
    to.text("prepared_name", names().map(|name| name.and_then(HandleName::text)));
    to.bytes("prepared_name_bytes", names().map(|name| name.and_then(HandleName::unreadable)));
    to.count("preparation", prepared().map(|row| row.map(|row| row.number)));
    let decisions: Vec<_> = judged.iter().map(|row| row.map(|(.., decision)| decision)).collect();
    decision(&mut to, &decisions)?;
    to.count("segment", rows.iter().map(|_| Some(stamp.no.0)));
    Ok(to)
}

/// What events of the recorder say for programs to read.
fn more(to: &mut Columns, rows: &[Option<&EventDetails>]) {
    let each = || rows.iter();
    to.count("previous_entry", each().map(|row| row.and_then(|row| row.previous_entry).map(|entry| entry.0)));
    to.time("since", each().map(|row| row.and_then(|row| row.since)));
    to.count("missing", each().map(|row| row.and_then(|row| row.missing)));
    to.count("missing_at_most", each().map(|row| row.and_then(|row| row.missing_at_most)));
    to.text("signing_key", each().map(|row| row.and_then(|row| row.key.as_deref())));
    to.text("loaded_policy", each().map(|row| row.and_then(|row| row.policy_version.as_deref())));
    to.text("operator", each().map(|row| row.and_then(|row| row.operator.as_deref())));
    to.text("question", each().map(|row| row.and_then(|row| row.question.as_deref())));
}

/// The statement of an event that is about one.
fn judged(what: &Happening) -> Option<(&Statement, &Facts, &Decision)> {
    match what {
        Happening::Prepared(prepared) => Some((&prepared.statement, &prepared.facts, &prepared.decision)),
        Happening::UnmatchedOutcome { intent: Some(intent), .. } => {
            Some((&intent.statement, &intent.facts, &intent.decision))
        }
        _ => None,
    }
}

fn happened(what: &Happening) -> &'static str {
    match what {
        Happening::Recorder(event) => event.kind.as_str(),
        Happening::Prepared(_) => "statement_prepared",
        Happening::UnmatchedOutcome { .. } => "unmatched_outcome",
        Happening::UnmatchedClose(_) => "unmatched_close",
    }
}

fn detail(what: &Happening) -> Option<String> {
    match what {
        Happening::Recorder(event) => Some(event.detail.clone()),
        Happening::Prepared(_) => None,
        Happening::UnmatchedOutcome { outcome, intent } => {
            let lacks = if intent.is_some() { "a session" } else { "an intent" };
            Some(format!("statement {} ended ({}) without {lacks}", outcome.reference, outcome.status.as_str()))
        }
        Happening::UnmatchedClose(closed) => {
            Some(format!("session {} ended ({}) without an opening", closed.session, closed.reason.as_str()))
        }
    }
}

fn session_of(row: &EventRow) -> Option<crate::model::SessionId> {
    match &row.what {
        Happening::Recorder(_) => row.session.as_ref().map(|session| session.id),
        Happening::Prepared(prepared) => Some(prepared.session),
        Happening::UnmatchedOutcome { outcome, .. } => Some(outcome.reference.session),
        Happening::UnmatchedClose(closed) => Some(closed.session),
    }
}

/// Who, where from and where to, of an open session or a refused client.
#[derive(Clone, Copy)]
pub(super) struct Who<'a> {
    node: &'a str,
    opened: Option<Timestamp>,
    principal: Option<&'a Principal>,
    peer: &'a Peer,
    target: &'a str,
    protocol: &'a str,
    database: Option<&'a str>,
    database_user: Option<&'a str>,
    rules: &'a [String],
    policy_version: Option<&'a str>,
}

impl<'a> Who<'a> {
    pub(super) fn session(session: &'a Session) -> Self {
        Self {
            node: session.node.as_str(),
            opened: Some(session.opened),
            principal: Some(&session.principal),
            peer: &session.peer,
            target: &session.target,
            protocol: &session.protocol,
            database: Some(&session.database),
            database_user: Some(&session.database_user),
            rules: &session.rules,
            policy_version: Some(&session.policy_version),
        }
    }

    fn refused(refused: &'a LoginRefused) -> Self {
        Self {
            node: refused.node.as_str(),
            opened: None,
            principal: refused.principal.as_ref(),
            peer: &refused.peer,
            target: &refused.target,
            protocol: &refused.protocol,
            database: refused.database.as_deref(),
            database_user: refused.database_user.as_deref(),
            rules: &refused.rules,
            policy_version: refused.policy_version.as_deref(),
        }
    }
}

pub(super) fn who(to: &mut Columns, whos: &[Who<'_>]) -> Result<(), SegmentError> {
    let each = || whos.iter().map(|who| who.principal);
    to.text("issuer", each().map(|who| who.map(|who| who.issuer.as_str())));
    to.text("subject", each().map(|who| who.map(|who| who.subject.as_str())));
    to.text("principal_kind", each().map(|who| who.map(|who| who.kind.as_str())));
    to.text("display", each().map(|who| who.and_then(|who| who.display.as_deref())));
    to.text("email", each().map(|who| who.and_then(|who| who.email.as_deref())));
    let roles: Vec<Option<&[String]>> = each().map(|who| Some(who.map_or(&[][..], |who| &who.roles))).collect();
    to.texts("roles", &roles)?;
    let groups: Vec<Option<&[String]>> = each().map(|who| Some(who.map_or(&[][..], |who| &who.groups))).collect();
    to.texts("groups", &groups)?;
    to.text("token_sha256", each().map(|who| who.map(|who| who.token.sha256.to_string())));
    to.text("token_kid", each().map(|who| who.and_then(|who| who.token.kid.as_deref())));
    to.text("token_jti", each().map(|who| who.and_then(|who| who.token.jti.as_deref())));
    to.time("token_issued", each().map(|who| who.and_then(|who| who.token.issued)));
    to.time("token_expires", each().map(|who| who.map(|who| who.token.expires)));
    let claims = each()
        .map(|who| who.map(|who| serde_json::to_string(&who.claims)).transpose())
        .collect::<Result<Vec<Option<String>>, _>>()?;
    to.text("claims", claims.iter().map(Option::as_deref));
    Ok(())
}

fn ip(address: SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

pub(super) fn ends(to: &mut Columns, whos: &[Who<'_>]) {
    let each = || whos.iter();
    to.text("client_address", each().map(|who| Some(ip(who.peer.address))));
    to.small("client_port", each().map(|who| Some(i32::from(who.peer.address.port()))));
    to.text("tls_version", each().map(|who| who.peer.tls_version.as_deref()));
    to.text("application", each().map(|who| who.peer.application.as_deref()));
    let certificates = || each().map(|who| who.peer.client_certificate.as_ref());
    to.text("client_certificate_subject", certificates().map(|shown| shown.map(|shown| shown.subject.as_str())));
    to.text("client_certificate_sha256", certificates().map(|shown| shown.map(|shown| shown.sha256.to_string())));
    to.text("target", each().map(|who| Some(who.target)));
    to.text("protocol", each().map(|who| Some(who.protocol)));
    to.text("database", each().map(|who| who.database));
    to.text("database_user", each().map(|who| who.database_user));
}

pub(super) fn text(to: &mut Columns, texts: &[Option<&SqlText>]) {
    let each = || texts.iter().copied();
    let read: Vec<Option<&str>> = each().map(|text| text.and_then(SqlText::text)).collect();
    let unread = each().zip(&read).map(|(text, read)| text.filter(|_| read.is_none()));
    to.bytes("text_bytes", unread.map(|text| text.map(|text| &text.bytes()[..])));
    to.text("text", read.into_iter());
    to.count("text_length", each().map(|text| text.map(|text| text.bytes().len() as u64)));
    to.text("text_sha256", each().map(|text| text.map(|text| text.sha256().to_string())));
}

pub(super) fn facts(to: &mut Columns, kind: &'static str, rows: &[Option<&Facts>]) -> Result<(), SegmentError> {
    let facts = || rows.iter();
    to.text("fingerprint", facts().map(|row| row.and_then(|row| row.fingerprint.as_deref())));
    to.text(kind, facts().map(|row| row.map(|row| row.kind.as_str())));
    to.count("statement_count", facts().map(|row| row.map(|row| u64::from(row.statement_count))));
    let lists: Vec<Option<&[Effect]>> = facts().map(|row| row.map(|row| row.effects.as_slice())).collect();
    to.structs("effects", &lists, effects)?;
    let lists: Vec<Option<&[String]>> = facts().map(|row| row.map(|row| row.functions.as_slice())).collect();
    to.texts("functions", &lists)?;
    to.flag("has_where", facts().map(|row| row.and_then(|row| row.has_where)));
    to.text("problem", facts().map(|row| row.and_then(|row| row.problem.as_deref())));
    Ok(())
}

fn effects(to: &mut Columns, effects: &[&Effect]) -> Result<(), SegmentError> {
    let objects = || effects.iter().map(|effect| effect.object.as_ref());
    to.text("action", effects.iter().map(|effect| Some(effect.action.as_str())));
    to.text("object_kind", objects().map(|object| object.map(|object| object.kind.as_str())));
    to.text("schema", objects().map(|object| object.and_then(|object| object.schema.as_deref())));
    to.text("name", objects().map(|object| object.map(|object| object.name.as_str())));
    to.flag("has_where", effects.iter().map(|effect| Some(effect.has_where)));
    Ok(())
}

pub(super) fn decision(to: &mut Columns, rows: &[Option<&Decision>]) -> Result<(), SegmentError> {
    let each = || rows.iter();
    to.text("decision", each().map(|row| row.map(|row| row.verdict.as_str())));
    let lists: Vec<Option<Vec<&str>>> =
        each().map(|row| row.map(|row| row.rules.iter().map(|RuleId(name)| name.as_str()).collect())).collect();
    let lists: Vec<Option<&[&str]>> = lists.iter().map(Option::as_deref).collect();
    to.texts("rules", &lists)?;
    to.text("policy_version", each().map(|row| row.map(|row| row.policy_version.as_str())));
    to.text("message", each().map(|row| row.and_then(|row| row.message.as_deref())));
    to.text("hint", each().map(|row| row.and_then(|row| row.hint.as_deref())));
    Ok(())
}
