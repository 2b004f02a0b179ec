//! Values of the file that have a form of their own: references to secrets, names, addresses, claims.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use rustls_pki_types::DnsName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::de::DeValue;

use super::reading::{
    Field, Findings, FromToml, Keys, Located, Named, Node, OneOrMany, TextValue, section, text_schema,
};
use super::units::{Age, Percent, Size};

/// The newest format of the file that this program reads.
pub(super) const VERSION: i64 = 1;

section! {
    /// Where a secret is: exactly one of the two. Never the secret itself.
    SecretTable {
        /// The file that holds it.
        file: Option<Located<PathBuf>>,
        /// The environment variable that holds it.
        env: Option<Located<String>>,
    }
}

section! {
    /// A value from the environment.
    EnvSection {
        /// The variable.
        env: Located<String>,
    }
}

/// A reference to a secret.
#[derive(Debug, Clone)]
pub(super) enum SecretSection {
    File(PathBuf),
    Env(String),
}

impl FromToml for SecretSection {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        let (at, name) = (node.at(), node.name.clone());
        if node.value.get_ref().as_table().is_none() {
            let advice = "a secret is given by reference, { file = \"…\" } or { env = \"…\" }, never written out";
            findings.note(&at, format!("{name}: {advice}"));
            return None;
        }
        match SecretTable::read(node, findings)? {
            SecretTable { file: Some(file), env: None } => file.value.map(Self::File),
            SecretTable { file: None, env: Some(env) } => env.value.map(Self::Env),
            _ => {
                findings.note(&at, format!("{name}: give exactly one of \"file\" and \"env\""));
                None
            }
        }
    }
}

impl JsonSchema for SecretSection {
    fn schema_name() -> Cow<'static, str> {
        "SecretSection".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = SecretTable::json_schema(generator);
        schema.insert("minProperties".to_owned(), 1.into());
        schema.insert("maxProperties".to_owned(), 1.into());
        schema
    }
}

section! {
    /// A target that is reached by a host name.
    NamedTargetSection {
        /// The target.
        name: Located<String>,
        /// The host names by which a client asks for it in its TLS handshake (SNI), and by which alone it is reached. Several
        /// targets may then have databases of the same name. The certificate must hold these names.
        sni: Located<OneOrMany<HostName>>,
    }
}

/// A target of a listener, by its name alone or with the host names that lead to it.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum TargetChoice {
    Name(String),
    ByHost(NamedTargetSection),
}

impl FromToml for TargetChoice {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::String(_) => String::read(node, findings).map(Self::Name),
            DeValue::Table(_) => NamedTargetSection::read(node, findings).map(Self::ByHost),
            _ => node.refuse("the name of a target or { name = \"…\", sni = \"…\" }", findings),
        }
    }
}

/// The name of a host as TLS says it, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostName(pub(super) String);

impl TextValue for HostName {
    const EXPECTED: &'static str = "the name of a host, such as \"db.example.com\", not an address";
    const PATTERN: &'static str = "^[A-Za-z0-9_.-]+$";

    fn parse(text: &str) -> Option<Self> {
        let name = DnsName::try_from(text).ok().filter(|_| !text.ends_with('.'))?;
        Some(Self(name.as_ref().to_ascii_lowercase()))
    }
}

/// The recorder's name, written out or taken from the environment.
#[derive(Debug, Clone, JsonSchema)]
#[schemars(untagged)]
pub(super) enum NodeSetting {
    Name(String),
    Env(EnvSection),
}

impl FromToml for NodeSetting {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        match node.value.get_ref() {
            DeValue::String(_) => String::read(node, findings).map(Self::Name),
            DeValue::Table(_) => EnvSection::read(node, findings).map(Self::Env),
            _ => node.refuse("a name or { env = \"…\" }", findings),
        }
    }
}

/// The format of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version;

impl FromToml for Version {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        match version(node.value.get_ref()) {
            Some(VERSION) => Some(Self),
            _ => {
                findings.note(&node.at(), format!("{}: expected {VERSION}", node.name));
                None
            }
        }
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "const": VERSION })
    }
}

/// A version number as written.
pub(super) fn version(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// What a claim must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ClaimValue(pub(super) serde_json::Value);

impl FromToml for ClaimValue {
    fn read(node: Node<'_, '_>, findings: &mut Findings) -> Option<Self> {
        let value = match node.value.get_ref() {
            DeValue::String(text) => serde_json::Value::from(text.as_ref()),
            DeValue::Boolean(flag) => serde_json::Value::from(*flag),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => serde_json::Value::from(number),
                Err(_) => return node.refuse("a whole number that fits 64 bits", findings),
            },
            _ => return node.refuse("text, a whole number, true or false", findings),
        };
        Some(Self(value))
    }
}

/// The values of claims as texts, which is how claims are compared.
pub(super) fn claim_values(claims: Named<OneOrMany<ClaimValue>>) -> Option<BTreeMap<String, Vec<String>>> {
    let text = |ClaimValue(value): ClaimValue| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let values = |values: OneOrMany<ClaimValue>| values.0.into_iter().map(text).collect();
    claims.0.into_iter().map(|(claim, wanted)| Some((claim, values(wanted.value?)))).collect()
}

impl JsonSchema for ClaimValue {
    fn schema_name() -> Cow<'static, str> {
        "ClaimValue".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer", "boolean"] })
    }
}

/// Address and port to listen on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address(pub(super) SocketAddr);

