//! Cancel keys: ours, which clients know, and the database's, which they do not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::upstream;
use super::{Listener, Site};
use crate::model::{Entry, RecorderEvent, RecorderEventKind, SessionId};

/// A session and the database's key for it: process number and secret.
type Cancellable = (SessionId, Option<(i32, Bytes)>);

/// Our key (process number and secret) → what it cancels.
#[derive(Debug, Default)]
pub(super) struct Cancels {
    sessions: Mutex<HashMap<(i32, i32), Cancellable>>,
}

impl Cancels {
    fn sessions(&self) -> MutexGuard<'_, HashMap<(i32, i32), Cancellable>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a session's keys as long as the guard lives.
    pub(super) fn keep(&self, ours: (i32, i32), session: SessionId, theirs: Option<(i32, Bytes)>) -> KeptKey<'_> {
        self.sessions().insert(ours, (session, theirs));
        KeptKey { cancels: self, ours }
    }
}

/// A session's cancel key, forgotten with the session.
#[derive(Debug)]
pub(super) struct KeptKey<'a> {
    cancels: &'a Cancels,
    ours: (i32, i32),
}

impl Drop for KeptKey<'_> {
    fn drop(&mut self) {
        self.cancels.sessions().remove(&self.ours);
    }
}

/// Serves a `CancelRequest`. The asker is told nothing, as by a server: whoever guesses keys learns nothing.
pub(super) async fn serve(pid: i32, secret: &[u8], listener: &Listener) {
    let ours = <[u8; 4]>::try_from(secret).ok().map(|secret| (pid, i32::from_be_bytes(secret)));
    // The request says nothing of a database or a host, so it may be for any target.
    let found_at =
        |site: &Arc<Site>, ours| Some((Arc::clone(site), site.memory.cancels.sessions().get(&ours).cloned()?));
    let found = ours.and_then(|ours| listener.routes.all().find_map(|site| found_at(site, ours)));
    let Some((site, (session, theirs))) = found else {
        tracing::info!("a cancel request with an unknown key was ignored");
        return;
    };
    let (now, kind) = (site.clock.now(), RecorderEventKind::CancelRequested);
    let event = Entry::Event(RecorderEvent::new(now, site.node.clone(), kind, format!("session {session}")));
    if let Err(error) = site.journal.append(vec![event]).await {
        tracing::error!(%error, %session, "a cancel request could not be recorded and was not forwarded");
        return;
    }
    if let Some((pid, secret)) = theirs
        && let Err(error) = upstream::cancel(&site.target, pid, &secret).await
    {
        tracing::warn!(%error, %session, "a cancel request could not be forwarded");
    }
}
