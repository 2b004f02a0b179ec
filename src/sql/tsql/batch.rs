//! Where the statements of a batch begin: in Transact-SQL nothing need stand between two of them.
//!
//! Promises: a reserved word that begins statements begins one wherever it stands outside of brackets, but in the places
//! that are listed here, in which it belongs to the statement before it. A word that is taken for a part of the statement
//! by mistake is one that the parser does not expect there; a word that is taken for a beginning by mistake leaves two
//! halves that are no statements. Either way the text is not understood, and never less than it does.
//!
//! `IF`, `WHILE`, `BEGIN … END`, `TRY` and `CATCH` are taken apart: what any branch does counts as done, and a condition
//! is a value of its own.
//!
//! Rejected: the parser's own reading of batches, which takes words such as `REVERT` and `SHUTDOWN` for aliases.

use super::RESERVED;
use crate::sql::guard::{Kind as Cut, Token};
use crate::sql::other::Piece;
use crate::sql::walk::{NotUnderstood, Result};

const UNBALANCED: NotUnderstood = NotUnderstood("a BEGIN, END or CASE without its other half");
const ODD: NotUnderstood = NotUnderstood("a word of control that stands in no place for it");

/// Reserved words that begin a statement.
const BEGINNINGS: &[&str] = &[
    "alter",
    "backup",
    "begin",
    "break",
    "bulk",
    "checkpoint",
    "close",
    "commit",
    "continue",
    "create",
    "dbcc",
    "deallocate",
    "declare",
    "delete",
    "deny",
    "disk",
    "drop",
    "dump",
    "else",
    "end",
    "exec",
    "execute",
    "fetch",
    "goto",
    "grant",
    "if",
    "insert",
    "kill",
    "lineno",
    "load",
    "merge",
    "open",
    "print",
    "raiserror",
    "readtext",
    "reconfigure",
    "restore",
    "return",
    "revert",
    "revoke",
    "rollback",
    "save",
    "select",
    "set",
    "setuser",
    "shutdown",
    "truncate",
    "update",
    "updatetext",
    "use",
    "waitfor",
    "while",
    "writetext",
];

/// Kinds of objects that `DROP … IF EXISTS` may name.
const DROPPED: &[&str] = &[
    "table",
    "view",
    "procedure",
    "proc",
    "function",
    "index",
    "schema",
    "trigger",
    "database",
    "synonym",
    "sequence",
    "type",
    "user",
    "role",
    "column",
    "constraint",
    "rule",
    "default",
];

/// The pieces of a batch.
pub(super) fn pieces<'t, 'a>(tokens: &'t [Token<'a>]) -> Result<Vec<Piece<'t, 'a>>> {
    let mut batch = Batch { tokens, at: 0, pieces: Vec::new(), blocks: 0 };
    while batch.at < tokens.len() {
        batch.next()?;
    }
    if batch.blocks == 0 { Ok(batch.pieces) } else { Err(UNBALANCED) }
}

struct Batch<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    pieces: Vec<Piece<'t, 'a>>,
    blocks: usize,
}

impl<'t, 'a> Batch<'t, 'a> {
    fn word(&self, ahead: usize) -> String {
        let token = self.tokens.get(self.at + ahead).filter(|token| token.kind == Cut::Word);
        token.map_or_else(String::new, |token| token.text.to_ascii_lowercase())
    }

    /// One piece, or one word of control.
    fn next(&mut self) -> Result {
        if self.tokens.get(self.at).is_some_and(|token| token.is_mark(";")) {
            self.at += 1;
            return Ok(());
        }
        let second = self.word(1);
        match self.word(0).as_str() {
            "begin" if is_block(&second) => {
                self.blocks += 1;
                self.at += if matches!(second.as_str(), "try" | "catch") { 2 } else { 1 };
            }
            "end" if second != "conversation" => {
                self.blocks = self.blocks.checked_sub(1).ok_or(UNBALANCED)?;
                self.at += if matches!(second.as_str(), "try" | "catch") { 2 } else { 1 };
            }
            "else" => self.at += 1,
            "if" | "while" | "return" | "print" => {
                let is_flow = matches!(self.word(0).as_str(), "if" | "while");
                self.at += 1;
                let ends = self.tokens.get(self.at).is_none_or(|token| token.is_mark(";"));
                if ends || BEGINNINGS.contains(&self.word(0).as_str()) {
                    // `RETURN` without a value; what follows begins a statement.
                    if is_flow {
                        return Err(ODD);
                    }
                    self.pieces.push(Piece::Nothing);
                } else {
                    let value = self.until_next()?;
                    self.pieces.push(Piece::Value(value));
                }
            }
            "break" | "continue" => {
                self.at += 1;
                self.pieces.push(Piece::Nothing);
            }
            "goto" | "lineno" => {
                let target = self.tokens.get(self.at + 1).ok_or(ODD)?;
                if !matches!(target.kind, Cut::Word | Cut::Number) || RESERVED.has(&second) {
                    return Err(ODD);
                }
                self.at += 2;
                self.pieces.push(Piece::Nothing);
            }
            _ if self.is_label() => self.at += 2,
            _ => {
                let statement = self.until_next()?;
                self.pieces.push(Piece::Statement(statement));
            }
        }
        Ok(())
    }

    /// `again:`, where `GOTO` goes.
    fn is_label(&self) -> bool {
        let named = !self.word(0).is_empty() && !RESERVED.has(&self.word(0));
        named && self.tokens.get(self.at + 1).is_some_and(|token| token.is_mark(":"))
    }

