//! The issuer's keys at hand: asked for seldom, kept while the issuer is away, never for ever.
//!
//! * Fresh keys are used as they are. Keys past their time are used while new ones are asked for behind the scenes.
//! * A token with an unknown key makes one question to the issuer, however many such tokens come at once, and at most
//!   one in [`Pace::between_fetches`]: an attacker who invents key names cannot make us flood the issuer.
//! * An issuer that is away changes nothing until the keys are so long past their time as config says; from then on
//!   nobody of it is let in, because a key that was withdrawn would still be believed.
//! * A file of keys is read again when a token comes and the last look is older than a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::IdentityError;
use super::discovery::{Published, Source};
#[cfg(test)]
use crate::model::Sha256;

/// How often an issuer is asked for its keys. The default is for production; tests cannot wait so long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The least time between two questions, if keys are at hand.
    pub between_fetches: Duration,
    /// The least time between two questions, if none are: people are waiting at the door.
    pub between_attempts: Duration,
    /// Keys are fresh for at least so long, whatever the issuer's Cache-Control says.
    pub fresh_at_least: Duration,
    /// Keys are fresh for at most so long, whatever the issuer's Cache-Control says.
    pub fresh_at_most: Duration,
    /// Keys are fresh for so long if the issuer says nothing.
    pub fresh_by_default: Duration,
}

/// For a file: to read one costs nothing, and who replaced it waits for the keys to count.
const OF_FILES: Pace = Pace {
    between_fetches: Duration::from_secs(1),
    between_attempts: Duration::from_secs(1),
    fresh_at_least: Duration::from_secs(1),
    fresh_at_most: Duration::from_secs(1),
    fresh_by_default: Duration::from_secs(1),
};

impl Default for Pace {
    fn default() -> Self {
        Self {
            between_fetches: Duration::from_secs(30),
            between_attempts: Duration::from_secs(5),
            fresh_at_least: Duration::from_secs(5 * 60),
            fresh_at_most: Duration::from_secs(24 * 60 * 60),
            fresh_by_default: Duration::from_secs(60 * 60),
        }
    }
}

/// What the issuer published, and when.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) published: Published,
    at: Instant,
}

/// The keys of one issuer.
#[derive(Debug)]
pub(super) struct KeyCache {
    source: Source,
    pace: Pace,
    /// Keys are used for so long past their time if the issuer is away.
    keep_when_away: Duration,
    current: RwLock<Option<Arc<Fetched>>>,
    /// Held while the issuer is asked: who waits for it finds the answer, and does not ask again.
    gate: Arc<Mutex<Gate>>,
    /// Whether the last question was answered with keys; also before the first.
    answered: AtomicBool,
}

#[derive(Debug, Default)]
struct Gate {
    ended: Option<Instant>,
    failure: Option<String>,
}

impl KeyCache {
    pub(super) fn new(source: Source, pace: Pace, keep_when_away: Duration) -> Self {
        let pace = if source.is_file() { OF_FILES } else { pace };
        Self { source, pace, keep_when_away, current: RwLock::new(None), gate: Arc::default(), answered: true.into() }
    }

    /// As if these keys had been fetched just now.
    #[cfg(test)]
    pub(super) fn holding(source: Source, keys: super::keys::KeySet) -> Self {
        let published = Published { keys, development: false, keep: None, digest: Sha256::of(b"") };
        let fetched = Arc::new(Fetched { published, at: Instant::now() });
        let gate = Gate { ended: Some(Instant::now()), failure: None };
        let (current, gate) = (RwLock::new(Some(fetched)), Arc::new(Mutex::new(gate)));
        Self { current, gate, ..Self::new(source, Pace::default(), Duration::ZERO) }
    }

    /// Whether the last question was answered with keys.
    pub(super) fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    /// Asks the issuer now.
    pub(super) async fn warm(self: &Arc<Self>) -> Result<Arc<Fetched>, IdentityError> {
        let gate = Arc::clone(&self.gate).lock_owned().await;
        self.ask(gate).await
    }

    /// Keys that may be used, or why there are none.
    pub(super) async fn keys(self: &Arc<Self>) -> Result<Arc<Fetched>, String> {
        let current = self.current();
        if let Some(fetched) = current.as_ref().filter(|fetched| self.may_be_used(fetched)) {
            let is_fresh = fetched.at.elapsed() <= self.fresh_for(fetched);
            if is_fresh || !self.source.is_file() {
                if !is_fresh {
                    self.ask_behind();
                }
                return Ok(Arc::clone(fetched));
            }
        }
        let failure = self.ask_unless_answered(current.as_ref(), self.pace.between_attempts).await;
        match self.current().filter(|fetched| self.may_be_used(fetched)) {
            Some(fetched) => Ok(fetched),
            None => Err(failure.unwrap_or_else(|| "the issuer was not asked yet".to_owned())),
        }
    }

