//! Certificates, keys and authorities of TLS: read at the start, and again while the recorder runs, on SIGHUP at once and by
//! themselves when their files change.
//!
//! Promises: a connection that begins gets what the files hold; one that is open stays as it began. Files that are not fit (a
//! certificate without its key, one that has ended, half of one, none) change nothing. Either is on record before it is so,
//! and in the log with the file and the reason.
//!
//! Files are watched as those of rules are, and for the same reasons: [`super::reload`]. A certificate and its key are two
//! files, which nobody can replace at once; two looks a second apart are the time to replace both. Whoever takes longer gets a
//! refusal on record, and then the new pair.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::reload::Cause;
use crate::config::{self, Config, Revealed};
use crate::gateway::tls::{self, ClientConfig, Leaf, Renewable, ServerConfig, Standing};
use crate::gateway::{self, Cancels, Listener, Target};
use crate::journal::{Journal, JournalError};
use crate::model::{Clock, Entry, NodeName, RecorderEvent, RecorderEventKind, Sha256, Timestamp};

/// How often the files are read, as those of rules.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A file of certificates is at most this long: several times what a system's bundle of authorities has.
const MAX_FILE: u64 = 1 << 20;

/// What the files of one side of TLS hold.
#[derive(Debug, Default)]
pub(super) struct Pem {
    /// Our own certificate and those between it and its authority.
    certificate: Option<Vec<u8>>,
    /// Its key.
    key: Option<Revealed>,
    /// Who vouches for the other side.
    authorities: Option<Vec<u8>>,
}

/// What was read, or every reason why it could not be.
type Found = Result<Pem, Vec<String>>;

/// The files of one side of TLS, and how it is made of them.
pub(super) trait Files: Clone + Send + Sync + 'static {
    /// The side.
    type Side: Send + Sync + 'static;

    /// Where the configuration names them.
    fn name(&self) -> &str;

    /// Reads them all.
    fn read(&self) -> Found;

    /// Makes the side of what they hold.
    fn make(&self, pem: &Pem) -> Result<Arc<Self::Side>, String>;
}

/// Those of a listener.
#[derive(Debug, Clone)]
pub(super) struct DoorFiles {
    name: String,
    tls: config::ListenerTls,
}

impl DoorFiles {
    pub(super) fn of(listener: &str, tls: &config::ListenerTls) -> Self {
        Self { name: format!("listener.{listener}.tls"), tls: tls.clone() }
    }

    fn client_ca_file(&self) -> Option<&Path> {
        self.tls.clients.as_ref().map(|clients| clients.ca_file.as_path())
    }
}

impl Files for DoorFiles {
    type Side = ServerConfig;

    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Found {
        let certificate = text(&self.name, "cert", &self.tls.cert);
        let key = self.tls.key.reveal().map_err(|error| error.to_string());
        let authorities = self.client_ca_file().map(|path| text(&self.name, "client_ca_file", path)).transpose();
        match (certificate, key, authorities) {
            (Ok(certificate), Ok(key), Ok(authorities)) => {
                Ok(Pem { certificate: Some(certificate), key: Some(key), authorities })
            }
            (certificate, key, authorities) => {
                Err([certificate.err(), key.err(), authorities.err()].into_iter().flatten().collect())
            }
        }
    }

    fn make(&self, pem: &Pem) -> Result<Arc<ServerConfig>, String> {
        let at = |error: tls::TlsError| format!("{} ({}): {error}", self.name, self.tls.cert.display());
        let key = pem.key.as_ref().map_or("", Revealed::as_str);
        let clients = pem.authorities.as_deref().zip(self.client_ca_file());
        tls::acceptor(pem.certificate.as_deref().unwrap_or_default(), key.as_bytes(), clients).map_err(at)
    }
}

/// Those of the way to other servers: databases, or nodes of the cluster.
#[derive(Debug, Clone)]
pub(super) struct WayFiles {
    name: String,
    ca_file: Option<PathBuf>,
    own: Option<config::OwnCertificate>,
}

impl WayFiles {
    /// The way to a target.
    pub(super) fn to_target(target: &str, tls: &config::VerifyFull) -> Self {
        Self { name: format!("target.{target}.tls"), ca_file: tls.ca_file.clone(), own: tls.own.clone() }
    }

