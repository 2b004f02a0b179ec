//! Token → [`Principal`], or why not.
//!
//! Promises: nobody is named whose token was not signed by a key that the configured issuer publishes now (or published
//! lately, while it is away), for our audience, and is within its time. Of several issuers each vouches for its own: a key
//! of one signs for no other, and the same subject of two issuers is two principals. Nobody is asked anything about a
//! token whose `iss` is not configured. No token is stored or logged, nor any part of one that could be used again. Nothing
//! in a token, however long or strange, takes the process down.
//!
//! ```text
//! bytes ─► token: is it one, who says to have issued it ─► names: whose ─► cache: keys ◄─ discovery ◄─ HTTPS or a file
//!                                                             └─► signature, audience ─► claims ─► Principal
//! ```
//!
//! What the large issuers call things is data, in [`Preset`]; no check knows of it.
//!
//! The other way round, [`TokenSource`] gets tokens that a database lets *us* in by.
//!
//! The signature, the issuer and the audience are jsonwebtoken's to check. The rest is checked here, because it checks
//! time by the machine's clock, and neither `iat`, `typ` nor `crit` at all.

mod cache;
mod claims;
mod discovery;
mod ended;
#[cfg(test)]
mod fixtures;
mod introspection;
mod keys;
mod names;
mod others;
mod outgoing;
mod presets;
mod refusal;
mod settings;
#[cfg(test)]
mod tests;
mod token;
mod twins;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Validation;
use jsonwebtoken::errors::ErrorKind;
use serde_json::{Map, Value};

use crate::model::{Clock, Credential, Principal, Sha256, Timestamp};

use cache::KeyCache;
use claims::Token;
use discovery::Source;
use introspection::{Introspector, may_be_opaque};
use keys::{Fitting, Key, KeySet};
use names::Name;
use refusal::quoted;
use token::{As, Presented};

pub use cache::Pace;
pub use ended::{Ended, Says};
pub use introspection::Introspection;
pub use others::{Others, OthersError, PASSED_ON, Repeated};
pub use outgoing::{AZURE_MACHINE, ClientProof, Grant, Reading, TokenError, TokenSettings, TokenSource};
pub use presets::Preset;
pub use refusal::{Cause, Refusal};
pub use settings::{
    Algorithm, ClaimMap, Ends, IssuerSettings, KEEP_WHEN_AWAY, KeysAt, MAX_CLOCK_SKEW, SettingsProblem, Tokens,
    Transmitter, UnknownAlgorithm, Workloads,
};

