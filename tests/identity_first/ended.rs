//! Access that ended: an issuer says so, and the sessions that it means end at once, idle or in a query; what is no word of the
//! issuer's ends nothing and is on record.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use hansard::cli::system::SystemClock;
use hansard::model::Clock;
use serde_json::{Value, json};
use tokio_postgres::Client;

use super::support::{Hansard, Issuer, Postgres, Store, connect, free_port, repository};

/// How long something may take that happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type";

/// A Hansard that listens to its issuer, and has operators.
struct Listening {
    hansard: Hansard,
    address: String,
    issuer: &'static Issuer,
    /// The certificate that its doors show, or that of who vouches for it.
    certificate: String,
}

/// Two nodes, each of which tells the other what it is told.
fn nodes() -> ([Listening; 2], tempfile::TempDir) {
    let issuer = Issuer::shared();
    let (ports, doors) = ([free_port(), free_port()], [free_port(), free_port()]);
    let shared = tempfile::tempdir().unwrap();
    let secret = shared.path().join("secret");
    std::fs::write(&secret, "a secret of the nodes, 32 characters or more\n").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let folder = Postgres::shared().ca_file().parent().unwrap().display().to_string();
    let rules = std::fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
    let nodes = [0, 1].map(|at| {
        let (door, other) = (doors[at], 1 - at);
        let hansard = Hansard::start_at(ports[at], Store::Folder, &rules, issuer, &|config| {
            let tls = format!("tls = {{ cert = \"{folder}/server.pem\", key = {{ file = \"{folder}/server.key\" }} }}");
            let config = config.replace("targets = [\"app\"]", &format!("targets = [\"app\"]\n{tls}"));
            let config = config.replace("\"test-node\"", &format!("\"node-{at}\""));
            let cluster = format!(
                "[cluster]\nnumber = {}\nsecret = {{ file = \"{}\" }}\nca_file = \"{folder}/ca.pem\"\n\
                 [cluster.peers.other]\nnumber = {}\naddress = \"127.0.0.1:{}\"\nsign_in = \"https://127.0.0.1:{}\"\n",
                at + 1,
                secret.display(),
                other + 1,
                ports[other],
                doors[other],
            );
            listening(&config, door) + &cluster
        });
        let certificate = std::fs::read_to_string(format!("{folder}/ca.pem")).unwrap();
        Listening { hansard, address: format!("https://127.0.0.1:{door}"), issuer, certificate }
    });
    (nodes, shared)
}

fn listening(config: &str, door: u16) -> String {
    let ends = "algorithms = [\"RS256\"]\nends = { audience = \"hansard-cli\" }\n";
    let door = format!("[sign_in]\naddress = \"127.0.0.1:{door}\"\n[operators]\nroles = \"dba\"\n");
    config.replace("algorithms = [\"RS256\"]\n", ends) + &door
}

impl Listening {
    fn start(issuer: &'static Issuer) -> Self {
        let port = free_port();
        let rules = std::fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
        let hansard = Hansard::start_on(Store::Folder, &rules, issuer, &|config| listening(&config, port));
        let certificate = std::fs::read_to_string(hansard.folder().join("journal/tls/self-signed.crt")).unwrap();
        Self { hansard, address: format!("https://localhost:{port}"), issuer, certificate }
    }

    fn web(&self) -> reqwest::Client {
        let certificate = reqwest::Certificate::from_pem(self.certificate.as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().add_root_certificate(certificate).build().unwrap()
    }

    /// Sends a logout token: the status, and what came with it.
    async fn says_logout(&self, token: &str) -> (u16, Value) {
        let form = format!("logout_token={token}");
        let asked = self.web().post(format!("{}/logout", self.address)).body(form);
        answered(asked.header("content-type", "application/x-www-form-urlencoded")).await
    }

    /// Pushes a security event.
    async fn says_event(&self, token: &str) -> (u16, Value) {
        let asked = self.web().post(format!("{}/events", self.address)).body(token.to_owned());
        answered(asked.header("content-type", "application/secevent+jwt")).await
    }

    /// Asks as whoever has this token.
    async fn operates(&self, token: &str, path: &str, what: Option<&Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.address);
        let asked = match what {
            Some(what) => self.web().post(url).header("content-type", "application/json").body(what.to_string()),
            None => self.web().get(url),
        };
        answered(asked.bearer_auth(token)).await
    }

