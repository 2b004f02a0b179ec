//! Certificates of clients as a second factor: asked for, recorded, judged; and never in the place of the token.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::support::raw::{PROTOCOL, Raw, errors};
use super::support::{Folder, Hansard, Issuer, Login, Psql, Store, Voucher, psql_to, put, repository, wait_for};
use super::{assert_alive, closed};

/// Who may connect only with a certificate of their own.
const BINDING: &str = "\n@id(\"own-certificate\")
forbid (principal, action == Action::\"connect\", resource)
when { context has client_certificate }
unless { principal has email && context.client_certificate.emails.contains(principal.email) };\n";

/// One that asks for certificates which the authorities in `clients.pem` of a folder vouch for.
fn asking(folder: &Path, more: &str) -> Hansard {
    let tls = format!(
        "targets = [\"app\"]\ntls = {{ cert = \"{0}/door.pem\", key = {{ file = \"{0}/door.key\" }}, \
         client_ca_file = \"{0}/clients.pem\"{more} }}",
        folder.display()
    );
    let rules = std::fs::read_to_string(repository("tests/support/rules.cedar")).unwrap() + BINDING;
    Hansard::start_on(Store::Folder, &rules, Issuer::shared(), &|config| {
        assert!(config.contains("targets = [\"app\"]"));
        config.replace("targets = [\"app\"]", &tls)
    })
}

/// What psql says that shows this certificate.
fn psql_with(folder: &Path, name: &str, login: &Login) -> Psql {
    let files = format!("sslmode=require sslcert={0}/{name}.pem sslkey={0}/{name}.key", folder.display());
    psql_to(&files, login, "select 'hello';")
}

fn refusals(hansard: &Hansard, count: usize) -> Vec<Value> {
    let sql = "select application, reason, sqlstate, subject, client_certificate_subject as shown from sessions \
               where kind = 'refused' order by entry_seq";
    hansard.archive().query_until(sql, |rows| rows.len() >= count)
}

#[test]
fn a_certificate_that_is_required_is_asked_for_beside_the_token_and_is_in_every_record() {
    let (folder, door, clients) = (Folder::new("clients"), Voucher::new("the door's"), Voucher::new("the clients'"));
    let stranger = Voucher::new("a stranger");
    door.server().write(folder.path(), "door");
    put(&folder.join("clients.pem"), &clients.pem);
    let dev = clients.client("dev", "dev@example.org");
    dev.write(folder.path(), "dev");
    clients.client("ana", "ana@example.org").write(folder.path(), "ana");
    clients.client_of_yesterday("dev", "dev@example.org").write(folder.path(), "ended");
    stranger.client("dev", "dev@example.org").write(folder.path(), "strange");
    let hansard = asking(folder.path(), "");

    let ran = psql_with(folder.path(), "dev", &hansard.login("dev", "certified"));
    assert_eq!((ran.success, ran.stdout.as_str()), (true, "hello\n"), "{}", ran.stderr);
    let ended = closed(&hansard, "certified");
    let fingerprint = super::certificates::fingerprint(&dev.der);
    let subject = "CN=dev,O=Contoso";
    assert_eq!(ended["client_certificate_subject"], subject, "{ended}");
    assert_eq!(ended["client_certificate_sha256"], json!(fingerprint));
    assert_eq!(ended["client_certificate_names"], json!(["email:dev@example.org"]));
    let rows = hansard.archive().rows_of("certified", 1);
    assert_eq!(rows[0]["client_certificate_subject"], subject, "{rows:?}");
    assert_eq!(rows[0]["client_certificate_sha256"], json!(fingerprint));

    // None; in TLS, as a person reads it.
    let ran = psql_to("sslmode=require", &hansard.login("dev", "without"), "select 1;");
    assert!(!ran.success && ran.stderr.contains("with a client certificate only"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("assword"), "the token is not asked for: {}", ran.stderr);
    let login = hansard.login("dev", "without-raw");
    assert_eq!(errors(&Raw::tls(login.port).ask(&login, PROTOCOL, &[])), ["28000"]);
    // A certificate is no token.
    let ran = psql_with(folder.path(), "dev", &hansard.login_by("no token".to_owned(), "no-token"));
    assert!(!ran.success && ran.stderr.contains("hansard:"), "{}", ran.stderr);
    // Another's certificate: trusted, but not hers to show.
    let ran = psql_with(folder.path(), "ana", &hansard.login("dev", "anas"));
    assert!(!ran.success && ran.stderr.contains("has no access"), "{}", ran.stderr);
    let rows = refusals(&hansard, 4);
    let expected = [
        json!({ "application": "without", "reason": "no_client_certificate", "sqlstate": "28000", "subject": null,
                "shown": null }),
        json!({ "application": "without-raw", "reason": "no_client_certificate", "sqlstate": "28000", "subject": null,
                "shown": null }),
        json!({ "application": "no-token", "reason": "not_a_token", "sqlstate": "28P01", "subject": null, "shown": subject }),
        json!({ "application": "anas", "reason": "denied", "sqlstate": "28000", "subject": "u-dev",
                "shown": "CN=ana,O=Contoso" }),
    ];
    assert_eq!(rows, expected);

    // What is not trusted or has ended is refused by TLS itself.
    for (name, alert, logged) in
        [("strange", "unknown ca", "UnknownIssuer"), ("ended", "certificate expired", "certificate expired")]
    {
        let ran = psql_with(folder.path(), name, &hansard.login("dev", name));
        assert!(!ran.success && ran.stderr.contains(alert), "{name}: {}", ran.stderr);
        wait_for("the reason in the log", Duration::from_secs(10), || hansard.log().contains(logged).then_some(()));
    }
    assert_eq!(refusals(&hansard, 4).len(), 4);

    // Who vouches may change while it runs.
    put(&folder.join("clients.pem"), &stranger.pem);
    let let_in = || {
        let ran = psql_with(folder.path(), "strange", &hansard.login("dev", "strange-no-more"));
        ran.success.then_some(())
    };
    wait_for("the stranger's certificate to be trusted", Duration::from_secs(30), let_in);
    let ran = psql_with(folder.path(), "dev", &hansard.login("dev", "strange-now"));
    assert!(!ran.success && ran.stderr.contains("unknown ca"), "{}", ran.stderr);
}

#[test]
fn a_certificate_that_is_optional_is_recorded_where_it_is_shown_and_missed_by_nobody() {
    let (folder, door) = (Folder::new("clients"), Voucher::new("the door's"));
    door.server().write(folder.path(), "door");
    put(&folder.join("clients.pem"), &door.pem);
    door.client("dev", "dev@example.org").write(folder.path(), "dev");
    Voucher::new("a stranger").client("dev", "dev@example.org").write(folder.path(), "strange");
    let hansard = asking(folder.path(), ", client_certificates = \"optional\"");
    assert_alive(&hansard);
    assert!(psql_with(folder.path(), "dev", &hansard.login("dev", "shown")).success);
    assert_eq!(closed(&hansard, "shown")["client_certificate_subject"], "CN=dev,O=Contoso");
    assert_eq!(closed(&hansard, "probe")["client_certificate_subject"], Value::Null);
    let ran = psql_with(folder.path(), "strange", &hansard.login("dev", "strange"));
    assert!(!ran.success && ran.stderr.contains("unknown ca"), "{}", ran.stderr);
}
