//! What a client says before its first statement, and what is said upstream before a login.

use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::startup;

use super::super::message::{Body, encoded};
use crate::model::Credential;
use crate::wire::Violation;

/// The longest packet before a session, as PostgreSQL's `MAX_STARTUP_PACKET_LENGTH`.
pub const MAX_FIRST_PACKET: usize = 10_000;

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

/// `SSLRequest`, for the way up.
pub fn ssl_request() -> Bytes {
    let mut buffer = BytesMut::new();
    match startup::SslRequest::new().encode(&mut buffer) {
        Ok(()) => buffer.freeze(),
        Err(_too_long) => Bytes::new(),
    }
}

/// `PasswordMessage`, for the way up. The password is not kept.
pub fn password_message(password: String) -> Bytes {
    encoded(&startup::Password::new(password))
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
}
