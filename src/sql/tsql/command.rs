//! Statements of Transact-SQL that are read from tokens, because the parser does not know them or knows less.
//!
//! Promises: each token of such a statement is a word, a name or a value, or is parsed as an expression; what else stands
//! there makes it not understood.

use super::batch::makes_routine;
use super::set::{object, table};
use super::{GRAMMAR, RESERVED, exec, set};
use crate::model::{Action, Kind, ObjectKind};
use crate::sql::guard::{Kind as Cut, Token};
use crate::sql::other::{are_plain, between_commas, done, leading_name, places, plain, statement, value};
use crate::sql::statement::Read;
use crate::sql::walk::{NotUnderstood, Result, Walk};

const NOT_READ: NotUnderstood = NotUnderstood("a command of this sort, or with more than words and values");

/// Commands that control the server or touch files of its own, whatever follows.
const ADMIN: &[&str] =
    &["backup", "checkpoint", "dbcc", "disk", "dump", "kill", "load", "reconfigure", "restore", "shutdown", "waitfor"];

/// Kinds of principals, as `CREATE LOGIN` names them.
const PRINCIPALS: &[&str] = &["login", "user", "role", "credential", "certificate", "server", "application"];

type Answer = Option<Result<Read>>;

/// Reads a command, or says that it is none.
pub(super) fn read(tokens: &[Token<'_>], walk: &mut Walk) -> Answer {
    let [first, rest @ ..] = tokens else { return None };
    if first.kind == Cut::Quoted {
        // `[sp_who]`: a call by the procedure's name alone.
        return Some(exec::procedure(tokens, walk));
    }
    if first.kind != Cut::Word {
        return None;
    }
    let second = |words: &[&str]| rest.first().is_some_and(|token| words.iter().any(|word| token.is_word(word)));
    let word = first.text.to_ascii_lowercase();
    match word.as_str() {
        "set" => Some(set::read(rest, walk)),
        "exec" | "execute" => Some(exec::read(rest, walk)),
        "use" => {
            walk.set("database", None);
            let named = matches!(rest, [Token { kind: Cut::Word | Cut::Quoted, .. }]);
            if named { done(Kind::Session) } else { Some(Err(NOT_READ)) }
        }
        "begin" | "commit" | "rollback" | "save" => transaction(&word, rest, walk),
        "insert" => inserted_by_call(rest, walk),
        "declare" => declared(rest, walk),
        "raiserror" | "throw" => raised(&word, rest, walk),
        "revert" | "setuser" => {
            walk.set("user", None);
            if are_plain(rest) { done(Kind::Session) } else { Some(Err(NOT_READ)) }
        }
        "open" | "close" | "fetch" | "deallocate" => cursor(rest, walk),
        "grant" | "deny" | "revoke" => rights(rest, walk),
        "update" if second(&["statistics"]) => statistics(rest.get(1..).unwrap_or_default(), walk),
        "bulk" => Some(bulk(rest, walk)),
        "create" | "alter" if makes_routine(tokens) => Some(routine(rest, walk)),
        "create" | "alter" | "drop" if second(PRINCIPALS) => plain(rest, walk, Kind::Dcl, Action::Dcl),
        "create" if second(&["synonym"]) => synonym(rest.get(1..).unwrap_or_default(), walk),
        "alter" if second(&["database"]) => database(rest.get(1..).unwrap_or_default(), walk),
        _ if ADMIN.contains(&word.as_str()) => controlled(rest, walk),
        // Anything else that begins with a name is a call of a procedure, if it is the first of its batch.
        _ if !RESERVED.has(&word) && !first.text.starts_with('@') => Some(exec::procedure(tokens, walk)),
        _ => None,
    }
}

/// `BEGIN TRAN t`, `COMMIT TRAN`, `SAVE TRAN t`.
fn transaction(first: &str, rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let words = ["tran", "transaction", "distributed", "work"];
    let is_one = rest
        .first()
        .map_or(first == "commit" || first == "rollback", |token| words.iter().any(|word| token.is_word(word)));
    if !is_one || !are_plain(rest) {
        return Some(Err(NOT_READ));
    }
    if first == "save" {
        // A savepoint is known to the server alone.
        walk.set("savepoint", None);
    }
    walk.note_plain(Action::Session);
    done(Kind::Transaction)
}

/// `INSERT INTO t (a, b) EXEC …`: the rows are those of a call.
fn inserted_by_call(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let at = *places(rest, |token| token.is_word("exec") || token.is_word("execute")).first()?;
    let (head, call) = rest.split_at(at);
    let named = if head.first().is_some_and(|token| token.is_word("into")) { head.get(1..)? } else { head };
    let read = table(named).and_then(|(table, columns)| {
        let names = match columns {
            [] => columns,
            [open, names @ .., close] if open.is_mark("(") && close.is_mark(")") => names,
            _ => return Err(NOT_READ),
        };
        if !are_plain(names) {
            return Err(NOT_READ);
        }
        walk.note(Action::Insert, table, false);
        exec::read(call.get(1..).unwrap_or_default(), walk)?;
        Ok(Read { kind: Kind::Insert, has_where: None })
    });
    Some(read)
}

/// `DECLARE @a int = value, @t TABLE (…)`, `DECLARE c CURSOR FOR SELECT …`.
fn declared(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let done = Read { kind: Kind::Cursor, has_where: None };
    if rest.first().is_some_and(|token| token.kind == Cut::Word && token.text.starts_with('@')) {
        let each = between_commas(rest).into_iter().try_for_each(|declared| variable(declared, walk));
        return Some(each.map(|()| Read { kind: Kind::Session, ..done }));
    }
    let Some(at) = places(rest, |token| token.is_word("for")).first().copied() else { return Some(Err(NOT_READ)) };
    let (words, query) = rest.split_at(at);
    let query = query.get(1..).unwrap_or_default();
    // `… FOR READ ONLY`, `FOR UPDATE OF c`: through a cursor that may change rows, nobody sees which.
    let updates = places(query, |token| token.is_word("for")).last().copied();
    let (query, of) = query.split_at(updates.unwrap_or(query.len()));
    let reads_only = matches!(of, [] | [_, _, _]) && of.get(1).is_none_or(|word| word.is_word("read"));
    if !are_plain(words) || !reads_only || !query.first().is_some_and(|token| token.is_word("select")) {
        return Some(Err(NOT_READ));
    }
    walk.note_plain(Action::Session);
    Some(statement(&GRAMMAR, query, walk).map(|_query| done))
}

/// One variable: its type is words and numbers, a table's definition may hold values, and a value may follow.
fn variable(tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    let equals = places(tokens, |token| token.is_mark("=")).first().copied();
    let (declared, given) = tokens.split_at(equals.unwrap_or(tokens.len()));
    let brackets = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")");
    if !declared.iter().all(|token| are_plain(std::slice::from_ref(token)) || brackets(token)) {
        return Err(NOT_READ);
    }
    // A CHECK or a DEFAULT in a table's definition may call.
    let is_table = declared.iter().any(|token| token.is_word("table"));
    let computes =
        ["default", "check", "as"].iter().any(|word| declared.iter().skip(2).any(|token| token.is_word(word)));
    if is_table && computes || declared.iter().any(|token| token.is_word("select")) {
        return Err(NOT_READ);
    }
    match given.get(1..) {
        Some(given) => value(&GRAMMAR, given, walk),
        None => Ok(()),
    }
}

