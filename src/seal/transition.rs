//! The hand-over of a log from one key to the next: a note that both keys signed, so that whoever trusts one of them can
//! trust the other for its part of the log.
//!
//! The text has five lines: `hansard.key-transition.v1`, the origin of the log, the size at which it is handed over, and
//! the two verifier keys. Checkpoints up to this size are the old key's, larger ones the new one's: an old key that gets
//! into other hands later signs nothing that counts.
//!
//! Rejected: one signature, of the old key alone (it proves nothing about whoever made the new one); a certificate for
//! each key (an authority that every auditor has to trust, for a pair of keys that they can compare by eye).

use std::fmt;

use super::checkpoint::decimal;
use super::note::{Note, NoteError, SigningKey, VerifierKey};

const FIRST_LINE: &str = "hansard.key-transition.v1";

/// One key follows another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Of which log; the name of both keys.
    pub origin: String,
    /// The size of the log up to which the old key signs.
    pub size: u64,
    /// The key that signed before.
    pub old: VerifierKey,
    /// The key that signs from then on.
    pub new: VerifierKey,
}

/// Why something is no hand-over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTransition {
    /// No note, or one that a key did not sign.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// A note about something else.
    #[error("the note's text is not that of a hand-over between two keys of one log")]
    Form,
    /// One of the two signatures is missing.
    #[error("the hand-over is not signed by {key}")]
    Unsigned {
        /// Name and id of the key that did not sign.
        key: String,
    },
}

impl Transition {
    /// The note, signed by both.
    ///
    /// # Errors
    ///
    /// [`NoTransition::Form`] if these are not the two keys, [`NoTransition::Note`] for an origin that cannot stand in one.
    pub fn sign(&self, old: &SigningKey, new: &SigningKey) -> Result<Note, NoTransition> {
        let keys_fit = *old.verifier() == self.old && *new.verifier() == self.new;
        let one_log = self.old.name() == self.origin && self.new.name() == self.origin;
        if !keys_fit || !one_log || self.old == self.new {
            return Err(NoTransition::Form);
        }
        let text = self.to_string();
        let mut note = old.sign(&text)?;
        note.signatures.extend(new.sign(&text)?.signatures);
        Ok(note)
    }

    /// Reads a note that both keys signed. Whether either is to be trusted is for the reader to know.
    ///
    /// # Errors
    ///
    /// [`NoTransition`].
    pub fn read(note: &Note) -> Result<Self, NoTransition> {
        let lines = note.unverified_text().strip_suffix('\n').ok_or(NoTransition::Form)?;
        let lines: Vec<&str> = lines.split('\n').collect();
        let [FIRST_LINE, origin, size, old, new] = lines.as_slice() else { return Err(NoTransition::Form) };
        let key = |text: &str| text.parse::<VerifierKey>().or(Err(NoTransition::Form));
        let (old, new) = (key(old)?, key(new)?);
        let size = decimal(size).ok_or(NoTransition::Form)?;
        if old.name() != *origin || new.name() != *origin || old == new {
            return Err(NoTransition::Form);
        }
        let keys = [old.clone(), new.clone()];
        let (_, signers) = note.verified(&keys)?;
        if let Some(silent) = keys.iter().find(|key| !signers.contains(key)) {
            return Err(NoTransition::Unsigned { key: format!("{}+{}", silent.name(), silent.id()) });
        }
        Ok(Self { origin: (*origin).to_owned(), size, old, new })
    }
}

/// The text of the note.
impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}\n{}\n{}\n{}\n{}", self.origin, self.size, self.old, self.new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "hansard/node-1";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_pem(ORIGIN, &SigningKey::new_pem(&[seed; 32])).unwrap()
    }

    fn transition(old: u8, new: u8) -> Transition {
        let verifier = |seed| key(seed).verifier().clone();
        Transition { origin: ORIGIN.to_owned(), size: 7, old: verifier(old), new: verifier(new) }
    }

    #[test]
    fn a_hand_over_is_signed_by_both_keys_and_reads_back() {
        let handed = transition(1, 2);
        let note = handed.sign(&key(1), &key(2)).unwrap();
        let read = Note::read(note.to_string().as_bytes()).unwrap();
        assert_eq!(Transition::read(&read), Ok(handed.clone()));
        assert_eq!(handed.sign(&key(1), &key(2)).unwrap(), note, "the same each time");
        assert_eq!(handed.sign(&key(2), &key(1)), Err(NoTransition::Form));
        assert_eq!(transition(1, 1).sign(&key(1), &key(1)), Err(NoTransition::Form));
    }

    #[test]
    fn one_signature_is_not_enough_and_no_byte_can_be_changed() {
        let note = transition(1, 2).sign(&key(1), &key(2)).unwrap();
        for left_out in 0..2 {
            let mut one = note.clone();
            one.signatures.remove(left_out);
            assert!(matches!(Transition::read(&one), Err(NoTransition::Unsigned { .. })));
        }
        let bytes = note.to_string().into_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let read = Note::read(&changed).map_err(NoTransition::from).and_then(|note| Transition::read(&note));
            assert!(read.is_err(), "byte {at}");
        }
        let other = key(1).sign("some text\n").unwrap();
        assert_eq!(Transition::read(&other), Err(NoTransition::Form));
    }
}