impl TextValue for Address {
    const EXPECTED: &'static str = "an IP address and a port, such as \"127.0.0.1:6432\" or \"[::1]:6432\"";
    const PATTERN: &'static str = "^.+:[0-9]+$";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Network(pub(super) IpNet);

impl TextValue for Network {
    const EXPECTED: &'static str = "an IP address, or a network with nothing behind its prefix, such as \"10.0.4.0/24\"; not \
                                    everything";
    const PATTERN: &'static str = "^[0-9A-Fa-f.:]+(/[0-9]+)?$";

    fn parse(text: &str) -> Option<Self> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()?;
        // Bits behind the prefix are a slip of the pen, and which of the two is meant nobody knows.
        (network.trunc() == network && network.prefix_len() > 0).then_some(Self(network))
    }
}

/// Host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Where a database server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// On the network.
    Tcp(Upstream),
    /// On this machine: the path of its socket.
    Unix(PathBuf),
}

/// The longest path of a socket, in bytes: `sun_path` of Linux without the zero at its end.
const MAX_SOCKET_PATH: usize = 107;

impl Server {
    /// Whether the server is on this machine, by its socket, its address or the one name that always means so.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(upstream) => is_loopback(&upstream.host),
            Self::Unix(_) => true,
        }
    }

    /// Whether it is reached by a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

/// Whether `host` (without brackets) is this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl TextValue for Upstream {
    const EXPECTED: &'static str = "a host and a port, such as \"db.internal:5432\"";
    const PATTERN: &'static str = "^.+:[0-9]+$";

    fn parse(text: &str) -> Option<Self> {
        let (host, port) = host_and_port(text)?;
        let bare = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').filter(|inner| inner.contains(':'))?,
            None => host,
        };
        let name = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        let fits = !bare.is_empty() && (name(bare) || bare.parse::<IpAddr>().is_ok());
        let bracketed_if_v6 = bare.contains(':') == host.starts_with('[');
        (fits && bracketed_if_v6).then(|| Self { host: bare.to_owned(), port })
    }
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten()?;
    (port != 0).then_some((host, port))
}

/// As `libpq` has it: a host that begins with a slash is the folder of a socket, whose name is made of the port.
impl TextValue for Server {
    const EXPECTED: &'static str = "a host and a port, such as \"db.internal:5432\", or the folder of a Unix socket and a \
                                    port, such as \"/run/postgresql:5432\"";
    const PATTERN: &'static str = "^.+:[0-9]+$";

    fn parse(text: &str) -> Option<Self> {
        if !text.starts_with('/') {
            return Upstream::parse(text).map(Self::Tcp);
        }
        let (folder, port) = host_and_port(text)?;
        let path = PathBuf::from(folder).join(format!(".s.PGSQL.{port}"));
        (path.as_os_str().len() <= MAX_SOCKET_PATH).then_some(Self::Unix(path))
    }
}

text_schema!(Age, Size, Percent, Address, Network, HostName, Server, Upstream);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_host_and_a_port() {
        let read = Server::parse;
        let tcp = |host: &str, port: u16| Some(Server::Tcp(Upstream { host: host.to_owned(), port }));
        assert_eq!(read("db.internal:5432"), tcp("db.internal", 5432));
        assert_eq!(read("[::1]:5432"), tcp("::1", 5432));
        let socket = |path: &str| Some(Server::Unix(PathBuf::from(path)));
        assert_eq!(read("/run/postgresql:5433"), socket("/run/postgresql/.s.PGSQL.5433"));
        assert_eq!(read(&format!("/{}:5432", "x".repeat(100))), None, "longer than a socket's path may be");
        for bad in [
            "db",
            "db:",
            ":5432",
            "db:0",
            "db:+1",
            "db:65536",
            "::1:5432",
            "[db]:5432",
            "a/b:1",
            "u@h:1",
            "a b:1",
            "/run:0",
            "/run",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_name_is_one_that_tls_can_say() {
        let read = |text: &str| HostName::parse(text).map(|HostName(name)| name);
        assert_eq!(read("Clinic.Example.com"), Some("clinic.example.com".to_owned()));
        assert_eq!(read("localhost"), Some("localhost".to_owned()));
        for bad in ["", "10.0.0.1", "::1", "clinic.example.com.", "a..b", "a b", "*.example.com", "-", "clinic:5432"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_network_is_an_address_or_a_prefix_with_nothing_behind_it() {
        let read = |text: &str| Network::parse(text).map(|Network(network)| network.to_string());
        for (text, network) in [
            ("10.0.4.0/24", "10.0.4.0/24"),
            ("10.0.4.7", "10.0.4.7/32"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("0.0.0.0/1", "0.0.0.0/1"),
        ] {
            assert_eq!(read(text).as_deref(), Some(network));
        }
        for bad in
            ["", "10.0.4.7/24", "10.0.0.0/33", "0.0.0.0/0", "::/0", "balancer", "10.0.4.0/", "10.0.4/24", "10.0.4.7:1"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn loopback_is_an_address_of_this_machine_and_nothing_that_looks_like_one() {
        for here in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"] {
            assert!(is_loopback(here), "{here}");
        }
        for elsewhere in ["localhost.example", "127.0.0.1.example", "0.0.0.0", "::", "10.0.0.1", ""] {
            assert!(!is_loopback(elsewhere), "{elsewhere}");
        }
    }
}
