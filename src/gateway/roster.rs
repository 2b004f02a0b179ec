//! Who is here, who is to leave, and who may not come back.
//!
//! Promises: an order to end reaches every session that it names, idle, in a statement or just coming in. A session stands on
//! the roster before it is asked whether it is barred, and a bar is set before sessions are told: whichever comes first, one of
//! the two sees the other. What is on the roster is open; it is forgotten with its session.
//!
//! Rejected: asking the issuer again before each statement, which puts a round trip into every statement and leaves those that
//! run already; and ending sessions by closing their sockets, after which neither the client nor the record knows why.

mod bars;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::SetOnce;

use super::relay::Shared;
use super::{Site, handover};
use crate::model::{CloseReason, Credential, Holder, Principal, Reference, Session, SessionId, Sha256, Timestamp};
use crate::wire::postgres::message::Refusal;

pub use bars::{Bar, TooManyBars};

/// Which sessions are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// One.
    Session(SessionId),
    /// Those of people and workloads that are these, to whom their token was issued no later than at that time, if one is
    /// said.
    Holders(Holder, Option<Timestamp>),
}

/// Whether a token was issued by then. One that does not say when is taken to be.
fn is_issued_by(principal: &Principal, moment: Timestamp) -> bool {
    principal.token.issued.is_none_or(|issued| issued <= moment)
}

impl Whom {
    fn includes(&self, session: &Session) -> bool {
        match self {
            Self::Session(id) => session.id == *id,
            Self::Holders(holder, issued_by) => {
                holder.is(&session.principal) && issued_by.is_none_or(|moment| is_issued_by(&session.principal, moment))
            }
        }
    }
}

/// Who wants a session to end, and why, for its client and the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// An operator.
    Kill {
        /// Who, by name.
        by: String,
        /// Why, in the operator's words.
        why: String,
    },
    /// Who vouched does not any more.
    Revoke {
        /// The issuer's name in config.
        issuer: String,
        /// What happened there.
        why: String,
    },
}

impl Order {
    pub(super) fn reason(&self) -> CloseReason {
        match self {
            Self::Kill { .. } => CloseReason::Killed,
            Self::Revoke { .. } => CloseReason::Revoked,
        }
    }

    /// For the record.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Kill { by, why } => format!("by {by}: {why}"),
            Self::Revoke { issuer, why } => format!("by issuer {issuer}: {why}"),
        }
    }

    /// The line that the client of a session reads.
    pub fn words(&self, session: SessionId) -> String {
        self.refusal(session).message
    }

    /// What the client reads.
    pub(super) fn refusal(&self, session: SessionId) -> Refusal {
        match self {
            Self::Kill { by, why } => {
                Refusal::fatal("57P01", format!("session closed on purpose by {by}: {why} (ref {session})"))
            }
            Self::Revoke { why, .. } => {
                let text = format!("session closed: your sign-in was ended, {why} (ref {session})");
                Refusal::fatal("57P01", text).hint(Some("Sign in again and reconnect.".to_owned()))
            }
        }
    }
}

/// A session that is open.
#[derive(Debug)]
pub(super) struct Present {
    /// As it is now: a newer token may be handed over.
    session: RwLock<Arc<Session>>,
    /// The same by a newer token, until the next statement.
    newer: Mutex<Option<Arc<Session>>>,
    /// Whether there is one.
    has_newer: AtomicBool,
    papers: Papers,
    /// Its token, if the issuer is asked about it while the session lives.
    token: RwLock<Option<Arc<Credential>>>,
    order: SetOnce<Order>,
    /// What it is at, once it reached the database.
    shared: OnceLock<Arc<Shared>>,
}

/// What is known of a session that comes in, beside what is on record.
#[derive(Debug, Default)]
pub(super) struct Papers {
    /// Where it goes. The site knows the roster, so not the other way round.
    pub(super) site: Weak<Site>,
    /// Whether it is read-only at the database.
    pub(super) is_walled: bool,
    /// Its token.
    pub(super) token: Option<Credential>,
}

