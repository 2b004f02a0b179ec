//! What an issuer says of access that ended: a logout token (OpenID Connect Back-Channel Logout 1.0) or a security event
//! (RFC 8417) of the CAEP and RISC profiles.
//!
//! Promises: nobody loses access by a word that was not signed by who vouched for it, meant for us, and of the kind that ends
//! access; an issuer ends nothing of another's; a logout token counts once. Whom it names is taken as it says or, if that
//! cannot be understood, refused: never a few more.
//!
//! A security event may come again, because its sender repeats what was not confirmed. That is no harm: it takes back what
//! was issued up to the moment that it names, and nothing after.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use super::cache::Pace;
use super::claims::{self, between, later, moment};
use super::names::Name;
use super::refusal::{Cause, Refusal, quoted};
use super::settings::{Ends, IssuerSettings};
use super::token::{As, Presented};
use super::{IdentityError, Issuer, Verifier};
use crate::model::{Credential, Holder, Sha256, Timestamp};

/// The event of a logout token (§2.4).
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old a logout token may be: who sends one does so at once, and one that is found later is one that was kept.
const LOGOUT_AGE: Duration = Duration::from_secs(600);
/// Logout tokens that are remembered, some 50 bytes each, for as long as they could come again.
const MOST_LOGOUTS: usize = 100_000;
/// Events that say that access ended, by the last part of their names, and what a client reads.
const ENDINGS: [(&str, &str); 9] = [
    ("/caep/event-type/session-revoked", "because it was revoked"),
    ("/caep/event-type/credential-change", "because your credentials changed"),
    ("/caep/event-type/token-claims-change", "because what your token says changed"),
    ("/risc/event-type/sessions-revoked", "because it was revoked"),
    ("/risc/event-type/account-disabled", "because your account was disabled"),
    ("/risc/event-type/account-purged", "because your account was removed"),
    ("/risc/event-type/account-credential-change-required", "because your credentials must change"),
    ("/risc/event-type/credential-compromise", "because a credential of yours may be in other hands"),
    ("/risc/event-type/identifier-recycled", "because your name was given to somebody else"),
];
/// Where the names of those events begin.
const SECEVENT: &str = "https://schemas.openid.net/secevent";
/// Above it, a moment is in milliseconds, as drafts had it: in seconds it would be in the year 5138.
const SECONDS_END: i64 = 100_000_000_000;

/// What is presented: which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// A logout token.
    Logout,
    /// A security event token.
    Event,
}

/// An access that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whose.
    pub holder: Holder,
    /// It takes back what was issued up to here.
    pub issued_by: Timestamp,
    /// Who says so, by the issuer's name in config.
    pub issuer: String,
    /// What happened, to stand behind "your sign-in was ended, ".
    pub why: String,
    /// The name of what said so, if it has one.
    pub jti: Option<String>,
}

/// Who may say that access ended.
#[derive(Debug, Default)]
pub(super) struct Enders {
    /// By the `iss` of what is said: the sender that has it, where it is not the issuer itself, and for which issuer it speaks.
    transmitters: HashMap<String, (Issuer, usize)>,
    /// Logout tokens that came: until when each could come again.
    came: Mutex<HashMap<Sha256, Timestamp>>,
}

impl Enders {
    pub(super) fn new(issuers: &[Issuer], pace: Pace) -> Result<Self, IdentityError> {
        let mut transmitters = HashMap::new();
        for (at, issuer) in issuers.iter().enumerate() {
            let Some(transmitter) = issuer.settings.ends.as_ref().and_then(|ends| ends.transmitter.as_ref()) else {
                continue;
            };
            let settings = IssuerSettings {
                issuers: vec![transmitter.issuer.clone()],
                tenants: Vec::new(),
                keys: transmitter.keys.clone(),
                introspection: None,
                ..issuer.settings.clone()
            };
            transmitters.insert(transmitter.issuer.clone(), (Issuer::new(settings, pace)?, at));
        }
        Ok(Self { transmitters, came: Mutex::default() })
    }

    /// Whether a logout token comes for the first time. If so many came that they cannot all be remembered, it is not known.
    fn is_first(&self, token: Sha256, until: Timestamp, now: Timestamp) -> Result<bool, Refusal> {
        let mut came = self.came.lock().unwrap_or_else(PoisonError::into_inner);
        if came.len() >= MOST_LOGOUTS {
            came.retain(|_, until| now < *until);
        }
        if came.len() >= MOST_LOGOUTS {
            return Err(Refusal::new(Cause::TooOld, "more logouts than can be remembered came in ten minutes"));
        }
        Ok(came.insert(token, until).is_none())
    }
}

/// Who said something, and for whom.
struct Ender<'a> {
    /// With the keys.
    sender: &'a Issuer,
    name: Name,
    ends: &'a Ends,
    /// Who vouched for those whom it names.
    of: &'a Issuer,
    /// The same, as principals have it.
    known_as: String,
}

