//! Databases that do not let us in, or are not who they should be.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::closed;
use super::support::raw::{PROTOCOL, Raw, errors};
use super::support::{Hansard, Postgres};

/// What the client reads, and how the session is recorded to have ended.
fn refused(application: &str, edit: &dyn Fn(String) -> String) -> (String, String) {
    let hansard = Hansard::start_edited(edit);
    let login = hansard.login("dev", application);
    let mut raw = Raw::tls(login.port);
    let said = raw.ask(&login, PROTOCOL, &[]);
    let last = said.last().unwrap();
    assert_eq!((last.kind, last.field('S').as_str()), ('E', "FATAL"), "{application}: {said:?}");
    let text: String = ['M', 'D', 'H'].iter().map(|field| last.field(*field)).collect();
    for secret in ["hansard_login", "hansard\"", "password", "127.0.0", "scram"] {
        assert!(!text.to_lowercase().contains(secret), "{application}: {text}");
    }
    let row = closed(&hansard, application);
    assert_eq!(row["reason"], "upstream_refused", "{application}");
    assert_eq!(row["statements"], 0, "{application}");
    (errors(&said).concat(), row["detail"].as_str().unwrap().to_owned())
}

fn upstream() -> String {
    format!("upstream = \"127.0.0.1:{}\"", Postgres::shared().port())
}

#[test]
fn a_database_that_refuses_our_login_is_not_quoted() {
    // Another secret, which is not its password.
    let (sqlstate, detail) = refused("wrong-password", &|config| config.replace("upstream.password", "storage.key"));
    assert_eq!(sqlstate, "08004");
    assert!(detail.contains("28P01"), "{detail}");
    let (sqlstate, _) = refused("no-such-database", &|config| {
        config.replace("[policy]", "[target.app.databases]\napp = \"nowhere\"\n\n[policy]")
    });
    assert_eq!(sqlstate, "08004");
}

#[test]
fn a_database_that_is_not_there_or_not_the_one_is_not_spoken_to() {
    // Nobody listens.
    let (sqlstate, _) = refused("nobody", &|config| config.replace(&upstream(), "upstream = \"127.0.0.1:1\""));
    assert_eq!(sqlstate, "08001");

    // No TLS: the one byte that says so.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = plain.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut more = Vec::new();
        // The recorder itself asks what its login may do, and then the session comes.
        for _ in 0..2 {
            let (mut socket, _) = plain.accept().unwrap();
            socket.read_exact(&mut [0; 8]).unwrap();
            socket.write_all(b"N").unwrap();
            socket.read_to_end(&mut more).ok();
        }
        more
    });
    let (sqlstate, _) = refused("no-tls", &|config| config.replace(&upstream(), &format!("upstream = \"{address}\"")));
    assert_eq!(sqlstate, "08001");
    assert_eq!(server.join().unwrap(), b"", "something was said in the clear");

    // Somebody else vouches for it.
    let key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(vec!["other".to_owned()]).unwrap().self_signed(&key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), other.pem()).unwrap();
    let ca = Postgres::shared().ca_file().display().to_string();
    let wrong = folder.path().join("ca.pem").display().to_string();
    let (sqlstate, _) = refused("wrong-ca", &|config| config.replace(&ca, &wrong));
    assert_eq!(sqlstate, "08001");

    // The right server by a name that its certificate does not have.
    let door = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = door.local_addr().unwrap();
    std::thread::spawn(move || {
        // The recorder itself asks first what its login may do.
        for client in door.incoming() {
            let mut client = client.unwrap();
            let mut server = std::net::TcpStream::connect(("127.0.0.1", Postgres::shared().port())).unwrap();
            let (mut back, mut from) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut back).ok());
            std::thread::spawn(move || std::io::copy(&mut client, &mut server).ok());
        }
    });
    let (sqlstate, detail) =
        refused("wrong-name", &|config| config.replace(&upstream(), &format!("upstream = \"{address}\"")));
    assert_eq!(sqlstate, "08001");
    assert!(detail.contains("certificate"), "{detail}");
}
