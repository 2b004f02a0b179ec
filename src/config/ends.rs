//! The two ends of a connection held against each other: `[listener.NAME]` and `[target.NAME]`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::checks::{Folder, refuse_bad_names};
use super::file::{
    ApplicationName, ListenerSection, ListenerTlsSection, OnTokenExpiry, Plain, ReadOnly, Recorded, SessionAttrs,
    SessionSection, TargetSection, UpstreamTlsMode, UpstreamTlsSection,
};
use super::limits::session_limits;
use super::logins::logins;
use super::reading::{Findings, Located, Named, OneOrMany, closest, value_if_any, value_or};
use super::sign_in::oauth_bearer;
use super::units::{Size, size_text};
use super::values::{Address, HostName, NamedTargetSection, Network, SecretSection, Server, TargetChoice};
use super::{
    Behind, ClientCertificates, Issuer, Listener, ListenerClients, ListenerTls, OwnCertificate, Target, UpstreamTls,
    VerifyFull,
};

/// Nobody outside the machine reaches a listener whose address was not chosen. Not 5432, which is taken on a machine
/// that has a PostgreSQL.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 6432);
/// The name of the listener that is there when none is written.
const LISTENER: &str = "main";
/// Addresses of one target: more than any cluster has, and few enough that trying them all ends.
const MAX_UPSTREAMS: usize = 16;
/// Room for any statement that a person or a program sends, and for large values.
const MAX_MESSAGE: u64 = 256 << 20;
/// Above it PostgreSQL itself takes no message.
const MAX_MESSAGE_CEILING: u64 = 1 << 30;
/// Below it ordinary statements of reporting tools would be refused.
const MAX_MESSAGE_FLOOR: u64 = 64 << 10;

/// A target, known by name even if something in it is wrong, so that one mistake is not reported as two.
#[derive(Debug)]
pub(super) struct KnownTarget {
    name: String,
    /// Whether it is on this machine; absent, unknown.
    loopback: Option<bool>,
    used: std::cell::Cell<bool>,
    at: super::reading::Place,
    pub(super) target: Option<Target>,
}

