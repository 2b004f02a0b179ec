//! Expressions that PostgreSQL has not.

use sqlparser::ast::{BinaryOperator, DataType, Expr, FunctionArg, FunctionArgExpr, Ident, MemberOf, Value};

use crate::model::{Action, Effect, Object, ObjectKind};
use crate::sql::Dialect;
use crate::sql::names;
use crate::sql::walk::{NotUnderstood, Result, Walk};

const NOT_READ: NotUnderstood = NotUnderstood("an expression of another database");

/// System variables that a server tells everybody who connects, or that say how values are written. The others are read
/// from a table of the server's.
const TOLD: &[&str] = &[
    "auto_increment_increment",
    "autocommit",
    "character_set_client",
    "character_set_connection",
    "character_set_results",
    "character_set_server",
    "collation_connection",
    "collation_server",
    "error_count",
    "identity",
    "init_connect",
    "interactive_timeout",
    "last_insert_id",
    "license",
    "lower_case_table_names",
    "max_allowed_packet",
    "net_buffer_length",
    "net_write_timeout",
    "performance_schema",
    "query_cache_size",
    "query_cache_type",
    "sql_mode",
    "system_time_zone",
    "time_zone",
    "transaction_isolation",
    "transaction_read_only",
    "tx_isolation",
    "tx_read_only",
    "version",
    "version_comment",
    "wait_timeout",
    "warning_count",
];

impl Walk {
    /// An expression that only other databases have.
    pub(in crate::sql) fn other_expr<'e>(&mut self, expr: &'e Expr, rest: &mut Vec<&'e Expr>) -> Result {
        if self.dialect == Dialect::PostgreSql {
            return Err(NOT_READ);
        }
        match expr {
            Expr::RLike { expr, pattern, .. } => rest.extend([&**expr, &**pattern]),
            Expr::MemberOf(MemberOf { value, array }) => rest.extend([&**value, &**array]),
            Expr::Prefixed { prefix, value } if self.dialect == Dialect::MySql => {
                // `_utf8mb4 'x'`; with any other word, a column and its alias.
                self.columns.column(std::slice::from_ref(prefix));
                rest.push(value);
            }
            Expr::Convert { expr, data_type, styles, .. } => {
                if let Some(data_type) = data_type {
                    self.data_type(data_type)?;
                }
                rest.push(expr);
                rest.extend(styles);
            }
            Expr::MatchAgainst { columns, .. } => {
                for column in columns {
                    let parts: Vec<Ident> = names::idents(column)?.into_iter().cloned().collect();
                    self.columns.column(&parts);
                }
            }
            _ => return Err(NOT_READ),
        }
        Ok(())
    }

    /// A value that may be more than one: MySQL with `ANSI_QUOTES` takes `"c"` for a column.
    pub(in crate::sql) fn other_value(&mut self, value: &Value) {
        if let (Dialect::MySql, Value::DoubleQuotedString(text)) = (self.dialect, value) {
            self.columns.column(&[Ident::with_quote('`', text.to_ascii_lowercase())]);
        }
    }

    /// A name in an expression: a variable's or a column's.
    pub(in crate::sql) fn named_in_expression(&mut self, parts: &[Ident]) -> Result {
        if self.variable(parts) {
            return Ok(());
        }
        if let [only] = parts {
            self.in_expression(only)?;
        }
        self.columns.column(parts);
        Ok(())
    }

    /// Whether a name is a variable's, and what reading it does.
    fn variable(&mut self, parts: &[Ident]) -> bool {
        let Some(first) = parts.first().filter(|_| self.dialect != Dialect::PostgreSql) else { return false };
        if first.quote_style.is_some() || !first.value.starts_with('@') {
            return false;
        }
        if let (Dialect::MySql, true) = (self.dialect, first.value.starts_with("@@")) {
            let name = parts.last().map_or("", |last| last.value.trim_start_matches('@'));
            if !TOLD.contains(&name) {
                self.described("performance_schema", "session_variables");
            }
        }
        true
    }

    /// `DATE '2026-11-26'`: of most types' names, MySQL makes a column and its alias, Transact-SQL of all.
    pub(in crate::sql) fn may_be_typed(&self, data_type: &DataType) -> Result {
        let is_typed = matches!(data_type, DataType::Date | DataType::Time(..) | DataType::Timestamp(..));
        match self.dialect {
            Dialect::PostgreSql => Ok(()),
            Dialect::MySql if is_typed => Ok(()),
            Dialect::MySql | Dialect::TSql => Err(NotUnderstood("a type's name before a string")),
        }
    }

    /// `CHECKSUM(*)` computes from every column; `COUNT(*)` from none.
    pub(in crate::sql) fn sees_every_column(&mut self, function: &Object, args: &[FunctionArg]) {
        let is_star = |arg: &FunctionArg| matches!(arg, FunctionArg::Unnamed(FunctionArgExpr::Wildcard));
        let counts = matches!(function.name.as_str(), "count" | "count_big");
        if !counts && args.iter().any(is_star) {
            self.columns.star();
        }
    }

    /// `NEXTVAL(s)` of MariaDB names a sequence, which is a table.
    pub(in crate::sql) fn names_sequence(&mut self, function: &Object, args: &[FunctionArg]) {
        let takes_one = matches!(function.name.as_str(), "nextval" | "lastval" | "setval");
        let parts = match args.first() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name)))) => vec![name],
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(parts)))) => {
                parts.iter().collect()
            }
            _ => return,
        };
        if let (Dialect::MySql, true, Ok(sequence)) =
            (self.dialect, takes_one, names::object_of(ObjectKind::Table, &parts))
        {
            self.named(sequence);
        }
    }

    /// `@a := 1` changes a variable of the session.
    pub(in crate::sql) fn assigned(&mut self, operator: &BinaryOperator, target: &Expr) {
        if *operator != BinaryOperator::Assignment || self.dialect != Dialect::MySql {
            return;
        }
        let name = match target {
            Expr::Identifier(name) => name.value.clone(),
            _ => "@".to_owned(),
        };
        self.set(&name, None);
    }

    /// Something is told that a table of the server's own holds, and nothing of which columns.
    pub(in crate::sql) fn described(&mut self, schema: &str, table: &str) {
        let (schema, name) = (Some(schema.to_owned()), table.to_owned());
        self.named(Object { kind: ObjectKind::Table, schema, name });
    }

    /// A table is described or its name is told.
    pub(in crate::sql) fn named(&mut self, table: Object) {
        let effect = Effect { action: Action::Select, object: Some(table), has_where: true };
        self.columns.of(&effect, &[]);
        self.effects.insert(effect);
    }
}
