//! Several nodes before one database: a cancel request may come to any of them.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;

use super::asleep;
use super::support::raw::{CANCEL_REQUEST, PROTOCOL, Raw, errors, packet, query};
use super::support::{
    Hansard, Issuer, Login, Postgres, Store, assert_recorded, client, free_port, interrupted, repository,
};

const SECRET: &str = "a secret of the nodes, 32 characters or more\n";

/// Nodes 1 and 2 of a cluster, each knowing the other.
fn cluster() -> [Hansard; 2] {
    let ports = [free_port(), free_port()];
    [1, 2].map(|number| {
        let (own, other) = (ports[number - 1], ports[2 - number]);
        let rules = std::fs::read_to_string(repository("tests/support/rules.cedar")).unwrap();
        let hansard = Hansard::start_at(own, Store::Folder, &rules, Issuer::shared(), &|config| {
            let folder = Postgres::shared().ca_file().parent().unwrap().display().to_string();
            // The certificate of the tests' server: for 127.0.0.1, by an authority that can be trusted.
            let tls = format!("tls = {{ cert = \"{folder}/server.pem\", key = {{ file = \"{folder}/server.key\" }} }}");
            let secret = std::env::temp_dir().join(format!("hansard-cluster-{}", ports[0]));
            std::fs::write(&secret, SECRET).unwrap();
            let cluster = format!(
                "[cluster]\nnumber = {number}\nsecret = {{ file = \"{}\" }}\nca_file = \"{folder}/ca.pem\"\n\n\
                 [cluster.peers.other]\nnumber = {}\naddress = \"127.0.0.1:{other}\"\n",
                secret.display(),
                3 - number,
            );
            let config = config.replace("\"test-node\"", &format!("\"node-{number}\""));
            format!("{}\n{cluster}", config.replace("targets = [\"app\"]", &format!("targets = [\"app\"]\n{tls}")))
        });
        std::fs::remove_file(std::env::temp_dir().join(format!("hansard-cluster-{}", ports[0]))).unwrap();
        hansard
    })
}

/// Where connections lead: the first to one port, all later ones to another, as a load balancer may lead them.
fn balancer(first: u16, later: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let client = client.unwrap();
            let server = TcpStream::connect(("127.0.0.1", if number == 0 { first } else { later })).unwrap();
            for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                std::thread::spawn(move || {
                    // Either end may be gone; the other is told.
                    drop(copy(&mut from, &mut to));
                    drop(to.shutdown(Shutdown::Write));
                });
            }
        }
    });
    port
}

#[test]
fn a_cancel_request_finds_its_session_by_way_of_another_node() {
    let [one, two] = cluster();
    let through = |hansard: &Hansard, application: &str| {
        let login = hansard.login("dev", application);
        let other = if login.port == one.login("dev", "x").port { &two } else { &one };
        Login { port: balancer(login.port, other.login("dev", "x").port), ..login }
    };
    // psql, which asks in the clear and has a short key; on both nodes.
    for (hansard, application) in [(&one, "psql-one"), (&two, "psql-two")] {
        let said = interrupted(&through(hansard, application), "select pg_sleep(60)", || asleep(application));
        assert!(said.contains("57014"), "{application}: {said}");
    }
    // libpq 18, over TLS, with a long key.
    let login = through(&one, "libpq-18");
    let ran = client("cancel_psycopg.py", &login, &["latest", "30002"]);
    assert_recorded(&one.archive(), &login.application, &ran);

    let requested = "select node, detail from events where kind = 'cancel_requested' order by detail";
    for (hansard, count, name, other) in [(&one, 2, "node-1", 2), (&two, 1, "node-2", 1)] {
        let rows = hansard.archive().query_until(requested, |rows| rows.len() >= count);
        assert_eq!(rows.len(), count, "on record where the session is, and only there: {rows:?}");
        for row in &rows {
            assert_eq!(row["node"], json!(name));
            let detail = row["detail"].as_str().unwrap();
            assert!(detail.ends_with(&format!(", passed on by node {other} of the cluster")), "{detail}");
        }
    }
}

#[test]
fn a_key_that_no_node_gave_is_answered_like_a_good_one_and_ends_nothing() {
    let [one, two] = cluster();
    let login = two.login("dev", "guessed");
    let mut raw = Raw::tls(login.port);
    let said = raw.ask(&login, PROTOCOL, &[]);
    let key = said.into_iter().find(|message| message.kind == 'K').unwrap().body;
    raw.send(&query("select pg_sleep(60)"));
    asleep("guessed");
    let ask = |key: &[u8]| {
        let mut request = Raw::plain(one.login("dev", "x").port);
        request.send(&packet(CANCEL_REQUEST, key));
        assert_eq!(request.rest(), [], "nothing is said");
    };
    let guess = |number: u8| [&key[..7], &[key[7] ^ number]].concat();
    // A secret that is wrong, a node that is not there, a mark that only a node can make.
    ask(&guess(1));
    ask(&[&[3, 0, 0, 1][..], &key[4..]].concat());
    ask(&[&key[..], &[2; 33]].concat());
    // So many that the address is not listened to any more, at the node that was asked, not at the other.
    for number in 1..40 {
        ask(&guess(number));
    }
    ask(&key);
    raw.patience(Duration::from_secs(30));
    let mut request = Raw::plain(login.port);
    request.send(&packet(CANCEL_REQUEST, &key));
    assert_eq!(request.rest(), []);
    assert_eq!(errors(&raw.until_ready()), ["57014"]);
    assert!(one.log().contains("too many unknown keys"), "{}", one.log());
    let requested = "select detail from events where kind = 'cancel_requested'";
    let rows = two.archive().query_until(requested, |rows| !rows.is_empty());
    assert_eq!(rows.len(), 1, "the guesses and the one that was not heard are not on record: {rows:?}");
}