pub(super) fn targets(
    targets: Located<Named<TargetSection>>,
    (issuers, folder): (Option<&[Issuer]>, Folder<'_>),
    findings: &mut Findings,
) -> Option<Vec<KnownTarget>> {
    let named = targets.value?;
    refuse_bad_names(&named, findings);
    if named.0.is_empty() {
        findings.note(&targets.at, "the section [target.NAME] is missing");
    }
    let known = named.0.into_iter().map(|(name, section)| {
        let upstreams = section.value.as_ref().and_then(|section| section.upstream.value.as_ref());
        KnownTarget {
            loopback: upstreams.map(|upstreams| upstreams.0.iter().all(Server::is_loopback)),
            used: false.into(),
            at: section.at,
            target: section.value.and_then(|section| target(&name, section, (issuers, folder), findings)),
            name,
        }
    });
    Some(known.collect())
}

fn target(
    name: &str,
    section: TargetSection,
    (issuers, folder): (Option<&[Issuer]>, Folder<'_>),
    findings: &mut Findings,
) -> Option<Target> {
    let upstreams = section.upstream.value.as_ref().map_or(&[][..], |upstreams| upstreams.0.as_slice());
    if upstreams.len() > MAX_UPSTREAMS {
        section.upstream.refuse(format_args!("has more than {MAX_UPSTREAMS} addresses"), findings);
    }
    let has_unix = upstreams.iter().any(Server::is_unix);
    let tls = upstream_tls(section.tls, upstreams, folder, findings);
    if let Some(max) = &section.max_message
        && max.value.is_some_and(|Size(max)| !(MAX_MESSAGE_FLOOR..=MAX_MESSAGE_CEILING).contains(&max))
    {
        let (floor, ceiling) = (size_text(MAX_MESSAGE_FLOOR), size_text(MAX_MESSAGE_CEILING));
        max.refuse(format_args!("must be from {floor} to {ceiling}"), findings);
    }
    let is_plain = has_unix || matches!(tls, Some(UpstreamTls::Disable));
    let logins = logins(section.login, (issuers, is_plain, folder), findings);
    let databases = value_if_any(section.databases)?.map_or_else(BTreeMap::new, |databases| databases.0);
    let databases: Option<_> = databases.into_iter().map(|(alias, real)| Some((alias, real.value?))).collect();
    let mut session = value_or(section.session, SessionSection::default())?;
    let limits = session_limits(&mut session, findings);
    Some(Target {
        name: name.to_owned(),
        engine: section.engine.value?,
        upstreams: section.upstream.value?.0,
        session_attrs: value_or(section.target_session_attrs, SessionAttrs::Any)?,
        tls: tls?,
        logins: logins?,
        databases: databases?,
        on_token_expiry: value_or(session.on_token_expiry, OnTokenExpiry::FinishTransactionThenClose)?,
        read_only: value_or(session.read_only, ReadOnly::ByRules)?,
        application_name: value_or(session.application_name, ApplicationName::Keep)?,
        recorded: value_or(section.recorded, Recorded::Flushed)?,
        limits: limits?,
        max_message: value_or(section.max_message, Size(MAX_MESSAGE))?.0,
    })
}

fn upstream_tls(
    section: Option<Located<UpstreamTlsSection>>,
    upstreams: &[Server],
    folder: Folder<'_>,
    findings: &mut Findings,
) -> Option<UpstreamTls> {
    if !upstreams.is_empty() && upstreams.iter().all(Server::is_unix) {
        if let Some(section) = section {
            section.refuse("has no meaning: a Unix socket has no TLS", findings);
        }
        return Some(UpstreamTls::Disable);
    }
    let section = value_or(section, UpstreamTlsSection::default())?;
    let disabled = section.mode.as_ref().filter(|mode| mode.value == Some(UpstreamTlsMode::Disable));
    if let Some(mode) = disabled {
        if upstreams.iter().any(|upstream| !upstream.is_loopback()) {
            let why = "\"disable\" is for an upstream on loopback: statements and rows would be readable on the way";
            mode.refuse(why, findings);
        }
        let without = "has no meaning with mode = \"disable\"";
        [&section.ca_file, &section.cert].into_iter().flatten().for_each(|file| file.refuse(without, findings));
        if let Some(key) = &section.key {
            key.refuse(without, findings);
        }
    }
    let own = own_certificate((section.cert, section.key), folder, findings);
    Some(match value_or(section.mode, UpstreamTlsMode::VerifyFull)? {
        UpstreamTlsMode::Disable => UpstreamTls::Disable,
        UpstreamTlsMode::VerifyFull => UpstreamTls::VerifyFull(VerifyFull {
            ca_file: value_if_any(section.ca_file)?.map(|path| folder.path(path)),
            own: own?,
        }),
    })
}

/// What is shown to a database server: nothing at the outside if something is wrong with it.
fn own_certificate(
    (cert, key): (Option<Located<PathBuf>>, Option<Located<SecretSection>>),
    folder: Folder<'_>,
    findings: &mut Findings,
) -> Option<Option<OwnCertificate>> {
    match (cert, key) {
        (None, None) => Some(None),
        (Some(cert), Some(key)) => {
            Some(Some(OwnCertificate { cert: folder.path(cert.value?), key: folder.secret(key)? }))
        }
        (Some(cert), None) => {
            cert.refuse("needs the key \"key\" beside it", findings);
            None
        }
        (None, Some(key)) => {
            key.refuse("needs the key \"cert\" beside it", findings);
            None
        }
    }
}

pub(super) fn listeners(
    listeners: Option<Located<Named<ListenerSection>>>,
    (targets, issuers): (Option<&[KnownTarget]>, Option<&[Issuer]>),
    folder: Folder<'_>,
    findings: &mut Findings,
) -> Option<Vec<Listener>> {
    let unwritten = || {
        let section =
            Located { value: Some(ListenerSection::default()), at: 0..0, name: format!("listener.{LISTENER}") };
        Named([(LISTENER.to_owned(), section)].into())
    };
    let written = listeners.map_or_else(|| Some(unwritten()), |listeners| listeners.value)?;
    let named = if written.0.is_empty() { unwritten() } else { written };
    refuse_bad_names(&named, findings);
    refuse_shared_addresses(&named, findings);
    let read: Vec<Option<Listener>> = named
        .0
        .into_iter()
        .map(|(name, section)| listener(name, section, (targets, issuers), folder, findings))
        .collect();
    let all: Option<Vec<Listener>> = read.into_iter().collect();
    if all.is_some() {
        for known in targets?.iter().filter(|known| !known.used.get()) {
            findings.note(&known.at, format!("target.{}: no listener leads here", known.name));
        }
    }
    all
}

fn refuse_shared_addresses(named: &Named<ListenerSection>, findings: &mut Findings) {
    let mut taken: BTreeMap<SocketAddr, &str> = BTreeMap::new();
    for (name, section) in &named.0 {
        let Some(value) = &section.value else { continue };
        let Some(Address(address)) = value.address.as_ref().map_or(Some(Address(ADDRESS)), |address| address.value)
        else {
            continue;
        };
        // Port 0 is whichever is free: never the same twice.
        if address.port() == 0 {
            continue;
        }
        if let Some(other) = taken.insert(address, name) {
            let at = value.address.as_ref().map_or(&section.at, |address| &address.at);
            findings.note(at, format!("{}.address: is that of listener.{other} too", section.name));
        }
    }
}

fn listener(
    name: String,
    section: Located<ListenerSection>,
    (targets, issuers): (Option<&[KnownTarget]>, Option<&[Issuer]>),
    folder: Folder<'_>,
    findings: &mut Findings,
) -> Option<Listener> {
    let (at, full_name) = (section.at, section.name);
    let section = section.value?;
    let behind = targets_of(section.targets, (&at, &full_name), targets?, findings);
    let address = value_or(section.address, Address(ADDRESS)).map(|Address(address)| address);
    if let Some(plain) = section.plain.as_ref().filter(|plain| plain.value == Some(Plain::Loopback)) {
        if address.is_some_and(|address| !address.ip().is_loopback()) {
            plain.refuse("\"loopback\" needs a listener on loopback: tokens would be readable on the way", findings);
        }
        if behind.iter().flatten().any(|(known, _)| known.loopback == Some(false)) {
            plain.refuse("\"loopback\" needs a target whose upstream is on loopback", findings);
        }
    }
    let oauth_bearer = oauth_bearer(section.oauth_bearer, issuers, findings);
    let tls = match value_if_any(section.tls)? {
        Some(tls) => Some(listener_tls(tls, folder, findings)?),
        None => None,
    };
    let demands = tls.as_ref().and_then(|tls| tls.clients.as_ref()).map(|clients| clients.certificates);
    if let Some(plain) = section.plain.as_ref().filter(|plain| plain.value == Some(Plain::Loopback))
        && demands == Some(ClientCertificates::Required)
    {
        plain.refuse(
            "\"loopback\" has no meaning where a client certificate is required: there is none without TLS",
            findings,
        );
    }
    Some(Listener {
        name,
        address: address?,
        public: value_if_any(section.public)?,
        targets: behind?
            .into_iter()
            .map(|(known, server_names)| Behind { target: known.name.clone(), server_names })
            .collect(),
        tls,
        plain: value_or(section.plain, Plain::Refuse)?,
        balancers: match value_if_any(section.proxy_protocol)? {
            Some(proxied) => proxied.from.value?.0.into_iter().map(|Network(network)| network).collect(),
            None => Vec::new(),
        },
        oauth_bearer: oauth_bearer?,
    })
}

fn listener_tls(tls: ListenerTlsSection, folder: Folder<'_>, findings: &mut Findings) -> Option<ListenerTls> {
    let ListenerTlsSection { cert, key, client_ca_file, client_certificates } = tls;
    if let (None, Some(certificates)) = (&client_ca_file, &client_certificates) {
        certificates.refuse("needs the key \"client_ca_file\": who is to vouch for them?", findings);
    }
    let certificates = value_or(client_certificates, ClientCertificates::Required);
    let clients = match value_if_any(client_ca_file)? {
        Some(path) => Some(ListenerClients { ca_file: folder.path(path), certificates: certificates? }),
        None => None,
    };
    Some(ListenerTls { cert: folder.path(cert.value?), key: folder.secret(key)?, clients })
}

/// A target of a listener and the host names that lead to it.
type Reached<'t> = (&'t KnownTarget, Vec<String>);

/// The targets of a listener. All that it names count as used.
fn targets_of<'t>(
    wanted: Option<Located<OneOrMany<TargetChoice>>>,
    listener: (&super::reading::Place, &str),
    targets: &'t [KnownTarget],
    findings: &mut Findings,
) -> Option<Vec<Reached<'t>>> {
    let names: Vec<&str> = targets.iter().map(|known| known.name.as_str()).collect();
    let Some(wanted) = wanted else {
        if let [only] = targets {
            only.used.set(true);
            return Some(vec![(only, Vec::new())]);
        }
        if !targets.is_empty() {
            let problem = format!("{}: the key \"targets\" is missing; there are {}", listener.1, names.join(", "));
            findings.note(listener.0, problem);
        }
        return None;
    };
    let Located { value, at, name: key } = wanted;
    let mut refuse = |problem: String| findings.note(&at, format!("{key}: {problem}"));
    let reached = value?.0.into_iter().map(|choice| {
        let (name, server_names) = written(choice)?;
        let known = targets.iter().find(|known| known.name == name);
        if known.is_none() {
            let advice =
                closest(&name, &names).map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
            refuse(format!("there is no [target.{}]{advice}", name.escape_debug()));
        }
        known.inspect(|known| known.used.set(true)).map(|known| (known, server_names))
    });
    // All of them are looked at before the first unknown one ends it.
    let reached = reached.collect::<Vec<_>>().into_iter().collect::<Option<Vec<_>>>()?;
    let problems = shared_names(&reached);
    let is_clear = problems.is_empty();
    problems.into_iter().for_each(refuse);
    is_clear.then_some(reached)
}

