//! Checkpoints as <https://c2sp.org/tlog-checkpoint> (v1.0.0) has them: origin, size and root of a log, to be signed.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::merkle::Head;
use super::note::{Note, NoteError, SigningKey, VerifierKey};
use crate::model::{NodeName, Sha256};

/// The origin of a recorder's log, and the name of its keys.
pub fn origin(node: &NodeName) -> String {
    format!("hansard/{node}")
}

/// A log at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log.
    pub origin: String,
    /// Its size and root.
    pub head: Head,
    /// Further lines, opaque; ours have none.
    pub extensions: Vec<String>,
}

/// Why something is no checkpoint that can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// No note, or none of a key that is trusted.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A note about something else.
    #[error("the note's text is not origin, size and root of a log")]
    Form,
    /// A log that none of the keys which signed is for.
    #[error("the checkpoint is of the log {origin}, and no key of that name signed it")]
    Origin {
        /// The log.
        origin: String,
    },
}

impl Checkpoint {
    /// A checkpoint without extensions.
    pub fn new(origin: String, head: Head) -> Self {
        Self { origin, head, extensions: Vec::new() }
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Form`].
    pub fn read(text: &str) -> Result<Self, CheckpointError> {
        let lines = text.strip_suffix('\n').ok_or(CheckpointError::Form)?;
        let lines: Vec<&str> = lines.split('\n').collect();
        let [origin, size, root, extensions @ ..] = lines.as_slice() else { return Err(CheckpointError::Form) };
        if lines.iter().any(|line| line.is_empty()) {
            return Err(CheckpointError::Form);
        }
        let head = Head { size: decimal(size).ok_or(CheckpointError::Form)?, root: hash(root)? };
        let extensions = extensions.iter().map(|line| (*line).to_owned()).collect();
        Ok(Self { origin: (*origin).to_owned(), head, extensions })
    }

    /// Reads a note, if a key that bears the name of its log signed it.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub fn verified(note: &Note, keys: &[VerifierKey]) -> Result<Self, CheckpointError> {
        let (text, signers) = note.verified(keys)?;
        let checkpoint = Self::read(text)?;
        // Else whoever holds the key of one log could speak for another.
        if signers.iter().any(|key| key.name() == checkpoint.origin) {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Origin { origin: checkpoint.origin })
        }
    }

    /// The note, signed.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Note`] for an origin that cannot stand in one.
    pub fn sign(&self, key: &SigningKey) -> Result<Note, CheckpointError> {
        Ok(key.sign(&self.to_string())?)
    }
}

/// The text of the note.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.head.size, STANDARD.encode(self.head.root.0))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A number as these formats write it: digits, no leading zero.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A hash in base64.
pub(super) fn hash(text: &str) -> Result<Sha256, CheckpointError> {
    let bytes = STANDARD.decode(text).or(Err(CheckpointError::Form))?;
    bytes.try_into().map(Sha256).or(Err(CheckpointError::Form))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn key(name: &str) -> SigningKey {
        SigningKey::from_pem(name, &SigningKey::new_pem(&[7; 32])).unwrap()
    }

    #[test]
    fn the_example_of_the_specification_reads_and_writes_back() {
        let checkpoint = Checkpoint::read(EXAMPLE).unwrap();
        assert_eq!((checkpoint.origin.as_str(), checkpoint.head.size), ("example.com/behind-the-sofa", 20_852_163));
        assert_eq!(checkpoint.to_string(), EXAMPLE);
        let extended = Checkpoint::read(&format!("{EXAMPLE}one more\n")).unwrap();
        assert_eq!(extended.extensions, ["one more"]);
        assert_eq!(extended.to_string(), format!("{EXAMPLE}one more\n"));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        for bad in [
            "",
            "\n",
            EXAMPLE.trim_end(),
            &EXAMPLE.replace("20852163", "020852163"),
            &EXAMPLE.replace("20852163", "+20852163"),
            &EXAMPLE.replace("20852163", "-1"),
            &EXAMPLE.replace("20852163", ""),
            &EXAMPLE.replace("20852163", "99999999999999999999"),
            &EXAMPLE.replace("q2I=", "q2J="),
            &EXAMPLE.replace("CsUY", ""),
            &EXAMPLE.replace("example.com/behind-the-sofa", ""),
            &format!("{EXAMPLE}\n"),
            "a\n1\n",
        ] {
            assert_eq!(Checkpoint::read(bad), Err(CheckpointError::Form), "{bad:?}");
        }
    }

    #[test]
    fn a_checkpoint_is_believed_to_the_key_of_its_log_only() {
        let node = NodeName::new("node-1").unwrap();
        let head = Head { size: 3, root: Sha256::of(b"root") };
        let checkpoint = Checkpoint::new(origin(&node), head);
        let (own, other) = (key("hansard/node-1"), key("hansard/node-2"));
        let keys = [own.verifier().clone(), other.verifier().clone()];
        let note = checkpoint.sign(&own).unwrap();
        assert_eq!(Checkpoint::verified(&note, &keys), Ok(checkpoint.clone()));
        let note = checkpoint.sign(&other).unwrap();
        let origin = "hansard/node-1".to_owned();
        assert_eq!(Checkpoint::verified(&note, &keys), Err(CheckpointError::Origin { origin }));
        let note = own.sign("some text\n").unwrap();
        assert_eq!(Checkpoint::verified(&note, &keys), Err(CheckpointError::Form));
        assert!(Checkpoint::new("two\nlines\t".to_owned(), head).sign(&own).is_err());
    }
}
