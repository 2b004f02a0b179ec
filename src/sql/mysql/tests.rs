//! What texts of MySQL do, and that none does harm.

use crate::model::{Action, Facts, Kind, SqlText};
use crate::sql::other::testing;
use crate::sql::{Dialect, MAX_STATEMENTS, MAX_TEXT_BYTES, read};

fn facts(text: &str) -> Facts {
    read(&SqlText::from(text), Dialect::MySql)
}

fn effects(text: &str) -> String {
    testing::effects(text, Dialect::MySql)
}

fn assert_effects(cases: &[(&str, &str)]) {
    testing::assert_effects(cases, Dialect::MySql);
}

fn assert_unparsed(text: &str) {
    testing::assert_unparsed(text, Dialect::MySql);
}

#[test]
fn what_servers_cut_in_two_ways_is_refused() {
    for text in [
        "SELECT 1 /*M! + 1 */",
        "SELECT 1 /*!99999 + 1 */",
        "SELECT 1 /*!100000 + 1 */",
        "SELECT 1 /*!50700 + 1 */",
        "SELECT 1 /*!500001 +1 */",
        "SELECT 1 /*!+1 */",
        "SELECT 1 /*! + /* x */ 1 */",
        "SELECT 1 /*! + 1 # x */\n */",
        "SELECT 1 /*! + '*/' */",
        "SELECT 1 /*! + 1",
        "SELECT 1 */ 2",
        "SELECT /*+ SET_VAR(sql_mode='') */ 1",
        "SELECT 1 /* /* */",
        "SELECT 1 /*",
        "SELECT '\\'', val FROM secrets -- '",
        "SELECT 'a\\'",
        "SELECT \"a\\\" b\"",
        "SELECT 'a",
        "SELECT x'4'",
        "SELECT x'\\'",
        "SELECT 1e1x",
        "SELECT 1x FROM t",
        "SELECT a.1b FROM a",
        "SELECT t.5 FROM t",
        "SELECT 0X41",
        "SELECT 1=!0",
        "SELECT \\N",
        "SELECT @ a",
        "SELECT {fn now()}",
        "SELECT `a ` FROM t",
        "SELECT `` FROM t",
        "SELECT \u{17f}sn FROM people",
        "SELECT `\u{17f}sn` FROM people",
        "SELECT\u{a0}1",
        "SELECT 1 \u{1} + 1",
        "SELECT 1 \0",
        "SELECT count (1)",
    ] {
        assert_unparsed(text);
    }
    let bytes = SqlText::new(bytes::Bytes::from_static(b"SELECT '\x83\\'"));
    assert_eq!(read(&bytes, Dialect::MySql).kind, Kind::Unparsed);
}

#[test]
fn comments_and_strings_end_where_the_server_ends_them() {
    assert_effects(&[
        ("SELECT 1--1, val FROM secrets", "select secrets"),
        ("SELECT 1 -- x\r, 2\n, val FROM secrets", "select secrets"),
        ("SELECT 1 # x\r, 2\n, val FROM secrets", "select secrets"),
        ("SELECT 1--", ""),
        ("SELECT 1 /*!40101 , val FROM secrets */", "select secrets"),
        ("SELECT 1 /*! , val FROM secrets */", "select secrets"),
        ("SELECT 'a\\\\', val FROM secrets", "select secrets"),
        ("SELECT 'it''s' 'more' \"of it\", val FROM secrets", "select secrets"),
        ("SELECT 1 \u{b}, val\u{c}FROM secrets", "select secrets"),
        ("SELECT `a``b` FROM `t`", "select t"),
        ("SELECT $a, a$b FROM t$", "select t$"),
        ("SELECT N'a', x'4A', b'01', 0x4a, 0b01, .5, 1., 1e5, _utf8mb4'x', ?", ""),
    ]);
}

