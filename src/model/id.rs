//! Identifiers: one newtype each, so that one cannot be passed for another.

use std::fmt::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Crockford's base 32: no I, L, O, U, so that a reference survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SESSION_CHARS: usize = 10;
const SESSION_BITS: u32 = 50;

/// A session's name: 50 random bits, printed as ten characters (`K7Q4M2XKDT`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(u64);

impl SessionId {
    /// Takes the low 50 bits; the rest is dropped so that every value prints in ten characters.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << SESSION_BITS) - 1))
    }

    /// The 50 bits.
    pub fn bits(self) -> u64 {
        self.0
    }
}

impl SessionId {
    fn digits(self) -> [u8; SESSION_CHARS] {
        let mut digits = [0; SESSION_CHARS];
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            *digit = ALPHABET.get(((self.0 >> (place * 5)) & 31) as usize).copied().unwrap_or_default();
        }
        digits
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

impl FromStr for SessionId {
    type Err = UnreadableId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != SESSION_CHARS {
            return Err(UnreadableId);
        }
        text.bytes()
            .try_fold(0_u64, |bits, byte| {
                let upper = byte.to_ascii_uppercase();
                let digit = ALPHABET.iter().position(|known| *known == upper)?;
                Some((bits << 5) | digit as u64)
            })
            .map(Self)
            .ok_or(UnreadableId)
    }
}

/// A session and the number of a statement in it: `K7Q4M2XKDT.42`. The same in the error text, the archive and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reference {
    /// The session.
    pub session: SessionId,
    /// The statement's number in its session, from 1, without gaps.
    pub statement: u64,
}

impl Reference {
    /// Appends it as it is displayed.
    pub fn print(&self, to: &mut String) {
        to.push_str(std::str::from_utf8(&self.session.digits()).unwrap_or_default());
        // Writing to a String cannot fail.
        write!(to, ".{}", self.statement).unwrap_or_default();
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.print(&mut text);
        f.pad(&text)
    }
}

impl FromStr for Reference {
    type Err = UnreadableId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (session, statement) = text.split_once('.').ok_or(UnreadableId)?;
        Ok(Self { session: session.parse()?, statement: statement.parse().or(Err(UnreadableId))? })
    }
}

/// What a permit is for: one execution, or the preparation of a statement that is not executed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    /// An execution.
    Execution(Reference),
    /// A preparation: the session and its number among the session's preparations.
    Preparation(SessionId, u64),
}

/// The text is no session (`K7Q4M2XKDT`) and no reference (`K7Q4M2XKDT.42`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a session such as K7Q4M2XKDT or a reference such as K7Q4M2XKDT.42")]
pub struct UnreadableId;

/// The number of an entry in one node's journal: from 1, without gaps, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntrySeq(pub u64);

/// The number of a segment of one node: from 1, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SegmentNo(pub u64);

/// A recorder's name: 1 to 63 of `a-z A-Z 0-9 - _ .`, not starting with a dot, so that it can stand in object names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(String);

impl NodeName {
    /// The name, if it is one.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as a sentence for the operator.
    pub fn new(name: impl Into<String>) -> Result<Self, &'static str> {
        let name = name.into();
        let fits = (1..=63).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits {
            Ok(Self(name))
        } else {
            Err("a node name has 1 to 63 of a-z A-Z 0-9 - _ . and does not start with a dot")
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A SHA-256, printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sha256(#[serde(with = "serde_bytes")] pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

/// 64 hexadecimal digits.
impl FromStr for Sha256 {
    type Err = NoDigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pairs = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| {
            let digits = std::str::from_utf8(pair).or(Err(NoDigest))?;
            // A sign is a digit's place to the parser.
            let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            if plain { u8::from_str_radix(digits, 16).or(Err(NoDigest)) } else { Err(NoDigest) }
        };
        let bytes = pairs.map(byte).collect::<Result<Vec<u8>, _>>()?;
        bytes.try_into().map(Self).or(Err(NoDigest))
    }
}

/// The text is no SHA-256 in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct NoDigest;

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0_u8; 64];
        for (pair, byte) in hex.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [byte >> 4, byte & 15].map(|half| DIGITS.get(usize::from(half)).copied().unwrap_or_default());
        }
        f.write_str(std::str::from_utf8(&hex).unwrap_or_default())
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where new identifiers come from, so that tests can repeat them.
pub trait Ids: Send + Sync + fmt::Debug {
    /// A session name that was never given before (random: 50 bits).
    fn session(&self) -> SessionId;
    /// What a client's key for cancelling is made of, unpredictable: a process number and a secret.
    fn cancel_key(&self) -> (u32, [u8; 32]);
    /// A number that nobody can guess, for one question to somebody who is to repeat it.
    fn nonce(&self) -> u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_prints_as_ten_characters_and_reads_back() {
        for bits in [0, 1, 31, 32, (1 << 50) - 1, 0x1234_5678_9abc] {
            let id = SessionId::from_bits(bits);
            assert_eq!(id.to_string().len(), 10);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn a_reference_reads_back_and_nonsense_does_not() {
        let reference = Reference { session: SessionId::from_bits(77), statement: 42 };
        assert_eq!(reference.to_string().parse(), Ok(reference));
        for bad in ["", "K7Q4M2XKDT", "K7Q4M2XKDT.", "K7Q4M2XKDT.x", "K7Q4M2XKD.1", "K7Q4M2XKDU.1", ".1"] {
            assert_eq!(bad.parse::<Reference>(), Err(UnreadableId), "{bad}");
        }
    }

    #[test]
    fn a_digest_reads_back_and_nothing_else_is_one() {
        let digest = Sha256::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64), &"+1".repeat(32), &"ü".repeat(32)] {
            assert_eq!(bad.parse::<Sha256>(), Err(NoDigest), "{bad}");
        }
    }

    #[test]
    fn a_node_name_cannot_leave_its_folder() {
        for bad in ["", "..", ".hidden", "a/b", "a b", "ü", &"x".repeat(64)] {
            assert!(NodeName::new(bad).is_err(), "{bad}");
        }
        assert!(NodeName::new("node-1.eu_west").is_ok());
    }
}
