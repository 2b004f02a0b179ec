//! What an outcome says beside how it ended: the transaction after it, and what it was skipped for.

use super::*;

fn told(session: &mut Session) -> Vec<(u64, Option<String>, Option<char>)> {
    let outcomes = session.exchange.outcomes().into_iter();
    outcomes.map(|outcome| (outcome.reference.statement, outcome.sqlstate, outcome.transaction_after)).collect()
}

#[test]
fn an_outcome_has_the_state_that_ended_its_batch() {
    let mut session = Session::new();
    for (text, tag, after) in [("BEGIN", "BEGIN", 'T'), ("SELECT 1", "SELECT 1", 'T'), ("ROLLBACK", "ROLLBACK", 'I')] {
        session.client(b'Q', format!("{text}\0").as_bytes());
        session.server(b'C', format!("{tag}\0").as_bytes());
        session.server(b'Z', &[u8::try_from(after).unwrap()]);
        assert_eq!(told(&mut session)[0].2, Some(after), "{text}");
    }
    session.parse("", "INSERT");
    for _ in 0..2 {
        session.bind("", "");
        session.execute("");
    }
    session.sync();
    session.server(b'1', b"");
    for _ in 0..2 {
        session.server(b'2', b"");
        session.server(b'C', b"INSERT 0 1\0");
    }
    assert_eq!(told(&mut session), [], "the database is not through with them");
    session.server(b'Z', b"T");
    assert_eq!(told(&mut session), [(4, None, Some('T')), (5, None, Some('T'))]);
}

#[test]
fn what_the_database_did_not_come_to_has_the_code_that_it_was_skipped_for() {
    let mut session = Session::new();
    session.parse("", "SELECT 1/0");
    for _ in 0..2 {
        session.bind("", "");
        session.execute("");
    }
    session.sync();
    session.server(b'1', b"");
    session.server(b'2', b"");
    session.fails("22012");
    session.server(b'Z', b"E");
    let code = |code: &str| Some(code.to_owned());
    assert_eq!(told(&mut session), [(1, code("22012"), Some('E')), (2, code("22012"), Some('E'))]);
    // In the failed transaction the Parse is refused already.
    session.parse("", "SELECT 1");
    session.bind("", "");
    session.execute("");
    session.sync();
    session.fails("25P02");
    session.server(b'Z', b"E");
    assert_eq!(told(&mut session), [(3, code("25P02"), Some('E'))]);
    // And once the database has said why, it is not said of what comes later.
    session.client(b'Q', b"ROLLBACK\0");
    session.server(b'C', b"ROLLBACK\0");
    session.server(b'Z', b"I");
    assert_eq!(told(&mut session), [(4, None, Some('I'))]);
}

#[test]
fn what_is_sent_too_late_into_a_failed_batch_has_that_code_as_well() {
    let mut session = Session::new();
    session.parse("", "SELECT 1/0");
    session.client(b'H', b"");
    session.fails("42601");
    session.bind("", "");
    session.execute("");
    session.sync();
    session.server(b'Z', b"I");
    assert_eq!(told(&mut session), [(1, Some("42601".to_owned()), Some('I'))]);
}

#[test]
fn outcomes_do_not_wait_without_end_for_a_client_that_does_not_synchronise() {
    let mut session = Session::new();
    session.parse("s", "SELECT 1");
    session.server(b'1', b"");
    let mut known = 0;
    for _ in 0..2 * MAX_SETTLING {
        session.bind("", "s");
        session.execute("");
        session.server(b'2', b"");
        session.server(b'C', b"SELECT 1\0");
        let early = told(&mut session);
        assert!(early.iter().all(|(_, _, after)| after.is_none()));
        known += early.len();
    }
    assert!(known >= MAX_SETTLING && session.exchange.settling.len() <= MAX_SETTLING + 1, "{known}");
    session.sync();
    session.server(b'Z', b"I");
    assert_eq!(known + told(&mut session).len(), 2 * MAX_SETTLING);

    // The same where the database has failed and says nothing more.
    session.parse("", "SELECT 1/0");
    session.client(b'H', b"");
    session.fails("42601");
    let mut known = 0;
    for number in 0..MAX_PENDING + 2 * MAX_SETTLING {
        session.exchange.allow_execute(reference(number as u64), 10, nothing());
        session.exchange.recording();
        known += session.exchange.sent(NOW).len();
    }
    assert!(known >= MAX_SETTLING && session.exchange.settling.len() <= MAX_SETTLING + 1, "{known}");
    session.exchange.take(b'S', frame(b'S', b"")).unwrap();
    session.exchange.recording();
    known += session.exchange.sent(NOW).len();
    session.server(b'Z', b"I");
    assert_eq!(known + told(&mut session).len(), MAX_PENDING + 2 * MAX_SETTLING);
}

#[test]
fn what_still_ran_when_the_session_ended_says_what_ended_it() {
    let mut session = Session::new();
    session.client(b'Q', b"SELECT 1\0");
    session.client(b'Q', b"SELECT 2\0");
    session.fails("22012");
    let cut = (OutcomeStatus::ConnectionLost, Some("08006"));
    let code = |outcome: &Outcome| (outcome.status, outcome.sqlstate.clone().unwrap_or_default());
    let ends: Vec<_> = session.exchange.finish(cut, NOW).iter().map(code).collect();
    let lost = (OutcomeStatus::ConnectionLost, "08006".to_owned());
    assert_eq!(ends, [(OutcomeStatus::Error, "22012".to_owned()), lost]);
}

#[test]
fn behind_the_last_words_of_the_database_nothing_ran() {
    for asked in [1, 2] {
        let mut session = Session::new();
        for _ in 0..asked {
            session.parse("", "SELECT 1");
            session.bind("", "");
            session.execute("");
            session.sync();
        }
        session.client(b'Q', b"SELECT 3\0");
        session.server(b'1', b"");
        session.server(b'2', b"");
        assert_eq!(session.server(b'E', b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0"), Reply::Pass);
        let cut = (OutcomeStatus::ConnectionLost, None);
        let ends: Vec<_> = session.exchange.finish(cut, NOW).iter().map(|outcome| outcome.status).collect();
        assert_eq!(ends, [&[OutcomeStatus::Killed][..], &vec![OutcomeStatus::Skipped; asked]].concat());
    }
}
