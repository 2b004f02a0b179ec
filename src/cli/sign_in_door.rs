//! Where people's tools learn how to sign in and where the databases are: one document over HTTPS.
//!
//! It promises: what is told is the configuration's and nothing else, the same to everybody; a client, however slow or silent,
//! costs a place among a few for some seconds and nothing that a session needs; the certificate is that of a listener, and is
//! renewed with it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use crate::config::{self, ClientToken, Config, Listener, Target};
use crate::gateway::tls::{Renewable, ServerConfig, Web, web};
use crate::identity::KeysAt;
use crate::sign_in::Target as Told;
use crate::sign_in::{Document, Issuer, PATH, TokenKind, VERSION};

/// Connections at a time; a login needs one for a moment.
const PLACES: usize = 64;
/// How long TLS may take to begin.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may take in all.
const LASTS: Duration = Duration::from_secs(20);
/// A pause after a failed accept, whose cause does not go away by trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the configuration has people told.
pub(super) fn document(config: &Config) -> Document {
    let issuer = |issuer: &config::Issuer| {
        let (client, settings) = (issuer.client.as_ref()?, &issuer.settings);
        Some(Issuer {
            name: settings.name.clone(),
            issuer: match &settings.keys {
                KeysAt::Discovery(url) => url.trim_end_matches("/.well-known/openid-configuration").to_owned(),
                KeysAt::File(_) => settings.accepted().into_iter().next()?,
            },
            client_id: client.id.clone(),
            scopes: client.scopes.clone(),
            resource: client.resource.clone(),
            prompt: client.prompt.clone(),
            redirect: client.redirect.clone(),
            token: match client.token {
                ClientToken::Access => TokenKind::Access,
                ClientToken::Id => TokenKind::Id,
            },
        })
    };
    let target = |described: &Target| {
        let reached = config.listeners.iter().find_map(|listener| told(described, listener));
        reached.map(|(host, port)| Told {
            name: described.name.clone(),
            engine: described.engine.as_str().to_owned(),
            host,
            port,
            databases: databases(described),
        })
    };
    Document {
        hansard: VERSION,
        issuers: config.issuers.iter().filter_map(issuer).collect(),
        targets: config.targets.iter().filter_map(target).collect(),
    }
}

/// Host and port by which people reach the target at this listener, if they do.
fn told(target: &Target, listener: &Listener) -> Option<(Option<String>, u16)> {
    let behind = listener.targets.iter().find(|behind| behind.target == target.name)?;
    let public = listener.public.as_ref();
    // A target with host names of its own is reached by these alone.
    let host = behind.server_names.first().cloned().or_else(|| public.map(|public| public.host.clone()));
    Some((host, public.map_or(listener.address.port(), |public| public.port)))
}

/// The names of databases that lead to a target. Its own name is one of a database only if nothing else is said.
fn databases(target: &Target) -> Vec<String> {
    let names = &target.databases;
    if names.is_empty() || names.contains_key(&target.name) {
        target.database_names().map(str::to_owned).collect()
    } else {
        names.keys().cloned().collect()
    }
}

/// A server that tells it until it is dropped.
#[derive(Debug)]
pub(super) struct SignInDoor {
    tasks: JoinSet<()>,
}

impl SignInDoor {
    /// Takes the address and answers there, with the certificate of a listener.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub(super) async fn open(
        address: SocketAddr,
        document: &Document,
        tls: Arc<Renewable<ServerConfig>>,
    ) -> io::Result<Self> {
        let body = serde_json::to_string(document).map_err(io::Error::other)?;
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let (to, from) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(socket, tls, to));
        tasks.spawn(async move {
            if let Err(error) = axum::serve(Arrivals { from, address }, told_at_its_path(body)).await {
                tracing::error!(%error, "people are not told any more how to sign in");
            }
        });
        tracing::info!(%address, "people are told how to sign in");
        Ok(Self { tasks })
    }
}

