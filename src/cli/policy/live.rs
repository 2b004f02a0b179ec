//! Rules held against a target that is there: what its login may do that the rules promise nobody does.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::super::assembly::target_of;
use super::super::render::{Lines, shown};
use super::{Exit, Stop};
use crate::config::{self, Config};
use crate::gateway;
use crate::gateway::inspection::{Finding, Inspected, findings, inspect};
use crate::policy::{Place, Policy};

/// A target and what was seen of its databases.
#[derive(Debug)]
pub(super) struct Live {
    target: gateway::Target,
    pub(super) seen: Vec<(Place, Inspected)>,
}

/// A finding and where it is.
#[derive(Debug)]
pub(super) struct Found {
    place: Place,
    finding: Finding,
}

impl Live {
    /// Looks at the databases of a target.
    ///
    /// # Errors
    ///
    /// There is no such target, its secrets cannot be read, or a database is away.
    pub(super) fn look(config: &Config, name: &str, asked: &[String], policy: &Policy) -> Result<Self, Stop> {
        let described = config.targets.iter().find(|target| target.name == name);
        let known = || config.targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ");
        let described = described.ok_or_else(|| Stop {
            exit: Exit::NotFound,
            problems: vec![format!("the configuration has no target \"{name}\"; it has: {}", known())],
        })?;
        let target = target_of(described).map_err(Stop::invalid)?;
        let databases = if asked.is_empty() { databases(&target, policy) } else { real(described, asked) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Stop {
            exit: Exit::Unexpected,
            problems: vec![format!("the runtime could not be started: {error}")],
        })?;
        let mut live = Self { target, seen: Vec::new() };
        let mut away = Vec::new();
        for database in databases {
            match runtime.block_on(inspect(&live.target, &database)) {
                Ok(seen) => live.seen.push((place(&live.target, database), seen)),
                Err(error) => away.push(format!("target.{name}: the database \"{database}\": {error}")),
            }
        }
        if away.is_empty() { Ok(live) } else { Err(Stop { exit: Exit::DependencyAway, problems: away }) }
    }

    /// Everything that is found, in the order of the databases.
    pub(super) fn findings(&self, policy: &Policy) -> Vec<Found> {
        let found = |(place, seen): &(Place, Inspected)| {
            let at = place.clone();
            findings(seen, policy, place).into_iter().map(move |finding| Found { place: at.clone(), finding })
        };
        self.seen.iter().flat_map(found).collect()
    }
}

impl Found {
    /// For people.
    pub(super) fn described(&self) -> String {
        let Self { place: Place { target, database, .. }, finding: Finding { what, so, instead } } = self;
        let text = |text: &str| shown(text, Lines::Shown).into_owned();
        let place = text(&format!("target.{target}, database {database}"));
        format!("finding: {}\n --> {place}\n  = so: {}\n  = help: {}\n", text(what), text(so), text(instead))
    }

    /// For programs: severity, file, line, column, length, message, help.
    pub(super) fn row(&self) -> Vec<Value> {
        let Self { place, finding } = self;
        let file = format!("target.{}/{}", place.target, place.database);
        let message = format!("{}: {}", finding.what, finding.so);
        vec![
            json!("finding"),
            json!(file),
            Value::Null,
            Value::Null,
            Value::Null,
            json!(message),
            json!(finding.instead),
        ]
    }
}

/// Tells in the log, at the start, what a target's login undermines. Nothing waits for it.
pub(in crate::cli) async fn tell(target: gateway::Target, policy: Arc<Policy>, stop: CancellationToken) {
    for database in databases(&target, &policy) {
        let Some(seen) = stop.run_until_cancelled(inspect(&target, &database)).await else { return };
        match seen {
            Ok(seen) => {
                let (policy, place) = (Arc::clone(&policy), place(&target, database.clone()));
                // A thousand rules and tables are seconds of work.
                let found = tokio::task::spawn_blocking(move || findings(&seen, &policy, &place)).await;
                for Finding { what, so, instead } in found.unwrap_or_default() {
                    tracing::warn!(target = target.name, database, what, so, instead, "the login undermines the rules");
                }
            }
            // Which databases there are is a guess; sessions say it louder when one that they want is away.
            Err(error) => {
                tracing::info!(target = target.name, database, %error, "what the login may do was not looked at");
            }
        }
    }
}

/// The databases to look at: those that the target lists, else those that rules name, else the one of its name.
fn databases(target: &gateway::Target, policy: &Policy) -> BTreeSet<String> {
    let listed: BTreeSet<String> = target.databases.values().cloned().collect();
    let named = || policy.databases_of(&target.name);
    let found = if listed.is_empty() { named() } else { listed };
    if found.is_empty() { [target.name.clone()].into() } else { found }
}

/// By the names that they have at the target.
fn real(target: &config::Target, asked: &[String]) -> BTreeSet<String> {
    asked.iter().map(|name| target.databases.get(name).unwrap_or(name).clone()).collect()
}

fn place(target: &gateway::Target, database: String) -> Place {
    Place { target: target.name.clone(), database, database_user: target.credentials.user.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_shown_without_anything_that_a_terminal_acts_on() {
        let place = Place { target: "t".to_owned(), database: "d\u{1b}[2J".to_owned(), database_user: "u".to_owned() };
        let [what, so, instead] = ["a \"\u{202e}b\" is so", "this follows", "do that"].map(str::to_owned);
        let found = Found { place, finding: Finding { what, so, instead } };
        let expected =
            "finding: a \"⟨U+202E⟩b\" is so\n --> target.t, database d␛[2J\n  = so: this follows\n  = help: do that\n";
        assert_eq!(found.described(), expected);
        assert_eq!(found.row().len(), 7);
    }
}
