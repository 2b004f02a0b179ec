//! Function calls, portals in pieces, and what comes unasked.

use super::*;

fn call(session: &mut Session, function: u32) -> Option<Bytes> {
    let body = [&function.to_be_bytes()[..], b"\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\x01"].concat();
    session.client(b'F', &body)
}

#[test]
fn a_function_call_is_answered_by_one_value_or_an_error() {
    let mut session = Session::new();
    assert!(call(&mut session, 957).is_some_and(|sent| sent.first() == Some(&b'F')), "it leaves as it came");
    session.exchange.stream(Some(b'V'), 13, NOW).unwrap();
    assert!(session.exchange.stream(Some(b'V'), 13, NOW).is_err(), "a second value answers nothing");
    session.server(b'Z', b"I");
    call(&mut session, 952);
    session.fails("42704");
    session.server(b'Z', b"I");
    let outcomes = session.exchange.outcomes();
    let seen: Vec<_> = outcomes.iter().map(|outcome| (outcome.status, outcome.rows_returned)).collect();
    assert_eq!(seen, [(OutcomeStatus::Ok, 1), (OutcomeStatus::Error, 0)]);
    assert!(session.exchange.idle());
}

#[test]
fn a_denied_function_call_does_not_leave_and_has_an_answer_of_its_own() {
    let mut session = Session::new();
    let sent = call(&mut session, DENIED_FUNCTION).unwrap();
    assert_eq!(sent.first(), Some(&b'Q'), "something that fails stands in its place");
    let Reply::Replace(told) = session.fails("42601") else { panic!("no answer") };
    assert_eq!(message::error_fields(&told).sqlstate.as_deref(), Some("42501"));
    session.server(b'Z', b"I");
    assert!(session.exchange.idle());
}

#[test]
fn a_value_does_not_answer_a_statement() {
    let mut session = Session::new();
    session.client(b'Q', b"SELECT 1\0");
    assert!(session.exchange.stream(Some(b'V'), 13, NOW).is_err());
}

#[test]
fn a_function_call_that_is_not_one_is_a_violation() {
    let mut session = Session::new();
    for body in [&b""[..], b"\0\0\x03\xbd", b"\0\0\x03\xbd\0\0\0\x01\0\0\0\x09ab\0\0", b"\0\0\x03\xbd\0\0\0\0\0\0more"]
    {
        assert!(session.exchange.take(b'F', frame(b'F', body)).is_err(), "{body:?}");
    }
}

#[test]
fn the_pieces_of_a_portal_add_up_to_the_whole() {
    let mut session = Session::new();
    session.parse("", "SELECT * FROM ten");
    session.bind("p", "");
    for _ in 0..4 {
        session.execute("p");
    }
    session.sync();
    session.server(b'1', b"");
    session.server(b'2', b"");
    for (rows, end) in [(3, None), (3, None), (3, None), (1, Some("SELECT 1\0"))] {
        for _ in 0..rows {
            session.exchange.stream(Some(b'D'), 20, NOW).unwrap();
        }
        match end {
            None => session.server(b's', b""),
            Some(tag) => session.server(b'C', tag.as_bytes()),
        };
    }
    session.server(b'Z', b"I");
    let outcomes = session.exchange.outcomes();
    let rows: Vec<u64> = outcomes.iter().map(|outcome| outcome.rows_returned).collect();
    assert_eq!(rows, [3, 3, 3, 1]);
    let tags: Vec<_> = outcomes.iter().map(|outcome| outcome.command_tag.as_deref()).collect();
    assert_eq!(tags, [None, None, None, Some("SELECT 1")], "only the last piece ended the portal");
}

#[test]
fn what_nobody_asked_for_may_come_between_any_two_answers() {
    let mut session = Session::new();
    let unasked = |session: &mut Session| {
        for kind in *b"NA" {
            session.exchange.stream(Some(kind), 40, NOW).unwrap();
        }
        assert_eq!(session.server(b'S', b"TimeZone\0UTC\0"), Reply::Pass);
    };
    unasked(&mut session);
    session.parse("", "SELECT 1");
    session.client(b'D', b"S\0");
    session.bind("", "");
    session.execute("");
    session.sync();
    for (kind, body) in
        [(b'1', &b""[..]), (b't', b"\0\0"), (b'n', b""), (b'2', b""), (b'C', b"SELECT 0\0"), (b'Z', b"I")]
    {
        unasked(&mut session);
        session.server(kind, body);
    }
    unasked(&mut session);
    session.client(b'Q', b"COPY t FROM STDIN\0");
    session.server(b'G', b"\0\0\0");
    unasked(&mut session);
    session.client(b'c', b"");
    session.server(b'C', b"COPY 0\0");
    unasked(&mut session);
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Ok), (2, OutcomeStatus::Ok)]);
    assert!(session.exchange.idle());
}
