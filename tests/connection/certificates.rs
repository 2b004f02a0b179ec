//! Certificates that change while sessions are open: new connections get the new ones, and a broken file changes nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::support::raw::{PROTOCOL, Raw, errors, kinds, query};
use super::support::{Folder, Hansard, Postgres, Vouched, Voucher, psql_to, put, wait_for};
use super::{assert_alive, closed};

/// Some looks at the files and what a busy machine adds.
const SOON: Duration = Duration::from_secs(30);

/// One that shows what is in the files `door.pem` and `door.key` of a folder.
fn behind(folder: &Path, more: &str) -> Hansard {
    let tls = format!(
        "targets = [\"app\"]\ntls = {{ cert = \"{0}/door.pem\", key = {{ file = \"{0}/door.key\" }}{more} }}",
        folder.display()
    );
    Hansard::start_replaced("targets = [\"app\"]", &tls)
}

/// What a connection that begins now is shown.
fn shown(port: u16) -> Vec<u8> {
    let mut raw = Raw::tls(port);
    // The handshake happens with the first byte.
    raw.send(b"");
    raw.shown_certificate().unwrap()
}

fn assert_soon_shown(hansard: &Hansard, port: u16, vouched: &Vouched) {
    wait_for("the new certificate", SOON, || (shown(port) == vouched.der).then_some(()));
    assert!(hansard.log().contains("new connections use other certificates"));
}

/// Events about certificates, in order, once there are so many.
fn events(hansard: &Hansard, count: usize) -> Vec<(String, String)> {
    let sql = "select kind, detail from events where kind like 'certificate_%' order by entry_seq";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= count);
    assert_eq!(rows.len(), count, "{rows:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(&row["kind"]), text(&row["detail"]))).collect()
}

#[test]
fn new_connections_get_the_new_certificate_while_an_old_session_goes_on() {
    let (folder, voucher) = (Folder::new("door"), Voucher::new("the door's"));
    let (first, second) = (voucher.server(), voucher.server());
    first.write(folder.path(), "door");
    put(&folder.join("ca.pem"), &voucher.pem);
    let hansard = behind(folder.path(), "");
    let login = hansard.login("dev", "before-renewal");
    let mut old = Raw::sign_in(&login);
    assert_eq!(old.shown_certificate().unwrap(), first.der);
    second.write(folder.path(), "door");
    assert_soon_shown(&hansard, login.port, &second);
    assert_eq!(kinds(&old.talk(&query("select 1"))), "TDCZ", "the old session goes on");
    // And it is one that a client takes who asks whom it talks to.
    let strictly = format!("sslmode=verify-full sslrootcert={}", folder.join("ca.pem").display());
    let ran = psql_to(&strictly, &hansard.login("dev", "after-renewal"), "select 1;");
    assert!(ran.success, "{}", ran.stderr);
    // A signal instead of a wait.
    let third = voucher.server();
    third.write(folder.path(), "door");
    hansard.hang_up();
    assert_soon_shown(&hansard, login.port, &third);
    assert_eq!(kinds(&old.talk(&query("select 1"))), "TDCZ");
    let told = events(&hansard, 2);
    for ((kind, detail), vouched) in told.iter().zip([&second, &third]) {
        assert_eq!(kind, "certificate_loaded");
        let fingerprint: String = fingerprint(&vouched.der);
        assert!(detail.starts_with("listener.main.tls: ") && detail.contains(&fingerprint), "{detail}");
    }
}

