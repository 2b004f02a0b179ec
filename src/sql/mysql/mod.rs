//! MySQL and MariaDB: what is theirs alone. Nothing serves them yet.
//!
//! | file | what it is |
//! | --- | --- |
//! | `guard` | the lexer |
//! | `command` | statements that are read from tokens |
//! | `set` | `SET`, and which settings change how text is read |
//! | `table` | options of a table's definition |
//! | `rewrite` | statements in the words that the parser knows |
//! | `builtins.txt` | functions that only compute |
//! | `reserved.txt` | words that are no name without quotes |

mod command;
mod guard;
mod rewrite;
mod set;
mod table;

pub(super) use set::is_unsafe;

use sqlparser::dialect::MySqlDialect;

use super::Dialect;
use super::guard::Token;
use super::other::{self, Grammar, Piece, Reserved};
use super::walk::Result;

/// How the dialect is read.
pub(super) static GRAMMAR: Grammar = Grammar {
    dialect: Dialect::MySql,
    tokens: guard::tokens,
    pieces,
    command: command::read,
    rewritten: rewrite::rewritten,
    parser: || Box::new(MySqlDialect {}),
};

/// Words that are no name without quotes, by any of the servers.
pub(super) static RESERVED: Reserved = Reserved::new(|| other::words(include_str!("reserved.txt")));

/// Built-in functions that only compute.
pub(super) static HARMLESS: Reserved = Reserved::new(|| other::words(include_str!("builtins.txt")));

/// The statements: every semicolon ends one. In the body of a routine the server goes on; what is made of such a body is
/// not understood, so that it does not matter where it is cut.
fn pieces<'t, 'a>(tokens: &'t [Token<'a>]) -> Result<Vec<Piece<'t, 'a>>> {
    let statements = tokens.split(|token| token.is_mark(";")).filter(|statement| !statement.is_empty());
    Ok(statements.map(Piece::Statement).collect())
}

#[cfg(test)]
mod tests;