fn written(choice: TargetChoice) -> Option<(String, Vec<String>)> {
    match choice {
        TargetChoice::Name(name) => Some((name, Vec::new())),
        TargetChoice::ByHost(NamedTargetSection { name, sni }) => {
            let hosts = sni.value?.0.into_iter().map(|HostName(host)| host).collect();
            Some((name.value?, hosts))
        }
    }
}

/// What would lead to two of a listener's targets, a sentence each.
fn shared_names(reached: &[Reached<'_>]) -> Vec<String> {
    let mut problems = Vec::new();
    let (mut targets, mut hosts, mut databases) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
    for (known, server_names) in reached {
        let name = known.name.as_str();
        if !targets.insert(name) {
            problems.push(format!("\"{name}\" is named twice"));
            continue;
        }
        for host in server_names {
            if let Some(other) = hosts.insert(host.as_str(), name) {
                problems.push(format!("the host name \"{host}\" would lead to \"{other}\" and to \"{name}\""));
            }
        }
        let by_database = known.target.iter().filter(|_| server_names.is_empty());
        for database in by_database.flat_map(Target::database_names) {
            if let Some(other) = databases.insert(database, name) {
                let what = format!("the database \"{}\" would be that of \"{other}\"", database.escape_debug());
                let advice = "give it another name in `databases`, or a host name in `sni`";
                problems.push(format!("{what} and that of \"{name}\"; {advice}"));
            }
        }
    }
    problems
}
