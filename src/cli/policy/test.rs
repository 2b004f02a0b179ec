//! `hansard policy test`: the tests beside rules, and which rules none of them exercises.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::super::reading::counted;
use super::super::render::{Format, Lines, Table, quiet_if_closed, say, shown};
use super::cases::Ran;
use super::diagnostics::{Severity, described};
use super::run::{SuiteRun, Tried, tried};
use super::{Exit, Globals, Stop, Which, junit};

const EXAMPLES: &str = "\
Examples:
  hansard policy test rules/                           the *.test.toml files beside the rules
  hansard policy test rules/app.test.toml              one of them, against all rules of its folder
  hansard policy test -c hansard.toml --junit out.xml  the rules in force by a configuration, for a build server";

/// Run the tests beside rules: exit 0 if all pass, else 8
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct TestArgs {
    #[command(flatten)]
    which: Which,

    /// Also write the results as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

pub(super) fn run(args: &TestArgs, globals: &Globals) -> Result<Exit, Stop> {
    let config = args.which.config()?;
    let sources = args.which.sources(config.as_ref())?;
    if sources.tests.is_empty() {
        let words = "there are no tests: no *.test.toml file is beside these rules".to_owned();
        return Err(Stop { exit: Exit::NotFound, problems: vec![words] });
    }
    let files: Vec<(String, String)> = sources.rules.iter().chain(&sources.tests).cloned().collect();
    let tried = tried(&sources, config.as_ref()).map_err(|problems| {
        Stop::invalid(problems.iter().map(|problem| described(Severity::Error, problem, &files)).collect())
    })?;
    if let Some(path) = &args.junit {
        let bad = |error| Stop { exit: Exit::Unexpected, problems: vec![format!("{}: {error}", path.display())] };
        std::fs::write(path, junit::document(&tried.runs)).map_err(bad)?;
    }
    match globals.output {
        None | Some(Format::Table) => {
            let mut out = io::stdout().lock();
            quiet_if_closed(out.write_all(told(&tried.runs).as_bytes()).and_then(|()| out.flush()))?;
        }
        Some(format) => table(&tried.runs).print(format)?,
    }
    if !globals.quiet {
        say(exercised(&tried));
    }
    let failed = tried.runs.iter().flat_map(|run| &run.cases).any(|case| !case.passed);
    Ok(if failed { Exit::Found } else { Exit::Done })
}

fn told(runs: &[SuiteRun]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let mut line = |words: String| writeln!(text, "{}", shown(&words, Lines::Shown)).unwrap_or_default();
    for run in runs {
        let failed: Vec<&Ran> = run.cases.iter().filter(|case| !case.passed).collect();
        if failed.is_empty() {
            line(format!("PASS  {}  {}", run.file, counted(run.cases.len() as u64, "case")));
        } else {
            line(format!("FAIL  {}  {} of {}", run.file, failed.len(), run.cases.len()));
        }
        for case in failed {
            line(format!("  \"{}\"  {}:{}", case.name, run.file, case.line));
            line(format!("      as         {}", case.who));
            line(format!("      statement  {}", case.sql.as_deref().unwrap_or("none: may they connect?")));
            line(format!("      expected   {}", case.expected));
            line(format!("      got        {}", case.got));
        }
    }
    text
}

fn exercised(tried: &Tried) -> String {
    let (all, never) = (tried.policy.rules(), tried.never_exercised());
    let share = (all - never.len()) * 100 / all.max(1);
    let names: Vec<String> = never.iter().map(|name| format!("\"{name}\"")).collect();
    let rest = if names.is_empty() { String::new() } else { format!("; never exercised: {}", names.join(", ")) };
    format!("rules exercised: {} of {all} ({share} %){rest}", all - never.len())
}

fn table(runs: &[SuiteRun]) -> Table {
    let columns = ["file", "line", "name", "passed", "expected", "got", "rules", "claims", "sql"];
    let row = |file: &str, case: &Ran| -> Vec<Value> {
        let rules: Vec<&str> = case.rules.iter().map(|rule| rule.0.as_str()).collect();
        vec![
            json!(file),
            json!(case.line),
            json!(case.name),
            json!(case.passed),
            json!(case.expected),
            json!(case.got),
            json!(rules),
            json!(case.who),
            json!(case.sql),
        ]
    };
    let rows = runs.iter().flat_map(|run| run.cases.iter().map(move |case| row(&run.file, case))).collect();
    Table { columns: columns.map(str::to_owned).to_vec(), rows }
}

#[cfg(test)]
mod tests {
    use super::super::sources::Sources;
    use super::*;

    #[test]
    fn failures_say_what_differed_and_rules_without_a_test_are_named() {
        let rules = "@id(\"reads\") permit(principal, action in Action::\"read\", resource);
                     @id(\"idle\") forbid(principal, action == Action::\"dcl\", resource);";
        let tests = "[defaults]\ntarget = \"t\"\n\
            [[case]]\nname = \"a\"\nas = { sub = \"x\" }\nsql = \"TABLE s.t\"\nexpect = \"allow\"\n\
            [[case]]\nname = \"b\\u001b\"\nas = { sub = \"x\" }\nsql = \"TABLE s.t\"\nexpect = \"deny\"\n";
        let sources = Sources {
            rules: vec![("r.cedar".to_owned(), rules.to_owned())],
            tests: vec![("r.test.toml".to_owned(), tests.to_owned())],
        };
        let tried = tried(&sources, None).unwrap();
        let text = told(&tried.runs);
        assert!(text.starts_with("FAIL  r.test.toml  1 of 2\n  \"b␛\"  r.test.toml:"), "{text}");
        assert!(text.contains("expected   deny\n      got        allow by \"reads\"\n"), "{text}");
        assert_eq!(exercised(&tried), "rules exercised: 1 of 2 (50 %); never exercised: \"idle\"");
        let table = table(&tried.runs);
        assert_eq!((table.rows.len(), &table.rows[0][3], &table.rows[1][3]), (2, &json!(true), &json!(false)));
    }
}
