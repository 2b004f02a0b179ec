//! `EXEC`: a procedure, the text in a string, or another user.

use super::set::object;
use super::{GRAMMAR, RESERVED};
use crate::model::{Action, Kind, ObjectKind};
use crate::sql::guard::{Kind as Cut, Token};
use crate::sql::other::{between_commas, leading_name, said, text};
use crate::sql::statement::Read;
use crate::sql::walk::{NotUnderstood, Result, Walk};

const DYNAMIC: NotUnderstood = NotUnderstood("SQL that is put together when it runs");
const NOT_READ: NotUnderstood = NotUnderstood("a call with more than names and values");

/// What follows `EXEC`.
pub(super) fn read(tokens: &[Token<'_>], walk: &mut Walk) -> Result<Read> {
    let tokens = match tokens {
        [result, equals, rest @ ..] if is_variable(result) && equals.is_mark("=") => rest,
        tokens => tokens,
    };
    match tokens {
        [open, literal, close] if open.is_mark("(") && close.is_mark(")") => {
            text(&GRAMMAR, &said(literal, false).ok_or(DYNAMIC)?, walk)?;
            Ok(Read { kind: Kind::Call, has_where: None })
        }
        [open, ..] if open.is_mark("(") => Err(DYNAMIC),
        [by, who, rest @ ..] if by.is_word("as") => {
            let names_one = matches!(rest, [] | [_, _]) && rest.first().is_none_or(|equals| equals.is_mark("="));
            walk.set("user", None);
            if names_one && who.kind == Cut::Word {
                Ok(Read { kind: Kind::Session, has_where: None })
            } else {
                Err(NOT_READ)
            }
        }
        [variable, ..] if is_variable(variable) => Err(DYNAMIC),
        _ => procedure(tokens, walk),
    }
}

/// A procedure's name and its arguments, which are names and values and nothing that is computed.
pub(super) fn procedure(tokens: &[Token<'_>], walk: &mut Walk) -> Result<Read> {
    let (parts, arguments) = leading_name(tokens).ok_or(NOT_READ)?;
    let procedure = object(ObjectKind::Function, parts)?;
    let name = procedure.name.clone();
    walk.name_function(&procedure);
    walk.note(Action::Call, procedure, false);
    if !arguments.is_empty() && !between_commas(arguments).into_iter().all(is_argument) {
        return Err(NOT_READ);
    }
    if name == "sp_executesql" {
        let literal = match arguments {
            [_, equals, literal, ..] if equals.is_mark("=") => literal,
            [literal, ..] => literal,
            [] => return Err(DYNAMIC),
        };
        text(&GRAMMAR, &said(literal, false).ok_or(DYNAMIC)?, walk)?;
    } else if RUNS_TEXT.contains(&name.as_str()) {
        return Err(DYNAMIC);
    }
    Ok(Read { kind: Kind::Call, has_where: None })
}

/// Procedures of the server that run the text of an argument, or what was handed over before.
const RUNS_TEXT: &[&str] = &[
    "sp_execute",
    "sp_prepare",
    "sp_prepexec",
    "sp_cursoropen",
    "sp_cursorprepare",
    "sp_cursorprepexec",
    "sp_execute_external_script",
    "sp_msforeachtable",
    "sp_msforeachdb",
    "sp_describe_first_result_set",
    "sp_describe_undeclared_parameters",
];

/// `[@p =] [-]value [OUTPUT]`: so no other statement is taken for a call.
fn is_argument(tokens: &[Token<'_>]) -> bool {
    let given = match tokens {
        [parameter, equals, given @ ..] if is_variable(parameter) && equals.is_mark("=") => given,
        given => given,
    };
    let given = match given {
        [sign, given @ ..] if sign.is_mark("-") || sign.is_mark("+") => given,
        given => given,
    };
    let (value, out) = match given {
        [value] => (value, None),
        [value, out] => (value, Some(out)),
        _ => return false,
    };
    let is_value = match value.kind {
        Cut::Word => {
            let word = value.text.to_ascii_lowercase();
            matches!(word.as_str(), "null" | "default" | "on" | "off") || !RESERVED.has(&word)
        }
        Cut::Quoted | Cut::Text | Cut::Number => true,
        Cut::Mark | Cut::Parameter => false,
    };
    is_value && out.is_none_or(|out| out.is_word("out") || out.is_word("output"))
}

fn is_variable(token: &Token<'_>) -> bool {
    token.kind == Cut::Word && token.text.starts_with('@')
}
