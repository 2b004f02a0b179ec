//! Commands: what both readers read they read alike, and what only PostgreSQL's grammar reads is judged in full.

use super::tests::{assert_unparsed, effects, facts, shown};
use super::walk::Walk;
use super::{alone, guard, second};
use crate::model::Kind;

/// What comes out if only the second reader has the word.
fn by_the_grammar_alone(text: &str) -> String {
    let mut walk = Walk::default();
    alone::read(text, &mut walk).unwrap_or_else(|problem| panic!("{text}: {problem:?}"));
    let second = second::read(text, &guard::tokens(text).unwrap()).unwrap();
    second.add_to(&mut walk.effects, &mut walk.functions);
    walk.effects.iter().map(shown).collect::<Vec<_>>().join(", ")
}

const READ_BY_BOTH: &[&str] = &[
    "CREATE TABLE s.t (a int PRIMARY KEY, b text DEFAULT f(1) REFERENCES s.u (b), CHECK (g(a) > 0))",
    "CREATE TABLE t (LIKE s.u)",
    "CREATE TABLE t (a int) INHERITS (p, s.q)",
    "CREATE TABLE t PARTITION OF s.p FOR VALUES IN (1, 2)",
    "CREATE TABLE t (a int, FOREIGN KEY (a) REFERENCES u (a) ON DELETE CASCADE)",
    "CREATE TABLE n AS SELECT * FROM t",
    "CREATE TEMP TABLE n AS TABLE secrets",
    "CREATE VIEW v AS SELECT f(a) FROM t",
    "CREATE MATERIALIZED VIEW v AS SELECT a FROM t",
    "CREATE INDEX i ON s.t (f(a)) WHERE g(b)",
    "CREATE SEQUENCE q OWNED BY s.t.a",
    "CREATE FUNCTION s.f(a int DEFAULT g()) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'library'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET role = 'x' AS 'SELECT 1'",
    "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = 'x' AS 'SELECT 1'",
    "CREATE TRIGGER g AFTER INSERT ON s.t FOR EACH ROW WHEN (f(NEW.a)) EXECUTE FUNCTION s.h()",
    "CREATE POLICY p ON s.t USING (a = (SELECT max(a) FROM u))",
    "CREATE SCHEMA s",
    "CREATE SCHEMA s AUTHORIZATION u",
    "CREATE EXTENSION e",
    "CREATE DATABASE d",
    "CREATE TYPE s.t AS ENUM ('a', 'b')",
    "CREATE TYPE s.t AS (a int)",
    "CREATE DOMAIN d AS int DEFAULT f() CHECK (g(VALUE))",
    "ALTER TABLE s.t ADD COLUMN a int DEFAULT f()",
    "ALTER TABLE s.t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES x.u (a)",
    "ALTER TABLE t ATTACH PARTITION s.p FOR VALUES IN (1)",
    "ALTER TABLE t DETACH PARTITION p",
    "ALTER TABLE t INHERIT p",
    "ALTER TABLE t RENAME TO u",
    "ALTER TABLE s.t RENAME TO u",
    "ALTER INDEX s.secrets RENAME TO u",
    "ALTER TABLE t RENAME COLUMN a TO b",
    "ALTER TABLE t OWNER TO u",
    "ALTER TABLE t DISABLE ROW LEVEL SECURITY",
    "ALTER TABLE t ALTER COLUMN a TYPE int USING f(a)",
    "ALTER VIEW v RENAME TO w",
    "ALTER VIEW v SET SCHEMA s",
    "ALTER INDEX i RENAME TO j",
    "ALTER SCHEMA a RENAME TO b",
    "ALTER FUNCTION f() OWNER TO u",
    "ALTER FUNCTION f() SET SCHEMA s",
    "ALTER FUNCTION f() SET role TO 'x'",
    "ALTER FUNCTION f() RESET ALL",
    "DROP TABLE a, s.b",
    "DROP VIEW v",
    "DROP SEQUENCE q",
    "DROP INDEX s.i",
    "DROP SCHEMA s CASCADE",
    "DROP FUNCTION s.f(int), g(int)",
    "DROP PROCEDURE p(int)",
    "DROP TRIGGER g ON s.t",
    "DROP RULE r ON t",
    "DROP POLICY p ON t",
    "DROP ROLE a, b",
    "DROP DATABASE d",
    "DROP EXTENSION e",
    "DROP DOMAIN d",
    "DROP TYPE s.t",
    "COMMENT ON TABLE s.t IS 'x'",
    "COMMENT ON COLUMN s.t.c IS 'x'",
    "COMMENT ON ROLE r IS 'x'",
    "COMMENT ON EXTENSION e IS 'x'",
    "GRANT SELECT ON s.t, u TO r",
    "GRANT EXECUTE ON FUNCTION f(int) TO r",
    "GRANT USAGE ON SCHEMA s TO r",
    "GRANT ALL ON DATABASE d TO r",
    "GRANT SELECT ON ALL TABLES IN SCHEMA s TO r",
    "REVOKE ALL ON SEQUENCE q FROM r",
    "GRANT a, b TO c",
    "REVOKE a FROM c",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO r",
    "CREATE ROLE r LOGIN",
    "CREATE ROLE r IN ROLE postgres ADMIN a",
    "ALTER ROLE r SUPERUSER",
    "ALTER ROLE r RENAME TO postgres",
    "ALTER ROLE r SET search_path = 'x'",
    "ALTER ROLE r SET role = 'x'",
    "ALTER ROLE r RESET ALL",
    "SET search_path = a, b",
    "SET client_encoding = 'UTF8'",
    "SET client_encoding TO 'SJIS'",
    "SET standard_conforming_strings = off",
    "SET standard_conforming_strings TO DEFAULT",
    "SET LOCAL role = 'x'",
    "SET ROLE x",
    "SET SESSION AUTHORIZATION x",
    "SET TIME ZONE 'UTC'",
    "SET TRANSACTION READ WRITE",
    "RESET ALL",
    "RESET role",
    "RESET timezone",
    "SHOW timezone",
    "DISCARD ALL",
    "DISCARD TEMP",
    "SAVEPOINT s",
    "BEGIN READ WRITE",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
    "TRUNCATE a, s.b",
    "LOCK TABLE a, s.b",
    "VACUUM a, s.b",
    "VACUUM",
    "ANALYZE s.t",
    "REFRESH MATERIALIZED VIEW s.v",
    "CHECKPOINT",
    "LISTEN x",
    "NOTIFY x, 'y'",
    "UNLISTEN x",
    "SET CONSTRAINTS ALL DEFERRED",
    "CALL s.p(f(1))",
    "DECLARE c CURSOR FOR SELECT a FROM t",
    "EXPLAIN ANALYZE SELECT f(a) FROM t",
    "SELECT a INTO n FROM t",
    "COPY t TO '/tmp/x'",
    "COPY (SELECT a FROM t) TO STDOUT",
    "COMMENT ON INDEX s.i IS 'x'",
    "ALTER TABLE t ADD COLUMN b int, DROP COLUMN c, ALTER COLUMN d SET DEFAULT f()",
    "CREATE UNLOGGED TABLE t (a int GENERATED ALWAYS AS IDENTITY, b int GENERATED ALWAYS AS (f(a)) STORED)",
    "ALTER TYPE s.t ADD VALUE 'x'",
    "ALTER TYPE s.t RENAME TO u",
    "ALTER TRIGGER g ON s.t RENAME TO h",
    "ALTER ROLE r RENAME TO q",
    "CREATE OR REPLACE VIEW s.v (a) WITH (security_barrier = true) AS SELECT 1 UNION TABLE u",
    "WITH x AS (DELETE FROM t RETURNING a) SELECT a INTO n FROM u",
    "SELECT 's.t'::regclass",
    "SELECT pg_relation_size('s.t')",
    "SELECT has_table_privilege('u', 't', 'SELECT')",
    "SELECT pg_get_viewdef(lower('x'))",
    "SELECT current_setting('password_encryption')",
];

