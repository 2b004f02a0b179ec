//! What the rules said in one session, by what was asked.
//!
//! Promises: a decision is remembered only where the rules, asked again, would say the same: the same facts, person, place
//! and transaction state, the same rules, and, where a rule asks for the time, the same second.
//!
//! It is found by where the facts lie in memory, which costs the same however much they say; facts that lie elsewhere and
//! say the same (texts that differ in their literals only) share a decision by what they say. Rejected: by what they say
//! alone, which costs more the more a statement does.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::Policy;
use crate::model::{Decision, Facts, Timestamp};

/// Decisions that are remembered; an application asks for some dozens.
const MAX_REMEMBERED: usize = 1_024;

/// Decisions of one session.
#[derive(Debug, Default)]
pub struct Remembered {
    /// With the facts, so that nothing else comes to lie at their address.
    by_address: HashMap<(usize, char), (Arc<Facts>, Arc<Decision>)>,
    by_meaning: HashMap<Meaning, Arc<Decision>>,
    /// The second in which they were made.
    second: i64,
}

impl Remembered {
    /// Forgets everything: other rules are in force.
    pub fn clear(&mut self) {
        self.by_address.clear();
        self.by_meaning.clear();
    }

    /// The decision on these facts in this transaction state, now: what is remembered, else what `ask` answers.
    pub fn decide(
        &mut self,
        rules: &Policy,
        facts: &Arc<Facts>,
        transaction: char,
        now: Timestamp,
        ask: impl FnOnce() -> Decision,
    ) -> Arc<Decision> {
        if !rules.steady() && now.seconds() != self.second {
            self.second = now.seconds();
            self.clear();
        }
        let address = (Arc::as_ptr(facts).addr(), transaction);
        if let Some((_, known)) = self.by_address.get(&address) {
            return Arc::clone(known);
        }
        if facts.are_large() {
            return Arc::new(ask());
        }
        let meaning = Meaning(Arc::clone(facts), transaction);
        let known = self.by_meaning.get(&meaning).map(Arc::clone);
        let decision = known.unwrap_or_else(|| Arc::new(ask()));
        if self.by_address.len() >= MAX_REMEMBERED {
            self.clear();
        }
        self.by_address.insert(address, (Arc::clone(facts), Arc::clone(&decision)));
        self.by_meaning.entry(meaning).or_insert_with(|| Arc::clone(&decision));
        decision
    }
}

/// All that the rules are told of a statement.
#[derive(Debug)]
struct Meaning(Arc<Facts>, char);

impl Meaning {
    fn asked(&self) -> impl Hash + PartialEq + '_ {
        // Every field by its name, so that one that is added is thought of here. What is left out, the rules are not told.
        let Facts {
            kind,
            statement_count,
            effects,
            functions,
            has_where,
            fingerprint: _,
            problem,
            touched,
            has_limit,
            operators: _,
            conversions: _,
            handles: _,
            executes: _,
            lifts_read_only: _,
            by_shape: _,
        } = &*self.0;
        ((kind, statement_count, effects, functions), (has_where, problem, touched, has_limit), self.1)
    }
}

impl Hash for Meaning {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.asked().hash(state);
    }
}

impl PartialEq for Meaning {
    fn eq(&self, other: &Self) -> bool {
        // Two returns of one function are one type.
        self.asked() == other.asked()
    }
}

impl Eq for Meaning {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, Effect, Kind, Verdict};

    fn facts(fingerprint: &str, action: Action) -> Arc<Facts> {
        let effects = vec![Effect { action, object: None, has_where: false }];
        Arc::new(Facts { kind: Kind::Session, effects, fingerprint: Some(fingerprint.into()), ..Facts::unparsed("") })
    }

    fn decision(message: &str) -> Decision {
        let message = Some(message.to_owned());
        Decision { verdict: Verdict::Deny, rules: Vec::new(), policy_version: String::new(), message, hint: None }
    }

    #[test]
    fn a_decision_is_remembered_by_what_was_asked_and_by_nothing_less() {
        let rules = Policy::load(&[("t.cedar".to_owned(), "permit(principal, action, resource);".to_owned())]).unwrap();
        let mut known = Remembered::default();
        let mut asked = 0;
        let mut ask = |facts: &Arc<Facts>, transaction, seconds: i64| {
            let mut fresh = false;
            let now = Timestamp(seconds * 1_000_000);
            known.decide(&rules, facts, transaction, now, || {
                (asked, fresh) = (asked + 1, true);
                decision(&asked.to_string())
            });
            fresh
        };
        let first = facts("a", Action::Session);
        assert!(ask(&first, 'I', 1));
        assert!(!ask(&first, 'I', 2) && !ask(&facts("b", Action::Session), 'I', 3), "the same was asked");
        assert!(ask(&first, 'T', 1) && ask(&facts("a", Action::Admin), 'I', 1), "something else was asked");
        let many = Arc::new(Facts { functions: vec!["f".to_owned(); 501], ..Facts::unparsed("") });
        assert!(ask(&many, 'I', 1) && ask(&many, 'I', 1), "too large to be kept");
    }

    #[test]
    fn where_a_rule_asks_for_the_time_a_decision_holds_for_its_second() {
        let text = "permit(principal, action, resource) when { context.hour < 12 };".to_owned();
        let rules = Policy::load(&[("t.cedar".to_owned(), text)]).unwrap();
        let mut known = Remembered::default();
        let facts = facts("a", Action::Session);
        let mut ask = |micros: i64| {
            let mut fresh = false;
            known.decide(&rules, &facts, 'I', Timestamp(micros), || {
                fresh = true;
                decision("")
            });
            fresh
        };
        assert!(ask(5_000_000) && !ask(5_999_999) && ask(6_000_000) && ask(5_500_000));
    }
}
