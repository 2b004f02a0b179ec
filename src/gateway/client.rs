//! The client's end: TLS, the startup packet, the token.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Listener;
use super::cancel::Asked;
use crate::model::{Credential, Peer};
use crate::wire::Violation;
use crate::wire::postgres::frame::{Framer, Side, Step};
use crate::wire::postgres::handshake::{self, FirstPacket, Startup};
use crate::wire::postgres::message::{self, Refusal};

/// Either end of a connection, plain or encrypted.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// A client that has sent its startup packet.
pub(super) struct Client {
    pub(super) socket: Box<dyn Socket>,
    pub(super) peer: Peer,
    pub(super) startup: Startup,
    /// The host that it asked for by TLS.
    pub(super) server_name: Option<String>,
    /// Bytes read and not yet taken.
    pub(super) buffer: BytesMut,
}

/// What came in at the door.
pub(super) enum Greeted {
    /// Somebody who wants a session.
    Client(Box<Client>),
    /// Somebody who wants a statement cancelled.
    Cancel(Asked),
    /// Nobody: the connection ended before a startup packet, as those of scanners and health checks do.
    Nobody,
    /// Somebody without TLS where TLS is demanded.
    Plain(Box<Client>),
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("the connection ended: {0}")]
    Gone(#[from] std::io::Error),
    #[error("bytes followed a request for TLS before TLS began")]
    PlainBeforeTls,
}

/// Requests for encryption that are answered before the startup packet must come: one for GSS and one for TLS.
const MAX_REQUESTS: usize = 3;

/// How long a client may take to read why its connection ends.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
/// Bytes dropped at a time meanwhile.
const LINGER_CHUNK: usize = 16 << 10;

/// After so long without a byte, a peer is asked whether it is still there; and when it is not, it is known to be gone
/// after some two minutes. Without, a session whose peer vanished would be held for ever.
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 6;

/// Settings of either end's socket: no delay, because statements are small and somebody waits for each; keep-alive.
pub(super) fn prepare(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_TRIES);
    socket2::SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

/// Answers requests for encryption and reads the startup packet.
pub(super) async fn greet(socket: TcpStream, address: SocketAddr, listener: &Listener) -> Result<Greeted, ClientError> {
    prepare(&socket)?;
    let mut socket: Box<dyn Socket> = Box::new(socket);
    let (mut tls_version, mut server_name) = (None, None);
    let mut buffer = BytesMut::new();
    for _ in 0..MAX_REQUESTS {
        let Some(first) = first_packet(&mut socket, &mut buffer).await? else { return Ok(Greeted::Nobody) };
        match first {
            FirstPacket::Cancel(pid, secret) => {
                return Ok(Greeted::Cancel(Asked { pid, secret, from: address, socket }));
            }
            FirstPacket::Gss => socket.write_all(b"N").await?,
            FirstPacket::Ssl if tls_version.is_some() => return Err(Violation("a request for TLS inside TLS").into()),
            FirstPacket::Ssl => {
                // Whatever came in the clear must not be read as if it had come encrypted (CVE-2021-23214).
                if !buffer.is_empty() {
                    return Err(ClientError::PlainBeforeTls);
                }
                socket.write_all(b"S").await?;
                let encrypted = TlsAcceptor::from(Arc::clone(&listener.tls)).accept(socket).await?;
                let (_, tls) = encrypted.get_ref();
                server_name = tls.server_name().map(str::to_owned);
                let version = tls.protocol_version();
                tls_version = Some(version.and_then(|version| version.as_str()).unwrap_or("TLS").replace('_', "."));
                socket = Box::new(encrypted);
            }
            FirstPacket::Startup(startup) => {
                let plain_is_fine = listener.plain_on_loopback && address.ip().is_loopback();
                let refused = tls_version.is_none() && !plain_is_fine;
                let application = startup.get("application_name").map(str::to_owned);
                let peer = Peer { address, tls_version, application };
                let client = Box::new(Client { socket, peer, startup, server_name, buffer });
                return Ok(if refused { Greeted::Plain(client) } else { Greeted::Client(client) });
            }
        }
    }
    Err(Violation("more requests for encryption than there are kinds").into())
}

async fn first_packet(socket: &mut Box<dyn Socket>, buffer: &mut BytesMut) -> Result<Option<FirstPacket>, ClientError> {
    loop {
        if let Some((first, used)) = handshake::first_packet(buffer)? {
            bytes::Buf::advance(buffer, used);
            return Ok(Some(first));
        }
        if socket.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(Violation("a startup packet cut short").into()) };
        }
    }
}

impl Client {
    /// Asks for the token and reads it.
    pub(super) async fn credential(&mut self) -> Result<Credential, ClientError> {
        if let Some(negotiation) = self.startup.negotiation() {
            self.socket.write_all(&negotiation).await?;
        }
        self.socket.write_all(&message::ask_password()).await?;
        self.socket.flush().await?;
        let mut framer = Framer::new(Side::SignIn, 0);
        loop {
            match framer.step(&self.buffer)? {
                Step::Frame { len, .. } => return Ok(handshake::password(&self.buffer.split_to(len).freeze())?),
                _ if self.socket.read_buf(&mut self.buffer).await? == 0 => {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
                _ => {}
            }
        }
    }

    /// Tells the client why it is not let in, and hangs up.
    pub(super) async fn refuse(mut self, refusal: &Refusal) {
        let told = async {
            self.socket.write_all(&refusal.frame()).await?;
            self.socket.flush().await
        };
        if let Err(error) = told.await {
            tracing::debug!(%error, "a refused client had gone before it was told");
            return;
        }
        let (mut read, mut write) = tokio::io::split(self.socket);
        hang_up(&mut read, &mut write).await;
    }
}

/// Hangs up so that what was said last arrives. A socket that is closed while bytes of the peer wait unread resets the
/// connection, and the peer may never read why; so they are read and dropped until the peer hangs up too, or for a while.
pub(super) async fn hang_up(read: &mut (impl AsyncRead + Unpin), write: &mut (impl AsyncWrite + Unpin)) {
    let lingering = async {
        write.shutdown().await?;
        let mut dropped = BytesMut::with_capacity(LINGER_CHUNK);
        while read.read_buf(&mut dropped).await? > 0 {
            dropped.clear();
        }
        std::io::Result::Ok(())
    };
    // A peer that is gone or does not hang up loses nothing but our patience.
    tokio::time::timeout(LINGER_LIMIT, lingering).await.ok();
}
