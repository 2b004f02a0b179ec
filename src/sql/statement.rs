//! One parsed statement: its kind, and the way to the walk of its kind.

use sqlparser::ast::{
    CopySource, CopyTarget, CreateTableOptions, Declare, DeclareType, Ident, LimitClause, Query, SetExpr, Statement,
};

use super::names;
use super::walk::{NotUnderstood, Result, Walk};
use crate::model::{Action, Effect, Handle, Kind, ObjectKind};

/// Options that the parser reads as another database's.
pub(super) const ODD_OPTIONS: NotUnderstood = NotUnderstood("table options of another database");

/// What the outermost node says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    /// The kind.
    pub(super) kind: Kind,
    /// Whether a WHERE is there, for kinds that can have one.
    pub(super) has_where: Option<bool>,
}

/// Walks a statement. Statements that are not listed are not understood.
pub(super) fn walk(walk: &mut Walk, statement: &Statement) -> Result<Read> {
    let kind = match statement {
        Statement::Query(query) => {
            walk.query(query)?;
            walk.has_limit = has_limit(query);
            return Ok(Read { kind: kind_of(&query.body), has_where: has_where(&query.body) });
        }
        Statement::Insert(insert) => walk.insert(insert).map(|()| Kind::Insert)?,
        Statement::Update(update) => {
            walk.update(update)?;
            return Ok(Read { kind: Kind::Update, has_where: Some(update.selection.is_some()) });
        }
        Statement::Delete(delete) => {
            walk.delete(delete)?;
            return Ok(Read { kind: Kind::Delete, has_where: Some(delete.selection.is_some()) });
        }
        Statement::Merge(merge) => walk.merge(merge).map(|()| Kind::Merge)?,
        Statement::Truncate(truncate) => walk.truncate(truncate).map(|()| Kind::Truncate)?,
        Statement::Copy { source, to, target, options: _, legacy_options: _, payload } => {
            if payload.is_some() {
                return Err(NotUnderstood("data inside of a COPY statement"));
            }
            walk.copy(source, *to, target).map(|()| Kind::Copy)?
        }
        Statement::Call(function) => walk.procedure(function).map(|()| Kind::Call)?,
        Statement::Explain { statement, options, .. } => {
            for argument in options.iter().flatten().filter_map(|option| option.arg.as_ref()) {
                walk.expr(argument)?;
            }
            let inner = self::walk(walk, statement)?;
            return Ok(Read { kind: Kind::Explain, has_where: inner.has_where });
        }
        Statement::Prepare { name, data_types: _, statement } => {
            let inner = self::walk(walk, statement)?;
            walk.handles.push(Handle::Prepare(names::fold(name), inner.kind));
            return Ok(Read { kind: Kind::Prepare, has_where: inner.has_where });
        }
        Statement::Execute { .. } => walk.execute(statement).map(|()| Kind::Prepare)?,
        Statement::Declare { stmts, .. } => walk.declare(stmts).map(|()| Kind::Cursor)?,
        _ => return other(walk, statement).map(|kind| Read { kind, has_where: None }),
    };
    Ok(Read { kind, has_where: None })
}

fn other(walk: &mut Walk, statement: &Statement) -> Result<Kind> {
    if let Some(kind) = walk.command(statement)? {
        return Ok(kind);
    }
    walk.definition(statement)
}

fn kind_of(body: &SetExpr) -> Kind {
    match body {
        SetExpr::Insert(_) => Kind::Insert,
        SetExpr::Update(_) => Kind::Update,
        SetExpr::Delete(_) => Kind::Delete,
        SetExpr::Merge(_) => Kind::Merge,
        SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::SetOperation { .. } | SetExpr::Values(_) => Kind::Select,
        SetExpr::Table(_) => Kind::Select,
    }
}

/// `LIMIT ALL` and a bare `OFFSET` limit nothing.
fn has_limit(query: &Query) -> bool {
    let limit = match &query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) => limit.is_some(),
        Some(LimitClause::OffsetCommaLimit { .. }) => true,
        None => false,
    };
    limit || query.fetch.is_some()
}

