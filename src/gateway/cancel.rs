//! Cancel keys: ours, which clients know, and the database's, which they do not.
//!
//! A key is a process number and a secret. A client of protocol 3.0 gets a secret of 4 bytes, as every server gives; one of
//! 3.2 gets 32, as PostgreSQL 18 gives. Process numbers are given once at a time, and a request is held to the whole secret
//! in the same time wherever it first differs. The process number is the database's own, if no other session has that:
//! clients compare it with `pg_backend_pid()` and with the sender of a notification. In a cluster it says instead which node
//! gave the key, and a request that came to another is passed on ([`super::cluster`]).
//!
//! Whoever asks is told nothing, as by a server. An address from which too many unknown keys came is not listened to for a
//! while: what is left to guess (a secret of 32 bits at least, and which of the process numbers there is) cannot be tried out.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::client::{Socket, hang_up};
use super::cluster::{Cluster, KNOWN, UNKNOWN};
use super::doubts::{Doubts, household};
use super::tls::{ClientConfig, Renewable};
use super::upstream::{self, Spot};
use super::{Desk, Target};
use crate::model::{Entry, Ids, RecorderEvent, RecorderEventKind, SessionId};

/// Bytes of a secret for a client of protocol 3.0: the field has no room for more.
const SHORT_SECRET: usize = 4;
/// Unknown keys that may come from one address at once: clients that cancel what has just ended try one now and then.
const UNKNOWN_KEYS: u32 = 30;
/// How often another may come after that: at 20 a minute, half of 2^32 secrets of one known process take two centuries.
const UNKNOWN_KEY_EVERY: Duration = Duration::from_secs(3);

/// A session that can be cancelled.
#[derive(Debug, Clone)]
struct Cancellable {
    /// What our key holds beside the process number.
    secret: Bytes,
    session: SessionId,
    target: Arc<Target>,
    theirs: Option<Theirs>,
}

/// Where a session is at the database, and the key for it there: process number and secret.
pub(super) type Theirs = (Spot, i32, Bytes);

/// Our keys, by process number, and what they cancel. One for all listeners: a request may come to any.
#[derive(Debug)]
pub struct Cancels {
    sessions: Mutex<HashMap<i32, Cancellable>>,
    /// The lowest and the highest process number that are given.
    processes: (i32, i32),
    cluster: Option<Cluster>,
    /// From where unknown keys came.
    doubts: Doubts<IpAddr>,
}

impl Cancels {
    /// No sessions yet, at a node of `cluster`, if of any.
    pub fn new(cluster: Option<Cluster>) -> Self {
        // Clients read a process number as a number with a sign, and a server's is above zero.
        let processes = cluster.as_ref().map_or((1, i32::MAX), Cluster::processes);
        Self { sessions: Mutex::default(), processes, cluster, doubts: Doubts::new(UNKNOWN_KEYS, UNKNOWN_KEY_EVERY) }
    }

    /// Our side of TLS towards the other nodes of the cluster, if there is one.
    pub fn cluster_tls(&self) -> Option<&Arc<Renewable<ClientConfig>>> {
        self.cluster.as_ref().map(Cluster::tls)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<i32, Cancellable>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a key of ours for a session, with a long secret if its client takes one. It holds as long as the guard lives.
    pub(super) fn give(
        &self,
        ids: &dyn Ids,
        takes_long: bool,
        (session, target): (SessionId, &Arc<Target>),
        theirs: Option<Theirs>,
    ) -> KeptKey<'_> {
        let (process, secret) = ids.cancel_key();
        let secret =
            if takes_long { &secret[..] } else { secret.first_chunk::<SHORT_SECRET>().map_or(&[][..], |first| first) };
        let secret = Bytes::copy_from_slice(secret);
        let (lowest, highest) = self.processes;
        let mut sessions = self.sessions();
        let numbers = highest.abs_diff(lowest).saturating_add(1);
        let own = theirs.as_ref().map(|(_, own, _)| *own).filter(|own| self.cluster.is_none() && *own >= lowest);
        let mut pid = own.unwrap_or_else(|| lowest.saturating_add_unsigned(process % numbers));
        // The next one that nobody has: there are eight million at least, and some thousand sessions.
        loop {
            if let Slot::Vacant(free) = sessions.entry(pid) {
                free.insert(Cancellable { secret: secret.clone(), session, target: Arc::clone(target), theirs });
                return KeptKey { cancels: self, pid, secret };
            }
            pid = if pid == highest { lowest } else { pid + 1 };
        }
    }

    /// What a key cancels.
    fn find(&self, pid: i32, secret: &[u8]) -> Option<Cancellable> {
        self.sessions().get(&pid).filter(|known| is_same(&known.secret, secret)).cloned()
    }
}

/// Compares in a time that says nothing about where the two differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differences = one.iter().zip(other).fold(0, |differences, (one, other)| differences | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

/// A session's cancel key, forgotten with the session.
#[derive(Debug)]
pub(super) struct KeptKey<'a> {
    cancels: &'a Cancels,
    pub(super) pid: i32,
    pub(super) secret: Bytes,
}

impl Drop for KeptKey<'_> {
    fn drop(&mut self) {
        self.cancels.sessions().remove(&self.pid);
    }
}

/// A `CancelRequest`.
pub(super) struct Asked {
    pub(super) pid: i32,
    pub(super) secret: Bytes,
    pub(super) from: SocketAddr,
    pub(super) socket: Box<dyn Socket>,
}

