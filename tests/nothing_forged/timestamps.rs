//! Timestamps: what a real authority stamps verifies offline and nothing else does; what an authority does instead of
//! answering is an error that says so, in time.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a helper of a test that fails says so by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use hansard::anchor::{AnchorError, AnchorSettings, TIME_LIMIT, TimestampAuthority};
use hansard::model::Sha256;
use hansard::seal::timestamp::{Authorities, MAX_RESPONSE_BYTES, TimestampError, token, verify};

use crate::support::{Authority, Folder, free_port, output};

const NONCE: u64 = 0xfeed_5eed_0bad_cafe;
/// A limit for those that never answer.
const SOON: Duration = Duration::from_millis(300);
/// What the fixtures are about.
const STAMPED: &[u8] = include_bytes!("../../fixtures/timestamps/stamped.txt");
const KEPT: &[u8] = include_bytes!("../../fixtures/timestamps/p256.tsr");
const REFUSED: &[u8] = include_bytes!("../../fixtures/timestamps/refused.tsr");

fn fixed() -> Authorities {
    Authorities::from_pem(include_bytes!("../../fixtures/timestamps/p256-ca.pem")).unwrap()
}

fn of(authority: &Authority) -> Authorities {
    Authorities::from_pem(&std::fs::read(authority.ca_file()).unwrap()).unwrap()
}

fn asked(url: &str, authorities: Authorities, timeout: Duration) -> TimestampAuthority {
    TimestampAuthority::new(&AnchorSettings { url: url.to_owned(), authorities, timeout }).unwrap()
}

#[tokio::test]
async fn what_a_real_authority_stamps_verifies_offline_and_nothing_else_does() {
    let authority = Authority::start();
    let digest = Sha256::of(b"a checkpoint");
    let before = UNIX_EPOCH.elapsed().unwrap();
    let answer = asked(&authority.url(), of(&authority), TIME_LIMIT).stamp(digest, NONCE).await.unwrap();
    let after = UNIX_EPOCH.elapsed().unwrap();

    let stamp = verify(&answer, digest, Some(NONCE), &of(&authority)).unwrap();
    let at = Duration::from_micros(u64::try_from(stamp.time.0).unwrap());
    assert!(before <= at && at <= after, "{before:?} {at:?} {after:?}");
    assert_eq!(stamp.authority, "CN=Clock,O=Tests");
    assert_eq!(stamp.policy, "1.3.6.1.4.1.32473.1");
    assert_eq!((stamp.serial.as_str(), stamp.accuracy), ("02", Some(1_000_000)));
    // Who kept no nonce can check as well.
    assert_eq!(verify(&answer, digest, None, &of(&authority)), Ok(stamp));

    let other = Sha256::of(b"another checkpoint");
    assert_eq!(verify(&answer, other, Some(NONCE), &of(&authority)), Err(TimestampError::Digest));
    assert_eq!(verify(&answer, digest, Some(NONCE + 1), &of(&authority)), Err(TimestampError::Nonce));
    let stranger = verify(&answer, digest, Some(NONCE), &fixed());
    assert!(matches!(stranger, Err(TimestampError::Untrusted { .. })), "{stranger:?}");

    // A reader that is not ours agrees: on the whole answer, and on the token alone.
    let folder = Folder::new("stamp");
    std::fs::write(folder.join("answer"), &answer).unwrap();
    std::fs::write(folder.join("token"), token(&answer).unwrap()).unwrap();
    for arguments in [["-in", "answer"].as_slice(), &["-in", "token", "-token_in"]] {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(folder.path()).args(["ts", "-verify", "-digest", &digest.to_string()]).args(arguments);
        output(openssl.arg("-CAfile").arg(authority.ca_file()), "");
    }
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_refused() {
    let authority = Authority::start();
    let error = asked(&authority.url(), fixed(), TIME_LIMIT).stamp(Sha256::of(b"x"), NONCE).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the answer of the timestamp authority {} proves nothing: CN=Clock,O=Tests is not trusted: no authority that \
             you trust certified it",
            authority.url()
        )
    );
}

