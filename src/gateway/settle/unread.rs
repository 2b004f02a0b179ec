//! A message that is refused unread, because there is no memory for it.
//!
//! Promises: it is answered in its turn with an error, as if the database had refused it, and is on record with its length,
//! like every statement that is refused; what it said nobody knows, so the record has no text, and nothing of it is sent.

use std::sync::Arc;

use super::super::budget::NoRoom;
use super::super::words::sentence_of;
use super::{Judge, Judged, NOTHING_SENT, bare};
use crate::model::{Decision, Facts, Request as How, SqlText, Verdict};
use crate::wire::postgres::exchange::Exchange;
use crate::wire::postgres::frame::HEADER_LEN;
use crate::wire::postgres::message::Refusal;

impl Judge<'_> {
    /// Refuses a message of this length that begins with these bytes.
    pub(in crate::gateway) fn turn_away(&mut self, begun: &[u8], len: usize, why: NoRoom, exchange: &mut Exchange) {
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
        let refusal =
            Refusal::error("53200", format!("not enough memory for a message of {len} bytes (ref {reference})"));
        let refusal = refusal.detail(format!("{} {NOTHING_SENT}", sentence_of(&why)));
        let facts =
            Arc::new(Facts::unparsed(format!("a message of {len} bytes was not read: there was no memory for it")));
        let decision = Arc::new(Decision {
            verdict: Verdict::Deny,
            rules: Vec::new(),
            policy_version: self.rules.policy.version().to_owned(),
            message: Some(sentence_of(&why)),
            hint: None,
        });
        let judged = Judged {
            read: Arc::clone(&facts),
            facts,
            decision,
            transaction: exchange.transaction(),
            acting: exchange.acting(),
        };
        // Words of ours where those of the client belong would be an invented statement.
        let text = SqlText::from("");
        let simple = matches!(request, How::Query | How::FunctionCall);
        self.refuse(bare(request, text), judged, (reference, simple), &refusal, exchange);
    }
}
