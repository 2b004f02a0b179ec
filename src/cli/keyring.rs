//! The folder of a recorder's signing keys.
//!
//! `signing.pem` signs; `next.pem`, made by `hansard keys rotate`, takes its place when the recorder has handed the log
//! over. Both are Ed25519 in PKCS#8 PEM, as `openssl genpkey -algorithm ed25519` makes them, with mode 600.
//!
//! A key is made by itself only for a recorder that has never signed: where one is missing that has, a new one would end
//! the trust in everything before it, without anybody having decided that.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rand::TryRngCore;
use rand::rngs::OsRng;

use super::private_file::{self, PrivateFileError};
use crate::model::NodeName;
use crate::seal::checkpoint::origin;
use crate::seal::note::{KeyError, SigningKey, VerifierKey};
use crate::ship::{KeyRing, OpenAtCrash};

const SIGNING: &str = "signing.pem";
const NEXT: &str = "next.pem";

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFolderError {
    /// A file cannot be read or written, or others can read it.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A file holds something else.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: KeyError,
    },
    /// There is one already.
    #[error("there is a key already, {}; `hansard keys rotate` makes the next one", path.display())]
    There {
        /// Where.
        path: PathBuf,
    },
    /// There is none.
    #[error("there is no signing key at {}; `hansard keys new` makes one", path.display())]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// A recorder that has signed lacks the key, or has another.
    #[error("this recorder's log is signed by {wanted}, and {} {found}; restore that key", path.display())]
    Lost {
        /// Where.
        path: PathBuf,
        /// The verifier key of the key that signed.
        wanted: String,
        /// What is there instead, as the end of the sentence.
        found: String,
    },
    /// The system gives no random bytes.
    #[error("the operating system gives no random bytes for a key: {0}")]
    Random(String),
}

/// The folder. Clones share what is in force.
#[derive(Clone)]
pub(super) struct KeyFolder {
    folder: PathBuf,
    name: String,
    current: Arc<Mutex<Arc<SigningKey>>>,
}

impl fmt::Debug for KeyFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyFolder").field("folder", &self.folder).field("current", &self.current().verifier()).finish()
    }
}

impl KeyFolder {
    /// The folder with the key that signs.
    ///
    /// # Errors
    ///
    /// [`KeyFolderError`]; [`KeyFolderError::Missing`] if there is none.
    pub(super) fn open(folder: &Path, node: &NodeName) -> Result<Self, KeyFolderError> {
        let path = folder.join(SIGNING);
        let name = origin(node);
        match read(&path, &name)? {
            Some(key) => Ok(Self { folder: folder.to_owned(), name, current: Arc::new(Mutex::new(Arc::new(key))) }),
            None => Err(KeyFolderError::Missing { path }),
        }
    }

    /// The folder of a recorder whose journal is as `left` says: the key that signed must be there, and a recorder that
    /// has never signed has one made. Says whether it was made.
    ///
    /// # Errors
    ///
    /// [`KeyFolderError`].
    pub(super) fn of_recorder(
        folder: &Path,
        node: &NodeName,
        left: &OpenAtCrash,
    ) -> Result<(Self, bool), KeyFolderError> {
        let path = folder.join(SIGNING);
        let lost = |found: String| {
            let wanted = left.signed_by.clone().unwrap_or_default();
            KeyFolderError::Lost { path: path.clone(), wanted, found }
        };
        let (keys, made) = match (Self::open(folder, node), &left.signed_by) {
            (Err(KeyFolderError::Missing { .. }), Some(_)) => return Err(lost("is not there".to_owned())),
            (Err(KeyFolderError::Missing { .. }), None) => {
                Self::make(folder, node)?;
                (Self::open(folder, node)?, true)
            }
            (opened, _) => (opened?, false),
        };
        let found = keys.current().verifier().to_string();
        match &left.signed_by {
            // One that took over just before the last run ended has signed nothing yet.
            Some(wanted) if found != *wanted && !left.taken_over.contains(&found) => {
                Err(lost(format!("holds {found}")))
            }
            _ => Ok((keys, made)),
        }
    }

    /// Makes the first key.
    ///
    /// # Errors
    ///
    /// [`KeyFolderError::There`] if there is one.
    pub(super) fn make(folder: &Path, node: &NodeName) -> Result<VerifierKey, KeyFolderError> {
        let path = folder.join(SIGNING);
        if read(&path, &origin(node))?.is_some() {
            return Err(KeyFolderError::There { path });
        }
        new_key(&path, &origin(node))
    }

    /// Makes the key that shall follow, if none waits already; the one that waits.
    ///
    /// # Errors
    ///
    /// [`KeyFolderError`].
    pub(super) fn rotate(&self) -> Result<VerifierKey, KeyFolderError> {
        match self.waiting()? {
            Some(waiting) => Ok(waiting.verifier().clone()),
            None => new_key(&self.folder.join(NEXT), &self.name),
        }
    }

    /// The verifier keys: of the key that signs, and of the one that waits to follow.
    ///
    /// # Errors
    ///
    /// [`KeyFolderError`].
    pub(super) fn verifiers(&self) -> Result<Vec<VerifierKey>, KeyFolderError> {
        let current = self.current().verifier().clone();
        Ok([current].into_iter().chain(self.waiting()?.map(|key| key.verifier().clone())).collect())
    }