impl Drop for SignInDoor {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

fn told_at_its_path(body: String) -> Router {
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    Router::new().route(PATH, get(move || async move { (head, body) }))
}

/// Lets clients in, each with TLS, none of which waits for another's.
async fn receive(socket: TcpListener, tls: Arc<Renewable<ServerConfig>>, to: mpsc::Sender<(Guest, SocketAddr)>) {
    let places = Arc::new(Semaphore::new(PLACES));
    let mut guests = JoinSet::new();
    loop {
        while guests.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match socket.accept().await {
            Ok(arrived) => {
                guests.spawn(welcome(arrived, Arc::clone(&tls), to.clone(), place));
            }
            Err(error) => {
                tracing::warn!(%error, "somebody who wants to sign in could not be let in");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn welcome(
    (socket, address): (TcpStream, SocketAddr),
    tls: Arc<Renewable<ServerConfig>>,
    to: mpsc::Sender<(Guest, SocketAddr)>,
    place: OwnedSemaphorePermit,
) {
    let until = Box::pin(sleep(LASTS));
    match timeout(HANDSHAKE, web(&tls, socket)).await {
        Ok(Ok(stream)) => {
            if to.send((Guest { stream: Box::new(stream), until, _place: place }, address)).await.is_err() {
                tracing::debug!("nobody is told any more how to sign in");
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, client = %address, "TLS did not begin"),
        Err(_late) => tracing::debug!(client = %address, "TLS did not begin in time"),
    }
}

/// Those who came in, for the server of HTTP.
#[derive(Debug)]
struct Arrivals {
    from: mpsc::Receiver<(Guest, SocketAddr)>,
    address: SocketAddr,
}

impl axum::serve::Listener for Arrivals {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Guest, SocketAddr) {
        match self.from.recv().await {
            Some(arrived) => arrived,
            // The task that lets them in has ended, and with it the server will.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// A client who may stay for a while.
#[derive(Debug)]
struct Guest {
    stream: Box<Web>,
    until: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    fn late(&mut self, cx: &mut Context<'_>) -> Option<io::Error> {
        self.until.as_mut().poll(cx).is_ready().then(|| io::ErrorKind::TimedOut.into())
    }
}

impl AsyncRead for Guest {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.late(cx) {
            Some(late) => Poll::Ready(Err(late)),
            None => Pin::new(&mut self.stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Guest {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.late(cx) {
            Some(late) => Poll::Ready(Err(late)),
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.late(cx) {
            Some(late) => Poll::Ready(Err(late)),
            None => Pin::new(&mut self.stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.late(cx) {
            Some(late) => Poll::Ready(Err(late)),
            None => Pin::new(&mut self.stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn told_of(text: &str) -> Document {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hansard.toml");
        std::fs::write(&path, text).unwrap();
        let document = document(&Config::load(Path::new(&path)).unwrap());
        assert_eq!(document.problem().filter(|_| !document.issuers.is_empty()), None);
        document
    }

    const MINIMAL: &str = include_str!("../../fixtures/config/minimal.toml");

    #[test]
    fn people_are_told_the_client_and_the_way_to_each_target() {
        let client = "audience  = \"api://hansard\"\nclient = { id = \"cli\", scopes = \"offline_access\" }\n";
        let document = told_of(&MINIMAL.replace("audience  = \"api://hansard\"\n", client));
        let [issuer] = document.issuers.as_slice() else { panic!("{document:?}") };
        assert_eq!((issuer.issuer.as_str(), issuer.client_id.as_str()), ("https://login.example/tenant/v2.0", "cli"));
        let app = document.target("app").unwrap();
        assert_eq!((app.host.as_deref(), app.port, app.databases.as_slice()), (None, 6432, &["app".to_owned()][..]));
        assert!(told_of(MINIMAL).issuers.is_empty(), "without a client nobody signs in");
    }

    #[test]
    fn a_target_is_told_by_its_outside_name_and_by_its_databases() {
        let target = |login: &str| format!("{MINIMAL}{login}");
        let public = "[listener.main]\ntargets = [\"app\"]\npublic = \"db.example.com:5432\"\n";
        let app = told_of(&target(public)).targets.remove(0);
        assert_eq!((app.host.as_deref(), app.port), (Some("db.example.com"), 5432));
        let by_host = "[listener.main]\ntargets = [{ name = \"app\", sni = \"App.example.com\" }]\n";
        let app = told_of(&target(by_host)).targets.remove(0);
        assert_eq!((app.host.as_deref(), app.port), (Some("app.example.com"), 6432));
        for (databases, names) in [
            ("{ clinic = \"prod\" }", &["clinic"][..]),
            ("{ clinic = \"prod\", app = \"prod\" }", &["app", "clinic"][..]),
        ] {
            let upstream = "upstream = \"pg.internal:5432\"\n";
            let text = MINIMAL.replace(upstream, &format!("{upstream}databases = {databases}\n"));
            assert_eq!(told_of(&text).targets.remove(0).databases, names);
        }
    }
}
