//! Failed sign-ins of an address, or of somebody: after some at once the answer to each further one takes its time.
//!
//! Promises: a good token is never held up, whoever else failed from the same address, because many people come from one; what
//! is remembered is bounded; who is on this machine is answered at once.
//!
//! Rejected: turning away everybody from an address for a while: one program with an old token would lock out its office.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::doubts::{Doubts, household};
use crate::model::{Principal, Sha256};

/// Failures that are forgiven at once: a client tries two or three times, a pool of connections tries each.
const AT_ONCE: u32 = 20;
/// How often another is.
const EVERY: Duration = Duration::from_secs(10);
/// The first pause; it doubles with each failure beyond.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it doubles: 8 seconds, which clients wait for an answer.
const DOUBLES: u32 = 3;

/// What failed lately.
#[derive(Debug)]
pub struct Attempts {
    by_address: Doubts<IpAddr>,
    by_principal: Doubts<Sha256>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self { by_address: Doubts::new(AT_ONCE, EVERY), by_principal: Doubts::new(AT_ONCE, EVERY) }
    }
}

impl Attempts {
    /// A sign-in failed, of somebody if the token named anybody: how long the answer is to take.
    pub(super) fn failed(&self, from: IpAddr, who: Option<&Principal>, now: Instant) -> Duration {
        if from.is_loopback() {
            return Duration::ZERO;
        }
        let (address, who) = (household(from), who.map(name));
        self.by_address.note(address, now);
        let of_address = self.by_address.beyond(address, now);
        let of_principal = who.map_or(0, |who| {
            self.by_principal.note(who, now);
            self.by_principal.beyond(who, now)
        });
        match of_address.max(of_principal) {
            0 => Duration::ZERO,
            beyond => PAUSE * (1 << (beyond - 1).min(DOUBLES)),
        }
    }
}

/// A principal in few bytes.
fn name(principal: &Principal) -> Sha256 {
    Sha256::of(format!("{}|{}", principal.issuer, principal.subject).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_beyond_the_forgiven_takes_longer_up_to_a_limit_and_is_forgotten() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let there: IpAddr = "192.0.2.1".parse().unwrap();
        let pause = |at| attempts.failed(there, None, at).as_secs();
        assert!((0..AT_ONCE).all(|_| pause(now) == 0));
        assert_eq!([pause(now), pause(now), pause(now), pause(now), pause(now)], [1, 2, 4, 8, 8]);
        assert_eq!(pause(now + EVERY * 100), 0);
        assert_eq!(attempts.failed("192.0.2.2".parse().unwrap(), None, now), Duration::ZERO);
        assert!((0..100).all(|_| attempts.failed("127.0.0.1".parse().unwrap(), None, now).is_zero()));
    }
}
