//! What texts do, and that no text does harm.

use bytes::Bytes;

use super::{Dialect, MAX_TEXT_BYTES, read};
use crate::model::{Action, Effect, Facts, Kind, ObjectKind, SqlText};

pub(super) fn facts(text: &str) -> Facts {
    read(&SqlText::from(text), Dialect::PostgreSql)
}

/// `select clinic.patients where`, `call f()`, `session @timezone`, `unparsed`.
pub(super) fn shown(effect: &Effect) -> String {
    let mut text = effect.action.as_str().to_owned();
    if let Some(object) = &effect.object {
        let name = object.schema.iter().chain([&object.name]).cloned().collect::<Vec<_>>().join(".");
        text += &match object.kind {
            ObjectKind::Table => format!(" {name}"),
            ObjectKind::Function => format!(" {name}()"),
            ObjectKind::Setting => format!(" @{name}"),
            kind => format!(" {}:{name}", kind.as_str()),
        };
    }
    if effect.has_where { text + " where" } else { text }
}

pub(super) fn effects(text: &str) -> String {
    facts(text).effects.iter().map(shown).collect::<Vec<_>>().join(", ")
}

pub(super) fn assert_unparsed(text: &str) {
    let facts = facts(text);
    assert_eq!(facts.kind, Kind::Unparsed, "{text}");
    assert!(facts.effects.iter().any(|effect| effect.action == Action::Unparsed), "{text}");
    assert!(facts.problem.is_some(), "{text}");
}

