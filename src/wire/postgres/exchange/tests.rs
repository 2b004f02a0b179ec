//! Conversations, frame by frame.

mod copy_both;
mod handles;
mod kept;
mod limits;
mod outcomes;
mod pieces;

use super::*;
use crate::model::SessionId;

const NOW: Timestamp = Timestamp(1_000);
/// A session that its client left.
const ENDED: (OutcomeStatus, Option<&str>) = (OutcomeStatus::ConnectionLost, None);
/// A function that nobody may call.
const DENIED_FUNCTION: u32 = 666;

fn frame(kind: u8, body: &[u8]) -> Bytes {
    let length = u32::try_from(body.len() + 4).unwrap();
    Bytes::from([&[kind][..], &length.to_be_bytes(), body].concat())
}

fn reference(statement: u64) -> Reference {
    Reference { session: SessionId::from_bits(5), statement }
}

/// A statement that changes nothing of the session.
fn nothing() -> Changes {
    let facts = Facts { kind: crate::model::Kind::Select, effects: Vec::new(), ..Facts::unparsed("") };
    Changes::of(&facts, &facts, &SqlText::from(""))
}

/// A session in which every text is allowed unless it says DENY.
struct Session {
    exchange: Exchange,
    number: u64,
    /// Whether what is asked is recorded and sent at once.
    recorded: bool,
}

impl Session {
    fn new() -> Self {
        Self { exchange: Exchange::new(&[]), number: 0, recorded: true }
    }

    fn client(&mut self, kind: u8, body: &[u8]) -> Option<Bytes> {
        let request = self.exchange.take(kind, frame(kind, body)).unwrap();
        let sent = self.judge(request);
        if self.recorded {
            self.exchange.recording();
            self.exchange.sent(Timestamp(900));
        }
        sent
    }

    /// What is sent upstream.
    fn judge(&mut self, request: Request) -> Option<Bytes> {
        let refusal = Refusal::error("42501", "denied");
        match request {
            Request::Pass(frame) => Some(frame),
            Request::Query(text, frame) => {
                self.number += 1;
                if text.text().unwrap().contains("DENY") {
                    return Some(self.exchange.deny(true, reference(self.number), &refusal));
                }
                self.exchange.allow_query(reference(self.number), frame.len(), nothing());
                Some(frame)
            }
            Request::Parse(parse, frame) => {
                if parse.text.as_ref() == b"DENY" {
                    self.number += 1;
                    return Some(self.exchange.deny(false, reference(self.number), &refusal));
                }
                self.exchange.allow_parse(parse, Arc::new(Facts::unparsed("")), 1);
                Some(frame)
            }
            Request::Execute(_, frame) => {
                self.number += 1;
                self.exchange.allow_execute(reference(self.number), frame.len(), nothing());
                Some(frame)
            }
            Request::Call(called, frame) => {
                self.number += 1;
                if called.function == DENIED_FUNCTION {
                    return Some(self.exchange.deny(true, reference(self.number), &refusal));
                }
                self.exchange.allow_call(reference(self.number), frame.len(), nothing());
                Some(frame)
            }
            Request::Discard => None,
            other => panic!("{other:?}"),
        }
    }

