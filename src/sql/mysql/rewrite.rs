//! Statements of MySQL in the words that the parser knows.

use sqlparser::tokenizer::Token as ParserToken;

use crate::sql::guard::{Kind as Cut, Token};
use crate::sql::other::{Rewritten, name, parser_token, places, word};
use crate::sql::walk::{Result, Walk};

/// Modifiers behind the first word of a change, which change nothing of what it does.
const MODIFIERS: &[&str] = &["low_priority", "quick", "ignore"];

/// A statement or a value as the parser is given it.
pub(super) fn rewritten(tokens: &[Token<'_>], _walk: &mut Walk) -> Result<Rewritten> {
    let mut list = Vec::with_capacity(tokens.len() + 3);
    let mut rest = tokens;
    let mut selects = 0;
    let starts = |word: &str| tokens.first().is_some_and(|token| token.is_word(word));
    if starts("table") {
        // `TABLE t …` is `SELECT * FROM t …` by definition.
        list.extend([word("select"), ParserToken::Mul, word("from")]);
        rest = rest.get(1..).unwrap_or_default();
        selects = 1;
    } else if starts("update") || starts("delete") {
        list.push(word(tokens.first().map_or("", |token| token.text)));
        rest = rest.get(1..).unwrap_or_default();
        while let [first, after @ ..] = rest {
            if !MODIFIERS.iter().any(|modifier| first.is_word(modifier)) {
                break;
            }
            rest = after;
        }
    }
    let joined = if starts("update") { commas_before_set(rest) } else { Vec::new() };
    let mut at = 0;
    while let Some(token) = rest.get(at) {
        let follows = |ahead: usize, word: &str| rest.get(at + ahead).is_some_and(|token| token.is_word(word));
        let next_opens = rest.get(at + 1).is_some_and(|next| next.is_mark("("));
        let mut read = 1;
        if token.is_word("lock") && follows(1, "in") && follows(2, "share") && follows(3, "mode") {
            list.extend([word("for"), word("share")]);
            read = 4;
        } else if token.is_word("mod") && !next_opens {
            list.push(ParserToken::Mod);
        } else if token.is_word("interval") && next_opens && has_comma(rest.get(at + 2..).unwrap_or_default()) {
            // The function, not the unit of time.
            list.push(name("interval"));
        } else if joined.binary_search(&at).is_ok() {
            list.extend([word("cross"), word("join")]);
        } else {
            list.push(parser_token(token, true)?);
        }
        at += read;
    }
    Ok(Rewritten { tokens: list, selects })
}

/// `UPDATE a, b SET …`: the commas between tables.
fn commas_before_set(tokens: &[Token<'_>]) -> Vec<usize> {
    let set = places(tokens, |token| token.kind == Cut::Word && token.is_word("set")).first().copied();
    let commas = places(tokens, |token| token.is_mark(","));
    commas.into_iter().filter(|comma| set.is_some_and(|set| *comma < set)).collect()
}

/// Whether a comma stands between the brackets that are open here.
fn has_comma(tokens: &[Token<'_>]) -> bool {
    let mut depth = 0_i64;
    for token in tokens {
        depth += i64::from(token.is_mark("(")) - i64::from(token.is_mark(")"));
        if depth < 0 {
            return false;
        }
        if depth == 0 && token.is_mark(",") {
            return true;
        }
    }
    false
}
