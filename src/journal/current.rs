//! What is being written: the file, what is counted on before its flush, and what to do when the disk refuses.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::disk::DiskFile;
use super::frame::{self, Key};
use super::recovery::{HeldFile, name_of};
use super::salt::Seed;
use super::spares::Spares;
use super::writer::{BATCH_BYTES, Shared, UNFLUSHED_BYTES, WRITTEN_DELAY, Waiters};
use super::{JournalError, NOTE_DELAY};
use crate::model::EntrySeq;

/// What a caller writes itself, in bytes: more would keep its thread from other sessions.
const WRITE_NOW_BYTES: usize = 64 << 10;

/// After a failure the writer tries by itself so often whether the disk takes a file again. Whoever waits for the journal
/// to be well sends it nothing, and would wait for ever.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Each of these tries that fails doubles the pause up to this: a try may write a whole file.
const TRY_AGAIN_AT_LEAST_EVERY: Duration = Duration::from_secs(16);

/// What is written. Whoever asks may write a little by itself, see [`Core::write_now`]; all else is the writer's thread's.
pub(super) struct Core {
    shared: Arc<Shared>,
    pub(super) flushed: watch::Sender<EntrySeq>,
    /// The last entry written; over the flushed one while something waits for a flush.
    pub(super) written: EntrySeq,
    /// The file being written. None before the first write, after a failure and after the end.
    pub(super) file: Option<Current>,
    spares: Spares,
    /// What was written, is counted on and not flushed yet: notes, and intents whose statements were released.
    pub(super) kept: Vec<Vec<u8>>,
    pub(super) kept_bytes: usize,
    /// When the thread looks by itself: for notes, for a flush of what is kept, or to try again after a failure.
    pub(super) flush_due: Option<Instant>,
    /// The last write or flush failed: how long to wait before trying again.
    pub(super) failing: Option<Duration>,
    buffer: Vec<u8>,
    /// Where the salts of files come from.
    seed: Seed,
}

/// Says nothing of what is kept: statements are not for messages.
impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("written", &self.written).field("failing", &self.failing).finish_non_exhaustive()
    }
}

/// What a caller has written and flushes by itself.
pub(super) struct ToFlush {
    pub(super) file: Arc<dyn DiskFile>,
    offset: u64,
    /// The last of its entries.
    upto: EntrySeq,
    /// How much of what is kept is flushed thereby.
    kept: usize,
}

/// The file being written.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) file: Arc<dyn DiskFile>,
    key: Key,
    /// Where the next frame goes.
    pub(super) offset: u64,
    /// Where the next frame went at the last flush.
    pub(super) flushed: u64,
    /// Its length in bytes: beyond it, writing changes metadata.
    length: u64,
}

impl Current {
    /// Where its first frame stands.
    fn start(&self) -> u64 {
        self.key.file_header_len() as u64
    }

    /// Whether so many bytes of frames go into it, and the end behind them.
    fn takes(&self, bytes: usize) -> bool {
        self.offset + (bytes + frame::END_LEN) as u64 <= self.length
    }
}

impl Core {
    /// Nothing is written yet; what was flushed last is what the receiver says.
    pub(super) fn new(shared: Arc<Shared>, flushed: watch::Sender<EntrySeq>, spares: Spares, seed: Seed) -> Self {
        let written = *flushed.borrow();
        Self {
            shared,
            flushed,
            written,
            file: None,
            spares,
            kept: Vec::new(),
            kept_bytes: 0,
            flush_due: None,
            failing: None,
            buffer: Vec::new(),
            seed,
        }
    }

    /// Writes a little at once, in the thread of whoever asks, behind what was noted before. It is counted on from here on,
    /// as a note is; the flush comes within [`WRITTEN_DELAY`]. Gives back what it did not write: the writer's thread has to
    /// open a file for it, find out whether the disk takes anything again, or flush first because too much is kept. If
    /// nothing, whether the thread must be told that a flush is due sooner than it looks.
    pub(super) fn write_now(&mut self, payloads: Vec<Vec<u8>>) -> Result<bool, Vec<Vec<u8>>> {
        for payload in self.write_few(payloads)? {
            self.keep(payload);
        }
        Ok(self.due_within(WRITTEN_DELAY))
    }

    /// The same for who flushes by itself, see [`Core::flushed_by_caller`]: the entries are not counted on before. To be
    /// called by who has the turn to flush.
    pub(super) fn write_to_flush(&mut self, payloads: Vec<Vec<u8>>) -> Result<ToFlush, Vec<Vec<u8>>> {
        let payloads = self.write_few(payloads)?;
        match &self.file {
            Some(current) => Ok(ToFlush {
                file: Arc::clone(&current.file),
                offset: current.offset,
                upto: self.written,
                kept: self.kept.len(),
            }),
            None => Err(payloads),
        }
    }

