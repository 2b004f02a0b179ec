//! The guard's tokens as the parser's, so that its own lexer cuts nothing.
//!
//! Names are handed over in lower case, quoted or not: both servers compare the names of columns, aliases and functions
//! without regard to case, and `spelled` says what that means for tables.

use sqlparser::tokenizer::Token as ParserToken;

use crate::sql::guard::{Kind, Token};
use crate::sql::walk::{NotUnderstood, Result};

/// One token; `escapes`: whether a backslash in a string escapes.
pub(in crate::sql) fn parser_token(token: &Token<'_>, escapes: bool) -> Result<ParserToken> {
    Ok(match token.kind {
        Kind::Word => word(token.text),
        Kind::Quoted => name(&unquoted(token.text)),
        Kind::Number if token.text.starts_with("0x") || token.text.starts_with("0X") => {
            ParserToken::HexStringLiteral(token.text.chars().skip(2).collect())
        }
        Kind::Number => ParserToken::Number(token.text.trim_start_matches('$').to_owned(), false),
        Kind::Parameter => ParserToken::Placeholder(token.text.to_owned()),
        Kind::Text => text(token.text, escapes),
        Kind::Mark => mark(token.text)?,
    })
}

/// A word, in lower case.
pub(in crate::sql) fn word(text: &str) -> ParserToken {
    ParserToken::make_word(&text.to_ascii_lowercase(), None)
}

/// A name that is no keyword, in lower case.
pub(in crate::sql) fn name(text: &str) -> ParserToken {
    ParserToken::make_word(&text.to_ascii_lowercase(), Some('`'))
}

/// A name without its quotes, as it is written.
pub(in crate::sql) fn unquoted(text: &str) -> String {
    let inside: String = text.chars().skip(1).take(text.chars().count().saturating_sub(2)).collect();
    match text.bytes().next() {
        Some(b'`') => inside.replace("``", "`"),
        Some(b'[') => inside.replace("]]", "]"),
        _ => inside.replace("\"\"", "\""),
    }
}

/// What a string says, its quotes, doublings and escapes taken off; nothing if it is none of characters.
pub(in crate::sql) fn said(token: &Token<'_>, escapes: bool) -> Option<String> {
    let text = token.text.strip_prefix(['n', 'N']).unwrap_or(token.text);
    let quote = text.chars().next().filter(|quote| token.kind == Kind::Text && matches!(quote, '\'' | '"'))?;
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut said = String::with_capacity(inside.len());
    let mut rest = inside.chars();
    while let Some(letter) = rest.next() {
        said.push(match letter {
            '\\' if escapes => match rest.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                '0' => '\0',
                'b' => '\u{8}',
                'Z' => '\u{1a}',
                other => other,
            },
            letter if letter == quote => rest.next()?,
            letter => letter,
        });
    }
    Some(said)
}

fn text(text: &str, escapes: bool) -> ParserToken {
    let token = Token { kind: Kind::Text, text };
    match (text.bytes().next(), said(&token, escapes)) {
        (Some(b'"'), Some(said)) => ParserToken::DoubleQuotedString(said),
        (Some(b'n' | b'N'), Some(said)) => ParserToken::NationalStringLiteral(said),
        (_, Some(said)) => ParserToken::SingleQuotedString(said),
        // `x'…'` and `b'…'` hold digits and nothing else.
        (_, None) => ParserToken::HexStringLiteral(text.chars().filter(char::is_ascii_hexdigit).collect()),
    }
}

fn mark(text: &str) -> Result<ParserToken> {
    Ok(match text {
        "(" => ParserToken::LParen,
        ")" => ParserToken::RParen,
        "," => ParserToken::Comma,
        ";" => ParserToken::SemiColon,
        "." => ParserToken::Period,
        "+" => ParserToken::Plus,
        "-" => ParserToken::Minus,
        "*" => ParserToken::Mul,
        "/" => ParserToken::Div,
        "%" => ParserToken::Mod,
        "=" | "+=" | "-=" | "*=" | "/=" | "%=" | "&=" | "^=" | "|=" => ParserToken::Eq,
        "<=>" => ParserToken::Spaceship,
        "<" => ParserToken::Lt,
        ">" => ParserToken::Gt,
        "<=" | "!>" => ParserToken::LtEq,
        ">=" | "!<" => ParserToken::GtEq,
        "<>" | "!=" => ParserToken::Neq,
        "<<" => ParserToken::ShiftLeft,
        ">>" => ParserToken::ShiftRight,
        "->" => ParserToken::Arrow,
        "->>" => ParserToken::LongArrow,
        ":=" => ParserToken::Assignment,
        // `::` calls a method of a type, which the parser takes for a conversion.
        "::" => return Err(NotUnderstood("a method of a type")),
        ":" => ParserToken::Colon,
        "&" => ParserToken::Ampersand,
        "|" => ParserToken::Pipe,
        "^" => ParserToken::Caret,
        "~" => ParserToken::Tilde,
        "!" => ParserToken::ExclamationMark,
        "@" => ParserToken::AtSign,
        // Binds less tightly than a comparison in MySQL, other than the parser thinks.
        "&&" => word("and"),
        "||" => word("or"),
        _ => return Err(NotUnderstood("an operator that is not known")),
    })
}
