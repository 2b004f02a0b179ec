//! What config says about an issuer: whom we trust, for which audience, and what its claims mean.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::discovery::discovery_url;
use super::introspection::Introspection;

/// More skew than this would keep an expired token alive for longer than people expect.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);
/// So long an issuer's keys are used past their time while it is away, unless config says otherwise: a night and a day.
pub const KEEP_WHEN_AWAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An issuer that is trusted, and how far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerSettings {
    /// The issuer's name in config; for messages.
    pub name: String,
    /// The names that its tokens bear (`iss`), to the letter; of several, principals bear the first. `{tenantid}` in them
    /// stands for each of `tenants`. None: as the discovery document's address has it.
    pub issuers: Vec<String>,
    /// The tenants whose tokens are taken, of an issuer whose names have a place for them. The token's `tid` must be the
    /// one that its name is of.
    pub tenants: Vec<String>,
    /// Where its keys are.
    pub keys: KeysAt,
    /// How long its keys are used past their time while it is away.
    pub keep_when_away: Duration,
    /// The audiences that are ours: a token must be for one of them.
    pub audience: Vec<String>,
    /// The signature algorithms that are accepted.
    pub algorithms: Vec<Algorithm>,
    /// Which of its tokens sign somebody in.
    pub tokens: Tokens,
    /// Claims of which an access token has one. None: it cannot be told so.
    pub access_marks: Vec<String>,
    /// How far the issuer's clock and ours may differ; at most [`MAX_CLOCK_SKEW`].
    pub clock_skew: Duration,
    /// How long after `iat` a token is accepted, whatever its `exp` says.
    pub max_token_age: Option<Duration>,
    /// Which claim means what.
    pub claims: ClaimMap,
    /// Claims that must have one of these values: `repository_owner_id`, `email_verified`.
    pub require_claims: BTreeMap<String, Vec<String>>,
    /// The same for workloads, instead; absent, as for everybody.
    pub require_claims_of_workloads: Option<BTreeMap<String, Vec<String>>>,
    /// A trust root for the issuer's HTTPS, in PEM, beside those of the machine.
    pub ca_file: Option<PathBuf>,
    /// Whom it may tell that access ended, and how; absent, it is not listened to.
    pub ends: Option<Ends>,
    /// How it is asked whether its tokens still hold; absent, it is not asked.
    pub introspection: Option<Introspection>,
    /// Whether tokens of a development issuer are accepted. Only `hansard demo` sets it; config has no key for it.
    pub allow_development: bool,
}

/// How an issuer says that access ended: by logout tokens (OpenID Connect Back-Channel Logout 1.0) and security events (RFC 8417).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ends {
    /// Whom they are meant for: our client's id at the issuer, or the name that its stream of events has for us.
    pub audience: Vec<String>,
    /// Who sends the events, if that is not the issuer by its own name and keys.
    pub transmitter: Option<Transmitter>,
}

/// A sender of security events about an issuer's people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmitter {
    /// The `iss` of its events, to the letter.
    pub issuer: String,
    /// Where its keys are.
    pub keys: KeysAt,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysAt {
    /// Where its discovery document says, which is under this URL; the document's own address is taken as well.
    Discovery(String),
    /// In a file that somebody puts there, a JWKS document; read again a second after it changed.
    File(PathBuf),
}

/// Which tokens of an issuer sign somebody in, of those that are for us. An ID token tells a client who signed in there;
/// whoever holds one was not asked whether it may be used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    /// Access tokens: what can be told to be an ID token is refused.
    Access,
    /// Access tokens whose header says that they are (`at+jwt`, RFC 9068).
    AtJwt,
    /// All.
    Any,
}

/// Which claim means what. A name is looked up whole first, then as a path: `realm_access.roles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMap {
    /// Who it is, for ever: `sub`, `oid`. Required in every token.
    pub subject: String,
    /// The same in the tokens of workloads, if it is another claim there. No value of the one may be one of the other.
    pub workload_subject: Option<String>,
    /// A name for people to read: the first of these that the token has.
    pub display: Vec<String>,
    /// The e-mail address.
    pub email: String,
    /// Roles: one text or a list of texts.
    pub roles: Option<String>,
    /// Groups: one text or a list of texts.
    pub groups: Option<String>,
    /// Claims that are kept with the session, as they are.
    pub keep: Vec<String>,
    /// Which tokens are of workloads.
    pub workloads: Workloads,
}

/// Which tokens are of workloads; the others are of persons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workloads {
    /// All.
    pub all: bool,
    /// Those in which one of these claims has one of its values. `*` at a value's beginning stands for anything.
    pub with: BTreeMap<String, Vec<String>>,
    /// Those that have none of these claims; no claims: no token for that reason.
    pub without: Vec<String>,
}

