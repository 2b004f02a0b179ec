//! Our own login by an access token: of an issuer, by a secret or by what somebody else signed, and of a machine in Azure.
//!
//! The database that takes tokens is another recorder in front of PostgreSQL: it verifies each as a database in Azure would,
//! and its archive says whose it was.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::closed;
use super::support::raw::{PROTOCOL, Raw, errors, kinds, query};
use super::support::{Folder, Hansard, Issuer, Postgres, Store, Voucher, put, repository, wait_for};

/// Whom the tokens are for that the database takes.
const DATABASE: &str = "api://database";
/// How long something may take that takes seconds.
const SOON: Duration = Duration::from_secs(30);

/// A database that takes tokens.
struct ByToken {
    server: Hansard,
    issuer: &'static Issuer,
    folder: Folder,
}

impl ByToken {
    fn start(issuer: &'static Issuer) -> Self {
        let (folder, voucher) = (Folder::new("by-token"), Voucher::new("who vouches for databases"));
        put(&folder.join("ca.pem"), &voucher.pem);
        let (certificate, key) = voucher.server().write(folder.path(), "server");
        let tls = format!("tls = {{ cert = \"{}\", key = {{ file = \"{}\" }} }}", certificate.display(), key.display());
        let server = Hansard::start_on(Store::Folder, &rules(), issuer, &|config| {
            let config = config.replace("targets = [\"app\"]\n", &format!("targets = [\"app\"]\n{tls}\n"));
            config.replace("audience = \"api://hansard\"", &format!("audience = \"{DATABASE}\""))
        });
        put(&folder.join("secret"), "only-for-tests");
        Self { server, issuer, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A recorder in front of it that shows this instead of a password.
    fn shown(&self, token: &str) -> Hansard {
        let port = self.server.login("dev", "port").port;
        Hansard::start_on(Store::Folder, &rules(), self.issuer, &|config| {
            let shared = Postgres::shared();
            let config = config.replace(&format!("127.0.0.1:{}", shared.port()), &format!("127.0.0.1:{port}"));
            let config = config.replace(&shared.ca_file().display().to_string(), &self.path("ca.pem"));
            showing(&config, token)
        })
    }

    /// Whose session it was.
    fn session(&self, application: &str) -> Value {
        let sql = format!("select * from sessions where kind = 'closed' and application = '{application}'");
        let rows = self.server.archive().query_until(&sql, |rows| !rows.is_empty());
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].clone()
    }
}

fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "an issuer has a clock of its own")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn rules() -> String {
    std::fs::read_to_string(repository("tests/support/rules.cedar")).unwrap()
}

/// The configuration with a token in the place of the password.
fn showing(config: &str, token: &str) -> String {
    let (before, password) = config.split_once("password = {").unwrap();
    let (_, after) = password.split_once('}').unwrap();
    format!("{before}token = {{ {token} }}{after}")
}

fn runs(hansard: &Hansard, application: &str) {
    let mut raw = Raw::sign_in(&hansard.login("dev", application));
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ", "{application}");
}

#[test]
fn a_database_that_takes_tokens_gets_ours_which_an_issuer_gave_for_a_secret() {
    let issuer = Issuer::shared();
    let database = ByToken::start(issuer);
    let token = |secret: &str, resource: &str| {
        format!(
            "from = \"client_credentials\", endpoint = \"{}/token\", client_id = \"robot\", resource = \"{resource}\", \
             client_secret = {{ file = \"{}\" }}",
            issuer.url(),
            database.path(secret)
        )
    };
    let hansard = database.shown(&token("secret", DATABASE));
    runs(&hansard, "by-secret");
    runs(&hansard, "by-secret-again");
    assert_eq!(database.session("by-secret")["subject"], "svc-robot");
    let log = hansard.log();
    assert_eq!(log.matches("a token for the login was had").count(), 1, "one token for all logins: {log}");
    assert!(!log.contains("eyJ") && !log.contains("only-for-tests"), "{log}");

    // One that is for somebody else, and a secret that is none: what the client reads says neither.
    let refused = |token: &str, application: &str| {
        let hansard = database.shown(token);
        let login = hansard.login("dev", application);
        let said = Raw::tls(login.port).ask(&login, PROTOCOL, &[]);
        let text = said.last().unwrap().field('M');
        assert!(!text.contains("token") && !text.contains("127.0.0.1"), "{text}");
        let detail = closed(&hansard, application)["detail"].as_str().unwrap().to_owned();
        assert!(!hansard.log().contains("wrong-secret"), "{}", hansard.log());
        (errors(&said).concat(), detail)
    };
    let (sqlstate, detail) = refused(&token("secret", "api://somebody-else"), "for-others");
    assert!(sqlstate == "08004" && detail.contains("28P01"), "{sqlstate}: {detail}");
    put(&database.folder.join("wrong"), "wrong-secret");
    let (sqlstate, detail) = refused(&token("wrong", DATABASE), "wrong-secret");
    assert!(sqlstate == "08001" && detail.contains("\"invalid_client\""), "{sqlstate}: {detail}");
}

