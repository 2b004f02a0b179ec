//! Changes of rows where a statement may change several tables, or one under its alias.
//!
//! What is assigned without a table's name may be a column of each table in the statement, so each counts as changed.

use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, Expr, FromTable, Insert, ObjectName, OnInsert, OutputClause, SelectInto,
    SelectItem, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind,
};

use crate::model::{Action, Effect, Object, ObjectKind};
use crate::sql::Dialect;
use crate::sql::binds::binds;
use crate::sql::names;
use crate::sql::walk::{NotUnderstood, Result, Walk};

const NOT_READ: NotUnderstood = NotUnderstood("a clause of another database");
const NO_TABLE: NotUnderstood = NotUnderstood("a change of something that is no table by its own name");

/// A table that may be changed, and what the statement calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    called: String,
    object: Object,
}

impl Walk {
    /// `INSERT` and `REPLACE`.
    pub(in crate::sql) fn other_insert(&mut self, insert: &Insert) -> Result {
        let Insert {
            or: None,
            table: TableObject::TableName(table),
            table_alias: None,
            columns,
            by_name: false,
            overwrite: false,
            source,
            assignments,
            partitioned,
            after_columns,
            overriding: None,
            has_table_keyword: false,
            on,
            returning,
            output,
            replace_into,
            insert_alias,
            settings: None,
            format_clause: None,
            multi_table_insert_type: None,
            ..
        } = insert
        else {
            return Err(NOT_READ);
        };
        if !after_columns.is_empty() {
            return Err(NOT_READ);
        }
        let object = self.changeable(table)?;
        let added = self.changes(Action::Insert, &object, false);
        if *replace_into {
            // A row that is there already goes, whichever it is.
            self.changes(Action::Delete, &object, false);
        }
        partitioned.iter().try_for_each(|partitions| self.exprs(partitions))?;
        if let Some(source) = source {
            self.query(source)?;
        }
        if assignments.is_empty() {
            self.inserted_columns(&added, columns)?;
        }
        self.columns.open();
        self.columns.changed(&object, None);
        self.columns.other(
            insert_alias
                .as_ref()
                .and_then(|alias| names::idents(&alias.row_alias).ok()?.first().map(|name| names::fold(name))),
        );
        self.assigned_columns(assignments)?;
        match on {
            None => {}
            Some(OnInsert::DuplicateKeyUpdate(update)) => {
                self.changes(Action::Update, &object, false);
                self.assigned_columns(update)?;
            }
            Some(_) => return Err(NOT_READ),
        }
        self.handed_back(&object, returning.as_deref(), output.as_ref(), true)?;
        self.columns.close();
        Ok(())
    }

    /// `UPDATE`.
    pub(in crate::sql) fn other_update(&mut self, update: &Update) -> Result {
        let Update {
            table,
            on_cluster: None,
            assignments,
            from,
            selection,
            returning,
            output,
            or: None,
            order_by,
            limit,
            settings: None,
            ..
        } = update
        else {
            return Err(NOT_READ);
        };
        let has_where = selection.is_some();
        self.columns.open();
        let targets = match (self.dialect, from) {
            (Dialect::TSql, Some(UpdateTableFromKind::AfterSet(from))) => {
                self.from(from, has_where)?;
                vec![self.target_among(only_name(table)?, from)?]
            }
            (Dialect::MySql, None) if !table.joins.is_empty() => {
                let all = std::slice::from_ref(table);
                self.from(all, has_where)?;
                assigned_among(assignments, self.sources(all))?
            }
            (_, None) => vec![self.single(table)?],
            _ => return Err(NOT_READ),
        };
        for target in &targets {
            self.changes(Action::Update, &target.object, has_where);
            self.columns.changed(&target.object, Some(target.called.clone()));
        }
        self.assigned_columns(assignments)?;
        let alone = from.is_none() && table.joins.is_empty();
        self.chosen(Action::Update, &targets, selection.as_ref(), alone)?;
        self.ordered(order_by)?;
        self.maybe(limit.as_ref())?;
        for target in &targets {
            self.handed_back(&target.object, returning.as_deref(), output.as_ref(), has_where)?;
        }
        self.columns.close();
        Ok(())
    }

