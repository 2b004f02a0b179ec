//! Expressions: the functions they call and the queries inside them.

use sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause,
    FunctionArguments, InTarget, ListAggOnOverflow, Subscript, Value, WindowType,
};

use super::walk::{NotUnderstood, Result, Walk};
use super::{Dialect, names, session};
use crate::model::{Action, Object, ObjectKind};

const OTHER_DATABASE: NotUnderstood = NotUnderstood("an expression of another database");

impl Walk {
    /// An expression that may be absent.
    pub(super) fn maybe(&mut self, expr: Option<&Expr>) -> Result {
        expr.map_or(Ok(()), |expr| self.expr(expr))
    }

    /// Several expressions.
    pub(super) fn exprs(&mut self, exprs: &[Expr]) -> Result {
        exprs.iter().try_for_each(|expr| self.expr(expr))
    }

    /// An expression. Its parts are kept on a list, not on the stack: a chain of operators is as deep as it is long.
    pub(super) fn expr(&mut self, expr: &Expr) -> Result {
        let mut rest = vec![expr];
        while let Some(expr) = rest.pop() {
            self.node(expr, &mut rest)?;
        }
        Ok(())
    }

    fn node<'a>(&mut self, expr: &'a Expr, rest: &mut Vec<&'a Expr>) -> Result {
        self.spoken(expr);
        match expr {
            Expr::Value(value) => self.other_value(&value.value),
            Expr::Identifier(name) => self.named_in_expression(std::slice::from_ref(name))?,
            Expr::CompoundIdentifier(parts) => self.named_in_expression(parts)?,
            Expr::Wildcard(_) => self.columns.star(),
            Expr::QualifiedWildcard(name, _) => self.columns.star_of(name)?,
            Expr::TypedString(typed) => {
                self.may_be_typed(&typed.data_type)?;
                self.data_type(&typed.data_type)?;
                self.typed_string(text_of(&typed.value.value), &typed.data_type);
            }
            Expr::IsFalse(e) | Expr::IsNotFalse(e) | Expr::IsTrue(e) | Expr::IsNotTrue(e) => rest.push(e),
            Expr::IsNull(e) | Expr::IsNotNull(e) | Expr::IsUnknown(e) | Expr::IsNotUnknown(e) => rest.push(e),
            Expr::Nested(expr) | Expr::IsJson { expr, .. } | Expr::IsNormalized { expr, .. } => rest.push(expr),
            Expr::Extract { expr, .. } | Expr::Ceil { expr, .. } | Expr::Floor { expr, .. } => rest.push(expr),
            Expr::Collate { expr, .. } | Expr::UnaryOp { expr, .. } => rest.push(expr),
            Expr::Interval(interval) if self.dialect != Dialect::TSql => rest.push(&interval.value),
            Expr::Cast { expr, data_type, kind: _, format: None } => {
                self.data_type(data_type)?;
                self.cast(expr, data_type);
                rest.push(expr);
            }
            Expr::BinaryOp { left, op, right } => {
                operator(op)?;
                self.assigned(op, left);
                rest.extend([&**left, &**right]);
            }
            Expr::AnyOp { left, compare_op: op, right, .. } | Expr::AllOp { left, compare_op: op, right } => {
                operator(op)?;
                rest.extend([&**left, &**right]);
            }
            Expr::IsDistinctFrom(a, b) | Expr::IsNotDistinctFrom(a, b) => rest.extend([&**a, &**b]),
            Expr::AtTimeZone { timestamp: a, time_zone: b } | Expr::Position { expr: a, r#in: b } => {
                rest.extend([&**a, &**b]);
            }
            Expr::Between { expr, low, high, negated: _ } => rest.extend([&**expr, &**low, &**high]),
            Expr::Like { expr, pattern, escape_char, .. }
            | Expr::ILike { expr, pattern, escape_char, .. }
            | Expr::SimilarTo { expr, pattern, escape_char, .. } => {
                rest.extend([&**expr, &**pattern]);
                rest.extend(escape_char.as_deref());
            }
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                rest.push(expr);
                rest.extend(substring_from.as_deref().into_iter().chain(substring_for.as_deref()));
            }
            Expr::Trim { trim_what, expr, trim_characters, trim_where: _ } => {
                rest.push(expr);
                rest.extend(trim_what.as_deref().into_iter().chain(trim_characters.iter().flatten()));
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                rest.extend([&**expr, &**overlay_what, &**overlay_from]);
                rest.extend(overlay_for.as_deref());
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                rest.push(root);
                // `(t).c`: its root is a value, so the table's name alone would have been the whole row already.
                access_chain.iter().for_each(|access| subscripts(access, rest));
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                rest.extend(operand.as_deref().into_iter().chain(else_result.as_deref()));
                rest.extend(conditions.iter().flat_map(|when| [&when.condition, &when.result]));
            }
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => rest.extend(sets.iter().flatten()),
            Expr::Tuple(exprs) => rest.extend(exprs),
            Expr::Array(array) => rest.extend(&array.elem),
            Expr::In { expr, target, .. } => {
                rest.push(expr);
                self.in_target(target, rest)?;
            }
            Expr::Exists { subquery, .. } | Expr::Subquery(subquery) => self.query(subquery)?,
            Expr::Function(function) => self.function(function)?,
            // Lists every other shape, so that a new one in the parser stops the build and not the judgement.
            Expr::RLike { .. } | Expr::Convert { .. } | Expr::Prefixed { .. } => self.other_expr(expr, rest)?,
            Expr::MatchAgainst { .. } | Expr::MemberOf(_) => self.other_expr(expr, rest)?,
            Expr::Cast { format: Some(_), .. } | Expr::JsonAccess { .. } => return Err(OTHER_DATABASE),
            Expr::Struct { .. } | Expr::Named { .. } | Expr::Dictionary(_) => return Err(OTHER_DATABASE),
            Expr::Map(_) | Expr::OuterJoin(_) | Expr::Prior(_) => return Err(OTHER_DATABASE),
            Expr::Lambda(_) | Expr::Interval(_) => return Err(OTHER_DATABASE),
        }
        Ok(())
    }

    /// Functions that the parser has words for and the server has not.
    fn spoken(&mut self, expr: &Expr) {
        match expr {
            Expr::Ceil { .. } => self.name_plain("ceil"),
            Expr::Floor { .. } => self.name_plain("floor"),
            Expr::Substring { shorthand: true, .. } => self.name_plain("substr"),
            Expr::Substring { .. } => self.name_plain("substring"),
            _ => {}
        }
    }

    fn in_target<'a>(&mut self, target: &'a InTarget, rest: &mut Vec<&'a Expr>) -> Result {
        match target {
            InTarget::List(list) => rest.extend(list),
            InTarget::Subquery(query) => self.query(query)?,
            InTarget::Unnest(_) | InTarget::Table { .. } => return Err(OTHER_DATABASE),
        }
        Ok(())
    }

    /// A call in an expression.
    fn function(&mut self, function: &Function) -> Result {
        let object = names::object(ObjectKind::Function, &function.name)?;
        let args = match &function.args {
            FunctionArguments::List(list) => list.args.as_slice(),
            FunctionArguments::None | FunctionArguments::Subquery(_) => &[],
        };
        self.called(object, args);
        self.function_parts(function)
    }

    /// A call by its name and arguments, wherever it stands.
    pub(super) fn called(&mut self, function: Object, args: &[FunctionArg]) {
        if self.dialect != Dialect::PostgreSql {
            self.sees_every_column(&function, args);
            self.names_sequence(&function, args);
            self.call(function);
        } else if is_set_config(&function) {
            self.name_function(&function);
            self.set_config(args);
        } else {
            self.named_by_args(&function, args);
            self.call(function);
        }
    }

    /// `CALL`: always an effect, even if the name is that of a harmless function.
    pub(super) fn procedure(&mut self, function: &Function) -> Result {
        let object = names::object(ObjectKind::Function, &function.name)?;
        self.name_function(&object);
        self.note(Action::Call, object, false);
        self.function_parts(function)
    }

    fn function_parts(&mut self, function: &Function) -> Result {
        let Function {
            name: _,
            uses_odbc_syntax: false,
            parameters: FunctionArguments::None,
            args,
            within_group,
            filter,
            null_treatment: _,
            over,
        } = function
        else {
            return Err(OTHER_DATABASE);
        };
        match args {
            FunctionArguments::None => {}
            FunctionArguments::Subquery(query) => self.query(query)?,
            FunctionArguments::List(list) => {
                self.arguments(&list.args)?;
                list.clauses.iter().try_for_each(|clause| self.clause(clause))?;
            }
        }
        self.ordered(within_group)?;
        self.maybe(filter.as_deref())?;
        match over {
            Some(WindowType::WindowSpec(window)) => self.window(window),
            Some(WindowType::NamedWindow(_)) | None => Ok(()),
        }
    }

    /// The arguments of a call.
    pub(super) fn arguments(&mut self, args: &[FunctionArg]) -> Result {
        for arg in args {
            let (FunctionArg::Named { arg, .. } | FunctionArg::ExprNamed { arg, .. } | FunctionArg::Unnamed(arg)) = arg;
            match arg {
                FunctionArgExpr::Expr(expr) => self.expr(expr)?,
                FunctionArgExpr::QualifiedWildcard(name) => self.columns.star_of(name)?,
                // `count(*)` counts rows and sees no column.
                FunctionArgExpr::Wildcard => {}
                FunctionArgExpr::WildcardWithOptions(_) => return Err(OTHER_DATABASE),
            }
        }
        Ok(())
    }

    fn clause(&mut self, clause: &FunctionArgumentClause) -> Result {
        match clause {
            FunctionArgumentClause::OrderBy(order) => self.ordered(order),
            FunctionArgumentClause::Where(expr) | FunctionArgumentClause::Limit(expr) => self.expr(expr),
            FunctionArgumentClause::OnOverflow(ListAggOnOverflow::Truncate { filler, .. }) => {
                self.maybe(filler.as_deref())
            }
            FunctionArgumentClause::Having(bound) => self.expr(&bound.1),
            FunctionArgumentClause::JsonReturningClause(returning) => self.data_type(&returning.data_type),
            FunctionArgumentClause::OnOverflow(ListAggOnOverflow::Error)
            | FunctionArgumentClause::IgnoreOrRespectNulls(_)
            | FunctionArgumentClause::Separator(_)
            | FunctionArgumentClause::JsonNullClause(_) => Ok(()),
        }
    }

    /// `set_config('name', value, local)`: as `SET name`; unsafe if the name is computed.
    fn set_config(&mut self, args: &[FunctionArg]) {
        let argument = |at: usize| match args.get(at) {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) => text_of(&value.value),
            _ => None,
        };
        match argument(0) {
            Some(name) => self.set(&name.to_ascii_lowercase(), argument(1)),
            None => {
                self.reads_literals = true;
                self.note_plain(Action::SetUnsafe);
            }
        }
    }

    /// A type. Its name calls nothing that the text shows; a type with columns is another database's.
    pub(super) fn data_type(&mut self, data_type: &DataType) -> Result {
        match data_type {
            DataType::Table(_) | DataType::NamedTable { .. } | DataType::Nested(_) | DataType::Object(_) => {
                Err(OTHER_DATABASE)
            }
            DataType::Enum(..) if self.dialect == Dialect::MySql => Ok(()),
            DataType::Enum(..) | DataType::Struct(..) | DataType::Tuple(_) | DataType::Union(_) => Err(OTHER_DATABASE),
            _ => Ok(()),
        }
    }

    /// Notes that a setting is changed.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) {
        self.reads_literals = true;
        let is_unsafe = match self.dialect {
            Dialect::PostgreSql => session::is_unsafe(name, value),
            Dialect::MySql => super::mysql::is_unsafe(name, value),
            Dialect::TSql => super::tsql::is_unsafe(name, value),
        };
        self.lifts_read_only |= session::lifts_read_only(name, value);
        let action = if is_unsafe { Action::SetUnsafe } else { Action::Session };
        self.note(action, Object { kind: ObjectKind::Setting, schema: None, name: name.to_owned() }, false);
    }
}

