//! Group commit: one thread appends what has queued up, flushes once, and wakes the waiters in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::disk::{Disk, DiskFile};
use super::frame::Key;
use super::recovery::{HeldFile, Recovered, name_of};
use super::salt::Seed;
use super::spares::Spares;
use super::{JournalError, NOTE_DELAY, Settings, frame};
use crate::model::EntrySeq;

/// Bytes that one write and flush takes together: more would make the first waiter pay for the last.
const BATCH_BYTES: usize = 8 << 20;
/// Bytes of notes that may wait for a flush; beyond, they get one of their own. They are kept in memory until then, so
/// that a failed flush does not lose them.
const UNFLUSHED_NOTES: usize = 1 << 20;

/// After a failure the writer tries by itself so often whether the disk takes a file again. Whoever waits for the journal
/// to be well sends it nothing, and would wait for ever.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Each of these tries that fails doubles the pause up to this: a try may write a whole file.
const TRY_AGAIN_AT_LEAST_EVERY: Duration = Duration::from_secs(16);

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// Write, flush, answer. `closing` entries may use the room that is kept for them.
    Append { payloads: Vec<Vec<u8>>, closing: bool, reply: oneshot::Sender<Result<EntrySeq, JournalError>> },
    /// Look at what was noted: nobody would otherwise, or it is much.
    Noted,
    /// Remove whole files before an entry.
    Free { keep: EntrySeq, reply: oneshot::Sender<Result<usize, JournalError>> },
    /// Flush and end.
    Close { reply: oneshot::Sender<()> },
}

/// What was noted and not written yet. Nobody waits for it, so it wakes nobody: a thread that is woken for each outcome
/// costs more than all else that an outcome costs.
#[derive(Debug, Default)]
pub(super) struct Noted {
    payloads: Vec<Vec<u8>>,
    bytes: usize,
    /// Whether the writer will look by itself within [`NOTE_DELAY`].
    watched: bool,
}

impl Noted {
    /// Takes a note; whether the writer must be told.
    pub(super) fn put(&mut self, payload: Vec<u8>) -> bool {
        self.bytes += payload.len();
        self.payloads.push(payload);
        !std::mem::replace(&mut self.watched, true) || self.bytes > UNFLUSHED_NOTES
    }

    fn take(&mut self) -> Vec<Vec<u8>> {
        self.bytes = 0;
        std::mem::take(&mut self.payloads)
    }
}

/// What the writer, the readers and the callers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) disk: Arc<dyn Disk>,
    /// Bytes that hold entries.
    pub(super) used: AtomicU64,
    files: Mutex<BTreeMap<EntrySeq, HeldFile>>,
    /// Why the last write or flush failed; nothing after one that succeeded.
    trouble: Mutex<Option<JournalError>>,
    noted: Mutex<Noted>,
    gaps: BTreeMap<EntrySeq, EntrySeq>,
}

impl Shared {
    /// What was noted and not written yet.
    pub(super) fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// First entry → file, of every file that holds entries.
    pub(super) fn files(&self) -> MutexGuard<'_, BTreeMap<EntrySeq, HeldFile>> {
        // The map is never left half-changed, so a poisoned lock holds good data.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the last write or flush failed, if it did.
    pub(super) fn trouble(&self) -> MutexGuard<'_, Option<JournalError>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// If this entry was found missing at start: the next that is there. One gap may begin where another ends: a file that
    /// was lost, before one of which all was damaged.
    pub(super) fn gap(&self, entry: EntrySeq) -> Option<EntrySeq> {
        let behind = |at: EntrySeq| self.gaps.range(..=at).next_back().map(|(_, there)| *there).filter(|to| *to > at);
        let mut there = behind(entry)?;
        while let Some(next) = behind(there) {
            there = next;
        }
        Some(there)
    }
}

type Started = (Arc<Shared>, mpsc::Sender<Request>, watch::Receiver<EntrySeq>);

/// Starts the writer's thread. It holds the lock as long as it runs.
pub(super) fn start(
    settings: Settings,
    disk: Arc<dyn Disk>,
    recovered: Recovered,
    (lock, seed): (Option<File>, Seed),
    queue: usize,
) -> Result<Started, JournalError> {
    let Recovered { files, spares, used, last, gaps, .. } = recovered;
    let spares = Spares::new(Arc::clone(&disk), settings.file_bytes, spares);
    let (used, files) = (AtomicU64::new(used), Mutex::new(files));
    let shared =
        Arc::new(Shared { settings, disk, used, files, trouble: Mutex::default(), noted: Mutex::default(), gaps });
    let (requests, inbox) = mpsc::channel(queue);
    let (flushed, watcher) = watch::channel(last);
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(JournalError::disk("start its writer"))?;
    let writer = Writer {
        shared: Arc::clone(&shared),
        inbox,
        flushed,
        written: last,
        file: None,
        spares,
        notes: Vec::new(),
        notes_bytes: 0,
        flush_due: None,
        failing: None,
        buffer: Vec::new(),
        seed,
        _lock: lock,
    };
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || clock.block_on(writer.run()))
        .map_err(JournalError::disk("start its writer"))?;
    Ok((shared, requests, watcher))
}

