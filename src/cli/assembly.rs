//! The configuration made into the parts it describes. Every problem is found before anything is started.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::certificate::{SelfSigned, self_signed};
use super::own_login;
use super::policy::run::for_force;
use super::policy::sources::Sources as RuleSources;
use super::recorder::Needs;
use super::renewal::{self, DoorFiles, Files, WayFiles};
use super::system::{RandomIds, SystemClock};
use super::web;
use crate::anchor::{AnchorSettings, TIME_LIMIT, TimestampAuthority};
use crate::config::{self, ClientCertificates, Config, Place, Plain};
use crate::gateway::tls::{Renewable, ServerConfig};
use crate::gateway::{
    self, Attempts, Budget, Cancels, Cluster, ClusterPeer, Counters, Desk, Listener, Logins, Memory, Roster, Routes,
    SignInAt, Site, Way, Whose,
};
use crate::identity::{Introspection, IssuerSettings, Verifier};
use crate::journal::{self, Journal};
use crate::model::{Clock, Ids, NodeName, Recorded, Sha256};
use crate::policy::{InForce, Policy};
use crate::seal::timestamp::Authorities;
use crate::ship::{Anchors, Elsewhere, ShipSettings, Stamps};
use crate::store::{AzureCredential, AzureSettings, Secret, Store, StoreSettings};

/// The least length of what the nodes of a cluster know each other by: nobody is to try out what they say to each other.
const CLUSTER_SECRET: usize = 32;
/// How many files a full journal has at least.
const FILES_AT_LEAST: u64 = 8;
/// The folder in the journal's that holds certificates made by ourselves.
const CERTIFICATES: &str = "tls";

/// A listener, ready but for its address being taken.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) name: String,
    pub(super) address: std::net::SocketAddr,
    /// The targets behind it, by name, and the names that lead to them.
    ways: Vec<Way<String>>,
    tls: DoorTls,
    pub(super) plain_on_loopback: bool,
    demands_certificate: bool,
    balancers: Vec<IpNet>,
    bearer: Option<SignInAt>,
}

#[derive(Debug)]
enum DoorTls {
    Given(Arc<Renewable<ServerConfig>>),
    SelfSigned,
}

/// Everything that the configuration describes.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) doors: Vec<Door>,
    /// Each target, once for each of our logins there, in the order of config; at least one.
    pub(super) targets: Vec<Vec<gateway::Target>>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) policy: Arc<InForce>,
    /// The files that the rules came from.
    pub(super) rules: RuleSources,
    pub(super) journal: journal::Settings,
    pub(super) store: StoreSettings,
    pub(super) ship: ShipSettings,
    pub(super) anchors: Anchors,
    /// The memory for messages of all sessions.
    pub(super) budget: Budget,
    /// The keys that sessions can be cancelled by.
    pub(super) cancels: Arc<Cancels>,
    /// Who is here.
    pub(super) roster: Arc<Roster>,
    /// Who failed to sign in lately.
    pub(super) attempts: Arc<Attempts>,
    /// How long a client may take to its token.
    pub(super) sign_in_limit: Duration,
    /// What the sessions of each target do, counted; under no name, clients that asked for none.
    pub(super) counters: BTreeMap<String, Arc<Counters>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn Ids>,
}

/// Collects what is wrong, so that all of it is said at once.
pub(super) struct Problems {
    file: String,
    found: Vec<String>,
}

impl Problems {
    pub(super) fn take<T, E: std::fmt::Display>(&mut self, key: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.found.push(format!("{}: {key}: {error}", self.file))).ok()
    }

    /// A side of TLS made of its files.
    fn begin<F: Files>(&mut self, files: &F) -> Option<Arc<Renewable<F::Side>>> {
        let begun = renewal::begin(files);
        begun.map_err(|found| self.found.extend(found.iter().map(|one| format!("{}: {one}", self.file)))).ok()
    }
}

