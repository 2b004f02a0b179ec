//! Statements of Transact-SQL in the words that the parser knows.

use sqlparser::tokenizer::Token as ParserToken;

use super::GRAMMAR;
use crate::sql::guard::Token;
use crate::sql::other::{Rewritten, are_plain, parser_token, places, value, word};
use crate::sql::walk::{NotUnderstood, Result, Walk};

const NOT_READ: NotUnderstood = NotUnderstood("a clause of Transact-SQL that is not read");

/// A statement or a value as the parser is given it; none has more `SELECT`s than before.
pub(super) fn rewritten(tokens: &[Token<'_>], walk: &mut Walk) -> Result<Rewritten> {
    let tokens = without_options(tokens)?;
    let is = |at: usize, words: &[&str]| {
        tokens.get(at).is_some_and(|token: &Token<'_>| words.iter().any(|word| token.is_word(word)))
    };
    // The change itself, behind its common table expressions if it has any.
    let changes = ["insert", "update", "delete", "merge"];
    let verbs = places(tokens, |token| changes.iter().any(|word| token.is_word(word)));
    let at = match verbs.first() {
        Some(0) => 0,
        Some(at) if is(0, &["with"]) => *at,
        _ => return Ok(Rewritten { tokens: parser_tokens(tokens)?, selects: 0 }),
    };
    let mut list = parser_tokens(tokens.get(..=at).unwrap_or_default())?;
    let rest = without_top(tokens.get(at + 1..).unwrap_or_default(), walk)?;
    if is(at, &["delete"]) {
        list.extend(deleted(rest)?);
    } else {
        list.extend(parser_tokens(rest)?);
    }
    Ok(Rewritten { tokens: list, selects: 0 })
}

fn parser_tokens(tokens: &[Token<'_>]) -> Result<Vec<ParserToken>> {
    tokens.iter().map(|token| parser_token(token, false)).collect()
}

/// `… OPTION (RECOMPILE)` says how to run a query, not what it does.
fn without_options<'t, 'a>(tokens: &'t [Token<'a>]) -> Result<&'t [Token<'a>]> {
    let options = places(tokens, |token| token.is_word("option"));
    let Some(at) = options.last() else { return Ok(tokens) };
    let (before, option) = tokens.split_at(*at);
    match option {
        [_, open, inside @ .., close] if open.is_mark("(") && close.is_mark(")") => {
            let brackets = |token: &Token<'_>| token.is_mark("(") || token.is_mark(")");
            let plain = inside.iter().all(|token| are_plain(std::slice::from_ref(token)) || brackets(token));
            if plain { Ok(before) } else { Err(NOT_READ) }
        }
        // A column or a rule may be called so in places where the parser will say.
        _ => Ok(tokens),
    }
}

/// `TOP (n) PERCENT`, which the parser takes for a table's name behind a change.
fn without_top<'t, 'a>(tokens: &'t [Token<'a>], walk: &mut Walk) -> Result<&'t [Token<'a>]> {
    let [top, open, rest @ ..] = tokens else { return Ok(tokens) };
    if !top.is_word("top") {
        return Ok(tokens);
    }
    let mut depth = 1_i64;
    let close = rest.iter().position(|token| {
        depth += i64::from(token.is_mark("(")) - i64::from(token.is_mark(")"));
        depth == 0
    });
    let close = close.filter(|_| open.is_mark("(")).ok_or(NOT_READ)?;
    value(&GRAMMAR, rest.get(..close).unwrap_or_default(), walk)?;
    match rest.get(close + 1..).unwrap_or_default() {
        [percent, rest @ ..] if percent.is_word("percent") => Ok(rest),
        rest => Ok(rest),
    }
}

/// What follows DELETE: `[FROM] t [OUTPUT …] [FROM …] [WHERE …]` as `t FROM … OUTPUT … WHERE …`.
fn deleted(tokens: &[Token<'_>]) -> Result<Vec<ParserToken>> {
    let tokens = match tokens {
        [from, rest @ ..] if from.is_word("from") => rest,
        rest => rest,
    };
    let first = |word: &str| places(tokens, |token| token.is_word(word)).first().copied();
    let end = tokens.len();
    let condition = first("where").unwrap_or(end);
    let from = first("from").filter(|from| *from < condition);
    let output = first("output").filter(|output| *output < from.unwrap_or(condition));
    let part = |from: usize, to: usize| parser_tokens(tokens.get(from..to).unwrap_or_default());
    let target = part(0, output.or(from).unwrap_or(condition))?;
    let mut list = Vec::with_capacity(tokens.len() + 1);
    match from {
        Some(from) => {
            list.extend(target);
            list.extend(part(from, condition)?);
        }
        None => {
            list.push(word("from"));
            list.extend(target);
        }
    }
    if let Some(output) = output {
        list.extend(part(output, from.unwrap_or(condition))?);
    }
    list.extend(part(condition, end)?);
    Ok(list)
}
