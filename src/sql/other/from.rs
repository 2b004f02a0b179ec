//! What stands in a FROM and is not PostgreSQL's: hints, sub-queries that are applied, variables that take a row.

use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, ObjectName, Query, TableAlias, TableFactor};

use crate::model::{Action, Effect, Object};
use crate::sql::Dialect;
use crate::sql::names;
use crate::sql::walk::{NotUnderstood, Result, Walk};

/// Table hints of Transact-SQL that lock nothing for longer than reading takes.
const LOCKLESS: &[&str] = &[
    "nolock",
    "readuncommitted",
    "readcommitted",
    "readcommittedlock",
    "readpast",
    "nowait",
    "noexpand",
    "forceseek",
    "forcescan",
    "index",
    "snapshot",
    "keepidentity",
];

/// The others, which hold what was read, or more, against other sessions.
const LOCKING: &[&str] =
    &["holdlock", "serializable", "repeatableread", "rowlock", "paglock", "tablock", "tablockx", "updlock", "xlock"];

/// Functions of Transact-SQL's own that give rows. Any other name in a FROM may be a function that somebody wrote, even
/// if a built-in one that gives a value is called so.
const GIVE_ROWS: &[&str] = &["string_split", "openjson"];

/// Functions of Transact-SQL that read a table whose name is an argument.
const NAME_TABLES: &[&str] = &[
    "changetable",
    "containstable",
    "freetexttable",
    "semantickeyphrasetable",
    "semanticsimilaritydetailstable",
    "semanticsimilaritytable",
];

impl Walk {
    /// Whether a name in a FROM is none of a table: `DUAL` of MySQL. A reserved word is no name at all.
    pub(in crate::sql) fn is_no_table(&self, name: &ObjectName) -> Result<bool> {
        match names::idents(name)?.as_slice() {
            [only] if self.dialect == Dialect::MySql && only.quote_style.is_none() && only.value == "dual" => Ok(true),
            [first, ..] => self.alias(first).map(|()| false),
            [] => Ok(false),
        }
    }

    /// Whether the dialect has such a member of a FROM; a word that makes one elsewhere is a function's name here.
    pub(in crate::sql) fn has_in_from(&self, factor: &TableFactor) -> bool {
        use TableFactor as Factor;
        let plain = matches!(factor, Factor::Table { .. } | Factor::Derived { .. } | Factor::NestedJoin { .. });
        match self.dialect {
            Dialect::PostgreSql => !matches!(factor, Factor::OpenJsonTable { .. }),
            Dialect::MySql => plain || matches!(factor, Factor::JsonTable { .. }),
            Dialect::TSql => plain || matches!(factor, Factor::OpenJsonTable { .. }),
        }
    }

    /// A call in a FROM.
    pub(in crate::sql) fn called_in_from(&mut self, function: Object) -> Result {
        if function.schema.is_none() && NAME_TABLES.contains(&function.name.as_str()) {
            return Err(NotUnderstood("a function that takes a table by its name"));
        }
        self.name_function(&function);
        if function.schema.is_some() || !GIVE_ROWS.contains(&function.name.as_str()) {
            self.note(Action::Call, function, false);
        }
        Ok(())
    }

    /// Whether a table may have hints (Transact-SQL) or a choice of partitions and indexes (MySQL).
    pub(in crate::sql) fn may_have(&self, hints: &[Expr], chooses: bool) -> bool {
        let known = |hint: &Expr| hint_name(hint).is_some_and(|name| is_hint(&name));
        match self.dialect {
            Dialect::PostgreSql => hints.is_empty() && !chooses,
            Dialect::MySql => hints.is_empty(),
            Dialect::TSql => !chooses && hints.iter().all(known),
        }
    }

    /// `FROM t (NOLOCK)`, the old way to write hints; the parser sees a call. If every argument is a hint it may be either.
    /// Whether one of them locks.
    pub(in crate::sql) fn hints_in_brackets(&self, args: &[FunctionArg]) -> Option<bool> {
        let hint = |arg: &FunctionArg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => hint_name(expr).filter(|name| is_hint(name)),
            _ => None,
        };
        let hints = args.iter().map(hint).collect::<Option<Vec<_>>>()?;
        let may_be = self.dialect == Dialect::TSql && !hints.is_empty();
        may_be.then(|| hints.iter().any(|name| !LOCKLESS.contains(&name.as_str())))
    }

    /// Whether a hint locks.
    pub(in crate::sql) fn locks(hints: &[Expr]) -> bool {
        hints.iter().any(|hint| hint_name(hint).is_none_or(|name| !LOCKLESS.contains(&name.as_str())))
    }

    /// A hint that locks is a lock, as `FOR UPDATE` is.
    pub(in crate::sql) fn locked_by_hint(&mut self, table: &Object, locks: bool, has_where: bool) {
        if locks {
            let lock = Effect { action: Action::Update, object: Some(table.clone()), has_where };
            let read = Effect { action: Action::Select, ..lock.clone() };
            self.columns.same(lock.clone(), read);
            self.effects.insert(lock);
        }
    }

    /// `CROSS APPLY (SELECT …)`: a sub-query that sees its neighbours.
    pub(in crate::sql) fn applied(&mut self, query: &Query, alias: Option<&TableAlias>) -> Result {
        self.table_alias(alias)?;
        self.query(query)?;
        self.other(alias);
        Ok(())
    }

    /// An alias of a table, and of its columns.
    pub(in crate::sql) fn table_alias(&self, alias: Option<&TableAlias>) -> Result {
        let Some(alias) = alias else { return Ok(()) };
        self.alias(&alias.name)?;
        // `FROM t AS x (NOLOCK)` has hints, not columns.
        let hints = |name: &str| self.dialect == Dialect::TSql && is_hint(name);
        if alias.columns.iter().any(|column| hints(&names::fold(&column.name))) {
            return Err(NotUnderstood("hints behind an alias"));
        }
        Ok(())
    }

    /// `SELECT … INTO @a` changes variables of the session.
    pub(in crate::sql) fn variable_takes(&mut self, target: &Expr) -> Result {
        match target {
            Expr::Identifier(name) if name.quote_style.is_none() && name.value.starts_with('@') => {
                self.set(&name.value, None);
                Ok(())
            }
            _ => Err(NotUnderstood("INTO something that is no variable")),
        }
    }
}

fn is_hint(name: &str) -> bool {
    LOCKLESS.contains(&name) || LOCKING.contains(&name)
}

fn hint_name(hint: &Expr) -> Option<String> {
    let name = match hint {
        Expr::Identifier(name) => return Some(names::fold(name)),
        Expr::Function(function) => &function.name,
        _ => return None,
    };
    match names::idents(name).ok()?.as_slice() {
        [name] => Some(names::fold(name)),
        _ => None,
    }
}
