//! What names mean in one session: the database's catalog, and whether the session still has the search path that it
//! began with.
//!
//! Promises: what may have changed the path makes it unknown for the rest of the session, and then a name without schema
//! means each object that has it; what a text does is resolved once for each catalog.

use std::collections::HashMap;
use std::sync::Arc;

use super::Site;
use crate::model::{Action, Catalog, Effect, Facts, Kind, ObjectKind, Session};
use crate::sql::resolve;
use crate::wire::postgres::parameters;

/// Texts whose resolved facts a session remembers; an application has some dozens.
const MAX_REMEMBERED: usize = 1_024;

/// Facts that hold more names than this are made each time: a thousand of the largest would be hundreds of megabytes, and
/// statements that are sent again and again name some dozens.
pub(super) const MAX_NAMES: usize = 500;

/// Settings that lead names elsewhere: the path, and the role whose own schema may be in it.
const LEADS: &[&str] = &["search_path", "schema", "role", "session_authorization"];

/// Functions of the server that applications call and that set nothing. Without schema they are the server's own as long
/// as the catalog knows no other of their name.
const SETTLED: &[&str] = &["nextval", "currval", "lastval", "setval", "pg_notify", "pg_sleep"];

/// Names of one session.
#[derive(Debug)]
pub(super) struct Names<'a> {
    site: &'a Site,
    database: &'a str,
    path_is_known: bool,
    /// Whether something was defined in the transaction that is open.
    defines: bool,
    /// By which catalog and path the remembered facts were resolved.
    by: Option<(Arc<Catalog>, bool)>,
    /// By where the text's own facts lie; they are kept beside what was made of them, so that nothing else comes to lie
    /// there.
    remembered: HashMap<usize, (Arc<Facts>, Arc<Facts>)>,
}

impl<'a> Names<'a> {
    /// The session begins, with these startup parameters.
    pub(super) fn new(site: &'a Site, session: &'a Session, startup: &[(String, String)]) -> Self {
        let settings = parameters::settings(startup);
        let leads = settings.map_or(true, |settings| settings.iter().any(|(name, _)| LEADS.contains(&name.as_str())));
        let remembered = HashMap::new();
        Self { site, database: &session.database, path_is_known: !leads, defines: false, by: None, remembered }
    }

    /// What a text does here. Without a catalog: what the text says.
    pub(super) fn resolved(&mut self, facts: &Arc<Facts>, transaction: char) -> Arc<Facts> {
        let catalogs = &self.site.memory.catalogs;
        if self.defines {
            self.after_definition(facts, transaction);
        }
        let known = catalogs.current(&self.site.target, self.database);
        // Forgotten for another database's sake: what this session knows is better than nothing.
        let known = known.or_else(|| self.by.as_ref().map(|(by, _)| Arc::clone(by)));
        let Some(catalog) = known else { return Arc::clone(facts) };
        let same = |(by, path): &(Arc<Catalog>, bool)| Arc::ptr_eq(by, &catalog) && *path == self.path_is_known;
        if !self.by.as_ref().is_some_and(same) || self.remembered.len() >= MAX_REMEMBERED {
            self.by = Some((Arc::clone(&catalog), self.path_is_known));
            self.remembered.clear();
        }
        let key = Arc::as_ptr(facts).addr();
        if let Some((_, resolved)) = self.remembered.get(&key) {
            return Arc::clone(resolved);
        }
        let resolved = Arc::new(resolve(facts, &catalog, self.path_is_known));
        if resolved.names() <= MAX_NAMES {
            self.remembered.insert(key, (Arc::clone(facts), Arc::clone(&resolved)));
        }
        resolved
    }

    /// The session has defined something. Before it does something else with it, a look is taken that sees it; further
    /// definitions do not wait, and in a transaction there is nothing to see for anybody else.
    fn after_definition(&mut self, facts: &Facts, transaction: char) {
        let catalogs = &self.site.memory.catalogs;
        match (transaction, facts.kind) {
            ('I', Kind::Ddl | Kind::Transaction | Kind::Session) => {}
            ('I', _) => {
                let look = catalogs.look_now(&self.site.target, self.database);
                tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(look));
                self.defines = false;
            }
            // It may be the COMMIT.
            (_, Kind::Transaction) => catalogs.defined(self.database),
            _ => {}
        }
    }

    /// Something is about to run.
    pub(super) fn learn(&mut self, facts: &Facts, transaction: char) {
        if facts.effects.iter().any(|effect| matches!(effect.action, Action::Ddl | Action::Unparsed)) {
            self.defines = true;
            if transaction == 'I' {
                self.site.memory.catalogs.defined(self.database);
            }
        }
        self.path_is_known &= !facts.effects.iter().any(leads);
    }
}

/// Whether an effect may change what names mean.
fn leads(effect: &Effect) -> bool {
    match (effect.action, &effect.object) {
        (Action::Unparsed, _) | (Action::SetUnsafe, None) => true,
        // A function may set anything, one of the server's own too if it runs a text.
        (Action::Call, Some(function)) => function.schema.is_some() || !SETTLED.contains(&function.name.as_str()),
        (Action::Session | Action::SetUnsafe, Some(setting)) => {
            setting.kind == ObjectKind::Setting && LEADS.contains(&setting.name.as_str())
        }
        _ => false,
    }
}
