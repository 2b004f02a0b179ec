//! A lexer after the documented lexical rules of Transact-SQL that refuses whatever can be cut in two ways.
//!
//! Promises: what it lets pass is cut into the tokens that SQL Server cuts with `QUOTED_IDENTIFIER` on, which every driver
//! sets; with it off the same characters are cut, and `"…"` is a string instead of a name. It does not recurse, and takes
//! time linear in the text. No SQL Server was at hand: what the documents leave open is refused.
//!
//! `GO` is a word of clients; a server takes it for a name, and so does this.

use crate::sql::MAX_TOKENS;
use crate::sql::guard::{Kind, Token};
use crate::sql::scan::{Cursor, TOO_MANY_TOKENS};
use crate::sql::walk::{NotUnderstood, Result};

const CONTROL: NotUnderstood = NotUnderstood("a control character outside of quotes, or a zero byte");
const BEYOND_ASCII: NotUnderstood =
    NotUnderstood("a letter or blank beyond ASCII outside of strings: the collation may take it for another one");
const UNKNOWN: NotUnderstood = NotUnderstood("a character that has no meaning outside of quotes");
const OPEN_COMMENT: NotUnderstood = NotUnderstood("a comment that does not end");
const ODD_COMMENT: NotUnderstood = NotUnderstood("a comment with a carriage return that may end it");
const OPEN_QUOTE: NotUnderstood = NotUnderstood("a quote that does not end");
const ODD_NUMBER: NotUnderstood = NotUnderstood("a number with letters behind it");
const ODD_NAME: NotUnderstood = NotUnderstood("a quoted name that is empty or ends with a blank");

/// Longest first.
const OPERATORS: &[&str] = &[
    "<=", ">=", "<>", "!=", "!<", "!>", "+=", "-=", "*=", "/=", "%=", "&=", "^=", "|=", "::", "+", "-", "*", "/", "%",
    "<", ">", "=", "~", "^", "&", "|", "(", ")", ",", ";", ".", ":",
];

/// Cuts a text into tokens, comments and blanks left out.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    if text.contains('\0') {
        return Err(CONTROL);
    }
    let mut scan = Scan { cursor: Cursor::new(text) };
    let mut tokens = Vec::new();
    loop {
        scan.blanks_and_comments()?;
        let Some(token) = scan.token()? else { return Ok(tokens) };
        if tokens.len() >= MAX_TOKENS {
            return Err(TOO_MANY_TOKENS);
        }
        tokens.push(token);
    }
}

struct Scan<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Scan<'a> {
    fn blanks_and_comments(&mut self) -> Result {
        loop {
            self.cursor.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
            if self.cursor.starts("--") {
                self.cursor.skip_while(|byte| !matches!(byte, b'\n' | b'\r'));
                if self.cursor.peek(0) == Some(b'\r') && self.cursor.peek(1) != Some(b'\n') {
                    return Err(ODD_COMMENT);
                }
            } else if self.cursor.starts("/*") {
                self.comment()?;
            } else {
                return Ok(());
            }
        }
    }

    /// Comments nest.
    fn comment(&mut self) -> Result {
        let mut depth = 0_usize;
        loop {
            let length = if self.cursor.starts("/*") {
                depth += 1;
                2
            } else if self.cursor.starts("*/") {
                depth -= 1;
                2
            } else {
                self.cursor.peek(0).ok_or(OPEN_COMMENT)?;
                1
            };
            self.cursor.skip(length);
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn token(&mut self) -> Result<Option<Token<'a>>> {
        let from = self.cursor.at();
        let Some(first) = self.cursor.peek(0) else { return Ok(None) };
        let kind = match first {
            b'\'' => self.quoted(b'\'').map(|_| Kind::Text)?,
            b'n' | b'N' if self.cursor.peek(1) == Some(b'\'') => {
                self.cursor.skip(1);
                self.quoted(b'\'').map(|_| Kind::Text)?
            }
            b'"' => self.name(b'"')?,
            b'[' => self.name(b']')?,
            b'0'..=b'9' => self.number()?,
            b'.' if self.cursor.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.number()?,
            b'$' => self.dollar()?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'@' | b'#' => self.word()?,
            0x80.. => return Err(BEYOND_ASCII),
            0..=0x1f | 0x7f => return Err(CONTROL),
            _ => {
                let found = OPERATORS.iter().find(|operator| self.cursor.starts(operator)).ok_or(UNKNOWN)?;
                self.cursor.skip(found.len());
                Kind::Mark
            }
        };
        self.cursor.cut(kind, from).map(Some)
    }

    /// What stands between quotes, the closing one doubled in it.
    fn quoted(&mut self, close: u8) -> Result<&'a [u8]> {
        self.cursor.skip(1);
        let inside = self.cursor.rest();
        let mut length = 0;
        loop {
            length += inside.iter().skip(length).position(|byte| *byte == close).ok_or(OPEN_QUOTE)?;
            if inside.get(length + 1) != Some(&close) {
                break;
            }
            length += 2;
        }
        self.cursor.skip(length + 1);
        Ok(inside.get(..length).unwrap_or_default())
    }

    fn name(&mut self, close: u8) -> Result<Kind> {
        let inside = self.quoted(close)?;
        if !inside.is_ascii() {
            return Err(BEYOND_ASCII);
        }
        // The server compares names without the blanks at their end.
        if inside.last().is_none_or(|last| last.is_ascii_whitespace() || last.is_ascii_control()) {
            return Err(ODD_NAME);
        }
        Ok(Kind::Quoted)
    }

    /// `$1.50` is money; `$action` a column of MERGE.
    fn dollar(&mut self) -> Result<Kind> {
        self.cursor.skip(1);
        if self.cursor.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
            return self.number();
        }
        let word = self.cursor.rest().get(..6).is_some_and(|word| word.eq_ignore_ascii_case(b"action"));
        if !word || self.cursor.peek(6).is_some_and(is_name_part) {
            return Err(UNKNOWN);
        }
        self.cursor.skip(6);
        Ok(Kind::Parameter)
    }

    fn number(&mut self) -> Result<Kind> {
        if self.cursor.starts("0x") || self.cursor.starts("0X") {
            self.cursor.skip(2);
            self.cursor.skip_while(|byte| byte.is_ascii_hexdigit());
        } else {
            self.cursor.skip_decimal();
        }
        match self.cursor.peek(0) {
            Some(byte) if is_name_part(byte) || byte >= 0x80 || byte == b'.' => Err(ODD_NUMBER),
            _ => Ok(Kind::Number),
        }
    }

    fn word(&mut self) -> Result<Kind> {
        let length = self.cursor.skip_while(is_name_part);
        let starts_only = self.cursor.peek(0).is_none_or(|byte| byte < 0x80) && length > 0;
        if starts_only { Ok(Kind::Word) } else { Err(BEYOND_ASCII) }
    }
}

fn is_name_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@' | b'#' | b'$')
}
