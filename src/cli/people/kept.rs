//! Sign-ins as they are kept: one file, readable by nobody else, changed by one process at a time.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::super::private_file;
use super::trouble::Trouble;
use crate::model::Timestamp;
use crate::sign_in::{Claims, Document, Hidden, Issuer, Target, Tokens};

const FILE: &str = "sign-ins.json";
const LOCK: &str = "sign-ins.lock";
/// Certificates of authorities that were named at a login, so that they are there at the next connection too.
const AUTHORITIES: &str = "authorities";
const VERSION: u32 = 1;
/// How often it is looked whether somebody else is done.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// All sign-ins of a person on this machine.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    version: u32,
    /// The last one signed in at.
    current: Option<String>,
    servers: BTreeMap<String, Server>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { version: VERSION, current: None, servers: BTreeMap::new() }
    }
}

/// A recorder, and the sign-in there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) address: String,
    /// What it told at the login.
    pub(super) document: Document,
    /// The name of the issuer that was signed in at.
    pub(super) issuer: String,
    /// Who vouches for the recorder and the issuer, beside the system's authorities.
    pub(super) ca_file: Option<PathBuf>,
    pub(super) token: Option<Hidden>,
    pub(super) expires: Option<Timestamp>,
    pub(super) refresh: Option<Hidden>,
    pub(super) claims: Claims,
}

impl Server {
    /// Takes what the issuer gave. What it left out stays.
    pub(super) fn take(&mut self, tokens: Tokens) {
        self.token = Some(tokens.token);
        self.expires = tokens.expires;
        self.refresh = tokens.refresh.or_else(|| self.refresh.take());
        if !tokens.claims.is_empty() {
            self.claims = tokens.claims;
        }
    }

    /// The sign-in has ended.
    pub(super) fn forget(&mut self) {
        (self.token, self.expires, self.refresh) = (None, None, None);
    }

    /// The token, if it is good at `now` and for `longer`. One whose end is not known is taken only if there is no way to a
    /// new one.
    pub(super) fn good_token(&self, now: Timestamp, longer: Duration) -> Option<&Hidden> {
        let longer = i64::try_from(longer.as_secs()).unwrap_or(i64::MAX);
        let lasts = match self.expires {
            Some(expires) => expires.seconds() > now.seconds().saturating_add(longer),
            None => self.refresh.is_none(),
        };
        self.token.as_ref().filter(|_| lasts)
    }

    /// The issuer that was signed in at.
    pub(super) fn issuer(&self) -> Result<&Issuer, Trouble> {
        let needed = || Trouble::SignInNeeded { address: self.address.clone() };
        self.document.issuer(&self.issuer).ok_or_else(needed)
    }

    /// The certificates of its authorities, in PEM.
    pub(super) fn authorities(&self) -> Result<Option<Vec<u8>>, Trouble> {
        let read = |path: &PathBuf| fs::read(path).map_err(|source| Trouble::Io { path: path.clone(), source });
        self.ca_file.as_ref().map(read).transpose()
    }

    /// A text among the claims, the first of these that is there.
    pub(super) fn claim(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.claims.get(*name)?.as_str()).filter(|text| !text.is_empty())
    }
}

impl Kept {
    /// The sign-in at this address.
    pub(super) fn at(&mut self, address: &str) -> Result<&mut Server, Trouble> {
        let needed = || Trouble::SignInNeeded { address: address.to_owned() };
        self.servers.get_mut(address).ok_or_else(needed)
    }

    /// Puts a sign-in in the place of the one before; it is the current one.
    pub(super) fn put(&mut self, server: Server) {
        self.current = Some(server.address.clone());
        self.servers.insert(server.address.clone(), server);
    }

    pub(super) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    /// Which recorder is meant: the one that was named, else one with this target, else the last signed in at.
    pub(super) fn meant(&self, server: Option<&str>, target: Option<&str>) -> Result<&Server, Trouble> {
        if let Some(given) = server {
            let address = crate::sign_in::address(given)?;
            return self.servers.get(&address).ok_or(Trouble::SignInNeeded { address });
        }
        let current = self.current().and_then(|address| self.servers.get(address)).ok_or(Trouble::NeverSignedIn)?;
        let Some(name) = target else { return Ok(current) };
        if current.document.target(name).is_some() {
            return Ok(current);
        }
        let having: Vec<&Server> =
            self.servers.values().filter(|server| server.document.target(name).is_some()).collect();
        match having.as_slice() {
            [only] => Ok(only),
            [] => Err(no_target(current, name)),
            several => {
                let servers = several.iter().map(|server| server.address.clone()).collect();
                Err(Trouble::Ambiguous { name: name.to_owned(), servers })
            }
        }
    }
}

/// The target of that name behind the recorder.
pub(super) fn target<'s>(server: &'s Server, name: &str) -> Result<&'s Target, Trouble> {
    server.document.target(name).ok_or_else(|| no_target(server, name))
}

fn no_target(server: &Server, name: &str) -> Trouble {
    let names: Vec<&str> = server.document.targets.iter().map(|target| target.name.as_str()).collect();
    let known = if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) };
    Trouble::NoTarget { name: name.to_owned(), known }
}

