//! What was found, and what it comes to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::error::ArchiveError;
use crate::model::{NodeName, Sha256, Timestamp};
use crate::store::{Store, StoreError};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// It is not what was signed.
    Altered,
    /// It was added.
    Inserted,
    /// The same rows in another order than they were stored in.
    Reordered,
    /// There are two histories.
    Forked,
    /// It was there, and is not.
    Missing,
    /// The end of a log is missing.
    TruncatedTail,
    /// A recorder was silent, and nobody said why.
    UndeclaredGap,
    /// A recorder says itself that something may be missing.
    DeclaredGap,
    /// No signature covers it.
    Unsigned,
    /// It is signed by a key that is not trusted.
    UntrustedKey,
    /// Time went back.
    ClockAnomaly,
}

/// What a finding does to the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// The evidence contradicts itself.
    Contradiction,
    /// The evidence is not complete.
    Incomplete,
    /// Worth to know.
    Note,
}

impl Class {
    /// The word in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Inserted => "inserted",
            Self::Reordered => "reordered",
            Self::Forked => "forked",
            Self::Missing => "missing",
            Self::TruncatedTail => "truncated_tail",
            Self::UndeclaredGap => "undeclared_gap",
            Self::DeclaredGap => "declared_gap",
            Self::Unsigned => "unsigned",
            Self::UntrustedKey => "untrusted_key",
            Self::ClockAnomaly => "clock_anomaly",
        }
    }

    fn weight(self) -> Weight {
        match self {
            Self::Altered | Self::Inserted | Self::Reordered | Self::Forked => Weight::Contradiction,
            Self::Missing
            | Self::TruncatedTail
            | Self::UndeclaredGap
            | Self::DeclaredGap
            | Self::Unsigned
            | Self::UntrustedKey => Weight::Incomplete,
            Self::ClockAnomaly => Weight::Note,
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// What it does to the verdict.
    pub weight: Weight,
    /// What is wrong.
    pub class: Class,
    /// With what: an object of the archive, a session, a log.
    pub object: String,
    /// Whose.
    pub node: Option<String>,
    /// In which segment.
    pub segment: Option<u64>,
    /// A sentence for people.
    pub detail: String,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Whole and unaltered.
    Proven,
    /// Not whole: nothing can be concluded about what is missing.
    Incomplete,
    /// It contradicts itself.
    Contradiction,
}

/// One recorder's log, as far as it reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NodeCoverage {
    /// The recorder.
    pub node: String,
    /// Segments whose manifest is here.
    pub segments: u64,
    /// Up to which segment a trusted key signed what is here.
    pub signed: u64,
    /// The verifier keys that signed.
    pub keys: Vec<String>,
    /// The first moment that its rows tell of, RFC 3339.
    pub first_time: Option<String>,
    /// The last.
    pub last_time: Option<String>,
    /// Whether it ends with the recorder's word that it stops. Else there may be more, which only a checkpoint kept
    /// elsewhere can tell.
    pub stopped: bool,
    /// Checkpoints that were kept elsewhere and fit.
    pub kept: u64,
    /// Timestamps over checkpoints that were held to an authority and fit.
    pub stamps: u64,
    /// The last moment at which an authority saw a checkpoint, RFC 3339.
    pub stamped: Option<String>,
    /// Timestamps that were not looked at, for want of an authority to hold them to.
    pub stamps_unchecked: u64,
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
    /// How far each log reaches.
    pub nodes: Vec<NodeCoverage>,
    /// Data files read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows whose bytes were rebuilt and that fit the signed roots.
    pub records: u64,
    /// Digest of each file that is missing, and its name: to tell a file that was renamed.
    #[serde(skip)]
    pub(super) missing: BTreeMap<Sha256, String>,
}

impl Report {
    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        match self.findings.iter().map(|finding| finding.weight).min() {
            Some(Weight::Contradiction) => Verdict::Contradiction,
            Some(Weight::Incomplete) => Verdict::Incomplete,
            // An archive without a log proves nothing, not even that there was nothing.
            _ if self.nodes.is_empty() => Verdict::Incomplete,
            _ => Verdict::Proven,
        }
    }

    pub(super) fn find(&mut self, class: Class, object: &str, detail: String) {
        let (weight, object) = (class.weight(), object.to_owned());
        self.findings.push(Finding { weight, class, object, node: None, segment: None, detail });
    }

    pub(super) fn find_in(&mut self, class: Class, object: &str, (node, segment): (&NodeName, u64), detail: String) {
        self.find_of(class, class.weight(), object, (node, Some(segment)), detail);
    }

    pub(super) fn find_of(
        &mut self,
        class: Class,
        weight: Weight,
        object: &str,
        (node, segment): (&NodeName, Option<u64>),
        detail: String,
    ) {
        let (node, object) = (Some(node.to_string()), object.to_owned());
        self.findings.push(Finding { weight, class, object, node, segment, detail });
    }

    /// The missing file that has the bytes of this one.
    pub(super) async fn missing_with(&self, store: &Store, name: &str) -> Result<Option<String>, ArchiveError> {
        if self.missing.is_empty() {
            return Ok(None);
        }
        match store.get(name).await {
            Ok(bytes) => Ok(self.missing.get(&Sha256::of(&bytes)).cloned()),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn sorted(mut self) -> Self {
        self.findings.sort();
        self.findings.dedup();
        self.nodes.sort_by(|a, b| a.node.cmp(&b.node));
        self
    }
}

/// A span of segments, for people: `segment 4`, `segments 4 to 9`.
pub(super) fn segments(first: u64, last: u64) -> String {
    if first == last { format!("segment {first}") } else { format!("segments {first} to {last}") }
}

/// A moment for people.
pub(super) fn moment(time: Timestamp) -> String {
    time.to_string()
}
