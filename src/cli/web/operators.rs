//! What operators do here: look at who is here, have sessions end, block people and lift that. Each bears a token of an issuer
//! that is trusted, with a role of operators in it; what they did is on record before they read that it was done.
//!
//! | | |
//! |---|---|
//! | `GET /operator/sessions` | who is here |
//! | `GET /operator/sessions/{id}` | one session, with the claims and rules that let it in |
//! | `POST /operator/kill` | ends one session, or all of somebody, and perhaps keeps them out |
//! | `GET /operator/blocks` | who is kept out |
//! | `POST /operator/unblock` | lets somebody in again |

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::authority::{Authority, Halted, NoOperator, listed, shown};
use super::passing::is_passed_on;
use crate::gateway::{Bar, Order, Seen, State as At, Whom};
use crate::identity::Repeated;
use crate::model::{Holder, Principal, RecorderEventKind, Session, SessionId};

/// The longest reason: it stands in one line that a client reads.
const LONGEST_REASON: usize = 200;
/// The longest block; whoever is to stay out for longer loses the access at the issuer.
const LONGEST_BLOCK: Duration = Duration::from_secs(30 * 86_400);

/// Where operators act.
pub(in super::super) fn routes(authority: &Arc<Authority>) -> Router {
    Router::new()
        .route("/operator/sessions", get(list))
        .route("/operator/sessions/{id}", get(show))
        .route("/operator/kill", post(kill))
        .route("/operator/blocks", get(blocks))
        .route("/operator/unblock", post(unblock))
        .with_state(Arc::clone(authority))
}

/// Why something was not done.
struct Failed(StatusCode, String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(status, error) = self;
        let body = Json(json!({ "error": error }));
        if status == StatusCode::UNAUTHORIZED {
            return (status, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response();
        }
        (status, body).into_response()
    }
}

impl From<NoOperator> for Failed {
    fn from(no: NoOperator) -> Self {
        match no {
            NoOperator::Unknown(why) => Self(StatusCode::UNAUTHORIZED, why),
            NoOperator::Forbidden(why) => Self(StatusCode::FORBIDDEN, why),
        }
    }
}

impl From<Halted> for Failed {
    fn from(halted: Halted) -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, halted.to_string())
    }
}

type Done = Result<Json<Value>, Failed>;

async fn operator(authority: &Authority, headers: &HeaderMap) -> Result<Principal, Failed> {
    Ok(authority.operator(bearer(headers)).await?)
}

/// The token that came with a request (RFC 6750 §2.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let given = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

async fn list(State(authority): State<Arc<Authority>>, headers: HeaderMap) -> Done {
    let operator = operator(&authority, &headers).await?;
    let seen = authority.roster.list();
    let detail = format!("{} looked at the list of sessions", shown(operator.name()));
    authority.by(&operator, RecorderEventKind::SessionsRead, detail, None).await?;
    let own = json!({ "sessions": seen.iter().map(|seen| summary(seen, &authority)).collect::<Vec<_>>() });
    let others = elsewhere(&authority, &headers, "/operator/sessions", None).await;
    Ok(Json(together(&authority, own, others, "sessions")))
}

/// What the other nodes say to the same, and which could not be asked.
async fn elsewhere(
    authority: &Authority,
    headers: &HeaderMap,
    path: &str,
    body: Option<Vec<u8>>,
) -> (Vec<(u16, Value)>, Vec<String>) {
    let Some(passing) = authority.passing.as_ref().filter(|_| !is_passed_on(headers)) else {
        return Default::default();
    };
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let asks = body.is_none();
    let (path, content_type) = (path.to_owned(), "application/json".to_owned());
    passing.ask(&Repeated { asks, path, content_type, authorization, body: body.unwrap_or_default() }).await
}

/// Our own answer with those of other nodes: the lists under this name become one.
fn together(authority: &Authority, own: Value, (others, away): (Vec<(u16, Value)>, Vec<String>), list: &str) -> Value {
    let good = others.into_iter().filter(|(status, _)| (200..300).contains(status)).map(|(_, said)| said);
    let (mut all, mut rest) = (Vec::new(), serde_json::Map::new());
    let mut nodes = 0;
    for said in std::iter::once(own).chain(good) {
        nodes += 1;
        if let Value::Object(members) = said {
            for (name, value) in members {
                match value {
                    Value::Array(items) if name == list => all.extend(items),
                    Value::Null => {}
                    value => {
                        rest.entry(name).or_insert(value);
                    }
                }
            }
        }
    }
    rest.insert(list.to_owned(), Value::Array(all));
    rest.insert("node".to_owned(), json!(authority.node.as_str()));
    rest.insert("nodes".to_owned(), json!(nodes));
    rest.insert("away".to_owned(), json!(away));
    Value::Object(rest)
}

