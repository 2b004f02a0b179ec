//! Group commit: one thread appends what has queued up, flushes once, and wakes the waiters in order.
//!
//! What need not wait for a flush is written by its caller at once, if the file takes it and nobody else is writing: it
//! costs one system call, and a thread that sleeps is not woken. So is what has to be flushed, if nobody else has something
//! to be flushed: one at a time has the turn to. Whoever flushes does it without holding what is written, so callers write
//! on meanwhile. Everything else (opening a file, finding out whether the disk takes entries again) is the thread's alone.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::current::Core;
use super::disk::Disk;
use super::recovery::{HeldFile, Recovered};
use super::salt::Seed;
use super::spares::Spares;
use super::{JournalError, NOTE_DELAY, Settings};
use crate::model::{EntrySeq, Recorded};

/// Bytes that one write and flush takes together: more would make the first waiter pay for the last.
pub(super) const BATCH_BYTES: usize = 8 << 20;
/// Bytes of entries that are counted on before a flush; beyond, they get one of their own, and who asks for more waits for
/// it. They are kept in memory until then, so that a failed flush does not lose them.
pub(super) const UNFLUSHED_BYTES: usize = 1 << 20;
/// How long a released statement's intent waits for its flush: what a crash of the machine can lose. Short, because that is
/// what it is for; long enough that an idle disk is not flushed for each statement of one client.
pub(super) const WRITTEN_DELAY: Duration = Duration::from_millis(10);

/// After so many flushes in a row that one caller waited for, callers flush by themselves. With several sessions at work
/// that many seldom follow each other, and a flush that they share is cheaper than one for each.
const ALONE_FOR: u32 = 16;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Request {
    /// Write, flush, answer; or write, answer, flush. `closing` entries may use the room that is kept for them.
    Append {
        payloads: Vec<Vec<u8>>,
        closing: bool,
        recorded: Recorded,
        reply: oneshot::Sender<Result<EntrySeq, JournalError>>,
    },
    /// Look at what was noted, or when a flush is due: nobody would otherwise, or too late.
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
    /// Whether the writer has looked for the last time.
    closed: bool,
}

impl Noted {
    /// Takes a note; whether the writer must be told.
    ///
    /// # Errors
    ///
    /// Nobody will look any more.
    pub(super) fn put(&mut self, payload: Vec<u8>) -> Result<bool, JournalError> {
        if self.closed {
            return Err(JournalError::Closed);
        }
        self.bytes += payload.len();
        self.payloads.push(payload);
        Ok(!std::mem::replace(&mut self.watched, true) || self.bytes > UNFLUSHED_BYTES)
    }

    /// Takes no more, unless there is something to look at still.
    fn close(&mut self) -> bool {
        self.closed = self.payloads.is_empty();
        self.closed
    }

    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        self.bytes = 0;
        std::mem::take(&mut self.payloads)
    }

    /// What was taken was not written after all: it stands before what came since.
    pub(super) fn give_back(&mut self, mut notes: Vec<Vec<u8>>) {
        self.bytes += notes.iter().map(Vec::len).sum::<usize>();
        notes.append(&mut self.payloads);
        self.payloads = notes;
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
    /// Held by who writes and flushes: the writer for all that has queued up, or a caller for itself. Taken before the core.
    turn: Mutex<()>,
    /// How many flushes in a row had one waiter. A caller that met another shares the writer's flushes for a while.
    alone: AtomicU32,
    gaps: BTreeMap<EntrySeq, EntrySeq>,
}