#[test]
fn a_command_that_both_readers_read_has_the_same_effects_by_either() {
    let mut differences = Vec::new();
    for text in READ_BY_BOTH {
        let first = facts(text);
        let (by_both, alone) = (effects(text), by_the_grammar_alone(text));
        if first.problem.is_some() || by_both != alone {
            differences.push(format!("{text}\n  both:  {by_both} {:?}\n  alone: {alone}", first.problem));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

const BY_THE_GRAMMAR: &[(Kind, &str, &str)] = &[
    (Kind::Select, "SELECT f(VARIADIC a), 1 OPERATOR(pg_catalog.+) 2 FROM t", "select t, call f()"),
    (
        Kind::Ddl,
        "CREATE RULE r AS ON INSERT TO s.t WHERE f(NEW.a) DO INSTEAD (DELETE FROM secrets WHERE a = 1; NOTIFY x; SELECT g(b) FROM u)",
        "select secrets, select u, delete secrets where, ddl s.t, call f(), call g(), admin",
    ),
    (Kind::Ddl, "CREATE RULE \"_RETURN\" AS ON SELECT TO v DO INSTEAD SELECT * FROM secrets", "select secrets, ddl v"),
    (Kind::Ddl, "CREATE RULE r AS ON UPDATE TO t DO NOTHING", "ddl t"),
    (
        Kind::Ddl,
        "CREATE SCHEMA s AUTHORIZATION u CREATE TABLE t (a int REFERENCES other.u) CREATE VIEW v AS SELECT * FROM secrets GRANT SELECT ON t TO r",
        "select secrets, ddl t, ddl v, ddl other.u, ddl s.t, ddl s.v, ddl schema:s, dcl t, dcl s.t",
    ),
    (Kind::Ddl, "CREATE SCHEMA AUTHORIZATION u CREATE TABLE t (a int)", "ddl t, ddl u.t, ddl schema:u"),
    (Kind::Ddl, "CREATE SCHEMA AUTHORIZATION CURRENT_USER CREATE TABLE t (a int)", "ddl, ddl t"),
    (
        Kind::Ddl,
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC INSERT INTO t VALUES (1); DELETE FROM secrets; SELECT CASE WHEN true THEN 1 END; END",
        "select secrets, select t, insert t, delete secrets, ddl f()",
    ),
    (
        Kind::Several,
        "CREATE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC CREATE TABLE x (a int); END; SELECT * FROM y",
        "select y, ddl x, ddl p()",
    ),
    (Kind::Ddl, "CREATE FUNCTION f() RETURNS int RETURN (SELECT max(a) FROM secrets)", "select secrets, ddl f()"),
    (
        Kind::Ddl,
        "CREATE FUNCTION f(secrets.ssn%TYPE) RETURNS hr.secrets.ssn%TYPE LANGUAGE sql AS 'SELECT 1'",
        "select secrets, select hr.secrets, ddl f()",
    ),
    (Kind::Ddl, "CREATE FUNCTION f() RETURNS int LANGUAGE internal AS 'pg_read_file', 'x'", "ddl f(), admin"),
    (Kind::Ddl, "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql SUPPORT s.h AS 'SELECT 1'", "ddl f(), call s.h()"),
    (
        Kind::Ddl,
        "CREATE FUNCTION f() RETURNS SETOF t LANGUAGE sql SET client_encoding = 'utf8' SET x.y TO 1 AS 'SELECT 1' ROWS 10",
        "ddl f(), session @x.y, set_unsafe @client_encoding",
    ),
    (Kind::Ddl, "ALTER FUNCTION f(int) SET role FROM CURRENT", "ddl f(), set_unsafe @role"),
    (Kind::Ddl, "ALTER PROCEDURE p() SET session_authorization = 'x'", "ddl p(), set_unsafe @session_authorization"),
    (Kind::Ddl, "ALTER ROUTINE s.p() DEPENDS ON EXTENSION e", "ddl s.p(), ddl other:e"),
    (
        Kind::Ddl,
        "CREATE AGGREGATE s.leak(text) (sfunc = pg_read_file, stype = text, finalfunc = s.f, \"Odd\" = x.g, sortop = >)",
        "ddl s.leak(), call pg_read_file(), call s.f(), call x.g()",
    ),
    (Kind::Ddl, "CREATE AGGREGATE leak(text) (sfunc = 'lo_import', stype = text)", "ddl leak(), call lo_import()"),
    (
        Kind::Ddl,
        "CREATE OPERATOR s.=== (procedure = s.f, leftarg = int, rightarg = int, commutator = ===, restrict = eqsel, join = s.j)",
        "ddl other:s.===, call eqsel(), call s.f(), call s.j()",
    ),
    (
        Kind::Ddl,
        "CREATE TYPE s.t (input = s.in, output = s.out, like = int4)",
        "ddl other:s.t, call s.in(), call s.out()",
    ),
    (
        Kind::Ddl,
        "CREATE TYPE s.r AS RANGE (subtype = float8, subtype_diff = s.d, canonical = c)",
        "ddl other:s.r, call c(), call s.d()",
    ),
    (Kind::Ddl, "CREATE TYPE s.t AS (a int, b secrets)", "ddl other:s.t"),
    (
        Kind::Ddl,
        "CREATE CAST (text AS s.t) WITH FUNCTION s.f(text) AS IMPLICIT",
        "ddl other:text, ddl other:s.t, call s.f()",
    ),
    (Kind::Ddl, "CREATE CAST (a AS b) WITHOUT FUNCTION", "ddl other:a, ddl other:b"),
    (
        Kind::Ddl,
        "CREATE TRANSFORM FOR s.t LANGUAGE sql (FROM SQL WITH FUNCTION s.f(internal), TO SQL WITH FUNCTION g(internal))",
        "ddl other:s.t, call g(), call s.f()",
    ),
    (Kind::Ddl, "CREATE CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM s.f", "ddl other:c, call s.f()"),
    (Kind::Ddl, "CREATE DEFAULT CONVERSION c FOR 'SJIS' TO 'UTF8' FROM s.f", "ddl other:c, call s.f(), set_unsafe"),
    (
        Kind::Ddl,
        "CREATE OPERATOR CLASS s.c DEFAULT FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 s.f(int, int)",
        "ddl other:s.c, call s.f()",
    ),
    (Kind::Ddl, "ALTER OPERATOR FAMILY s.c USING btree ADD FUNCTION 2 s.g(int)", "ddl other:s.c, call s.g()"),
    (Kind::Ddl, "ALTER OPERATOR FAMILY s.c USING btree DROP FUNCTION 2 (int, int)", "ddl other:s.c"),
    (Kind::Ddl, "ALTER OPERATOR s.+ (int, int) SET (RESTRICT = s.f, JOIN = NONE)", "ddl other:s.+, call s.f()"),
    (
        Kind::Ddl,
        "CREATE LANGUAGE l HANDLER s.h INLINE s.i VALIDATOR s.v",
        "ddl other:l, call s.h(), call s.i(), call s.v()",
    ),
    (Kind::Ddl, "CREATE ACCESS METHOD m TYPE INDEX HANDLER s.h", "ddl other:m, call s.h()"),
    (Kind::Ddl, "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION s.f()", "ddl other:e, call s.f()"),
    (Kind::Ddl, "CREATE TEXT SEARCH DICTIONARY s.d (TEMPLATE = thesaurus, DictFile = x)", "ddl other:s.d"),
    (
        Kind::Ddl,
        "CREATE TEXT SEARCH PARSER p (START = s.f, GETTOKEN = g, END = e, LEXTYPES = l)",
        "ddl other:p, call e(), call g(), call l(), call s.f()",
    ),
    (Kind::Ddl, "CREATE TEXT SEARCH CONFIGURATION c (COPY = english)", "ddl other:c"),
    (Kind::Ddl, "ALTER TEXT SEARCH CONFIGURATION s.c ADD MAPPING FOR a WITH d", "ddl other:s.c"),
    (Kind::Ddl, "CREATE COLLATION s.c FROM \"C\"", "ddl other:s.c"),
    (
        Kind::Ddl,
        "CREATE TRIGGER g AFTER DELETE ON s.t REFERENCING OLD TABLE AS o FOR EACH STATEMENT EXECUTE FUNCTION s.f('x')",
        "ddl s.t, call s.f()",
    ),
    (
        Kind::Ddl,
        "CREATE CONSTRAINT TRIGGER g AFTER INSERT ON s.t FROM secrets DEFERRABLE FOR EACH ROW EXECUTE PROCEDURE f()",
        "ddl secrets, ddl s.t, call f()",
    ),
    (Kind::Ddl, "CREATE STATISTICS s.x (ndistinct) ON a, (f(b)) FROM secrets", "ddl secrets, ddl other:s.x, call f()"),
    (Kind::Ddl, "CREATE FOREIGN TABLE f (a int) SERVER s OPTIONS (program 'id')", "ddl f, ddl other:s, admin"),
    (Kind::Ddl, "ALTER FOREIGN TABLE f OPTIONS (SET table_name 'secrets')", "ddl f, admin"),
    (Kind::Ddl, "ALTER FOREIGN TABLE f ALTER COLUMN c OPTIONS (ADD column_name 'ssn')", "ddl f, admin"),
    (Kind::Ddl, "ALTER TABLE f ADD COLUMN c int", "ddl f"),
    (
        Kind::Ddl,
        "IMPORT FOREIGN SCHEMA r LIMIT TO (secrets, u) FROM SERVER s INTO l",
        "ddl secrets, ddl u, ddl l.secrets, ddl l.u, ddl schema:l, ddl other:s, admin",
    ),
    (Kind::Ddl, "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'x')", "ddl other:s, ddl other:w, admin"),
    (Kind::Ddl, "ALTER SERVER s OPTIONS (SET host 'y')", "ddl other:s, admin"),
    (
        Kind::Ddl,
        "CREATE FOREIGN DATA WRAPPER w HANDLER s.h VALIDATOR s.v",
        "ddl other:w, call s.h(), call s.v(), admin",
    ),
    (Kind::Dcl, "CREATE USER MAPPING FOR postgres SERVER s OPTIONS (password 'x')", "ddl other:s, dcl role:postgres"),
    (Kind::Dcl, "CREATE USER MAPPING FOR CURRENT_USER SERVER s", "ddl other:s, dcl"),
    (Kind::Dcl, "DROP USER MAPPING FOR u SERVER s", "ddl other:s, dcl role:u"),
    (
        Kind::Ddl,
        "CREATE PUBLICATION p FOR TABLE secrets WHERE (f(a)), TABLES IN SCHEMA hr",
        "select secrets, select hr.*, ddl secrets, ddl schema:hr, ddl other:p, call f(), copy_out secrets, copy_out hr.*, admin",
    ),
    (Kind::Ddl, "CREATE PUBLICATION p FOR ALL TABLES", "select *, ddl other:p, copy_out *, admin"),
    (
        Kind::Ddl,
        "ALTER PUBLICATION p ADD TABLE ONLY s.secrets (a)",
        "select s.secrets, ddl s.secrets, ddl other:p, copy_out s.secrets, admin",
    ),
    (Kind::Ddl, "CREATE SUBSCRIPTION x CONNECTION 'host=y' PUBLICATION p", "ddl other:x, admin"),
    (Kind::Ddl, "ALTER SUBSCRIPTION x DISABLE", "ddl other:x, admin"),
    (Kind::Ddl, "DROP SUBSCRIPTION x", "ddl other:x, admin"),
    (Kind::Dcl, "SECURITY LABEL FOR p ON TABLE s.t IS 'x'", "dcl s.t"),
    (Kind::Dcl, "SECURITY LABEL ON ROLE r IS 'x'", "dcl role:r"),
    (Kind::Ddl, "COMMENT ON TRIGGER g ON s.t IS 'x'", "ddl s.t"),
    (Kind::Ddl, "COMMENT ON CONSTRAINT c ON s.t IS 'x'", "ddl s.t"),
    (Kind::Ddl, "COMMENT ON CONSTRAINT c ON DOMAIN s.d IS 'x'", "ddl other:s.d"),
    (Kind::Ddl, "COMMENT ON CAST (text AS int) IS 'x'", "ddl other:text, ddl other:pg_catalog.int4"),
    (Kind::Ddl, "COMMENT ON OPERATOR CLASS s.c USING btree IS 'x'", "ddl other:s.c"),
    (Kind::Ddl, "COMMENT ON LARGE OBJECT 123 IS 'x'", "ddl other:123"),
    (Kind::Ddl, "COMMENT ON FUNCTION s.f(int) IS 'x'", "ddl s.f()"),
    (Kind::Ddl, "COMMENT ON OPERATOR s.+ (int, int) IS 'x'", "ddl other:s.+"),
    (Kind::Ddl, "COMMENT ON RULE r ON \"a.b\".\"c.d\" IS 'x'", "ddl a.b.c.d"),
    (Kind::Ddl, "ALTER TABLE t SET SCHEMA s", "ddl t, ddl schema:s"),
    (Kind::Ddl, "ALTER VIEW s.v SET SCHEMA u", "ddl s.v, ddl schema:u"),
    (Kind::Ddl, "ALTER SEQUENCE q SET SCHEMA s", "ddl q, ddl schema:s"),
    (Kind::Ddl, "ALTER SEQUENCE q OWNED BY s.secrets.a", "ddl q, ddl s.secrets"),
    (Kind::Ddl, "ALTER TYPE t SET SCHEMA s", "ddl schema:s, ddl other:t"),
    (Kind::Ddl, "ALTER TYPE t ADD ATTRIBUTE a int", "ddl t, ddl other:t"),
    (Kind::Ddl, "ALTER TYPE t RENAME ATTRIBUTE a TO b", "ddl t, ddl other:t"),
    (Kind::Ddl, "ALTER TYPE t SET (SEND = s.f)", "ddl other:t, call s.f()"),
    (Kind::Ddl, "ALTER DOMAIN d ADD CHECK (f(VALUE))", "ddl other:d, call f()"),
    (Kind::Ddl, "ALTER DOMAIN d RENAME CONSTRAINT a TO b", "ddl other:d"),
    (Kind::Ddl, "ALTER EXTENSION e ADD TABLE s.t", "ddl s.t, ddl other:e"),
    (Kind::Ddl, "ALTER EXTENSION e UPDATE", "ddl other:e"),
    (Kind::Ddl, "ALTER INDEX i ATTACH PARTITION s.p", "ddl i, ddl s.p, ddl other:i"),
    (Kind::Ddl, "ALTER INDEX i SET (fillfactor = 10)", "ddl i, ddl other:i"),
    (Kind::Ddl, "ALTER MATERIALIZED VIEW v RENAME TO w", "ddl v, ddl w"),
    (Kind::Ddl, "ALTER MATERIALIZED VIEW v OWNER TO u", "ddl v"),
    (Kind::Ddl, "ALTER TABLE ALL IN TABLESPACE a OWNED BY b SET TABLESPACE c", "ddl, admin"),
    (Kind::Ddl, "ALTER TABLE t CLUSTER ON i", "ddl t"),
    (Kind::Ddl, "ALTER TABLE t OF s.y", "ddl t"),
    (Kind::Ddl, "ALTER TABLE db.s.t ALTER a SET STATISTICS 1", "ddl s.t"),
    (Kind::Ddl, "ALTER TABLE t ADD EXCLUDE USING gist (c WITH OPERATOR(s.&&)) WHERE (f(a))", "ddl t, call f()"),
    (Kind::Ddl, "ALTER TABLE \"s.t\" ADD b int COMPRESSION pglz", "ddl s.t"),
    (Kind::Ddl, "ALTER TABLE t ENABLE REPLICA TRIGGER g", "ddl t"),
    (
        Kind::Ddl,
        "ALTER TABLE t ALTER a ADD GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME s.q OWNED BY x.y.z)",
        "ddl t, ddl s.q, ddl x.y",
    ),
    (Kind::Dcl, "DROP OWNED BY a, CURRENT_USER CASCADE", "ddl, dcl, dcl role:a"),
    (Kind::Dcl, "REASSIGN OWNED BY a TO b", "ddl, dcl role:a, dcl role:b"),
    (Kind::Ddl, "DROP AGGREGATE s.a(int)", "ddl s.a()"),
    (Kind::Ddl, "DROP CAST (text AS s.t)", "ddl other:text, ddl other:s.t"),
    (Kind::Ddl, "DROP OPERATOR s.+ (int, int)", "ddl other:s.+"),
    (Kind::Ddl, "DROP OPERATOR FAMILY s.f USING btree", "ddl other:s.f"),
    (Kind::Ddl, "DROP TRANSFORM FOR s.t LANGUAGE l", "ddl other:l, ddl other:s.t"),
    (Kind::Ddl, "DROP MATERIALIZED VIEW s.v", "ddl s.v"),
    (Kind::Ddl, "DROP FOREIGN TABLE a, s.b", "ddl a, ddl s.b"),
    (Kind::Ddl, "DROP SERVER s", "ddl other:s"),
    (Kind::Ddl, "DROP TABLESPACE x", "ddl other:x, admin"),
    (Kind::Ddl, "DROP TEXT SEARCH DICTIONARY s.d", "ddl other:s.d"),
    (Kind::Ddl, "DROP STATISTICS s.x", "ddl other:s.x"),
    (Kind::Ddl, "DROP TRIGGER g ON \"a.b\".\"c.d\"", "ddl a.b.c.d"),
    (Kind::Ddl, "DROP DATABASE d WITH (FORCE)", "ddl database:d"),
    (Kind::Ddl, "CREATE DATABASE d TEMPLATE hr OWNER u", "ddl database:d, ddl database:hr"),
    (Kind::Ddl, "CREATE DATABASE d TEMPLATE 'hr'", "ddl database:d, ddl database:hr"),
    (Kind::Ddl, "ALTER DATABASE d SET role = 'x'", "ddl database:d, set_unsafe @role"),
    (Kind::Ddl, "ALTER DATABASE d RENAME TO e", "ddl database:d, ddl database:e"),
    (Kind::Dcl, "ALTER ROLE ALL SET search_path = 'x'", "dcl role:all, session @search_path"),
    (Kind::Dcl, "ALTER USER CURRENT_USER SET search_path = 'x'", "dcl role:current_user, session @search_path"),
    (
        Kind::Dcl,
        "ALTER ROLE r IN DATABASE d SET standard_conforming_strings = off",
        "dcl role:r, set_unsafe @standard_conforming_strings",
    ),
    (Kind::Dcl, "ALTER GROUP g ADD USER u, v", "dcl role:g, dcl role:u, dcl role:v"),
    (Kind::Dcl, "CREATE GROUP g WITH USER a SYSID 3", "dcl role:a, dcl role:g"),
    (Kind::Admin, "ALTER SYSTEM SET archive_command = 'x'", "session @archive_command, admin"),
    (
        Kind::Admin,
        "ALTER SYSTEM SET standard_conforming_strings = off",
        "set_unsafe @standard_conforming_strings, admin",
    ),
    (Kind::Admin, "ALTER SYSTEM RESET ALL", "session @all, admin"),
    (Kind::Admin, "LOAD 'x'", "admin"),
    (Kind::Ddl, "CREATE TABLESPACE x LOCATION '/tmp'", "ddl other:x, admin"),
    (Kind::Dcl, "GRANT SET ON PARAMETER x TO r", "dcl"),
    (Kind::Dcl, "GRANT SELECT (a) ON s.t TO r WITH GRANT OPTION GRANTED BY q", "dcl s.t"),
    (Kind::Dcl, "GRANT USAGE ON FOREIGN SERVER s TO r", "dcl"),
    (Kind::Dcl, "GRANT SELECT ON LARGE OBJECT 12 TO r", "dcl"),
    (Kind::Dcl, "GRANT ALL ON ALL ROUTINES IN SCHEMA s TO r", "dcl schema:s"),
    (Kind::Dcl, "GRANT EXECUTE ON PROCEDURE s.p(int) TO r", "dcl s.p()"),
    (Kind::Dcl, "GRANT a TO b WITH ADMIN OPTION GRANTED BY c", "dcl role:a"),
    (Kind::Session, "SET LOCAL SESSION AUTHORIZATION x", "set_unsafe @session_authorization"),
    (Kind::Session, "SET SESSION SESSION AUTHORIZATION DEFAULT", "set_unsafe @session_authorization"),
    (Kind::Session, "SET SCHEMA 's'", "session @search_path"),
    (Kind::Session, "SET NAMES 'SJIS'", "set_unsafe @client_encoding"),
    (Kind::Session, "SET XML OPTION DOCUMENT", "session @xmloption"),
    (Kind::Session, "SET TRANSACTION SNAPSHOT 'x'", "session"),
    (
        Kind::Session,
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "session, session @default_transaction_read_only",
    ),
    (Kind::Session, "RESET SESSION AUTHORIZATION", "set_unsafe @session_authorization"),
    (Kind::Session, "RESET TIME ZONE", "session @timezone"),
    (Kind::Transaction, "BEGIN TRANSACTION READ ONLY, READ WRITE", "session, session @transaction_read_only"),
    (Kind::Transaction, "PREPARE TRANSACTION 'x'", "session, admin"),
    (Kind::Transaction, "COMMIT PREPARED 'x'", "session, admin"),
    (Kind::Transaction, "ROLLBACK PREPARED 'x'", "session, admin"),
    (Kind::Transaction, "ROLLBACK TO SAVEPOINT s", "session"),
    (Kind::Session, "SET CONSTRAINTS s.c IMMEDIATE", "session, session @constraints"),
    (Kind::Admin, "REINDEX TABLE CONCURRENTLY secrets", "admin secrets"),
    (Kind::Admin, "REINDEX (VERBOSE) TABLE s.secrets", "admin s.secrets"),
    (Kind::Admin, "CLUSTER s.t USING i", "admin s.t"),
    (Kind::Admin, "CLUSTER (VERBOSE) t", "admin t"),
    (Kind::Admin, "VACUUM (FULL, PARALLEL 2) s.t (a)", "admin s.t"),
    (Kind::Admin, "ANALYZE VERBOSE s.t (a), u", "admin u, admin s.t"),
    (Kind::Admin, "LOCK TABLE ONLY s.t IN EXCLUSIVE MODE NOWAIT", "admin s.t"),
    (Kind::Admin, "LOCK s.t", "admin s.t"),
    (Kind::Admin, "REFRESH MATERIALIZED VIEW CONCURRENTLY s.v WITH NO DATA", "admin s.v"),
    (Kind::Admin, "NOTIFY x", "admin"),
    (
        Kind::Explain,
        "EXPLAIN ANALYZE CREATE TABLE n AS SELECT * FROM secrets WITH NO DATA",
        "select secrets, insert n, ddl n",
    ),
    (Kind::Explain, "EXPLAIN (ANALYZE) DECLARE c CURSOR FOR SELECT * FROM secrets", "select secrets, session"),
    (Kind::Ddl, "CREATE RECURSIVE VIEW v (a) AS SELECT a FROM secrets", "select secrets, select v, ddl v"),
    (Kind::Ddl, "CREATE MATERIALIZED VIEW v AS SELECT a FROM secrets WITH NO DATA", "select secrets, ddl v"),
    (Kind::Ddl, "CREATE TABLE t (a) AS SELECT 1 FROM secrets WITH NO DATA", "select secrets, insert t, ddl t"),
    (Kind::Ddl, "CREATE TABLE t (LIKE secrets INCLUDING ALL EXCLUDING INDEXES)", "select secrets, ddl t"),
    (
        Kind::Ddl,
        "CREATE TABLE t PARTITION OF s.p FOR VALUES FROM (f(1)) TO (MAXVALUE) PARTITION BY LIST (g(a))",
        "ddl t, ddl s.p, call f(), call g(), call list()",
    ),
    (Kind::Ddl, "CREATE TABLE t OF s.y", "ddl t"),
    (Kind::Ddl, "CREATE TABLE t (a int) USING heap TABLESPACE x", "ddl t"),
    (Kind::Ddl, "CREATE INDEX ON s.t USING gist (a s.ops (x = 1)) INCLUDE (b) TABLESPACE x", "ddl s.t"),
    (Kind::Ddl, "CREATE POLICY p ON t FOR SELECT TO r USING (EXISTS (SELECT 1 FROM secrets))", "select secrets, ddl t"),
    (Kind::Ddl, "ALTER POLICY p ON s.t USING (f(a) IN (SELECT b FROM secrets))", "select secrets, ddl s.t, call f()"),
    (Kind::Copy, "COPY x FROM STDIN WHERE a IN (1) AND f(a)", "select x, insert x, call f(), copy_in x"),
    (Kind::Copy, "COPY (SELECT f(VARIADIC a) FROM s.t) TO PROGRAM 'id'", "select s.t, call f(), copy_out s.t, admin"),
    (Kind::Copy, "COPY (DELETE FROM t RETURNING f(VARIADIC a)) TO STDOUT", "select t, delete t, call f(), copy_out t"),
    (Kind::Prepare, "DEALLOCATE p", "session"),
    (
        Kind::Select,
        "SELECT f(VARIADIC a), 'secrets'::regclass, '{x}'::regclass[], o.touch, (o).feel FROM o",
        "select o, select secrets where, call f(), call regclass()",
    ),
    (
        Kind::Select,
        "SELECT f(VARIADIC a), pg_get_viewdef('hr.v'), current_setting('x'), to_regclass(b), has_table_privilege('u', 't', 's')",
        "select t where, select hr.v where, select pg_catalog.pg_settings where, call f()",
    ),
    (Kind::Select, "SELECT f(VARIADIC a), lower(b), EXTRACT(year FROM c)", "call f()"),
    (Kind::Select, "SELECT f(VARIADIC a) INTO n FROM t", "select t, insert n, ddl n, call f()"),
    (Kind::Update, "UPDATE t SET a[1] = 2 WHERE CURRENT OF c RETURNING *", "select t, update t where"),
    (Kind::Dcl, "ALTER DEFAULT PRIVILEGES FOR ROLE r GRANT EXECUTE ON FUNCTIONS TO x", "dcl"),
];

#[test]
fn a_command_that_the_parser_cannot_read_is_judged_in_full() {
    for (kind, text, expected) in BY_THE_GRAMMAR {
        let found = facts(text);
        assert_eq!((found.kind, effects(text)), (*kind, (*expected).to_owned()), "{text}: {:?}", found.problem);
    }
}

#[test]
fn a_query_in_a_command_is_read_whatever_stands_around_it() {
    for query in ["SELECT val FROM hr.secrets", "TABLE hr.secrets", "SELECT 1 UNION (SELECT val FROM hr.secrets)"] {
        for (before, after) in [
            ("CREATE VIEW v AS ", " WITH CHECK OPTION"),
            ("CREATE MATERIALIZED VIEW v USING heap AS ", " WITH NO DATA"),
            ("CREATE TABLE n (a) AS ", " WITH NO DATA"),
            ("CREATE TABLE n (a int DEFAULT f(VARIADIC ARRAY[1])) PARTITION BY LIST ((f((", "))))"),
            ("CREATE RULE r AS ON SELECT TO v DO INSTEAD ", ""),
            ("CREATE RULE r AS ON DELETE TO v WHERE EXISTS (", ") DO ALSO NOTHING"),
            ("CREATE POLICY p ON t FOR SELECT USING (a = (", "))"),
            ("ALTER POLICY p ON t WITH CHECK (a = (", "))"),
            ("ALTER TABLE t ALTER a SET EXPRESSION AS ((", "))"),
            ("ALTER DOMAIN d SET DEFAULT (", ")"),
            ("CREATE TRIGGER g BEFORE UPDATE ON t REFERENCING OLD AS o WHEN (a = (", ")) EXECUTE FUNCTION f()"),
            ("CREATE INDEX i ON t USING gist (((", ")) s.ops)"),
            ("CREATE STATISTICS s ON ((", ")), b FROM t"),
            ("CREATE PUBLICATION p FOR TABLE t WHERE (a = (", "))"),
            ("CREATE FUNCTION f(a int DEFAULT (", ")) RETURNS int LANGUAGE c AS 'a', 'b'"),
            ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC ", "; END"),
            ("CREATE SCHEMA s CREATE VIEW v AS ", " CREATE TABLE t (a int)"),
            ("EXPLAIN ANALYZE CREATE MATERIALIZED VIEW v AS ", " WITH NO DATA"),
            ("DECLARE c CURSOR FOR SELECT f(VARIADIC a) FROM (", ") x"),
            ("CALL p(VARIADIC ARRAY[(", ")])"),
            ("COPY t FROM STDIN WHERE a = (", ")"),
            ("COPY (", ") TO PROGRAM 'id' (FORMAT csv, FORCE_QUOTE *)"),
            ("CREATE TABLE t PARTITION OF p FOR VALUES IN ((", ")) TABLESPACE x"),
        ] {
            let text = format!("{before}{query}{after}");
            // Some of these the server refuses later on, and some the grammar does.
            let found = effects(&text);
            assert!(found.contains("select hr.secrets") || found.contains("unparsed"), "{text}: {found}");
        }
    }
}

#[test]
fn functions_and_attributes_are_named_for_the_catalog_to_know() {
    let found = facts("SELECT f(VARIADIC a), lower(b), o.touch, (o).feel, EXTRACT(year FROM c) FROM o");
    assert_eq!(found.functions, ["f", "lower"]);
    assert_eq!(found.touch(0).columns, ["feel", "touch"]);
    assert!(found.touched.iter().all(|touch| touch.all_columns && !touch.where_binds));
    for (text, functions) in [
        (
            "SELECT substr(a, 1), substring(a, 1), ceil(a), floor(a) FROM t",
            &["ceil", "floor", "substr", "substring"][..],
        ),
        ("SELECT * FROM unnest(a)", &["unnest"]),
        ("CREATE INDEX i ON t (lower(a))", &["lower"]),
    ] {
        assert_eq!(facts(text).functions, functions, "{text}");
    }
}

#[test]
fn a_string_with_unicode_escapes_is_read_as_the_server_decodes_it() {
    for (text, expected) in [
        ("SELECT regclass U&'s\\0065crets'", "select secrets where"),
        ("SELECT regclass U&'s!0065crets' UESCAPE '!'", "select secrets where"),
        ("SELECT U&'\\0073.t'::regclass, u&'a' FROM u; TABLE v", "select u, select v, select s.t where"),
        ("SELECT f(U&'!+000061''; DROP TABLE x; --' UESCAPE '!') FROM t", "select t, call f()"),
        ("COMMENT ON TABLE t IS U&'\\\\'; DROP TABLE x", "ddl t, ddl x"),
        ("SET client_encoding = U&'\\0053JIS'", "set_unsafe @client_encoding"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
    for text in ["SELECT U&'\\00'", "SELECT U&'x' UESCAPE 'a'", "SELECT U&'\\D800'", "SELECT U&\"t\"", "TABLE U&\"t\""]
    {
        assert_unparsed(text);
    }
}

#[test]
fn what_a_command_hides_from_the_first_reader_is_not_hidden() {
    for (text, expected) in [
        // The parser takes the table for a column of the name `like`.
        ("CREATE TABLE t (a int, LIKE secrets)", "select secrets, ddl t"),
        ("CREATE TABLE t (a int, \"like\" text)", "ddl t"),
        ("CREATE TYPE s.t (INPUT = f, OUTPUT = s.lo_export)", "ddl other:s.t, call f(), call s.lo_export()"),
        ("ALTER FUNCTION f() SET role TO postgres", "ddl f(), set_unsafe @role"),
        ("CREATE ROLE app_x IN ROLE postgres", "dcl role:app_x, dcl role:postgres"),
        ("ALTER INDEX hr.secrets RENAME TO x", "ddl hr.secrets, ddl hr.x, ddl other:hr.secrets"),
        ("CREATE FUNCTION lower(int) RETURNS int LANGUAGE internal AS 'pg_read_file'", "ddl lower(), admin"),
    ] {
        assert_eq!(effects(text), expected, "{text}");
    }
}

#[test]
fn a_command_that_is_cut_short_or_doubled_ends_no_reader() {
    let whole = BY_THE_GRAMMAR.iter().map(|(_, text, _)| *text).chain(READ_BY_BOTH.iter().copied());
    for text in whole {
        for (at, _) in text.char_indices().step_by(5) {
            facts(text.split_at(at).0);
        }
        let twice = facts(&format!("{text};{text}"));
        assert!(twice.statement_count >= 2, "{text}");
    }
    assert_unparsed(&format!("CREATE VIEW v AS SELECT f(VARIADIC a){}", " || b".repeat(500)));
    assert_unparsed(&format!("CREATE VIEW v AS SELECT {}1{}", "(".repeat(3_000), ")".repeat(3_000)));
    let many: Vec<String> = (0..2_000).map(|at| format!("t{at}")).collect();
    assert_eq!(facts(&format!("ALTER PUBLICATION p SET TABLE {}", many.join(","))).kind, Kind::Ddl);
}
