//! What a tree of PostgreSQL's grammar names: every relation with what is done to it, and every function that is called.
//!
//! Written apart from the product's own walk, and differently: by recursion, with the scopes of common table expressions
//! as the server has them, because the product subtracts them too where both of its readers read.

use std::collections::BTreeSet;

use serde_json::Value;

/// A relation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Relation {
    /// The schema; empty if none is written.
    pub(crate) schema: String,
    pub(crate) name: String,
    /// One of these actions must be among the effects; any action will do if none is said.
    pub(crate) actions: &'static [&'static str],
}

/// What one text names.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) relations: BTreeSet<Relation>,
    pub(crate) functions: BTreeSet<String>,
}

const READ: &[&str] = &["select"];

pub(crate) fn named(tree: &Value) -> Named {
    let mut named = Named::default();
    named.value(tree, "", &[], &[]);
    named
}

impl Named {
    /// `key`: the field it stands in. `does`: what is done to a relation here. `scope`: common table expressions.
    fn value(&mut self, value: &Value, key: &str, does: &'static [&'static str], scope: &[&str]) {
        match value {
            Value::Array(values) => values.iter().for_each(|value| self.value(value, key, does, scope)),
            Value::Object(_) => self.object(value, key, does, scope),
            _ => {}
        }
    }

    fn object(&mut self, value: &Value, key: &str, does: &'static [&'static str], scope: &[&str]) {
        let part = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        if value.get("relpersistence").is_some() {
            let (schema, name) = (part("schemaname"), part("relname"));
            if !(schema.is_empty() && scope.contains(&name.as_str()) && does == READ) {
                self.relations.insert(Relation { schema, name, actions: does });
            }
            return;
        }
        if value.get("agg_star").is_some() {
            self.function(value);
        }
        let mut scope = scope.to_vec();
        if let Some(with) = value.get("with_clause").filter(|with| !with.is_null()) {
            self.with(with, &mut scope);
        }
        for (inner, field) in value.as_object().unwrap() {
            let does = match (inner.as_str(), key) {
                ("SelectStmt" | "TableLikeClause", _) => READ,
                // The target, in the statement's own field.
                ("relation", "InsertStmt") => &["insert"],
                ("relation", "UpdateStmt") => &["update"],
                ("relation", "DeleteStmt") => &["delete"],
                ("relation", "MergeStmt") => &["insert", "update", "delete"],
                ("relation", "CopyStmt") => &["copy_in", "copy_out"],
                ("InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt", _) => READ,
                ("into_clause", _) => &["insert"],
                // Constraints in the form of relations, and aliases.
                ("ConstraintsSetStmt" | "locked_rels" | "with_clause", _) => continue,
                (tag, _) if tag.ends_with("Stmt") => &[],
                _ => does,
            };
            self.value(field, inner, does, &scope);
        }
    }

    /// Common table expressions see those before them, and themselves and those behind them if they are recursive.
    fn with<'v>(&mut self, with: &'v Value, scope: &mut Vec<&'v str>) {
        let all = with["ctes"].as_array().unwrap();
        let name = |cte: &'v Value| cte.pointer("/node/CommonTableExpr/ctename").and_then(Value::as_str).unwrap();
        if with["recursive"] == Value::Bool(true) {
            scope.extend(all.iter().map(name));
        }
        for cte in all {
            let query = cte.pointer("/node/CommonTableExpr/ctequery").unwrap();
            self.value(query, "ctequery", READ, scope);
            scope.push(name(cte));
        }
    }

    /// The grammar makes some calls out of its own words.
    fn function(&mut self, call: &Value) {
        const OWN_WORDS: i64 = 4;
        let parts = call["funcname"].as_array().unwrap().iter();
        let parts: Vec<&str> = parts.filter_map(|part| part.pointer("/node/String/sval")?.as_str()).collect();
        let made_of_words = ["like_escape", "similar_to_escape", "xmlexists", "timezone"];
        match parts.as_slice() {
            ["pg_catalog", name] if made_of_words.contains(name) => {}
            // A word of newer servers, and a function of older ones.
            ["pg_catalog", "json_object"] => {
                self.functions.insert("json_object".to_owned());
            }
            _ if call["funcformat"] == OWN_WORDS => {}
            _ => {
                let last = parts.len().saturating_sub(2);
                self.functions.insert(parts[last..].join("."));
            }
        }
    }
}