    fn parse(&mut self, name: &str, text: &str) -> Option<Bytes> {
        self.client(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
    }

    fn bind(&mut self, portal: &str, name: &str) -> Option<Bytes> {
        self.client(b'B', format!("{portal}\0{name}\0\0\0\0\0\0\0").as_bytes())
    }

    fn execute(&mut self, portal: &str) -> Option<Bytes> {
        self.client(b'E', format!("{portal}\0\0\0\0\0").as_bytes())
    }

    fn sync(&mut self) -> Option<Bytes> {
        self.client(b'S', b"")
    }

    fn server(&mut self, kind: u8, body: &[u8]) -> Reply {
        self.exchange.answer(kind, &frame(kind, body), NOW).unwrap()
    }

    fn fails(&mut self, sqlstate: &str) -> Reply {
        self.server(b'E', format!("SERROR\0VERROR\0C{sqlstate}\0Mno\0\0").as_bytes())
    }

    fn text_of_execute(&mut self, portal: &str) -> Option<String> {
        let request = self.exchange.take(b'E', frame(b'E', format!("{portal}\0\0\0\0\0").as_bytes())).unwrap();
        let Request::Execute(executed, _) = request else { panic!("{request:?}") };
        executed.statement.map(|statement| statement.text.text().unwrap().to_owned())
    }

    /// What was allowed is recorded and leaves.
    fn leaves(&mut self) {
        self.exchange.recording();
        self.exchange.sent(NOW);
    }

    fn ends(&mut self) -> Vec<(u64, OutcomeStatus)> {
        self.exchange.outcomes().iter().map(|outcome| (outcome.reference.statement, outcome.status)).collect()
    }
}

#[test]
fn a_query_counts_its_rows_and_ends_with_ready() {
    let mut session = Session::new();
    session.client(b'Q', b"SELECT 1\0");
    session.exchange.sent(Timestamp(900));
    session.exchange.stream(Some(b'T'), 20, NOW).unwrap();
    session.exchange.stream(Some(b'D'), 10, NOW).unwrap();
    session.exchange.stream(None, 90, NOW).unwrap();
    session.exchange.stream(Some(b'D'), 10, NOW).unwrap();
    session.server(b'C', b"SELECT 2\0");
    session.server(b'C', b"UPDATE 5\0");
    session.server(b'Z', b"T");
    let outcomes = session.exchange.outcomes();
    let [outcome] = outcomes.as_slice() else { panic!("{outcomes:?}") };
    assert_eq!((outcome.rows_returned, outcome.rows_affected), (2, Some(5)));
    assert_eq!(outcome.command_tag.as_deref(), Some("SELECT 2; UPDATE 5"));
    assert_eq!((outcome.first_row_us, outcome.total_us), (Some(100), Some(100)));
    assert_eq!((outcome.bytes_in, outcome.bytes_out), (14, 130 + 14 + 14 + 6));
    assert_eq!(session.exchange.transaction(), 'T');
}

#[test]
fn a_pipeline_gives_each_execution_its_own_outcome() {
    let mut session = Session::new();
    session.parse("s", "SELECT 1");
    for _ in 0..3 {
        session.bind("", "s");
        session.execute("");
    }
    session.sync();
    session.server(b'1', b"");
    for _ in 0..3 {
        session.server(b'2', b"");
        session.exchange.stream(Some(b'D'), 10, NOW).unwrap();
        session.server(b'C', b"SELECT 1\0");
    }
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Ok), (2, OutcomeStatus::Ok), (3, OutcomeStatus::Ok)]);
    assert!(session.exchange.idle());
}

#[test]
fn after_an_error_the_rest_of_the_batch_is_skipped_and_the_next_batch_is_not() {
    let mut session = Session::new();
    session.parse("", "SELECT 1/0");
    for _ in 0..3 {
        session.bind("", "");
        session.execute("");
    }
    session.sync();
    session.server(b'1', b"");
    session.server(b'2', b"");
    session.server(b'C', b"SELECT 1\0");
    session.server(b'2', b"");
    session.fails("22012");
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Ok), (2, OutcomeStatus::Error), (3, OutcomeStatus::Skipped)]);
    session.bind("", "");
    session.execute("");
    session.sync();
    session.server(b'2', b"");
    session.server(b'C', b"SELECT 1\0");
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(4, OutcomeStatus::Ok)]);
}

#[test]
fn what_is_sent_into_a_failed_batch_is_skipped() {
    let mut session = Session::new();
    session.parse("", "SELECT 1/0");
    session.client(b'H', b"");
    session.fails("42601");
    session.bind("", "");
    session.execute("");
    assert!(!session.exchange.idle());
    session.sync();
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Skipped)]);
    assert!(session.exchange.idle());
}

#[test]
fn what_is_asked_after_a_query_that_the_database_skips_is_not_waited_for() {
    for text in ["SELECT 1\0", "DENY\0"] {
        let mut session = Session::new();
        session.parse("", "SELECT 1/0");
        session.client(b'H', b"");
        session.fails("42601");
        session.parse("a", "SELECT 2");
        session.client(b'Q', text.as_bytes());
        assert!(session.bind("", "a").is_some(), "it waits for an answer that never comes");
        session.execute("");
        session.sync();
        session.server(b'Z', b"I");
        assert!(session.exchange.idle());
    }
}

#[test]
fn what_is_skipped_is_recorded_as_what_was_asked_however_early_the_error_came() {
    let mut session = Session::new();
    session.parse("", "INSERT");
    session.bind("", "");
    session.execute("");
    session.client(b'H', b"");
    session.server(b'1', b"");
    session.server(b'2', b"");
    session.fails("23505");
    session.parse("", "SELECT 4");
    session.bind("", "");
    assert_eq!(session.text_of_execute("").as_deref(), Some("SELECT 4"));
    session.execute("");
    session.sync();
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Error), (2, OutcomeStatus::Skipped)]);
    session.bind("", "");
    assert_eq!(session.text_of_execute("").as_deref(), Some("INSERT"), "the database never took the other");
}

