//! What a login of ours shows to a database: a password, or a token and of whom it is had.

use std::path::{Path, PathBuf};

use super::Secret;
use super::checks::Folder;
use super::logins::Require;
use super::reading::{Field, Findings, FromToml, Keys, Located, Node, Place, choice, section, value_if_any, value_or};
use super::urls::web;
use super::values::SecretSection;

/// What Azure Database for PostgreSQL is called at Microsoft's issuer.
const AZURE_DATABASE: &str = "https://ossrdbms-aad.database.windows.net";

section! {
    /// An access token that is shown to the database for the password, as Azure Database for PostgreSQL takes it. It is had when
    /// it is needed, renewed ahead of its end, and sent over verified TLS only.
    TokenSection {
        /// Of whom it is had.
        from: Located<TokenFrom>,
        /// The tenant of Microsoft Entra ID that gives it out, by its identifier or its domain. With
        /// from = "workload_identity" the default is that of the environment, AZURE_TENANT_ID.
        tenant: Option<Located<String>>,
        /// Where another issuer gives tokens out (its token endpoint); https, except on loopback. With
        /// from = "managed_identity": where the machine is told who it is. Default: 169.254.169.254, as in Azure.
        endpoint: Option<Located<String>>,
        /// Our client's id at the issuer, or which of the machine's identities. Default: with from = "workload_identity" that
        /// of the environment, AZURE_CLIENT_ID; with from = "managed_identity" the machine's own.
        client_id: Option<Located<String>>,
        /// With from = "client_credentials": the client's secret, by reference; read anew each time that a token is asked for.
        client_secret: Option<Located<SecretSection>>,
        /// With from = "workload_identity": the file with the token that we are known by where we run; read anew each time.
        /// Default: that of the environment, AZURE_FEDERATED_TOKEN_FILE.
        assertion_file: Option<Located<PathBuf>>,
        /// What the token is asked for. Default with `tenant`: that of Azure Database for PostgreSQL.
        scope: Option<Located<String>>,
        /// Whom the token is to be for, at issuers that are told (RFC 8707). Default with from = "managed_identity": Azure
        /// Database for PostgreSQL.
        resource: Option<Located<String>>,
        /// PEM file of the authorities that may vouch for the issuer's own server. Default: the system's.
        ca_file: Option<Located<PathBuf>>,
    }
}

choice! {
    /// Of whom our token is had.
    pub(super) TokenFrom {
        /// Of an issuer that knows us by a secret.
        ClientCredentials = "client_credentials",
        /// Of an issuer that believes what another one signed for us: workload-identity federation.
        WorkloadIdentity = "workload_identity",
        /// Of the machine in Azure that we run on.
        ManagedIdentity = "managed_identity",
    }
}

/// What our own login shows to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginProof {
    /// A password.
    Password(Secret),
    /// An access token.
    Token(LoginToken),
}

/// `[target.NAME] login.token`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginToken {
    /// Of whom it is had.
    pub of: TokenIssuer,
    /// What it is asked for, if that is said.
    pub scope: Option<String>,
    /// Whom it is to be for, if that is said.
    pub resource: Option<String>,
    /// The authorities that vouch for the issuer's server; absent, the system's.
    pub ca_file: Option<PathBuf>,
}

/// Of whom our token is had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenIssuer {
    /// Of an issuer, for a secret.
    ClientCredentials {
        /// Where it gives tokens out.
        endpoint: String,
        /// Our id there.
        client_id: String,
        /// The secret.
        secret: Secret,
    },
    /// Of an issuer, for an assertion. What is absent the environment says, as Azure sets it for a pod.
    WorkloadIdentity {
        /// Where it gives tokens out.
        endpoint: Option<String>,
        /// Our id there.
        client_id: Option<String>,
        /// The assertion.
        assertion: Option<Secret>,
    },
    /// Of the machine.
    ManagedIdentity {
        /// Where it is told, if not where Azure has it.
        endpoint: Option<String>,
        /// Which of its identities.
        client_id: Option<String>,
    },
}

impl LoginProof {
    /// The secret that it refers to, if there is one.
    pub(super) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Password(secret)
            | Self::Token(LoginToken { of: TokenIssuer::ClientCredentials { secret, .. }, .. }) => Some(secret),
            Self::Token(LoginToken { of: TokenIssuer::WorkloadIdentity { assertion, .. }, .. }) => assertion.as_ref(),
            Self::Token(_) => None,
        }
    }

    /// The file of authorities that it refers to, if there is one.
    pub(super) fn ca_file(&self) -> Option<&Path> {
        match self {
            Self::Password(_) => None,
            Self::Token(token) => token.ca_file.as_deref(),
        }
    }
}

/// Where Entra gives the tokens of a tenant out.
#[must_use]
pub fn entra_endpoint(tenant: &str) -> String {
    format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token")
}

/// What a login is written to show.
#[derive(Debug)]
pub(super) struct Written<'s> {
    pub(super) password: Option<Located<SecretSection>>,
    pub(super) token: Option<Located<TokenSection>>,
    pub(super) require: Option<Located<Require>>,
    /// Where the login stands, and its full name.
    pub(super) login: (&'s Place, &'s str),
}

