//! The durable local log: the one place that answers "is it on disk?".
//!
//! What it promises:
//!
//! * [`Journal::record`] returns only after its entries are on stable storage, or in the file where no more is asked for, and
//!   a [`Permit`] comes from nowhere else and says which.
//! * Entries are numbered from 1 without gaps. What was recorded is found again after any crash of the program; what was
//!   answered with an error is not found again.
//! * [`Journal::note`] keeps an entry with the next flush, within [`NOTE_DELAY`] at the latest: a crash of the machine can
//!   lose it, a crash of the program cannot once it is written.
//! * One process holds a directory. Nothing is deleted but whole files, by [`Journal::free_before`].
//!
//! How: files `journal-<first entry>-<salt>.hj` of [`Settings::file_bytes`], filled with zeros before and used again after they
//! are freed, so that a flush writes no metadata; callers encode, one writer thread appends what has queued up in one
//! write, flushes once (`fdatasync`) and wakes the waiters; a caller whom nobody joined for a while does all that by itself.
//! After a failed write or flush the file is not trusted again: the next file starts at the first entry that was not
//! confirmed, and what the old file may hold from there on does not count. One file is kept ready that only closings may
//! take, so that what began can be ended on a full disk.
//!
//! Rejected: an embedded key-value store (its own log under ours doubles every flush); Parquet written directly (nothing
//! can be read back before the footer); one file for each session (a flush for each session instead of one for all).

mod current;
mod decode;
pub mod disk;
mod frame;
mod reader;
mod recovery;
mod salt;
mod scan;
mod spares;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::model::Asked;
use crate::model::Entry;
use crate::model::EntrySeq;
use crate::model::Recorded;

use current::Core;
use disk::{Disk, FolderDisk};
pub use reader::Reader;
pub use recovery::{Damage, Opened};
pub use salt::Seed;
use writer::{Request, Shared, Started};

/// How long a noted entry may wait for a flush that somebody else pays for.
pub const NOTE_DELAY: Duration = Duration::from_millis(200);
/// Requests that may wait for the writer; more make the callers wait. Each holds at most one batch of one session.
const QUEUE_LIMIT: usize = 4096;
/// How often a caller looks in a row whether it can write by itself: a few microseconds, which another caller's write takes.
const LOCK_TRIES: usize = 100;
/// How often it comes back to that before it asks the writer, which is holding the file for something longer.
const LOCK_ROUNDS: usize = 8;

/// Where the journal lives and how much it may hold.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory; made if it is not there.
    pub dir: PathBuf,
    /// At this size, in bytes, statements are refused. Closings still fit: they are small and end the growth.
    pub max_bytes: u64,
    /// At this size, in bytes, new sessions are refused.
    pub refuse_new_sessions_at: u64,
    /// The size of a file, in bytes, all of it allocated before it is used.
    pub file_bytes: u64,
}

impl Settings {
    /// The usual size of one file: small enough that freeing follows shipping closely, large enough that few are made.
    pub const FILE_BYTES: u64 = 64 << 20;
}

/// Proof that an allowed statement's intent is on stable storage, or for a target that asks for no more than that in the
/// journal's file ([`Permit::recorded`]). Only the journal makes one, and it is spent by use:
/// neither `Clone` nor `Copy`.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    asked: Asked,
    recorded: Recorded,
}

impl Permit {
    /// How far the intent has come at least.
    pub fn recorded(&self) -> Recorded {
        self.recorded
    }

    /// Spends the permit: what it was for.
    pub fn spend(self) -> Asked {
        self.asked
    }
}

/// Why nothing could be recorded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// Another process holds the directory.
    #[error("the journal {dir} is held by another process ({holder})", dir = dir.display())]
    Held {
        /// The directory.
        dir: PathBuf,
        /// `pid 123`, or that it is not known.
        holder: String,
    },
    /// The disk refused.
    #[error("the journal could not {doing}: {error}")]
    Disk {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        error: Arc<std::io::Error>,
    },
    /// The journal holds as much as it may.
    #[error("the journal is full: {used} of {limit} bytes wait to be shipped")]
    Full {
        /// Bytes that it holds.
        used: u64,
        /// Bytes that it may hold for this kind of entry.
        limit: u64,
    },
    /// The entry is longer than a frame can hold.
    #[error("an entry is longer than the journal can keep")]
    TooLong,
    /// What was written is not there any more.
    #[error("the journal lacks entry {entry}: {why}", entry = entry.0)]
    Missing {
        /// The entry.
        entry: EntrySeq,
        /// What was found instead.
        why: String,
    },
    /// Two files say that they start with the same entry.
    #[error("two files of the journal start with entry {first}: move the one that does not belong there away", first = first.0)]
    TwoFiles {
        /// The entry.
        first: EntrySeq,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

impl JournalError {
    fn disk(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Disk { doing, error: Arc::new(error) }
    }
}

/// The journal. Cheap to clone; the clones share one writer.
#[derive(Debug, Clone)]
pub struct Journal {
    requests: mpsc::Sender<Request>,
    core: Arc<Mutex<Core>>,
    shared: Arc<Shared>,
    flushed: watch::Receiver<EntrySeq>,
}

/// How much an entry may ask of a journal that fills up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// A session wants to begin, or was not let to.
    Opening,
    /// A statement wants to go upstream, or to be refused.
    Statement,
    /// Something ends, or the journal's own book-keeping.
    Closing,
}

