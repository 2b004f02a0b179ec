//! Everything before the first statement: towards the client, and towards the database.

use std::fmt;

use bytes::{Bytes, BytesMut};
use pgwire::api::auth::md5pass::hash_md5_password;
use pgwire::api::auth::sasl::scram::{
    ScramClientAuth, ScramClientAuthWaitingForServerFinal, ScramClientAuthWaitingForServerFirst,
};
use pgwire::messages::Message;
use pgwire::messages::startup::{self, Password, SASLInitialResponse, SASLResponse};

use super::message::{Body, encoded, error_fields};
use crate::model::Credential;
use crate::wire::Violation;

/// The longest packet before a session, as PostgreSQL's `MAX_STARTUP_PACKET_LENGTH`.
pub const MAX_FIRST_PACKET: usize = 10_000;
/// The most rounds of a password hash that a database may ask for; PostgreSQL asks for 4,096. More would let a false
/// server keep us computing.
const MAX_SCRAM_ROUNDS: u32 = 200_000;

/// Protocol 3.0, on which the rest counts.
const PROTOCOL: i32 = 3 << 16;
/// The newest minor version that we speak to clients: 3.2, that of PostgreSQL 18. All that is new in it is that keys for
/// cancelling may be long.
pub const MINOR: u16 = 2;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// What a connection begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstPacket {
    /// `SSLRequest`.
    Ssl,
    /// `GSSENCRequest`.
    Gss,
    /// `CancelRequest`: process number and secret.
    Cancel(i32, Bytes),
    /// `StartupMessage`.
    Startup(Startup),
}

/// `StartupMessage`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// The minor protocol version that the client would like.
    pub minor: u16,
    /// The parameters in their order.
    pub parameters: Vec<(String, String)>,
}

impl Startup {
    /// A parameter's value; the last one counts, as at the server.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The database that the client asks for. As at a server, a client that names none means the one of its user's name.
    pub fn database(&self) -> &str {
        self.get("database").or(self.get("user")).unwrap_or_default()
    }

    /// The minor protocol version that the session speaks: the client's, or ours if that is older.
    pub fn spoken(&self) -> u16 {
        self.minor.min(MINOR)
    }

    /// Whether the client takes a key for cancelling of another length than four bytes. Not so in 3.1, which no server ever
    /// spoke: old poolers claim it by mistake.
    pub fn takes_long_keys(&self) -> bool {
        self.spoken() >= 2
    }

    /// `NegotiateProtocolVersion`, if the client asked for more than we speak: a newer version, or options of the protocol,
    /// none of which we know. A client that greases its startup packet (libpq 19 on request, in its betas by itself: version
    /// 3.9999 and an option that nobody knows) leaves unless it gets exactly that answer.
    pub fn negotiation(&self) -> Option<Bytes> {
        let unknown: Vec<String> =
            self.parameters.iter().map(|(name, _)| name).filter(|name| name.starts_with("_pq_.")).cloned().collect();
        // The whole version, as servers send it: libpq 18 takes 0 for an offer of "protocol 0.0" and leaves.
        (self.minor > MINOR || !unknown.is_empty()).then(|| {
            let version = PROTOCOL | i32::from(self.spoken());
            encoded(&startup::NegotiateProtocolVersion::new(version, unknown))
        })
    }
}

/// Reads the packet that a connection begins with, and says how many bytes it took. Nothing if it is not all here yet.
///
/// # Errors
///
/// It is no such packet, or over [`MAX_FIRST_PACKET`].
pub fn first_packet(bytes: &[u8]) -> Result<Option<(FirstPacket, usize)>, Violation> {
    let Some(length) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).or(Err(Violation(NOT_STARTUP)))?;
    if !(8..=MAX_FIRST_PACKET).contains(&length) {
        return Err(Violation(NOT_STARTUP));
    }
    let Some(packet) = bytes.get(4..length) else { return Ok(None) };
    let (code, rest) = packet.split_first_chunk::<4>().ok_or(Violation(NOT_STARTUP))?;
    let first = match (u32::from_be_bytes(*code), rest) {
        (SSL_REQUEST, []) => FirstPacket::Ssl,
        (GSS_REQUEST, []) => FirstPacket::Gss,
        (CANCEL_REQUEST, key) => {
            let (pid, secret) = key.split_first_chunk::<4>().ok_or(Violation(NOT_STARTUP))?;
            FirstPacket::Cancel(i32::from_be_bytes(*pid), Bytes::copy_from_slice(secret))
        }
        (version, body) if version >> 16 == 3 => {
            let minor = u16::try_from(version & 0xffff).or(Err(Violation(NOT_STARTUP)))?;
            FirstPacket::Startup(Startup { minor, parameters: parameters(body)? })
        }
        _ => return Err(Violation(NOT_STARTUP)),
    };
    Ok(Some((first, length)))
}

