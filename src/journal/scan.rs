//! Reading one file frame by frame, over whatever lies between them.
//!
//! A frame that is not intact is searched past, byte by byte, for the next one that is. What is searched may be what a
//! client sent, so a frame is known by a check that only its file's salt gives (see `frame`). Damage costs what it hit and
//! nothing behind it.

use std::io;
use std::ops::Range;

use super::disk::DiskFile;
use super::frame::{FRAME_MAGIC, Header, Key, TRAILER_LEN};
use crate::model::EntrySeq;

/// Read ahead, in bytes: many entries a system call.
const READ_AHEAD: usize = 256 << 10;

/// One file, read from its start on.
#[derive(Debug)]
pub(super) struct Scan {
    file: Box<dyn DiskFile>,
    key: Key,
    /// Where the next frame is looked for.
    offset: u64,
    buffer: Vec<u8>,
    /// The offset of the buffer's first byte.
    buffered: u64,
}

/// What was found next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// An intact frame.
    Frame { seq: EntrySeq, payload: &'a [u8], end: u64 },
    /// The end that the writer wrote; `at` is where it begins.
    End { next: EntrySeq, at: u64 },
    /// Nothing intact stands at this offset.
    Nothing { at: u64 },
}

impl Scan {
    /// Starts behind the header of the file with this key, as its name says it, and says whether the header is intact: its
    /// frames are bound to the same key, so they count without it.
    pub(super) fn begin(file: Box<dyn DiskFile>, key: Key) -> io::Result<(Self, bool)> {
        let mut scan = Self { file, key, offset: 0, buffer: Vec::new(), buffered: 0 };
        scan.load(0, READ_AHEAD)?;
        if key.salt.is_none() {
            scan.key = Key::of_header(key.first, &scan.buffer);
        }
        let intact = scan.buffer.starts_with(&scan.key.file_header());
        scan.offset = scan.key.file_header_len() as u64;
        Ok((scan, intact))
    }

    /// The frame or the end at the present place. Does not move on from nothing.
    pub(super) fn next(&mut self) -> io::Result<Found<'_>> {
        let at = self.offset;
        let Some((header, payload)) = self.intact(at)? else { return Ok(Found::Nothing { at }) };
        if header.ends {
            return Ok(Found::End { next: header.seq, at });
        }
        self.offset = at + header.frame_len(&self.key);
        Ok(Found::Frame { seq: header.seq, payload: self.bytes(payload), end: self.offset })
    }

    /// Moves to the next intact frame behind the present place; false if there is none.
    pub(super) fn resume(&mut self) -> io::Result<bool> {
        let mut at = self.offset + 1;
        while let Some(candidate) = self.find_magic(at)? {
            if self.intact(candidate)?.is_some_and(|(header, _)| !header.ends) {
                self.offset = candidate;
                return Ok(true);
            }
            at = candidate + 1;
        }
        Ok(false)
    }

    /// Where two bytes like a frame's first stand, from an offset on.
    fn find_magic(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        loop {
            // What is read ahead is searched before anything is read again: a statement may be full of such bytes.
            let ahead = at.checked_sub(self.buffered).and_then(|skip| usize::try_from(skip).ok());
            let skip = match ahead.filter(|skip| skip + FRAME_MAGIC.len() <= self.buffer.len()) {
                Some(skip) => skip,
                None if self.load(at, READ_AHEAD)? < FRAME_MAGIC.len() => return Ok(None),
                None => 0,
            };
            let rest = self.buffer.get(skip..).unwrap_or_default();
            match rest.windows(FRAME_MAGIC.len()).position(|two| two == FRAME_MAGIC) {
                Some(offset) => return Ok(Some(at + offset as u64)),
                // The last byte may be the first of the two.
                None => at += rest.len().saturating_sub(1) as u64,
            }
        }
    }

    /// How many bytes from an offset on were written, which is all but the zeros that a file is filled with; and how long
    /// the file is.
    pub(super) fn written_from(&mut self, offset: u64) -> io::Result<(u64, u64)> {
        let (mut at, mut written) = (offset, 0);
        self.buffer.resize(READ_AHEAD, 0);
        let mut buffer = std::mem::take(&mut self.buffer);
        loop {
            let got = self.fill(at, &mut buffer)?;
            let last = buffer.iter().take(got).rposition(|byte| *byte != 0);
            if let Some(last) = last {
                written = at + last as u64 + 1 - offset;
            }
            at += got as u64;
            if got < READ_AHEAD {
                return Ok((written, at));
            }
        }
    }

    /// Forgets what was read ahead: the file has been written since.
    pub(super) fn refresh(&mut self) {
        self.buffer.clear();
    }

    /// The header of an intact frame, and where its payload is in the buffer.
    fn intact(&mut self, at: u64) -> io::Result<Option<(Header, Range<usize>)>> {
        let (key, head_len) = (self.key, self.key.head_len());
        let Some(head) = self.span(at, head_len)? else { return Ok(None) };
        let Some(header) = Header::read(&key, self.bytes(head)) else { return Ok(None) };
        // A length that is none of ours must not become so much memory.
        if header.length > READ_AHEAD && at + header.frame_len(&key) > self.file.length()? {
            return Ok(None);
        }
        let Some(frame) = self.span(at, head_len + header.length + TRAILER_LEN)? else { return Ok(None) };
        let payload = frame.start + head_len..frame.end - TRAILER_LEN;
        let Ok(crc) = self.bytes(payload.end..frame.end).try_into() else { return Ok(None) };
        Ok(header.matches(&key, self.bytes(payload.clone()), crc).then_some((header, payload)))
    }

    /// Where so many bytes of an offset are in the buffer, read if they are not there; nothing if the file ends before.
    fn span(&mut self, offset: u64, length: usize) -> io::Result<Option<Range<usize>>> {
        let from = offset.checked_sub(self.buffered).and_then(|from| usize::try_from(from).ok());
        let there = from.and_then(|from| Some(from..from.checked_add(length)?));
        if let Some(there) = there.filter(|there| there.end <= self.buffer.len()) {
            return Ok(Some(there));
        }
        let got = self.load(offset, length.max(READ_AHEAD))?;
        Ok((length <= got).then_some(0..length))
    }

    /// Reads so many bytes into the buffer, or as many as there are.
    fn load(&mut self, offset: u64, wanted: usize) -> io::Result<usize> {
        let mut buffer = std::mem::take(&mut self.buffer);
        // What a giant entry needed is given back by the next that is none.
        if buffer.capacity() > 2 * wanted {
            buffer = Vec::new();
        }
        buffer.resize(wanted, 0);
        let got = self.fill(offset, &mut buffer)?;
        buffer.truncate(got);
        (self.buffer, self.buffered) = (buffer, offset);
        Ok(got)
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buffer.get(range).unwrap_or_default()
    }

    fn fill(&self, offset: u64, to: &mut [u8]) -> io::Result<usize> {
        let mut got = 0;
        while let Some(rest) = to.get_mut(got..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + got as u64) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(got)
    }
}
