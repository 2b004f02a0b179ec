//! A lexer after the scanner of MySQL and MariaDB (`sql_lex.cc`) that refuses whatever can be cut in two ways.
//!
//! Promises: what it lets pass is cut into the tokens that any supported server cuts, whether backslashes escape
//! (`NO_BACKSLASH_ESCAPES`) or not, and `"` encloses the same characters as a string and as a name (`ANSI_QUOTES`); it does
//! not recurse, and takes time linear in the text.
//!
//! Tried on MariaDB 10.11.19: `--` is a comment only before a blank, a control character or the end; comments to the end
//! of a line end at a line feed, not at a carriage return; `/*! … */` and `/*!NNNNN … */` run, but not from 50700 to 50999
//! and above the server's own version; in them comments of every sort are comments and a string may hold `*/`; `/*M! … */`
//! runs on MariaDB and nowhere else; `1e1x` is a number and a name, `1x` a name, `a.1b` a column; `0X41` is a name; `=!` is
//! two operators; `\N` is `NULL`; blanks include the vertical tab; `count (1)` with a blank is a function of the schema.
//! MySQL itself was read, not run.

use crate::sql::MAX_TOKENS;
use crate::sql::guard::{Kind, Token};
use crate::sql::scan::{Cursor, TOO_MANY_TOKENS, touch};
use crate::sql::walk::{NotUnderstood, Result};

const CONTROL: NotUnderstood = NotUnderstood("a control character outside of quotes, or a zero byte");
const BEYOND_ASCII: NotUnderstood =
    NotUnderstood("a letter beyond ASCII outside of strings: the server may take it for another one");
const UNKNOWN: NotUnderstood = NotUnderstood("a character that has no meaning outside of quotes, or more than one");
const EXECUTABLE: NotUnderstood =
    NotUnderstood("a comment that some servers execute and others do not, or with a comment in it");
const HINT: NotUnderstood = NotUnderstood("an optimizer hint, which may set variables");
const OPEN_COMMENT: NotUnderstood = NotUnderstood("a comment that does not end, or the end of one that did not begin");
const OPEN_QUOTE: NotUnderstood = NotUnderstood("a quote that does not end");
const TWO_WAYS: NotUnderstood = NotUnderstood("a string that ends elsewhere where backslashes do not escape");
const ODD_NUMBER: NotUnderstood = NotUnderstood("a number with letters behind it, or a name that begins with a digit");
const ODD_NAME: NotUnderstood = NotUnderstood("a quoted name that is empty or ends with a blank");
const ODD_OPERATOR: NotUnderstood = NotUnderstood("operators that touch");
const APART: NotUnderstood =
    NotUnderstood("a built-in function's name apart from its bracket, which names another one");

/// The highest version in an executable comment that every supported server executes, MySQL from 8.0 on and MariaDB
/// from 10.6 on. Above it, MariaDB leaves out what MySQL executes.
const EXECUTED_EVERYWHERE: u32 = 50_699;

/// Built-in functions that are another function, one of the schema, with a blank before their bracket.
const TOUCHING: &[&str] = &[
    "adddate",
    "bit_and",
    "bit_or",
    "bit_xor",
    "cast",
    "count",
    "curdate",
    "curtime",
    "date_add",
    "date_sub",
    "extract",
    "group_concat",
    "json_arrayagg",
    "json_objectagg",
    "max",
    "mid",
    "min",
    "now",
    "position",
    "session_user",
    "st_collect",
    "std",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "subdate",
    "substr",
    "substring",
    "sum",
    "sysdate",
    "system_user",
    "trim",
    "var_pop",
    "var_samp",
    "variance",
];

/// Longest first.
const OPERATORS: &[&str] = &[
    "->>", "<=>", "->", "<=", ">=", "<>", "!=", "<<", ">>", ":=", "&&", "||", "+", "-", "*", "/", "%", "<", ">", "=",
    "!", "~", "^", "&", "|", "(", ")", ",", ";", ".",
];

/// Cuts a text into tokens, comments and blanks left out; what every server executes in comments is not left out.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>> {
    if text.contains('\0') {
        return Err(CONTROL);
    }
    let mut scan = Scan { cursor: Cursor::new(text), executed: false };
    let mut tokens: Vec<Token<'_>> = Vec::new();
    loop {
        scan.blanks_and_comments()?;
        let Some(token) = scan.token(tokens.last())? else { break };
        if tokens.len() >= MAX_TOKENS {
            return Err(TOO_MANY_TOKENS);
        }
        if let Some(last) = tokens.last() {
            let is_touching = TOUCHING.iter().any(|word| last.is_word(word));
            if token.is_mark("(") && is_touching && !touch(last, &token) {
                return Err(APART);
            }
        }
        tokens.push(token);
    }
    if scan.executed { Err(OPEN_COMMENT) } else { Ok(tokens) }
}

