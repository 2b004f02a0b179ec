//! What issuers say here of access that ended: logout tokens (OpenID Connect Back-Channel Logout 1.0 §2.5) at `/logout`, and
//! security events (RFC 8935) at `/events`.
//!
//! They are answered when the sessions have been told, and it is on record: who sent it has done its part then, and tries again
//! otherwise.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Form, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::Whence;
use super::authority::{Authority, Halted};
use super::passing::is_passed_on;
use crate::identity::{Cause, Refusal, Repeated, Says};
use crate::model::Credential;

/// The content of a pushed event (RFC 8935 §2.1).
const EVENT: &str = "application/secevent+jwt";
const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Where issuers are listened to.
pub(in super::super) fn routes(authority: &Arc<Authority>) -> Router {
    Router::new().route("/logout", post(logout)).route("/events", post(events)).with_state(Arc::clone(authority))
}

#[derive(Deserialize)]
struct LogoutForm {
    logout_token: String,
}

async fn logout(
    State(authority): State<Arc<Authority>>,
    ConnectInfo(from): ConnectInfo<Whence>,
    headers: HeaderMap,
    Form(form): Form<LogoutForm>,
) -> Response {
    let failed = |error: &str, description: String| {
        let body = Json(json!({ "error": error, "error_description": description }));
        (StatusCode::BAD_REQUEST, NO_STORE, body).into_response()
    };
    match heard(&authority, (form.logout_token.clone().into_bytes(), Says::Logout), from).await {
        Ok(_) => {
            // A token that was believed has nothing in it that a form writes in another way.
            let body = format!("logout_token={}", form.logout_token).into_bytes();
            pass_on(&authority, &headers, ("/logout", "application/x-www-form-urlencoded"), body);
            (StatusCode::OK, NO_STORE).into_response()
        }
        Err(Unheard::Refused(refusal)) => failed("invalid_request", refusal.detail),
        Err(Unheard::Away(why)) => (StatusCode::SERVICE_UNAVAILABLE, NO_STORE, why).into_response(),
    }
}

async fn events(
    State(authority): State<Arc<Authority>>,
    ConnectInfo(from): ConnectInfo<Whence>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let failed = |err: &str, description: String| {
        (StatusCode::BAD_REQUEST, NO_STORE, Json(json!({ "err": err, "description": description }))).into_response()
    };
    let content = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(EVENT) {
        return failed("invalid_request", format!("the content is to be {EVENT}"));
    }
    match heard(&authority, (body.trim().as_bytes().to_vec(), Says::Event), from).await {
        Ok(_) => {
            pass_on(&authority, &headers, ("/events", EVENT), body.into_bytes());
            (StatusCode::ACCEPTED, NO_STORE).into_response()
        }
        Err(Unheard::Refused(refusal)) => failed(err_of(refusal.cause), refusal.detail),
        Err(Unheard::Away(why)) => (StatusCode::SERVICE_UNAVAILABLE, NO_STORE, why).into_response(),
    }
}

/// Has the other nodes told, if it did not come from one.
fn pass_on(authority: &Authority, headers: &HeaderMap, (path, content_type): (&str, &str), body: Vec<u8>) {
    let Some(passing) = authority.passing.as_ref().filter(|_| !is_passed_on(headers)) else { return };
    let (path, content_type) = (path.to_owned(), content_type.to_owned());
    passing.tell(Repeated { asks: false, path, content_type, authorization: None, body });
}

/// Why what was said did nothing, or not all.
enum Unheard {
    /// It is not believed.
    Refused(Refusal),
    /// It may be said again later.
    Away(String),
}

impl From<Halted> for Unheard {
    fn from(halted: Halted) -> Self {
        tracing::error!(error = %halted, "access was ended at an issuer, and that was not done whole");
        Self::Away("try again later".to_owned())
    }
}

async fn heard(authority: &Authority, (token, what): (Vec<u8>, Says), from: Whence) -> Result<usize, Unheard> {
    match authority.verifier.ended(Credential::new(token), what).await {
        Ok(ended) => Ok(authority.revoke(ended).await?),
        Err(refusal) if refusal.cause == Cause::IssuerAway => {
            tracing::warn!(detail = refusal.detail, "who says that access ended cannot be checked: its keys are away");
            Err(Unheard::Away("its keys cannot be had now".to_owned()))
        }
        Err(refusal) => {
            let (cause, client) = (refusal.cause, from.0);
            tracing::warn!(%client, %cause, detail = refusal.detail, "not believed that access ended");
            let kind = if what == Says::Logout { "a logout token" } else { "a security event" };
            authority.disbelieved(format!("{kind} from {client}: {cause}: {}", refusal.detail)).await?;
            Err(Unheard::Refused(refusal))
        }
    }
}

/// The error codes of RFC 8935 §2.4.
fn err_of(cause: Cause) -> &'static str {
    match cause {
        Cause::WrongIssuer => "invalid_issuer",
        Cause::WrongAudience => "invalid_audience",
        Cause::UnknownKey | Cause::BadSignature | Cause::AlgorithmNotAllowed => "invalid_key",
        _ => "invalid_request",
    }
}