#[test]
fn statements_are_what_semicolons_end() {
    for (text, count) in [("SELECT 1; SELECT 2;", 2), ("SELECT 1; -- ;\n SELECT ';'", 2), (";;", 0), ("# x", 0)] {
        assert_eq!((facts(text).statement_count, facts(text).problem), (count, None), "{text}");
    }
    assert_eq!(facts("-- x").kind, Kind::Empty);
    assert_unparsed("SELECT 1 END, val FROM secrets");
    assert_unparsed("SELECT 1 END; DELETE FROM accounts");
    assert!(effects("SELECT 1 END; DELETE FROM accounts").contains("delete accounts"));
    assert_unparsed("CREATE PROCEDURE p() BEGIN DELETE FROM accounts; END");
    assert_unparsed("DELIMITER //");
    assert_unparsed("SELECT 1 INTO x FROM t");
}

#[test]
fn queries_and_changes_name_what_they_touch() {
    assert_effects(&[
        ("SELECT * FROM lab.t", "select lab.t"),
        ("TABLE t", "select t"),
        ("SELECT * FROM (TABLE t) x", "select t"),
        ("SELECT * FROM dual", ""),
        ("SELECT * FROM t FOR UPDATE", "select t, update t"),
        ("SELECT * FROM t LOCK IN SHARE MODE", "select t, update t"),
        ("SELECT * FROM t LIMIT 5, 10", "select t"),
        ("SELECT a FROM t STRAIGHT_JOIN u WHERE MATCH (a) AGAINST ('x')", "select t where, select u where"),
        ("SELECT INTERVAL(3, 1, 2), NOW() - INTERVAL 1 DAY, 5 MOD 2, 5 DIV 2, 1 XOR 0, a RLIKE 'b' FROM t", "select t"),
        ("SELECT CONVERT('a' USING utf8mb4), CAST(1 AS UNSIGNED), BINARY 'a', 1 MEMBER OF ('[]')", ""),
        ("WITH RECURSIVE a AS (SELECT * FROM s), s AS (SELECT 1) SELECT * FROM a", "select s"),
        ("WITH RECURSIVE a AS (SELECT 1 UNION SELECT * FROM a) SELECT * FROM a", ""),
        ("INSERT INTO t SET a = 1", "insert t"),
        ("INSERT IGNORE INTO t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)", "insert t, update t"),
        ("INSERT INTO t VALUES (1) AS n ON DUPLICATE KEY UPDATE a = n.a", "insert t, update t"),
        ("REPLACE INTO t SELECT * FROM u", "delete t, insert t, select u"),
        ("INSERT INTO t VALUES (1) RETURNING a", "insert t, select t where"),
        ("UPDATE LOW_PRIORITY t SET a = 1 ORDER BY a LIMIT 1", "update t"),
        ("UPDATE t, u SET t.a = u.a WHERE t.b = 1", "select t where, select u where, update t where"),
        ("UPDATE t JOIN u USING (i) SET a = 1", "select t, select u, update t, update u"),
        ("DELETE QUICK FROM t WHERE a = 1", "delete t where, select t where"),
        ("DELETE a FROM t a JOIN u ON 1", "delete t, select t, select u"),
        ("DELETE FROM a USING t a JOIN u ON 1", "delete t, select t, select u"),
        ("TRUNCATE lab.t", "delete lab.t"),
        ("CREATE TABLE t (a INT AUTO_INCREMENT PRIMARY KEY, b ENUM('x'), KEY k (b)) ENGINE=InnoDB", "ddl t"),
        ("CREATE TABLE t LIKE u", "ddl t, select u"),
        ("CREATE TABLE t SELECT * FROM u", "ddl t, insert t, select u"),
        ("RENAME TABLE a TO b, c TO d", "ddl a, ddl b, ddl c, ddl d"),
        ("ALTER TABLE a RENAME TO b", "ddl a, ddl b"),
        ("DROP INDEX i ON t", "ddl other:i, ddl t"),
    ]);
    assert_unparsed("SELECT * FROM openjson('x')");
    assert_unparsed("CREATE TABLE t (a INT) DATA DIRECTORY='/tmp'");
    assert_unparsed("CREATE TABLE t (a INT) ENGINE=CONNECT");
}