struct Scan<'a> {
    cursor: Cursor<'a>,
    /// Whether it is inside of a comment that is executed.
    executed: bool,
}

impl<'a> Scan<'a> {
    fn blanks_and_comments(&mut self) -> Result {
        loop {
            self.cursor.skip_while(is_blank);
            let ends = |byte: Option<u8>| byte.is_none_or(|byte| is_blank(byte) || byte.is_ascii_control());
            let to_line_end = self.cursor.starts("#") || self.cursor.starts("--") && ends(self.cursor.peek(2));
            if (to_line_end || self.cursor.starts("/*")) && self.executed {
                return Err(EXECUTABLE);
            } else if to_line_end {
                self.cursor.skip_while(|byte| byte != b'\n');
            } else if self.cursor.starts("/*") {
                self.comment()?;
            } else if self.cursor.starts("*/") {
                if !std::mem::take(&mut self.executed) {
                    return Err(OPEN_COMMENT);
                }
                self.cursor.skip(2);
            } else {
                return Ok(());
            }
        }
    }

    fn comment(&mut self) -> Result {
        if self.cursor.starts("/*+") {
            return Err(HINT);
        }
        if self.cursor.starts("/*!") {
            return self.executable();
        }
        if self.cursor.starts("/*M!") || self.cursor.starts("/*m!") {
            return Err(EXECUTABLE);
        }
        self.cursor.skip(2);
        let end = self.cursor.rest().windows(2).position(|two| two == b"*/").ok_or(OPEN_COMMENT)?;
        let inside = self.cursor.rest().get(..end).unwrap_or_default();
        if inside.windows(2).any(|two| two == b"/*") {
            // A comment in a comment: MySQL ends at the first end, others count.
            return Err(OPEN_COMMENT);
        }
        self.cursor.skip(end + 2);
        Ok(())
    }

    /// `/*! …` and `/*!NNNNN …` with a version that every server has: what follows is text like any other.
    fn executable(&mut self) -> Result {
        self.cursor.skip(3);
        let digits = self.cursor.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let version = self
            .cursor
            .rest()
            .iter()
            .take(digits)
            .fold(0_u32, |version, digit| version.saturating_mul(10).saturating_add(u32::from(*digit - b'0')));
        if !matches!(digits, 0 | 5) || version > EXECUTED_EVERYWHERE {
            return Err(EXECUTABLE);
        }
        self.cursor.skip(digits);
        if !self.cursor.peek(0).is_some_and(is_blank) {
            return Err(EXECUTABLE);
        }
        self.executed = true;
        Ok(())
    }