/// `RAISERROR (m, 16, 1, …) WITH LOG`, `THROW n, m, 1`: a message to the client, or into the server's log.
fn raised(word: &str, rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let with = places(rest, |token| token.is_word("with")).first().copied().unwrap_or(rest.len());
    let (said, options) = rest.split_at(with);
    let inside = match said {
        [open, inside @ .., close] if word == "raiserror" && open.is_mark("(") && close.is_mark(")") => inside,
        said => said,
    };
    if !are_plain(options) {
        return Some(Err(NOT_READ));
    }
    walk.note_plain(if options.iter().any(|token| token.is_word("log")) { Action::Admin } else { Action::Session });
    let each = between_commas(inside).into_iter().filter(|part| !part.is_empty());
    let read = each.into_iter().try_for_each(|part| {
        // The server takes constants and variables here; anything else would be computed.
        if are_plain(part) { value(&GRAMMAR, part, walk) } else { Err(NOT_READ) }
    });
    Some(read.map(|()| Read { kind: Kind::Session, has_where: None }))
}

fn cursor(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    // `OPEN SYMMETRIC KEY` lets the session decrypt.
    let is_key = rest.iter().any(|token| token.is_word("key") || token.is_word("keys"));
    if is_key {
        return plain(rest, walk, Kind::Admin, Action::Admin);
    }
    plain(rest, walk, Kind::Cursor, Action::Session)
}

