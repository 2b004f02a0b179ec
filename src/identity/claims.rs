//! From the claims of a token whose signature fits to the [`Principal`], or why not.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::refusal::{Cause, Refusal, quoted, spoken};
use super::settings::{IssuerSettings, Tokens, Workloads};
use crate::model::{AtIssuer, Principal, PrincipalKind, Sha256, Timestamp, TokenFacts};

/// The claim, and the member of a discovery document, that marks a development issuer.
pub(super) const DEVELOPMENT: &str = "hansard_dev";

/// Claims that only ID tokens have: they bind one to what came with it (OpenID Connect Core §3.1.3.6, §3.3.2.11).
const OF_ID_TOKENS: [&str; 3] = ["at_hash", "c_hash", "s_hash"];
/// Claims by which an access token says what it is for; a `nonce` beside them is that of an issuer which repeats it.
const OF_ACCESS_TOKENS: [&str; 3] = ["scope", "scp", "client_id"];

/// What is known of a token beside its claims.
pub(super) struct Token {
    pub(super) sha256: Sha256,
    pub(super) kid: Option<String>,
}

/// Whether a token of this kind signs anybody in here. `is_access`: its header says that it is an access token.
pub(super) fn taken(claims: &Map<String, Value>, is_access: bool, settings: &IssuerSettings) -> Result<(), Refusal> {
    let has = |name: &str| find(claims, name).is_some();
    let reason = match settings.tokens {
        Tokens::Any => None,
        Tokens::AtJwt => (!is_access).then(|| "`typ` in the header is not at+jwt".to_owned()),
        Tokens::Access if is_access => None,
        Tokens::Access => {
            let marks = &settings.access_marks;
            let is_marked = marks.is_empty() || marks.iter().any(|name| has(name));
            let answers_sign_in = has("nonce") && !OF_ACCESS_TOKENS.into_iter().any(has);
            match OF_ID_TOKENS.into_iter().find(|name| has(name)) {
                Some(mark) => Some(format!("it has `{mark}`, as ID tokens have")),
                None if answers_sign_in => Some("it has a `nonce` and no scope, as ID tokens have".to_owned()),
                None => (!is_marked).then(|| format!("it has none of {}, as access tokens have", marks.join(", "))),
            }
        }
    };
    reason.map_or(Ok(()), |detail| {
        Err(Refusal::new(Cause::WrongType, detail)
            .saying("the token is not an access token".to_owned())
            .hinting("Send an access token; an ID token is for the client that signed you in.".to_owned()))
    })
}

/// Whether the token is of the tenant that its issuer's name is of.
pub(super) fn of_tenant(claims: &Map<String, Value>, tenant: &str) -> Result<(), Refusal> {
    required(claims, "tid", &[tenant.to_owned()])
}

/// Judges the claims at the moment `now`. `issuer` is how the issuer is known.
pub(super) fn principal(
    claims: &Map<String, Value>,
    settings: &IssuerSettings,
    issuer: &str,
    token: Token,
    now: Timestamp,
) -> Result<Principal, Refusal> {
    if marks_development(claims.get(DEVELOPMENT)) && !settings.allow_development {
        return Err(Refusal::new(Cause::DevelopmentIssuer, format!("the token has `{DEVELOPMENT}`")));
    }
    let (issued, expires) = times(claims, settings, now)?;
    let map = &settings.claims;
    let kind = kind(claims, &map.workloads);
    let (subject, wanted) = match kind {
        PrincipalKind::Person => (&map.subject, &settings.require_claims),
        PrincipalKind::Workload => (
            map.workload_subject.as_ref().unwrap_or(&map.subject),
            settings.require_claims_of_workloads.as_ref().unwrap_or(&settings.require_claims),
        ),
    };
    for (name, wanted) in wanted {
        required(claims, name, wanted)?;
    }
    complete(claims, settings)?;
    let email = if is_unverified(claims) { None } else { text(claims, &map.email)? };
    let spelled = |name: &str| text(claims, name).ok().flatten();
    let shown = map.display.iter().filter(|name| **name != map.email || email.is_some());
    Ok(Principal {
        issuer: issuer.to_owned(),
        subject: needed_text(claims, subject)?,
        kind,
        display: shown.into_iter().find_map(|name| spelled(name)),
        email,
        roles: list(claims, map.roles.as_deref())?,
        groups: list(claims, map.groups.as_deref())?,
        token: TokenFacts {
            sha256: token.sha256,
            kid: token.kid,
            jti: text(claims, "jti")?,
            issued,
            expires,
            at_issuer: AtIssuer { sub: spelled("sub"), sid: spelled("sid") },
        },
        claims: map.keep.iter().filter_map(|name| Some((name.clone(), find(claims, name)?.clone()))).collect(),
    })
}