    fn token(&mut self, last: Option<&Token<'a>>) -> Result<Option<Token<'a>>> {
        let from = self.cursor.at();
        let Some(first) = self.cursor.peek(0) else { return Ok(None) };
        let kind = match first {
            b'\'' | b'"' => self.string(first)?,
            b'`' => self.name()?,
            b'@' => self.variable()?,
            b'0'..=b'9' => self.number()?,
            b'.' if self.cursor.peek(1).is_some_and(|next| next.is_ascii_digit()) => {
                let end = last.filter(|last| matches!(last.kind, Kind::Word | Kind::Quoted));
                if end.is_some_and(|end| end.text.as_bytes().as_ptr_range().end == self.cursor.rest().as_ptr()) {
                    return Err(ODD_NUMBER);
                }
                self.number()?
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' => self.word(first)?,
            b'?' => {
                self.cursor.skip(1);
                Kind::Parameter
            }
            0x80.. => return Err(BEYOND_ASCII),
            0..=0x1f | 0x7f => return Err(CONTROL),
            _ => self.operator()?,
        };
        self.cursor.cut(kind, from).map(Some)
    }

    /// A string, read with escapes and without; they must end at the same place.
    fn string(&mut self, quote: u8) -> Result<Kind> {
        let rest = self.cursor.rest();
        let (escaped, plain) = (end_of_quote(rest, quote, true), end_of_quote(rest, quote, false));
        let length = match (escaped, plain) {
            (Some(escaped), Some(plain)) if escaped == plain => escaped,
            (None, None) => return Err(OPEN_QUOTE),
            _ => return Err(TWO_WAYS),
        };
        if self.executed && rest.iter().take(length).collect::<Vec<_>>().windows(2).any(|two| two == [&b'*', &b'/']) {
            return Err(EXECUTABLE);
        }
        self.cursor.skip(length);
        Ok(Kind::Text)
    }

    fn name(&mut self) -> Result<Kind> {
        let length = end_of_quote(self.cursor.rest(), b'`', false).ok_or(OPEN_QUOTE)?;
        let inside = self.cursor.rest().get(1..length - 1).unwrap_or_default();
        if inside.last().is_none_or(|last| is_blank(*last)) {
            return Err(ODD_NAME);
        }
        if !inside.is_ascii() {
            return Err(BEYOND_ASCII);
        }
        self.cursor.skip(length);
        Ok(Kind::Quoted)
    }

    /// `@name`, `@@name`; a lone `@` before a quote, as in `'user'@'host'`.
    fn variable(&mut self) -> Result<Kind> {
        self.cursor.skip(1);
        let is_system = self.cursor.peek(0) == Some(b'@');
        if is_system {
            self.cursor.skip(1);
        }
        let length = self.cursor.skip_while(|byte| is_name_part(byte) || byte == b'.' && !is_system);
        match (length, self.cursor.peek(0)) {
            (_, Some(0x80..)) => Err(BEYOND_ASCII),
            (0, Some(b'\'' | b'"' | b'`')) if !is_system => Ok(Kind::Mark),
            (0, _) => Err(UNKNOWN),
            _ => Ok(Kind::Word),
        }
    }

    fn number(&mut self) -> Result<Kind> {
        if self.cursor.starts("0x") || self.cursor.starts("0b") {
            let is_hex = self.cursor.starts("0x");
            self.cursor.skip(2);
            let wanted = |byte: u8| if is_hex { byte.is_ascii_hexdigit() } else { matches!(byte, b'0' | b'1') };
            if self.cursor.skip_while(wanted) == 0 {
                return Err(ODD_NUMBER);
            }
        } else {
            self.cursor.skip_decimal();
        }
        match self.cursor.peek(0) {
            Some(byte) if is_name_part(byte) || byte >= 0x80 || byte == b'.' => Err(ODD_NUMBER),
            _ => Ok(Kind::Number),
        }
    }

    fn word(&mut self, first: u8) -> Result<Kind> {
        if self.cursor.peek(1) == Some(b'\'') {
            let bits: Option<fn(u8) -> bool> = match first {
                b'x' | b'X' => Some(|byte| byte.is_ascii_hexdigit()),
                b'b' | b'B' => Some(|byte| matches!(byte, b'0' | b'1')),
                b'n' | b'N' => None,
                _ => return self.plain_word(),
            };
            self.cursor.skip(1);
            let Some(wanted) = bits else { return self.string(b'\'') };
            self.cursor.skip(1);
            let length = self.cursor.skip_while(wanted);
            if self.cursor.peek(0) != Some(b'\'') || matches!(first, b'x' | b'X') && length % 2 == 1 {
                return Err(UNKNOWN);
            }
            self.cursor.skip(1);
            return Ok(Kind::Text);
        }
        self.plain_word()
    }

    fn plain_word(&mut self) -> Result<Kind> {
        self.cursor.skip_while(is_name_part);
        if self.cursor.peek(0).is_some_and(|byte| byte >= 0x80) { Err(BEYOND_ASCII) } else { Ok(Kind::Word) }
    }

    fn operator(&mut self) -> Result<Kind> {
        let found = OPERATORS.iter().find(|operator| self.cursor.starts(operator)).ok_or(UNKNOWN)?;
        self.cursor.skip(found.len());
        let compares = |byte: u8| matches!(byte, b'<' | b'>' | b'=' | b'!');
        let touches = found.bytes().last().is_some_and(compares) && self.cursor.peek(0).is_some_and(compares);
        if touches { Err(ODD_OPERATOR) } else { Ok(Kind::Mark) }
    }
}

/// How long a quoted text is, from its opening quote to its closing one.
fn end_of_quote(text: &[u8], quote: u8, escapes: bool) -> Option<usize> {
    let mut at = 1;
    loop {
        match (text.get(at)?, text.get(at + 1)) {
            (b'\\', next) if escapes => {
                next?;
                at += 2;
            }
            (byte, Some(next)) if *byte == quote && *next == quote => at += 2,
            (byte, _) if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn is_name_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}
