//! Statements that change rows.

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, Expr, FromTable, Insert, Merge, MergeAction, MergeInsertKind,
    MergeUpdateKind, ObjectName, OnConflictAction, OnInsert, OutputClause, SelectItem, TableAlias, TableFactor,
    TableObject, TableWithJoins, Truncate, Update, UpdateTableFromKind,
};

use super::binds::binds;
use super::walk::{NotUnderstood, Result, Walk};
use super::{Dialect, names};
use crate::model::{Action, Effect, Object, ObjectKind};

const OTHER_DATABASE: NotUnderstood = NotUnderstood("a clause of another database");

impl Walk {
    /// `INSERT`. Rows that come back by RETURNING are rows that were added, so they count as a read with a condition.
    pub(super) fn insert(&mut self, insert: &Insert) -> Result {
        if self.dialect != Dialect::PostgreSql {
            return self.other_insert(insert);
        }
        let Insert {
            insert_token: _,
            optimizer_hints: _,
            or: None,
            ignore: false,
            into: _,
            table: TableObject::TableName(table),
            table_alias,
            columns,
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
        self.does(Action::Insert, table, false)?;
        if let Some(source) = source {
            self.query(source)?;
        }
        let object = names::object(ObjectKind::Table, table)?;
        let added = Effect { action: Action::Insert, object: Some(object.clone()), has_where: false };
        self.inserted_columns(&added, columns)?;
        self.columns.open();
        let alias = table_alias.as_ref().map(|alias| names::fold(&alias.alias));
        self.columns.changed(&object, alias);
        self.columns.other(Some("excluded".to_owned()));
        self.assignments(assignments)?;
        if let Some(on) = on {
            self.on_conflict(table, on)?;
        }
        self.returning(table, returning.as_deref(), true)?;
        self.columns.close();
        Ok(())
    }

    /// The list of columns of an INSERT; every column where there is none.
    pub(super) fn inserted_columns(&mut self, added: &Effect, columns: &[ObjectName]) -> Result {
        if columns.is_empty() {
            self.columns.all_of(added);
        }
        for column in columns {
            // `c.field` fills a field of column `c`.
            let parts = names::idents(column)?;
            self.columns.of(added, parts.get(..1).unwrap_or_default());
        }
        Ok(())
    }

    fn on_conflict(&mut self, table: &ObjectName, on: &OnInsert) -> Result {
        let OnInsert::OnConflict(conflict) = on else { return Err(OTHER_DATABASE) };
        if let Some(ConflictTarget::Columns { columns, predicate }) = &conflict.conflict_target {
            self.maybe(predicate.as_ref())?;
            columns.iter().for_each(|column| self.columns.column(std::slice::from_ref(column)));
        }
        if let OnConflictAction::DoUpdate(update) = &conflict.action {
            self.does(Action::Update, table, update.selection.is_some())?;
            self.assignments(&update.assignments)?;
            if let Some(selection) = &update.selection {
                self.where_clause(selection)?;
            }
        }
        Ok(())
    }

    /// `UPDATE`. Its condition reads the table too, as does RETURNING.
    pub(super) fn update(&mut self, update: &Update) -> Result {
        if self.dialect != Dialect::PostgreSql {
            return self.other_update(update);
        }
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
        let (table, alias) = target(relation)?;
        self.does(Action::Update, table, has_where)?;
        self.columns.open();
        let target = self.changed(table, alias)?;
        match from {
            None => {}
            Some(UpdateTableFromKind::AfterSet(from)) => self.from(from, has_where)?,
            Some(UpdateTableFromKind::BeforeSet(_)) => return Err(OTHER_DATABASE),
        }
        self.assignments(assignments)?;
        self.condition(table, selection.as_ref())?;
        self.binds(Action::Update, &target, selection.as_ref(), from.is_none());
        self.returning(table, returning.as_deref(), has_where)?;
        self.columns.close();
        Ok(())
    }

    /// `DELETE`. Its condition reads the table too, as does RETURNING.
    pub(super) fn delete(&mut self, delete: &Delete) -> Result {
        if self.dialect != Dialect::PostgreSql {
            return self.other_delete(delete);
        }
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
        let (table, alias) = target(relation)?;
        self.does(Action::Delete, table, has_where)?;
        self.columns.open();
        let target = self.changed(table, alias)?;
        if let Some(using) = using {
            self.from(using, has_where)?;
        }
        self.condition(table, selection.as_ref())?;
        self.binds(Action::Delete, &target, selection.as_ref(), using.is_none());
        self.returning(table, returning.as_deref(), has_where)?;
        self.columns.close();
        Ok(())
    }

    /// `MERGE`. Its ON decides which rows meet, not which rows are meant, so it is no WHERE.
    pub(super) fn merge(&mut self, merge: &Merge) -> Result {
        let Merge { merge_token: _, optimizer_hints: _, into: _, table, source, on, clauses, output } = merge;
        let (table, alias) = target(table)?;
        self.changeable(table)?;
        self.does(Action::Select, table, false)?;
        self.columns.open();
        self.changed(table, alias)?;
        self.factor(source, false)?;
        self.expr(on)?;
        for clause in clauses {
            self.maybe(clause.predicate.as_ref())?;
            match &clause.action {
                MergeAction::Insert(insert) => {
                    self.does(Action::Insert, table, false)?;
                    self.maybe(insert.insert_predicate.as_ref())?;
                    // What the list names is in sight here, and so of the table; without one it is every column.
                    if insert.columns.is_empty() {
                        self.columns.anything();
                    }
                    for column in &insert.columns {
                        let parts = names::idents(column)?;
                        parts.first().into_iter().for_each(|column| self.columns.column(std::slice::from_ref(column)));
                    }
                    match &insert.kind {
                        MergeInsertKind::Values(values) => self.values(values)?,
                        MergeInsertKind::Row | MergeInsertKind::Wildcard => return Err(OTHER_DATABASE),
                    }
                }
                MergeAction::Update(update) => {
                    self.does(Action::Update, table, false)?;
                    self.maybe(update.update_predicate.as_ref())?;
                    self.maybe(update.delete_predicate.as_ref())?;
                    match &update.kind {
                        MergeUpdateKind::Set(assignments) => self.assignments(assignments)?,
                        MergeUpdateKind::Wildcard => return Err(OTHER_DATABASE),
                    }
                }
                MergeAction::Delete { .. } => self.does(Action::Delete, table, false)?,
                MergeAction::DoNothing { .. } => {}
            }
        }
        match output {
            None => {}
            Some(OutputClause::Returning { select_items, .. }) => self.returning(table, Some(select_items), false)?,
            Some(output) if self.dialect == Dialect::TSql => self.merge_output(table, output)?,
            Some(OutputClause::Output { .. }) => return Err(OTHER_DATABASE),
        }
        self.columns.close();
        Ok(())
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
                self.does(Action::Select, table, true)?;
                self.where_clause(selection)
            }
            None => Ok(()),
        }
    }

    /// Notes what is done to the table that is changed, which touches the columns that the statement names.
    fn does(&mut self, action: Action, table: &ObjectName, has_where: bool) -> Result {
        let object = names::object(ObjectKind::Table, table)?;
        let effect = Effect { action, object: Some(object), has_where };
        self.columns.of(&effect, &[]);
        self.effects.insert(effect);
        Ok(())
    }

    /// The table that is changed comes into sight; the names by which its columns may be qualified.
    fn changed(&mut self, table: &ObjectName, alias: Option<&TableAlias>) -> Result<(Object, Vec<String>)> {
        let object = names::object(ObjectKind::Table, table)?;
        let alias = alias.map(|alias| names::fold(&alias.name));
        let called = vec![alias.clone().unwrap_or_else(|| object.name.clone())];
        self.columns.changed(&object, alias);
        Ok((object, called))
    }

    /// Says whether the condition of a change ties its rows; `alone`: whether no other table is in sight.
    fn binds(
        &mut self,
        action: Action,
        (object, called): &(Object, Vec<String>),
        condition: Option<&Expr>,
        alone: bool,
    ) {
        let binds = condition.is_some_and(|condition| binds(condition, called, alone));
        let has_where = condition.is_some();
        self.columns.binds(&Effect { action, object: Some(object.clone()), has_where }, binds);
    }

    fn returning(&mut self, table: &ObjectName, items: Option<&[SelectItem]>, has_where: bool) -> Result {
        match items {
            Some(items) => {
                self.does(Action::Select, table, has_where)?;
                self.items(items)
            }
            None => Ok(()),
        }
    }

    fn assignments(&mut self, assignments: &[Assignment]) -> Result {
        for Assignment { target, value } in assignments {
            let columns = match target {
                AssignmentTarget::ColumnName(column) => std::slice::from_ref(column),
                AssignmentTarget::Tuple(columns) => columns,
            };
            for column in columns {
                let parts = names::idents(column)?;
                parts.first().into_iter().for_each(|column| self.columns.column(std::slice::from_ref(column)));
            }
            self.expr(value)?;
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
fn target(factor: &TableFactor) -> Result<(&ObjectName, Option<&TableAlias>)> {
    match factor {
        TableFactor::Table { name, alias, args: None, version: None, sample: None, json_path: None, .. } => {
            Ok((name, alias.as_ref()))
        }
        _ => Err(OTHER_DATABASE),
    }
}
