//! Names that SQL gives and takes away.

use super::*;
use crate::model::{Handle, Kind};
use crate::wire::postgres::names::MAX_NAMES;

/// Facts of a text that does this with handles and nothing else.
fn with_handle(kind: Kind, handle: Handle) -> Facts {
    Facts { kind, statement_count: 1, effects: Vec::new(), handles: vec![handle], ..Facts::unparsed("") }
}

#[test]
fn a_name_that_sql_gave_stands_for_its_text_as_soon_as_the_database_agreed() {
    let mut session = Session::new();
    let facts = with_handle(Kind::Prepare, Handle::Prepare("p".to_owned(), Kind::Select));
    let text = SqlText::from("PREPARE p AS SELECT 1");
    let changes = Changes::of(&facts, &facts, &text);
    session.exchange.allow_query(reference(1), 10, changes);
    session.leaves();
    assert!(session.exchange.prepared("p").is_none(), "it may fail");
    session.server(b'C', b"PREPARE\0");
    session.server(b'Z', b"I");
    let prepared = session.exchange.prepared("p").unwrap();
    assert_eq!((&prepared.text, prepared.facts.kind), (&text, Kind::Select));
    session.bind("", "p");
    assert_eq!(session.text_of_execute("").as_deref(), text.text());

    // While something that may take the name away has no answer, nobody knows.
    let gone = with_handle(Kind::Prepare, Handle::Deallocate(Some("p".to_owned())));
    session.exchange.allow_query(reference(2), 10, Changes::of(&gone, &gone, &text));
    assert!(session.exchange.prepared("p").is_none());
}

#[test]
fn a_name_that_sql_and_the_protocol_give_at_once_stands_for_neither() {
    let mut session = Session::new();
    let facts = with_handle(Kind::Prepare, Handle::Prepare("p".to_owned(), Kind::Select));
    session.exchange.allow_query(reference(1), 10, Changes::of(&facts, &facts, &SqlText::from("")));
    session.leaves();
    session.parse("p", "DELETE FROM t");
    session.server(b'C', b"PREPARE\0");
    session.server(b'Z', b"I");
    assert!(session.exchange.prepared("p").is_none());
}

#[test]
fn a_cursor_of_sql_is_a_portal_until_its_transaction_ends_unless_it_is_held() {
    for held in [false, true] {
        let mut session = Session::new();
        let facts = with_handle(Kind::Cursor, Handle::Declare { name: "c".to_owned(), kind: Kind::Select, held });
        let text = SqlText::from("DECLARE c CURSOR FOR SELECT 1");
        session.exchange.allow_query(reference(1), 10, Changes::of(&facts, &facts, &text));
        session.leaves();
        session.server(b'C', b"DECLARE CURSOR\0");
        session.server(b'Z', b"T");
        assert_eq!(session.exchange.cursor("c").unwrap().facts.kind, Kind::Select);
        assert_eq!(session.text_of_execute("c").as_deref(), text.text());
        session.client(b'Q', b"COMMIT\0");
        session.leaves();
        session.server(b'C', b"COMMIT\0");
        session.server(b'Z', b"I");
        assert_eq!(session.exchange.cursor("c").is_some(), held);
    }
}

#[test]
fn a_cursor_that_is_closed_takes_no_room_of_the_session() {
    let mut session = Session::new();
    let declare = |name: &str| Handle::Declare { name: name.to_owned(), kind: Kind::Select, held: true };
    let mut run = |handle: Handle, tag: &str| {
        let facts = with_handle(Kind::Cursor, handle);
        session.exchange.allow_query(reference(1), 10, Changes::of(&facts, &facts, &SqlText::from("")));
        session.leaves();
        session.server(b'C', format!("{tag}\0").as_bytes());
        // In one transaction: at its end all portals would be looked through, each time.
        session.server(b'Z', b"T");
        session.exchange.portals.len()
    };
    assert_eq!(run(declare("c"), "DECLARE CURSOR"), 1);
    assert_eq!(run(declare("d"), "DECLARE CURSOR"), 2);
    assert_eq!(run(Handle::Close(Some("c".to_owned())), "CLOSE CURSOR"), 1);
    assert_eq!(run(declare("e"), "DECLARE CURSOR"), 2);
    assert_eq!(run(Handle::Close(None), "CLOSE CURSOR ALL"), 0);
    // Names that are never given up leave room for those of the protocol.
    for number in 0..MAX_NAMES {
        run(declare(&number.to_string()), "DECLARE CURSOR");
    }
    assert_eq!(run(declare("one more"), "DECLARE CURSOR"), MAX_NAMES / 2);
    assert!(session.bind("p", "").is_some());
}
