//! `SET` of MySQL, and which settings change how text is read.

use crate::model::{Action, Kind, Object, ObjectKind};
use crate::sql::guard::{Kind as Cut, Token};
use crate::sql::mysql::GRAMMAR;
use crate::sql::other::{are_plain, between_commas, said, unquoted, value};
use crate::sql::walk::{NotUnderstood, Result, Walk};

const NOT_READ: NotUnderstood = NotUnderstood("a SET of this sort");

/// Modes that say what values may be, not how text is read.
const MODES: &[&str] = &[
    "",
    "allow_invalid_dates",
    "error_for_division_by_zero",
    "no_auto_create_user",
    "no_auto_value_on_zero",
    "no_engine_substitution",
    "no_zero_date",
    "no_zero_in_date",
    "only_full_group_by",
    "strict_all_tables",
    "strict_trans_tables",
];

/// Whether a setting changes how text is read or who the session is. Values that leave both as they must be are safe.
pub(in crate::sql) fn is_unsafe(name: &str, value: Option<&str>) -> bool {
    let value = value.map(str::to_ascii_lowercase);
    let is = |words: &[&str]| value.as_deref().is_some_and(|value| words.contains(&value));
    match name {
        "role" | "pseudo_thread_id" | "init_connect" => true,
        "sql_mode" => !value.is_some_and(|value| value.split(',').all(|mode| MODES.contains(&mode.trim()))),
        "names" | "character_set_client" | "character_set_connection" | "collation_connection" => {
            let utf8 = is(&["utf8mb4", "utf8", "utf8mb3"]);
            let of_utf8 = value.as_deref().is_some_and(|value| value.starts_with("utf8mb4_"));
            !(utf8 || of_utf8)
        }
        _ => false,
    }
}

/// `SET …`, from what follows the word.
pub(super) fn read(tokens: &[Token<'_>], walk: &mut Walk) -> Result<Kind> {
    let is =
        |at: usize, words: &[&str]| tokens.get(at).is_some_and(|token| words.iter().any(|word| token.is_word(word)));
    if is(0, &["password"]) || is(0, &["default"]) && is(1, &["role"]) {
        walk.note_plain(Action::Dcl);
        return if are_plain(tokens) { Ok(Kind::Dcl) } else { Err(NOT_READ) };
    }
    if is(0, &["role"]) {
        walk.set("role", None);
        return if are_plain(tokens) { Ok(Kind::Session) } else { Err(NOT_READ) };
    }
    if is(0, &["statement"]) || is(0, &["resource"]) {
        return Err(NOT_READ);
    }
    let scoped = usize::from(is(0, &["global", "session", "local"]));
    if is(scoped, &["transaction"]) {
        if scoped == 1 && is(0, &["global"]) {
            walk.note_plain(Action::Admin);
        }
        return transaction(tokens.get(scoped + 1..).unwrap_or_default(), walk);
    }
    for assignment in between_commas(tokens) {
        one(assignment, walk)?;
    }
    Ok(Kind::Session)
}

/// `ISOLATION LEVEL …, READ ONLY`.
fn transaction(tokens: &[Token<'_>], walk: &mut Walk) -> Result<Kind> {
    if tokens.is_empty() || !tokens.iter().all(|token| token.kind == Cut::Word || token.is_mark(",")) {
        return Err(NOT_READ);
    }
    if tokens.iter().any(|token| token.is_word("isolation")) {
        walk.set("transaction_isolation", None);
    }
    if tokens.iter().any(|token| token.is_word("write") || token.is_word("only")) {
        walk.set("transaction_read_only", None);
    }
    Ok(Kind::Transaction)
}

fn one(tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    let is_word = |token: &Token<'_>, words: &[&str]| words.iter().any(|word| token.is_word(word));
    match tokens {
        [names, rest @ ..] if names.is_word("names") => encoding("names", rest, walk),
        [charset, rest @ ..] if charset.is_word("charset") => encoding("names", rest, walk),
        [character, set, rest @ ..] if character.is_word("character") && set.is_word("set") => {
            encoding("names", rest, walk)
        }
        [scope, rest @ ..]
            if is_word(scope, &["global", "persist", "persist_only"])
                && !rest.first().is_some_and(|next| is_mark_of_assignment(next)) =>
        {
            walk.note_plain(Action::Admin);
            assigned(rest, walk)
        }
        [scope, rest @ ..]
            if is_word(scope, &["session", "local"])
                && !rest.first().is_some_and(|next| is_mark_of_assignment(next)) =>
        {
            assigned(rest, walk)
        }
        _ => assigned(tokens, walk),
    }
}

fn is_mark_of_assignment(token: &Token<'_>) -> bool {
    token.is_mark("=") || token.is_mark(":=")
}

/// `utf8mb4 COLLATE c`: a character set is a word or a string.
fn encoding(setting: &str, tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    let (charset, rest) = tokens.split_first().ok_or(NOT_READ)?;
    let is_collation = matches!(rest, [] | [_, _]) && rest.first().is_none_or(|word| word.is_word("collate"));
    if !is_collation || !are_plain(tokens) {
        return Err(NOT_READ);
    }
    walk.set(setting, word_of(charset).as_deref());
    Ok(())
}

/// `name = value`, `@@scope.name = value`, `@variable := value`.
fn assigned(tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    let at = tokens.iter().position(is_mark_of_assignment).ok_or(NOT_READ)?;
    let (target, rest) = tokens.split_at(at);
    let given = rest.get(1..).unwrap_or_default();
    let scope = target.first().ok_or(NOT_READ)?;
    let is_global = ["@@global", "@@persist", "@@persist_only"].iter().any(|word| scope.is_word(word));
    let parts: Vec<String> = target.iter().filter(|token| !token.is_mark(".")).filter_map(name_of).collect();
    if !target.iter().all(|token| token.is_mark(".") || name_of(token).is_some()) {
        return Err(NOT_READ);
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let name = match parts.as_slice() {
        ["@@global" | "@@persist" | "@@persist_only" | "@@session" | "@@local", name] => (*name).to_owned(),
        // A variable of a key cache or a component has two parts.
        [part, name] => format!("{}.{name}", part.trim_start_matches("@@")),
        [name] if name.starts_with("@@") => name.trim_start_matches('@').to_owned(),
        [name] => (*name).to_owned(),
        _ => return Err(NOT_READ),
    };
    if is_global {
        walk.note_plain(Action::Admin);
    }
    let word = match given {
        [only] => word_of(only),
        _ => None,
    };
    walk.set(&name, word.as_deref());
    value(&GRAMMAR, given, walk)
}

/// Notes a setting that a statement changes without `SET`.
pub(super) fn note(walk: &mut Walk, name: &str) {
    walk.note(Action::Session, Object { kind: ObjectKind::Setting, schema: None, name: name.to_owned() }, false);
}

fn name_of(token: &Token<'_>) -> Option<String> {
    match token.kind {
        Cut::Word => Some(token.text.to_ascii_lowercase()),
        Cut::Quoted => Some(unquoted(token.text).to_ascii_lowercase()),
        _ => None,
    }
}

fn word_of(token: &Token<'_>) -> Option<String> {
    match token.kind {
        Cut::Word | Cut::Number => Some(token.text.to_owned()),
        Cut::Quoted => Some(unquoted(token.text)),
        Cut::Text => said(token, true),
        _ => None,
    }
}
