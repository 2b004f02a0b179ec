//! The machine's own time and chance, given to everything else from here.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

use crate::model::{Clock, Ids, SessionId, Timestamp};

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock that everything else takes")]
    fn now(&self) -> Timestamp {
        let now = SystemTime::now();
        let micros = |span: std::time::Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        match now.duration_since(UNIX_EPOCH) {
            Ok(after) => Timestamp(micros(after)),
            Err(before) => Timestamp(micros(before.duration()).saturating_neg()),
        }
    }
}

/// Identifiers that nobody can guess.
///
/// A generator for cryptography, seeded once by the operating system: whether the system can give random bytes is known
/// at the start, and no session can fail for want of them later.
pub struct RandomIds(Mutex<StdRng>);

impl RandomIds {
    /// Takes a seed from the operating system.
    ///
    /// # Errors
    ///
    /// The system gives no random bytes.
    pub fn new() -> io::Result<Self> {
        StdRng::try_from_os_rng().map(Mutex::new).map(Self).map_err(io::Error::other)
    }

    fn draw<T>(&self, take: impl FnOnce(&mut StdRng) -> T) -> T {
        // A generator is whole between two draws, whatever became of a thread that held it.
        take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ids for RandomIds {
    fn session(&self) -> SessionId {
        SessionId::from_bits(self.draw(RngCore::next_u64))
    }

    fn cancel_key(&self) -> (u32, [u8; 32]) {
        self.draw(|generator| {
            let mut secret = [0; 32];
            generator.fill_bytes(&mut secret);
            (generator.next_u32(), secret)
        })
    }

    fn nonce(&self) -> u64 {
        self.draw(RngCore::next_u64)
    }
}

/// Says nothing of the generator's state, from which every later key could be had.
impl std::fmt::Debug for RandomIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RandomIds")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn identifiers_differ() {
        let (one, other) = (RandomIds::new().unwrap(), RandomIds::new().unwrap());
        let sessions: HashSet<_> = (0..1_000).flat_map(|_| [one.session(), other.session()]).collect();
        assert_eq!(sessions.len(), 2_000);
        let keys: HashSet<_> = (0..1_000).map(|_| one.cancel_key()).collect();
        assert_eq!(keys.len(), 1_000);
        let nonces: HashSet<_> = (0..1_000).flat_map(|_| [one.nonce(), other.nonce()]).collect();
        assert_eq!(nonces.len(), 2_000);
    }

    #[test]
    fn the_clock_is_in_this_age_and_goes_forward() {
        let (first, second) = (SystemClock.now(), SystemClock.now());
        assert!(first.date().as_str() > "2025-01-01", "{first}");
        assert!(first <= second);
    }
}