impl Default for ClaimMap {
    fn default() -> Self {
        Self {
            subject: "sub".to_owned(),
            workload_subject: None,
            display: ["name", "preferred_username", "email"].map(str::to_owned).to_vec(),
            email: "email".to_owned(),
            roles: Some("roles".to_owned()),
            groups: Some("groups".to_owned()),
            keep: Vec::new(),
            workloads: Workloads::default(),
        }
    }
}

impl IssuerSettings {
    /// Everything that is wrong with the settings, each with the key it stands under.
    pub fn problems(&self) -> Vec<SettingsProblem> {
        let mut problems = Vec::new();
        let mut problem = |key, sentence: String| problems.push(SettingsProblem { key, sentence });
        if let KeysAt::Discovery(url) = &self.keys
            && let Err(sentence) = discovery_url(url)
        {
            problem("discovery", sentence);
        }
        if self.audience.is_empty() || self.audience.iter().any(String::is_empty) {
            problem("audience", "at least one audience is needed, and none may be empty".to_owned());
        }
        if self.algorithms.is_empty() {
            problem("algorithms", "at least one signature algorithm is needed".to_owned());
        }
        if self.clock_skew > MAX_CLOCK_SKEW {
            problem("clock_skew", format!("at most {} s", MAX_CLOCK_SKEW.as_secs()));
        }
        if self.max_token_age.is_some_and(|age| age.is_zero()) {
            problem("max_token_age", "0 would refuse every token; leave it out for no limit".to_owned());
        }
        if self.claims.subject.is_empty() {
            problem("claims.subject", "the name of a claim is needed".to_owned());
        }
        let values =
            self.require_claims.values().chain(self.require_claims_of_workloads.iter().flat_map(BTreeMap::values));
        if values.into_iter().any(Vec::is_empty) {
            problem("require_claims", "a claim needs at least one value".to_owned());
        }
        problems.extend(self.problems_of_names());
        problems
    }
}

/// One thing that is wrong with the settings of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsProblem {
    /// The key in the issuer's settings.
    pub key: &'static str,
    /// What is wrong, for the operator.
    pub sentence: String,
}

impl fmt::Display for SettingsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.sentence)
    }
}

/// A signature algorithm that can be trusted: asymmetric only, so that nobody who can verify can also sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// RSA PKCS#1 v1.5 with SHA-384.
    Rs384,
    /// RSA PKCS#1 v1.5 with SHA-512.
    Rs512,
    /// RSA PSS with SHA-256.
    Ps256,
    /// RSA PSS with SHA-384.
    Ps384,
    /// RSA PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The name in a token's header and in config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn in_jsonwebtoken(self) -> jsonwebtoken::Algorithm {
        use jsonwebtoken::Algorithm as Theirs;
        match self {
            Self::Rs256 => Theirs::RS256,
            Self::Rs384 => Theirs::RS384,
            Self::Rs512 => Theirs::RS512,
            Self::Ps256 => Theirs::PS256,
            Self::Ps384 => Theirs::PS384,
            Self::Ps512 => Theirs::PS512,
            Self::Es256 => Theirs::ES256,
            Self::Es384 => Theirs::ES384,
            Self::EdDsa => Theirs::EdDSA,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|known| known.as_str() == text).ok_or(UnknownAlgorithm)
    }
}

/// The text names no algorithm that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected one of RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA; shared secrets (HS…) are never accepted"
)]
pub struct UnknownAlgorithm;

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn only_asymmetric_algorithms_have_a_name() {
        for known in Algorithm::ALL {
            assert_eq!(known.to_string().parse(), Ok(known));
        }
        for bad in ["none", "None", "NONE", "HS256", "HS384", "HS512", "rs256", "", "RS256 "] {
            assert_eq!(bad.parse::<Algorithm>(), Err(UnknownAlgorithm), "{bad}");
        }
    }

    #[test]
    fn every_bad_setting_is_named_by_its_key() {
        let good = fixtures::settings();
        assert_eq!(good.problems(), []);
        let bad = IssuerSettings {
            keys: KeysAt::Discovery("http://issuer.example".to_owned()),
            audience: vec![String::new()],
            algorithms: Vec::new(),
            clock_skew: Duration::from_secs(61),
            max_token_age: Some(Duration::ZERO),
            claims: ClaimMap { subject: String::new(), ..ClaimMap::default() },
            ..good
        };
        let keys: Vec<_> = bad.problems().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["discovery", "audience", "algorithms", "clock_skew", "max_token_age", "claims.subject"]);
    }
}
