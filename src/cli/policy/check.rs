//! `hansard policy check`: every mistake in rules at once, and what is no mistake but less than it seems.

use serde_json::{Value, json};

use super::super::render::{Format, Table, say};
use super::diagnostics::{Severity, described};
use super::{Exit, Globals, Stop, Which};
use crate::policy::{Policy, PolicyProblem};

const EXAMPLES: &str = "\
Examples:
  hansard policy check rules/ local.cedar
  hansard policy check -c hansard.toml                 the rules that the configuration names
  hansard policy check rules/ -o json                  for programs: every problem with its place";

/// Find every mistake in rules: exit 0 without any, else 3
///
/// Names are held against the schema. A deny rule that those it is for can walk around, and rules under which no client
/// can read the catalog, are warnings: they are told and do not count.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    which: Which,
}

pub(super) fn run(args: &CheckArgs, globals: &Globals) -> Result<Exit, Stop> {
    let config = args.which.config()?;
    let files = args.which.sources(config.as_ref())?.rules;
    let claims = config.as_ref().map(|config| config.identity.keep.as_slice());
    let (found, rules) = match Policy::load(&files) {
        Ok(policy) => {
            let undeclared = claims.map(|claims| policy.undeclared(claims)).unwrap_or_default();
            let rules = undeclared.is_empty().then(|| policy.rules());
            let errors = with(Severity::Error, undeclared);
            (errors.into_iter().chain(with(Severity::Warning, policy.doubts())).collect(), rules)
        }
        Err(problems) => (with(Severity::Error, problems), None),
    };
    // People read problems beside the program that they come from; programs ask for a form.
    match globals.output {
        None | Some(Format::Table) => {
            for (severity, problem) in &found {
                say(described(*severity, problem, &files));
            }
        }
        Some(format) => table(&found).print(format)?,
    }
    if !globals.quiet {
        say(summary(&found, rules, files.len()));
    }
    Ok(if rules.is_some() { Exit::Done } else { Exit::Invalid })
}

type Found = Vec<(Severity, PolicyProblem)>;

fn with(severity: Severity, problems: Vec<PolicyProblem>) -> Found {
    problems.into_iter().map(|problem| (severity, problem)).collect()
}

fn table(found: &Found) -> Table {
    let columns = ["severity", "file", "line", "column", "length", "message", "help"];
    let row = |(severity, problem): &(Severity, PolicyProblem)| -> Vec<Value> {
        vec![
            json!(severity.as_str()),
            json!(problem.file),
            json!(problem.line),
            json!(problem.column),
            json!(problem.length),
            json!(problem.sentence),
            json!(problem.suggestion),
        ]
    };
    Table { columns: columns.map(str::to_owned).to_vec(), rows: found.iter().map(row).collect() }
}

fn summary(found: &Found, rules: Option<usize>, files: usize) -> String {
    let counted = |number: usize, one: &str| super::super::reading::counted(number as u64, one);
    let errors = found.iter().filter(|(severity, _)| *severity == Severity::Error).count();
    match (rules, found.len() - errors) {
        (Some(rules), 0) => format!("{} in {} are valid", counted(rules, "rule"), counted(files, "file")),
        (Some(rules), warnings) => {
            format!(
                "{} in {} are valid; {}",
                counted(rules, "rule"),
                counted(files, "file"),
                counted(warnings, "warning")
            )
        }
        (None, _) => format!("{} in {}", counted(errors, "error"), counted(files, "file")),
    }
}