impl Verifier {
    /// Whether an issuer is listened to when it says that access ended.
    pub fn listens(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.settings.ends.is_some())
    }

    /// Whose access ended, by a token that says so. None, if it says something that ends nobody's: an event that only tries
    /// out the way here, or one of another kind.
    ///
    /// # Errors
    ///
    /// It is not believed; the refusal says why.
    pub async fn ended(&self, said: Credential, what: Says) -> Result<Vec<Ended>, Refusal> {
        let purpose = match what {
            Says::Logout => As::Logout,
            Says::Event => As::Event,
        };
        let presented = Presented::read(said.reveal(), purpose)?;
        let ender = self.ender_of(&presented.issuer)?;
        let (claims, token) = ender.sender.signed(&presented, &ender.name, &ender.ends.audience).await?;
        let now = self.clock.now();
        let issued = issued(&claims, &ender.of.settings, now)?;
        match what {
            Says::Logout => {
                let ended = logout(&claims, issued, &ender, now)?;
                let until = later(issued, LOGOUT_AGE.saturating_add(ender.of.settings.clock_skew));
                if !self.enders.is_first(token.sha256, later(until, Duration::from_secs(1)), now)? {
                    return Err(Refusal::new(Cause::TooOld, "the logout token came before"));
                }
                Ok(ended)
            }
            Says::Event => self.events(&claims, issued, &ender),
        }
    }

    fn ender_of(&self, iss: &str) -> Result<Ender<'_>, Refusal> {
        let untrusted = |detail: String| Refusal::new(Cause::WrongIssuer, detail);
        let deaf = || untrusted(format!("what {} says of access that ended is not listened to", quoted(iss)));
        if let Some((sender, at)) = self.enders.transmitters.get(iss) {
            let of = self.issuers.get(*at).ok_or_else(deaf)?;
            let known_as = of.names.first().map(|name| name.known_as.clone()).ok_or_else(deaf)?;
            let name = sender.names.first().cloned().ok_or_else(deaf)?;
            return Ok(Ender { sender, name, ends: of.settings.ends.as_ref().ok_or_else(deaf)?, of, known_as });
        }
        let (of, name) = self.issuer_of(iss).ok_or_else(|| untrusted(format!("it says to be from {}", quoted(iss))))?;
        let ends = of.settings.ends.as_ref().ok_or_else(deaf)?;
        Ok(Ender { sender: of, name: name.clone(), ends, of, known_as: name.known_as.clone() })
    }

    /// What the events of a token end.
    fn events(&self, claims: &Map<String, Value>, issued: Timestamp, ender: &Ender<'_>) -> Result<Vec<Ended>, Refusal> {
        let malformed = |detail: &str| Refusal::new(Cause::ClaimMalformed, detail);
        let events = match claims.get("events") {
            None => return Err(claims::missing("events")),
            Some(Value::Object(events)) => events,
            Some(_) => return Err(malformed("`events` is no object")),
        };
        let mut ended = Vec::new();
        for (name, event) in events {
            let Some(event) = event.as_object() else { return Err(malformed("an event is no object")) };
            let Some(why) = ending(name) else {
                tracing::info!(issuer = ender.of.settings.name, event = quoted(name), "an event that ends nothing");
                continue;
            };
            // Since RISC 1.0 beside the event, before in it.
            let subject = claims.get("sub_id").or_else(|| event.get("subject"));
            let Some(Value::Object(subject)) = subject else { return Err(malformed("whose it is, it does not say")) };
            let happened = happened(event, claims)?.unwrap_or(issued);
            for holder in self.holders(subject, ender)? {
                ended.push(Ended {
                    holder,
                    issued_by: happened.min(issued),
                    issuer: ender.of.settings.name.clone(),
                    why: why.to_owned(),
                    jti: text(claims, "jti"),
                });
            }
        }
        Ok(ended)
    }

    /// Whom a subject identifier names (RFC 9493, and the complex subjects of the Shared Signals Framework).
    fn holders(&self, subject: &Map<String, Value>, ender: &Ender<'_>) -> Result<Vec<Holder>, Refusal> {
        let unknown = |detail: String| Refusal::new(Cause::ClaimMalformed, detail);
        if text(subject, "format").is_none_or(|format| format == "complex") {
            // A session of somebody is less than all of them, so it goes first; what narrows further is not understood.
            let narrows = |name: &&String| !matches!(name.as_str(), "format" | "user" | "session" | "tenant");
            if let Some(narrower) = subject.keys().find(narrows) {
                return Err(unknown(format!("sessions cannot be told apart by {}", quoted(narrower))));
            }
            let part = |name: &str| subject.get(name).and_then(Value::as_object);
            return match (part("session"), part("user")) {
                (Some(session), _) => {
                    let sid = text(session, "id").or_else(|| text(session, "sub"));
                    let sid = sid.ok_or_else(|| unknown("the session has no `id`".to_owned()))?;
                    let user = part("user").filter(|user| text(user, "format").is_some());
                    let sub = match user.map(|user| self.holders(user, ender)).transpose()?.as_deref() {
                        Some([Holder::Account { sub, .. }]) => Some(sub.clone()),
                        _ => None,
                    };
                    Ok(sign_in(&ender.known_as, Some(sid), sub))
                }
                (None, Some(user)) if text(user, "format").is_some() => self.holders(user, ender),
                _ => Err(unknown("the subject names neither user nor session".to_owned())),
            };
        }
        let issuer = || ender.known_as.clone();
        let needed = |name: &str| text(subject, name).ok_or_else(|| unknown(format!("the subject has no `{name}`")));
        match text(subject, "format").as_deref() {
            Some("iss_sub") => {
                let iss = needed("iss")?;
                let of = self.issuer_of(&iss).filter(|(of, _)| of.settings.name == ender.of.settings.name);
                let Some((_, name)) = of else {
                    return Err(Refusal::new(Cause::WrongIssuer, format!("it speaks of people of {}", quoted(&iss))));
                };
                Ok(vec![Holder::Account { issuer: name.known_as.clone(), sub: needed("sub")? }])
            }
            Some("opaque") => Ok(vec![Holder::Account { issuer: issuer(), sub: needed("id")? }]),
            Some("email") => Ok(vec![Holder::Email { issuer: issuer(), email: needed("email")? }]),
            Some(other) => Err(unknown(format!("a subject of the format {} is not understood", quoted(other)))),
            None => Err(unknown("the subject has no `format`".to_owned())),
        }
    }
}