/// Makes the parts.
///
/// # Errors
///
/// Everything that is wrong, a sentence each.
pub(super) fn assemble(path: &Path, config: &Config) -> Result<Parts, Vec<String>> {
    let mut problems = Problems { file: path.display().to_string(), found: Vec::new() };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let targets: Vec<_> = config.targets.iter().filter_map(|described| target(described, &mut problems)).collect();
    let doors: Vec<Option<Door>> = config.listeners.iter().map(|door| open_door(door, config, &mut problems)).collect();
    let vouching: Vec<_> = config.issuers.iter().map(|issuer| vouching(issuer, &mut problems)).collect();
    let verifier = problems.take("issuer", Verifier::new(vouching, Arc::clone(&clock)));
    let policy = load_policy(config).map_err(|mut found| problems.found.append(&mut found)).ok();
    let store = store_settings("storage", &config.storage.place, &mut problems);
    let ids = problems.take("random numbers", RandomIds::new()).map(|ids| -> Arc<dyn Ids> { Arc::new(ids) });
    let cluster = config.cluster.as_ref().map(|cluster| cluster_of(cluster, &mut problems));
    let anchors = ids.as_ref().and_then(|ids| anchors(&config.evidence, ids, &mut problems));
    let barred = problems.take("journal", web::barred(&config.journal.path.join(web::BARRED)));
    match (verifier, policy, store, ids, anchors, barred) {
        (Some(verifier), Some((rules, policy)), Some(store), Some(ids), Some(anchors), Some(barred))
            if problems.found.is_empty() =>
        {
            Ok(Parts {
                doors: doors.into_iter().flatten().collect(),
                targets,
                verifier: Arc::new(verifier),
                policy: Arc::new(InForce::new(policy)),
                rules,
                journal: journal_settings(&config.journal),
                store,
                ship: ShipSettings {
                    max_age: config.storage.segment_max_age,
                    max_bytes: usize::try_from(config.storage.segment_max_size).unwrap_or(usize::MAX),
                    heartbeat: config.evidence.heartbeat,
                    ..ShipSettings::default()
                },
                anchors,
                budget: Budget::new(config.limits.memory),
                cancels: Arc::new(Cancels::new(cluster.flatten())),
                attempts: Arc::default(),
                sign_in_limit: config.limits.sign_in,
                roster: Arc::new(Roster::new(barred, config.limits.sessions_per_identity)),
                counters: counted(config).map(|target| (target, Arc::default())).collect(),
                clock,
                ids,
            })
        }
        _ => Err(problems.found),
    }
}

/// An issuer with what it is asked by.
fn vouching(issuer: &config::Issuer, problems: &mut Problems) -> IssuerSettings {
    let introspection = issuer.introspection.as_ref().and_then(|how| {
        let key = format!("issuer.{}.introspection.client_secret", issuer.settings.name);
        let client_secret = problems.take(&key, how.client_secret.reveal())?.into_string();
        Some(Introspection { client_id: how.client_id.clone(), client_secret, every: how.every })
    });
    IssuerSettings { introspection, ..issuer.settings.clone() }
}

/// The names under which sessions are counted.
fn counted(config: &Config) -> impl Iterator<Item = String> {
    let is_shared = config.listeners.iter().any(|listener| listener.targets.len() > 1);
    config.targets.iter().map(|target| target.name.clone()).chain(is_shared.then(String::new))
}

/// The targets that listeners lead to, by name: one site for each login, however many listeners lead there.
pub(super) type Sites = BTreeMap<String, Arc<Logins>>;

