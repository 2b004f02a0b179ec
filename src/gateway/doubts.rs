//! Who did too much of something lately: counted as time that each takes to be forgotten, in bounded memory. The one that is
//! forgotten first is listened to again.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many are remembered, some 40 bytes each.
pub(super) const MAX_DOUBTED: usize = 4_096;

/// Until when each is doubted: so many at once are forgiven, and one more each time that so long has passed.
#[derive(Debug)]
pub(super) struct Doubts<K> {
    table: Mutex<HashMap<K, Instant>>,
    at_once: u32,
    every: Duration,
}

impl<K: Copy + Eq + Hash> Doubts<K> {
    pub(super) fn new(at_once: u32, every: Duration) -> Self {
        Self { table: Mutex::default(), at_once, every }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<K, Instant>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filled(&self, who: &K, now: Instant) -> Duration {
        self.table().get(who).map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Whether another one is forgiven.
    pub(super) fn forgives(&self, who: K, now: Instant) -> bool {
        self.filled(&who, now) <= self.every * (self.at_once - 1)
    }

    /// How many there are beyond those that are forgiven.
    pub(super) fn beyond(&self, who: K, now: Instant) -> u32 {
        let over = self.filled(&who, now).saturating_sub(self.every * self.at_once);
        u32::try_from(over.as_micros().div_ceil(self.every.as_micros().max(1))).unwrap_or(u32::MAX)
    }

    /// Another one.
    pub(super) fn note(&self, who: K, now: Instant) {
        let mut table = self.table();
        if table.len() >= MAX_DOUBTED {
            table.retain(|_, until| *until > now);
        }
        if table.len() >= MAX_DOUBTED
            && let Some(first) = table.iter().min_by_key(|(_, until)| **until).map(|(who, _)| *who)
        {
            table.remove(&first);
        }
        let until = table.entry(who).or_insert(now);
        *until = (*until).max(now) + self.every;
    }
}

/// Who has one IPv6 address has the other 2^64 of its network as well.
pub(super) fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(3);

    #[test]
    fn so_many_are_forgiven_and_one_more_each_time() {
        let (doubts, now) = (Doubts::new(30, EVERY), Instant::now());
        let there = household("192.0.2.1".parse().unwrap());
        for tried in 0..30 {
            assert!(doubts.forgives(there, now), "{tried}");
            doubts.note(there, now);
        }
        assert!(!doubts.forgives(there, now));
        assert_eq!(doubts.beyond(there, now), 0);
        assert!(!doubts.forgives(household("::ffff:192.0.2.1".parse().unwrap()), now), "the same in another form");
        assert!(doubts.forgives(household("192.0.2.2".parse().unwrap()), now));
        assert!(doubts.forgives(there, now + EVERY));
        doubts.note(there, now);
        doubts.note(there, now);
        assert_eq!(doubts.beyond(there, now), 2);
        for _ in 0..30 {
            doubts.note(household("2001:db8::1".parse().unwrap()), now);
        }
        assert!(
            !doubts.forgives(household("2001:db8::2".parse().unwrap()), now),
            "another address of the same network"
        );
        assert!(doubts.forgives(household("2001:db8:0:1::1".parse().unwrap()), now));
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let (doubts, now) = (Doubts::new(30, EVERY), Instant::now());
        for number in 0..MAX_DOUBTED + 10 {
            doubts.note(number, now + Duration::from_micros(u64::try_from(number).unwrap()));
        }
        assert_eq!(doubts.table().len(), MAX_DOUBTED);
        assert!(doubts.table().contains_key(&(MAX_DOUBTED + 9)));
    }
}
