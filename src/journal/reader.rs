//! Entries in order, for the shipper.

use std::sync::Arc;

use super::JournalError;
use super::decode::Decoder;
use super::frame::Key;
use super::recovery::name_of;
use super::scan::{Found, Scan};
use super::writer::Shared;
use crate::model::{EntrySeq, Numbered};

/// Reads entries in order, file after file. Reading blocks: call it where that is allowed.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    next: Option<EntrySeq>,
    /// The file being read, by its key: another one may have taken the place of one that failed.
    open: Option<(Key, Scan)>,
    decoder: Decoder,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, next: None, open: None, decoder: Decoder::default() }
    }

    /// The next entry, if its number is not over `upto`, which is at most what [`super::Journal::flushed`] says. What was
    /// found missing at start is passed over; that it is missing was told by [`super::Opened::damage`].
    ///
    /// # Errors
    ///
    /// The disk refuses, or an entry that was confirmed is not there; calling again tries again.
    pub fn next(&mut self, upto: EntrySeq) -> Result<Option<Numbered>, JournalError> {
        let oldest = || self.shared.files().keys().next().copied();
        let Some(mut expected) = self.next.or_else(oldest) else { return Ok(None) };
        if let Some(there) = self.shared.gap(expected) {
            expected = there;
        }
        if expected > upto {
            return Ok(None);
        }
        let found = self.read(expected);
        match &found {
            Ok(_) => self.next = Some(EntrySeq(expected.0 + 1)),
            // A retry reads the file afresh from its start.
            Err(_) => self.open = None,
        }
        found.map(Some)
    }

    fn read(&mut self, expected: EntrySeq) -> Result<Numbered, JournalError> {
        let missing = |why: &str| JournalError::Missing { entry: expected, why: why.to_owned() };
        let key = {
            let files = self.shared.files();
            let (_, held) = files.range(..=expected).next_back().ok_or_else(|| missing("its file was freed"))?;
            held.key
        };
        if self.open.as_ref().is_none_or(|(opened, _)| *opened != key) {
            let file = self.shared.disk.open(&name_of(&key)).map_err(JournalError::disk("open a file"))?;
            let (scan, _) = Scan::begin(file, key).map_err(JournalError::disk("read a file"))?;
            self.open = Some((key, scan));
        }
        let Some((_, scan)) = self.open.as_mut() else { return Err(JournalError::Closed) };
        let mut fresh = false;
        loop {
            match scan.next().map_err(JournalError::disk("read an entry"))? {
                Found::Frame { seq, payload, .. } if seq == expected => {
                    let entry = self.decoder.decode(payload).map_err(|why| missing(&why))?;
                    return Ok(Numbered { seq, entry });
                }
                Found::Frame { seq, .. } if seq < expected => {}
                Found::Frame { .. } => return Err(missing("a later one stands in its place")),
                // What was read ahead may be older than what was written since.
                Found::End { .. } | Found::Nothing { .. } if !fresh => {
                    scan.refresh();
                    fresh = true;
                }
                Found::End { .. } | Found::Nothing { .. } => {
                    if !scan.resume().map_err(JournalError::disk("read an entry"))? {
                        return Err(missing("its file ends before it"));
                    }
                }
            }
        }
    }
}
