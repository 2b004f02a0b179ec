//! Why a session ends: either side left or failed, its token ended, something lasted too long, or the program stops.
//!
//! Promises: whatever ends a session that could go on, an open transaction has the time that is due to it, and a client
//! whose last message has ended reads why, with a reference.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::cancel::Theirs;
use super::patience::{Overrun, overrun};
use super::relay::{RelayError, Shared};
use super::words::sentence_of;
use super::{Drain, OnTokenExpiry, Site, upstream};
use crate::model::{CloseReason, OutcomeStatus, Session, SessionId};
use crate::wire::postgres::exchange::UnderWay;
use crate::wire::postgres::message::Refusal;

/// How long a transaction may go on after its token ended, where it may at all.
const EXPIRY_GRACE: Duration = Duration::from_secs(300);

/// How long a session that ends waits for the database to take the request to cancel its statement.
const CANCEL_LIMIT: Duration = Duration::from_secs(3);

/// How a session ended: why, what more there is to say in the record, and what the client is told.
pub(super) type Closing = (CloseReason, Option<String>, Option<Refusal>);

/// One session on its way.
pub(super) struct Course<'a> {
    pub(super) session: &'a Session,
    pub(super) site: &'a Site,
    pub(super) drain: &'a Drain,
    pub(super) shared: &'a Shared,
    /// How a statement of it is cancelled at the database.
    pub(super) theirs: Option<&'a Theirs>,
}

impl Course<'_> {
    /// Both directions until one ends for good, the token ends, something lasts too long, or the program stops.
    pub(super) async fn race(
        &self,
        mut up: impl Future<Output = Result<CloseReason, RelayError>> + Unpin,
        mut down: impl Future<Output = Result<(), RelayError>> + Unpin,
    ) -> Closing {
        let Self { session, site, drain, shared, .. } = *self;
        let expiry = expiry_of(session, site);
        let mut said: Option<CloseReason> = None;
        let mut ending: Option<(CloseReason, Refusal)> = None;
        let mut deadline = Instant::now();
        let mut impatient = std::pin::pin!(self.out_of_patience());
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
                (reason, refusal) = &mut impatient => return (reason, None, refusal),
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

    /// Cuts statements that run too long. Returns when something lasted too long that ends the session.
    async fn out_of_patience(&self) -> (CloseReason, Option<Refusal>) {
        loop {
            match overrun(self.site.target.patience, self.shared).await {
                Overrun::Statement(statements, limit) => self.cut(statements, limit).await,
                other => {
                    if let Some(end) = other.ends(self.session.id) {
                        return end;
                    }
                }
            }
        }
    }

    /// Has the database cancel a statement. Nothing is sent to it meanwhile, because it cancels what it is at when it hears of
    /// it; what was sent behind the statement before can be hit, as by every request to cancel.
    async fn cut(&self, statements: UnderWay, limit: Duration) {
        // Should it not end by that, it is tried again after as long.
        self.shared.stamps.turned();
        if self.theirs.is_none() || !self.shared.exchange().cut(statements, limit) {
            return;
        }
        let (reference, count) = (statements.first, statements.count);
        tracing::info!(%reference, count, ?limit, "what was sent ran too long and is cancelled");
        self.shared.hold_back(true);
        self.cancel().await;
        self.shared.hold_back(false);
    }

    /// Has the database cancel what the session is at.
    async fn cancel(&self) {
        let Some((spot, process, secret)) = self.theirs else { return };
        if let Err(error) = upstream::cancel(&self.site.target, spot, *process, secret).await {
            tracing::warn!(%error, session = %self.session.id, "a statement could not be cancelled at the database");
        }
    }

    /// The session ends though its statement still runs: the database is not to go on with it for nobody. Those who left by
    /// themselves leave it to the database, as without us.
    pub(super) async fn leave_nothing_behind(&self, reason: CloseReason) {
        let by_us = matches!(reason, CloseReason::TokenExpired | CloseReason::Shutdown | CloseReason::ClientNotReading);
        if by_us && self.shared.exchange().running().is_some() {
            // It ends by itself when it next looks for its client; that may be late.
            tokio::time::timeout(CANCEL_LIMIT, self.cancel()).await.ok();
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
        | CloseReason::IdleTimeout
        | CloseReason::IdleInTransactionTimeout
        | CloseReason::ClientNotReading
        | CloseReason::RecordingImpossible
        | CloseReason::Shutdown => OutcomeStatus::Killed,
        CloseReason::RecorderDied => OutcomeStatus::Unknown,
    }
}