/// Whether every branch of a query has a WHERE.
fn has_where(body: &SetExpr) -> Option<bool> {
    let mut all = true;
    let mut rest = vec![body];
    while let Some(body) = rest.pop() {
        all &= match body {
            SetExpr::Select(select) => select.selection.is_some(),
            SetExpr::Query(query) => {
                rest.push(&query.body);
                true
            }
            SetExpr::SetOperation { left, right, .. } => {
                rest.extend([&**left, &**right]);
                true
            }
            SetExpr::Update(Statement::Update(update)) => update.selection.is_some(),
            SetExpr::Delete(Statement::Delete(delete)) => delete.selection.is_some(),
            SetExpr::Insert(_) | SetExpr::Merge(_) => return None,
            SetExpr::Values(_) | SetExpr::Table(_) | SetExpr::Update(_) | SetExpr::Delete(_) => false,
        };
    }
    Some(all)
}

impl Walk {
    /// Notes an effect on the session and hands the kind back.
    pub(super) fn session(&mut self, kind: Kind) -> Kind {
        self.note_plain(Action::Session);
        kind
    }

    /// `COPY`: rows out are also read, rows in are also added; files and programs are the server's own.
    fn copy(&mut self, source: &CopySource, to: bool, target: &CopyTarget) -> Result {
        match source {
            CopySource::Table { table_name, columns } => {
                let actions = if to { [Action::Select, Action::CopyOut] } else { [Action::Insert, Action::CopyIn] };
                let object = names::object(ObjectKind::Table, table_name)?;
                for action in actions {
                    let effect = Effect { action, object: Some(object.clone()), has_where: false };
                    self.columns_listed(&effect, columns);
                    self.effects.insert(effect);
                }
            }
            CopySource::Query(query) => {
                self.query(query)?;
                let read = self.effects.iter().filter(|effect| effect.action == Action::Select);
                for read in read.cloned().collect::<Vec<_>>() {
                    let out = Effect { action: Action::CopyOut, ..read.clone() };
                    self.columns.same(out.clone(), read);
                    self.effects.insert(out);
                }
            }
        }
        match target {
            CopyTarget::Stdin | CopyTarget::Stdout => {}
            CopyTarget::File { .. } | CopyTarget::Program { .. } => self.note_plain(Action::Admin),
        }
        Ok(())
    }

    /// Columns in brackets after a table's name; all of them where nobody wrote any.
    pub(super) fn columns_listed(&mut self, effect: &Effect, columns: &[Ident]) {
        match columns {
            [] => self.columns.all_of(effect),
            columns => self.columns.of(effect, &columns.iter().collect::<Vec<_>>()),
        }
    }

    /// `EXECUTE p (values)`; what else the parser takes for it are other databases' commands.
    fn execute(&mut self, statement: &Statement) -> Result {
        let Statement::Execute {
            name: Some(name),
            parameters,
            has_parentheses: _,
            immediate: false,
            into,
            using,
            output: false,
            default: false,
        } = statement
        else {
            return Err(NotUnderstood("an EXECUTE of another database"));
        };
        match names::idents(name)?.as_slice() {
            [name] if into.is_empty() && using.is_empty() => {
                self.handles.push(Handle::Execute(names::fold(name)));
                self.exprs(parameters)
            }
            _ => Err(NotUnderstood("an EXECUTE of another database")),
        }
    }

    /// `DECLARE c CURSOR FOR query`.
    fn declare(&mut self, declared: &[Declare]) -> Result {
        for cursor in declared {
            let (names, query, held): (_, &Query, _) = match cursor {
                Declare {
                    names,
                    declare_type: Some(DeclareType::Cursor),
                    for_query: Some(query),
                    assignment: None,
                    hold,
                    ..
                } => (names, query, *hold == Some(true)),
                _ => return Err(NotUnderstood("a declaration that is no cursor")),
            };
            self.query(query)?;
            let kind = kind_of(&query.body);
            let declared = names.iter().map(|name| Handle::Declare { name: names::fold(name), kind, held });
            self.handles.extend(declared);
        }
        self.note_plain(Action::Session);
        Ok(())
    }

    /// Options of a definition: values may be expressions.
    pub(super) fn options(&mut self, options: &CreateTableOptions) -> Result {
        let options = match options {
            CreateTableOptions::None => return Ok(()),
            CreateTableOptions::With(options) | CreateTableOptions::Options(options) => options,
            CreateTableOptions::Plain(options) if self.dialect == super::Dialect::MySql => options,
            CreateTableOptions::Plain(_) | CreateTableOptions::TableProperties(_) => {
                return Err(ODD_OPTIONS);
            }
        };
        self.sql_options(options)
    }

    /// An object that is defined, altered or dropped.
    pub(super) fn ddl(&mut self, kind: ObjectKind, name: &sqlparser::ast::ObjectName) -> Result {
        self.note(Action::Ddl, names::object(kind, name)?, false);
        Ok(())
    }
}
