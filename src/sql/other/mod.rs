//! MySQL and Transact-SQL: the dialects that only one reader knows.
//!
//! Nothing serves them yet: the gateway speaks PostgreSQL alone, and `hansard policy explain --dialect` is where these
//! facts can be seen.
//!
//! Promises: the guard of the dialect cuts the text and its statements, and the parser gets the guard's tokens, so the two
//! count the same; each statement is parsed to its end and walked, or is `unparsed`; a word that the server reserves is
//! never taken for an alias; what the dialect's own `command` reads is read from tokens of which each is accounted for.
//!
//! ```text
//! bytes ─► guard (per dialect) ─► pieces: statements, and values between them ─► command (own) ─┐
//!                                                         └► rewritten ─► sqlparser ─► walk ───┴─► spelled ─► facts
//! ```
//!
//! # Names
//!
//! Whether `Orders` and `orders` are one table depends on `lower_case_table_names` (MySQL) or on the collation of the
//! database (SQL Server), which a text does not say. So a table, schema or database whose name is not written in lower case
//! is two objects here: in lower case and as written, and rules must permit both. Rules name them in lower case, or as
//! the server has them as well where that tells cases apart. Columns, aliases and functions are folded.
//!
//! Rejected: folding everything, which permits `Secrets` by a rule for `secrets` where they are two tables; folding
//! nothing, which lets `SECRETS` past a rule against `secrets` where they are one.
//!
//! In MySQL a database is what rules call a schema. In Transact-SQL, a name in three parts may be an object of another
//! database or of this one: it is two objects too, `s.t` and `db.s.t`, whose schema is called `db.s`. A name in four
//! parts is an object of another server and not understood.

mod change;
mod expr;
mod from;
mod reserved;
mod spelled;
#[cfg(test)]
pub(super) mod testing;
mod tokens;
mod tree;

pub(super) use reserved::{Reserved, words};
pub(super) use tokens::{name, parser_token, said, unquoted, word};

use sqlparser::dialect::Dialect as ParserDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token as ParserToken;

use super::guard::{Kind as Cut, Token};
use super::statement::Read;
use super::walk::{NotUnderstood, Result, Walk};
use super::{Dialect, MAX_STATEMENTS, fingerprint::fingerprint, mysql, parse, tsql};
use crate::model::{Action, Facts, Kind};

/// What is dialect-own.
#[derive(Debug)]
pub(super) struct Grammar {
    /// Which one it is.
    pub(super) dialect: Dialect,
    /// The guard.
    pub(super) tokens: for<'a> fn(&'a str) -> Result<Vec<Token<'a>>>,
    /// What the text consists of.
    pub(super) pieces: for<'t, 'a> fn(&'t [Token<'a>]) -> Result<Vec<Piece<'t, 'a>>>,
    /// Statements that are read from tokens; nothing if it is another one.
    pub(super) command: fn(&[Token<'_>], &mut Walk) -> Option<Result<Read>>,
    /// A statement or a value in the words that the parser knows.
    pub(super) rewritten: fn(&[Token<'_>], &mut Walk) -> Result<Rewritten>,
    /// The parser's idea of the dialect.
    pub(super) parser: fn() -> Box<dyn ParserDialect>,
}

/// A statement or a value as the parser is given it.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// Its tokens.
    pub(super) tokens: Vec<ParserToken>,
    /// How many more of them are `SELECT` than in the text.
    pub(super) selects: usize,
}

/// A part of a text.
#[derive(Debug, Clone, Copy)]
pub(super) enum Piece<'t, 'a> {
    /// A statement.
    Statement(&'t [Token<'a>]),
    /// An expression that stands where a statement begins: the condition of an `IF`.
    Value(&'t [Token<'a>]),
    /// A word that does nothing: `BREAK`.
    Nothing,
}

