//! COPY both ways, which only replication has.

use super::*;

fn replicating() -> Session {
    let mut session = Session::new();
    session.exchange.replicate();
    session.client(b'Q', b"START_REPLICATION 0/0\0");
    session.server(b'W', b"\0\0\0");
    session
}

#[test]
fn copy_both_ways_goes_on_until_each_side_has_ended_its_half() {
    let mut session = replicating();
    session.exchange.stream(Some(b'd'), 100, NOW).unwrap();
    session.exchange.copied_in(30);
    assert!(session.exchange.take(b'Q', frame(b'Q', b"SELECT 1\0")).is_err(), "as at a server");
    session.server(b'c', b"");
    assert!(!session.exchange.idle());
    session.client(b'c', b"");
    session.server(b'C', b"COPY 0\0");
    session.server(b'Z', b"I");
    let outcomes = session.exchange.outcomes();
    assert_eq!((outcomes[0].status, outcomes[0].bytes_in), (OutcomeStatus::Ok, 27 + 30));
    assert!(outcomes[0].bytes_out > 100 && session.exchange.idle());
    session.client(b'Q', b"IDENTIFY_SYSTEM\0");
}

#[test]
fn an_error_ends_copy_both_ways() {
    let mut session = replicating();
    session.fails("58P01");
    session.client(b'c', b"");
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Error)]);
    session.client(b'Q', b"IDENTIFY_SYSTEM\0");
    session.server(b'C', b"IDENTIFY_SYSTEM\0");
    session.server(b'Z', b"I");
    assert!(session.exchange.idle());
}

#[test]
fn a_database_does_not_begin_copy_both_ways_where_nobody_replicates() {
    let mut session = Session::new();
    session.client(b'Q', b"SELECT 1\0");
    assert!(session.exchange.answer(b'W', &frame(b'W', b"\0\0\0"), NOW).is_err());
    let mut session = Session::new();
    session.exchange.replicate();
    assert!(session.exchange.answer(b'W', &frame(b'W', b"\0\0\0"), NOW).is_err(), "nothing was asked");
}