#[test]
fn what_reaches_files_the_server_or_other_sessions_is_told() {
    assert_effects(&[
        ("SELECT * FROM t INTO OUTFILE '/tmp/x'", "admin, copy_out t, select t"),
        ("SELECT a INTO DUMPFILE '/tmp/x' FROM t", "admin, copy_out t, select t"),
        ("SELECT a FROM t INTO @a, @b", "select t, session @@a, session @@b"),
        ("SELECT a INTO @a FROM t", "select t, session @@a"),
        ("SELECT @a := 1", "session @@a"),
        ("SELECT @@sql_mode, @@session.autocommit", ""),
        ("SELECT @@datadir", "select performance_schema.session_variables where"),
        ("LOAD DATA LOCAL INFILE 'x' REPLACE INTO TABLE t (a, @b)", "admin, copy_in t, delete t, insert t"),
        ("SELECT LOAD_FILE('x'), SLEEP(1), BENCHMARK(1, 1)", "call benchmark(), call load_file(), call sleep()"),
        ("DO RELEASE_LOCK('x'), (SELECT 1 FROM t)", "call release_lock(), select t"),
        ("SELECT app.lower('x')", "call app.lower()"),
        ("SELECT NEXTVAL(lab.s)", "call nextval(), select lab.s where"),
        ("CALL app.p(1)", "call app.p()"),
        ("HANDLER t READ FIRST", "select t"),
        ("LOCK TABLES t READ, lab.u AS x WRITE", "admin lab.u, admin t"),
        ("OPTIMIZE TABLE t, u", "admin t, admin u"),
        ("FLUSH TABLES WITH READ LOCK", "admin"),
        ("KILL QUERY 5", "admin"),
        ("GRANT SELECT ON lab.t TO 'x'@'%'", "dcl, dcl lab.t"),
        ("CREATE USER x@y", "dcl"),
        ("PREPARE p FROM 'DELETE FROM t'", "delete t"),
        ("EXPLAIN ANALYZE DELETE FROM t", "delete t"),
        ("DESC t", "select t where"),
        ("SHOW COLUMNS FROM t FROM lab", "select lab.t where"),
        ("SHOW CREATE TABLE t", "select t where"),
        ("SHOW TABLES WHERE (SELECT 1 FROM t)", "select information_schema.tables where, select t"),
        ("SHOW PROCESSLIST", "select information_schema.processlist where"),
        ("SHOW BINARY LOGS", "admin"),
    ]);
    assert_unparsed("PREPARE p FROM @a");
    assert_unparsed("EXECUTE p");
    assert_unparsed("EXECUTE IMMEDIATE 'SELECT 1'");
    assert_unparsed("LOAD DATA INFILE 'x' INTO TABLE t SET a = (SELECT 1)");
}

#[test]
fn settings_that_change_reading_or_identity_are_set_apart() {
    assert_effects(&[
        ("SET NAMES utf8mb4", "session @names"),
        ("SET NAMES 'gbk'", "set_unsafe @names"),
        ("SET CHARACTER SET sjis", "set_unsafe @names"),
        ("SET sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_DATE'", "session @sql_mode"),
        ("SET SESSION sql_mode = 'ANSI_QUOTES'", "set_unsafe @sql_mode"),
        ("SET @@sql_mode := CONCAT(@@sql_mode, ',ANSI')", "set_unsafe @sql_mode"),
        ("SET @@session.`sql_mode` = DEFAULT", "set_unsafe @sql_mode"),
        ("SET autocommit = 0, @a = (SELECT 1 FROM t)", "select t, session @@a, session @autocommit"),
        ("SET GLOBAL max_connections = 5", "admin, session @max_connections"),
        ("SET @@GLOBAL.max_connections = 5", "admin, session @max_connections"),
        ("SET TRANSACTION READ ONLY", "session @transaction_read_only"),
        ("SET ROLE x", "set_unsafe @role"),
        ("SET PASSWORD = 'x'", "dcl"),
        ("USE lab", "session @database"),
        ("START TRANSACTION READ WRITE", "session, session @transaction_read_only"),
        ("/*!40103 SET TIME_ZONE='+00:00' */", "session @time_zone"),
    ]);
    assert_unparsed("SET STATEMENT sql_mode='' FOR SELECT 1");
}

