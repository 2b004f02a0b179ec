//! Put once, over `object_store`: a folder or Azure Blob Storage, under one prefix.
//!
//! What it promises:
//!
//! * [`Store::put_once`] never overwrites, renames or deletes an object, so the container may be immutable. Asked again
//!   with the same bytes it answers that they are there; with other bytes, that they contradict.
//! * When it answers, the object is on stable storage under its full name; before, nothing is visible under that name.
//! * No secret is printed, also not inside the error of somebody else's library.

mod azure;
mod folder;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};

pub use azure::{AzureCredential, AzureSettings};

/// The address under which a query engine may register [`Store::object_store`]: names below it are the archive's.
pub const BASE_URL: &str = "hansard://archive";

const READ: &str = "read";

/// A secret: used, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the archive is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings {
    /// `file:///folder` or `az://container/prefix`; other than letters, digits and `-_./` is percent-encoded.
    pub url: String,
    /// How to reach Azure; looked at for `az://` only.
    pub azure: AzureSettings,
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was stored now.
    Stored,
    /// The same bytes were there already.
    AlreadyThere,
}

/// An object that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name below the archive's prefix.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The settings cannot be used.
    #[error("the archive's settings cannot be used: {0}")]
    Settings(String),
    /// The name is no object name of ours.
    #[error("`{name}` is no name of an archive object")]
    Name {
        /// The name.
        name: String,
    },
    /// There is no such object.
    #[error("the archive has no object {name}")]
    Missing {
        /// The name.
        name: String,
    },
    /// Another content stands under the name. Nothing was changed.
    #[error("the archive already holds another content under {name}; two recorders with one name, or a forgery")]
    Conflict {
        /// The name.
        name: String,
    },
    /// The archive does not let us.
    #[error("the archive refuses to {doing} {name}: {cause}")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// On which object.
        name: String,
        /// What it said.
        cause: String,
    },
    /// The archive cannot be reached, or failed.
    #[error("the archive could not {doing} {name}: {cause}")]
    Away {
        /// What was tried.
        doing: &'static str,
        /// On which object.
        name: String,
        /// What it said.
        cause: String,
    },
}

impl StoreError {
    /// Whether asking again later may help: outages end, and permissions are granted.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Refused { .. })
    }

    fn from(error: &object_store::Error, doing: &'static str, name: &str) -> Self {
        use object_store::Error;
        let (name, cause) = (name.to_owned(), one_line(&without_secrets(&error.to_string())));
        match error {
            // Elsewhere it is the container that is missing, and somebody may still make it.
            Error::NotFound { .. } if doing == READ => Self::Missing { name },
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => Self::Refused { doing, name, cause },
            _ => Self::Away { doing, name, cause },
        }
    }
}

/// The archive's objects. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    folder: Option<PathBuf>,
}

