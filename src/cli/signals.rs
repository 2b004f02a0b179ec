//! What the operating system's signals ask of a recorder.
//!
//! * SIGTERM, SIGINT: stop. No new sessions; those that are idle end at once, open transactions within `drain.limit`; the
//!   archive gets the rest. The same once more: what is still open ends now, and the archive is not waited for.
//! * SIGUSR2: become the program anew ([`super::restart`]). A stop goes before it, also when it is asked for later.
//! * SIGHUP: read the rules again ([`super::reload`]), and the files of TLS ([`super::renewal`]).

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::gateway::Drain;

/// Signals that are waited for, before anybody obeys them: without, each of them would end the process.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    restarts: Signal,
    hangups: [Signal; 2],
}

/// What is asked for from now on.
#[derive(Debug)]
pub(super) struct Orders {
    /// Cancelled when a stop is asked for.
    pub(super) stop: CancellationToken,
    /// To become the program anew.
    pub(super) restarts: Signal,
    /// To read the rules, and the files of TLS: each is told of every signal.
    pub(super) hangups: [Signal; 2],
}

impl Signals {
    /// Waits for them from now on.
    ///
    /// # Errors
    ///
    /// The system does not let us.
    pub(super) fn wait_for() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            restarts: signal(SignalKind::user_defined2())?,
            hangups: [signal(SignalKind::hangup())?, signal(SignalKind::hangup())?],
        })
    }

    /// Obeys them: a stop begins the drain, another cuts it short.
    pub(super) fn obeyed(self, drain: &Drain) -> Orders {
        let Self { terminate, interrupt, restarts, hangups } = self;
        let stop = CancellationToken::new();
        tokio::spawn(stops(terminate, interrupt, stop.clone(), drain.clone()));
        Orders { stop, restarts, hangups }
    }
}

async fn stops(mut terminate: Signal, mut interrupt: Signal, stop: CancellationToken, drain: Drain) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {},
            _ = interrupt.recv() => {},
        }
    };
    next().await;
    tracing::info!("stopping: open transactions may end until the limit for draining; again to stop at once");
    stop.cancel();
    drain.begin();
    next().await;
    tracing::warn!("stopping at once: what is open is broken off, what is not in the archive waits in the journal");
    drain.cut_short();
}
