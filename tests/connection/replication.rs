//! Replication: refused unless permitted, then passed through and recorded command by command. The clients are
//! PostgreSQL's own.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::support::{Folder, Hansard, Issuer, Login, Postgres, Store, lossy, psql_to};

/// Developers may follow the changes of the database, workloads may copy the server; both may read and set what these
/// clients read and set.
const RULES: &str = r#"
permit (principal, action in [Action::"connect", Action::"read", Action::"session", Action::"call"], resource);
@id("follow")
permit (principal in Role::"developer", action == Action::"replicate", resource == Database::"app/app");
@id("copy")
permit (principal in Role::"workload", action in [Action::"replicate", Action::"copy_server"], resource in Target::"app");
@id("salaries")
forbid (principal, action, resource == Table::"app/app/hr.salaries");
"#;

/// A server whose changes can be followed, and a Hansard before it.
fn laboratory() -> (Postgres, Hansard) {
    let postgres = Postgres::start_with(&[("wal_level", "logical"), ("synchronous_commit", "on")]);
    postgres.admit_to("replication", "admin", "scram-sha-256");
    let hansard = Hansard::start_before(&postgres, Store::Folder, RULES, Issuer::shared());
    (postgres, hansard)
}

fn run(program: &str, login: &Login, arguments: &[&str]) -> Output {
    let mut command = Command::new(Postgres::binaries().join(program));
    login.environment(&mut command);
    command.args(arguments).output().unwrap()
}

/// The same where it is expected to succeed: what it printed.
fn done(program: &str, login: &Login, arguments: &[&str]) -> String {
    let output = run(program, login, arguments);
    assert!(output.status.success(), "{program} {arguments:?}: {}", lossy(&output.stderr));
    lossy(&output.stdout)
}

/// The commands of replication on record, in order, with how they ended.
fn commands(hansard: &Hansard, application: &str, count: usize) -> Vec<Value> {
    let sql = format!(
        "select text, status, decision, effects[1].action as action from statements
         where application = '{application}' and kind = 'replication' order by time, entry_seq"
    );
    hansard.archive().query_until(&sql, |rows| rows.len() >= count)
}

#[test]
fn the_changes_of_a_database_are_followed_by_whoever_may_and_every_command_is_a_row() {
    let (postgres, hansard) = laboratory();
    let login = hansard.login("dev", "pg_recvlogical");
    done("pg_recvlogical", &login, &["--dbname=app", "--create-slot", "--slot=s", "--plugin=test_decoding"]);
    postgres.admin("create table followed (id int primary key, what text)");
    postgres.admin("insert into followed select n, repeat('x', 500) from generate_series(1, 5000) n");
    // The place of the last change, as PostgreSQL's own tests find it: the client ends with that.
    let end = postgres.admin("select max(lsn) from pg_logical_slot_peek_changes('s', null, null)");
    let end = format!("--endpos={end}");
    let changes =
        done("pg_recvlogical", &login, &["--dbname=app", "--start", "--slot=s", "--file=-", "--no-loop", &end]);
    let inserted = changes.lines().filter(|line| line.contains("table public.followed: INSERT:")).count();
    assert_eq!(inserted, 5000, "{}", changes.chars().take(500).collect::<String>());
    done("pg_recvlogical", &login, &["--dbname=app", "--drop-slot", "--slot=s"]);

    let rows = commands(&hansard, "pg_recvlogical", 6);
    let said: Vec<&str> = rows.iter().map(|row| row["text"].as_str().unwrap()).collect();
    let begins = [
        "IDENTIFY_SYSTEM",
        "CREATE_REPLICATION_SLOT \"s\" LOGICAL",
        "IDENTIFY_SYSTEM",
        "START_REPLICATION SLOT \"s\" LOGICAL",
        "IDENTIFY_SYSTEM",
        "DROP_REPLICATION_SLOT \"s\"",
    ];
    assert_eq!(said.len(), begins.len(), "{said:?}");
    for (row, begins) in rows.iter().zip(begins) {
        assert!(row["text"].as_str().unwrap().starts_with(begins), "{row} {begins}");
        assert_eq!((&row["status"], &row["action"]), (&json!("ok"), &json!("replicate")), "{row}");
    }
    let sql = "select bytes_out > 2500000 as streamed from statements
               where application = 'pg_recvlogical' and text like 'START%'";
    assert_eq!(hansard.archive().query(sql), [json!({ "streamed": true })]);
}