#[test]
fn a_table_is_named_in_each_spelling_and_a_column_in_lower_case() {
    assert_effects(&[
        ("SELECT * FROM Lab.Orders", "select Lab.Orders, select Lab.orders, select lab.Orders, select lab.orders"),
        ("SELECT * FROM `orders`", "select orders"),
    ]);
    let read = facts("SELECT P.`SSN`, \"Mail\" FROM people P WHERE ID = 1");
    assert_eq!(read.touch(0).columns, ["id", "mail", "ssn"]);
    assert_eq!(read.touch(0).where_columns, ["id"]);
    assert_eq!(facts("SELECT _ssn 'x', DATE '2026-11-26' FROM people").touch(0).columns, ["_ssn"]);
    assert_unparsed("SELECT json 'x' FROM people");
    assert_unparsed("SELECT * FROM aBC, AbC, ABc, abC, Abc");
    let [one, other] = ["select A from T -- x", "SELECT  a /* y */ FROM t"].map(|text| facts(text).fingerprint);
    assert!(one.is_some() && one == other);
    let [one, other] =
        ["SELECT 'a', \"b\", 0x1 FROM t", "SELECT 'c', \"d\", 5 FROM t"].map(|text| facts(text).fingerprint);
    assert_eq!(one, other);
}

#[test]
fn a_change_is_tied_only_by_a_value() {
    let ties = |text: &str| {
        facts(text).effects.iter().enumerate().any(|(at, effect)| {
            matches!(effect.action, Action::Update | Action::Delete) && facts(text).touch(at).where_binds
        })
    };
    for text in ["DELETE FROM t WHERE id = ?", "UPDATE t a JOIN u ON a.i = u.i SET a.x = 1 WHERE a.id = @a"] {
        assert!(ties(text), "{text}");
    }
    for text in [
        "DELETE FROM t",
        "DELETE FROM t WHERE id = 1 || 2",
        "DELETE FROM t WHERE @a = 1",
        "UPDATE t JOIN u SET t.a = 1 WHERE id = 1",
        "REPLACE INTO t VALUES (1)",
    ] {
        assert!(!ties(text), "{text}");
    }
}

#[test]
fn texts_made_to_kill_end_in_an_answer() {
    let repeated =
        |before: &str, part: &str, times: usize, after: &str| before.to_owned() + &part.repeat(times) + after;
    for text in [
        repeated("SELECT ", "(", 50_000, ""),
        repeated("SELECT ", "(", 5_000, "1") + &")".repeat(5_000),
        repeated("SELECT 1", " + 1", 60_000, ""),
        repeated("SELECT 1", " || 1", 9_000, ""),
        repeated("SELECT 1", " AND 1", 9_000, ""),
        repeated("SELECT 1", " UNION SELECT 1", 5_000, ""),
        repeated("SELECT ", "NOT ", 9_000, "1"),
        repeated("SELECT ", "-", 9_000, "1"),
        repeated("", "EXPLAIN ", 9_000, "SELECT 1"),
        repeated("SELECT ", "'a' ", 9_000, ""),
        repeated("SELECT * FROM t", ", t", 9_000, ""),
        repeated("UPDATE t", ", t", 9_000, " SET a = 1"),
        repeated("SET a = 1", ", a = 1", 4_000, ""),
        repeated("SELECT /*! ", "1 + ", 9_000, "1 */"),
        repeated("", "/**/", 60_000, ""),
        repeated("SELECT '", "\\\\", 60_000, "'"),
        repeated("", ";", 60_000, ""),
        repeated("", "SELECT 1;", MAX_STATEMENTS + 1, ""),
        repeated("", "x", MAX_TEXT_BYTES + 1, ""),
        repeated("SELECT a", ".a", 9_000, ""),
        repeated("SELECT ", "CASE WHEN 1 THEN ", 3_000, "1"),
        repeated("SELECT * FROM ", "(SELECT * FROM ", 3_000, "t"),
    ] {
        assert_eq!(facts(&text), facts(&text));
    }
}
