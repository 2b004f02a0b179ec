//! A newer token for sessions that are open, at `/renew`: for whoever brought a client here that knows of no tokens, and for
//! clients that cannot send a statement of their own.
//!
//! ```text
//! POST /renew   Authorization: Bearer NEWER   {"token_sha256": "of the one that the sessions have"}   →   {"renewed": 2}
//! ```

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;

use super::authority::Authority;
use super::operators::bearer;
use crate::model::{Credential, Sha256};

/// Where newer tokens are taken.
pub(in super::super) fn routes(authority: &Arc<Authority>) -> Router {
    Router::new().route("/renew", post(renew)).with_state(Arc::clone(authority))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Renew {
    token_sha256: String,
}

async fn renew(State(authority): State<Arc<Authority>>, headers: HeaderMap, Json(asked): Json<Renew>) -> Response {
    let refused = |status: StatusCode, error: String| (status, Json(json!({ "error": error }))).into_response();
    let old = match asked.token_sha256.parse::<Sha256>() {
        Ok(old) => old,
        Err(error) => return refused(StatusCode::BAD_REQUEST, format!("token_sha256: {error}")),
    };
    let Some(token) = bearer(&headers) else { return refused(StatusCode::UNAUTHORIZED, "no token came".to_owned()) };
    let token = Credential::new(token.as_bytes().to_vec());
    let verified = authority.verifier.verify(token.again()).await;
    let principal = match verified {
        Ok(principal) => principal,
        Err(refusal) => return refused(StatusCode::UNAUTHORIZED, refusal.sentence),
    };
    match authority.roster.hand_over((&principal, &token), old).await {
        (0, Some(why)) => refused(StatusCode::FORBIDDEN, why),
        (0, None) => refused(StatusCode::NOT_FOUND, "no session of yours has that token here".to_owned()),
        (renewed, _) => Json(json!({ "renewed": renewed })).into_response(),
    }
}
