//! SASL `OAUTHBEARER` (RFC 7628) as PostgreSQL 18 speaks it (protocol chapter 54.3.2): the client's token without a password, and
//! where to get one for a client that has none.
//!
//! ```text
//! server: AuthenticationSASL OAUTHBEARER
//! client: n,,^Aauth=Bearer TOKEN^A^A      → the session, or the error as JSON, which the client takes note of with ^A, and why
//!         n,,^Aauth=^A^A                  → where to sign in as JSON, which the client takes note of with ^A; it comes again
//! ```

use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::startup::Authentication;
use serde_json::json;

use crate::model::Credential;
use crate::wire::Violation;
use crate::wire::postgres::message::Body;

/// What stands between the parts of a message (RFC 7628 §3.1).
const SEPARATOR: u8 = 1;
const MECHANISM: &str = "OAUTHBEARER";
/// The scheme of the token (RFC 6750).
const SCHEME: &str = "bearer";

/// Where a client that has no token gets one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInAt {
    /// The URL of the issuer's discovery document.
    pub configuration: String,
    /// What to ask it for: scopes with spaces between.
    pub scope: String,
}

/// What a client said first.
#[derive(Debug)]
pub enum Bearer {
    /// Its token.
    Token(Credential),
    /// That it has none and asks where to get one.
    AsksWhere,
}

/// `AuthenticationSASL`: this and nothing else. A client that was offered SCRAM too would take that.
pub fn ask_bearer() -> Bytes {
    encoded(&Authentication::SASL(vec![MECHANISM.to_owned()]))
}

/// `AuthenticationSASLContinue` with why it does not go on, and where to sign in (RFC 7628 §3.2.2).
pub fn tell_where(at: &SignInAt) -> Bytes {
    let SignInAt { configuration, scope } = at;
    let told = json!({ "status": "invalid_token", "openid-configuration": configuration, "scope": scope });
    encoded(&Authentication::SASLContinue(Bytes::from(told.to_string())))
}

fn encoded(message: &Authentication) -> Bytes {
    let mut buffer = BytesMut::new();
    // What is too long for a message is refused; ours are short.
    match message.encode(&mut buffer) {
        Ok(()) => buffer.freeze(),
        Err(_too_long) => Bytes::new(),
    }
}

/// Decodes a `SASLInitialResponse`.
///
/// # Errors
///
/// It is of another mechanism, or not of the form of this one.
pub fn bearer(frame: &Bytes) -> Result<Bearer, Violation> {
    let mut body = Body::of(frame);
    if body.string()? != MECHANISM.as_bytes() {
        return Err(Violation("a mechanism of SASL that was not offered"));
    }
    let length = usize::try_from(body.i32()?).or(Err(Violation("OAUTHBEARER without its first message")))?;
    let message = body.take(length)?;
    body.end()?;
    let rest = gs2(&message)?;
    let mut auth = None;
    // Each pair ends with a separator, and one more ends all.
    let pairs = rest.strip_suffix(&[SEPARATOR, SEPARATOR]).ok_or(UNENDED)?;
    for pair in pairs.split(|byte| *byte == SEPARATOR) {
        let at = pair.iter().position(|byte| *byte == b'=').ok_or(Violation("a part of OAUTHBEARER without a key"))?;
        let (key, value) = (pair.get(..at).unwrap_or_default(), pair.get(at + 1..).unwrap_or_default());
        if key.is_empty() || !key.iter().all(u8::is_ascii_alphabetic) {
            return Err(Violation("a part of OAUTHBEARER without a key"));
        }
        // Host and port, which other keys are for, are those that the client came to.
        if key == b"auth" && auth.replace(value).is_some() {
            return Err(Violation("two tokens in one message of OAUTHBEARER"));
        }
    }
    match auth {
        None => Err(Violation("OAUTHBEARER without `auth`")),
        Some(b"") => Ok(Bearer::AsksWhere),
        Some(auth) => token(auth).map(|token| Bearer::Token(Credential::new(token.to_vec()))),
    }
}

const UNENDED: Violation = Violation("a message of OAUTHBEARER without its end");

/// What follows the header (RFC 5801 §4): no channel binding, and nobody else to act as.
fn gs2(message: &[u8]) -> Result<&[u8], Violation> {
    let rest = match message.split_first() {
        Some((b'n' | b'y', rest)) => rest,
        Some((b'p', _)) => return Err(Violation("channel binding, which OAUTHBEARER does not have")),
        _ => return Err(Violation("OAUTHBEARER without its header")),
    };
    let rest = rest.strip_prefix(b",").ok_or(Violation("OAUTHBEARER without its header"))?;
    if rest.starts_with(b"a=") {
        return Err(Violation("OAUTHBEARER for somebody else than the token is of"));
    }
    let rest = rest.strip_prefix(b",").ok_or(Violation("OAUTHBEARER without its header"))?;
    rest.strip_prefix(&[SEPARATOR]).ok_or(UNENDED)
}

