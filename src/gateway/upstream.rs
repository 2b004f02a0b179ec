//! The database's end: dial, TLS, login, cancel.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::client::{Socket, prepare};
use super::{Target, UpstreamTls, tls};
use crate::wire::Violation;
use crate::wire::postgres::frame::{Framer, Side, Step};
use crate::wire::postgres::handshake::{self, Channel, Greeting, Login, LoginError, Progress};

/// How long a database may take to be reached and to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// Bytes of chance in a login, as `libpq` has.
const NONCE_BYTES: usize = 18;

/// A connection that is ready for statements.
pub(super) struct Upstream {
    pub(super) socket: Box<dyn Socket>,
    pub(super) greeting: Greeting,
    /// Bytes read and not yet taken.
    pub(super) buffer: BytesMut,
}

/// Why there is no connection to the database.
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("it did not answer within {} s", CONNECT_LIMIT.as_secs())]
    TooSlow,
    #[error("it does not speak TLS")]
    NoTls,
    #[error("its name is not one that a certificate can hold")]
    Name,
    #[error("the startup parameters are too long")]
    TooLong,
    #[error("the system gives no random bytes")]
    NoChance,
    #[error("the program is stopping")]
    Stopping,
    #[error(transparent)]
    Login(#[from] LoginError),
}

impl UpstreamError {
    /// The SQLSTATE that the client gets: `08004` for a refusal, `08001` for anything else.
    pub(super) fn sqlstate(&self) -> &'static str {
        match self {
            Self::Login(LoginError::Refused(_)) => "08004",
            _ => "08001",
        }
    }
}

/// Dials and logs in with the target's own credentials.
pub(super) async fn connect(
    target: &Target,
    database: &str,
    parameters: &[(String, String)],
) -> Result<Upstream, UpstreamError> {
    let connecting = async {
        let (socket, channel) = dial(target).await?;
        login((socket, channel), target, database, parameters).await
    };
    tokio::time::timeout(CONNECT_LIMIT, connecting).await.unwrap_or(Err(UpstreamError::TooSlow))
}

/// Forwards a `CancelRequest`, as protected as the session itself.
pub(super) async fn cancel(target: &Target, pid: i32, secret: &[u8]) -> Result<(), UpstreamError> {
    let cancelling = async {
        let (mut socket, _) = dial(target).await?;
        socket.write_all(&handshake::cancel_request(pid, secret)).await?;
        socket.flush().await?;
        // The server answers by closing; only then has it taken the request.
        let mut nothing = BytesMut::with_capacity(1);
        socket.read_buf(&mut nothing).await?;
        Ok(())
    };
    tokio::time::timeout(CONNECT_LIMIT, cancelling).await.unwrap_or(Err(UpstreamError::TooSlow))
}

async fn dial(target: &Target) -> Result<(Box<dyn Socket>, Channel), UpstreamError> {
    let mut socket = TcpStream::connect((target.host.as_str(), target.port)).await?;
    prepare(&socket)?;
    let UpstreamTls::VerifyFull(config) = &target.tls else { return Ok((Box::new(socket), Channel::Open)) };
    socket.write_all(&handshake::ssl_request()).await?;
    // Exactly one byte is read: what follows it belongs to TLS.
    if socket.read_u8().await? != b'S' {
        return Err(UpstreamError::NoTls);
    }
    let name = ServerName::try_from(target.host.clone()).or(Err(UpstreamError::Name))?;
    let encrypted = TlsConnector::from(config.clone()).connect(name, socket).await?;
    let chain = encrypted.get_ref().1.peer_certificates();
    let bound = chain.and_then(|chain| chain.first()).and_then(tls::end_point);
    Ok((Box::new(encrypted), Channel::Tls(bound)))
}

/// New chance, in letters that a login may hold.
fn nonce() -> Result<String, UpstreamError> {
    let mut bytes = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut bytes).or(Err(UpstreamError::NoChance))?;
    Ok(STANDARD.encode(bytes))
}

async fn login(
    (mut socket, channel): (Box<dyn Socket>, Channel),
    target: &Target,
    database: &str,
    parameters: &[(String, String)],
) -> Result<Upstream, UpstreamError> {
    let super::Credentials { user, password, required, keyring } = &target.credentials;
    let credentials = handshake::Credentials { user: user.clone(), password: password.clone() };
    let (mut login, startup) = Login::begin(credentials, database, parameters, (channel, *required), nonce()?);
    if startup.is_empty() {
        return Err(UpstreamError::TooLong);
    }
    socket.write_all(&startup).await?;
    socket.flush().await?;
    let mut framer = Framer::new(Side::Login, 0);
    let mut buffer = BytesMut::new();
    loop {
        let step = framer.step(&buffer).map_err(LoginError::from)?;
        match step {
            Step::Frame { kind, len } => {
                let frame = buffer.split_to(len).freeze();
                match login.take(kind, &frame)? {
                    Progress::Send(bytes) => {
                        socket.write_all(&bytes).await?;
                        socket.flush().await?;
                    }
                    Progress::Prove(recipe) => {
                        let keys = keyring.keys(password, recipe).await.ok_or(UpstreamError::Stopping)?;
                        socket.write_all(&login.prove(&keys)?).await?;
                        socket.flush().await?;
                    }
                    Progress::Wait => {}
                    Progress::Ready(greeting) => return Ok(Upstream { socket, greeting, buffer }),
                }
            }
            Step::Wait { .. } => {
                if socket.read_buf(&mut buffer).await? == 0 {
                    return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
                }
            }
            Step::Start { .. } | Step::More { .. } => {
                return Err(LoginError::from(Violation("data before the session is ready")).into());
            }
        }
    }
}
