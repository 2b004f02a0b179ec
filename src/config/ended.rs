//! How an issuer says that access ended, `[issuer.NAME] ends`, and how it is asked, `[issuer.NAME] introspection`.

use std::path::PathBuf;
use std::time::Duration;

use super::checks::Folder;
use super::reading::{Field, Findings, FromToml, Keys, Located, Node, OneOrMany, section, value_or};
use super::units::{Age, duration_text};
use super::urls::web;
use super::values::SecretSection;
use super::{IssuerClient, IssuerIntrospection};
use crate::identity::{Ends, KeysAt, Transmitter};

/// How often an issuer is asked unless told otherwise: a minute is what somebody who loses a token waits anyway.
const PACE: Duration = Duration::from_secs(60);
/// Below it thousands of sessions would be a burden to the issuer.
const PACE_FLOOR: Duration = Duration::from_secs(5);
/// Above it the tokens have ended by themselves.
const PACE_CEILING: Duration = Duration::from_secs(86_400);

section! {
    /// How an issuer says that access ended.
    #[derive(Default)]
    EndsSection {
        /// Whom it says that to, in `aud`. Default: the id of `client`.
        audience: Option<Located<OneOrMany<String>>>,
        /// Who sends security events, if they do not come by the issuer's own name and keys.
        transmitter: Option<Located<TransmitterSection>>,
    }
}

section! {
    /// Who sends security events about an issuer's people.
    TransmitterSection {
        /// Its name in events (`iss`), to the letter.
        issuer: Located<String>,
        /// Where its keys are found: the discovery document is read from `/.well-known/openid-configuration` under this URL. https,
        /// except on loopback. Default: as for the issuer.
        discovery: Option<Located<String>>,
        /// JWKS file with its keys, instead.
        jwks_file: Option<Located<PathBuf>>,
    }
}

section! {
    /// How an issuer is asked whether its tokens still hold (RFC 7662): at each sign-in, and of each open session at a pace. A token
    /// that only the issuer can read signs in too, if no other issuer is asked; what the issuer says of it are its claims.
    IntrospectionSection {
        /// Our own client at the issuer, which may ask.
        client_id: Located<String>,
        /// Its secret, by reference.
        client_secret: Located<SecretSection>,
        /// How often it is asked about an open session; 5s to 1d. While it does not answer, sessions go on for `keep_keys`.
        #[schemars(extend("default" = "60s"))]
        every: Option<Located<Age>>,
    }
}

/// How an issuer is asked whether its tokens still hold, if it is. `None` at the outside if something is wrong with that.
#[expect(clippy::option_option, reason = "absent and bad are different things here")]
pub(super) fn introspection(
    section: Option<Located<IntrospectionSection>>,
    (keys_are_in_a_file, folder): (bool, Folder<'_>),
    findings: &mut Findings,
) -> Option<Option<IssuerIntrospection>> {
    let Some(located) = section else { return Some(None) };
    if keys_are_in_a_file {
        located.refuse("an issuer is asked where its discovery document says, so `discovery` is needed", findings);
    }
    let section = located.value?;
    if let Some(every) = &section.every
        && every.value.is_some_and(|Age(every)| !(PACE_FLOOR..=PACE_CEILING).contains(&every))
    {
        let (floor, ceiling) = (duration_text(PACE_FLOOR), duration_text(PACE_CEILING));
        every.refuse(format_args!("must be {floor} to {ceiling}"), findings);
    }
    let Age(every) = value_or(section.every, Age(PACE))?;
    let client_secret = folder.secret(section.client_secret)?;
    Some(Some(IssuerIntrospection { client_id: section.client_id.value?, client_secret, every }))
}

/// Whom an issuer tells that access ended, and who tells it, with keys of its own if it has any.
pub(super) struct Told {
    audience: Vec<String>,
    sender: Option<(String, Option<KeysAt>)>,
}

impl Told {
    /// For an issuer with these keys.
    pub(super) fn by(self, keys: &KeysAt) -> Ends {
        let transmitter =
            |(issuer, own): (String, Option<KeysAt>)| Transmitter { issuer, keys: own.unwrap_or_else(|| keys.clone()) };
        Ends { audience: self.audience, transmitter: self.sender.map(transmitter) }
    }
}

/// How the issuer says that access ended, if it is listened to. `None` at the outside if something is wrong with that.
#[expect(clippy::option_option, reason = "absent and bad are different things here")]
pub(super) fn ends(
    section: Option<Located<EndsSection>>,
    client: Option<&IssuerClient>,
    (has_door, folder): (bool, Folder<'_>),
    findings: &mut Findings,
) -> Option<Option<Told>> {
    let Some(located) = section else { return Some(None) };
    if !has_door {
        located.refuse("it is said at the address in [sign_in], which is missing", findings);
    }
    let has_audience = located.value.as_ref().is_some_and(|ends| ends.audience.is_some());
    if !has_audience && client.is_none() {
        located.refuse("needs the key \"audience\", as there is no `client`", findings);
    }
    let ends = located.value?;
    let audience = match ends.audience {
        Some(audience) => audience.value.map(|audience| audience.0),
        None => client.map(|client| vec![client.id.clone()]),
    };
    let Some(sender) = ends.transmitter else { return Some(Some(Told { audience: audience?, sender: None })) };
    let sender = sender.value?;
    let keys = match (sender.discovery, sender.jwks_file) {
        (None, None) => None,
        (Some(discovery), None) => {
            let at = discovery.try_map(|url| web(&url).map(|_| KeysAt::Discovery(url)), findings);
            Some(at.value?)
        }
        (None, Some(file)) => Some(KeysAt::File(folder.path(file.value?))),
        (Some(_), Some(file)) => {
            file.refuse("the keys are found by `discovery` or in this file, not both", findings);
            return None;
        }
    };
    Some(Some(Told { audience: audience?, sender: Some((sender.issuer.value?, keys)) }))
}
