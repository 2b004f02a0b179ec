//! From the claims of a token whose signature fits to the [`Principal`], or why not.

use std::time::Duration;

use serde_json::{Map, Value};

use super::refusal::{Cause, Refusal, quoted, spoken};
use super::settings::IssuerSettings;
use crate::model::{Principal, Sha256, Timestamp, TokenFacts};

/// The claim, and the member of a discovery document, that marks a development issuer.
pub(super) const DEVELOPMENT: &str = "hansard_dev";

/// What is known of a token beside its claims.
pub(super) struct Token {
    pub(super) sha256: Sha256,
    pub(super) kid: Option<String>,
}

/// Judges the claims at the moment `now`.
pub(super) fn principal(
    claims: &Map<String, Value>,
    settings: &IssuerSettings,
    token: Token,
    now: Timestamp,
) -> Result<Principal, Refusal> {
    if marks_development(claims.get(DEVELOPMENT)) && !settings.allow_development {
        return Err(Refusal::new(Cause::DevelopmentIssuer, format!("the token has `{DEVELOPMENT}`")));
    }
    let (issued, expires) = times(claims, settings, now)?;
    for (name, wanted) in &settings.require_claims {
        required(claims, name, wanted)?;
    }
    complete(claims, settings)?;
    let map = &settings.claims;
    let display = map.display.iter().find_map(|name| text(claims, name).ok().flatten());
    Ok(Principal {
        issuer: needed_text(claims, "iss")?,
        subject: needed_text(claims, &map.subject)?,
        display,
        email: text(claims, &map.email)?,
        roles: list(claims, map.roles.as_deref())?,
        groups: list(claims, map.groups.as_deref())?,
        token: TokenFacts { sha256: token.sha256, kid: token.kid, jti: text(claims, "jti")?, issued, expires },
        claims: map.keep.iter().filter_map(|name| Some((name.clone(), find(claims, name)?.clone()))).collect(),
    })
}

/// Whether the member marks a development issuer. Anything but a plain `false` does.
pub(super) fn marks_development(member: Option<&Value>) -> bool {
    !matches!(member, None | Some(Value::Bool(false)))
}

/// `iat` and `exp`, once both and `nbf` were found good.
fn times(
    claims: &Map<String, Value>,
    settings: &IssuerSettings,
    now: Timestamp,
) -> Result<(Option<Timestamp>, Timestamp), Refusal> {
    let skew = settings.clock_skew;
    let expires = moment(claims, "exp")?.ok_or_else(|| missing("exp"))?;
    if now >= later(expires, skew) {
        let ago = spoken(between(expires, now));
        return Err(Refusal::new(Cause::Expired, format!("exp was {expires}, now is {now}"))
            .saying(format!("your sign-in expired {ago} ago")));
    }
    let issued = moment(claims, "iat")?;
    for (name, begins) in [("nbf", moment(claims, "nbf")?), ("iat", issued)] {
        if let Some(begins) = begins.filter(|begins| *begins > later(now, skew)) {
            let ahead = spoken(between(now, begins));
            return Err(Refusal::new(Cause::NotYetValid, format!("{name} is {begins}, now is {now}"))
                .saying(format!("your sign-in is not valid yet, but in {ahead}")));
        }
    }
    if let Some(limit) = settings.max_token_age {
        let issued = issued.ok_or_else(|| missing("iat"))?;
        if now > later(later(issued, limit), skew) {
            let (age, limit) = (spoken(between(issued, now)), spoken(limit));
            return Err(Refusal::new(Cause::TooOld, format!("iat was {issued}, now is {now}"))
                .saying(format!("your sign-in is {age} old; at most {limit} is accepted here")));
        }
    }
    Ok((issued, expires))
}

