//! Secrets by reference: where a secret stands, read when it is needed, never shown.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A secret is at most this long: several times the largest private key in PEM.
const MAX_SECRET: u64 = 64 * 1024;

/// Where a secret is to be found. It holds no value, so printing it gives nothing away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    key: String,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Env(String),
}

impl Secret {
    /// The secret in a file. `key` is where the configuration names it, for messages.
    pub fn in_file(key: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { key: key.into(), source: Source::File(path.into()) }
    }

    /// The secret in an environment variable. `key` is where the configuration names it, for messages.
    pub fn in_env(key: impl Into<String>, variable: impl Into<String>) -> Self {
        Self { key: key.into(), source: Source::Env(variable.into()) }
    }

    /// Reads the secret. One newline at the end is not part of it: editors and `echo` leave one.
    ///
    /// # Errors
    ///
    /// The file or variable is missing, unreadable, empty, too long or not text.
    pub fn reveal(&self) -> Result<Revealed, SecretError> {
        let text = match &self.source {
            Source::File(path) => self.read_file(path)?,
            Source::Env(name) => std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => self.error(Cause::Unset),
                std::env::VarError::NotUnicode(_) => self.error(Cause::NotText),
            })?,
        };
        let trimmed = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if trimmed.is_empty() {
            return Err(self.error(Cause::Empty));
        }
        Ok(Revealed(trimmed.to_owned()))
    }

    fn read_file(&self, path: &Path) -> Result<String, SecretError> {
        let file = std::fs::File::open(path).map_err(|error| self.error(Cause::Unreadable(error)))?;
        let mut bytes = Vec::new();
        file.take(MAX_SECRET + 1).read_to_end(&mut bytes).map_err(|error| self.error(Cause::Unreadable(error)))?;
        if bytes.len() as u64 > MAX_SECRET {
            return Err(self.error(Cause::TooLong));
        }
        // The bytes are dropped with the error: they may be the secret.
        String::from_utf8(bytes).or(Err(self.error(Cause::NotText)))
    }

    fn error(&self, cause: Cause) -> SecretError {
        let place = match &self.source {
            Source::File(path) => format!("the file {}", path.display()),
            Source::Env(name) => format!("the environment variable {name}"),
        };
        SecretError { key: self.key.clone(), place, cause }
    }
}

/// A secret's value. Its `Debug` says only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed(String);

impl Revealed {
    /// The value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value, for a part that keeps it in a type of its own.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revealed(…)")
    }
}

/// A secret that cannot be had: which, where, why.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {place} {cause}")]
pub struct SecretError {
    key: String,
    place: String,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("is not set")]
    Unset,
    #[error("is empty")]
    Empty,
    #[error("holds more than {MAX_SECRET} bytes")]
    TooLong,
    #[error("holds something that is not UTF-8 text")]
    NotText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_in_a_file_loses_one_newline_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        for (written, read) in [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), ("pw\n\n", "pw\n"), (" pw \n", " pw ")]
        {
            std::fs::write(&path, written).unwrap();
            assert_eq!(Secret::in_file("k", &path).reveal().unwrap().as_str(), read);
        }
    }

    #[test]
    fn a_secret_that_cannot_be_had_says_which_and_where_and_not_what() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let message = |secret: &Secret| secret.reveal().unwrap_err().to_string();
        let in_file = Secret::in_file("storage.key", &path);
        assert!(message(&in_file).starts_with(&format!("storage.key: the file {} cannot be read: ", path.display())));
        std::fs::write(&path, b"hunter2\xff").unwrap();
        assert!(message(&in_file).ends_with("holds something that is not UTF-8 text"));
        assert!(!format!("{:?}", in_file.reveal()).contains("hunter2"));
        std::fs::write(&path, "\n").unwrap();
        assert!(message(&in_file).ends_with("is empty"));
        std::fs::write(&path, vec![b'x'; 64 * 1024 + 1]).unwrap();
        assert!(message(&in_file).ends_with("holds more than 65536 bytes"));
        let unset = Secret::in_env("storage.sas", "HANSARD_TEST_NEVER_SET");
        assert_eq!(message(&unset), "storage.sas: the environment variable HANSARD_TEST_NEVER_SET is not set");
    }

    #[test]
    fn a_revealed_secret_does_not_print() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, "hunter2").unwrap();
        let secret = Secret::in_file("k", &path);
        assert!(!format!("{secret:?} {:?}", secret.reveal().unwrap()).contains("hunter2"));
    }
}
