//! Memory for messages in flight: a budget of bytes that all sessions share.
//!
//! Promises: a message that does not come in one read has its whole length reserved before its second part is read, and
//! holds that for as long as anything of it is held, be it a value of a portal or the text of a prepared statement; who finds no room waits for a while and is
//! then refused, with the session as it was; who wants more than there is at all is refused at once. Nobody waits while
//! holding a part of what it wants, so that nobody waits for ever.
//!
//! What is not counted is what every session may hold besides: a read in each direction, and what was copied out of it; nor
//! the journal's copy of a message while it is written, which is one for each message that is counted here.
//!
//! Rejected: counting each small message, which would put two steps of all sessions on one counter into every statement; and
//! a share for each session, under which a large message is refused while memory lies idle.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a message waits for room: as long as others take to send theirs, and not so long that its client gives up first.
const WAIT: Duration = Duration::from_secs(10);
/// How long a client may pause in the middle of a message that has room reserved.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(60);
/// Bytes of a unit of the budget.
const UNIT: u64 = 1 << 10;

/// The budget. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    free: Arc<Semaphore>,
    /// In units.
    whole: u32,
}

/// Room for one message.
#[derive(Debug)]
pub(super) struct Reserved {
    _permit: OwnedSemaphorePermit,
}

/// Why a message is refused before it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoRoom {
    /// It would not fit were there nothing else.
    #[error("a message of this size needs more memory than there is for all messages together")]
    TooLarge,
    /// Others had what there is.
    #[error("there was no memory for this message within {WAIT:?}, because other sessions hold large ones")]
    Taken,
    /// It came too slowly to hold what it had reserved.
    #[error("this message stopped coming for {STALL_LIMIT:?}, and others need the memory")]
    Stalled,
}

impl Budget {
    /// So many bytes.
    pub fn new(bytes: u64) -> Self {
        let whole = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX);
        let units = usize::try_from(whole).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(units)), whole }
    }

    /// Reserves room for a message of so many bytes, in the order of those who ask.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Reserved, NoRoom> {
        let units = (bytes as u64).div_ceil(UNIT);
        let units = u32::try_from(units).ok().filter(|units| *units <= self.whole).ok_or(NoRoom::TooLarge)?;
        let waiting = Arc::clone(&self.free).acquire_many_owned(units);
        match tokio::time::timeout(WAIT, waiting).await {
            Ok(Ok(permit)) => Ok(Reserved { _permit: permit }),
            // It is never closed.
            Ok(Err(_)) | Err(_) => Err(NoRoom::Taken),
        }
    }
}

impl Reserved {
    /// The message for which the room was reserved: it gives it back when nothing of it is held any more.
    pub(super) fn holds(self, message: Bytes) -> Bytes {
        Bytes::from_owner(Holding { message, _room: self })
    }
}

/// A message and its room.
struct Holding {
    message: Bytes,
    _room: Reserved,
}

impl AsRef<[u8]> for Holding {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1 << 10;

    #[tokio::test]
    async fn what_is_held_of_a_message_holds_its_room() {
        let budget = Budget::new(10 << 10);
        let reserved = budget.reserve(7 * KIB + 1).await.unwrap();
        let message = reserved.holds(Bytes::from(vec![7; 100]));
        assert_eq!(budget.free.available_permits(), 2);
        let value = message.slice(10..20);
        drop(message);
        assert_eq!((budget.free.available_permits(), &value[..]), (2, &[7; 10][..]), "a value of it is enough");
        drop(value);
        assert_eq!(budget.free.available_permits(), 10);
    }

    #[tokio::test]
    async fn who_wants_more_than_there_is_is_refused_at_once_and_who_finds_nothing_free_waits() {
        let budget = Budget::new(10 << 10);
        assert_eq!(budget.reserve(10 * KIB + 1).await.unwrap_err(), NoRoom::TooLarge);
        assert_eq!(budget.reserve(usize::MAX).await.unwrap_err(), NoRoom::TooLarge);
        let all = budget.reserve(10 * KIB).await.unwrap();
        let mut waiting = Box::pin(budget.reserve(KIB));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(all);
        assert!(waiting.await.is_ok());
        assert_eq!(budget.free.available_permits(), 10);
    }

    #[tokio::test]
    async fn sessions_that_hold_and_want_more_do_not_wait_for_one_another_for_ever() {
        let budget = Budget::new(10 << 10);
        let held = [budget.reserve(5 * KIB).await.unwrap(), budget.reserve(5 * KIB).await.unwrap()];
        let (one, other) = tokio::join!(budget.reserve(6 * KIB), budget.reserve(6 * KIB));
        assert_eq!((one.unwrap_err(), other.unwrap_err()), (NoRoom::Taken, NoRoom::Taken));
        drop(held);
    }
}
