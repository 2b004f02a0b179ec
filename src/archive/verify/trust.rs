//! Which keys count for one log, and for which part of it.

use std::collections::BTreeMap;

use super::findings::{Class, Report};
use crate::model::{NodeName, Sha256};
use crate::seal::checkpoint::{Checkpoint, CheckpointError, origin};
use crate::seal::note::{Note, NoteError, VerifierKey};
use crate::seal::transition::Transition;

/// The sizes of the log that a key may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    key: VerifierKey,
    from: u64,
    upto: u64,
}

/// The keys that count for one log.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    origin: String,
    parts: Vec<Part>,
}

/// What a note says of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) size: u64,
    pub(super) root: Sha256,
    /// The verifier key of the key that signed.
    pub(super) key: String,
}

impl Trust {
    /// The keys that are given, and those that a hand-over ties to them. `transitions` are by the names of their objects.
    pub(super) fn new(
        node: &NodeName,
        given: &[VerifierKey],
        transitions: &BTreeMap<String, Transition>,
        report: &mut Report,
    ) -> Self {
        let origin = origin(node);
        let given = given.iter().filter(|key| key.name() == origin);
        let parts = given.map(|key| Part { key: key.clone(), from: 0, upto: u64::MAX }).collect();
        let mut trust = Self { origin, parts };
        // Each round that finds something adds a key, and there are no more keys than twice the notes.
        for _ in 0..=transitions.len() {
            let known = trust.parts.len();
            for transition in transitions.values() {
                if trust.knows(&transition.old) || trust.knows(&transition.new) {
                    trust.learn(&transition.old);
                    trust.learn(&transition.new);
                }
            }
            if trust.parts.len() == known {
                break;
            }
        }
        for (name, transition) in transitions {
            if !trust.knows(&transition.old) {
                let detail = format!("neither {} nor {} is trusted", transition.old, transition.new);
                report.find_of(Class::UntrustedKey, super::Weight::Incomplete, name, (node, None), detail);
                continue;
            }
            let forks = transitions.values().any(|other| other.old == transition.old && other != transition);
            if forks {
                let detail = format!("{} handed the log over more than once", transition.old);
                report.find_of(Class::Forked, super::Weight::Contradiction, name, (node, None), detail);
            }
            trust.limit(transition);
        }
        trust
    }

    fn knows(&self, key: &VerifierKey) -> bool {
        self.parts.iter().any(|part| part.key == *key)
    }

    fn learn(&mut self, key: &VerifierKey) {
        if !self.knows(key) {
            self.parts.push(Part { key: key.clone(), from: 0, upto: u64::MAX });
        }
    }

    fn limit(&mut self, transition: &Transition) {
        for part in &mut self.parts {
            if part.key == transition.old {
                part.upto = part.upto.min(transition.size);
            }
            if part.key == transition.new {
                part.from = part.from.max(transition.size + 1);
            }
        }
    }

    /// What the note says of the log, if a key that may say it signed.
    pub(super) fn hear(&self, bytes: &[u8]) -> Result<Said, Unheard> {
        let note = Note::read(bytes).map_err(CheckpointError::from).map_err(Unheard::Broken)?;
        let keys: Vec<VerifierKey> = self.parts.iter().map(|part| part.key.clone()).collect();
        let checkpoint = Checkpoint::verified(&note, &keys).map_err(|error| match error {
            CheckpointError::Note(NoteError::Untrusted { named }) => Unheard::Untrusted(named.join(", ")),
            other => Unheard::Broken(other),
        })?;
        if checkpoint.origin != self.origin {
            return Err(Unheard::OtherLog(checkpoint.origin));
        }
        let size = checkpoint.head.size;
        // Checked just now: it is there.
        let (_, signers) = note.verified(&keys).map_err(|error| Unheard::Broken(error.into()))?;
        let may = |part: &&Part| (part.from..=part.upto).contains(&size) && signers.contains(&&part.key);
        match self.parts.iter().find(may) {
            Some(part) => Ok(Said { size, root: checkpoint.head.root, key: part.key.to_string() }),
            None => Err(Unheard::NotItsPart(signers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))),
        }
    }
}

/// Why a note does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unheard {
    /// It is no checkpoint, or one whose signature is forged.
    #[error("{0}")]
    Broken(CheckpointError),
    /// Nobody who is trusted signed it.
    #[error("it is signed by {0}, which is not trusted")]
    Untrusted(String),
    /// It is about another log.
    #[error("it is a checkpoint of {0}")]
    OtherLog(String),
    /// A key signed that was not, or no longer, to sign this part of the log.
    #[error("it is signed by {0}, to which this part of the log was not, or no longer, entrusted")]
    NotItsPart(String),
}

impl Unheard {
    pub(super) fn class(&self) -> Class {
        match self {
            Self::Broken(_) | Self::OtherLog(_) => Class::Altered,
            Self::Untrusted(_) | Self::NotItsPart(_) => Class::UntrustedKey,
        }
    }
}
