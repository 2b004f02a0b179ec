//! How people's own tools sign in: `[issuer.NAME] client`, and `[sign_in]`, where they learn of it.

use std::net::SocketAddr;

use super::issuers::IssuerSection;
use super::reading::{
    Field, Findings, FromToml, Keys, Located, Node, OneOrMany, choice, closest, section, value_if_any, value_or,
};
use super::urls::loopback;
use super::values::Address;
use super::{Issuer, IssuerClient, Listener, Metrics, OAuthBearer, Operators, SignIn};
use crate::identity::KeysAt;

/// Where an issuer's discovery document is, under its URL.
const WELL_KNOWN: &str = "/.well-known/openid-configuration";
/// Names for people to read, and a token that renews the others.
const SCOPES: [&str; 3] = ["profile", "email", "offline_access"];
/// What native programs are registered with (RFC 8252): this machine, and any port.
const REDIRECT: &str = "http://127.0.0.1/";

section! {
    /// The public client that people sign in by, with `hansard login`; it has no secret. At the issuer it is registered as a
    /// native application that may use refresh tokens, the redirect to loopback, and device codes where people have no
    /// browser.
    ClientSection {
        /// Its id at the issuer.
        id: Located<String>,
        /// What is asked for beside "openid". Of Entra: ["api://…/.default", "offline_access"].
        #[schemars(extend("default" = ["profile", "email", "offline_access"]))]
        scopes: Option<Located<OneOrMany<String>>>,
        /// For whom the token is to be, of an issuer that wants to be told so (RFC 8707). Default: it is not said.
        resource: Option<Located<String>>,
        /// The `prompt` of a sign-in by browser. "consent", of an issuer that renews tokens only for who was asked. Default: none
        /// is sent.
        prompt: Option<Located<String>>,
        /// Where the issuer sends browsers back to, as it is registered there: http:// on loopback. Without a port, to any
        /// that is free.
        #[schemars(extend("default" = "http://127.0.0.1/"))]
        redirect: Option<Located<String>>,
        /// Which of the issuer's tokens is the password.
        #[schemars(extend("default" = "access"))]
        token: Option<Located<ClientToken>>,
    }
}

choice! {
    /// Which of an issuer's tokens is the password.
    pub ClientToken {
        /// The access token.
        Access = "access",
        /// The ID token, of an issuer such as Google, whose access tokens only it can read.
        Id = "id",
    }
}

section! {
    /// Where people's tools learn how to sign in and where the databases are: `hansard login https://HOST:PORT` asks there, at
    /// /.well-known/hansard, over TLS. Nothing that is told there is secret, and everybody is told it. There too issuers say that
    /// access ended, at /logout and /events, and operators act.
    SignInSection {
        /// Address and port.
        address: Located<Address>,
        /// The listener whose certificate is shown. Default: the only listener.
        listener: Option<Located<String>>,
    }
}

section! {
    /// Operators: who may look at open sessions, end them and block people, with `hansard sessions`, at the address in [sign_in].
    /// Their tokens are those of everybody, with one of these roles in it.
    OperatorsSection {
        /// The roles, as the claim has them that [identity.NAME] names.
        roles: Located<OneOrMany<String>>,
        /// The issuers whose tokens count for that, by their names here. Default: all.
        issuers: Option<Located<OneOrMany<String>>>,
    }
}

section! {
    /// Where clients of a listener sign in that bring their tokens by SASL OAUTHBEARER.
    #[derive(Default)]
    OAuthBearerSection {
        /// The issuer, by its name here; it has a discovery document. Default: the only one.
        issuer: Option<Located<String>>,
        /// What they ask it for, with spaces between. Default: "openid" and the scopes of its `client`.
        scope: Option<Located<String>>,
    }
}

/// Where the clients of a listener sign in, if by OAUTHBEARER. `None` at the outside if something is wrong with it.
#[expect(clippy::option_option, reason = "absent and bad are different things here")]
pub(super) fn oauth_bearer(
    section: Option<Located<OAuthBearerSection>>,
    issuers: Option<&[Issuer]>,
    findings: &mut Findings,
) -> Option<Option<OAuthBearer>> {
    let Some(located) = section else { return Some(None) };
    let (at, name) = (located.at.clone(), located.name.clone());
    let section = located.value?;
    let issuers = issuers?;
    let issuer = match (section.issuer, issuers) {
        (Some(named), _) => {
            let known = |name: String| {
                let issuer = issuers.iter().find(|issuer| issuer.settings.name == name);
                issuer.ok_or_else(|| format!("there is no [issuer.{}]", name.escape_debug()))
            };
            named.try_map(known, findings).value?
        }
        (None, [only]) => only,
        (None, _) => {
            findings.note(&at, format!("{name}: the key \"issuer\" is missing; there are several"));
            return None;
        }
    };
    let KeysAt::Discovery(url) = &issuer.settings.keys else {
        findings.note(&at, format!("{name}: clients find the issuer by its discovery document, and it has none"));
        return None;
    };
    let issuer_url = url.trim_end_matches(WELL_KNOWN).trim_end_matches('/');
    let scopes = issuer.client.iter().flat_map(|client| &client.scopes).map(String::as_str);
    let usual: Vec<&str> = std::iter::once("openid").chain(scopes).collect();
    let scope = value_or(section.scope, usual.join(" "))?;
    Some(Some(OAuthBearer { configuration: format!("{issuer_url}{WELL_KNOWN}"), scope }))
}

