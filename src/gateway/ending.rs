//! Why a session ends: either side left or failed, its token ended, or the program stops.
//!
//! Promises: whatever ends a session that could go on, an open transaction has the time that is due to it, and a client
//! whose last message has ended reads why, with a reference.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::relay::{RelayError, Shared};
use super::{Drain, OnTokenExpiry, Site};
use crate::model::{CloseReason, OutcomeStatus, Session, SessionId};
use crate::wire::postgres::message::Refusal;

/// How long a transaction may go on after its token ended, where it may at all.
const EXPIRY_GRACE: Duration = Duration::from_secs(300);

/// How a session ended: why, what more there is to say in the record, and what the client is told.
pub(super) type Closing = (CloseReason, Option<String>, Option<Refusal>);

/// Both directions until one ends for good, the token ends, or the program stops.
pub(super) async fn race(
    mut up: impl Future<Output = Result<CloseReason, RelayError>> + Unpin,
    mut down: impl Future<Output = Result<(), RelayError>> + Unpin,
    session: &Session,
    site: &Site,
    drain: &Drain,
    shared: &Shared,
) -> Closing {
    let expiry = expiry_of(session, site);
    let mut said: Option<CloseReason> = None;
    let mut ending: Option<(CloseReason, Refusal)> = None;
    let mut deadline = Instant::now();
    loop {
        tokio::select! {
            ended = &mut up, if said.is_none() => match ended {
                // The client has said all; the database may still answer what it was asked.
                Ok(reason) => said = Some(reason),
                Err(error) => return failed(&error, session.id),
            },
            ended = &mut down => return match (ended, said, ending) {
                (Err(error), None, _) => failed(&error, session.id),
                (_, Some(reason), _) => (reason, None, None),
                (Ok(()), None, Some((reason, refusal))) => (reason, None, Some(refusal)),
                (Ok(()), None, None) => (CloseReason::UpstreamGone, None, None),
            },
            () = wait_until(expiry), if ending.is_none() && expiry.is_some() => {
                let refusal = expired(session.id);
                let idle = shared.exchange().idle();
                if idle || site.target.on_token_expiry == OnTokenExpiry::Close {
                    return (CloseReason::TokenExpired, None, Some(refusal));
                }
                deadline = Instant::now() + EXPIRY_GRACE;
                ending = Some((CloseReason::TokenExpired, refusal));
                shared.ending.store(true, Ordering::Relaxed);
            },
            () = drain.begun().cancelled(), if !matches!(ending, Some((CloseReason::Shutdown, _))) => {
                let refusal = stopped(session.id);
                if shared.exchange().idle() {
                    return (CloseReason::Shutdown, None, Some(refusal));
                }
                deadline = Instant::now() + drain.limit();
                ending = Some((CloseReason::Shutdown, refusal));
                shared.ending.store(true, Ordering::Relaxed);
            },
            () = drain.cut().cancelled() => {
                return (CloseReason::Shutdown, Some(BROKEN_OFF.to_owned()), Some(stopped(session.id)));
            },
            () = tokio::time::sleep_until(deadline), if ending.is_some() => {
                let (reason, refusal) = ending.unzip();
                return (reason.unwrap_or(CloseReason::Shutdown), Some(BROKEN_OFF.to_owned()), refusal);
            },
        }
    }
}

/// In the record of a session that was not idle when its time was over.
const BROKEN_OFF: &str = "a transaction or statement was broken off: its time was over";

fn expired(session: SessionId) -> Refusal {
    let text = format!("session closed: your sign-in expired (ref {session})");
    Refusal::fatal("57P01", text).hint(Some("Sign in again and reconnect.".to_owned()))
}

fn stopped(session: SessionId) -> Refusal {
    Refusal::fatal("57P01", format!("session closed: the recorder is being stopped (ref {session})"))
}

/// When the session's token ends, if that matters.
fn expiry_of(session: &Session, site: &Site) -> Option<Instant> {
    if site.target.on_token_expiry == OnTokenExpiry::Keep {
        return None;
    }
    let left = session.principal.token.expires.micros_since(site.clock.now());
    Instant::now().checked_add(Duration::from_micros(left))
}

async fn wait_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn failed(error: &RelayError, session: SessionId) -> Closing {
    let (reason, refusal) = match error {
        RelayError::Client(_) => {
            let text = format!("the connection broke the PostgreSQL protocol and was closed (ref {session})");
            (CloseReason::ProtocolViolation, Some(Refusal::fatal("08P01", text).detail(sentence_of(error))))
        }
        RelayError::Server(_) => (CloseReason::ProtocolViolation, Some(upstream_lost(session))),
        RelayError::ClientGone(_) => (CloseReason::ClientGone, None),
        RelayError::UpstreamGone(_) => (CloseReason::UpstreamGone, Some(upstream_lost(session))),
        RelayError::Journal(_) | RelayError::Unpermitted => {
            let text = format!("session closed: recording is not possible right now (ref {session})");
            (CloseReason::RecordingImpossible, Some(Refusal::fatal("58030", text)))
        }
    };
    tracing::info!(%session, %error, "a session ended early");
    (reason, Some(error.to_string()), refusal)
}

fn sentence_of(error: &RelayError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    letters.next().map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// What a client is told whose database is gone.
pub(super) fn upstream_lost(session: SessionId) -> Refusal {
    Refusal::fatal("08006", format!("the connection to the database was lost (ref {session})"))
}

/// How a statement ended that still ran when the session ended for this reason.
pub(super) fn cut_by(reason: CloseReason) -> OutcomeStatus {
    match reason {
        CloseReason::ClientTerminated
        | CloseReason::ClientGone
        | CloseReason::UpstreamGone
        | CloseReason::UpstreamRefused => OutcomeStatus::ConnectionLost,
        CloseReason::ProtocolViolation
        | CloseReason::TokenExpired
        | CloseReason::RecordingImpossible
        | CloseReason::Shutdown => OutcomeStatus::Killed,
        CloseReason::RecorderDied => OutcomeStatus::Unknown,
    }
}
