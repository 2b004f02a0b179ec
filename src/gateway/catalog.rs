//! What is known of the databases behind a target: looked at when the first session comes, again when it has become old,
//! and soon after a statement that defines something.
//!
//! Promises: a session begins with a look that is no older than [`OLD`], or waits for one; looking again holds up no
//! statement but the first that a session runs after it has defined something, and that one waits for a look that began
//! afterwards; each login has looks of its own, because names lead elsewhere for another user, and a definition by one makes
//! those of all due; looks at one database follow each other, so none is replaced by an older one; nobody is connected to a
//! database for the catalog's sake while no session is. Where a look fails, which is logged each time, what was known stays;
//! if nothing was, statements that name something are not understood.
//!
//! Rejected: a look at a fixed interval whether anybody is there or not (a database that sleeps would be woken up), and
//! waiting for a look after each definition (it is not visible before its transaction ends, and a migration has hundreds).

pub(super) mod asking;
mod look;
mod questions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex as Turn;
use tokio::time::Instant;

use super::Target;
use crate::model::Catalog;

/// A look is taken again after this long: definitions that do not come through us are seen that late.
const OLD: Duration = Duration::from_secs(30);
/// For this long after a definition looks are taken again and again: its transaction may still be open.
const UNSETTLED: Duration = Duration::from_secs(3);
/// But not more often than this.
const APART: Duration = Duration::from_millis(250);
/// How long a session that defined something waits for a look before it goes on.
const PATIENCE: Duration = Duration::from_secs(2);
/// Databases that are remembered, each once for every login. Each is some megabytes; with one more, the one that was looked at longest ago is
/// forgotten. Its sessions go on with what they know and have it looked at again.
const MAX_DATABASES: usize = 64;

/// What is known, by login and database.
#[derive(Debug, Default)]
pub(super) struct Catalogs {
    databases: Mutex<HashMap<Seen, Known>>,
}

/// Which database, and by whose eyes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen {
    user: String,
    database: String,
}

#[derive(Debug, Default)]
struct Known {
    catalog: Option<Arc<Catalog>>,
    /// When the last look began.
    looked: Option<Instant>,
    defined: Option<Instant>,
    /// Held by whoever looks.
    turn: Arc<Turn<()>>,
}

impl Known {
    fn is_due(&self, now: Instant) -> bool {
        let Some(looked) = self.looked else { return true };
        let unsettled = self.defined.is_some_and(|defined| looked < defined + UNSETTLED);
        now >= looked + if unsettled { APART } else { OLD }
    }
}

impl Catalogs {
    /// Something of what is known of a database.
    fn of<T>(&self, target: &Target, database: &str, ask: impl FnOnce(&mut Known) -> T) -> T {
        let seen = Seen { user: target.credentials.user.clone(), database: database.to_owned() };
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        if databases.len() >= MAX_DATABASES && !databases.contains_key(&seen) {
            let oldest = databases.iter().min_by_key(|(_, known)| known.looked).map(|(seen, _)| seen.clone());
            oldest.map(|seen| databases.remove(&seen));
        }
        ask(databases.entry(seen).or_default())
    }

    /// A session begins: looks if nobody has, or if it was long ago, and waits for it. If somebody is at it, waits for that.
    pub(super) async fn prepare(&self, target: &Target, database: &str) {
        let is_due = |known: &mut Known| known.catalog.is_none() || known.is_due(Instant::now());
        if !self.of(target, database, is_due) {
            return;
        }
        let turn = self.of(target, database, |known| Arc::clone(&known.turn));
        let _turn = turn.lock().await;
        // A look that failed a moment ago would fail again.
        if self.of(target, database, |known| known.is_due(Instant::now())) {
            self.look(target, database).await;
        }
    }

    /// What is known now. If it is time, a look is taken meanwhile.
    pub(super) fn current(self: &Arc<Self>, target: &Target, database: &str) -> Option<Arc<Catalog>> {
        let (catalog, turn) = self.of(target, database, |known| {
            let due = known.is_due(Instant::now()).then(|| Arc::clone(&known.turn).try_lock_owned().ok());
            (known.catalog.clone(), due.flatten())
        });
        if let Some(turn) = turn {
            let (catalogs, target, database) = (Arc::clone(self), target.clone(), database.to_owned());
            tokio::spawn(async move {
                catalogs.look(&target, &database).await;
                drop(turn);
            });
        }
        catalog
    }

