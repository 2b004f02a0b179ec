//! A place in a text, for the lexers of the dialects beside PostgreSQL's.

use super::guard::{Kind, Token};
use super::walk::{NotUnderstood, Result};

/// The text has more tokens than are parsed; [`super::MAX_TOKENS`] says how many those are.
pub(super) const TOO_MANY_TOKENS: NotUnderstood = NotUnderstood("more than 20000 tokens");

/// Bytes of a text, one after the other.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Where it stands.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The byte so many ahead.
    pub(super) fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Whether these characters come next.
    pub(super) fn starts(&self, with: &str) -> bool {
        self.rest().starts_with(with.as_bytes())
    }

    /// Goes on.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Goes on as long as bytes are wanted; how many were.
    pub(super) fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) -> usize {
        let length = self.rest().iter().take_while(|byte| wanted(**byte)).count();
        self.at += length;
        length
    }

    /// Goes on over `12`, `1.5` and `1e-3`, which all dialects write alike.
    pub(super) fn skip_decimal(&mut self) {
        self.skip_while(|byte| byte.is_ascii_digit());
        if self.peek(0) == Some(b'.') {
            self.skip(1);
            self.skip_while(|byte| byte.is_ascii_digit());
        }
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self.peek(1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
                self.skip(1 + sign);
                self.skip_while(|byte| byte.is_ascii_digit());
            }
        }
    }

    /// What stands between a place and here, as a token.
    pub(super) fn cut(&self, kind: Kind, from: usize) -> Result<Token<'a>> {
        let text = self.text.get(from..self.at).ok_or(NotUnderstood("a token that ends inside of a letter"))?;
        Ok(Token { kind, text })
    }
}

/// Whether nothing stands between two tokens of one text.
pub(super) fn touch(one: &Token<'_>, next: &Token<'_>) -> bool {
    one.text.as_bytes().as_ptr_range().end == next.text.as_ptr()
}
