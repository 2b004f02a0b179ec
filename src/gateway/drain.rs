//! How serving ends: who is idle goes at once, open transactions go on for a while.
//!
//! Promises: nobody is let in once it has begun; what is open then may end by itself within the limit; after the limit, or
//! when it is cut short, every session ends, is told so where it can be, and its end is recorded.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// How long somebody who has just come may take to hear that nobody is let in any more: whoever is at its startup packet gets
/// there within that, and whoever says nothing is not waited for.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What ending a session takes at most beside its transaction: its last words, and recording them.
const ENDING_LIMIT: Duration = Duration::from_secs(10);

/// The end of serving, for all who are to know of it.
#[derive(Debug, Clone)]
pub struct Drain {
    begun: CancellationToken,
    cut: CancellationToken,
    limit: Duration,
}

impl Drain {
    /// Not begun. Open transactions will have `limit` to end.
    pub fn new(limit: Duration) -> Self {
        Self { begun: CancellationToken::new(), cut: CancellationToken::new(), limit }
    }

    /// Begins.
    pub fn begin(&self) {
        self.begun.cancel();
    }

    /// Ends what is still open, now.
    pub fn cut_short(&self) {
        self.begun.cancel();
        self.cut.cancel();
    }

    /// Cancelled when it begins.
    pub fn begun(&self) -> &CancellationToken {
        &self.begun
    }

    /// Cancelled when it is cut short.
    pub fn cut(&self) -> &CancellationToken {
        &self.cut
    }

    /// How long open transactions may go on.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// How long all sessions together may take to end.
    pub(super) fn whole(&self) -> Duration {
        self.limit.saturating_add(ENDING_LIMIT)
    }

    /// What comes of `arriving`; nothing if it takes too long once this has begun.
    pub(super) async fn admits<T>(&self, arriving: impl Future<Output = T>) -> Option<T> {
        let over = async {
            self.begun.cancelled().await;
            tokio::time::sleep(LAST_WORDS).await;
        };
        tokio::select! {
            came = arriving => Some(came),
            () = over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_come_is_heard_and_who_says_nothing_is_not_waited_for() {
        let drain = Drain::new(Duration::from_secs(60));
        assert_eq!(drain.admits(async { 7 }).await, Some(7));
        drain.begin();
        assert_eq!(drain.admits(async { 7 }).await, Some(7));
        assert_eq!(drain.admits(std::future::pending::<()>()).await, None);
    }

    #[test]
    fn what_is_cut_short_has_begun() {
        let drain = Drain::new(Duration::MAX);
        drain.cut_short();
        assert!(drain.begun().is_cancelled() && drain.cut().is_cancelled());
        assert_eq!(drain.whole(), Duration::MAX);
    }
}
