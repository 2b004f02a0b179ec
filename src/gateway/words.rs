//! What a client reads when the rules say no. Also for those who try rules out: the words are the same.

use std::fmt::Display;

use crate::model::{Decision, Facts, Kind};
use crate::wire::postgres::message::Refusal;

pub(super) const NOTHING_SENT: &str = "Nothing was sent to the database.";

/// What a client reads when a statement is denied.
pub fn denial(facts: &Facts, decision: &Decision, reference: &dyn Display) -> Refusal {
    let first = match decision.deciding().next() {
        Some(rule) => format!("denied by rule \"{}\" (ref {reference})", rule.0),
        None if facts.kind == Kind::Unparsed => {
            format!("denied: this statement could not be understood (ref {reference})")
        }
        None => format!("denied: no rule allows this (ref {reference})"),
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

/// What is wrong, as a sentence.
pub(super) fn sentence_of(problem: &dyn Display) -> String {
    let text = problem.to_string();
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// With a full stop, if it has no end of its own.
fn sentence(text: &str) -> String {
    let text = text.trim();
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RuleId, Verdict};

    #[test]
    fn a_rule_in_report_mode_is_not_said_to_have_denied() {
        let decision = |rules: Vec<RuleId>| Decision {
            verdict: Verdict::Deny,
            rules,
            policy_version: String::new(),
            message: None,
            hint: None,
        };
        let first = |rules, facts: &Facts| denial(facts, &decision(rules), &"X").message;
        let mut facts = Facts::unparsed("odd");
        let reported = || vec![RuleId::would_deny("tried")];
        assert_eq!(first(reported(), &facts), "hansard: denied: this statement could not be understood (ref X)");
        facts.kind = Kind::Select;
        assert_eq!(first(reported(), &facts), "hansard: denied: no rule allows this (ref X)");
        let both = vec![RuleId("held".to_owned()), RuleId::would_deny("tried")];
        assert_eq!(first(both, &facts), "hansard: denied by rule \"held\" (ref X)");
    }
}
