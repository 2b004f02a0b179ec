//! Tokens of our own: what a database takes for our password, had of its issuer.
//!
//! Promises: the first login that needs a token asks for it; from when a fifth of its life is left, a newer one is asked for
//! behind the scenes, and the old one is used until it ends, so an issuer that is away for a while holds up nobody. However
//! many logins wait, the issuer is asked once at a time, and not again at once after it failed; nobody waits longer than
//! [`PATIENCE`]. No token, secret or assertion is logged, and of what an issuer says when it refuses, its codes alone are.
//!
//! [`asking`] is how it is asked: by client credentials (RFC 6749 §4.4), whose proof is a secret or an assertion that somebody
//! else signed (RFC 7523 §2.2, which is workload-identity federation), or at the address where Azure tells its machines who
//! they are.

mod asking;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;
use zeroize::Zeroizing;

use asking::Asking;

/// Where Azure tells a machine who it is. The address leads out of no machine, so plain HTTP is read by nobody else.
pub const AZURE_MACHINE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";

/// How long a login waits for a token. Behind it comes the login itself, and the client waits for both.
const PATIENCE: Duration = Duration::from_secs(10);
/// After a failure, for so long nobody asks anew who has nothing to use: all who come get the same answer.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Renewals that nobody waits for are at least so far apart.
const RENEWALS_APART: Duration = Duration::from_secs(30);
/// A token that has less to live is not sent: it would end on the way.
const LEAST_LEFT: Duration = Duration::from_secs(10);

/// Something secret, read each time that it is needed, or why it cannot be.
pub type Reading = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// Whom we ask for a token, as whom, and for what.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Where config describes it; for messages.
    pub name: String,
    /// Where tokens are given out.
    pub endpoint: String,
    /// As whom we ask.
    pub grant: Grant,
    /// What the token is to be good for, in the issuer's words.
    pub scope: Option<String>,
    /// Whom it is to be for (RFC 8707; at Azure's machines always).
    pub resource: Option<String>,
    /// A trust root for the issuer's HTTPS, in PEM, beside those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// As whom we ask for a token.
#[derive(Debug, Clone)]
pub enum Grant {
    /// A client of the issuer.
    Client {
        /// Its id there.
        id: String,
        /// How it proves that.
        proof: ClientProof,
    },
    /// The machine that we run on, by Azure's account of it.
    Machine {
        /// Which identity, if it has several.
        id: Option<String>,
    },
}

/// How a client proves itself.
#[derive(Clone)]
pub enum ClientProof {
    /// By a secret.
    Secret(Reading),
    /// By what somebody signed whom the issuer trusts.
    Assertion(Reading),
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Secret(_)) { "Secret(…)" } else { "Assertion(…)" })
    }
}

/// Why there is no token. Never holds what was secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The settings cannot be used.
    #[error("{name}: {reason}")]
    Settings {
        /// Where config describes it.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Our own proof cannot be read.
    #[error("{0}")]
    Proof(String),
    /// Nobody answers, or says to come back; retrying may help.
    #[error("{endpoint} gives no token now: {reason}")]
    Away {
        /// Who was asked.
        endpoint: String,
        /// What came instead.
        reason: String,
    },
    /// The issuer says no.
    #[error("{endpoint} refuses us a token: {reason}")]
    Refused {
        /// Who was asked.
        endpoint: String,
        /// Its codes.
        reason: String,
    },
    /// What came is no token that could be sent.
    #[error("{endpoint} gave no usable token: {reason}")]
    Unusable {
        /// Who was asked.
        endpoint: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It takes too long.
    #[error("{endpoint} gave no token within {} s", PATIENCE.as_secs())]
    TooSlow {
        /// Who was asked.
        endpoint: String,
    },
}

/// A token, and for how long.
struct Issued {
    token: Zeroizing<String>,
    /// From when on a newer one is asked for.
    due: Instant,
    /// From when on it is not sent any more.
    over: Instant,
    /// How far apart renewals are.
    apart: Duration,
}

impl Issued {
    /// One that came at this time and lives so long.
    fn new(token: Zeroizing<String>, came: Instant, life: Duration) -> Self {
        let over = came + life.saturating_sub(LEAST_LEFT.min(life / 10));
        Self { token, due: came + life / 5 * 4, over, apart: RENEWALS_APART.min(life / 50) }
    }
}

/// Gets tokens of one kind and keeps the newest.
pub struct TokenSource {
    name: String,
    asking: Asking,
    current: RwLock<Option<Arc<Issued>>>,
    /// Held while the issuer is asked: who waits for it finds the answer, and does not ask again.
    gate: Arc<Mutex<Gate>>,
}

#[derive(Debug, Default)]
struct Gate {
    ended: Option<Instant>,
    failure: Option<TokenError>,
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSource({}, {})", self.name, self.asking.endpoint())
    }
}

