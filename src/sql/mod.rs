//! Text + dialect → [`Facts`]; unreadable text is a fact, not an error.
//!
//! Promises: [`read`] answers for every input, does not panic, overflow a stack or hang; the same text gives the same
//! facts; whatever is not understood, whole or in part, comes back as the effect `unparsed` and never as less than the
//! text does. The way of a text:
//!
//! ```text
//! bytes ─► guard (own lexer: refuses what lexes two ways) ─► statements ─► command (own, for a few simple ones)
//!                          │                                    └────────► sqlparser, one statement, to its end ─► walk
//!                          └─► second (PostgreSQL's own grammar, the whole text) ─► tables, functions, count
//! ```
//!
//! MySQL and Transact-SQL have a guard and one reader, and what they share is in `other`; nothing serves them yet.
//!
//! Guard, first and second reader must count the same statements and cut them at the same places, or the text is not
//! understood; what either reader finds is an effect. A statement that only the second one can read is judged by it alone:
//! each node of its tree must be known, every relation in a query counts as read (`alone`), and each sort of command has
//! its meaning (`utility`, `rights`); the facts say so.
//!
//! What the server is handed is the original text; what `sqlparser` is handed is the guard's tokens: in PostgreSQL with
//! single blanks between them and without comments, so that both cut it alike, in the others as they are.
//!
//! A text alone does not say which schema a name means, what a view reads or which function stands behind an operator.
//! [`resolve`] adds that from the database's catalog; where there is none, rules assume the worst of a name. What stays
//! out of sight then, column defaults, triggers and bodies of functions, needs the database's own rights in the end.

mod alone;
mod binds;
mod builtins;
mod columns;
mod command;
mod ddl;
mod dml;
mod expr;
mod fingerprint;
mod guard;
mod handles;
mod memory;
mod mysql;
mod names;
mod objects;
mod other;
mod parse;
mod pool;
mod query;
mod replication;
mod resolve;
mod rights;
mod role;
mod scan;
mod second;
mod session;
mod shape;
mod spoken;
mod statement;
mod strings;
mod tsql;
mod utility;
mod walk;

pub use handles::by_handle;
pub use memory::Memory;
pub use replication::{replicating, replication_command};
pub use resolve::{Resolver, in_the_dark, resolve};
pub use role::role_change;

use crate::model::{Facts, Kind, SqlText};

/// The longest text that is parsed. Above it no policy could be read from it in useful time; 256 KiB holds every
/// statement of the corpus of real tools.
pub const MAX_TEXT_BYTES: usize = 256 * 1024;

/// The most tokens that are parsed. Bounds the depth of the parsed tree, and with it the stack its removal needs.
pub const MAX_TOKENS: usize = 20_000;

/// The most statements in one text.
pub const MAX_STATEMENTS: usize = 1_000;

/// Which SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// PostgreSQL, with `standard_conforming_strings` on and UTF-8 as the client's encoding. The gateway holds both.
    #[default]
    PostgreSql,
    /// MySQL from 8.0 on and MariaDB from 10.6 on, with UTF-8 as the client's character set and none of the modes that take
    /// on another database's ways. Nothing serves it yet.
    MySql,
    /// SQL Server and Azure SQL, with `QUOTED_IDENTIFIER` on. Nothing serves it yet.
    TSql,
}

/// What a text does. Blocks the caller for as long as the reading takes: tens of microseconds as a rule, bounded always.
pub fn read(text: &SqlText, dialect: Dialect) -> Facts {
    if text.bytes().len() > MAX_TEXT_BYTES {
        return Facts::unparsed(format!("longer than {} KiB", MAX_TEXT_BYTES / 1024));
    }
    match text.text() {
        Some(text) => pool::read(text, dialect),
        None => Facts::unparsed("not valid UTF-8"),
    }
}

/// The facts of a text, on a deep stack.
fn facts(text: &str, dialect: Dialect) -> Facts {
    match other::grammar(dialect) {
        Some(grammar) => other::facts(text, grammar),
        None => parse::facts(text),
    }
}

/// The facts of a session that begins with these settings, as if each were set by a statement.
pub fn settings<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Facts {
    let mut walk = walk::Walk::default();
    settings.into_iter().for_each(|(name, value)| walk.set(name, Some(value)));
    let (effects, lifts_read_only) = (walk.effects.into_iter().collect(), walk.lifts_read_only);
    Facts { kind: Kind::Session, effects, lifts_read_only, problem: None, ..Facts::unparsed("") }
}

#[cfg(test)]
mod columns_tests;
#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod second_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod utility_tests;