async fn show(State(authority): State<Arc<Authority>>, Path(id): Path<String>, headers: HeaderMap) -> Done {
    let operator = operator(&authority, &headers).await?;
    let Some(seen) = known(&id).and_then(|id| authority.roster.find(id)) else {
        let named = known(&id).ok_or_else(|| gone(&id))?;
        let (others, _) = elsewhere(&authority, &headers, &format!("/operator/sessions/{named}"), None).await;
        let found = others.into_iter().find(|(status, _)| *status == 200);
        return found.map(|(_, said)| Json(said)).ok_or_else(|| gone(&id));
    };
    let (detail, id) = (format!("{} looked at a session", shown(operator.name())), seen.session.id.to_string());
    authority.by(&operator, RecorderEventKind::SessionsRead, detail, Some(id)).await?;
    Ok(Json(whole(&seen, &authority)))
}

/// Somebody, as records name them.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Exactly {
    issuer: String,
    subject: String,
}

/// Whom to end, and why.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kill {
    /// One session.
    session: Option<String>,
    /// Or all of one person or workload, by subject, e-mail address or the name that is shown.
    who: Option<String>,
    /// Or all of exactly these, whether they are here or not.
    holder: Option<Exactly>,
    /// Why; the client reads it.
    reason: String,
    /// For how long they are to stay out, in seconds.
    block_seconds: Option<u64>,
    /// Whether that is all: their open sessions go on.
    #[serde(default)]
    only_block: bool,
}

async fn kill(State(authority): State<Arc<Authority>>, headers: HeaderMap, Json(asked): Json<Kill>) -> Done {
    let operator = operator(&authority, &headers).await?;
    let reason = reason(&asked.reason)?;
    let block = asked.block_seconds.map(Duration::from_secs);
    if block.is_some_and(|block| block.is_zero() || block > LONGEST_BLOCK) {
        return Err(Failed(StatusCode::BAD_REQUEST, "somebody can be blocked for 1 s to 30 d".to_owned()));
    }
    let own = kill_here(&authority, &operator, &asked, (&reason, block)).await;
    let is_done = own.is_ok() && asked.session.is_some() && block.is_none();
    if is_done {
        // One session is at one node.
        return own.map(|done| Json(together(&authority, done, Default::default(), "closed")));
    }
    // Who is blocked is blocked at every node, and somebody's sessions may be at any.
    let again = match own.as_ref().ok().and_then(exactly) {
        // One session was meant, and is at this node.
        Some(holder) => {
            let only_block = asked.only_block || asked.session.is_some();
            Kill { session: None, who: None, holder: Some(holder), only_block, ..asked.clone() }
        }
        None => asked.clone(),
    };
    let (others, away) = elsewhere(&authority, &headers, "/operator/kill", serde_json::to_vec(&again).ok()).await;
    let found = others.iter().filter(|(status, _)| *status == 200).find_map(|(_, said)| exactly(said));
    let own = match (own, found) {
        (Err(failed), None) => return Err(failed),
        (Err(_), Some(holder)) if block.is_some() => {
            let only_block = asked.only_block || asked.session.is_some();
            let asked = Kill { session: None, who: None, holder: Some(holder), only_block, ..asked };
            kill_here(&authority, &operator, &asked, (&reason, block)).await?
        }
        (own, _) => own.unwrap_or_else(|_| json!({})),
    };
    Ok(Json(together(&authority, own, (others, away), "closed")))
}

/// Whom an answer says it was about.
fn exactly(done: &Value) -> Option<Exactly> {
    serde_json::from_value(done.get("holder")?.clone()).ok()
}