    /// Takes a look that begins now and waits for it, but not for longer than [`PATIENCE`].
    pub(super) async fn look_now(&self, target: &Target, database: &str) {
        let look = async {
            let turn = self.of(target, database, |known| Arc::clone(&known.turn));
            let _turn = turn.lock().await;
            self.look(target, database).await;
        };
        if tokio::time::timeout(PATIENCE, look).await.is_err() {
            tracing::warn!(target = target.name, database, "a look at the catalog took too long to wait for");
        }
    }

    /// Something is being defined in a database.
    pub(super) fn defined(&self, database: &str) {
        let mut databases = self.databases.lock().unwrap_or_else(PoisonError::into_inner);
        let of_all = databases.iter_mut().filter(|(seen, _)| seen.database == database);
        of_all.for_each(|(_, known)| known.defined = Some(Instant::now()));
    }

    /// To be called by who has the turn.
    async fn look(&self, target: &Target, database: &str) {
        let before = self.of(target, database, |known| {
            known.looked = Some(Instant::now());
            known.catalog.clone()
        });
        let looked = look::look(target, database, before).await;
        self.of(target, database, |known| match looked {
            Ok(catalog) => {
                tracing::debug!(target = target.name, database, relations = catalog.relations.len(), "catalog read");
                // The same look is the same value: what was resolved by it stays resolved.
                if known.catalog.as_deref() != Some(&catalog) {
                    known.catalog = Some(Arc::new(catalog));
                }
            }
            Err(error) => {
                let has_old = known.catalog.is_some();
                tracing::warn!(target = target.name, database, %error, has_old, "the database's catalog was not read");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_due_at_first_when_it_is_old_and_often_after_a_definition() {
        let begin = Instant::now();
        let mut known = Known::default();
        assert!(known.is_due(begin));
        known.looked = Some(begin);
        assert!(!known.is_due(begin + OLD / 2) && known.is_due(begin + OLD));
        known.defined = Some(begin);
        assert!(!known.is_due(begin + APART / 2) && known.is_due(begin + APART));
        known.looked = Some(begin + UNSETTLED);
        assert!(!known.is_due(begin + UNSETTLED + APART));
    }

    #[tokio::test]
    async fn a_session_that_begins_while_somebody_looks_for_the_first_time_waits_for_that_look() {
        let target = crate::gateway::site::tests::target();
        let catalogs = Catalogs::default();
        let turn = catalogs.of(&target, "db", |known| Arc::clone(&known.turn)).lock_owned().await;
        catalogs.of(&target, "db", |known| known.looked = Some(Instant::now()));
        let mut begins = Box::pin(catalogs.prepare(&target, "db"));
        assert!(futures::FutureExt::now_or_never(&mut begins).is_none(), "it begins without knowing a name");
        catalogs.of(&target, "db", |known| known.catalog = Some(Arc::default()));
        drop(turn);
        begins.await;
        assert!(catalogs.of(&target, "db", |known| known.catalog.is_some()));
    }

    #[test]
    fn one_database_too_many_costs_the_one_that_was_looked_at_longest_ago() {
        let (catalogs, begin) = (Catalogs::default(), Instant::now());
        let target = crate::gateway::site::tests::target();
        for number in 0..MAX_DATABASES {
            let age = Duration::from_secs(number as u64);
            catalogs.of(&target, &format!("db{number}"), |known| known.looked = Some(begin + age));
        }
        catalogs.of(&target, "one more", |known| known.looked = Some(begin));
        let kept = catalogs.databases.lock().unwrap();
        assert_eq!(kept.len(), MAX_DATABASES);
        let kept: Vec<&str> = kept.keys().map(|seen| seen.database.as_str()).collect();
        assert!(!kept.contains(&"db0") && kept.contains(&"db1") && kept.contains(&"one more"));
    }

    #[test]
    fn each_login_has_its_own_look_and_a_definition_by_one_makes_that_of_the_other_due() {
        let (catalogs, one) = (Catalogs::default(), crate::gateway::site::tests::target());
        let mut other = one.clone();
        other.credentials.user.push_str("_ro");
        let now = Instant::now();
        for target in [&one, &other] {
            assert!(catalogs.of(target, "db", |known| known.is_due(now)), "{target:?}");
            catalogs.of(target, "db", |known| known.looked = Some(now));
        }
        catalogs.defined("elsewhere");
        assert!(!catalogs.of(&other, "db", |known| known.is_due(now + APART)));
        catalogs.defined("db");
        assert!(catalogs.of(&other, "db", |known| known.is_due(now + APART)));
    }
}