#[test]
fn a_denied_query_is_answered_in_its_turn_with_our_error() {
    let mut session = Session::new();
    session.client(b'Q', b"SELECT 1\0");
    let sent = session.client(b'Q', b"DENY\0").unwrap();
    assert!(!sent.windows(4).any(|part| part == b"DENY"), "nothing of a denied statement leaves");
    session.server(b'C', b"SELECT 1\0");
    session.server(b'Z', b"I");
    let reply = session.fails("42601");
    assert!(
        matches!(&reply, Reply::Replace(frame) if message::error_fields(frame).sqlstate.as_deref() == Some("42501"))
    );
    assert_eq!(session.server(b'Z', b"I"), Reply::Pass);
    assert_eq!(session.ends(), [(1, OutcomeStatus::Ok)]);
    assert!(session.exchange.idle());
}

#[test]
fn a_denied_parse_discards_until_sync_and_fails_the_transaction() {
    let mut session = Session::new();
    session.parse("", "BEGIN");
    session.bind("", "");
    session.execute("");
    assert!(session.parse("", "DENY").is_some());
    assert_eq!(session.bind("", ""), None);
    assert_eq!(session.execute(""), None);
    session.sync();
    session.server(b'1', b"");
    session.server(b'2', b"");
    session.server(b'C', b"BEGIN\0");
    assert!(matches!(session.fails("42601"), Reply::Replace(_)));
    session.server(b'Z', b"E");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Ok)]);
    session.client(b'Q', b"SELECT 1\0");
    let Reply::Replace(told) = session.fails("25P02") else { panic!("the reason is not told") };
    assert_eq!(message::error_fields(&told).sqlstate.as_deref(), Some("25P02"));
    session.server(b'Z', b"E");
    session.client(b'Q', b"ROLLBACK\0");
    session.server(b'C', b"ROLLBACK\0");
    session.server(b'Z', b"I");
    session.client(b'Q', b"SELECT 1\0");
    assert_eq!(session.fails("25P02"), Reply::Pass);
}

#[test]
fn a_name_whose_parse_failed_stands_for_what_it_stood_for_before() {
    let mut session = Session::new();
    session.parse("s", "SELECT 'old'");
    session.sync();
    session.server(b'1', b"");
    session.server(b'Z', b"I");
    session.parse("s", "SELECT 'new'");
    session.bind("", "s");
    assert_eq!(session.text_of_execute("").as_deref(), Some("SELECT 'new'"));
    session.sync();
    session.fails("42P05");
    session.server(b'Z', b"I");
    session.bind("", "s");
    assert_eq!(session.text_of_execute("").as_deref(), Some("SELECT 'old'"));
}

#[test]
fn a_name_that_hangs_on_an_earlier_batch_is_waited_for() {
    let mut session = Session::new();
    session.parse("s", "SELECT 1");
    session.sync();
    let bind = frame(b'B', b"\0s\0\0\0\0\0\0\0");
    let Request::Wait(again) = session.exchange.take(b'B', bind).unwrap() else { panic!("judged too early") };
    session.fails("42P05");
    session.server(b'Z', b"I");
    assert!(matches!(session.exchange.take(b'B', again).unwrap(), Request::Pass(_)));
    assert_eq!(session.text_of_execute(""), None, "what it stands for at the database was never seen");
}

#[test]
fn names_taken_back_under_later_changes_leave_no_stale_text() {
    let mut session = Session::new();
    session.parse("s", "first");
    session.sync();
    session.parse("s", "second");
    session.sync();
    session.fails("42601");
    session.server(b'Z', b"I");
    session.fails("42601");
    session.server(b'Z', b"I");
    session.bind("", "s");
    assert_eq!(session.text_of_execute(""), None);
}

#[test]
fn portals_end_with_their_transaction() {
    let mut session = Session::new();
    session.parse("s", "SELECT 1");
    session.bind("p", "s");
    session.sync();
    session.server(b'1', b"");
    session.server(b'2', b"");
    session.server(b'Z', b"I");
    assert_eq!(session.text_of_execute("p"), None);
}

