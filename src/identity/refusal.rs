//! Why a token was not accepted: a word for columns, a sentence for the client, a detail for the operator.

use std::fmt;
use std::time::Duration;

/// So much of a text from a token is shown in a log line.
const SHOWN_CHARS: usize = 120;

/// The cause of a refusal, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nothing was presented.
    Missing,
    /// What was presented is no signed token.
    NotAToken,
    /// More bytes than a token may have.
    TooLarge,
    /// The algorithm is not among those that config allows.
    AlgorithmNotAllowed,
    /// A token of another kind: a logout token, a security event, an ID token where an access token is asked for.
    WrongType,
    /// The header demands something (`crit`) that we do not understand.
    CriticalHeader,
    /// The issuer does not publish the key.
    UnknownKey,
    /// The signature does not fit the key.
    BadSignature,
    /// Another issuer.
    WrongIssuer,
    /// Issued for somebody else.
    WrongAudience,
    /// Its `exp` has passed.
    Expired,
    /// Its `nbf` or `iat` lies in the future.
    NotYetValid,
    /// Its issuer says that it does not hold: it was taken back, has ended, or never was one.
    Inactive,
    /// Issued longer ago than config accepts.
    TooOld,
    /// A claim that is needed is not there.
    ClaimMissing,
    /// A claim is there, but not in a form that can be understood.
    ClaimMalformed,
    /// A claim has another value than config requires.
    ClaimMismatch,
    /// The issuer left the groups out because there are too many.
    GroupOverage,
    /// The issuer's keys cannot be had.
    IssuerAway,
    /// From a development issuer, outside the demo.
    DevelopmentIssuer,
}

impl Cause {
    /// All of them, in their order: who counts by cause has a place for each from the start.
    pub const ALL: [Self; 20] = [
        Self::Missing,
        Self::NotAToken,
        Self::TooLarge,
        Self::AlgorithmNotAllowed,
        Self::WrongType,
        Self::CriticalHeader,
        Self::UnknownKey,
        Self::BadSignature,
        Self::WrongIssuer,
        Self::WrongAudience,
        Self::Expired,
        Self::NotYetValid,
        Self::Inactive,
        Self::TooOld,
        Self::ClaimMissing,
        Self::ClaimMalformed,
        Self::ClaimMismatch,
        Self::GroupOverage,
        Self::IssuerAway,
        Self::DevelopmentIssuer,
    ];

    /// The word in columns and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::NotAToken => "not_a_token",
            Self::TooLarge => "too_large",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::WrongType => "wrong_type",
            Self::CriticalHeader => "critical_header",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Inactive => "inactive",
            Self::TooOld => "too_old",
            Self::ClaimMissing => "claim_missing",
            Self::ClaimMalformed => "claim_malformed",
            Self::ClaimMismatch => "claim_mismatch",
            Self::GroupOverage => "group_overage",
            Self::IssuerAway => "issuer_away",
            Self::DevelopmentIssuer => "development_issuer",
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Missing => "no token was sent as the password",
            Self::NotAToken => "what was sent as the password is not a token",
            Self::TooLarge => "the token is larger than 64 KiB",
            Self::AlgorithmNotAllowed => "the token is signed in a way that is not accepted here",
            Self::WrongType => "the token is of another kind than those that sign people in",
            Self::CriticalHeader => "the token demands something that is not understood here",
            Self::UnknownKey => "the token is signed with a key that its issuer does not publish",
            Self::BadSignature => "the token's signature is not valid",
            Self::WrongIssuer => "the token comes from an issuer that is not trusted here",
            Self::WrongAudience => "the token was issued for another service",
            Self::Expired => "your sign-in expired",
            Self::NotYetValid => "your sign-in is not valid yet",
            Self::Inactive => "the token does not hold any more, says its issuer",
            Self::TooOld => "your sign-in is too old",
            Self::ClaimMissing => "the token does not say all that is needed here",
            Self::ClaimMalformed => "the token says something that cannot be understood here",
            Self::ClaimMismatch => "the token is not one of those that are accepted here",
            Self::GroupOverage => "the token does not list your groups because there are too many",
            Self::IssuerAway => "your sign-in cannot be checked now because its issuer does not answer",
            Self::DevelopmentIssuer => "the token comes from a development issuer",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Missing | Self::NotAToken => "Send an access token as the password; passwords are not accepted here.",
            Self::TooLarge => "Ask for a token with fewer claims.",
            Self::WrongType => "Send an access token; a logout or event token signs nobody in.",
            Self::WrongAudience => "Ask your issuer for a token whose audience is this server.",
            Self::Expired | Self::TooOld | Self::Inactive => "Sign in again to get a new token, then connect again.",
            Self::NotYetValid => "Check the clock of the machine that issued the token.",
            Self::IssuerAway => "Try again in a minute.",
            Self::GroupOverage => "Ask your administrator to use roles, or groups assigned to this application only.",
            Self::DevelopmentIssuer => "Tokens of the demo are good for the demo alone.",
            Self::AlgorithmNotAllowed
            | Self::CriticalHeader
            | Self::UnknownKey
            | Self::BadSignature
            | Self::WrongIssuer
            | Self::ClaimMissing
            | Self::ClaimMalformed
            | Self::ClaimMismatch => "Get a new token for this server; if it is refused too, ask your administrator.",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a token was not accepted. None of its texts holds the token or a part of it that could be used again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// The cause, as a word.
    pub cause: Cause,
    /// One plain sentence for the client, without a full stop.
    pub sentence: String,
    /// What the client can do about it.
    pub hint: String,
    /// More for the operator's log: which claim, which key, which issuer.
    pub detail: String,
}

impl Refusal {
    /// A refusal in the cause's own words.
    pub fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, sentence: cause.sentence().to_owned(), hint: cause.hint().to_owned(), detail: detail.into() }
    }

    pub(super) fn saying(self, sentence: String) -> Self {
        Self { sentence, ..self }
    }

    pub(super) fn hinting(self, hint: String) -> Self {
        Self { hint, ..self }
    }
}

/// A text from a token, fit for a log line: quoted, escaped and not longer than a line.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// A length of time as people say it: `40 s`, `12 min`, `3 h`, `9 days`.
pub(super) fn spoken(length: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match length.as_secs() {
        seconds if seconds < 2 * MINUTE => format!("{seconds} s"),
        seconds if seconds < 2 * HOUR => format!("{} min", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} days", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_a_token_cannot_break_or_flood_a_log_line() {
        assert_eq!(quoted("a\n\u{1b}[2J"), r#""a\n\u{1b}[2J""#);
        assert!(quoted(&"ü".repeat(70_000)).chars().count() < 130);
    }

    #[test]
    fn a_length_of_time_is_said_as_people_say_it() {
        let said = |seconds| spoken(Duration::from_secs(seconds));
        assert_eq!(
            [said(0), said(119), said(725), said(10_800), said(864_000)],
            ["0 s", "119 s", "12 min", "3 h", "10 days"]
        );
        assert!(said(u64::MAX).ends_with(" days"));
    }
}