impl Room {
    fn of(entry: &Entry) -> Self {
        match entry {
            // Refused logins are as many as strangers like; they end where sessions do.
            Entry::SessionOpened(_) | Entry::LoginRefused(_) => Self::Opening,
            Entry::Intent(_) | Entry::Prepared(_) => Self::Statement,
            _ => Self::Closing,
        }
    }
}

/// What became of entries that a caller tried to write by itself.
enum Tried {
    Written,
    /// Somebody else is writing.
    Busy(Vec<Vec<u8>>),
    /// It takes the writer's thread.
    NotHere(Vec<Vec<u8>>),
}

impl Journal {
    /// Opens the directory, cuts a damaged tail, and starts the writer. `seed` is drawn anew for each run: it is what no
    /// client can guess of the files that are written from now on.
    ///
    /// # Errors
    ///
    /// Another process holds it, or the disk refuses.
    pub fn open(settings: Settings, seed: Seed) -> Result<Opened, JournalError> {
        let lock = recovery::take_lock(&settings.dir)?;
        let disk = Arc::new(FolderDisk::new(settings.dir.clone()));
        Self::start(settings, disk, (Some(lock), seed))
    }

    /// The same on another disk, which nobody else may hold.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub fn open_on(settings: Settings, disk: Arc<dyn Disk>, seed: Seed) -> Result<Opened, JournalError> {
        Self::start(settings, disk, (None, seed))
    }

    fn start(settings: Settings, disk: Arc<dyn Disk>, only: (Option<File>, Seed)) -> Result<Opened, JournalError> {
        let recovered = recovery::recover(disk.as_ref(), settings.file_bytes)?;
        let damage = recovered.damage.clone();
        let last = recovered.last;
        let Started { shared, requests, flushed, core } = writer::start(settings, disk, recovered, only, QUEUE_LIMIT)?;
        Ok(Opened { journal: Self { requests, core, shared, flushed }, damage, last })
    }

    /// Records entries and returns with one permit for each that was allowed, in order: after the flush, or if no more is
    /// asked for than [`Recorded::Written`], when they are in the file. Then the flush follows within 10 ms; should it fail,
    /// they are written again, and nothing more is released until a flush has succeeded.
    ///
    /// # Errors
    ///
    /// Nothing of it counts as recorded; nothing may be forwarded.
    pub async fn record(&self, entries: Vec<Entry>, recorded: Recorded) -> Result<Vec<Permit>, JournalError> {
        let asked: Vec<Asked> = entries.iter().filter_map(permitted).collect();
        match recorded {
            Recorded::Flushed => self.append(entries).await.map(drop)?,
            Recorded::Written => self.written(entries).await?,
        }
        Ok(asked.into_iter().map(|asked| Permit { asked, recorded }).collect())
    }

    async fn written(&self, entries: Vec<Entry>) -> Result<(), JournalError> {
        if entries.is_empty() {
            return Ok(());
        }
        for entry in &entries {
            self.room_for(Room::of(entry))?;
        }
        let mut payloads = encode(entries)?;
        for _ in 0..LOCK_ROUNDS {
            match self.write_now(payloads) {
                Tried::Written => return Ok(()),
                Tried::Busy(back) => payloads = back,
                Tried::NotHere(back) => {
                    payloads = back;
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
        self.ask(payloads, false, Recorded::Written).await.map(drop)
    }

    /// Writes in this thread if that needs nobody else.
    fn write_now(&self, payloads: Vec<Vec<u8>>) -> Tried {
        let mut tries = (0..LOCK_TRIES).map(|_| self.core.try_lock());
        let Some(mut core) = tries.find_map(|core| core.inspect_err(|_| std::hint::spin_loop()).ok()) else {
            return Tried::Busy(payloads);
        };
        match core.write_now(payloads) {
            Ok(sooner) => {
                drop(core);
                if sooner {
                    // If there is no room in the queue, the thread is awake and will look.
                    self.requests.try_send(Request::Noted).ok();
                }
                Tried::Written
            }
            Err(back) => Tried::NotHere(back),
        }
    }

    async fn ask(&self, payloads: Vec<Vec<u8>>, closing: bool, recorded: Recorded) -> Result<EntrySeq, JournalError> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Append { payloads, closing, recorded, reply };
        self.requests.send(request).await.or(Err(JournalError::Closed))?;
        answer.await.or(Err(JournalError::Closed))?
    }

    /// Records entries and returns the number of the last after the flush.
    ///
    /// # Errors
    ///
    /// Nothing of it counts as recorded.
    pub async fn append(&self, entries: Vec<Entry>) -> Result<EntrySeq, JournalError> {
        if entries.is_empty() {
            return Ok(*self.flushed.borrow());
        }
        for entry in &entries {
            self.room_for(Room::of(entry))?;
        }
        let closing = entries.iter().all(|entry| Room::of(entry) == Room::Closing);
        match self.flush_now(encode(entries)?) {
            Ok(flushed) => flushed,
            Err(payloads) => self.ask(payloads, closing, Recorded::Flushed).await,
        }
    }

    /// Writes and flushes in this thread if nobody else has something to be flushed: to wake the writer and to be woken by it
    /// takes longer than half a flush. That holds up one thread of several for as long as a flush takes. Gives the entries
    /// back if it is the writer's to do.
    fn flush_now(&self, payloads: Vec<Vec<u8>>) -> Result<Result<EntrySeq, JournalError>, Vec<Vec<u8>>> {
        let several = Handle::try_current().is_ok_and(|runtime| runtime.metrics().num_workers() > 1);
        let Some(turn) = self.shared.turn_alone().filter(|_| several) else { return Err(payloads) };
        let core = || self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let written = core().write_to_flush(payloads)?;
        let flushed = written.file.flush();
        let done = core().flushed_by_caller(&written, flushed);
        drop(turn);
        if done.is_err() {
            // It is the writer that finds out when the disk takes entries again.
            self.requests.try_send(Request::Noted).ok();
        }
        Ok(done)
    }

    /// Keeps an entry with the next flush, at the latest after [`NOTE_DELAY`]. It comes before whatever is appended once
    /// this returned. Waits only while the writer is behind.
    ///
    /// # Errors
    ///
    /// The journal is closed, or the entry too long to keep.
    pub async fn note(&self, entry: Entry) -> Result<(), JournalError> {
        let payload = frame::encode(&entry).or(Err(JournalError::TooLong))?;
        // Most notes wake nobody: the writer looks by itself as long as there is something to do.
        let must_be_told = self.shared.noted().put(payload)?;
        if !must_be_told {
            return Ok(());
        }
        self.requests.send(Request::Noted).await.or(Err(JournalError::Closed))
    }

    /// The last entry on stable storage, as it advances.
    pub fn flushed(&self) -> watch::Receiver<EntrySeq> {
        self.flushed.clone()
    }

    /// A reader that starts at the oldest entry still here.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    /// Bytes that the journal holds on disk.
    pub fn used_bytes(&self) -> u64 {
        self.shared.used.load(Ordering::Relaxed)
    }

    /// Bytes that it may hold.
    pub fn limit_bytes(&self) -> u64 {
        self.shared.settings.max_bytes
    }

    /// Bytes that may be added before new sessions are refused.
    pub fn session_room_bytes(&self) -> u64 {
        self.shared.settings.refuse_new_sessions_at.saturating_sub(self.used_bytes())
    }

    /// Why the last write or flush failed; nothing if it did not, or the disk has taken a file since. The writer tries by
    /// itself.
    pub fn trouble(&self) -> Option<JournalError> {
        self.shared.trouble().clone()
    }

    /// Whether a new session could be recorded now.
    ///
    /// # Errors
    ///
    /// [`JournalError::Full`].
    pub fn room_for_session(&self) -> Result<(), JournalError> {
        self.room_for(Room::Opening)
    }

    /// The first entry of the oldest file: what is carried from before it can be freed no further.
    pub fn oldest_file_ends_before(&self) -> Option<EntrySeq> {
        self.shared.files().keys().nth(1).copied()
    }

    /// Removes the files all of whose entries are before `keep`; never the one being written.
    ///
    /// # Errors
    ///
    /// The disk refuses; what was not removed stays readable.
    pub async fn free_before(&self, keep: EntrySeq) -> Result<usize, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Free { keep, reply }).await.or(Err(JournalError::Closed))?;
        answer.await.or(Err(JournalError::Closed))?
    }

    /// Flushes what was noted and stops the writer. Later calls on any clone answer [`JournalError::Closed`].
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Close { reply }).await.is_ok() {
            // An error means that the writer is gone already, which is what was asked for.
            answer.await.ok();
        }
    }

    fn room_for(&self, room: Room) -> Result<(), JournalError> {
        let used = self.used_bytes();
        let limit = match room {
            Room::Opening => self.shared.settings.refuse_new_sessions_at,
            Room::Statement => self.shared.settings.max_bytes,
            Room::Closing => return Ok(()),
        };
        if used < limit { Ok(()) } else { Err(JournalError::Full { used, limit }) }
    }
}

/// What a recorded entry permits: nothing, unless it is an allowed statement.
fn permitted(entry: &Entry) -> Option<Asked> {
    match entry {
        Entry::Intent(intent) if intent.decision.allows() => Some(Asked::Execution(intent.reference)),
        Entry::Prepared(prepared) if prepared.decision.allows() => {
            Some(Asked::Preparation(prepared.session, prepared.number))
        }
        _ => None,
    }
}

fn encode(entries: Vec<Entry>) -> Result<Vec<Vec<u8>>, JournalError> {
    // The entry is dropped as soon as it is encoded: a large statement is held once, not twice.
    entries.into_iter().map(|entry| frame::encode(&entry).or(Err(JournalError::TooLong))).collect()
}

#[cfg(test)]
mod tests;
