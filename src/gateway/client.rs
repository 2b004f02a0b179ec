//! The client's end once its startup packet is read: the token, and hanging up. [`super::arrival`] is what comes before.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::model::{Credential, Peer};
use crate::wire::Violation;
use crate::wire::postgres::frame::{Framer, Side, Step};
use crate::wire::postgres::handshake::{self, Bearer, SignInAt, Startup};
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

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("the connection ended: {0}")]
    Gone(#[from] std::io::Error),
    #[error("bytes followed a request for TLS before TLS began")]
    PlainBeforeTls,
    #[error("a header of the PROXY protocol from an address that is not among those of load balancers")]
    Unasked,
    #[error("the client's certificate could not be read")]
    Certificate,
    #[error("TLS without a request for it, and without the protocol \"postgresql\" (ALPN)")]
    NoProtocol,
}

/// How long a client may take to read why its connection ends.
const LINGER_LIMIT: Duration = Duration::from_secs(2);
/// Bytes dropped at a time meanwhile.
const LINGER_CHUNK: usize = 16 << 10;

/// How long a client may take to take note of where to sign in.
const NOTE_LIMIT: Duration = Duration::from_secs(10);

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

impl Client {
    /// Asks for the token and reads it.
    pub(super) async fn credential(&mut self) -> Result<Credential, ClientError> {
        self.ask(&message::ask_password()).await?;
        let frame = self.answer().await?;
        Ok(handshake::password(&frame)?)
    }

    /// The same by SASL `OAUTHBEARER`; a client without one asks where to get it.
    pub(super) async fn bearer(&mut self) -> Result<Bearer, ClientError> {
        self.ask(&handshake::ask_bearer()).await?;
        let frame = self.answer().await?;
        Ok(handshake::bearer(&frame)?)
    }

    async fn ask(&mut self, question: &[u8]) -> Result<(), ClientError> {
        if let Some(negotiation) = self.startup.negotiation() {
            self.socket.write_all(&negotiation).await?;
        }
        self.socket.write_all(question).await?;
        Ok(self.socket.flush().await?)
    }

    async fn answer(&mut self) -> Result<Bytes, ClientError> {
        let mut framer = Framer::new(Side::SignIn, 0);
        loop {
            match framer.step(&self.buffer)? {
                Step::Frame { len, .. } => return Ok(self.buffer.split_to(len).freeze()),
                _ if self.socket.read_buf(&mut self.buffer).await? == 0 => {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
                _ => {}
            }
        }
    }

    /// Tells a client of SASL `OAUTHBEARER` where to sign in, and then why it is not let in. A client that wants no more than that
    /// has heard enough.
    pub(super) async fn refuse_bearer(mut self, at: &SignInAt, refusal: &Refusal) {
        let told = async {
            self.socket.write_all(&handshake::tell_where(at)).await?;
            self.socket.flush().await?;
            let frame = self.answer().await?;
            Ok::<(), ClientError>(handshake::notes(&frame)?)
        };
        match tokio::time::timeout(NOTE_LIMIT, told).await {
            Ok(Ok(())) => self.refuse(refusal).await,
            Ok(Err(error)) => tracing::debug!(%error, "a client was told where to sign in, and is gone"),
            Err(_elapsed) => tracing::debug!("a client was told where to sign in, and said nothing"),
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