impl Shared {
    /// The turn to flush, for a caller that nobody shares it with.
    pub(super) fn turn_alone(&self) -> Option<MutexGuard<'_, ()>> {
        if self.alone.load(Ordering::Relaxed) < ALONE_FOR {
            return None;
        }
        let turn = self.turn.try_lock().ok();
        if turn.is_none() {
            self.alone.store(0, Ordering::Relaxed);
        }
        turn
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        // It guards no data of its own.
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

/// What a journal speaks to its writer by.
pub(super) struct Started {
    pub(super) shared: Arc<Shared>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) flushed: watch::Receiver<EntrySeq>,
    pub(super) core: Arc<Mutex<Core>>,
}

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
    let shared = Arc::new(Shared {
        settings,
        disk,
        used,
        files,
        trouble: Mutex::default(),
        noted: Mutex::default(),
        turn: Mutex::default(),
        alone: AtomicU32::new(0),
        gaps,
    });
    let (requests, inbox) = mpsc::channel(queue);
    let (flushed, watcher) = watch::channel(last);
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(JournalError::disk("start its writer"))?;
    let core = Core::new(Arc::clone(&shared), flushed, spares, seed);
    let core = Arc::new(Mutex::new(core));
    let writer = Writer { shared: Arc::clone(&shared), core: Arc::clone(&core), inbox, _lock: lock };
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || clock.block_on(writer.run()))
        .map_err(JournalError::disk("start its writer"))?;
    Ok(Started { shared, requests, flushed: watcher, core })
}

/// Serves what is asked, one batch after another.
struct Writer {
    shared: Arc<Shared>,
    core: Arc<Mutex<Core>>,
    inbox: mpsc::Receiver<Request>,
    _lock: Option<File>,
}

/// Who waits: how many entries of the batch are theirs and earlier, and where the answer goes.
pub(super) type Waiters = Vec<(u64, oneshot::Sender<Result<EntrySeq, JournalError>>)>;

/// Requests that are served by one write.
#[derive(Default)]
struct Batch {
    /// What is written, and whether it is counted on as soon as it is: its statement is released then.
    payloads: Vec<(Vec<u8>, bool)>,
    /// Who waits for the flush.
    flush: Waiters,
    /// Who waits for the write only.
    write: Waiters,
    /// Some of it may not use the room that is kept for closings.
    opens: bool,
}

/// Answers; a waiter that has gone does not take its entry with it.
fn answer(waiters: Waiters, before: u64) {
    for (upto, reply) in waiters {
        reply.send(Ok(EntrySeq(before + upto))).ok();
    }
}

