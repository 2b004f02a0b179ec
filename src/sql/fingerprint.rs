//! The fingerprint of a text: the same for texts that differ in literals, blanks, comments and letter case only.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::guard::{Kind, Token};

/// SHA-256, in hexadecimal, of the tokens joined by single blanks: literals and parameters as `?`, unquoted words in
/// lower case, the rest as written; semicolons at the end do not count.
pub(super) fn fingerprint(tokens: &[Token<'_>]) -> String {
    let end = tokens.iter().rposition(|token| !token.is_mark(";")).map_or(0, |at| at + 1);
    let mut hash = Sha256::new();
    for token in tokens.iter().take(end) {
        match token.kind {
            Kind::Text | Kind::Number | Kind::Parameter => hash.update(b"?"),
            Kind::Word => hash.update(token.text.to_ascii_lowercase()),
            Kind::Quoted | Kind::Mark => hash.update(token.text),
        }
        hash.update(b" ");
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