pub(super) fn fingerprint(der: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn psql_knows_whom_it_talks_to_by_authority_and_name_and_leaves_if_it_is_another() {
    let (folder, voucher) = (Folder::new("door"), Voucher::new("the door's"));
    voucher.server_of(&["gate.example", "*.gates.example"]).write(folder.path(), "door");
    put(&folder.join("ca.pem"), &voucher.pem);
    put(&folder.join("stranger.pem"), &Voucher::new("a stranger").pem);
    let hansard = behind(folder.path(), "");
    let ran = |host: &str, authority: &str| {
        let strictly = format!(
            "hostaddr=127.0.0.1 host={host} sslmode=verify-full sslrootcert={}",
            folder.join(authority).display()
        );
        psql_to(&strictly, &hansard.login("dev", "strictly"), "select 'hello';")
    };
    for host in ["gate.example", "one.gates.example"] {
        let ran = ran(host, "ca.pem");
        assert_eq!((ran.success, ran.stdout.as_str()), (true, "hello\n"), "{host}: {}", ran.stderr);
    }
    let other = ran("other.example", "ca.pem");
    assert!(!other.success && other.stderr.contains("does not match host name"), "{}", other.stderr);
    let stranger = ran("gate.example", "stranger.pem");
    assert!(!stranger.success && stranger.stderr.contains("certificate verify failed"), "{}", stranger.stderr);
    let sql = "select 1 from sessions where application = 'strictly'";
    assert_eq!(hansard.archive().query_until(sql, |rows| rows.len() >= 2).len(), 2, "and says nothing of itself");
}

#[test]
fn a_certificate_that_has_ended_before_the_start_is_told_of() {
    let (folder, voucher) = (Folder::new("door"), Voucher::new("the door's"));
    voucher.server_of_yesterday().write(folder.path(), "door");
    let hansard = behind(folder.path(), "");
    wait_for("the word in the log", SOON, || hansard.log().contains("a certificate in use is not valid").then_some(()));
    // Whoever does not verify it works on.
    assert_alive(&hansard);
}

#[test]
fn a_broken_file_changes_nothing_is_said_and_is_on_record_once() {
    let (folder, voucher) = (Folder::new("door"), Voucher::new("the door's"));
    let (first, second) = (voucher.server(), voucher.server());
    let (certificate, key) = first.write(folder.path(), "door");
    let hansard = behind(folder.path(), "");
    let port = hansard.login("dev", "x").port;
    // The certificate without its key; then half of it; then nothing at all.
    let half = second.certificate.get(..second.certificate.len() / 2).unwrap();
    for (number, (text, reason)) in [
        (Some(second.certificate.as_str()), "cannot be used"),
        (Some(half), "holds no certificate"),
        (None, "cannot be read"),
    ]
    .into_iter()
    .enumerate()
    {
        match text {
            Some(text) => put(&certificate, text),
            None => fs::remove_file(&certificate).unwrap(),
        }
        let refused = || {
            let log = hansard.log();
            let lines: Vec<String> =
                log.lines().filter(|line| line.contains("not fit to be used")).map(str::to_owned).collect();
            (lines.len() > number).then_some(lines)
        };
        let lines = wait_for("the refusal in the log", SOON, refused);
        let last = lines.last().unwrap();
        assert!(last.contains("listener.main.tls") && last.contains(reason), "{reason}: {last}");
        assert_eq!(shown(port), first.der, "{reason}");
        assert_alive(&hansard);
    }
    let told = events(&hansard, 3);
    assert!(told.iter().all(|(kind, _)| kind == "certificate_refused"), "{told:?}");
    assert!(!hansard.log().contains("PRIVATE") && told.iter().all(|(_, detail)| !detail.contains("PRIVATE")));
    // What was there before is no news; the whole of the new is.
    put(&certificate, &first.certificate);
    put(&certificate, &second.certificate);
    put(&key, &second.key);
    assert_soon_shown(&hansard, port, &second);
}

#[test]
fn who_vouches_for_a_database_is_read_anew_as_well() {
    let (folder, stranger) = (Folder::new("way"), Voucher::new("a stranger"));
    let authorities = folder.join("ca.pem");
    let right = fs::read_to_string(Postgres::shared().ca_file()).unwrap();
    put(&authorities, &right);
    let ours = Postgres::shared().ca_file().display().to_string();
    let hansard = Hansard::start_edited(&|config| config.replace(&ours, &authorities.display().to_string()));
    let mut old = Raw::sign_in(&hansard.login("dev", "before-the-change"));
    put(&authorities, &stranger.pem);
    let number = std::cell::Cell::new(0);
    let refused = || {
        number.set(number.get() + 1);
        let login = hansard.login("dev", &format!("by-a-stranger-{}", number.get()));
        let said = Raw::tls(login.port).ask(&login, PROTOCOL, &[]);
        (errors(&said) == ["08001"]).then_some(())
    };
    wait_for("a database that nobody vouches for", SOON, refused);
    let row = closed(&hansard, &format!("by-a-stranger-{}", number.get()));
    assert_eq!(row["reason"], "upstream_refused", "{row}");
    assert_eq!(kinds(&old.talk(&query("select 1"))), "TDCZ", "the old session goes on");
    // Half a file is no file: the stranger's stays, then the right ones are back.
    put(&authorities, right.get(..right.len() / 2).unwrap());
    wait_for("the refusal in the log", SOON, || hansard.log().contains("not fit to be used").then_some(()));
    put(&authorities, &right);
    let let_in = || {
        let login = hansard.login("dev", "vouched-for-again");
        (Raw::tls(login.port).ask(&login, PROTOCOL, &[]).last()?.kind == 'Z').then_some(())
    };
    wait_for("a database that is vouched for again", SOON, let_in);
    let told = events(&hansard, 3);
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["certificate_loaded", "certificate_refused", "certificate_loaded"]);
    assert!(told.iter().all(|(_, detail)| detail.starts_with("target.app.tls")), "{told:?}");
}