/// Serves a `CancelRequest`.
pub(super) async fn serve(asked: Asked, desk: &Desk) {
    let Asked { pid, secret, from, mut socket } = asked;
    let (cancels, cluster) = (&*desk.cancels, desk.cancels.cluster.as_ref());
    if let Some((secret, node)) = cluster.and_then(|cluster| cluster.passed_on(pid, &secret)) {
        let known = cancel(pid, &secret, Some(node), desk).await;
        let answer = [if known { KNOWN } else { UNKNOWN }];
        if let Err(error) = socket.write_all(&answer).await.and(socket.flush().await) {
            tracing::debug!(%error, node, "a node that passed a cancel request on did not wait for the answer");
        }
        return;
    }
    if !cancels.doubts.forgives(household(from.ip()), Instant::now()) {
        tracing::info!(client = %from, "a cancel request was not read: too many unknown keys came from there");
        return;
    }
    let known = match cluster.and_then(|cluster| Some((cluster, cluster.elsewhere(pid)?))) {
        Some((cluster, node)) => match cluster.forward(node, pid, &secret).await {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!(%error, client = %from, "a cancel request could not be passed on");
                false
            }
        },
        None => cancel(pid, &secret, None, desk).await,
    };
    if !known {
        tracing::info!(client = %from, "a cancel request with an unknown key was ignored");
        cancels.doubts.note(household(from.ip()), Instant::now());
    }
    // Not before, because the end says that it was done; and in order: libpq from 17 on takes TLS that breaks off for a failure.
    let (mut read, mut write) = tokio::io::split(socket);
    hang_up(&mut read, &mut write).await;
}

/// Cancels what a key of this node cancels: records that it was asked for, and asks the database. False if there is no such
/// key. `by` is the node that passed it on.
async fn cancel(pid: i32, secret: &[u8], by: Option<u8>, desk: &Desk) -> bool {
    let Some(Cancellable { session, target, theirs, .. }) = desk.cancels.find(pid, secret) else { return false };
    let by = by.map(|node| format!(", passed on by node {node} of the cluster")).unwrap_or_default();
    let (now, kind) = (desk.clock.now(), RecorderEventKind::CancelRequested);
    let event = Entry::Event(RecorderEvent::new(now, desk.node.clone(), kind, format!("session {session}{by}")));
    if let Err(error) = desk.journal.append(vec![event]).await {
        tracing::error!(%error, %session, "a cancel request could not be recorded and was not forwarded");
        return true;
    }
    if let Some((spot, pid, secret)) = theirs
        && let Err(error) = upstream::cancel(&target, &spot, pid, &secret).await
    {
        tracing::warn!(%error, %session, "a cancel request could not be forwarded");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the same key each time.
    #[derive(Debug)]
    struct Same(u32);

    impl Ids for Same {
        fn session(&self) -> SessionId {
            SessionId::from_bits(1)
        }

        fn cancel_key(&self) -> (u32, [u8; 32]) {
            (self.0, [7; 32])
        }

        fn nonce(&self) -> u64 {
            1
        }
    }

    fn target() -> Arc<Target> {
        Arc::new(crate::gateway::site::tests::target())
    }

    #[test]
    fn a_key_cancels_its_session_as_long_as_that_lives_and_only_whole() {
        let cancels = Cancels::new(None);
        for (takes_long, len) in [(false, 4), (true, 32)] {
            let kept = cancels.give(&Same(8), takes_long, (SessionId::from_bits(3), &target()), None);
            assert_eq!((kept.pid, kept.secret.len()), (9, len));
            assert_eq!(cancels.find(9, &kept.secret).unwrap().session, SessionId::from_bits(3));
            for wrong in [&[7; 3][..], &[7; 33], &[], &[[7; 31].as_slice(), &[8]].concat(), &[8, 7, 7, 7]] {
                assert!(cancels.find(9, wrong).is_none(), "{wrong:?}");
            }
            assert!(cancels.find(10, &kept.secret).is_none());
            let secret = kept.secret.clone();
            drop(kept);
            assert!(cancels.find(9, &secret).is_none());
        }
    }

    #[test]
    fn two_sessions_never_share_a_process_number_and_none_is_below_one() {
        let cancels = Cancels::new(None);
        let target = target();
        let give = |process| cancels.give(&Same(process), false, (SessionId::from_bits(3), &target), None);
        let last = i32::MAX.unsigned_abs() - 1;
        let kept = [give(last), give(last), give(0), give(1), give(last + 2)];
        assert_eq!(kept.each_ref().map(|kept| kept.pid), [i32::MAX, 1, 2, 3, 4]);
    }

    #[test]
    fn the_process_number_is_the_databases_own_if_nobody_has_it() {
        let cancels = Cancels::new(None);
        let target = target();
        let give = |own| {
            let theirs = Some((Spot::Unix("/run/none".into()), own, Bytes::from_static(b"1234")));
            cancels.give(&Same(50), false, (SessionId::from_bits(3), &target), theirs)
        };
        let kept = [give(4711), give(4711), give(0)];
        assert_eq!(kept.each_ref().map(|kept| kept.pid), [4711, 4712, 51]);
        assert_eq!(&kept[0].secret[..], [7; 4], "and the secret is ours");
    }
}
