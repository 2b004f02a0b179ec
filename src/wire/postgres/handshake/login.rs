//! A login to the database, message by message.
//!
//! Promises: nothing that hangs on the password leaves before the database has asked for as much as the operator demands
//! ([`Proof`]); the password itself leaves only where nobody else can read it; a database that asks for SCRAM is not believed
//! without its own proof.

use std::fmt;

use bytes::Bytes;
use pgwire::api::auth::md5pass::hash_md5_password;
use pgwire::messages::startup::{self, Password, SASLInitialResponse, SASLResponse};
use zeroize::Zeroizing;

use super::super::frame::HEADER_LEN;
use super::super::message::{Body, encoded, error_fields};
use super::scram::{self, Begun, Challenged, Keys, Proven, Recipe};
use crate::wire::Violation;

/// The credentials that a target wants of us.
#[derive(Clone)]
pub struct Credentials {
    /// The database user.
    pub user: String,
    /// Its password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.user)
    }
}

/// What the connection to the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Channel {
    /// Others may read it.
    Open,
    /// It does not leave the machine: a Unix socket.
    Local,
    /// TLS, with the hash of the server's certificate that a login can be bound to (`tls-server-end-point`, RFC 5929), if
    /// its kind of certificate has one.
    Tls(Option<Vec<u8>>),
}

/// The least that the database must ask of us. Each takes what follows it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Proof {
    /// Anything, also nothing.
    Any,
    /// The password, where nobody else can read it.
    Password,
    /// A hash of it (MD5).
    Md5,
    /// A proof that it is known, for a proof of its own.
    Scram,
    /// The same, bound to the TLS connection.
    ScramPlus,
}

impl Proof {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::Scram => "scram-sha-256",
            Self::ScramPlus => "scram-sha-256-plus",
        }
    }
}

/// What the login asks of its driver.
#[derive(Debug)]
pub enum Progress {
    /// Send this, then read on.
    Send(Bytes),
    /// Give the keys of this recipe to [`Login::prove`].
    Prove(Recipe),
    /// Read on.
    Wait,
    /// The session is ready.
    Ready(Greeting),
}

/// What the database said of itself before its first `ReadyForQuery`.
#[derive(Debug, Default)]
pub struct Greeting {
    /// `ParameterStatus` and `NoticeResponse` frames, to be passed on as they came.
    pub frames: Vec<Bytes>,
    /// The parameters among them.
    pub parameters: Vec<(String, String)>,
    /// Its key for cancelling: process number and secret.
    pub key: Option<(i32, Bytes)>,
}

/// Why the database did not let us in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// It broke the protocol.
    #[error("the database broke the protocol: {0}")]
    Violation(#[from] Violation),
    /// It said no.
    #[error("the database refused the login (SQLSTATE {0})")]
    Refused(String),
    /// It wants what we do not do.
    #[error("the database asks for {0}, which is not supported")]
    Unsupported(String),
    /// It wants the password in the clear on a connection that others may read.
    #[error("the database asks for a password in the clear without TLS")]
    InTheClear,
    /// It asks for less than the operator demands.
    #[error("the database asks for {asked} at the login, and at least \"{}\" is required", .required.as_str())]
    Weak {
        /// For what.
        asked: &'static str,
        /// What it should ask for.
        required: Proof,
    },
    /// It could not prove that it knows the password.
    #[error("the database failed the SCRAM exchange: {0}")]
    Scram(&'static str),
}

/// A login to the database, message by message.
pub struct Login {
    credentials: Credentials,
    channel: Channel,
    required: Proof,
    state: LoginState,
    greeting: Greeting,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({:?})", self.credentials)
    }
}

/// Named for what is expected next.
enum LoginState {
    Request { nonce: String },
    ScramFirst(Begun),
    Keys(Challenged),
    ScramFinal(Proven),
    Ok,
    Ready,
}