    /// The way to the other nodes.
    pub(super) fn to_cluster(described: &config::Cluster) -> Self {
        Self { name: "cluster".to_owned(), ca_file: described.ca_file.clone(), own: None }
    }

    /// Whether there is a file that may change.
    fn has_any(&self) -> bool {
        self.ca_file.is_some() || self.own.is_some()
    }
}

impl Files for WayFiles {
    type Side = ClientConfig;

    fn name(&self) -> &str {
        &self.name
    }

    fn read(&self) -> Found {
        let authorities = self.ca_file.as_ref().map(|path| text(&self.name, "ca_file", path)).transpose();
        let certificate = self.own.as_ref().map(|own| text(&self.name, "cert", &own.cert)).transpose();
        let key = self.own.as_ref().map(|own| own.key.reveal().map_err(|error| error.to_string())).transpose();
        match (certificate, key, authorities) {
            (Ok(certificate), Ok(key), Ok(authorities)) => Ok(Pem { certificate, key, authorities }),
            (certificate, key, authorities) => {
                Err([certificate.err(), key.err(), authorities.err()].into_iter().flatten().collect())
            }
        }
    }

    fn make(&self, pem: &Pem) -> Result<Arc<ClientConfig>, String> {
        let given = pem.authorities.as_deref().zip(self.ca_file.as_deref());
        let key = pem.key.as_ref().map(|key| key.as_str().as_bytes());
        tls::connector(given, pem.certificate.as_deref().zip(key)).map_err(|error| format!("{}: {error}", self.name))
    }
}

/// The text of a file.
fn text(name: &str, key: &str, path: &Path) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("{name}.{key}: {} cannot be read: {error}", path.display());
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("{name}.{key}: {} is longer than 1 MiB", path.display()));
    }
    Ok(bytes)
}

/// What tells one content of files from another; it gives no key away.
fn told_apart(found: &Found) -> Sha256 {
    let parts = match found {
        Ok(Pem { certificate, key, authorities }) => {
            [certificate.as_deref(), key.as_ref().map(|key| key.as_str().as_bytes()), authorities.as_deref()]
                .map(|part| part.map_or([0; 32], |part| Sha256::of(part).0))
                .concat()
        }
        Err(problems) => problems.join("\n").into_bytes(),
    };
    Sha256::of(&parts)
}

/// A side of TLS as at the start.
///
/// # Errors
///
/// Everything that is wrong with its files, a sentence each.
pub(super) fn begin<F: Files>(files: &F) -> Result<Arc<Renewable<F::Side>>, Vec<String>> {
    let found = files.read();
    let made_of = told_apart(&found);
    let side = files.make(&found?).map_err(|problem| vec![problem])?;
    Ok(Arc::new(Renewable::new(side, made_of)))
}

/// One side of TLS, and what was seen of its files.
struct Watched<F: Files> {
    files: F,
    side: Arc<Renewable<F::Side>>,
    /// What the look before found, if that was something else than what is used.
    seen: Option<Sha256>,
    /// What was not fit.
    refused: Option<Sha256>,
    /// Where the certificate in use stood at the look before.
    standing: Standing,
}

/// Where it is said what became of files.
#[derive(Debug)]
struct Register {
    journal: Journal,
    clock: Arc<dyn Clock>,
    node: NodeName,
}

/// Keeps what new connections get that of the files.
pub(super) struct Renewal {
    doors: Vec<Watched<DoorFiles>>,
    ways: Vec<Watched<WayFiles>>,
    register: Register,
}