/// What a logout token ends (§2.6).
fn logout(
    claims: &Map<String, Value>,
    issued: Timestamp,
    ender: &Ender<'_>,
    now: Timestamp,
) -> Result<Vec<Ended>, Refusal> {
    let other = |detail: &str| Refusal::new(Cause::WrongType, detail);
    let is_logout = claims.get("events").and_then(Value::as_object).and_then(|events| events.get(LOGOUT));
    if !is_logout.is_some_and(Value::is_object) {
        return Err(other("`events` does not say that it is a logout"));
    }
    if claims.contains_key("nonce") {
        return Err(other("it has a `nonce`, as no logout token has"));
    }
    let age = LOGOUT_AGE.saturating_add(ender.of.settings.clock_skew);
    if between(issued, now) > age {
        return Err(Refusal::new(Cause::TooOld, format!("it was issued at {issued}, and now is {now}")));
    }
    let expires = moment(claims, "exp")?;
    if let Some(expires) = expires.filter(|expires| now >= later(*expires, ender.of.settings.clock_skew)) {
        return Err(Refusal::new(Cause::Expired, format!("exp was {expires}, now is {now}")));
    }
    let holders = sign_in(&ender.known_as, text(claims, "sid"), text(claims, "sub"));
    if holders.is_empty() {
        return Err(Refusal::new(Cause::ClaimMissing, "it names neither `sub` nor `sid`"));
    }
    let ended = |holder| Ended {
        holder,
        issued_by: issued,
        issuer: ender.of.settings.name.clone(),
        why: "by a logout".to_owned(),
        jti: text(claims, "jti"),
    };
    Ok(holders.into_iter().map(ended).collect())
}

/// Who is meant by a session of the issuer and by somebody's `sub` there: the session, which is less than all of somebody's,
/// and whoever may have come of it, since most access tokens do not say of which they came.
fn sign_in(issuer: &str, sid: Option<String>, sub: Option<String>) -> Vec<Holder> {
    let issuer = || issuer.to_owned();
    match (sid, sub) {
        (Some(sid), sub) => {
            let untold = sub.map(|sub| Holder::Untold { issuer: issuer(), sub });
            std::iter::once(Holder::SignIn { issuer: issuer(), sid }).chain(untold).collect()
        }
        (None, Some(sub)) => vec![Holder::Account { issuer: issuer(), sub }],
        (None, None) => Vec::new(),
    }
}

/// `iat`, which must be there and not lie ahead.
fn issued(claims: &Map<String, Value>, settings: &IssuerSettings, now: Timestamp) -> Result<Timestamp, Refusal> {
    let issued = moment(claims, "iat")?.ok_or_else(|| claims::missing("iat"))?;
    if issued > later(now, settings.clock_skew) {
        return Err(Refusal::new(Cause::NotYetValid, format!("iat is {issued}, now is {now}")));
    }
    Ok(issued)
}

/// When an event happened, if it says so.
fn happened(event: &Map<String, Value>, claims: &Map<String, Value>) -> Result<Option<Timestamp>, Refusal> {
    let told = event.get("event_timestamp").and_then(Value::as_i64).filter(|told| *told >= SECONDS_END);
    if let Some(millis) = told {
        return Ok(Some(Timestamp(millis.saturating_mul(1_000))));
    }
    Ok(moment(event, "event_timestamp")?.or(moment(claims, "toe")?))
}

/// What a client reads whose access an event of this name ends, if it ends any.
fn ending(name: &str) -> Option<&'static str> {
    let kind = name.strip_prefix(SECEVENT)?;
    ENDINGS.into_iter().find_map(|(ends, why)| (ends == kind).then_some(why))
}

fn text(of: &Map<String, Value>, name: &str) -> Option<String> {
    of.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}
