//! What a text says without naming a relation or a function: its operators, and the types that it converts to. Only the
//! catalog knows whether a function stands behind one (see `resolve`).
//!
//! From the guard's tokens and not from a tree, so that both readers' statements have them, unread ones too. More than
//! there is does no harm: a word that is no type is no conversion.

use std::collections::BTreeSet;

use super::guard::{Kind, Token};
use super::names;

/// Marks that are never operators.
const NO_OPERATORS: &[&str] = &["(", ")", "[", "]", ",", ";", ".", ":", "::", ":="];

/// The operators of a text, sorted, each once.
pub(super) fn operators(tokens: &[Token<'_>]) -> Vec<String> {
    let is_one = |token: &&Token<'_>| token.kind == Kind::Mark && !NO_OPERATORS.contains(&token.text);
    let all: BTreeSet<&str> = tokens.iter().filter(is_one).map(|token| token.text).collect();
    all.into_iter().map(str::to_owned).collect()
}

/// The types that values may be converted to: names behind `::` and `AS`, and before a string; folded, sorted, each once.
/// Of a name in parts, each part.
pub(super) fn conversions(tokens: &[Token<'_>]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.is_mark("::") || token.is_word("as") {
            let mut rest = tokens.iter().skip(at + 1);
            while let Some(name) = rest.next().filter(|token| is_name(token)) {
                found.insert(folded(name));
                if !rest.next().is_some_and(|token| token.is_mark(".")) {
                    break;
                }
            }
        }
        if is_name(token) && tokens.get(at + 1).is_some_and(|next| next.kind == Kind::Text) {
            found.insert(folded(token));
        }
    }
    found.into_iter().collect()
}

fn is_name(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Word | Kind::Quoted)
}

fn folded(token: &Token<'_>) -> String {
    match token.kind {
        Kind::Quoted => names::unquoted(token.text),
        _ => token.text.to_ascii_lowercase(),
    }
}
