//! What is known of the databases behind a target: looked at when the first session comes, again when it has become old,
//! and soon after a statement that defines something.
//!
//! Promises: a session begins with a look that is no older than [`OLD`], or without any, which is logged and makes rules
//! assume the worst of every name; looking again holds up no statement but the first that a session runs after it has
//! defined something; nobody is connected to a database for the catalog's sake while no session is.
//!
//! Rejected: a look at a fixed interval whether anybody is there or not (a database that sleeps would be woken up), and
//! waiting for a look after each definition (it is not visible before its transaction ends, and a migration has hundreds).

mod look;
mod questions;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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
/// Databases that are remembered. Each is some megabytes; a target with more forgets all and looks again.
const MAX_DATABASES: usize = 64;

/// What is known, by database.
#[derive(Debug, Default)]
pub(super) struct Catalogs {
    databases: Mutex<HashMap<String, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    catalog: Option<Arc<Catalog>>,
    /// When the last look began.
    looked: Option<Instant>,
    is_looking: bool,
    defined: Option<Instant>,
}

impl Known {
    fn is_due(&self, now: Instant) -> bool {
        let Some(looked) = self.looked else { return true };
        let unsettled = self.defined.is_some_and(|defined| looked < defined + UNSETTLED);
        !self.is_looking && now >= looked + if unsettled { APART } else { OLD }
    }
}

impl Catalogs {
    fn databases(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.databases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks if nobody has, or if it was long ago, and waits for it.
    pub(super) async fn prepare(&self, target: &Target, database: &str) {
        let begins = {
            let mut databases = self.databases();
            if databases.len() >= MAX_DATABASES && !databases.contains_key(database) {
                databases.clear();
            }
            let known = databases.entry(database.to_owned()).or_default();
            known.is_due(Instant::now()).then(|| known.begin())
        };
        if begins.is_some() {
            self.look(target, database).await;
        }
    }

    /// What is known now. If it is time, a look is taken meanwhile.
    pub(super) fn current(self: &Arc<Self>, target: &Target, database: &str) -> Option<Arc<Catalog>> {
        let mut databases = self.databases();
        let known = databases.get_mut(database)?;
        if known.is_due(Instant::now()) {
            known.begin();
            let (catalogs, target, database) = (Arc::clone(self), target.clone(), database.to_owned());
            tokio::spawn(async move { catalogs.look(&target, &database).await });
        }
        known.catalog.clone()
    }

    /// Looks now and waits for it, but not for longer than [`PATIENCE`].
    pub(super) async fn look_now(&self, target: &Target, database: &str) {
        self.databases().entry(database.to_owned()).or_default().begin();
        if tokio::time::timeout(PATIENCE, self.look(target, database)).await.is_err() {
            tracing::warn!(target = target.name, database, "a look at the catalog took too long to wait for");
            if let Some(known) = self.databases().get_mut(database) {
                known.is_looking = false;
            }
        }
    }

    /// Something is being defined in a database.
    pub(super) fn defined(&self, database: &str) {
        if let Some(known) = self.databases().get_mut(database) {
            known.defined = Some(Instant::now());
        }
    }

    /// What was known stays if the look fails: an old look is better than none.
    async fn look(&self, target: &Target, database: &str) {
        let looked = look::look(target, database).await;
        let mut databases = self.databases();
        let Some(known) = databases.get_mut(database) else { return };
        known.is_looking = false;
        match looked {
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
        }
    }
}

impl Known {
    fn begin(&mut self) {
        self.is_looking = true;
        self.looked = Some(Instant::now());
    }
}
