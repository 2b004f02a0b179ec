//! Which schemas a table may be in when its schema was not written.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use cedar_policy::PolicySet;
use serde_json::Value;

/// Stands for every schema that no rule speaks of. Begins as no schema of PostgreSQL may, so that it is none of them.
const ANY_OTHER: &str = "pg_?";

static CATALOG: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    let lines = include_str!("catalog.txt").lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(str::split_whitespace).collect()
});

/// Every schema that the rules tell apart.
pub(super) fn spoken_of(rules: &PolicySet) -> BTreeSet<String> {
    let mut schemas: BTreeSet<String> = ["public".to_owned(), ANY_OTHER.to_owned()].into();
    for rule in rules.policies() {
        if let Ok(tree) = rule.to_json() {
            let by_attribute = speaks_of_schema(&tree);
            gather(&tree, by_attribute, &mut schemas);
        }
    }
    schemas
}

/// The schemas that a name without one must be permitted in, all of them.
pub(super) fn candidates<'a>(spoken_of: &'a BTreeSet<String>, is_table: bool, name: &str) -> Vec<&'a str> {
    if is_table && CATALOG.contains(name) {
        return vec!["pg_catalog"];
    }
    spoken_of.iter().map(String::as_str).collect()
}

/// Whether a rule reads the attribute `schema`, or the name of a schema or a table.
fn speaks_of_schema(tree: &Value) -> bool {
    match tree {
        Value::Object(fields) => {
            fields.get("attr").is_some_and(|attr| attr == "schema" || attr == "name")
                || fields.values().any(speaks_of_schema)
        }
        Value::Array(items) => items.iter().any(speaks_of_schema),
        _ => false,
    }
}

/// Gathers schemas from the names of resources, and every string of a rule that compares schemas: more than needed is
/// slower, less would let a name without a schema past a rule.
fn gather(tree: &Value, strings: bool, into: &mut BTreeSet<String>) {
    match tree {
        Value::Object(fields) => {
            if let (Some(Value::String(kind)), Some(Value::String(id))) = (fields.get("type"), fields.get("id")) {
                if let Some(schema) = schema_of(kind, id) {
                    into.insert(schema);
                }
                return;
            }
            if let Some(Value::Array(pattern)) = fields.get("pattern") {
                // `like "clin*"`: the shortest name that it matches.
                into.insert(pattern.iter().filter_map(|part| part.get("Literal")?.as_str()).collect());
            }
            if let (true, Some(Value::String(text))) = (strings, fields.get("Value")) {
                into.insert(text.clone());
            }
            fields.values().for_each(|value| gather(value, strings, into));
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, strings, into)),
        _ => {}
    }
}

/// The schema in the name of a resource: the third part, up to the point.
fn schema_of(kind: &str, id: &str) -> Option<String> {
    let third = id.split('/').nth(2)?;
    match kind {
        "Schema" => Some(super::entities::unescape(third)),
        "Table" | "Function" | "Object" => third.split_once('.').map(|(schema, _)| super::entities::unescape(schema)),
        _ => None,
    }
}
