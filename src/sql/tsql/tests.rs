//! What batches of Transact-SQL do, and that none does harm.

use crate::model::{Action, Facts, SqlText};
use crate::sql::other::testing;
use crate::sql::{Dialect, MAX_STATEMENTS, MAX_TEXT_BYTES, read};

fn facts(text: &str) -> Facts {
    read(&SqlText::from(text), Dialect::TSql)
}

fn assert_effects(cases: &[(&str, &str)]) {
    testing::assert_effects(cases, Dialect::TSql);
}

fn assert_unparsed(text: &str) {
    testing::assert_unparsed(text, Dialect::TSql);
}

#[test]
fn what_may_be_cut_in_two_ways_is_refused() {
    for text in [
        "SELECT 1a",
        "SELECT 1FROM t",
        "SELECT 1 -- x\r, 2",
        "SELECT 1 /* /* */",
        "SELECT 'a",
        "SELECT [a",
        "SELECT [secrets ] FROM t",
        "SELECT [] FROM t",
        "SELECT * FROM \u{ff53}ecrets",
        "SELECT * FROM [\u{ff53}ecrets]",
        "SELECT\u{a0}1",
        "SELECT 1 \u{1}",
        "SELECT 1 \0",
        "SELECT {fn now()}",
        "SELECT a\\b",
        "SELECT $x",
        "SELECT ?",
    ] {
        assert_unparsed(text);
    }
}

#[test]
fn comments_quotes_and_names_end_where_the_server_ends_them() {
    assert_effects(&[
        ("SELECT 1 /* /* */ , * */ FROM secrets", "select secrets"),
        ("SELECT [a]]b], 'a''b', N'c' FROM [dbo].[t]", "select dbo.t"),
        ("SELECT \"a\"\"b\" FROM \"t\"", "select t"),
        ("SELECT 1 --x\n FROM t", "select t"),
        ("SELECT $1.50, 0x1F, .5, 1., 1e5, @@SPID FROM t", "select t"),
        ("SELECT * FROM #t, ##g", "select ##g, select #t"),
    ]);
}

#[test]
fn a_word_that_begins_a_statement_begins_one_without_anything_before_it() {
    assert_effects(&[
        ("SELECT 1 DELETE FROM t", "delete t"),
        ("SELECT 1 SELECT * FROM t", "select t"),
        ("SELECT 1\nGO\nSELECT * FROM t", "select t"),
        ("SELECT 1 SHUTDOWN", "admin"),
        ("SELECT a FROM t REVERT", "select t, set_unsafe @user"),
        ("SELECT a FROM t KILL 5", "admin, select t"),
        ("INSERT t VALUES (1) SELECT * FROM u", "insert t, select u"),
        ("INSERT t SELECT * FROM u", "insert t, select u"),
        ("INSERT t DEFAULT VALUES DELETE u", "delete u, insert t"),
        ("UPDATE t SET a = 1 SET NOCOUNT ON", "session @nocount, update t"),
        ("SET NOCOUNT ON SELECT * FROM t", "select t, session @nocount"),
        ("DECLARE @a int = (SELECT 1 FROM t) SELECT @a", "select t"),
        ("IF EXISTS (SELECT 1 FROM t) DELETE u ELSE UPDATE v SET a = 1", "delete u, select t, update v"),
        ("IF 1 = 0 RETURN SHUTDOWN", "admin"),
        ("WHILE 1 = 1 BEGIN SELECT * FROM t BREAK END DELETE u", "delete u, select t"),
        ("BEGIN TRY SELECT * FROM t END TRY BEGIN CATCH DELETE u END CATCH", "delete u, select t"),
        ("SELECT CASE WHEN 1 = 1 THEN 1 END DELETE t", "delete t"),
        ("again: SELECT * FROM t GOTO again", "select t"),
        (
            "MERGE t USING u ON t.a = u.a WHEN MATCHED THEN UPDATE SET b = 1 WHEN NOT MATCHED THEN INSERT VALUES (1);",
            "insert t, select t, select u, update t",
        ),
        ("SELECT a FROM t ORDER BY a OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY", "select t"),
        ("DROP TABLE IF EXISTS t DROP TABLE u", "ddl t, ddl u"),
        ("WITH x AS (SELECT * FROM t) INSERT u SELECT * FROM x", "insert u, select t"),
        ("GRANT SELECT, DELETE ON t TO u DELETE v", "dcl, dcl t, delete v"),
        ("COMMIT TRAN SELECT * FROM t", "select t, session"),
    ]);
    for text in [
        "SELECT 1 END, * FROM t",
        "BEGIN SELECT 1",
        "END",
        "SELECT a FROM t READ",
        "SELECT 1 AS top FROM t TOP",
        "IF DELETE t",
        "IF 1 = 1 WITH x AS (SELECT 1 a) DELETE t",
        "GOTO DELETE FROM t",
        "CREATE PROCEDURE p AS DELETE t",
        "ENABLE TRIGGER x ON t",
        "SEND ON CONVERSATION @h",
        "SELECT * FROM t AS x (NOLOCK)",
    ] {
        assert_unparsed(text);
    }
    assert_eq!(facts("SELECT 1 SELECT 2; SELECT 3").statement_count, 3);
}

