//! Statements that a limit of ours cuts.

use std::time::Duration;

use super::*;

const LIMIT: Duration = Duration::from_secs(5);

/// What the client reads of an error.
fn told(reply: &Reply) -> Option<String> {
    let Reply::Replace(frame) = reply else { return None };
    Some(frame.utf8_chunks().map(|chunk| chunk.valid()).collect())
}

#[test]
fn the_end_of_a_statement_that_was_cut_is_told_in_our_words_and_no_other_is() {
    let mut session = Session::new();
    session.client(b'Q', b"SELECT 1\0");
    session.client(b'Q', b"SELECT 2\0");
    let first = session.exchange.under_way().unwrap();
    assert_eq!((first.first, first.last, first.count), (reference(1), reference(1), 1));
    assert!(session.exchange.cut(first, LIMIT));
    let said = told(&session.fails("57014")).unwrap();
    assert!(said.contains(&format!("hansard: cancelled: it ran for more than 5s (ref {})", reference(1))), "{said}");
    session.server(b'Z', b"I");
    assert!(!session.exchange.cut(first, LIMIT), "it is over");
    assert_eq!(session.fails("57014"), Reply::Pass, "somebody else cancelled the second");

    let mut session = Session::new();
    session.client(b'Q', b"SELECT 1\0");
    let running = session.exchange.under_way().unwrap();
    assert!(session.exchange.cut(running, LIMIT));
    assert_eq!(session.fails("22012"), Reply::Pass, "it failed by itself before");
}

#[test]
fn of_statements_sent_together_whichever_the_database_was_at_is_the_one_that_was_cut() {
    let mut session = Session::new();
    assert_eq!(session.exchange.running(), None);
    session.parse("", "SELECT 1");
    for _ in 0..3 {
        session.bind("", "");
        session.execute("");
    }
    session.sync();
    session.client(b'Q', b"SELECT 4\0");
    let together = session.exchange.under_way().unwrap();
    assert_eq!((together.first, together.last, together.count), (reference(1), reference(3), 3));
    assert!(session.exchange.cut(together, LIMIT));
    for kind in [b'1', b'2'] {
        session.server(kind, b"");
    }
    session.server(b'C', b"SELECT 1\0");
    session.server(b'2', b"");
    assert_eq!(session.exchange.running(), Some(reference(2)));
    let said = told(&session.fails("57014")).unwrap();
    let first = format!("3 statements sent together ran for more than 5s each (ref {})", reference(2));
    assert!(said.contains(&first), "{said}");
    session.server(b'Z', b"I");
    assert_eq!(session.exchange.running(), Some(reference(4)));
    assert_eq!(session.fails("57014"), Reply::Pass);
}

#[test]
fn replication_streams_for_as_long_as_it_likes() {
    let mut session = Session::new();
    session.exchange.replicate();
    session.client(b'Q', b"START_REPLICATION 0/0\0");
    assert!(session.exchange.under_way().is_some());
    session.server(b'W', b"\0\0\0");
    assert_eq!(session.exchange.under_way(), None);
    assert_eq!(session.exchange.running(), Some(reference(1)));
}

#[test]
fn what_was_not_sent_yet_and_a_sync_are_no_statements() {
    let mut session = Session::new();
    session.recorded = false;
    session.client(b'Q', b"SELECT 1\0");
    assert_eq!(session.exchange.running(), None);
    assert!(!session.exchange.is_quiet());
    let mut session = Session::new();
    session.sync();
    session.client(b'Q', b"SELECT 1\0");
    assert_eq!(session.exchange.running(), None, "the database is at the sync before");
}

#[test]
fn what_a_limit_of_ours_had_cancelled_ran_out_of_time_and_what_follows_did_not() {
    let mut session = Session::new();
    session.client(b'Q', b"SELECT pg_sleep(9)\0");
    session.exchange.limit_reached();
    session.fails("57014");
    session.server(b'Z', b"I");
    session.client(b'Q', b"SELECT pg_sleep(9)\0");
    session.fails("57014");
    session.server(b'Z', b"I");
    session.client(b'Q', b"SELECT pg_sleep(9)\0");
    session.exchange.limit_reached();
    let mut ends = session.ends();
    let cut = (OutcomeStatus::Killed, Some("57P01"));
    ends.extend(session.exchange.finish(cut, NOW).iter().map(|outcome| (outcome.reference.statement, outcome.status)));
    assert_eq!(ends, [(1, OutcomeStatus::Timeout), (2, OutcomeStatus::Cancelled), (3, OutcomeStatus::Timeout)]);
}
