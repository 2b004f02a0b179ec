//! `hansard policy check`: every mistake in rules at once, what is no mistake but less than it seems, and what a target's
//! own login undermines of what they promise.

use serde_json::{Value, json};

use super::super::render::{Format, Table, say};
use super::diagnostics::{Severity, described};
use super::live::{Found as Undermined, Live};
use super::{Exit, Globals, Stop, Which};
use crate::config::Config;
use crate::policy::{Policy, PolicyProblem};

const EXAMPLES: &str = "\
Examples:
  hansard policy check rules/ local.cedar
  hansard policy check -c hansard.toml                 the rules that the configuration names
  hansard policy check -c hansard.toml --target clinic also what the target's login may do that no rule permits
  hansard policy check rules/ -o json                  for programs: every problem with its place";

/// Find every mistake in rules: exit 0 without any, else 3
///
/// Names are held against the schema. A deny rule that those it is for can walk around, and rules under which no client
/// can read the catalog, are warnings: they are told and do not count. With --target, the database is asked what the
/// target's own login may do, and what that undermines is told: exit 8 if there is anything, 7 if the target is away.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    which: Which,

    /// Hold the rules against this target's login as well
    #[arg(long, value_name = "NAME", requires = "config")]
    target: Option<String>,

    /// At this database; may be repeated [default: those that the target lists, else those that rules name]
    #[arg(long, value_name = "NAME", requires = "target")]
    database: Vec<String>,
}

pub(super) fn run(args: &CheckArgs, globals: &Globals) -> Result<Exit, Stop> {
    let config = args.which.config()?;
    let files = args.which.sources(config.as_ref())?.rules;
    let claims = config.as_ref().map(Config::kept_claims);
    let (found, policy) = match Policy::load(&files) {
        Ok(policy) => {
            let undeclared = claims.as_deref().map(|claims| policy.undeclared(claims)).unwrap_or_default();
            let is_valid = undeclared.is_empty();
            let errors = with(Severity::Error, undeclared);
            let found = errors.into_iter().chain(with(Severity::Warning, policy.doubts())).collect();
            (found, is_valid.then_some(policy))
        }
        Err(problems) => (with(Severity::Error, problems), None),
    };
    // Rules that do not hold together promise nothing that a login could undermine.
    let live = match (&policy, &config, &args.target) {
        (Some(policy), Some(config), Some(target)) => {
            Some(Live::look(config, (target, None), &args.database, policy).map(|live| live.findings(policy)))
        }
        _ => None,
    };
    let (undermined, away) = match live {
        None => (Vec::new(), None),
        Some(Ok(undermined)) => (undermined, None),
        Some(Err(stop)) => (Vec::new(), Some(stop)),
    };
    // People read problems beside the program that they come from; programs ask for a form.
    match globals.output {
        None | Some(Format::Table) => {
            for (severity, problem) in &found {
                say(described(*severity, problem, &files));
            }
            undermined.iter().for_each(|found| say(found.described()));
        }
        Some(format) => table(&found, &undermined).print(format)?,
    }
    if !globals.quiet {
        say(summary(&found, policy.as_ref().map(Policy::rules), files.len()));
        if args.target.is_some() && policy.is_some() && away.is_none() {
            say(counted(&undermined));
        }
    }
    match (away, policy) {
        (Some(stop), _) => Err(stop),
        (None, None) => Ok(Exit::Invalid),
        (None, Some(_)) => Ok(if undermined.is_empty() { Exit::Done } else { Exit::Found }),
    }
}

fn counted(undermined: &[Undermined]) -> String {
    match undermined.len() {
        0 => "the login may do nothing beyond the rules that was looked for".to_owned(),
        found => super::super::reading::counted(found as u64, "finding"),
    }
}

type Found = Vec<(Severity, PolicyProblem)>;

fn with(severity: Severity, problems: Vec<PolicyProblem>) -> Found {
    problems.into_iter().map(|problem| (severity, problem)).collect()
}

fn table(found: &Found, undermined: &[Undermined]) -> Table {
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
    let rows = found.iter().map(row).chain(undermined.iter().map(Undermined::row)).collect();
    Table { columns: columns.map(str::to_owned).to_vec(), rows }
}

fn summary(found: &Found, rules: Option<usize>, files: usize) -> String {
    let are = |number: usize| if number == 1 { "is" } else { "are" };
    let counted = |number: usize, one: &str| super::super::reading::counted(number as u64, one);
    let errors = found.iter().filter(|(severity, _)| *severity == Severity::Error).count();
    match (rules, found.len() - errors) {
        (Some(rules), 0) => format!("{} in {} {} valid", counted(rules, "rule"), counted(files, "file"), are(rules)),
        (Some(rules), warnings) => {
            format!(
                "{} in {} {} valid; {}",
                counted(rules, "rule"),
                counted(files, "file"),
                are(rules),
                counted(warnings, "warning")
            )
        }
        (None, _) => format!("{} in {}", counted(errors, "error"), counted(files, "file")),
    }
}
