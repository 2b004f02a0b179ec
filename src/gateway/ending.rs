//! Why a session ends: either side left or failed, its token ended, somebody who may had it end, something lasted too long, or
//! the program stops.
//!
//! Promises: whatever ends a session that could go on, an open transaction has the time that is due to it, and a client
//! whose last message has ended reads why, with a reference.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::cancel::Theirs;
use super::patience::{Overrun, overrun};
use super::relay::{RelayError, Shared};
use super::roster::{Here, Order};
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

/// What can end a session, or bring its end nearer.
enum Event {
    ClientDone(Result<CloseReason, RelayError>),
    DatabaseDone(Result<(), RelayError>),
    OutOfPatience(CloseReason, Option<Refusal>),
    /// The token ended.
    Expired,
    /// The session is as old as one may become.
    Aged,
    /// It was ordered to end.
    Ordered(Order),
    /// The program stops, as soon as sessions let it.
    Stopping,
    /// The program stops now.
    CutOff,
    /// What was left to an open transaction is over.
    OutOfTime,
}

/// A session that ends when it is idle, or its time is over.
struct Ending {
    reason: CloseReason,
    refusal: Refusal,
    deadline: Instant,
}

/// One session on its way.
pub(super) struct Course<'a> {
    pub(super) here: &'a Here,
    pub(super) session: &'a Session,
    pub(super) site: &'a Site,
    pub(super) drain: &'a Drain,
    pub(super) shared: &'a Shared,
    /// How a statement of it is cancelled at the database.
    pub(super) theirs: Option<&'a Theirs>,
}