impl Parts {
    /// The sites of each target.
    pub(super) fn sites(&self, journal: &Journal, node: &NodeName) -> Sites {
        let site = |target: &gateway::Target, memory: &Memory| Site {
            node: node.clone(),
            journal: journal.clone(),
            verifier: Arc::clone(&self.verifier),
            roster: Arc::clone(&self.roster),
            policy: Arc::clone(&self.policy),
            target: Arc::new(target.clone()),
            clock: Arc::clone(&self.clock),
            ids: Arc::clone(&self.ids),
            cancels: Arc::clone(&self.cancels),
            memory: memory.clone(),
            budget: self.budget.clone(),
            counters: self.counters.get(&target.name).cloned().unwrap_or_default(),
        };
        let logins = |logins: &Vec<gateway::Target>| {
            let memory = Memory::default();
            let mut sites = logins.iter().map(|login| Arc::new(site(login, &memory)));
            let first = sites.next()?;
            Some((first.target.name.clone(), Arc::new(Logins::new(first, sites.collect()))))
        };
        self.targets.iter().filter_map(logins).collect()
    }

    /// What the recorder needs, to write into `store`.
    pub(super) fn recorder_needs(&self, config: &Config, store: Store) -> Needs {
        let policy = self.policy.current().policy;
        Needs {
            journal: self.journal.clone(),
            store,
            ship: self.ship.clone(),
            anchors: self.anchors.clone(),
            keys: config.evidence.keys.clone(),
            policy: (policy.version().to_owned(), policy.rules()),
            node: config.node.clone(),
            clock: Arc::clone(&self.clock),
            seed: journal::Seed::draw(self.ids.as_ref()),
        }
    }
}

impl Door {
    /// The listener behind the door, with a certificate of our own if none is given; that one is given back to be told of.
    ///
    /// # Errors
    ///
    /// What is wrong with the certificate.
    pub(super) fn listener(
        self,
        parts: &Parts,
        sites: &Sites,
        journal: &Journal,
        node: &NodeName,
    ) -> Result<Opened, String> {
        let Self { name, address, ways, tls, plain_on_loopback, demands_certificate, balancers, bearer } = self;
        let (tls, made) = match tls {
            DoorTls::Given(tls) => (Ok(tls), None),
            DoorTls::SelfSigned => {
                let names = [node.as_str().to_owned(), address.ip().to_string()];
                let made = self_signed(&parts.journal.dir.join(CERTIFICATES), &names).map_err(|e| e.to_string())?;
                let tls = gateway::tls::acceptor(made.cert_pem.as_bytes(), made.key_pem.as_bytes(), None);
                // Nobody replaces it while we run.
                (tls.map(|tls| Arc::new(Renewable::new(tls, Sha256::of(made.cert_pem.as_bytes())))), Some(made))
            }
        };
        // Who is turned away before saying where to is counted with the only target, or with none.
        let counted = if let [only] = ways.as_slice() { only.to.as_str() } else { "" };
        let desk = Desk {
            node: node.clone(),
            journal: journal.clone(),
            verifier: Arc::clone(&parts.verifier),
            clock: Arc::clone(&parts.clock),
            ids: Arc::clone(&parts.ids),
            cancels: Arc::clone(&parts.cancels),
            roster: Arc::clone(&parts.roster),
            attempts: Arc::clone(&parts.attempts),
            sign_in_limit: parts.sign_in_limit,
            counters: parts.counters.get(counted).cloned().unwrap_or_default(),
        };
        let to_site = |way: Way<String>| {
            let Way { to, server_names, databases } = way;
            Some(Way { to: Arc::clone(sites.get(&to)?), server_names, databases })
        };
        let routes = Routes::new(ways.into_iter().filter_map(to_site).collect());
        let tls = tls.map_err(|error| error.to_string())?;
        let listener = Listener { name, desk, routes, tls, plain_on_loopback, demands_certificate, balancers, bearer };
        Ok(Opened { listener: Arc::new(listener), made })
    }
}

/// A door's listener, and the certificate that was made for it.
pub(super) struct Opened {
    pub(super) listener: Arc<Listener>,
    pub(super) made: Option<SelfSigned>,
}

