//! Time limits of a session: how long it may do nothing, how long a statement may run, how long a client may leave unread
//! what is held for it.
//!
//! Promises: what runs over its limit is noticed within a moment of it; what moves is never held up by a look at the clock. A
//! session leaves stamps where it passes, and one timer sleeps until the first moment at which any limit could be over and
//! then reads them.
//!
//! Rejected: a timer for each statement, set and taken back a hundred thousand times a second for what hardly ever happens;
//! looks at a regular pace, which are late or many; `TCP_USER_TIMEOUT` for what is unread, where the kernel would see each
//! byte, because keep-alive would then wait as long for peers that are gone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::relay::Shared;
use crate::model::{CloseReason, SessionId};
use crate::wire::postgres::exchange::UnderWay;
use crate::wire::postgres::message::Refusal;

/// What is not limited is looked at so seldom.
const NEVER: Duration = Duration::from_secs(86_400);

/// The time limits of a target's sessions. Without one, something may last for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patience {
    /// A session of which nothing is asked, outside of a transaction.
    pub idle: Option<Duration>,
    /// The same in a transaction.
    pub idle_in_transaction: Option<Duration>,
    /// A statement, from when the database was at it; of those that were sent together, each.
    pub statement: Option<Duration>,
    /// A client that takes nothing of what is held for it.
    pub unread: Option<Duration>,
    /// A session as a whole, whatever it does; an open transaction then has the time that one has after the token's end.
    pub age: Option<Duration>,
}

impl Patience {
    /// The first moment at which something that begins at `now` could be over its limit.
    fn soonest(&self, now: Duration) -> Duration {
        let limits = [self.idle, self.idle_in_transaction, self.statement, self.unread];
        now.saturating_add(limits.into_iter().flatten().min().unwrap_or(NEVER))
    }
}

/// Where a session passed last, in microseconds since it began.
#[derive(Debug)]
pub(super) struct Stamps {
    began: Instant,
    moved: AtomicU64,
    turned: AtomicU64,
    /// One more than the moment; zero while nothing is held.
    held: AtomicU64,
}

impl Stamps {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), moved: AtomicU64::new(0), turned: AtomicU64::new(0), held: AtomicU64::new(0) }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    // The stamps are written and read by one task; nothing hangs on their order.
    fn stamp(stamp: &AtomicU64, moment: Duration) {
        stamp.store(u64::try_from(moment.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn read(stamp: &AtomicU64) -> Duration {
        Duration::from_micros(stamp.load(Ordering::Relaxed))
    }

    /// Bytes came, from either side.
    pub(super) fn moved(&self) {
        Self::stamp(&self.moved, self.now());
    }

    /// For how long no bytes came.
    pub(super) fn since_moved(&self) -> Duration {
        self.now().saturating_sub(Self::read(&self.moved))
    }

    /// For how long the database has been at its statement.
    pub(super) fn since_turned(&self) -> Duration {
        self.now().saturating_sub(Self::read(&self.turned))
    }

    /// The database is at another statement.
    pub(super) fn turned(&self) {
        Self::stamp(&self.turned, self.now());
    }

    /// Bytes are held for the client, and it has just taken some or is about to.
    pub(super) fn holds(&self) {
        Self::stamp(&self.held, self.now().saturating_add(Duration::from_micros(1)));
    }

    /// Nothing is held.
    pub(super) fn holds_nothing(&self) {
        self.held.store(0, Ordering::Relaxed);
    }

    fn held_since(&self) -> Option<Duration> {
        Some(Self::read(&self.held)).filter(|held| !held.is_zero())
    }
}

/// What lasted too long, and how long it may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overrun {
    Idle(Duration),
    IdleInTransaction(Duration),
    /// What was sent together to the database; the session goes on without it.
    Statement(UnderWay, Duration),
    Unread(Duration),
}

impl Overrun {
    /// Why the session ends thereby, if it does, and what its client is told.
    pub(super) fn ends(self, session: SessionId) -> Option<(CloseReason, Option<Refusal>)> {
        match self {
            Self::Idle(limit) => {
                let text = format!("session closed: idle for {limit:?} (ref {session})");
                Some((CloseReason::IdleTimeout, Some(Refusal::fatal("57P05", text))))
            }
            Self::IdleInTransaction(limit) => {
                let text = format!("session closed: idle in a transaction for {limit:?} (ref {session})");
                let refusal = Refusal::fatal("25P03", text).detail("The transaction is rolled back.");
                Some((CloseReason::IdleInTransactionTimeout, Some(refusal)))
            }
            Self::Unread(_) => Some((CloseReason::ClientNotReading, None)),
            Self::Statement(..) => None,
        }
    }
}

/// Sleeps until something has lasted too long.
pub(super) async fn overrun(patience: Patience, shared: &Shared) -> Overrun {
    let stamps = &shared.stamps;
    loop {
        let now = stamps.now();
        let next = match lasts(&patience, shared) {
            Some((since, limit, what)) if since.saturating_add(limit) <= now => return what,
            Some((since, limit, _)) => patience.soonest(now).min(since.saturating_add(limit)),
            None => patience.soonest(now),
        };
        tokio::time::sleep(next.saturating_sub(now)).await;
    }
}

/// What lasts now that is limited, since when, and for how long it may: the one that is over first.
fn lasts(patience: &Patience, shared: &Shared) -> Option<(Duration, Duration, Overrun)> {
    let stamps = &shared.stamps;
    let unread = patience.unread.zip(stamps.held_since());
    let unread = unread.map(|(limit, since)| (since, limit, Overrun::Unread(limit)));
    let exchange = shared.exchange();
    let other = if exchange.idle() {
        patience.idle.map(|limit| (Stamps::read(&stamps.moved), limit, Overrun::Idle(limit)))
    } else if exchange.is_quiet() {
        let limit = patience.idle_in_transaction;
        limit.map(|limit| (Stamps::read(&stamps.moved), limit, Overrun::IdleInTransaction(limit)))
    } else {
        let running = patience.statement.zip(exchange.under_way());
        running.map(|(limit, statements)| {
            let together = limit.saturating_mul(statements.count);
            (Stamps::read(&stamps.turned), together, Overrun::Statement(statements, limit))
        })
    };
    [unread, other].into_iter().flatten().min_by_key(|(since, limit, _)| since.saturating_add(*limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_look_is_when_the_shortest_limit_could_be_over() {
        let patience = Patience {
            idle: Some(Duration::from_secs(30)),
            statement: Some(Duration::from_secs(5)),
            ..Patience::default()
        };
        assert_eq!(patience.soonest(Duration::from_secs(10)), Duration::from_secs(15));
        assert_eq!(Patience::default().soonest(Duration::ZERO), NEVER);
    }

    #[test]
    fn what_is_held_is_held_from_the_first_moment_on_and_not_once_it_is_taken() {
        let stamps = Stamps::new();
        assert_eq!(stamps.held_since(), None);
        stamps.holds();
        assert!(stamps.held_since().is_some());
        stamps.holds_nothing();
        assert_eq!(stamps.held_since(), None);
    }
}