fn is_set_config(function: &Object) -> bool {
    function.name == "set_config" && matches!(function.schema.as_deref(), None | Some("pg_catalog"))
}

/// The characters of a string literal that means what it shows. Whoever lets them matter to what is found says so in
/// [`Walk::reads_literals`].
pub(super) fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::SingleQuotedString(text) => Some(text),
        Value::Number(digits, _) => Some(digits),
        Value::Boolean(true) => Some("true"),
        Value::Boolean(false) => Some("false"),
        _ => None,
    }
}

fn subscripts<'a>(access: &'a AccessExpr, rest: &mut Vec<&'a Expr>) {
    match access {
        AccessExpr::Dot(expr) | AccessExpr::Subscript(Subscript::Index { index: expr }) => rest.push(expr),
        AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
            rest.extend(lower_bound.iter().chain(upper_bound).chain(stride));
        }
    }
}

/// `OPERATOR(schema.+)` names an operator, and with it a function, outside of `pg_catalog`.
fn operator(operator: &BinaryOperator) -> Result {
    match operator {
        BinaryOperator::PGCustomBinaryOperator(parts) => match parts.as_slice() {
            [_] => Ok(()),
            [schema, _] if schema.eq_ignore_ascii_case("pg_catalog") => Ok(()),
            _ => Err(NotUnderstood("an operator of a schema")),
        },
        _ => Ok(()),
    }
}
