//! Statements of MySQL and MariaDB that are read from tokens, because the parser does not know them or knows less.
//!
//! Promises: each token of such a statement is a word, a name or a value, or is parsed as an expression; what else stands
//! there makes it not understood. What a statement here may show is more than its words say: a table that is described
//! is read, and the server's own lists are tables.

use super::{GRAMMAR, set};
use crate::model::{Action, Effect, Kind, Object, ObjectKind};
use crate::sql::guard::{Kind as Cut, Token};
use crate::sql::other::{are_plain, between_commas, done, leading_name, places, plain, said, statement, text, value};
use crate::sql::statement::Read;
use crate::sql::walk::{NotUnderstood, Result, Walk};

const NOT_READ: NotUnderstood = NotUnderstood("a command of this sort, or with more than words and values");

/// Commands that control the server, whatever follows.
const ADMIN: &[&str] = &[
    "flush",
    "reset",
    "purge",
    "kill",
    "shutdown",
    "restart",
    "change",
    "stop",
    "install",
    "uninstall",
    "cache",
    "binlog",
    "clone",
    "import",
    "backup",
];

/// Commands that look after tables.
const MAINTENANCE: &[&str] = &["optimize", "check", "checksum", "repair", "analyze"];

type Answer = Option<Result<Read>>;

/// Reads a command, or says that it is none.
pub(super) fn read(tokens: &[Token<'_>], walk: &mut Walk) -> Answer {
    let [first, rest @ ..] = tokens else { return None };
    if first.kind != Cut::Word {
        return None;
    }
    let second = |words: &[&str]| rest.first().is_some_and(|token| words.iter().any(|word| token.is_word(word)));
    let word = first.text.to_ascii_lowercase();
    match word.as_str() {
        "select" | "with" | "table" | "values" => into_files(tokens, walk),
        "set" => Some(set::read(rest, walk).map(|kind| Read { kind, has_where: None })),
        "show" => Some(show(rest, walk).map(|()| Read { kind: Kind::Session, has_where: None })),
        "use" => use_database(rest, walk),
        "explain" | "desc" | "describe" => Some(explain(rest, walk)),
        "analyze" if !second(&["table", "local", "no_write_to_binlog"]) => Some(explain(rest, walk)),
        "do" => Some(
            between_commas(rest)
                .into_iter()
                .try_for_each(|part| value(&GRAMMAR, part, walk))
                .map(|()| Read { kind: Kind::Call, has_where: None }),
        ),
        // What is prepared outlives the session.
        "xa" => plain(rest, walk, Kind::Transaction, Action::Admin),
        "begin" | "start" | "commit" | "rollback" | "savepoint" | "release" => transaction(&word, rest, walk),
        "lock" => lock(rest, walk),
        "unlock" => plain(rest, walk, Kind::Admin, Action::Session),
        "handler" => handler(rest, walk),
        "load" => load(rest, walk),
        "truncate" => truncate(rest, walk),
        "rename" if second(&["table", "tables"]) => rename(rest.get(1..).unwrap_or_default(), walk),
        "prepare" => Some(prepare(rest, walk)),
        "execute" => Some(Err(NotUnderstood("EXECUTE: what was prepared is not in this text"))),
        "deallocate" => plain(rest, walk, Kind::Prepare, Action::Session),
        "drop" if second(&["prepare"]) => plain(rest, walk, Kind::Prepare, Action::Session),
        "grant" | "revoke" => rights(rest, walk),
        "create" | "alter" | "drop" | "rename" if second(&["user", "role"]) => {
            plain(rest, walk, Kind::Dcl, Action::Dcl)
        }
        "create" | "alter" => routine(rest, walk),
        "signal" | "resignal" => plain(rest, walk, Kind::Session, Action::Session),
        _ if MAINTENANCE.contains(&word.as_str()) => maintain(rest, walk),
        _ if ADMIN.contains(&word.as_str()) => plain(rest, walk, Kind::Admin, Action::Admin),
        _ => None,
    }
}

/// A name in one part or two.
fn object(kind: ObjectKind, parts: Vec<String>) -> Result<Object> {
    match <[String; 1]>::try_from(parts) {
        Ok([name]) => Ok(Object { kind, schema: None, name }),
        Err(parts) => match <[String; 2]>::try_from(parts) {
            Ok([schema, name]) if !schema.is_empty() => Ok(Object { kind, schema: Some(schema), name }),
            _ => Err(NotUnderstood("a name of more than two parts")),
        },
    }
}

/// A table's name at the beginning, and what follows it.
fn table<'t, 'a>(tokens: &'t [Token<'a>]) -> Result<(Object, &'t [Token<'a>])> {
    let (parts, rest) = leading_name(tokens).ok_or(NOT_READ)?;
    Ok((object(ObjectKind::Table, parts)?, rest))
}