#[test]
fn what_somebody_else_signed_for_us_is_shown_as_its_file_holds_it_then() {
    // Its tokens say that they live some seconds, and are taken for longer.
    let issuer: &'static Issuer = Box::leak(Box::new(Issuer::start()));
    issuer.lifetimes(5, 60);
    let database = ByToken::start(issuer);
    let assertion = |jti: &str| {
        let now = now();
        let claims = json!({
            "iss": "federated", "sub": "federated", "aud": issuer.url(), "jti": jti, "iat": now, "exp": now + 300,
        });
        put(&database.folder.join("assertion"), &issuer.signs("JWT", &claims));
    };
    assertion("first");
    let hansard = database.shown(&format!(
        "from = \"workload_identity\", endpoint = \"{}/token\", client_id = \"federated\", resource = \"{DATABASE}\", \
         assertion_file = \"{}\"",
        issuer.url(),
        database.path("assertion")
    ));
    runs(&hansard, "federated");
    assert_eq!(database.session("federated")["subject"], "svc-federated");
    // The issuer takes each assertion once. Ahead of the token's end a newer one is asked for, in vain; nobody notices.
    let mut count = 0;
    wait_for("a renewal in vain", SOON, || {
        count += 1;
        runs(&hansard, &format!("meanwhile-{count}"));
        hansard.log().contains("no token for the login was had").then_some(())
    });
    assertion("second");
    wait_for("the next token", SOON, || {
        drop(Raw::tls(hansard.login("dev", "next").port).ask(&hansard.login("dev", "next"), PROTOCOL, &[]));
        (hansard.log().matches("a token for the login was had").count() == 2).then_some(())
    });
    runs(&hansard, "federated-again");
    issuer.stop_answering();
}

/// Azure's account of a machine: says first that the identity is set up, then gives the token that it holds.
struct Machine {
    url: String,
    token: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Machine {
    fn start(token: &str) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/metadata/identity/oauth2/token", socket.local_addr().unwrap());
        let machine = Self { url, token: Arc::new(Mutex::new(token.to_owned())), asked: Arc::default() };
        let (token, asked) = (Arc::clone(&machine.token), Arc::clone(&machine.asked));
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
                let is_first = asked.lock().unwrap().is_empty();
                asked.lock().unwrap().push(head);
                let token = token.lock().unwrap().clone();
                let given = json!({ "access_token": token, "token_type": "Bearer", "expires_in": "5" });
                let (status, body) = if is_first { ("404 Not Found", json!({})) } else { ("200 OK", given) };
                let (mut answer, body) = (String::new(), body.to_string());
                write!(
                    answer,
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                )
                .unwrap();
                drop(stream.get_mut().write_all(answer.as_bytes()));
            }
        });
        machine
    }
}

#[test]
fn a_machine_in_azure_signs_in_with_the_token_that_it_is_told_and_with_the_next_one_in_time() {
    // PostgreSQL takes the token as a password in the clear, as Azure's does; a longer one than any password.
    let tokens: Vec<String> = (1..=2).map(|which| format!("token-{which}-{}", "x".repeat(3_000))).collect();
    let (postgres, machine) = (Postgres::start_with(&[]), Machine::start(&tokens[0]));
    postgres.demand("all", "password");
    let shared = Postgres::shared();
    let hansard = Hansard::start_edited(&|config| {
        let config = config.replace(&format!("127.0.0.1:{}", shared.port()), &format!("127.0.0.1:{}", postgres.port()));
        let config = config.replace(&shared.ca_file().display().to_string(), &postgres.ca_file().display().to_string());
        let token = format!("from = \"managed_identity\", endpoint = \"{}\", client_id = \"the-app\"", machine.url);
        showing(&config, &token)
    });
    let role = hansard.login("dev", "role").user;
    let becomes = |token: &str| postgres.admin(&format!("alter role \"{role}\" password '{token}'"));
    becomes(&tokens[0]);
    runs(&hansard, "machine");
    let asked = machine.asked.lock().unwrap().clone();
    assert!(asked.len() > 1, "it did not come back: {asked:?}");
    for question in asked {
        assert!(question.starts_with("GET /metadata/identity/oauth2/token?"), "{question}");
        assert!(question.to_lowercase().contains("\r\nmetadata: true\r\n"), "{question}");
        assert!(question.contains("resource=https%3A%2F%2Fossrdbms-aad.database.windows.net"), "{question}");
        assert!(question.contains("client_id=the-app"), "{question}");
    }
    machine.token.lock().unwrap().clone_from(&tokens[1]);
    becomes(&tokens[1]);
    wait_for("the next token", SOON, || {
        let login = hansard.login("dev", "next");
        let said = Raw::tls(login.port).ask(&login, PROTOCOL, &[]);
        said.last().is_some_and(|message| message.kind == 'Z').then_some(())
    });
    runs(&hansard, "machine-again");
    assert!(!hansard.log().contains("token-1") && !hansard.log().contains("xxxx"), "{}", hansard.log());
}