/// The grammar of a dialect that has one reader.
pub(super) fn grammar(dialect: Dialect) -> Option<&'static Grammar> {
    match dialect {
        Dialect::PostgreSql => None,
        Dialect::MySql => Some(&mysql::GRAMMAR),
        Dialect::TSql => Some(&tsql::GRAMMAR),
    }
}

/// The facts of a text. To be called on a deep stack: the parsed trees are dropped in here.
pub(super) fn facts(text: &str, grammar: &Grammar) -> Facts {
    let tokens = match (grammar.tokens)(text) {
        Ok(tokens) => tokens,
        Err(NotUnderstood(problem)) => return Facts::unparsed(problem),
    };
    let fingerprint = Some(fingerprint(&tokens));
    let pieces = match (grammar.pieces)(&tokens) {
        Ok(pieces) => pieces,
        Err(NotUnderstood(problem)) => return Facts { fingerprint, ..Facts::unparsed(problem) },
    };
    if pieces.len() > MAX_STATEMENTS {
        return Facts { fingerprint, ..Facts::unparsed(format!("more than {MAX_STATEMENTS} statements")) };
    }
    let mut read: Vec<_> = pieces.into_iter().map(|piece| one(grammar, piece)).collect();
    let handed_over: Vec<String> =
        read.iter_mut().flat_map(|(_, walk)| std::mem::take(&mut walk.handed_over)).collect();
    let inside = handed_over.iter().map(|text| (grammar.tokens)(text).unwrap_or_default());
    let all: Vec<Vec<Token<'_>>> = std::iter::once(tokens).chain(inside).collect();
    let facts = spelled::spelled(parse::together(read, Ok(None)), &all, grammar.dialect);
    Facts { fingerprint, ..facts }
}

fn one(grammar: &Grammar, piece: Piece<'_, '_>) -> (Result<Read>, Walk) {
    let mut walk = Walk::of(grammar.dialect);
    let plain = Read { kind: Kind::Session, has_where: None };
    let read = match piece {
        Piece::Statement(tokens) => statement(grammar, tokens, &mut walk),
        Piece::Value(tokens) => value(grammar, tokens, &mut walk).map(|()| plain),
        Piece::Nothing => Ok(plain),
    };
    (read, walk)
}

