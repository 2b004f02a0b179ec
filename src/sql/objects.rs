//! What a command in PostgreSQL's tree names otherwise than as a relation: names in lists, in strings, with arguments.
//!
//! Promises: a name is read in the forms that the grammar has for it, and any other form is not understood; a name in
//! parts is never put together to a text and cut again, so a dot in a quoted name stays where it is.

use pg_query::protobuf::ObjectType;
use serde_json::Value;

use super::second;
use super::walk::{NotUnderstood, Result};
use crate::model::{Object, ObjectKind};

/// A name in a form that the grammar does not give it.
const ODD_NAME: NotUnderstood = NotUnderstood("a name in a form that is not known");

/// The parts of a name: a string, a list of strings, a type, a function or operator with its arguments. None if nothing
/// is named.
pub(super) fn parts(named: &Value) -> Result<Vec<&str>> {
    match named {
        Value::Null => Ok(Vec::new()),
        Value::String(name) if name.is_empty() => Ok(Vec::new()),
        Value::String(name) => Ok(vec![name]),
        Value::Array(names) => names.iter().map(|name| one(name).ok_or(ODD_NAME)).collect(),
        Value::Object(fields) => {
            if let Some(node) = fields.get("node") {
                return match tagged(node) {
                    Some(("String" | "TypeName" | "ObjectWithArgs", inner)) => parts(inner),
                    Some(("List", list)) => parts(list.get("items").unwrap_or(&Value::Null)),
                    _ => Err(ODD_NAME),
                };
            }
            let inner = ["sval", "names", "objname"].iter().find_map(|key| fields.get(*key));
            parts(inner.ok_or(ODD_NAME)?)
        }
        Value::Bool(_) | Value::Number(_) => Err(ODD_NAME),
    }
}

/// The characters of a node that is a string.
fn one(node: &Value) -> Option<&str> {
    node.pointer("/node/String/sval")?.as_str()
}

/// A node's tag and fields.
pub(super) fn tagged(node: &Value) -> Option<(&str, &Value)> {
    let (tag, fields) = node.as_object()?.iter().next()?;
    Some((tag, fields))
}

/// The object of a name in parts: `name`, `schema.name` or `database.schema.name`.
pub(super) fn object(kind: ObjectKind, parts: &[&str]) -> Result<Object> {
    match parts {
        [name] => Ok(second::object(kind, "", name)),
        [schema, name] | [_, schema, name] => Ok(second::object(kind, schema, name)),
        _ => Err(ODD_NAME),
    }
}

/// The objects that a command names by their sort: `COMMENT ON sort …`, `DROP sort …`, `ALTER sort … OWNER TO`.
pub(super) fn addressed(sort: ObjectType, named: &Value) -> Result<Vec<Object>> {
    use ObjectType as Sort;
    let whole = |kind| Ok(vec![object(kind, &parts(named)?)?]);
    match sort {
        Sort::ObjectTable
        | Sort::ObjectView
        | Sort::ObjectMatview
        | Sort::ObjectSequence
        | Sort::ObjectForeignTable => whole(ObjectKind::Table),
        // The table, and the name of what belongs to it.
        Sort::ObjectColumn
        | Sort::ObjectTrigger
        | Sort::ObjectRule
        | Sort::ObjectPolicy
        | Sort::ObjectTabconstraint => {
            match parts(named)?.as_slice() {
                // A column of no table, which the server refuses.
                [column] if sort == Sort::ObjectColumn => Ok(vec![object(ObjectKind::Other, &[column])?]),
                [_] | [] => Err(ODD_NAME),
                [table @ .., _] => Ok(vec![object(ObjectKind::Table, table)?]),
            }
        }
        Sort::ObjectFunction | Sort::ObjectProcedure | Sort::ObjectRoutine | Sort::ObjectAggregate => {
            whole(ObjectKind::Function)
        }
        Sort::ObjectSchema => whole(ObjectKind::Schema),
        Sort::ObjectDatabase => whole(ObjectKind::Database),
        Sort::ObjectRole => whole(ObjectKind::Role),
        // The access method stands before the name.
        Sort::ObjectOpclass | Sort::ObjectOpfamily => {
            let parts = parts(named)?;
            let [_, name @ ..] = parts.as_slice() else { return Err(ODD_NAME) };
            Ok(vec![object(ObjectKind::Other, name)?])
        }
        // Two types; a type and a language; a domain and the name of its constraint.
        Sort::ObjectCast | Sort::ObjectTransform | Sort::ObjectDomconstraint => {
            let list = named.pointer("/node/List/items").and_then(Value::as_array).ok_or(ODD_NAME)?;
            let count = if sort == Sort::ObjectDomconstraint { 1 } else { 2 };
            list.iter().take(count).map(|part| object(ObjectKind::Other, &parts(part)?)).collect()
        }
        Sort::ObjectLargeobject => {
            let number = match named.get("node").and_then(tagged) {
                Some(("Integer", number)) => number.get("ival").map(Value::to_string),
                Some(("Float", number)) => number.get("fval").and_then(Value::as_str).map(str::to_owned),
                _ => None,
            };
            Ok(vec![second::object(ObjectKind::Other, "", &number.ok_or(ODD_NAME)?)])
        }
        Sort::ObjectIndex | Sort::ObjectType | Sort::ObjectDomain | Sort::ObjectCollation | Sort::ObjectConversion => {
            whole(ObjectKind::Other)
        }
        Sort::ObjectOperator | Sort::ObjectStatisticExt | Sort::ObjectTsparser | Sort::ObjectTstemplate => {
            whole(ObjectKind::Other)
        }
        Sort::ObjectTsdictionary | Sort::ObjectTsconfiguration | Sort::ObjectAccessMethod | Sort::ObjectExtension => {
            whole(ObjectKind::Other)
        }
        Sort::ObjectEventTrigger | Sort::ObjectFdw | Sort::ObjectForeignServer | Sort::ObjectLanguage => {
            whole(ObjectKind::Other)
        }
        Sort::ObjectPublication | Sort::ObjectSubscription | Sort::ObjectTablespace => whole(ObjectKind::Other),
        // The grammar writes these down in ways of their own, or not at all.
        Sort::Undefined | Sort::ObjectAmop | Sort::ObjectAmproc | Sort::ObjectAttribute | Sort::ObjectDefault => {
            Err(ODD_NAME)
        }
        Sort::ObjectDefacl | Sort::ObjectParameterAcl | Sort::ObjectUserMapping => Err(ODD_NAME),
        Sort::ObjectPublicationNamespace | Sort::ObjectPublicationRel => Err(ODD_NAME),
    }
}

/// The sort that a field of a command holds.
pub(super) fn sort(fields: &Value, key: &str) -> Result<ObjectType> {
    let number = fields.get(key).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok());
    number.and_then(|number| ObjectType::try_from(number).ok()).ok_or(ODD_NAME)
}
