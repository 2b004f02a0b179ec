//! Timestamps as RFC 3161 (with RFC 5816) has them: somebody who is not us says when a digest was there already.
//!
//! What it promises:
//!
//! * [`verify`] finds a time only where one authority that is trusted, for timestamps and at that time, signed this
//!   digest with it; offline, from the answer and the authorities' certificates. Whether a certificate was revoked later
//!   is not in the answer, so it is not asked.
//! * What is hashed are the bytes that came. Nothing is written anew before it is checked.
//! * Whatever else comes is an error that says what is wrong in one line. Longer than 64 KiB is refused unread.
//!
//! `der` reads, `webpki` builds chains and checks signatures with `ring`, `x509-cert` knows names and purposes. TLS and
//! the PostgreSQL client brought them all: no new code to trust. `x509-tsp` lost because it cannot read a time with
//! fractions of a second; `cms` because it keeps certificates and attributes as values, and writes them anew for their
//! hashes. BER, which CMS allows and RFC 3161 does not, is refused, and so is ECDSA with SHA-512, which `ring` lacks.

mod token;
mod trust;

use crate::model::{Sha256, Timestamp};

use token::{Response, Token};
use trust::Signer;

pub use trust::{Authorities, AuthoritiesError};

/// The longest answer that is looked at. Those of authorities in use have 2 to 8 KiB, with all their certificates.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;
/// So much of a text from an authority is shown.
const SHOWN_CHARS: usize = 200;

/// Version 1 and an imprint by SHA-256, whose 32 bytes follow.
const REQUEST_HEAD: [u8; 22] =
    [2, 1, 1, 0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20];
/// The answer is to hold the signer's certificate: without it nobody could check it offline.
const CERTIFICATE_PLEASE: [u8; 3] = [1, 1, 0xff];
/// A request without the bytes of its nonce.
const REQUEST_BYTES: u8 = 59;

/// What an authority said about a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// When the digest was there.
    pub time: Timestamp,
    /// How many microseconds the authority's clock may be off to either side, if it says so.
    pub accuracy: Option<u64>,
    /// The subject of the certificate that signed, as RFC 4514 writes it; fit for a terminal.
    pub authority: String,
    /// The timestamp's number at this authority, in hexadecimal.
    pub serial: String,
    /// The object identifier of the rules by which the authority works.
    pub policy: String,
}

/// Why an answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Too much of it.
    #[error("the answer is longer than {MAX_RESPONSE_BYTES} bytes")]
    TooLong,
    /// Something else, or damaged.
    #[error("{part} has not the form that RFC 3161 gives it, in DER")]
    Form {
        /// What.
        part: &'static str,
    },
    /// The authority said no.
    #[error("the authority gave no timestamp: {reason}")]
    Refused {
        /// Its words, fit for a terminal.
        reason: String,
    },
    /// A timestamp of other bytes.
    #[error("the timestamp is of another digest")]
    Digest,
    /// A timestamp that somebody kept, or that was made for another request.
    #[error("the timestamp does not repeat the nonce of the request")]
    Nonce,
    /// None, or more than one.
    #[error("the timestamp has {found} signers instead of one")]
    Signers {
        /// How many.
        found: usize,
    },
    /// What was signed does not hold together.
    #[error("{what}")]
    Attributes {
        /// What is missing or contradicts.
        what: &'static str,
    },
    /// The certificate that its signer names is not in it.
    #[error("the timestamp does not hold the certificate that its signer names")]
    NoCertificate,
    /// Too weak, or not known here.
    #[error("the timestamp uses the algorithm {oid}, which is too weak or not known here")]
    Algorithm {
        /// Its object identifier.
        oid: String,
    },
    /// Somebody else signed, or something else was signed.
    #[error("the signature is not that of {authority}, or its key is too weak")]
    Signature {
        /// Who is said to have signed.
        authority: String,
    },
    /// A certificate for other purposes.
    #[error("{authority} is not certified for timestamps: {why}")]
    Purpose {
        /// Whose certificate.
        authority: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No authority of ours vouches for the signer.
    #[error("{authority} is not trusted: {why}")]
    Untrusted {
        /// Who signed.
        authority: String,
        /// Why not.
        why: String,
    },
}

/// The question: a `TimeStampReq` that asks for a timestamp of `digest` and for the signer's certificate. A `nonce` that
/// nobody can guess makes sure that the answer was made for it.
pub fn request(digest: Sha256, nonce: u64) -> Vec<u8> {
    let bytes = nonce.to_be_bytes();
    // The shortest form, with a zero before what would read as a negative number.
    let short: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
    let zero: &[u8] = if short.first().is_none_or(|byte| *byte > 0x7f) { &[0] } else { &[] };
    let nonce: Vec<u8> = zero.iter().chain(&short).copied().collect();
    // One to nine.
    let length = nonce.iter().fold(0_u8, |length, _| length.saturating_add(1));
    let head = [0x30, REQUEST_BYTES.saturating_add(length)];
    let integer = [2, length];
    [&head, REQUEST_HEAD.as_slice(), &digest.0, &integer, &nonce, &CERTIFICATE_PLEASE].concat()
}

/// The token in an answer, for tools that want it alone. Nothing of it is checked yet.
///
/// # Errors
///
/// [`TimestampError::TooLong`], [`TimestampError::Form`] or [`TimestampError::Refused`].
pub fn token(response: &[u8]) -> Result<Vec<u8>, TimestampError> {
    if response.len() > MAX_RESPONSE_BYTES {
        return Err(TimestampError::TooLong);
    }
    Response::read(response)?.token()
}

/// Checks an answer: whether one of `authorities` vouches for a timestamp of `digest`, and which. A `nonce` is compared
/// where it is given; who kept none checks without.
///
/// # Errors
///
/// [`TimestampError`], whatever is wrong with it.
pub fn verify(
    response: &[u8],
    digest: Sha256,
    nonce: Option<u64>,
    authorities: &Authorities,
) -> Result<Stamp, TimestampError> {
    let bytes = token(response)?;
    let token = Token::read(&bytes)?;
    let statement = token.statement()?;
    statement.check_is_about(digest, nonce)?;
    let time = statement.time()?;
    let signer = Signer::read(token.certificate()?)?;
    token.check_is_signed_by(&signer)?;
    signer.check_may_stamp()?;
    signer.check_is_trusted(time, token.certificates(), authorities)?;
    let (serial, policy) = (statement.serial(), statement.policy());
    Ok(Stamp { time, accuracy: statement.accuracy(), authority: signer.name().to_owned(), serial, policy })
}

/// A text of an authority's, fit for one line of a terminal.
fn safe(text: &str) -> String {
    let mut shown = String::new();
    for character in text.chars().take(SHOWN_CHARS) {
        match character {
            // Harmless, and part of many names.
            '\'' | '"' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod forger;

#[cfg(test)]
mod tests;
