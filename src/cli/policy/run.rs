//! Rules as they come into force: read, checked, and put to their own tests. The recorder, its reloads and the tools for
//! authors all go this way.

use std::collections::BTreeSet;

use super::cases::{Ran, Suite};
use super::sources::Sources;
use super::trial::Claims;
use crate::config::Config;
use crate::policy::{Policy, PolicyProblem};

/// Failed cases that a refusal names; the rest is counted.
const NAMED: usize = 3;

/// A file of tests and what became of its cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SuiteRun {
    pub(super) file: String,
    pub(super) cases: Vec<Ran>,
}

/// Rules, and how their tests went.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) policy: Policy,
    pub(super) runs: Vec<SuiteRun>,
}

/// Reads rules and their tests and runs those.
///
/// # Errors
///
/// Every problem of the rules; without any, every problem of the tests.
pub(super) fn tried(sources: &Sources, config: Option<&Config>) -> Result<Tried, Vec<PolicyProblem>> {
    let policy = Policy::load(&sources.rules)?;
    let undeclared = config.map(|config| policy.undeclared(&config.kept_claims())).unwrap_or_default();
    if !undeclared.is_empty() {
        return Err(undeclared);
    }
    let claims = Claims::of(config);
    let (mut runs, mut problems) = (Vec::new(), Vec::new());
    for (file, text) in &sources.tests {
        match Suite::read(file, text, &policy) {
            Ok(suite) => runs.push(SuiteRun { file: suite.file.clone(), cases: suite.run(&policy, &claims) }),
            Err(mut found) => problems.append(&mut found),
        }
    }
    if problems.is_empty() { Ok(Tried { policy, runs }) } else { Err(problems) }
}

impl Tried {
    /// The rules, if every test passed.
    ///
    /// # Errors
    ///
    /// Which tests did not.
    fn passed(self) -> Result<Policy, Vec<String>> {
        let failed: Vec<String> = self
            .runs
            .iter()
            .flat_map(|run| run.cases.iter().filter(|case| !case.passed).map(move |case| (&run.file, case)))
            .map(|(file, case)| {
                let Ran { line, name, expected, got, .. } = case;
                format!("{file}:{line}: the test \"{name}\" fails: expected {expected}, got {got}")
            })
            .collect();
        if failed.is_empty() {
            return Ok(self.policy);
        }
        let more = failed.len().saturating_sub(NAMED);
        let mut said: Vec<String> = failed.into_iter().take(NAMED).collect();
        if more > 0 {
            said.push(format!("and {more} more"));
        }
        Err(said)
    }

    /// The names of the rules that no test's decision named, in the order of the files.
    pub(super) fn never_exercised(&self) -> Vec<&str> {
        let named: BTreeSet<&str> = self
            .runs
            .iter()
            .flat_map(|run| &run.cases)
            .flat_map(|case| case.rules.iter().map(|rule| rule.reported().unwrap_or(&rule.0)))
            .collect();
        self.policy.written().iter().map(|rule| rule.id.as_str()).filter(|id| !named.contains(id)).collect()
    }
}

/// The rules that come into force by this configuration, if nothing is wrong with them and their own tests pass.
///
/// # Errors
///
/// Everything that is wrong.
pub(in crate::cli) fn for_force(sources: &Sources, config: &Config) -> Result<Policy, Vec<String>> {
    let said = |problems: Vec<PolicyProblem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    tried(sources, Some(config)).map_err(said)?.passed()
}