const NOT_STARTUP: &str = "the connection does not begin with a PostgreSQL startup packet";

fn parameters(body: &[u8]) -> Result<Vec<(String, String)>, Violation> {
    let flaw = || Violation("a startup packet with broken parameters");
    let body = body.strip_suffix(&[0]).ok_or_else(flaw)?;
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let body = body.strip_suffix(&[0]).ok_or_else(flaw)?;
    let texts: Vec<&str> =
        body.split(|byte| *byte == 0).map(std::str::from_utf8).collect::<Result<_, _>>().or(Err(flaw()))?;
    let pairs = texts.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(flaw());
    }
    pairs
        .map(|pair| match pair {
            [name, value] if !name.is_empty() => Ok(((*name).to_owned(), (*value).to_owned())),
            _ => Err(flaw()),
        })
        .collect()
}

/// Decodes the password message: the token.
///
/// # Errors
///
/// The frame is no password message.
pub fn password(frame: &Bytes) -> Result<Credential, Violation> {
    let mut body = Body::of(frame);
    let token = body.string()?;
    body.end().map(|()| Credential::new(token.to_vec()))
}

/// The credentials that a target wants of us.
#[derive(Clone)]
pub struct Credentials {
    /// The database user.
    pub user: String,
    /// Its password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({}, …)", self.user)
    }
}

/// What the login asks of its driver.
#[derive(Debug)]
pub enum Progress {
    /// Send this, then read on.
    Send(Bytes),
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
    /// It wants the password in the clear on a connection that is not encrypted.
    #[error("the database asks for a password in the clear without TLS")]
    InTheClear,
    /// It could not prove that it knows the password.
    #[error("the database failed the SCRAM exchange: {0}")]
    Scram(&'static str),
}

/// A login to the database, message by message.
pub struct Login {
    credentials: Credentials,
    encrypted: bool,
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
    Request,
    ScramFirst { nonce: String, next: ScramClientAuthWaitingForServerFirst },
    ScramFinal(ScramClientAuthWaitingForServerFinal),
    Ok,
    Ready,
}

impl Login {
    /// Begins a login: the machine, and the startup packet to send. `encrypted` says whether TLS protects it.
    pub fn begin(
        credentials: Credentials,
        database: &str,
        parameters: &[(String, String)],
        encrypted: bool,
    ) -> (Self, Bytes) {
        let mut packet = startup::Startup::new();
        packet.parameters.extend(parameters.iter().cloned());
        packet.parameters.insert("user".to_owned(), credentials.user.clone());
        packet.parameters.insert("database".to_owned(), database.to_owned());
        let first = encoded(&packet);
        (Self { credentials, encrypted, state: LoginState::Request, greeting: Greeting::default() }, first)
    }

    /// Takes the database's next frame.
    ///
    /// # Errors
    ///
    /// The login failed; the connection is of no use.
    pub fn take(&mut self, kind: u8, frame: &Bytes) -> Result<Progress, LoginError> {
        match kind {
            b'E' => Err(LoginError::Refused(error_fields(frame).0.unwrap_or_else(|| "unknown".to_owned()))),
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
                let secret = frame.slice_ref(frame.get(super::frame::HEADER_LEN + 4..).unwrap_or_default());
                self.greeting.key = Some((pid, secret));
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
            // AuthenticationOk without any proof is what `trust` looks like; the operator chose the server.
            (0, LoginState::Request | LoginState::Ok) => {
                self.state = LoginState::Ready;
                Ok(Progress::Wait)
            }
            (3, LoginState::Request) if !self.encrypted => Err(LoginError::InTheClear),
            (3, LoginState::Request) => Ok(Progress::Send(encoded(&Password::new(self.credentials.password.clone())))),
            (5, LoginState::Request) => {
                let salt = body.take(4)?;
                body.end()?;
                let hash = hash_md5_password(&self.credentials.user, &self.credentials.password, &salt);
                Ok(Progress::Send(encoded(&Password::new(hash))))
            }
            (10, LoginState::Request) => self.begin_scram(&mut body),
            (11, LoginState::ScramFirst { nonce, next }) => self.prove(&nonce, &next, &rest(frame)),
            (12, LoginState::ScramFinal(last)) => {
                last.verify_server_final(&rest(frame)).or(Err(LoginError::Scram("its signature is wrong")))?;
                Ok(Progress::Wait)
            }
            (0 | 3 | 5 | 10 | 11 | 12, _) => Err(Violation("an authentication message out of turn").into()),
            (other, _) => Err(LoginError::Unsupported(format!("authentication method {other}"))),
        }
    }