fn open_door(listener: &config::Listener, config: &Config, problems: &mut Problems) -> Option<Door> {
    let key = format!("listener.{}", listener.name);
    let ways = listener.targets.iter().map(|behind| {
        let described = config.targets.iter().find(|target| target.name == behind.target)?;
        let databases = described.database_names().map(str::to_owned).collect();
        Some(Way { to: behind.target.clone(), server_names: behind.server_names.clone(), databases })
    });
    let ways = problems.take(&key, ways.collect::<Option<Vec<_>>>().ok_or("its target is not described"))?;
    let tls = match &listener.tls {
        None => Some(DoorTls::SelfSigned),
        Some(tls) => problems.begin(&DoorFiles::of(&listener.name, tls)).map(DoorTls::Given),
    };
    let clients = listener.tls.as_ref().and_then(|tls| tls.clients.as_ref());
    let demanded = clients.map(|clients| clients.certificates);
    Some(Door {
        name: listener.name.clone(),
        address: listener.address,
        ways,
        tls: tls?,
        plain_on_loopback: listener.plain != Plain::Refuse,
        demands_certificate: demanded == Some(ClientCertificates::Required),
        balancers: listener.balancers.clone(),
        bearer: listener
            .oauth_bearer
            .as_ref()
            .map(|at| SignInAt { configuration: at.configuration.clone(), scope: at.scope.clone() }),
    })
}

/// A described target, as sessions of each of its logins use it.
///
/// # Errors
///
/// Everything that is wrong, a sentence each.
pub(super) fn target_of(described: &config::Target) -> Result<Vec<gateway::Target>, Vec<String>> {
    let mut problems = Problems { file: "configuration".to_owned(), found: Vec::new() };
    target(described, &mut problems).ok_or(problems.found)
}

fn target(described: &config::Target, problems: &mut Problems) -> Option<Vec<gateway::Target>> {
    let tls = match &described.tls {
        config::UpstreamTls::Disable => Some(gateway::UpstreamTls::Disable),
        config::UpstreamTls::VerifyFull(files) => {
            problems.begin(&WayFiles::to_target(&described.name, files)).map(gateway::UpstreamTls::VerifyFull)
        }
    };
    // Every login is looked at before the first bad one ends it.
    let logins: Vec<_> = described.logins.iter().map(|login| credentials(described, login, problems)).collect();
    let logins = logins.into_iter().collect::<Option<Vec<_>>>()?;
    let tls = tls?;
    Some(logins.into_iter().map(|login| as_login(described, login, tls.clone())).collect())
}

/// Our credentials, and whose they are.
fn credentials(
    described: &config::Target,
    login: &config::Login,
    problems: &mut Problems,
) -> Option<(gateway::Credentials, Whose)> {
    Some((own_login::credentials(&described.name, login, problems)?, whose(login)))
}

/// Whose a described login is.
pub(super) fn whose(login: &config::Login) -> Whose {
    let config::Whose { roles, groups, subjects, issuers, kind, claims } = login.whose.clone();
    Whose { roles, groups, subjects, issuers, kind, claims }
}