/// `GRANT SELECT ON OBJECT::t TO u`: the right to grant, and the table that rights are given on.
fn rights(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let marks = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")") || token.is_mark("::");
    if !rest.iter().all(|token| are_plain(std::slice::from_ref(token)) || marks(token)) {
        return Some(Err(NOT_READ));
    }
    walk.note_plain(Action::Dcl);
    let on = rest.iter().position(|token| token.is_word("on")).and_then(|at| rest.get(at + 1..)).unwrap_or_default();
    let on = match on {
        [_, colons, named @ ..] if colons.is_mark("::") => named,
        on => on,
    };
    if let Ok((table, _)) = table(on) {
        walk.note(Action::Dcl, table, false);
    }
    done(Kind::Dcl)
}

fn statistics(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let brackets = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")");
    let read = table(rest).and_then(|(table, words)| {
        if !words.iter().all(|token| are_plain(std::slice::from_ref(token)) || brackets(token)) {
            return Err(NOT_READ);
        }
        walk.note(Action::Admin, table, false);
        Ok(Read { kind: Kind::Admin, has_where: None })
    });
    Some(read)
}

/// `BULK INSERT t FROM 'file'`, and `INSERT BULK` of the protocol.
fn bulk(rest: &[Token<'_>], walk: &mut Walk) -> Result<Read> {
    let [insert, rest @ ..] = rest else { return Err(NOT_READ) };
    let (table, words) = table(rest)?;
    let brackets = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")");
    if !insert.is_word("insert") || !words.iter().all(|token| are_plain(std::slice::from_ref(token)) || brackets(token))
    {
        return Err(NOT_READ);
    }
    walk.note(Action::Insert, table.clone(), false);
    walk.note(Action::CopyIn, table, false);
    walk.note_plain(Action::Admin);
    Ok(Read { kind: Kind::Copy, has_where: None })
}

/// A procedure, function or trigger: what its body does, it does later.
fn routine(rest: &[Token<'_>], walk: &mut Walk) -> Result<Read> {
    const KINDS: &[&str] = &["proc", "procedure", "function", "trigger"];
    let at = rest.iter().position(|token| KINDS.iter().any(|word| token.is_word(word))).ok_or(NOT_READ)?;
    if let Some((parts, _)) = leading_name(rest.get(at + 1..).unwrap_or_default()) {
        walk.note(Action::Ddl, object(ObjectKind::Function, parts)?, false);
    }
    Err(NotUnderstood("a routine, whose body is not read"))
}

/// `CREATE SYNONYM s FOR t`: another name for a table, which may be one of another server.
fn synonym(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let read = table(rest).and_then(|(synonym, words)| {
        let [word, named @ ..] = words else { return Err(NOT_READ) };
        let (named, nothing) = table(named)?;
        if !word.is_word("for") || !nothing.is_empty() {
            return Err(NOT_READ);
        }
        walk.note(Action::Ddl, synonym, false);
        walk.note(Action::Ddl, named, false);
        Ok(Read { kind: Kind::Ddl, has_where: None })
    });
    Some(read)
}

/// `ALTER DATABASE d SET …`.
fn database(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let brackets = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")");
    let known = rest.iter().all(|token| are_plain(std::slice::from_ref(token)) || brackets(token));
    let read = leading_name(rest).filter(|_| known).ok_or(NOT_READ).and_then(|(parts, words)| {
        // A SET further on is a statement of its own.
        if words.iter().skip(1).any(|token| token.is_word("set")) {
            return Err(NOT_READ);
        }
        if words.iter().any(|token| token.is_word("quoted_identifier") || token.is_word("ansi_defaults")) {
            walk.set("quoted_identifier", None);
        }
        walk.note(Action::Ddl, object(ObjectKind::Database, parts)?, false);
        Ok(Read { kind: Kind::Ddl, has_where: None })
    });
    Some(read)
}

/// A command that controls the server; brackets hold words and values.
fn controlled(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let brackets = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")") || token.is_mark(":");
    if !rest.iter().all(|token| are_plain(std::slice::from_ref(token)) || brackets(token)) {
        return Some(Err(NOT_READ));
    }
    walk.note_plain(Action::Admin);
    done(Kind::Admin)
}
