//! What the rules promise holds at the database as well: the target's own login is looked at, and a script makes one that
//! may do what the rules could permit and no more.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says so by panicking")]

mod support;

use std::fs;
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::Value;
use support::{Hansard, Issuer, Login, Postgres, Store, connect, wait_for};

const RULES: &str = r#"
@id("connect") permit (principal, action == Action::"connect", resource in Database::"app/app");
@id("analysts-read") permit (principal in Role::"analyst", action == Action::"select", resource)
when { resource in Schema::"app/app/shop" || resource in Schema::"app/app/reporting" };
@id("no-ssn") forbid (principal, action in [Action::"read", Action::"write"], resource == Table::"app/app/shop.people")
when { context.all_columns || context.columns.contains("ssn") };
@id("developers-sell") permit (principal in Role::"developer", action in Action::"write", resource == Table::"app/app/shop.orders");
@id("tied") forbid (principal, action == Action::"delete", resource) when { !context.where_binds };
@id("tax") permit (principal, action == Action::"call", resource == Function::"app/app/shop.tax");
@id("session") permit (principal, action == Action::"session", resource);
"#;

/// A shop with everything that makes rights hard: names that would be SQL, columns of their own, views, partitions,
/// sequences, functions that run as their owner, rights of everybody.
const TABLES: &str = r#"
    create schema shop; create schema reporting;
    create schema hr; create table hr.salaries (person text); insert into hr.salaries values ('Ana');
    create table shop.orders (id serial primary key, who text, total numeric);
    insert into shop.orders (who, total) values ('ana', 10);
    create table shop.people (id int, name text, ssn text); insert into shop.people values (1, 'Ana', '123');
    grant all on shop.people to public;
    create table shop."we""ird'; drop table shop.orders; --
$hansard$" (id int, "co""l, umn" int);
    create table shop.parts (id int, at date) partition by range (at);
    create table shop.parts_1 partition of shop.parts for values from ('2026-01-01') to ('2027-01-01');
    create table hr.secret (id int);
    create view reporting.totals as select who, sum(total) as total from shop.orders group by who;
    create function shop.tax(numeric) returns numeric language sql as 'select $1 * 0.2';
    create function shop.peek(a text, out b text) language sql security definer as 'select person from hr.salaries limit 1';
    create schema loose; grant create, usage on schema loose to public;
    grant insert on hr.secret to between; grant usage on schema hr to between;
"#;
const ROLES: &str = "
    create role wide superuser login password 'upstream-only-for-tests';
    create role readers; grant pg_read_all_data to readers;
    create role between login password 'upstream-only-for-tests' createdb;
    grant readers to between;
    alter role between set search_path = loose, public;
";
/// One database is only looked at, the other one is changed by a script.
const FOUND: &str = "found";
const MADE: &str = "made";

fn server() -> &'static Postgres {
    static READY: OnceLock<()> = OnceLock::new();
    let server = Postgres::shared();
    READY.get_or_init(|| {
        server.admin(ROLES);
        for database in [FOUND, MADE] {
            server.admin(&format!("create database {database} owner hansard"));
            server.admin_in(database, TABLES);
        }
    });
    server
}

/// Hansard whose login is this role, with rules for this database.
fn hansard(role: &str, database: &str) -> Hansard {
    server();
    let login = |config: String| config.replace("user = \"hansard\"", &format!("user = \"{role}\""));
    Hansard::start_on(Store::Folder, &RULES.replace("app/app", &format!("app/{database}")), Issuer::shared(), &login)
}

