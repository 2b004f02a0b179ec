//! Statements that change rows.

use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, FromTable, Insert, Merge, MergeAction, MergeInsertKind, MergeUpdateKind,
    ObjectName, OnConflictAction, OnInsert, OutputClause, SelectItem, TableFactor, TableObject, TableWithJoins,
    Truncate, Update, UpdateTableFromKind,
};

use super::walk::{NotUnderstood, Result, Walk};
use crate::model::{Action, ObjectKind};

const OTHER_DATABASE: NotUnderstood = NotUnderstood("a clause of another database");

impl Walk {
    /// `INSERT`. Rows that come back by RETURNING are rows that were added, so they count as a read with a condition.
    pub(super) fn insert(&mut self, insert: &Insert) -> Result {
        let Insert {
            insert_token: _,
            optimizer_hints: _,
            or: None,
            ignore: false,
            into: _,
            table: TableObject::TableName(table),
            table_alias: _,
            columns: _,
            by_name: false,
            overwrite: false,
            source,
            assignments,
            partitioned: None,
            after_columns: _,
            overriding: _,
            has_table_keyword: false,
            on,
            returning,
            output: None,
            replace_into: false,
            priority: None,
            insert_alias: None,
            settings: None,
            format_clause: None,
            multi_table_insert_type: None,
            multi_table_into_clauses: _,
            multi_table_when_clauses: _,
            multi_table_else_clause: None,
        } = insert
        else {
            return Err(OTHER_DATABASE);
        };
        self.table(Action::Insert, table, false)?;
        if let Some(source) = source {
            self.query(source)?;
        }
        self.assignments(assignments)?;
        match on {
            None => {}
            Some(OnInsert::OnConflict(conflict)) => {
                if let Some(sqlparser::ast::ConflictTarget::Columns { predicate: Some(predicate), .. }) =
                    &conflict.conflict_target
                {
                    self.expr(predicate)?;
                }
                if let OnConflictAction::DoUpdate(update) = &conflict.action {
                    self.table(Action::Update, table, update.selection.is_some())?;
                    self.assignments(&update.assignments)?;
                    self.maybe(update.selection.as_ref())?;
                }
            }
            Some(_) => return Err(OTHER_DATABASE),
        }
        self.returning(table, returning.as_deref(), true)
    }

    /// `UPDATE`. Its condition reads the table too, as does RETURNING.
    pub(super) fn update(&mut self, update: &Update) -> Result {
        let Update {
            update_token: _,
            optimizer_hints: _,
            table: TableWithJoins { relation, joins },
            on_cluster: None,
            assignments,
            from,
            selection,
            returning,
            output: None,
            or: None,
            order_by,
            limit: None,
            settings: None,
        } = update
        else {
            return Err(OTHER_DATABASE);
        };
        if !joins.is_empty() || !order_by.is_empty() {
            return Err(OTHER_DATABASE);
        }
        let has_where = selection.is_some();
        let table = target(relation)?;
        self.table(Action::Update, table, has_where)?;
        self.assignments(assignments)?;
        match from {
            None => {}
            Some(UpdateTableFromKind::AfterSet(from)) => self.from(from, has_where)?,
            Some(UpdateTableFromKind::BeforeSet(_)) => return Err(OTHER_DATABASE),
        }
        self.condition(table, selection.as_ref())?;
        self.returning(table, returning.as_deref(), has_where)
    }

    /// `DELETE`. Its condition reads the table too, as does RETURNING.
    pub(super) fn delete(&mut self, delete: &Delete) -> Result {
        let Delete {
            delete_token: _,
            optimizer_hints: _,
            tables,
            from: FromTable::WithFromKeyword(from),
            on_cluster: None,
            using,
            selection,
            returning,
            output: None,
            order_by,
            limit: None,
            settings: None,
        } = delete
        else {
            return Err(OTHER_DATABASE);
        };
        let [TableWithJoins { relation, joins }] = from.as_slice() else { return Err(OTHER_DATABASE) };
        if !tables.is_empty() || !joins.is_empty() || !order_by.is_empty() {
            return Err(OTHER_DATABASE);
        }
        let has_where = selection.is_some();
        let table = target(relation)?;
        self.table(Action::Delete, table, has_where)?;
        if let Some(using) = using {
            self.from(using, has_where)?;
        }
        self.condition(table, selection.as_ref())?;
        self.returning(table, returning.as_deref(), has_where)
    }