/// The token behind its scheme, whose case does not matter (RFC 7235 §2.1).
fn token(auth: &[u8]) -> Result<&[u8], Violation> {
    let (scheme, rest) = auth.split_at_checked(SCHEME.len()).ok_or(NO_BEARER)?;
    let is_bearer = scheme.eq_ignore_ascii_case(SCHEME.as_bytes()) && rest.first() == Some(&b' ');
    let token = rest.trim_ascii_start();
    if is_bearer && !token.is_empty() { Ok(token) } else { Err(NO_BEARER) }
}

const NO_BEARER: Violation = Violation("`auth` of OAUTHBEARER is no bearer token");

/// Whether a frame is what a client says to an error: one separator, and nothing.
///
/// # Errors
///
/// It says something else.
pub fn notes(frame: &Bytes) -> Result<(), Violation> {
    let body = Body::of(frame).take(1)?;
    let is_it = body.as_ref() == [SEPARATOR] && frame.len() == super::super::frame::HEADER_LEN + 1;
    if is_it { Ok(()) } else { Err(Violation("something else than an answer to an error of OAUTHBEARER")) }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    /// A `SASLInitialResponse` with this message, as a client sends it.
    fn initial(mechanism: &str, message: &[u8]) -> Bytes {
        let mut body = BytesMut::new();
        body.put_slice(mechanism.as_bytes());
        body.put_u8(0);
        body.put_i32(i32::try_from(message.len()).unwrap_or(i32::MAX));
        body.put_slice(message);
        let mut frame = BytesMut::new();
        frame.put_u8(b'p');
        frame.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
        frame.put_slice(&body);
        frame.freeze()
    }

    fn said(message: &str) -> Result<Option<String>, &'static str> {
        match bearer(&initial(MECHANISM, message.replace('^', "\u{1}").as_bytes())) {
            Ok(Bearer::Token(token)) => Ok(std::str::from_utf8(token.reveal()).ok().map(str::to_owned)),
            Ok(Bearer::AsksWhere) => Ok(None),
            Err(violation) => Err(violation.0),
        }
    }

    #[test]
    fn what_libpq_18_says_is_understood() {
        // As captured from it: 11 bytes with nothing in `auth`, and then the token.
        assert_eq!(said("n,,^auth=^^"), Ok(None));
        assert_eq!(said("n,,^auth=Bearer eyJ.eyJ.c^^"), Ok(Some("eyJ.eyJ.c".to_owned())));
        assert_eq!(said("y,,^host=db^port=5432^auth=bearer  x^^"), Ok(Some("x".to_owned())));
        assert_eq!(ask_bearer().as_ref(), b"R\0\0\0\x15\0\0\0\x0aOAUTHBEARER\0\0");
        let told = tell_where(&SignInAt { configuration: "https://i/x".to_owned(), scope: "openid db".to_owned() });
        let told: serde_json::Value = serde_json::from_slice(&told[9..]).unwrap();
        assert_eq!(
            told,
            json!({ "status": "invalid_token", "openid-configuration": "https://i/x", "scope": "openid db" })
        );
        assert!(notes(&Bytes::from_static(b"p\0\0\0\x05\x01")).is_ok());
        for bad in [&b"p\0\0\0\x04"[..], b"p\0\0\0\x05\x02", b"p\0\0\0\x06\x01\x01"] {
            assert!(notes(&Bytes::copy_from_slice(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_no_message_of_this_mechanism_is_refused() {
        for (message, why) in [
            ("", "without its header"),
            ("n", "without its header"),
            ("n,", "without its header"),
            ("n,,", "without its end"),
            ("n,,^", "without its end"),
            ("n,,^auth=Bearer x", "without its end"),
            ("n,,^auth=Bearer x^", "without its end"),
            ("p=tls-server-end-point,,^auth=Bearer x^^", "channel binding"),
            ("n,a=dora,^auth=Bearer x^^", "somebody else"),
            ("n,,^auth=Basic x^^", "no bearer token"),
            ("n,,^auth=Bearer^^", "no bearer token"),
            ("n,,^auth=Bearer ^^", "no bearer token"),
            ("n,,^auth=Bearerx^^", "no bearer token"),
            ("n,,^auth=Bearer x^auth=Bearer y^^", "two tokens"),
            ("n,,^host=x^^", "without `auth`"),
            ("n,,^^auth=x^^", "without a key"),
            ("n,,^=x^^", "without a key"),
            ("n,,^au th=x^^", "without a key"),
        ] {
            let refused = said(message).unwrap_err();
            assert!(refused.contains(why), "{message}: {refused}");
        }
        assert!(bearer(&initial("SCRAM-SHA-256", b"n,,n=,r=x")).is_err());
        let whole = initial(MECHANISM, b"n,,\x01auth=Bearer x\x01\x01");
        for cut in 0..whole.len() {
            assert!(bearer(&whole.slice(..cut)).is_err(), "{cut}");
        }
    }
}