    /// `DELETE`.
    pub(in crate::sql) fn other_delete(&mut self, delete: &Delete) -> Result {
        let Delete {
            tables,
            from: FromTable::WithFromKeyword(from),
            on_cluster: None,
            using,
            selection,
            returning,
            output,
            order_by,
            limit,
            settings: None,
            ..
        } = delete
        else {
            return Err(NOT_READ);
        };
        let has_where = selection.is_some();
        self.columns.open();
        let (targets, alone) = match (tables.as_slice(), using) {
            ([], None) => match from.as_slice() {
                [only] if only.joins.is_empty() => (vec![self.single(only)?], true),
                _ => return Err(NOT_READ),
            },
            ([], Some(sources)) => {
                self.from(sources, has_where)?;
                let named = from.iter().map(|target| self.target_among(only_name(target)?, sources));
                (named.collect::<Result<_>>()?, false)
            }
            (named, None) => {
                self.from(from, has_where)?;
                let named = named.iter().map(|target| self.target_among(target, from));
                let alone = matches!(from.as_slice(), [only] if only.joins.is_empty());
                (named.collect::<Result<_>>()?, alone)
            }
            _ => return Err(NOT_READ),
        };
        for target in &targets {
            self.changes(Action::Delete, &target.object, has_where);
            self.columns.changed(&target.object, Some(target.called.clone()));
        }
        self.chosen(Action::Delete, &targets, selection.as_ref(), alone)?;
        self.ordered(order_by)?;
        self.maybe(limit.as_ref())?;
        for target in &targets {
            self.handed_back(&target.object, returning.as_deref(), output.as_ref(), has_where)?;
        }
        self.columns.close();
        Ok(())
    }

    /// `OUTPUT` of a `MERGE`.
    pub(in crate::sql) fn merge_output(&mut self, table: &ObjectName, output: &OutputClause) -> Result {
        let object = names::object(ObjectKind::Table, table)?;
        self.handed_back(&object, None, Some(output), false)
    }

    /// A table that is changed by its own name: none of a common table expression, through which Transact-SQL changes the
    /// tables below it.
    pub(in crate::sql) fn changeable(&self, table: &ObjectName) -> Result<Object> {
        self.is_no_table(table)?;
        let object = names::object(ObjectKind::Table, table)?;
        let is_other = self.dialect == Dialect::TSql && object.schema.is_none() && self.scope.contains(&object.name);
        if is_other { Err(NO_TABLE) } else { Ok(object) }
    }

    fn single(&self, table: &TableWithJoins) -> Result<Source> {
        let TableWithJoins { relation: TableFactor::Table { name, alias, args: None, version: None, .. }, joins } =
            table
        else {
            return Err(NO_TABLE);
        };
        if !joins.is_empty() {
            return Err(NOT_READ);
        }
        let object = self.changeable(name)?;
        let called = match alias {
            Some(alias) => {
                self.alias(&alias.name)?;
                names::fold(&alias.name)
            }
            None => object.name.clone(),
        };
        Ok(Source { called, object })
    }