impl TokenSource {
    /// Nobody is asked yet.
    ///
    /// # Errors
    ///
    /// The address is none, certificates cannot be read, or the HTTP client cannot be set up.
    pub fn new(settings: TokenSettings) -> Result<Self, TokenError> {
        let name = settings.name.clone();
        let wrong = |reason| TokenError::Settings { name: name.clone(), reason };
        let asking = Asking::new(settings).map_err(wrong)?;
        Ok(Self { name, asking, current: RwLock::new(None), gate: Arc::default() })
    }

    /// A token that can be sent now.
    ///
    /// # Errors
    ///
    /// There is none, and none is to be had in time.
    pub async fn token(self: &Arc<Self>) -> Result<Zeroizing<String>, TokenError> {
        if let Some(issued) = self.usable() {
            if Instant::now() >= issued.due {
                self.renew_behind(&issued);
            }
            return Ok(issued.token.clone());
        }
        let asked = tokio::time::timeout(PATIENCE, self.ask_unless_answered()).await;
        let too_slow = || TokenError::TooSlow { endpoint: self.asking.endpoint() };
        self.usable().map_or_else(|| Err(asked.ok().flatten().unwrap_or_else(too_slow)), |it| Ok(it.token.clone()))
    }

    fn usable(&self) -> Option<Arc<Issued>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        current.filter(|issued| Instant::now() < issued.over)
    }

    /// Asks, unless somebody did meanwhile, or failed a moment ago. Gives the failure.
    async fn ask_unless_answered(self: &Arc<Self>) -> Option<TokenError> {
        let gate = Arc::clone(&self.gate).lock_owned().await;
        let is_new = gate.ended.is_some_and(|ended| ended.elapsed() < AFTER_FAILURE);
        if self.usable().is_some() || (is_new && gate.failure.is_some()) {
            return gate.failure.clone();
        }
        // In a task of its own: a client that goes away meanwhile must not take the answer from those who wait.
        let source = Arc::clone(self);
        tokio::spawn(async move { source.ask(gate).await }).await.unwrap_or_else(|error| {
            let reason = format!("asking was broken off: {error}");
            Some(TokenError::Away { endpoint: self.asking.endpoint(), reason })
        })
    }

    fn renew_behind(self: &Arc<Self>, issued: &Issued) {
        let Ok(gate) = Arc::clone(&self.gate).try_lock_owned() else { return };
        if gate.ended.is_none_or(|ended| ended.elapsed() >= issued.apart) {
            let source = Arc::clone(self);
            drop(tokio::spawn(async move { source.ask(gate).await }));
        }
    }

    async fn ask(&self, mut gate: OwnedMutexGuard<Gate>) -> Option<TokenError> {
        let answer = self.asking.ask().await;
        // From the end, not from the start: else those who waited through a timeout would each wait through another.
        let now = Instant::now();
        gate.ended = Some(now);
        gate.failure = match answer {
            Ok((token, life)) => {
                let issued = Arc::new(Issued::new(token, now, life));
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(issued);
                tracing::info!(of = self.name, seconds = life.as_secs(), "a token for the login was had");
                None
            }
            Err(error) => {
                let has_old = self.usable().is_some();
                tracing::warn!(of = self.name, %error, has_old, "no token for the login was had");
                Some(error)
            }
        };
        gate.failure.clone()
    }
}