/// `SELECT … INTO OUTFILE 'f'`, `INTO DUMPFILE 'f'`, `INTO @a, @b`: rows into a file of the server's or into variables.
/// Where it stands at the end, all behind it must be plain; before FROM, no options may follow.
fn into_files(tokens: &[Token<'_>], walk: &mut Walk) -> Answer {
    let places = places(tokens, |token| token.is_word("into"));
    let [at] = places.as_slice() else { return (places.len() > 1).then_some(Err(NOT_READ)) };
    let (before, into) = tokens.split_at(*at);
    let target = into.get(1)?;
    let to_file = target.is_word("outfile") || target.is_word("dumpfile");
    let from = into.iter().position(|token| token.is_word("from"));
    let (into, after) = into.split_at(from.unwrap_or(into.len()));
    let fits = if to_file { from.is_none() || into.len() == 3 } else { into.iter().skip(1).all(is_variable_or_comma) };
    if !fits || !are_plain(into) {
        return Some(Err(NOT_READ));
    }
    let whole: Vec<Token<'_>> = before.iter().chain(after).copied().collect();
    let read = statement(&GRAMMAR, &whole, walk);
    if to_file {
        let reads: Vec<Effect> =
            walk.effects.iter().filter(|effect| effect.action == Action::Select).cloned().collect();
        for read in reads {
            let out = Effect { action: Action::CopyOut, ..read.clone() };
            walk.columns.same(out.clone(), read);
            walk.effects.insert(out);
        }
        walk.note_plain(Action::Admin);
    } else {
        for variable in into.iter().skip(1).filter(|token| token.kind == Cut::Word) {
            walk.set(&variable.text.to_ascii_lowercase(), None);
        }
    }
    Some(read)
}

fn is_variable_or_comma(token: &Token<'_>) -> bool {
    token.is_mark(",") || token.kind == Cut::Word && token.text.starts_with('@') && !token.text.starts_with("@@")
}

/// `USE db`: names without a database mean another one. They are taken for one of any, so this is a setting.
fn use_database(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let [Token { kind: Cut::Word | Cut::Quoted, .. }] = rest else { return Some(Err(NOT_READ)) };
    set::note(walk, "database");
    done(Kind::Session)
}

/// `EXPLAIN statement`, `EXPLAIN table`; what it explains may run (`ANALYZE`), so it counts as run.
fn explain(tokens: &[Token<'_>], walk: &mut Walk) -> Result<Read> {
    let mut rest = tokens;
    loop {
        rest = match rest {
            [format, equals, _, after @ ..] if format.is_word("format") && equals.is_mark("=") => after,
            [word, after @ ..] if ["analyze", "extended", "partitions"].iter().any(|known| word.is_word(known)) => {
                after
            }
            _ => break,
        };
    }
    let statements = ["select", "with", "table", "values", "insert", "replace", "update", "delete"];
    let is_statement = |token: &Token<'_>| token.is_mark("(") || statements.iter().any(|word| token.is_word(word));
    if rest.first().is_some_and(is_statement) {
        let read = statement(&GRAMMAR, rest, walk)?;
        return Ok(Read { kind: Kind::Explain, ..read });
    }
    if rest.first().is_some_and(|token| token.is_word("for")) {
        // What another session runs.
        walk.note_plain(Action::Admin);
        return if are_plain(rest) { Ok(Read { kind: Kind::Explain, has_where: None }) } else { Err(NOT_READ) };
    }
    let (table, after) = table(rest)?;
    if after.len() > 1 || !are_plain(after) {
        return Err(NOT_READ);
    }
    walk.named(table);
    Ok(Read { kind: Kind::Explain, has_where: None })
}

/// `SHOW …`: a table described is a table read; a list of the server's is a table of its own.
fn show(tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    let words = |from: &[Token<'_>], words: &[&str]| {
        from.first().is_some_and(|token| words.iter().any(|word| token.is_word(word)))
    };
    let mut rest = tokens;
    while words(rest, &["full", "extended", "global", "session", "local"]) {
        rest = rest.get(1..).unwrap_or_default();
    }
    let first = rest.first().filter(|token| token.kind == Cut::Word).ok_or(NOT_READ)?.text.to_ascii_lowercase();
    let after = rest.get(1..).unwrap_or_default();
    let lists = match first.as_str() {
        "warnings" | "errors" => {
            walk.note_plain(Action::Session);
            return if are_plain(after) { Ok(()) } else { Err(NOT_READ) };
        }
        "columns" | "fields" | "index" | "indexes" | "keys" => return described(after, walk),
        "create" if words(after, &["table", "view"]) => {
            let (table, nothing) = table(after.get(1..).unwrap_or_default())?;
            walk.named(table);
            return if nothing.is_empty() { Ok(()) } else { Err(NOT_READ) };
        }
        "tables" => "tables",
        "table" | "open" => "tables",
        "databases" | "schemas" => "schemata",
        "triggers" => "triggers",
        "events" => "events",
        "create" | "procedure" | "function" => "routines",
        "engines" | "storage" => "engines",
        "plugins" => "plugins",
        "collation" => "collations",
        "character" | "charset" => "character_sets",
        "processlist" => "processlist",
        "grants" | "privileges" => "user_privileges",
        "variables" | "status" => {
            walk.described(
                "performance_schema",
                if first == "status" { "session_status" } else { "session_variables" },
            );
            return filtered(after, walk);
        }
        _ => {
            walk.note_plain(Action::Admin);
            return if are_plain(after) { Ok(()) } else { Err(NOT_READ) };
        }
    };
    walk.described("information_schema", lists);
    filtered(after, walk)
}

/// `FROM t [FROM db] [LIKE 'x' | WHERE …]`.
fn described(tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    let is_from = |token: &Token<'_>| token.is_word("from") || token.is_word("in");
    let [from, rest @ ..] = tokens else { return Err(NOT_READ) };
    if !is_from(from) {
        return Err(NOT_READ);
    }
    let (mut described, mut rest) = table(rest)?;
    if let [from, database, after @ ..] = rest
        && is_from(from)
    {
        let (parts, _) = leading_name(std::slice::from_ref(database)).ok_or(NOT_READ)?;
        described.schema = parts.into_iter().next();
        rest = after;
    }
    walk.named(described);
    filtered(rest, walk)
}

/// Plain words up to a `WHERE`, and an expression behind it.
fn filtered(tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    let at = tokens.iter().position(|token| token.is_word("where")).unwrap_or(tokens.len());
    let (before, condition) = tokens.split_at(at);
    if !are_plain(before) {
        return Err(NOT_READ);
    }
    match condition.get(1..) {
        Some(condition) => value(&GRAMMAR, condition, walk),
        None => Ok(()),
    }
}

fn transaction(first: &str, rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let word = |at: usize, word: &str| rest.get(at).is_some_and(|token| token.is_word(word));
    let fits = match first {
        "begin" => rest.is_empty() || rest.len() == 1 && word(0, "work"),
        "start" => word(0, "transaction") && rest.iter().all(|token| token.kind == Cut::Word || token.is_mark(",")),
        _ => rest.iter().all(|token| matches!(token.kind, Cut::Word | Cut::Quoted)),
    };
    if !fits {
        // `START REPLICA` and its like control the server; `BEGIN NOT ATOMIC` runs what follows.
        return if first == "start" { plain(rest, walk, Kind::Admin, Action::Admin) } else { Some(Err(NOT_READ)) };
    }
    if first == "start" && rest.iter().any(|token| token.is_word("write") || token.is_word("only")) {
        walk.set("transaction_read_only", None);
    }
    walk.note_plain(Action::Session);
    done(Kind::Transaction)
}

/// `LOCK TABLES t AS a READ, u WRITE`.
fn lock(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let [tables, rest @ ..] = rest else { return Some(Err(NOT_READ)) };
    if !tables.is_word("tables") && !tables.is_word("table") {
        return plain(rest, walk, Kind::Admin, Action::Admin);
    }
    Some(tables_in(rest, walk, Action::Admin).map(|()| Read { kind: Kind::Admin, has_where: None }))
}

/// A list of tables, each with plain words behind it.
fn tables_in(tokens: &[Token<'_>], walk: &mut Walk, action: Action) -> Result {
    for part in between_commas(tokens) {
        let (table, words) = table(part)?;
        if !are_plain(words) {
            return Err(NOT_READ);
        }
        walk.note(action, table, false);
    }
    Ok(())
}

/// `OPTIMIZE LOCAL TABLE t, u EXTENDED`.
fn maintain(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let at = rest.iter().position(|token| token.is_word("table") || token.is_word("tables"));
    let (words, tables) = rest.split_at(at.map_or(rest.len(), |at| at + 1));
    if !are_plain(words) {
        return Some(Err(NOT_READ));
    }
    if tables.is_empty() {
        walk.note_plain(Action::Admin);
        return done(Kind::Admin);
    }
    Some(tables_in(tables, walk, Action::Admin).map(|()| Read { kind: Kind::Admin, has_where: None }))
}

/// `HANDLER t READ …`: reads rows, past every view.
fn handler(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let read = table(rest).and_then(|(table, words)| {
        let brackets = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")") || token.is_mark("<=");
        let has_where = words.iter().any(|token| token.is_word("where"));
        if has_where || !words.iter().all(|token| are_plain(std::slice::from_ref(token)) || brackets(token)) {
            return Err(NOT_READ);
        }
        walk.note(Action::Select, table, false);
        Ok(Read { kind: Kind::Cursor, has_where: None })
    });
    Some(read)
}

/// `LOAD DATA [LOCAL] INFILE 'f' INTO TABLE t (a, @b)`: a file of the server's, or of the client's, into a table.
fn load(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let brackets = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")");
    let known = rest.iter().all(|token| are_plain(std::slice::from_ref(token)) || brackets(token));
    if !known || rest.iter().any(|token| token.is_word("set")) {
        return Some(Err(NOT_READ));
    }
    let into = rest.windows(2).position(|two| matches!(two, [into, of] if into.is_word("into") && of.is_word("table")));
    let read = into.and_then(|at| rest.get(at + 2..)).ok_or(NOT_READ).and_then(table);
    let (table, _) = match read {
        Ok(read) => read,
        Err(problem) => return Some(Err(problem)),
    };
    if rest.iter().any(|token| token.is_word("replace")) {
        walk.note(Action::Delete, table.clone(), false);
    }
    walk.note(Action::Insert, table.clone(), false);
    walk.note(Action::CopyIn, table, false);
    walk.note_plain(Action::Admin);
    done(Kind::Copy)
}

fn truncate(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let tables = if rest.first().is_some_and(|token| token.is_word("table")) { rest.get(1..)? } else { rest };
    let read = table(tables).and_then(|(table, words)| {
        if !words.iter().all(|token| token.kind == Cut::Word) {
            return Err(NOT_READ);
        }
        walk.note(Action::Delete, table, false);
        Ok(Read { kind: Kind::Truncate, has_where: None })
    });
    Some(read)
}

/// `RENAME TABLE a TO b, c TO d`.
fn rename(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let mut renamed = || {
        for part in between_commas(rest) {
            let (from, words) = table(part)?;
            let to = words.iter().position(|token| token.is_word("to")).ok_or(NOT_READ)?;
            let (to, nothing) = table(words.get(to + 1..).unwrap_or_default())?;
            if !nothing.is_empty() || !are_plain(words) {
                return Err(NOT_READ);
            }
            walk.note(Action::Ddl, from, false);
            walk.note(Action::Ddl, to, false);
        }
        Ok(Read { kind: Kind::Ddl, has_where: None })
    };
    Some(renamed())
}

/// `PREPARE p FROM 'text'`: the text is judged here; one in a variable is known to nobody.
fn prepare(rest: &[Token<'_>], walk: &mut Walk) -> Result<Read> {
    let [_, from, prepared] = rest else { return Err(NotUnderstood("PREPARE of what is not in this text")) };
    let prepared = said(prepared, true).filter(|_| from.is_word("from"));
    let prepared = prepared.ok_or(NotUnderstood("PREPARE of what is not in this text"))?;
    text(&GRAMMAR, &prepared, walk)?;
    Ok(Read { kind: Kind::Prepare, has_where: None })
}

/// `GRANT … ON t TO u`: the right to grant, and the table that rights are given on.
fn rights(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    let brackets = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")");
    if !rest.iter().all(|token| are_plain(std::slice::from_ref(token)) || brackets(token)) {
        return Some(Err(NOT_READ));
    }
    walk.note_plain(Action::Dcl);
    let on = rest.iter().position(|token| token.is_word("on"));
    let named = on.and_then(|at| rest.get(at + 1..)).unwrap_or_default();
    let named = if named.first().is_some_and(|token| token.is_word("table")) { named.get(1..)? } else { named };
    if let Ok((table, _)) = table(named) {
        walk.note(Action::Dcl, table, false);
    }
    done(Kind::Dcl)
}

/// Procedures, functions, triggers and events: what their bodies do, they do later.
fn routine(rest: &[Token<'_>], walk: &mut Walk) -> Answer {
    const ROUTINES: &[&str] = &["procedure", "function", "trigger", "event", "package"];
    let is_routine = |token: &Token<'_>| ROUTINES.iter().any(|word| token.is_word(word));
    // `CREATE OR REPLACE DEFINER = u@h AGGREGATE FUNCTION IF NOT EXISTS f`, and no word of a table's definition before.
    let at = rest.iter().take(12).position(is_routine)?;
    let stops = ["table", "view", "index", "database", "schema", "user", "server"];
    if rest.iter().take(at).any(|token| stops.iter().any(|word| token.is_word(word))) {
        return None;
    }
    let mut named = rest.get(at + 1..).unwrap_or_default();
    while named.first().is_some_and(|token| ["if", "not", "exists"].iter().any(|word| token.is_word(word))) {
        named = named.get(1..).unwrap_or_default();
    }
    if let Some((parts, _)) = leading_name(named)
        && let Ok(function) = object(ObjectKind::Function, parts)
    {
        walk.note(Action::Ddl, function, false);
    }
    Some(Err(NotUnderstood("a routine, whose body is not read")))
}
