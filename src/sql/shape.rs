//! The shape of a text: what is left of it when its literals are taken out.
//!
//! Promises: texts of one shape are cut into the same tokens but for the insides of plain numbers and plain strings, so what
//! was read of one without looking at those holds for each ([`Facts::by_shape`]). Everything else that a lexer could read
//! differently stays in the shape as it is written: numbers that are no short row of digits, strings with a prefix or in
//! dollars, parameters, names, marks.
//!
//! [`Facts::by_shape`]: crate::model::Facts::by_shape

use bytes::Bytes;

use super::guard::{self, Kind, Token};

/// Digits of a number that may be left out. Up to here every server and reader takes it for an `integer`; beyond, for a
/// `bigint` or `numeric`, and then another function might be meant.
const SHORT: usize = 9;

/// What stands between two tokens. No text has one: the guard refuses it.
const BETWEEN: u8 = 0;
/// What stands for a number, and for a string. The guard refuses both outside of quotes.
const NUMBER: u8 = 1;
const TEXT: u8 = 2;

/// The shape of a text; nothing if it has no literal that may be left out, or is not cut into tokens at all.
pub(super) fn of(text: &str) -> Option<Bytes> {
    // Most texts without a literal have neither, and are spared the cutting.
    if !text.bytes().any(|byte| byte == b'\'' || byte.is_ascii_digit()) {
        return None;
    }
    let tokens = guard::tokens(text).ok()?;
    let mut shape = Vec::with_capacity(text.len() + tokens.len());
    let mut left_out = false;
    for token in &tokens {
        match stand_in(token) {
            Some(mark) => {
                shape.push(mark);
                left_out = true;
            }
            None => shape.extend_from_slice(token.text.as_bytes()),
        }
        shape.push(BETWEEN);
    }
    left_out.then(|| shape.into())
}

fn stand_in(token: &Token<'_>) -> Option<u8> {
    match token.kind {
        Kind::Number if token.text.len() <= SHORT && token.text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(NUMBER)
        }
        Kind::Text if token.text.starts_with('\'') => Some(TEXT),
        _ => None,
    }
}

/// Whether the tokens say nothing by which the inside of a string would be read: `UESCAPE '!'` names the character that
/// escapes in the string before it.
pub(super) fn is_plain(tokens: &[Token<'_>]) -> bool {
    !tokens.iter().any(|token| token.is_word("uescape"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_plain_literals_and_blanks_have_one_shape() {
        let one = of("SELECT * FROM t WHERE id = 17 AND name = 'Ana' -- x").unwrap();
        assert_eq!(of("SELECT  * FROM t\nWHERE id = 4 AND name = 'O''Neil; DROP TABLE t'"), Some(one));
    }

    #[test]
    fn whatever_else_differs_is_another_shape() {
        let texts = [
            "SELECT a FROM t WHERE id = 1",
            "select a FROM t WHERE id = 1",
            "SELECT a FROM t WHERE id = '1'",
            "SELECT a FROM t WHERE id = -1",
            "SELECT a FROM t WHERE id = 1.5",
            "SELECT a FROM t WHERE id = 1e5",
            "SELECT a FROM t WHERE id = 1234567890",
            "SELECT a FROM t WHERE id = 1;",
            "SELECT a FROM t WHERE id = 1 OR 1 = 1",
            "SELECT a1 FROM t WHERE id = 1",
            "SELECT \"a\" FROM t WHERE id = 1",
            "SELECT a FROM t WHERE id = 1 AND b = $1",
            "SELECT a FROM t WHERE id = 1 AND b = $2",
            "SELECT a FROM t WHERE id = 1 AND b = E'x'",
            "SELECT a FROM t WHERE id = 1 AND b = E'y'",
            "SELECT a FROM t WHERE id = 1 AND b = $$x$$",
            "SELECT a FROM t WHERE id = 1 AND b = $$y$$",
        ];
        for (at, one) in texts.iter().enumerate() {
            for other in &texts[at + 1..] {
                assert!(of(one).is_none_or(|shape| of(other) != Some(shape)), "{one} | {other}");
            }
        }
    }

    #[test]
    fn a_text_without_a_literal_or_one_that_is_not_cut_has_none() {
        for text in ["SELECT a FROM t", "SELECT $1", "SELECT a1 FROM t", "SELECT 1a", "SELECT 'x", "SELECT 1 'a' 'b'"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
