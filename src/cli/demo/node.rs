//! The recorder of the demo: the configuration it is written as, and the same parts that `serve` is made of.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::DemoError;
use super::home::Home;
use super::issuer::{DevelopmentIssuer, DevelopmentIssuerError, PEOPLE};
use super::postgres::Database;
use crate::archive::Archive;
use crate::archive::verify::{self, Report, Request};
use crate::cli::assembly::{Opened, assemble, trusting_development};
use crate::cli::keyring::KeyFolder;
use crate::cli::recorder::Recorder;
use crate::cli::system::SystemClock;
use crate::config::Config;
use crate::gateway::{self, Drain, Places};
use crate::identity::Verifier;
use crate::model::NodeName;
use crate::store::Store;

const CONFIG: &str = include_str!("files/hansard.toml");
const RULES: &str = include_str!("files/rules.cedar");
const AS_SOMEBODY: &str = include_str!("files/as.sh");

/// Where clients connect, and where the issuer answers, if the ports are free; else the next ones.
const LISTENER_PORT: u16 = 6432;
const ISSUER_PORT: u16 = 8911;
/// How many ports are tried.
const PORTS: u16 = 100;
/// Whom the issuer's tokens are for.
pub(super) const AUDIENCE: &str = "hansard-demo";
/// How long the archive, a folder, may take for what is left.
const SEAL_LIMIT: Duration = Duration::from_secs(15);

/// An issuer at the first free port.
///
/// # Errors
///
/// All of them are taken.
pub(super) async fn issuer() -> Result<DevelopmentIssuer, DemoError> {
    let mut port = ISSUER_PORT;
    loop {
        match DevelopmentIssuer::start(port, AUDIENCE, Arc::new(SystemClock)).await {
            Err(DevelopmentIssuerError::Listen { .. }) if port < ISSUER_PORT + PORTS => port += 1,
            started => return Ok(started?),
        }
    }
}

/// A listener at the first free port.
async fn listener() -> Result<(TcpListener, SocketAddr), DemoError> {
    let mut port = LISTENER_PORT;
    loop {
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Err(_taken) if port < LISTENER_PORT + PORTS => port += 1,
            bound => {
                let blame = |source| DemoError::Listen { port, source };
                let listener = bound.map_err(blame)?;
                let address = listener.local_addr().map_err(blame)?;
                return Ok((listener, address));
            }
        }
    }
}

/// A recorder that runs, and the way to its archive.
pub(super) struct Node {
    pub(super) address: SocketAddr,
    pub(super) certificate: PathBuf,
    pub(super) config: PathBuf,
    pub(super) rules: usize,
    pub(super) store: Store,
    name: NodeName,
    keys: PathBuf,
    recorder: Recorder,
    serving: JoinHandle<()>,
    drain: Drain,
}

impl Node {
    /// Writes configuration and rules, reads them as `serve` would, and serves.
    ///
    /// # Errors
    ///
    /// A file cannot be written, or something cannot be opened.
    pub(super) async fn start(home: &Home, database: &Database, issuer: &DevelopmentIssuer) -> Result<Self, DemoError> {
        let (socket, address) = listener().await?;
        home.write("rules/demo.cedar", RULES, 0o600)?;
        let file =
            home.write("hansard.toml", &written(home.path(), address, database.address(), issuer.url()), 0o600)?;
        for folder in ["journal", "store"] {
            home.make(folder)?;
        }
        let unfit = |problems: Vec<String>| DemoError::Unfit { problems: problems.join("\n") };
        let config = Config::load(&file).map_err(|problems| unfit(vec![problems.to_string()]))?;
        let mut parts = assemble(&file, &config).map_err(unfit)?;
        // The one thing that no file can say.
        let verifier = Verifier::new(trusting_development(&config), Arc::clone(&parts.clock));
        parts.verifier = Arc::new(verifier.map_err(|error| unfit(vec![error.to_string()]))?);
        let store = Store::open(&parts.store).map_err(|error| unfit(vec![error.to_string()]))?;
        let needs = parts.recorder_needs(&config, store.clone());
        let door = parts.doors.pop().ok_or_else(|| unfit(vec!["there is no listener".to_owned()]))?;
        let recorder =
            Recorder::start(needs).await.map_err(|error| DemoError::Recorder { problem: error.to_string() })?;
        let sites = parts.sites(&recorder.journal, &config.node);
        let opened = door.listener(&parts, &sites, &recorder.journal, &config.node);
        let Opened { listener, made } = opened.map_err(|problem| unfit(vec![problem]))?;
        let certificate = made.map(|made| made.cert_file).unwrap_or_default();
        let (places, drain) = (Places::new(config.limits.connections), Drain::new(config.drain.limit));
        let serving = tokio::spawn(gateway::serve(socket, listener, places, drain.clone()));
        let (rules, name, keys) = (parts.policy.current().policy.rules(), config.node, config.evidence.keys);
        Ok(Self { address, certificate, config: file, rules, store, name, keys, recorder, serving, drain })
    }

