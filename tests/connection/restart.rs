//! A restart refuses nobody: sockets stay open, sessions end in order, and the records of both processes are in one archive.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::support::raw::{Raw, errors, kinds, query};
use super::support::{Hansard, Store, wait_for};
use super::{assert_alive, closed};

/// How long a restart may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// Connects again and again until told to stop: how often that went well, and what went wrong.
fn knocking(port: u16) -> (Arc<AtomicBool>, std::thread::JoinHandle<(u64, Vec<std::io::Error>)>) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let knocks = std::thread::spawn(move || {
        let (mut let_in, mut refused) = (0, Vec::new());
        while !told.load(Ordering::Relaxed) {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(_) => let_in += 1,
                Err(error) => refused.push(error),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        (let_in, refused)
    });
    (stop, knocks)
}

fn listens(hansard: &Hansard, times: usize) {
    wait_for("another process that listens", SOON, || {
        (hansard.log().lines().filter(|line| line.contains("\"listening\"")).count() >= times).then_some(())
    });
}

#[test]
fn a_restart_by_signal_refuses_nobody_and_its_record_is_whole() {
    let mut hansard = Hansard::start_replaced("[policy]", "[drain]\nlimit = \"10m\"\n\n[policy]");
    let login = hansard.login("dev", "restart-after");
    let (stop, knocks) = knocking(login.port);
    let mut idle = Raw::sign_in(&hansard.login("dev", "restart-idle"));
    let mut finishing = Raw::sign_in(&hansard.login("dev", "restart-finishing"));
    finishing.talk(&query("begin"));
    let process = hansard.pid();
    hansard.ask_to_restart();
    assert_eq!(errors(&idle.rest()), ["57P01"]);
    // Whoever comes now is let in by the one that does not serve yet.
    let waiting = std::thread::spawn(move || kinds(&Raw::sign_in(&login).talk(&query("select 'after'"))));
    assert_eq!(kinds(&finishing.talk(&query("commit"))), "CZ");
    assert_eq!(errors(&finishing.rest()), ["57P01"]);
    assert_eq!(waiting.join().unwrap(), "TDCZ");
    listens(&hansard, 2);
    // And once more, with sockets that were handed over already.
    hansard.ask_to_restart();
    listens(&hansard, 3);
    assert_alive(&hansard);
    stop.store(true, Ordering::Relaxed);
    let (let_in, refused) = knocks.join().unwrap();
    assert!(let_in > 0 && refused.is_empty(), "{let_in} {refused:?}");
    assert_eq!(hansard.pid(), process);
    for application in ["restart-idle", "restart-finishing"] {
        assert_eq!(closed(&hansard, application)["reason"], "shutdown", "{application}");
    }
    assert_eq!(closed(&hansard, "restart-after")["statements"], 1);
    assert_eq!(hansard.stop(), 0);
    assert!(TcpStream::connect(("127.0.0.1", hansard.login("dev", "nobody").port)).is_err(), "a stop lets nobody wait");
    let events = hansard
        .archive()
        .query("select kind from events where kind in ('started', 'stopped', 'recovered') order by entry_seq");
    let events: Vec<&str> = events.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(events, ["started", "stopped", "started", "stopped", "started", "stopped"]);
    let (code, report, complaints) = hansard.run(&["verify"]);
    assert_eq!(code, 0, "{report}\n{complaints}");
}

#[test]
fn a_restart_into_a_broken_configuration_does_not_happen_and_says_why() {
    let hansard = Hansard::start(Store::Folder);
    let mut open = Raw::sign_in(&hansard.login("dev", "restart-not"));
    let path = hansard.folder().join("hansard.toml");
    let fit = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{fit}\n[drian]\nlimit = \"1s\"\n")).unwrap();
    hansard.ask_to_restart();
    wait_for("the problem in the log", SOON, || {
        hansard.log().lines().any(|line| line.contains("not restarted") && line.contains("drian")).then_some(())
    });
    assert_eq!(kinds(&open.talk(&query("select 1"))), "TDCZ", "it serves as before");
    assert_alive(&hansard);
    fs::write(&path, fit).unwrap();
    hansard.ask_to_restart();
    assert_eq!(errors(&open.rest()), ["57P01"]);
    listens(&hansard, 2);
    assert_alive(&hansard);
}

#[test]
fn a_stop_goes_before_a_restart_that_waits_for_a_transaction() {
    let mut hansard = Hansard::start_replaced("[policy]", "[drain]\nlimit = \"10m\"\n\n[policy]");
    let mut idle = Raw::sign_in(&hansard.login("dev", "stop-before-idle"));
    let mut finishing = Raw::sign_in(&hansard.login("dev", "stop-before"));
    finishing.talk(&query("begin"));
    hansard.ask_to_restart();
    assert_eq!(errors(&idle.rest()), ["57P01"]);
    hansard.begin_to_stop();
    let port = hansard.login("dev", "nobody").port;
    wait_for("nobody who listens", SOON, || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
    assert_eq!(kinds(&finishing.talk(&query("commit"))), "CZ");
    assert_eq!(hansard.ended(), 0);
    assert_eq!(hansard.log().matches("\"listening\"").count(), 1);
}

#[test]
fn a_socket_that_a_parent_hands_over_is_served_and_kept_over_a_restart() {
    let mut hansard = Hansard::start(Store::Folder);
    assert_eq!(hansard.stop(), 0);
    // By its name, whatever the configuration says of the address; without it, this would be another port.
    let path = hansard.folder().join("hansard.toml");
    let text = fs::read_to_string(&path).unwrap();
    let port = hansard.login("dev", "nobody").port;
    fs::write(&path, text.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:1")).unwrap();
    hansard.start_handed();
    assert_alive(&hansard);
    hansard.ask_to_restart();
    listens(&hansard, 3);
    assert_alive(&hansard);
    assert_eq!(hansard.stop(), 0);
}