    /// `MERGE`. Its ON decides which rows meet, not which rows are meant, so it is no WHERE.
    pub(super) fn merge(&mut self, merge: &Merge) -> Result {
        let Merge { merge_token: _, optimizer_hints: _, into: _, table, source, on, clauses, output } = merge;
        let table = target(table)?;
        self.table(Action::Select, table, false)?;
        self.factor(source, false)?;
        self.expr(on)?;
        for clause in clauses {
            self.maybe(clause.predicate.as_ref())?;
            match &clause.action {
                MergeAction::Insert(insert) => {
                    self.table(Action::Insert, table, false)?;
                    self.maybe(insert.insert_predicate.as_ref())?;
                    match &insert.kind {
                        MergeInsertKind::Values(values) => self.values(values)?,
                        MergeInsertKind::Row | MergeInsertKind::Wildcard => return Err(OTHER_DATABASE),
                    }
                }
                MergeAction::Update(update) => {
                    self.table(Action::Update, table, false)?;
                    self.maybe(update.update_predicate.as_ref())?;
                    self.maybe(update.delete_predicate.as_ref())?;
                    match &update.kind {
                        MergeUpdateKind::Set(assignments) => self.assignments(assignments)?,
                        MergeUpdateKind::Wildcard => return Err(OTHER_DATABASE),
                    }
                }
                MergeAction::Delete { .. } => self.table(Action::Delete, table, false)?,
                MergeAction::DoNothing { .. } => {}
            }
        }
        match output {
            None => Ok(()),
            Some(OutputClause::Returning { select_items, .. }) => self.returning(table, Some(select_items), false),
            Some(OutputClause::Output { .. }) => Err(OTHER_DATABASE),
        }
    }

    /// `TRUNCATE`: removes every row of every table named.
    pub(super) fn truncate(&mut self, truncate: &Truncate) -> Result {
        let Truncate {
            table_names,
            partitions: None,
            table: _,
            if_exists: false,
            identity: _,
            cascade: _,
            on_cluster: None,
        } = truncate
        else {
            return Err(OTHER_DATABASE);
        };
        table_names.iter().try_for_each(|target| self.table(Action::Delete, &target.name, false))
    }

    fn condition(&mut self, table: &ObjectName, selection: Option<&sqlparser::ast::Expr>) -> Result {
        match selection {
            Some(selection) => {
                self.table(Action::Select, table, true)?;
                self.expr(selection)
            }
            None => Ok(()),
        }
    }

    fn returning(&mut self, table: &ObjectName, items: Option<&[SelectItem]>, has_where: bool) -> Result {
        match items {
            Some(items) => {
                self.table(Action::Select, table, has_where)?;
                self.items(items)
            }
            None => Ok(()),
        }
    }

    fn assignments(&mut self, assignments: &[Assignment]) -> Result {
        for Assignment { target, value } in assignments {
            match target {
                AssignmentTarget::ColumnName(_) | AssignmentTarget::Tuple(_) => self.expr(value)?,
            }
        }
        // A setting that is changed through its view is changed all the same.
        let settings = |object: &crate::model::Object| object.kind == ObjectKind::Table && object.name == "pg_settings";
        let through_view = self
            .effects
            .iter()
            .any(|effect| effect.action == Action::Update && effect.object.as_ref().is_some_and(settings));
        if through_view {
            self.note_plain(Action::SetUnsafe);
        }
        Ok(())
    }
}

/// The table that a statement changes: a plain table, never a common table expression.
fn target(factor: &TableFactor) -> Result<&ObjectName> {
    match factor {
        TableFactor::Table { name, args: None, version: None, sample: None, json_path: None, .. } => Ok(name),
        _ => Err(OTHER_DATABASE),
    }
}
