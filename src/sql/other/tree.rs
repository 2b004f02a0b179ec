//! The trees that are walked in dialects with one reader: fewer than for PostgreSQL, because the parser's word alone
//! counts.

use sqlparser::ast::Statement;

use crate::model::Kind;
use crate::sql::statement::{self, Read};
use crate::sql::walk::{NotUnderstood, Result, Walk};

/// Walks a statement. Statements that are not listed are not understood.
pub(super) fn walk(walk: &mut Walk, tree: &Statement) -> Result<Read> {
    match tree {
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Update(_)
        | Statement::Delete(_)
        | Statement::Merge(_)
        | Statement::Truncate(_)
        | Statement::Call(_) => statement::walk(walk, tree),
        Statement::CreateTable(_)
        | Statement::CreateView(_)
        | Statement::CreateIndex(_)
        | Statement::CreateSchema { .. }
        | Statement::CreateDatabase { .. }
        | Statement::AlterTable(_)
        | Statement::AlterView(_)
        | Statement::Drop { .. }
        | Statement::DropFunction(_)
        | Statement::DropProcedure { .. } => {
            let kind: Kind = walk.definition(tree)?;
            Ok(Read { kind, has_where: None })
        }
        _ => Err(NotUnderstood("a statement of this sort")),
    }
}
