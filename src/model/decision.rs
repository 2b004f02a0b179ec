//! Allow or deny, and by which rules.

use serde::{Deserialize, Serialize};

/// A rule's name: its `@id`, else what the rule engine calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub String);

impl RuleId {
    /// What the name of a rule in report mode begins with where a decision names it. No rule may be named so itself.
    pub const WOULD_DENY: &str = "would-deny:";

    /// A rule in report mode that would have denied.
    pub fn would_deny(name: &str) -> Self {
        Self(format!("{}{name}", Self::WOULD_DENY))
    }

    /// The name of the rule, if it is in report mode and so decided nothing.
    pub fn reported(&self) -> Option<&str> {
        self.0.strip_prefix(Self::WOULD_DENY)
    }
}

/// Whether it may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every effect is permitted and none forbidden.
    Allow,
    /// Anything else.
    Deny,
}

impl Verdict {
    /// The word in columns.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// A judgement, with the rules that made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it may happen.
    pub verdict: Verdict,
    /// Allowed: the rules that permitted. Denied: the rules that forbade; none when nothing permitted. After them, marked
    /// as such, the rules in report mode that would have denied.
    pub rules: Vec<RuleId>,
    /// The version of the rules: a hash of their text.
    pub policy_version: String,
    /// For a denial: the rule author's sentence, or ours. For what no rule had to permit: why.
    pub message: Option<String>,
    /// For a denial: what to do instead, if the author said.
    pub hint: Option<String>,
}

impl Decision {
    /// Whether it is an allow.
    pub fn allows(&self) -> bool {
        self.verdict == Verdict::Allow
    }

    /// The rules that made it.
    pub fn deciding(&self) -> impl Iterator<Item = &RuleId> {
        self.rules.iter().filter(|rule| rule.reported().is_none())
    }

    /// The names of the rules in report mode that would have denied.
    pub fn would_deny(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(RuleId::reported)
    }
}
