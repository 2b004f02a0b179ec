//! A database that we sign in at: whatever it says, our password does not leave in the clear, and one that asked for
//! SCRAM is not believed without its own proof.

use arbitrary::{Result, Unstructured};
use hansard::wire::postgres::handshake::{Channel, Credentials, Keys, Login, Progress, Proof};

use super::{frame, one, piece};

const PASSWORD: &str = "xK2-not-to-be-seen";

pub fn body(data: &[u8]) {
    // An input that ends early is a login that ended early.
    converse(&mut Unstructured::new(data)).unwrap_or_default();
}

fn converse(from: &mut Unstructured<'_>) -> Result<()> {
    let encrypted = from.arbitrary()?;
    let channel = if encrypted { Channel::Tls(Some(vec![7; 32])) } else { Channel::Open };
    let credentials = Credentials { user: "hansard".to_owned(), password: PASSWORD.to_owned().into() };
    let nonce = "fyko+d2lbbFgONRv9qkxdawL";
    let (mut login, first) = Login::begin(credentials, "clinic", &[], (channel, Proof::Any), nonce.to_owned());
    assert!(!shows(&first, PASSWORD));
    let mut asked_for_proof = false;
    for _ in 0..32 {
        if from.is_empty() {
            break;
        }
        let (kind, body) = said(from, nonce)?;
        match login.take(kind, &frame(kind, &body)) {
            Err(_) => break,
            Ok(Progress::Wait) => {}
            Ok(Progress::Send(bytes)) => {
                assert!(encrypted || !shows(&bytes, PASSWORD), "the password left in the clear");
                if shows(&bytes, "SCRAM-SHA-256") {
                    assert!(!shows(&bytes, PASSWORD));
                    asked_for_proof = true;
                }
            }
            Ok(Progress::Prove(recipe)) => {
                let proof = login.prove(&Keys::derive(PASSWORD, &recipe)).expect("keys were asked for");
                assert!(asked_for_proof && !shows(&proof, PASSWORD));
            }
            Ok(Progress::Ready(greeting)) => {
                assert!(!asked_for_proof, "let in without a proof that it knows the password");
                assert!(greeting.frames.len() <= 32 && greeting.parameters.len() <= greeting.frames.len());
                break;
            }
        }
    }
    Ok(())
}

/// What the database says next: anything, or a step of a real login, nearly.
fn said(from: &mut Unstructured<'_>, nonce: &str) -> Result<(u8, Vec<u8>)> {
    let code = |code: u32, rest: &[u8]| (b'R', [&code.to_be_bytes(), rest].concat());
    Ok(match from.int_in_range(0..=9)? {
        0 => code(0, b""),
        1 => code(3, b""),
        2 => code(5, piece(from)?),
        3 => code(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
        4 => code(10, piece(from)?),
        5 => {
            // Few rounds: what many cost is known.
            let (rounds, more, salt) = (from.int_in_range(0..=20)?, piece(from)?, piece(from)?);
            let text = format!("r={nonce}{},s=QSXCR+Q6{},i={rounds}", more.escape_ascii(), salt.escape_ascii());
            code(11, text.as_bytes())
        }
        6 => code(12, piece(from)?),
        7 => code(from.int_in_range(0..=13)?, piece(from)?),
        8 => (one(from, b"SKZNEv")?, piece(from)?.to_vec()),
        _ => (from.arbitrary()?, piece(from)?.to_vec()),
    })
}

fn shows(bytes: &[u8], word: &str) -> bool {
    find(bytes, word.as_bytes()).is_some()
}

fn find(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window == word)
}
