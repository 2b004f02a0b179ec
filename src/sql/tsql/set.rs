//! `SET` of Transact-SQL, and which settings change how text is read.

use super::GRAMMAR;
use crate::model::{Action, Kind, Object, ObjectKind};
use crate::sql::guard::{Kind as Cut, Token};
use crate::sql::other::{leading_name, value};
use crate::sql::statement::Read;
use crate::sql::walk::{NotUnderstood, Result, Walk};

const NOT_READ: NotUnderstood = NotUnderstood("a SET of this sort");

/// Whether a setting changes how text is read, which database or user the session is in, or whether text runs at all.
pub(in crate::sql) fn is_unsafe(name: &str, value: Option<&str>) -> bool {
    match name {
        "quoted_identifier" | "ansi_defaults" => !value.is_some_and(|value| value.eq_ignore_ascii_case("on")),
        "database" | "user" => true,
        _ => false,
    }
}

/// `SET …`, from what follows the word.
pub(super) fn read(tokens: &[Token<'_>], walk: &mut Walk) -> Result<Read> {
    let read = Read { kind: Kind::Session, has_where: None };
    match tokens {
        [variable, rest @ ..] if variable.kind == Cut::Word && variable.text.starts_with('@') => {
            assigned(rest, walk)?;
        }
        [identity, rest @ ..] if identity.is_word("identity_insert") => {
            let (table, on) = table(rest)?;
            // The server asks for the right to alter the table.
            walk.note(Action::Ddl, table, false);
            walk.set("identity_insert", None);
            if !matches!(on, [word] if word.is_word("on") || word.is_word("off")) {
                return Err(NOT_READ);
            }
        }
        [transaction, isolation, rest @ ..] if transaction.is_word("transaction") && isolation.is_word("isolation") => {
            if !rest.iter().all(|token| token.kind == Cut::Word) {
                return Err(NOT_READ);
            }
            walk.set("transaction_isolation", None);
        }
        _ => options(tokens, walk)?,
    }
    Ok(read)
}

/// `@v = value`, `@v += value`: a variable ends with its batch, so it is nobody's setting.
fn assigned(tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    match tokens {
        [mark, rest @ ..] if mark.kind == Cut::Mark && mark.text.ends_with('=') => value(&GRAMMAR, rest, walk),
        _ => Err(NOT_READ),
    }
}

/// `ANSI_NULLS, QUOTED_IDENTIFIER ON`, `STATISTICS IO ON`, `LOCK_TIMEOUT -1`, `LANGUAGE 'French'`.
fn options(tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    let (given, named) = tokens.split_last().ok_or(NOT_READ)?;
    let named = match named {
        [rest @ .., sign] if sign.is_mark("-") => rest,
        named => named,
    };
    if named.is_empty() || matches!(given.kind, Cut::Mark | Cut::Parameter) {
        return Err(NOT_READ);
    }
    for option in named.split(|token| token.is_mark(",")) {
        let words: Vec<String> = option.iter().map(|token| token.text.to_ascii_lowercase()).collect();
        let is_name = matches!(words.len(), 1 | 2) && option.iter().all(|token| token.kind == Cut::Word);
        if !is_name {
            return Err(NOT_READ);
        }
        walk.set(&words.join("_"), Some(given.text));
    }
    Ok(())
}

/// A table's name in up to three parts at the beginning, and what follows it.
pub(super) fn table<'t, 'a>(tokens: &'t [Token<'a>]) -> Result<(Object, &'t [Token<'a>])> {
    let (parts, rest) = leading_name(tokens).ok_or(NOT_READ)?;
    Ok((object(ObjectKind::Table, parts)?, rest))
}

/// The object of a name in up to three parts; `spelled` adds what the first of three says.
pub(super) fn object(kind: ObjectKind, parts: Vec<String>) -> Result<Object> {
    let mut parts = parts;
    let name = parts.pop().filter(|_| parts.len() <= 2).ok_or(NotUnderstood("an object of another server"))?;
    Ok(Object { kind, schema: parts.pop(), name })
}
