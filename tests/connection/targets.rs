//! Several targets behind one listener: by the name of the database, or by the host name that TLS asks for.

use std::time::Duration;

use serde_json::json;

use super::closed;
use super::support::raw::{CANCEL_REQUEST, Raw, errors, packet, query};
use super::support::{Hansard, Login, Postgres, free_port, libpq, psql, psql_to, wait_for};

/// The configuration of the tests with a second target on the same server, and both behind the one listener as `targets`.
fn with_second(config: &str, targets: &str, databases: &str) -> String {
    let (from, to) = ("[target.app]", "[policy]");
    let (_, target) = config.split_once(from).unwrap();
    let (target, _) = target.split_once(to).unwrap();
    let second = format!("[target.second]{}", target.trim_end());
    let second = format!("{second}\ndatabases = {databases}\n\n{to}");
    config.replace(to, &second).replace("targets = [\"app\"]", &format!("targets = {targets}"))
}

fn shared(targets: &str, databases: &str) -> Hansard {
    Hansard::start_edited(&|config| with_second(&config, targets, databases))
}

fn to(login: &Login, database: &str, application: &str) -> Login {
    Login { database: database.to_owned(), application: application.to_owned(), ..login.clone() }
}

/// A session in the middle of a long statement.
fn asleep(login: &Login) -> Raw {
    let mut raw = Raw::sign_in(login);
    raw.send(&query("select pg_sleep(60)"));
    let application = &login.application;
    let sql =
        format!("select pid from pg_stat_activity where application_name = '{application}' and wait_event = 'PgSleep'");
    wait_for("the statement", Duration::from_secs(10), || (!Postgres::shared().admin(&sql).is_empty()).then_some(()));
    raw
}

const WHERE: &str = "select current_database()";

#[test]
fn the_name_of_the_database_chooses_the_target_and_another_name_is_refused_on_record() {
    let hansard = shared("[\"app\", \"second\"]", "{ reports = \"postgres\" }");
    let login = hansard.login("dev", "x");
    for (database, real, target) in [("app", "app", "app"), ("reports", "postgres", "second")] {
        let application = format!("to-{database}");
        let ran = psql(&to(&login, database, &application), WHERE);
        assert_eq!((ran.success, ran.stdout.trim()), (true, real), "{}", ran.stderr);
        let row = closed(&hansard, &application);
        assert_eq!((&row["target"], &row["database"]), (&json!(target), &json!(real)));
    }
    // A database that is there, but that no target has here.
    let refused = psql(&to(&login, "template1", "to-nobody"), WHERE);
    assert!(!refused.success);
    let said = "FATAL:  hansard: there is no database \"template1\" here (ref ";
    assert!(
        refused.stderr.contains(said) && refused.stderr.contains("HINT:  Behind this address"),
        "{}",
        refused.stderr
    );
    // Whoever has no token learns no more than that.
    for database in ["app", "template1"] {
        let stranger = Login { password: "none".to_owned(), ..to(&login, database, &format!("stranger-{database}")) };
        let refused = psql(&stranger, WHERE);
        assert!(!refused.success && !refused.stderr.contains("there is no database"), "{database}: {}", refused.stderr);
    }
    let sql = "select application, reason, sqlstate, target, database, database_user is null as nobody, \
               subject is not null as known from sessions where kind = 'refused' order by entry_seq";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 3);
    let row = |application: &str, reason: &str, sqlstate: &str, target: &str, database: &str, known: bool| {
        json!({ "application": application, "reason": reason, "sqlstate": sqlstate, "target": target,
                "database": database, "nobody": target.is_empty(), "known": known })
    };
    let expected = [
        row("to-nobody", "no_such_database", "3D000", "", "template1", true),
        row("stranger-app", "not_a_token", "28P01", "app", "app", false),
        row("stranger-template1", "not_a_token", "28P01", "", "template1", false),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_host_name_chooses_its_target_and_the_other_takes_the_rest() {
    let hansard = shared("[\"app\", { name = \"second\", sni = \"second.example\" }]", "{ app = \"postgres\" }");
    let login = hansard.login("dev", "x");
    let by = |host: &str| format!("host={host} hostaddr=127.0.0.1");
    for (host, database, real, target) in [
        ("second.example", "app", "postgres", "second"),
        ("SECOND.example", "postgres", "postgres", "second"),
        ("first.example", "app", "app", "app"),
        ("127.0.0.1", "app", "app", "app"),
    ] {
        let application = format!("by-{host}-{database}");
        let ran = psql_to(&by(host), &to(&login, database, &application), WHERE);
        assert_eq!((ran.success, ran.stdout.trim()), (true, real), "{host}: {}", ran.stderr);
        assert_eq!(closed(&hansard, &application)["target"], target, "{host}");
    }
    let ran = libpq(&by("second.example"), &to(&login, "app", "by-libpq-18"), WHERE);
    assert_eq!(ran.as_deref(), Ok("postgres"));
}

#[test]
fn a_statement_is_cancelled_whichever_target_it_runs_at() {
    let hansard = shared("[\"app\", \"second\"]", "{ reports = \"postgres\" }");
    for (database, application) in [("app", "cancel-app"), ("reports", "cancel-reports")] {
        let login = to(&hansard.login("dev", "x"), database, application);
        let mut raw = asleep(&login);
        let mut request = Raw::tls(login.port);
        request.send(&packet(CANCEL_REQUEST, &raw.key));
        assert_eq!(request.rest(), []);
        assert_eq!(errors(&raw.until_ready()), ["57014"], "{database}");
    }
}

#[test]
fn two_listeners_before_one_target_share_what_is_known_of_it() {
    let other = free_port();
    let hansard = Hansard::start_edited(&|config| {
        config.replace("[target.app]", &format!("[listener.other]\naddress = \"[::1]:{other}\"\n\n[target.app]"))
    });
    let login = hansard.login("dev", "other-listener");
    let v6 = Login { port: other, ..login.clone() };
    let ran = psql_to("host=::1", &v6, WHERE);
    assert_eq!((ran.success, ran.stdout.trim()), (true, "app"), "{}", ran.stderr);
    let row = closed(&hansard, "other-listener");
    assert_eq!((&row["client_address"], &row["target"]), (&json!("::1"), &json!("app")));
    // The key of a session of the one is known to the other.
    let mut raw = asleep(&to(&login, "app", "cancel-across"));
    let mut request = Raw::tls_at("::1", other);
    request.send(&packet(CANCEL_REQUEST, &raw.key));
    assert_eq!(request.rest(), []);
    assert_eq!(errors(&raw.until_ready()), ["57014"]);
}