#[test]
fn a_sync_before_the_end_of_copy_data_is_not_waited_for() {
    let mut session = Session::new();
    session.parse("", "COPY t FROM STDIN");
    session.bind("", "");
    session.execute("");
    session.sync();
    session.server(b'1', b"");
    session.server(b'2', b"");
    session.server(b'G', b"\0\0\0");
    session.exchange.copied_in(100);
    session.client(b'c', b"");
    session.sync();
    session.server(b'C', b"COPY 7\0");
    session.server(b'Z', b"I");
    let outcomes = session.exchange.outcomes();
    assert_eq!((outcomes[0].rows_affected, outcomes[0].bytes_in), (Some(7), 110));
    assert!(session.exchange.idle());
}

#[test]
fn a_copy_that_fails_takes_the_sync_after_it() {
    let mut session = Session::new();
    session.parse("", "COPY t FROM STDIN");
    session.bind("", "");
    session.execute("");
    session.sync();
    session.server(b'1', b"");
    session.server(b'2', b"");
    session.server(b'G', b"\0\0\0");
    session.fails("22P04");
    session.client(b'c', b"");
    session.sync();
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Error)]);
    assert!(session.exchange.idle());
}

#[test]
fn what_could_not_be_recorded_is_replaced_and_answered() {
    let mut session = Session::new();
    let refusal = Refusal::error("58030", "not sent");
    session.parse("s", "SELECT 1");
    session.bind("", "s");
    session.execute("");
    session.sync();
    let parse = Asked::Preparation(SessionId::from_bits(5), 1);
    assert!(session.exchange.withdraw(parse, reference(1), Some(&refusal)).is_some());
    assert!(session.exchange.withdraw(Asked::Execution(reference(1)), reference(1), None).is_none());
    let Reply::Replace(told) = session.fails("42601") else { panic!("no answer") };
    assert_eq!(message::error_fields(&told).sqlstate.as_deref(), Some("58030"));
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [], "what was never recorded has no outcome");
    session.bind("", "s");
    assert_eq!(session.text_of_execute(""), None);
}

#[test]
fn what_was_never_handed_over_to_be_recorded_has_no_outcome() {
    let mut session = Session::new();
    session.recorded = false;
    session.client(b'Q', b"SELECT 1\0");
    session.exchange.recording();
    session.client(b'Q', b"SELECT 2\0");
    let ends: Vec<_> = session.exchange.finish(ENDED, NOW).iter().map(|outcome| outcome.reference.statement).collect();
    assert_eq!(ends, [1], "of the first it is not known");
}

#[test]
fn names_of_what_could_not_be_recorded_after_an_error_leave_no_stale_text() {
    let refusal = Refusal::error("58030", "not sent");
    let mut session = Session::new();
    session.parse("", "SELECT 1/0");
    session.client(b'H', b"");
    session.fails("42601");
    let again = |number| Asked::Preparation(SessionId::from_bits(5), number);
    for (number, text) in [(2, "first"), (3, "second")] {
        let parse = message::Parse { name: "a".into(), text: text.into(), types: Vec::new() };
        session.exchange.allow_parse(parse, Arc::new(Facts::unparsed("")), number);
    }
    session.exchange.withdraw(again(2), reference(1), Some(&refusal));
    session.exchange.withdraw(again(3), reference(1), None);
    session.sync();
    session.server(b'Z', b"I");
    assert!(session.bind("", "a").is_some(), "it waits for an answer that never comes");
    assert_eq!(session.text_of_execute(""), None);
}

#[test]
fn a_statement_that_was_not_sent_has_no_answer() {
    for kind in *b"CIsGEZ" {
        let mut session = Session::new();
        session.recorded = false;
        session.client(b'Q', b"SELECT 1\0");
        let body: &[u8] = if kind == b'C' { b"SELECT 1\0" } else { b"I" };
        assert!(session.exchange.answer(kind, &frame(kind, body), NOW).is_err(), "{kind}");
        assert!(session.exchange.stream(Some(b'D'), 10, NOW).is_err());
        assert!(session.exchange.stream(Some(b'N'), 10, NOW).is_ok());
    }
    let mut session = Session::new();
    session.recorded = false;
    session.client(b'Q', b"SELECT 1\0");
    assert_eq!(session.server(b'E', b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0"), Reply::Pass);
    assert!(session.exchange.said_goodbye());
    assert!(session.exchange.finish(ENDED, NOW).is_empty());
}

#[test]
fn what_is_skipped_and_could_not_be_recorded_has_no_outcome() {
    let refusal = Refusal::error("58030", "not sent");
    for recorded in [true, false] {
        let mut session = Session::new();
        session.parse("", "SELECT 1/0");
        session.client(b'H', b"");
        session.fails("42601");
        session.recorded = false;
        session.client(b'Q', b"SELECT 1\0");
        session.sync();
        assert_eq!(session.ends(), [], "it is not recorded yet");
        session.exchange.recording();
        if recorded {
            session.exchange.sent(NOW);
            session.server(b'Z', b"I");
            assert_eq!(session.ends(), [(1, OutcomeStatus::Skipped)]);
        } else {
            assert!(session.exchange.withdraw(Asked::Execution(reference(1)), reference(1), Some(&refusal)).is_none());
        }
        assert!(session.exchange.finish(ENDED, NOW).is_empty());
    }
}

#[test]
fn a_cancelled_statement_is_told_from_a_failed_one() {
    let mut session = Session::new();
    session.client(b'Q', b"SELECT pg_sleep(9)\0");
    session.fails("57014");
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Cancelled)]);
}

