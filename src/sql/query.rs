//! Queries: what they read, lock and create, and which names are their own.

use sqlparser::ast::{
    Cte, Distinct, Expr, Fetch, GroupByExpr, GroupByWithModifier, Join, JoinConstraint, JoinOperator, LimitClause,
    NamedWindowExpr, ObjectName, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectFlavor, SelectInto,
    SelectItem, SelectItemQualifiedWildcardKind, SetExpr, Table, TableAlias, TableFactor, TableFunctionArgs,
    TableSample, TableSampleKind, TableWithJoins, Top, TopQuantity, Values, WildcardAdditionalOptions,
    WindowFrameBound, WindowSpec, With, XmlTableColumnOption,
};

use super::walk::{NotUnderstood, Result, Walk};
use super::{Dialect, names, statement};
use crate::model::{Action, Effect, ObjectKind};

const OTHER_DATABASE: NotUnderstood = NotUnderstood("a clause of another database");

impl Walk {
    /// A query with its common table expressions, whose names end with it.
    pub(super) fn query(&mut self, query: &Query) -> Result {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings: None,
            format_clause: None,
            pipe_operators,
        } = query
        else {
            return Err(OTHER_DATABASE);
        };
        if !pipe_operators.is_empty() || for_clause.is_some() && self.dialect != Dialect::TSql {
            return Err(OTHER_DATABASE);
        }
        let (outer_scope, read_before) = (self.scope.len(), self.tables_read.len());
        // A condition around it is not one in it.
        let around = self.columns.condition(false);
        self.columns.open();
        if let Some(with) = with {
            self.with(with)?;
        }
        match &**body {
            // On the query's own level, which the ORDER BY sees.
            SetExpr::Select(select) => self.select(select)?,
            body => self.body(body)?,
        }
        self.order_by(order_by.as_ref())?;
        self.limit(limit_clause.as_ref(), fetch.as_ref())?;
        if !locks.is_empty() {
            // More than the server locks: it leaves out sub-queries in expressions and tables not named by OF.
            let locked: Vec<Effect> = self.tables_read.iter().skip(read_before).cloned().collect();
            for read in locked {
                let lock = Effect { action: Action::Update, ..read.clone() };
                self.columns.same(lock.clone(), read);
                self.effects.insert(lock);
            }
        }
        self.columns.close();
        self.columns.condition(around);
        self.scope.truncate(outer_scope);
        Ok(())
    }

    /// Without RECURSIVE an expression sees those before it, never itself; with it, all of them.
    fn with(&mut self, with: &With) -> Result {
        let With { with_token: _, recursive, cte_tables } = with;
        // Which of the later ones one may name there, MySQL and MariaDB see differently, so none is taken for one.
        let all_at_once = *recursive && self.dialect == Dialect::PostgreSql;
        if all_at_once {
            self.scope.extend(cte_tables.iter().map(|cte| names::fold(&cte.alias.name)));
        }
        for Cte { alias, query, from, materialized: _, closing_paren_token: _ } in cte_tables {
            if from.is_some() {
                return Err(OTHER_DATABASE);
            }
            self.alias(&alias.name)?;
            let itself = *recursive && !all_at_once;
            if itself {
                self.scope.push(names::fold(&alias.name));
            }
            self.query(query)?;
            if !*recursive {
                self.scope.push(names::fold(&alias.name));
            }
        }
        Ok(())
    }

    fn body(&mut self, body: &SetExpr) -> Result {
        let mut rest = vec![body];
        while let Some(body) = rest.pop() {
            match body {
                SetExpr::Select(select) => {
                    self.columns.open();
                    self.select(select)?;
                    self.columns.close();
                }
                SetExpr::Query(query) => self.query(query)?,
                SetExpr::SetOperation { left, right, op: _, set_quantifier: _ } => rest.extend([&**left, &**right]),
                SetExpr::Values(values) => self.values(values)?,
                SetExpr::Insert(inner) | SetExpr::Update(inner) | SetExpr::Delete(inner) | SetExpr::Merge(inner) => {
                    statement::walk(self, inner)?;
                }
                SetExpr::Table(table) => self.table_command(table)?,
            }
        }
        Ok(())
    }

    /// `TABLE t` inside a query.
    fn table_command(&mut self, table: &Table) -> Result {
        let name = table.table_name.as_ref().ok_or(NotUnderstood("TABLE without a name"))?;
        let object = match &table.schema_name {
            Some(schema) => names::object_of(ObjectKind::Table, &[schema, name])?,
            None => names::object_of(ObjectKind::Table, &[name])?,
        };
        self.read_table(object, None, false);
        self.columns.anything();
        Ok(())
    }

    fn select(&mut self, select: &Select) -> Result {
        let Select {
            select_token: _,
            optimizer_hints: _,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude: None,
            into,
            from,
            lateral_views,
            prewhere: None,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify: None,
            window_before_qualify: _,
            value_table_mode: None,
            flavor: SelectFlavor::Standard,
        } = select
        else {
            return Err(OTHER_DATABASE);
        };
        let other = !lateral_views.is_empty() || !cluster_by.is_empty() || !distribute_by.is_empty();
        let of_mysql = select_modifiers.is_some() && self.dialect != Dialect::MySql;
        let of_tsql = top.is_some() && self.dialect != Dialect::TSql;
        if other || !sort_by.is_empty() || !connect_by.is_empty() || of_mysql || of_tsql {
            return Err(OTHER_DATABASE);
        }
        if let Some(Top { quantity: Some(TopQuantity::Expr(quantity)), .. }) = top {
            self.expr(quantity)?;
        }
        self.selects += 1;
        // First, so that sub-queries of the other clauses see its tables.
        self.from(from, selection.is_some())?;
        match distinct {
            Some(Distinct::On(on)) => self.exprs(on)?,
            None | Some(Distinct::All | Distinct::Distinct) => {}
        }
        self.items(projection)?;
        if let Some(into) = into {
            self.into(into)?;
        }
        if let Some(selection) = selection {
            self.where_clause(selection)?;
        }
        self.group_by(group_by)?;
        self.maybe(having.as_ref())?;
        for definition in named_window {
            if let NamedWindowExpr::WindowSpec(window) = &definition.1 {
                self.window(window)?;
            }
        }
        Ok(())
    }

    /// A condition: what it names is also named there.
    pub(super) fn where_clause(&mut self, condition: &Expr) -> Result {
        let around = self.columns.condition(true);
        self.expr(condition)?;
        self.columns.condition(around);
        Ok(())
    }

    /// `SELECT … INTO t` makes a table and fills it.
    fn into(&mut self, into: &SelectInto) -> Result {
        for target in &into.targets {
            if self.dialect == Dialect::MySql {
                self.variable_takes(target)?;
                continue;
            }
            let object = match target {
                Expr::Identifier(name) => names::object_of(ObjectKind::Table, &[name])?,
                Expr::CompoundIdentifier(parts) => {
                    names::object_of(ObjectKind::Table, &parts.iter().collect::<Vec<_>>())?
                }
                _ => return Err(NotUnderstood("INTO something that is no table")),
            };
            self.note(Action::Ddl, object.clone(), false);
            self.note(Action::Insert, object, false);
        }
        Ok(())
    }

    /// Columns of a projection or of RETURNING.
    pub(super) fn items(&mut self, items: &[SelectItem]) -> Result {
        for item in items {
            match item {
                SelectItem::UnnamedExpr(expr) => self.expr(expr)?,
                SelectItem::ExprWithAlias { expr, alias } => {
                    self.alias(alias)?;
                    self.expr(expr)?;
                }
                SelectItem::ExprWithAliases { .. } => return Err(OTHER_DATABASE),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
                    plain_star(options)?;
                    self.columns.star_of(name)?;
                }
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(expr), options) => {
                    plain_star(options)?;
                    self.expr(expr)?;
                }
                SelectItem::Wildcard(options) => {
                    plain_star(options)?;
                    self.columns.star();
                }
            }
        }
        Ok(())
    }

    /// Tables of a FROM; `has_where` of the statement they stand in.
    pub(super) fn from(&mut self, from: &[TableWithJoins], has_where: bool) -> Result {
        for TableWithJoins { relation, joins } in from {
            self.factor(relation, has_where)?;
            for Join { relation, global: _, join_operator } in joins {
                match (relation, join_operator) {
                    (
                        TableFactor::Derived { subquery, alias, sample: None, .. },
                        JoinOperator::CrossApply | JoinOperator::OuterApply,
                    ) => self.applied(subquery, alias.as_ref())?,
                    _ => self.factor(relation, has_where)?,
                }
                self.join(join_operator)?;
            }
        }
        Ok(())
    }

    fn join(&mut self, operator: &JoinOperator) -> Result {
        let constraint = match operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)
            | JoinOperator::CrossJoin(constraint) => constraint,
            JoinOperator::StraightJoin(constraint) if self.dialect == Dialect::MySql => constraint,
            JoinOperator::CrossApply | JoinOperator::OuterApply if self.dialect == Dialect::TSql => return Ok(()),
            _ => return Err(OTHER_DATABASE),
        };
        match constraint {
            JoinConstraint::On(on) => self.expr(on),
            JoinConstraint::Using(columns) | JoinConstraint::UsingAlias(columns, _) => {
                columns.iter().try_for_each(|column| {
                    names::idents(column)?
                        .into_iter()
                        .for_each(|column| self.columns.column(std::slice::from_ref(column)));
                    Ok(())
                })
            }
            JoinConstraint::Natural => {
                self.columns.star();
                Ok(())
            }
            JoinConstraint::None => Ok(()),
        }
    }

    /// One member of a FROM.
    pub(super) fn factor(&mut self, factor: &TableFactor, has_where: bool) -> Result {
        if !self.has_in_from(factor) {
            return Err(OTHER_DATABASE);
        }
        match factor {
            TableFactor::Table {
                name,
                args,
                sample,
                version: None,
                json_path: None,
                with_hints,
                partitions,
                index_directives,
                alias,
                ..
            } if self.may_have(with_hints, !partitions.is_empty() || !index_directives.is_empty()) => {
                self.sample(sample.as_ref())?;
                self.table_alias(alias.as_ref())?;
                self.table_or_call(name, args.as_ref(), alias.as_ref(), (Self::locks(with_hints), has_where))
            }
            TableFactor::Derived { lateral, subquery, alias, sample } => {
                self.sample(sample.as_ref())?;
                self.table_alias(alias.as_ref())?;
                self.derived(*lateral, subquery)?;
                self.other(alias.as_ref());
                Ok(())
            }
            TableFactor::TableFunction { expr, alias } => {
                self.other(alias.as_ref());
                self.expr(expr)
            }
            TableFactor::Function { lateral: _, name, args, with_ordinality: _, alias } => {
                self.other(alias.as_ref());
                self.function_in_from(name, args)
            }
            TableFactor::UNNEST { array_exprs, alias, .. } => {
                self.other(alias.as_ref());
                self.name_plain("unnest");
                self.exprs(array_exprs)
            }
            TableFactor::JsonTable { json_expr, alias, .. } | TableFactor::OpenJsonTable { json_expr, alias, .. } => {
                self.other(alias.as_ref());
                self.expr(json_expr)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let before = self.columns.in_sight();
                self.from(std::slice::from_ref(table_with_joins), has_where)?;
                self.columns.group(before, alias.as_ref());
                Ok(())
            }
            TableFactor::XmlTable { namespaces, row_expression, passing, columns, alias } => {
                self.other(alias.as_ref());
                namespaces.iter().try_for_each(|namespace| self.expr(&namespace.uri))?;
                self.expr(row_expression)?;
                passing.arguments.iter().try_for_each(|argument| self.expr(&argument.expr))?;
                for column in columns {
                    if let XmlTableColumnOption::NamedInfo { path, default, .. } = &column.option {
                        self.maybe(path.as_ref())?;
                        self.maybe(default.as_ref())?;
                    }
                }
                Ok(())
            }
            _ => Err(OTHER_DATABASE),
        }
    }

    /// A name in a FROM, and its arguments if it is a function's; whether hints lock it, and whether a WHERE is there.
    fn table_or_call(
        &mut self,
        name: &ObjectName,
        args: Option<&TableFunctionArgs>,
        alias: Option<&TableAlias>,
        (locks, has_where): (bool, bool),
    ) -> Result {
        match args {
            None if self.is_no_table(name)? => self.other(alias),
            None => {
                let table = names::object(ObjectKind::Table, name)?;
                self.locked_by_hint(&table, locks, has_where);
                self.read_table(table, alias, has_where);
            }
            Some(TableFunctionArgs { args, settings: None }) => {
                if let Some(locks) = self.hints_in_brackets(args) {
                    let table = names::object(ObjectKind::Table, name)?;
                    self.locked_by_hint(&table, locks, has_where);
                    self.read_table(table, alias, has_where);
                }
                self.other(alias);
                self.function_in_from(name, args)?;
            }
            Some(_) => return Err(OTHER_DATABASE),
        }
        Ok(())
    }

    /// A sub-query in a FROM: unless it is LATERAL it does not see its neighbours.
    fn derived(&mut self, lateral: bool, query: &Query) -> Result {
        if lateral {
            return self.query(query);
        }
        let hidden = self.columns.hide();
        self.query(query)?;
        self.columns.show(hidden);
        Ok(())
    }

    pub(super) fn other(&mut self, alias: Option<&TableAlias>) {
        self.columns.other(alias.map(|alias| names::fold(&alias.name)));
    }

    fn function_in_from(&mut self, name: &ObjectName, args: &[sqlparser::ast::FunctionArg]) -> Result {
        let function = names::object(ObjectKind::Function, name)?;
        if self.dialect == Dialect::PostgreSql {
            self.called(function, args);
        } else {
            self.called_in_from(function)?;
        }
        self.arguments(args)
    }

    fn sample(&mut self, sample: Option<&TableSampleKind>) -> Result {
        let (TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) = match sample {
            Some(sample) => sample,
            None => return Ok(()),
        };
        let TableSample { modifier: _, name: _, quantity, seed: _, bucket: None, offset } = &**sample else {
            return Err(OTHER_DATABASE);
        };
        self.maybe(quantity.as_ref().map(|quantity| &quantity.value))?;
        self.maybe(offset.as_ref())
    }

    /// `VALUES`.
    pub(super) fn values(&mut self, values: &Values) -> Result {
        values.rows.iter().try_for_each(|row| self.exprs(&row.content))
    }

    fn group_by(&mut self, group_by: &GroupByExpr) -> Result {
        let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = group_by;
        if let GroupByExpr::Expressions(exprs, _) = group_by {
            self.exprs(exprs)?;
        }
        for modifier in modifiers {
            match modifier {
                GroupByWithModifier::GroupingSets(expr) => self.expr(expr)?,
                GroupByWithModifier::Rollup | GroupByWithModifier::Cube if self.dialect != Dialect::PostgreSql => {}
                _ => return Err(OTHER_DATABASE),
            }
        }
        Ok(())
    }

    fn order_by(&mut self, order_by: Option<&OrderBy>) -> Result {
        match order_by {
            None => Ok(()),
            Some(OrderBy { kind: OrderByKind::Expressions(exprs), interpolate: None }) => self.ordered(exprs),
            Some(_) => Err(OTHER_DATABASE),
        }
    }

    /// Expressions with a sort order.
    pub(super) fn ordered(&mut self, exprs: &[OrderByExpr]) -> Result {
        exprs.iter().try_for_each(|order| match order.with_fill {
            None => self.expr(&order.expr),
            Some(_) => Err(OTHER_DATABASE),
        })
    }

    fn limit(&mut self, limit: Option<&LimitClause>, fetch: Option<&Fetch>) -> Result {
        match limit {
            None => {}
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                self.maybe(limit.as_ref())?;
                self.maybe(offset.as_ref().map(|offset| &offset.value))?;
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) if self.dialect == Dialect::MySql => {
                self.expr(offset)?;
                self.expr(limit)?;
            }
            Some(_) => return Err(OTHER_DATABASE),
        }
        self.maybe(fetch.and_then(|fetch| fetch.quantity.as_ref()))
    }

    /// The definition of a window.
    pub(super) fn window(&mut self, window: &WindowSpec) -> Result {
        let WindowSpec { window_name: _, partition_by, order_by, window_frame } = window;
        self.exprs(partition_by)?;
        self.ordered(order_by)?;
        let Some(frame) = window_frame else { return Ok(()) };
        for bound in std::iter::once(&frame.start_bound).chain(frame.end_bound.as_ref()) {
            match bound {
                WindowFrameBound::CurrentRow => {}
                WindowFrameBound::Preceding(width) | WindowFrameBound::Following(width) => {
                    self.maybe(width.as_deref())?;
                }
            }
        }
        Ok(())
    }
}

fn plain_star(options: &WildcardAdditionalOptions) -> Result {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike: None,
        opt_exclude: None,
        opt_except: None,
        opt_replace: None,
        opt_rename: None,
        opt_alias: None,
    } = options
    else {
        return Err(OTHER_DATABASE);
    };
    Ok(())
}