/// The same at this node.
async fn kill_here(
    authority: &Authority,
    operator: &Principal,
    asked: &Kill,
    (reason, block): (&str, Option<Duration>),
) -> Result<Value, Failed> {
    let (whom, Exactly { issuer, subject }, name) = meant(authority, asked)?;
    let (by, now) = (operator.name().to_owned(), authority.clock.now());
    let holder = Holder::Subject { issuer: issuer.clone(), subject: subject.clone() };
    // Before the sessions are told, or who reconnects at once comes in.
    let bar = block.map(|block| Bar::blocked(holder, (&by, reason), now, block));
    let until = bar.as_ref().map(|bar| bar.until);
    if let Some(bar) = bar {
        authority.roster.bar(bar, now).map_err(Halted::from)?;
    }
    let order = Order::Kill { by: by.clone(), why: reason.to_owned() };
    let told = if asked.only_block { Vec::new() } else { authority.roster.end(&whom, &order) };
    if until.is_some() {
        let detail = format!("{} blocked {}: {reason}", shown(&by), shown(&name));
        authority.by(operator, RecorderEventKind::Blocked, detail, Some(format!("{issuer}|{subject}"))).await?;
        authority.keep().await?;
    }
    if told.is_empty() && until.is_none() && asked.holder.is_none() {
        return Err(gone(asked.session.as_deref().unwrap_or_default()));
    }
    let names: Vec<String> = told.iter().map(|session| session.id.to_string()).collect();
    if !told.is_empty() {
        let detail = format!("{} closed {} of {}: {reason}", shown(&by), listed(&told), shown(&name));
        authority.by(operator, RecorderEventKind::SessionKilled, detail, Some(names.join(" "))).await?;
    }
    let read = told.first().map(|session| read_by_client(session, &by, reason));
    let (holder, until) = (Exactly { issuer, subject }, until.map(|until| until.to_string()));
    Ok(json!({ "closed": names, "read": read, "holder": holder, "blocked_until": until }))
}

/// What the client of a session reads.
fn read_by_client(session: &Session, by: &str, reason: &str) -> String {
    Order::Kill { by: by.to_owned(), why: reason.to_owned() }.words(session.id)
}

/// Whose sessions are meant, and who that is.
fn meant(authority: &Authority, asked: &Kill) -> Result<(Whom, Exactly, String), Failed> {
    let exactly =
        |principal: &Principal| Exactly { issuer: principal.issuer.clone(), subject: principal.subject.clone() };
    let all_of = |Exactly { issuer, subject }: Exactly| Whom::Holders(Holder::Subject { issuer, subject }, None);
    match (&asked.session, &asked.who, &asked.holder) {
        (Some(session), None, None) => {
            let seen = known(session).and_then(|id| authority.roster.find(id)).ok_or_else(|| gone(session))?;
            let principal = &seen.session.principal;
            Ok((Whom::Session(seen.session.id), exactly(principal), principal.name().to_owned()))
        }
        (None, Some(who), None) => {
            let here = authority.roster.list();
            let mut of_name =
                here.iter().map(|seen| &seen.session.principal).filter(|principal| is_called(principal, who));
            let Some(first) = of_name.next() else {
                return Err(Failed(StatusCode::NOT_FOUND, format!("nobody called {} is here", shown(who))));
            };
            if of_name.any(|other| (&other.issuer, &other.subject) != (&first.issuer, &first.subject)) {
                let text = format!("several are called {}: name a session instead", shown(who));
                return Err(Failed(StatusCode::CONFLICT, text));
            }
            Ok((all_of(exactly(first)), exactly(first), first.name().to_owned()))
        }
        (None, None, Some(holder)) => Ok((all_of(holder.clone()), holder.clone(), holder.subject.clone())),
        _ => Err(Failed(StatusCode::BAD_REQUEST, "one of `session`, `who` and `holder` is needed".to_owned())),
    }
}

fn is_called(principal: &Principal, who: &str) -> bool {
    principal.subject == who
        || principal.email.as_deref().is_some_and(|email| email.eq_ignore_ascii_case(who))
        || principal.display.as_deref() == Some(who)
}

async fn blocks(State(authority): State<Arc<Authority>>, headers: HeaderMap) -> Done {
    let operator = operator(&authority, &headers).await?;
    let detail = format!("{} looked at who is kept out", shown(operator.name()));
    authority.by(&operator, RecorderEventKind::SessionsRead, detail, None).await?;
    let row = |bar: &Bar| {
        json!({
            "who": bar.holder,
            "issued_by": bar.issued_by.map(|moment| moment.to_string()),
            "until": bar.until.to_string(),
            "by": bar.by,
            "why": bar.why,
        })
    };
    let bars = authority.roster.bars(authority.clock.now());
    Ok(Json(json!({ "node": authority.node.as_str(), "blocks": bars.iter().map(row).collect::<Vec<_>>() })))
}

/// Whom to let in again.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Unblock {
    subject: String,
    /// Needed if more than one of that subject is blocked.
    issuer: Option<String>,
}

async fn unblock(State(authority): State<Arc<Authority>>, headers: HeaderMap, Json(asked): Json<Unblock>) -> Done {
    let operator = operator(&authority, &headers).await?;
    let own = unblock_here(&authority, &operator, &asked).await;
    let (others, away) = elsewhere(&authority, &headers, "/operator/unblock", serde_json::to_vec(&asked).ok()).await;
    match own {
        Err(failed) if !others.iter().any(|(status, _)| *status == 200) => Err(failed),
        own => Ok(Json(together(&authority, own.unwrap_or_else(|_| json!({})), (others, away), "unblocked"))),
    }
}

