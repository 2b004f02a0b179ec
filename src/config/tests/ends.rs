//! The two ends of a connection.

use std::path::Path;

use super::*;

#[test]
fn plain_text_is_for_loopback_at_both_ends() {
    let plain = |address: &str, upstream: &str| {
        let listener = format!("[listener.main]\naddress = \"{address}\"\nplain = \"loopback\"\n");
        parse(&format!("{}{listener}", changed("pg.internal:5432", upstream))).map_err(|problems| problems.list().len())
    };
    assert!(plain("127.0.0.1:1", "localhost:2").is_ok());
    assert!(plain("[::1]:1", "127.0.0.1:2").is_ok());
    assert_eq!(plain("0.0.0.0:1", "localhost:2").unwrap_err(), 1);
    assert_eq!(plain("127.0.0.1:1", "db:2").unwrap_err(), 1);
    assert_eq!(plain("0.0.0.0:1", "db:2").unwrap_err(), 2);
    let disabled = "tls = { mode = \"disable\" }\nupstream = \"127.0.0.1:5432\"";
    let config = parse(&changed("upstream = \"pg.internal:5432\"", disabled)).unwrap();
    assert_eq!(config.targets[0].tls, UpstreamTls::Disable);
}

#[test]
fn a_certificate_of_clients_is_demanded_where_it_is_asked_for_unless_told_otherwise() {
    let door = |tls: &str, more: &str| {
        let text = changed("pg.internal:5432", "127.0.0.1:5432");
        format!("{text}[listener.main]\ntls = {{ cert = \"c.pem\", key = {{ file = \"k.pem\" }}{tls} }}\n{more}")
    };
    let clients = |tls: &str| parse(&door(tls, "")).unwrap().listeners[0].tls.clone().unwrap().clients;
    assert_eq!(clients(""), None);
    for (tls, certificates) in [
        (", client_ca_file = \"ca.pem\"", ClientCertificates::Required),
        (", client_ca_file = \"ca.pem\", client_certificates = \"required\"", ClientCertificates::Required),
        (", client_ca_file = \"ca.pem\", client_certificates = \"optional\"", ClientCertificates::Optional),
    ] {
        assert_eq!(clients(tls), Some(ListenerClients { ca_file: "/etc/hansard/ca.pem".into(), certificates }));
    }
    let files = parse(&door(", client_ca_file = \"ca.pem\"", "")).unwrap();
    assert!(files.files().contains(&("listener.main.tls.client_ca_file".to_owned(), Path::new("/etc/hansard/ca.pem"))));
    let said = |tls: &str, more: &str| problems(&door(tls, more)).join("\n");
    assert!(said(", client_certificates = \"optional\"", "").contains("needs the key \"client_ca_file\""));
    let plain = said(", client_ca_file = \"ca.pem\"", "plain = \"loopback\"\n");
    assert!(plain.contains("listener.main.plain: \"loopback\" has no meaning"), "{plain}");
    let optional = door(", client_ca_file = \"ca.pem\", client_certificates = \"optional\"", "plain = \"loopback\"\n");
    assert!(parse(&optional).is_ok());
}

#[test]
fn balancers_are_named_by_their_networks() {
    let with = |from: &str| format!("{MINIMAL}[listener.main]\nproxy_protocol = {{ from = {from} }}\n");
    let config = parse(&with("[\"10.0.4.0/24\", \"2001:db8::7\"]")).unwrap();
    let networks: Vec<String> = config.listeners[0].balancers.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.4.0/24", "2001:db8::7/128"]);
    assert_eq!(parse(&with("\"10.0.4.7\"")).unwrap().listeners[0].balancers.len(), 1);
    for bad in ["\"0.0.0.0/0\"", "\"10.0.4.7/24\"", "\"balancer.internal\""] {
        let said = problems(&with(bad));
        assert!(said.len() == 1 && said[0].contains("listener.main.proxy_protocol.from"), "{said:?}");
    }
    assert!(problems(&with("[]"))[0].contains("the list is empty"));
}

