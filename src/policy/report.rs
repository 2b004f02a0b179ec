//! Rules in report mode: asked beside those that decide, and named where they would have denied.

use cedar_policy::{Entities, EntityUid, Request};

use super::{Policy, Ruling};
use crate::model::{Decision, RuleId};

impl Policy {
    /// The rules in report mode that would have denied this, marked as such; those that fail among them.
    pub(super) fn would_deny(
        &self,
        question: (&EntityUid, &EntityUid, &EntityUid),
        request: &Request,
        entities: &Entities,
    ) -> Vec<RuleId> {
        if self.reported.is_empty() {
            return Vec::new();
        }
        // There are only forbids in it, so whatever is a reason is one to deny.
        let rules = self.reported_by_head.slice(question, entities);
        let response = self.authorizer.is_authorized(request, rules.as_deref().unwrap_or(&self.reported), entities);
        let said = response.diagnostics();
        let failed = said.errors().map(|error| match error {
            cedar_policy::AuthorizationError::PolicyEvaluationError(error) => error.policy_id(),
        });
        said.reason().chain(failed).map(|id| RuleId::would_deny(id.as_ref())).collect()
    }
}

impl Ruling {
    /// The decision with the rules in report mode after those that made it.
    pub(super) fn with_reported(&self, mut decision: Decision) -> Decision {
        decision.rules.extend(self.would_deny.iter().cloned());
        decision
    }
}