fn as_login(
    described: &config::Target,
    (credentials, whose): (gateway::Credentials, Whose),
    tls: gateway::UpstreamTls,
) -> gateway::Target {
    gateway::Target {
        name: described.name.clone(),
        addresses: described.upstreams.iter().map(address).collect(),
        wanted: match described.session_attrs {
            config::SessionAttrs::Any => gateway::Wanted::Any,
            config::SessionAttrs::ReadWrite => gateway::Wanted::ReadWrite,
            config::SessionAttrs::ReadOnly => gateway::Wanted::ReadOnly,
            config::SessionAttrs::Primary => gateway::Wanted::Primary,
            config::SessionAttrs::Standby => gateway::Wanted::Standby,
            config::SessionAttrs::PreferStandby => gateway::Wanted::PreferStandby,
        },
        tls,
        credentials,
        whose,
        databases: described.databases.clone(),
        on_token_expiry: match described.on_token_expiry {
            config::OnTokenExpiry::FinishTransactionThenClose => gateway::OnTokenExpiry::FinishTransactionThenClose,
            config::OnTokenExpiry::Close => gateway::OnTokenExpiry::Close,
            config::OnTokenExpiry::Keep => gateway::OnTokenExpiry::Keep,
        },
        read_only: match described.read_only {
            config::ReadOnly::ByRules => gateway::ReadOnly::ByRules,
            config::ReadOnly::Never => gateway::ReadOnly::Never,
        },
        application_name: match described.application_name {
            config::ApplicationName::Keep => gateway::ApplicationName::Keep,
            config::ApplicationName::Session => gateway::ApplicationName::Session,
        },
        recorded: match described.recorded {
            config::Recorded::Flushed => Recorded::Flushed,
            config::Recorded::Written => Recorded::Written,
        },
        patience: gateway::Patience {
            idle: described.limits.idle,
            idle_in_transaction: described.limits.idle_in_transaction,
            statement: described.limits.statement,
            unread: Some(described.limits.unread),
            age: described.limits.max_age,
        },
        max_message: usize::try_from(described.max_message).unwrap_or(usize::MAX),
    }
}

fn address(server: &config::Server) -> gateway::Address {
    match server {
        config::Server::Tcp(at) => gateway::Address::Tcp { host: at.host.clone(), port: at.port },
        config::Server::Unix(path) => gateway::Address::Unix(path.clone()),
    }
}

/// The configured issuers, trusted though they are development issuers: for the demo, whose own they are, and for nobody else.
pub(super) fn trusting_development(config: &Config) -> impl Iterator<Item = IssuerSettings> + '_ {
    config.issuers.iter().map(|issuer| IssuerSettings { allow_development: true, ..issuer.settings.clone() })
}

fn load_policy(config: &Config) -> Result<(RuleSources, Policy), Vec<String>> {
    let sources = RuleSources::read(&config.policy)?;
    let policy = for_force(&sources, config)?;
    Ok((sources, policy))
}

pub(super) fn journal_settings(journal: &config::Journal) -> journal::Settings {
    journal::Settings {
        dir: journal.path.clone(),
        max_bytes: journal.max,
        refuse_new_sessions_at: journal.max / 100 * u64::from(journal.refuse_new_sessions_at),
        // Room comes back by whole files, and never that of the file being written: small journals have small files, and
        // one that is a single file would stay full.
        file_bytes: (journal.max / 64).clamp(1 << 20, journal::Settings::FILE_BYTES).min(journal.max / FILES_AT_LEAST),
    }
}

/// The nodes that cancel requests are passed on to.
fn cluster_of(described: &config::Cluster, problems: &mut Problems) -> Option<Cluster> {
    let tls = problems.begin(&WayFiles::to_cluster(described));
    let secret = problems.take("cluster.secret", described.secret.reveal())?;
    let long = Some(secret).filter(|secret| secret.as_str().len() >= CLUSTER_SECRET);
    let secret = problems.take("cluster.secret", long.ok_or("is shorter than 32 characters"))?;
    let peers = described.peers.iter().map(|peer| ClusterPeer {
        number: peer.number,
        host: peer.address.host.clone(),
        port: peer.address.port,
    });
    Some(Cluster::new(described.number, secret.as_str().as_bytes(), tls?, peers.collect()))
}

/// What checkpoints are anchored by. Nobody is asked yet.
fn anchors(evidence: &config::Evidence, ids: &Arc<dyn Ids>, problems: &mut Problems) -> Option<Anchors> {
    let stamps = evidence.timestamps.as_ref().map(|timestamps| stamps(timestamps, ids, problems));
    let copy = evidence.copy.as_ref().map(|place| elsewhere(place, problems));
    let given = stamps.as_ref().is_none_or(Option::is_some) && copy.as_ref().is_none_or(Option::is_some);
    given.then(|| Anchors { copy: copy.flatten(), stamps: stamps.flatten() })
}