#[test]
fn sql_on_such_a_connection_is_judged_as_ever_and_what_copies_the_server_is_another_right() {
    let (_postgres, hansard) = laboratory();
    let script = "select 1;\nselect * from hr.salaries;\nBASE_BACKUP;\nIDENTIFY_SYSTEM;\n";
    let said = psql_to("replication=database", &hansard.login("dev", "mixed"), script);
    assert!(said.stdout.starts_with("1\n") && said.stdout.contains('|'), "{}", said.stdout);
    assert_eq!(said.stderr.matches("42501: hansard: ").count(), 2, "{}", said.stderr);
    let rows = hansard.archive().rows_of("mixed", 4);
    let told: Vec<_> = rows.iter().map(|row| (&row["kind"], &row["decision"], &row["status"])).collect();
    let (select, replication) = (json!("select"), json!("replication"));
    let (allow, deny, ok, denied) = (json!("allow"), json!("deny"), json!("ok"), json!("denied"));
    let expected = [
        (&select, &allow, &ok),
        (&select, &deny, &denied),
        (&replication, &deny, &denied),
        (&replication, &allow, &ok),
    ];
    assert_eq!(told, expected);
}

#[test]
fn whoever_may_not_replicate_is_told_at_the_door_and_on_record() {
    let (_postgres, hansard) = laboratory();
    let said = psql_to("replication=database", &hansard.login("ana", "curious"), "IDENTIFY_SYSTEM;");
    assert!(!said.success && said.stderr.contains("may not connect with replication=database"), "{}", said.stderr);
    assert!(said.stderr.contains("no rule allows REPLICATE"), "{}", said.stderr);
    let copy = Folder::new("copy");
    let to = copy.join("data").display().to_string();
    let said = run("pg_basebackup", &hansard.login("dev", "thief"), &["-D", &to, "--no-slot"]);
    assert!(lossy(&said.stderr).contains("may not connect with replication=true"), "{}", lossy(&said.stderr));
    let said = psql_to("replication=perhaps", &hansard.login("dev", "vague"), "select 1;");
    assert!(said.stderr.contains("may be true, false or database"), "{}", said.stderr);
    let sql = "select application, sqlstate from sessions where kind = 'refused' order by application";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 3);
    let told = |application: &str, sqlstate: &str| json!({ "application": application, "sqlstate": sqlstate });
    assert_eq!(rows, [told("curious", "28000"), told("thief", "28000"), told("vague", "0A000")]);
    // A switch that is off asks for nothing.
    assert!(psql_to("replication=off", &hansard.login("dev", "plain"), "select 1;").success);
}

#[test]
fn a_server_is_copied_whole_by_whoever_may() {
    let (_postgres, hansard) = laboratory();
    let copy = Folder::new("copy");
    let to = copy.join("data").display().to_string();
    let login = hansard.login("robot", "pg_basebackup");
    // The log is streamed on a second connection meanwhile: COPY both ways, with the client's reports of where it is.
    done("pg_basebackup", &login, &["-D", &to, "--wal-method=stream", "--checkpoint=fast", "--no-sync"]);
    let verified = Command::new(Postgres::binaries().join("pg_verifybackup")).arg(&to).output().unwrap();
    assert!(verified.status.success(), "{}", lossy(&verified.stderr));

    let sql = "select distinct reason from sessions where kind = 'closed' and application = 'pg_basebackup'";
    assert_eq!(hansard.archive().query_until(sql, |rows| !rows.is_empty()), [json!({ "reason": "client_terminated" })]);
    let rows = commands(&hansard, "pg_basebackup", 3);
    let of = |begins: &str| {
        let found = rows.iter().find(|row| row["text"].as_str().unwrap().starts_with(begins));
        found.unwrap_or_else(|| panic!("{begins} is not in {rows:?}")).clone()
    };
    for begins in ["BASE_BACKUP", "START_REPLICATION"] {
        let row = of(begins);
        assert_eq!((&row["status"], &row["action"]), (&json!("ok"), &json!("copy_server")), "{row}");
    }
}