#[test]
fn changes_name_their_table_under_its_alias_too() {
    assert_effects(&[
        ("DELETE t", "delete t"),
        ("DELETE a FROM t a JOIN u ON 1 = 1", "delete t, select t, select u"),
        (
            "DELETE a OUTPUT u.x FROM t a JOIN u ON 1 = 1 WHERE a.i = 1",
            "delete t where, select t where, select u where",
        ),
        ("DELETE TOP ((SELECT 1 FROM v)) PERCENT FROM t", "delete t, select v"),
        ("DELETE t OUTPUT deleted.a INTO log", "delete t, insert log, select t"),
        ("UPDATE TOP (1) t SET a += 1", "update t"),
        ("UPDATE a SET x = 1 FROM t AS a WHERE a.i = 1", "select t where, update t where"),
        ("UPDATE t SET x = u.x OUTPUT inserted.x FROM u", "select t, select u, update t"),
        ("INSERT t OUTPUT inserted.a VALUES (1)", "insert t, select t where"),
        ("INSERT t (a) EXEC p 1", "call p(), insert t"),
        ("SELECT * INTO #x FROM t", "ddl #x, insert #x, select t"),
        ("SELECT * FROM t WITH (UPDLOCK)", "select t, update t"),
        ("SELECT * FROM t WITH (NOLOCK, INDEX(i))", "select t"),
        ("SELECT * FROM t a CROSS APPLY (SELECT a.x FROM u) b", "select t, select u"),
        ("SELECT * FROM t FOR JSON AUTO", "select t"),
        ("SELECT TOP (5) * FROM t OPTION (RECOMPILE)", "select t"),
        ("TRUNCATE TABLE dbo.t", "delete dbo.t"),
        ("BULK INSERT t FROM 'x'", "admin, copy_in t, insert t"),
        ("DECLARE @t TABLE (a int) INSERT @t SELECT a FROM u SELECT * FROM @t", "select u"),
    ]);
    for text in [
        "WITH x AS (SELECT * FROM t) UPDATE x SET a = 1",
        "UPDATE x SET a = 1 FROM (SELECT * FROM t) x",
        "DELETE a FROM t a JOIN t a ON 1 = 1",
        "SELECT * FROM CONTAINSTABLE(t, *, 'x') c",
        "SELECT IDENTITYCOL FROM t",
        "SELECT dbo.type::method(1)",
        "SELECT date 'x' FROM t",
        "SELECT interval 'x' FROM t",
        "SELECT * FROM json_table(1, '$' COLUMNS (a int PATH '$')) x",
        "SELECT * FROM OPENROWSET(BULK 'x', SINGLE_CLOB) a",
    ] {
        assert_unparsed(text);
    }
}

#[test]
fn a_column_is_named_in_lower_case_wherever_it_stands() {
    let columns = |text: &str| (facts(text).touch(0).columns.clone(), facts(text).touch(0).all_columns);
    for (text, named, all) in [
        ("SELECT P.[SSN] FROM people P WHERE P.ID = @id", vec!["id", "ssn"], false),
        ("SELECT COUNT(*) FROM people", vec![], false),
        ("SELECT CHECKSUM(*) FROM people", vec![], true),
        ("SELECT x.a FROM people p CROSS APPLY (SELECT p.ssn AS a) x", vec!["ssn"], false),
        ("SELECT name = ssn FROM people", vec!["ssn"], false),
        ("DELETE people OUTPUT deleted.ssn WHERE id = 1", vec!["id", "ssn"], false),
        ("DELETE people OUTPUT deleted.* WHERE id = 1", vec!["id"], true),
    ] {
        let (found, is_all) = columns(text);
        assert!(named.iter().all(|name| found.iter().any(|column| column == name)), "{text}: {found:?}");
        assert_eq!(is_all, all, "{text}");
    }
    let one = facts("select [A] from T -- x").fingerprint;
    assert_eq!(one, facts("SELECT  [A] /* /* y */ */ FROM t;").fingerprint);
    assert_eq!(facts("SELECT N'a', 5").fingerprint, facts("SELECT 'b', 0x1").fingerprint);
}

