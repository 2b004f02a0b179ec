//! What the file accepts, what it refuses with which words, and that the schema says the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::reading::Surroundings;
use super::*;
use crate::identity::{Algorithm, Tokens};

mod ends;
mod issuers;
mod logins;
mod shown;
mod sign_in;

const MINIMAL: &str = include_str!("../../fixtures/config/minimal.toml");
const AZURE: &str = include_str!("../../fixtures/config/azure.toml");

fn parse(text: &str) -> Result<Config, Problems> {
    let surroundings = Surroundings {
        variable: &|name| (name == "HOSTNAME").then(|| "node-7".to_owned()),
        hostname: &|| Some("db gate.example".to_owned()),
    };
    Config::parse(text, Path::new("/etc/hansard/h.toml"), surroundings)
}

/// The problems without the name of the file in front.
fn problems(text: &str) -> Vec<String> {
    let problems = parse(text).unwrap_err();
    problems.to_string().lines().map(|line| line.replace("/etc/hansard/h.toml:", "")).collect()
}

/// The minimal file with something changed.
fn changed(from: &str, to: &str) -> String {
    assert!(MINIMAL.contains(from), "{from}");
    MINIMAL.replace(from, to)
}

#[test]
fn the_least_file_gets_every_default() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.node.as_str(), "db-gate.example");
    let [Issuer { settings: issuer, client: None, introspection: None }] = config.issuers.as_slice() else {
        panic!("{config:?}")
    };
    assert_eq!(issuer.keys, KeysAt::Discovery("https://login.example/tenant/v2.0".to_owned()));
    assert_eq!(issuer.accepted(), ["https://login.example/tenant/v2.0"]);
    assert_eq!(issuer.algorithms, [Algorithm::Rs256, Algorithm::Es256]);
    assert_eq!((issuer.clock_skew, issuer.max_token_age), (Duration::from_secs(60), None));
    assert_eq!((issuer.keep_when_away, issuer.tokens), (Duration::from_secs(86_400), Tokens::Access));
    assert_eq!((issuer.claims.subject.as_str(), issuer.claims.workloads.all), ("sub", false));
    let [listener] = config.listeners.as_slice() else { panic!("{config:?}") };
    let behind = Behind { target: "app".to_owned(), server_names: Vec::new() };
    assert_eq!((listener.name.as_str(), listener.targets.as_slice()), ("main", [behind].as_slice()));
    assert_eq!(listener.address, "127.0.0.1:6432".parse().unwrap());
    assert_eq!((&listener.tls, listener.plain), (&None, Plain::Refuse));
    assert!(listener.balancers.is_empty());
    let [target] = config.targets.as_slice() else { panic!("{config:?}") };
    assert_eq!(target.upstreams, [Server::Tcp(Upstream { host: "pg.internal".to_owned(), port: 5432 })]);
    assert_eq!(target.tls, UpstreamTls::VerifyFull(VerifyFull::default()));
    let [login] = target.logins.as_slice() else { panic!("{config:?}") };
    let password = Secret::in_file("target.app.login.password", "/run/secrets/pg");
    assert_eq!(login.proof, LoginProof::Password(password));
    assert_eq!((login.user.as_str(), &login.whose), ("hansard", &Whose::default()));
    assert_eq!(target.on_token_expiry, OnTokenExpiry::FinishTransactionThenClose);
    assert_eq!((target.read_only, target.application_name), (ReadOnly::ByRules, ApplicationName::Keep));
    let hour = Duration::from_secs(3_600);
    let limits = SessionLimits { idle: None, idle_in_transaction: None, statement: None, unread: hour, max_age: None };
    assert_eq!((target.max_message, target.limits), (256 << 20, limits));
    assert_eq!(config.journal.max, 10 << 30);
    assert_eq!(config.storage.place, Place::Folder("/var/lib/hansard/store".into()));
    assert_eq!(config.log, Log { format: None, level: LogLevel::Info });
    assert_eq!(config.metrics, None);
    assert_eq!(config.cluster, None);
    assert_eq!(config.sign_in, None);
    let sign_in = Duration::from_secs(60);
    let expected = Limits { connections: 2_000, sessions_per_identity: None, sign_in, memory: 1 << 30 };
    assert_eq!(config.limits, expected);
    assert_eq!(config.drain, Drain { limit: Duration::from_secs(10) });
}

