//! Which schemas a table may be in when its schema was not written.

use std::collections::{BTreeSet, HashSet};
use std::sync::LazyLock;

use serde_json::Value;

use super::{Moment, Place};
use crate::model::Principal;

/// Stands for every schema that no rule speaks of. No name of PostgreSQL has a zero byte, so it is none of them, and no
/// pattern that begins or ends with a letter fits it.
const ANY_OTHER: &str = "\0";

static CATALOG: LazyLock<HashSet<&'static str>> = LazyLock::new(|| words(include_str!("catalog.txt")));

static INFORMATION_SCHEMA: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| words(include_str!("information_schema.txt")));

fn words(text: &'static str) -> HashSet<&'static str> {
    text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect()
}

/// The schemas that the rules tell apart.
#[derive(Debug)]
pub(super) struct SpokenOf {
    /// Those that a rule names.
    named: BTreeSet<String>,
    /// Whether a rule compares the schema with something of the request: `resource.schema == context.database_user`.
    by_request: bool,
}

impl SpokenOf {
    /// Gathers them from the trees of the rules, beside those that classifications tell apart.
    pub(super) fn by<'t>(
        trees: impl Iterator<Item = Option<&'t Value>>,
        classified: impl Iterator<Item = String>,
    ) -> Self {
        let mut named: BTreeSet<String> = ["public".to_owned(), ANY_OTHER.to_owned()].into();
        // Of `*` alone nothing is left; it fits what stands for every other schema, too.
        named.extend(classified.filter(|schema| !schema.is_empty()));
        let mut by_request = false;
        for tree in trees {
            // A rule that has no tree was checked and so is simple; nothing of it is known, so everything is asked.
            let Some(tree) = tree else {
                by_request = true;
                continue;
            };
            gather(tree, speaks_of_schema(tree), &mut named);
            by_request |= compares_with_request(tree);
        }
        Self { named, by_request }
    }

    /// The schemas that a name without one must be permitted in, all of them.
    pub(super) fn candidates(&self, who: &Principal, place: &Place, moment: &Moment) -> BTreeSet<String> {
        let mut all = self.named.clone();
        if self.by_request {
            let claims = who.claims.values().filter_map(|claim| claim.as_str());
            let own = who.roles.iter().chain(&who.groups).chain(&who.email).chain(&who.display).map(String::as_str);
            let place = [who.subject.as_str(), &place.database_user, &place.database, &place.target];
            let shown = moment.client_certificate.iter().flat_map(|certificate| {
                let lists = [&certificate.emails, &certificate.dns_names, &certificate.uris];
                lists.into_iter().flatten().chain(&certificate.common_name).chain([&certificate.subject])
            });
            let client = moment.application.iter().chain(shown).map(String::as_str);
            all.extend(claims.chain(own).chain(place).chain(client).map(str::to_owned));
        }
        all
    }
}

/// Whether the schema is compared with anything but written text.
fn compares_with_request(tree: &Value) -> bool {
    let is_schema = |side: &Value| side.pointer("/./attr").is_some_and(|attr| attr == "schema");
    match tree {
        Value::Object(fields) => {
            let compared = match (fields.get("left"), fields.get("right")) {
                (Some(left), Some(right)) => {
                    is_schema(left) && !is_written(right) || is_schema(right) && !is_written(left)
                }
                _ => false,
            };
            compared || fields.values().any(compares_with_request)
        }
        Value::Array(items) => items.iter().any(compares_with_request),
        _ => false,
    }
}

fn is_written(side: &Value) -> bool {
    match side.get("Set") {
        Some(Value::Array(items)) => items.iter().all(is_written),
        _ => side.get("Value").is_some(),
    }
}

/// Whether the server takes a table's name, without a schema, for one of its catalog.
pub(super) fn is_catalog(table: &str) -> bool {
    CATALOG.contains(table)
}

/// Whether a table that is there already may be in a schema: what the server's own schemas hold is known.
pub(super) fn may_hold(schema: &str, table: &str) -> bool {
    match schema {
        "pg_catalog" => is_catalog(table),
        "information_schema" => INFORMATION_SCHEMA.contains(table),
        _ => true,
    }
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
