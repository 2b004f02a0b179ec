//! Reading rules: every problem at once, each with file, line and column.

use std::collections::BTreeSet;
use std::str::FromStr;

use cedar_policy::{Policy as Rule, PolicyId, PolicySet, Schema, ValidationMode, Validator};

use super::problem::{File, PolicyProblem};

/// What may be written as `@name("…")` on a rule.
const ANNOTATIONS: &[&str] = &["id", "message", "hint", "mode"];

/// The compiled-in schema.
pub(super) fn schema() -> Result<Schema, PolicyProblem> {
    let file = File { name: "schemas/policy.cedarschema", text: super::SCHEMA };
    match Schema::from_cedarschema_str(super::SCHEMA) {
        Ok((schema, _)) => Ok(schema),
        Err(problem) => Err(file.found(&problem)),
    }
}

/// All rules of all files under the names that decisions give them.
pub(super) fn rules(files: &[(String, String)], schema: &Schema) -> Result<PolicySet, Vec<PolicyProblem>> {
    let mut problems = Vec::new();
    let mut rules = PolicySet::new();
    let mut names = BTreeSet::new();
    for (name, text) in files {
        let file = File { name, text };
        match PolicySet::from_str(text) {
            Err(errors) => problems.extend(errors.iter().map(|error| file.found(error))),
            Ok(set) => {
                check(file, &set, schema, &mut problems);
                for rule in in_order(&set) {
                    let name = id_of(file, rule);
                    if !names.insert(name.clone()) {
                        let at = text.rfind(&format!("\"{name}\"")).unwrap_or(0);
                        problems.push(file.problem(at, format!("two rules are named \"{name}\""), None));
                    } else if let Err(error) = rules.add(rule.new_id(PolicyId::new(&name))) {
                        problems.push(file.found(&error));
                    }
                }
            }
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

/// Against the schema, and what the schema cannot say.
fn check(file: File<'_>, set: &PolicySet, schema: &Schema, problems: &mut Vec<PolicyProblem>) {
    let validator = Validator::new(schema.clone());
    let result = validator.validate(set, ValidationMode::Strict);
    problems.extend(result.validation_errors().map(|error| file.found(error)));
    // A rule that can never apply, or a name that looks like another: a warning of the engine, a mistake all the same.
    problems.extend(result.validation_warnings().map(|warning| file.found(warning)));
    if set.templates().next().is_some() {
        let at = file.text.find("?principal").or_else(|| file.text.find("?resource")).unwrap_or(0);
        problems.push(file.problem(at, "a rule with a slot (?principal, ?resource) is not supported".to_owned(), None));
    }
    for rule in in_order(set) {
        for (name, value) in rule.annotations() {
            let at = || file.text.find(&format!("@{name}")).unwrap_or(0);
            if !ANNOTATIONS.contains(&name) {
                let sentence = format!("there is no annotation @{name}");
                problems.push(file.problem(at(), sentence, closest(name)));
            } else if name == "mode" && value != "enforce" {
                let at = file.text.find(&format!("\"{value}\"")).unwrap_or_else(at);
                let sentence = format!("there is no mode \"{value}\"");
                problems.push(file.problem(at, sentence, Some("the only mode is \"enforce\"".to_owned())));
            }
        }
    }
}

fn closest(name: &str) -> Option<String> {
    let best = ANNOTATIONS.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)))?;
    Some(format!("did you mean @{best}?"))
}

/// Rules in the order of the file; the engine numbers them `policy0`, `policy1`, …
fn in_order(set: &PolicySet) -> Vec<&Rule> {
    let number =
        |rule: &Rule| rule.id().to_string().trim_start_matches("policy").parse::<usize>().unwrap_or(usize::MAX);
    let mut rules: Vec<&Rule> = set.policies().collect();
    rules.sort_by_key(|rule| number(rule));
    rules
}

/// A rule's `@id`, else its file and its place in it.
fn id_of(file: File<'_>, rule: &Rule) -> String {
    match rule.annotation("id") {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => format!("{}:{}", file.name, rule.id()),
    }
}