    fn logout(&self, changes: &Value) -> Value {
        let mut claims = json!({
            "iss": self.issuer.url(), "aud": "hansard-cli", "sub": "u-ana", "iat": now(), "exp": now() + 120,
            "jti": "one", "events": { LOGOUT: {} },
        });
        change(&mut claims, changes);
        claims
    }

    fn event(&self, changes: &Value) -> Value {
        let mut claims = json!({
            "iss": self.issuer.url(), "aud": "hansard-cli", "iat": now(), "jti": "two",
            "sub_id": { "format": "iss_sub", "iss": self.issuer.url(), "sub": "u-ana" },
            "events": { format!("{CAEP}/session-revoked"): { "event_timestamp": now() } },
        });
        change(&mut claims, changes);
        claims
    }

    fn rows(&self, sql: &str, count: usize) -> Vec<Value> {
        self.hansard.archive().query_until(sql, |rows| rows.len() >= count)
    }
}

fn change(claims: &mut Value, changes: &Value) {
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
}

async fn answered(asked: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = asked.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

fn now() -> i64 {
    SystemClock.now().seconds()
}

/// The SQLSTATE and the text that ended a session, or a query in it.
async fn ended(client: &Client, query: &str) -> (String, String) {
    let asked = Instant::now();
    loop {
        if let Err(error) = client.simple_query(query).await {
            let told = error.as_db_error().map(|error| (error.code().code().to_owned(), error.message().to_owned()));
            return told.unwrap_or_else(|| (String::new(), error.to_string()));
        }
        assert!(asked.elapsed() < SOON, "it is still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_at_the_issuer_ends_the_sessions_idle_or_in_a_query_and_lets_their_tokens_in_no_more() {
    let listening = Listening::start(Issuer::shared());
    let hansard = &listening.hansard;
    let ana = listening.issuer.token("ana");
    let idle = connect(&hansard.login_by(ana.clone(), "idle")).await.unwrap();
    let busy = connect(&hansard.login_by(ana.clone(), "busy")).await.unwrap();
    let other = connect(&hansard.login("dev", "other")).await.unwrap();
    idle.simple_query("select 1").await.unwrap();
    let begun = Instant::now();
    let busy = tokio::spawn(async move { ended(&busy, "begin; select pg_sleep(60)").await });
    tokio::time::sleep(Duration::from_millis(500)).await;

    let (at, certificate) = (format!("{}/logout", listening.address), listening.certificate.clone());
    let issuer = listening.issuer;
    let told = tokio::task::spawn_blocking(move || issuer.logs_out("ana", "s-77", &at, &certificate)).await.unwrap();
    assert_eq!(told, "told", "what the issuer says of our answer");
    let (code, text) = busy.await.unwrap();
    assert_eq!(code, "57P01", "{text}");
    assert!(text.starts_with("hansard: session closed: your sign-in was ended, by a logout (ref "), "{text}");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    ended(&idle, "select 1").await;
    other.simple_query("select 1").await.unwrap();

    let refused = connect(&hansard.login_by(ana, "again")).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "28P01");
    assert!(refused.message().contains("your sign-in was ended, by a logout"), "{}", refused.message());
    // What the issuer gives from the next second on is another sign-in.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    connect(&hansard.login("ana", "anew")).await.unwrap().simple_query("select 1").await.unwrap();

    let ends = "select application, reason from sessions where application in ('idle', 'busy', 'again') order by 1";
    let expected =
        ["again", "busy", "idle"].map(|application| json!({ "application": application, "reason": "revoked" }));
    assert_eq!(listening.rows(ends, 3), expected);
    let cut = listening.rows("select status from statements where application = 'busy' and text like '%pg_sleep%'", 1);
    assert_eq!(cut, [json!({ "status": "killed" })]);
    let events = listening.rows("select detail from events where kind = 'access_revoked'", 1);
    assert!(events.iter().any(|event| event["detail"].as_str().unwrap().contains("sessions closed: ")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_logout_of_the_issuer_ends_nothing_and_is_on_record() {
    let listening = Listening::start(Issuer::shared());
    let ana = connect(&listening.hansard.login("ana", "stays")).await.unwrap();
    let issuer = listening.issuer;
    let good = issuer.signs("logout+jwt", &listening.logout(&json!({ "sub": "u-nobody" })));
    let signed = |typ: &str, changes: Value| issuer.signs(typ, &listening.logout(&changes));
    let (body, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{body}.{}", signature.chars().rev().collect::<String>());
    let attacks = [
        (signed("at+jwt", json!({})), "wrong_type"),
        (signed("secevent+jwt", json!({})), "wrong_type"),
        (signed("logout+jwt", json!({ "events": null })), "wrong_type"),
        (signed("logout+jwt", json!({ "nonce": "n" })), "wrong_type"),
        (signed("logout+jwt", json!({ "aud": "api://hansard" })), "wrong_audience"),
        (signed("logout+jwt", json!({ "iat": now() - 3_600, "exp": null })), "too_old"),
        (signed("logout+jwt", json!({ "iat": now() - 500, "exp": now() - 300 })), "expired"),
        (signed("logout+jwt", json!({ "sub": null })), "claim_missing"),
        (signed("logout+jwt", json!({ "iss": "https://elsewhere.example" })), "wrong_issuer"),
        (forged, "bad_signature"),
        (format!("{body}."), "bad_signature"),
        (issuer.token("ana"), "wrong_type"),
        ("no-token".to_owned(), "not_a_token"),
    ];
    for (token, cause) in &attacks {
        let (status, said) = listening.says_logout(token).await;
        assert_eq!((status, said["error"].as_str()), (400, Some("invalid_request")), "{cause}: {said}");
    }
    // What is good counts once.
    assert_eq!(listening.says_logout(&good).await.0, 200);
    assert_eq!(listening.says_logout(&good).await.0, 400);
    ana.simple_query("select 1").await.unwrap();

    let rows = listening.rows("select detail from events where kind = 'revocation_refused'", attacks.len() + 1);
    assert_eq!(rows.len(), attacks.len() + 1, "{rows:?}");
    for (token, cause) in &attacks {
        let is_of = |row: &&Value| row["detail"].as_str().unwrap().contains(&format!(": {cause}: "));
        assert!(rows.iter().any(|row| is_of(&row)), "{cause}: {rows:?}");
        assert!(!rows.iter().any(|row| row["detail"].as_str().unwrap().contains(token.as_str())), "{cause}");
    }
    assert!(rows.iter().any(|row| row["detail"].as_str().unwrap().contains("came before")), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_security_event_ends_exactly_the_sessions_that_it_names() {
    let listening = Listening::start(Issuer::shared());
    let (hansard, issuer) = (&listening.hansard, listening.issuer);
    for (kind, why) in [
        ("session-revoked", "because it was revoked"),
        ("credential-change", "because your credentials changed"),
        ("token-claims-change", "because what your token says changed"),
    ] {
        let ana = connect(&hansard.login("ana", kind)).await.unwrap();
        let dev = connect(&hansard.login("dev", "dev")).await.unwrap();
        let before = json!({ format!("{CAEP}/{kind}"): { "event_timestamp": now() - 3_600 } });
        let (status, _) =
            listening.says_event(&issuer.signs("secevent+jwt", &listening.event(&json!({ "events": before })))).await;
        assert_eq!(status, 202);
        ana.simple_query("select 1").await.expect("it has a newer token");
        let now = json!({ format!("{CAEP}/{kind}"): { "event_timestamp": now() } });
        let event = issuer.signs("secevent+jwt", &listening.event(&json!({ "events": now })));
        let running = tokio::spawn(async move { ended(&ana, "select pg_sleep(60)").await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        // It may come twice, as senders repeat what was not confirmed to them.
        for _ in 0..2 {
            assert_eq!(listening.says_event(&event).await.0, 202);
        }
        let (code, text) = running.await.unwrap();
        assert!(code == "57P01" && text.contains(why), "{code} {text}");
        dev.simple_query("select 1").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    let verification = json!({ "https://schemas.openid.net/secevent/ssf/event-type/verification": { "state": "x" } });
    let verification = issuer.signs("secevent+jwt", &listening.event(&json!({ "events": verification })));
    assert_eq!(listening.says_event(&verification).await.0, 202);
    for (token, err) in [
        (issuer.signs("JWT", &listening.event(&json!({}))), "invalid_request"),
        (issuer.signs("secevent+jwt", &listening.event(&json!({ "aud": "x" }))), "invalid_audience"),
        (issuer.signs("secevent+jwt", &listening.event(&json!({ "iss": "https://x" }))), "invalid_issuer"),
        (issuer.signs("secevent+jwt", &listening.event(&json!({ "sub_id": { "format": "did" } }))), "invalid_request"),
    ] {
        let (status, said) = listening.says_event(&token).await;
        assert_eq!((status, said["err"].as_str()), (400, Some(err)), "{said}");
    }
    let dev = connect(&hansard.login("dev", "dev")).await.unwrap();
    dev.simple_query("select 1").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_ends_and_blocks_and_nobody_else_does() {
    let mut listening = Listening::start(Issuer::shared());
    let issuer = listening.issuer;
    let (dora, dev) = (issuer.token("dora"), issuer.token("dev"));
    let ana = connect(&listening.hansard.login("ana", "seen")).await.unwrap();
    ana.simple_query("begin").await.unwrap();

    for (token, status) in [("", 401), ("no-token", 401), (dev.as_str(), 403)] {
        for (path, what) in [
            ("/operator/sessions", None),
            ("/operator/blocks", None),
            ("/operator/kill", Some(json!({ "who": "u-ana", "reason": "x" }))),
            ("/operator/unblock", Some(json!({ "subject": "u-ana" }))),
        ] {
            let (got, said) = listening.operates(token, path, what.as_ref()).await;
            assert_eq!(got, status, "{path}: {said}");
        }
    }
    let (_, told) = listening.operates(&dora, "/operator/sessions", None).await;
    let [session] = told["sessions"].as_array().unwrap().as_slice() else { panic!("{told}") };
    let shown = ["subject", "application", "target", "state"].map(|name| session[name].as_str().unwrap());
    assert_eq!(shown, ["u-ana", "seen", "app", "in transaction"]);
    let id = session["session"].as_str().unwrap().to_owned();
    let (_, whole) = listening.operates(&dora, &format!("/operator/sessions/{id}"), None).await;
    assert_eq!((&whole["groups"][0], &whole["session"]), (&json!("reporting"), &json!(id)));

    for (what, status) in [
        (json!({ "session": id, "reason": "" }), 400),
        (json!({ "session": id, "reason": "two\nlines" }), 400),
        (json!({ "session": id, "reason": "x", "block_seconds": 0 }), 400),
        (json!({ "session": id, "who": "u-ana", "reason": "x" }), 400),
        (json!({ "reason": "x" }), 400),
        (json!({ "session": "K7Q4M2XKDT", "reason": "x" }), 404),
        (json!({ "who": "nobody-here", "reason": "x" }), 404),
        (json!({ "session": id }), 422),
    ] {
        assert_eq!(listening.operates(&dora, "/operator/kill", Some(&what)).await.0, status, "{what}");
    }
    let running = tokio::spawn(async move { ended(&ana, "select pg_sleep(60)").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let kill = json!({ "session": id, "reason": "CHG-1182 freeze", "block_seconds": 600 });
    let (status, done) = listening.operates(&dora, "/operator/kill", Some(&kill)).await;
    assert_eq!((status, &done["closed"]), (200, &json!([id])));
    let (code, text) = running.await.unwrap();
    assert_eq!((code.as_str(), text.as_str()), ("57P01", done["read"].as_str().unwrap()));
    assert!(
        text.starts_with("hansard: session closed on purpose by ") && text.contains(": CHG-1182 freeze (ref "),
        "{text}"
    );

    // Nor with a new token, nor after a restart.
    for _ in 0..2 {
        let refused = connect(&listening.hansard.login("ana", "back")).await.unwrap_err();
        let refused = refused.as_db_error().unwrap();
        assert_eq!(refused.code().code(), "28000");
        assert!(refused.message().contains("is blocked until"), "{}", refused.message());
        assert_eq!(listening.hansard.stop(), 0);
        listening.hansard.start_again();
    }
    let (_, blocks) = listening.operates(&dora, "/operator/blocks", None).await;
    assert_eq!(blocks["blocks"][0]["why"], "CHG-1182 freeze");
    let lift = json!({ "subject": "u-ana" });
    assert_eq!(listening.operates(&dora, "/operator/unblock", Some(&lift)).await.0, 200);
    assert_eq!(listening.operates(&dora, "/operator/unblock", Some(&lift)).await.0, 404);
    connect(&listening.hansard.login("ana", "in")).await.unwrap().simple_query("select 1").await.unwrap();

    let kinds = "select kind, count(*) as many from events where operator like '%|u-d%' group by kind order by kind";
    let rows = listening.hansard.archive().query_until(kinds, |rows| rows.len() >= 5);
    let expected =
        [("blocked", 1), ("operator_refused", 4), ("session_killed", 1), ("sessions_read", 3), ("unblocked", 1)];
    assert_eq!(rows, expected.map(|(kind, many)| json!({ "kind": kind, "many": many })));
    let ends = listening.rows("select reason from sessions where application = 'seen'", 1);
    assert_eq!(ends, [json!({ "reason": "killed" })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_grows_no_older_than_its_target_lets_it() {
    let hansard = Hansard::start_edited(&|config| {
        let limits = "[target.app.session]\nmax_age = \"2s\"\non_token_expiry = \"keep\"\n";
        format!("{config}{limits}")
    });
    let (idle, busy) =
        (connect(&hansard.login("ana", "idle")).await.unwrap(), connect(&hansard.login("ana", "busy")).await.unwrap());
    idle.simple_query("select 1").await.unwrap();
    busy.simple_query("begin").await.unwrap();
    let asked = Instant::now();
    while !idle.is_closed() {
        assert!(asked.elapsed() < SOON, "it is still open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    busy.simple_query("select 1").await.expect("its transaction may go on");
    busy.simple_query("commit").await.unwrap();
    let (_, text) = ended(&busy, "select 1").await;
    assert!(text.contains("open for as long as one may be here") || busy.is_closed(), "{text}");
    let sql = "select reason from sessions where application in ('idle', 'busy')";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 2);
    assert_eq!(rows, [json!({ "reason": "max_age" }), json!({ "reason": "max_age" })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_by_a_newer_token_of_the_same_person_that_nobody_else_ever_sees() {
    let listening = Listening::start(Issuer::shared());
    let (hansard, issuer) = (&listening.hansard, listening.issuer);
    let short = |who: &str| issuer.token_for(who, "api://hansard", Duration::from_secs(4));
    let old = short("ana");
    let client = connect(&hansard.login_by(old.clone(), "goes-on")).await.unwrap();
    let refusal = |error: tokio_postgres::Error| {
        let error = error.as_db_error().unwrap();
        (error.code().code().to_owned(), error.message().to_owned())
    };
    let new = issuer.token("ana");
    let somebody_elses = issuer.token("dev");
    for (statement, code) in [
        (format!("SET hansard.token = '{somebody_elses}'"), "28000"),
        (format!("SET hansard.token = '{}'", issuer.expired_token("ana", Duration::from_secs(600))), "28P01"),
        (format!("SET hansard.token = '{}'", issuer.token_for("ana", "api://other", Duration::from_secs(60))), "28P01"),
        (format!("SELECT 1; SET hansard.token = '{new}'"), "0A000"),
        (format!("SELECT set_config('hansard.token', '{new}', false)"), "0A000"),
    ] {
        let (got, text) = refusal(client.simple_query(&statement).await.unwrap_err());
        assert_eq!(got, code, "{text}");
        assert!(text.starts_with("hansard: no newer token taken: "), "{text}");
    }
    client.simple_query("BEGIN").await.unwrap();
    client.simple_query(&format!("set hansard.token to '{new}';")).await.unwrap();
    client.simple_query("COMMIT").await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.simple_query("select 'after the old one ended'").await.expect("it goes on");
    // By the extended protocol too, prepared and executed twice.
    let newest = issuer.token_for("ana", "api://hansard", Duration::from_secs(7_200));
    let prepared = client.prepare(&format!("SET hansard.token = '{newest}'")).await.unwrap();
    for _ in 0..2 {
        client.execute(&prepared, &[]).await.unwrap();
    }
    client.simple_query("select 'by the newest'").await.unwrap();

    let by = "select text, token_expires > now() + interval 90 minute as newest from statements \
              where application = 'goes-on' and text like 'select ''%' order by time";
    let rows = listening.rows(by, 2);
    let newest_of = |at: usize| rows[at]["newest"].as_bool().unwrap();
    assert_eq!((newest_of(0), newest_of(1)), (false, true), "each by the token that it was judged by: {rows:?}");
    let (code, _, said) = hansard.run(&["verify"]);
    assert!(code == 0 || code == 10, "what was shipped so far contradicts nothing: {code} {said}");
    let events = listening.rows("select detail from events where kind = 'token_renewed'", 2);
    assert_eq!(events.len(), 2, "{events:?}");
    let all = "select text from statements where application = 'goes-on'";
    let texts = listening.rows(all, 12);
    let everything = format!("{texts:?}{events:?}{}", hansard.log());
    let reached = format!("{:?}", Postgres::shared().logged("goes-on", 6));
    assert!(reached.contains("SET hansard.token = '(not kept)'"), "{reached}");
    for token in [&new, &newest, &somebody_elses] {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!everything.contains(signature), "a token is on record or in the log");
        assert!(!reached.contains(signature), "a token reached the database");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_newer_token_a_session_ends_with_its_own() {
    let listening = Listening::start(Issuer::shared());
    let short = listening.issuer.token_for("ana", "api://hansard", Duration::from_secs(3));
    let client = connect(&listening.hansard.login_by(short.clone(), "ends")).await.unwrap();
    let sha256 = hansard::model::Sha256::of(short.as_bytes()).to_string();
    let asked = json!({ "token_sha256": sha256 });
    let ana = listening.issuer.token("ana");
    for (token, asked, status) in [
        ("", asked.clone(), 401),
        (listening.issuer.token("dev").as_str(), asked.clone(), 404),
        (ana.as_str(), json!({ "token_sha256": "x" }), 400),
        (ana.as_str(), json!({ "token_sha256": "0".repeat(64) }), 404),
    ] {
        assert_eq!(listening.operates(token, "/renew", Some(&asked)).await.0, status, "{asked}");
    }
    let other = connect(&listening.hansard.login_by(short, "goes-on")).await.unwrap();
    assert_eq!(listening.operates(&ana, "/renew", Some(&asked)).await, (200, json!({ "renewed": 2 })));
    tokio::time::sleep(Duration::from_secs(4)).await;
    client.simple_query("select 1").await.unwrap();
    other.simple_query("select 1").await.unwrap();

    let short = listening.issuer.token_for("ana", "api://hansard", Duration::from_secs(2));
    let ends = connect(&listening.hansard.login_by(short, "without")).await.unwrap();
    let (code, text) = ended(&ends, "select 1").await;
    assert!(code.is_empty() || text.contains("your sign-in expired"), "{code} {text}");
    let rows = listening.rows("select reason from sessions where application = 'without'", 1);
    assert_eq!(rows, [json!({ "reason": "token_expired" })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_only_its_issuer_can_read_signs_in_until_the_issuer_takes_it_back() {
    let issuer = Issuer::shared();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "only-for-tests").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let introspection = format!(
        "introspection = {{ client_id = \"asker\", client_secret = {{ file = \"{}\" }}, every = \"5s\" }}\n",
        secret.display()
    );
    let rules = std::fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
    let hansard = Hansard::start_on(Store::Folder, &rules, issuer, &|config| {
        let config = config.replace("api://hansard", "api://opaque");
        let config =
            config.replace("algorithms = [\"RS256\"]\n", &format!("algorithms = [\"RS256\"]\n{introspection}"));
        config.replace("subject = \"sub\"\n", "subject = \"person\"\n")
    });
    let (ana, dev) = (issuer.opaque_token("ana"), issuer.opaque_token("dev"));
    assert!(!ana.contains('.'), "{ana}");
    let taken = connect(&hansard.login_by(ana.clone(), "taken-back")).await.unwrap();
    let kept = connect(&hansard.login_by(dev, "kept")).await.unwrap();
    taken.simple_query("select 1").await.unwrap();
    let running = tokio::spawn(async move { ended(&taken, "select pg_sleep(60)").await });
    issuer.takes_back("ana", &ana);
    let (code, text) = running.await.unwrap();
    assert!(code == "57P01" && text.contains("its issuer does not hold to it any more"), "{code} {text}");
    kept.simple_query("select 1").await.unwrap();

    let strange = "A".repeat(43);
    for (token, cause) in [(ana.as_str(), "inactive"), (strange.as_str(), "inactive"), ("hunter2", "not_a_token")] {
        let refused = connect(&hansard.login_by(token.to_owned(), cause)).await.unwrap_err();
        assert_eq!(refused.as_db_error().unwrap().code().code(), "28P01");
    }
    let sql = "select subject, reason from sessions where application in ('taken-back', 'inactive', 'not_a_token') order by 2";
    let rows = hansard.archive().query_until(sql, |rows| rows.len() >= 4);
    let reasons: Vec<&str> = rows.iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["inactive", "inactive", "not_a_token", "revoked"]);
    assert_eq!(rows[3]["subject"], "u-ana");
    assert!(!hansard.log().contains(&ana), "the token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_at_one_node_holds_at_all() {
    let ([mut one, two], _secret) = nodes();
    let ana = one.issuer.token("ana");
    let by = |node: &Listening, token: &str, application: &str| node.hansard.login_by(token.to_owned(), application);
    let here = connect(&by(&one, &ana, "here")).await.unwrap();
    let there = connect(&by(&two, &ana, "there")).await.unwrap();
    let token = one.issuer.signs("logout+jwt", &one.logout(&json!({})));
    assert_eq!(one.says_logout(&token).await.0, 200);
    ended(&here, "select 1").await;
    ended(&there, "select 1").await;
    for node in [&one, &two] {
        assert!(connect(&by(node, &ana, "again")).await.is_err());
    }
    assert_eq!(two.says_logout(&token).await.0, 400, "it counted there, once");

    let (dora, dev) = (one.issuer.token("dora"), one.issuer.token("dev"));
    let here = connect(&by(&one, &dev, "dev-here")).await.unwrap();
    let there = connect(&by(&two, &dev, "dev-there")).await.unwrap();
    let (_, told) = two.operates(&dora, "/operator/sessions", None).await;
    let applications =
        || told["sessions"].as_array().unwrap().iter().map(|session| session["application"].as_str().unwrap());
    assert!(["dev-here", "dev-there"].iter().all(|one| applications().any(|listed| listed == *one)), "{told}");
    let id = told["sessions"].as_array().unwrap().iter().find(|session| session["application"] == "dev-here").unwrap();
    let id = id["session"].as_str().unwrap();
    // Asked at the node that does not have it.
    assert_eq!(two.operates(&dora, &format!("/operator/sessions/{id}"), None).await.1["subject"], "u-dev");
    let kill = json!({ "session": id, "reason": "x", "block_seconds": 600 });
    let (status, done) = two.operates(&dora, "/operator/kill", Some(&kill)).await;
    assert_eq!((status, &done["away"]), (200, &json!([])), "{done}");
    ended(&here, "select 1").await;
    for node in [&one, &two] {
        let refused = connect(&by(node, &dev, "blocked")).await.unwrap_err();
        assert_eq!(refused.as_db_error().unwrap().code().code(), "28000");
    }
    there.simple_query("select 1").await.expect("one session was meant");
    let (_, done) = one.operates(&dora, "/operator/kill", Some(&json!({ "who": "u-dev", "reason": "all" }))).await;
    assert_eq!(done["closed"].as_array().map(Vec::len), Some(1), "{done}");
    ended(&there, "select 1").await;
    let lift = json!({ "subject": "u-dev" });
    assert_eq!(one.operates(&dora, "/operator/unblock", Some(&lift)).await.0, 200);
    for node in [&one, &two] {
        connect(&by(node, &dev, "in")).await.unwrap().simple_query("select 1").await.unwrap();
    }

    // A node that was away for a moment is told when it is back. Tokens from the next second on are of another sign-in.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let ana = one.issuer.token("ana");
    let there = connect(&by(&two, &ana, "told-late")).await.unwrap();
    assert_eq!(one.hansard.stop(), 0);
    let later = two.issuer.signs("logout+jwt", &two.logout(&json!({ "jti": "later", "iat": now() + 1 })));
    assert_eq!(two.says_logout(&later).await.0, 200);
    ended(&there, "select 1").await;
    let (_, told) = two.operates(&dora, "/operator/sessions", None).await;
    assert_eq!(told["away"], json!(["other"]));
    one.hansard.start_again();
    let asked = Instant::now();
    while connect(&by(&one, &ana, "told-late")).await.is_ok() {
        assert!(asked.elapsed() < Duration::from_secs(30), "it was not told");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
