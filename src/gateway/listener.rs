//! A listener: how clients may come in, and which target each of them reaches.
//!
//! Promises: the same names lead to the same target every time; a client that names none of the targets is told so, after
//! its token named somebody, because strangers are not to learn which databases there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio_rustls::rustls::ServerConfig;

use super::attempts::Attempts;
use super::cancel::Cancels;
use super::counters::Counters;
use super::logins::Logins;
use super::roster::Roster;
use super::tls::Renewable;
use crate::identity::Verifier;
use crate::journal::Journal;
use crate::model::{Clock, Ids, NodeName};
use crate::wire::postgres::handshake::SignInAt;

/// What it takes to ask somebody who they are and to turn them away, wherever they want to go.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The recorder's name.
    pub node: NodeName,
    /// Where everything is recorded.
    pub journal: Journal,
    /// Who is let in.
    pub verifier: Arc<Verifier>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Identifiers.
    pub ids: Arc<dyn Ids>,
    /// The keys that sessions can be cancelled by: one and the same for all listeners.
    pub cancels: Arc<Cancels>,
    /// Who is here and who may not come back: one and the same for all listeners.
    pub roster: Arc<Roster>,
    /// Who failed to sign in lately: one and the same for all listeners.
    pub attempts: Arc<Attempts>,
    /// How long a client may take to its token, once for its startup packet and once more when it was asked.
    pub sign_in_limit: Duration,
    /// Counts those who were turned away before it was known where they want to go.
    pub counters: Arc<Counters>,
}

/// A place where clients connect.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where those are turned away who reach no target.
    pub desk: Desk,
    /// The targets behind it.
    pub routes: Routes<Arc<Logins>>,
    /// Our side of TLS.
    pub tls: Arc<Renewable<ServerConfig>>,
    /// Whether nobody comes in without a certificate of an authority that `tls` trusts.
    pub demands_certificate: bool,
    /// Where load balancers are that say by the PROXY protocol whose a connection is. From there they must.
    pub balancers: Vec<IpNet>,
    /// Whether a client on loopback may do without TLS.
    pub plain_on_loopback: bool,
    /// Where clients sign in, if they bring their tokens by SASL `OAUTHBEARER` and not as passwords.
    pub bearer: Option<SignInAt>,
}

/// One target of a listener, and by which names clients reach it.
#[derive(Debug, Clone)]
pub struct Way<T> {
    /// Where it leads.
    pub to: T,
    /// The host names by which TLS asks for it (SNI), in lower case. Without any, it is reached by the names of databases.
    pub server_names: Vec<String>,
    /// The names of databases that lead there.
    pub databases: Vec<String>,
}

/// The targets of a listener by the names that lead there. A target with host names of its own is reached by these alone;
/// of the others the database's name chooses, unless there is only one, which takes every name.
#[derive(Debug)]
pub struct Routes<T> {
    all: Vec<T>,
    by_server_name: HashMap<String, T>,
    by_database: HashMap<String, T>,
    /// The only one without host names.
    rest: Option<T>,
}

impl<T: Clone> Routes<T> {
    /// These ways. A name that two of them have leads the first of them; the configuration knows no such name.
    pub fn new(ways: Vec<Way<T>>) -> Self {
        let (mut by_server_name, mut by_database) = (HashMap::new(), HashMap::new());
        let mut without: Vec<T> = Vec::new();
        let all = ways.iter().map(|way| way.to.clone()).collect();
        for Way { to, server_names, databases } in ways {
            let is_named = !server_names.is_empty();
            for name in server_names {
                by_server_name.entry(name).or_insert_with(|| to.clone());
            }
            if is_named {
                continue;
            }
            for name in databases {
                by_database.entry(name).or_insert_with(|| to.clone());
            }
            without.push(to);
        }
        let rest = if without.len() == 1 { without.pop() } else { None };
        Self { all, by_server_name, by_database, rest }
    }

    /// Where a client gets that asked for this host by TLS, if it did, and for this database.
    pub(super) fn choose(&self, server_name: Option<&str>, database: &str) -> Option<&T> {
        let by_host = server_name.and_then(|name| self.by_server_name.get(&name.to_ascii_lowercase()));
        by_host.or(self.rest.as_ref()).or_else(|| self.by_database.get(database))
    }

    /// All of them, each once.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.all.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(to: &'static str, server_names: &[&str], databases: &[&str]) -> Way<&'static str> {
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Way { to, server_names: texts(server_names), databases: texts(databases) }
    }

    #[test]
    fn a_listener_of_one_target_takes_every_name() {
        let routes = Routes::new(vec![way("clinic", &[], &["clinic"])]);
        for (host, database) in [(None, "clinic"), (None, "other"), (Some("any.example"), ""), (None, "")] {
            assert_eq!(routes.choose(host, database), Some(&"clinic"), "{host:?} {database}");
        }
    }

    #[test]
    fn of_several_the_name_of_the_database_chooses_exactly() {
        let routes = Routes::new(vec![way("a", &[], &["a", "app"]), way("b", &[], &["b", "billing"])]);
        for (database, expected) in [
            ("a", Some(&"a")),
            ("app", Some(&"a")),
            ("billing", Some(&"b")),
            ("Billing", None),
            ("", None),
            ("unknown", None),
        ] {
            assert_eq!(routes.choose(Some("any.example"), database), expected, "{database}");
        }
        assert_eq!(routes.all().collect::<Vec<_>>(), [&"a", &"b"]);
    }

    #[test]
    fn a_target_with_a_host_name_is_reached_by_that_alone_whatever_the_case() {
        let ways = vec![way("a", &["a.example"], &["app"]), way("b", &["b.example", "b2.example"], &["app"])];
        let routes = Routes::new(ways);
        assert_eq!(routes.choose(Some("A.Example"), "app"), Some(&"a"));
        assert_eq!(routes.choose(Some("b2.example"), "a"), Some(&"b"));
        assert_eq!(routes.choose(Some("c.example"), "app"), None);
        assert_eq!(routes.choose(None, "app"), None);
    }

    #[test]
    fn the_only_one_without_a_host_name_takes_what_no_host_name_took() {
        let routes = Routes::new(vec![way("a", &["a.example"], &["a"]), way("b", &[], &["b"])]);
        assert_eq!(routes.choose(Some("a.example"), "b"), Some(&"a"));
        assert_eq!(routes.choose(Some("x.example"), "a"), Some(&"b"));
        assert_eq!(routes.choose(None, "anything"), Some(&"b"));
    }
}
