//! Transact-SQL: what is its alone. Nothing serves it yet.
//!
//! | file | what it is |
//! | --- | --- |
//! | `guard` | the lexer |
//! | `batch` | where statements begin: nothing need stand between them |
//! | `command` | statements that are read from tokens |
//! | `exec` | `EXEC` and dynamic SQL |
//! | `set` | `SET`, and which settings change how text is read |
//! | `rewrite` | statements in the words that the parser knows |
//! | `builtins.txt` | functions that only compute |
//! | `reserved.txt` | words that are no name without quotes |

mod batch;
mod command;
mod exec;
mod guard;
mod rewrite;
mod set;

pub(super) use set::is_unsafe;

use sqlparser::dialect::MsSqlDialect;

use super::Dialect;
use super::other::{self, Grammar, Reserved};

/// How the dialect is read.
pub(super) static GRAMMAR: Grammar = Grammar {
    dialect: Dialect::TSql,
    tokens: guard::tokens,
    pieces: batch::pieces,
    command: command::read,
    rewritten: rewrite::rewritten,
    parser: || Box::new(MsSqlDialect {}),
};

/// Words that are no name without quotes.
pub(super) static RESERVED: Reserved = Reserved::new(|| other::words(include_str!("reserved.txt")));

/// Built-in functions that only compute.
pub(super) static HARMLESS: Reserved = Reserved::new(|| other::words(include_str!("builtins.txt")));

#[cfg(test)]
mod tests;