impl Writer {
    fn core(&self) -> MutexGuard<'_, Core> {
        // It is written by this thread, which does not panic, and by callers whose every step leaves it whole.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(mut self) {
        loop {
            let due = self.core().flush_due;
            let request = match due {
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
                self.end();
                // The lock goes with the writer, before the answer. Whoever asked may have gone; it is closed all the same.
                drop(self);
                reply.send(()).ok();
                return;
            }
        }
        self.end();
    }

    /// Nobody writes any more after this.
    fn end(&self) {
        loop {
            self.look();
            let mut core = self.core();
            // What a caller wrote during the flush gets one of its own, and what was noted since is written.
            let mut noted = self.shared.noted();
            // What a disk that refuses has not taken by now it never will.
            noted.closed |= core.failing.is_some();
            if noted.closed || core.flushed.borrow().0 >= core.written.0 && noted.close() {
                core.file = None;
                return;
            }
        }
    }

    /// Writes what was noted, and flushes what is kept. If that was nothing, the next note must say that it is there.
    fn look(&self) {
        let _turn = self.shared.turn();
        let notes = {
            let mut noted = self.shared.noted();
            noted.watched = !noted.payloads.is_empty();
            noted.take()
        };
        let is_new = !notes.is_empty();
        if is_new {
            self.write_batch(notes, Batch::default());
        }
        let (keeps, failing) = {
            let mut core = self.core();
            core.flush_due = None;
            (!core.kept.is_empty(), core.failing.is_some())
        };
        if keeps || failing {
            self.commit((Vec::new(), 0), true);
        }
        if is_new || keeps {
            self.watch();
        }
    }

    /// There was something to do, so there may be more: the writer looks by itself for a while.
    fn watch(&self) {
        let mut core = self.core();
        self.shared.noted().watched = true;
        core.flush_due.get_or_insert_with(|| Instant::now() + NOTE_DELAY);
    }

    /// Serves a request together with those that queued up behind it. Gives back the answer that a close waits for.
    fn take(&mut self, first: Request) -> Option<oneshot::Sender<()>> {
        // More may queue up until it is there.
        let _turn = self.shared.turn();
        let mut batch = Batch::default();
        let mut bytes = 0;
        let mut request = Some(first);
        let mut closing = None;
        // While the disk refuses, nothing is released before it was seen to take something again.
        let trusted = self.core().failing.is_none();
        while let Some(now) = request.take() {
            match now {
                Request::Append { payloads, closing, recorded, reply } => {
                    batch.opens |= !closing;
                    bytes += payloads.iter().map(Vec::len).sum::<usize>();
                    let early = trusted && recorded == Recorded::Written;
                    batch.payloads.extend(payloads.into_iter().map(|payload| (payload, early)));
                    let upto = batch.payloads.len() as u64;
                    let waiters = if early { &mut batch.write } else { &mut batch.flush };
                    waiters.push((upto, reply));
                }
                // The loop looks when the next flush is due.
                Request::Noted => {}
                Request::Free { keep, reply } => {
                    reply.send(self.core().free(keep)).ok();
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
        if !batch.payloads.is_empty() || !notes.is_empty() {
            let alone = self.shared.alone.load(Ordering::Relaxed).saturating_add(1);
            self.shared.alone.store(if batch.flush.len() > 1 { 0 } else { alone }, Ordering::Relaxed);
            self.write_batch(notes, batch);
        }
        self.watch();
        closing
    }

    /// Notes first, then what somebody waits for.
    fn write_batch(&self, notes: Vec<Vec<u8>>, batch: Batch) {
        let Batch { payloads, flush, write, opens } = batch;
        let mut core = self.core();
        let noted = notes.len() as u64;
        let bytes: Vec<&[u8]> =
            notes.iter().chain(payloads.iter().map(|(payload, _)| payload)).map(Vec::as_slice).collect();
        let wrote = core.write(&bytes, !opens).map(|before| before + noted);
        for note in notes {
            core.keep(note);
        }
        for (payload, is_released) in payloads {
            if is_released && wrote.is_ok() {
                core.keep(payload);
            }
        }
        let before = match wrote {
            Ok(before) => before,
            Err(error) => return core.fail(&error, flush.into_iter().chain(write).collect()),
        };
        if !write.is_empty() {
            core.due_within(WRITTEN_DELAY);
        }
        drop(core);
        answer(write, before);
        self.commit((flush, before), false);
    }

    /// Flushes if somebody waits for it, or what is kept is due or much; else leaves it to the next flush. The waiters'
    /// batch stands behind the entry with this number. While the disk works, callers may go on writing: what they write
    /// then is the next flush's.
    fn commit(&self, (waiters, before): (Waiters, u64), now: bool) {
        let mut core = self.core();
        if !now && waiters.is_empty() && core.kept_bytes <= UNFLUSHED_BYTES {
            return;
        }
        if core.file.is_none() && (core.failing.is_some() || !core.kept.is_empty()) {
            // An earlier failure left entries that are in no trusted file: they start the next one. Without any, that there
            // is a next one shows that the disk takes entries again.
            if let Err(error) = core.rewrite_kept() {
                return core.fail(&error, waiters);
            }
        }
        let (upto, kept) = (core.written, core.kept.len());
        core.flush_due = None;
        let place = core.file.as_ref().map(|current| (Arc::clone(&current.file), current.offset));
        if let Some((file, offset)) = place {
            drop(core);
            let flushed = file.flush();
            core = self.core();
            if let Err(error) = flushed {
                return core.fail(&JournalError::disk("flush")(error), waiters);
            }
            if let Some(current) = core.file.as_mut() {
                current.flushed = offset;
            }
        }
        core.flushed_upto(upto, kept);
        drop(core);
        answer(waiters, before);
    }
}