impl Login {
    /// Begins a login: the machine, and the startup packet to send. `nonce` is new chance for each login: printable ASCII
    /// without a comma, at least 18 bytes of chance as `libpq` has.
    pub fn begin(
        credentials: Credentials,
        database: &str,
        parameters: &[(String, String)],
        (channel, required): (Channel, Proof),
        nonce: String,
    ) -> (Self, Bytes) {
        let mut packet = startup::Startup::new();
        packet.parameters.extend(parameters.iter().cloned());
        packet.parameters.insert("user".to_owned(), credentials.user.clone());
        packet.parameters.insert("database".to_owned(), database.to_owned());
        let first = encoded(&packet);
        let state = LoginState::Request { nonce };
        (Self { credentials, channel, required, state, greeting: Greeting::default() }, first)
    }

    /// Takes the database's next frame.
    ///
    /// # Errors
    ///
    /// The login failed; the connection is of no use.
    pub fn take(&mut self, kind: u8, frame: &Bytes) -> Result<Progress, LoginError> {
        match kind {
            b'E' => Err(LoginError::Refused(error_fields(frame).sqlstate.unwrap_or_else(|| "unknown".to_owned()))),
            b'N' => {
                self.greeting.frames.push(frame.clone());
                Ok(Progress::Wait)
            }
            b'R' => self.authentication(frame),
            b'S' if matches!(self.state, LoginState::Ready) => {
                let mut body = Body::of(frame);
                let text = |bytes: Bytes| std::str::from_utf8(&bytes).map(str::to_owned).unwrap_or_default();
                let pair = (text(body.string()?), text(body.string()?));
                self.greeting.frames.push(frame.clone());
                self.greeting.parameters.push(pair);
                Ok(Progress::Wait)
            }
            b'K' if matches!(self.state, LoginState::Ready) => {
                let mut body = Body::of(frame);
                let pid = body.i32()?;
                self.greeting.key = Some((pid, rest(frame)));
                Ok(Progress::Wait)
            }
            b'Z' if matches!(self.state, LoginState::Ready) => Ok(Progress::Ready(std::mem::take(&mut self.greeting))),
            b'v' => Ok(Progress::Wait),
            _ => Err(Violation("an unexpected message during login").into()),
        }
    }

    fn authentication(&mut self, frame: &Bytes) -> Result<Progress, LoginError> {
        let mut body = Body::of(frame);
        let code = body.i32()?;
        let state = std::mem::replace(&mut self.state, LoginState::Ok);
        match (code, state) {
            (0, LoginState::Request { .. }) => {
                // What `trust`, `peer` and `cert` look like.
                self.demand(Proof::Any, "nothing")?;
                self.state = LoginState::Ready;
                Ok(Progress::Wait)
            }
            (0, LoginState::Ok) => {
                self.state = LoginState::Ready;
                Ok(Progress::Wait)
            }
            (3, LoginState::Request { .. }) => {
                self.demand(Proof::Password, "a password in the clear")?;
                if self.channel == Channel::Open {
                    return Err(LoginError::InTheClear);
                }
                Ok(Progress::Send(encoded(&Password::new(self.credentials.password.to_string()))))
            }
            (5, LoginState::Request { .. }) => {
                let salt = body.take(4)?;
                body.end()?;
                self.demand(Proof::Md5, "an MD5 hash of the password")?;
                let hash = hash_md5_password(&self.credentials.user, &self.credentials.password, &salt);
                Ok(Progress::Send(encoded(&Password::new(hash))))
            }
            (10, LoginState::Request { nonce }) => self.begin_scram(&mut body, nonce),
            (11, LoginState::ScramFirst(begun)) => {
                let (recipe, challenged) = begun.take(&rest(frame))?;
                self.state = LoginState::Keys(challenged);
                Ok(Progress::Prove(recipe))
            }
            (12, LoginState::ScramFinal(proven)) => proven.verify(&rest(frame)).map(|()| Progress::Wait),
            (0 | 3 | 5 | 10 | 11 | 12, _) => Err(Violation("an authentication message out of turn").into()),
            (other, _) => Err(LoginError::Unsupported(format!("authentication method {other}"))),
        }
    }

    fn demand(&self, asked: Proof, words: &'static str) -> Result<(), LoginError> {
        let required = self.required;
        if asked < required { Err(LoginError::Weak { asked: words, required }) } else { Ok(()) }
    }