impl Present {
    /// The session as it is now.
    pub(super) fn session(&self) -> Arc<Session> {
        Arc::clone(&self.session.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn kept_newer(&self) -> MutexGuard<'_, Option<Arc<Session>>> {
        self.newer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session by the newest token that was taken.
    pub(super) fn newest(&self) -> Arc<Session> {
        self.kept_newer().clone().unwrap_or_else(|| self.session())
    }

    /// Whether it is read-only at the database.
    pub(super) fn is_walled(&self) -> bool {
        self.papers.is_walled
    }

    /// The token that its issuer is asked about.
    pub(super) fn token(&self) -> Option<Arc<Credential>> {
        self.token.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A newer token was taken.
    pub(super) fn hands_over(&self, newer: Session, token: Option<Credential>) {
        let mut kept = self.token.write().unwrap_or_else(PoisonError::into_inner);
        if kept.is_some() {
            *kept = token.map(Arc::new);
        }
        *self.kept_newer() = Some(Arc::new(newer));
        self.has_newer.store(true, Ordering::Release);
    }

    /// Whether a newer token was taken since.
    pub(super) fn has_newer(&self) -> bool {
        self.has_newer.load(Ordering::Acquire)
    }

    /// The session by a newer token, if one was taken since.
    pub(super) fn waiting(&self) -> Option<Arc<Session>> {
        self.kept_newer().clone()
    }

    /// From now on it is this, and recorded so.
    pub(super) fn goes_on_as(&self, newer: &Arc<Session>) {
        let mut kept = self.kept_newer();
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(newer);
        // Unless a still newer one came meanwhile.
        if kept.take_if(|kept| Arc::ptr_eq(kept, newer)).is_some() {
            self.has_newer.store(false, Ordering::Release);
        }
    }

    /// Returns when it is to end.
    pub(super) async fn ordered(&self) -> &Order {
        self.order.wait().await
    }

    /// It has reached the database.
    pub(super) fn goes_on(&self, shared: &Arc<Shared>) {
        // Once in its life.
        self.shared.set(Arc::clone(shared)).ok();
    }

    fn seen(&self) -> Seen {
        let session = self.newest();
        let Some(shared) = self.shared.get() else {
            return Seen { session, statements: 0, state: State::Arriving, since: Duration::ZERO };
        };
        let (state, since) = shared.state();
        Seen { session, statements: shared.statements(), state, since }
    }
}

/// A session's place on the roster, given up when this is dropped.
#[derive(Debug)]
pub(super) struct Here {
    roster: Arc<Roster>,
    id: SessionId,
    present: Arc<Present>,
}

impl std::ops::Deref for Here {
    type Target = Present;

    fn deref(&self) -> &Present {
        &self.present
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.roster.present().remove(&self.id);
        // Of a session issuer and subject never change.
        let session = self.present.session();
        let of = (session.principal.issuer.clone(), session.principal.subject.clone());
        let mut of_each = self.roster.of_each();
        if let Some(count) = of_each.get_mut(&of) {
            *count -= 1;
            if *count == 0 {
                of_each.remove(&of);
            }
        }
    }
}

/// What a session is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has not reached the database yet.
    Arriving,
    /// At nothing.
    Idle,
    /// At nothing, in a transaction.
    InTransaction,
    /// At nothing, in a transaction that failed.
    InFailedTransaction,
    /// At this statement.
    Active(Reference),
}

impl State {
    /// The word in listings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arriving => "arriving",
            Self::Idle => "idle",
            Self::InTransaction => "in transaction",
            Self::InFailedTransaction => "in failed transaction",
            Self::Active(_) => "active",
        }
    }
}

/// A session, looked at.
#[derive(Debug, Clone)]
pub struct Seen {
    /// What it is.
    pub session: Arc<Session>,
    /// How many statements it has had.
    pub statements: u64,
    /// What it is at.
    pub state: State,
    /// For how long.
    pub since: Duration,
}

/// Every open session of this recorder, and who is barred. One for all listeners.
#[derive(Debug)]
pub struct Roster {
    present: Mutex<HashMap<SessionId, Arc<Present>>>,
    /// How many sessions each issuer and subject has.
    of_each: Mutex<HashMap<(String, String), usize>>,
    /// How many one may have.
    most: usize,
    bars: Mutex<bars::Bars>,
}

impl Default for Roster {
    fn default() -> Self {
        Self::new(Vec::new(), None)
    }
}

