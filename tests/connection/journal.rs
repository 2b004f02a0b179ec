//! When nothing can be recorded, nothing is done; when it can again, everything goes on.

use std::fs;
use std::time::Duration;

use super::support::raw::{PROTOCOL, Raw, errors, kinds, query, run_unnamed, sync};
use super::support::{Hansard, Login, Postgres, Store, wait_for};
use super::{assert_alive, closed};

#[test]
fn a_full_journal_refuses_statements_and_sessions_until_the_archive_takes_it() {
    let hansard = Hansard::start_replaced("[storage]", "max = \"1MiB\"\n\n[storage]");
    let mut raw = Raw::sign_in(&hansard.login("dev", "full"));
    raw.talk(&query("select 1"));
    // The archive is away: a file stands where its folder was.
    let archive = hansard.folder().join("archive");
    let away = hansard.folder().join("away");
    fs::rename(&archive, &away).unwrap();
    fs::write(&archive, "").unwrap();
    let large = |at: usize| query(&format!("select {at}, length('{}')", "x".repeat(100_000)));
    let mut answers = (0..).map(|at| (at, errors(&raw.talk(&large(at)))));
    let (taken, refused) = answers.find(|(_, said)| !said.is_empty()).unwrap();
    assert_eq!(refused, ["58030"]);
    assert!((5..15).contains(&taken), "{taken} of 100 kB in 1 MiB");
    assert_eq!(errors(&raw.talk(&query("select 'refused simple'"))), ["58030"]);
    assert_eq!(errors(&raw.talk(&[run_unnamed("select 'refused extended'"), sync()].concat())), ["58030"]);
    assert_eq!(errors(&raw.talk(&query("select amount from hr.salaries"))), ["58030"]);

    let login = hansard.login("dev", "full-too");
    let said = Raw::tls(login.port).ask(&login, PROTOCOL, &[]);
    assert_eq!(errors(&said), ["57P03"]);
    // Strangers do not eat the room that is left.
    let used = || fs::read_dir(hansard.folder().join("journal")).unwrap();
    let bytes = || used().map(|entry| entry.unwrap().metadata().unwrap().len()).sum::<u64>();
    let before = bytes();
    for _ in 0..20 {
        let bad = Login { password: "x".to_owned(), ..login.clone() };
        assert_eq!(errors(&Raw::tls(bad.port).ask(&bad, PROTOCOL, &[])), ["57P03"]);
        assert_eq!(errors(&Raw::plain(bad.port).ask(&bad, PROTOCOL, &[])), ["28000"]);
    }
    assert!(bytes() - before < 4_096, "{} bytes for strangers", bytes() - before);

    fs::remove_file(&archive).unwrap();
    fs::rename(&away, &archive).unwrap();
    wait_for("the session to work again", Duration::from_secs(30), || {
        errors(&raw.talk(&query("select 'again'"))).is_empty().then_some(())
    });
    assert_alive(&hansard);
    drop(raw);
    assert_eq!(closed(&hansard, "full")["reason"], "client_gone");
    let log = Postgres::shared().log();
    assert!(!log.contains("refused simple") && !log.contains("refused extended"), "something got through");
    let sql = "select count(*) as n from statements where text like '%refused %'";
    assert_eq!(hansard.archive().query(sql)[0]["n"], 0);
}

#[test]
fn a_disk_that_fails_is_survived_and_what_ended_meanwhile_is_recorded_later() {
    // A small journal begins a new file soon, and that is what fails here; not even root can write where nothing is.
    let hansard = Hansard::start_replaced("[storage]", "max = \"2MiB\"\n\n[storage]");
    let mut raw = Raw::sign_in(&hansard.login("dev", "disk"));
    let mut leaving = Raw::sign_in(&hansard.login("dev", "disk-leaving"));
    raw.talk(&query("select 1"));
    leaving.talk(&query("select 1"));
    let (journal, away) = (hansard.folder().join("journal"), hansard.folder().join("journal-away"));
    fs::rename(&journal, &away).unwrap();
    let large = query(&format!("select length('{}')", "x".repeat(50_000)));
    let refused = (0..20).map(|_| errors(&raw.talk(&large))).find(|said| !said.is_empty());
    assert_eq!(refused, Some(vec!["58030".to_owned()]));
    assert_eq!(errors(&raw.talk(&query("select 'on a failed disk'"))), ["58030"]);
    let there = "select count(*) from pg_stat_activity where application_name = 'disk-leaving'";
    drop(leaving);
    wait_for("its end", Duration::from_secs(10), || (Postgres::shared().admin(there) == "0").then_some(()));
    fs::rename(&away, &journal).unwrap();
    wait_for("the session to work again", Duration::from_secs(30), || {
        errors(&raw.talk(&query("select 'again'"))).is_empty().then_some(())
    });
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
    assert_eq!(closed(&hansard, "disk-leaving")["reason"], "client_gone");
    assert!(!Postgres::shared().log().contains("on a failed disk"));
    assert_alive(&hansard);
}

#[test]
fn a_target_that_sends_before_the_flush_is_warned_of_at_the_start_and_its_records_say_so() {
    let usual = Hansard::start(Store::Folder);
    let hansard = Hansard::start_replaced("[target.app]\n", "[target.app]\nrecorded = \"written\"\n");
    let warned = |hansard: &Hansard| hansard.log().matches("a crash of the machine can lose the record").count();
    wait_for("the warning", Duration::from_secs(10), || (warned(&hansard) == 1).then_some(()));
    Raw::sign_in(&hansard.login("dev", "before-the-flush")).talk(&query("select 1"));
    assert_eq!(hansard.archive().rows_of("before-the-flush", 1)[0]["recorded"], "written");
    assert_alive(&usual);
    assert_eq!(warned(&usual), 0);
}
