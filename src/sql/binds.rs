//! Whether a condition ties the rows of the table that a statement changes to a value.
//!
//! Promises: `true` only if on an AND path of the condition a column of the table is compared, by an operator that can
//! leave rows out, with something that is the same for every row and no column: a constant, a parameter, the time. A
//! belt against accidents, not a wall: what is compared is not looked at.

use sqlparser::ast::{BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, InTarget};

use super::names;

/// How deep brackets and arithmetic of a constant are followed.
const DEPTH: usize = 20;

/// Functions that give the same for every row of a statement.
const STEADY: &[&str] = &[
    "now",
    "current_timestamp",
    "current_date",
    "localtimestamp",
    "transaction_timestamp",
    "statement_timestamp",
    "make_interval",
    "date_trunc",
    "to_timestamp",
    "to_date",
    "current_user",
    "session_user",
    "lower",
    "upper",
];

/// Whether a condition binds. `called`: the names by which the table's columns may be qualified; `alone`: whether
/// columns without a name before them can only be its own.
pub(super) fn binds(condition: &Expr, called: &[String], alone: bool) -> bool {
    let mut rest = vec![condition];
    let is_column = |expr: &Expr| is_column(expr, called, alone);
    while let Some(expr) = rest.pop() {
        let binds = match expr {
            Expr::Nested(inner) => {
                rest.push(inner);
                false
            }
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                rest.extend([&**left, &**right]);
                false
            }
            Expr::BinaryOp { left, op, right } if leaves_out(op) => {
                is_column(left) && is_steady(right, DEPTH) || is_column(right) && is_steady(left, DEPTH)
            }
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => {
                is_column(left) && is_steady(right, DEPTH)
            }
            Expr::Between { expr, negated: false, low, high } => {
                is_column(expr) && is_steady(low, DEPTH) && is_steady(high, DEPTH)
            }
            Expr::In { expr, target: InTarget::List(list), negated: false, .. } => {
                is_column(expr) && !list.is_empty() && list.iter().all(|item| is_steady(item, DEPTH))
            }
            _ => false,
        };
        if binds {
            return true;
        }
    }
    false
}

fn leaves_out(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(op, Op::Eq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq)
}

fn is_column(expr: &Expr, called: &[String], alone: bool) -> bool {
    let qualified = |by: &Ident| called.contains(&names::fold(by));
    match expr {
        Expr::Nested(inner) => match &**inner {
            Expr::Nested(_) => false,
            inner => is_column(inner, called, alone),
        },
        // As a value of the table's own name it is the row, and `t = t` is no tie; nor is it compared with a constant.
        Expr::Identifier(column) => alone && !is_variable(column) && !called.contains(&names::fold(column)),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [table, _] | [_, table, _] => qualified(table),
            _ => false,
        },
        _ => false,
    }
}

/// Whether a name is a variable's: `@p`, in dialects that have them.
fn is_variable(name: &Ident) -> bool {
    name.quote_style.is_none() && name.value.starts_with('@')
}

/// Whether an expression is the same for every row, as far as its shape says.
fn is_steady(expr: &Expr, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let steady = |expr: &Expr| is_steady(expr, depth);
    match expr {
        Expr::Value(_) | Expr::TypedString(_) => true,
        Expr::Identifier(name) => is_variable(name),
        Expr::Interval(interval) => steady(&interval.value),
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } | Expr::Cast { expr: inner, .. } => steady(inner),
        Expr::BinaryOp { left, op: _, right } => steady(left) && steady(right),
        Expr::AtTimeZone { timestamp, time_zone } => steady(timestamp) && steady(time_zone),
        Expr::Array(array) => array.elem.iter().all(steady),
        Expr::Tuple(items) => items.iter().all(steady),
        Expr::Function(function) => {
            let known = names::idents(&function.name)
                .is_ok_and(|parts| matches!(parts.as_slice(), [name] if STEADY.contains(&names::fold(name).as_str())));
            known
                && match &function.args {
                    FunctionArguments::None => true,
                    FunctionArguments::Subquery(_) => false,
                    FunctionArguments::List(list) => list.args.iter().all(|argument| match argument {
                        FunctionArg::Named { arg, .. }
                        | FunctionArg::ExprNamed { arg, .. }
                        | FunctionArg::Unnamed(arg) => matches!(arg, FunctionArgExpr::Expr(expr) if steady(expr)),
                    }),
                }
        }
        _ => false,
    }
}
