//! Whether a server is one of those that the target wants: the primary, or a standby.

use super::{Upstream, UpstreamError};
use crate::gateway::Wanted;
use crate::gateway::catalog::asking::{ask, rows};
use crate::wire::postgres::parameters;

/// The setting that makes sessions read-only.
const READ_ONLY: &str = "default_transaction_read_only";

/// Why a server is not the one.
const IS_STANDBY: &str = "it is a standby";
const IS_PRIMARY: &str = "it is the primary";
const IS_READ_ONLY: &str = "its sessions are read-only";
const IS_WRITABLE: &str = "its sessions can write";

/// Says no if a server that let us in is not one of those wanted. Servers from PostgreSQL 14 on say what they are when a
/// session begins; others are asked, before anything of the client's is sent.
pub(super) async fn judge(
    upstream: &mut Upstream,
    wanted: Wanted,
    startup: &[(String, String)],
) -> Result<(), UpstreamError> {
    let wrong = match wanted {
        Wanted::Any | Wanted::PreferStandby => None,
        Wanted::Primary => is_standby(upstream).await?.then_some(IS_STANDBY),
        Wanted::Standby => (!is_standby(upstream).await?).then_some(IS_PRIMARY),
        Wanted::ReadWrite => is_read_only(upstream, startup).await?.then_some(IS_READ_ONLY),
        Wanted::ReadOnly => (!is_read_only(upstream, startup).await?).then_some(IS_WRITABLE),
    };
    wrong.map_or(Ok(()), |wrong| Err(UpstreamError::Wrong(wrong)))
}

async fn is_standby(upstream: &mut Upstream) -> Result<bool, UpstreamError> {
    match said(upstream, "in_hot_standby") {
        Some(said) => Ok(said),
        None => asked(upstream, "SELECT pg_catalog.pg_is_in_recovery()").await,
    }
}

/// Whether sessions of the server cannot write. One that was itself opened read-only, by its client or by us, says nothing of
/// that, so then a standby is what cannot be written to.
async fn is_read_only(upstream: &mut Upstream, startup: &[(String, String)]) -> Result<bool, UpstreamError> {
    let settings = parameters::settings(startup);
    let is_set = settings.map_or(true, |settings| settings.iter().any(|(name, _)| name == READ_ONLY));
    if is_set || said(upstream, "in_hot_standby") == Some(true) {
        return is_standby(upstream).await;
    }
    match said(upstream, READ_ONLY) {
        Some(said) => Ok(said),
        None => asked(upstream, "SHOW transaction_read_only").await,
    }
}

/// What the server said of itself.
fn said(upstream: &Upstream, name: &str) -> Option<bool> {
    let said = upstream.greeting.parameters.iter().find(|(said, _)| said == name);
    said.map(|(_, value)| value == "on")
}

async fn asked(upstream: &mut Upstream, question: &str) -> Result<bool, UpstreamError> {
    let answer = ask(upstream, question).await.map_err(|error| UpstreamError::Unasked(error.to_string()))?;
    Ok(rows::<1>(answer).any(|[value]| matches!(value.as_str(), "on" | "t")))
}
