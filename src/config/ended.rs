//! How an issuer says that access ended: `[issuer.NAME] ends`.

use std::path::PathBuf;

use super::IssuerClient;
use super::checks::Folder;
use super::reading::{Field, Findings, FromToml, Keys, Located, Node, OneOrMany, section};
use super::urls::web;
use crate::identity::{Ends, KeysAt, Transmitter};

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