fn grants(hansard: &Hansard, role: &str) -> String {
    let (code, script, stderr) = hansard.run(&["policy", "grants", "--target", "app", "--role", role]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{script}");
    script
}

/// What happens to the statement when the role itself runs it, with nobody between.
async fn directly(role: &str, text: &str) -> Result<(), String> {
    let login = Login { user: role.to_owned(), database: MADE.to_owned(), ..server().direct("itself") };
    let db = connect(&login).await.unwrap();
    db.simple_query(text)
        .await
        .map(|_| ())
        .map_err(|error| error.code().unwrap_or_else(|| panic!("{error}")).code().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_of_the_script_may_do_what_the_rules_could_permit_and_nothing_else() {
    const ROLE: &str = "it's \"narrow\" $hansard$";
    let wide = hansard("wide", MADE);
    let script = grants(&wide, ROLE);
    server().admin_in(MADE, &script);
    // Again, on what it made of the database.
    server().admin_in(MADE, &grants(&wide, ROLE));
    server().admin(&format!("alter role \"{}\" password 'upstream-only-for-tests'", ROLE.replace('"', "\"\"")));
    for text in [
        "SELECT * FROM shop.orders",
        "SELECT id, name FROM shop.people",
        "SELECT * FROM reporting.totals",
        "SELECT * FROM shop.parts",
        "SELECT \"co\"\"l, umn\" FROM shop.\"we\"\"ird'; drop table shop.orders; --\n$hansard$\"",
        "INSERT INTO shop.orders (who, total) VALUES ('dev', 1)",
        "UPDATE shop.orders SET total = 2 WHERE who = 'dev'",
        "DELETE FROM shop.orders WHERE who = 'dev'",
        "SELECT shop.tax(10)",
    ] {
        assert_eq!(directly(ROLE, text).await, Ok(()), "{text}");
    }
    for text in [
        "SELECT * FROM shop.people",
        "SELECT ssn FROM shop.people",
        "SELECT people FROM shop.people",
        "SELECT to_jsonb(p) FROM shop.people p",
        "INSERT INTO shop.people (id) VALUES (2)",
        "UPDATE shop.people SET name = 'x'",
        "SELECT * FROM hr.salaries",
        "SELECT * FROM hr.secret",
        "TRUNCATE shop.orders",
        "INSERT INTO shop.parts VALUES (1, '2026-02-02')",
        "INSERT INTO shop.parts_1 VALUES (1, '2026-02-02')",
        "SELECT shop.peek('x')",
        "CREATE TABLE shop.mine (id int)",
        "CREATE TABLE loose.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "CREATE TEMP TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "DROP TABLE shop.orders",
        "COPY shop.orders TO '/tmp/x'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT setval('shop.orders_id_seq', 7) FROM hr.secret",
        "SET ROLE wide",
    ] {
        assert_eq!(directly(ROLE, text).await, Err("42501".to_owned()), "{text}");
    }
    // And nothing is found of it.
    let narrow = hansard_as_quoted(ROLE);
    let (code, stdout, stderr) = narrow.run(&["policy", "check", "--target", "app"]);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(stderr.contains("nothing beyond the rules"), "{stderr}");
    // The way through hansard is open with it.
    let ana = connect(&Login { database: MADE.to_owned(), ..narrow.login("ana", "narrow") }).await.unwrap();
    ana.simple_query("SELECT id, name FROM shop.people").await.unwrap();
    assert!(!narrow.log().contains("undermines"), "{}", narrow.log());
}

/// The same with a name that TOML has to escape.
fn hansard_as_quoted(role: &str) -> Hansard {
    hansard(&role.replace('"', "\\\""), MADE)
}

#[test]
fn a_script_of_rules_without_writes_makes_a_role_that_reads_only() {
    let hansard = hansard("wide", FOUND);
    let rules = "permit (principal, action == Action::\"connect\", resource in Database::\"app/found\");\
                 permit (principal, action == Action::\"select\", resource in Schema::\"app/found/reporting\");";
    fs::write(hansard.folder().join("rules/tests.cedar"), rules).unwrap();
    let script = grants(&hansard, "reader");
    assert!(script.contains("ALTER ROLE \"reader\" SET default_transaction_read_only = on;"), "{script}");
    assert!(script.contains("GRANT SELECT ON TABLE \"reporting\".\"totals\" TO \"reader\";"), "{script}");
    assert!(!script.contains("INSERT") && !script.contains("\"shop\" TO"), "{script}");
    let rules = "permit (principal, action, resource);";
    fs::write(hansard.folder().join("rules/tests.cedar"), rules).unwrap();
    let (code, script, stderr) = hansard.run(&["policy", "grants", "--target", "app", "--database", FOUND]);
    assert_eq!(code, 0, "{stderr}");
    for words in [
        "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE \"hr\".\"secret\" TO \"hansard_app\";",
        "--   GRANT CREATE ON SCHEMA \"shop\" TO \"hansard_app\";",
        "--   GRANT EXECUTE ON ROUTINE \"shop\".\"peek\"(a text, OUT b text) TO \"hansard_app\";",
    ] {
        assert!(script.contains(words), "{words}\n{script}");
    }
    assert!(!script.contains("\nGRANT CREATE"), "{script}");
    assert_eq!(hansard.run(&["policy", "grants", "--target", "app", "--role", "pg_x"]).0, 2);
}

#[test]
fn what_the_rules_promise_and_the_login_undermines_is_told_with_what_to_do() {
    let told =
        |role: &str, more: &[&str]| hansard(role, FOUND).run(&[&["policy", "check", "--target", "app"], more].concat());
    let (code, stdout, stderr) = told("wide", &[]);
    assert_eq!((code, stdout.as_str()), (8, ""), "{stderr}");
    assert!(stderr.contains("finding: the login \"wide\" is a superuser") && stderr.contains("1 finding"), "{stderr}");

    let (code, _, stderr) = told("between", &[]);
    assert_eq!(code, 8, "{stderr}");
    for words in [
        "the login \"between\" has CREATEDB",
        "ALTER ROLE \"between\" NOCREATEDB",
        "can become the role \"pg_read_all_data\"",
        "it may read every table",
        "can become the role \"readers\"",
        "everybody may make objects in schemas of the path: loose",
        "may call functions that run with a superuser's rights: shop.peek",
        "may read tables that no rule permits to anybody: ",
        "hr.secret",
        "may read columns that no rule permits to anybody: shop.people.ssn",
        "may add rows to tables that no rule permits to anybody: hr.secret, shop.people",
        "target.app, database found",
    ] {
        assert!(stderr.contains(words), "{words}\n{stderr}");
    }
    let (code, stdout, _) = told("between", &["-o", "json"]);
    let found: Vec<Value> = serde_json::from_str(&stdout).unwrap();
    assert_eq!(code, 8);
    let finding = found.iter().find(|found| found["severity"] == "finding").unwrap();
    assert_eq!((&finding["file"], &finding["line"]), (&Value::from("target.app/found"), &Value::Null));

    // The owner of the database, which the login of the tests is.
    let (code, _, stderr) = told("hansard", &[]);
    assert_eq!(code, 8);
    assert!(stderr.contains("the database belongs to the login \"hansard\""), "{stderr}");
}

#[test]
fn a_start_tells_what_the_login_undermines_and_does_not_wait_for_it() {
    let hansard = hansard("between", FOUND);
    let told = || hansard.log().lines().filter(|line| line.contains("the login undermines the rules")).count();
    wait_for("the findings in the log", Duration::from_secs(30), || (told() >= 5).then_some(()));
    let log = hansard.log();
    assert!(log.contains("\"what\":\"the login \\\"between\\\" has CREATEDB\""), "{log}");
}

#[test]
fn a_target_that_is_away_or_unknown_is_told_from_one_without_findings() {
    let hansard = hansard("hansard", FOUND);
    assert_eq!(hansard.run(&["policy", "check", "--target", "ap"]).0, 6);
    let (code, _, stderr) = hansard.run(&["policy", "check", "--target", "app", "--database", "gone"]);
    assert_eq!(code, 7, "{stderr}");
    assert!(stderr.contains("the database \"gone\"") && !stderr.contains("upstream-only"), "{stderr}");
    let path = hansard.folder().join("hansard.toml");
    let config = fs::read_to_string(&path).unwrap();
    let upstream = format!("127.0.0.1:{}", server().port());
    fs::write(&path, config.replace(&upstream, "127.0.0.1:1")).unwrap();
    for command in ["check", "grants"] {
        let (code, stdout, stderr) = hansard.run(&["policy", command, "--target", "app"]);
        assert_eq!((code, stdout.as_str()), (7, ""), "{stderr}");
        assert!(stderr.contains("it cannot be reached"), "{stderr}");
    }
    fs::write(hansard.folder().join("rules/tests.cedar"), "permit (principal, action == Action::\"selct\", resource);")
        .unwrap();
    assert_eq!(hansard.run(&["policy", "check", "--target", "app"]).0, 3, "broken rules promise nothing");
}
