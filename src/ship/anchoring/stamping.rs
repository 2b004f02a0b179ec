//! A timestamp over the newest checkpoint, at a pace, beside it in the archive.

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{AnchorStatus, Line, Stamp, Stamps, Trouble};
use crate::model::Sha256;
use crate::ship::Signed;
use crate::store::{Store, StoreError};

/// Stamps.
#[derive(Debug)]
pub(super) struct Stamper {
    line: Line,
    stamps: Stamps,
    archive: Store,
    /// For whoever copies.
    made: watch::Sender<Option<Stamp>>,
}

impl Stamper {
    pub(super) fn new(line: Line, stamps: Stamps, archive: Store, made: watch::Sender<Option<Stamp>>) -> Self {
        Self { line, stamps, archive, made }
    }

    pub(super) async fn run(mut self) {
        let mut pause = self.line.pause();
        let mut done: Option<String> = None;
        while let Some(signed) = self.next(done.as_deref()).await {
            match self.stamp(&signed).await {
                Ok(stamp) => {
                    let size = signed.size;
                    tracing::info!(size, stamp = stamp.name, "the log's checkpoint is stamped");
                    self.made.send_replace(Some(stamp));
                    self.line.report.send_modify(|status| {
                        if let Some(stamped) = &mut status.stamped {
                            stamped.done(size);
                        }
                    });
                    done = Some(signed.name);
                    pause = self.line.pause();
                    if !self.line.ended {
                        self.line.rest(Instant::now() + self.stamps.every).await;
                    }
                }
                Err(error) => {
                    let wait = pause.next();
                    tracing::warn!(%error, again_in = ?wait, "the log's checkpoint could not be stamped");
                    self.line.report.send_modify(|status| failed(status, &error));
                    self.line.rest(Instant::now() + wait).await;
                }
            }
        }
    }

    /// The newest checkpoint that is to be stamped; nothing if the last one is and no more will come.
    async fn next(&mut self, done: Option<&str>) -> Option<Signed> {
        loop {
            match self.line.newest(done) {
                None if self.line.ended => return None,
                None => self.line.changed().await,
                newest => return newest,
            }
        }
    }

    /// The stamp over a checkpoint, which is in the archive then.
    async fn stamp(&self, signed: &Signed) -> Result<Stamp, Trouble> {
        let name = signed.stamp_name.clone();
        // A run that ended before it could say so may have put it there.
        if let Some(bytes) = self.there(&name).await? {
            return Ok(Stamp { name, bytes });
        }
        let digest = Sha256::of(signed.note.as_bytes());
        let answer = self.stamps.authority.stamp(digest, self.stamps.ids.nonce());
        let bytes = Bytes::from(self.line.answer(answer, failed).await?);
        match self.line.answer(self.archive.put_once(&name, bytes.clone()), failed).await {
            Ok(_) => Ok(Stamp { name, bytes }),
            Err(StoreError::Conflict { .. }) => {
                // Another came between, and the copy is to be that of the archive.
                let bytes = self.line.answer(self.archive.get(&name), failed).await?;
                Ok(Stamp { name, bytes })
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn there(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        match self.line.answer(self.archive.get(name), failed).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn failed(status: &mut AnchorStatus, problem: &impl std::fmt::Display) {
    if let Some(stamped) = &mut status.stamped {
        stamped.failed(problem);
    }
}
