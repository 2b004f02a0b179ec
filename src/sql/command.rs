//! Simple commands that the parser does not know, read from the guard's tokens.
//!
//! Promises: only commands whose whole grammar is words, names and numbers are read here, so that nothing can hide in
//! them; anything else about them is left to the parser.

use super::guard::{self, Kind as Cut, Token};
use super::names;
use super::walk::Walk;
use crate::model::{Action, Handle, Kind, Object, ObjectKind};

/// Reads a simple command, or says that it is none.
pub(super) fn read(tokens: &[Token<'_>], walk: &mut Walk) -> Option<Kind> {
    let [first, rest @ ..] = tokens else { return None };
    let named = |words: &[&str]| words.iter().any(|word| first.is_word(word));
    let (kind, action) = if named(&["checkpoint", "listen"]) {
        (Kind::Admin, Action::Admin)
    } else if named(&["unlisten"]) {
        // Ends what LISTEN began: no more than the session's own state.
        return rest.iter().all(is_plain).then(|| {
            walk.set("listen", None);
            Kind::Session
        });
    } else if named(&["notify"]) {
        // The payload is a string; a string is all that may stand there.
        if !rest.iter().all(|token| is_plain(token) || token.kind == Cut::Text) {
            return None;
        }
        walk.note_plain(Action::Admin);
        return Some(Kind::Admin);
    } else if named(&["vacuum", "analyze", "analyse"]) {
        return maintenance(rest, walk);
    } else if named(&["fetch", "move"]) {
        // Whatever stands between, the cursor's name is the last word.
        walk.handles.push(Handle::Fetch(rest.last().and_then(names::of_token)));
        (Kind::Cursor, Action::Session)
    } else if named(&["close"]) {
        walk.handles.push(Handle::Close(given_up(rest)?));
        (Kind::Cursor, Action::Session)
    } else if named(&["deallocate"]) {
        walk.handles.push(Handle::Deallocate(given_up(rest)?));
        (Kind::Prepare, Action::Session)
    } else if named(&["begin", "start", "abort", "end", "commit", "rollback"]) {
        if !rest.iter().all(|token| token.is_mark(",") || TRANSACTION.iter().any(|word| token.is_word(word))) {
            return None;
        }
        if rest.iter().any(|token| token.is_word("write")) {
            // It lifts what holds the session back; READ ONLY only holds it.
            walk.set("transaction_read_only", None);
        }
        (Kind::Transaction, Action::Session)
    } else if named(&["set"]) && rest.first().is_some_and(|token| token.is_word("constraints")) {
        if rest.iter().all(is_plain) {
            walk.set("constraints", None);
        }
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

/// The name that stands last in `DEALLOCATE PREPARE p` and `CLOSE c`; nothing inside for `ALL`, and outside if it is no name.
fn given_up(rest: &[Token<'_>]) -> Option<Option<String>> {
    let [.., name] = rest else { return None };
    if name.is_word("all") { Some(None) } else { names::of_token(name).map(Some) }
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

/// `VACUUM (FULL) ANALYZE s.t (a, b), u`: words or a list of options, then tables with columns.
fn maintenance(tokens: &[Token<'_>], walk: &mut Walk) -> Option<Kind> {
    if !tokens.iter().all(is_plain) {
        return None;
    }
    let is_option = |token: &Token<'_>| OPTIONS.iter().any(|word| token.is_word(word));
    let mut depth = 0_i32;
    let mut tables: Vec<Vec<String>> = vec![Vec::new()];
    let mut in_options = true;
    for token in tokens {
        depth += i32::from(token.is_mark("("));
        in_options &= depth > 0 || is_option(token);
        if depth == 0 && !in_options {
            let part = tables.last_mut()?;
            match token.kind {
                Cut::Word => part.push(token.text.to_ascii_lowercase()),
                Cut::Quoted => part.push(names::unquoted(token.text)),
                _ if token.is_mark(",") => tables.push(Vec::new()),
                _ if token.is_mark(".") => {}
                _ => return None,
            }
        }
        depth -= i32::from(token.is_mark(")"));
    }
    let mut objects = Vec::new();
    for table in &tables {
        let (schema, name) = match table.as_slice() {
            [name] => (None, name),
            [schema, name] | [_, schema, name] => (Some(schema.clone()), name),
            [] if tables.len() == 1 => continue,
            _ => return None,
        };
        objects.push(Object { kind: ObjectKind::Table, schema, name: name.clone() });
    }
    if objects.is_empty() {
        walk.note_plain(Action::Admin);
    }
    objects.into_iter().for_each(|object| walk.note(Action::Admin, object, false));
    Some(Kind::Admin)
}

const OPTIONS: &[&str] = &["full", "freeze", "verbose", "analyze", "analyse"];

/// A statement as the parser is given it.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// One line.
    pub(super) line: String,
    /// How many words it has more, and fewer, than the statement.
    pub(super) words: (usize, usize),
    /// How many of them are `SELECT`.
    pub(super) selects: usize,
    /// Whether its condition was the row that a cursor stands on.
    pub(super) of_cursor: bool,
}

/// The statement in the words that the parser knows: `TABLE t …`, known to it inside of queries only, as the
/// `SELECT * FROM t …` that it is by definition; and `WHERE CURRENT OF c` at the end, which it does not know, as a
/// condition that names nothing.
pub(super) fn rewritten(tokens: &[Token<'_>]) -> Rewritten {
    match tokens {
        [first, rest @ ..] if first.is_word("table") && !rest.is_empty() => {
            let line = format!("SELECT * FROM {}", guard::canonical(rest));
            Rewritten { line, words: (3, 2), selects: 1, of_cursor: false }
        }
        [change, .., clause, current, of, Token { kind: Cut::Word | Cut::Quoted, .. }]
            if (change.is_word("update") || change.is_word("delete"))
                && clause.is_word("where")
                && current.is_word("current")
                && of.is_word("of") =>
        {
            let kept = tokens.get(..tokens.len() - 3).unwrap_or_default();
            let line = format!("{} 1 = 1", guard::canonical(kept));
            Rewritten { line, words: (0, 3), selects: 0, of_cursor: true }
        }
        _ => Rewritten { line: guard::canonical(tokens), words: (0, 0), selects: 0, of_cursor: false },
    }
}
