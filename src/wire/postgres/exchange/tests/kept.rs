//! What a session may keep prepared.

use super::*;

/// Half of what a session may keep.
const HALF: usize = 32 << 20;

fn prepare(session: &mut Session, name: &str) {
    let text = format!("SELECT '{}'", "x".repeat(HALF));
    assert_eq!(session.exchange.is_full(&Name::copy_from_slice(name.as_bytes())), None, "{name}");
    session.parse(name, &text);
}

fn is_full(session: &Session, name: &'static str) -> bool {
    session.exchange.is_full(&Name::from_static(name.as_bytes())).is_some()
}

#[test]
fn what_is_kept_prepared_is_bounded_and_what_is_given_up_makes_room() {
    let mut session = Session::new();
    prepare(&mut session, "a");
    prepare(&mut session, "b");
    session.sync();
    assert!(is_full(&session, "c"));
    assert!(!is_full(&session, "a"), "in its own place");
    assert!(!is_full(&session, ""), "beside them, so that a client can give them up");
    session.server(b'1', b"");
    // The database refuses the second.
    session.fails("42P05");
    session.server(b'Z', b"I");
    assert!(!is_full(&session, "c"));
    prepare(&mut session, "c");
    session.sync();
    session.server(b'1', b"");
    session.server(b'Z', b"I");
    assert!(is_full(&session, "d"));
    session.client(b'C', b"Sa\0");
    session.sync();
    session.server(b'3', b"");
    session.server(b'Z', b"I");
    assert!(!is_full(&session, "d"));
}

#[test]
fn what_a_portal_or_an_answer_still_to_come_keeps_alive_counts() {
    let mut session = Session::new();
    for _ in 0..4 {
        prepare(&mut session, "");
    }
    assert!(is_full(&session, "a"), "none of them was answered");
    session.bind("p", "");
    session.sync();
    for _ in 0..4 {
        session.server(b'1', b"");
    }
    session.server(b'2', b"");
    session.server(b'Z', b"T");
    assert!(!is_full(&session, "a"));
    session.parse("", "SELECT 1");
    session.sync();
    session.server(b'1', b"");
    session.server(b'Z', b"T");
    prepare(&mut session, "a");
    assert!(is_full(&session, "b"), "the portal has one still");
}

#[test]
fn values_that_nothing_executes_are_bounded_and_a_portal_that_ends_gives_its_own_back() {
    let bind = |session: &mut Session, portal: &str| {
        let length = u32::try_from(HALF).unwrap().to_be_bytes();
        let body = [portal.as_bytes(), b"\0\0\0\0\0\x01", &length, &vec![b'x'; HALF], b"\0\0"].concat();
        session.exchange.take(b'B', frame(b'B', &body)).map(drop)
    };
    let mut session = Session::new();
    session.parse("", "SELECT $1");
    for portal in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        bind(&mut session, portal).unwrap();
    }
    assert_eq!(bind(&mut session, "i").unwrap_err().0, "more values bound than a session may hold");
    session.sync();
    session.server(b'1', b"");
    for _ in 0..8 {
        session.server(b'2', b"");
    }
    // Outside of a transaction no portal outlives its batch.
    session.server(b'Z', b"I");
    bind(&mut session, "a").unwrap();
}
