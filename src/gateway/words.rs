//! What a client reads when the rules say no. Also for those who try rules out: the words are the same.

use std::fmt::Display;

use crate::model::{Decision, Facts, Kind};
use crate::wire::postgres::message::Refusal;

pub(super) const NOTHING_SENT: &str = "Nothing was sent to the database.";

/// What a client reads when a statement is denied.
pub fn denial(facts: &Facts, decision: &Decision, reference: &dyn Display) -> Refusal {
    let first = if facts.kind == Kind::Unparsed && decision.rules.is_empty() {
        format!("denied: this statement could not be understood (ref {reference})")
    } else if let Some(rule) = decision.rules.first() {
        format!("denied by rule \"{}\" (ref {reference})", rule.0)
    } else {
        format!("denied: no rule allows this (ref {reference})")
    };
    let said = decision.message.as_deref().or(facts.problem.as_deref());
    let detail = match said {
        Some(said) => format!("{} {NOTHING_SENT}", sentence(said)),
        None => NOTHING_SENT.to_owned(),
    };
    Refusal::error("42501", first).detail(detail).hint(decision.hint.clone())
}

/// What somebody reads who may not connect. `name` is the person's, `place` the target and database.
pub fn no_access(name: &str, place: &str, decision: Decision, reference: &dyn Display) -> Refusal {
    let refusal = Refusal::fatal("28000", format!("{name} has no access to {place} (ref {reference})"));
    Refusal { detail: decision.message, hint: decision.hint, ..refusal }
}

/// With a full stop, if it has no end of its own.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}