    /// Keys newer than those in which a token's key was not found, if the issuer may be asked and has some.
    pub(super) async fn newer_than(self: &Arc<Self>, seen: &Arc<Fetched>) -> Option<Arc<Fetched>> {
        self.ask_unless_answered(Some(seen), self.pace.between_fetches).await;
        self.current().filter(|fetched| !Arc::ptr_eq(fetched, seen))
    }

    fn current(&self) -> Option<Arc<Fetched>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh_for(&self, fetched: &Fetched) -> Duration {
        let asked = fetched.published.keep.unwrap_or(self.pace.fresh_by_default);
        asked.min(self.pace.fresh_at_most).max(self.pace.fresh_at_least)
    }

    fn may_be_used(&self, fetched: &Fetched) -> bool {
        fetched.at.elapsed() <= self.fresh_for(fetched).saturating_add(self.keep_when_away)
    }

    /// Asks the issuer, unless somebody did since `seen` or did less than `floor` ago. Returns the last failure.
    async fn ask_unless_answered(self: &Arc<Self>, seen: Option<&Arc<Fetched>>, floor: Duration) -> Option<String> {
        let gate = Arc::clone(&self.gate).lock_owned().await;
        let answered = self.current().is_some_and(|now| seen.is_none_or(|seen| !Arc::ptr_eq(&now, seen)));
        if answered || gate.ended.is_some_and(|ended| ended.elapsed() < floor) {
            return gate.failure.clone();
        }
        self.ask(gate).await.err().map(|error| error.to_string())
    }

    fn ask_behind(self: &Arc<Self>) {
        let Ok(gate) = Arc::clone(&self.gate).try_lock_owned() else { return };
        if gate.ended.is_none_or(|ended| ended.elapsed() >= self.pace.between_fetches) {
            let cache = Arc::clone(self);
            drop(tokio::spawn(async move { cache.fetch(gate).await }));
        }
    }

    /// In a task of its own: a client that goes away meanwhile must not take the answer from those who wait.
    async fn ask(self: &Arc<Self>, gate: OwnedMutexGuard<Gate>) -> Result<Arc<Fetched>, IdentityError> {
        let cache = Arc::clone(self);
        match tokio::spawn(async move { cache.fetch(gate).await }).await {
            Ok(answer) => answer,
            Err(error) => Err(IdentityError::Client {
                issuer: self.source.name().to_owned(),
                reason: format!("asking was broken off: {error}"),
            }),
        }
    }

    async fn fetch(&self, mut gate: OwnedMutexGuard<Gate>) -> Result<Arc<Fetched>, IdentityError> {
        let answer = self.source.fetch().await;
        // From the end, not from the start: else those who waited through a timeout would each wait through another.
        gate.ended = Some(Instant::now());
        self.answered.store(answer.is_ok(), Ordering::Relaxed);
        match answer {
            Ok(published) => {
                let fetched = Arc::new(Fetched { published, at: Instant::now() });
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                let before = current.replace(Arc::clone(&fetched));
                drop(current);
                gate.failure = None;
                let (issuer, keys) = (self.source.name(), fetched.published.keys.len());
                if before.is_none_or(|before| before.published.digest != fetched.published.digest) {
                    tracing::info!(issuer, keys, "issuer's keys fetched");
                } else {
                    tracing::debug!(issuer, keys, "issuer's keys are the same as before");
                }
                Ok(fetched)
            }
            Err(error) => {
                tracing::warn!(issuer = self.source.name(), %error, "issuer's keys could not be fetched");
                gate.failure = Some(error.to_string());
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::super::keys::KeySet;
    use super::*;

    #[test]
    fn keys_are_fresh_as_long_as_the_issuer_says_within_limits() {
        let cache = KeyCache::new(Source::new(&fixtures::settings()).unwrap(), Pace::default(), Duration::ZERO);
        let fresh = |keep: Option<u64>| {
            let keys = KeySet::parse(br#"{"keys":[]}"#).unwrap();
            let (keep, digest) = (keep.map(Duration::from_secs), Sha256::of(b""));
            let published = Published { keys, development: false, keep, digest };
            cache.fresh_for(&Fetched { published, at: Instant::now() }).as_secs()
        };
        assert_eq!(fresh(None), 3_600);
        assert_eq!(fresh(Some(0)), 300);
        assert_eq!(fresh(Some(7_200)), 7_200);
        assert_eq!(fresh(Some(u64::MAX)), 86_400);
    }
}
