//! A manifest: what a segment holds, by digest, chained to the one before. Stored last, so a segment with a manifest is
//! complete.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{File, SegmentError};
use crate::model::{EntrySeq, NodeName, SegmentCut, SegmentNo, Sha256};

const VERSION: &str = "manifest.v1";

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The contract: `manifest.v1`.
    pub schema: String,
    /// The recorder.
    pub node: NodeName,
    /// The segment.
    pub segment: SegmentNo,
    /// When it was cut, RFC 3339.
    pub cut: String,
    /// The first entry of the journal that belongs to it.
    pub first_entry: EntrySeq,
    /// The last.
    pub last_entry: EntrySeq,
    /// SHA-256 of the manifest of the segment before, in hexadecimal; absent for the first.
    pub previous_manifest_sha256: Option<String>,
    /// The files, in the order of their names.
    pub files: Vec<ManifestFile>,
}

/// One file of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestFile {
    /// Its name below the archive's prefix.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// How many rows it holds.
    pub rows: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The manifest of the segment that ends at `cut`.
    pub fn new(
        node: &NodeName,
        cut: &SegmentCut,
        first_entry: EntrySeq,
        previous: Option<Sha256>,
        files: &[File],
    ) -> Self {
        let mut files: Vec<ManifestFile> = files
            .iter()
            .map(|file| ManifestFile {
                name: file.name.clone(),
                bytes: file.bytes.len() as u64,
                rows: file.rows,
                sha256: file.sha256.to_string(),
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Self {
            schema: VERSION.to_owned(),
            node: node.clone(),
            segment: cut.segment,
            cut: cut.time.to_string(),
            first_entry,
            last_entry: cut.upto,
            previous_manifest_sha256: previous.map(|digest| digest.to_string()),
            files,
        }
    }

    /// The object's name.
    pub fn name(node: &NodeName, no: SegmentNo) -> String {
        format!("log/{node}/manifest-{:0width$}.json", no.0, width = super::write::NUMBER_WIDTH)
    }

    /// As an object of the archive. Its `rows` are the segment's.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Json`], which no value of this type causes.
    pub fn file(&self) -> Result<File, SegmentError> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let bytes = Bytes::from(text);
        let sha256 = Sha256::of(&bytes);
        let rows = self.files.iter().map(|file| file.rows).sum();
        Ok(File { name: Self::name(&self.node, self.segment), bytes, rows, sha256 })
    }

    /// Reads a manifest back.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Json`] if the bytes are no manifest.
    pub fn read(bytes: &[u8]) -> Result<Self, SegmentError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}