/// Whether a person acts or a workload.
fn kind(claims: &Map<String, Value>, workloads: &Workloads) -> PrincipalKind {
    let with = || {
        let given = |name: &str| find(claims, name).and_then(plain);
        workloads.with.iter().any(|(name, values)| given(name).is_some_and(|given| is_like(&given, values)))
    };
    let without = || !workloads.without.is_empty() && workloads.without.iter().all(|name| find(claims, name).is_none());
    if workloads.all || with() || without() { PrincipalKind::Workload } else { PrincipalKind::Person }
}

/// Whether the text is one of these, in which `*` at the beginning stands for anything.
fn is_like(given: &str, values: &[String]) -> bool {
    values.iter().any(|value| match value.strip_prefix('*') {
        Some(end) => given.ends_with(end),
        None => given == value,
    })
}

/// Whether the issuer says that it does not know whose the e-mail address is: whoever typed it may be anybody.
fn is_unverified(claims: &Map<String, Value>) -> bool {
    claims.get("email_verified").and_then(plain).is_some_and(|given| given == "false")
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

pub(super) fn later(moment: Timestamp, by: Duration) -> Timestamp {
    Timestamp(moment.0.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)))
}

pub(super) fn between(earlier: Timestamp, moment: Timestamp) -> Duration {
    Duration::from_micros(moment.micros_since(earlier))
}

/// A NumericDate (RFC 7519): seconds since 1970, perhaps with a fraction.
pub(super) fn moment(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Refusal> {
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

fn required(claims: &Map<String, Value>, name: &str, wanted: &[String]) -> Result<(), Refusal> {
    let Some(given) = find(claims, name) else { return Err(missing(name)) };
    if plain(given).is_some_and(|given| wanted.contains(&given)) {
        return Ok(());
    }
    Err(Refusal::new(Cause::ClaimMismatch, format!("`{name}` is not as config requires")))
}

/// A claim's one value as config writes all values, as text: `true`, `7`.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => serde_json::to_string(value).ok(),
        _ => None,
    }
}

/// Refuses a token that says of itself to be incomplete in a claim that we use. Entra leaves groups out beyond 200 and
/// names them in `_claim_names` or sets `hasgroups`; taken as "no groups", a rule that forbids by group would be silent.
fn complete(claims: &Map<String, Value>, settings: &IssuerSettings) -> Result<(), Refusal> {
    let map = &settings.claims;
    let required = settings.require_claims.keys();
    let required = || required.clone().chain(settings.require_claims_of_workloads.iter().flat_map(BTreeMap::keys));
    let used = || map.groups.iter().chain(&map.roles).chain(&map.keep).chain(required());
    let elsewhere = match claims.get("_claim_names") {
        None | Some(Value::Null) => None,
        Some(Value::Object(names)) => used().find(|name| roots(name).any(|root| names.contains_key(root))),
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

/// The claim of that name; else what the name leads to as a path: `realm_access.roles`. A step of the path may have a dot
/// of its own, as in `kubernetes.io.namespace`.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = claims.get(name).or_else(|| {
        let below = |(at, _): (usize, &str)| {
            let (first, rest) = (name.get(..at)?, name.get(at + 1..)?);
            find(claims.get(first)?.as_object()?, rest)
        };
        name.match_indices('.').find_map(below)
    });
    found.filter(|value| !value.is_null())
}

/// The claims that a name may lead to: itself, and each beginning of it as a path.
fn roots(name: &str) -> impl Iterator<Item = &str> {
    std::iter::once(name).chain(name.match_indices('.').filter_map(move |(at, _)| name.get(..at)))
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
