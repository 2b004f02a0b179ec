//! The second wall: a session in which the rules can permit no write is opened read-only at the database itself, so that
//! what no reader of text sees (a trigger, a function behind a policy of rows) cannot write either.
//!
//! Promises: a session is walled only where no rule could ever permit its person a write there, whatever comes, so nobody
//! loses what a rule gives; what would lift the wall is denied for as long as the session lives, whatever the rules say by
//! then; and if the database reports all the same that it is lifted, nothing more is sent.
//!
//! The wall is `default_transaction_read_only`, set in the startup packet, because `RESET ALL` and `DISCARD ALL` lead back
//! to that. Rejected: setting it by a statement after the login, which they undo; and a second login of the target for
//! readers, which an operator can have anyhow by a target of its own, and which is the stronger wall where it is there.

use std::sync::Arc;

use super::{ReadOnly, Site};
use crate::model::{Action, Decision, Facts, Principal, RuleId, Verdict};
use crate::wire::postgres::exchange::Wall;

/// What goes upstream last in the startup packet, where it holds whatever stands before it.
const SETTING: (&str, &str) = ("default_transaction_read_only", "on");

/// Whether a session of this person is to be read-only.
pub(super) fn is_due(site: &Site, who: &Principal, database: &str) -> bool {
    site.target.read_only == ReadOnly::ByRules && !site.policy.current().policy.may_write(who, &site.place(database))
}

/// Builds it into what goes upstream.
pub(super) fn build(parameters: &mut Vec<(String, String)>) {
    let (name, value) = SETTING;
    parameters.push((name.to_owned(), value.to_owned()));
}

/// Whether the database says that it opened the session read-only; before version 14 it says nothing.
pub(super) fn stands(reported: &[(String, String)]) -> bool {
    let told = reported.iter().find(|(name, _)| name == SETTING.0);
    told.is_none_or(|(_, value)| value == SETTING.1)
}

/// Whether a statement, or what a client sets when it starts, would lift it.
pub(super) fn is_lifted_by(facts: &Facts) -> bool {
    // A setting whose name is computed may be any.
    let any = facts.effects.iter().any(|effect| effect.action == Action::SetUnsafe && effect.object.is_none());
    facts.lifts_read_only || any
}

/// What becomes of a decision in a session that is walled, for those who try rules out: it is the same.
pub fn walled(decision: Decision, facts: &Facts) -> Decision {
    Arc::unwrap_or_clone(judge(Arc::new(decision), Wall::Standing, facts))
}

/// What becomes of a decision of the rules before this wall.
pub(super) fn judge(decision: Arc<Decision>, wall: Wall, facts: &Facts) -> Arc<Decision> {
    let message = match wall {
        Wall::Standing if is_lifted_by(facts) => LOCKED,
        Wall::Fallen => FALLEN,
        Wall::Absent | Wall::Standing => return decision,
    };
    if !decision.allows() {
        return decision;
    }
    Arc::new(Decision {
        verdict: Verdict::Deny,
        rules: decision.would_deny().map(RuleId::would_deny).collect(),
        policy_version: decision.policy_version.clone(),
        message: Some(message.to_owned()),
        hint: Some("Connect again if the rules have changed meanwhile.".to_owned()),
    })
}

pub(super) const LOCKED: &str =
    "No rule lets you write here, so this session was opened read-only and stays read-only.";
const FALLEN: &str = "This session was opened read-only, and something in the database has ended that.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SqlText;
    use crate::sql::{self, Dialect};

    fn read(text: &str) -> Facts {
        sql::read(&SqlText::from(text), Dialect::PostgreSql)
    }

    #[test]
    fn what_lifts_it_is_told_from_what_drivers_say_all_day() {
        for text in [
            "SET default_transaction_read_only = off",
            "SET LOCAL \"Transaction_Read_Only\" TO 'false'",
            "SET SESSION default_transaction_read_only TO DEFAULT",
            "set transaction read write",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
            "BEGIN READ WRITE",
            "START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ WRITE",
            "SELECT 1; BEGIN READ WRITE",
            "RESET transaction_read_only",
            "SELECT set_config('default_transaction_read_only', 'off', false)",
            "SELECT pg_catalog.set_config('transaction_read_only', $1, true)",
            "SELECT set_config('default_' || 'transaction_read_only', 'off', false)",
            "SELECT * FROM set_config(new_value => 'off', setting_name => 'transaction_read_only', is_local => false)",
            "ALTER ROLE app SET default_transaction_read_only = off",
        ] {
            assert!(is_lifted_by(&read(text)), "{text}");
        }
        for text in [
            "SET default_transaction_read_only = on",
            "SET transaction_read_only TO 'yes'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            "BEGIN READ ONLY",
            "BEGIN",
            "SHOW transaction_read_only",
            "RESET ALL",
            "DISCARD ALL",
            "RESET default_transaction_read_only",
            "SET extra_float_digits = 3",
            "SELECT set_config('search_path', 'app', false)",
        ] {
            assert!(!is_lifted_by(&read(text)), "{text}");
        }
        let begun_with = |value| sql::settings([("default_transaction_read_only", value)]);
        assert!(is_lifted_by(&begun_with("off")) && !is_lifted_by(&begun_with("on")));
    }

    #[test]
    fn what_the_rules_allow_is_denied_where_it_lifts_the_wall_and_everything_once_it_is_down() {
        let rules = vec![RuleId("all".to_owned()), RuleId::would_deny("tried")];
        let allowed = Arc::new(Decision {
            verdict: Verdict::Allow,
            rules,
            policy_version: "v".to_owned(),
            message: None,
            hint: None,
        });
        let judged = |wall, text| judge(Arc::clone(&allowed), wall, &read(text));
        assert!(judged(Wall::Absent, "BEGIN READ WRITE").allows());
        assert!(judged(Wall::Standing, "BEGIN").allows());
        let denied = judged(Wall::Standing, "BEGIN READ WRITE");
        assert_eq!((denied.allows(), denied.message.as_deref()), (false, Some(LOCKED)));
        assert_eq!(denied.rules, [RuleId::would_deny("tried")]);
        assert!(!judged(Wall::Fallen, "SELECT 1").allows());
    }

    #[test]
    fn a_database_that_says_nothing_is_believed_and_one_that_says_no_is_not() {
        let told = |value: &str| stands(&[(SETTING.0.to_owned(), value.to_owned())]);
        assert!(stands(&[]) && told("on") && !told("off"));
    }
}