impl Renewal {
    /// All that the configuration gives files for.
    pub(super) fn new<'a>(
        config: &Config,
        listeners: impl Iterator<Item = &'a Arc<Listener>>,
        targets: &[Vec<Target>],
        cancels: &Cancels,
        (journal, clock): (Journal, &Arc<dyn Clock>),
    ) -> Self {
        let doors = listeners.filter_map(|listener| {
            let described = config.listeners.iter().find(|described| described.name == listener.name)?;
            Some(watched(DoorFiles::of(&described.name, described.tls.as_ref()?), &listener.tls))
        });
        // The logins of a target have their way there in common.
        let to_targets = targets.iter().filter_map(|logins| {
            let target = logins.first()?;
            let described = config.targets.iter().find(|described| described.name == target.name)?;
            match (&described.tls, &target.tls) {
                (config::UpstreamTls::VerifyFull(tls), gateway::UpstreamTls::VerifyFull(side)) => {
                    Some(watched(WayFiles::to_target(&described.name, tls), side))
                }
                _ => None,
            }
        });
        let to_cluster = config.cluster.as_ref().zip(cancels.cluster_tls());
        let to_cluster = to_cluster.map(|(described, side)| watched(WayFiles::to_cluster(described), side));
        Self {
            doors: doors.collect(),
            ways: to_targets.chain(to_cluster).filter(|way| way.files.has_any()).collect(),
            register: Register { journal, clock: Arc::clone(clock), node: config.node.clone() },
        }
    }

    /// Until `stop`.
    pub(super) async fn run(mut self, mut hangups: Signal, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let cause = tokio::select! {
                () = stop.cancelled() => return,
                Some(()) = hangups.recv() => Cause::Asked,
                _ = looks.tick() => Cause::Changed,
            };
            // A share that does not answer holds nobody up who wants to stop.
            if stop.run_until_cancelled(self.look(cause)).await.is_none() {
                return;
            }
        }
    }

    async fn look(&mut self, cause: Cause) {
        for door in &mut self.doors {
            door.look(cause, &self.register).await;
        }
        for way in &mut self.ways {
            way.look(cause, &self.register).await;
        }
    }
}

fn watched<F: Files>(files: F, side: &Arc<Renewable<F::Side>>) -> Watched<F> {
    Watched { files, side: Arc::clone(side), seen: None, refused: None, standing: Standing::Good }
}

impl<F: Files> Watched<F> {
    async fn look(&mut self, cause: Cause, register: &Register) {
        let files = self.files.clone();
        // The runtime ends when that cannot be had.
        let Ok(found) = tokio::task::spawn_blocking(move || files.read()).await else { return };
        let now = told_apart(&found);
        let is_used = now == self.side.made_of();
        let is_due = match cause {
            Cause::Asked => !is_used,
            Cause::Changed => !is_used && self.refused != Some(now) && self.seen == Some(now),
        };
        if is_used {
            self.refused = None;
            self.mind_the_end(&found, register.clock.now());
        }
        self.seen = (!is_used).then_some(now);
        if is_due {
            self.settle((found, now), cause, register).await;
        }
    }

    /// Says once that the certificate in use is about to end, and once that it has.
    fn mind_the_end(&mut self, found: &Found, now: Timestamp) {
        let certificate = found.as_ref().ok().and_then(|pem| pem.certificate.as_deref());
        let Some(leaf) = certificate.and_then(|pem| Leaf::of(pem).ok()) else { return };
        let standing = leaf.standing(now);
        if standing != self.standing {
            let (name, until) = (self.files.name(), leaf.until);
            match standing {
                Standing::Good => {}
                Standing::Late => tracing::warn!(name, %until, "a certificate in use ends soon"),
                Standing::Invalid => {
                    tracing::error!(name, %until, "a certificate in use is not valid: whoever verifies it refuses it");
                }
            }
        }
        self.standing = standing;
    }

    /// Uses what was found, or refuses it.
    async fn settle(&mut self, (found, made_of): (Found, Sha256), cause: Cause, register: &Register) {
        let ready = self.ready(found, register.clock.now());
        let (kind, what) = match &ready {
            Ok((_, what)) => (RecorderEventKind::CertificateLoaded, what.clone()),
            Err(problems) => (RecorderEventKind::CertificateRefused, problems.join("; ")),
        };
        // What cannot be recorded does not happen; the next look tries again.
        if let Err(error) = register.note(kind, format!("{what}; {}", cause.as_str())).await {
            let name = self.files.name();
            tracing::error!(%error, name, "that certificates changed could not be recorded; those in use stay");
            return;
        }
        match ready {
            Ok((side, _)) => {
                tracing::info!(what, "new connections use other certificates");
                self.side.renew(side, made_of);
                self.refused = None;
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!(problem, "certificates are not fit to be used; those before stay");
                }
                self.refused = Some(made_of);
            }
        }
    }

    /// The side made of what was found, and what is said of it.
    fn ready(&self, found: Found, now: Timestamp) -> Result<(Arc<F::Side>, String), Vec<String>> {
        let pem = found?;
        let name = self.files.name();
        let mut what = format!("{name}: ");
        if let Some(certificate) = &pem.certificate {
            let leaf = Leaf::of(certificate).and_then(|leaf| leaf.check(now).map(|()| leaf));
            let leaf = leaf.map_err(|error| vec![format!("{name}.cert: {error}")])?;
            what.push_str(&format!("certificate with SHA-256 {}, valid until {}", leaf.fingerprint, leaf.until));
        } else {
            what.push_str("authorities");
        }
        let side = self.files.make(&pem).map_err(|problem| vec![problem])?;
        Ok((side, what))
    }
}

