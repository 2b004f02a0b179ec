//! The newest checkpoint, and the newest stamp, into a place in other hands.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{AnchorStatus, Elsewhere, Line, Stamp, Trouble};
use crate::journal::{Journal, JournalError};
use crate::model::{Clock, Entry, NodeName, RecorderEvent, RecorderEventKind};
use crate::ship::Signed;
use crate::store::{Store, StoreError};

/// What is copied next.
#[derive(Debug)]
enum Next {
    Checkpoint(Signed),
    Stamp(Stamp),
}

impl Next {
    fn object(&self) -> (String, Bytes) {
        match self {
            Self::Checkpoint(signed) => (signed.name.clone(), Bytes::from(signed.note.clone())),
            Self::Stamp(stamp) => (stamp.name.clone(), stamp.bytes.clone()),
        }
    }
}

/// Copies.
#[derive(Debug)]
pub(super) struct Copier {
    line: Line,
    place: Elsewhere,
    /// What the stamper put into the archive.
    stamps: watch::Receiver<Option<Stamp>>,
    no_more_stamps: bool,
    /// The names of the last checkpoint and the last stamp that were dealt with.
    done: (Option<String>, Option<String>),
    /// Whether the last checkpoint was contradicted: a place where all of them are is put on record once, not by a row
    /// for each, of which every one would make the next checkpoint.
    contradicted: bool,
    record: Record,
}

/// Where contradictions are put on record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) journal: Journal,
    /// What is there already.
    pub(super) said: BTreeSet<String>,
    pub(super) node: NodeName,
    pub(super) clock: Arc<dyn Clock>,
}

impl Copier {
    pub(super) fn new(line: Line, place: Elsewhere, stamps: watch::Receiver<Option<Stamp>>, record: Record) -> Self {
        Self { line, place, stamps, no_more_stamps: false, done: (None, None), contradicted: false, record }
    }

    pub(super) async fn run(mut self) {
        let mut pause = self.line.pause();
        while let Some(next) = self.next().await {
            match self.copy(&next).await {
                Ok(()) => self.copied(next),
                Err(Trouble::Store(error @ StoreError::Conflict { .. })) => self.conflict(next, &error).await,
                Err(error) => {
                    let wait = pause.next();
                    tracing::warn!(%error, again_in = ?wait, "a checkpoint could not be copied");
                    self.line.report.send_modify(|status| failed(status, &error));
                    self.line.rest(Instant::now() + wait).await;
                    continue;
                }
            }
            pause = self.line.pause();
        }
    }

    /// What is to be copied next; nothing if all is copied and no more will come.
    async fn next(&mut self) -> Option<Next> {
        loop {
            let (checkpoint, stamp) = (self.done.0.as_deref(), self.done.1.as_ref());
            if let Some(signed) = self.line.newest(checkpoint) {
                return Some(Next::Checkpoint(signed));
            }
            let newest = self.stamps.borrow_and_update().clone();
            if let Some(newest) = newest.filter(|newest| stamp != Some(&newest.name)) {
                return Some(Next::Stamp(newest));
            }
            tokio::select! {
                () = self.line.changed(), if !self.line.ended => {}
                changed = self.stamps.changed(), if !self.no_more_stamps => self.no_more_stamps = changed.is_err(),
                else => return None,
            }
        }
    }

    async fn copy(&mut self, next: &Next) -> Result<(), Trouble> {
        let store = self.open().await?;
        let (name, bytes) = next.object();
        self.line.answer(store.put_once(&name, bytes), failed).await?;
        Ok(())
    }

    async fn open(&mut self) -> Result<Store, Trouble> {
        let settings = match &self.place {
            Elsewhere::Store(store) => return Ok(store.clone()),
            Elsewhere::Settings(settings) => settings.clone(),
        };
        // It may make a folder, where blocking is allowed.
        let opened = tokio::task::spawn_blocking(move || Store::open(&settings));
        let store = self.line.answer(opened, failed).await.or(Err(Trouble::Unopened))??;
        self.place = Elsewhere::Store(store.clone());
        Ok(store)
    }

    fn copied(&mut self, next: Next) {
        match next {
            Next::Checkpoint(signed) => {
                self.contradicted = false;
                tracing::debug!(size = signed.size, "checkpoint copied");
                self.line.report.send_modify(|status| {
                    if let Some(copied) = &mut status.copied {
                        copied.done(signed.size);
                    }
                });
                self.done.0 = Some(signed.name);
            }
            Next::Stamp(stamp) => {
                self.line.report.send_modify(|status| {
                    // What was said of the checkpoint stays; nothing else is to be said of a stamp.
                    if let Some(copied) = status.copied.as_mut().filter(|_| !self.contradicted) {
                        copied.failing = None;
                    }
                });
                self.done.1 = Some(stamp.name);
            }
        }
    }

    /// Another content stands where the copy should be.
    async fn conflict(&mut self, next: Next, error: &StoreError) {
        let signed = match next {
            Next::Checkpoint(signed) => signed,
            Next::Stamp(stamp) => {
                tracing::warn!(name = stamp.name, "another stamp is where this one was to be copied to; one is enough");
                self.done.1 = Some(stamp.name);
                return;
            }
        };
        let Signed { name, .. } = signed;
        tracing::error!(
            name,
            "ALARM: where checkpoints are copied to, another content stands in the place of this one"
        );
        self.line.report.send_modify(|status| {
            status.conflicts += 1;
            failed(status, error);
        });
        let detail = format!(
            "where checkpoints are copied to, another content stands under {name}; later ones are copied all the same"
        );
        self.done.0 = Some(name);
        if !std::mem::replace(&mut self.contradicted, true) && self.record.said.insert(detail.clone()) {
            self.put_on_record(detail).await;
        }
    }

    async fn put_on_record(&mut self, detail: String) {
        let Record { journal, node, clock, .. } = &self.record;
        let event = RecorderEvent::new(clock.now(), node.clone(), RecorderEventKind::ArchiveConflict, detail);
        let mut pause = self.line.pause();
        loop {
            match journal.append(vec![Entry::Event(event.clone())]).await {
                Ok(_) => return,
                Err(error @ (JournalError::Closed | JournalError::TooLong)) => {
                    return tracing::error!(%error, "the contradiction could not be recorded");
                }
                Err(error) => {
                    let wait = pause.next();
                    tracing::warn!(%error, again_in = ?wait, "the contradiction could not be recorded");
                    self.line.rest(Instant::now() + wait).await;
                }
            }
        }
    }
}

fn failed(status: &mut AnchorStatus, problem: &impl std::fmt::Display) {
    if let Some(copied) = &mut status.copied {
        copied.failed(problem);
    }
}
