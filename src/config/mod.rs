//! The configuration: one TOML file, typed; unknown keys refused with a suggestion; all problems at once, each with its
//! place; secrets by reference only.
//!
//! The path from file to [`Config`]: [`reading`] walks the parsed tree into the sections that [`file`] declares, and
//! [`checks`] holds the sections against each other and fills in the defaults. Relative paths are relative to the
//! folder of the file. Parts have settings of their own; whoever builds them maps these values onto those. An issuer's are
//! those of `identity` as they are, because the file changes presets of its.

mod checks;
mod cluster;
mod ended;
mod ends;
mod evidence;
mod file;
mod issuers;
mod limits;
mod logins;
mod problems;
mod reading;
mod schema;
mod secret;
mod shown;
mod sign_in;
mod storage;
mod units;
mod urls;
mod values;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use crate::identity::{IssuerSettings, KeysAt};
use crate::model::{NodeName, PrincipalKind};

pub use file::{
    ApplicationName, ClientCertificates, Engine, LogFormat, LogLevel, OnTokenExpiry, Plain, ReadOnly, Recorded,
    SessionAttrs,
};
pub use logins::Require;
pub use problems::{Position, Problem, Problems};
pub use schema::schema;
pub use secret::{Revealed, Secret, SecretError};
pub use shown::{LoginProof, LoginToken, TokenIssuer, entra_endpoint};
pub use sign_in::ClientToken;
pub use units::duration;
pub use values::{Server, Upstream};

/// A configuration file is at most this long: a hundred times the longest that anybody would write by hand.
const MAX_FILE: u64 = 1024 * 1024;

/// Everything the operator decides.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The recorder's name.
    pub node: NodeName,
    /// Who may vouch for people and workloads, and what the claims of their tokens mean; at least one, by name.
    pub issuers: Vec<Issuer>,
    /// Where clients connect; at least one, by name.
    pub listeners: Vec<Listener>,
    /// The databases behind; at least one, by name.
    pub targets: Vec<Target>,
    /// Files of rules, and folders of them; at least one.
    pub policy: Vec<PathBuf>,
    /// The durable local log.
    pub journal: Journal,
    /// Where the archive is.
    pub storage: Storage,
    /// What makes the archive checkable by others.
    pub evidence: Evidence,
    /// Other recorders in front of the same databases, if any.
    pub cluster: Option<Cluster>,
    /// Where people's tools learn how to sign in, if anywhere.
    pub sign_in: Option<SignIn>,
    /// Who may look at open sessions and end them, if anybody.
    pub operators: Option<Operators>,
    /// What the program takes on at most.
    pub limits: Limits,
    /// How serving ends.
    pub drain: Drain,
    /// The log on standard error.
    pub log: Log,
    /// Where counters and health are told; absent, nowhere.
    pub metrics: Option<Metrics>,
}

/// `[issuer.NAME]` with its `[identity.NAME]`
#[derive(Debug, Clone, PartialEq)]
pub struct Issuer {
    /// How its tokens are checked, and what their claims mean.
    pub settings: IssuerSettings,
    /// What people sign in by, if they can.
    pub client: Option<IssuerClient>,
    /// How it is asked whether its tokens still hold, if it is.
    pub introspection: Option<IssuerIntrospection>,
}

/// `[issuer.NAME] introspection`
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerIntrospection {
    /// Our own client at the issuer.
    pub client_id: String,
    /// Its secret.
    pub client_secret: Secret,
    /// How often it is asked about the token of an open session.
    pub every: Duration,
}

/// `[issuer.NAME] client`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerClient {
    /// Its id at the issuer.
    pub id: String,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// For whom the token is to be, if the issuer is told.
    pub resource: Option<String>,
    /// The `prompt` of a sign-in by browser, if one is sent.
    pub prompt: Option<String>,
    /// Where browsers are sent back to: plain HTTP on loopback.
    pub redirect: String,
    /// Which of the tokens is the password.
    pub token: ClientToken,
}

/// `[sign_in]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// Address and port.
    pub address: SocketAddr,
    /// The listener whose certificate is shown; it is among the listeners.
    pub listener: String,
}

/// `[operators]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operators {
    /// Who has one of these roles; at least one.
    pub roles: Vec<String>,
    /// By these issuers, by their names in config; none: by all.
    pub issuers: Vec<String>,
}