/// Where sign-ins are kept.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    /// In the person's folder for state.
    pub(super) fn of_person() -> Result<Self, Trouble> {
        let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        Ok(Self { folder: state.ok_or(Trouble::NoHome)?.join("hansard") })
    }

    /// The file.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// What is kept now.
    pub(super) fn read(&self) -> Result<Kept, Trouble> {
        let Some(text) = private_file::read(&self.file())? else { return Ok(Kept::default()) };
        let kept: Option<Kept> = serde_json::from_str(&text).ok();
        kept.filter(|kept| kept.version == VERSION).ok_or_else(|| Trouble::Damaged { path: self.file() })
    }

    /// Waits until nobody else changes what is kept.
    pub(super) async fn hold(&self) -> Result<Held<'_>, Trouble> {
        let path = self.folder.join(LOCK);
        let wrong = |source| Trouble::Io { path: path.clone(), source };
        private_file::folder(&self.folder).map_err(wrong)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(wrong)?;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // Somebody asks the issuer, in this process or another.
                Err(TryLockError::WouldBlock) => sleep(LOOK_AGAIN).await,
                Err(TryLockError::Error(source)) => return Err(wrong(source)),
            }
        }
        Ok(Held { store: self, _lock: lock })
    }

    /// Keeps the certificates of authorities for a recorder: where they are from now on.
    pub(super) fn keep_authorities(&self, address: &str, pem: &Path) -> Result<PathBuf, Trouble> {
        let text = fs::read_to_string(pem).map_err(|source| Trouble::Io { path: pem.to_owned(), source })?;
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
        let name: String = address.chars().map(plain).collect();
        let path = self.folder.join(AUTHORITIES).join(format!("{name}.pem"));
        private_file::write_public(&path, &text)?;
        Ok(path)
    }
}

/// The right to change what is kept, until it is dropped.
#[derive(Debug)]
pub(super) struct Held<'s> {
    store: &'s Store,
    _lock: File,
}

impl Held<'_> {
    pub(super) fn read(&self) -> Result<Kept, Trouble> {
        self.store.read()
    }

    pub(super) fn write(&self, kept: &Kept) -> Result<(), Trouble> {
        let path = self.store.file();
        let text =
            serde_json::to_string(kept).map_err(|error| Trouble::Io { path: path.clone(), source: error.into() })?;
        Ok(private_file::write(&path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn server(address: &str, targets: &[&str]) -> Server {
        let databases = |name: &str| [name.to_owned(), "my \"db\"".to_owned()];
        let target = |name: &&str| serde_json::json!({ "name": name, "engine": "postgresql", "port": 5432, "databases": databases(name) });
        let document = serde_json::json!({
            "hansard": 1,
            "issuers": [{
                "name": "main", "issuer": "https://login.example", "client_id": "cli", "scopes": [],
                "redirect": "http://127.0.0.1/", "token": "access",
            }],
            "targets": targets.iter().map(target).collect::<Vec<_>>(),
        });
        Server {
            address: address.to_owned(),
            document: serde_json::from_value(document).unwrap(),
            issuer: "main".to_owned(),
            ca_file: None,
            token: Some(Hidden::new("t0ken")),
            expires: Some(Timestamp::from_seconds(1_000)),
            refresh: Some(Hidden::new("r3fresh")),
            claims: Claims::new(),
        }
    }

    #[tokio::test]
    async fn a_sign_in_is_kept_for_its_owner_alone_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store { folder: dir.path().join("hansard") };
        assert!(store.read().unwrap().servers.is_empty());
        let held = store.hold().await.unwrap();
        let mut kept = held.read().unwrap();
        kept.put(server("https://a.example", &["clinic"]));
        held.write(&kept).unwrap();
        drop(held);
        assert_eq!(fs::metadata(store.file()).unwrap().permissions().mode() & 0o777, 0o600);
        let kept = store.read().unwrap();
        let found = kept.meant(None, None).unwrap();
        assert_eq!(found.token.as_ref().map(Hidden::reveal), Some("t0ken"));
        assert!(!format!("{kept:?}").contains("t0ken") && !format!("{kept:?}").contains("r3fresh"));
        fs::write(store.file(), "{").unwrap();
        assert!(matches!(store.read(), Err(Trouble::Damaged { .. })));
    }

    #[test]
    fn a_target_leads_to_the_one_recorder_that_has_it() {
        let mut kept = Kept::default();
        assert!(matches!(kept.meant(None, Some("clinic")), Err(Trouble::NeverSignedIn)));
        kept.put(server("https://a.example", &["clinic", "shared"]));
        kept.put(server("https://b.example", &["billing", "shared"]));
        kept.put(server("https://c.example", &["billing"]));
        let meant = |server, target| kept.meant(server, target).map(|server| server.address.clone());
        assert_eq!(meant(None, None).unwrap(), "https://c.example");
        assert_eq!(meant(None, Some("clinic")).unwrap(), "https://a.example");
        assert_eq!(meant(None, Some("billing")).unwrap(), "https://c.example", "the last signed in at goes first");
        assert!(matches!(meant(None, Some("shared")), Err(Trouble::Ambiguous { .. })));
        assert_eq!(meant(Some("b.example"), Some("shared")).unwrap(), "https://b.example");
        assert!(matches!(meant(Some("d.example"), None), Err(Trouble::SignInNeeded { .. })));
        let unknown = meant(None, Some("clinc")).unwrap_err().to_string();
        assert_eq!(unknown, "there is no target \"clinc\"; there are billing");
    }

    #[test]
    fn a_token_is_good_until_shortly_before_its_end() {
        let mut server = server("https://a.example", &[]);
        let good = |server: &Server, now, longer| {
            server.good_token(Timestamp::from_seconds(now), Duration::from_secs(longer)).is_some()
        };
        assert!(good(&server, 900, 60) && !good(&server, 940, 60));
        assert!(good(&server, 940, 0) && !good(&server, 1_000, 0));
        server.expires = None;
        assert!(!good(&server, 0, 0), "it can be renewed, so it is");
        server.refresh = None;
        assert!(good(&server, 0, 0), "it is all there is");
    }
}