    /// What stands up to where the next statement begins.
    fn until_next(&mut self) -> Result<&'t [Token<'a>]> {
        let from = self.at;
        let (mut brackets, mut cases) = (0_i64, 0_usize);
        let mut seen = Seen::default();
        if makes_routine(self.tokens.get(from..).unwrap_or_default()) {
            // Its body is all that follows.
            self.at = self.tokens.len();
            return Ok(self.tokens.get(from..).unwrap_or_default());
        }
        while let Some(token) = self.tokens.get(self.at) {
            brackets += i64::from(token.is_mark("(")) - i64::from(token.is_mark(")"));
            if brackets <= 0 && token.is_mark(";") {
                break;
            }
            if token.is_word("case") {
                cases += 1;
            } else if token.is_word("end") && cases > 0 {
                cases -= 1;
            } else if brackets <= 0 && cases == 0 && self.at > from && self.begins(from, &seen) {
                break;
            }
            if brackets <= 0 {
                seen.token(token);
            }
            self.at += 1;
        }
        if cases > 0 {
            return Err(UNBALANCED);
        }
        if self.at == from {
            return Err(ODD);
        }
        Ok(self.tokens.get(from..self.at).unwrap_or_default())
    }

    /// Whether the token here begins a statement and does not belong to the one that began at `from`.
    fn begins(&self, from: usize, seen: &Seen) -> bool {
        let word = self.word(0);
        if !BEGINNINGS.contains(&word.as_str()) {
            return false;
        }
        let first = self.word_at(from);
        let before = self.word_at(self.at - 1);
        let two_before = if self.at >= 2 { self.word_at(self.at - 2) } else { String::new() };
        let next = self.word(1);
        let (first, before, two_before) = (first.as_str(), before.as_str(), two_before.as_str());
        let rights = matches!(first, "grant" | "deny" | "revoke");
        let inserts = first == "insert" || first == "with" && seen.inserts;
        let merges = first == "merge" || first == "with" && seen.merges;
        let belongs = match word.as_str() {
            "select" => {
                matches!(before, "union" | "except" | "intersect" | "for" | "as")
                    || before == "all" && two_before == "union"
                    || inserts && !seen.source
                    || first == "with" && !seen.verb
                    || rights && !seen.to
            }
            "insert" | "update" | "delete" | "merge" => {
                first == "with" && !seen.verb
                    || merges && before == "then"
                    || word == "insert" && first == "bulk" && before == "bulk"
                    || rights && !seen.to
                    || before == "on" && matches!(first, "create" | "alter") && word != "merge" && word != "insert"
                    || before == "for" && word == "update" && first == "declare"
            }
            "set" => {
                first == "update" && !seen.set
                    || first == "with" && seen.updates && !seen.set
                    || merges && before == "update"
                    || matches!(before, "delete" | "update") && two_before == "on"
                    || first == "alter" && !seen.set
            }
            "exec" | "execute" => inserts && !seen.source || rights && !seen.to || before == "with",
            "fetch" => matches!(before, "row" | "rows") && seen.order,
            "if" => DROPPED.contains(&before) && next == "exists" && matches!(first, "drop" | "alter" | "create"),
            "drop" => first == "alter" && matches!(next.as_str(), "column" | "constraint"),
            "alter" => first == "alter" && next == "column" || before == "or" || rights && !seen.to,
            "create" => rights && !seen.to,
            "grant" => before == "with" || first == "revoke" && before == "revoke",
            _ => false,
        };
        !belongs
    }

    fn word_at(&self, at: usize) -> String {
        let token = self.tokens.get(at).filter(|token| token.kind == Cut::Word);
        token.map_or_else(String::new, |token| token.text.to_ascii_lowercase())
    }
}

/// What a statement had so far, outside of brackets.
#[derive(Default)]
struct Seen {
    /// `VALUES`, `SELECT`, `EXEC` or `DEFAULT`: where an INSERT takes its rows from.
    source: bool,
    /// The change or query that follows common table expressions.
    verb: bool,
    inserts: bool,
    merges: bool,
    updates: bool,
    set: bool,
    order: bool,
    /// `TO` or `FROM` of GRANT and its like.
    to: bool,
}

impl Seen {
    fn token(&mut self, token: &Token<'_>) {
        let is = |words: &[&str]| words.iter().any(|word| token.is_word(word));
        self.source |= is(&["values", "select", "exec", "execute", "default"]);
        self.verb |= is(&["select", "insert", "update", "delete", "merge"]);
        self.inserts |= is(&["insert"]);
        self.merges |= is(&["merge"]);
        self.updates |= is(&["update"]);
        self.set |= is(&["set"]);
        self.order |= is(&["order"]);
        self.to |= is(&["to", "from"]);
    }
}

/// Whether `BEGIN` begins a block and not a transaction or a conversation.
fn is_block(second: &str) -> bool {
    !matches!(second, "tran" | "transaction" | "distributed" | "dialog" | "conversation" | "atomic")
}

/// Whether a statement defines a procedure, function or trigger.
pub(super) fn makes_routine(tokens: &[Token<'_>]) -> bool {
    let is =
        |at: usize, words: &[&str]| tokens.get(at).is_some_and(|token| words.iter().any(|word| token.is_word(word)));
    let at = if is(1, &["or"]) && is(2, &["alter"]) { 3 } else { 1 };
    is(0, &["create", "alter"]) && is(at, &["proc", "procedure", "function", "trigger"])
}
