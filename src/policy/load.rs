//! Reading rules: every problem at once, each with file, line and column.

use std::collections::BTreeSet;
use std::str::FromStr;

use cedar_policy::{Effect, Policy as Rule, PolicyId, PolicySet, Schema, ValidationMode, Validator};

use super::problem::{self, File, PolicyProblem};
use crate::model::RuleId;

/// What may be written as `@name("…")` on a rule.
const ANNOTATIONS: &[&str] = &["id", "message", "hint", "mode"];
/// `@mode`: the rule decides. The default.
const ENFORCE: &str = "enforce";
/// `@mode`: the rule decides nothing; where it would have denied, it is named.
const REPORT: &str = "report";

/// One rule as its author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenRule {
    /// The name that decisions give it.
    pub id: String,
    /// Its file, as it was named to us.
    pub file: String,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The character on which it begins, from 1.
    pub column: usize,
    /// Whether it forbids; else it permits.
    pub forbids: bool,
    /// Whether it is in report mode: it denies nothing, and decisions name it where it would have.
    pub reports: bool,
}

/// Rules that hold together.
pub(super) struct Loaded {
    /// Those that decide, under the names that decisions give them.
    pub(super) rules: PolicySet,
    /// Those in report mode, likewise.
    pub(super) reported: PolicySet,
    /// All of them in the order of the files.
    pub(super) written: Vec<WrittenRule>,
}

/// The compiled-in schema.
pub(super) fn schema() -> Result<Schema, PolicyProblem> {
    let file = File { name: "schemas/policy.cedarschema", text: super::SCHEMA };
    match Schema::from_cedarschema_str(super::SCHEMA) {
        Ok((schema, _)) => Ok(schema),
        Err(problem) => Err(file.found(&problem)),
    }
}

/// All rules of all files.
pub(super) fn rules<'f>(
    files: impl Iterator<Item = &'f (String, String)>,
    schema: &Schema,
) -> Result<Loaded, Vec<PolicyProblem>> {
    let mut problems = Vec::new();
    let mut loaded = Loaded { rules: PolicySet::new(), reported: PolicySet::new(), written: Vec::new() };
    let mut names = BTreeSet::new();
    for (name, text) in files {
        let file = File { name, text };
        let mut found = Vec::new();
        match PolicySet::from_str(text) {
            Err(errors) => found.extend(errors.iter().map(|error| file.found(error))),
            Ok(set) => {
                check(file, &set, schema, &mut found);
                for (at, rule) in in_order(file, &set) {
                    let id = id_of(file, rule);
                    let reports = rule.annotation("mode") == Some(REPORT);
                    let set = if reports { &mut loaded.reported } else { &mut loaded.rules };
                    if !names.insert(id.clone()) {
                        let at = file.find(at, &format!("\"{id}\""));
                        found.push(file.problem(at, format!("two rules are named \"{id}\""), None));
                    } else if let Err(error) = set.add(rule.new_id(PolicyId::new(&id))) {
                        found.push(file.found(&error));
                    }
                    let (line, column) = file.position(at);
                    let forbids = rule.effect() == Effect::Forbid;
                    loaded.written.push(WrittenRule { id, file: name.clone(), line, column, forbids, reports });
                }
            }
        }
        // The engine tells several problems of one place in any order.
        let order = |problem: &PolicyProblem| (problem.line, problem.column, problem.sentence.clone());
        found.sort_by_cached_key(order);
        problems.extend(found);
    }
    if problems.is_empty() { Ok(loaded) } else { Err(problems) }
}

/// Against the schema, and what the schema cannot say.
fn check(file: File<'_>, set: &PolicySet, schema: &Schema, problems: &mut Vec<PolicyProblem>) {
    let validator = Validator::new(schema.clone());
    let result = validator.validate(set, ValidationMode::Strict);
    // A rule that can never apply, or a name that looks like another: a warning of the engine, a mistake all the same.
    let warnings = result.validation_warnings().map(|warning| (problem::span(warning).start, file.found(warning)));
    let found = result.validation_errors().map(|error| (problem::span(error).start, file.found(error))).chain(warnings);
    let found: Vec<_> = found.collect();
    let starts: Vec<usize> = in_order(file, set).into_iter().map(|(start, _)| start).collect();
    let rule_of = |at: usize| starts.iter().rev().find(|start| **start <= at).copied();
    for (at, problem) in &found {
        // What the engine says of a whole rule follows from what it says of a part of it.
        let part =
            |(other, _): &(usize, PolicyProblem)| starts.contains(at) && other > at && rule_of(*other) == Some(*at);
        if !found.iter().any(part) {
            problems.push(problem.clone());
        }
    }
    if set.templates().next().is_some() {
        let slot = if file.text.contains("?principal") { "?principal" } else { "?resource" };
        let sentence = "a rule with a slot (?principal, ?resource) is not supported".to_owned();
        problems.push(file.problem(file.find(0, slot), sentence, None));
    }
    for (start, rule) in in_order(file, set) {
        for (name, value) in rule.annotations() {
            let at = file.find(start, &format!("@{name}"));
            if !ANNOTATIONS.contains(&name) {
                let sentence = format!("there is no annotation @{name}");
                problems.push(file.problem(at, sentence, closest(name)));
            } else if let Some((sentence, advice)) = unfit(rule, name, value) {
                let at = file.find(at.start, &format!("\"{value}\""));
                problems.push(file.problem(at, sentence, Some(advice.to_owned())));
            }
        }
    }
}

/// What is wrong with the value of an annotation, and what to do about it.
fn unfit(rule: &Rule, name: &str, value: &str) -> Option<(String, &'static str)> {
    match (name, value) {
        ("mode", ENFORCE) => None,
        ("mode", REPORT) if rule.effect() == Effect::Forbid => None,
        ("mode", REPORT) => Some((
            "a permit in report mode means nothing".to_owned(),
            "report mode says what a forbid would deny; to try out a permit, use `hansard policy explain`",
        )),
        ("mode", _) => Some((format!("there is no mode \"{value}\""), "the modes are \"enforce\" and \"report\"")),
        ("id", id) if id.starts_with(RuleId::WOULD_DENY) => Some((
            format!("a rule cannot be named \"{}…\"", RuleId::WOULD_DENY),
            "that is how decisions name rules in report mode",
        )),
        _ => None,
    }
}

fn closest(name: &str) -> Option<String> {
    let best = ANNOTATIONS.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)))?;
    Some(format!("did you mean @{best}?"))
}

/// Rules in the order of the file, each with the byte at which it begins; the engine numbers them `policy0`, `policy1`, …
/// and keeps the text of each as it was written.
fn in_order<'s>(file: File<'_>, set: &'s PolicySet) -> Vec<(usize, &'s Rule)> {
    let number =
        |rule: &Rule| rule.id().to_string().trim_start_matches("policy").parse::<usize>().unwrap_or(usize::MAX);
    let mut rules: Vec<&Rule> = set.policies().collect();
    rules.sort_by_key(|rule| number(rule));
    let mut end = 0;
    let place = |rule: &'s Rule| {
        let at = rule.to_cedar().map_or(end..end, |text| file.find(end, &text));
        end = at.end;
        (at.start, rule)
    };
    rules.into_iter().map(place).collect()
}

/// A rule's `@id`, else its file and its place in it.
fn id_of(file: File<'_>, rule: &Rule) -> String {
    match rule.annotation("id") {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => format!("{}:{}", file.name, rule.id()),
    }
}
