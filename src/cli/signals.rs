//! What the operating system's signals ask of a recorder.
//!
//! * SIGTERM, SIGINT: stop. No new sessions; those that are idle end at once, open transactions within `drain.limit`; the
//!   archive gets the rest. The same once more: what is still open ends now, and the archive is not waited for.
//! * SIGHUP: read the rules again ([`super::reload`]).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::gateway::Drain;

/// Obeys from now on. What is given back are those that ask for the rules to be read.
///
/// # Errors
///
/// The system does not let us wait for signals.
pub(super) fn obey(drain: &Drain) -> io::Result<Signal> {
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(stops(terminate, interrupt, drain.clone()));
    signal(SignalKind::hangup())
}

async fn stops(mut terminate: Signal, mut interrupt: Signal, drain: Drain) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {},
            _ = interrupt.recv() => {},
        }
    };
    next().await;
    tracing::info!("stopping: open transactions may end until the limit for draining; again to stop at once");
    drain.begin();
    next().await;
    tracing::warn!("stopping at once: what is open is broken off, what is not in the archive waits in the journal");
    drain.cut_short();
}
