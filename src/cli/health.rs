//! Counters and health over HTTP, for Prometheus and for whoever starts and stops us.
//!
//! * `/livez`: 200 while the process serves.
//! * `/readyz`: 200 if a new session could be recorded now; else 503 with the reason, in one line. A database or an issuer
//!   that is away is no reason: sessions there are end by themselves, and another recorder would fare no better.
//! * `/metrics`: the text format of OpenMetrics.
//!
//! Nobody is asked who they are, so nothing is told that names a person, a statement, a value or a place in the network.

mod metrics;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::gateway::Counters;
use crate::identity::Verifier;
use crate::journal::{Journal, JournalError};
use crate::model::Clock;
use crate::ship::{AnchorStatus, Progress, ShipStatus};

/// What health and counters are read from.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) journal: Journal,
    pub(super) ship: watch::Receiver<ShipStatus>,
    pub(super) anchored: watch::Receiver<AnchorStatus>,
    pub(super) verifier: Arc<Verifier>,
    /// By the target's name.
    pub(super) counters: BTreeMap<String, Arc<Counters>>,
    pub(super) clock: Arc<dyn Clock>,
}

/// Why no new session should come here.
#[derive(Debug, thiserror::Error)]
enum Unready {
    #[error("starting")]
    Starting,
    #[error("stopping: sessions end, no new ones are taken")]
    Stopping,
    #[error(transparent)]
    Journal(#[from] JournalError),
    // The reason may name the store, so it is for the log.
    #[error("shipping has stopped and needs a person; the log says why")]
    ShippingStopped,
}

/// What the server tells from.
#[derive(Debug)]
struct Health {
    /// Nothing before the first client could be served.
    sources: OnceLock<Sources>,
    stop: CancellationToken,
}

impl Health {
    /// What there is to know, if a new session could begin and be recorded now.
    fn ready(&self) -> Result<&Sources, Unready> {
        if self.stop.is_cancelled() {
            return Err(Unready::Stopping);
        }
        let sources = self.sources.get().ok_or(Unready::Starting)?;
        sources.ready().map(|()| sources)
    }
}

impl Sources {
    fn ready(&self) -> Result<(), Unready> {
        if let Some(trouble) = self.journal.trouble() {
            return Err(trouble.into());
        }
        self.journal.room_for_session()?;
        if self.shipping_stopped() {
            return Err(Unready::ShippingStopped);
        }
        Ok(())
    }

    /// Whether nobody ships any more; also if the shipper ended without a word.
    fn shipping_stopped(&self) -> bool {
        self.ship.borrow().stopped.is_some() || self.ship.has_changed().is_err()
    }

    /// What is worth to know though it is no reason to send nobody.
    fn notes(&self) -> Vec<String> {
        let away = self.verifier.issuers().filter(|(_, answers)| !answers);
        let mut notes: Vec<String> =
            away.map(|(name, _)| format!("issuer {name} did not answer when last asked")).collect();
        if self.ship.borrow().failing.is_some() {
            notes.push("the archive is away; the journal keeps everything".to_owned());
        }
        let AnchorStatus { copied, stamped, conflicts } = self.anchored.borrow().clone();
        let fails = |half: Option<Progress>| half.is_some_and(|half| half.failing.is_some());
        if conflicts > 0 {
            let note =
                "another content stands where a checkpoint was to be copied to, and needs a person; the log says where";
            notes.push(note.to_owned());
        } else if fails(copied) {
            notes.push("checkpoints cannot be copied; it is tried again".to_owned());
        }
        if fails(stamped) {
            notes.push("checkpoints cannot be stamped; it is tried again".to_owned());
        }
        notes
    }
}

/// A server that answers until it is dropped.
#[derive(Debug)]
pub(super) struct HealthServer {
    health: Arc<Health>,
    server: JoinHandle<()>,
}

impl HealthServer {
    /// Takes the address and answers there; not ready until [`HealthServer::serves`], and not any more after `stop`.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub(super) async fn open(address: SocketAddr, stop: CancellationToken) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        tracing::info!(%address, "/metrics, /livez and /readyz are answered");
        let health = Arc::new(Health { sources: OnceLock::new(), stop });
        let app = routes(Arc::clone(&health));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "metrics and health are not answered any more");
            }
        });
        Ok(Self { health, server })
    }

    /// From now on clients are served.
    pub(super) fn serves(&self, sources: Sources) {
        if self.health.sources.set(sources).is_err() {
            tracing::error!("health was told of two recorders; it tells of the first");
        }
    }
}

impl Drop for HealthServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn routes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Arc<Health>>) -> Response {
    match health.ready() {
        Ok(sources) => {
            let notes = sources.notes().into_iter().map(|note| format!("note: {note}\n"));
            format!("ready\n{}", notes.collect::<String>()).into_response()
        }
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    match metrics::text(health.sources.get(), health.ready().is_ok()) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_unwritable) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests;
