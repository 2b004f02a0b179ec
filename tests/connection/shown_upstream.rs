//! A certificate of our own, which a database asks for beside the password.

use std::fs;
use std::time::Duration;

use super::support::raw::{PROTOCOL, Raw, errors, kinds, query};
use super::support::{Folder, Hansard, Postgres, Voucher, put, wait_for};
use super::{assert_alive, closed};

#[test]
fn a_database_that_asks_for_a_certificate_beside_the_password_gets_ours_and_no_other_will_do() {
    let (folder, voucher) = (Folder::new("shown"), Voucher::new("who vouches for logins"));
    let authorities = folder.join("logins.pem");
    put(&authorities, &voucher.pem);
    // The server reads it as another user.
    fs::set_permissions(&authorities, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let postgres = Postgres::start_with(&[("ssl_ca_file", &authorities.display().to_string())]);
    postgres.demand("all", "scram-sha-256 clientcert=verify-full");
    let shared = Postgres::shared();
    let before = |tls: &str| {
        Hansard::start_edited(&|config| {
            let config =
                config.replace(&format!("127.0.0.1:{}", shared.port()), &format!("127.0.0.1:{}", postgres.port()));
            let own = format!("ca_file = \"{}\"{tls}", postgres.ca_file().display());
            config.replace(&format!("ca_file = \"{}\"", shared.ca_file().display()), &own)
        })
    };
    let refused = |hansard: &Hansard, application: &str, sqlstate: &str| {
        let login = hansard.login("dev", application);
        assert_eq!(errors(&Raw::tls(login.port).ask(&login, PROTOCOL, &[])), ["08004"], "{application}");
        let detail = closed(hansard, application)["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(sqlstate), "{application}: {detail}");
    };
    refused(&before(""), "nothing-shown", "28000");

    // Of another login than that which the password is for; then, while it runs, of the right one.
    voucher.client("somebody", "s@example.org").write(folder.path(), "own");
    let tls = format!(", cert = \"{0}/own.pem\", key = {{ file = \"{0}/own.key\" }}", folder.path().display());
    let hansard = before(&tls);
    refused(&hansard, "anothers-shown", "28P01");
    voucher.client("hansard", "h@example.org").write(folder.path(), "own");
    wait_for("the new certificate", Duration::from_secs(30), || {
        hansard.log().contains("new connections use other certificates").then_some(())
    });
    let mut raw = Raw::sign_in(&hansard.login("dev", "shown"));
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ");
    let sql = "select client_dn from pg_stat_ssl join pg_stat_activity using (pid) where application_name = 'shown'";
    assert_eq!(postgres.admin(sql), "/O=Contoso/CN=hansard");
    // What cannot be used leaves the one before.
    put(&folder.join("own.pem"), "nothing");
    wait_for("the refusal in the log", Duration::from_secs(30), || {
        let log = hansard.log();
        (log.contains("not fit to be used") && log.contains("target.app.tls.cert")).then_some(())
    });
    assert_alive(&hansard);
}
