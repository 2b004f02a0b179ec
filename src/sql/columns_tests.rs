//! Which columns of which table, whether rows are tied to a value, and a limit.

use super::{Dialect, read};
use crate::model::{Facts, SqlText, Touch};

fn facts(text: &str) -> Facts {
    read(&SqlText::from(text), Dialect::PostgreSql)
}

/// What effects on a table touch, each as `action: columns` with `*` for all of them.
fn touched(text: &str, table: &str) -> Vec<String> {
    let facts = facts(text);
    let of_table = facts
        .effects
        .iter()
        .enumerate()
        .filter(|(_, effect)| effect.object.as_ref().is_some_and(|object| object.name == table));
    let mut shown: Vec<String> = of_table
        .map(|(at, effect)| {
            let Touch { columns, all_columns, .. } = facts.touch(at);
            let star = if *all_columns { ["*".to_owned()].as_slice().to_vec() } else { Vec::new() };
            format!("{}: {}", effect.action.as_str(), [star, columns.clone()].concat().join(" "))
        })
        .collect();
    shown.dedup();
    shown
}

#[test]
fn the_columns_that_a_query_names_are_those_it_touches() {
    for (text, expected) in [
        ("SELECT id, name FROM people", "select: id name"),
        ("SELECT SSN FROM people", "select: ssn"),
        ("SELECT \"SSN\" FROM people", "select: SSN"),
        ("SELECT p.id FROM people p", "select: id"),
        ("SELECT people.id FROM public.people", "select: id"),
        ("SELECT public.people.id FROM public.people", "select: id"),
        ("SELECT id FROM people ORDER BY ssn", "select: id ssn"),
        ("SELECT id FROM people WHERE ssn LIKE '1%'", "select: id ssn"),
        ("SELECT count(*) FROM people GROUP BY ssn HAVING max(email) > 'a'", "select: email ssn"),
        ("SELECT DISTINCT ON (ssn) id FROM people", "select: id ssn"),
        (
            "SELECT id, lag(ssn) OVER w FROM people WINDOW w AS (PARTITION BY name ORDER BY email)",
            "select: email id name ssn",
        ),
        ("SELECT count(*) FROM people", "select: "),
        ("SELECT 1 FROM people", "select: "),
        ("COPY people (id, name) TO STDOUT", "copy_out: id name|select: id name"),
        ("COPY (SELECT id FROM people) TO STDOUT", "copy_out: id|select: id"),
        ("SELECT id FROM people FOR UPDATE", "select: id|update: id"),
        ("DECLARE c CURSOR FOR SELECT id FROM people", "select: id"),
        ("EXPLAIN ANALYZE SELECT id FROM people", "select: id"),
    ] {
        let mut expected: Vec<&str> = expected.split('|').collect();
        let mut found = touched(text, "people");
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_star_a_whole_row_or_renamed_columns_are_every_column() {
    for text in [
        "SELECT * FROM people",
        "SELECT people.* FROM people",
        "SELECT public.people.* FROM public.people",
        "SELECT p.* FROM people p",
        "TABLE people",
        "SELECT 1 UNION ALL TABLE people",
        "SELECT to_jsonb(p) FROM people p",
        "SELECT p::text FROM people p",
        "SELECT (p).id FROM people p",
        "SELECT ROW(p.*) FROM people p",
        "SELECT array_agg(people) FROM people",
        "SELECT unnest(ARRAY[p]) FROM people p",
        "SELECT c FROM people AS t(a, b, c, d)",
        "SELECT v.* FROM people p NATURAL JOIN (VALUES ('1')) v(ssn)",
        "SELECT j.* FROM (people p JOIN orders o ON p.id = o.id) AS j",
        "SELECT (SELECT p) FROM people p",
        "SELECT x.value FROM people p, jsonb_each_text(to_jsonb(p)) x",
        "SELECT x.value FROM people p, LATERAL (SELECT to_jsonb(p) AS value) x",
        "WITH t(a, b, c, d) AS (TABLE people) SELECT c FROM t",
        "SELECT max(p) FROM (SELECT row(p.*) AS p FROM people p) q",
        "COPY people TO STDOUT",
        "SELECT json_populate_record(null::people, to_json(p)) FROM people p",
        "INSERT INTO orders SELECT * FROM people",
    ] {
        let found = touched(text, "people");
        assert!(!found.is_empty() && found.iter().all(|effect| effect.contains(": *")), "{text}: {found:?}");
    }
}

#[test]
fn a_star_of_one_table_is_none_of_another() {
    for (text, expected) in [
        ("SELECT o.*, p.name FROM orders o JOIN people p ON p.id = o.person", "select: id name"),
        ("SELECT * FROM orders WHERE id IN (SELECT p.id FROM people p)", "select: id"),
        ("SELECT * FROM orders, (SELECT id, name FROM people) p", "select: id name"),
        ("WITH p AS (SELECT id FROM people) SELECT * FROM p", "select: id"),
        ("WITH p AS (SELECT id FROM people) SELECT p FROM p", "select: id"),
        ("SELECT o.ssn FROM orders o, people p WHERE p.id = 1", "select: id"),
        // Which of both has the column is not in the text.
        ("SELECT ssn FROM orders, people", "select: ssn"),
        // A sub-query in a FROM does not see its neighbours.
        ("SELECT q.a FROM people p, (SELECT ssn AS a FROM orders) q WHERE p.id = 1", "select: id"),
        // One in an expression does.
        ("SELECT (SELECT ssn) FROM people p", "select: ssn"),
        ("SELECT p.id FROM people p JOIN (VALUES ('1')) v(ssn) USING (ssn)", "select: id ssn"),
    ] {
        assert_eq!(touched(text, "people"), [expected], "{text}");
    }
}

#[test]
fn a_change_touches_what_it_writes_and_what_it_reads_on_the_way() {
    for (text, expected) in [
        ("INSERT INTO people (id, name) VALUES (1, 'a')", "insert: id name"),
        ("INSERT INTO people VALUES (1, 'a', '1', 'b')", "insert: *"),
        ("INSERT INTO people DEFAULT VALUES", "insert: *"),
        ("INSERT INTO people (id) VALUES (1) RETURNING ssn", "select: ssn|insert: id ssn"),
        ("INSERT INTO people (id) SELECT id FROM orders", "insert: id"),
        (
            "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET email = people.ssn",
            "insert: email id ssn|update: email id ssn",
        ),
        (
            "INSERT INTO people (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET email = excluded.ssn",
            "insert: email id|update: email id",
        ),
        ("UPDATE people SET name = 'a'", "update: name"),
        ("UPDATE people SET name = 'a' WHERE id = 1", "select: id name|update: id name"),
        ("UPDATE people SET name = ssn", "update: name ssn"),
        ("UPDATE people p SET name = 'a' RETURNING p.*", "select: * name|update: * name"),
        (
            "UPDATE people SET (email, name) = (SELECT ssn, name FROM people LIMIT 1)",
            "select: email name ssn|update: email name ssn",
        ),
        ("UPDATE people p SET name = o.title FROM orders o WHERE o.id = p.id", "select: id name|update: id name"),
        ("DELETE FROM people", "delete: "),
        ("DELETE FROM people WHERE id = 1", "select: id|delete: id"),
        ("DELETE FROM people RETURNING *", "select: *|delete: *"),
        ("DELETE FROM people USING orders o WHERE o.id = people.id AND o.ssn = '1'", "select: id|delete: id"),
        ("WITH d AS (DELETE FROM people WHERE id = 1 RETURNING ssn) SELECT * FROM d", "select: id ssn|delete: id ssn"),
        (
            "MERGE INTO people p USING orders o ON o.id = p.id WHEN MATCHED THEN UPDATE SET name = o.title \
             WHEN NOT MATCHED THEN INSERT (id) VALUES (o.id)",
            "select: id name|insert: id name|update: id name",
        ),
        ("COPY people FROM STDIN", "insert: *|copy_in: *"),
        ("COPY people (id) FROM STDIN", "insert: id|copy_in: id"),
    ] {
        let expected: Vec<&str> = expected.split('|').collect();
        assert_eq!(touched(text, "people"), expected, "{text}");
    }
}

#[test]
fn what_only_one_reader_knows_touches_everything() {
    for text in
        ["CREATE INDEX ON people (id)", "TRUNCATE people", "GRANT SELECT (id) ON people TO alice", "LOCK people"]
    {
        let found = touched(text, "people");
        assert!(!found.is_empty() && found.iter().all(|effect| effect.contains(": *")), "{text}: {found:?}");
    }
}

#[test]
fn statements_of_one_message_add_up() {
    assert_eq!(touched("SELECT id FROM people; SELECT name FROM people", "people"), ["select: id name"]);
    assert_eq!(touched("SELECT id FROM people; TABLE people", "people"), ["select: * id"]);
}

#[test]
fn ten_thousand_columns_and_a_thousand_tables_are_every_column_of_each() {
    let columns = vec!["c"; 9_000].join(",");
    let tables: Vec<String> = (0..900).map(|table| format!("t{table}")).collect();
    let text = format!("SELECT {columns} FROM {}", tables.join(","));
    assert_eq!(touched(&text, "t899"), ["select: *"]);
}

/// Whether the rows that are changed in `accounts` are tied.
fn tied(text: &str) -> bool {
    let facts = facts(text);
    let changes: Vec<bool> = facts
        .effects
        .iter()
        .enumerate()
        .filter(|(_, effect)| matches!(effect.action.as_str(), "update" | "delete"))
        .map(|(at, _)| facts.touch(at).where_binds)
        .collect();
    assert!(!changes.is_empty(), "{text} changes nothing: {facts:?}");
    changes.into_iter().all(|binds| binds)
}

#[test]
fn rows_are_tied_by_a_column_that_is_compared_with_a_value() {
    for text in [
        "DELETE FROM accounts WHERE id = 1",
        "DELETE FROM accounts WHERE 1 = id",
        "DELETE FROM accounts WHERE accounts.id = $1",
        "DELETE FROM accounts a WHERE a.id = $1::int AND a.balance = a.balance",
        "DELETE FROM accounts WHERE (id IN (1, 2))",
        "DELETE FROM accounts WHERE id BETWEEN 1 AND 2",
        "DELETE FROM accounts WHERE id = ANY ($1)",
        "DELETE FROM accounts WHERE id = ANY (ARRAY[1, 2])",
        "DELETE FROM accounts WHERE opened < now() - interval '90 days'",
        "UPDATE accounts SET balance = 0 WHERE id = 1",
        "UPDATE accounts a SET balance = o.total FROM orders o WHERE a.id = 1 AND o.id = a.id",
        "DELETE FROM accounts WHERE CURRENT OF c",
        "SELECT * FROM accounts FOR UPDATE",
    ] {
        assert!(tied(text), "{text}");
    }
}

#[test]
fn rows_are_not_tied_by_what_lets_all_of_them_pass() {
    for text in [
        "DELETE FROM accounts",
        "DELETE FROM accounts WHERE true",
        "DELETE FROM accounts WHERE id = id",
        "DELETE FROM accounts WHERE id = 1 OR true",
        "DELETE FROM accounts WHERE NOT id = 1",
        "DELETE FROM accounts WHERE id <> 1",
        "DELETE FROM accounts WHERE id IS NOT NULL",
        "DELETE FROM accounts WHERE id NOT IN (1)",
        "DELETE FROM accounts WHERE id NOT BETWEEN 1 AND 2",
        "DELETE FROM accounts WHERE id = (SELECT id)",
        "DELETE FROM accounts WHERE id IN (SELECT id FROM accounts)",
        "DELETE FROM accounts WHERE EXISTS (SELECT 1)",
        "DELETE FROM accounts WHERE 1 = 1",
        "DELETE FROM accounts WHERE accounts = accounts",
        "DELETE FROM accounts USING orders WHERE orders.id = 1",
        "DELETE FROM accounts USING orders WHERE id = 1",
        "UPDATE accounts SET balance = 0 FROM orders WHERE orders.id = 1",
        "UPDATE accounts SET balance = 0 WHERE id = random()",
        "WITH x AS (DELETE FROM accounts RETURNING *) SELECT * FROM x WHERE id = 1",
        "INSERT INTO accounts (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET balance = 0",
        "DELETE FROM accounts WHERE id = 1; DELETE FROM accounts WHERE true",
        "SELECT * FROM accounts FOR UPDATE; UPDATE accounts SET balance = 0",
        "TRUNCATE accounts",
    ] {
        assert!(!tied(text), "{text}");
    }
}

#[test]
fn columns_of_the_condition_are_known_as_such() {
    let facts = facts("UPDATE people SET name = 'a' WHERE id = 1 AND ssn IS NULL RETURNING email");
    assert!(!facts.effects.is_empty());
    for at in 0..facts.effects.len() {
        assert_eq!(facts.touch(at).where_columns, ["id", "ssn"]);
    }
    let around = self::facts("SELECT email FROM people WHERE id IN (SELECT person FROM orders WHERE total > 5)");
    let orders = around.effects.iter().position(|effect| effect.object.as_ref().is_some_and(|o| o.name == "orders"));
    assert_eq!(around.touch(orders.unwrap()).where_columns, ["total"]);
}

#[test]
fn a_limit_is_seen_where_it_limits_everything() {
    for (text, expected) in [
        ("SELECT 1 LIMIT 5", true),
        ("SELECT 1 FETCH FIRST 5 ROWS ONLY", true),
        ("SELECT 1", false),
        ("SELECT 1 OFFSET 5", false),
        ("SELECT 1 LIMIT ALL", false),
        ("SELECT * FROM (SELECT 1 LIMIT 5) q", false),
        ("SELECT 1 LIMIT 5; SELECT 2", false),
    ] {
        assert_eq!(facts(text).has_limit, expected, "{text}");
    }
}
