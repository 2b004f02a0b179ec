//! What two readers of one text make of it together.

use std::collections::BTreeSet;

use super::tests::{assert_unparsed, effects, facts, shown};
use super::{guard, second};
use crate::model::Kind;

/// What the second reader adds for a first one that found nothing.
fn added(text: &str) -> String {
    let (mut effects, mut functions) = (BTreeSet::new(), BTreeSet::new());
    // The guard refuses some of these texts; here they are what it might one day let pass.
    let tokens = guard::tokens(text).unwrap_or_default();
    second::read(text, &tokens).unwrap().add_to(&mut effects, &mut functions);
    effects.iter().map(shown).collect::<Vec<_>>().join(", ")
}

#[test]
fn what_only_the_second_reader_sees_becomes_an_effect_at_its_worst() {
    for (text, expected) in [
        ("SELECT * FROM secrets", "select secrets"),
        ("SELECT 1 END, val FROM secrets", "select secrets"),
        ("SELECT 1 #/*'*/2, val FROM s.\"Secrets\" --'", "select s.Secrets"),
        ("WITH secrets AS (SELECT * FROM secrets) SELECT 1", "select secrets"),
        ("WITH x AS (DELETE FROM t) SELECT f(), lower('a')", "delete t, call f()"),
        ("INSERT INTO t SELECT 1; UPDATE u SET a = 1", "insert t, insert u, update t, update u"),
        ("COPY secrets TO STDOUT", "select secrets, insert secrets, copy_out secrets, copy_in secrets"),
        ("TRUNCATE t", "delete t, ddl t"),
        ("GRANT SELECT ON t TO u", "ddl t, dcl t"),
        ("LOCK TABLE t", "ddl t, admin t"),
        ("SELECT set_config('role', 'x', false)", "call set_config(), set_unsafe"),
        ("CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "ddl s.f()"),
        ("SELECT EXTRACT(year FROM now()) AT TIME ZONE 'UTC'", ""),
    ] {
        assert_eq!(added(text), expected, "{text}");
    }
}

#[test]
fn every_known_difference_of_the_parser_to_the_server_is_refused_or_read_as_the_server_reads_it() {
    for (number, text) in [
        ("D1", "SELECT 1 END, val FROM secrets"),
        ("D1", "SELECT 1 END; DELETE FROM accounts"),
        ("D2", "SELECT 1 #/*'*/2, val FROM secrets --'"),
        ("D2", "SELECT 1 >--'\n 2 FROM secret --'"),
        ("D3", "SELECT $€$, ' $€$; DELETE FROM t; --'"),
        ("D4", "CREATE TABLE IF NOT EXISTS t (a bytea DEFAULT X'\\'); DROP TABLE x; --')"),
        ("D6", "SELECT U&\"s\\0073n\" FROM people"),
        ("D7", "SELECT E'a'\n'b\\'; SELECT '; DROP TABLE x; --'"),
        ("D10", "SELECT x\u{2003}FROM\u{2003}orders"),
        ("D10", "SELECT 1\u{a0}FROM t"),
        ("D11", "SELECT * FROM a23456789012345678901234567890123456789012345678901234567890xyzw"),
        ("D11", "SELECT * FROM \"a23456789012345678901234567890123456789012345678901234567890xyzw\""),
        ("D12", "SELECT 1\u{b}"),
        ("D13", "SELECT 1 ` 2"),
        ("D14", "SELECT 0x1F"),
        ("D14", "SELECT 1_000"),
        ("D15", "SELECT 1\0; DROP TABLE x"),
        ("D18", "SELECT * FROM \u{c9}TAT"),
    ] {
        let facts = facts(text);
        assert_eq!(facts.kind, Kind::Unparsed, "{number}: {text}");
    }
    for (number, text, expected) in [
        ("D5", "COPY t FROM STDIN;\nDROP TABLE x;\n", "insert t, ddl x, copy_in t"),
        ("D8", "SET standard_conforming_strings = off", "set_unsafe @standard_conforming_strings"),
        ("D9", "SET client_encoding = 'SJIS'", "set_unsafe @client_encoding"),
        ("D16", "-- nothing", ""),
        ("D16", ";;;", ""),
        ("D18", "SELECT * FROM \"\u{c9}TAT\"", "select \u{c9}TAT"),
    ] {
        assert_eq!(effects(text), expected, "{number}: {text}");
    }
    assert_eq!((facts(";;;").kind, facts(";;;").statement_count), (Kind::Empty, 0));
}

#[test]
fn two_readers_name_what_one_would_have_missed() {
    for (text, expected) in [
        ("SELECT 1 UNION TABLE secrets", "select secrets"),
        ("SELECT 1 EXCEPT (TABLE secrets)", "select secrets"),
        ("COPY secrets TO STDOUT", "select secrets, copy_out secrets"),
        ("COPY secrets (a) FROM STDIN", "insert secrets, copy_in secrets"),
        ("SELECT * INTO UNLOGGED n FROM t", "select t, insert n, ddl n"),
        ("CREATE TABLE n AS TABLE secrets", "select secrets, insert n, ddl n"),
        ("WITH x AS (DELETE FROM a RETURNING *) VALUES ((SELECT count(*) FROM x))", "select a, delete a"),
        ("SELECT * FROM a, b WHERE a.x FOR UPDATE", "select a where, select b where, update a where, update b where"),
        ("SELECT * FROM a, b WHERE a.x FOR NO KEY UPDATE", "select a, select b, update a, update b"),
        ("MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE", "select s, select t, delete t"),
        ("ALTER TABLE a RENAME TO b", "ddl a, ddl b"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
}

#[test]
fn a_query_that_the_parser_cannot_read_is_judged_by_the_grammar_alone_and_says_so() {
    for (text, kind, expected) in [
        ("UPDATE t SET e[0] = 1 WHERE a", Kind::Update, "select t, update t where"),
        ("SELECT f(VARIADIC a), lower(b) FROM s.\"T\"", Kind::Select, "select s.T, call f()"),
        ("SELECT a FROM t FOR NO KEY UPDATE", Kind::Select, "select t, update t"),
        ("SELECT a FROM x, f(1) AS (b int), (SELECT 1 UNION TABLE y) z", Kind::Select, "select x, select y, call f()"),
        ("INSERT INTO t (a[1]) VALUES (1) ON CONFLICT DO NOTHING", Kind::Insert, "select t, insert t, update t"),
        ("COPY t FROM STDIN WITH (FREEZE on)", Kind::Copy, "select t, insert t, copy_in t"),
        ("COPY t TO STDOUT (FREEZE on)", Kind::Copy, "select t, copy_out t"),
        // No common table expression hides a table here.
        (
            "WITH RECURSIVE secrets AS (SELECT 1 a UNION SELECT 2) SEARCH DEPTH FIRST BY a SET o SELECT * FROM secrets",
            Kind::Select,
            "select secrets",
        ),
        (
            "SELECT set_config('role', 'x', false), f(VARIADIC a)",
            Kind::Select,
            "call f(), call set_config(), set_unsafe",
        ),
        ("UPDATE pg_settings SET setting[1] = 'x'", Kind::Update, "select pg_settings, update pg_settings, set_unsafe"),
    ] {
        let read = facts(text);
        assert_eq!((read.kind, effects(text)), (kind, expected.to_owned()), "{text}: {:?}", read.problem);
        assert!(read.problem.is_some_and(|problem| problem.contains("alone")), "{text}");
    }
    let both = facts("SELECT * FROM a; UPDATE t SET e[0] = 1");
    assert_eq!((both.kind, both.statement_count, both.has_where), (Kind::Several, 2, Some(false)));
}

#[test]
fn what_the_grammar_alone_does_not_determine_stays_not_understood() {
    for text in [
        "DO $$ BEGIN DELETE FROM t; END $$",
        "SELECT f(VARIADIC a), 1 OPERATOR(app.+) 2",
        "SELECT f(VARIADIC a) FROM t ORDER BY b USING OPERATOR(app.<)",
        "SELECT f(VARIADIC a), b OPERATOR(app.=) ANY (SELECT 1)",
        "EXPLAIN EXECUTE p",
        "CREATE TABLE n AS EXECUTE p",
        "EXPLAIN ANALYZE CREATE TABLE n AS EXECUTE p",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC EXECUTE p; END",
        "PREPARE p AS SELECT f(VARIADIC a)",
        "CREATE RULE r AS ON INSERT TO t DO INSTEAD SELECT 1 OPERATOR(app.+) 2",
        "CREATE VIEW v AS SELECT 1 END, val FROM secrets",
        "DROP TABLE a.b.c.d",
        "CREATE VIEW v AS SELECT JSON_OBJECT('a' VALUE 1 ABSENT ON NULL), f(VARIADIC a)",
    ] {
        assert_unparsed(text);
    }
}

#[test]
fn a_text_that_the_readers_count_differently_is_not_understood() {
    // The guard takes the label for the end of the body.
    let body = "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1 AS end; DELETE FROM t; END";
    let tokens = guard::tokens(body).unwrap();
    assert_eq!(guard::statements(&tokens).len(), 3);
    assert_eq!(second::read(body, &tokens).unwrap().statements.len(), 1);
    assert_unparsed(body);
}

#[test]
fn a_text_that_the_readers_cut_at_other_places_is_not_understood() {
    // As many statements for both, and none of them the same.
    let text = "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1 AS end; DELETE FROM t; END; \
        CREATE VIEW v AS SELECT 1 FROM begin atomic; SELECT 1; SELECT 2";
    let tokens = guard::tokens(text).unwrap();
    let (guard, second) = (guard::statements(&tokens), second::read(text, &tokens).unwrap());
    assert_eq!((guard.len(), second.statements.len()), (4, 4));
    assert!(!guard.iter().zip(&second.statements).all(|(tokens, part)| guard::stand_in(tokens, part)));
    assert_unparsed(text);
}

#[test]
fn a_body_in_sql_belongs_to_its_definition() {
    for (text, expected) in [
        (
            "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); DELETE FROM u WHERE a; END; TABLE v",
            "select t, select u, select v, insert t, delete u where, ddl p()",
        ),
        (
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN g() THEN 1 END; SELECT 2; END",
            "ddl f(), call g()",
        ),
        ("CREATE FUNCTION f() RETURNS int RETURN (SELECT max(a) FROM secrets)", "select secrets, ddl f()"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
}

#[test]
fn the_words_of_a_statement_do_not_get_into_what_is_said_about_it() {
    for text in ["SELECT sesame sesame sesame FROM", "sesame", "SELECT 'sesame' 'x' sesame (", "UPDATE sesame"] {
        assert!(!facts(text).problem.unwrap().contains("sesame"), "{text}");
    }
}

#[test]
fn deep_and_long_texts_end_neither_reader() {
    for (count, part) in [(1_500, " + 1"), (1_500, " UNION ALL SELECT 1"), (1_500, " JOIN t ON true"), (60, " || a")] {
        let head = if part.contains("JOIN") { "SELECT 1 FROM t" } else { "SELECT 1" };
        assert_eq!(facts(&format!("{head}{}", part.repeat(count))).kind, Kind::Select, "{part}");
    }
    for (head, part) in [
        ("SELECT 1", " + 1"),
        ("SELECT 1", "::int"),
        ("SELECT 1", " UNION ALL SELECT 1"),
        ("SELECT 1", " IS NULL"),
        ("SELECT 1 FROM t", " JOIN t ON true"),
        ("SELECT true", " AND true"),
        ("SELECT 1", ", f(VARIADIC a)"),
    ] {
        for count in [2_000, 3_800, 50_000] {
            facts(&format!("{head}{}", part.repeat(count)));
        }
    }
    for (open, close) in [("(", ")"), ("(SELECT ", ")"), ("f(", ")"), ("ARRAY[", "]"), ("CASE WHEN true THEN ", " END")]
    {
        for count in [60, 199, 3_000] {
            facts(&format!("SELECT {}1{}", open.repeat(count), close.repeat(count)));
            facts(&format!("SELECT f(VARIADIC a), {}1{}", open.repeat(count), close.repeat(count)));
        }
    }
    let wide: Vec<String> = (0..9_000).map(|at| format!("t{at}")).collect();
    assert_eq!(facts(&format!("SELECT 1 FROM {}", wide.join(","))).effects.len(), wide.len());
    let named: Vec<String> = (0..2_500).map(|at| format!("t{at} AS (TABLE t{at})")).collect();
    assert_eq!(facts(&format!("WITH {} SELECT 1", named.join(","))).effects.len(), named.len());
    for open in ["NOT ", "- ", "(", "CASE WHEN ", "EXPLAIN ", "WITH a AS ("] {
        assert_unparsed(&format!("SELECT {}", open.repeat(9_000)));
    }
    assert_unparsed(&format!("SELECT f(VARIADIC a){}", " || b".repeat(500)));
}

#[test]
fn many_texts_at_once_are_read_one_by_one_and_alike() {
    let read = |text: &'static str| std::thread::spawn(move || (0..50).map(|_| facts(text)).collect::<Vec<_>>());
    let threads: Vec<_> = (0..8).map(|_| read("SELECT * FROM t; UPDATE t SET e[0] = 1")).collect();
    let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert!(all.windows(2).all(|pair| matches!(pair, [one, other] if one == other)));
}

#[test]
fn an_index_that_is_altered_is_named_with_the_table_that_it_may_be() {
    let expected = "ddl visits_day_1, ddl clinic.visits_day, ddl other:clinic.visits_day";
    assert_eq!(effects("ALTER INDEX clinic.visits_day ATTACH PARTITION visits_day_1"), expected);
    // The server renames a table by this.
    assert_eq!(
        effects("ALTER INDEX clinic.people RENAME TO p"),
        "ddl clinic.p, ddl clinic.people, ddl other:clinic.people"
    );
}
