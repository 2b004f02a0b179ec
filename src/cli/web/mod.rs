//! A place where HTTP is spoken over TLS: by people's tools, issuers, operators.
//!
//! It promises: a client, however slow or silent, costs a place among a few for some seconds, some kilobytes, and nothing that
//! a session needs; the certificate is that of a listener, and is renewed with it.

mod authority;
mod barred;
mod issuers;
mod operators;
mod passing;
mod renewals;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use crate::gateway::tls::{Renewable, ServerConfig, Web, web};

pub(super) use authority::Authority;
pub(super) use barred::{BARRED, read as barred};
pub(super) use issuers::routes as of_issuers;
pub(super) use operators::routes as of_operators;
pub(super) use passing::Passing;
pub(super) use renewals::routes as of_renewals;

/// Connections at a time; what is asked here takes a moment.
const PLACES: usize = 64;
/// How long TLS may take to begin.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How long a connection may take in all.
const LASTS: Duration = Duration::from_secs(20);
/// Bytes of a request's body: a token is the longest thing that comes, and some of them name hundreds of groups.
const LONGEST_BODY: usize = 128 << 10;
/// A pause after a failed accept, whose cause does not go away by trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A server that answers until it is dropped.
#[derive(Debug)]
pub(super) struct WebDoor {
    tasks: JoinSet<()>,
}

impl WebDoor {
    /// Takes the address and answers there what `routes` say, with the certificate of a listener. `what` names it in the log.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub(super) async fn open(
        (address, what): (SocketAddr, &'static str),
        routes: Router,
        tls: Arc<Renewable<ServerConfig>>,
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let (to, from) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(receive(socket, tls, to));
        let app = routes.layer(DefaultBodyLimit::max(LONGEST_BODY)).into_make_service_with_connect_info::<Whence>();
        tasks.spawn(async move {
            if let Err(error) = axum::serve(Arrivals { from, address }, app).await {
                tracing::error!(%error, what, "nothing is answered any more");
            }
        });
        tracing::info!(%address, what, "answering over HTTPS");
        Ok(Self { tasks })
    }
}

impl Drop for WebDoor {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whence(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, Arrivals>> for Whence {
    fn connect_info(stream: IncomingStream<'_, Arrivals>) -> Self {
        Self(*stream.remote_addr())
    }
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
                tracing::warn!(%error, "a connection could not be accepted");
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
                tracing::debug!("nothing is answered any more");
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
