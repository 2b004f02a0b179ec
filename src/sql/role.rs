//! Which role a text takes, in the forms that say it plainly.
//!
//! Promises: a change that is given is the one that the server makes; any other form is nothing, and it is for the asker to
//! take the worst of it.

use super::guard::{self, Kind, Token};
use super::names;
use crate::model::{RoleChange, SqlText};

/// The role that the whole text takes, if that is all it does.
pub fn role_change(text: &SqlText) -> Option<RoleChange> {
    let tokens = guard::tokens(text.text()?).ok()?;
    let statements = guard::statements(&tokens);
    let [statement] = statements.as_slice() else { return None };
    let (first, rest) = statement.split_first()?;
    if first.is_word("set") {
        return set(rest);
    }
    if first.is_word("select") {
        return set_config(rest);
    }
    if first.is_word("show") {
        return Some(RoleChange::No);
    }
    let words =
        |words: &[&str]| rest.len() == words.len() && rest.iter().zip(words).all(|(one, word)| one.is_word(word));
    if first.is_word("reset") {
        let authorization = words(&["session", "authorization"]) || words(&["session_authorization"]);
        return match authorization {
            true => Some(RoleChange::Authorize { initial: true, local: false }),
            false if words(&["role"]) => Some(RoleChange::Take { role: None, local: false }),
            // Neither the role nor the user is among all (GUC_NO_RESET_ALL).
            false => words(&["all"]).then_some(RoleChange::No),
        };
    }
    // It ends with SET SESSION AUTHORIZATION DEFAULT.
    let discards = first.is_word("discard") && words(&["all"]);
    discards.then_some(RoleChange::Authorize { initial: true, local: false })
}

/// What stands behind `SET`.
fn set(tokens: &[Token<'_>]) -> Option<RoleChange> {
    let authorizes = |tokens: &[Token<'_>]| matches!(tokens, [one, two, ..] if one.is_word("session") && two.is_word("authorization"));
    let (local, tokens) = match tokens {
        [scope, rest @ ..] if scope.is_word("local") => (true, rest),
        [scope, rest @ ..] if scope.is_word("session") && !authorizes(tokens) => (false, rest),
        _ => (false, tokens),
    };
    let assigned = |equals: &Token<'_>| equals.is_mark("=") || equals.is_word("to");
    match tokens {
        [name, value] if name.is_word("role") && !value.is_word("default") => take(value, local),
        [name, equals, value] if name.is_word("role") && assigned(equals) => take(value, local),
        [_, _, value] if authorizes(tokens) => authorize(value, local),
        [name, equals, value] if name.is_word("session_authorization") && assigned(equals) => authorize(value, local),
        _ => None,
    }
}

/// `set_config('role', 'x', false)` behind `SELECT`.
fn set_config(tokens: &[Token<'_>]) -> Option<RoleChange> {
    let tokens = match tokens {
        [schema, dot, rest @ ..] if schema.is_word("pg_catalog") && dot.is_mark(".") => rest,
        _ => tokens,
    };
    let [function, open, name, comma, value, another, local, close] = tokens else { return None };
    let marks = open.is_mark("(") && comma.is_mark(",") && another.is_mark(",") && close.is_mark(")");
    let is_local = [("true", true), ("false", false)].into_iter().find(|(word, _)| local.is_word(word))?.1;
    let is_role = word(name).is_some_and(|name| name.eq_ignore_ascii_case("role")) && name.kind == Kind::Text;
    (function.is_word("set_config") && marks && is_role && value.kind == Kind::Text)
        .then(|| word(value))
        .flatten()
        .map(|role| RoleChange::Take { role: Some(role), local: is_local })
}

fn take(value: &Token<'_>, local: bool) -> Option<RoleChange> {
    let role = if value.is_word("default") { None } else { Some(word(value)?) };
    Some(RoleChange::Take { role, local })
}

fn authorize(value: &Token<'_>, local: bool) -> Option<RoleChange> {
    word(value)?;
    Some(RoleChange::Authorize { initial: value.is_word("default"), local })
}

/// The name or plain string that a token is.
fn word(token: &Token<'_>) -> Option<String> {
    match token.kind {
        Kind::Text => {
            let inside = token.text.strip_prefix('\'')?.strip_suffix('\'')?;
            Some(inside.replace("''", "'"))
        }
        _ => names::of_token(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<RoleChange> {
        role_change(&SqlText::from(text))
    }

    fn takes(role: &str, local: bool) -> Option<RoleChange> {
        Some(RoleChange::Take { role: Some(role.to_owned()), local })
    }

    #[test]
    fn a_plain_form_says_which_role_is_taken() {
        for (text, wanted) in [
            ("SET ROLE Clerk", takes("clerk", false)),
            ("set session role \"Clerk\" ;", takes("Clerk", false)),
            ("set local role 'it''s'", takes("it's", true)),
            ("set role none -- again", takes("none", false)),
            ("SET role TO clerk", takes("clerk", false)),
            ("SET LOCAL role = 'clerk'", takes("clerk", true)),
            ("select set_config('ROLE', 'clerk', true)", takes("clerk", true)),
            ("select pg_catalog.set_config('role','clerk',false);", takes("clerk", false)),
            ("set role to default", Some(RoleChange::Take { role: None, local: false })),
            ("reset role", Some(RoleChange::Take { role: None, local: false })),
            ("reset all", Some(RoleChange::No)),
            ("discard all", Some(RoleChange::Authorize { initial: true, local: false })),
            ("reset session authorization", Some(RoleChange::Authorize { initial: true, local: false })),
            ("set session authorization default", Some(RoleChange::Authorize { initial: true, local: false })),
            ("set local session authorization app", Some(RoleChange::Authorize { initial: false, local: true })),
            ("set session session authorization 'app'", Some(RoleChange::Authorize { initial: false, local: false })),
            ("set session_authorization = app", Some(RoleChange::Authorize { initial: false, local: false })),
        ] {
            assert_eq!(of(text), wanted, "{text}");
        }
    }

    #[test]
    fn every_other_form_says_nothing() {
        for text in [
            "set role clerk; select 1",
            "set role a, b",
            "set role E'clerk'",
            "set role",
            "set search_path = role",
            "select set_config('role', 'clerk', false), 1",
            "select set_config('role', $1, false)",
            "select set_config('role', current_user, false)",
            "select set_config('search_path', 'x', false)",
            "select my.set_config('role', 'x', false)",
            "alter role app set role = clerk",
            "execute p",
            "",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