impl Register {
    async fn note(&self, kind: RecorderEventKind, detail: String) -> Result<(), JournalError> {
        let event = RecorderEvent::new(self.clock.now(), self.node.clone(), kind, detail);
        self.journal.append(vec![Entry::Event(event)]).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair in files of this folder, for a name.
    fn write(folder: &Path, name: &str, until_year: i32) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        std::fs::write(folder.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    }

    fn door(folder: &Path) -> DoorFiles {
        let key = config::Secret::in_file("listener.main.tls.key", folder.join("key.pem"));
        DoorFiles::of("main", &config::ListenerTls { cert: folder.join("cert.pem"), key, clients: None })
    }

    const NOW: Timestamp = Timestamp(1_795_512_766_000_000);

    #[test]
    fn what_is_not_fit_is_said_with_its_file_and_reason_and_never_with_a_key() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.example", 2100);
        let files = door(dir.path());
        let side = begin(&files).unwrap();
        let watched = watched(files.clone(), &side);
        let said = || watched.ready(files.read(), NOW).map(|(_, what)| what).map_err(|problems| problems.join("; "));
        let first = said().unwrap();
        assert!(first.starts_with("listener.main.tls: certificate with SHA-256 "), "{first}");

        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let (good_cert, good_key) = (std::fs::read(&cert).unwrap(), std::fs::read(&key).unwrap());
        let half = good_cert.get(..good_cert.len() / 2).unwrap();
        for (cert_text, key_text, expected) in [
            (half, &good_key[..], "listener.main.tls.cert: the certificate's file holds no certificate in PEM"),
            (b"", &good_key, "listener.main.tls.cert: the certificate's file holds no certificate in PEM"),
            (&good_cert, b"", "listener.main.tls.key: the file"),
            (&good_cert, b"half", "the certificate's key holds no private key in PEM"),
        ] {
            std::fs::write(&cert, cert_text).unwrap();
            std::fs::write(&key, key_text).unwrap();
            let said = said().unwrap_err();
            assert!(said.contains(expected) && !said.contains("half"), "{said}");
        }
        write(dir.path(), "b.example", 2100);
        std::fs::write(&key, &good_key).unwrap();
        let mismatched = said().unwrap_err();
        assert!(mismatched.contains("cert.pem") && mismatched.contains("cannot be used"), "{mismatched}");
        write(dir.path(), "a.example", 2020);
        assert!(said().unwrap_err().contains("it ended at 2020-01-01T00:00:00"), "{:?}", said());
        std::fs::remove_file(&cert).unwrap();
        std::fs::remove_file(&key).unwrap();
        let gone = said().unwrap_err();
        assert!(gone.contains("listener.main.tls.cert: ") && gone.contains("listener.main.tls.key: "), "{gone}");
        std::fs::write(&cert, vec![b'x'; usize::try_from(MAX_FILE).unwrap() + 1]).unwrap();
        assert!(said().unwrap_err().contains("cert.pem is longer than 1 MiB"));
    }

    #[test]
    fn contents_are_told_apart_by_all_of_them_and_by_why_they_cannot_be_read() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.example", 2100);
        let files = door(dir.path());
        let first = told_apart(&files.read());
        assert_eq!(told_apart(&files.read()), first);
        let key = dir.path().join("key.pem");
        let text = std::fs::read(&key).unwrap();
        std::fs::write(&key, [&text[..], b"\n# another"].concat()).unwrap();
        let second = told_apart(&files.read());
        std::fs::remove_file(&key).unwrap();
        let third = told_apart(&files.read());
        assert!(first != second && second != third && first != third);
    }
}
