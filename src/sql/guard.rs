//! A lexer after PostgreSQL's `scan.l` that refuses whatever another lexer might cut differently.
//!
//! Promises: what it lets pass is cut into the tokens PostgreSQL cuts, with `standard_conforming_strings` on and UTF-8;
//! a name is in the text as it is; it does not recurse, and takes time linear in the text.

/// An identifier longer than this is cut short by the server, so it would name another object than it seems to.
const MAX_NAME_BYTES: usize = 63;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An unquoted word: keyword or identifier.
    Word,
    /// A quoted identifier.
    Quoted,
    /// A string, bit string or byte string.
    Text,
    /// A number.
    Number,
    /// `$1`.
    Parameter,
    /// An operator, or one of the marks that are not operators.
    Mark,
}

/// A token as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    /// What it is.
    pub(super) kind: Kind,
    /// Its characters.
    pub(super) text: &'a str,
}

impl Token<'_> {
    /// Whether it is this word, in any case.
    pub(super) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is a string with Unicode escapes, `U&'…'`.
    pub(super) fn is_unicode_escaped(&self) -> bool {
        self.kind == Kind::Text && self.text.starts_with(['u', 'U'])
    }

    /// Whether it is this mark.
    pub(super) fn is_mark(&self, mark: &str) -> bool {
        self.kind == Kind::Mark && self.text == mark
    }
}

/// Why a text is refused, in words that hold nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("a control character outside of quotes, or a zero byte")]
    Control,
    #[error("a letter or blank beyond ASCII outside of quotes")]
    BeyondAscii,
    #[error("a character that PostgreSQL does not know outside of quotes")]
    Unknown,
    #[error("an operator that touches a comment")]
    GluedComment,
    #[error("a comment that does not end")]
    OpenComment,
    #[error("a quote that does not end")]
    OpenQuote,
    #[error("a Unicode-escaped name (U&)")]
    UnicodeEscape,
    #[error("a bit or byte string with characters it cannot have")]
    OddBits,
    #[error("two strings that follow each other")]
    AdjacentStrings,
    #[error("a dollar sign that starts neither a quote nor a parameter")]
    StrayDollar,
    #[error("a number with letters behind it")]
    JunkAfterNumber,
    #[error("an empty name, or one of more than 63 bytes")]
    OddName,
    #[error("more than {} tokens", super::MAX_TOKENS)]
    TooManyTokens,
}