    /// What came of a caller's flush.
    pub(super) fn flushed_by_caller(
        &mut self,
        to: &ToFlush,
        flushed: std::io::Result<()>,
    ) -> Result<EntrySeq, JournalError> {
        if let Err(error) = flushed.map_err(JournalError::disk("flush")) {
            self.fail(&error, Vec::new());
            return Err(error);
        }
        if let Some(current) = self.file.as_mut() {
            current.flushed = to.offset;
        }
        self.flushed_upto(to.upto, to.kept);
        Ok(to.upto)
    }

    /// Writes a little behind what was noted before, which is kept. Gives the entries back, whether they were written or
    /// not.
    fn write_few(&mut self, payloads: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Vec<Vec<u8>>> {
        let notes = self.shared.noted().take();
        let each = || notes.iter().chain(&payloads).map(Vec::as_slice);
        let bytes: usize = each().map(|payload| payload.len() + frame::END_LEN).sum();
        let fits = self.file.as_ref().is_some_and(|current| current.takes(bytes));
        let may =
            self.failing.is_none() && fits && bytes <= WRITE_NOW_BYTES && self.kept_bytes + bytes <= UNFLUSHED_BYTES;
        let mut buffer = std::mem::take(&mut self.buffer);
        // If it cannot be written nothing has moved on: the thread writes over it, or finds the same trouble.
        let wrote = may && self.write_through(&mut buffer, &each().collect::<Vec<_>>()).is_ok();
        buffer.clear();
        self.buffer = buffer;
        if !wrote {
            self.shared.noted().give_back(notes);
            return Err(payloads);
        }
        for note in notes {
            self.keep(note);
        }
        Ok(payloads)
    }

    pub(super) fn keep(&mut self, payload: Vec<u8>) {
        self.kept_bytes += payload.len();
        self.kept.push(payload);
    }

    /// A flush is wanted so soon; whether that is sooner than the thread looks by itself.
    pub(super) fn due_within(&mut self, delay: Duration) -> bool {
        let due = Instant::now() + delay;
        let sooner = self.flush_due.is_none_or(|looks| due < looks);
        if sooner {
            self.flush_due = Some(due);
        }
        sooner
    }

    /// What was written up to this entry is on stable storage, and so are the first `kept` of what is kept.
    pub(super) fn flushed_upto(&mut self, upto: EntrySeq, kept: usize) {
        let flushed: usize = self.kept.drain(..kept.min(self.kept.len())).map(|payload| payload.len()).sum();
        self.kept_bytes -= flushed;
        self.flushed.send_replace(upto);
        if self.failing.take().is_some() {
            *self.shared.trouble() = None;
            tracing::info!("the journal takes entries again");
        }
    }

    /// Nothing since the last flush counts. The file is given up; what is kept is written again into the next.
    pub(super) fn fail(&mut self, error: &JournalError, waiters: Waiters) {
        let pause = match self.failing {
            Some(pause) if waiters.is_empty() => {
                tracing::debug!(%error, "the journal still refuses");
                pause.saturating_mul(2).min(TRY_AGAIN_AT_LEAST_EVERY)
            }
            _ => {
                tracing::error!(%error, "the journal refused; statements are refused until it takes entries again");
                TRY_AGAIN
            }
        };
        self.failing = Some(pause);
        *self.shared.trouble() = Some(error.clone());
        if let Some(current) = self.file.take() {
            self.give_up(current);
        }
        self.written = *self.flushed.borrow();
        self.flush_due = Some(Instant::now() + if self.kept.is_empty() { pause } else { NOTE_DELAY });
        for (_, reply) in waiters {
            reply.send(Err(error.clone())).ok();
        }
    }

    /// What was answered with an error should not be found at the next start, so the end is put where the last flush left
    /// it. Should this fail too, the next file's first entry says where this one's end is.
    fn give_up(&self, current: Current) {
        let Current { file, key, offset, flushed, .. } = current;
        let mut end = Vec::new();
        key.put_end(&mut end, EntrySeq(self.flushed.borrow().0 + 1));
        if let Err(error) = file.write_at(&end, flushed).and_then(|()| file.flush()) {
            tracing::warn!(%error, "the failed file could not be ended; the next one tells its end");
        }
        self.account(key.first, flushed, offset);
    }

    pub(super) fn rewrite_kept(&mut self) -> Result<(), JournalError> {
        let kept = std::mem::take(&mut self.kept);
        let payloads: Vec<&[u8]> = kept.iter().map(Vec::as_slice).collect();
        // The room that is kept for what ends is not for finding out whether there is any.
        let wrote = self.write_frames(&payloads, !payloads.is_empty());
        self.kept = kept;
        wrote
    }

    /// Gives the number of the entry before them.
    pub(super) fn write(&mut self, payloads: &[&[u8]], closings: bool) -> Result<u64, JournalError> {
        if self.file.is_none() && !self.kept.is_empty() {
            self.rewrite_kept()?;
        }
        let before = self.written.0;
        self.write_frames(payloads, closings)?;
        Ok(before)
    }

    fn write_frames(&mut self, payloads: &[&[u8]], closings: bool) -> Result<(), JournalError> {
        let bytes: usize = payloads.iter().map(|payload| payload.len() + frame::END_LEN).sum();
        if self.file.as_ref().is_some_and(|current| current.offset > current.start() && !current.takes(bytes)) {
            // What is kept in it must be on disk before anything in the next: entries are found in order.
            self.commit_before_roll()?;
        }
        if self.file.is_none() {
            self.file = Some(self.next_file(closings)?);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let wrote = self.write_through(&mut buffer, payloads);
        buffer.clear();
        // A large statement's buffer is given back; a usual one is kept for the next batch.
        if buffer.capacity() <= 2 * BATCH_BYTES {
            self.buffer = buffer;
        }
        wrote
    }

    fn write_through(&mut self, buffer: &mut Vec<u8>, payloads: &[&[u8]]) -> Result<(), JournalError> {
        let Some(current) = self.file.as_mut() else { return Err(JournalError::Closed) };
        let mut seq = self.written;
        let before = current.offset;
        for payload in payloads {
            seq = EntrySeq(seq.0 + 1);
            current.key.put(buffer, seq, payload);
            if buffer.len() >= BATCH_BYTES {
                current.file.write_at(buffer, current.offset).map_err(JournalError::disk("write"))?;
                current.offset += buffer.len() as u64;
                buffer.clear();
            }
        }
        let frames = buffer.len() as u64;
        current.key.put_end(buffer, EntrySeq(seq.0 + 1));
        current.file.write_at(buffer, current.offset).map_err(JournalError::disk("write"))?;
        current.offset += frames;
        let (first, after) = (current.key.first, current.offset);
        self.account(first, after, before);
        self.written = seq;
        Ok(())
    }

    /// A file's entries took `before` bytes and take `after` now.
    fn account(&self, first: EntrySeq, after: u64, before: u64) {
        if let Some(held) = self.shared.files().get_mut(&first) {
            held.bytes = after;
        }
        // In one step: whoever looks meanwhile must not find a file counted twice, or not at all.
        if after >= before {
            self.shared.used.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.shared.used.fetch_sub(before - after, Ordering::Relaxed);
        }
    }

    fn commit_before_roll(&mut self) -> Result<(), JournalError> {
        let Some(current) = self.file.take() else { return Ok(()) };
        if let Err(error) = current.file.flush() {
            self.file = Some(current);
            return Err(JournalError::disk("flush")(error));
        }
        self.flush_due = None;
        self.flushed_upto(self.written, self.kept.len());
        Ok(())
    }

    /// The file to go on with; every run and every failure starts one.
    fn next_file(&mut self, closings: bool) -> Result<Current, JournalError> {
        let first = EntrySeq(self.written.0 + 1);
        // One that failed before its first entry was confirmed, or whose name alone says where the file before it ends,
        // gives its name to this one: at no time are there two of which only one counts.
        let before = self.shared.files().get(&first).and_then(|held| held.key.salt);
        let key = Key { first, salt: Some(before.unwrap_or_else(|| self.seed.salt(first))) };
        let file = self.spares.take(&name_of(&key), closings).map_err(JournalError::disk("make a file"))?;
        let mut start = key.file_header();
        let offset = start.len() as u64;
        key.put_end(&mut start, first);
        file.write_at(&start, 0).map_err(JournalError::disk("write"))?;
        file.flush().map_err(JournalError::disk("flush"))?;
        self.shared.disk.sync().map_err(JournalError::disk("flush its directory"))?;
        let length = file.length().map_err(JournalError::disk("measure a file"))?;
        let replaced = self.shared.files().insert(first, HeldFile { key, bytes: offset });
        if let Some(old) = replaced.as_ref().filter(|old| old.key != key)
            && let Err(error) = self.shared.disk.remove(&name_of(&old.key))
        {
            tracing::warn!(%error, "a journal file that was replaced could not be removed; the next start does");
        }
        self.account(first, offset, replaced.map_or(0, |replaced| replaced.bytes));
        Ok(Current { file: Arc::from(file), key, offset, flushed: offset, length })
    }

    pub(super) fn free(&mut self, keep: EntrySeq) -> Result<usize, JournalError> {
        let freeable: Vec<(EntrySeq, HeldFile)> = {
            let files = self.shared.files();
            let followers = files.keys().skip(1);
            files
                .iter()
                .zip(followers)
                .filter(|(_, follower)| **follower <= keep)
                .map(|((first, held), _)| (*first, held.clone()))
                .collect()
        };
        for (first, held) in &freeable {
            self.spares.give(&name_of(&held.key)).map_err(JournalError::disk("free a file"))?;
            self.shared.files().remove(first);
            self.shared.used.fetch_sub(held.bytes, Ordering::Relaxed);
        }
        if !freeable.is_empty() {
            self.shared.disk.sync().map_err(JournalError::disk("flush its directory"))?;
        }
        Ok(freeable.len())
    }
}
