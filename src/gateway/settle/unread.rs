//! A message that is refused before any rule is asked: unread, because there is no memory for it, or because it was to hand over
//! a token that is not taken.
//!
//! Promises: it is answered in its turn with an error, as if the database had refused it, and is on record with its length,
//! like every statement that is refused; what it said nobody knows, so the record has no text, or the text without the token;
//! and nothing of it is sent.

use std::sync::Arc;

use super::super::budget::NoRoom;
use super::super::handover::NotTaken;
use super::super::words::sentence_of;
use super::{Judge, Judged, NOTHING_SENT, bare};
use crate::model::{Decision, Facts, Reference, Request as How, SqlText, Verdict};
use crate::wire::postgres::exchange::Exchange;
use crate::wire::postgres::frame::HEADER_LEN;
use crate::wire::postgres::message::Refusal;

impl Judge<'_> {
    /// Refuses a message of this length that begins with these bytes.
    pub(in crate::gateway) fn turn_away(&mut self, begun: &[u8], len: usize, why: NoRoom, exchange: &mut Exchange) {
        let why = Why {
            // Words of ours where those of the client belong would be an invented statement.
            text: SqlText::from(""),
            problem: format!("a message of {len} bytes was not read: there was no memory for it"),
            message: sentence_of(&why),
        };
        let refusal = |reference: Reference, why: &Why| {
            let text = format!("not enough memory for a message of {len} bytes (ref {reference})");
            Refusal::error("53200", text).detail(format!("{} {NOTHING_SENT}", why.message))
        };
        self.refuse_unjudged(begun, why, refusal, exchange);
    }

    /// Refuses a message that was to hand over a token. `without` is the same without it, which is what is recorded.
    pub(in crate::gateway) fn refuse_token(
        &mut self,
        without: &[u8],
        text: SqlText,
        why: &NotTaken,
        exchange: &mut Exchange,
    ) {
        let problem = "a token was to be handed over and was not taken".to_owned();
        let message = sentence_of(why);
        self.refuse_unjudged(without, Why { text, problem, message }, |reference, _| why.refusal(&reference), exchange);
    }

    /// Refuses what no rule was asked about. `begun` is how the message begins.
    fn refuse_unjudged(
        &mut self,
        begun: &[u8],
        why: Why,
        refusal: impl FnOnce(Reference, &Why) -> Refusal,
        exchange: &mut Exchange,
    ) {
        let kind = begun.first().copied().unwrap_or_default();
        let is_unnamed = kind == b'P' && begun.get(HEADER_LEN).is_none_or(|first| *first == 0);
        let request = match kind {
            b'Q' => How::Query,
            b'F' => How::FunctionCall,
            b'B' => How::Execute,
            _ => How::Parse,
        };
        // As a server that fails at it: the unnamed statement of before is gone.
        if is_unnamed {
            exchange.forget_unnamed();
        }
        let reference = self.next();
        let refusal = refusal(reference, &why);
        let Why { text, problem, message } = why;
        let facts = Arc::new(Facts::unparsed(problem));
        let decision = Arc::new(Decision {
            verdict: Verdict::Deny,
            rules: Vec::new(),
            policy_version: self.rules.policy.version().to_owned(),
            message: Some(message),
            hint: None,
        });
        let judged = Judged {
            read: Arc::clone(&facts),
            facts,
            decision,
            transaction: exchange.transaction(),
            acting: exchange.acting(),
        };
        let simple = matches!(request, How::Query | How::FunctionCall);
        self.refuse(bare(request, text), judged, (reference, simple), &refusal, exchange);
    }
}

/// Why a message is refused that no rule was asked about, and what of it is recorded.
struct Why {
    text: SqlText,
    problem: String,
    message: String,
}