    /// Chooses a method. A certificate without a hash to bind to is no reason not to sign in, unless a binding is required.
    fn begin_scram(&mut self, body: &mut Body, nonce: String) -> Result<Progress, LoginError> {
        let (mut plain, mut plus) = (false, false);
        loop {
            let method = body.string()?;
            if method.is_empty() {
                break;
            }
            plain |= method.as_ref() == scram::PLAIN.as_bytes();
            plus |= method.as_ref() == scram::PLUS.as_bytes();
        }
        if plus && !matches!(self.channel, Channel::Tls(_)) {
            return Err(LoginError::Scram("it offers to bind to TLS, and there is none"));
        }
        let method = match self.channel {
            Channel::Tls(Some(_)) if plus => scram::PLUS,
            _ if plain => scram::PLAIN,
            _ => return Err(LoginError::Unsupported("SASL without a method that we know".to_owned())),
        };
        if method == scram::PLAIN {
            self.demand(Proof::Scram, "SCRAM without a binding to TLS")?;
        }
        let begun = Begun::new(method, &self.channel, nonce);
        let first = encoded(&SASLInitialResponse::new(method.to_owned(), Some(begun.message().into())));
        self.state = LoginState::ScramFirst(begun);
        Ok(Progress::Send(first))
    }

    /// Our proof, made with the keys for the recipe that [`Progress::Prove`] gave: send it, then read on.
    ///
    /// # Errors
    ///
    /// No keys were asked for.
    pub fn prove(&mut self, keys: &Keys) -> Result<Bytes, LoginError> {
        let LoginState::Keys(challenged) = std::mem::replace(&mut self.state, LoginState::Ok) else {
            return Err(Violation("keys that nobody asked for").into());
        };
        let (proof, proven) = challenged.prove(keys);
        self.state = LoginState::ScramFinal(proven);
        Ok(encoded(&SASLResponse::new(Bytes::from(proof))))
    }
}

