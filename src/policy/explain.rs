//! A decision with all that was asked for it: which effect on which resource, and what each rule said.

use super::{MAX_EFFECTS, Moment, Place, Policy, Ruling};
use crate::model::{Decision, Effect, Facts, Principal, RuleId};

/// One question that the rules were asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The effect that it was about; absent for `connect`.
    pub effect: Option<Effect>,
    /// What it was done to, in the words of rules: `Table::"app/clinic/public.patients"`.
    pub resource: String,
    /// Whether it is permitted.
    pub allowed: bool,
    /// Whether no permit was needed: a table that a view reaches.
    pub excused: bool,
    /// Permitted: the rules that permit. Otherwise the rules that forbid; empty when nothing permits.
    pub rules: Vec<RuleId>,
    /// Whether a rule failed while it was evaluated; then the statement is denied whatever the others say.
    pub failed: bool,
    /// The rules in report mode that would have denied it, marked as such.
    pub would_deny: Vec<RuleId>,
}

/// A decision and the questions that led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What was decided.
    pub decision: Decision,
    /// Every question, in the order of the effects. An effect on a name without a schema is a question for each schema
    /// that the name may be in, and all of them must be permitted.
    pub answers: Vec<Told>,
}

impl Policy {
    /// What [`Policy::decide`] decides, and why.
    pub fn explain(&self, who: &Principal, place: &Place, moment: &Moment, facts: &Facts) -> Explanation {
        let mut ruling = Ruling { told: Some(Vec::new()), ..Ruling::default() };
        let decision = self.judge(who, place, moment, facts, &mut ruling);
        Explanation { decision, answers: ruling.told.unwrap_or_default() }
    }

    /// Whether the statement does more than is judged.
    pub(super) fn too_much(facts: &Facts) -> Option<String> {
        let many = facts.effects.len() > MAX_EFFECTS;
        many.then(|| format!("the statement does more than {MAX_EFFECTS} things, too many to judge"))
    }
}

impl Ruling {
    /// Notes an answer, if anybody wants to know.
    pub(super) fn tell(&mut self, answer: impl FnOnce() -> Told) {
        if let Some(told) = &mut self.told {
            told.push(answer());
        }
    }

    /// The last answer was about this effect, and whether that needed no permit.
    pub(super) fn about(&mut self, effect: &Effect, excused: bool) {
        if let Some(last) = self.told.as_mut().and_then(|told| told.last_mut()) {
            (last.effect, last.excused) = (Some(effect.clone()), excused);
        }
    }
}
