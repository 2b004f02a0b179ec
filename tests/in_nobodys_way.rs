//! Promise 6: in nobody's way. Any client that works without Hansard works with it.
//!
//! PostgreSQL's own suite (`pg_regress` and `isolationtester`, with the scripts of Debian's source package that
//! `make setup-test` fetches) runs twice: first past Hansard, which gives what is expected, to the letter, of this server
//! and this psql; then through it, under rules that permit everything, what is not understood included. What differs is
//! named, with its reason, in `in_nobodys_way/differences.rs`, line by line; nothing else may differ, and what is named
//! must. A difference of the second schedule, which is about who waits for whom, is one if it comes twice.

#![expect(clippy::unwrap_used, reason = "a helper of a test that fails says so by panicking")]

mod support;

#[path = "in_nobodys_way/differences.rs"]
mod differences;
#[path = "in_nobodys_way/suite.rs"]
mod suite;

use std::io::Write;

use differences::{Difference, ISOLATION, REGRESSION};
use suite::{Run, Suite};
use support::{Hansard, Issuer, Login, Postgres, Store};

/// Everything is permitted: what is at issue is the way, not the rules.
const RULES: &str = "@id(\"everything\") permit (principal, action, resource);\n";

/// What PostgreSQL's own set-up of the suite gives a server beside the tests' usual settings.
const SETTINGS: &[(&str, &str)] = &[("max_prepared_transactions", "10"), ("log_statement", "none")];

/// Tests in the schedules of PostgreSQL 15: 217 and 108. Fewer would be another suite, or half of one.
const REGRESSION_TESTS: usize = 200;
const ISOLATION_TESTS: usize = 100;

#[test]
fn postgresqls_own_suite_sees_no_difference_but_those_that_are_named() {
    let suite = match Suite::find() {
        Ok(suite) => suite,
        Err(why) => {
            // Past the capture of what passing tests print: that it was not run is to be seen.
            writeln!(std::io::stderr(), "\nNOT RUN: PostgreSQL's own suite: {why}\n").unwrap();
            return;
        }
    };
    let (regression, isolation) = through(&suite, past(&suite));
    let mut wrong = compare("regression", &[regression], REGRESSION, REGRESSION_TESTS);
    wrong.extend(compare("isolation", &isolation, ISOLATION, ISOLATION_TESTS));
    assert!(wrong.is_empty(), "{} differences that are not named, or not there:\n{}", wrong.len(), wrong.join("\n"));
}

/// Both schedules past Hansard.
fn past(suite: &Suite) -> (Run, Run) {
    let postgres = Postgres::start_with(SETTINGS);
    let login = postgres.superuser();
    (suite.regression(&login, None), suite.isolation(&login, None))
}

/// Both schedules through Hansard, held against what they gave past it; the second once more if something differs.
///
/// Its tester looks every 10 ms whether a session waits: what a busy machine has it see differs by the moment, whatever
/// the way. What is ours differs again.
fn through(suite: &Suite, (regression, isolation): (Run, Run)) -> (Run, Vec<Run>) {
    let waiting = |login: &Login| suite.isolation(login, Some(&isolation));
    let (run, first) = by_hansard(|login| (suite.regression(login, Some(&regression)), waiting(login)));
    let again = (!first.differences().is_empty()).then(|| by_hansard(waiting));
    (run, [Some(first), again].into_iter().flatten().collect())
}

/// Runs something through a Hansard and before a server of its own.
fn by_hansard<T>(run: impl FnOnce(&Login) -> T) -> T {
    let postgres = Postgres::start_with(SETTINGS);
    let hansard = Hansard::start_before(&postgres, Store::Folder, RULES, Issuer::shared());
    run(&Login { user: postgres.superuser().user, ..hansard.login("dev", "") })
}

/// What is wrong with runs through Hansard, in lines: what each of them shows.
fn compare(name: &str, runs: &[Run], named: &[Difference], at_least: usize) -> Vec<String> {
    let mut wrong = Vec::new();
    for run in runs.iter().filter(|run| run.tests() < at_least) {
        wrong.push(format!("{name}: only {} tests ran:\n{}", run.tests(), run.said()));
    }
    let run = runs.last().unwrap();
    let stays = |test: &String| runs.iter().all(|run| run.differences().contains_key(test));
    for (test, lines) in run.differences().into_iter().filter(|(test, _)| stays(test)) {
        let expected = named.iter().find(|difference| difference.test == test).map_or(&[][..], |found| found.lines);
        if lines != expected {
            wrong.push(format!("{name}/{test} differs by\n{}", lines.join("\n")));
        }
    }
    let absent = named.iter().filter(|difference| !run.differences().contains_key(difference.test));
    wrong.extend(absent.map(|difference| format!("{name}/{} does not differ any more", difference.test)));
    wrong
}