struct Writer {
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Request>,
    flushed: watch::Sender<EntrySeq>,
    /// The last entry written; over the flushed one while notes wait.
    written: EntrySeq,
    /// The file being written. None before the first write and after a failure.
    file: Option<Current>,
    spares: Spares,
    /// Notes that were written and not flushed yet.
    notes: Vec<Vec<u8>>,
    notes_bytes: usize,
    /// When the writer looks for notes and flushes them, or tries again after a failure.
    flush_due: Option<Instant>,
    /// The last write or flush failed: how long to wait before trying again.
    failing: Option<Duration>,
    buffer: Vec<u8>,
    /// Where the salts of files come from.
    seed: Seed,
    _lock: Option<File>,
}

/// The file being written.
struct Current {
    file: Box<dyn DiskFile>,
    key: Key,
    /// Where the next frame goes.
    offset: u64,
    /// Where the next frame went at the last flush.
    flushed: u64,
    /// Its length in bytes: beyond it, writing changes metadata.
    length: u64,
}

/// Who waits for a flush: how many entries of the batch are theirs and earlier, and where the answer goes.
type Waiters = Vec<(u64, oneshot::Sender<Result<EntrySeq, JournalError>>)>;

impl Writer {
    async fn run(mut self) {
        loop {
            let request = match self.flush_due {
                None => self.inbox.recv().await,
                Some(due) => match timeout_at(due, self.inbox.recv()).await {
                    Ok(request) => request,
                    Err(_elapsed) => {
                        self.look();
                        continue;
                    }
                },
            };
            let Some(request) = request else { break };
            if let Some(reply) = self.take(request) {
                self.look();
                // The lock goes with the writer, before the answer. Whoever asked may have gone; it is closed all the same.
                drop(self);
                reply.send(()).ok();
                return;
            }
        }
        self.look();
    }

    /// Writes and flushes what was noted. If that was nothing, the next note must say that it is there.
    fn look(&mut self) {
        let notes = {
            let mut noted = self.shared.noted();
            noted.watched = !noted.payloads.is_empty();
            noted.take()
        };
        self.flush_due = None;
        let is_new = !notes.is_empty();
        if is_new {
            self.write_batch(notes, Vec::new(), Vec::new(), true);
        }
        if !self.notes.is_empty() || self.failing.is_some() {
            self.commit(Vec::new(), 0, true);
        }
        if is_new {
            self.watch();
        }
    }

    /// There was something to do, so there may be more: the writer looks by itself for a while.
    fn watch(&mut self) {
        self.shared.noted().watched = true;
        self.flush_due.get_or_insert_with(|| Instant::now() + NOTE_DELAY);
    }

    /// Serves a request together with those that queued up behind it. Gives back the answer that a close waits for.
    fn take(&mut self, first: Request) -> Option<oneshot::Sender<()>> {
        let mut waiters: Waiters = Vec::new();
        let mut batch: Vec<Vec<u8>> = Vec::new();
        let (mut bytes, mut closings) = (0, true);
        let mut request = Some(first);
        let mut closing = None;
        while let Some(now) = request.take() {
            match now {
                Request::Append { payloads, closing, reply } => {
                    closings &= closing;
                    bytes += payloads.iter().map(Vec::len).sum::<usize>();
                    batch.extend(payloads);
                    waiters.push((batch.len() as u64, reply));
                }
                Request::Noted => {}
                Request::Free { keep, reply } => {
                    reply.send(self.free(keep)).ok();
                }
                Request::Close { reply } => {
                    closing = Some(reply);
                    break;
                }
            }
            if bytes < BATCH_BYTES {
                request = self.inbox.try_recv().ok();
            }
        }
        // Only now: what somebody noted before it appended something comes before that.
        let notes = self.shared.noted().take();
        if !batch.is_empty() || !notes.is_empty() {
            self.write_batch(notes, batch, waiters, closings);
        }
        self.watch();
        closing
    }

    /// Notes first, then what somebody waits for.
    fn write_batch(&mut self, notes: Vec<Vec<u8>>, batch: Vec<Vec<u8>>, waiters: Waiters, closings: bool) {
        let payloads: Vec<&[u8]> = notes.iter().chain(&batch).map(Vec::as_slice).collect();
        let wrote = self.write(&payloads, closings);
        self.notes_bytes += notes.iter().map(Vec::len).sum::<usize>();
        self.notes.extend(notes);
        if let Err(error) = wrote {
            return self.fail(&error, waiters);
        }
        self.commit(waiters, batch.len() as u64, false);
    }