/// Reads a statement: by the dialect's own hand if it is one of those, else by the parser.
pub(super) fn statement(grammar: &Grammar, tokens: &[Token<'_>], walk: &mut Walk) -> Result<Read> {
    match (grammar.command)(tokens, walk) {
        Some(read) => read,
        None => parsed(grammar, tokens, walk, |parser, walk| {
            let tree = parser.parse_statement().map_err(not_parsed)?;
            at_end(parser)?;
            tree::walk(walk, &tree)
        }),
    }
}

/// Reads an expression.
pub(super) fn value(grammar: &Grammar, tokens: &[Token<'_>], walk: &mut Walk) -> Result {
    parsed(grammar, tokens, walk, |parser, walk| {
        let expr = parser.parse_expr().map_err(not_parsed)?;
        at_end(parser)?;
        walk.expr(&expr).map(|()| Read { kind: Kind::Session, has_where: None })
    })
    .map(|_read| ())
}

/// Reads the SQL that a string holds, as part of the statement that hands it to the server.
pub(super) fn text(grammar: &Grammar, text: &str, walk: &mut Walk) -> Result {
    let tokens = (grammar.tokens)(text)?;
    walk.handed_over.push(text.to_owned());
    for piece in (grammar.pieces)(&tokens)? {
        match piece {
            Piece::Statement(tokens) => statement(grammar, tokens, walk).map(|_read| ())?,
            Piece::Value(tokens) => value(grammar, tokens, walk)?,
            Piece::Nothing => {}
        }
    }
    Ok(())
}

fn parsed(
    grammar: &Grammar,
    tokens: &[Token<'_>],
    walk: &mut Walk,
    read: impl FnOnce(&mut Parser<'_>, &mut Walk) -> Result<Read>,
) -> Result<Read> {
    let dialect = (grammar.parser)();
    let met = walk.selects;
    let Rewritten { tokens: list, selects: more } = (grammar.rewritten)(tokens, walk)?;
    let selects = tokens.iter().filter(|token| token.is_word("select")).count() + more;
    let read = read(&mut Parser::new(&*dialect).with_tokens(list), walk)?;
    // The net under the walk: a query that it did not meet is a query that nobody judged.
    if walk.selects - met < selects {
        return Err(NotUnderstood("a query in a place that was not understood"));
    }
    Ok(read)
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn not_parsed(error: ParserError) -> NotUnderstood {
    match error {
        ParserError::RecursionLimitExceeded => NotUnderstood("nested too deeply for the parser"),
        ParserError::TokenizerError(_) | ParserError::ParserError(_) => NotUnderstood("not in the parser's grammar"),
    }
}

fn at_end(parser: &Parser<'_>) -> Result {
    match parser.peek_token_ref().token {
        ParserToken::EOF => Ok(()),
        _ => Err(NotUnderstood("the parser stopped before its end")),
    }
}

/// Whether it is a word, name, number or string, or a mark that holds nothing.
pub(super) fn is_plain(token: &Token<'_>) -> bool {
    match token.kind {
        Cut::Word | Cut::Quoted | Cut::Number | Cut::Text | Cut::Parameter => true,
        Cut::Mark => matches!(token.text, "." | "," | "=" | "-" | "+" | "*" | "@" | "%"),
    }
}

/// Whether all of them are plain.
pub(super) fn are_plain(tokens: &[Token<'_>]) -> bool {
    tokens.iter().all(is_plain)
}

/// A command whose tokens are all plain: its one effect.
pub(super) fn plain(tokens: &[Token<'_>], walk: &mut Walk, kind: Kind, action: Action) -> Option<Result<Read>> {
    if !are_plain(tokens) {
        return Some(Err(NotUnderstood("a command with more than words and values")));
    }
    walk.note_plain(action);
    done(kind)
}

/// It was read.
pub(super) fn done(kind: Kind) -> Option<Result<Read>> {
    Some(Ok(Read { kind, has_where: None }))
}

/// The places of a mark or word outside of brackets.
pub(super) fn places(tokens: &[Token<'_>], wanted: impl Fn(&Token<'_>) -> bool) -> Vec<usize> {
    let mut depth = 0_i64;
    let mut places = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        depth += i64::from(token.is_mark("(")) - i64::from(token.is_mark(")"));
        if depth == 0 && wanted(token) {
            places.push(at);
        }
    }
    places
}

/// What stands between commas outside of brackets.
pub(super) fn between_commas<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let mut depth = 0_i64;
    let parts = tokens.split(|token| {
        depth += i64::from(token.is_mark("(")) - i64::from(token.is_mark(")"));
        depth == 0 && token.is_mark(",")
    });
    parts.collect()
}

/// The parts of a name at the beginning, in lower case, and what follows it. An empty part is one that was left out.
pub(super) fn leading_name<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(Vec<String>, &'t [Token<'a>])> {
    let part = |token: &Token<'_>| match token.kind {
        Cut::Word => Some(token.text.to_ascii_lowercase()),
        Cut::Quoted => Some(unquoted(token.text).to_ascii_lowercase()),
        _ => None,
    };
    let (first, mut rest) = tokens.split_first()?;
    let mut parts = vec![part(first)?];
    while let [point, after @ ..] = rest {
        if !point.is_mark(".") {
            break;
        }
        match after {
            [again, ..] if again.is_mark(".") => {
                parts.push(String::new());
                rest = after;
            }
            [name, after @ ..] => {
                parts.push(part(name)?);
                rest = after;
            }
            [] => return None,
        }
    }
    Some((parts, rest))
}
