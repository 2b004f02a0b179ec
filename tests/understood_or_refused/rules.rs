//! One set of rules for all policies of the corpus: a policy is a role, and its rules hold for that role alone.
//!
//! The files stand in `fixtures/policies/corpus/`. A policy that names something (`deny_table:hr.salaries`) has one file for
//! its kind, in which `{policy}`, `{schema}`, `{table}`, `{column}` and `{function}` are filled in.

use std::collections::BTreeSet;
use std::fs;

use super::support::repository;

const FOLDER: &str = "fixtures/policies/corpus";

/// The rules for these policies, as one text.
pub(crate) fn for_policies(policies: &BTreeSet<&str>) -> String {
    let mut kinds = BTreeSet::from(["all"]);
    let mut rules = String::new();
    for policy in policies {
        let (kind, named) = policy.split_once(':').unwrap_or((policy, ""));
        let is_profile = kind == "profile";
        if is_profile || named.is_empty() {
            kinds.insert(if is_profile { "profiles" } else { kind });
            continue;
        }
        rules += &filled(kind, policy, named);
    }
    kinds.into_iter().map(file).collect::<String>() + &rules
}

fn file(kind: &str) -> String {
    let path = repository(FOLDER).join(format!("{kind}.cedar"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("a policy without rules: {}: {error}", path.display()))
}

fn filled(kind: &str, policy: &str, named: &str) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let places: &[&str] = match kind {
        "deny_column" => &["{schema}", "{table}", "{column}"],
        "deny_function" => &["{function}"],
        "allow_schema" => &["{schema}"],
        _ => &["{schema}", "{table}"],
    };
    let names = names(named);
    // A table without a schema is one of `public`.
    let assumed = (names.len() < places.len()).then(|| "public".to_owned());
    let text = file(kind).replace("{policy}", &quoted(policy));
    places
        .iter()
        .zip(assumed.into_iter().chain(names))
        .fold(text, |text, (place, name)| text.replace(place, &quoted(&name)))
}

/// The parts of a name, folded as PostgreSQL folds them.
fn names(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (part, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').map(|(part, after)| (part.to_owned(), after)).unwrap(),
            None => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].to_ascii_lowercase(), &rest[end..])
            }
        };
        parts.push(part);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    parts
}