#[test]
fn calls_and_dynamic_sql_are_told() {
    assert_effects(&[
        ("EXEC('SELECT * FROM t')", "select t"),
        (
            "EXEC sp_executesql N'DELETE t WHERE a = @a', N'@a int', @a = 1",
            "call sp_executesql(), delete t where, select t where",
        ),
        ("EXEC @r = dbo.p 1, @b = 2 OUTPUT", "call dbo.p()"),
        ("p", "call p()"),
        ("[p] 'x'", "call p()"),
        ("EXEC master..xp_cmdshell 'whoami'", "call master..xp_cmdshell(), call xp_cmdshell()"),
        ("SELECT dbo.f(1), lower('A')", "call dbo.f()"),
        ("SELECT * FROM f() x", "call f()"),
        ("SELECT * FROM string_split('a,b', ',')", ""),
        ("SELECT * FROM OPENQUERY(s, 'x')", "call openquery()"),
        ("EXECUTE AS USER = 'dbo'", "set_unsafe @user"),
        ("USE other", "set_unsafe @database"),
    ]);
    for text in [
        "EXEC('SELECT 1' + @x)",
        "EXEC('SELECT 1') AS USER = 'dbo'",
        "EXEC('SELECT 1') AT server",
        "EXEC @p",
        "EXEC p AT server",
        "EXEC sp_executesql @sql",
        "EXEC sp_prepexec @h OUTPUT, N'', N'SELECT 1'",
        "EXEC('SELECT 1 -- ')  SELECT (",
        "EXEC a.b.c.d",
    ] {
        assert_unparsed(text);
    }
}

#[test]
fn settings_that_change_reading_or_identity_are_set_apart() {
    assert_effects(&[
        ("SET QUOTED_IDENTIFIER ON", "session @quoted_identifier"),
        ("SET ANSI_NULLS, QUOTED_IDENTIFIER OFF", "session @ansi_nulls, set_unsafe @quoted_identifier"),
        ("SET TRANSACTION ISOLATION LEVEL SNAPSHOT", "session @transaction_isolation"),
        ("SET LOCK_TIMEOUT -1", "session @lock_timeout"),
        ("SET IDENTITY_INSERT dbo.t ON", "ddl dbo.t, session @identity_insert"),
        ("SET @a = (SELECT 1 FROM t)", "select t"),
        ("ALTER DATABASE d SET QUOTED_IDENTIFIER OFF", "ddl database:d, set_unsafe @quoted_identifier"),
    ]);
}

#[test]
fn a_name_of_another_database_may_be_one_of_this_and_the_other_way_round() {
    assert_effects(&[
        ("SELECT * FROM db.dbo.t", "select db.dbo.t, select dbo.t"),
        ("SELECT * FROM db..t", "select db..t, select t"),
        ("SELECT * FROM [DB] . dbo . [T]", "select dbo.t, select dbo.T, select db.dbo.t, select db.dbo.T"),
        ("EXEC('SELECT * FROM Db.dbo.T')", "select dbo.t, select dbo.T, select db.dbo.t, select db.dbo.T"),
    ]);
    assert_unparsed("SELECT * FROM s.db.dbo.t");
    assert_unparsed("SELECT * FROM s...t");
}

#[test]
fn a_change_is_tied_only_by_a_value() {
    let ties = |text: &str| {
        facts(text).effects.iter().enumerate().any(|(at, effect)| {
            matches!(effect.action, Action::Update | Action::Delete) && facts(text).touch(at).where_binds
        })
    };
    for text in ["DELETE t WHERE id = @id", "UPDATE a SET x = 1 FROM t a JOIN u ON 1 = 1 WHERE a.id IN (1, 2)"] {
        assert!(ties(text), "{text}");
    }
    for text in ["DELETE t WHERE @a = 1", "DELETE t", "UPDATE a SET x = 1 FROM t a JOIN u ON 1 = 1 WHERE id = 1"] {
        assert!(!ties(text), "{text}");
    }
}

#[test]
fn texts_made_to_kill_end_in_an_answer() {
    let repeated =
        |before: &str, part: &str, times: usize, after: &str| before.to_owned() + &part.repeat(times) + after;
    for text in [
        repeated("SELECT ", "(", 50_000, ""),
        repeated("SELECT 1", " + 1", 60_000, ""),
        repeated("SELECT 1", " + 1", 9_000, ""),
        repeated("SELECT 1", " UNION SELECT 1", 5_000, ""),
        repeated("SELECT * FROM t WHERE ", "NOT ", 9_000, "1 = 1"),
        repeated("", "IF 1 = 1 ", 4_000, "SELECT 1"),
        repeated("", "BEGIN ", 9_000, ""),
        repeated("", "BEGIN ", 9_000, "SELECT 1") + &" END".repeat(9_000),
        repeated("", "ELSE ", 9_000, ""),
        repeated("", "SELECT 1 ", MAX_STATEMENTS + 1, ""),
        repeated("", "/*", 60_000, ""),
        repeated("SELECT [", "]]", 60_000, "]"),
        repeated("SELECT a", ".a", 9_000, ""),
        repeated("SELECT a", "..a", 6_000, ""),
        repeated("DECLARE @a int", ", @a int", 4_000, ""),
        repeated("SELECT ", "CASE WHEN 1 = 1 THEN ", 3_000, "1"),
        repeated("SELECT ", "case ", 9_000, "") + &"end ".repeat(9_000),
        repeated("SELECT * FROM t", " CROSS APPLY (SELECT 1 a) x", 2_000, ""),
        repeated("", "x", MAX_TEXT_BYTES + 1, ""),
        (0..12).fold("SELECT 1".to_owned(), |text, _| format!("EXEC('{}')", text.replace('\'', "''"))),
    ] {
        assert_eq!(facts(&text), facts(&text));
    }
}