/// Why an issuer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The settings are wrong.
    #[error("issuer {issuer}: {}", list(.problems))]
    Settings {
        /// The issuer's name in config.
        issuer: String,
        /// Everything that is wrong.
        problems: Vec<SettingsProblem>,
    },
    /// The trust root cannot be read.
    #[error("issuer {issuer}: the certificates in {}: {reason}", path.display())]
    CaFile {
        /// The issuer's name in config.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of its keys cannot be used.
    #[error("issuer {issuer}: the keys in {}: {reason}", path.display())]
    KeyFile {
        /// The issuer's name in config.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Two issuers say that tokens of the same name are theirs.
    #[error("issuer {second} has the name {iss} that issuer {first} has: a token has one issuer")]
    SameName {
        /// The name.
        iss: String,
        /// Who has it, by the name in config.
        first: String,
        /// Who has it too.
        second: String,
    },
    /// The HTTP client cannot be set up.
    #[error("issuer {issuer}: {reason}")]
    Client {
        /// The issuer's name in config.
        issuer: String,
        /// Why.
        reason: String,
    },
    /// The issuer does not answer; retrying may help.
    #[error("issuer {issuer} does not answer at {url}: {reason}")]
    Away {
        /// The issuer's name in config.
        issuer: String,
        /// What was asked for.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// The issuer answers, but not as an issuer should.
    #[error("issuer {issuer}: the document at {url} cannot be used: {reason}")]
    Document {
        /// The issuer's name in config.
        issuer: String,
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The issuer publishes no key for signatures.
    #[error("issuer {issuer} publishes no key that can verify a signature")]
    NoKeys {
        /// The issuer's name in config.
        issuer: String,
    },
    /// The issuer is one for development, and this is not the demo.
    #[error("issuer {issuer} is a development issuer; only `hansard demo` trusts one")]
    DevelopmentIssuer {
        /// The issuer's name in config.
        issuer: String,
    },
}

fn list(problems: &[SettingsProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Turns what a client presents into a principal.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<Issuer>,
    /// By the `iss` of a token: which of the issuers, and which of its names.
    by_name: HashMap<String, (usize, usize)>,
    enders: ended::Enders,
    clock: Arc<dyn Clock>,
}

impl Verifier {
    /// A verifier that trusts these issuers. Nothing is asked of them yet.
    ///
    /// # Errors
    ///
    /// Settings are wrong, two issuers have the same name, or certificates cannot be read.
    pub fn new(
        issuers: impl IntoIterator<Item = IssuerSettings>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IdentityError> {
        Self::with_pace(issuers, clock, Pace::default())
    }

    /// A verifier that asks its issuers for keys at another pace than the usual one.
    ///
    /// # Errors
    ///
    /// As for [`Verifier::new`].
    pub fn with_pace(
        issuers: impl IntoIterator<Item = IssuerSettings>,
        clock: Arc<dyn Clock>,
        pace: Pace,
    ) -> Result<Self, IdentityError> {
        install_crypto();
        let issuers = issuers.into_iter().map(|settings| Issuer::new(settings, pace)).collect::<Result<Vec<_>, _>>()?;
        Self::of(issuers, clock, pace)
    }

    fn of(issuers: Vec<Issuer>, clock: Arc<dyn Clock>, pace: Pace) -> Result<Self, IdentityError> {
        let mut by_name: HashMap<String, (usize, usize)> = HashMap::new();
        for (at, issuer) in issuers.iter().enumerate() {
            for (which, name) in issuer.names.iter().enumerate() {
                let before = by_name.insert(name.iss.clone(), (at, which));
                let first = before.filter(|(other, _)| *other != at).and_then(|(other, _)| issuers.get(other));
                if let Some(first) = first {
                    let (first, second) = (first.settings.name.clone(), issuer.settings.name.clone());
                    return Err(IdentityError::SameName { iss: name.iss.clone(), first, second });
                }
            }
        }
        let enders = ended::Enders::new(&issuers, pace)?;
        Ok(Self { issuers, by_name, enders, clock })
    }

    /// Asks all issuers for their keys now. Tokens are accepted without it too: the first one asks.
    ///
    /// # Errors
    ///
    /// Of the first, in the order of config, that does not answer, answers wrongly, has no key for us, or is a development
    /// issuer; the others were asked all the same.
    pub async fn warm(&self) -> Result<(), IdentityError> {
        futures::future::join_all(self.issuers.iter().map(Issuer::warm)).await.into_iter().collect()
    }

    /// The issuers by their names in config, and whether each answered when it was last asked for its keys.
    pub fn issuers(&self) -> impl Iterator<Item = (&str, bool)> {
        self.issuers.iter().map(|issuer| (issuer.settings.name.as_str(), issuer.cache.answered()))
    }

    /// The name in config of the issuer whose principals bear this one.
    pub fn issuer_named(&self, issuer: &str) -> Option<&str> {
        self.issuer_of(issuer).map(|(issuer, _)| issuer.settings.name.as_str())
    }

    /// Who presented this.
    ///
    /// # Errors
    ///
    /// The token proves nobody; the refusal says why.
    pub async fn verify(&self, credential: Credential) -> Result<Principal, Refusal> {
        let presented = match Presented::read(credential.reveal(), As::SignIn) {
            Ok(presented) => presented,
            Err(refusal) => {
                let opaque = self.only_introspecting().zip(opaque(credential.reveal()));
                let Some((issuer, token)) = opaque.filter(|_| refusal.cause == Cause::NotAToken) else {
                    return Err(refusal);
                };
                return issuer.verify_opaque(token, || self.clock.now()).await;
            }
        };
        let (issuer, name) = self.issuer_of(&presented.issuer).ok_or_else(|| {
            Refusal::new(Cause::WrongIssuer, format!("the token says to be from {}", quoted(&presented.issuer)))
        })?;
        issuer.verify(&presented, name, || self.clock.now()).await
    }

    /// The issuer that says what tokens are that only it can read: such a token does not say whose it is, so there is one at most.
    fn only_introspecting(&self) -> Option<&Issuer> {
        let mut introspecting = self.issuers.iter().filter(|issuer| issuer.introspector.is_some());
        introspecting.next().filter(|_| introspecting.next().is_none())
    }

    /// Whether an issuer is asked about tokens of open sessions.
    pub fn asks_again(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.introspector.is_some())
    }

    /// How often the issuer of a principal wants to be asked whether the token still holds, and for how long an open session goes
    /// on while it is away; nothing, if it is not asked.
    pub fn introspects(&self, principal: &Principal) -> Option<(Duration, Duration)> {
        let (issuer, _) = self.issuer_of(&principal.issuer)?;
        Some((issuer.introspector.as_ref()?.every(), issuer.settings.keep_when_away))
    }

    /// Whether the token of a principal still holds.
    ///
    /// # Errors
    ///
    /// Its issuer does not say, and why.
    pub async fn holds(&self, principal: &Principal, token: &Credential) -> Result<bool, String> {
        let introspector = self.issuer_of(&principal.issuer).and_then(|(issuer, _)| issuer.introspector.as_ref());
        let (Some(introspector), Ok(token)) = (introspector, std::str::from_utf8(token.reveal())) else {
            return Ok(true);
        };
        introspector.holds(token).await
    }

    fn issuer_of(&self, iss: &str) -> Option<(&Issuer, &Name)> {
        let (at, which) = self.by_name.get(iss)?;
        let issuer = self.issuers.get(*at)?;
        Some((issuer, issuer.names.get(*which)?))
    }
}

/// Who a token with these claims would name at the moment `now`, if it were signed, and of a kind that is taken. Nobody signed
/// it: for trying out rules, and for nothing that lets somebody in.
///
/// # Errors
///
/// The claims would not be accepted; the refusal says why.
pub fn named_by(claims: &Map<String, Value>, settings: &IssuerSettings, now: Timestamp) -> Result<Principal, Refusal> {
    let iss = claims.get("iss").and_then(Value::as_str).ok_or_else(|| claims::missing("iss"))?;
    let name = settings.names().into_iter().find(|name| name.iss == iss);
    let name = name.ok_or_else(|| Refusal::new(Cause::WrongIssuer, format!("the claims say {}", quoted(iss))))?;
    claims::principal(claims, settings, &name.known_as, Token { sha256: Sha256::of(b""), kid: None }, now)
}

/// An issuer that is trusted.
#[derive(Debug)]
struct Issuer {
    settings: IssuerSettings,
    names: Vec<Name>,
    cache: Arc<KeyCache>,
    /// Asks it whether tokens still hold, if config has it so.
    introspector: Option<Introspector>,
}

impl Issuer {
    fn new(settings: IssuerSettings, pace: Pace) -> Result<Self, IdentityError> {
        let problems = settings.problems();
        if !problems.is_empty() {
            return Err(IdentityError::Settings { issuer: settings.name, problems });
        }
        let cache = KeyCache::new(Source::new(&settings)?, pace, settings.keep_when_away);
        let introspection = settings.introspection.clone();
        let introspector = introspection.map(|how| Introspector::new(&settings, how)).transpose()?;
        Ok(Self { names: settings.names(), settings, cache: Arc::new(cache), introspector })
    }

    async fn warm(&self) -> Result<(), IdentityError> {
        let fetched = self.cache.warm().await?;
        let issuer = || self.settings.name.clone();
        if fetched.published.development && !self.settings.allow_development {
            return Err(IdentityError::DevelopmentIssuer { issuer: issuer() });
        }
        if fetched.published.keys.len() == 0 {
            return Err(IdentityError::NoKeys { issuer: issuer() });
        }
        Ok(())
    }

    async fn verify(
        &self,
        presented: &Presented<'_>,
        name: &Name,
        now: impl FnOnce() -> Timestamp,
    ) -> Result<Principal, Refusal> {
        let (claims, token) = self.signed(presented, name, &self.settings.audience).await?;
        claims::taken(&claims, presented.is_access, &self.settings)?;
        name.tenant.as_deref().map_or(Ok(()), |tenant| claims::of_tenant(&claims, tenant))?;
        if let Some(introspector) = &self.introspector {
            let said = introspector.claims(presented.text).await?;
            said.ok_or_else(|| {
                Refusal::new(Cause::Inactive, "it is signed, and its issuer says that it is not active")
            })?;
        }
        claims::principal(&claims, &self.settings, &name.known_as, token, now())
    }

    /// Who presented a token that only the issuer can read.
    async fn verify_opaque(&self, token: &str, now: impl FnOnce() -> Timestamp) -> Result<Principal, Refusal> {
        let inactive = || Refusal::new(Cause::Inactive, "its issuer says that it is not active");
        let introspector = self.introspector.as_ref().ok_or_else(inactive)?;
        let claims = introspector.claims(token).await?.ok_or_else(inactive)?;
        let name = match claims.get("iss").and_then(Value::as_str) {
            Some(iss) => self.names.iter().find(|name| name.iss == iss),
            None => self.names.first(),
        };
        let name = name.ok_or_else(|| Refusal::new(Cause::WrongIssuer, "its issuer says that it is another's"))?;
        let is_ours = |audience: &Value| {
            audience.as_str().is_some_and(|one| self.settings.audience.iter().any(|ours| ours == one))
        };
        let is_for_us = match claims.get("aud") {
            Some(Value::Array(many)) => many.iter().any(is_ours),
            Some(one) => is_ours(one),
            None => return Err(claims::missing("aud")),
        };
        if !is_for_us {
            return Err(Refusal::new(Cause::WrongAudience, "its issuer says that it is for somebody else"));
        }
        name.tenant.as_deref().map_or(Ok(()), |tenant| claims::of_tenant(&claims, tenant))?;
        let token = Token { sha256: Sha256::of(token.as_bytes()), kid: None };
        claims::principal(&claims, &self.settings, &name.known_as, token, now())
    }

    /// The claims of a token that a key of the issuer signed, for one of these audiences.
    async fn signed(
        &self,
        presented: &Presented<'_>,
        name: &Name,
        audience: &[String],
    ) -> Result<(Map<String, Value>, Token), Refusal> {
        let algorithm = allowed(&presented.algorithm, &self.settings)?;
        let mut fetched = self.cache.keys().await.map_err(|reason| Refusal::new(Cause::IssuerAway, reason))?;
        if let Fitting::None = fetched.published.keys.fitting(presented.kid.as_deref(), algorithm)
            && let Some(newer) = self.cache.newer_than(&fetched).await
        {
            fetched = newer;
        }
        if fetched.published.development && !self.settings.allow_development {
            return Err(Refusal::new(Cause::DevelopmentIssuer, "the issuer calls itself one"));
        }
        self.signed_by_one_of(presented, name, (algorithm, &fetched.published.keys), audience)
    }

    /// The same by the keys at hand.
    fn signed_by_one_of(
        &self,
        presented: &Presented<'_>,
        name: &Name,
        (algorithm, keys): (Algorithm, &KeySet),
        audience: &[String],
    ) -> Result<(Map<String, Value>, Token), Refusal> {
        let unknown = |detail| Refusal::new(Cause::UnknownKey, detail);
        let kid = || presented.kid.as_deref().map_or_else(|| "none".to_owned(), quoted);
        let fitting = match keys.fitting(presented.kid.as_deref(), algorithm) {
            Fitting::Keys(fitting) => fitting,
            Fitting::None => return Err(unknown(format!("no {algorithm} key for kid {}", kid()))),
            Fitting::Ambiguous(count) => return Err(unknown(format!("no kid, and {count} keys could be meant"))),
        };
        let fitting: Vec<&Key> = fitting.into_iter().filter(|key| self.may_sign(key, name)).collect();
        if fitting.is_empty() {
            return Err(unknown(format!("the key with kid {} is not of the token's tenant", kid())));
        }
        for key in fitting {
            if let Some(claims) = signed_by(key, algorithm, presented, audience)? {
                let kid = presented.kid.clone().or_else(|| key.kid.clone());
                return Ok((claims, Token { sha256: Sha256::of(presented.text.as_bytes()), kid }));
            }
        }
        Err(Refusal::new(Cause::BadSignature, format!("by {algorithm} with kid {}", kid())))
    }

    /// Whether the key may sign for tokens of this name, where keys of several tenants are published together.
    fn may_sign(&self, key: &Key, name: &Name) -> bool {
        match (&key.issuer, &name.tenant) {
            (Some(issuer), Some(tenant)) => names::may_sign(issuer, tenant, &self.names),
            _ => true,
        }
    }
}

/// A text that may be a token which only its issuer can read.
fn opaque(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| may_be_opaque(text))
}

/// The algorithm of the header, if config allows it.
fn allowed(name: &str, settings: &IssuerSettings) -> Result<Algorithm, Refusal> {
    let known = name.parse::<Algorithm>().ok().filter(|known| settings.algorithms.contains(known));
    known.ok_or_else(|| Refusal::new(Cause::AlgorithmNotAllowed, format!("the header says alg {}", quoted(name))))
}

/// The claims, if this key signed the token; then its issuer and audience are checked too.
fn signed_by(
    key: &Key,
    algorithm: Algorithm,
    presented: &Presented<'_>,
    audience: &[String],
) -> Result<Option<Map<String, Value>>, Refusal> {
    let mut validation = Validation::new(algorithm.in_jsonwebtoken());
    // Without this, a token that has no `iss` or `aud` passes, and so does one whose `aud` is a number.
    validation.set_required_spec_claims(&["iss", "aud"]);
    validation.set_issuer(&[&presented.issuer]);
    validation.set_audience(audience);
    // Time is judged in `claims`, by the clock that we are given.
    validation.validate_exp = false;
    let error = match jsonwebtoken::decode::<Map<String, Value>>(presented.text, &key.decoding, &validation) {
        Ok(token) => return Ok(Some(token.claims)),
        Err(error) => error,
    };
    match error.kind() {
        ErrorKind::InvalidAudience => {
            let ours = audience.iter().map(|one| quoted(one)).collect::<Vec<_>>().join(" or ");
            Err(Refusal::new(Cause::WrongAudience, format!("its audience is not {ours}"))
                .hinting(format!("Ask your issuer for a token with the audience {ours}.")))
        }
        ErrorKind::InvalidIssuer => Err(Refusal::new(Cause::WrongIssuer, "the signed `iss` is another one")),
        ErrorKind::MissingRequiredClaim(name) => Err(claims::missing(name)),
        ErrorKind::Base64(_) | ErrorKind::InvalidToken => {
            Err(Refusal::new(Cause::NotAToken, "the signature is not base64url"))
        }
        // The claims are JSON, or `Presented` had refused them: a registered one has a shape that jsonwebtoken trips over.
        ErrorKind::Json(_) | ErrorKind::Utf8(_) => {
            Err(Refusal::new(Cause::ClaimMalformed, "one of `exp`, `nbf`, `sub`, `iss`, `aud` is in no known form"))
        }
        _ => Ok(None),
    }
}

/// Names the one cryptography that jsonwebtoken is to use; else another crate in the build could make it panic.
/// Whoever signs or verifies calls this first; again does no harm.
pub fn install_crypto() {
    if jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default().is_err() {
        tracing::trace!("jsonwebtoken has its cryptography already");
    }
}
