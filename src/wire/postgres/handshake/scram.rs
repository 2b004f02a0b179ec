//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS, the client's half (RFC 5802, RFC 7677, RFC 5929).
//!
//! Promises: the server is believed only if it proves that it knows the password, or what the password was made into; what
//! it says is read strictly, as `libpq` does; where TLS can be bound to and the server does not offer to, it is told so, and
//! an honest server that did offer notices that somebody struck it out.
//!
//! The costly part, thousands of rounds of HMAC, is [`Keys::derive`]. It hangs on the password, the salt and the rounds only,
//! so whoever drives the login may keep the keys. That is why this is not `pgwire`'s or `postgres-protocol`'s SCRAM, which
//! derive them at each login.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::{digest, hmac, pbkdf2};

use super::{Channel, LoginError};

/// The method without a binding.
pub(super) const PLAIN: &str = "SCRAM-SHA-256";
/// The method that is bound to TLS.
pub(super) const PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The most rounds that a database may ask for; PostgreSQL asks for 4,096. More would let a false server keep us computing.
const MAX_ROUNDS: u32 = 200_000;
/// The longest salt, in bytes; PostgreSQL's have 16. It is kept with the keys.
const MAX_SALT: usize = 256;

/// What keys are derived by, beside the password.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// The salt.
    salt: Vec<u8>,
    /// The rounds.
    rounds: NonZeroU32,
}

/// What a password is made into: who has it can sign in, and can tell whether the server knows the password.
pub struct Keys {
    client: [u8; digest::SHA256_OUTPUT_LEN],
    server: hmac::Key,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Derives the keys. This takes milliseconds.
    pub fn derive(password: &str, recipe: &Recipe) -> Self {
        // A password that cannot be prepared is taken as it is, as by PostgreSQL.
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, recipe.rounds, &recipe.salt, prepared.as_bytes(), &mut salted);
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let mut client = [0; digest::SHA256_OUTPUT_LEN];
        client.copy_from_slice(hmac::sign(&salted, b"Client Key").as_ref());
        let server = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&salted, b"Server Key").as_ref());
        Self { client, server }
    }
}

/// Our first words are sent; the server's challenge is awaited.
pub(super) struct Begun {
    /// The header that says what is bound, and the bytes that it binds.
    binding: Vec<u8>,
    header: String,
    nonce: String,
}

/// The challenge is here; the keys for its recipe are awaited.
pub(super) struct Challenged {
    /// All that both sides have said and we are about to say, which is what is signed.
    transcript: String,
    /// Our last words, but for the proof.
    last: String,
}

/// Our proof is sent; the server's own is awaited.
pub(super) struct Proven {
    transcript: String,
    server: hmac::Key,
}

impl Begun {
    /// Begins, bound to TLS if `bound` gives the certificate's hash. `nonce` is new chance, in printable ASCII without a
    /// comma.
    pub(super) fn new(method: &str, channel: &Channel, nonce: String) -> Self {
        let (header, hash) = match channel {
            Channel::Tls(Some(hash)) if method == PLUS => ("p=tls-server-end-point,,", hash.as_slice()),
            // We could, and believe that the server cannot.
            Channel::Tls(Some(_)) => ("y,,", &[][..]),
            _ => ("n,,", &[][..]),
        };
        Self { binding: [header.as_bytes(), hash].concat(), header: header.to_owned(), nonce }
    }

    /// Our first words. The name is left out, as by `libpq`: the server knows it from the startup packet.
    pub(super) fn message(&self) -> String {
        format!("{}{}", self.header, self.bare())
    }

    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Reads the challenge.
    pub(super) fn take(&self, challenge: &[u8]) -> Result<(Recipe, Challenged), LoginError> {
        let text = std::str::from_utf8(challenge).or(Err(LoginError::Scram("its challenge is not text")))?;
        let broken = LoginError::Scram("its challenge is broken");
        let mut fields = text.split(',');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(broken.clone());
        let (nonce, salt, rounds) = (field("r=")?, field("s=")?, field("i=")?);
        if fields.next().is_some() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(broken);
        }
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(LoginError::Scram("its nonce does not continue ours"));
        }
        let salt = STANDARD.decode(salt).or(Err(broken))?;
        if salt.is_empty() || salt.len() > MAX_SALT {
            return Err(LoginError::Scram("the length of its salt is out of range"));
        }
        let rounds = rounds.parse::<u32>().ok().filter(|rounds| *rounds <= MAX_ROUNDS).and_then(NonZeroU32::new);
        let rounds = rounds.ok_or(LoginError::Scram("its number of rounds is out of range"))?;
        let last = format!("c={},r={nonce}", STANDARD.encode(&self.binding));
        let transcript = format!("{},{text},{last}", self.bare());
        Ok((Recipe { salt, rounds }, Challenged { transcript, last }))
    }
}

