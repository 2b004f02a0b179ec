//! Rules that change while the recorder runs: on SIGHUP at once, and by themselves when their files change.
//!
//! A set comes into force as at the start: read, checked, its own tests passed. It is on record before it is in force, and
//! holds for every statement that is judged from then on. A set that is not fit changes nothing, and that is on record too.
//!
//! Files are watched by reading them: they are small, and a text cannot lie about whether it changed, while times of change
//! can (a restored copy, a link that points elsewhere as a ConfigMap's does, a share over the network). A changed text is
//! taken when two looks in a row find the same, because what an editor has written half may be valid rules without the last
//! `forbid`. Rejected: asking the kernel to tell of changes, which sees none of a share, loses the folder when a link is
//! swapped, and tells of the half-written file first.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::policy::run::for_force;
use super::policy::sources::Sources;
use crate::config::Config;
use crate::journal::Journal;
use crate::model::{Clock, Entry, EventDetails, RecorderEvent, RecorderEventKind};
use crate::policy::{InForce, Policy};

/// How often the files are read: a change is in force after one to two of these, about as long as it takes to look for its
/// effect; reading a hundred files takes a millisecond.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The most characters that an event says of what is wrong; the log says all.
const MOST_SAID: usize = 500;

/// What was read, or why it could not be.
type Read = Result<Sources, Vec<String>>;

/// Keeps the rules in force those of the files.
pub(super) struct Reload {
    config: Arc<Config>,
    in_force: Arc<InForce>,
    journal: Journal,
    clock: Arc<dyn Clock>,
    /// What was put in force or refused last.
    settled: Read,
    /// What the look before found, if that was something else.
    seen: Option<Read>,
}

/// Why files are read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    /// It is time to see whether they changed.
    Changed,
    /// A signal.
    Asked,
}

impl Cause {
    /// In events.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "their files changed",
            Self::Asked => "a signal asked for it",
        }
    }
}

impl Reload {
    /// `started_with` is what was read at the start.
    pub(super) fn new(
        config: &Config,
        in_force: &Arc<InForce>,
        started_with: Sources,
        journal: Journal,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let (config, in_force) = (Arc::new(config.clone()), Arc::clone(in_force));
        Self { config, in_force, journal, clock: Arc::clone(clock), settled: Ok(started_with), seen: None }
    }

    /// Until `stop`.
    pub(super) async fn run(mut self, mut hangups: Signal, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let cause = tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = hangups.recv() => Cause::Asked,
                _ = looks.tick() => Cause::Changed,
            };
            // The runtime ends when that cannot be had.
            let Some(read) = blocking(paths(&self.config), |paths| Sources::read(&paths)).await else { return };
            match cause {
                Cause::Asked => self.settle(read, cause).await,
                Cause::Changed => self.look(read).await,
            }
        }
    }

    async fn look(&mut self, read: Read) {
        if read == self.settled {
            self.seen = None;
        } else if self.seen.as_ref() == Some(&read) {
            self.settle(read, Cause::Changed).await;
        } else {
            self.seen = Some(read);
        }
    }

    /// Puts what was read in force, or refuses it.
    async fn settle(&mut self, read: Read, cause: Cause) {
        let ready = (read.clone(), Arc::clone(&self.config));
        let ready = blocking(ready, |(read, config)| for_force(&read?, &config)).await;
        let event = match &ready {
            None => return,
            Some(Ok(policy)) if policy.version() == self.in_force.current().policy.version() => {
                tracing::info!(cause = cause.as_str(), "the rules were read and are those in force");
                (self.settled, self.seen) = (read, None);
                return;
            }
            Some(Ok(policy)) => self.loaded(policy, cause),
            Some(Err(problems)) => self.refused(problems, cause),
        };
        // What cannot be recorded does not happen; the next look tries again.
        if let Err(error) = self.journal.append(vec![Entry::Event(event)]).await {
            tracing::error!(%error, "that the rules changed could not be recorded; those in force stay");
            self.seen = Some(read);
            return;
        }
        match ready {
            Some(Ok(policy)) => {
                tracing::info!(version = policy.version(), rules = policy.rules(), "other rules are in force");
                self.in_force.replace(policy);
            }
            Some(Err(problems)) => {
                for problem in problems {
                    tracing::error!(problem, "the rules are not fit to be in force; those before stay");
                }
            }
            None => {}
        }
        (self.settled, self.seen) = (read, None);
    }

    fn loaded(&self, policy: &Policy, cause: Cause) -> RecorderEvent {
        let detail = format!("rules: {}; {}", policy.rules(), cause.as_str());
        let more = EventDetails { policy_version: Some(policy.version().to_owned()), ..EventDetails::default() };
        self.event(RecorderEventKind::PolicyLoaded, detail).with(more)
    }

    fn refused(&self, problems: &[String], cause: Cause) -> RecorderEvent {
        let all = problems.join("; ");
        let mut said: String = all.chars().take(MOST_SAID).collect();
        if said.len() < all.len() {
            said.push('…');
        }
        self.event(RecorderEventKind::PolicyRefused, format!("{}: {said}", cause.as_str()))
    }

    fn event(&self, kind: RecorderEventKind, detail: String) -> RecorderEvent {
        RecorderEvent::new(self.clock.now(), self.config.node.clone(), kind, detail)
    }
}

fn paths(config: &Config) -> Vec<PathBuf> {
    config.policy.clone()
}

/// Work that waits for files or for the parser's threads; nothing if the runtime ends.
async fn blocking<I: Send + 'static, O: Send + 'static>(
    input: I,
    work: impl FnOnce(I) -> O + Send + 'static,
) -> Option<O> {
    match tokio::task::spawn_blocking(move || work(input)).await {
        Ok(done) => Some(done),
        Err(error) => {
            tracing::error!(%error, "the rules could not be read");
            None
        }
    }
}
