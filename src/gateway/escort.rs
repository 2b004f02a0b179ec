//! Brings a client that knows neither tokens nor our certificates to a recorder: on the person's own machine, with TLS and a
//! token that is good at that moment.
//!
//! Promises: the token goes to the host that was named and whose certificate fits, and only when it is asked for as a password;
//! the client never sees it; after the sign-in every byte passes as it came.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::client::{hang_up, prepare};
use crate::wire::Violation;
use crate::wire::postgres::frame::{Framer, HEADER_LEN, Side, Step};
use crate::wire::postgres::handshake::{self, FirstPacket};
use crate::wire::postgres::message::Refusal;

/// How long a client may take to say what it wants.
const GREETING: Duration = Duration::from_secs(30);
/// How long the recorder may take to be reached and to ask for the token.
const REACH: Duration = Duration::from_secs(20);
/// `AuthenticationCleartextPassword`.
const ASKS_PASSWORD: u32 = 3;

/// The way to a recorder.
#[derive(Debug, Clone)]
pub struct Escort {
    /// Its host, which its certificate must have.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom to trust for it.
    pub tls: Arc<ClientConfig>,
}

/// Why a client was not brought to the recorder. It was told, where it could be.
#[derive(Debug, thiserror::Error)]
pub enum EscortError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// One side broke the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The client took too long to say what it wants.
    #[error("a client did not say what it wants")]
    Silent,
    /// The recorder could not be reached.
    #[error("{host}:{port} cannot be reached: {reason}")]
    Away {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
        /// Why.
        reason: String,
    },
    /// There is no token.
    #[error("{0}")]
    NoToken(String),
}

/// What a client wants.
enum Wanted {
    Session(BytesMut),
    Cancel(BytesMut),
    Nothing,
}

impl Escort {
    /// Brings a client to the recorder and stays with it until either side ends. `token` is asked when the recorder has been
    /// reached; if it has none, it says why, which the client is told.
    ///
    /// # Errors
    ///
    /// The client did not get there, or the connection broke.
    pub async fn bring<T>(&self, mut client: TcpStream, token: impl FnOnce() -> T) -> Result<(), EscortError>
    where
        T: Future<Output = Result<String, String>>,
    {
        prepare(&client)?;
        let mut early = BytesMut::new();
        let wanted = timeout(GREETING, wanted(&mut client, &mut early)).await.or(Err(EscortError::Silent))??;
        let startup = match wanted {
            Wanted::Nothing => return Ok(()),
            Wanted::Cancel(request) => return self.cancel(&request).await,
            Wanted::Session(startup) => startup,
        };
        let begun = async {
            let token = token().await.map_err(EscortError::NoToken)?;
            self.begin(&mut client, &startup, token).await
        };
        let mut recorder = match begun.await {
            Ok(Some(recorder)) => recorder,
            Ok(None) => return Ok(()),
            Err(error) => {
                tell(client, &error).await;
                return Err(error);
            }
        };
        recorder.write_all(&early).await?;
        recorder.flush().await?;
        copy_bidirectional(&mut client, &mut recorder).await?;
        Ok(())
    }

    fn away(&self, reason: &dyn std::fmt::Display) -> EscortError {
        EscortError::Away { host: self.host.clone(), port: self.port, reason: reason.to_string() }
    }

    /// A connection to the recorder, encrypted.
    async fn reach(&self) -> Result<TlsStream<TcpStream>, EscortError> {
        let reached = async {
            let mut socket = TcpStream::connect((self.host.as_str(), self.port)).await?;
            prepare(&socket)?;
            socket.write_all(&handshake::ssl_request()).await?;
            // Exactly one byte is read: what follows it belongs to TLS.
            if socket.read_u8().await? != b'S' {
                return Err(io::Error::other("it does not speak TLS"));
            }
            let name = ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
            TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await
        };
        match timeout(REACH, reached).await {
            Ok(reached) => reached.map_err(|error| self.away(&error)),
            Err(_elapsed) => Err(self.away(&"it does not answer")),
        }
    }

    /// Passes a `CancelRequest` on; the recorder answers by closing.
    async fn cancel(&self, request: &[u8]) -> Result<(), EscortError> {
        let mut recorder = self.reach().await?;
        recorder.write_all(request).await?;
        recorder.flush().await?;
        let mut nothing = BytesMut::with_capacity(1);
        recorder.read_buf(&mut nothing).await?;
        Ok(())
    }

    /// Begins a session and answers the recorder's question for the password. Nothing if the recorder did not ask but refused,
    /// which the client then has been told.
    async fn begin(
        &self,
        client: &mut TcpStream,
        startup: &[u8],
        token: String,
    ) -> Result<Option<TlsStream<TcpStream>>, EscortError> {
        let mut recorder = self.reach().await?;
        recorder.write_all(startup).await?;
        recorder.flush().await?;
        let mut framer = Framer::new(Side::Login, 0);
        let mut came = BytesMut::new();
        loop {
            match framer.step(&came)? {
                Step::Frame { kind: b'R', len } => {
                    let frame = came.split_to(len);
                    let code = frame.get(HEADER_LEN..).and_then(|body| body.first_chunk::<4>());
                    if code.copied().map(u32::from_be_bytes) != Some(ASKS_PASSWORD) || !came.is_empty() {
                        return Err(Violation("the server asks for something else than a token").into());
                    }
                    break;
                }
                // What of the protocol is spoken, or why nobody is let in.
                Step::Frame { len, .. } => client.write_all(&came.split_to(len)).await?,
                Step::Wait { .. } => {
                    let read = timeout(REACH, recorder.read_buf(&mut came)).await;
                    if read.map_err(|_elapsed| self.away(&"it does not answer"))?? == 0 {
                        client.shutdown().await?;
                        return Ok(None);
                    }
                }
                Step::Start { .. } | Step::More { .. } => {
                    return Err(Violation("data before the session is ready").into());
                }
            }
        }
        recorder.write_all(&handshake::password_message(token)).await?;
        recorder.flush().await?;
        Ok(Some(recorder))
    }
}

/// Reads what a client begins with. It gets no encryption: it is on this machine.
async fn wanted(client: &mut TcpStream, buffer: &mut BytesMut) -> Result<Wanted, EscortError> {
    loop {
        match handshake::first_packet(buffer)? {
            None if client.read_buf(buffer).await? == 0 => return Ok(Wanted::Nothing),
            None => {}
            Some((FirstPacket::Ssl | FirstPacket::Gss, used)) => {
                buffer.advance(used);
                client.write_all(b"N").await?;
            }
            Some((FirstPacket::Cancel(..), used)) => return Ok(Wanted::Cancel(buffer.split_to(used))),
            Some((FirstPacket::Startup(_), used)) => return Ok(Wanted::Session(buffer.split_to(used))),
        }
    }
}

/// Tells a client why it gets no further, as a server would.
async fn tell(mut client: TcpStream, error: &EscortError) {
    let sqlstate = if matches!(error, EscortError::NoToken(_)) { "28P01" } else { "08001" };
    let refusal = Refusal::fatal(sqlstate, error.to_string());
    if client.write_all(&refusal.frame()).await.is_ok() {
        let (mut read, mut write) = client.split();
        hang_up(&mut read, &mut write).await;
    }
}