#[tokio::test]
async fn whatever_else_an_authority_answers_is_a_clear_error() {
    let long = vec![b'x'; MAX_RESPONSE_BYTES + 1];
    let endless = ["400\r\n", &"x".repeat(0x400), "\r\n"].concat().repeat(MAX_RESPONSE_BYTES / 0x400 + 1);
    let endless = [
        "HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nTransfer-Encoding: chunked\r\n\r\n",
        &endless,
    ];
    let typed = |kind: &str| http("200 OK", &[&format!("Content-Type: {kind}")], KEPT);
    let reply = "Content-Type: application/timestamp-reply";
    let cases = [
        (http("500 Internal Server Error", &[], b"oops"), "gives no timestamp: it answers 500 Internal Server Error"),
        (http("404 All is well", &[], b""), "gives no timestamp: it answers 404 Not Found"),
        (
            http("307 Temporary Redirect", &["Location: https://127.0.0.1:1/"], b""),
            "gives no timestamp: it answers 307 Temporary Redirect; redirects are not followed",
        ),
        (typed("text/html"), "gives no timestamp: its answer is \"text/html\", not application/timestamp-reply"),
        (http("200 OK", &[], KEPT), "gives no timestamp: it does not say what its answer is"),
        (
            http("200 OK", &[reply], b"nonsense"),
            "proves nothing: the answer has not the form that RFC 3161 gives it, in DER",
        ),
        (http("200 OK", &[reply], b""), "proves nothing: the answer has not the form that RFC 3161 gives it, in DER"),
        (http("200 OK", &[reply], &long), "gives no timestamp: its answer is longer than 65536 bytes"),
        (endless.concat().into_bytes(), "gives no timestamp: its answer is longer than 65536 bytes"),
        (http("200 OK", &[reply], KEPT), "proves nothing: the timestamp does not repeat the nonce of the request"),
        (
            http("200 OK", &[reply], REFUSED),
            "gives no timestamp: it refuses: Message digest algorithm is not supported. (it does not take the digest's \
             algorithm)",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "is away: "),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/timestamp-reply\r\nContent-Length: 9\r\n\r\nx".to_vec(),
            "is away: ",
        ),
        (Vec::new(), "is away: "),
    ];
    for (answer, expected) in cases {
        let peer = Peer::start(move |mut stream| stream.write_all(&answer));
        let error = peer.stamp(TIME_LIMIT).await.to_string();
        let (start, rest) = error.split_once(&peer.url).unwrap_or_else(|| panic!("no address in: {error}"));
        assert!(start.ends_with("the timestamp authority ") && rest.contains(expected), "{error}\n{expected}");
        assert!(!error.contains("hush") && !error.contains(char::is_control), "{error}");
    }
}

#[tokio::test]
async fn an_authority_that_does_not_answer_is_given_up_in_time() {
    let silent = Peer::start(|_| {
        std::thread::sleep(TIME_LIMIT);
        Ok(())
    });
    // One byte at a time, always in time for the next.
    let slow = Peer::start(|mut stream| {
        stream.write_all(&http("200 OK", &["Content-Type: application/timestamp-reply"], KEPT)[..150])?;
        loop {
            stream.write_all(b"x")?;
            std::thread::sleep(SOON / 10);
        }
    });
    for peer in [silent, slow] {
        let started = Instant::now();
        let error = peer.stamp(SOON).await;
        assert!(started.elapsed() < SOON * 10, "{:?}", started.elapsed());
        let AnchorError::Away { authority, reason } = error else { panic!("{error}") };
        assert_eq!((authority, reason), (peer.url.clone(), "no answer within 300ms".to_owned()));
    }
    // Nobody there at all.
    let url = format!("http://127.0.0.1:{}/tsr", free_port());
    let error = asked(&url, fixed(), TIME_LIMIT).stamp(Sha256::of(b"x"), NONCE).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("the timestamp authority {url} is away: ")), "{error}");
    assert!(error.to_string().to_lowercase().contains("connection refused"), "{error}");
}

#[tokio::test]
async fn a_question_is_asked_as_rfc_3161_says() {
    let peer = Peer::start(|mut stream| stream.write_all(&http("503 Later", &[], b"")));
    peer.stamp(TIME_LIMIT).await;
    let asked = peer.asked.recv().unwrap();
    let (head, body) = split(&asked).unwrap();
    let head = head.to_lowercase();
    assert!(head.starts_with("post /tsr?key=hush http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/timestamp-query\r\n"), "{head}");
    assert_eq!(body, hansard::seal::timestamp::request(Sha256::of(STAMPED), NONCE));
}

/// An answer in HTTP.
fn http(status: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Somebody on loopback who reads one question and does as told.
struct Peer {
    /// Its address, without the key that it is asked with.
    url: String,
    asked: mpsc::Receiver<Vec<u8>>,
}

impl Peer {
    fn start(answer: impl FnOnce(TcpStream) -> std::io::Result<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/tsr", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // The test may have seen enough and gone.
            drop(tell.send(question(&mut stream)));
            drop(answer(stream));
        });
        Self { url, asked }
    }

    /// Asks it for a timestamp that it does not give.
    async fn stamp(&self, timeout: Duration) -> AnchorError {
        let url = format!("{}?key=hush", self.url);
        asked(&url, fixed(), timeout).stamp(Sha256::of(STAMPED), NONCE).await.unwrap_err()
    }
}

/// A question, to the end of its body.
fn question(stream: &mut TcpStream) -> Vec<u8> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let whole = split(&read).is_some_and(|(head, body)| {
            let length =
                head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            length.is_some_and(|length: usize| body.len() >= length)
        });
        let more = if whole { 0 } else { stream.read(&mut buffer).unwrap() };
        if more == 0 {
            return read;
        }
        read.extend_from_slice(&buffer[..more]);
    }
}

fn split(message: &[u8]) -> Option<(&str, &[u8])> {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some((std::str::from_utf8(&message[..end + 2]).ok()?, &message[end + 4..]))
}