/// What follows the first number of a message.
fn rest(frame: &Bytes) -> Bytes {
    frame.slice_ref(frame.get(HEADER_LEN + 4..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";

    fn frame(kind: u8, body: &[u8]) -> Bytes {
        let length = u32::try_from(body.len() + 4).unwrap();
        Bytes::from([&[kind][..], &length.to_be_bytes(), body].concat())
    }

    fn asks(code: u8, rest: &[u8]) -> Bytes {
        frame(b'R', &[&[0, 0, 0, code], rest].concat())
    }

    fn login_over(channel: Channel, required: Proof) -> Login {
        let credentials = Credentials { user: "u".into(), password: "secret".to_owned().into() };
        Login::begin(credentials, "d", &[], (channel, required), NONCE.to_owned()).0
    }

    fn tls() -> Channel {
        Channel::Tls(Some(vec![7; 32]))
    }

    fn login(channel: Channel) -> Login {
        login_over(channel, Proof::Any)
    }

    #[test]
    fn a_password_never_leaves_in_the_clear() {
        let ask = asks(3, b"");
        assert_eq!(login(Channel::Open).take(b'R', &ask).unwrap_err(), LoginError::InTheClear);
        for channel in [tls(), Channel::Tls(None), Channel::Local] {
            assert!(matches!(login(channel).take(b'R', &ask).unwrap(), Progress::Send(_)));
        }
        assert!(!format!("{:?}", login(tls())).contains("secret"));
    }

    #[test]
    fn a_database_that_asks_for_less_than_is_required_gets_nothing() {
        let plain = b"SCRAM-SHA-256\0\0".as_ref();
        let both = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0".as_ref();
        // From the weakest to the strongest, as the levels are.
        let asked = [asks(0, b""), asks(3, b""), asks(5, &[1, 2, 3, 4]), asks(10, plain), asks(10, both)];
        let levels = [Proof::Any, Proof::Password, Proof::Md5, Proof::Scram, Proof::ScramPlus];
        for (at, required) in levels.into_iter().enumerate() {
            for (asks, asked) in asked.iter().enumerate() {
                let taken = login_over(tls(), required).take(b'R', asked);
                let is_weak = matches!(taken, Err(LoginError::Weak { required: named, .. }) if named == required);
                assert_eq!(is_weak, asks < at, "{required:?}: {taken:?}");
                assert!(is_weak || taken.is_ok(), "{required:?}: {taken:?}");
            }
        }
        let error = login_over(tls(), Proof::Scram).take(b'R', &asked[2]).unwrap_err().to_string();
        assert!(error.contains("MD5") && error.contains("\"scram-sha-256\""), "{error}");
    }

    #[test]
    fn the_strongest_method_that_both_know_is_taken() {
        let both = asks(10, b"SCRAM-SHA-256\0SCRAM-SHA-256-PLUS\0\0");
        let plain = asks(10, b"SCRAM-SHA-256\0\0");
        let chosen = |channel: Channel, asked: &Bytes| match login(channel).take(b'R', asked).unwrap() {
            Progress::Send(bytes) => {
                let words = bytes.slice(HEADER_LEN..);
                let end = words.iter().position(|byte| *byte == 0).unwrap();
                (String::from_utf8(words[..end].to_vec()).unwrap(), words[end + 5..end + 6].to_vec())
            }
            other => panic!("{other:?}"),
        };
        let is = |method: &str, flag: u8| (method.to_owned(), vec![flag]);
        assert_eq!(chosen(tls(), &both), is(scram::PLUS, b'p'));
        assert_eq!(chosen(tls(), &plain), is(scram::PLAIN, b'y'));
        assert_eq!(chosen(Channel::Tls(None), &both), is(scram::PLAIN, b'n'));
        assert_eq!(chosen(Channel::Open, &plain), is(scram::PLAIN, b'n'));
        // Whoever offers to bind to a TLS that is not there means another connection than ours.
        assert!(matches!(login(Channel::Open).take(b'R', &both), Err(LoginError::Scram(_))));
        for unknown in [b"SCRAM-SHA-1\0\0".as_ref(), b"\0", b"SCRAM-SHA-256-PLUS\0\0"] {
            let taken = login(Channel::Tls(None)).take(b'R', &asks(10, unknown));
            assert!(matches!(taken, Err(LoginError::Unsupported(_))), "{unknown:?}");
        }
    }

    #[test]
    fn a_database_that_cheats_at_scram_is_left() {
        let offer = asks(10, b"SCRAM-SHA-256\0\0");
        for challenge in
            ["r=other,s=QSXCR+Q6sek8bf92,i=4096".to_owned(), "s=QSXCR+Q6sek8bf92,i=4096".to_owned(), String::new()]
        {
            let mut login = login(tls());
            assert!(matches!(login.take(b'R', &offer).unwrap(), Progress::Send(_)));
            assert!(
                matches!(login.take(b'R', &asks(11, challenge.as_bytes())), Err(LoginError::Scram(_))),
                "{challenge}"
            );
        }
        let mut early = login(tls());
        early.take(b'R', &offer).unwrap();
        assert!(early.take(b'R', &asks(0, b"")).is_err(), "let in without its own proof");
        let challenge = format!("r={NONCE}x,s=QSXCR+Q6sek8bf92,i=2");
        let mut login = login(tls());
        login.take(b'R', &offer).unwrap();
        let Progress::Prove(recipe) = login.take(b'R', &asks(11, challenge.as_bytes())).unwrap() else { panic!() };
        let keys = Keys::derive("secret", &recipe);
        assert!(!login.prove(&keys).unwrap().is_empty());
        assert!(login.prove(&keys).is_err(), "proved twice");
        assert!(login.take(b'R', &asks(12, b"v=QSXCR+Q6sek8bf92")).is_err(), "a signature of its own making");
    }

    #[test]
    fn a_login_takes_no_session_message_before_it_is_let_in() {
        let mut login = login(tls());
        assert!(login.take(b'Z', &frame(b'Z', b"I")).is_err());
        assert!(login.take(b'S', &frame(b'S', b"a\0b\0")).is_err());
        assert!(login.take(b'R', &asks(5, &[1])).is_err(), "a salt that is too short");
        assert!(login.take(b'R', &frame(b'R', &[])).is_err());
    }
}
