//! Statements that a time limit of ours cuts, or that are refused unread.
//!
//! The database answers when it has more to say or when it comes to a `Sync`, so of statements that were sent together it is
//! not seen which of them it is at. Their limit is that of one for each of them: who is cut may be another than the one that
//! took its time, and nobody is cut as long as each may have kept to its limit.

use std::time::Duration;

use bytes::Bytes;

use super::super::message::Refusal;
use super::{Exchange, Pending};
use crate::model::Reference;
use crate::wire::Violation;

/// The SQLSTATE of a statement that was cancelled (`query_canceled`).
const CANCELLED: &str = "57014";

/// Statements that were sent together and have no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnderWay {
    /// The first.
    pub first: Reference,
    /// The last; the same if it is alone.
    pub last: Reference,
    /// How many.
    pub count: u32,
}

impl UnderWay {
    fn includes(&self, reference: Reference) -> bool {
        (self.first.statement..=self.last.statement).contains(&reference.statement)
    }

    fn refusal(&self, reference: Reference, limit: Duration) -> Refusal {
        let text = match self.count {
            1 => format!("cancelled: it ran for more than {limit:?} (ref {reference})"),
            count => format!(
                "cancelled: {count} statements sent together ran for more than {limit:?} each (ref {reference})"
            ),
        };
        Refusal::error(CANCELLED, text)
    }
}

impl Exchange {
    /// The first statement that was sent and has no answer yet.
    pub fn running(&self) -> Option<Reference> {
        self.sent_together().next()
    }

    /// All of those that were sent with it; none if it streams both ways, which replication does for as long as it likes.
    pub fn under_way(&self) -> Option<UnderWay> {
        if self.copying_both {
            return None;
        }
        let mut all = self.sent_together();
        let first = all.next()?;
        Some(all.fold(UnderWay { first, last: first, count: 1 }, |all, last| UnderWay {
            last,
            count: all.count + 1,
            ..all
        }))
    }

    fn sent_together(&self) -> impl Iterator<Item = Reference> {
        let mut behind_query = false;
        let batch = self.pending.iter().take_while(move |pending| match pending {
            Pending::Sync(_) => false,
            Pending::Query(..) => !std::mem::replace(&mut behind_query, true),
            _ => !behind_query,
        });
        batch.filter_map(|pending| match pending {
            Pending::Query(_, run) | Pending::Execute(run) if run.has_started() => Some(run.reference()),
            _ => None,
        })
    }

    /// A time limit of ours will have the database cancel what it is at: where it says that it did, the client reads that it
    /// was the limit. False if the database is not at these statements any more.
    pub fn cut(&mut self, statements: UnderWay, limit: Duration) -> bool {
        let is_there = self.running().is_some_and(|reference| statements.includes(reference));
        if is_there {
            self.cut = Some((statements, limit));
            self.limit_reached();
        }
        is_there
    }

    /// A message that would ask for something is refused unread. False if the database would discard it after an error, and
    /// nobody answers it.
    ///
    /// # Errors
    ///
    /// It must not come here: the session must end.
    pub fn turns_away(&self) -> Result<bool, Violation> {
        let in_data = self.copying_both || (self.copying_in && !self.synced_in_copy);
        match (self.discarding, in_data) {
            (true, _) => Ok(false),
            (false, true) => Err(Violation("a message in the middle of COPY data")),
            (false, false) => Ok(true),
        }
    }

    /// What the client reads instead of this error, if it is the end of a statement that was cut.
    pub(super) fn instead_of(&mut self, sqlstate: Option<&str>) -> Option<Bytes> {
        let reference = self.front().and_then(Pending::run)?.reference();
        let is_cut = |(cut, _): &mut (UnderWay, Duration)| cut.includes(reference) && sqlstate == Some(CANCELLED);
        let (cut, limit) = self.cut.take_if(is_cut)?;
        self.limit_reached();
        Some(cut.refusal(reference, limit).frame())
    }
}