    /// The table that a name means among those of a FROM: an alias, or a table's own name.
    fn target_among(&self, name: &ObjectName, from: &[TableWithJoins]) -> Result<Source> {
        let parts = names::idents(name)?;
        let object = self.changeable(name)?;
        let sources = self.sources(from);
        let is_it = |source: &&Source| match parts.as_slice() {
            [_] => source.called == object.name || source.object.name == object.name,
            _ => source.object == object,
        };
        let mut found = sources.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(source), None) => Ok(source.clone()),
            // `UPDATE t … FROM u`: a table that is not in the FROM; or one that is in it twice.
            (None, _) if self.dialect == Dialect::TSql && !calls(from, &object.name) => {
                Ok(Source { called: object.name.clone(), object })
            }
            _ => Err(NO_TABLE),
        }
    }

    /// The tables of a FROM that are no common table expressions.
    fn sources(&self, from: &[TableWithJoins]) -> Vec<Source> {
        let mut sources = Vec::new();
        each_factor(from, |factor| {
            if let TableFactor::Table { name, alias, args: None, .. } = factor
                && let Ok(object) = names::object(ObjectKind::Table, name)
                && (object.schema.is_some() || !self.scope.contains(&object.name))
            {
                let called = alias.as_ref().map_or_else(|| object.name.clone(), |alias| names::fold(&alias.name));
                sources.push(Source { called, object });
            }
        });
        sources
    }

    fn changes(&mut self, action: Action, object: &Object, has_where: bool) -> Effect {
        let effect = Effect { action, object: Some(object.clone()), has_where };
        self.columns.of(&effect, &[]);
        self.effects.insert(effect.clone());
        effect
    }

    /// The condition of a change, which reads what it changes.
    fn chosen(&mut self, action: Action, targets: &[Source], condition: Option<&Expr>, alone: bool) -> Result {
        for Source { called, object } in targets {
            let tied = condition.is_some_and(|condition| binds(condition, std::slice::from_ref(called), alone));
            let effect = self.changes(action, object, condition.is_some());
            self.columns.binds(&effect, tied);
            if condition.is_some() {
                self.changes(Action::Select, object, true);
            }
        }
        condition.map_or(Ok(()), |condition| self.where_clause(condition))
    }

    fn assigned_columns(&mut self, assignments: &[Assignment]) -> Result {
        for Assignment { target, value } in assignments {
            let columns = match target {
                AssignmentTarget::ColumnName(column) => std::slice::from_ref(column),
                AssignmentTarget::Tuple(columns) => columns,
            };
            for column in columns {
                let parts: Vec<_> = names::idents(column)?.into_iter().cloned().collect();
                self.columns.column(&parts);
            }
            self.expr(value)?;
        }
        Ok(())
    }

    /// `RETURNING` and `OUTPUT`: rows of the table, to the client or into another table.
    fn handed_back(
        &mut self,
        object: &Object,
        returning: Option<&[SelectItem]>,
        output: Option<&OutputClause>,
        has_where: bool,
    ) -> Result {
        let (items, into) = match (returning, output) {
            (None, None) => return Ok(()),
            (Some(items), None) => (items, None),
            (None, Some(OutputClause::Returning { select_items, .. })) => (select_items.as_slice(), None),
            (None, Some(OutputClause::Output { select_items, into_table, .. })) => {
                (select_items.as_slice(), into_table.as_ref())
            }
            _ => return Err(NOT_READ),
        };
        self.changes(Action::Select, object, has_where);
        for rows in ["inserted", "deleted"] {
            self.columns.changed(object, Some(rows.to_owned()));
        }
        self.items(items)?;
        into.map_or(Ok(()), |into| self.handed_into(into))
    }

    fn handed_into(&mut self, into: &SelectInto) -> Result {
        for target in &into.targets {
            let parts = match target {
                Expr::Identifier(name) => vec![name],
                Expr::CompoundIdentifier(parts) => parts.iter().collect(),
                _ => return Err(NO_TABLE),
            };
            let object = names::object_of(ObjectKind::Table, &parts)?;
            let effect = self.changes(Action::Insert, &object, false);
            self.columns.all_of(&effect);
        }
        Ok(())
    }
}

/// The name of a table that stands alone.
fn only_name(table: &TableWithJoins) -> Result<&ObjectName> {
    match table {
        TableWithJoins { relation: TableFactor::Table { name, alias: None, args: None, .. }, joins }
            if joins.is_empty() =>
        {
            Ok(name)
        }
        _ => Err(NO_TABLE),
    }
}

/// The tables whose columns are assigned; all of them if one is assigned without its table's name.
fn assigned_among(assignments: &[Assignment], sources: Vec<Source>) -> Result<Vec<Source>> {
    let mut called = Vec::new();
    for assignment in assignments {
        let AssignmentTarget::ColumnName(column) = &assignment.target else { return Err(NOT_READ) };
        match names::idents(column)?.as_slice() {
            [table, _] | [_, table, _] => called.push(names::fold(table)),
            _ => return if sources.is_empty() { Err(NO_TABLE) } else { Ok(sources) },
        }
    }
    let of = |name: &String| sources.iter().any(|source| source.called == *name);
    if called.is_empty() || !called.iter().all(of) {
        return Err(NO_TABLE);
    }
    Ok(sources.into_iter().filter(|source| called.contains(&source.called)).collect())
}

/// Whether a FROM calls anything by a name.
fn calls(from: &[TableWithJoins], name: &str) -> bool {
    let mut found = false;
    each_factor(from, |factor| {
        let alias = match factor {
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => alias.as_ref(),
            _ => None,
        };
        found |= alias.is_some_and(|alias| names::fold(&alias.name) == name);
    });
    found
}

fn each_factor<'f>(from: &'f [TableWithJoins], mut visit: impl FnMut(&'f TableFactor)) {
    let mut rest: Vec<&TableWithJoins> = from.iter().collect();
    while let Some(TableWithJoins { relation, joins }) = rest.pop() {
        for factor in std::iter::once(relation).chain(joins.iter().map(|join| &join.relation)) {
            if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
                rest.push(table_with_joins);
            }
            visit(factor);
        }
    }
}
