//! Rules, and a catalog, that change while sessions are open: the built program, its rule files, and what the next
//! statement gets.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test that fails says so by panicking")]

mod support;

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};
use support::{Hansard, Postgres, Store, connect, wait_for};

const OPEN: &str = "@id(\"all\") permit (principal, action, resource);\n";
const NO_NOTES: &str = "@id(\"no-notes\") forbid (principal, action in Action::\"read\", resource)\n\
                        when { resource.name == \"notes\" };\n";

/// Two looks at the files and what a busy machine adds.
const SOON: Duration = Duration::from_secs(20);

fn write(hansard: &Hansard, name: &str, text: &str) {
    // As an editor or a deployment does it: the new file takes the place of the old one.
    let folder = hansard.folder().join("rules");
    fs::write(folder.join("new"), text).unwrap();
    fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

/// Rows of events about rules, once there are so many.
fn events(hansard: &Hansard, count: usize) -> Vec<Value> {
    let sql = "select kind, detail, loaded_policy from events where kind like 'policy_%' order by entry_seq";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= count);
    assert_eq!(rows.len(), count, "{rows:?}");
    rows
}

fn code(error: &tokio_postgres::Error) -> String {
    error.code().unwrap_or_else(|| panic!("{error}")).code().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_rule_holds_for_the_next_statement_also_for_what_was_prepared_before() {
    let hansard = Hansard::start_with(Store::Folder, OPEN, support::Issuer::shared());
    let db = connect(&hansard.login("dev", "reloaded")).await.unwrap();
    let prepared = db.prepare("select id from notes").await.unwrap();
    db.query(&prepared, &[]).await.unwrap();
    for text in [
        "prepare p as select id from notes",
        "execute p",
        "declare c cursor with hold for select id from notes",
        "fetch c",
    ] {
        db.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    write(&hansard, "tests.cedar", &format!("{OPEN}{NO_NOTES}"));
    // The same session, the same text: what was remembered of it counts no more.
    let mut refused = None;
    for _ in 0..SOON.as_secs() * 10 {
        match db.query(&prepared, &[]).await {
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => {
                refused = Some(code(&error));
                break;
            }
        }
    }
    assert_eq!(refused.as_deref(), Some("42501"));
    for text in ["select id from notes", "execute p", "explain execute p", "fetch c", "move all in c"] {
        assert_eq!(code(&db.simple_query(text).await.unwrap_err()), "42501", "{text}");
    }
    db.simple_query("deallocate p").await.unwrap();
    db.simple_query("close c").await.unwrap();
    db.simple_query("select 1").await.unwrap();
    let told = events(&hansard, 2);
    assert_eq!((&told[0]["kind"], &told[1]["kind"]), (&json!("policy_loaded"), &json!("policy_loaded")));
    assert_eq!(told[1]["detail"], "rules: 2; their files changed");
    let sql = "select distinct policy_version as version, rules from statements where decision = 'deny'";
    let denied = hansard.archive().query_until(sql, |rows| !rows.is_empty());
    assert_eq!(denied, [json!({ "version": told[1]["loaded_policy"], "rules": ["no-notes"] })]);
    let before =
        hansard.archive().query("select distinct policy_version as version from statements where decision = 'allow'");
    assert!(before.contains(&json!({ "version": told[0]["loaded_policy"] })), "{before:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_are_broken_or_fail_their_own_tests_change_nothing_and_are_on_record() {
    let hansard = Hansard::start_with(Store::Folder, &format!("{OPEN}{NO_NOTES}"), support::Issuer::shared());
    let db = connect(&hansard.login("dev", "unfit")).await.unwrap();
    write(&hansard, "tests.cedar", "permit (principal, action == Action::\"selct\", resource);");
    wait_for("a refusal in the log", SOON, || hansard.log().contains("not fit to be in force").then_some(()));
    assert_eq!(code(&db.simple_query("select id from notes").await.unwrap_err()), "42501");
    db.simple_query("select 1").await.unwrap();
    let told = events(&hansard, 2);
    assert_eq!(told[1]["kind"], "policy_refused");
    let detail = told[1]["detail"].as_str().unwrap();
    assert!(detail.contains("tests.cedar:1:") && detail.contains("selct"), "{detail}");
    assert_eq!(told[1]["loaded_policy"], Value::Null);

    // Valid, but its own test says that notes are not to be read. Both files at once, and a signal instead of a wait.
    let test = "[[case]]\nname = \"notes stay closed\"\nas = { sub = \"x\" }\ntarget = \"app\"\n\
                sql = \"TABLE public.notes\"\nexpect = \"deny\"\n";
    write(&hansard, "tests.test.toml", test);
    write(&hansard, "tests.cedar", OPEN);
    hansard.hang_up();
    wait_for("the failed test in the log", SOON, || hansard.log().contains("notes stay closed").then_some(()));
    assert_eq!(code(&db.simple_query("select id from notes").await.unwrap_err()), "42501");
    let told = hansard.archive().query_until(
        "select detail from events where kind = 'policy_refused' and detail like '%notes stay closed%'",
        |rows| !rows.is_empty(),
    );
    assert!(!told.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_has_the_rules_read_at_once() {
    let hansard = Hansard::start_with(Store::Folder, OPEN, support::Issuer::shared());
    let db = connect(&hansard.login("dev", "signal")).await.unwrap();
    db.simple_query("select id from notes").await.unwrap();
    write(&hansard, "tests.cedar", &format!("{OPEN}{NO_NOTES}"));
    hansard.hang_up();
    wait_for("other rules in the log", SOON, || hansard.log().contains("other rules are in force").then_some(()));
    assert_eq!(code(&db.simple_query("select id from notes").await.unwrap_err()), "42501");
    let told = events(&hansard, 2);
    assert_eq!(told[1]["detail"], "rules: 2; a signal asked for it");
    hansard.hang_up();
    wait_for("unchanged rules in the log", SOON, || hansard.log().contains("are those in force").then_some(()));
    assert_eq!(events(&hansard, 2).len(), 2, "what changes nothing is no event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_data_is_said_by_pattern_and_a_star_is_what_the_database_has() {
    let hansard = Hansard::start_with(Store::Folder, OPEN, support::Issuer::shared());
    let db = connect(&hansard.login("dev", "classified")).await.unwrap();
    db.batch_execute("drop schema if exists classified cascade; create schema classified").await.unwrap();
    db.batch_execute("create table classified.people (id int, ssn text)").await.unwrap();
    db.batch_execute("create table classified.wards (id int, label text)").await.unwrap();
    db.batch_execute("create view classified.ids as select id from classified.people").await.unwrap();
    let phi = "@id(\"no-phi\") forbid (principal, action in Action::\"read\", resource)\n\
               when { context.classifications.contains(\"PHI\") };\n";
    write(&hansard, "tests.classes.toml", "PHI = [\"classified.*.ssn\"]\n");
    write(&hansard, "tests.cedar", &format!("{OPEN}{phi}"));
    hansard.hang_up();
    wait_for("the rules", SOON, || hansard.log().contains("other rules are in force").then_some(()));
    for text in [
        "select ssn from classified.people",
        "table classified.people",
        "select 1 from classified.people where ssn = 'x'",
    ] {
        assert_eq!(code(&db.simple_query(text).await.unwrap_err()), "42501", "{text}");
    }
    for text in ["select id from classified.people", "table classified.wards", "select * from classified.ids"] {
        db.simple_query(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    db.batch_execute("drop schema classified cascade").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_can_ask_what_the_catalog_says_of_a_function() {
    let rule = "@id(\"no-borrowed-rights\") forbid (principal, action == Action::\"call\", resource)\n\
                when { context has routine && context.routine.is_security_definer };\n";
    let hansard = Hansard::start_with(Store::Folder, &format!("{OPEN}{rule}"), support::Issuer::shared());
    let db = connect(&hansard.login("dev", "routines")).await.unwrap();
    db.batch_execute("drop schema if exists routines cascade; create schema routines").await.unwrap();
    let body = "returns int language sql as 'select 1'";
    db.batch_execute(&format!("create function routines.own() {body}")).await.unwrap();
    db.batch_execute(&format!("create function routines.borrowed() {body} security definer")).await.unwrap();
    db.batch_execute("create view routines.v as select routines.borrowed() as one").await.unwrap();
    db.simple_query("select routines.own()").await.unwrap();
    for text in ["select routines.borrowed()", "table routines.v"] {
        assert_eq!(code(&db.simple_query(text).await.unwrap_err()), "42501", "{text}");
    }
    db.batch_execute("drop schema routines cascade").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_somebody_has_locked_holds_up_no_look_and_is_what_it_was_or_not_understood() {
    let postgres = Postgres::start();
    postgres.admin("create schema ward");
    postgres.admin("create table ward.held (id int)");
    postgres.admin("create table ward.free (id int)");
    postgres.admin("create view ward.over_held as select id from ward.held");
    let rules = "@id(\"no-held\") forbid (principal, action in Action::\"read\", resource)\n\
                 when { resource.name == \"held\" };\n\
                 @id(\"no-riddles\") forbid (principal, action == Action::\"unparsed\", resource);\n";
    let hansard = Hansard::start_before(&postgres, Store::Folder, &format!("{OPEN}{rules}"), support::Issuer::shared());
    let other = connect(&postgres.superuser()).await.unwrap();
    other.batch_execute("begin; lock table ward.held").await.unwrap();
    let db = connect(&hansard.login("dev", "locked")).await.unwrap();
    let refused = async |text: &str| {
        let error = db.simple_query(text).await.unwrap_err();
        error.as_db_error().unwrap_or_else(|| panic!("{error}")).message().to_owned()
    };

    // The first look found the lock. What it says of everything else is there.
    db.simple_query("select id from ward.free").await.unwrap();
    let told = refused("select id from ward.over_held").await;
    assert!(told.contains("no-riddles"), "{told}");

    // The session's own definition has it looked at again.
    other.batch_execute("commit").await.unwrap();
    db.simple_query("create temp table one (id int)").await.unwrap();
    let told = refused("select id from ward.over_held").await;
    assert!(told.contains("no-held") && !told.contains("no-riddles"), "{told}");

    // And again, with the lock there.
    other.batch_execute("begin; lock table ward.held").await.unwrap();
    db.simple_query("create temp table two (id int)").await.unwrap();
    let told = refused("select id from ward.over_held").await;
    assert!(told.contains("no-held") && !told.contains("no-riddles"), "{told}");
    let named = hansard.log().contains("took too long to wait for");
    assert!(!named, "a look waited for the lock");
    other.batch_execute("commit").await.unwrap();
}
