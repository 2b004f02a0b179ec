//! A person's side of OpenID Connect: from one address to a token, and to the next one when it ends.
//!
//! ```text
//! https://hansard.example ─► document: issuer, client, targets ─► issuer: browser, or code on another device ─► Tokens
//!                                                                          ▲ refresh token                        │
//!                                                                          └──────────────────────────────────────┘
//! ```
//!
//! Promises: nothing is asked in the clear but on this machine, so that nobody in between can lead a token elsewhere; a code
//! that comes back is taken only if it answers what we asked (state, PKCE, issuer, nonce); an ID token is taken only if the
//! issuer signed it; no token, code or secret is in an error or a `Debug`.
//!
//! The flows are those of the crate `openidconnect`. What an access token says is for the recorder to judge; here it is read
//! only to show people what they have.

mod document;
mod flows;
mod http;
mod operators;
mod tokens;

pub use document::{Document, Issuer, PATH, Target, TokenKind, VERSION};
pub use flows::{Answer, Begun, Device, SignIn};
pub use http::{address, document};
pub use operators::{Asked, operate};
pub use tokens::{Claims, Hidden, Tokens, claims_of};

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// An address that nothing can be asked at.
    #[error("{address}: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// The certificates of authorities that were given cannot be used.
    #[error("the certificates of the authorities: {reason}")]
    Authorities {
        /// Why.
        reason: String,
    },
    /// Nobody answers; trying again may help.
    #[error("{place} does not answer: {reason}")]
    Away {
        /// Who was asked.
        place: String,
        /// What came instead.
        reason: String,
    },
    /// Somebody answers, but tells nothing that signs people in.
    #[error("{place} is no Hansard that signs people in: {reason}")]
    NotHansard {
        /// Who was asked.
        place: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The issuer answers, but not as an issuer should.
    #[error("the issuer {issuer} cannot be used: {reason}")]
    Unusable {
        /// Its URL.
        issuer: String,
        /// Why.
        reason: String,
    },
    /// The issuer signs nobody in on another device.
    #[error("the issuer {issuer} has no sign-in by a code on another device")]
    NoDevices {
        /// Its URL.
        issuer: String,
    },
    /// The issuer said no.
    #[error("the issuer {issuer} refused: {reason}")]
    Refused {
        /// Its URL.
        issuer: String,
        /// In its words.
        reason: String,
    },
    /// The token of who asks proves nobody there.
    #[error("{place} does not take your token: {reason}")]
    Unbelieved {
        /// Who was asked.
        place: String,
        /// In its words.
        reason: String,
    },
    /// Who asks may not.
    #[error("{place}: {reason}")]
    Forbidden {
        /// Who was asked.
        place: String,
        /// In its words.
        reason: String,
    },
    /// There is no such thing.
    #[error("{reason}")]
    Nothing {
        /// In the words of who was asked.
        reason: String,
    },
    /// What was asked makes no sense there.
    #[error("{reason}")]
    Unfit {
        /// In the words of who was asked.
        reason: String,
    },
    /// The sign-in that was kept has ended at the issuer.
    #[error("the sign-in has ended at the issuer {issuer}")]
    Ended {
        /// Its URL.
        issuer: String,
    },
    /// What came back does not answer what we asked.
    #[error("an answer came that does not belong to this sign-in: {reason}")]
    Foreign {
        /// How that is known.
        reason: &'static str,
    },
}
