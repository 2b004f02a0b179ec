//! Which role a statement takes at the database.

use super::names::may_set_anything;
use crate::model::{Action, Effect, Facts, Kind, ObjectKind, RoleChange, SqlText};
use crate::sql::role_change;

/// Settings that say as whom a session acts.
const WHO: &[&str] = &["role", "session_authorization", EVERY];
/// The name that stands for every setting.
const EVERY: &str = "all";

/// What a statement does to the role of its session.
pub(super) fn change(facts: &Facts, text: &SqlText) -> RoleChange {
    if facts.effects.iter().any(may_set_anything) {
        return RoleChange::Unseen;
    }
    // What is defined for a role or a function takes hold in another session, or ends with the function.
    let is_defined = matches!(facts.kind, Kind::Dcl | Kind::Ddl);
    if is_defined || !facts.effects.iter().any(says_who) {
        return RoleChange::No;
    }
    role_change(text).unwrap_or(RoleChange::Unseen)
}

fn says_who(effect: &Effect) -> bool {
    let setting = effect.object.as_ref().filter(|object| object.kind == ObjectKind::Setting);
    match (effect.action, setting.map(|setting| setting.name.as_str())) {
        (Action::SetUnsafe, Some(name)) => WHO.contains(&name),
        (Action::Session, name) => name == Some(EVERY),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Dialect, read};

    #[test]
    fn a_statement_changes_the_role_by_name_or_perhaps_unseen_or_not() {
        let of = |text: &str| change(&read(&SqlText::from(text), Dialect::PostgreSql), &SqlText::from(text));
        let clerk = |local| RoleChange::Take { role: Some("clerk".to_owned()), local };
        for (text, wanted) in [
            ("set role clerk", clerk(false)),
            ("set local role clerk", clerk(true)),
            ("select set_config('role', 'clerk', true)", clerk(true)),
            ("set role clerk; select 1", RoleChange::Unseen),
            ("select set_config('role', current_user::text, false)", RoleChange::Unseen),
            ("select set_config(x, 'clerk', false) from t", RoleChange::Unseen),
            ("select my_function()", RoleChange::Unseen),
            ("call my_procedure()", RoleChange::Unseen),
            ("do $$ begin end $$", RoleChange::Unseen),
            ("show role", RoleChange::No),
            ("show all", RoleChange::No),
            ("reset all", RoleChange::No),
            ("set search_path = a", RoleChange::No),
            ("alter role app set role = clerk", RoleChange::No),
            ("select now(), count(*) from t", RoleChange::No),
            ("begin", RoleChange::No),
        ] {
            assert_eq!(of(text), wanted, "{text}");
        }
    }
}
