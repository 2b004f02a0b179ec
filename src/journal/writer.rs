//! Group commit: one thread appends what has queued up, flushes once, and wakes the waiters in order.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::recovery::{Recovered, path_of, sync_dir};
use super::{JournalError, NOTE_DELAY, Settings, frame};
use crate::model::EntrySeq;

/// Bytes that one write and flush takes together: more would make the first waiter pay for the last.
const BATCH_BYTES: usize = 8 << 20;
/// Bytes of notes that may wait for a flush; beyond, they get one of their own. They are kept in memory until then, so
/// that a failed flush does not lose them.
const UNFLUSHED_NOTES: usize = 1 << 20;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// Write, flush, answer.
    Append { payloads: Vec<Vec<u8>>, reply: oneshot::Sender<Result<EntrySeq, JournalError>> },
    /// Write; somebody's flush takes it along.
    Note { payloads: Vec<Vec<u8>> },
    /// Remove whole files before an entry.
    Free { keep: EntrySeq, reply: oneshot::Sender<Result<usize, JournalError>> },
    /// Flush and end.
    Close { reply: oneshot::Sender<()> },
}

/// What the writer, the readers and the callers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    /// Bytes of all files.
    pub(super) used: AtomicU64,
    files: Mutex<BTreeMap<EntrySeq, PathBuf>>,
    gaps: Vec<EntrySeq>,
}

impl Shared {
    /// First entry → path, of every file.
    pub(super) fn files(&self) -> MutexGuard<'_, BTreeMap<EntrySeq, PathBuf>> {
        // The map is never left half-changed, so a poisoned lock holds good data.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether entries before this file's first were found missing at start.
    pub(super) fn was_damaged_before(&self, first: EntrySeq) -> bool {
        self.gaps.contains(&first)
    }
}

type Started = (Arc<Shared>, mpsc::Sender<Request>, watch::Receiver<EntrySeq>);

