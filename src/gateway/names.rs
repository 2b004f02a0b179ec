//! What names mean in one session: the database's catalog, and whether the session still has the search path that it
//! began with.
//!
//! Promises: what may have changed the path makes it unknown for the rest of the session, and then a name without schema
//! means each object that has it; what a text does is resolved once for each catalog.

use std::sync::Arc;

use super::Site;
use crate::model::{Action, Effect, Facts, Kind, ObjectKind, Session};
use crate::sql::{Resolver, in_the_dark};
use crate::wire::postgres::parameters;

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
    resolver: Resolver,
}

impl<'a> Names<'a> {
    /// The session begins, with these startup parameters.
    pub(super) fn new(site: &'a Site, session: &'a Session, startup: &[(String, String)]) -> Self {
        let settings = parameters::settings(startup);
        let leads = settings.map_or(true, |settings| settings.iter().any(|(name, _)| LEADS.contains(&name.as_str())));
        let (database, resolver) = (&session.database, Resolver::default());
        Self { site, database, path_is_known: !leads, defines: false, resolver }
    }

    /// What a text does here. Without a catalog, what names something is not understood.
    pub(super) fn resolved(&mut self, facts: &Arc<Facts>, transaction: char) -> Arc<Facts> {
        let catalogs = &self.site.memory.catalogs;
        if self.defines {
            self.after_definition(facts, transaction);
        }
        let known = catalogs.current(&self.site.target, self.database);
        // Forgotten for another database's sake: what this session knows is better than nothing.
        let Some(catalog) = known.or_else(|| self.resolver.catalog()) else { return Arc::new(in_the_dark(facts)) };
        self.resolver.resolved(facts, &catalog, self.path_is_known)
    }

    /// Schema and name of a function that is not the server's own.
    pub(super) fn function(&self, number: u32) -> Option<(String, String)> {
        let known = self.site.memory.catalogs.current(&self.site.target, self.database);
        known.or_else(|| self.resolver.catalog())?.routines_by_number.get(&number).cloned()
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

/// Whether an effect may set anything in its session.
pub(super) fn may_set_anything(effect: &Effect) -> bool {
    match (effect.action, &effect.object) {
        (Action::Unparsed, _) | (Action::SetUnsafe, None) => true,
        // A function may set anything, one of the server's own too if it runs a text.
        (Action::Call, Some(function)) => function.schema.is_some() || !SETTLED.contains(&function.name.as_str()),
        _ => false,
    }
}

/// Whether an effect may change what names mean.
fn leads(effect: &Effect) -> bool {
    match (effect.action, &effect.object) {
        _ if may_set_anything(effect) => true,
        (Action::Session | Action::SetUnsafe, Some(setting)) => {
            setting.kind == ObjectKind::Setting && LEADS.contains(&setting.name.as_str())
        }
        _ => false,
    }
}