impl Challenged {
    /// Our last words, with the proof that we know the password.
    pub(super) fn prove(self, keys: &Keys) -> (String, Proven) {
        let stored = digest::digest(&digest::SHA256, &keys.client);
        let stored = hmac::Key::new(hmac::HMAC_SHA256, stored.as_ref());
        let signature = hmac::sign(&stored, self.transcript.as_bytes());
        let proof: Vec<u8> = keys.client.iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let message = format!("{},p={}", self.last, STANDARD.encode(proof));
        (message, Proven { transcript: self.transcript, server: keys.server.clone() })
    }
}

impl Proven {
    /// Holds the server to its own proof.
    pub(super) fn verify(&self, last: &Bytes) -> Result<(), LoginError> {
        let signature = last.strip_prefix(b"v=").and_then(|signature| STANDARD.decode(signature).ok());
        let is_right =
            signature.is_some_and(|sign| hmac::verify(&self.server, self.transcript.as_bytes(), &sign).is_ok());
        is_right.then_some(()).ok_or(LoginError::Scram("its signature is wrong"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn begun(method: &str, channel: &Channel) -> Begun {
        Begun::new(method, channel, NONCE.to_owned())
    }

    /// RFC 7677 §3. The name stands in its transcript, where ours leaves it out.
    #[test]
    fn the_keys_are_those_of_the_standard_s_example() {
        let (recipe, challenged) = begun(PLAIN, &Channel::Open).take(CHALLENGE.as_bytes()).unwrap();
        let keys = Keys::derive("pencil", &recipe);
        let challenged = Challenged { transcript: challenged.transcript.replace("n=,", "n=user,"), ..challenged };
        let (last, proven) = challenged.prove(&keys);
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let right = Bytes::from_static(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(proven.verify(&right), Ok(()));
        for wrong in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "v=", "", "e=invalid-proof", "v=6rri"] {
            assert!(proven.verify(&Bytes::from_static(wrong.as_bytes())).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_bound_is_said_and_what_could_be_too() {
        let tls = Channel::Tls(Some(vec![7; 32]));
        for (method, channel, said, bound) in [
            (PLUS, &tls, "p=tls-server-end-point,,", [b"p=tls-server-end-point,,".as_ref(), &[7; 32]].concat()),
            (PLAIN, &tls, "y,,", b"y,,".to_vec()),
            (PLAIN, &Channel::Tls(None), "n,,", b"n,,".to_vec()),
            (PLAIN, &Channel::Local, "n,,", b"n,,".to_vec()),
            (PLAIN, &Channel::Open, "n,,", b"n,,".to_vec()),
        ] {
            let begun = begun(method, channel);
            assert_eq!(begun.message(), format!("{said}n=,r={NONCE}"));
            let (recipe, challenged) = begun.take(CHALLENGE.as_bytes()).unwrap();
            let (last, _) = challenged.prove(&Keys::derive("x", &recipe));
            assert!(last.starts_with(&format!("c={},r=", STANDARD.encode(bound))), "{last}");
        }
    }

    #[test]
    fn a_challenge_that_is_not_to_the_letter_is_refused() {
        let begun = begun(PLAIN, &Channel::Open);
        let salt = "s=W22ZaJ0SNY7soEsUEjb6gQ==";
        let long = format!("s={}", STANDARD.encode([1; MAX_SALT + 1]));
        for bad in [
            String::new(),
            format!("r={NONCE},{salt},i=4096"),
            format!("r=x{NONCE}y,{salt},i=4096"),
            format!("r={NONCE}x,s=,i=4096"),
            format!("r={NONCE}x,{long},i=4096"),
            format!("r={NONCE}x,s=***,i=4096"),
            format!("r={NONCE}x,{salt},i=0"),
            format!("r={NONCE}x,{salt},i=-1"),
            format!("r={NONCE}x,{salt},i=200001"),
            format!("r={NONCE}x,{salt}"),
            format!("r={NONCE}x,{salt},i=1,m=more"),
            format!("m=more,r={NONCE}x,{salt},i=1"),
            format!("r={NONCE}\u{7f},{salt},i=1"),
            format!("{salt},r={NONCE}x,i=1"),
        ] {
            assert!(matches!(begun.take(bad.as_bytes()), Err(LoginError::Scram(_))), "{bad}");
        }
        assert!(begun.take(b"r=\xff").is_err());
    }

    #[test]
    fn a_password_is_prepared_as_the_server_prepares_it() {
        let recipe = Recipe { salt: vec![1], rounds: NonZeroU32::MIN };
        let client = |password: &str| Keys::derive(password, &recipe).client;
        // RFC 4013 §3: a soft hyphen is nothing, a letter of another form is that letter; what is forbidden stays.
        assert_eq!(client("I\u{ad}X"), client("IX"));
        assert_eq!(client("\u{2168}"), client("IX"));
        assert_ne!(client("\u{7}"), client(""));
    }

    #[test]
    fn keys_are_not_shown() {
        let keys = Keys::derive("pencil", &Recipe { salt: vec![1], rounds: NonZeroU32::MIN });
        assert_eq!(format!("{keys:?}"), "Keys");
    }
}