/// Starts the writer's thread.
pub(super) fn start(settings: Settings, recovered: Recovered, queue: usize) -> Result<Started, JournalError> {
    let shared = Arc::new(Shared {
        settings,
        used: AtomicU64::new(recovered.used),
        files: Mutex::new(recovered.files),
        gaps: recovered.gaps,
    });
    let (requests, inbox) = mpsc::channel(queue);
    let (flushed, watcher) = watch::channel(recovered.last);
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(JournalError::disk("start its writer"))?;
    let writer = Writer {
        shared: Arc::clone(&shared),
        inbox,
        flushed,
        written: recovered.last,
        file: None,
        notes: Vec::new(),
        notes_bytes: 0,
        notes_due: None,
        buffer: Vec::new(),
        _lock: recovered.lock,
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
    /// Notes that were written and not flushed yet.
    notes: Vec<Vec<u8>>,
    notes_bytes: usize,
    notes_due: Option<Instant>,
    buffer: Vec<u8>,
    _lock: File,
}

/// The file being written.
struct Current {
    file: File,
    /// Its length in bytes.
    length: u64,
    /// Its length in bytes at the last flush.
    flushed: u64,
}

/// Who waits for a flush: how many entries of the batch are theirs and earlier, and where the answer goes.
type Waiters = Vec<(u64, oneshot::Sender<Result<EntrySeq, JournalError>>)>;

impl Writer {
    async fn run(mut self) {
        loop {
            let request = match self.notes_due {
                None => self.inbox.recv().await,
                Some(due) => match timeout_at(due, self.inbox.recv()).await {
                    Ok(request) => request,
                    Err(_elapsed) => {
                        self.commit(Vec::new(), 0, true);
                        continue;
                    }
                },
            };
            let Some(request) = request else { break };
            if let Some(reply) = self.take(request) {
                self.commit(Vec::new(), 0, true);
                // The lock goes with the writer, before the answer. Whoever asked may have gone; it is closed all the same.
                drop(self);
                reply.send(()).ok();
                return;
            }
        }
        self.commit(Vec::new(), 0, true);
    }

    /// Serves a request together with those that queued up behind it. Gives back the answer that a close waits for.
    fn take(&mut self, first: Request) -> Option<oneshot::Sender<()>> {
        let mut waiters: Waiters = Vec::new();
        let mut batch: Vec<(Vec<u8>, bool)> = Vec::new();
        let mut bytes = 0;
        let mut count = 0;
        let mut request = Some(first);
        let mut closing = None;
        while let Some(now) = request.take() {
            match now {
                Request::Append { payloads, reply } => {
                    count += payloads.len() as u64;
                    bytes += payloads.iter().map(Vec::len).sum::<usize>();
                    batch.extend(payloads.into_iter().map(|payload| (payload, false)));
                    waiters.push((count, reply));
                }
                Request::Note { payloads } => {
                    count += payloads.len() as u64;
                    bytes += payloads.iter().map(Vec::len).sum::<usize>();
                    batch.extend(payloads.into_iter().map(|payload| (payload, true)));
                }
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
        if !batch.is_empty() {
            self.write_batch(batch, waiters);
        }
        closing
    }

    fn write_batch(&mut self, batch: Vec<(Vec<u8>, bool)>, waiters: Waiters) {
        let count = batch.len() as u64;
        let wrote = self.write(batch.iter().map(|(payload, _)| payload.as_slice()));
        for (payload, note) in batch {
            if note {
                self.notes_bytes += payload.len();
                self.notes.push(payload);
            }
        }
        if let Err(error) = wrote {
            return self.fail(&error, waiters);
        }
        self.commit(waiters, count, false);
    }

    /// Flushes if somebody waits for it, or notes are due or many; else leaves the notes to the next flush. The last
    /// `count` entries written are the waiters' batch.
    fn commit(&mut self, waiters: Waiters, count: u64, now: bool) {
        let due = now || !waiters.is_empty() || self.notes_bytes > UNFLUSHED_NOTES;
        if !due {
            self.notes_due.get_or_insert_with(|| Instant::now() + NOTE_DELAY);
            return;
        }
        if self.file.is_none() && !self.notes.is_empty() {
            // An earlier failure left notes that are in no trusted file: they start the next one.
            if let Err(error) = self.rewrite_notes() {
                return self.fail(&error, waiters);
            }
        }
        if let Some(current) = self.file.as_mut() {
            if let Err(error) = current.file.sync_data() {
                return self.fail(&JournalError::disk("flush")(error), waiters);
            }
            current.flushed = current.length;
        }
        self.notes.clear();
        self.notes_bytes = 0;
        self.notes_due = None;
        self.flushed.send_replace(self.written);
        let before = self.written.0 - count;
        for (upto, reply) in waiters {
            // A waiter that has gone does not take its entry with it.
            reply.send(Ok(EntrySeq(before + upto))).ok();
        }
        self.roll_if_full();
    }

    /// Nothing since the last flush counts. The file is given up; what was noted is written again into the next.
    fn fail(&mut self, error: &JournalError, waiters: Waiters) {
        tracing::error!(%error, "the journal refused; statements are refused until it takes entries again");
        if let Some(current) = self.file.take() {
            // What was answered with an error should not be found at the next start. Should this fail too, the next
            // file's first entry says where the old file's end is.
            let cut = current.file.set_len(current.flushed).and_then(|()| current.file.sync_all());
            if cut.is_ok() {
                self.shared.used.fetch_sub(current.length - current.flushed, Ordering::Relaxed);
            }
        }
        self.written = *self.flushed.borrow();
        self.notes_due = (!self.notes.is_empty()).then(|| Instant::now() + NOTE_DELAY);
        for (_, reply) in waiters {
            reply.send(Err(error.clone())).ok();
        }
    }

    fn rewrite_notes(&mut self) -> Result<(), JournalError> {
        let notes = std::mem::take(&mut self.notes);
        let wrote = self.write_frames(notes.iter().map(Vec::as_slice));
        self.notes = notes;
        wrote
    }

    fn write<'a>(&mut self, payloads: impl Iterator<Item = &'a [u8]>) -> Result<(), JournalError> {
        if self.file.is_none() && !self.notes.is_empty() {
            self.rewrite_notes()?;
        }
        self.write_frames(payloads)
    }

    fn write_frames<'a>(&mut self, payloads: impl Iterator<Item = &'a [u8]>) -> Result<(), JournalError> {
        if self.file.is_none() {
            self.file = Some(self.next_file()?);
        }
        let mut seq = self.written;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut wrote = Ok(());
        for payload in payloads {
            seq = EntrySeq(seq.0 + 1);
            frame::put(&mut buffer, seq, payload);
            if buffer.len() >= BATCH_BYTES {
                wrote = wrote.and_then(|()| self.write_bytes(&buffer));
                buffer.clear();
            }
        }
        wrote = wrote.and_then(|()| self.write_bytes(&buffer));
        // A large statement's buffer is given back; a usual one is kept for the next batch.
        if buffer.capacity() <= 2 * BATCH_BYTES {
            self.buffer = buffer;
        }
        wrote?;
        self.written = seq;
        Ok(())
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), JournalError> {
        let Some(current) = self.file.as_mut() else { return Err(JournalError::Closed) };
        current.file.write_all(bytes).map_err(JournalError::disk("write"))?;
        current.length += bytes.len() as u64;
        self.shared.used.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// The file to go on with; every run and every failure starts one.
    fn next_file(&self) -> Result<Current, JournalError> {
        let first = EntrySeq(self.written.0 + 1);
        let path = path_of(&self.shared.settings.dir, first);
        // A file of this name can only hold entries that were never confirmed.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(JournalError::disk("make a file"))?;
        let header = frame::file_header();
        file.write_all(&header).map_err(JournalError::disk("write"))?;
        file.sync_all().map_err(JournalError::disk("flush"))?;
        sync_dir(&self.shared.settings.dir).map_err(JournalError::disk("flush its directory"))?;
        self.shared.used.fetch_add(header.len() as u64, Ordering::Relaxed);
        self.shared.files().insert(first, path);
        let length = header.len() as u64;
        Ok(Current { file, length, flushed: length })
    }

    fn roll_if_full(&mut self) {
        let full = self.file.as_ref().is_some_and(|current| current.length >= self.shared.settings.file_bytes);
        if full {
            // The next write makes the next file; a failure to make it fails that write.
            self.file = None;
        }
    }

    fn free(&mut self, keep: EntrySeq) -> Result<usize, JournalError> {
        let freeable: Vec<(EntrySeq, PathBuf)> = {
            let files = self.shared.files();
            let followers = files.keys().skip(1);
            files
                .iter()
                .zip(followers)
                .filter(|(_, follower)| **follower <= keep)
                .map(|((first, path), _)| (*first, path.clone()))
                .collect()
        };
        for (first, path) in &freeable {
            let length = fs::metadata(path).map_or(0, |meta| meta.len());
            fs::remove_file(path).map_err(JournalError::disk("remove a file"))?;
            self.shared.files().remove(first);
            self.shared.used.fetch_sub(length, Ordering::Relaxed);
        }
        if !freeable.is_empty() {
            sync_dir(&self.shared.settings.dir).map_err(JournalError::disk("flush its directory"))?;
        }
        Ok(freeable.len())
    }
}
