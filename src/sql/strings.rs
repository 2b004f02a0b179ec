//! Names in strings: what a statement names where the grammar sees a value. `'s.t'::regclass` and `pg_relation_size('t')`
//! tell of a table whether it is there and how large it is; `current_setting('x')` reads one row of `pg_settings`.
//!
//! A name that stands there is an effect: the table is read, with a condition and none of its columns. One that is
//! computed or bound is a call, because nobody knows what it will be. A column is neither: it was read from somewhere,
//! and that is an effect already.

use sqlparser::ast::{DataType, Expr, FunctionArg, FunctionArgExpr};

use super::expr::text_of;
use super::walk::Walk;
use super::{Dialect, names};
use crate::model::{Action, Effect, Object, ObjectKind};

/// Functions that take a table, and which of their arguments it is: from the front.
const FIRST: &[&str] = &[
    "regclass",
    "to_regclass",
    "pg_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_total_relation_size",
    "pg_get_viewdef",
    "pg_get_serial_sequence",
    "pg_sequence_last_value",
    "pg_partition_tree",
    "pg_partition_ancestors",
    "pg_partition_root",
    "row_security_active",
];

/// The same, counted from the back: a role may stand before the table.
const FROM_THE_BACK: &[(&str, usize)] = &[
    ("has_table_privilege", 2),
    ("has_any_column_privilege", 2),
    ("has_sequence_privilege", 2),
    ("has_column_privilege", 3),
];

/// Settings that a server tells everybody who connects, or that say how values are written.
const TOLD: &[&str] = &[
    "server_version",
    "server_version_num",
    "server_encoding",
    "client_encoding",
    "standard_conforming_strings",
    "integer_datetimes",
    "timezone",
    "datestyle",
    "intervalstyle",
    "application_name",
    "search_path",
    "transaction_isolation",
    "default_transaction_isolation",
    "transaction_read_only",
    "default_transaction_read_only",
];

/// What stands where a name is taken.
#[derive(Debug)]
pub(super) enum Meant<'a> {
    /// This name.
    Text(&'a str),
    /// From a row that was read.
    Column,
    /// Computed or bound.
    Unknown,
}

fn meant(expr: &Expr) -> Meant<'_> {
    match expr {
        Expr::Nested(expr) => meant(expr),
        // `'t'::text`, `c.oid::regclass`.
        Expr::Cast { expr, .. } => meant(expr),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => Meant::Column,
        Expr::Value(value) => text_of(&value.value).map_or(Meant::Unknown, Meant::Text),
        _ => Meant::Unknown,
    }
}

impl Walk {
    /// A value that becomes a table's name.
    pub(super) fn cast(&mut self, expr: &Expr, to: &DataType) {
        if self.dialect == Dialect::PostgreSql && is_regclass(to) {
            self.table_meant(&meant(expr), "regclass");
        }
    }

    /// The same as `regclass 't'`.
    pub(super) fn typed_string(&mut self, text: Option<&str>, to: &DataType) {
        if self.dialect == Dialect::PostgreSql && is_regclass(to) {
            self.table_meant(&text.map_or(Meant::Unknown, Meant::Text), "regclass");
        }
    }

    /// A call of a function with these arguments.
    pub(super) fn named_by_args(&mut self, function: &Object, args: &[FunctionArg]) {
        self.named_by_call(function, args.len(), &|at| match args.get(at) {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => Some(meant(expr)),
            _ => None,
        });
    }

    /// A call of a built-in function that takes the name of a table or a setting; with so many arguments.
    pub(super) fn named_by_call<'a>(
        &mut self,
        function: &Object,
        count: usize,
        argument: &dyn Fn(usize) -> Option<Meant<'a>>,
    ) {
        let name = function.name.as_str();
        if !matches!(function.schema.as_deref(), None | Some("pg_catalog")) {
            return;
        }
        let argument = |at: Option<usize>| argument(at?);
        let back = FROM_THE_BACK.iter().find(|(known, _)| *known == name);
        if name == "current_setting" {
            self.setting_meant(&argument(Some(0)).unwrap_or(Meant::Unknown));
        } else if name == "pg_show_all_settings" {
            self.setting_meant(&Meant::Unknown);
        } else if FIRST.contains(&name) {
            self.table_meant(&argument(Some(0)).unwrap_or(Meant::Unknown), name);
        } else if let Some((_, back)) = back {
            self.table_meant(&argument(count.checked_sub(*back)).unwrap_or(Meant::Unknown), name);
        }
    }

    /// The name of a table, which goes into this function.
    pub(super) fn table_meant(&mut self, meant: &Meant<'_>, function: &str) {
        self.reads_literals = true;
        let table = match meant {
            Meant::Column => return,
            Meant::Text(text) => names::in_string(ObjectKind::Table, text),
            Meant::Unknown => None,
        };
        match table {
            Some(table) => self.named_only(table),
            None => {
                let called = Object { kind: ObjectKind::Function, schema: None, name: function.to_owned() };
                self.note(Action::Call, called, false);
            }
        }
    }

    fn setting_meant(&mut self, meant: &Meant<'_>) {
        self.reads_literals = true;
        if let Meant::Text(name) = meant {
            let name = name.to_ascii_lowercase();
            // A name in two parts is an application's own.
            if name.contains('.') || TOLD.contains(&name.as_str()) {
                return;
            }
        }
        let (schema, name) = (Some("pg_catalog".to_owned()), "pg_settings".to_owned());
        self.named_only(Object { kind: ObjectKind::Table, schema, name });
    }

    /// Something is told of a table, and nothing of its columns.
    fn named_only(&mut self, table: Object) {
        let effect = Effect { action: Action::Select, object: Some(table), has_where: true };
        self.columns.of(&effect, &[]);
        self.effects.insert(effect);
    }
}

fn is_regclass(data_type: &DataType) -> bool {
    match data_type {
        DataType::Regclass => true,
        DataType::Custom(name, _) => {
            names::idents(name).is_ok_and(|parts| parts.last().is_some_and(|last| names::fold(last) == "regclass"))
        }
        _ => false,
    }
}
