//! Threads with deep stacks, because a parsed tree is as deep as its text is long and its removal recurses.
//!
//! Promises: a bounded number of threads and of waiting texts; an answer within [`PATIENCE`]; a panic in a reader is an
//! unread text and nothing more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use super::Dialect;
use crate::model::Facts;

/// The stack of a reader. A chain of [`super::MAX_TOKENS`] is some 10,000 levels, which an unoptimised build drops in
/// under 30 MiB; pages that are not touched cost nothing.
const STACK_BYTES: usize = 256 * 1024 * 1024;

/// Readers. Reading takes microseconds, so few are enough; several, so that one slow text does not hold up the rest.
const READERS: usize = 4;

/// Texts that may wait. Callers block, so this bounds nothing but the queue's own memory.
const QUEUE: usize = 64;

/// The longest a caller waits. The worst text within the limits takes well under a second.
const PATIENCE: Duration = Duration::from_secs(10);

struct Job {
    text: String,
    dialect: Dialect,
    answer: SyncSender<Facts>,
}

/// Reads a text on a deep stack.
pub(super) fn read(text: &str, dialect: Dialect) -> Facts {
    static QUEUE_IN: OnceLock<Option<SyncSender<Job>>> = OnceLock::new();
    let Some(queue) = QUEUE_IN.get_or_init(start) else {
        return Facts::unparsed("the reader could not be started");
    };
    let (answer, facts) = sync_channel(1);
    if queue.send(Job { text: text.to_owned(), dialect, answer }).is_err() {
        return Facts::unparsed("the reader has stopped");
    }
    facts.recv_timeout(PATIENCE).unwrap_or_else(|_| Facts::unparsed("could not be read in time"))
}

fn start() -> Option<SyncSender<Job>> {
    let (queue, jobs) = sync_channel(QUEUE);
    let jobs = Arc::new(Mutex::new(jobs));
    let mut started = 0;
    for number in 0..READERS {
        let jobs = Arc::clone(&jobs);
        let reader = thread::Builder::new().name(format!("sql-reader-{number}")).stack_size(STACK_BYTES);
        started += usize::from(reader.spawn(move || work(&jobs)).is_ok());
    }
    (started > 0).then_some(queue)
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { text, dialect, answer }) = next else { return };
        let facts = catch_unwind(AssertUnwindSafe(|| super::facts(&text, dialect)))
            .unwrap_or_else(|_| Facts::unparsed("the parser failed"));
        if answer.send(facts).is_err() {
            // The caller's patience ended; nobody waits for this answer.
            continue;
        }
    }
}
