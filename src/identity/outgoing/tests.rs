//! Tokens of our own, against a double of an issuer and of Azure's account of a machine.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Mutex as Lock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Somebody who gives the answers that it was told to, one for each question, and hangs up when it has none.
struct Double {
    url: String,
    asked: Arc<Lock<Vec<String>>>,
    answers: Arc<Lock<VecDeque<(u16, String)>>>,
}

impl Double {
    fn start(answers: &[(u16, &str)]) -> Self {
        crate::identity::install_crypto();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", socket.local_addr().unwrap());
        let answers = answers.iter().map(|(status, body)| (*status, (*body).to_owned())).collect();
        let double = Self { url, asked: Arc::default(), answers: Arc::new(Lock::new(answers)) };
        let (asked, answers) = (Arc::clone(&double.asked), Arc::clone(&double.answers));
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut head, mut length) = (String::new(), 0);
                while !head.ends_with("\r\n\r\n") {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap() == 0 {
                        break;
                    }
                    let told = line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned);
                    length = told.map_or(length, |told| told.trim().parse().unwrap());
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                asked.lock().unwrap().push(head + &String::from_utf8(body).unwrap());
                let Some((status, body)) = answers.lock().unwrap().pop_front() else { continue };
                let length = body.len();
                let answer =
                    format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
                drop(stream.get_mut().write_all(answer.as_bytes()));
            }
        });
        double
    }

    fn will_say(&self, status: u16, body: &str) {
        self.answers.lock().unwrap().push_back((status, body.to_owned()));
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn source(&self, grant: Grant) -> Arc<TokenSource> {
        let (name, endpoint) = ("target.app.login.token".to_owned(), self.url.clone());
        let (scope, resource) = (Some("db/.default".to_owned()), Some("https://db".to_owned()));
        let settings = TokenSettings { name, endpoint, grant, scope, resource, ca_file: None };
        Arc::new(TokenSource::new(settings).unwrap())
    }

    fn machine(&self) -> Arc<TokenSource> {
        self.source(Grant::Machine { id: Some("i-1".to_owned()) })
    }
}

fn token(text: &str, seconds: u64) -> String {
    format!(r#"{{"access_token":"{text}","token_type":"Bearer","expires_in":"{seconds}"}}"#)
}

fn numbered() -> Reading {
    let count = AtomicUsize::new(0);
    Arc::new(move || Ok(format!("proof-{}", count.fetch_add(1, Ordering::Relaxed))))
}

fn client(proof: ClientProof) -> Grant {
    Grant::Client { id: "me".to_owned(), proof }
}

async fn had(source: &Arc<TokenSource>) -> String {
    source.token().await.unwrap().to_string()
}

#[tokio::test]
async fn a_machine_in_azure_is_told_who_it_is_after_it_was_told_to_come_back() {
    let later = [(404, ""), (429, ""), (500, ""), (410, "")];
    let double = Double::start(&later);
    double.will_say(200, &token("t1", 3_600));
    let source = double.machine();
    assert_eq!(had(&source).await, "t1");
    assert_eq!(had(&source).await, "t1");
    let asked = double.asked();
    assert_eq!(asked.len(), later.len() + 1, "{asked:?}");
    for question in asked {
        assert!(question.starts_with("GET /token?"), "{question}");
        assert!(question.to_lowercase().contains("\r\nmetadata: true\r\n"), "{question}");
        for word in ["api-version=2018-02-01", "resource=https%3A%2F%2Fdb", "client_id=i-1"] {
            assert!(question.contains(word), "{question}");
        }
    }
}

#[tokio::test]
async fn a_client_shows_what_proves_it_as_it_is_at_that_time() {
    for (proof, words) in [
        (ClientProof::Secret(numbered()), "client_secret=proof-"),
        (
            ClientProof::Assertion(numbered()),
            "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=proof-",
        ),
    ] {
        let double = Double::start(&[(503, "")]);
        double.will_say(200, &token("t1", 3_600));
        let source = double.source(client(proof));
        assert_eq!(had(&source).await, "t1");
        for (at, question) in double.asked().iter().enumerate() {
            assert!(question.starts_with("POST /token "), "{question}");
            assert!(question.contains("grant_type=client_credentials&client_id=me"), "{question}");
            assert!(question.contains("scope=db%2F.default"), "{question}");
            assert!(question.contains(&format!("{words}{at}")), "{question}");
        }
        assert!(!format!("{source:?}").contains("proof-") && !format!("{source:?}").contains("t1"));
    }
}

#[tokio::test]
async fn however_many_wait_one_question_is_asked_and_after_a_failure_none_for_a_while() {
    let double = Double::start(&[]);
    double.will_say(200, &token("t1", 3_600));
    let source = double.machine();
    let all = futures::future::join_all((0..50).map(|_| had(&source))).await;
    assert!(all.iter().all(|one| one == "t1"));
    assert_eq!(double.asked().len(), 1);

    let no = r#"{"error":"invalid_client","error_description":"hunter2"}"#;
    let double = Double::start(&[(401, no), (401, no)]);
    let source = double.source(client(ClientProof::Secret(numbered())));
    let all = futures::future::join_all((0..50).map(|_| source.token())).await;
    for refused in all {
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("\"invalid_client\" (401") && !said.contains("hunter2"), "{said}");
    }
    assert_eq!(double.asked().len(), 1, "a refusal is not asked about again at once");
}

#[tokio::test]
async fn a_token_is_renewed_ahead_of_its_end_and_used_to_the_end_while_the_issuer_is_away() {
    let double = Double::start(&[]);
    double.will_say(200, &token("t1", 5));
    let source = double.machine();
    assert_eq!(had(&source).await, "t1");
    // Four fifths of its life are gone; nobody answers.
    tokio::time::sleep(Duration::from_millis(4_020)).await;
    assert_eq!(had(&source).await, "t1");
    tokio::time::sleep(Duration::from_millis(260)).await;
    assert!(double.asked().len() > 1, "nobody asked ahead of the end");
    double.will_say(200, &token("t2", 3_600));
    assert_eq!(had(&source).await, "t1", "the login waited though there was a token");
    let start = Instant::now();
    while had(&source).await == "t1" {
        assert!(start.elapsed() < Duration::from_secs(2), "it was not renewed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(had(&source).await, "t2");

    let double = Double::start(&[]);
    double.will_say(200, &token("t1", 1));
    let source = double.machine();
    assert_eq!(had(&source).await, "t1");
    tokio::time::sleep(Duration::from_millis(950)).await;
    assert!(matches!(source.token().await, Err(TokenError::Away { .. })), "one that has ended was used");
}

#[test]
fn what_proves_us_goes_over_https_or_nowhere() {
    let of = |endpoint: &str, grant| {
        let (name, endpoint) = ("n".to_owned(), endpoint.to_owned());
        TokenSource::new(TokenSettings { name, endpoint, grant, scope: None, resource: None, ca_file: None })
    };
    let by_secret = || client(ClientProof::Secret(numbered()));
    assert!(of("https://issuer.example/token", by_secret()).is_ok() && of("http://127.0.0.1:1/t", by_secret()).is_ok());
    assert!(of("http://issuer.example/token", by_secret()).is_err() && of("token", by_secret()).is_err());
    assert!(of(AZURE_MACHINE, Grant::Machine { id: None }).is_ok());
    assert!(of(AZURE_MACHINE, by_secret()).is_err());
}