impl Store {
    /// Opens the archive; a folder is made if it is not there. Azure is not asked before the first use.
    ///
    /// # Errors
    ///
    /// [`StoreError::Settings`], or [`StoreError::Away`] if the folder cannot be made.
    pub fn open(settings: &StoreSettings) -> Result<Self, StoreError> {
        let url = settings.url.as_str();
        if let Some(path) = url.strip_prefix("file://") {
            let path = decoded(path)?;
            if !path.starts_with('/') {
                return Err(StoreError::Settings("a folder is written file:///with/three/slashes".to_owned()));
            }
            let (objects, folder) = folder::open(&PathBuf::from(path))?;
            return Ok(Self { objects: Arc::new(objects), folder: Some(folder) });
        }
        if let Some(rest) = url.strip_prefix("az://") {
            let (container, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let objects = azure::open(container, &settings.azure)?;
            let objects = PrefixStore::new(objects, prefix_path(&decoded(prefix)?)?);
            return Ok(Self { objects: Arc::new(objects), folder: None });
        }
        Err(StoreError::Settings("its address starts with file:/// or az://".to_owned()))
    }

    /// An archive that forgets everything when the program ends; for tests and demonstrations.
    pub fn in_memory() -> Self {
        Self::over(Arc::new(object_store::memory::InMemory::new()))
    }

    /// An archive over any object store that creates a name at most once when asked to (`PutMode::Create`). The seam by
    /// which a store that fails, or that forbids what an immutable container forbids, takes the place of a real one.
    pub fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, folder: None }
    }

    /// Stores an object under a name that nothing else has.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] if other bytes stand under the name; otherwise see [`StoreError::retryable`].
    pub async fn put_once(&self, name: &str, bytes: Bytes) -> Result<Put, StoreError> {
        let path = object_path(name)?;
        if self.create(&path, name, bytes.clone()).await? {
            return Ok(Put::Stored);
        }
        // Also our own put may have been answered too late and repeated below us: the content tells.
        let there = self.get(name).await;
        match there {
            Ok(there) if there == bytes => self.make_sure(name).await.map(|()| Put::AlreadyThere),
            Ok(_) => Err(StoreError::Conflict { name: name.to_owned() }),
            // It was said to be there and is not: somebody deletes. Not ours to settle; later may help.
            Err(StoreError::Missing { .. }) => {
                Err(StoreError::Away { doing: "store", name: name.to_owned(), cause: "it came and went".to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// The content of an object.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if there is none; otherwise see [`StoreError::retryable`].
    pub async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        let path = object_path(name)?;
        let failed = |error: object_store::Error| StoreError::from(&error, READ, name);
        self.objects.get(&path).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    /// The objects below `folder` (all for an empty one), sorted by name.
    ///
    /// # Errors
    ///
    /// See [`StoreError::retryable`].
    pub async fn list(&self, folder: &str) -> Result<Vec<Listed>, StoreError> {
        let path = if folder.is_empty() { None } else { Some(object_path(folder)?) };
        let found: Vec<object_store::ObjectMeta> = self
            .objects
            .list(path.as_ref())
            .try_collect()
            .await
            .map_err(|error| StoreError::from(&error, "list", folder))?;
        let mut listed: Vec<Listed> =
            found.into_iter().map(|object| Listed { name: object.location.to_string(), bytes: object.size }).collect();
        listed.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listed)
    }

    /// The same objects for a query engine, to be registered under [`BASE_URL`].
    pub fn object_store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.objects)
    }

    /// Whether it was stored; `false` if something stands under the name.
    async fn create(&self, path: &Path, name: &str, bytes: Bytes) -> Result<bool, StoreError> {
        if let Some(folder) = &self.folder {
            return folder::blocking(name, folder.join(name), move |file| folder::create(file, &bytes)).await;
        }
        let options = PutOptions::from(PutMode::Create);
        match self.objects.put_opts(path, bytes.into(), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(StoreError::from(&error, "store", name)),
        }
    }

    /// What another run left behind may not have been flushed.
    async fn make_sure(&self, name: &str) -> Result<(), StoreError> {
        match &self.folder {
            Some(folder) => folder::blocking(name, folder.join(name), folder::sync).await,
            None => Ok(()),
        }
    }
}

/// Names are ours, so they are plain; anything else is a mistake, and no way out of the prefix.
fn object_path(name: &str) -> Result<Path, StoreError> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'='))
    };
    let path = if name.split('/').all(plain) { Path::parse(name).ok() } else { None };
    path.ok_or_else(|| StoreError::Name { name: name.to_owned() })
}

/// A prefix is the operator's, so it may hold anything but steps up.
fn prefix_path(prefix: &str) -> Result<Path, StoreError> {
    let parts: Vec<&str> = prefix.split('/').filter(|part| !part.is_empty()).collect();
    if parts.iter().any(|part| matches!(*part, "." | "..")) {
        return Err(StoreError::Settings("its prefix has a step `.` or `..`".to_owned()));
    }
    Ok(Path::from_iter(parts))
}

/// Percent-decoding. A `%` that starts no escape is an error, not a guess.
fn decoded(text: &str) -> Result<String, StoreError> {
    let unreadable = || {
        StoreError::Settings(
            "its address has a `%` that is not followed by two hexadecimal digits, \
        or that makes no UTF-8"
                .to_owned(),
        )
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match byte {
            b'%' => {
                let high = digit(rest.next()).ok_or_else(unreadable)?;
                let low = digit(rest.next()).ok_or_else(unreadable)?;
                bytes.push(u8::try_from(high * 16 + low).map_err(|_| unreadable())?);
            }
            b'?' | b'#' => return Err(StoreError::Settings("its address has a `?` or `#`; write %3F, %23".to_owned())),
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).map_err(|_| unreadable())
}

/// Signatures in addresses are secrets: an error that repeats the address loses them.
fn without_secrets(message: &str) -> String {
    let mut parts = message.split("sig=");
    let mut clean = parts.next().unwrap_or("").to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "%+/=-_.~".contains(c));
        clean.push_str("sig=…");
        clean.push_str(rest);
    }
    clean
}

/// Servers answer with documents; a log has lines.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
#[path = "../tests/support/failing_store.rs"]
pub(crate) mod failing;

#[cfg(test)]
#[path = "../tests/support/worm.rs"]
pub(crate) mod worm;

#[cfg(test)]
mod tests;