    /// Flushes if somebody waits for it, or notes are due or many; else leaves the notes to the next flush. The last
    /// `count` entries written are the waiters' batch.
    fn commit(&mut self, waiters: Waiters, count: u64, now: bool) {
        let due = now || !waiters.is_empty() || self.notes_bytes > UNFLUSHED_NOTES;
        if !due {
            self.flush_due.get_or_insert_with(|| Instant::now() + NOTE_DELAY);
            return;
        }
        if self.file.is_none() && (self.failing.is_some() || !self.notes.is_empty()) {
            // An earlier failure left notes that are in no trusted file: they start the next one. Without any, that there
            // is a next one shows that the disk takes entries again.
            if let Err(error) = self.rewrite_notes() {
                return self.fail(&error, waiters);
            }
        }
        if let Some(current) = self.file.as_mut() {
            if let Err(error) = current.file.flush() {
                return self.fail(&JournalError::disk("flush")(error), waiters);
            }
            current.flushed = current.offset;
        }
        self.flushed_all();
        let before = self.written.0 - count;
        for (upto, reply) in waiters {
            // A waiter that has gone does not take its entry with it.
            reply.send(Ok(EntrySeq(before + upto))).ok();
        }
    }

    /// Everything written is on stable storage.
    fn flushed_all(&mut self) {
        self.notes.clear();
        self.notes_bytes = 0;
        self.flush_due = None;
        self.flushed.send_replace(self.written);
        if self.failing.take().is_some() {
            *self.shared.trouble() = None;
            tracing::info!("the journal takes entries again");
        }
    }

    /// Nothing since the last flush counts. The file is given up; what was noted is written again into the next.
    fn fail(&mut self, error: &JournalError, waiters: Waiters) {
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
        self.flush_due = Some(Instant::now() + if self.notes.is_empty() { pause } else { NOTE_DELAY });
        for (_, reply) in waiters {
            reply.send(Err(error.clone())).ok();
        }
    }

    /// What was answered with an error should not be found at the next start, so the end is put where the last flush left
    /// it. Should this fail too, the next file's first entry says where this one's end is.
    fn give_up(&self, current: Current) {
        let Current { mut file, key, offset, flushed, .. } = current;
        let mut end = Vec::new();
        key.put_end(&mut end, EntrySeq(self.flushed.borrow().0 + 1));
        if let Err(error) = file.write_at(&end, flushed).and_then(|()| file.flush()) {
            tracing::warn!(%error, "the failed file could not be ended; the next one tells its end");
        }
        self.account(key.first, flushed, offset);
    }

    fn rewrite_notes(&mut self) -> Result<(), JournalError> {
        let notes = std::mem::take(&mut self.notes);
        let payloads: Vec<&[u8]> = notes.iter().map(Vec::as_slice).collect();
        // The room that is kept for what ends is not for finding out whether there is any.
        let wrote = self.write_frames(&payloads, !payloads.is_empty());
        self.notes = notes;
        wrote
    }

    fn write(&mut self, payloads: &[&[u8]], closings: bool) -> Result<(), JournalError> {
        if self.file.is_none() && !self.notes.is_empty() {
            self.rewrite_notes()?;
        }
        self.write_frames(payloads, closings)
    }

    fn write_frames(&mut self, payloads: &[&[u8]], closings: bool) -> Result<(), JournalError> {
        let bytes: usize = payloads.iter().map(|payload| payload.len() + frame::END_LEN).sum();
        let fits = |current: &Current| {
            let empty = current.offset == frame::FILE_HEADER_LEN as u64;
            empty || current.offset + (bytes + frame::END_LEN) as u64 <= current.length
        };
        if self.file.as_ref().is_some_and(|current| !fits(current)) {
            // What was noted in it must be on disk before anything in the next: entries are found in order.
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
        let Some(mut current) = self.file.take() else { return Ok(()) };
        if let Err(error) = current.file.flush() {
            self.file = Some(current);
            return Err(JournalError::disk("flush")(error));
        }
        self.flushed_all();
        Ok(())
    }

    /// The file to go on with; every run and every failure starts one.
    fn next_file(&mut self, closings: bool) -> Result<Current, JournalError> {
        let first = EntrySeq(self.written.0 + 1);
        // One that failed before its first entry was confirmed, or whose name alone says where the file before it ends,
        // gives its name to this one: at no time are there two of which only one counts.
        let before = self.shared.files().get(&first).and_then(|held| held.key.salt);
        let key = Key { first, salt: Some(before.unwrap_or_else(|| self.seed.salt(first))) };
        let mut file = self.spares.take(&name_of(&key), closings).map_err(JournalError::disk("make a file"))?;
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
        Ok(Current { file, key, offset, flushed: offset, length })
    }

    fn free(&mut self, keep: EntrySeq) -> Result<usize, JournalError> {
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
