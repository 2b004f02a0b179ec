//! Path 1, the connection: accept, sign in, relay, drain.
//!
//! What it promises: no byte of a statement reaches a database before a verified token named somebody and the journal
//! gave a permit for it; whatever a peer does, the session ends, its end is recorded, and no other session notices.
//!
//! [`session`] is the story. [`origin`] says whose a connection is, [`arrival`] reads how a client begins, [`listener`] leads
//! it to its target; [`client`] and [`upstream`] are the two ends, [`admission`] decides who comes in, [`settle`] judges and
//! records, [`relay`] moves the bytes; [`cancel`] finds the session that a key cancels, here or at another node of the
//! [`cluster`]; [`catalog`] knows what the names of a database mean, [`handles`] what those stand for that a session gave;
//! [`roster`] knows who is here and has them leave, [`handover`] takes a newer token for them; [`wall`] opens sessions read-only where nobody may write; [`inspection`] says what our own login may do that the rules
//! forbid. Manners: [`places`] are what connections find or do not, [`attempts`] slows down who fails, [`budget`] is the memory for what they send, [`patience`]
//! how long something may last, [`ending`] why a session ends that could go on, [`drain`] how all of them do.
//!
//! On the other side, on a person's machine, [`escort`] brings clients here that know no token.

mod admission;
mod arrival;
mod attempts;
mod budget;
mod called;
mod cancel;
mod catalog;
mod client;
mod cluster;
mod counters;
mod doubts;
mod drain;
mod ending;
mod escort;
mod fastpath;
mod handles;
mod handover;
pub mod inspection;
mod keyring;
mod listener;
mod logins;
mod names;
mod origin;
mod patience;
mod places;
mod reading;
mod relay;
mod roles;
mod roster;
mod session;
mod settle;
mod site;
pub mod tls;
mod upstream;
mod wall;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

pub use crate::wire::postgres::handshake::SignInAt;
pub use attempts::Attempts;
pub use budget::Budget;
pub use cancel::Cancels;
pub use cluster::{Cluster, ClusterPeer};
pub use counters::Counters;
pub use drain::Drain;
pub use escort::{Escort, EscortError};
pub use listener::{Desk, Listener, Routes, Way};
pub use logins::{Logins, Whose};
pub use patience::Patience;
pub use places::Places;
pub use roster::{Bar, Order, Roster, Seen, State, TooManyBars, Whom};
pub use site::{
    Address, ApplicationName, Credentials, Memory, OnTokenExpiry, Proof, ReadOnly, Shown, Site, Target, UpstreamTls,
    Wanted,
};
pub use wall::walled;
pub use words::{denial, no_access};

/// A pause after a failed accept: the cause (too many open files) does not go away by trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves clients until `drain` begins; returns when all sessions have ended.
pub async fn serve(socket: TcpListener, listener: Arc<Listener>, places: Places, drain: Drain) {
    let sessions = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = drain.begun().cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        let (client, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = places.take() else {
            tracing::warn!(client = %address, "a connection far over the limit was closed");
            listener.desk.counters.refused(counters::OVER_LIMIT);
            continue;
        };
        let (listener, drain) = (Arc::clone(&listener), drain.clone());
        sessions.spawn(async move {
            // Boxed: a session's future is large, and lives for hours.
            Box::pin(session::run((client, address), &listener, &place, &drain)).await;
            drop(place);
        });
    }
    drop(socket);
    sessions.close();
    if tokio::time::timeout(drain.whole(), sessions.wait()).await.is_err() {
        tracing::warn!(
            sessions = sessions.len(),
            "sessions did not end in time; their ends are recorded at next start"
        );
    }
}