/// `[listener.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Address and port.
    pub address: SocketAddr,
    /// How people reach it, if not by that address.
    pub public: Option<Upstream>,
    /// The targets behind it; at least one.
    pub targets: Vec<Behind>,
    /// The certificate; absent, a self-signed one is made.
    pub tls: Option<ListenerTls>,
    /// Whether a client may connect without TLS. Not [`Plain::Refuse`] only if listener and targets are on loopback.
    pub plain: Plain,
    /// Where load balancers are that say by the PROXY protocol where a client is; from there they must. Empty: nowhere.
    pub balancers: Vec<IpNet>,
    /// Where clients sign in, if they bring their tokens by SASL `OAUTHBEARER`.
    pub oauth_bearer: Option<OAuthBearer>,
}

/// `[listener.NAME] oauth_bearer`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuthBearer {
    /// The URL of the issuer's discovery document.
    pub configuration: String,
    /// What clients ask it for.
    pub scope: String,
}

/// A target behind a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// The target's name; it is among the targets.
    pub target: String,
    /// The host names that lead to it, and only to it, in lower case. Without any, the names of databases do.
    pub server_names: Vec<String>,
}

/// The certificate of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// The chain, in PEM.
    pub cert: PathBuf,
    /// The private key, in PEM.
    pub key: Secret,
    /// What is asked of clients; absent, nothing.
    pub clients: Option<ListenerClients>,
}

/// What a listener asks of clients beside the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerClients {
    /// Who vouches for their certificates.
    pub ca_file: PathBuf,
    /// Whether they must show one.
    pub certificates: ClientCertificates,
}

/// `[target.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it speaks.
    pub engine: Engine,
    /// Where it is; at least one, in the order in which they are tried.
    pub upstreams: Vec<Server>,
    /// Which of them a session goes to.
    pub session_attrs: SessionAttrs,
    /// How the way to it is protected.
    pub tls: UpstreamTls,
    /// Our own logins there; at least one. Of those that are somebody's, the first is theirs.
    pub logins: Vec<Login>,
    /// What clients may call a database, and what it is called there.
    pub databases: BTreeMap<String, String>,
    /// What happens when a token ends before its session.
    pub on_token_expiry: OnTokenExpiry,
    /// Which sessions are opened read-only.
    pub read_only: ReadOnly,
    /// What the database calls its sessions.
    pub application_name: ApplicationName,
    /// How far a statement's record comes before the statement is sent.
    pub recorded: Recorded,
    /// The time limits of its sessions.
    pub limits: SessionLimits,
    /// The longest message from a client, in bytes.
    pub max_message: u64,
}

/// `[target.NAME] login`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Our own user there.
    pub user: String,
    /// What that user shows.
    pub proof: LoginProof,
    /// The least that the server must ask of us.
    pub require: Require,
    /// Whose it is.
    pub whose: Whose,
}

/// `[target.NAME] login.whose`: who fits all that is said; what is empty says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whose {
    /// One of these roles.
    pub roles: Vec<String>,
    /// One of these groups.
    pub groups: Vec<String>,
    /// One of these subjects.
    pub subjects: Vec<String>,
    /// Tokens of one of these issuers, which are among the issuers.
    pub issuers: Vec<String>,
    /// People, or workloads.
    pub kind: Option<PrincipalKind>,
    /// Of each of these claims, one of these values as texts.
    pub claims: BTreeMap<String, Vec<String>>,
}

/// The time limits of a target's sessions; absent, something may last for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// A session of which nothing is asked, outside of a transaction.
    pub idle: Option<Duration>,
    /// The same in a transaction.
    pub idle_in_transaction: Option<Duration>,
    /// A statement.
    pub statement: Option<Duration>,
    /// A client that takes nothing of what is held for it.
    pub unread: Duration,
    /// A session as a whole.
    pub max_age: Option<Duration>,
}

/// How the way to a database server is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamTls {
    /// TLS; the authority and the name must fit.
    VerifyFull(VerifyFull),
    /// No TLS; only for a server on loopback.
    Disable,
}

/// TLS to a database server whose authority and name must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyFull {
    /// The authorities that vouch for the server; absent, the system's.
    pub ca_file: Option<PathBuf>,
    /// What we show to the server; absent, nothing.
    pub own: Option<OwnCertificate>,
}

/// A certificate that we show to a database server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The chain, in PEM.
    pub cert: PathBuf,
    /// The private key, in PEM.
    pub key: Secret,
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    /// Its folder.
    pub path: PathBuf,
    /// The room it may take, in bytes.
    pub max: u64,
    /// The share of that room from which on new sessions are refused, in percent: 1 to 99.
    pub refuse_new_sessions_at: u8,
}