/// Cuts a text into tokens, comments and blanks left out.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Refused> {
    if text.contains('\0') {
        return Err(Refused::Control);
    }
    let mut scan = Scan { text, bytes: text.as_bytes(), at: 0 };
    let mut tokens: Vec<Token<'_>> = Vec::new();
    while let Some(token) = scan.token()? {
        let follows_string = tokens.last().is_some_and(|last| last.kind == Kind::Text);
        if follows_string && token.kind == Kind::Text && token.text.starts_with('\'') {
            return Err(Refused::AdjacentStrings);
        }
        if tokens.len() >= super::MAX_TOKENS {
            return Err(Refused::TooManyTokens);
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// The top-level statements, without their semicolons; empty ones are left out. A body in SQL (`BEGIN ATOMIC … END`)
/// belongs to the `CREATE` around it; who counts otherwise reads otherwise, and is told so by the count.
pub(super) fn statements<'t, 'a>(tokens: &'t [Token<'a>]) -> Vec<&'t [Token<'a>]> {
    let (mut brackets, mut blocks) = (0_i64, 0_i64);
    let mut creates = None;
    let mut after_begin = false;
    tokens
        .split(|token| {
            brackets += i64::from(token.is_mark("(")) - i64::from(token.is_mark(")"));
            let creates_now = *creates.get_or_insert_with(|| token.is_word("create"));
            if blocks > 0 {
                blocks += i64::from(token.is_word("case")) - i64::from(token.is_word("end"));
            } else if creates_now && after_begin && token.is_word("atomic") {
                blocks = 1;
            }
            after_begin = token.is_word("begin");
            let ends = brackets <= 0 && blocks == 0 && token.is_mark(";");
            if ends {
                creates = None;
            }
            ends
        })
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// Whether these tokens stand in this part of the text they were cut from.
pub(super) fn stand_in(tokens: &[Token<'_>], part: &str) -> bool {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return false };
    let part = part.as_bytes().as_ptr_range();
    let (first, last) = (first.text.as_bytes().as_ptr_range(), last.text.as_bytes().as_ptr_range());
    part.start <= first.start && last.end <= part.end
}

/// The tokens as one line without comments, cut the same way by every lexer: a blank between any two, but none around
/// the point of a qualified name.
pub(super) fn canonical(tokens: &[Token<'_>]) -> String {
    let mut line = String::new();
    let mut last: Option<&Token<'_>> = None;
    for token in tokens {
        let glued = match last {
            None => true,
            Some(last) if token.is_mark(".") => matches!(last.kind, Kind::Word | Kind::Quoted),
            Some(last) => last.is_mark("."),
        };
        if !glued {
            line.push(' ');
        }
        line.push_str(token.text);
        last = Some(token);
    }
    line
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn starts(&self, with: &str) -> bool {
        self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(with.as_bytes()))
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        while self.peek(0).is_some_and(&wanted) {
            self.at += 1;
        }
    }

    fn cut(&self, kind: Kind, from: usize) -> Result<Option<Token<'a>>, Refused> {
        let text = self.text.get(from..self.at).ok_or(Refused::Unknown)?;
        Ok(Some(Token { kind, text }))
    }

    fn token(&mut self) -> Result<Option<Token<'a>>, Refused> {
        self.blanks_and_comments()?;
        let from = self.at;
        let Some(first) = self.peek(0) else { return Ok(None) };
        let kind = match first {
            b'\'' => self.quote(false)?,
            b'"' => self.name()?,
            b'$' => self.dollar()?,
            b'0'..=b'9' => self.number()?,
            b'.' if self.peek(1).is_some_and(|next| next.is_ascii_digit()) => self.number()?,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => self.word(first)?,
            b',' | b'(' | b')' | b'[' | b']' | b';' => self.mark(1),
            b'.' => self.mark(if self.starts("..") { 2 } else { 1 }),
            b':' => self.mark(if self.starts("::") || self.starts(":=") { 2 } else { 1 }),
            0x80.. => return Err(Refused::BeyondAscii),
            0..=0x1f | 0x7f => return Err(Refused::Control),
            _ if is_operator(first) => self.operator()?,
            _ => return Err(Refused::Unknown),
        };
        self.cut(kind, from)
    }

    fn mark(&mut self, length: usize) -> Kind {
        self.at += length;
        Kind::Mark
    }

    fn blanks_and_comments(&mut self) -> Result<(), Refused> {
        loop {
            // The vertical tab is a blank from version 16 on and an error before; it is refused as a control character.
            self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c));
            if self.starts("--") {
                self.skip_while(|byte| byte != b'\n' && byte != b'\r');
            } else if self.starts("/*") {
                self.comment()?;
            } else {
                return Ok(());
            }
        }
    }

    fn comment(&mut self) -> Result<(), Refused> {
        let mut depth = 0_usize;
        loop {
            if self.starts("/*") {
                (depth, self.at) = (depth + 1, self.at + 2);
            } else if self.starts("*/") {
                (depth, self.at) = (depth - 1, self.at + 2);
                if depth == 0 {
                    return Ok(());
                }
            } else if self.peek(0).is_some() {
                self.at += 1;
            } else {
                return Err(Refused::OpenComment);
            }
        }
    }

    /// A string from its opening quote; `escapes` as in `E'…'`.
    fn quote(&mut self, escapes: bool) -> Result<Kind, Refused> {
        self.at += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                (None, _) => return Err(Refused::OpenQuote),
                (Some(b'\\'), _) if escapes => self.at += 2,
                (Some(b'\''), Some(b'\'')) => self.at += 2,
                (Some(b'\''), _) => {
                    self.at += 1;
                    return Ok(Kind::Text);
                }
                _ => self.at += 1,
            }
        }
    }

    fn name(&mut self) -> Result<Kind, Refused> {
        let from = self.at;
        self.at += 1;
        loop {
            match (self.peek(0), self.peek(1)) {
                (None, _) => return Err(Refused::OpenQuote),
                (Some(b'"'), Some(b'"')) => self.at += 2,
                (Some(b'"'), _) => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let inside = self.at - from - 2;
        if inside == 0 || inside > MAX_NAME_BYTES { Err(Refused::OddName) } else { Ok(Kind::Quoted) }
    }

    fn word(&mut self, first: u8) -> Result<Kind, Refused> {
        let quote_follows = self.peek(1) == Some(b'\'');
        match first {
            b'e' | b'E' if quote_follows => {
                self.at += 1;
                return self.quote(true);
            }
            b'n' | b'N' if quote_follows => {
                self.at += 1;
                return self.quote(false);
            }
            b'b' | b'B' if quote_follows => return self.bits(|byte| matches!(byte, b'0' | b'1')),
            b'x' | b'X' if quote_follows => return self.bits(|byte| byte.is_ascii_hexdigit()),
            // A string that PostgreSQL's grammar decodes; no other reader is given it. A name would have to be decoded for
            // everything that looks at names, so it is refused.
            b'u' | b'U' if self.peek(1) == Some(b'&') && self.peek(2) == Some(b'\'') => {
                self.at += 2;
                return self.quote(false);
            }
            b'u' | b'U' if self.peek(1) == Some(b'&') && self.peek(2) == Some(b'"') => {
                return Err(Refused::UnicodeEscape);
            }
            _ => {}
        }
        let from = self.at;
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$');
        match self.peek(0) {
            Some(0x80..) => Err(Refused::BeyondAscii),
            _ if self.at - from > MAX_NAME_BYTES => Err(Refused::OddName),
            _ => Ok(Kind::Word),
        }
    }

    fn bits(&mut self, wanted: impl Fn(u8) -> bool) -> Result<Kind, Refused> {
        self.at += 2;
        self.skip_while(wanted);
        if self.peek(0) != Some(b'\'') {
            return Err(Refused::OddBits);
        }
        self.at += 1;
        Ok(Kind::Text)
    }

    fn dollar(&mut self) -> Result<Kind, Refused> {
        let from = self.at;
        self.at += 1;
        if self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
            self.skip_while(|byte| byte.is_ascii_digit());
            return match self.peek(0) {
                Some(byte) if is_name_part(byte) => Err(Refused::JunkAfterNumber),
                _ => Ok(Kind::Parameter),
            };
        }
        self.skip_while(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if self.peek(0) != Some(b'$') {
            return Err(Refused::StrayDollar);
        }
        self.at += 1;
        let tag = self.text.get(from..self.at).ok_or(Refused::Unknown)?;
        let rest = self.text.get(self.at..).ok_or(Refused::Unknown)?;
        let length = rest.find(tag).ok_or(Refused::OpenQuote)?;
        self.at += length + tag.len();
        Ok(Kind::Text)
    }

    fn number(&mut self) -> Result<Kind, Refused> {
        self.skip_while(|byte| byte.is_ascii_digit());
        if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
            self.at += 1;
            self.skip_while(|byte| byte.is_ascii_digit());
        }
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self.peek(1 + sign).is_some_and(|byte| byte.is_ascii_digit()) {
                self.at += 1 + sign;
                self.skip_while(|byte| byte.is_ascii_digit());
            }
        }
        match self.peek(0) {
            Some(byte) if is_name_part(byte) => Err(Refused::JunkAfterNumber),
            _ => Ok(Kind::Number),
        }
    }

    /// The longest run of operator characters, less the `+` and `-` at its end that PostgreSQL gives back.
    fn operator(&mut self) -> Result<Kind, Refused> {
        let from = self.at;
        while self.peek(0).is_some_and(is_operator) {
            if self.at > from && (self.starts("--") || self.starts("/*")) {
                return Err(Refused::GluedComment);
            }
            self.at += 1;
        }
        // `1-` followed by `-- x` reaches this point too: the first `-` begins the comment, so it was never an operator.
        let run = self.bytes.get(from..self.at).unwrap_or_default();
        let (last, before) = run.split_last().ok_or(Refused::Unknown)?;
        let keeps = |before: &[u8]| before.iter().any(|byte| b"~!@#%^&|?".contains(byte));
        if matches!(last, b'+' | b'-') && !before.is_empty() && !keeps(before) {
            let kept = run.iter().rposition(|byte| !matches!(byte, b'+' | b'-')).map_or(1, |at| at + 1);
            self.at = from + kept;
        }
        Ok(Kind::Mark)
    }
}

fn is_operator(byte: u8) -> bool {
    b"+-*/<>=~!@#%^&|?".contains(&byte)
}

fn is_name_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}
