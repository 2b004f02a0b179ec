//! Allow or deny, and by which rules.

use serde::{Deserialize, Serialize};

/// A rule's name: its `@id`, else what the rule engine calls it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub String);

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
    /// Allowed: the rules that permitted. Denied: the rules that forbade; empty when nothing permitted.
    pub rules: Vec<RuleId>,
    /// The version of the rules: a hash of their text.
    pub policy_version: String,
    /// For a denial: the rule author's sentence, or ours.
    pub message: Option<String>,
    /// For a denial: what to do instead, if the author said.
    pub hint: Option<String>,
}

impl Decision {
    /// Whether it is an allow.
    pub fn allows(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}
