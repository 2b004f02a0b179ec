//! Words that a server reserves, so that none of them is a name without quotes.

use std::collections::HashSet;
use std::sync::LazyLock;

use sqlparser::ast::Ident;

use crate::sql::Dialect;
use crate::sql::walk::{NotUnderstood, Result, Walk};

/// A list of words, one or more a line; a line with `#` says what the list is.
#[derive(Debug)]
pub(in crate::sql) struct Reserved(LazyLock<HashSet<&'static str>>);

impl Reserved {
    /// From the text of a file.
    pub(in crate::sql) const fn new(words: fn() -> HashSet<&'static str>) -> Self {
        Self(LazyLock::new(words))
    }

    /// Whether a word, in lower case, is on it.
    pub(in crate::sql) fn has(&self, word: &str) -> bool {
        self.0.contains(word)
    }
}

/// The words of a list's text.
pub(in crate::sql) fn words(text: &'static str) -> HashSet<&'static str> {
    text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect()
}

/// Reserved words that are a value, alone.
const VALUES: &[&str] = &[
    "current_date",
    "current_role",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "localtime",
    "localtimestamp",
    "on",
    "session_user",
    "system_user",
    "user",
    "utc_date",
    "utc_time",
    "utc_timestamp",
];

impl Walk {
    /// A name in an expression, of a column if it is none of the words that are values.
    pub(super) fn in_expression(&self, name: &Ident) -> Result {
        if VALUES.contains(&name.value.as_str()) { Ok(()) } else { self.alias(name) }
    }

    /// An alias, or the first part of a name: the parser takes words for one that begin something else at the server.
    pub(in crate::sql) fn alias(&self, alias: &Ident) -> Result {
        let is_reserved = match self.dialect {
            Dialect::PostgreSql => return Ok(()),
            Dialect::MySql => crate::sql::mysql::RESERVED.has(&alias.value),
            Dialect::TSql => crate::sql::tsql::RESERVED.has(&alias.value),
        };
        if alias.quote_style.is_none() && is_reserved {
            return Err(NotUnderstood("a reserved word where the parser saw a name"));
        }
        Ok(())
    }
}