#[test]
fn the_azure_file_is_read_as_it_says() {
    let config = parse(AZURE).unwrap();
    assert_eq!(config.node.as_str(), "node-7");
    let [entra, github] = config.issuers.as_slice() else { panic!("{:?}", config.issuers) };
    let (entra, github) = (&entra.settings, &github.settings);
    assert_eq!(entra.tenants, ["11111111-2222-3333-4444-555555555555"]);
    assert_eq!(entra.max_token_age, Some(Duration::from_secs(5_400)));
    assert_eq!((entra.claims.subject.as_str(), entra.claims.keep.len()), ("oid", 6));
    assert_eq!(github.require_claims["repository_owner_id"], ["65"]);
    assert!(github.claims.workloads.all);
    assert!(
        config.kept_claims().contains(&"uti".to_owned()) && config.kept_claims().contains(&"environment".to_owned())
    );
    let names = |of: &Listener| (of.name.clone(), of.targets.iter().map(|it| it.target.clone()).collect::<String>());
    let names: Vec<_> = config.listeners.iter().map(names).collect();
    let expected = [("clinical", "prod-clinical"), ("reporting", "reporting")];
    assert_eq!(names, expected.map(|(listener, target)| (listener.to_owned(), target.to_owned())));
    assert_eq!(config.targets[0].databases["prod-clinical"], "clinical");
    let ca_file = Some("/etc/hansard/tls/internal-ca.pem".into());
    assert_eq!(config.targets[1].tls, UpstreamTls::VerifyFull(VerifyFull { ca_file, own: None }));
    assert_eq!(config.policy.len(), 2);
    assert_eq!(config.journal.max, 40 << 30);
    let azure = Azure {
        account: "auditprod".to_owned(),
        container: "db-sessions".to_owned(),
        prefix: "prod".to_owned(),
        auth: AzureAuth::WorkloadIdentity { client_id: None },
        endpoint: None,
    };
    assert_eq!(config.storage.place, Place::Azure(azure));
    assert_eq!(config.sign_in.as_ref().map(|told| told.listener.as_str()), Some("clinical"));
    assert_eq!(config.issuers[0].client.as_ref().map(|client| client.scopes.len()), Some(2));
    assert_eq!(config.secrets().len(), 4);
    assert_eq!(config.files().len(), 6);
    let timestamps = Timestamps {
        url: "http://timestamp.example/tsr".to_owned(),
        authorities: "/etc/hansard/tls/timestamps.pem".into(),
        every: Duration::from_secs(3_600),
    };
    assert_eq!(config.evidence.timestamps, Some(timestamps));
    let Some(Place::Azure(copy)) = config.evidence.copy else { panic!("{:?}", config.evidence) };
    assert_eq!((copy.account.as_str(), copy.container.as_str()), ("auditwitness", "db-checkpoints"));
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    assert_eq!(
        problems(&changed("audience  =", "audiance =")),
        [
            "3:1: issuer.entra: the key \"audience\" is missing",
            "5:1: issuer.entra: unknown key \"audiance\"; did you mean \"audience\"?"
        ]
    );
    assert_eq!(
        problems(&changed("[policy]", "[policy]\nzzz = 1")),
        ["13:1: policy: unknown key \"zzz\"; known here: path"]
    );
    assert_eq!(problems(&format!("polcy = 1\n{MINIMAL}")), ["1:1: unknown key \"polcy\"; did you mean \"policy\"?"]);
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let text = r#"
node = "../x"
[issuer.entra]
discovery = "http://login.example"
audience = []
algorithms = ["RS256", "HS256", "none"]
clock_skew = "5m"
max_token_age = 90
[identity.entre]
subjct = "oid"
[listener.main]
address = "localhost"
targets = ["ap"]
[target.app]
engine = "mysql"
upstream = "pg.internal"
login = { user = "", password = "hunter2" }
max_message = "2GiB"
[target.other]
engine = "postgresql"
upstream = "10.0.0.1:5432"
tls = { mode = "disable" }
login = { user = "x", password = { file = "a", env = "B" } }
[storage]
url = "azure://a/b"
segment = { max_age = 60, max_size = "64MB" }
[journal]
refuse_new_sessions_at = "100%"
[telemetry]
log = { format = "xml", level = 3 }
"#;
    let expected = [
        "1:1: the section [policy] is missing",
        "2:8: node: a node name has 1 to 63 of a-z A-Z 0-9 - _ . and does not start with a dot",
        "4:13: issuer.entra.discovery: http:// is for loopback; use https://",
        "5:12: issuer.entra.audience: the list is empty",
        "6:24: issuer.entra.algorithms: expected one of \"RS256\" \"RS384\" \"RS512\" \"PS256\" \"PS384\" \"PS512\" \
         \"ES256\" \"ES384\" \"EdDSA\", found other text",
        "6:33: issuer.entra.algorithms: expected one of \"RS256\" \"RS384\" \"RS512\" \"PS256\" \"PS384\" \"PS512\" \
         \"ES256\" \"ES384\" \"EdDSA\", found other text",
        "7:14: issuer.entra.clock_skew: must be at most 1m",
        "8:17: issuer.entra.max_token_age: expected a duration with its unit (ms, s, m, h, d), such as \"60s\", found a \
         bare number",
        "9:1: identity.entre: there is no [issuer.entre]",
        "10:1: identity.entre: unknown key \"subjct\"; did you mean \"subject\"?",
        "12:11: listener.main.address: expected an IP address and a port, such as \"127.0.0.1:6432\" or \"[::1]:6432\", \
         found other text",
        "13:11: listener.main.targets: there is no [target.ap]; did you mean \"app\"?",
        "15:10: target.app.engine: expected one of \"postgresql\", found other text",
        "16:12: target.app.upstream: expected a host and a port, such as \"db.internal:5432\", or the folder of a Unix \
         socket and a port, such as \"/run/postgresql:5432\", found other text",
        "17:18: target.app.login.user: is empty",
        "17:33: target.app.login.password: a secret is given by reference, { file = \"…\" } or { env = \"…\" }, never \
         written out",
        "18:15: target.app.max_message: must be from 64KiB to 1GiB",
        "22:16: target.other.tls.mode: \"disable\" is for an upstream on loopback: statements and rows would be \
         readable on the way",
        "23:34: target.other.login.password: give exactly one of \"file\" and \"env\"",
        "25:7: storage.url: expected file:///folder or az://container/prefix",
        "26:23: storage.segment.max_age: expected a duration with its unit (ms, s, m, h, d), such as \"60s\", found a \
         bare number",
        "26:38: storage.segment.max_size: expected a size with its unit (B, KiB, MiB, GiB, TiB), such as \"64MiB\", \
         found other text",
        "28:26: journal.refuse_new_sessions_at: expected a share from \"1%\" to \"99%\", found other text",
        "30:18: telemetry.log.format: expected one of \"text\" \"json\", found other text",
        "30:33: telemetry.log.level: expected one of \"error\" \"warn\" \"info\" \"debug\" \"trace\", found a bare \
         number",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn a_secret_in_the_wrong_place_is_never_repeated() {
    for line in [
        "login = { user = \"x\", password = \"hunter2\" }",
        "login = { user = \"x\", password = { file = \"a\", value = \"hunter2\" } }",
        "login = { user = \"x\", passwort = \"hunter2\" }",
        "login = \"hunter2\"",
        "login = { user = \"x\", password = \"hunter2 }",
        "login = { user = 1, password = \"hunter2\" }",
    ] {
        let text = changed("login    = { user = \"hansard\", password = { file = \"/run/secrets/pg\" } }", line);
        let said = problems(&text).join("\n");
        assert!(!said.is_empty() && !said.contains("hunter2"), "{line}: {said}");
    }
    let sas = changed("file:///var/lib/hansard/store", "https://x.blob.core.windows.net/c?sig=hunter2");
    assert_eq!(problems(&sas), ["16:7: storage.url: expected file:///folder or az://container/prefix"]);
}

#[test]
fn a_newer_format_is_an_error_and_the_only_one() {
    let text = format!("version = 2\nnew_key = 1\n{MINIMAL}");
    let newer = "version: the file is of a newer format than this program knows (1); use a newer hansard";
    assert_eq!(problems(&text), [format!("1:11: {newer}")]);
    assert_eq!(problems(&format!("version = 0\n{MINIMAL}")), ["1:11: version: expected 1"]);
    assert_eq!(problems(&format!("version = \"1\"\n{MINIMAL}")), ["1:11: version: expected 1"]);
    assert!(parse(&format!("version = 1\n{MINIMAL}")).is_ok());
}

#[test]
fn an_empty_file_and_broken_toml_say_what_they_are() {
    assert_eq!(
        problems(""),
        [
            "1:1: the section [issuer.NAME] is missing",
            "1:1: the section [policy] is missing",
            "1:1: the section [storage] is missing",
            "1:1: the section [target.NAME] is missing"
        ]
    );
    let said = problems("a = \n[b\nc = 1 2\n");
    assert!(said.len() >= 2 && said.iter().all(|line| line.contains(": not TOML: ")), "{said:?}");
}

#[test]
fn every_target_has_its_listener() {
    let second = "[target.b]\nengine = \"postgresql\"\nupstream = \"b:1\"\nlogin = { user = \"u\", password = { env = \"P\" } }\n";
    assert_eq!(
        problems(&format!("{MINIMAL}{second}")),
        ["1:1: listener.main: the key \"targets\" is missing; there are app, b"]
    );
    let one_way = format!("{MINIMAL}{second}[listener.x]\ntargets = \"app\"\n");
    assert_eq!(problems(&one_way), ["17:1: target.b: no listener leads here"]);
    let same_address = format!("{MINIMAL}{second}[listener.x]\ntargets = \"app\"\n[listener.y]\ntargets = \"b\"\n");
    assert_eq!(problems(&same_address), ["23:1: listener.y.address: is that of listener.x too"]);
}

/// The least file with a target more, whose `databases` are these.
fn with_another(databases: &str, listener: &str) -> String {
    let login = "login = { user = \"u\", password = { env = \"P\" } }";
    let target = format!("[target.b]\nengine = \"postgresql\"\nupstream = \"b:1\"\n{login}\ndatabases = {databases}\n");
    format!("{MINIMAL}{target}[listener.x]\n{listener}\n")
}

#[test]
fn several_targets_of_a_listener_are_told_apart_or_it_is_an_error() {
    let both = "targets = [\"app\", \"b\"]";
    let config = parse(&with_another("{ billing = \"prod\" }", both)).unwrap();
    let names = |config: &Config| config.listeners[0].targets.iter().map(|it| it.target.clone()).collect::<Vec<_>>();
    assert_eq!(names(&config), ["app", "b"]);
    assert_eq!(config.targets[1].database_names().collect::<Vec<_>>(), ["b", "billing"]);
    let shared = "23:11: listener.x.targets: the database \"app\" would be that of \"app\" and that of \"b\"; give it another name \
                  in `databases`, or a host name in `sni`";
    assert_eq!(problems(&with_another("{ app = \"prod\" }", both)), [shared]);

    let by_host = "targets = [\"app\", { name = \"b\", sni = [\"B.example.com\", \"b.internal\"] }]";
    let config = parse(&with_another("{ app = \"prod\" }", by_host)).unwrap();
    assert_eq!(config.listeners[0].targets[1].server_names, ["b.example.com", "b.internal"]);
    for (listener, problem) in [
        ("targets = [\"app\", \"b\", \"app\"]", "\"app\" is named twice"),
        (
            "targets = [{ name = \"app\", sni = \"x.example\" }, { name = \"b\", sni = \"X.example\" }]",
            "the host name \"x.example\" would lead to \"app\" and to \"b\"",
        ),
        ("targets = [\"app\", \"c\"]", "there is no [target.c]"),
        (
            "targets = [\"app\", 7]",
            "expected the name of a target or { name = \"…\", sni = \"…\" }, found a bare number",
        ),
        (
            "targets = [\"app\", { name = \"b\", sni = \"10.0.0.1\" }]",
            "expected the name of a host, such as \"db.example.com\", not an address, found other text",
        ),
    ] {
        let said = problems(&with_another("{}", listener));
        assert!(said.iter().any(|line| line.contains(problem)), "{listener}: {said:?}");
    }
}

/// The least file with a timestamp authority.
const STAMPED: &str = concat!(
    include_str!("../../fixtures/config/minimal.toml"),
    "\n[evidence.timestamps]\nurl = \"http://tsa.example/\"\nauthorities = \"tsa.pem\"\n"
);

#[test]
fn evidence_is_made_without_being_asked_for_and_says_what_is_wrong_with_it() {
    let config = parse(MINIMAL).unwrap();
    assert_eq!(config.evidence.keys, config.journal.path.join("keys"));
    assert_eq!((config.evidence.timestamps, config.evidence.copy), (None, None));
    let stamped = parse(STAMPED).unwrap().evidence.timestamps.unwrap();
    assert_eq!((stamped.url.as_str(), stamped.every), ("http://tsa.example/", Duration::from_secs(3_600)));
    let evidence = |section: &str| problems(&format!("{MINIMAL}[evidence]\n{section}\n"));
    assert_eq!(evidence("heartbeat = \"2h\""), ["18:13: evidence.heartbeat: must be 1s to 1h"]);
    let stamps = evidence("timestamps = { url = \"ftp://x\", authorities = \"a.pem\", every = \"0s\" }");
    assert_eq!(stamps[0], "18:22: evidence.timestamps.url: expected a URL that begins with https://");
    assert!(stamps[1].contains("evidence.timestamps.every: must be 1s to 1d"), "{stamps:?}");
    let copy = evidence("copy = { url = \"az://audit\" }");
    assert_eq!(copy.len(), 2, "{copy:?}");
    assert!(copy[0].contains("evidence.copy: an az:// url needs the key \"account\""), "{copy:?}");
    let misplaced = evidence("copy = { url = \"file:///x\", segment = { max_age = \"1m\" } }");
    assert!(misplaced[0].contains("unknown key \"segment\""), "{misplaced:?}");
}

#[test]
fn metrics_have_an_address_of_their_own() {
    let metrics = |section: &str| format!("{MINIMAL}[telemetry]\nmetrics = {section}\n");
    let config = parse(&metrics("{ address = \"127.0.0.1:9464\" }")).unwrap();
    assert_eq!(config.metrics, Some(Metrics { address: "127.0.0.1:9464".parse().unwrap() }));
    let taken = problems(&metrics("{ address = \"127.0.0.1:6432\" }"));
    assert_eq!(taken, ["18:23: telemetry.metrics.address: is that of listener.main too"]);
    assert_eq!(problems(&metrics("{}")), ["18:11: telemetry.metrics: the key \"address\" is missing"]);
}

#[test]
fn what_is_taken_on_has_limits_that_leave_something() {
    let limits = |lines: &str| format!("{MINIMAL}[limits]\n{lines}\n");
    let read = parse(&limits("connections = 1\nmemory = \"1MiB\"")).unwrap().limits;
    assert_eq!((read.connections, read.memory), (1, 1 << 20));
    for bad in ["0", "-1", "100001", "\"5\"", "1.5"] {
        let said = problems(&limits(&format!("connections = {bad}")));
        assert_eq!(said, ["18:15: limits.connections: expected a whole number from 1 to 100000"], "{bad}");
    }
    assert_eq!(problems(&limits("memory = \"1023KiB\"")), ["18:10: limits.memory: must be at least 1MiB"]);
    let read = parse(&limits("sessions_per_identity = 20\nsign_in = \"10s\"")).unwrap().limits;
    assert_eq!((read.sessions_per_identity, read.sign_in), (Some(20), Duration::from_secs(10)));
    assert_eq!(problems(&limits("sign_in = \"1s\"")), ["18:11: limits.sign_in: must be 5s to 10m"]);
}

#[test]
fn a_stop_waits_as_long_as_it_is_told_and_not_for_hours() {
    let drain = |limit: &str| format!("{MINIMAL}[drain]\nlimit = \"{limit}\"\n");
    assert_eq!(parse(&drain("90s")).unwrap().drain.limit, Duration::from_secs(90));
    assert_eq!(parse(&drain("0s")).unwrap().drain.limit, Duration::ZERO);
    assert_eq!(problems(&drain("2h")), ["18:9: drain.limit: must be at most 1h"]);
}

#[test]
fn time_limits_of_sessions_are_off_unless_they_are_written_and_within_reason() {
    let session = |lines: &str| format!("{MINIMAL}[target.app.session]\n{lines}\n");
    let second = Some(Duration::from_secs(1));
    let text = session("idle = \"1s\"\nidle_in_transaction = \"1s\"\nstatement = \"1s\"\nunread = \"1s\"");
    let limits = parse(&text).unwrap().targets[0].limits;
    assert_eq!((limits.idle, limits.idle_in_transaction), (second, second));
    assert_eq!((limits.statement, Some(limits.unread)), (second, second));
    assert_eq!(
        problems(&session("idle = \"0s\"\nstatement = \"31d\"\nunread = \"999ms\"")),
        [
            "18:8: target.app.session.idle: must be 1s to 30d",
            "19:13: target.app.session.statement: must be 1s to 30d",
            "20:10: target.app.session.unread: must be 1s to 30d",
        ]
    );
}

#[test]
fn azure_keys_belong_to_the_proof_they_are_for() {
    let storage = |lines: &str| {
        let text = changed("url = \"file:///var/lib/hansard/store\"", &format!("url = \"az://audit\"\n{lines}"));
        parse(&text)
            .map(|config| config.storage.place)
            .map_err(|problems| problems.list().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>())
    };
    let Ok(Place::Azure(azure)) = storage(
        "account = \"devstoreaccount1\"\nauth = \"key\"\nkey = { env = \"K\" }\nendpoint = \"http://127.0.0.1:10000/devstoreaccount1\"",
    ) else {
        panic!("the emulator is a place")
    };
    assert_eq!(azure.auth, AzureAuth::Key(Secret::in_env("storage.key", "K")));
    let identity = storage("account = \"abc\"\nauth = \"managed_identity\"\nclient_id = \"x\"").unwrap();
    assert!(format!("{identity:?}").contains("ManagedIdentity { client_id: Some(\"x\") }"));
    assert_eq!(
        storage("").unwrap_err(),
        ["storage: an az:// url needs the key \"account\"", "storage: an az:// url needs the key \"auth\""]
    );
    assert_eq!(
        storage("account = \"A!\"\nauth = \"sas\"\nkey = { env = \"K\" }\nclient_id = \"x\"\nendpoint = \"http://blob.example\"")
            .unwrap_err(),
        [
            "storage.account: an account's name has 3 to 24 of a-z 0-9",
            "storage.auth: auth = \"sas\" needs the key \"sas\"",
            "storage.key: belongs to auth = \"key\"",
            "storage.client_id: belongs to auth = \"managed_identity\" or \"workload_identity\"",
            "storage.endpoint: http:// is for loopback; use https://"
        ]
    );
    assert_eq!(problems(&format!("{MINIMAL}account = \"abc\"\n")), ["17:11: storage.account: belongs to an az:// url"]);
}

#[test]
fn a_node_name_from_the_environment_must_be_there() {
    let text = format!("node = {{ env = \"NOBODY\" }}\n{MINIMAL}");
    assert_eq!(problems(&text), ["1:8: node: the environment variable NOBODY is not set"]);
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_like_any_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("h.toml");
    let said = Config::load(&path).unwrap_err().to_string();
    assert!(said.starts_with(&format!("{}: cannot be read: ", path.display())), "{said}");
    std::fs::write(&path, b"\xff").unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().contains("is not UTF-8 text"));
    std::fs::write(&path, vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert!(Config::load(&path).unwrap_err().to_string().ends_with("is longer than 1MiB"));
}

#[test]
fn the_nodes_of_a_cluster_have_a_number_each() {
    let cluster = |number: &str, peers: &str| {
        format!("{MINIMAL}\n[cluster]\nnumber = {number}\nsecret = {{ env = \"S\" }}\nca_file = \"ca.pem\"\n{peers}\n")
    };
    let peer = |name: &str, number: &str| {
        format!("[cluster.peers.{name}]\nnumber = {number}\naddress = \"{name}.internal:5432\"\n")
    };
    let config = parse(&cluster("1", &(peer("b", "2") + &peer("c", "255")))).unwrap();
    assert_eq!(config.secrets().len(), 2);
    assert!(config.files().contains(&("cluster.ca_file".to_owned(), Path::new("/etc/hansard/ca.pem"))));
    let cluster_read = config.cluster.unwrap();
    let numbers: Vec<_> = cluster_read.peers.iter().map(|peer| (peer.name.as_str(), peer.number)).collect();
    assert_eq!((cluster_read.number, numbers), (1, vec![("b", 2), ("c", 255)]));
    let said = |text: String| {
        problems(&text).into_iter().map(|line| line.splitn(3, ':').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
    };
    for bad in ["0", "256", "-1", "1.0", "\"1\""] {
        assert_eq!(
            said(cluster(bad, &peer("b", "2"))),
            [" cluster.number: expected a whole number from 1 to 255"],
            "{bad}"
        );
    }
    assert_eq!(said(cluster("1", &peer("b", "1"))), [" cluster.peers.b.number: is that of this node too"]);
    let twice = peer("b", "2") + &peer("c", "2");
    assert_eq!(said(cluster("1", &twice)), [" cluster.peers.c.number: is that of peer b too"]);
}

// The schema.

/// Every section of the schema by the name it has in a file, with its keys. Names that the operator chooses are `x`.
fn sections(schema: &Value) -> BTreeMap<String, &Value> {
    fn walk<'v>(name: String, schema: &'v Value, found: &mut BTreeMap<String, &'v Value>) {
        for choice in schema["anyOf"].as_array().into_iter().flatten() {
            walk(name.clone(), choice, found);
        }
        let inside = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        if let Some(keys) = schema["properties"].as_object() {
            assert_eq!(schema["additionalProperties"], false, "{name} lets unknown keys in");
            for (key, value) in keys {
                walk(inside(key), value, found);
            }
            found.insert(name, schema);
        } else if schema["additionalProperties"].is_object() {
            walk(inside("x"), &schema["additionalProperties"], found);
        }
    }
    let mut found = BTreeMap::new();
    walk(String::new(), schema, &mut found);
    found
}

fn keys(section: &Value) -> BTreeSet<&str> {
    section["properties"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_schema_in_the_tree_is_the_one_the_types_give() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/config.v1.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("HANSARD_WRITE_SCHEMAS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(kept == text, "{path} is stale; HANSARD_WRITE_SCHEMAS=1 writes it anew");
}

#[test]
fn the_schema_has_exactly_the_keys_that_are_accepted() {
    let schema = schema();
    let sections = sections(&schema);
    assert_eq!(sections.len(), 45, "{:?}", sections.keys());
    for (name, section) in sections {
        let text = match name.as_str() {
            "" => "zzzzzz = 1".to_owned(),
            _ => format!("[{name}]\nzzzzzz = 1"),
        };
        let said = problems(&text).into_iter().find(|line| line.contains("unknown key \"zzzzzz\"")).unwrap();
        let accepted: BTreeSet<&str> = said.split("known here: ").nth(1).unwrap().split(", ").collect();
        assert_eq!(keys(section), accepted, "{name}");
        for required in section["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let missing =
                if name.is_empty() { format!("the section [{required}") } else { format!("\"{required}\" is missing") };
            assert!(problems(&text).iter().any(|line| line.contains(&missing)), "{name}: {required} is not asked for");
        }
    }
}

#[test]
fn a_default_that_the_schema_states_is_the_one_that_is_used() {
    let schema = schema();
    let mut stated = 0;
    for (name, section) in sections(&schema) {
        for (key, value) in section["properties"].as_object().unwrap() {
            let Some(default) = value.get("default") else { continue };
            stated += 1;
            let name = match name.split_once(".x") {
                Some(("issuer", rest)) => format!("issuer.entra{rest}"),
                Some(("identity", _)) => "identity.entra".to_owned(),
                Some(("listener", _)) => "listener.main".to_owned(),
                Some(("target", rest)) => format!("target.app{rest}"),
                _ => name.clone(),
            };
            // Into the section's own header if the minimal file has it, else into one behind.
            let line = format!("{key} = {default}\n");
            let header = format!("[{name}]\n");
            let base = match name.as_str() {
                "evidence.timestamps" => STAMPED,
                "issuer.entra.client" => sign_in::SIGNED_IN,
                "issuer.entra.introspection" => sign_in::ASKED,
                _ => MINIMAL,
            };
            let text = if name == "target.app.login" {
                base.replace("login    = { ", &format!("login    = {{ {key} = {default}, "))
            } else if base.contains(&header) {
                base.replace(&header, &format!("{header}{line}"))
            } else {
                format!("{base}\n{header}{line}")
            };
            assert_eq!(parse(&text), parse(base), "{name}.{key}");
            assert!(parse(&text).is_ok(), "{name}.{key}");
        }
    }
    assert_eq!(stated, 37);
}
