//! Names, folded as PostgreSQL folds them.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use super::guard::{Kind as Cut, Token};
use super::walk::{NotUnderstood, Result};
use crate::model::{Object, ObjectKind};

/// Unquoted: ASCII letters in lower case, others as they are; quoted: as written.
pub(super) fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        None => ident.value.to_ascii_lowercase(),
        Some(_) => ident.value.clone(),
    }
}

/// The object a name means: `name`, `schema.name`, or `database.schema.name` (where PostgreSQL accepts only the
/// session's own database).
pub(super) fn object(kind: ObjectKind, name: &ObjectName) -> Result<Object> {
    object_of(kind, &idents(name)?)
}

/// The same for a name in parts.
pub(super) fn object_of(kind: ObjectKind, parts: &[&Ident]) -> Result<Object> {
    match parts {
        [name] => Ok(Object { kind, schema: None, name: fold(name) }),
        [schema, name] | [_, schema, name] => Ok(Object { kind, schema: Some(fold(schema)), name: fold(name) }),
        _ => Err(NotUnderstood("a name of more than three parts")),
    }
}

/// An object with a plain name.
pub(super) fn plain(kind: ObjectKind, name: &Ident) -> Object {
    Object { kind, schema: None, name: fold(name) }
}

/// The name that a token is, folded; nothing if it is no plain name. The guard lets no name pass that the server would cut.
pub(super) fn of_token(token: &Token<'_>) -> Option<String> {
    match token.kind {
        Cut::Word => Some(token.text.to_ascii_lowercase()),
        Cut::Quoted if token.text.starts_with('"') => Some(unquoted(token.text)),
        _ => None,
    }
}

/// The parts of a name.
pub(super) fn idents<'n>(name: &'n ObjectName) -> Result<Vec<&'n Ident>> {
    let part = |part: &'n ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Ok(ident),
        ObjectNamePart::Function(_) => Err(NotUnderstood("a name that is computed")),
    };
    name.0.iter().map(part).collect()
}

/// A setting's name: dotted parts joined, in lower case, for settings are matched without regard to case.
pub(super) fn setting(name: &ObjectName) -> Result<String> {
    let parts: Vec<_> = idents(name)?.into_iter().map(|part| part.value.to_ascii_lowercase()).collect();
    Ok(parts.join("."))
}

/// The object that a string names, as the server's `regclass` reads it; nothing if it is a number or no name.
pub(super) fn in_string(kind: ObjectKind, text: &str) -> Option<Object> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let blank = |c: char| c.is_ascii_whitespace();
        let (part, after) = match rest.trim_start_matches(blank).strip_prefix('"') {
            Some(inside) => quoted(inside)?,
            None => {
                let bare = rest.trim_start_matches(blank);
                let (part, after) = bare.split_at(bare.find(|c: char| c == '.' || blank(c)).unwrap_or(bare.len()));
                (part.to_ascii_lowercase(), after)
            }
        };
        if part.is_empty() || part == "-" || part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        parts.push(part);
        rest = after.trim_start_matches(blank);
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    match <[String; 1]>::try_from(parts) {
        Ok([name]) => Some(Object { kind, schema: None, name }),
        Err(mut parts) if matches!(parts.len(), 2 | 3) => {
            let name = parts.pop()?;
            Some(Object { kind, schema: parts.pop(), name })
        }
        Err(_) => None,
    }
}

/// What stands before the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let (part, after) = rest.split_once('"')?;
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(again) => {
                name.push('"');
                rest = again;
            }
            None => return Some((name, after)),
        }
    }
}

/// A quoted name without its quotes.
pub(super) fn unquoted(name: &str) -> String {
    let inside = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(name);
    inside.replace("\"\"", "\"")
}