fn stamps(timestamps: &config::Timestamps, ids: &Arc<dyn Ids>, problems: &mut Problems) -> Option<Stamps> {
    let key = "evidence.timestamps.authorities";
    let of_file = |error: &dyn std::fmt::Display| format!("{}: {error}", timestamps.authorities.display());
    let pem = problems.take(key, fs::read(&timestamps.authorities).map_err(|error| of_file(&error)))?;
    let authorities = problems.take(key, Authorities::from_pem(&pem).map_err(|error| of_file(&error)))?;
    let settings = AnchorSettings { url: timestamps.url.clone(), authorities, timeout: TIME_LIMIT };
    let authority = problems.take("evidence.timestamps.url", TimestampAuthority::new(&settings))?;
    Some(Stamps { authority: Arc::new(authority), every: timestamps.every, ids: Arc::clone(ids) })
}

fn elsewhere(place: &Place, problems: &mut Problems) -> Option<Elsewhere> {
    let key = "evidence.copy";
    let settings = store_settings(key, place, problems)?;
    match place {
        // A folder may be on a disk that comes later.
        Place::Folder(_) => Some(Elsewhere::Settings(settings)),
        Place::Azure(_) => problems.take(key, Store::open(&settings)).map(Elsewhere::Store),
    }
}

/// Where the archive is, for those who write it and those who read it.
///
/// # Errors
///
/// Every secret or variable that is missing.
pub(super) fn archive_settings(path: &Path, storage: &config::Storage) -> Result<StoreSettings, Vec<String>> {
    let mut problems = Problems { file: path.display().to_string(), found: Vec::new() };
    store_settings("storage", &storage.place, &mut problems).ok_or(problems.found)
}

/// `key` is where the configuration describes the place.
fn store_settings(key: &str, place: &Place, problems: &mut Problems) -> Option<StoreSettings> {
    match place {
        Place::Folder(folder) => {
            Some(StoreSettings { url: format!("file://{}", encoded(folder)), azure: AzureSettings::default() })
        }
        Place::Azure(azure) => {
            let url = format!("az://{}/{}", azure.container, azure.prefix);
            let azure = AzureSettings {
                account: Some(azure.account.clone()),
                endpoint: azure.endpoint.clone(),
                // The configuration takes plain HTTP for loopback only.
                allow_http: azure.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://")),
                credential: credential(key, &azure.auth, problems)?,
            };
            Some(StoreSettings { url, azure })
        }
    }
}

fn credential(of: &str, auth: &config::AzureAuth, problems: &mut Problems) -> Option<AzureCredential> {
    let variable = |name: &str| std::env::var(name).map_err(|_unset| format!("{name} is not set in the environment"));
    match auth {
        config::AzureAuth::Key(key) => {
            let key = problems.take(&format!("{of}.key"), key.reveal())?;
            Some(AzureCredential::AccessKey(Secret::new(key.into_string())))
        }
        config::AzureAuth::Sas(sas) => {
            let sas = problems.take(&format!("{of}.sas"), sas.reveal())?;
            Some(AzureCredential::Sas(Secret::new(sas.into_string())))
        }
        config::AzureAuth::ManagedIdentity { client_id } => {
            Some(AzureCredential::ManagedIdentity { client: client_id.clone() })
        }
        config::AzureAuth::WorkloadIdentity { client_id } => {
            // The three are what Azure's webhook sets in a pod.
            let client = client_id.clone().map_or_else(|| variable("AZURE_CLIENT_ID"), Ok);
            let key = format!("{of}.auth");
            Some(AzureCredential::WorkloadIdentity {
                tenant: problems.take(&key, variable("AZURE_TENANT_ID"))?,
                client: problems.take(&key, client)?,
                token_file: problems.take(&key, variable("AZURE_FEDERATED_TOKEN_FILE"))?.into(),
            })
        }
    }
}

/// A path as it stands in a URL.
pub(super) fn encoded(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.map(|byte| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