/// `[storage]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Where.
    pub place: Place,
    /// The age at which a segment is closed.
    pub segment_max_age: Duration,
    /// The size at which a segment is closed, in bytes.
    pub segment_max_size: u64,
}

/// Where the archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A folder, by its absolute path.
    Folder(PathBuf),
    /// A container of Azure Blob storage.
    Azure(Azure),
}

/// A container of Azure Blob storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Azure {
    /// The storage account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The folder in it, without slashes at the ends; may be empty.
    pub prefix: String,
    /// How we prove who we are.
    pub auth: AzureAuth,
    /// The service's URL, if it is not the public cloud's.
    pub endpoint: Option<String>,
}

/// How we prove to Azure who we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureAuth {
    /// The account's key.
    Key(Secret),
    /// A shared access signature.
    Sas(Secret),
    /// The identity of the machine.
    ManagedIdentity {
        /// Which, if it has several.
        client_id: Option<String>,
    },
    /// The identity that Kubernetes federates.
    WorkloadIdentity {
        /// Which, if not the pod's own.
        client_id: Option<String>,
    },
}

/// `[evidence]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The folder of the signing keys.
    pub keys: PathBuf,
    /// How often the recorder says that it lives.
    pub heartbeat: Duration,
    /// Who vouches for the time of checkpoints, if anybody.
    pub timestamps: Option<Timestamps>,
    /// Where checkpoints are copied to, if anywhere.
    pub copy: Option<Place>,
}

/// `[evidence] timestamps`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamps {
    /// Where the authority answers.
    pub url: String,
    /// The certificates that its stamps are held to, in PEM.
    pub authorities: PathBuf,
    /// How often the newest checkpoint is stamped.
    pub every: Duration,
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The number of this node: 1 to 255.
    pub number: u8,
    /// What the nodes know each other by.
    pub secret: Secret,
    /// The authorities that vouch for the other nodes; absent, the system's.
    pub ca_file: Option<PathBuf>,
    /// The other nodes.
    pub peers: Vec<ClusterPeer>,
}

/// `[cluster.peers.NAME]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterPeer {
    /// Its name here.
    pub name: String,
    /// Its number: 1 to 255, and nobody else's.
    pub number: u8,
    /// One of its listeners.
    pub address: Upstream,
    /// The URL of its door for issuers and operators, if what is said here is said there.
    pub sign_in: Option<String>,
}

/// `[limits]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections of clients at a time: 1 to 100,000.
    pub connections: usize,
    /// Sessions of one person or workload at a time, if there is a limit.
    pub sessions_per_identity: Option<usize>,
    /// How long a client may take to its startup packet, and then to its token.
    pub sign_in: Duration,
    /// Memory for messages that do not come in one read, in bytes.
    pub memory: u64,
}

/// `[drain]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// How long open transactions may go on after a stop was asked for.
    pub limit: Duration,
}

/// `[telemetry] log`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// Its form; absent, text on a terminal and JSON otherwise.
    pub format: Option<LogFormat>,
    /// The least important thing that is said.
    pub level: LogLevel,
}

/// `[telemetry] metrics`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Address and port.
    pub address: SocketAddr,
}

impl Target {
    /// The names of databases that lead here where a listener has several targets.
    pub fn database_names(&self) -> impl Iterator<Item = &str> {
        let others = self.databases.keys().filter(|name| **name != self.name);
        std::iter::once(&self.name).chain(others).map(String::as_str)
    }
}