    /// Puts everything that was recorded until now into the archive.
    ///
    /// # Errors
    ///
    /// The archive does not take it in time.
    pub(super) async fn seal(&self) -> Result<(), DemoError> {
        match tokio::time::timeout(SEAL_LIMIT, self.recorder.ship.finish()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(DemoError::Recorder { problem: error.to_string() }),
            Err(_elapsed) => {
                Err(DemoError::Recorder { problem: "the archive did not take the segments in time".to_owned() })
            }
        }
    }

    /// The archive.
    ///
    /// # Errors
    ///
    /// The query engine does not start.
    pub(super) fn archive(&self) -> Result<Archive, DemoError> {
        Ok(Archive::open(&self.store)?)
    }

    /// What `hansard verify` finds in the archive, by the key that signs it.
    ///
    /// # Errors
    ///
    /// The archive or the key cannot be read.
    pub(super) async fn verified(&self) -> Result<Report, DemoError> {
        let unread = |problem: String| DemoError::Recorder { problem };
        let keys = KeyFolder::open(&self.keys, &self.name).and_then(|keys| keys.verifiers());
        let keys = keys.map_err(|error| unread(error.to_string()))?;
        Ok(verify::verify(&self.store, &Request { keys, ..Request::default() }, &()).await?)
    }

    /// Ends all sessions, ships what is left, closes the journal.
    pub(super) async fn stop(self) {
        self.drain.begin();
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the listener ended badly");
        }
        self.recorder.stop(self.drain.cut()).await;
    }
}

/// Programs that sign in as each of the people: `as-ana` and so on.
///
/// # Errors
///
/// One cannot be written.
pub(super) fn scripts(home: &Home, node: &Node, issuer: &str, psql: &Path) -> Result<(), DemoError> {
    for person in PEOPLE {
        let text = AS_SOMEBODY
            .replace("{name}", person.name)
            .replace("{role}", person.role)
            .replace("{id}", person.id)
            .replace("{issuer}", issuer)
            .replace("{host}", &node.address.ip().to_string())
            .replace("{port}", &node.address.port().to_string())
            .replace("{psql}", &super::screen::quoted(&psql.display().to_string()));
        home.write(&format!("as-{}", person.id), &text, 0o700)?;
    }
    Ok(())
}

fn written(home: &Path, listener: SocketAddr, upstream: SocketAddr, issuer: &str) -> String {
    CONFIG
        .replace("{issuer}", issuer)
        .replace("{listener}", &listener.to_string())
        .replace("{upstream}", &upstream.to_string())
        .replace("{certificate}", "journal/tls/self-signed.crt")
        .replace("{store}", &format!("file://{}", home.join("store").display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{IdentityError, KeysAt};

    const UPSTREAM: &str = "127.0.0.1:5555";

    /// The demo's own configuration, as `serve` reads it.
    async fn read_as_serve_would(issuer: &DevelopmentIssuer) -> (crate::cli::assembly::Parts, Config) {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::take(Some(&dir.path().join("a folder with spaces"))).unwrap();
        home.write("rules/demo.cedar", RULES, 0o600).unwrap();
        home.write("secrets/database.password", "x", 0o600).unwrap();
        let listener = "127.0.0.1:6499".parse().unwrap();
        let text = written(home.path(), listener, UPSTREAM.parse().unwrap(), issuer.url());
        let file = home.write("hansard.toml", &text, 0o600).unwrap();
        let config = Config::load(&file).unwrap_or_else(|problems| panic!("{problems}"));
        let parts = assemble(&file, &config).unwrap_or_else(|problems| panic!("{problems:?}"));
        (parts, config)
    }

    #[tokio::test]
    async fn the_written_configuration_is_valid_and_holds_nothing_to_fill_in() {
        let issuer = issuer().await.unwrap();
        let (parts, config) = read_as_serve_would(&issuer).await;
        assert_eq!(config.issuers[0].settings.keys, KeysAt::Discovery(issuer.url().to_owned()));
        assert_eq!(parts.doors[0].address.port(), 6499);
        assert!(parts.store.url.ends_with("a%20folder%20with%20spaces/store"), "{}", parts.store.url);
        assert_eq!(parts.ship.max_age, Duration::from_secs(2));
        assert_eq!(parts.policy.current().policy.rules(), RULES.matches("@id(").count());
        let text = written(Path::new("/x"), "127.0.0.1:1".parse().unwrap(), UPSTREAM.parse().unwrap(), "http://i");
        for place in ["{issuer}", "{listener}", "{upstream}", "{certificate}", "{store}"] {
            assert!(CONFIG.contains(place) && !text.contains(place), "{place}");
        }
    }

    #[tokio::test]
    async fn serve_refuses_the_issuer_that_the_demo_trusts() {
        let issuer = issuer().await.unwrap();
        let (parts, config) = read_as_serve_would(&issuer).await;
        let refused = parts.verifier.warm().await;
        assert!(matches!(refused, Err(IdentityError::DevelopmentIssuer { .. })), "{refused:?}");
        let ours = Verifier::new(trusting_development(&config), Arc::clone(&parts.clock)).unwrap();
        ours.warm().await.unwrap();
    }
}
