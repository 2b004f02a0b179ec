//! Names, folded as PostgreSQL folds them.

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use super::walk::{NotUnderstood, Result};
use crate::model::{Object, ObjectKind};

/// Unquoted: ASCII letters in lower case, others as they are; quoted: as written.
pub(super) fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        None => ident.value.to_ascii_lowercase(),
        Some(_) => ident.value.clone(),
    }
}

/// The object a name means: `name`, `schema.name`, or `database.schema.name` (where PostgreSQL accepts only the
/// session's own database).
pub(super) fn object(kind: ObjectKind, name: &ObjectName) -> Result<Object> {
    object_of(kind, &idents(name)?)
}

/// The same for a name in parts.
pub(super) fn object_of(kind: ObjectKind, parts: &[&Ident]) -> Result<Object> {
    match parts {
        [name] => Ok(Object { kind, schema: None, name: fold(name) }),
        [schema, name] | [_, schema, name] => Ok(Object { kind, schema: Some(fold(schema)), name: fold(name) }),
        _ => Err(NotUnderstood("a name of more than three parts")),
    }
}

/// An object with a plain name.
pub(super) fn plain(kind: ObjectKind, name: &Ident) -> Object {
    Object { kind, schema: None, name: fold(name) }
}

/// The parts of a name.
pub(super) fn idents<'n>(name: &'n ObjectName) -> Result<Vec<&'n Ident>> {
    let part = |part: &'n ObjectNamePart| match part {
        ObjectNamePart::Identifier(ident) => Ok(ident),
        ObjectNamePart::Function(_) => Err(NotUnderstood("a name that is computed")),
    };
    name.0.iter().map(part).collect()
}

/// A setting's name: dotted parts joined, in lower case, for settings are matched without regard to case.
pub(super) fn setting(name: &ObjectName) -> Result<String> {
    let parts: Vec<_> = idents(name)?.into_iter().map(|part| part.value.to_ascii_lowercase()).collect();
    Ok(parts.join("."))
}