/// What a login shows, and what the database must ask for. `is_plain`: there is no TLS to the server.
pub(super) fn shown(
    written: Written<'_>,
    (is_plain, folder): (bool, Folder<'_>),
    findings: &mut Findings,
) -> Option<(LoginProof, Require)> {
    let Written { password, token: own, require, login: (at, name) } = written;
    if let Some(require) = require.as_ref().filter(|require| require.value == Some(Require::ScramSha256Plus))
        && is_plain
    {
        require.refuse("\"scram-sha-256-plus\" needs TLS to be bound to", findings);
    }
    let proof = match (password, own) {
        (Some(password), None) => folder.secret(password).map(LoginProof::Password),
        (None, Some(own)) => {
            if is_plain {
                own.refuse("a token is sent over verified TLS only, and there is none to this upstream", findings);
            }
            if let Some(require) = require.as_ref().filter(|it| it.value.is_some_and(|it| it != Require::Password)) {
                require.refuse("a token is a password that is sent as it is: \"password\", or leave it out", findings);
            }
            token(own, folder, findings).map(LoginProof::Token)
        }
        (Some(_), Some(own)) => {
            own.refuse("a login shows a password or a token, not both", findings);
            None
        }
        (None, None) => {
            findings.note(at, format!("{name}: the key \"password\" is missing, or \"token\""));
            None
        }
    };
    let default = if matches!(proof, Some(LoginProof::Token(_))) { Require::Password } else { Require::ScramSha256 };
    proof.zip(value_or(require, default))
}

fn token(section: Located<TokenSection>, folder: Folder<'_>, findings: &mut Findings) -> Option<LoginToken> {
    let Located { value, at, name } = section;
    let section = value?;
    let from = section.from.value?;
    refuse_strangers(&section, from, findings);
    let TokenSection { tenant, endpoint, client_id, client_secret, assertion_file, scope, resource, ca_file, .. } =
        section;
    if let (Some(_), Some(endpoint)) = (&tenant, &endpoint) {
        endpoint.refuse("is that of the tenant, or of another issuer, not both", findings);
    }
    let is_entra = endpoint.is_none();
    let tenant = value_if_any(tenant.map(|tenant| tenant.try_map(tenant_name, findings)));
    let endpoint = value_if_any(endpoint.map(|url| url.try_map(|url| web(&url).map(|()| url), findings)));
    let endpoint = endpoint?.or(tenant?.as_deref().map(entra_endpoint));
    let client_id = value_if_any(client_id)?;
    let mut needs = |key: &str| findings.note(&at, format!("{name}: from = \"{}\" needs \"{key}\"", from.as_str()));
    let of = match from {
        TokenFrom::ClientCredentials => {
            for (key, is_there) in [
                ("tenant\" or \"endpoint", endpoint.is_some()),
                ("client_id", client_id.is_some()),
                ("client_secret", client_secret.is_some()),
            ] {
                if !is_there {
                    needs(key);
                }
            }
            let secret = folder.secret(client_secret?)?;
            TokenIssuer::ClientCredentials { endpoint: endpoint?, client_id: client_id?, secret }
        }
        TokenFrom::WorkloadIdentity => {
            let in_file = |file: Located<PathBuf>| Some(Secret::in_file(file.name, folder.path(file.value?)));
            let assertion = match assertion_file {
                Some(file) => Some(in_file(file)?),
                None => None,
            };
            TokenIssuer::WorkloadIdentity { endpoint, client_id, assertion }
        }
        TokenFrom::ManagedIdentity => TokenIssuer::ManagedIdentity { endpoint, client_id },
    };
    let (mut scope, mut resource) = (value_if_any(scope)?, value_if_any(resource)?);
    match from {
        TokenFrom::ManagedIdentity => resource = resource.or_else(|| Some(AZURE_DATABASE.to_owned())),
        _ if is_entra && resource.is_none() => scope = scope.or_else(|| Some(format!("{AZURE_DATABASE}/.default"))),
        _ if scope.is_none() && resource.is_none() => {
            needs("scope\" or \"resource");
            return None;
        }
        _ => {}
    }
    let ca_file = value_if_any(ca_file)?.map(|path| folder.path(path));
    Some(LoginToken { of, scope, resource, ca_file })
}

/// Notes keys that mean nothing for tokens had in this way.
fn refuse_strangers(section: &TokenSection, from: TokenFrom, findings: &mut Findings) {
    fn at<T>(field: Option<&Located<T>>) -> Option<(&Place, &str)> {
        field.map(|field| (&field.at, field.name.as_str()))
    }
    let is_machine = from == TokenFrom::ManagedIdentity;
    for (is_at_home, there) in [
        (!is_machine, at(section.tenant.as_ref())),
        (!is_machine, at(section.scope.as_ref())),
        (from == TokenFrom::ClientCredentials, at(section.client_secret.as_ref())),
        (from == TokenFrom::WorkloadIdentity, at(section.assertion_file.as_ref())),
    ] {
        if let Some((place, name)) = there.filter(|_| !is_at_home) {
            findings.note(place, format!("{name}: has no meaning with from = \"{}\"", from.as_str()));
        }
    }
}

/// A tenant stands in a URL.
fn tenant_name(tenant: String) -> Result<String, &'static str> {
    let fits = tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if fits { Ok(tenant) } else { Err("a tenant is an identifier or a domain: letters, digits, - and .") }
}