impl Course<'_> {
    /// Both directions until one ends for good, the token ends, something lasts too long, or the program stops.
    ///
    /// Nearly all that wakes a session concerns one of the two directions: each of these is looked at only when it is what
    /// woke it.
    pub(super) async fn race<'a>(
        &'a self,
        up: impl Future<Output = Result<CloseReason, RelayError>> + Send + 'a,
        down: impl Future<Output = Result<(), RelayError>> + Send + 'a,
    ) -> Closing {
        let Self { session, site, drain, shared, .. } = *self;
        let mut events = FuturesUnordered::<Pin<Box<dyn Future<Output = Event> + Send + 'a>>>::new();
        events.push(Box::pin(up.map(Event::ClientDone)));
        events.push(Box::pin(down.map(Event::DatabaseDone)));
        events.push(Box::pin(self.out_of_patience().map(|(reason, refusal)| Event::OutOfPatience(reason, refusal))));
        events.push(Box::pin(drain.begun().cancelled().map(|()| Event::Stopping)));
        events.push(Box::pin(drain.cut().cancelled().map(|()| Event::CutOff)));
        events.push(Box::pin(self.here.ordered().map(|order| Event::Ordered(order.clone()))));
        events.extend(expiry_of(session, site).map(|expiry| at(expiry, Event::Expired)));
        events.extend(
            site.target.patience.age.and_then(|age| reached(session, age, site)).map(|end| at(end, Event::Aged)),
        );
        if let Some((every, patience)) = site.verifier.introspects(&session.principal) {
            events.push(Box::pin(self.taken_back(every, patience).map(Event::Ordered)));
        }
        let mut said: Option<CloseReason> = None;
        let mut ending: Option<Ending> = None;
        while let Some(event) = events.next().await {
            let (reason, refusal, limit) = match event {
                // The client has said all; the database may still answer what it was asked.
                Event::ClientDone(Ok(reason)) => {
                    said = Some(reason);
                    continue;
                }
                Event::ClientDone(Err(error)) => return failed(&error, session.id),
                Event::DatabaseDone(ended) => {
                    return match (ended, said, ending) {
                        (Err(error), None, _) => failed(&error, session.id),
                        (_, Some(reason), _) => (reason, None, None),
                        (Ok(()), None, Some(Ending { reason, refusal, .. })) => (reason, None, Some(refusal)),
                        (Ok(()), None, None) => (CloseReason::UpstreamGone, None, None),
                    };
                }
                Event::OutOfPatience(reason, refusal) => return (reason, None, refusal),
                Event::CutOff => {
                    return (CloseReason::Shutdown, Some(BROKEN_OFF.to_owned()), Some(stopped(session.id)));
                }
                Event::OutOfTime => match ending.take() {
                    // Its time was set anew meanwhile.
                    Some(later) if Instant::now() < later.deadline => {
                        ending = Some(later);
                        continue;
                    }
                    Some(Ending { reason, refusal, .. }) => {
                        return (reason, Some(BROKEN_OFF.to_owned()), Some(refusal));
                    }
                    None => continue,
                },
                // Who says so does not wait for what runs.
                Event::Ordered(order) => {
                    return (order.reason(), Some(order.detail()), Some(order.refusal(session.id)));
                }
                Event::Expired | Event::Aged if ending.is_some() => continue,
                // A newer token was taken meanwhile.
                Event::Expired if let Some(later) = expiry_of(&self.here.newest(), site).filter(lies_ahead) => {
                    events.push(at(later, Event::Expired));
                    continue;
                }
                Event::Expired if site.target.on_token_expiry == OnTokenExpiry::Close => {
                    return (CloseReason::TokenExpired, None, Some(expired(session.id)));
                }
                Event::Expired => (CloseReason::TokenExpired, expired(session.id), EXPIRY_GRACE),
                Event::Aged if site.target.on_token_expiry == OnTokenExpiry::Close => {
                    return (CloseReason::MaxAge, None, Some(aged(session.id)));
                }
                Event::Aged => (CloseReason::MaxAge, aged(session.id), EXPIRY_GRACE),
                Event::Stopping => (CloseReason::Shutdown, stopped(session.id), drain.limit()),
            };
            if shared.exchange().idle() {
                return (reason, None, Some(refusal));
            }
            let deadline = Instant::now() + limit;
            events.push(at(deadline, Event::OutOfTime));
            ending = Some(Ending { reason, refusal, deadline });
            shared.ending.store(true, Ordering::Relaxed);
        }
        // It is not over before both directions are.
        (CloseReason::UpstreamGone, None, None)
    }

    /// Asks the issuer at a pace whether the session's token still holds. Returns when it does not, or when the issuer has not
    /// said so for too long.
    async fn taken_back(&self, every: Duration, patience: Duration) -> Order {
        let mut heard = Instant::now();
        let issuer = self.site.verifier.issuer_named(&self.session.principal.issuer).unwrap_or_default().to_owned();
        loop {
            tokio::time::sleep(every).await;
            let Some(token) = self.here.token() else { return std::future::pending().await };
            let why = match self.site.verifier.holds(&self.here.newest().principal, &token).await {
                Ok(true) => {
                    heard = Instant::now();
                    continue;
                }
                Ok(false) => "because its issuer does not hold to it any more",
                Err(error) => {
                    tracing::warn!(session = %self.session.id, %error, "it cannot be asked whether a token still holds");
                    if heard.elapsed() < patience {
                        continue;
                    }
                    "because its issuer could not be asked for too long"
                }
            };
            return Order::Revoke { issuer, why: why.to_owned() };
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
        let by_us = matches!(
            reason,
            CloseReason::TokenExpired
                | CloseReason::MaxAge
                | CloseReason::Killed
                | CloseReason::Revoked
                | CloseReason::Shutdown
                | CloseReason::ClientNotReading
        );
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

fn aged(session: SessionId) -> Refusal {
    let text = format!("session closed: it was open for as long as one may be here (ref {session})");
    Refusal::fatal("57P01", text).hint(Some("Reconnect.".to_owned()))
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

fn lies_ahead(moment: &Instant) -> bool {
    *moment > Instant::now()
}

/// When the session will have been open for so long.
fn reached(session: &Session, age: Duration, site: &Site) -> Option<Instant> {
    let past = Duration::from_micros(site.clock.now().micros_since(session.opened));
    Instant::now().checked_add(age.saturating_sub(past))
}

/// An event of a moment.
fn at<'a>(moment: Instant, event: Event) -> Pin<Box<dyn Future<Output = Event> + Send + 'a>> {
    Box::pin(tokio::time::sleep_until(moment).map(|()| event))
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
        | CloseReason::MaxAge
        | CloseReason::Killed
        | CloseReason::Revoked
        | CloseReason::IdleTimeout
        | CloseReason::IdleInTransactionTimeout
        | CloseReason::ClientNotReading
        | CloseReason::RecordingImpossible
        | CloseReason::Shutdown => OutcomeStatus::Killed,
        CloseReason::RecorderDied => OutcomeStatus::Unknown,
    }
}