fn later(moment: Timestamp, by: Duration) -> Timestamp {
    Timestamp(moment.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

fn between(earlier: Timestamp, moment: Timestamp) -> Duration {
    Duration::from_micros(moment.micros_since(earlier))
}

/// A NumericDate (RFC 7519): seconds since 1970, perhaps with a fraction.
fn moment(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().map(Timestamp::from_seconds);
    let fractional = || {
        let seconds = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
        Some(Timestamp(i64::try_from(seconds.as_micros()).unwrap_or(i64::MAX)))
    };
    match whole.or_else(fractional) {
        Some(moment) => Ok(Some(moment)),
        None => Err(Refusal::new(Cause::ClaimMalformed, format!("`{name}` is no time in seconds"))),
    }
}

fn required(claims: &Map<String, Value>, name: &str, wanted: &str) -> Result<(), Refusal> {
    let fits = match find(claims, name) {
        None => return Err(missing(name)),
        Some(Value::String(given)) => given == wanted,
        // `email_verified = "true"`: config writes all values as text.
        Some(given @ (Value::Bool(_) | Value::Number(_))) => {
            serde_json::to_string(given).is_ok_and(|given| given == wanted)
        }
        Some(_) => false,
    };
    if fits { Ok(()) } else { Err(Refusal::new(Cause::ClaimMismatch, format!("`{name}` is not as config requires"))) }
}

/// Refuses a token that says of itself to be incomplete in a claim that we use. Entra leaves groups out beyond 200 and
/// names them in `_claim_names` or sets `hasgroups`; taken as "no groups", a rule that forbids by group would be silent.
fn complete(claims: &Map<String, Value>, settings: &IssuerSettings) -> Result<(), Refusal> {
    let map = &settings.claims;
    let used = || map.groups.iter().chain(&map.roles).chain(&map.keep).chain(settings.require_claims.keys());
    let elsewhere = match claims.get("_claim_names") {
        None | Some(Value::Null) => None,
        Some(Value::Object(names)) => used().find(|name| {
            let root = name.split('.').next().unwrap_or(name);
            names.contains_key(name.as_str()) || names.contains_key(root)
        }),
        Some(_) => return Err(Refusal::new(Cause::ClaimMalformed, "`_claim_names` is no object")),
    };
    if let Some(name) = elsewhere {
        return Err(Refusal::new(Cause::GroupOverage, format!("`{name}` is not in the token but in `_claim_names`")));
    }
    let hidden = !matches!(claims.get("hasgroups"), None | Some(Value::Null | Value::Bool(false)));
    if hidden && (map.groups.is_some() || used().any(|name| name == "groups")) {
        return Err(Refusal::new(Cause::GroupOverage, "the token has `hasgroups` instead of the groups"));
    }
    Ok(())
}

/// The claim of that name; else what the name leads to as a path: `realm_access.roles`.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        rest.split('.').try_fold(claims.get(first)?, |value, step| value.get(step))
    });
    found.filter(|value| !value.is_null())
}

fn text(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, Refusal> {
    match find(claims, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::new(Cause::ClaimMalformed, format!("`{name}` is not text"))),
    }
}

fn needed_text(claims: &Map<String, Value>, name: &str) -> Result<String, Refusal> {
    text(claims, name)?.ok_or_else(|| missing(name))
}

/// A text or a list of texts. Anything else is refused rather than read as an empty list.
fn list(claims: &Map<String, Value>, name: Option<&str>) -> Result<Vec<String>, Refusal> {
    let Some((name, value)) = name.and_then(|name| Some((name, find(claims, name)?))) else {
        return Ok(Vec::new());
    };
    let malformed = || Refusal::new(Cause::ClaimMalformed, format!("`{name}` is neither text nor a list of texts"));
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(many) => many.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(malformed)).collect(),
        _ => Err(malformed()),
    }
}

pub(super) fn missing(name: &str) -> Refusal {
    Refusal::new(Cause::ClaimMissing, format!("`{name}` is missing"))
        .saying(format!("the token lacks the claim {}", quoted(name)))
}
