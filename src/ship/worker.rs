//! A thread of its own for what blocks: reading the journal, building segments, and letting go of their rows.
//!
//! What it promises:
//!
//! * Jobs run one after the other, in the order in which they were asked for, always on the same thread. So the rows of a
//!   segment, and what is built of them, are had from and given back to the same part of the allocator, and what one
//!   segment took is there for the next.
//! * A job that panics ends the thread: whoever waits for it, and whoever asks later, gets [`ShipError::Gone`].
//! * The thread ends when the last that may ask is gone, after the job that it is in.
//!
//! Rejected: the runtime's threads for blocking work, because each segment is then on whichever is idle, and glibc keeps for
//! each thread what it took at most: twice the memory after an hour of backlog. Another allocator for the program: jemalloc
//! and mimalloc bring C of their own into every part of it, and shipping was no quicker with either. `MALLOC_ARENA_MAX`: it
//! is read before `main`, so the program would have to start itself again, and it would put all connections into one arena.

use tokio::sync::{mpsc, oneshot};

use super::ShipError;

/// Jobs that wait. A shipper asks for the next when it has the answer, so there is one.
const QUEUE: usize = 1;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs on its thread.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: mpsc::Sender<Job>,
}

impl Worker {
    /// Starts the thread. Without one, every job ends as one that panics does.
    pub(super) fn start() -> Self {
        let (sender, mut jobs) = mpsc::channel::<Job>(QUEUE);
        let started = std::thread::Builder::new().name("ship".to_owned()).spawn(move || {
            while let Some(job) = jobs.blocking_recv() {
                job();
            }
        });
        if let Err(error) = started {
            tracing::error!(%error, "the thread that ships could not be started");
        }
        Self { jobs: sender }
    }

    /// Runs a job; its answer. If nobody waits for that any more, the job is still done.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ShipError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever asked may have gone.
            reply.send(job()).ok();
        });
        self.jobs.send(job).await.or(Err(ShipError::Gone))?;
        answer.await.or(Err(ShipError::Gone))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn every_job_runs_on_one_thread_which_is_not_the_callers() {
        let worker = Worker::start();
        let first = worker.run(|| thread::current().id()).await.unwrap();
        for _ in 0..20 {
            assert_eq!(worker.run(|| thread::current().id()).await.unwrap(), first);
        }
        assert_ne!(first, thread::current().id());
    }

    #[tokio::test]
    async fn a_job_that_panics_is_told_and_so_is_whoever_asks_later() {
        let worker = Worker::start();
        assert_eq!(worker.run(|| 7).await.unwrap(), 7);
        assert!(matches!(worker.run(|| panic!("as it should")).await, Err::<(), _>(ShipError::Gone)));
        assert!(matches!(worker.run(|| 7).await, Err(ShipError::Gone)));
    }

    #[tokio::test]
    async fn a_job_is_done_though_nobody_waits_for_it_and_then_the_thread_ends() {
        let worker = Worker::start();
        let (held, done) = (Arc::new(()), Arc::new(()));
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let job = {
            let (held, done) = (Arc::clone(&held), Arc::clone(&done));
            worker.run(move || {
                let _held = held;
                wait.recv().unwrap();
                drop(done);
            })
        };
        // Asked for, and not waited for.
        assert!(futures::FutureExt::now_or_never(job).is_none());
        go.send(()).unwrap();
        drop(worker);
        while Arc::strong_count(&done) + Arc::strong_count(&held) > 2 {
            tokio::task::yield_now().await;
        }
    }
}