impl Roster {
    /// Nobody is here; these are barred. One principal may have `most` sessions, if there is such a limit.
    pub fn new(barred: Vec<Bar>, most: Option<usize>) -> Self {
        Self {
            present: Mutex::default(),
            of_each: Mutex::default(),
            most: most.unwrap_or(usize::MAX),
            bars: Mutex::new(bars::Bars::new(barred)),
        }
    }

    fn of_each(&self) -> MutexGuard<'_, HashMap<(String, String), usize>> {
        self.of_each.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limit of sessions of one principal, if this one has more, itself included.
    pub(super) fn over_limit(&self, principal: &Principal) -> Option<usize> {
        let count = self.of_each().get(&(principal.issuer.clone(), principal.subject.clone())).copied();
        (count.unwrap_or_default() > self.most).then_some(self.most)
    }

    fn present(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Present>>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn barred(&self) -> MutexGuard<'_, bars::Bars> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session comes in.
    pub(super) fn enter(self: &Arc<Self>, session: Session, mut papers: Papers) -> Here {
        let (id, principal) = (session.id, &session.principal);
        *self.of_each().entry((principal.issuer.clone(), principal.subject.clone())).or_default() += 1;
        let present = Arc::new(Present {
            session: RwLock::new(Arc::new(session)),
            newer: Mutex::default(),
            has_newer: AtomicBool::new(false),
            token: RwLock::new(papers.token.take().map(Arc::new)),
            papers,
            order: SetOnce::new(),
            shared: OnceLock::new(),
        });
        self.present().insert(id, Arc::clone(&present));
        Here { roster: Arc::clone(self), id, present }
    }

    /// All who are here, the longest first.
    pub fn list(&self) -> Vec<Seen> {
        let present: Vec<Arc<Present>> = self.present().values().cloned().collect();
        let mut seen: Vec<Seen> = present.iter().map(|present| present.seen()).collect();
        seen.sort_by_key(|seen| (seen.session.opened, seen.session.id));
        seen
    }

    /// One of them.
    pub fn find(&self, id: SessionId) -> Option<Seen> {
        let present = self.present().get(&id).cloned();
        present.map(|present| present.seen())
    }

    /// Has those end who are meant, at once. Gives which were told; one that was told before is not told again.
    pub fn end(&self, whom: &Whom, order: &Order) -> Vec<Arc<Session>> {
        let present: Vec<Arc<Present>> = match whom {
            Whom::Session(id) => self.present().get(id).cloned().into_iter().collect(),
            Whom::Holders(..) => self.present().values().cloned().collect(),
        };
        let mut told = Vec::new();
        for present in present {
            let session = present.newest();
            if whom.includes(&session) && present.order.set(order.clone()).is_ok() {
                told.push(session);
            }
        }
        told
    }

    /// Hands over a newer token to those of the same person or workload whose token has this SHA-256. Gives how many took it,
    /// and why the last one that did not, did not.
    pub async fn hand_over(
        &self,
        (principal, token): (&Principal, &Credential),
        old: Sha256,
    ) -> (usize, Option<String>) {
        let all: Vec<Arc<Present>> = self.present().values().cloned().collect();
        let (mut taken, mut why) = (0, None);
        for present in all {
            let known = &present.newest().principal;
            let is_theirs = (&known.issuer, &known.subject) == (&principal.issuer, &principal.subject);
            if !is_theirs || known.token.sha256 != old {
                continue;
            }
            let Some(site) = present.papers.site.upgrade() else { continue };
            match handover::take(&present, (principal.clone(), token.again()), &site).await {
                Ok(()) => taken += 1,
                Err(error) => why = Some(error.to_string()),
            }
        }
        (taken, why)
    }

    /// Bars somebody.
    ///
    /// # Errors
    ///
    /// So many are barred that there is no room for another.
    pub fn bar(&self, bar: Bar, now: Timestamp) -> Result<(), TooManyBars> {
        self.barred().put(bar, now)
    }

    /// Lifts what an operator set for somebody. False if there was nothing.
    pub fn lift(&self, holder: &Holder) -> bool {
        self.barred().lift(holder)
    }

    /// All who are barred at this moment.
    pub fn bars(&self, now: Timestamp) -> Vec<Bar> {
        self.barred().list(now)
    }

    /// Why this token lets nobody in now, if it is so.
    pub fn bar_of(&self, principal: &Principal, now: Timestamp) -> Option<Bar> {
        self.barred().of(principal, now)
    }
}

#[cfg(test)]
mod tests;
