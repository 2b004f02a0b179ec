//! What every session of a target shares.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use zeroize::Zeroizing;

use super::budget::Budget;
use super::cancel::Cancels;
use super::catalog::Catalogs;
use super::counters::Counters;
use super::keyring::Keyring;
use super::logins::Whose;
use super::patience::Patience;
use super::roster::Roster;
use super::tls::Renewable;
use crate::identity::{TokenSource, Verifier};
use crate::journal::Journal;
use crate::model::{Clock, Ids, NodeName, Recorded};
use crate::policy::{InForce, Place};
use crate::sql;
pub use crate::wire::postgres::handshake::Proof;

/// Our own login at a target.
#[derive(Clone)]
pub struct Credentials {
    /// The database user.
    pub user: String,
    /// What it shows.
    pub(super) shown: Shown,
    /// The least that the database must ask of us.
    pub(super) required: Proof,
    pub(super) keyring: Arc<Keyring>,
}

impl Credentials {
    /// A user, what it shows, and the least that a database must ask of us before it gets anything.
    pub fn new(user: String, shown: Shown, required: Proof) -> Self {
        Self { user, shown, required, keyring: Arc::default() }
    }
}

/// What a login shows to the database.
#[derive(Clone)]
pub enum Shown {
    /// A password.
    Password(Zeroizing<String>),
    /// A token that is had of an issuer when it is needed. It leaves over verified TLS only.
    Token(Arc<TokenSource>),
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password(_) => f.write_str("Password(…)"),
            Self::Token(source) => write!(f, "Token({source:?})"),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.user)
    }
}

/// How the way to a target is protected.
#[derive(Debug, Clone)]
pub enum UpstreamTls {
    /// TLS; authority and name are verified.
    VerifyFull(Arc<Renewable<ClientConfig>>),
    /// None; for a server on loopback.
    Disable,
}

/// Where a database server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On the network.
    Tcp {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// On this machine, by a socket's path.
    Unix(PathBuf),
}

/// For the log and the record; nothing that a client reads.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Which of several servers a session goes to, as `libpq`'s `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The first that takes it.
    Any,
    /// One whose sessions can write.
    ReadWrite,
    /// One whose sessions cannot.
    ReadOnly,
    /// The primary.
    Primary,
    /// A standby.
    Standby,
    /// A standby if there is one, else any.
    PreferStandby,
}

impl Wanted {
    /// What is looked for among all addresses, and then again.
    pub(super) fn rounds(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }
}

/// What happens to a session whose token ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnTokenExpiry {
    /// It is closed when no transaction is open.
    FinishTransactionThenClose,
    /// It is closed at once.
    Close,
    /// It goes on.
    Keep,
}

/// Which sessions are opened read-only at the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadOnly {
    /// Those of people whom the rules could never permit a write there.
    ByRules,
    /// None.
    Never,
}

/// What the database's own log and lists call a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApplicationName {
    /// What its client calls itself.
    Keep,
    /// The same with the session's reference behind it.
    Session,
}

/// A named database server behind us, as one of our logins there reaches it.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Where it is: at least one address, in the order in which they are tried.
    pub addresses: Vec<Address>,
    /// Which of them a session goes to.
    pub wanted: Wanted,
    /// How the way to it is protected.
    pub tls: UpstreamTls,
    /// Our own login there.
    pub credentials: Credentials,
    /// Whose it is.
    pub whose: Whose,
    /// What clients may call a database, and what it is called there.
    pub databases: BTreeMap<String, String>,
    /// What happens to a session whose token ends.
    pub on_token_expiry: OnTokenExpiry,
    /// Which sessions are opened read-only.
    pub read_only: ReadOnly,
    /// What the database calls its sessions.
    pub application_name: ApplicationName,
    /// How far an intent comes before its statement is released.
    pub recorded: Recorded,
    /// The time limits of its sessions.
    pub patience: Patience,
    /// The longest message of a client, in bytes.
    pub max_message: usize,
}

/// What every session of a target shares that has the same login there, whichever listener it came by.
#[derive(Debug)]
pub struct Site {
    /// The recorder's name.
    pub node: NodeName,
    /// Where everything is recorded.
    pub journal: Journal,
    /// Who is let in, and goes on by a newer token.
    pub verifier: Arc<Verifier>,
    /// Who is here; shared by all targets.
    pub roster: Arc<Roster>,
    /// What its sessions may do; the rules may be replaced while sessions are open.
    pub policy: Arc<InForce>,
    /// What is behind.
    pub target: Arc<Target>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Identifiers.
    pub ids: Arc<dyn Ids>,
    /// The keys that its sessions can be cancelled by; shared by all listeners.
    pub cancels: Arc<Cancels>,
    /// What they share while they live, whatever the login.
    pub memory: Memory,
    /// The memory for their messages, shared by all targets.
    pub budget: Budget,
    /// What they have done.
    pub counters: Arc<Counters>,
}

/// What the sessions of a target share while they live: the facts of texts, and what the names in them mean.
#[derive(Debug, Clone)]
pub struct Memory {
    pub(super) facts: Arc<sql::Memory>,
    pub(super) catalogs: Arc<Catalogs>,
}

impl Default for Memory {
    fn default() -> Self {
        let facts = Arc::new(sql::Memory::new(sql::Dialect::PostgreSql));
        Self { facts, catalogs: Arc::default() }
    }
}

impl Site {
    /// Where a session to `database` goes, in the words of the rules.
    pub(super) fn place(&self, database: &str) -> Place {
        Place {
            target: self.target.name.clone(),
            database: database.to_owned(),
            database_user: self.target.credentials.user.clone(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A target that nobody listens at.
    pub(in crate::gateway) fn target() -> Target {
        Target {
            name: "app".to_owned(),
            addresses: vec![Address::Tcp { host: "127.0.0.1".to_owned(), port: 1 }],
            wanted: Wanted::Any,
            tls: UpstreamTls::Disable,
            credentials: Credentials::new("app".to_owned(), Shown::Password(Zeroizing::default()), Proof::Any),
            whose: Whose::default(),
            databases: BTreeMap::new(),
            on_token_expiry: OnTokenExpiry::Close,
            read_only: ReadOnly::Never,
            application_name: ApplicationName::Keep,
            recorded: Recorded::Flushed,
            patience: Patience::default(),
            max_message: 0,
        }
    }
}