impl Config {
    /// Reads the file at `path` and checks it.
    ///
    /// # Errors
    ///
    /// Every problem of the file.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let text = read_text(path).map_err(|message| Problems::whole_file(path, message))?;
        let surroundings =
            reading::Surroundings { variable: &|name| std::env::var(name).ok(), hostname: &checks::hostname };
        Self::parse(&text, path, surroundings)
    }

    /// Checks the text of a file. `path` is for messages and the start of relative paths.
    fn parse(text: &str, path: &Path, surroundings: reading::Surroundings<'_>) -> Result<Self, Problems> {
        let mut findings = reading::Findings::default();
        let folder = path.parent().unwrap_or(Path::new(""));
        match checks::check(text, folder, surroundings, &mut findings) {
            Some(config) if findings.is_empty() => Ok(config),
            _ => Err(Problems::found(path, text, findings.into_list())),
        }
    }

    /// Every secret that the configuration refers to.
    pub fn secrets(&self) -> Vec<&Secret> {
        let keys = self.listeners.iter().filter_map(|listener| listener.tls.as_ref()).map(|tls| &tls.key);
        let storage = [Some(&self.storage.place), self.evidence.copy.as_ref()];
        let storage = storage.into_iter().flatten().filter_map(|place| match place {
            Place::Azure(Azure { auth: AzureAuth::Key(secret) | AzureAuth::Sas(secret), .. }) => Some(secret),
            _ => None,
        });
        let cluster = self.cluster.iter().map(|cluster| &cluster.secret);
        let shown = self.targets.iter().filter_map(|target| match &target.tls {
            UpstreamTls::VerifyFull(VerifyFull { own: Some(own), .. }) => Some(&own.key),
            _ => None,
        });
        let asking = self.issuers.iter().filter_map(|issuer| issuer.introspection.as_ref());
        let keys = keys.chain(shown).chain(asking.map(|how| &how.client_secret));
        let logins = self.targets.iter().flat_map(|target| &target.logins);
        let logins = logins.filter_map(|login| login.proof.secret());
        keys.chain(logins).chain(storage).chain(cluster).collect()
    }

    /// Every claim that is kept, of whichever issuer, and so may be there for rules to look at.
    pub fn kept_claims(&self) -> Vec<String> {
        let kept: BTreeSet<&String> = self.issuers.iter().flat_map(|issuer| &issuer.settings.claims.keep).collect();
        kept.into_iter().cloned().collect()
    }

    /// Every file and folder that must be there before the start, and where the configuration names it.
    pub fn files(&self) -> Vec<(String, &Path)> {
        let mut files = Vec::new();
        for Issuer { settings: issuer, .. } in &self.issuers {
            let ca_file = issuer.ca_file.iter().map(|path| ("ca_file", path.as_path()));
            let jwks_file = match &issuer.keys {
                KeysAt::File(path) => Some(("jwks_file", path.as_path())),
                KeysAt::Discovery(_) => None,
            };
            let transmitter = issuer.ends.as_ref().and_then(|ends| ends.transmitter.as_ref());
            let events = match transmitter.map(|transmitter| &transmitter.keys) {
                Some(KeysAt::File(path)) if transmitter.is_some_and(|transmitter| transmitter.keys != issuer.keys) => {
                    Some(("ends.transmitter.jwks_file", path.as_path()))
                }
                _ => None,
            };
            let named = ca_file.chain(jwks_file).chain(events);
            files.extend(named.map(|(key, path)| (format!("issuer.{}.{key}", issuer.name), path)));
        }
        for listener in &self.listeners {
            if let Some(tls) = &listener.tls {
                files.push((format!("listener.{}.tls.cert", listener.name), tls.cert.as_path()));
                let ca_file = tls.clients.as_ref().map(|clients| clients.ca_file.as_path());
                files.extend(ca_file.map(|path| (format!("listener.{}.tls.client_ca_file", listener.name), path)));
            }
        }
        for target in &self.targets {
            if let UpstreamTls::VerifyFull(VerifyFull { ca_file, own }) = &target.tls {
                let ca_file = ca_file.iter().map(|path| ("ca_file", path));
                let named = ca_file.chain(own.iter().map(|own| ("cert", &own.cert)));
                files.extend(named.map(|(key, path)| (format!("target.{}.tls.{key}", target.name), path.as_path())));
            }
            let authorities = target.logins.iter().filter_map(|login| login.proof.ca_file());
            files.extend(authorities.map(|path| (format!("target.{}.login.token.ca_file", target.name), path)));
        }
        if let Some(path) = self.cluster.as_ref().and_then(|cluster| cluster.ca_file.as_deref()) {
            files.push(("cluster.ca_file".to_owned(), path));
        }
        if let Some(timestamps) = &self.evidence.timestamps {
            files.push(("evidence.timestamps.authorities".to_owned(), timestamps.authorities.as_path()));
        }
        files.extend(self.policy.iter().map(|path| ("policy.path".to_owned(), path.as_path())));
        files
    }
}

fn read_text(path: &Path) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("is longer than {}", units::size_text(MAX_FILE)));
    }
    String::from_utf8(bytes).map_err(|error| format!("is not UTF-8 text: {error}"))
}
