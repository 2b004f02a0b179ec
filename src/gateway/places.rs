//! Places for connections: so many at a time over all listeners, and for those above them a word instead of a door in the
//! face.
//!
//! Promises: a client that finds no place reads so, in its own protocol and by TLS, as from a server that is full; only so
//! many are told at a time, and each within seconds, so that those who come in masses cost no more than that; who wants a
//! statement cancelled finds a place for it also then.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections over the limit that are told so at a time. Each is a socket and a TLS handshake; any more are closed at once.
const COURTESIES: usize = 64;
/// How long one of them may take to ask for a session: somebody who says nothing is not to keep others from being told.
pub(super) const COURTESY_LIMIT: Duration = Duration::from_secs(5);

/// The places there are. Clones share them.
#[derive(Debug, Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    courtesies: Arc<Semaphore>,
    limit: usize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    /// How many there are, if all are taken and this is one to be told so.
    over: Option<usize>,
    _taken: OwnedSemaphorePermit,
}

impl Places {
    /// So many.
    pub fn new(limit: usize) -> Self {
        let courtesies = Arc::new(Semaphore::new(COURTESIES));
        Self { free: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))), courtesies, limit }
    }

    /// Takes one, if there is any left.
    pub(super) fn take(&self) -> Option<Place> {
        let place = |from: &Arc<Semaphore>, over| {
            let taken = Arc::clone(from).try_acquire_owned().ok()?;
            Some(Place { over, _taken: taken })
        };
        place(&self.free, None).or_else(|| place(&self.courtesies, Some(self.limit)))
    }
}

impl Place {
    /// How many there are, for somebody who is told that all are taken.
    pub(super) fn is_over(&self) -> Option<usize> {
        self.over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_place_is_told_so_and_so_are_so_many_at_a_time() {
        let places = Places::new(2);
        let seats = [places.take().unwrap(), places.take().unwrap()];
        assert!(seats.iter().all(|seat| seat.is_over().is_none()));
        let told: Vec<Place> = (0..COURTESIES).map(|_| places.take().unwrap()).collect();
        assert!(told.iter().all(|place| place.is_over() == Some(2)));
        assert!(places.take().is_none());
        drop(seats);
        assert_eq!(places.take().unwrap().is_over(), None, "a place is free again");
        drop(told);
        let _seats = [places.take(), places.take()];
        assert_eq!(places.take().unwrap().is_over(), Some(2));
    }
}