    fn waiting(&self) -> Result<Option<SigningKey>, KeyFolderError> {
        read(&self.folder.join(NEXT), &self.name)
    }
}

impl KeyRing for KeyFolder {
    fn current(&self) -> Arc<SigningKey> {
        // A key is whole, whatever became of a thread that held the lock.
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn next(&self) -> io::Result<Option<Arc<SigningKey>>> {
        self.waiting().map(|key| key.map(Arc::new)).map_err(io::Error::other)
    }

    fn promote(&self) -> io::Result<()> {
        let (next, signing) = (self.folder.join(NEXT), self.folder.join(SIGNING));
        private_file::rename(&next, &signing).map_err(io::Error::other)?;
        let key = read(&signing, &self.name).map_err(io::Error::other)?;
        let key = key.ok_or_else(|| io::Error::other("it went away while it was renamed"))?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
        Ok(())
    }
}

fn read(path: &Path, name: &str) -> Result<Option<SigningKey>, KeyFolderError> {
    let Some(pem) = private_file::read(path)? else { return Ok(None) };
    let key = SigningKey::from_pem(name, &pem);
    key.map(Some).map_err(|problem| KeyFolderError::Damaged { path: path.to_owned(), problem })
}

fn new_key(path: &Path, name: &str) -> Result<VerifierKey, KeyFolderError> {
    let mut seed = [0; 32];
    OsRng.try_fill_bytes(&mut seed).map_err(|error| KeyFolderError::Random(error.to_string()))?;
    let pem = SigningKey::new_pem(&seed);
    let key = SigningKey::from_pem(name, &pem);
    let key = key.map_err(|problem| KeyFolderError::Damaged { path: path.to_owned(), problem })?;
    private_file::write(path, &pem)?;
    Ok(key.verifier().clone())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn node() -> NodeName {
        NodeName::new("node-1").unwrap()
    }

    fn left(signed_by: Option<String>, taken_over: &[String]) -> OpenAtCrash {
        OpenAtCrash { signed_by, taken_over: taken_over.iter().cloned().collect(), ..OpenAtCrash::default() }
    }

    #[test]
    fn a_recorder_that_never_signed_gets_a_key_and_one_that_did_must_have_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("keys");
        let (keys, made) = KeyFolder::of_recorder(&folder, &node(), &left(None, &[])).unwrap();
        assert!(made && keys.current().verifier().name() == "hansard/node-1");
        let signer = keys.current().verifier().to_string();
        let again = KeyFolder::of_recorder(&folder, &node(), &left(Some(signer.clone()), &[])).unwrap();
        assert!(!again.1);
        assert!(matches!(KeyFolder::make(&folder, &node()), Err(KeyFolderError::There { .. })));
        let other = "hansard/node-1+00000000+AAAA".to_owned();
        let wrong = KeyFolder::of_recorder(&folder, &node(), &left(Some(other), &[])).unwrap_err().to_string();
        assert!(wrong.contains("holds hansard/node-1+") && wrong.ends_with("restore that key"), "{wrong}");
        std::fs::remove_dir_all(&folder).unwrap();
        let gone = KeyFolder::of_recorder(&folder, &node(), &left(Some(signer), &[])).unwrap_err();
        assert!(matches!(gone, KeyFolderError::Lost { .. }), "{gone}");
        assert!(!folder.exists());
    }

    #[test]
    fn the_next_key_waits_until_it_takes_over_and_then_the_old_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        KeyFolder::make(dir.path(), &node()).unwrap();
        let keys = KeyFolder::open(dir.path(), &node()).unwrap();
        let old = keys.current().verifier().clone();
        assert!(keys.next().unwrap().is_none());
        let next = keys.rotate().unwrap();
        assert_eq!(keys.rotate().unwrap(), next, "asked twice, made once");
        assert_eq!(keys.verifiers().unwrap(), [old.clone(), next.clone()]);
        keys.promote().unwrap();
        assert_eq!(*keys.current().verifier(), next);
        assert!(keys.next().unwrap().is_none() && keys.promote().is_err());
        let (old, new) = (old.to_string(), next.to_string());
        // A run that ended between the hand-over and the next checkpoint.
        assert!(KeyFolder::of_recorder(dir.path(), &node(), &left(Some(old.clone()), &[new])).is_ok());
        assert!(KeyFolder::of_recorder(dir.path(), &node(), &left(Some(old), &[])).is_err());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        KeyFolder::make(dir.path(), &node()).unwrap();
        let path = dir.path().join(SIGNING);
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let exposed = KeyFolder::open(dir.path(), &node()).unwrap_err();
        assert!(exposed.to_string().contains("can be read by others (mode 640)"), "{exposed}");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(&path, "nothing").unwrap();
        let damaged = KeyFolder::of_recorder(dir.path(), &node(), &left(None, &[])).unwrap_err();
        assert!(matches!(damaged, KeyFolderError::Damaged { .. }), "{damaged}");
    }
}