#[test]
fn what_is_shown_to_a_database_is_a_certificate_and_its_key() {
    let with =
        |tls: &str| changed("upstream = \"pg.internal:5432\"", &format!("upstream = \"a:1\"\ntls = {{ {tls} }}"));
    let config = parse(&with("cert = \"c.pem\", key = { file = \"k.pem\" }")).unwrap();
    let key = Secret::in_file("target.app.tls.key", "/etc/hansard/k.pem");
    let own = Some(OwnCertificate { cert: "/etc/hansard/c.pem".into(), key: key.clone() });
    assert_eq!(config.targets[0].tls, UpstreamTls::VerifyFull(VerifyFull { ca_file: None, own }));
    assert!(config.files().contains(&("target.app.tls.cert".to_owned(), Path::new("/etc/hansard/c.pem"))));
    assert!(config.secrets().contains(&&key));
    let said = |tls: &str| problems(&with(tls)).join("\n");
    assert!(said("cert = \"c.pem\"").contains("target.app.tls.cert: needs the key \"key\" beside it"));
    assert!(said("key = { env = \"K\" }").contains("target.app.tls.key: needs the key \"cert\" beside it"));
    let plain = "mode = \"disable\", cert = \"c.pem\", key = { env = \"K\" }";
    let plain = problems(&with(plain).replace("a:1", "127.0.0.1:1"));
    assert_eq!(plain.len(), 2, "{plain:?}");
    assert!(plain.iter().all(|line| line.contains("has no meaning with mode = \"disable\"")), "{plain:?}");
}

#[test]
fn a_database_must_ask_for_a_proof_unless_told_otherwise() {
    let require = |word: &str, more: &str| {
        let login = format!("login = {{ user = \"u\", password = {{ env = \"P\" }}, require = \"{word}\" }}\n{more}");
        let text = changed("login    = { user = \"hansard\", password = { file = \"/run/secrets/pg\" } }", &login);
        text.replace("pg.internal:5432", "127.0.0.1:5432")
    };
    assert_eq!(parse(MINIMAL).unwrap().targets[0].logins[0].require, Require::ScramSha256);
    for word in ["any", "password", "md5", "scram-sha-256", "scram-sha-256-plus"] {
        assert_eq!(parse(&require(word, "")).unwrap().targets[0].logins[0].require.as_str(), word);
    }
    assert_eq!(problems(&require("scram", "")).len(), 1);
    let unbound = problems(&require("scram-sha-256-plus", "tls = { mode = \"disable\" }"));
    assert!(unbound.len() == 1 && unbound[0].contains("target.app.login.require: \"scram-sha-256-plus\" needs TLS"));
}

#[test]
fn a_target_may_have_several_addresses_and_sockets() {
    let with = |upstream: &str| changed("upstream = \"pg.internal:5432\"", upstream);
    let several = "upstream = [\"a:1\", \"/run/postgresql:5432\"]\ntarget_session_attrs = \"prefer-standby\"";
    let config = parse(&with(several)).unwrap();
    let target = &config.targets[0];
    let socket = Server::Unix("/run/postgresql/.s.PGSQL.5432".into());
    assert_eq!(target.upstreams, [Server::Tcp(Upstream { host: "a".to_owned(), port: 1 }), socket]);
    assert_eq!((target.session_attrs.as_str(), target.tls != UpstreamTls::Disable), ("prefer-standby", true));
    let config = parse(&with("upstream = \"/run/postgresql:5432\"")).unwrap();
    assert_eq!(config.targets[0].tls, UpstreamTls::Disable, "a socket has none");

    let said = |upstream: &str| problems(&with(upstream)).join("\n");
    assert!(said("upstream = \"/run/postgresql:5432\"\ntls = { mode = \"verify-full\" }").contains("has no TLS"));
    assert!(said("upstream = [\"127.0.0.1:1\", \"b:1\"]\ntls = { mode = \"disable\" }").contains("loopback"));
    let many = (0..17).map(|at| format!("\"h{at}:1\"")).collect::<Vec<_>>().join(", ");
    assert!(said(&format!("upstream = [{many}]")).contains("more than 16 addresses"));
    assert!(said("upstream = []").contains("the list is empty"));
    assert!(said("target_session_attrs = \"master\"\nupstream = \"a:1\"").contains("expected one of"));
}