/// The operators, if there are any. `None` at the outside if something is wrong with them.
#[expect(clippy::option_option, reason = "absent and bad are different things here")]
pub(super) fn operators(
    section: Option<Located<OperatorsSection>>,
    (issuers, has_door): (Option<&[Issuer]>, bool),
    findings: &mut Findings,
) -> Option<Option<Operators>> {
    let Some(located) = section else { return Some(None) };
    if !has_door {
        located.refuse("operators act at the address in [sign_in], which is missing", findings);
    }
    let section = located.value?;
    let known: Vec<&str> = issuers?.iter().map(|issuer| issuer.settings.name.as_str()).collect();
    let named = |named: OneOrMany<String>| match named.0.iter().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => Err(format!("there is no [issuer.{}]", unknown.escape_debug())),
        None => Ok(named.0),
    };
    let issuers = match section.issuers {
        Some(issuers) => issuers.try_map(named, findings).value?,
        None => Vec::new(),
    };
    Some(Some(Operators { roles: section.roles.value?.0, issuers }))
}

/// The client of an issuer. `None` at the outside if something is wrong with it.
#[expect(clippy::option_option, reason = "absent and bad are different things here")]
pub(super) fn client(section: &mut IssuerSection, findings: &mut Findings) -> Option<Option<IssuerClient>> {
    let Some(section) = value_if_any(section.client.take())? else { return Some(None) };
    let redirect = match section.redirect {
        None => Some(REDIRECT.to_owned()),
        Some(redirect) => redirect.try_map(|url| loopback(&url).map(|()| url), findings).value,
    };
    let scopes = OneOrMany(SCOPES.map(str::to_owned).to_vec());
    Some(Some(IssuerClient {
        id: section.id.value?,
        scopes: value_or(section.scopes, scopes)?.0,
        resource: value_if_any(section.resource)?,
        prompt: value_if_any(section.prompt)?,
        redirect: redirect?,
        token: value_or(section.token, ClientToken::Access)?,
    }))
}

/// Where people's tools are told, if anywhere. `None` at the outside if something is wrong with it.
#[expect(clippy::option_option, reason = "absent and bad are different things here")]
pub(super) fn sign_in(
    section: Option<Located<SignInSection>>,
    (listeners, metrics): (Option<&[Listener]>, Option<&Metrics>),
    has_purpose: Option<bool>,
    findings: &mut Findings,
) -> Option<Option<SignIn>> {
    let Some(located) = section else { return Some(None) };
    if has_purpose == Some(false) {
        let purposes =
            "no [issuer.NAME] has a `client`, which people sign in by, or `ends`, and there are no [operators]";
        located.refuse(purposes, findings);
    }
    let section = located.value?;
    let Address(address) = section.address.value?;
    let listeners = listeners?;
    if let Some(other) = taken(address, listeners, metrics) {
        section.address.refuse(format_args!("is that of {other} too"), findings);
    }
    let listener = match (section.listener, listeners) {
        (Some(named), _) => {
            let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
            let known = |name: String| {
                let meant = closest(&name, &names).map(|meant| format!("; did you mean \"{meant}\"?"));
                let unknown = || format!("there is no [listener.{}]{}", name.escape_debug(), meant.unwrap_or_default());
                if names.contains(&name.as_str()) { Ok(name) } else { Err(unknown()) }
            };
            named.try_map(known, findings).value?
        }
        (None, [only]) => only.name.clone(),
        (None, _) => {
            findings.note(&located.at, "sign_in: the key \"listener\" is missing; there are several listeners");
            return None;
        }
    };
    Some(Some(SignIn { address, listener }))
}

/// Who has the address already.
fn taken(address: SocketAddr, listeners: &[Listener], metrics: Option<&Metrics>) -> Option<String> {
    let listener = listeners.iter().find(|listener| listener.address == address);
    let metrics = metrics.filter(|metrics| metrics.address == address).map(|_| "telemetry.metrics".to_owned());
    listener.map(|listener| format!("listener.{}", listener.name)).or(metrics)
}