#[test]
fn queries_name_every_table_they_read() {
    for (text, expected) in [
        ("SELECT 1", ""),
        ("SELECT * FROM t", "select t"),
        ("SELECT * FROM T WHERE a = 1", "select t where"),
        ("SELECT * FROM \"T\"", "select T"),
        ("SELECT * FROM S.t, db.s.\"U\"", "select s.U, select s.t"),
        ("SELECT * FROM ONLY secret", "select secret"),
        ("SELECT * FROM (TABLE secrets) s", "select secrets"),
        ("SELECT 1 UNION TABLE \"Secrets\"", "select Secrets"),
        ("TABLE secrets", "select secrets"),
        ("TABLE ONLY hr.salaries LIMIT 1", "select hr.salaries"),
        ("SELECT (SELECT max(b) FROM u) FROM t WHERE EXISTS (SELECT 1 FROM v)", "select t where, select u, select v"),
        ("SELECT * FROM a JOIN (b CROSS JOIN c) ON a.x = (SELECT 1 FROM d)", "select a, select b, select c, select d"),
        (
            "SELECT * FROM a WHERE x IN (SELECT y FROM b WHERE z) ORDER BY (SELECT 1 FROM c)",
            "select a where, select b where, select c",
        ),
        (
            "SELECT count(*) FILTER (WHERE x > (SELECT 1 FROM b)) OVER (PARTITION BY (SELECT 1 FROM c)) FROM a",
            "select a, select b, select c",
        ),
        ("SELECT 1 LIMIT (SELECT a FROM b) OFFSET (SELECT a FROM c)", "select b, select c"),
        ("VALUES ((SELECT 1 FROM a), 2)", "select a"),
        ("SELECT CASE WHEN (SELECT true FROM a) THEN (SELECT 1 FROM b) END", "select a, select b"),
        ("SELECT ARRAY(SELECT x FROM a), ROW((SELECT 1 FROM b))", "select a, select b"),
        ("SELECT * FROM t FOR UPDATE", "select t, update t"),
        ("SELECT * FROM t WHERE a FOR SHARE OF t NOWAIT", "select t where, update t where"),
        ("SELECT * INTO n FROM t", "select t, insert n, ddl n"),
        ("SELECT * FROM t TABLESAMPLE SYSTEM (10)", "select t"),
        ("SELECT a[1:2], t.* FROM t GROUP BY ROLLUP (a), CUBE (b)", "select t"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
}

#[test]
fn names_of_common_table_expressions_hide_tables_only_where_they_do_on_the_server() {
    for (text, expected) in [
        ("WITH x AS (SELECT * FROM t) SELECT * FROM x", "select t"),
        ("WITH secrets AS (SELECT * FROM secrets) SELECT * FROM secrets", "select secrets"),
        ("WITH RECURSIVE x AS (SELECT 1 UNION SELECT * FROM x) SELECT * FROM x", ""),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT * FROM a, b", "select b"),
        ("WITH x AS (SELECT 1) SELECT * FROM s.x", "select s.x"),
        ("WITH x AS (SELECT 1) SELECT * FROM \"X\"", "select X"),
        ("SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) y, x", "select x"),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", "select t, delete t"),
        ("WITH x AS (UPDATE t SET a = 1 WHERE b = 2) SELECT 1", "select t where, update t where"),
        ("WITH s AS (SELECT 1) DELETE FROM s WHERE a IN (SELECT * FROM s)", "select s where, delete s where"),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", "insert t"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
}

#[test]
fn changes_name_what_they_change_and_what_they_read() {
    for (text, expected) in [
        ("INSERT INTO t (a) VALUES (1)", "insert t"),
        ("INSERT INTO t SELECT * FROM u WHERE a RETURNING id", "select t where, select u where, insert t"),
        (
            "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = (SELECT 1 FROM u)",
            "select u, insert t, update t",
        ),
        ("UPDATE t SET a = 1", "update t"),
        ("UPDATE t SET a = u.b FROM u WHERE t.id = u.id", "select t where, select u where, update t where"),
        ("UPDATE t SET (a, b) = (SELECT c, d FROM u)", "select u, update t"),
        ("UPDATE t SET a = 1 RETURNING *", "select t, update t"),
        ("DELETE FROM t", "delete t"),
        ("DELETE FROM ONLY t USING u WHERE t.a = u.a", "select t where, select u where, delete t where"),
        ("TRUNCATE a, s.b CASCADE", "delete a, delete s.b"),
        (
            "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)",
            "select t, select u, insert t, update t",
        ),
        ("COPY t TO STDOUT", "select t, copy_out t"),
        ("COPY t (a, b) FROM STDIN WITH (FORMAT csv)", "insert t, copy_in t"),
        ("COPY (SELECT * FROM t WHERE a) TO STDOUT", "select t where, copy_out t where"),
        ("COPY (DELETE FROM t RETURNING *) TO STDOUT", "select t, delete t, copy_out t"),
        ("COPY t FROM PROGRAM 'id'", "insert t, copy_in t, admin"),
        ("COPY t TO '/tmp/x'", "select t, copy_out t, admin"),
        ("UPDATE pg_settings SET setting = 'off'", "update pg_settings, set_unsafe"),
        ("EXPLAIN ANALYZE DELETE FROM t", "delete t"),
        ("EXPLAIN (ANALYZE off, COSTS) SELECT * FROM t", "select t"),
        ("PREPARE p (int) AS UPDATE t SET a = $1", "update t"),
        ("DECLARE c CURSOR FOR SELECT * FROM t", "select t, session"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
}

#[test]
fn definitions_name_what_they_define_and_what_they_read() {
    for (text, expected) in [
        ("CREATE TABLE t (a int PRIMARY KEY, b int REFERENCES u (id), c text DEFAULT lower('X'))", "ddl t, ddl u"),
        ("CREATE TABLE t (a int CHECK (f(a)), FOREIGN KEY (a) REFERENCES s.u)", "ddl t, ddl s.u, call f()"),
        ("CREATE TABLE t AS SELECT * FROM u", "select u, insert t, ddl t"),
        ("CREATE TABLE t AS TABLE secrets", "select secrets, insert t, ddl t"),
        ("CREATE TABLE t () INHERITS (secrets)", "ddl secrets, ddl t"),
        ("CREATE TABLE t (LIKE secrets)", "select secrets, ddl t"),
        ("CREATE TABLE p PARTITION OF t FOR VALUES IN (1)", "ddl p, ddl t"),
        ("CREATE VIEW v AS SELECT * FROM t WHERE a", "select t where, ddl v"),
        ("CREATE MATERIALIZED VIEW v AS SELECT * FROM t", "select t, ddl v"),
        ("CREATE INDEX i ON t (lower(a), f(b)) WHERE g(c)", "ddl t, call f(), call g()"),
        ("ALTER TABLE t ADD COLUMN c int DEFAULT f()", "ddl t, call f()"),
        ("ALTER TABLE t ALTER COLUMN c TYPE int USING f(c)", "ddl t, call f()"),
        ("DROP TABLE a, s.b", "ddl a, ddl s.b"),
        ("DROP SCHEMA s CASCADE", "ddl schema:s"),
        ("DROP FUNCTION f(int)", "ddl f()"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "ddl f()"),
        ("CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", "ddl t, call f()"),
        ("COMMENT ON COLUMN s.t.c IS 'x'", "ddl s.t"),
        ("CREATE ROLE r", "dcl role:r"),
        ("DROP ROLE r", "dcl role:r"),
        ("GRANT SELECT ON t TO r", "dcl t"),
        ("REVOKE ALL ON SCHEMA s FROM r", "dcl schema:s"),
        ("GRANT r TO u", "dcl role:r"),
        ("ALTER ROLE r SET standard_conforming_strings = off", "dcl role:r, set_unsafe @standard_conforming_strings"),
        ("CREATE EXTENSION dblink", "ddl other:dblink"),
    ] {
        let mut expected: Vec<_> = expected.split(", ").collect();
        let found = effects(text);
        let mut found: Vec<_> = found.split(", ").collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn functions_that_only_compute_are_named_and_the_others_are_effects() {
    let read = facts("SELECT count(*), Lower(a), app.F(1), pg_catalog.now() FROM t");
    assert_eq!(read.functions, ["app.f", "count", "lower", "pg_catalog.now"]);
    for (text, expected) in [
        ("SELECT pg_read_file('/etc/passwd')", "call pg_read_file()"),
        ("SELECT \"lo_import\"('x')", "call lo_import()"),
        ("SELECT * FROM dblink('x', 'y') AS t(a int)", "call dblink()"),
        ("SELECT * FROM generate_series(1, 3) g, LATERAL f(g)", "call f()"),
        ("SELECT query_to_xml('x', true, false, '')", "call query_to_xml()"),
        ("SELECT pg_catalog.table_to_xml('t', true, false, '')", "call pg_catalog.table_to_xml()"),
        ("CALL now()", "call now()"),
        ("SELECT 1 FROM t WHERE f(a) ORDER BY g(b)", "select t where, call f(), call g()"),
        ("INSERT INTO t VALUES (nextval('s'))", "insert t, call nextval()"),
        ("SELECT unnest(f()), string_agg(a, ',' ORDER BY g(a)) FROM t", "select t, call f(), call g()"),
        ("SELECT x -> f(y), x::text || g(z)", "call f(), call g()"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
    assert_unparsed("SELECT 1 OPERATOR(app.+) 2");
}

#[test]
fn settings_that_change_reading_or_identity_are_set_apart() {
    for (text, expected) in [
        ("SET search_path TO x", "session @search_path"),
        ("SET LOCAL statement_timeout = 5", "session @statement_timeout"),
        ("SET standard_conforming_strings = on", "session @standard_conforming_strings"),
        ("SET Standard_Conforming_Strings = off", "set_unsafe @standard_conforming_strings"),
        ("SET \"role\" = 'x'", "set_unsafe @role"),
        ("SET ROLE x", "set_unsafe @role"),
        ("RESET ROLE", "set_unsafe @role"),
        ("SET SESSION AUTHORIZATION x", "set_unsafe @session_authorization"),
        ("SET client_encoding = 'SJIS'", "set_unsafe @client_encoding"),
        ("SET client_encoding TO 'UTF8'", "session @client_encoding"),
        ("SET NAMES 'utf8'", "session @client_encoding"),
        ("SET NAMES 'sjis'", "set_unsafe @client_encoding"),
        ("SET backslash_quote = on", "set_unsafe @backslash_quote"),
        ("SELECT set_config('role', 'x', false)", "set_unsafe @role"),
        ("SELECT pg_catalog.set_config('search_path', '', false)", "session @search_path"),
        ("SELECT set_config('ro' || 'le', 'x', false)", "set_unsafe"),
        ("SELECT set_config($1, $2, false)", "set_unsafe"),
        ("SELECT * FROM set_config('role', 'x', false)", "set_unsafe @role"),
        ("SELECT * FROM set_config(is_local => false, setting_name => 'role', new_value => 'x')", "set_unsafe"),
        ("SET TIME ZONE 'UTC'", "session @timezone"),
        ("SHOW server_version", "session @server_version"),
        ("RESET ALL", "session @all"),
        ("DISCARD ALL", "session, session @all"),
        ("DISCARD PLANS", "session"),
        ("BEGIN READ ONLY", "session"),
        ("BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE", "session, session @transaction_read_only"),
        ("SET TRANSACTION READ WRITE", "session, session @transaction_read_only"),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "session, session @default_transaction_isolation",
        ),
        ("UNLISTEN *", "session @listen"),
        ("SET CONSTRAINTS ALL DEFERRED", "session, session @constraints"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
}

#[test]
fn names_in_strings_are_read_where_a_table_or_a_setting_is_meant() {
    for (text, expected) in [
        ("SELECT 'secrets'::regclass::oid", "select secrets where"),
        ("SELECT CAST(' Public . \"Se\"\"crets\" ' AS pg_catalog.regclass)", "select public.Se\"crets where"),
        ("SELECT regclass 'db.public.secrets'", "select public.secrets where"),
        (
            "SELECT to_regclass('secrets'), pg_catalog.pg_table_size('public.t')",
            "select secrets where, select public.t where",
        ),
        ("SELECT has_table_privilege('app', 'secrets', 'select')", "select secrets where"),
        ("SELECT has_column_privilege('secrets', 'val', 'select')", "select secrets where"),
        ("SELECT pg_relation_size(c.oid), c.oid::regclass FROM pg_class c", "select pg_class"),
        ("SELECT ('sec' || 'rets')::regclass", "call regclass()"),
        ("SELECT $1::regclass, '4711'::regclass", "call regclass()"),
        ("SELECT pg_relation_size('sec' || 'rets')", "call pg_relation_size()"),
        ("SELECT 'secrets'::text", ""),
        ("SELECT current_setting('data_directory')", "select pg_catalog.pg_settings where"),
        ("SELECT * FROM to_regclass('secrets')", "select secrets where"),
        ("SELECT * FROM pg_show_all_settings()", "select pg_catalog.pg_settings where"),
        ("SELECT current_setting($1)", "select pg_catalog.pg_settings where"),
        ("SELECT current_setting('server_version_num')::int, current_setting('app.user', true)", ""),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
}

#[test]
fn maintenance_names_its_tables() {
    for (text, expected) in [
        ("VACUUM", "admin"),
        ("VACUUM ANALYZE t", "admin t"),
        ("VACUUM FULL VERBOSE S.T, \"U\" (a, b)", "admin U, admin s.t"),
        ("VACUUM (FULL, PARALLEL 2) t", "admin t"),
        ("VACUUM \"\"\"q\"", "admin \"q"),
        ("ANALYZE t (a), u", "admin t, admin u"),
        ("REFRESH MATERIALIZED VIEW v", "admin v"),
        ("LOCK TABLE t, u", "admin t, admin u"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
    assert_unparsed("VACUUM t; VACUUM t u v w");
    assert_unparsed("VACUUM t,");
}

#[test]
fn kinds_are_those_of_the_outermost_node() {
    for (text, kind, has_where) in [
        ("SELECT 1", Kind::Select, Some(false)),
        ("SELECT 1 FROM t WHERE a UNION SELECT 1 FROM u", Kind::Select, Some(false)),
        ("WITH x AS (SELECT 1) DELETE FROM t WHERE a", Kind::Delete, Some(true)),
        ("INSERT INTO t VALUES (1)", Kind::Insert, None),
        ("UPDATE t SET a = 1 WHERE b", Kind::Update, Some(true)),
        ("BEGIN", Kind::Transaction, None),
        ("BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE", Kind::Transaction, None),
        ("END", Kind::Transaction, None),
        ("ROLLBACK TO SAVEPOINT s", Kind::Transaction, None),
        ("FETCH FORWARD 10 FROM c", Kind::Cursor, None),
        ("CLOSE ALL", Kind::Cursor, None),
        ("DEALLOCATE ALL", Kind::Prepare, None),
        ("LISTEN x", Kind::Admin, None),
        ("NOTIFY x, 'y'", Kind::Admin, None),
        ("VACUUM t", Kind::Admin, None),
        ("CHECKPOINT", Kind::Admin, None),
        ("REINDEX TABLE t", Kind::Admin, None),
        ("LOCK TABLE t IN ACCESS EXCLUSIVE MODE", Kind::Admin, None),
        ("SELECT 1; SELECT 2;", Kind::Select, Some(false)),
        ("SELECT 1; DELETE FROM t", Kind::Several, Some(false)),
        ("", Kind::Empty, None),
        (" ;; -- nothing\n /* at /* all */ */ ;", Kind::Empty, None),
    ] {
        let facts = facts(text);
        assert_eq!((facts.kind, facts.has_where), (kind, has_where), "{text}: {:?}", facts.problem);
    }
}

#[test]
fn several_statements_are_judged_together_and_one_that_is_not_understood_spoils_all() {
    let read = facts("SELECT * FROM a; DELETE FROM b;; ");
    assert_eq!((read.statement_count, effects("SELECT * FROM a; DELETE FROM b")), (2, "select a, delete b".to_owned()));
    let read = facts("SELECT * FROM a; DO $$ BEGIN END $$");
    assert_eq!((read.kind, read.statement_count), (Kind::Unparsed, 2));
    assert_eq!(effects("SELECT * FROM a; DO $$ BEGIN END $$"), "select a, unparsed");
}

#[test]
fn nothing_hides_behind_a_difference_between_two_lexers() {
    for text in [
        "SELECT 1 END, val FROM secrets",
        "SELECT 'x' END UNION SELECT val FROM secrets",
        "SELECT 1 -/*'*/ 2; DROP TABLE x; --'",
        "SELECT 1 </*'*/ 2; DROP TABLE x; --'",
        "SELECT 1 #/*'*/2, val FROM secrets --'",
        "SELECT 1 >--'\n 2; DROP TABLE x; --'",
        "SELECT 1 >--'\n 2 FROM secret --'",
        "CREATE TABLE IF NOT EXISTS t (a bytea DEFAULT X'\\'); DROP TABLE x; --')",
        "SELECT E'a'\n'b\\'; SELECT '; DROP TABLE x; --'",
        "SELECT $€$, ' $€$; DELETE FROM t; --'",
        "SELECT U&\"s\\0073n\" FROM people",
        "SELECT U&'x",
        "SELECT U&'x' 'y'",
        "SELECT 1::U&\"\\0070oint\"",
        "SELECT 1\u{a0}FROM t",
        "SELECT x\u{2003}FROM\u{2003}orders",
        "SELECT 1\u{b}",
        "SELECT `a`",
        "SELECT 0x1F",
        "SELECT 1_000",
        "SELECT $1$ ; DROP TABLE x; $1$",
        "SELECT 'open",
        "SELECT \"open",
        "SELECT /* open",
        "SELECT $a$ open $b$",
        "SELECT 1\0; DROP TABLE x",
        "SELECT \"\"",
        "SELECT * FROM a23456789012345678901234567890123456789012345678901234567890xyzw",
        "SELECT B'2'",
    ] {
        assert_unparsed(text);
    }
    assert_eq!(effects("COPY t FROM STDIN;\nDROP TABLE x;\n"), "insert t, ddl x, copy_in t");
    assert_eq!(effects("SELECT 1 END; DELETE FROM accounts"), "delete accounts, unparsed");
    assert_eq!(effects("SELECT -1 - - 2, a*-1, 'it''s', E'\\'', $a$ ; ' $a$, N'x', 1.5e-3 FROM t"), "select t");
    let bytes = read(&SqlText::new(Bytes::from_static(b"SELECT E'\x83\\'; DROP TABLE x; --'")), Dialect::PostgreSql);
    assert_eq!(bytes.problem.as_deref(), Some("not valid UTF-8"));
}

#[test]
fn what_is_not_understood_says_so() {
    for text in [
        "DO $$ BEGIN DELETE FROM t; END $$",
        "EXECUTE p",
        "EXECUTE IMMEDIATE 'SELECT 1'",
        "EXECUTE p USING 1",
        "EXECUTE a.p",
        "CREATE TABLE t AS EXECUTE p",
        "EXPLAIN ANALYZE EXECUTE p",
        "SELECT * FROM t WHERE",
        "garbage",
        "SELECT a.b.c.d.e FROM a.b.c.d",
        "REINDEX (SELECT 1)'",
        "BEGIN; garbage",
    ] {
        assert_unparsed(text);
    }
}

#[test]
fn deep_and_long_texts_neither_overflow_nor_hang() {
    let chain = |part: &str, times: usize| format!("SELECT 1{}", part.repeat(times));
    for part in [" + 1", " AND true", " OR a = 1", " || 'x'", "::int", " COLLATE \"C\"", " IS NULL", " BETWEEN 1 AND 2"]
    {
        let long = facts(&chain(part, 4_900));
        assert!(matches!(long.kind, Kind::Select | Kind::Unparsed), "{part}");
        assert_unparsed(&chain(part, 60_000));
    }
    assert_eq!(facts(&chain(" + 1", 1_500)).kind, Kind::Select);
    assert_eq!(facts(&chain(" UNION ALL SELECT 1", 1_500)).kind, Kind::Select);
    for open in ["(", "NOT (", "f(a=>", "CASE WHEN ", "ARRAY[", "(SELECT ", "- - ", "EXPLAIN "] {
        assert_unparsed(&format!("SELECT {}", open.repeat(2_000)));
    }
    assert_unparsed(&format!("SELECT {}1{}", "(".repeat(3_000), ")".repeat(3_000)));
    assert_unparsed(&"SELECT 1;".repeat(6_000));
    assert_unparsed(&"x".repeat(MAX_TEXT_BYTES + 1));
    assert_eq!(facts(&format!("SELECT '{}'", "x".repeat(MAX_TEXT_BYTES - 100))).kind, Kind::Select);
}

#[test]
fn fingerprints_are_equal_for_texts_that_differ_in_literals_and_blanks_only() {
    let print = |text| facts(text).fingerprint.unwrap();
    assert_eq!(print("SELECT a FROM t WHERE b = 1"), print("select A\n from t -- x\n where b='y';"));
    assert_eq!(print("DO $$ a $$"), print("do $x$ b $x$"));
    assert_ne!(print("SELECT a FROM t"), print("SELECT \"A\" FROM t"));
    assert_ne!(print("SELECT a FROM t"), print("SELECT b FROM t"));
    assert_eq!(print("SELECT 1").len(), 64);
}
