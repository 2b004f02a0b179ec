//! Who a session is at the database follows from who the token names.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::json;

use super::closed;
use super::support::{Hansard, Issuer, Login, Postgres, Store, psql, wait_for};

/// Two more users of the database: one that may write a table, one that may read it.
const USERS: &str = "
    create role app_writer login password 'upstream-only-for-tests';
    create role app_reader login password 'upstream-only-for-tests';
    create schema desk;
    create table desk.notes (text text);
    grant usage on schema desk to app_writer, app_reader;
    grant select on desk.notes to app_reader;
    grant select, insert on desk.notes to app_writer;
";

const RULES: &str = r#"
@id("everybody") permit (principal, action, resource);
@id("no-dba-reads")
@message("A DBA comes here to write.")
forbid (principal, action == Action::"connect", resource)
when { context.database_user == "app_reader" && principal in Role::"dba" };
@id("readers-do-not-define")
forbid (principal, action == Action::"ddl", resource)
when { context.database_user == "app_reader" };
"#;

/// Dora (dba) and dev (developer) are writers, who may come as readers too; whoever has the claim is a reader.
fn hansard() -> Hansard {
    static READY: OnceLock<()> = OnceLock::new();
    READY.get_or_init(|| drop(Postgres::shared().admin(USERS)));
    Hansard::start_on(Store::Folder, RULES, Issuer::shared(), &|config| {
        let login = config.lines().find(|line| line.starts_with("login = ")).unwrap().to_owned();
        let of = |user: &str, whose: &str| {
            let login = login.replace("user = \"hansard\"", &format!("user = \"{user}\"")).replace("login = ", "");
            login.replace("} }", &format!("}}, whose = {{ {whose} }} }}"))
        };
        let writer = of("app_writer", "roles = [\"dba\", \"developer\"]");
        let also = of("app_reader", "roles = [\"dba\", \"developer\"]");
        let reader = of("app_reader", "claims = { client_id = \"ana\" }, kind = \"person\", issuers = \"main\"");
        config.replace(&login, &format!("login = [{writer}, {also}, {reader}]"))
    })
}

fn asking(login: Login, user: &str) -> Login {
    Login { user: user.to_owned(), ..login }
}

const WHO: &str = "select session_user, current_user";

#[test]
fn the_token_says_which_user_a_session_is_and_the_client_may_choose_among_those_that_are_theirs() {
    let hansard = hansard();
    for (person, asked, user) in [
        ("dev", "hansard", "app_writer"),
        ("dev", "dev@example.org", "app_writer"),
        ("dev", "app_reader", "app_reader"),
        ("ana", "anybody", "app_reader"),
        ("dora", "app_writer", "app_writer"),
    ] {
        let application = format!("{person}-as-{asked}");
        let ran = psql(&asking(hansard.login(person, &application), asked), WHO);
        assert_eq!(ran.stdout.trim(), format!("{user}|{user}"), "{application}: {}", ran.stderr);
        assert_eq!(closed(&hansard, &application)["database_user"], user, "{application}");
        let rows = hansard.archive().rows_of(&application, 1);
        assert_eq!((&rows[0]["database_user"], &rows[0]["session_user"]), (&json!(user), &json!(user)));
    }
    // What the one defines, the other can name at once; what the user may not, the database refuses.
    let wrote = psql(&hansard.login("dev", "writes"), "insert into desk.notes values ('seen')");
    assert!(wrote.success, "{}", wrote.stderr);
    let read = psql(&hansard.login("ana", "reads"), "select * from desk.notes");
    assert_eq!(read.stdout.trim(), "seen", "{}", read.stderr);
    let refused = psql(&hansard.login("ana", "cannot-write"), "insert into desk.notes values ('no')");
    assert!(refused.stderr.contains("permission denied for table notes"), "{}", refused.stderr);
}

#[test]
fn rules_permit_and_forbid_by_the_user_at_the_database() {
    let hansard = hansard();
    let refused = psql(&asking(hansard.login("dora", "dba-reads"), "app_reader"), WHO);
    assert!(refused.stderr.contains("A DBA comes here to write."), "{}", refused.stderr);
    let refused = psql(&hansard.login("ana", "reader-defines"), "create temporary table t (x int)");
    assert!(refused.stderr.contains("readers-do-not-define"), "{}", refused.stderr);
    let ran = psql(&hansard.login("dev", "writer-defines"), "create temporary table t (x int)");
    assert!(ran.success, "{}", ran.stderr);
}

#[test]
fn whoever_is_no_user_at_the_database_does_not_get_in_and_nobody_gets_another_s() {
    let hansard = hansard();
    let nobody = psql(&hansard.login("robot", "no-user"), WHO);
    assert!(!nobody.success);
    let said = "FATAL:  hansard: there is no database user for";
    assert!(nobody.stderr.contains(said), "{}", nobody.stderr);
    let another = psql(&asking(hansard.login("ana", "anothers"), "app_writer"), WHO);
    let said = "may not be the database user \"app_writer\" at app (ref ";
    assert!(!another.success && another.stderr.contains(said), "{}", another.stderr);
    // Whoever has no token learns no user's name.
    let stranger = Login { password: "none".to_owned(), ..hansard.login("ana", "stranger-to-users") };
    let refused = psql(&asking(stranger, "app_writer"), WHO);
    assert!(!refused.success && !refused.stderr.contains("app_writer"), "{}", refused.stderr);
    let sql = "select application, reason, sqlstate, database_user, subject is not null as known from sessions \
               where kind = 'refused' order by entry_seq";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 3);
    let row = |application: &str, reason: &str, sqlstate: &str, known: bool| json!({ "application": application, "reason": reason, "sqlstate": sqlstate, "database_user": null, "known": known });
    let expected = [
        row("no-user", "no_database_user", "28000", true),
        row("anothers", "no_database_user", "28000", true),
        row("stranger-to-users", "not_a_token", "28P01", false),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn the_database_s_own_log_and_lists_have_the_reference_of_a_session_where_config_says_so() {
    let hansard = Hansard::start_edited(&|config| {
        config.replace("[policy]", "[target.app.session]\napplication_name = \"session\"\n\n[policy]")
    });
    let postgres = Postgres::shared();
    let listed = "select application_name from pg_stat_activity where pid = pg_backend_pid()";
    let script = format!(
        "{listed};\nset application_name = 'other';\nreset application_name;\n{listed};\ndiscard all;\n{listed}"
    );
    let ran = psql(&hansard.login("dev", "named-upstream"), &script);
    let names: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(names.len(), 3, "{}", ran.stderr);
    let name = names[0];
    assert_eq!(names, [name; 3]);
    // What the record has is the client's own name, and the reference leads to it.
    let row = closed(&hansard, "named-upstream");
    assert_eq!(name, format!("named-upstream {}", row["session_id"].as_str().unwrap()));
    assert!(name.len() <= 63);
    wait_for("the line of the server's log", Duration::from_secs(10), || {
        postgres.log().lines().any(|line| line.contains(name) && line.contains("pg_stat_activity")).then_some(())
    });
    let long = "n".repeat(60);
    let ran = psql(&hansard.login("dev", &long), listed);
    let (own, reference) = ran.stdout.trim().rsplit_once(' ').unwrap();
    assert_eq!((own.len(), reference.len()), (52, 10), "{}", ran.stderr);
    // Nothing is changed where nothing is said.
    let hansard = Hansard::start(Store::Folder);
    assert_eq!(psql(&hansard.login("dev", "kept-upstream"), listed).stdout.trim(), "kept-upstream");
}