async fn unblock_here(authority: &Authority, operator: &Principal, asked: &Unblock) -> Result<Value, Failed> {
    let bars = authority.roster.bars(authority.clock.now());
    let blocked = bars.into_iter().filter(|bar| bar.issued_by.is_none()).map(|bar| bar.holder);
    let is_meant = |holder: &Holder| match holder {
        Holder::Subject { issuer, subject } => {
            *subject == asked.subject && asked.issuer.as_ref().is_none_or(|wanted| wanted == issuer)
        }
        _ => false,
    };
    let mut meant: Vec<Holder> = blocked.filter(is_meant).collect();
    let (Some(holder), true) = (meant.pop(), meant.is_empty()) else {
        let several = (StatusCode::CONFLICT, "several are blocked by that subject: name the issuer too".to_owned());
        let nobody = (StatusCode::NOT_FOUND, format!("{} is not blocked", shown(&asked.subject)));
        let (status, text) = if meant.is_empty() { nobody } else { several };
        return Err(Failed(status, text));
    };
    authority.roster.lift(&holder);
    let detail = format!("{} lets {} in again", shown(operator.name()), shown(&asked.subject));
    authority.by(operator, RecorderEventKind::Unblocked, detail, serde_json::to_string(&holder).ok()).await?;
    authority.keep().await?;
    Ok(json!({ "unblocked": [holder] }))
}

/// A reason that a client may read: a line of text.
fn reason(given: &str) -> Result<String, Failed> {
    let given = given.trim();
    if given.is_empty() || given.chars().count() > LONGEST_REASON || given.chars().any(char::is_control) {
        let text = format!("a reason is needed: one line of at most {LONGEST_REASON} characters; the client reads it");
        return Err(Failed(StatusCode::BAD_REQUEST, text));
    }
    Ok(given.to_owned())
}

fn known(id: &str) -> Option<SessionId> {
    id.parse().ok()
}

fn gone(id: &str) -> Failed {
    Failed(StatusCode::NOT_FOUND, format!("there is no open session {} here", shown(id)))
}

/// A session among others.
#[derive(Serialize)]
struct Summary<'a> {
    node: &'a str,
    session: String,
    who: &'a str,
    issuer: &'a str,
    subject: &'a str,
    kind: &'static str,
    roles: &'a [String],
    target: &'a str,
    database: &'a str,
    database_user: &'a str,
    application: Option<&'a str>,
    client: String,
    opened: String,
    statements: u64,
    state: &'static str,
    /// The statement that it is at.
    running: Option<String>,
    since_seconds: u64,
}

fn summary(seen: &Seen, authority: &Authority) -> Value {
    let session = &seen.session;
    let principal = &session.principal;
    let summary = Summary {
        node: authority.node.as_str(),
        session: session.id.to_string(),
        who: principal.name(),
        issuer: &principal.issuer,
        subject: &principal.subject,
        kind: principal.kind.as_str(),
        roles: &principal.roles,
        target: &session.target,
        database: &session.database,
        database_user: &session.database_user,
        application: session.peer.application.as_deref(),
        client: session.peer.address.to_string(),
        opened: session.opened.to_string(),
        statements: seen.statements,
        state: seen.state.as_str(),
        running: match seen.state {
            At::Active(reference) => Some(reference.to_string()),
            _ => None,
        },
        since_seconds: seen.since.as_secs(),
    };
    serde_json::to_value(summary).unwrap_or_default()
}

/// All that is known of a session.
fn whole(seen: &Seen, authority: &Authority) -> Value {
    let session = &seen.session;
    let (principal, peer) = (&session.principal, &session.peer);
    let mut whole = summary(seen, authority);
    let more = json!({
        "email": principal.email,
        "groups": principal.groups,
        "claims": principal.claims,
        "token_expires": principal.token.expires.to_string(),
        "token_jti": principal.token.jti,
        "rules": session.rules,
        "policy_version": session.policy_version,
        "recorded": session.recorded.as_str(),
        "balancer": peer.balancer.map(|balancer| balancer.to_string()),
        "tls": peer.tls_version,
        "client_certificate": peer.client_certificate.as_ref().map(|certificate| &certificate.subject),
    });
    if let (Some(whole), Value::Object(more)) = (whole.as_object_mut(), more) {
        whole.extend(more);
    }
    whole
}
