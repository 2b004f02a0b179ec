//! The database's end: where it is, login, cancel.
//!
//! Promises: a session goes to the first of the target's addresses, in their order, that takes it and is what is wanted
//! ([`fit`]); an address that is away holds it up for [`ATTEMPT_LIMIT`] at most; a server's answer that is about us and not
//! about the server ends the search, because every other would give it too; what a client is told names no address. A token of
//! ours is had before anybody is called, and leaves over TLS only.

mod dial;
mod fit;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::client::Socket;
use super::keyring::Keyring;
use super::{Credentials, Shown, Target, Wanted};
use crate::identity::TokenError;
use crate::wire::Violation;
use crate::wire::postgres::frame::{Framer, Side, Step};
use crate::wire::postgres::handshake::{self, Channel, Greeting, Login, LoginError, Progress};

pub(super) use dial::Spot;

/// How long a database may take to be reached and to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long one of several places may take, so that those behind it still have their turn.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of chance in a login, as `libpq` has.
const NONCE_BYTES: usize = 18;

/// A connection that is ready for statements.
pub(super) struct Upstream {
    /// Where it is.
    pub(super) spot: Spot,
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
    #[error("it did not answer in time")]
    TooSlow,
    #[error("it does not speak TLS")]
    NoTls,
    #[error("its name is not one that a certificate can hold")]
    Name,
    #[error("the startup parameters are too long")]
    TooLong,
    #[error("its name leads nowhere")]
    Nowhere,
    #[error("{0}, which is not what target_session_attrs wants")]
    Wrong(&'static str),
    #[error("it did not say what it is: {0}")]
    Unasked(String),
    /// Several places, and what is wrong with each.
    #[error("none of its addresses would do: {0}")]
    None(String),
    #[error("the system gives no random bytes")]
    NoChance,
    #[error("the program is stopping")]
    Stopping,
    #[error("there is nothing to sign in with: {0}")]
    NoToken(#[from] TokenError),
    #[error("a token is sent over TLS only")]
    TokenInTheClear,
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

impl UpstreamError {
    /// Whether every other address would say the same: the answer is about our login, or about what was asked for. A server
    /// that starts, stops or has no room (classes 53, 57 and 58) speaks of itself.
    fn is_about_us(&self) -> bool {
        match self {
            Self::Login(LoginError::Refused(state)) => !["53", "57", "58"].iter().any(|class| state.starts_with(class)),
            Self::TooLong | Self::Stopping | Self::NoChance | Self::NoToken(_) | Self::TokenInTheClear => true,
            _ => false,
        }
    }
}

/// Connects and logs in with the target's own credentials, wherever the target wants.
pub(super) async fn connect(
    target: &Target,
    database: &str,
    parameters: &[(String, String)],
) -> Result<Upstream, UpstreamError> {
    let until = Instant::now() + CONNECT_LIMIT;
    let pass = timeout_at(until, pass(&target.credentials)).await.unwrap_or(Err(UpstreamError::TooSlow))?;
    let mut failures: Vec<(String, UpstreamError)> = Vec::new();
    for wanted in target.wanted.rounds() {
        for address in &target.addresses {
            let spots = match timeout_at(until, dial::spots(address)).await {
                Ok(Ok(spots)) if spots.is_empty() => Err(UpstreamError::Nowhere),
                Ok(Ok(spots)) => Ok(spots),
                Ok(Err(error)) => Err(error.into()),
                Err(_elapsed) => Err(UpstreamError::TooSlow),
            };
            let spots = match spots {
                Ok(spots) => spots,
                Err(error) => {
                    failures.push((address.to_string(), error));
                    continue;
                }
            };
            let is_only = spots.len() == 1 && target.addresses.len() == 1;
            for spot in spots {
                let limit = if is_only { until } else { until.min(Instant::now() + ATTEMPT_LIMIT) };
                let name = spot.to_string();
                let trying = attempt(spot, (target, *wanted, &pass), database, parameters);
                let tried = timeout_at(limit, trying).await.unwrap_or(Err(UpstreamError::TooSlow));
                match tried {
                    Err(error) if !error.is_about_us() => {
                        tracing::debug!(target = target.name, address = name, %error, "an address would not do");
                        failures.push((name, error));
                    }
                    settled => return settled,
                }
            }
        }
    }
    Err(summary(failures))
}

/// What is shown at one login.
struct Pass {
    word: Zeroizing<String>,
    /// Whether it is a token, which others must never read.
    is_token: bool,
    keyring: Arc<Keyring>,
}

/// What the login shows now. The keys of a password are kept; those of a token are as short-lived as it is.
async fn pass(credentials: &Credentials) -> Result<Pass, UpstreamError> {
    Ok(match &credentials.shown {
        Shown::Password(word) => {
            Pass { word: word.clone(), is_token: false, keyring: Arc::clone(&credentials.keyring) }
        }
        Shown::Token(source) => Pass { word: source.token().await?, is_token: true, keyring: Arc::default() },
    })
}

/// What is said of several places: each once, with what was wrong at last.
fn summary(mut failures: Vec<(String, UpstreamError)>) -> UpstreamError {
    if failures.len() == 1
        && let Some((_, only)) = failures.pop()
    {
        return only;
    }
    let said: Vec<String> = failures.iter().map(|(name, error)| format!("{name}: {error}")).collect();
    UpstreamError::None(said.join("; "))
}

async fn attempt(
    spot: Spot,
    (target, wanted, pass): (&Target, Wanted, &Pass),
    database: &str,
    parameters: &[(String, String)],
) -> Result<Upstream, UpstreamError> {
    let connected = dial::dial(&spot, &target.tls).await?;
    let mut upstream = login((spot, connected), (&target.credentials, pass), database, parameters).await?;
    fit::judge(&mut upstream, wanted, parameters).await?;
    Ok(upstream)
}

/// Forwards a `CancelRequest` to where the session is, as protected as the session itself.
pub(super) async fn cancel(target: &Target, spot: &Spot, pid: i32, secret: &[u8]) -> Result<(), UpstreamError> {
    let cancelling = async {
        let (mut socket, _) = dial::dial(spot, &target.tls).await?;
        socket.write_all(&handshake::cancel_request(pid, secret)).await?;
        socket.flush().await?;
        // The server answers by closing; only then has it taken the request.
        let mut nothing = BytesMut::with_capacity(1);
        socket.read_buf(&mut nothing).await?;
        Ok(())
    };
    tokio::time::timeout(CONNECT_LIMIT, cancelling).await.unwrap_or(Err(UpstreamError::TooSlow))
}

/// New chance, in letters that a login may hold.
fn nonce() -> Result<String, UpstreamError> {
    let mut bytes = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut bytes).or(Err(UpstreamError::NoChance))?;
    Ok(STANDARD.encode(bytes))
}

async fn login(
    (spot, (mut socket, channel)): (Spot, (Box<dyn Socket>, Channel)),
    (ours, pass): (&Credentials, &Pass),
    database: &str,
    parameters: &[(String, String)],
) -> Result<Upstream, UpstreamError> {
    let Credentials { user, required, .. } = ours;
    if pass.is_token && !matches!(channel, Channel::Tls(_)) {
        return Err(UpstreamError::TokenInTheClear);
    }
    let credentials = handshake::Credentials { user: user.clone(), password: pass.word.clone() };
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
                        let keys = pass.keyring.keys(&pass.word, recipe).await.ok_or(UpstreamError::Stopping)?;
                        socket.write_all(&login.prove(&keys)?).await?;
                        socket.flush().await?;
                    }
                    Progress::Wait => {}
                    Progress::Ready(greeting) => return Ok(Upstream { spot, socket, greeting, buffer }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_itself_does_not_end_the_search_and_what_it_says_of_us_does() {
        let refused = |state: &str| UpstreamError::Login(LoginError::Refused(state.to_owned())).is_about_us();
        for of_the_server in ["57P03", "57P01", "53300", "58030"] {
            assert!(!refused(of_the_server), "{of_the_server}");
        }
        for of_us in ["28P01", "28000", "3D000", "42501", "unknown"] {
            assert!(refused(of_us), "{of_us}");
        }
        assert!(!UpstreamError::TooSlow.is_about_us() && !UpstreamError::NoTls.is_about_us());
    }
}