#[test]
fn a_session_that_reads_text_differently_is_unreadable() {
    let mut session = Session::new();
    assert_eq!(session.exchange.unreadable(), None);
    session.server(b'S', b"standard_conforming_strings\0off\0");
    assert!(session.exchange.unreadable().is_some());
    session.server(b'S', b"standard_conforming_strings\0on\0");
    session.server(b'S', b"client_encoding\0SJIS\0");
    assert!(session.exchange.unreadable().is_some());
}

#[test]
fn a_name_that_was_taken_and_refused_in_one_batch_is_settled() {
    let mut session = Session::new();
    session.parse("s", "SELECT 1");
    session.parse("s", "SELECT 2");
    session.sync();
    session.server(b'1', b"");
    session.fails("42P05");
    session.server(b'Z', b"I");
    assert!(session.bind("", "s").is_some(), "it waits for an answer that came already");
    assert_eq!(session.text_of_execute("").as_deref(), Some("SELECT 1"));
}

#[test]
fn an_answer_that_nothing_asked_for_ends_the_session() {
    let mut session = Session::new();
    assert!(session.exchange.answer(b'Z', &frame(b'Z', b"I"), NOW).is_err());
    assert!(session.exchange.answer(b'C', &frame(b'C', b"SELECT 1\0"), NOW).is_err());
    assert!(session.exchange.stream(Some(b'D'), 10, NOW).is_err());
    assert!(session.exchange.stream(Some(b'N'), 10, NOW).is_ok());
    session.client(b'Q', b"SELECT 1\0");
    assert!(session.exchange.answer(b'Z', &frame(b'Z', b"I"), NOW).is_err(), "before it said how the statement ended");
}

#[test]
fn what_follows_a_change_of_reading_waits_or_is_unreadable() {
    let mut facts = Facts::unparsed("");
    facts.effects[0].action = crate::model::Action::SetUnsafe;
    let changes = Changes::of(&facts, &facts, &SqlText::from(""));
    let mut session = Session::new();
    session.exchange.allow_query(reference(1), 10, changes.clone());
    session.exchange.sent(NOW);
    let next = frame(b'Q', b"SELECT 1\0");
    assert!(matches!(session.exchange.take(b'Q', next.clone()).unwrap(), Request::Wait(_)));
    session.server(b'C', b"SET\0");
    session.server(b'Z', b"I");
    assert!(matches!(session.exchange.take(b'Q', next).unwrap(), Request::Query(..)));
    session.exchange.allow_execute(reference(2), 10, changes);
    let parse = frame(b'P', b"\0SELECT 1\0\0\0");
    assert!(matches!(session.exchange.take(b'P', parse).unwrap(), Request::Parse(..)), "its answer needs the Sync");
    assert!(session.exchange.unreadable().is_some());
}

#[test]
fn ends_of_copy_that_nobody_began_are_not_kept() {
    let mut session = Session::new();
    for _ in 0..=MAX_PENDING {
        session.client(b'c', b"");
    }
    assert!(!session.exchange.crowded() && session.exchange.pending.is_empty());
}

#[test]
fn a_statement_whose_commit_fails_at_sync_did_not_end_well() {
    let mut session = Session::new();
    session.parse("", "INSERT INTO deferred VALUES (1)");
    session.bind("", "");
    session.execute("");
    session.bind("", "");
    session.execute("");
    session.sync();
    session.server(b'1', b"");
    session.server(b'2', b"");
    session.server(b'C', b"INSERT 0 1\0");
    session.server(b'2', b"");
    session.server(b'C', b"INSERT 0 1\0");
    assert_eq!(session.ends(), [], "it is not known before the commit");
    assert_eq!(session.fails("23505"), Reply::Pass);
    session.server(b'Z', b"I");
    assert_eq!(session.ends(), [(1, OutcomeStatus::Ok), (2, OutcomeStatus::Error)]);
}
