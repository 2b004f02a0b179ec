//! The real parts of the tests do what the other tests take for granted. Where this fails, look at the machine first:
//! `make setup-test` says what is missing.

#![expect(clippy::unwrap_used, reason = "a helper of a test that fails says so by panicking")]

mod support;

use std::time::Duration;

use object_store::azure::MicrosoftAzureBuilder;
use object_store::{ObjectStore, PutMode};
use serde_json::json;
use support::{ACCOUNT, Azurite, CLIENTS, Folder, Issuer, KEY, Postgres, connect, duckdb_rows, run};

#[tokio::test]
async fn postgres_takes_tls_with_a_password_and_nothing_else() {
    let postgres = Postgres::shared();
    let login = postgres.direct("parts-tls");
    let db = connect(&login).await.unwrap();
    let row = db.query_one("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()", &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "the connection is not encrypted");

    let wrong = support::Login { password: "wrong".to_owned(), ..login.clone() };
    let refusal = connect(&wrong).await.unwrap_err();
    assert_eq!(refusal.code().unwrap().code(), "28P01");

    let mut plain = tokio_postgres::Config::new();
    plain.host("127.0.0.1").port(login.port).user(&login.user).password(&login.password).dbname(&login.database);
    let refusal = plain.connect(tokio_postgres::NoTls).await.err().unwrap();
    assert_eq!(refusal.code().unwrap().code(), "28000", "plain text must be refused");
}

#[test]
fn postgres_has_a_certificate_that_its_authority_vouches_for() {
    let postgres = Postgres::shared();
    let url = |ca: &std::path::Path| {
        format!(
            "host=localhost hostaddr=127.0.0.1 port={} dbname=app user=hansard password=upstream-only-for-tests \
             sslmode=verify-full sslrootcert={}",
            postgres.port(),
            ca.display()
        )
    };
    let ask =
        |url: String| std::process::Command::new("psql").args(["-X", "-A", "-t", "-c", "select 1", &url]).output();
    let good = ask(url(&postgres.ca_file())).unwrap();
    assert_eq!(good.stdout, b"1\n", "{good:?}");
    // Another authority does not do.
    let folder = Folder::new("other-ca");
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(vec!["other".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.join("ca.pem"), other.pem()).unwrap();
    assert!(!ask(url(&folder.join("ca.pem"))).unwrap().status.success());
}

#[test]
fn the_issuer_gives_tokens_as_the_standards_say() {
    let issuer = Issuer::start();
    let first = decode(&issuer.token("ana"));
    let (header, claims) = &first;
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(header["alg"], "RS256");
    assert_eq!(claims["iss"], issuer.url());
    assert_eq!(claims["aud"], "api://hansard");
    assert_eq!((&claims["sub"], &claims["client_id"]), (&"u-ana".into(), &"ana".into()));
    assert_eq!((&claims["name"], &claims["email"]), (&"Ana Analyst".into(), &"ana@example.org".into()));
    assert_eq!((&claims["roles"][0], &claims["groups"][0]), (&"analyst".into(), &"reporting".into()));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    assert_eq!(decode(&issuer.token_for("ana", "api://other", Duration::from_secs(60))).1["aud"], "api://other");

    let (_, expired) = decode(&issuer.expired_token("ana", Duration::from_secs(300)));
    assert!(expired["exp"].as_i64().unwrap() < claims["iat"].as_i64().unwrap());
    assert!(expired["iat"].as_i64().unwrap() < expired["exp"].as_i64().unwrap());

    issuer.rotate_keys();
    let (rotated, _) = decode(&issuer.token("ana"));
    assert_ne!(rotated["kid"], header["kid"]);
    issuer.forget_keys();
    assert_ne!(decode(&issuer.token("ana")).0["kid"], rotated["kid"]);
}

#[tokio::test]
async fn azurite_keeps_what_is_put_once_and_refuses_to_put_it_twice() {
    let container = Azurite::shared().container("parts");
    assert!(container.blobs().is_empty());
    let store = MicrosoftAzureBuilder::new()
        .with_account(ACCOUNT)
        .with_access_key(KEY)
        .with_container_name(container.name())
        .with_endpoint(container.endpoint().to_owned())
        .with_allow_http(true)
        .build()
        .unwrap();
    let path = object_store::path::Path::from("audit/statements/date=2026-11-24/a.parquet");
    let put = |bytes: &'static str| store.put_opts(&path, bytes.into(), PutMode::Create.into());
    put("first").await.unwrap();
    let again = put("second").await.unwrap_err();
    assert!(matches!(again, object_store::Error::AlreadyExists { .. }), "{again}");
    assert_eq!(container.blobs(), [(path.to_string(), 5)]);
    let folder = Folder::new("blobs");
    container.download(folder.path());
    assert_eq!(std::fs::read(folder.join(path.as_ref())).unwrap(), b"first");
}

#[test]
fn duckdb_reads_a_hive_folder_and_knows_an_empty_one() {
    let folder = Folder::new("duckdb");
    assert!(duckdb_rows(folder.path(), "select * from statements").is_empty());
    let day = folder.join("audit/events/date=2026-11-24");
    std::fs::create_dir_all(&day).unwrap();
    let file = day.join("a.parquet").display().to_string();
    duckdb_rows(folder.path(), &format!("copy (select 7 as seq, 'ab'::blob as raw) to '{file}'"));
    let rows = duckdb_rows(folder.path(), "select seq, raw, date from events");
    assert_eq!(rows, [json!({ "seq": 7, "raw": "6162", "date": "2026-11-24" })]);
}

#[tokio::test]
async fn each_client_knows_what_it_sends() {
    let postgres = Postgres::shared();
    for name in CLIENTS {
        let application = format!("parts-{name}");
        let ran = run(name, &postgres.direct(&application)).await;
        postgres.assert_asked(&application, &ran);
    }
}

fn decode(token: &str) -> (serde_json::Value, serde_json::Value) {
    let parts: Vec<Vec<u8>> = token.split('.').map(base64url).collect();
    let [header, claims, signature] = <[Vec<u8>; 3]>::try_from(parts).unwrap();
    assert_eq!(signature.len(), 256, "RSA with 2048 bits");
    (serde_json::from_slice(&header).unwrap(), serde_json::from_slice(&claims).unwrap())
}

fn base64url(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.chars() {
        bits = (bits << 6 | u32::try_from(DIGITS.find(digit).unwrap()).unwrap()) & 0xfff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}
