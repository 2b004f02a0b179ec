//! Our own login at a database: as strong as both can, never weaker than is required, and nobody in between.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::closed;
use super::support::raw::{PROTOCOL, Raw, SSL_REQUEST, errors, kinds, message, packet, query};
use super::support::{Hansard, Postgres, unverified};

const LOGIN: &str = "login = { user = \"hansard\",";

/// The configuration of the tests with another user at the database and another demand on it.
fn as_user(config: &str, user: &str, require: Option<&str>) -> String {
    assert!(config.contains(LOGIN), "{config}");
    let require = require.map_or_else(String::new, |require| format!(" require = \"{require}\","));
    config.replace(LOGIN, &format!("login = {{ user = \"{user}\",{require}"))
}

/// The SQLSTATEs that a client reads who asks for a session, and the end of it on record.
fn refused(hansard: &Hansard, application: &str) -> (String, String) {
    let login = hansard.login("dev", application);
    let said = Raw::tls(login.port).ask(&login, PROTOCOL, &[]);
    let row = closed(hansard, application);
    assert_eq!(row["reason"], "upstream_refused", "{application}: {said:?}");
    (errors(&said).concat(), row["detail"].as_str().unwrap().to_owned())
}

fn assert_works(hansard: &Hansard, application: &str) {
    let mut raw = Raw::sign_in(&hansard.login("dev", application));
    assert_eq!(kinds(&raw.talk(&query("select 1"))), "TDCZ", "{application}");
}

#[test]
fn a_database_that_asks_for_less_than_is_required_is_left() {
    let postgres = Postgres::shared();
    for (method, user, asks) in [
        ("trust", "asked_nothing", "nothing"),
        ("password", "asked_clear", "in the clear"),
        ("md5", "asked_md5", "MD5"),
        ("scram-sha-256", "asked_scram", "without a binding"),
    ] {
        let encryption = if method == "md5" { "md5" } else { "scram-sha-256" };
        postgres.admin(&format!(
            "set password_encryption = '{encryption}';
             create role {user} login password 'upstream-only-for-tests' in role hansard;"
        ));
        postgres.admit(user, method);
        if method == "scram-sha-256" {
            // The default; over TLS it is bound.
            let hansard = Hansard::start_edited(&|config| as_user(&config, user, None));
            assert_works(&hansard, &format!("{method}-by-default"));
            continue;
        }
        let hansard = Hansard::start_edited(&|config| as_user(&config, user, None));
        let (sqlstate, detail) = refused(&hansard, &format!("{method}-by-default"));
        assert_eq!(sqlstate, "08001", "{method}");
        assert!(detail.contains(asks) && detail.contains("\"scram-sha-256\""), "{method}: {detail}");
        let sufficient = if method == "trust" { "any" } else { method };
        let hansard = Hansard::start_edited(&|config| as_user(&config, user, Some(sufficient)));
        assert_works(&hansard, &format!("{method}-as-told"));
    }
}

/// What somebody does who sits between us and the database, with a certificate that we trust.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InBetween {
    /// Passes on all.
    Relays,
    /// Strikes out that the database can bind to TLS.
    StrikesOut,
}

#[test]
fn a_login_is_bound_to_the_tls_connection_that_it_is_made_over() {
    // With the database itself nothing is in between, and nothing less than a binding is taken.
    let hansard = Hansard::start_edited(&|config| as_user(&config, "hansard", Some("scram-sha-256-plus")));
    assert_works(&hansard, "bound");
    drop(hansard);

    // With somebody in between, the database itself notices, by what it logs.
    for (does, require, sqlstate, detail, logged) in [
        (InBetween::Relays, None, "08004", "28000", "SCRAM channel binding check failed"),
        (InBetween::StrikesOut, None, "08004", "28000", "SCRAM channel binding negotiation error"),
        // Without the database's help.
        (InBetween::StrikesOut, Some("scram-sha-256-plus"), "08001", "without a binding", ""),
    ] {
        let (address, ca) = sit_in_between(does);
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca).unwrap();
        let before = Postgres::shared().log().len();
        let hansard = Hansard::start_edited(&|config| {
            let own = format!("upstream = \"127.0.0.1:{}\"", Postgres::shared().port());
            let config = config.replace(&own, &format!("upstream = \"{address}\""));
            let ours = Postgres::shared().ca_file().display().to_string();
            as_user(&config.replace(&ours, &ca_file.display().to_string()), "hansard", require)
        });
        let application = format!("between-{does:?}-{}", require.is_some());
        let (told, recorded) = refused(&hansard, &application);
        assert_eq!(told, sqlstate, "{does:?}: {recorded}");
        assert!(recorded.contains(detail), "{does:?}: {recorded}");
        let log = Postgres::shared().log();
        let said = log.get(before..).unwrap();
        assert!(said.contains(logged), "{does:?}: {said}");
    }
}

/// Terminates TLS before the shared database; its address, and the certificate of who vouches for it.
fn sit_in_between(does: InBetween) -> (SocketAddr, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                // Whoever leaves in the middle of this has been refused, which is what is tested.
                drop(relay(client, &acceptor, does).await);
            }
        });
    });
    (told.recv().unwrap(), certificate.pem())
}

async fn relay(mut client: TcpStream, acceptor: &TlsAcceptor, does: InBetween) -> std::io::Result<()> {
    client.read_exact(&mut [0; 8]).await?;
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    let mut server = TcpStream::connect(("127.0.0.1", Postgres::shared().port())).await?;
    server.write_all(&packet(SSL_REQUEST, b"")).await?;
    assert_eq!(server.read_u8().await?, b'S');
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut server = TlsConnector::from(unverified()).connect(name, server).await?;
    if does == InBetween::StrikesOut {
        strike_out(&mut client, &mut server).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
}

/// Passes the startup packet on, and the database's list of methods without the one that is bound to TLS.
async fn strike_out(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let length = client.read_u32().await?;
    let mut rest = vec![0; usize::try_from(length).unwrap() - 4];
    client.read_exact(&mut rest).await?;
    server.write_all(&[&length.to_be_bytes(), rest.as_slice()].concat()).await?;
    assert_eq!(server.read_u8().await?, b'R');
    let mut body = vec![0; usize::try_from(server.read_u32().await?).unwrap() - 4];
    server.read_exact(&mut body).await?;
    assert_eq!(body, b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
    client.write_all(&message('R', b"\0\0\0\x0aSCRAM-SHA-256\0\0")).await
}
