//! What a walk over a parsed statement gathers. The walk itself is in `statement`, `query`, `expr`, `dml`, `ddl`, `session`.
//!
//! Promises: a node that nobody wrote an arm for makes the statement not understood; flat chains, the only deep shape the
//! parser lets through, are walked without recursion.

use std::collections::BTreeSet;

use sqlparser::ast::{ObjectName, TableAlias};

use super::columns::Columns;
use super::{Dialect, builtins, names};
use crate::model::{Action, Effect, Handle, Object, ObjectKind};

/// Why a statement is not understood, in words that hold nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotUnderstood(pub(super) &'static str);

pub(super) type Result<T = ()> = std::result::Result<T, NotUnderstood>;

/// What was gathered.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Whose words they are.
    pub(super) dialect: Dialect,
    /// Every effect, once.
    pub(super) effects: BTreeSet<Effect>,
    /// Every function named, once.
    pub(super) functions: BTreeSet<String>,
    /// Names of common table expressions in scope, innermost last.
    pub(super) scope: Vec<String>,
    /// Tables read so far, in order, so that a row lock can say which it locks.
    pub(super) tables_read: Vec<Effect>,
    /// Which columns of which table.
    pub(super) columns: Columns,
    /// Whether the outermost query says how many rows it gives at most.
    pub(super) has_limit: bool,
    /// What is done with prepared statements and cursors.
    pub(super) handles: Vec<Handle>,
    /// Texts that the statement hands to the server to be run, and that were read with it.
    pub(super) handed_over: Vec<String>,
    /// Whether it may end that the session is read-only.
    pub(super) lifts_read_only: bool,
    /// Whether what was found hangs on the inside of a literal: a text with another one may do something else.
    pub(super) reads_literals: bool,
    /// How many `SELECT`s were met; compared with the words `SELECT` in the text.
    pub(super) selects: usize,
}

impl Walk {
    /// Nothing, of a dialect.
    pub(super) fn of(dialect: Dialect) -> Self {
        Self { dialect, ..Self::default() }
    }

    /// Notes an action on an object; `has_where` means what [`Effect::has_where`] says.
    pub(super) fn note(&mut self, action: Action, object: Object, has_where: bool) {
        self.effects.insert(Effect { action, object: Some(object), has_where });
    }

    /// Notes an action that has no object of its own.
    pub(super) fn note_plain(&mut self, action: Action) {
        self.effects.insert(Effect { action, object: None, has_where: false });
    }

    /// Notes an action on a table.
    pub(super) fn table(&mut self, action: Action, name: &ObjectName, has_where: bool) -> Result {
        self.note(action, names::object(ObjectKind::Table, name)?, has_where);
        Ok(())
    }

    /// Notes that a table is read, unless the name is a common table expression's that is in scope here. From now on it
    /// is in sight under its name and its alias.
    pub(super) fn read_table(&mut self, object: Object, alias: Option<&TableAlias>, has_where: bool) {
        if object.schema.is_none() && self.scope.contains(&object.name) {
            self.columns.other(Some(alias.map_or(object.name, |alias| names::fold(&alias.name))));
            return;
        }
        let effect = Effect { action: Action::Select, object: Some(object.clone()), has_where };
        self.columns.table(&object, alias, vec![effect.clone()]);
        self.tables_read.push(effect.clone());
        self.effects.insert(effect);
    }

    /// What is changed is the row that a cursor stands on.
    pub(super) fn tied_by_a_cursor(&mut self) {
        let is_change = |effect: &&Effect| matches!(effect.action, Action::Update | Action::Delete);
        self.effects.iter().filter(is_change).for_each(|effect| self.columns.of_cursor(effect));
    }

    /// Notes that a function is called. One that only computes is no effect.
    pub(super) fn call(&mut self, function: Object) {
        self.name_function(&function);
        if !builtins::is_harmless_in(self.dialect, function.schema.as_deref(), &function.name) {
            self.note(Action::Call, function, false);
        }
    }

    /// Notes the name of a function that the parser has a word for and the server has not: somebody may have made another
    /// one of that name.
    pub(super) fn name_plain(&mut self, name: &str) {
        self.functions.insert(name.to_owned());
    }

    /// Notes a function's name without a call.
    pub(super) fn name_function(&mut self, function: &Object) {
        self.functions.insert(match &function.schema {
            Some(schema) => format!("{schema}.{}", function.name),
            None => function.name.clone(),
        });
    }
}
