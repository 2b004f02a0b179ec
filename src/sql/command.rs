//! Simple commands that the parser does not know, read from the guard's tokens.
//!
//! Promises: only commands whose whole grammar is words, names and numbers are read here, so that nothing can hide in
//! them; anything else about them is left to the parser.

use super::guard::{Kind as Cut, Token};
use super::walk::Walk;
use crate::model::{Action, Kind};

/// Reads a simple command, or says that it is none.
pub(super) fn read(tokens: &[Token<'_>], walk: &mut Walk) -> Option<Kind> {
    let [first, rest @ ..] = tokens else { return None };
    let named = |words: &[&str]| words.iter().any(|word| first.is_word(word));
    let (kind, action) = if named(&["checkpoint", "reindex", "cluster", "listen", "unlisten"]) {
        (Kind::Admin, Action::Admin)
    } else if named(&["notify"]) {
        // The payload is a string; a string is all that may stand there.
        let plain = rest.iter().all(|token| is_plain(token) || token.kind == Cut::Text || token.is_mark(","));
        walk.note_plain(Action::Admin);
        return plain.then_some(Kind::Admin);
    } else if named(&["fetch", "move", "close"]) {
        (Kind::Cursor, Action::Session)
    } else if named(&["deallocate"]) {
        (Kind::Prepare, Action::Session)
    } else if named(&["begin", "start", "abort", "end", "commit", "rollback"]) {
        if !rest.iter().all(|token| token.is_mark(",") || TRANSACTION.iter().any(|word| token.is_word(word))) {
            return None;
        }
        (Kind::Transaction, Action::Session)
    } else if named(&["set"]) && rest.first().is_some_and(|token| token.is_word("constraints")) {
        (Kind::Session, Action::Session)
    } else {
        return None;
    };
    if !rest.iter().all(is_plain) {
        return None;
    }
    walk.note_plain(action);
    Some(kind)
}

const TRANSACTION: &[&str] = &[
    "transaction",
    "work",
    "isolation",
    "level",
    "serializable",
    "repeatable",
    "read",
    "committed",
    "uncommitted",
    "only",
    "write",
    "not",
    "deferrable",
    "and",
    "no",
    "chain",
];

fn is_plain(token: &Token<'_>) -> bool {
    match token.kind {
        Cut::Word | Cut::Quoted | Cut::Number => true,
        Cut::Mark => matches!(token.text, "." | "," | "(" | ")" | "-" | "+" | "*"),
        Cut::Text | Cut::Parameter => false,
    }
}

/// `TABLE t …` as the `SELECT * FROM t …` that it is by definition; the parser knows it inside of queries only.
pub(super) fn as_query(tokens: &[Token<'_>]) -> Option<String> {
    match tokens {
        [first, rest @ ..] if first.is_word("table") && !rest.is_empty() => {
            Some(format!("SELECT * FROM {}", super::guard::canonical(rest)))
        }
        _ => None,
    }
}
