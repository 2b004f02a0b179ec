//! Entries in order, for the shipper.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use super::JournalError;
use super::frame::{self, FILE_HEADER_LEN, FRAME_HEADER_LEN, FRAME_TRAILER_LEN, Header};
use super::writer::Shared;
use crate::model::{EntrySeq, Numbered};

/// Read ahead, in bytes: many entries a system call.
const READ_AHEAD: usize = 256 << 10;

/// Reads entries in order, file after file. Reading blocks: call it where that is allowed.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    next: Option<EntrySeq>,
    open: Option<OpenFile>,
}

#[derive(Debug)]
struct OpenFile {
    first: EntrySeq,
    file: BufReader<File>,
    offset: u64,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, next: None, open: None }
    }

    /// The next entry, if its number is not over `upto`, which is at most what [`super::Journal::flushed`] says.
    ///
    /// # Errors
    ///
    /// The disk refuses, or an entry that was confirmed is damaged; calling again tries again.
    pub fn next(&mut self, upto: EntrySeq) -> Result<Option<Numbered>, JournalError> {
        let oldest = self.shared.files().keys().next().copied();
        let Some(expected) = self.next.or(oldest) else { return Ok(None) };
        if expected > upto {
            return Ok(None);
        }
        match self.read(expected) {
            Ok(found) => {
                self.next = Some(EntrySeq(expected.0 + 1));
                Ok(Some(found))
            }
            Err(error) => {
                // Reopen and seek from the file's start next time: a retry must not begin in the middle of a frame.
                self.open = None;
                self.skip_damage(expected, upto, error)
            }
        }
    }

    /// After damage found at start, reading goes on with the next file; the damage is an event of its own.
    fn skip_damage(
        &mut self,
        expected: EntrySeq,
        upto: EntrySeq,
        error: JournalError,
    ) -> Result<Option<Numbered>, JournalError> {
        let follower = self.shared.files().range(expected..).next().map(|(first, _)| *first);
        match follower {
            Some(first) if first > expected && self.shared.was_damaged_before(first) => {
                self.next = Some(first);
                self.next(upto)
            }
            _ => Err(error),
        }
    }

    fn read(&mut self, expected: EntrySeq) -> Result<Numbered, JournalError> {
        let (first, path) = {
            let files = self.shared.files();
            let holder = files.range(..=expected).next_back();
            holder
                .map(|(first, path)| (*first, path.clone()))
                .ok_or(JournalError::Missing { entry: expected, why: "its file was freed".to_owned() })?
        };
        let same = self.open.as_ref().is_some_and(|open| open.first == first);
        if !same {
            let file = File::open(&path).map_err(JournalError::disk("open a file"))?;
            let mut file = BufReader::with_capacity(READ_AHEAD, file);
            let start = FILE_HEADER_LEN as u64;
            file.seek(SeekFrom::Start(start)).map_err(JournalError::disk("read a file"))?;
            self.open = Some(OpenFile { first, file, offset: start });
        }
        let Some(open) = self.open.as_mut() else { return Err(JournalError::Closed) };
        loop {
            let numbered = open.read_frame()?;
            if numbered.seq == expected {
                return Ok(numbered);
            }
            if numbered.seq > expected {
                let why = format!("entry {} stands in its place", numbered.seq.0);
                return Err(JournalError::Missing { entry: expected, why });
            }
        }
    }
}

impl OpenFile {
    fn read_frame(&mut self) -> Result<Numbered, JournalError> {
        let broken = |why: &str| JournalError::Missing { entry: EntrySeq(0), why: why.to_owned() };
        // The buffer may hold an old end of a file that has grown: a short read seeks back and reads afresh.
        let mut bytes = [0_u8; FRAME_HEADER_LEN];
        self.fill(&mut bytes)?;
        let header = Header::read(bytes).ok_or_else(|| broken("no frame where one was written"))?;
        let mut payload = vec![0_u8; header.length];
        self.fill(&mut payload)?;
        let mut crc = [0_u8; FRAME_TRAILER_LEN];
        self.fill(&mut crc)?;
        if !header.matches(&payload, crc) {
            return Err(broken("its checksum does not match"));
        }
        self.offset += header.frame_len();
        let entry = frame::decode(&payload).map_err(|why| JournalError::Missing { entry: header.seq, why })?;
        Ok(Numbered { seq: header.seq, entry })
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), JournalError> {
        self.file.read_exact(buffer).map_err(JournalError::disk("read an entry"))
    }
}
