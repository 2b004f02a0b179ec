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
    pub(super) seen: Vec<(Place, Inspected)>,
}

/// A finding and where it is.
#[derive(Debug)]
pub(super) struct Found {
    place: Place,
    /// Whether another login found something else.
    of_several: bool,
    finding: Finding,
}

impl Live {
    /// Looks at the databases of a target, by the logins of this user if one is said, else by all.
    ///
    /// # Errors
    ///
    /// There is no such target or user of it, its secrets cannot be read, or a database is away.
    pub(super) fn look(
        config: &Config,
        (name, user): (&str, Option<&str>),
        asked: &[String],
        policy: &Policy,
    ) -> Result<Self, Stop> {
        let described = config.targets.iter().find(|target| target.name == name);
        let known = || config.targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ");
        let described = described.ok_or_else(|| Stop {
            exit: Exit::NotFound,
            problems: vec![format!("the configuration has no target \"{name}\"; it has: {}", known())],
        })?;
        let mut logins = target_of(described).map_err(Stop::invalid)?;
        let mut users = BTreeSet::new();
        logins.retain(|login| {
            let of = &login.credentials.user;
            user.is_none_or(|user| of == user) && users.insert(of.clone())
        });
        if logins.is_empty() {
            let users: Vec<&str> = described.logins.iter().map(|login| login.user.as_str()).collect();
            let problems = vec![format!("target.{name}: no login is of that user; there are: {}", users.join(", "))];
            return Err(Stop { exit: Exit::NotFound, problems });
        }
        let looks = logins.iter().flat_map(|login| {
            let databases = if asked.is_empty() { databases(login, policy) } else { real(described, asked) };
            databases.into_iter().map(move |database| (login, database))
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Stop {
            exit: Exit::Unexpected,
            problems: vec![format!("the runtime could not be started: {error}")],
        })?;
        let mut live = Self { seen: Vec::new() };
        let mut away = Vec::new();
        for (login, database) in looks {
            match runtime.block_on(inspect(login, &database)) {
                Ok(seen) => live.seen.push((place(login, database), seen)),
                Err(error) => {
                    let user = if logins.len() > 1 { of_user(&login.credentials.user) } else { String::new() };
                    away.push(format!("target.{name}: the database \"{database}\"{user}: {error}"));
                }
            }
        }
        if away.is_empty() { Ok(live) } else { Err(Stop { exit: Exit::DependencyAway, problems: away }) }
    }

    /// Everything that is found, in the order of the databases.
    pub(super) fn findings(&self, policy: &Policy) -> Vec<Found> {
        let of_several = self.has_users();
        let found = |(place, seen): &(Place, Inspected)| {
            let at = place.clone();
            findings(seen, policy, place).into_iter().map(move |finding| Found {
                place: at.clone(),
                of_several,
                finding,
            })
        };
        self.seen.iter().flat_map(found).collect()
    }

    fn has_users(&self) -> bool {
        let mut users = self.seen.iter().map(|(place, _)| &place.database_user);
        users.next().is_some_and(|first| users.any(|other| other != first))
    }
}

/// By which of several logins.
fn of_user(user: &str) -> String {
    format!(" as \"{user}\"")
}

impl Found {
    fn user(&self) -> String {
        if self.of_several { of_user(&self.place.database_user) } else { String::new() }
    }

    /// For people.
    pub(super) fn described(&self) -> String {
        let Self { place: Place { target, database, .. }, finding: Finding { what, so, instead }, .. } = self;
        let text = |text: &str| shown(text, Lines::Shown).into_owned();
        let place = text(&format!("target.{target}, database {database}{}", self.user()));
        format!("finding: {}\n --> {place}\n  = so: {}\n  = help: {}\n", text(what), text(so), text(instead))
    }

    /// For programs: severity, file, line, column, length, message, help.
    pub(super) fn row(&self) -> Vec<Value> {
        let Self { place, finding, .. } = self;
        let file = format!("target.{}/{}{}", place.target, place.database, self.user());
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
                    let user = &target.credentials.user;
                    tracing::warn!(
                        target = target.name,
                        database,
                        user,
                        what,
                        so,
                        instead,
                        "the login undermines the rules"
                    );
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
        let found = Found { place, of_several: false, finding: Finding { what, so, instead } };
        let expected =
            "finding: a \"⟨U+202E⟩b\" is so\n --> target.t, database d␛[2J\n  = so: this follows\n  = help: do that\n";
        assert_eq!(found.described(), expected);
        assert_eq!(found.row().len(), 7);
    }
}