    fn begin_scram(&mut self, body: &mut Body) -> Result<Progress, LoginError> {
        const METHOD: &str = "SCRAM-SHA-256";
        let mut offered = false;
        loop {
            let method = body.string()?;
            if method.is_empty() {
                break;
            }
            offered |= method.as_ref() == METHOD.as_bytes();
        }
        if !offered {
            return Err(LoginError::Unsupported("SASL without SCRAM-SHA-256".to_owned()));
        }
        let client = ScramClientAuth::new(self.credentials.user.clone(), self.credentials.password.clone());
        let (first, next) = client.build_client_first().or(Err(LoginError::Scram("our user name is unusable")))?;
        let nonce = first.rsplit_once("r=").map(|(_, nonce)| nonce.to_owned()).unwrap_or_default();
        self.state = LoginState::ScramFirst { nonce, next };
        Ok(Progress::Send(encoded(&SASLInitialResponse::new(METHOD.to_owned(), Some(first.into())))))
    }

    /// Answers the server's challenge, after what `pgwire` leaves unchecked: that the nonce continues ours
    /// (RFC 5802 §5.1) and that the rounds are bounded.
    fn prove(
        &mut self,
        nonce: &str,
        next: &ScramClientAuthWaitingForServerFirst,
        challenge: &[u8],
    ) -> Result<Progress, LoginError> {
        let text = std::str::from_utf8(challenge).or(Err(LoginError::Scram("its challenge is not text")))?;
        let field = |name: &str| text.split(',').find_map(|field| field.strip_prefix(name));
        let full = field("r=").unwrap_or_default();
        if nonce.is_empty() || full.len() <= nonce.len() || !full.starts_with(nonce) {
            return Err(LoginError::Scram("its nonce does not continue ours"));
        }
        let rounds: u32 = field("i=").and_then(|rounds| rounds.parse().ok()).unwrap_or(0);
        if !(1..=MAX_SCRAM_ROUNDS).contains(&rounds) {
            return Err(LoginError::Scram("its number of rounds is out of range"));
        }
        let (proof, last) = next.build_client_final(challenge).or(Err(LoginError::Scram("its challenge is broken")))?;
        self.state = LoginState::ScramFinal(last);
        Ok(Progress::Send(encoded(&SASLResponse::new(Bytes::from(proof)))))
    }
}

/// What follows the code of an authentication message.
fn rest(frame: &Bytes) -> Bytes {
    frame.slice_ref(frame.get(super::frame::HEADER_LEN + 4..).unwrap_or_default())
}

/// `SSLRequest`, for the way up.
pub fn ssl_request() -> Bytes {
    let mut buffer = BytesMut::new();
    match startup::SslRequest::new().encode(&mut buffer) {
        Ok(()) => buffer.freeze(),
        Err(_too_long) => Bytes::new(),
    }
}

/// `CancelRequest`, for the way up.
pub fn cancel_request(pid: i32, secret: &[u8]) -> Bytes {
    let length = u32::try_from(12 + secret.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &CANCEL_REQUEST.to_be_bytes(), &pid.to_be_bytes(), secret].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 8).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
    }

    fn frame(kind: u8, body: &[u8]) -> Bytes {
        let length = u32::try_from(body.len() + 4).unwrap();
        Bytes::from([&[kind][..], &length.to_be_bytes(), body].concat())
    }

    #[test]
    fn a_startup_packet_is_read_once_all_of_it_is_here() {
        let whole = packet(196_608, b"user\0ana\0database\0clinic\0user\0eve\0\0");
        for len in 0..whole.len() {
            assert_eq!(first_packet(&whole[..len]).unwrap(), None, "{len}");
        }
        let more = [&whole[..], b"Q"].concat();
        let Some((FirstPacket::Startup(startup), used)) = first_packet(&more).unwrap() else { panic!("no startup") };
        assert_eq!(used, whole.len());
        assert_eq!((startup.get("user"), startup.get("database")), (Some("eve"), Some("clinic")));
        assert_eq!(startup.negotiation(), None);
    }

    #[test]
    fn requests_before_the_startup_are_told_apart() {
        assert_eq!(first_packet(&packet(SSL_REQUEST, b"")).unwrap(), Some((FirstPacket::Ssl, 8)));
        assert_eq!(first_packet(&packet(GSS_REQUEST, b"")).unwrap(), Some((FirstPacket::Gss, 8)));
        let cancel = cancel_request(7, &[0, 0, 0, 9]);
        let wanted = FirstPacket::Cancel(7, Bytes::from_static(&[0, 0, 0, 9]));
        assert_eq!(first_packet(&cancel).unwrap(), Some((wanted, 16)));
        assert_eq!(first_packet(&ssl_request()).unwrap(), Some((FirstPacket::Ssl, 8)));
    }

    #[test]
    fn what_is_no_startup_packet_is_refused_at_its_first_bytes() {
        for bad in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            vec![0x16, 3, 1, 2, 0],
            packet(196_608, b"user\0ana\0"),
            packet(196_608, b"user\0ana"),
            packet(196_608, b"user\0\0"),
            packet(196_608, b"\0ana\0\0"),
            packet(131_072, b"user\0ana\0\0"),
            packet(SSL_REQUEST, b"x"),
            packet(CANCEL_REQUEST, b"x"),
            vec![0, 0, 0, 7, 0, 3, 0],
            vec![0, 0, 0x40, 0],
        ] {
            assert!(first_packet(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_newer_than_we_speak_is_negotiated_down_and_nothing_else_is() {
        let asked = |version: u32, more: &[u8]| {
            let whole = packet(version, &[b"user\0ana\0", more, b"\0"].concat());
            let Some((FirstPacket::Startup(startup), _)) = first_packet(&whole).unwrap() else { panic!("no startup") };
            (startup.negotiation(), startup.takes_long_keys())
        };
        for (version, long) in [(196_608, false), (196_609, false), (196_610, true)] {
            assert_eq!(asked(version, b""), (None, long), "{version}");
        }
        let newer = Bytes::from_static(b"v\0\0\0\x0c\0\x03\0\x02\0\0\0\0");
        assert_eq!(asked(196_611, b""), (Some(newer), true));
        let grease = Bytes::from_static(b"v\0\0\0\x2b\0\x03\0\x02\0\0\0\x01_pq_.test_protocol_negotiation\0");
        assert_eq!(asked(196_608 + 9999, b"_pq_.test_protocol_negotiation\0\0"), (Some(grease), true));
        let option = Bytes::from_static(b"v\0\0\0\x13\0\x03\0\0\0\0\0\x01_pq_.x\0");
        assert_eq!(asked(196_608, b"_pq_.x\0on\0"), (Some(option), false));
    }

    fn login(encrypted: bool) -> Login {
        let credentials = Credentials { user: "u".into(), password: "secret".into() };
        Login::begin(credentials, "d", &[], encrypted).0
    }

    #[test]
    fn a_password_never_leaves_in_the_clear() {
        let ask = frame(b'R', &[0, 0, 0, 3]);
        assert_eq!(login(false).take(b'R', &ask).unwrap_err(), LoginError::InTheClear);
        assert!(matches!(login(true).take(b'R', &ask).unwrap(), Progress::Send(_)));
        assert!(!format!("{:?}", login(true)).contains("secret"));
    }

    #[test]
    fn a_database_that_cheats_at_scram_is_left() {
        let offer = frame(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0");
        for challenge in
            ["r=other,s=QSXCR+Q6sek8bf92,i=4096".to_owned(), "s=QSXCR+Q6sek8bf92,i=4096".to_owned(), String::new()]
        {
            let mut login = login(true);
            assert!(matches!(login.take(b'R', &offer).unwrap(), Progress::Send(_)));
            let body = [&[0, 0, 0, 11][..], challenge.as_bytes()].concat();
            assert!(matches!(login.take(b'R', &frame(b'R', &body)), Err(LoginError::Scram(_))), "{challenge}");
        }
        let mut login = login(true);
        let Progress::Send(first) = login.take(b'R', &offer).unwrap() else { panic!("no answer") };
        let nonce = std::str::from_utf8(&first).unwrap().rsplit_once("r=").unwrap().1.to_owned();
        assert!(login.take(b'R', &frame(b'R', &[0, 0, 0, 0])).is_err(), "let in without its own proof: {nonce}");
    }

    #[test]
    fn a_login_takes_no_session_message_before_it_is_let_in() {
        let mut login = login(true);
        assert!(login.take(b'Z', &frame(b'Z', b"I")).is_err());
        assert!(login.take(b'S', &frame(b'S', b"a\0b\0")).is_err());
        assert!(login.take(b'R', &frame(b'R', &[0, 0, 0, 5, 1])).is_err(), "a salt that is too short");
        assert!(login.take(b'R', &frame(b'R', &[])).is_err());
    }
}
